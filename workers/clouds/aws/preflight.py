"""The reader of AWS: what makes a key hard to lose, asked by boto3, partly from the key's own account.

DescribeKey and ListGrants answer the vendor's principal. Everything else about a key can be seen by a role of the key's
own account only (aws.md 7): the customer's audit role, else the probe's principal where that is such a role.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from watchdog.clouds.aws.arns import parse
from watchdog.clouds.aws.index import account_of, region_of
from watchdog.clouds.aws.preflight import Absent, Described, ForwardRule, Held, Reading, Trail, audit_role, judge
from watchdog.preflight import Checked, Unread
from watchdog.probing import Answer
from watchdog.register import Register, RegisteredKey
from workers.clouds.aws.probing import ERRORS, Call, Callers, Limits, NoCaller, Said, said_of

T = TypeVar("T")

DEADLINE = 30.0
PAGES = 50  # more pages of grants, tags, aliases or targets than any key has

_NOT_THERE = frozenset({"TrailNotFoundException", "ResourceNotFoundException"})
_GONE = Unread(why="It is not there.")

Answered = Mapping[str, Any]


def reader() -> "AwsReader":
    """Return the reader of AWS keys. Standard variables (AWS_ENDPOINT_URL_KMS and the like) are honoured by boto3."""
    return AwsReader()


class AwsReader:
    """Reads and judges the keys of AWS. Safe between threads; clients are shared as those of probes are."""

    cloud = "aws"

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits or Limits(deadline=DEADLINE)
        self._now = now
        self._monotonic = monotonic
        self._callers = Callers(self._limits, now)

    def check(self, key: RegisteredKey, register: Register) -> Sequence[Checked]:
        """Ask and judge, about 30 seconds at most in whole; every check of the list, always in its order."""
        return judge(self.read(key, register), key, register, at=self._now())

    def read(self, key: RegisteredKey, register: Register) -> Reading:
        """Ask all that the checks look at; what is not answered stands as `Unread` in its place."""
        until = self._monotonic() + self._limits.deadline - self._limits.connect - self._limits.read
        return _Visit(key, register, self._callers, lambda: self._monotonic() < until).reading()

    def close(self) -> None:
        """Let go of connections."""
        self._callers.close()


@dataclass(frozen=True, slots=True)
class _Role:
    """Who asks: a role, or (None) what the watchdog is. With `closed` nobody can ask, for the reason that it gives."""

    arn: str | None = None
    closed: str = ""


class _Visit:
    """One key read once. `may_start` tells whether another call still fits into the time."""

    def __init__(self, key: RegisteredKey, register: Register, callers: Callers, may_start: Callable[[], bool]) -> None:
        self._key = key
        self._register = register
        self._callers = callers
        self._may_start = may_start
        self._vendors = _Role(key.entry.probe.principal if key.entry.probe else None)
        self._owners = self._within()

    def reading(self) -> Reading:
        key, ours = self._key, self._key.customer_owned
        described = self._either(self._described)
        store = described.store if isinstance(described, Described) else None
        feeds, vendor = key.customer.aws.feeds, self._register.vendor.aws
        rules = feeds.rules if ours else vendor.feeds.rules if vendor else []
        return Reading(
            key=described,
            grants=self._either(self._grants),
            policy=self._policy(),
            tags=self._tags(),
            aliases=self._aliases() if key.entry.aws.aliases else (),
            store=self._store(store) if store else None,
            trails={arn: self._trail(arn) for arn in feeds.trails} if ours else {},
            rules={arn: self._rule(arn) for arn in rules if _is_beside(arn, key)},
        )

    # -------------------------------------------------------------------------------------------------- across accounts

    def _either(self, ask: Callable[[_Role], T | Unread]) -> T | Unread:
        """Ask as the vendor's principal; where that is refused, as the role in the key's account."""
        found = ask(self._vendors)
        refused = isinstance(found, Unread) and not self._owners.closed and self._owners != self._vendors
        return ask(self._owners) if refused else found

    def _described(self, role: _Role) -> Described | Unread:
        said = self._ask("kms", "DescribeKey", lambda client: client.describe_key(KeyId=self._key.id), role)
        if isinstance(said, Unread):
            return said
        metadata = said.get("KeyMetadata") or {}
        if not metadata.get("KeyState"):
            return Unread(why="The answer to DescribeKey names no state.")
        relatives = metadata.get("MultiRegionConfiguration") or {}
        family = [relatives.get("PrimaryKey") or {}, *(relatives.get("ReplicaKeys") or ())]
        valid_to = metadata.get("ValidTo")
        return Described(
            arn=str(metadata.get("Arn") or ""),
            state=str(metadata["KeyState"]),
            manager=str(metadata.get("KeyManager") or ""),
            spec=str(metadata.get("KeySpec") or ""),
            usage=str(metadata.get("KeyUsage") or ""),
            origin=str(metadata.get("Origin") or ""),
            description=str(metadata.get("Description") or ""),
            expiration=metadata.get("ExpirationModel"),
            valid_to=valid_to.astimezone(UTC) if isinstance(valid_to, datetime) else None,
            store=metadata.get("CustomKeyStoreId"),
            multi_region=metadata.get("MultiRegion") is True,
            family=tuple(str(one["Arn"]) for one in family if one.get("Arn")),
        )

    def _grants(self, role: _Role) -> tuple[Held, ...] | Unread:
        listed = self._pages(
            "kms",
            "ListGrants",
            "Grants",
            lambda page: lambda client: client.list_grants(KeyId=self._key.id, Limit=100, **page),
            role,
        )
        if isinstance(listed, Unread):
            return listed
        return tuple(
            Held(
                id=str(one.get("GrantId") or ""),
                grantee=str(one.get("GranteePrincipal") or ""),
                issuer=str(one.get("IssuingAccount") or ""),
                operations=tuple(one.get("Operations") or ()),
            )
            for one in listed
        )

    # ----------------------------------------------------------------------------------------- in the key's own account

    def _within(self) -> _Role:
        """Find out as whom the key's own account can be asked."""
        role, account = audit_role(self._key), account_of(self._key)
        if role:
            return _Role(role)
        caller = self._vendors.arn
        if caller is None:
            said = self._ask("sts", "GetCallerIdentity", lambda client: client.get_caller_identity(), self._vendors)
            if isinstance(said, Unread):
                return _Role(closed=said.why)
            caller = str(said.get("Arn") or "")
        arn = parse(caller)
        if arn is not None and arn.account == account:
            return self._vendors
        closed = f"This can be read in account {account} only, and the watchdog asks as {caller or 'nobody'}."
        return _Role(closed=closed)

    def _policy(self) -> str | Unread:
        said = self._ask(
            "kms",
            "GetKeyPolicy",
            lambda client: client.get_key_policy(KeyId=self._key.id, PolicyName="default"),
            self._owners,
        )
        return said if isinstance(said, Unread) else str(said.get("Policy") or "")

    def _tags(self) -> Mapping[str, str] | Unread:
        listed = self._pages(
            "kms",
            "ListResourceTags",
            "Tags",
            lambda page: lambda client: client.list_resource_tags(KeyId=self._key.id, **page),
            self._owners,
        )
        if isinstance(listed, Unread):
            return listed
        return {str(one.get("TagKey")): str(one.get("TagValue")) for one in listed}

    def _aliases(self) -> tuple[str, ...] | Unread:
        listed = self._pages(
            "kms",
            "ListAliases",
            "Aliases",
            lambda page: lambda client: client.list_aliases(KeyId=self._key.id, **page),
            self._owners,
        )
        return listed if isinstance(listed, Unread) else tuple(str(one.get("AliasArn")) for one in listed)

    def _store(self, store: str) -> str | Unread:
        said = self._ask(
            "kms",
            "DescribeCustomKeyStores",
            lambda client: client.describe_custom_key_stores(CustomKeyStoreId=store),
            self._owners,
        )
        if isinstance(said, Unread):
            return said
        states = [one.get("ConnectionState") for one in said.get("CustomKeyStores") or ()]
        return str(states[0]) if states and states[0] else Unread(why=f"The key store {store} is not described.")

    def _trail(self, arn: str) -> Trail | Absent | Unread:
        region = _region(arn)
        about = self._ask("cloudtrail", "GetTrail", lambda client: client.get_trail(Name=arn), self._owners, region)
        if about is _GONE:
            return Absent()
        if isinstance(about, Unread):
            return about
        status = self._ask(
            "cloudtrail", "GetTrailStatus", lambda client: client.get_trail_status(Name=arn), self._owners, region
        )
        if isinstance(status, Unread):
            return status
        kept = self._ask(
            "cloudtrail",
            "GetEventSelectors",
            lambda client: client.get_event_selectors(TrailName=arn),
            self._owners,
            region,
        )
        if isinstance(kept, Unread):
            return kept
        return Trail(
            logging=status.get("IsLogging") is True,
            multi_region=(about.get("Trail") or {}).get("IsMultiRegionTrail") is True,
            selectors=_lowered({name: kept.get(name) for name in ("EventSelectors", "AdvancedEventSelectors")}),
        )

    def _rule(self, arn: str) -> ForwardRule | Absent | Unread:
        bus, name = _bus_and_name(arn)
        said = self._ask(
            "events",
            "DescribeRule",
            lambda client: client.describe_rule(Name=name, EventBusName=bus),
            self._owners,
        )
        if said is _GONE:
            return Absent()
        if isinstance(said, Unread):
            return said
        targets = self._pages(
            "events",
            "ListTargetsByRule",
            "Targets",
            lambda page: lambda client: client.list_targets_by_rule(Rule=name, EventBusName=bus, **page),
            self._owners,
        )
        if isinstance(targets, Unread):
            return targets
        return ForwardRule(
            enabled=str(said.get("State") or "").startswith("ENABLED"),
            pattern=said.get("EventPattern"),
            targets=tuple(str(one.get("Arn")) for one in targets),
        )

    # ------------------------------------------------------------------------------------------------------------ calls

    def _pages(
        self, service: str, operation: str, place: str, call: Callable[[Mapping[str, str]], Call], role: _Role
    ) -> list[Answered] | Unread:
        """Ask page after page; a list that is not complete says nothing of what is missing in it."""
        found: list[Answered] = []
        page: Mapping[str, str] = {}
        for _ in range(PAGES):
            said = self._ask(service, operation, call(page), role)
            if isinstance(said, Unread):
                return said
            found += said.get(place) or ()
            marker, token = said.get("NextMarker"), said.get("NextToken")
            if not (marker or token):
                return found
            page = {"Marker": marker} if marker else {"NextToken": str(token)}
        return Unread(why=f"{operation} goes on for more than {PAGES} pages.")

    def _ask(
        self, service: str, operation: str, call: Call, role: _Role, region: str | None = None
    ) -> Answered | Unread:
        right = f"{service}:{operation}"
        if role.closed:
            return Unread(why=role.closed, right=right)
        said = self._answered(service, operation, call, role, region or region_of(self._key))
        if said.answer is Answer.CREDENTIALS and self._may_start():
            # They may have been renewed, or revoked, since they were kept: once more with new ones.
            self._callers.forget(role.arn)
            said = self._answered(service, operation, call, role, region or region_of(self._key))
        if said.result is not None:
            return said.result
        if said.answer is Answer.NOT_FOUND and service != "kms":
            return _GONE
        return Unread(why=f"{said.words.rstrip('.')}.", right=right if said.answer is Answer.DENIED else "")

    def _answered(self, service: str, operation: str, call: Call, role: _Role, region: str) -> Said:
        late = Said(answer=Answer.UNREACHABLE, words=f"{operation}: no time was left to ask")
        if not self._may_start():
            return late
        try:
            client = self._callers.acting(service, role.arn, region)
            return Said(answer=Answer.OK, result=call(client)) if self._may_start() else late
        except NoCaller as none:
            return none.said
        except ERRORS as error:
            code = error.response.get("Error", {}).get("Code") if isinstance(error, ClientError) else None
            if code in _NOT_THERE:
                return Said(answer=Answer.NOT_FOUND, words=f"{operation}: {code}")
            return said_of(error, operation, in_store=False)


def _region(arn: str) -> str | None:
    parts = parse(arn)
    return parts.region if parts and parts.region else None


def _is_beside(arn: str, key: RegisteredKey) -> bool:
    """Whether a rule is of the account and the Region of a key."""
    parts = parse(arn)
    return parts is not None and (parts.account, parts.region) == (account_of(key), region_of(key))


def _bus_and_name(arn: str) -> tuple[str, str]:
    """Return the event bus and the name of a rule, which stand in its ARN as `rule/NAME` or `rule/BUS/NAME`."""
    bus, _, name = arn.partition(":rule/")[2].rpartition("/")
    return bus or "default", name


def _lowered(fields: Mapping[str, object]) -> Mapping[str, object]:
    """Return an answer of the SDK in the spelling of records, whose fields begin with a small letter."""
    return {name[:1].lower() + name[1:]: _lowered_one(value) for name, value in fields.items()}


def _lowered_one(value: object) -> object:
    if isinstance(value, list):
        return [_lowered_one(one) for one in value]
    return _lowered(value) if isinstance(value, dict) else value
