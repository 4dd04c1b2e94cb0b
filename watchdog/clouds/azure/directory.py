"""The Entra audit log: service principals at the customers, applications and identities at the vendor (azure.md 3.8).

Objects are matched by id, never by display name, and only in the tenant in which they are registered.
"""

from collections.abc import Callable, Iterable

from msgspec import Struct

from watchdog.clouds.azure.case import Case, DistrustedError, quiet, refused
from watchdog.clouds.azure.fields import UnreadableError, embedded, items, mapping, pick, text, texts, truth
from watchdog.clouds.azure.index import Estate, WatchedKey
from watchdog.clouds.azure.record import Directory, Modified
from watchdog.clouds.azure.rules import ENTRA_LOG, Rule, Seen, Stream, table
from watchdog.register_azure import AzureApp
from watchdog.signals import Signal
from watchdog.words import Effect, Means

CREDENTIALS = "federatedidentitycredentials"
ENABLED = "accountenabled"
APPLICATION_IDS = frozenset({"appprincipalid", "appid", "targetid.serviceprincipalnames"})


class Principal(Struct, frozen=True):
    """A registered object that a record names, with the keys behind it and the words for it.

    `owner` is the side whose tenant it lives in; `app` is there for an application of the vendor.
    """

    case: Case
    owner: Estate
    keys: tuple[WatchedKey, ...]
    subject: str
    modified: tuple[Modified, ...] = ()
    app: AzureApp | None = None

    def of_keys(self, effect: Effect, reason: str, *, subject: str | None = None) -> list[Signal]:
        """Write a signal about each key behind it."""
        return [
            self.case.signal(
                effect,
                reason,
                key,
                fault=self.owner.fault,
                means=Means.IDENTITY,
                subject=subject or self.subject,
            )
            for key in self.keys
        ]


Meaning = Callable[[Principal], list[Signal]]


# ---------------------------------------------------------------------------------------------------------------- rules


def removed(principal: Principal) -> list[Signal]:
    """Say that it was removed; for 30 days it can be restored, a new one has another object id."""
    return principal.of_keys(
        Effect.ACCESS_REVOKED, f"The {principal.subject} was removed: no token is given out any more."
    )


def erased(principal: Principal) -> list[Signal]:
    """Say that it was removed from the recycle bin too; only a new one, with new grants, helps."""
    return principal.of_keys(
        Effect.ACCESS_REVOKED, f"The {principal.subject} was removed for good: only a new one helps."
    )


def restored(principal: Principal) -> list[Signal]:
    """Say that it was restored, under its old object id: its grants count again."""
    return principal.of_keys(Effect.ACCESS_GRANTED, f"The {principal.subject} was restored, under its old object id.")


def consented(principal: Principal) -> list[Signal]:
    """Say that the vendor's application was consented to anew."""
    reason = "The vendor's application was consented to anew: the grants of its old object id point nowhere."
    return principal.of_keys(Effect.ACCESS_CHANGED, reason)


def updated(principal: Principal) -> list[Signal]:
    """Judge an update of a service principal: of weight is only whether it may sign in."""
    for change in principal.modified:
        if change.name.lower() == ENABLED:
            return _switched(principal, change)
    return []


def _switched(principal: Principal, change: Modified) -> list[Signal]:
    old, new = _flag(change.old), _flag(change.new)
    subject = f"sign-in of {principal.subject}"
    if new is False:
        return principal.of_keys(Effect.ACCESS_REVOKED, f"The {subject} was switched off.", subject=subject)
    if new is None:
        reason = f"The {subject} was changed, and the record does not say how."
        return principal.of_keys(Effect.ACCESS_CHANGED, reason, subject=subject)
    if old:
        return []
    return principal.of_keys(Effect.ACCESS_GRANTED, f"The {subject} was switched on.", subject=subject)


def application_updated(principal: Principal) -> list[Signal]:
    """Judge an update of the vendor's application: each registered federated credential must still be there."""
    for change in principal.modified:
        if change.name.lower() == CREDENTIALS:
            return _credentials(principal, change.new)
    return []


def _credentials(principal: Principal, new: object) -> list[Signal]:
    left = subjects_in(new)
    registered = [one.subject for one in principal.app.federated_credentials] if principal.app else []
    if left is None:
        reason = "The federated credentials of the vendor's application were changed, and the record does not say how."
        return principal.of_keys(Effect.ACCESS_CHANGED, reason)
    missing = [subject for subject in registered if subject.lower() not in left]
    if not missing:
        return []
    reason = f"The vendor removed the federated credential for {missing[0]} from its own application."
    return principal.of_keys(Effect.ACCESS_REVOKED, reason, subject=f"federated credential {missing[0]}")


def subjects_in(value: object) -> set[str] | None:
    """Return the subjects in a list of federated credentials, JSON in text included; None when it cannot be read."""
    inner = embedded(value)
    if not isinstance(inner, list):
        return set() if value in (None, "", "null") else None
    found: set[str] = set()
    for one in inner:
        entry = embedded(one)
        if isinstance(entry, list):
            nested = subjects_in(entry)
            if nested is None:
                return None
            found |= nested
            continue
        subject = text(pick(mapping(entry), "Subject"))
        if subject is None:
            return None
        found.add(subject.lower())
    return found


def _flag(value: object) -> bool | None:
    """Read `[false]`: a list of one, or the value itself."""
    listed = items(embedded(value))
    return truth(listed[0]) if len(listed) == 1 else None


# ---------------------------------------------------------------------------------------------------------------- table


def _rule(operation: str, effect: str, note: str, meaning: Meaning | None, *, seen: Seen) -> Rule[Principal]:
    return Rule(
        operation=operation,
        effect=effect,
        note=note,
        source=ENTRA_LOG,
        seen=seen,
        stream=Stream.DIRECTORY,
        meaning=meaning,
    )


_THERE, _HERE = Seen.DIRECTORY, Seen.VENDOR_DIRECTORY
OF_PRINCIPALS: tuple[Rule[Principal], ...] = (
    _rule("Remove service principal", "access_revoked", "restorable for 30 days", removed, seen=_THERE),
    _rule(
        "Hard delete service principal", "access_revoked", "only a new one helps, with new grants", erased, seen=_THERE
    ),
    _rule("Update service principal", "access_revoked or access_granted", "AccountEnabled only", updated, seen=_THERE),
    _rule("Restore service principal", "access_granted", "the name is not confirmed", restored, seen=_THERE),
)
OF_APPLICATIONS: tuple[Rule[Principal], ...] = (
    _rule("Update application", "access_revoked", "vendor's: a credential is missing", application_updated, seen=_HERE),
    _rule("Delete application", "access_revoked", "vendor's own application", removed, seen=_HERE),
    _rule("Hard delete application", "access_revoked", "vendor's own application", erased, seen=_HERE),
    _rule("Restore application", "access_granted", "vendor's own application", restored, seen=_HERE),
)
CONSENTED = _rule(
    "Add service principal",
    "access_changed",
    "of the vendor's application: new object id, old grants point nowhere",
    consented,
    seen=_THERE,
)
CONSENT_REVOKED = _rule(
    "Remove app role assignment from service principal",
    "no_effect",
    "permissions in the directory, not on the vault",
    None,
    seen=Seen.NOT_NEEDED,
)
RULES = (*OF_PRINCIPALS, CONSENTED, *OF_APPLICATIONS, CONSENT_REVOKED)
PRINCIPALS, APPLICATIONS = table(OF_PRINCIPALS), table(OF_APPLICATIONS)


# -------------------------------------------------------------------------------------------------------------- reading


def signals(record: Directory, case: Case) -> list[Signal]:
    """Tell what a directory record means. Raises DistrustedError, UnreadableError."""
    found: list[Signal] = []
    name = (record.operation or "").lower()
    for object_id, _, modified in record.targets:
        principal = _registered(object_id, modified, case)
        if principal is None:
            continue
        _believe(record, principal)
        if not name:
            raise UnreadableError("a directory record about a registered object without an operation")
        found += _told(record, principal, name)
    if name == CONSENTED.operation.lower():
        found += _consented(record, case)
    return found or quiet(f"{record.operation} concerns no registered principal or application, or not its access.")


def _registered(object_id: str, modified: tuple[Modified, ...], case: Case) -> Principal | None:
    index = case.index
    estate, app, identity = index.principals.get(object_id), index.apps.get(object_id), index.identities.get(object_id)
    if estate:
        return Principal(case, estate, tuple(estate.keys), f"service principal {object_id}", modified)
    if index.vendor is None:
        return None
    if app:
        keys = tuple(index.keys_served_by(app))
        return Principal(case, index.vendor, keys, f"application {object_id}", modified, app)
    if identity:
        keys = tuple(index.keys_served_through(identity))
        return Principal(case, index.vendor, keys, f"service principal {object_id}", modified)
    return None


def _believe(record: Directory, principal: Principal) -> None:
    if record.tenants != {principal.owner.tenant}:
        said = " and ".join(sorted(record.tenants)) or "none"
        raise DistrustedError(f"{principal.subject} lives in tenant {principal.owner.tenant}, the record says {said}")


def _told(record: Directory, principal: Principal, name: str) -> list[Signal]:
    rule = (APPLICATIONS if principal.app else PRINCIPALS).get(name)
    return _judged(record, principal, rule.meaning) if rule and rule.meaning else _unknown(record, principal)


def _judged(record: Directory, principal: Principal, meaning: Meaning) -> list[Signal]:
    if record.succeeded:
        return meaning(principal)
    said = principal.of_keys(Effect.ACCESS_CHANGED, "")
    return refused(said, f"{record.operation} did not succeed ({record.result or 'no result'})")


def _unknown(record: Directory, principal: Principal) -> list[Signal]:
    """Surface what deletes the object itself under a name that nobody knows; the rest is about its surroundings."""
    if record.kind != "delete" or not record.succeeded or len(record.targets) != 1:
        return []
    reason = f"An operation that is not known here ({record.operation}) was done to the {principal.subject}."
    return principal.of_keys(Effect.ACCESS_CHANGED, reason)


def _consented(record: Directory, case: Case) -> list[Signal]:
    """Judge the consent to an application: of weight in a customer's tenant, for the application that it names."""
    named = {one for _, _, modified in record.targets for one in _application_ids(modified)}
    new = next((object_id for object_id, _, _ in record.targets if object_id), "")
    return [
        signal
        for tenant in record.tenants
        for estate in case.index.by_tenant.get(tenant, [])
        if estate.customer is not None and estate.app in named
        for signal in _judged(
            record, Principal(case, estate, tuple(estate.keys), f"new service principal {new}"), consented
        )
    ]


def _application_ids(modified: Iterable[Modified]) -> set[str]:
    found: set[str] = set()
    for change in modified:
        if change.name.lower() in APPLICATION_IDS:
            for value in texts(embedded(change.new)) or texts(change.new):
                found |= {part.strip().lower() for part in value.split(";")}
    return found
