"""Pre-flight on Azure: what makes a key in a vault or managed HSM hard to lose, judged line by line.

The lines are those of responsibility.md 5.3. A command is written only where everything in it can stand in one (see
`repair`); what the vendor's principal may not read is `cannot verify`, with the role that would let it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from watchdog.clouds.azure import access, feeds, settings
from watchdog.clouds.azure.fields import items, mapping, pick, text
from watchdog.clouds.azure.ids import MANAGEMENT_GROUPS, canonical, holds, name_of
from watchdog.clouds.azure.index import Container, WatchedKey, index_of
from watchdog.clouds.azure.repair import ID, OPERATIONS, RESOURCE, Loss, steps
from watchdog.clouds.azure.roles import scope_of
from watchdog.clouds.azure.settings import Settings, settings_of
from watchdog.preflight import Check, Checked, Outcome, Unread, unverified
from watchdog.register import Register, RegisteredKey
from watchdog.words import Effect, Owner

_SOURCE = "responsibility.md 5.3"

PURGE = Check(id="azure.purge_protection", title="Purge protection is on", hard=True, source=_SOURCE)
RETENTION = Check(id="azure.retention", title="Deleted keys are kept for 90 days", hard=True, source=_SOURCE)
LOCK = Check(id="azure.lock", title="A lock keeps the vault from being deleted", source=_SOURCE)
MODEL = Check(
    id="azure.permission_model", title="The vault goes by Azure roles, not by access policies", source=_SOURCE
)
VENDOR_ROLE = Check(
    id="azure.vendor_role", title="The vendor's principal may get, wrap and unwrap, and nothing more", hard=True,
    source="responsibility.md 5.1 and 5.3",
)  # fmt: skip
BREAK_GLASS = Check(
    id="azure.break_glass", title="Deleting, purging and giving roles is left to break-glass access", source=_SOURCE
)
EXPIRY = Check(id="azure.expiry", title="No version in use runs out unwatched", source=_SOURCE)
VERSIONS = Check(id="azure.versions_enabled", title="Every version in use is enabled", source=_SOURCE)
NETWORK = Check(id="azure.network", title="The stores get through the vault's firewall", source=_SOURCE)
BACKUP = Check(id="azure.key_backup", title="A backup of the key was taken before its first use", source=_SOURCE)
TENANT = Check(id="azure.same_tenant", title="The stores accept a vault of its tenant", hard=True, source=_SOURCE)
REGION = Check(id="azure.same_region", title="The stores accept a vault of its region", hard=True, source=_SOURCE)
APPLICATION = Check(
    id="azure.enterprise_application", title="No clean-up can delete the vendor's enterprise application",
    source=_SOURCE,
)  # fmt: skip
DIAGNOSTIC = Check(
    id="azure.diagnostic_setting", title="The vault's AuditEvent log goes to the agreed destination", source=_SOURCE
)
TOPIC = Check(
    id="azure.more_than_the_topic", title="The watch does not rest on the vault's Event Grid topic", source=_SOURCE
)
CHECKS = (
    PURGE, RETENTION, LOCK, MODEL, VENDOR_ROLE, BREAK_GLASS, EXPIRY, VERSIONS, NETWORK, BACKUP, TENANT, REGION,
    APPLICATION, DIAGNOSTIC, TOPIC,
)  # fmt: skip
"""In the order in which they are shown."""

DAYS = 90
AS_GOOD_AS_NONE = timedelta(days=3652)
"""An expiry so far ahead counts as none: the CLI can move one, but not take it away."""

READER = "Reader"
"""The built-in role that reads a vault's settings, locks, role assignments and diagnostic settings, and no key."""
READING = frozenset(
    {
        "acdd72a7-3385-48ef-bd42-f606fba81ae7",  # Reader
        "21090545-7ca7-4776-b22c-e363652d74d2",  # Key Vault Reader
        "43d0d8ad-25c7-4714-9337-8ba259a9fe05",  # Monitoring Reader
    }
)
"""Built-in roles that can harm nothing; the first is what lets these checks be made."""
DESTROYING = {
    "00482a5a-887f-4fb3-b363-3b7fe8e74483": "Key Vault Administrator",
    "14b46e9e-c2b7-41b4-b07b-48a6ebf60603": "Key Vault Crypto Officer",
    "a68e7c17-0ab2-4c09-9a58-125dae29748c": "Key Vault Purge Operator",
}
"""Built-in roles whose holder can delete or purge a key, or purge a vault."""
GIVING = {
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635": "Owner",
    "b24988ac-6180-42a0-ab88-20f7382dd24c": "Contributor",
    "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9": "User Access Administrator",
    "f58310d9-a9f6-439a-9e8d-f62e7b41a168": "Role Based Access Control Administrator",
    "f25e0fa2-a7c8-4377-a976-54943a77a395": "Key Vault Contributor",
    "8b54135c-b56d-4d72-a534-26097cfdc8d8": "Key Vault Data Access Administrator",
}
"""Built-in roles whose holder can delete the vault or give roles on it; administrators of a subscription have them."""

NAMED = 10  # the most principals that are named in one line

MYSQL = "azure.mysql_flexible"
OF_ONE_REGION = frozenset({MYSQL, "azure.managed_disk"})
"""Stores that take a vault of their own region only (impact.md 6.2)."""


class Version(Struct, frozen=True, kw_only=True):
    """What the vault says of one version of the key; `found` is False when it has none of that name."""

    found: bool = True
    enabled: bool | None = None
    expires: datetime | None = None
    begins: datetime | None = None
    operations: frozenset[str] | None = None
    recovery_level: str = ""
    recoverable_days: int | None = None


class Reading(Struct, frozen=True, kw_only=True):
    """What was answered about one key: its versions in use, and documents as the resource manager writes them.

    `locks` are by the scope that was asked for them: a vault's own, those of its group, those of its subscription.
    """

    versions: Mapping[str, Version | Unread]
    vault: Mapping[str, object] | Unread
    locks: Mapping[str, Sequence[Mapping[str, object]] | Unread]
    assignments: Sequence[Mapping[str, object]] | Unread
    diagnostics: Sequence[Mapping[str, object]] | Unread


def judge(reading: Reading, key: RegisteredKey, register: Register, *, at: datetime) -> list[Checked]:
    """Judge every check of `CHECKS`, in that order."""
    index = index_of(register)
    watched = index.by_id.get(key.id)
    if watched is None:
        words = "The vault of the key is not registered, so nobody knows where to look."
        return unverified(CHECKS, words, "Register it under azure.containers of the key's owner.")
    case = _Case(key, register, watched, Loss(watched=watched, index=index), reading, at)
    return [_JUDGES[check.id](case, check) for check in CHECKS]


class _Case(Struct, frozen=True):
    key: RegisteredKey
    register: Register
    watched: WatchedKey
    loss: Loss
    reading: Reading
    at: datetime

    @property
    def container(self) -> Container:
        return self.watched.container

    @property
    def stores(self) -> set[str]:
        return {one.store for one in self.key.entry.consumers}

    @property
    def settings(self) -> Settings | Unread:
        """The vault's own settings."""
        vault = self.reading.vault
        if isinstance(vault, Unread):
            return vault
        told = mapping(pick(vault, "properties"))
        return settings_of(told, is_result=True) if told else Unread(why="the answer tells no settings of the vault")

    @property
    def found(self) -> list[Version]:
        return [one for one in self.reading.versions.values() if isinstance(one, Version) and one.found]

    def says(
        self, check: Check, outcome: Outcome, words: str, fix: str | None = None, owner: Owner | None = None
    ) -> Checked:
        """Write a line. What the customer would repair is the vendor's to repair where the vault is the vendor's."""
        ours = self.container.estate.customer is None
        return check.said(outcome, words, fix, Owner.VENDOR if ours else owner)

    def passes(self, check: Check, words: str) -> Checked:
        return self.says(check, Outcome.PASS, words)

    def fails(self, check: Check, words: str, fix: str | None, owner: Owner | None = None) -> Checked:
        return self.says(check, Outcome.FAIL, words, fix, owner)

    def unknown(self, check: Check, words: str, fix: str | None, owner: Owner | None = None) -> Checked:
        return self.says(check, Outcome.CANNOT_VERIFY, words, fix, owner)

    def unread(self, check: Check, why: Unread) -> Checked:
        """Say that a question was not answered, and with which role it would be."""
        role, _, scope = why.right.partition(" on ")
        fix: str | None = "Check again when it answers; `byok-watchdog probe` of the key tells more."
        if role and self.loss.principal and RESOURCE.fullmatch(scope):
            fix = (
                f"az role assignment create --assignee-object-id {self.loss.principal} "
                f'--assignee-principal-type ServicePrincipal --role "{role}" --scope {scope}'
            )
        elif why.right:
            fix = f"Give the vendor's principal what lets it read that: {why.right}."
        return self.unknown(check, f"It could not be read: {why.why}.", fix)

    def repair(self, effect: Effect, subject: str | None = None) -> str | None:
        """Return how a loss of that kind is undone: the command of its first step, else its words."""
        first = next(iter(steps(effect, self.key, self.register, subject=subject)), None)
        return (first.command or first.text) if first else None

    def missing(self) -> Unread:
        """Say why nothing is known of any version."""
        unread = [one for one in self.reading.versions.values() if isinstance(one, Unread)]
        return unread[0] if unread else Unread(why="the vault has none of the versions in use")


# ----------------------------------------------------------------------------------------------------------- the guards


def _purge_protection(case: _Case, check: Check) -> Checked:
    """Every key tells the posture of its vault in `recoveryLevel` (azure.md 2); the vault's own settings do too."""
    levels = {one.recovery_level for one in case.found if one.recovery_level}
    off = sorted(level for level in levels if level.lower().endswith("purgeable"))
    if off:
        words = f"The key says {off[0]}: once deleted, it can be purged at any moment."
        return case.fails(check, words, case.repair(Effect.PROTECTION_WEAKENED, settings.PURGE_PROTECTION))
    if levels:
        return case.passes(check, f"The key says {min(levels)}: a deleted key waits out its retention.")
    said = case.settings
    if isinstance(said, Unread):
        return case.unread(check, said if case.found else case.missing())
    if said.purge_protection:
        return case.passes(check, "The vault says that it is on.")
    words = "The vault does not say that it is on: a deleted key can be purged at any moment."
    return case.fails(check, words, case.repair(Effect.PROTECTION_WEAKENED, settings.PURGE_PROTECTION))


def _retention(case: _Case, check: Check) -> Checked:
    said = case.settings
    told = [one.recoverable_days for one in case.found if one.recoverable_days is not None]
    if not told and not isinstance(said, Unread) and said.retention is not None:
        told = [said.retention]
    if not told:
        why = said if isinstance(said, Unread) else Unread(why="the answers name no days")
        return case.unread(check, why if case.found else case.missing())
    if min(told) >= DAYS:
        return case.passes(check, f"They are kept for {min(told)} days.")
    fix = (
        f"The retention is fixed when a vault is made. Make a new one (az keyvault create --retention-days {DAYS} "
        "--enable-purge-protection true), and let the stores move to a key in it while this one works."
    )
    return case.fails(check, f"They are kept for {min(told)} days only.", fix)


def _lock(case: _Case, check: Check) -> Checked:
    listed = case.reading.locks.values()
    for lock in (one for found in listed if not isinstance(found, Unread) for one in found):
        place = canonical(pick(lock, "id")) or ""
        level = text(pick(mapping(pick(lock, "properties")), "level")) or ""
        if level.lower() in ("cannotdelete", "readonly") and holds(scope_of(place), case.container.id):
            return case.passes(check, f"{level} by {name_of(place)}, at {scope_of(place)}. No lock protects a key.")
    fix = case.repair(Effect.PROTECTION_WEAKENED, "lock no-delete")
    unread = [(canonical(scope), found) for scope, found in case.reading.locks.items() if isinstance(found, Unread)]
    if any(scope == case.container.id for scope, _ in unread) or not listed:
        return case.unread(check, unread[0][1] if unread else Unread(why="nobody was asked for locks"))
    if unread:  # to put one on the vault is less than to let the vendor read everything around it
        words = f"The vault has none of its own, and of what is above it could not be read: {unread[0][1].why}."
        return case.unknown(check, words, fix)
    return case.fails(check, "Neither the vault nor anything above it is locked.", fix)


def _network(case: _Case, check: Check) -> Checked:
    said = case.settings
    if isinstance(said, Unread):
        return case.unread(check, said)
    vault = mapping(pick(mapping(case.reading.vault), "properties"))
    endpoints = [
        one for one in items(pick(vault, "privateEndpointConnections"))
        if _approved(mapping(one)) and canonical(pick(mapping(one), "id"))
    ]  # fmt: skip
    if said.public_access == "securedbyperimeter":
        words = "A network security perimeter is enforced, which shuts out trusted services too."
        return case.fails(check, words, case.repair(Effect.PATH_BLOCKED, settings.PERIMETER))
    if said.default_action == "deny" and said.bypass == "none" and not endpoints:
        command = f"{case.loss.update} --bypass AzureServices" if case.loss.update else None
        words = "The firewall denies by default, with no exception for trusted services and no private endpoint."
        return case.fails(check, words, command or "Except trusted services from the vault's firewall.")
    if said.default_action == "deny" and said.bypass == "none":
        names = ", ".join(name_of(canonical(pick(mapping(one), "id")) or "") for one in endpoints)
        return case.passes(check, f"Through a private endpoint ({names}); trusted services are shut out.")
    if said.default_action == "deny" or said.public_access == "disabled":
        return case.passes(check, "The firewall denies by default, and trusted services are excepted.")
    return case.passes(check, "The network is open.")


def _approved(connection: Mapping[str, object]) -> bool:
    state = mapping(pick(mapping(pick(connection, "properties")), "privateLinkServiceConnectionState"))
    return (text(pick(state, "status")) or "").lower() == "approved"


# --------------------------------------------------------------------------------------------------------- who may what


def _permission_model(case: _Case, check: Check) -> Checked:
    if case.container.is_hsm:
        return case.passes(check, "A managed HSM knows local roles only.")
    said = case.settings
    if isinstance(said, Unread):
        return case.unread(check, said)
    match said.model:
        case "rbac":
            return case.passes(check, "It goes by Azure roles.")
        case "access_policies":
            return case.fails(check, "It goes by access policies.", _switched(case))
        case _:
            return case.unknown(check, "The vault does not say which it goes by.", _shown(case))


def _switched(case: _Case) -> str:
    """Say how the model is switched without cutting the vendor off in between."""
    change = f"`{case.loss.update} --enable-rbac-authorization true`" if case.loss.update else "switch the vault over"
    given = _assigned(case)
    first = f"`{given}`" if given else "assign the role Key Vault Crypto Service Encryption User to the vendor"
    return f"First {first} and the roles of everybody else, wait ten minutes, then {change}: policies count no more."


def _assigned(case: _Case) -> str | None:
    scope = case.container.facts.id
    if not (case.loss.principal and RESOURCE.fullmatch(scope)):
        return None
    return (
        f"az role assignment create --assignee-object-id {case.loss.principal} --assignee-principal-type "
        f'ServicePrincipal --role "Key Vault Crypto Service Encryption User" --scope {scope}'
    )


def _shown(case: _Case) -> str | None:
    return f"az keyvault show --name {case.loss.vault}{case.loss.subscription}" if case.loss.vault else None


class _Assignment(Struct, frozen=True):
    """A role assignment that reaches the key, ids canonical."""

    id: str
    principal: str
    role: str
    scope: str
    conditional: bool


def _assignments(case: _Case, listed: Iterable[Mapping[str, object]]) -> list[_Assignment]:
    """Read those that reach the key: a list of those at and above it names only management groups that are above."""
    here = f"{case.container.id}/keys/{case.watched.name.lower()}"
    found = []
    for one in listed:
        told = mapping(pick(one, "properties"))
        scope = canonical(pick(told, "scope"))
        made = _Assignment(
            id=canonical(pick(one, "id")) or "",
            principal=(text(pick(told, "principalId")) or "").lower(),
            role=name_of((text(pick(told, "roleDefinitionId")) or "").lower()),
            scope=scope or "",
            conditional=bool(text(pick(told, "condition"))),
        )
        if scope is not None and (holds(scope, here) or scope.startswith(MANAGEMENT_GROUPS)):
            found.append(made)
    return found


def _vendor_role(case: _Case, check: Check) -> Checked:
    principal = case.container.estate.principal
    if principal is None:
        fix = "Register service_principal: {object_id: ..., app_id: ...} of the vendor in this tenant."
        return case.unknown(check, "The vendor's principal in this tenant is not registered.", fix, Owner.VENDOR)
    if case.container.is_hsm:
        return case.unknown(check, _LOCAL, _local(case, f" --assignee-object-id {principal}"))
    said = case.settings
    by_policy = case.container.facts.permission_model == "access_policies"
    if not isinstance(said, Unread) and said.model is not None:
        by_policy = said.model == "access_policies"
    if by_policy:
        return case.unread(check, said) if isinstance(said, Unread) else _by_policy(case, check, said, principal)
    listed = case.reading.assignments
    if isinstance(listed, Unread):
        return case.unread(check, listed)
    mine = [one for one in _assignments(case, listed) if one.principal == principal]
    return _by_role(case, check, mine)


def _by_role(case: _Case, check: Check, mine: Sequence[_Assignment]) -> Checked:
    sufficient = case.loss.index.sufficient
    enough = [one for one in mine if one.role in sufficient]
    more = [one for one in mine if one.role not in sufficient | READING]
    if more:
        names = ", ".join(sorted({DESTROYING.get(one.role) or GIVING.get(one.role) or one.role for one in more}))
        fits = all(RESOURCE.fullmatch(one.id) for one in more)
        command = f"az role assignment delete --ids {' '.join(one.id for one in more)}"
        fix = command if fits else "Take these roles from the vendor's principal."
        if not enough:
            first = _assigned(case) or "assign the role Key Vault Crypto Service Encryption User to it"
            fix = f"First `{first}`, wait ten minutes for it to count, then `{fix}`."
        return case.fails(check, f"It holds more than the key needs: {names}.", fix)
    if not enough:
        words = "No role that suffices is assigned to it on the key, on the vault or above."
        return case.fails(check, words, _assigned(case) or case.repair(Effect.ACCESS_REVOKED))
    if all(one.conditional for one in enough):
        words = "Its role is bound to a condition, which only a probe can judge."
        return case.unknown(check, words, _assigned(case))
    notes = []
    if not any(holds(case.container.id, one.scope) for one in enough):
        notes.append("it is assigned above the vault, and so reaches other keys too")
    if not any(name_of(one.id) in case.loss.index.grants for one in enough):
        notes.append(f"its id is not in the register ({name_of(enough[0].id)}), so its deletion would not be told")
    return case.passes(check, f"{'; '.join(['It holds a role that suffices, and no other', *notes])}.")


def _by_policy(case: _Case, check: Check, said: Settings, principal: str) -> Checked:
    command = (
        f"az keyvault set-policy --name {case.loss.vault} --object-id {principal} "
        f"--key-permissions get wrapKey unwrapKey{case.loss.subscription}"
    )
    fix = command if case.loss.vault and ID.fullmatch(principal) else "Correct the access policy of the vendor."
    found = access.policy(said.listed or [], principal, case.watched.needed)
    if found.standing is access.Standing.UNKNOWN:
        return case.unknown(check, f"{_sentence(found.why)}.", _shown(case))
    if found.standing is not access.Standing.KEPT:
        return case.fails(check, f"{_sentence(found.why)}.", fix)
    held = frozenset[str]().union(*(one.keys or () for one in said.listed or [] if one.principal == principal))
    others = _on_other_objects(case, principal)
    more = sorted(held - access.DATA_ACTIONS.keys() - {"list"}) + sorted(others)
    if more:
        words = f"Its access policy permits more than the key needs: {', '.join(more)}."
        rest = f"`{fix}`; and take from it what it may do with other objects ({', '.join(sorted(others))})."
        return case.fails(check, words, rest if others else fix)
    return case.passes(check, "Its access policy permits what the key needs, and no more.")


def _on_other_objects(case: _Case, principal: str) -> set[str]:
    """Return on what kinds of objects beside keys a principal's access policies permit anything."""
    vault = mapping(pick(mapping(case.reading.vault), "properties"))
    kinds = {"secrets": "secret", "certificates": "certificate", "storage": "storage"}
    return {
        kind
        for one in items(pick(vault, "accessPolicies"))
        if (text(pick(mapping(one), "objectId")) or "").lower() == principal
        for field, kind in kinds.items()
        if items(pick(mapping(pick(mapping(one), "permissions")), field))
    }


def _break_glass(case: _Case, check: Check) -> Checked:
    if case.container.is_hsm:
        return case.unknown(check, _LOCAL, _local(case, ""))
    said = case.settings
    entries = [] if isinstance(said, Unread) else said.listed or []
    if not isinstance(said, Unread) and said.model == "access_policies":
        holders = {one.principal for one in entries if (one.keys or frozenset()) & {"delete", "purge", "all"}}
        if holders:
            words = f"Access policies let these principals delete or purge keys: {', '.join(sorted(holders))}."
            return case.fails(check, words, _TAKE_AWAY)
    listed = case.reading.assignments
    if isinstance(listed, Unread):
        return case.unread(check, listed)
    found = _assignments(case, listed)
    purging = [one for one in found if one.role in DESTROYING]
    if purging:
        return case.fails(
            check, f"These can delete or purge keys at any time: {_holders(purging, DESTROYING)}.", _TAKE_AWAY
        )
    giving = [one for one in found if one.role in GIVING]
    harmless = READING | case.loss.index.sufficient
    odd = [one for one in found if one.role not in harmless and one.role not in GIVING]
    if giving or odd:
        words = f"No built-in role that purges is held, but these could come to it: {_holders(giving + odd, GIVING)}."
        fix = "Ask the key's owner whether each of them is break-glass access, alarmed when used."
        return case.unknown(check, words, fix)
    return case.passes(check, "Nobody holds a role that deletes, purges or gives roles, on the key or above.")


def _holders(found: Iterable[_Assignment], names: Mapping[str, str]) -> str:
    who = sorted({f"{one.principal or 'unknown'} ({names.get(one.role, f'role {one.role}')})" for one in found})
    return ", ".join(who[:NAMED]) + (f" and {len(who) - NAMED} more" if len(who) > NAMED else "")


_TAKE_AWAY = (
    "Take these rights away from everyday accounts, and give them for a limited time only, to break-glass access "
    "(Privileged Identity Management)."
)
_LOCAL = "Local roles of a managed HSM are told to its own administrators only."


def _local(case: _Case, who: str) -> str:
    if case.loss.vault is None:
        return "Ask the key's owner for the local role assignments of the managed HSM."
    return f"az keyvault role assignment list --hsm-name {case.loss.vault}{who}"


# --------------------------------------------------------------------------------------------------------- the versions


def _expiry(case: _Case, check: Check) -> Checked:
    if not case.found:
        return case.unread(check, case.missing())
    ends = {
        version: one.expires for version, one in case.reading.versions.items()
        if isinstance(one, Version) and one.expires is not None and one.expires - case.at < AS_GOOD_AS_NONE
    }  # fmt: skip
    for version, end in ends.items():
        extend = case.repair(Effect.EXPIRY_AHEAD, version)
        if end <= case.at:
            return case.fails(check, f"Version {version} expired on {_day(end)}.", extend)
        if MYSQL in case.stores:
            words = f"Version {version} expires on {_day(end)}; MySQL flexible server asks for a key without an expiry."
            return case.fails(check, words, extend)
    unknown = [version for version, end in ends.items() if case.watched.versions.get(version) != end]
    if unknown:
        version, end = unknown[0], ends[unknown[0]]
        words = f"Version {version} expires on {_day(end)}, and the register does not say so."
        fix = (
            f"Write `expires: {end:%Y-%m-%dT%H:%M:%SZ}` beside the version in the register (azure.versions), if that "
            "date is agreed; else have it moved ahead."
        )
        return case.fails(check, words, fix, Owner.VENDOR)
    unread = [version for version, one in case.reading.versions.items() if isinstance(one, Unread)]
    if unread:
        return case.unread(check, case.missing())
    if ends:
        dates = ", ".join(f"{version} on {_day(end)}" for version, end in ends.items())
        return case.passes(check, f"Registered and watched: {dates}.")
    return case.passes(check, "No version in use has an expiry.")


def _versions_enabled(case: _Case, check: Check) -> Checked:
    if not case.watched.versions:
        fix = "List in azure.versions of the register each version that data is encrypted under."
        return case.unknown(check, "No version is registered as in use.", fix, Owner.VENDOR)
    unread = None
    for version in case.watched.versions:
        one = case.reading.versions.get(version, Unread(why=f"version {version} was not asked for"))
        if isinstance(one, Unread):
            unread = unread or one
        elif not one.found:
            words = f"Version {version} is not in the vault."
            return case.fails(check, words, case.repair(Effect.KEY_DELETION_SCHEDULED))
        elif one.enabled is False:
            return case.fails(check, f"Version {version} is disabled.", case.repair(Effect.KEY_DISABLED, version))
        elif one.begins is not None and one.begins > case.at:
            words = f"Version {version} is not valid before {_day(one.begins)}."
            return case.fails(check, words, _set(case, version, "--not-before 2020-01-01T00:00:00Z"))
        elif one.operations is not None and not one.operations >= {access.WRAP, access.UNWRAP}:
            words = f"Version {version} permits only: {', '.join(sorted(one.operations)) or 'nothing'}."
            return case.fails(check, words, _set(case, version, f"--ops {OPERATIONS}"))
        elif one.enabled is None:
            unread = unread or Unread(why=f"the answer does not say whether version {version} is enabled")
    if unread:
        return case.unread(check, unread)
    return case.passes(check, f"Enabled: {', '.join(case.watched.versions)}.")


def _set(case: _Case, version: str, options: str) -> str:
    if case.loss.target is None:
        return "Correct the attributes of the version."
    return f"az keyvault key set-attributes {case.loss.target} --version {version} {options}"


def _key_backup(case: _Case, check: Check) -> Checked:
    words = "Nobody but the key's owner knows. The blob restores the key in the same subscription and geography only."
    target = case.loss.target
    fix = f"az keyvault key backup {target} --file {case.watched.name}.backup" if target else _BACK_UP
    return case.unknown(check, words, fix)


_BACK_UP = "Take a backup of the key, and again after each change of it."


# ----------------------------------------------------------------------------------------------------------- the stores


def _same_tenant(case: _Case, check: Check) -> Checked:
    if not case.key.entry.consumers:
        return case.unknown(check, "No store is registered.", _NAME_STORES, Owner.VENDOR)
    if MYSQL not in case.stores:
        return case.passes(check, "No registered store needs a vault of its own tenant.")
    vendor = case.register.vendor.azure
    if vendor is None:
        words = "The vendor's tenant, in which its servers are, is not registered."
        return case.unknown(check, words, "Register vendor.azure.tenant.", Owner.VENDOR)
    ours, said = vendor.tenant.lower(), case.settings
    tenant = case.container.tenant if isinstance(said, Unread) else said.tenant or case.container.tenant
    if tenant == ours:
        return case.passes(check, "Vault and MySQL flexible server are in one tenant.")
    words = f"MySQL flexible server takes a vault of its own tenant only ({ours}); this one is in {tenant}."
    return case.fails(check, words, "Use another store for this instance, or grant no exception.", Owner.VENDOR)


def _same_region(case: _Case, check: Check) -> Checked:
    if not case.key.entry.consumers:
        return case.unknown(check, "No store is registered.", _NAME_STORES, Owner.VENDOR)
    bound = [one for one in case.key.entry.consumers if one.store in OF_ONE_REGION]
    if not bound:
        return case.passes(check, "No registered store needs a vault of its own region.")
    vault = case.reading.vault
    told = None if isinstance(vault, Unread) else text(pick(vault, "location"))
    region = _region(told or case.container.facts.location)
    elsewhere = [one for one in bound if region and one.region and _region(one.region) != region]
    if elsewhere:
        words = f"The vault is in {region}; {', '.join(f'{one.id} is in {one.region}' for one in elsewhere)}."
        return case.fails(check, words, "Use a vault of the stores' region, or grant no exception.", Owner.VENDOR)
    if not region or any(not one.region for one in bound):
        fix = "Register the location of the vault and the region of each consumer."
        return case.unknown(check, "The register does not say where they all are.", fix, Owner.VENDOR)
    return case.passes(check, f"Vault and stores are in {region}.")


def _region(name: str) -> str:
    """Write a region in one way: Azure tells `West Europe` and `westeurope` alike."""
    return name.replace(" ", "").lower()


_NAME_STORES = "Register what the key protects (consumers), with the region of each."


def _enterprise_application(case: _Case, check: Check) -> Checked:
    found = case.container.estate.facts.service_principal
    who = f"application {found.app_id}, object {found.object_id}" if found else "the vendor's application"
    words = "The directory of the key's owner is not readable from outside."
    fix = (
        f"Ask the key's owner to except {who} from every clean-up of unused applications; and keep the federated "
        "credential and the managed identity behind it out of yours."
    )
    return case.unknown(check, words, fix)


# ------------------------------------------------------------------------------------------------------------ the feeds


def _diagnostic_setting(case: _Case, check: Check) -> Checked:
    listed = case.reading.diagnostics
    if isinstance(listed, Unread):
        return case.unread(check, listed)
    there = {canonical(pick(one, "id")) or "": one for one in listed}
    sending = {name: one for name, one in there.items() if feeds.keeps_audit(one)}
    agreed = _registered(case)
    for place, destination in agreed.items():
        if place not in there:
            return case.fails(
                check, f"The registered setting {name_of(place)} is not there.", _setting(case, destination)
            )
        if place not in sending:
            words = f"The setting {name_of(place)} does not send the category {feeds.AUDIT_CATEGORY}."
            return case.fails(check, words, _setting(case, destination, name_of(place)))
        if destination and destination not in _destinations(there[place]):
            words = f"The setting {name_of(place)} sends it elsewhere than to {destination}."
            return case.fails(check, words, _setting(case, destination, name_of(place)))
    if agreed:
        return case.passes(check, f"By the setting {', '.join(map(name_of, agreed))}.")
    if sending:
        words = f"The log is sent by {', '.join(map(name_of, sending))}, but the register does not name that."
        fix = "Register it, with its destination, in feeds.diagnostic_settings, if it leads to the watch."
        return case.fails(check, words, fix, Owner.VENDOR)
    return case.fails(check, "No diagnostic setting of the vault sends it.", _setting(case, None))


def _more_than_the_topic(case: _Case, check: Check) -> Checked:
    if _registered(case):
        return case.passes(check, "A diagnostic setting of the vault is registered.")
    words = (
        "No diagnostic setting of the vault is registered: Event Grid does not tell when a key is disabled, deleted, "
        "purged or recovered."
    )
    return case.fails(check, words, _setting(case, None))


def _registered(case: _Case) -> dict[str, str | None]:
    """Return the registered diagnostic settings of the vault, each with its agreed destination, canonical."""
    listed = case.container.estate.facts.feeds.diagnostic_settings
    found = {canonical(one.id) or "": canonical(one.destination) for one in listed}
    return {place: destination for place, destination in found.items() if holds(case.container.id, place)}


def _destinations(setting: Mapping[str, object]) -> set[str]:
    """Return to what a setting sends: a hub is named by a rule of its namespace, and by its name."""
    told = mapping(pick(setting, "properties"))
    rule, hub = canonical(pick(told, "eventHubAuthorizationRuleId")), text(pick(told, "eventHubName"))
    found = {canonical(pick(told, name)) for name in ("storageAccountId", "workspaceId")}
    if rule:
        namespace = rule.partition("/authorizationrules/")[0]
        found |= {namespace, f"{namespace}/eventhubs/{hub.lower()}"} if hub else {namespace}
    return {one for one in found if one}


def _setting(case: _Case, destination: str | None, name: str = "to-vendor") -> str:
    vault = case.container.facts.id
    fits = RESOURCE.fullmatch(vault) and RESOURCE.fullmatch(destination or "") and RESOURCE.fullmatch(f"{vault}/{name}")
    namespace, of_hub, hub = (destination or "").partition("/eventhubs/")
    if of_hub:
        where = f"--event-hub {hub} --event-hub-rule {namespace}/authorizationRules/RootManageSharedAccessKey"
    elif "/microsoft.storage/" in (destination or ""):
        where = f"--storage-account {destination}"
    else:
        where, fits = "", None
    if not fits:
        return "Run the onboarding template (deploy/azure), and register the diagnostic setting that it makes."
    logs = f'[{{"category": "{feeds.AUDIT_CATEGORY}", "enabled": true}}]'
    return f"az monitor diagnostic-settings create --name {name} --resource {vault} {where} --logs '{logs}'"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def _sentence(why: str) -> str:
    return f"{why[:1].upper()}{why[1:]}"


_JUDGES: Mapping[str, Callable[[_Case, Check], Checked]] = {
    PURGE.id: _purge_protection,
    RETENTION.id: _retention,
    LOCK.id: _lock,
    MODEL.id: _permission_model,
    VENDOR_ROLE.id: _vendor_role,
    BREAK_GLASS.id: _break_glass,
    EXPIRY.id: _expiry,
    VERSIONS.id: _versions_enabled,
    NETWORK.id: _network,
    BACKUP.id: _key_backup,
    TENANT.id: _same_tenant,
    REGION.id: _same_region,
    APPLICATION.id: _enterprise_application,
    DIAGNOSTIC.id: _diagnostic_setting,
    TOPIC.id: _more_than_the_topic,
}
