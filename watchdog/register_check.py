"""Checks of a register that its form alone cannot tell: does what it says fit together."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeVar

from watchdog.parts import KEY_FORMS
from watchdog.preflight import listed
from watchdog.preflight_common import CHECKS
from watchdog.register import AwsKey, AwsPrincipal, Customer, Document, Instance, KeyEntry, Register, Vendor, canonical
from watchdog.words import KeyOwner

T = TypeVar("T")

_OPERATION = re.compile(r"^kms:[A-Z][A-Za-z]+$")
_WITH_STORE = frozenset({"AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"})
_CLOUDS = ("aws.", "azure.", "gcp.")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not fit. `place` is a path in the document, `fix` says how to mend it.

    `misleads`: as long as it stands, records read against the document would be taken for those of other keys.
    """

    place: str
    text: str
    fix: str
    misleads: bool = False


@dataclass(frozen=True, slots=True)
class _Arn:
    """The parts of an ARN that say where something lives."""

    partition: str
    region: str
    account: str
    resource: str


def check(
    document: Document, *, stores: Mapping[str, Collection[str]] | None, knows_timezone: Callable[[str], bool]
) -> list[Finding]:
    """Return everything that does not fit together, in the order of the document.

    `stores` gives the known stores, each with the names of its topology facts (`ImpactTable.topologies()`); None leaves
    that question open. `knows_timezone` tells whether a time zone's name exists.
    """
    return [*_Check(document, stores, knows_timezone).findings(), *_of_clouds(document)]


class _Check:
    def __init__(
        self,
        document: Document,
        stores: Mapping[str, Collection[str]] | None,
        knows_timezone: Callable[[str], bool],
    ) -> None:
        self._document = document
        self._stores = stores
        self._knows_timezone = knows_timezone
        aws = document.vendor.aws
        self._vendor_accounts = {account.id: account.partition for account in aws.accounts} if aws else {}
        self._principals = {principal.arn for principal in aws.principals} if aws else set()
        self._keys: dict[str, str] = {}
        self._instances: dict[str, str] = {}
        self._customers: dict[str, str] = {}
        self._accounts: dict[str, str] = {}

    def findings(self) -> Iterator[Finding]:
        yield from self._vendor(self._document.vendor)
        for place, customer in _numbered("customers", self._document.customers):
            yield from self._customer(place, customer)

    # ---------------------------------------------------------------------------------------------------------- vendor

    def _vendor(self, vendor: Vendor) -> Iterator[Finding]:
        if vendor.aws is None:
            return
        seen: dict[str, str] = {}
        for place, account in _numbered("vendor.aws.accounts", vendor.aws.accounts):
            yield from _once(seen, account.id, f"{place}.id", "account")
        seen = {}
        for place, principal in _numbered("vendor.aws.principals", vendor.aws.principals):
            yield from _once(seen, principal.arn, f"{place}.arn", "principal")
            yield from self._principal(f"{place}.arn", principal)

    def _principal(self, place: str, principal: AwsPrincipal) -> Iterator[Finding]:
        arn = _parsed(principal.arn)
        if self._vendor_accounts.get(arn.account) != arn.partition:
            yield Finding(
                place,
                f"principal {principal.arn} is in account {arn.account or '(none)'} of partition {arn.partition}, "
                "which is not one of the vendor's",
                "list that account, with its partition, in vendor.aws.accounts, or correct the ARN",
            )

    # -------------------------------------------------------------------------------------------------------- customer

    def _customer(self, place: str, customer: Customer) -> Iterator[Finding]:
        yield from _once(self._customers, customer.id, f"{place}.id", "customer id")
        for spot, account in _numbered(f"{place}.aws.accounts", customer.aws.accounts):
            yield from _once(self._accounts, account, spot, "account")
            if account in self._vendor_accounts:
                yield Finding(
                    spot,
                    f"account {account} is listed as the vendor's too",
                    "an account belongs either to the vendor or to one customer: remove it in one of the two places",
                )
        yield from self._people(place, customer)
        for spot, instance in _numbered(f"{place}.instances", customer.instances):
            yield from self._instance(spot, instance, customer, place)

    def _people(self, place: str, customer: Customer) -> Iterator[Finding]:
        seen: dict[str, str] = {}
        for spot, contact in _numbered(f"{place}.contacts", customer.contacts):
            yield from _once(seen, contact.email.lower(), f"{spot}.email", "contact's e-mail address")
            yield from self._timezone(f"{spot}.timezone", contact.timezone)
        for spot, staff in _numbered(f"{place}.account_staff", customer.account_staff):
            yield from self._timezone(f"{spot}.timezone", staff.timezone)

    def _timezone(self, place: str, name: str) -> Iterator[Finding]:
        if not self._knows_timezone(name):
            yield Finding(place, f"time zone {name!r} is not known", "write an IANA name such as Europe/Berlin or UTC")

    # -------------------------------------------------------------------------------------------------------- instance

    def _instance(self, place: str, instance: Instance, customer: Customer, of: str) -> Iterator[Finding]:
        yield from _once(self._instances, instance.id, f"{place}.id", "instance id")
        for spot, entry in _numbered(f"{place}.keys", instance.keys):
            yield from self._use(spot, entry)
            misspelt = list(_spelling(spot, entry))
            yield from misspelt
            by_arn = entry.cloud == "aws" and not misspelt
            if by_arn:
                yield from self._owner(spot, entry, customer, of)
            yield from self._agreed(spot, entry, customer, of)
            yield from _named_checks(f"{spot}.exception", entry)
            if by_arn:
                yield from _aws_key(f"{spot}.aws", entry.aws, entry.key)
                yield from self._access(spot, entry)
            yield from self._consumers(spot, entry)

    def _use(self, place: str, entry: KeyEntry) -> Iterator[Finding]:
        # Azure compares names without case: two spellings are one key, also of two customers (azure.md 3.7).
        name = entry.key.lower() if entry.cloud == "azure" else canonical(entry.key)
        before = self._keys.setdefault(name, f"{place}.key")
        if before != f"{place}.key":
            yield Finding(
                f"{place}.key",
                f"key {entry.key} already serves the instance at {before}; one key serves one instance",
                "give each instance a key of its own, or remove one of the two entries",
            )

    def _agreed(self, place: str, entry: KeyEntry, customer: Customer, of: str) -> Iterator[Finding]:
        if entry.owner is KeyOwner.VENDOR:
            return
        if entry.exception is None:
            yield Finding(
                place,
                "the key is the customer's, but the approved exception is missing",
                "add exception: {reference: ...}, or set owner: vendor",
            )
        if not customer.contacts:
            yield Finding(
                f"{of}.contacts",
                f"nobody at {customer.id} can be told, although its own key is in use",
                "list at least one contact with name and email",
            )

    def _owner(self, place: str, entry: KeyEntry, customer: Customer, of: str) -> Iterator[Finding]:
        arn = _parsed(entry.key)
        if entry.owner is KeyOwner.VENDOR:
            if self._vendor_accounts.get(arn.account) != arn.partition:
                yield Finding(
                    f"{place}.key",
                    f"the key is the vendor's, but its account {arn.account} (partition {arn.partition}) is not",
                    "list that account, with its partition, in vendor.aws.accounts, or set owner: customer",
                )
            return
        if arn.account not in customer.aws.accounts:
            yield Finding(
                f"{place}.key",
                f"the key is the customer's, but its account {arn.account} is not one of the customer's",
                f'add "{arn.account}" to {of}.aws.accounts, or correct the ARN, or set owner: vendor',
            )

    def _access(self, place: str, entry: KeyEntry) -> Iterator[Finding]:
        partition = _parsed(entry.key).partition
        for spot, access in _numbered(f"{place}.access", entry.access):
            if access.principal not in self._principals:
                yield Finding(
                    f"{spot}.principal",
                    f"principal {access.principal} is not registered",
                    "list it in vendor.aws.principals, spelt alike, path included",
                )
            elif _parsed(access.principal).partition != partition:
                yield Finding(
                    f"{spot}.principal",
                    f"principal {access.principal} cannot use a key of partition {partition}",
                    f"name a principal whose ARN begins with arn:{partition}:",
                )
            for at, operation in _numbered(f"{spot}.operations", access.operations):
                if not _OPERATION.match(operation):
                    yield Finding(
                        at,
                        f"operation {operation!r} is not one KMS operation",
                        "write each operation as kms:Name, for example kms:Decrypt; no wildcards",
                    )
        seen: dict[str, str] = {}
        for spot, grant in _numbered(f"{place}.grants", entry.grants):
            yield from _once(seen, grant.id, f"{spot}.id", "grant id")

    def _consumers(self, place: str, entry: KeyEntry) -> Iterator[Finding]:
        seen: dict[str, str] = {}
        for spot, consumer in _numbered(f"{place}.consumers", entry.consumers):
            yield from _once(seen, consumer.id, f"{spot}.id", "consumer id")
            if self._stores is None:
                continue
            fitting = sorted(name for name in self._stores if _fits(name, entry.cloud))
            if consumer.store not in fitting:
                yield Finding(
                    f"{spot}.store",
                    f"store {consumer.store!r} is not in the impact table for {entry.cloud}",
                    f"write one of: {', '.join(fitting)}",
                )
                continue
            facts = sorted(self._stores[consumer.store])
            for name in consumer.topology:
                if name not in facts:
                    yield Finding(
                        f"{spot}.topology.{name}",
                        f"topology {name!r} changes nothing for {consumer.store}",
                        f"known here: {', '.join(facts)}" if facts else "leave the topology of this store out",
                    )


def _aws_key(place: str, aws: AwsKey, key: str) -> Iterator[Finding]:
    arn = _parsed(key)
    has_store = aws.custom_key_store_id is not None
    if has_store and aws.origin not in _WITH_STORE:
        yield Finding(
            f"{place}.custom_key_store_id",
            f"a key of origin {aws.origin} is in no custom key store",
            "leave custom_key_store_id out, or set origin: AWS_CLOUDHSM or EXTERNAL_KEY_STORE",
        )
    if not has_store and aws.origin in _WITH_STORE:
        yield Finding(
            place,
            f"a key of origin {aws.origin} needs the id of its custom key store",
            "add custom_key_store_id: cks-...",
        )
    yield from _multi_region(f"{place}.multi_region", aws, arn, key)
    beside = f"arn:{arn.partition}:kms:{arn.region}:{arn.account}:alias/"
    for spot, alias in _numbered(f"{place}.aliases", aws.aliases):
        if not alias.startswith(beside):
            yield Finding(
                spot, f"alias {alias} is not in the account and the region of the key", f"write it as {beside}NAME"
            )


def _multi_region(place: str, aws: AwsKey, arn: _Arn, key: str) -> Iterator[Finding]:
    family = aws.multi_region
    if family is None:
        return
    if not arn.resource.startswith("key/mrk-") or aws.origin in _WITH_STORE:
        yield Finding(
            place,
            "only a key whose id begins with mrk-, of origin AWS_KMS or EXTERNAL, has a multi-Region family",
            "leave multi_region out, or correct the key's ARN or origin",
        )
        return
    own = canonical(key)
    for spot, member in [(f"{place}.primary", family.primary), *_numbered(f"{place}.replicas", family.replicas)]:
        other = _parsed(canonical(member))
        if (other.partition, other.account, other.resource) != (arn.partition, arn.account, _parsed(own).resource):
            yield Finding(
                spot,
                f"{member} is not of the same family as the key",
                "all keys of a family have the same partition, account and key id; only the region differs",
            )
    if (canonical(family.primary) == own) != (family.type == "PRIMARY"):
        yield Finding(
            f"{place}.type",
            f"type is {family.type}, which does not fit the primary {family.primary}",
            "set type: PRIMARY exactly when primary is this key's own ARN, else REPLICA",
        )


def _named_checks(place: str, entry: KeyEntry) -> Iterator[Finding]:
    """Find what the exception says of pre-flight checks that there are not: it would count for nothing."""
    if entry.exception is None or not (entry.exception.deviations or entry.exception.statements):
        return
    known = {one.id for one in (*CHECKS, *listed(entry.cloud))}
    deviations = [one.check for one in entry.exception.deviations]
    statements = [one.check for one in entry.exception.statements]
    for what, said in (("deviations", deviations), ("statements", statements)):
        seen: dict[str, str] = {}
        for spot, check in _numbered(f"{place}.{what}", said):
            if check not in known:
                close = get_close_matches(check, sorted(known), n=1, cutoff=0.5)
                meant = f"did you mean {close[0]}? " if close else ""
                yield Finding(
                    f"{spot}.check",
                    f"{check!r} is no pre-flight check of a key on {entry.cloud}",
                    f"{meant}`byok-watchdog register check` lists the checks of the imported keys with their ids",
                )
            yield from _once(seen, check, f"{spot}.check", "check")


def _spelling(place: str, entry: KeyEntry) -> Iterator[Finding]:
    form = KEY_FORMS[entry.cloud]
    if re.search(form.pattern, entry.key):
        return
    others = [name for name, other in KEY_FORMS.items() if re.search(other.pattern, entry.key)]
    fix = f"set cloud: {others[0]}" if others else f"write it like {form.example}"
    yield Finding(f"{place}.key", f"{entry.key[:100]!r} is not {form.name}", fix, misleads=True)


def _of_clouds(document: Document) -> Iterator[Finding]:
    """Ask the rules of Azure and Google Cloud; only a register that names one of them pays for its rules."""
    named = _named(document)
    if named <= {"aws"}:
        return
    register = Register(document)
    if "azure" in named:
        from watchdog.clouds.azure import fit as azure  # noqa: PLC0415 - see above

        yield from (Finding(*found) for found in azure.findings(register))
    if "gcp" in named:
        from watchdog.clouds.gcp import fit as gcp  # noqa: PLC0415 - see above

        yield from (Finding(*found) for found in gcp.findings(register))


def _named(document: Document) -> set[str]:
    """Return the clouds that have a key or a section in the document."""
    sides = (document.vendor, *document.customers)
    named = {cloud for cloud in ("azure", "gcp") if any(getattr(side, cloud) is not None for side in sides)}
    return named | {
        entry.cloud for customer in document.customers for instance in customer.instances for entry in instance.keys
    }


# ------------------------------------------------------------------------------------------------------------- small


def _numbered(place: str, items: Sequence[T]) -> Iterator[tuple[str, T]]:
    for number, item in enumerate(items):
        yield f"{place}[{number}]", item


def _once(seen: dict[str, str], name: str, place: str, what: str) -> Iterator[Finding]:
    before = seen.setdefault(name, place)
    if before != place:
        yield Finding(
            place, f"{what} {name} stands at {before} already", "each must be named once: rename or remove one"
        )


def _parsed(arn: str) -> _Arn:
    _, partition, _, region, account, resource = (arn.split(":", 5) + [""] * 5)[:6]
    return _Arn(partition, region, account, resource)


def _fits(store: str, cloud: str) -> bool:
    return store.startswith(f"{cloud}.") or not store.startswith(_CLOUDS)
