"""Settings of a vault or managed HSM after a write, compared with what is registered (azure.md 3.5).

Null means two things: in a *result* (a log record, a resource notification, a response) the setting is off or the
default, in a *request* it stays as it was. What is not there at all is not told, in both.
"""

from collections.abc import Collection, Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from watchdog.clouds.azure import access
from watchdog.clouds.azure.access import DATA_ACTIONS, Entry, Standing
from watchdog.clouds.azure.case import Case
from watchdog.clouds.azure.fields import embedded, items, mapping, pick, stated, text, texts, truth, whole
from watchdog.clouds.azure.index import Container, WatchedKey
from watchdog.signals import Signal
from watchdog.words import Effect, Means

Model = Literal["rbac", "access_policies"]

# What was changed, as the subject of a signal: the repair is told by it.
TENANT = "tenant of the vault"
MODEL = "permission model of the vault"
POLICY = "access policy of the vendor"
PERIMETER = "network security perimeter"
BYPASS = "exception for trusted services"
DEFAULT_ACTION = "default action of the firewall"
PUBLIC_ACCESS = "public network access"
SETTINGS = "network settings"
ADDRESSES = "addresses that the firewall lets through"
PURGE_PROTECTION = "purge protection"
RETENTION = "retention of deleted keys"

WORDS: dict[str, str] = {"rbac": "Azure roles", "access_policies": "access policies"}


class Settings(Struct, frozen=True, kw_only=True):
    """What a record says of a container; None is not told (or, in a request, unchanged)."""

    tenant: str | None = None
    model: Model | None = None
    listed: list[Entry] | None = None
    added: list[Entry] = []
    removed: list[Entry] = []
    default_action: str | None = None
    bypass: str | None = None
    public_access: str | None = None
    ip_rules: list[str] | None = None
    purge_protection: bool | None = None
    retention: int | None = None
    recovers: bool = False

    @property
    def tells_network(self) -> bool:
        """Whether any network setting is told."""
        return any(one is not None for one in (self.default_action, self.bypass, self.public_access))


def settings_of(fields: Mapping[str, object], *, is_result: bool) -> Settings:
    """Read the properties of a container."""
    acls = embedded(pick(fields, "networkAcls"))
    network = mapping(acls)
    listed = embedded(pick(fields, "accessPolicies"))
    rules = pick(network, "ipRules")
    return Settings(
        tenant=(text(pick(fields, "tenantId")) or "").lower() or None,
        model=_model(fields, is_result=is_result),
        listed=access.entries(listed) if isinstance(listed, list) else None,
        default_action=(text(pick(network, "defaultAction")) or "").lower() or None,
        # Where network rules are given without it, `bypass` is AzureServices (azure.md 2).
        bypass=(text(pick(network, "bypass")) or "azureservices").lower() if network else None,
        public_access=(text(pick(fields, "publicNetworkAccess")) or "").lower() or None,
        ip_rules=[_address(rule) for rule in items(rules)] if isinstance(rules, list) else None,
        purge_protection=_switch(fields, "enablePurgeProtection", is_result=is_result),
        retention=whole(pick(fields, "softDeleteRetentionInDays")),
        recovers=(text(pick(fields, "createMode")) or "").lower() == "recover",
    )


def of_record(properties: Mapping[str, object]) -> Settings | None:
    """Read the settings in a record of the vault's log; None when it carries none."""
    fields = embedded(pick(properties, "properties"))
    added = access.entries(pick(properties, "addedAccessPolicy")) or access.flat_entries(
        properties, "addedAccessPolicy"
    )
    removed = access.entries(pick(properties, "removedAccessPolicy")) or access.flat_entries(
        properties, "removedAccessPolicy"
    )
    if not (mapping(fields) or added or removed):
        return None
    told = settings_of(mapping(fields), is_result=True)
    return replace(told, added=added, removed=removed)


def written(case: Case, container: Container, said: Settings) -> list[Signal]:
    """Judge a write for each watched key in a container: the first thing that matches leads, one signal a key."""
    return [_written(case, container, key, said) for key in container.keys]


def _written(case: Case, container: Container, key: WatchedKey, said: Settings) -> Signal:
    return (
        _trust(case, container, key, said)
        or _policies(case, container, key, said)
        or _network(case, container, key, said)
        or _protection(case, container, key, said)
        or _granted(case, container, key, said)
        or _opened(case, key, said)
        or case.signal(Effect.NO_EFFECT, "The settings that matter for the key are as registered.", key)
    )


# ---------------------------------------------------------------------------------------------- tenant, model, policies


def _trust(case: Case, container: Container, key: WatchedKey, said: Settings) -> Signal | None:
    if said.tenant and said.tenant != container.tenant:
        reason = "The vault now trusts another tenant: every principal lost its access."
        return case.signal(Effect.ACCESS_REVOKED, reason, key, means=Means.IDENTITY, subject=TENANT)
    registered = container.facts.permission_model
    if said.model and registered not in ("mhsm_local_rbac", said.model):
        reason = f"The vault's permission model is now {WORDS[said.model]}: {WORDS[registered]} no longer count."
        return case.signal(Effect.ACCESS_REVOKED, reason, key, means=Means.ROLE_OR_POLICY, subject=MODEL)
    return None


def _policies(case: Case, container: Container, key: WatchedKey, said: Settings) -> Signal | None:
    found = standing(container, key, said)
    if found is None or found.standing is Standing.KEPT:
        return None
    return case.signal(found.effect, f"{_sentence(found.why)}.", key, means=Means.KEY_POLICY, subject=POLICY)


def standing(container: Container, key: WatchedKey, said: Settings) -> access.Access | None:
    """Judge what a write does to the vendor's access policy; None when it is not concerned.

    In a vault with Azure roles access policies do not count: an empty list is what every write of one carries.
    """
    principal = container.estate.principal
    if container.facts.permission_model != "access_policies" or principal is None:
        return None
    if said.listed is not None:
        return access.policy(said.listed, principal, key.needed)
    removed = [entry for entry in said.removed if entry.principal == principal]
    added = [entry for entry in said.added if entry.principal == principal]
    if any(entry.keys is None for entry in removed + added):
        return access.Access(Standing.UNKNOWN, "the change of the vendor's access policy cannot be read")
    gone = _named(removed) - _named(added)
    if gone & key.needed:
        return access.without(gone & key.needed, key.needed, "the access policy of the vendor's principal")
    return None if DATA_ACTIONS.keys() & key.needed - _named(added) else access.policy(added, principal, key.needed)


def _named(entries: Collection[Entry]) -> frozenset[str]:
    return frozenset[str]().union(*(entry.keys or frozenset() for entry in entries))


def _granted(case: Case, container: Container, key: WatchedKey, said: Settings) -> Signal | None:
    found = standing(container, key, said)
    if found is None or found.standing is not Standing.KEPT:
        return None
    return case.signal(Effect.ACCESS_GRANTED, f"{_sentence(found.why)}.", key, means=Means.KEY_POLICY, subject=POLICY)


# -------------------------------------------------------------------------------------------------------------- network


class Wall(Struct, frozen=True):
    """How tight the network is, from 0 (open) up. Trusted services pass up to 2; `subject` is what makes it so."""

    height: int
    subject: str
    why: str


def _wall(default_action: str, bypass: str, public_access: str) -> Wall:
    if public_access == "securedbyperimeter":
        return Wall(4, PERIMETER, "a network security perimeter is enforced, which shuts out trusted services too")
    if default_action == "deny" and bypass == "none":
        return Wall(3, BYPASS, "the firewall denies by default, without an exception for trusted services")
    if public_access == "disabled":
        return Wall(2, PUBLIC_ACCESS, "public network access is off; private endpoints and trusted services may pass")
    if default_action == "deny":
        return Wall(1, DEFAULT_ACTION, "the firewall denies by default; trusted services may still pass")
    return Wall(0, DEFAULT_ACTION, "the network is open")


def _walls(container: Container, said: Settings) -> tuple[Wall, Wall]:
    """Return the wall as registered and as written; what is not told is as registered."""
    known = container.facts.network
    default_action, bypass = known.default_action.lower(), known.bypass.lower()
    public_access = known.public_network_access.lower()
    return (
        _wall(default_action, bypass, public_access),
        _wall(said.default_action or default_action, said.bypass or bypass, said.public_access or public_access),
    )


def _network(case: Case, container: Container, key: WatchedKey, said: Settings) -> Signal | None:
    if not said.tells_network:
        return None
    registered, now = _walls(container, said)
    if now.height > registered.height:
        reason = f"{_sentence(now.why)}."
        return case.signal(Effect.PATH_BLOCKED, reason, key, subject=now.subject, part=SETTINGS, probe=now.height < 3)
    missing = [
        one for one in container.facts.network.ip_rules if said.ip_rules is not None and one not in said.ip_rules
    ]
    if missing and now.subject == DEFAULT_ACTION and now.height:
        reason = f"The firewall no longer lets {', '.join(missing)} through; trusted services may still pass."
        return case.signal(Effect.PATH_BLOCKED, reason, key, subject=ADDRESSES, part=SETTINGS, probe=True)
    return None


def _opened(case: Case, key: WatchedKey, said: Settings) -> Signal | None:
    """Network settings that are there and no tighter than registered: a recovery, perhaps with nothing to recover."""
    if not said.tells_network:
        return None
    return case.signal(Effect.PATH_OPENED, "The network settings are no tighter than registered.", key, part=SETTINGS)


# ----------------------------------------------------------------------------------------------------------- protection


def _protection(case: Case, container: Container, key: WatchedKey, said: Settings) -> Signal | None:
    facts = container.facts
    if facts.purge_protection and said.purge_protection is False:
        reason = "Purge protection is off, although it is registered as on: a deleted key can be purged at any moment."
        return case.signal(Effect.PROTECTION_WEAKENED, reason, key, subject=PURGE_PROTECTION)
    if said.retention is not None and said.retention < facts.retention_days:
        reason = f"Deleted keys are kept for {said.retention} days only, not for {facts.retention_days} as registered."
        return case.signal(Effect.PROTECTION_WEAKENED, reason, key, subject=RETENTION)
    return None


# --------------------------------------------------------------------------------------------------------------- fields


def _model(fields: Mapping[str, object], *, is_result: bool) -> Model | None:
    told = _switch(fields, "enableRbacAuthorization", is_result=is_result)
    if told is None:
        return None
    return "rbac" if told else "access_policies"


def _switch(fields: Mapping[str, object], name: str, *, is_result: bool) -> bool | None:
    """Read a boolean; null counts as off in a result."""
    value = pick(fields, name)
    if value is None:
        return False if is_result and stated(fields, name) else None
    return truth(value)


def _address(rule: object) -> str:
    named = pick(mapping(rule), "value")
    return (text(named) or next(iter(texts(rule)), "")).removesuffix("/32")


def _sentence(why: str) -> str:
    return f"{why[:1].upper()}{why[1:]}"
