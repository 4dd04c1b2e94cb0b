"""Roles: assignments, deny assignments and role definitions of Azure, and the local ones of a managed HSM (3.6)."""

from collections.abc import Iterable, Mapping

from watchdog.clouds.azure import access
from watchdog.clouds.azure.case import Case
from watchdog.clouds.azure.fields import mapping, pick, text
from watchdog.clouds.azure.ids import MANAGEMENT_GROUPS, canonical, name_of, subscription_of
from watchdog.clouds.azure.index import Container, Grant, Index, WatchedKey
from watchdog.clouds.azure.record import Change
from watchdog.signals import Signal
from watchdog.words import Effect, Means

AUTHORIZATION = "/providers/microsoft.authorization/"


def assignment_changed(case: Case, change: Change) -> list[Signal]:
    """Tell what a written or deleted role assignment means; `authorization.evidence` is the caller's, never read."""
    target = change.target or ""
    reader = case.index.readers.get(name_of(target))
    if reader and same_side(case.index, target, change.tenant, reader.estate.tenant):
        deleted = change.name.endswith("/delete")
        what = "was deleted" if deleted else "was written anew"
        return case.tampered(
            [reader], f"The role assignment that lets the watch read its feed {what}", probe=not deleted
        )
    known = [grant for grant in case.index.grants.get(name_of(target), []) if _is_genuine(case.index, change, grant)]
    if known:
        return [signal for grant in known for signal in _registered(case, change, grant)]
    return _unregistered(case, change)


def _registered(case: Case, change: Change, grant: Grant) -> list[Signal]:
    if not change.name.endswith("/delete"):
        reason = "A registered role assignment was written anew: a condition or a time limit may bind it now."
        return _changed(case, grant.keys, reason, subject_of(grant))
    return [revoked(case, grant, key, "The registered role assignment was deleted") for key in grant.keys]


def revoked(case: Case, grant: Grant, key: WatchedKey, what: str) -> Signal:
    """Say that a grant of a key is gone: access is lost, or may be, when the key has another registered one."""
    if has_another(key, grant):
        reason = f"{what}; the key has another registered one, so it may still be usable."
        effect = Effect.ACCESS_CHANGED
    else:
        reason = f"{what}, and the key has no other registered one."
        effect = Effect.ACCESS_REVOKED
    return case.signal(effect, reason, key, means=Means.IAM_BINDING, subject=subject_of(grant))


def _unregistered(case: Case, change: Change) -> list[Signal]:
    scope = scope_of(change.target or "")
    keys = [
        key for key in case.index.keys_in_scope(scope, change.tenant) if key.container.facts.permission_model == "rbac"
    ]
    return [signal for key in keys for signal in _of_unknown_id(case, change, key)]


def _of_unknown_id(case: Case, change: Change, key: WatchedKey) -> list[Signal]:
    body = _properties(change.request) or _properties(change.response)
    principal = text(pick(body, "principalId"))
    if principal and principal.lower() != key.container.estate.principal:
        return []
    role = name_of((text(pick(body, "roleDefinitionId")) or "").lower())
    if principal and role and not change.name.endswith("/delete"):
        if role not in case.index.sufficient:
            return []
        if not text(pick(body, "condition")):
            reason = "A role that suffices was assigned to the vendor's principal, without a condition."
            return [case.signal(Effect.ACCESS_GRANTED, reason, key, means=Means.IAM_BINDING)]
        reason = "A role was assigned to the vendor's principal under a condition, which only a probe can judge."
    else:
        reason = (
            "A role assignment above the key was changed, and the record does not prove what it does to the vendor."
        )
    return _changed(case, [key], reason, None)


def denial_changed(case: Case, change: Change) -> list[Signal]:
    """A deny assignment above a watched vault; the managed HSM knows none."""
    scope = scope_of(change.target or "")
    keys = [key for key in case.index.keys_in_scope(scope, change.tenant) if not key.container.is_hsm]
    what = "removed" if change.name.endswith("/delete") else "written"
    reason = f"A deny assignment above the vault was {what}: it may shut the vendor out."
    return [
        case.signal(Effect.ACCESS_CHANGED, reason, key, means=Means.ORG_CONTROL, subject="deny assignment")
        for key in keys
    ]


def scheduled(case: Case, change: Change) -> list[Signal]:
    """A request for an eligible or time-bound assignment above the key: what became of it only a probe can tell."""
    body = _properties(change.request) or _properties(change.response)
    principal = (text(pick(body, "principalId")) or "").lower()
    scope = scope_of(change.target or "")
    reason = "An assignment of limited time above the key was requested; the record does not say what became of it."
    return [
        signal
        for key in case.index.keys_in_scope(scope, change.tenant)
        if key.container.facts.permission_model == "rbac" and principal in ("", key.container.estate.principal)
        for signal in _changed(case, [key], reason, None)
    ]


def definition_changed(case: Case, change: Change) -> list[Signal]:
    """The definition of a role behind registered grants was written or deleted."""
    grants = case.index.by_role.get(name_of(change.target or ""), [])
    body = None if change.name.endswith("/delete") else change.request or change.response
    found = []
    for grant in grants:
        if grant.facts.kind == "role_assignment" and _is_genuine(case.index, change, grant):
            found += [_redefined(case, grant, key, body) for key in grant.keys]
    return found


def _redefined(case: Case, grant: Grant, key: WatchedKey, body: Mapping[str, object] | None) -> Signal:
    told = access.role(body, key.needed)
    effect, why = told.effect, told.why
    if has_another(key, grant):
        effect, why = Effect.ACCESS_CHANGED, f"{told.why}, and the key has another registered grant"
    reason = f"The role behind the vendor's grant was edited: {why}."
    return case.signal(effect, reason, key, means=Means.ROLE_OR_POLICY, subject=f"role definition {grant.facts.role}")


# ------------------------------------------------------------------------------------------------------ of managed HSMs


def local_changed(case: Case, container: Container, path: tuple[str, ...], *, deleted: bool) -> list[Signal]:
    """A role assignment or definition inside a managed HSM; `path` is that of the URL called (azure.md 3.6)."""
    at = path.index("providers") if "providers" in path else 0
    scope, assignment = path[:at], path[-1] if path else ""
    known = [grant for grant in case.index.grants.get(assignment, []) if _is_local_to(grant, container)]
    if known and deleted:
        what = "The registered local role assignment was deleted"
        return [revoked(case, grant, key, what) for grant in known for key in grant.keys]
    keys = container.keys
    if scope[:1] == ("keys",) and len(scope) > 1:
        keys = [key for key in container.keys if key.name.lower() == scope[1]]
    reason = "A local role of the managed HSM was changed, and the record does not say whose it is."
    return _changed(case, keys, reason, subject_of(known[0]) if known else None)


def _is_local_to(grant: Grant, container: Container) -> bool:
    return grant.facts.kind == "local_role_assignment" and canonical(grant.facts.container) == container.id


# ---------------------------------------------------------------------------------------------------------------- small


def has_another(key: WatchedKey, grant: Grant) -> bool:
    """Whether a key has a second registered grant."""
    return any(other is not grant for other in key.grants)


def subject_of(grant: Grant) -> str:
    """Name a grant as the subject of a signal."""
    return f"role assignment {name_of((grant.facts.id or '').lower())}"


def scope_of(target: str) -> str:
    """Return the scope at which an assignment, a denial or a lock lives: what stands before it in its id."""
    scope, found, _ = target.rpartition(AUTHORIZATION)
    return scope if found else target or "/"


def same_side(index: Index, target: str, tenant: str | None, owner: str) -> bool:
    """Whether a resource id can belong to a tenant: GUIDs of assignments are the choice of whoever makes them."""
    subscription = subscription_of(target)
    if subscription:
        estate = index.by_subscription.get(subscription)
        return estate is not None and estate.tenant == owner
    if not target.startswith((MANAGEMENT_GROUPS, AUTHORIZATION)):
        return False
    return tenant in (None, owner)


def _is_genuine(index: Index, change: Change, grant: Grant) -> bool:
    return same_side(index, change.target or "", change.tenant, grant.estate.tenant)


def _changed(case: Case, keys: Iterable[WatchedKey], reason: str, subject: str | None) -> list[Signal]:
    return [case.signal(Effect.ACCESS_CHANGED, reason, key, means=Means.IAM_BINDING, subject=subject) for key in keys]


def _properties(body: Mapping[str, object] | None) -> Mapping[str, object]:
    fields = body or {}
    return mapping(pick(fields, "properties")) or fields
