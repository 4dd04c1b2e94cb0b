"""The resource-manager plane: operations of events and of the Activity Log as a table, and what each means (3.2, 3.7).

Operations are compared in lower case; the table writes them as Azure's own list does.
"""

from collections.abc import Callable

from msgspec import Struct

from watchdog.clouds.azure import feeds, roles, settings
from watchdog.clouds.azure.access import Access, Entry, Standing, entries, policy, without
from watchdog.clouds.azure.audit import recovered
from watchdog.clouds.azure.case import Case, quiet, refused, undecided
from watchdog.clouds.azure.fields import UnreadableError, embedded, mapping, pick, text, texts
from watchdog.clouds.azure.ids import canonical, name_of, subscription_of
from watchdog.clouds.azure.index import Container, Index, WatchedKey
from watchdog.clouds.azure.record import Change, Notification, Outcome
from watchdog.clouds.azure.rules import NOTIFICATIONS, OPERATIONS, SOFT_DELETE, Rule, Seen, Stream, table
from watchdog.signals import Signal
from watchdog.words import Effect, Fault, Means


class Told(Struct, frozen=True):
    """A change put beside the register; `container` is the registered one that was changed, or that it lies in."""

    case: Case
    change: Change
    container: Container | None

    @property
    def target(self) -> str:
        """Canonical id of what was changed; "/" when the record does not say."""
        return self.change.target or "/"

    @property
    def inside(self) -> str:
        """What stands behind the container in the target's id."""
        return self.target.removeprefix(self.container.id) if self.container else ""

    @property
    def key(self) -> WatchedKey | None:
        """The watched key that was changed."""
        parts = self.inside.split("/")
        named = parts[2] if parts[1:2] == ["keys"] and len(parts) > 2 else None
        return self.case.index.key_at(self.container.facts.host.lower(), named) if self.container else None

    @property
    def keys(self) -> list[WatchedKey]:
        """The watched keys of the container."""
        return self.container.keys if self.container else []

    @property
    def body(self) -> dict[str, object]:
        """The properties in the body of the request, else of the response; empty when there is none."""
        fields = self.change.request or self.change.response or {}
        return dict(mapping(pick(fields, "properties")) or fields)


Meaning = Callable[[Told], list[Signal]]


# ----------------------------------------------------------------------------------------------------------- containers


def container_written(told: Told) -> list[Signal]:
    """Judge a vault or managed HSM that was written: by the request, else by the response, else it is a question."""
    container = told.container
    if container is None or told.inside:
        return []
    found: list[Signal] = []
    for body, is_result in ((told.change.request, False), (told.change.response, True)):
        if body is None:
            continue
        said = settings.settings_of(mapping(pick(body, "properties")) or body, is_result=is_result)
        if said.recovers:
            return recovered(told.case, container)
        found = settings.written(told.case, container, said)
        if any(signal.effect is not Effect.NO_EFFECT for signal in found):
            break
    if told.change.request is None and told.change.response is None:
        reason = "The vault was written, and the record does not say what was changed."
        return [told.case.signal(Effect.KEY_CHANGED, reason, key) for key in container.keys]
    return found


def container_deleted(told: Told) -> list[Signal]:
    """Say that a vault or managed HSM was deleted; its purge date is not in this record."""
    return lost(told.case, [told.container] if told.container and not told.inside else [], "The vault was deleted")


def lost(case: Case, containers: list[Container], what: str, *, subject: str | None = None) -> list[Signal]:
    """Say that containers are gone, with all that is in them; the retention clock is running."""
    found = []
    for container in containers:
        clock = (
            "it cannot be purged before its retention ends"
            if container.facts.purge_protection
            else "it can be purged at any moment"
        )
        reason = (
            f"{what}; as registered, {clock}. Its role assignments and event subscriptions are gone too, "
            "and do not come back with it."
        )
        found += [
            case.signal(Effect.CONTAINER_LOST, reason, key, subject=subject or container.id) for key in container.keys
        ]
    return found


def container_purged(told: Told) -> list[Signal]:
    """A deleted vault or managed HSM was purged; its id has no resource group, so subscription and name decide."""
    container = _purged(told.case.index, told.target)
    reason = "The deleted vault was purged, with every key in it."
    keys = container.keys if container else []
    subject = container.id if container else None
    return [told.case.signal(Effect.KEY_DESTROYED, reason, key, subject=subject) for key in keys]


def _purged(index: Index, target: str) -> Container | None:
    """Return the registered container that the id of a deleted vault or managed HSM names."""
    if "/deletedvaults/" not in target and "/deletedmanagedhsms/" not in target:
        return None
    kind = "managed_hsm" if "/deletedmanagedhsms/" in target else "vault"
    return index.by_name.get((subscription_of(target) or "", kind, name_of(target)))


def key_written(told: Told) -> list[Signal]:
    """A key was written by a template: the only genuine key operation on this plane."""
    reason = "The key was written through the resource manager; the record does not say how."
    return [told.case.signal(Effect.KEY_CHANGED, reason, told.key)] if told.key else []


def impossible(told: Told) -> list[Signal]:
    """Question an operation on keys that this plane never carries: do not believe it, do not drop it."""
    reason = f"This log cannot carry {told.change.operation}, yet it does: only the vault can tell."
    return [told.case.signal(Effect.KEY_CHANGED, reason, told.key)] if told.key else []


def surfaced(told: Told) -> list[Signal]:
    """Surface an operation on a registered vault that nobody knows."""
    reason = f"An operation that is not known here ({told.change.operation}) was done to the vault."
    keys = [told.key] if told.key else told.keys
    return [told.case.signal(Effect.KEY_CHANGED, reason, key) for key in keys]


# ------------------------------------------------------------------------------------------------------ access policies


def policies_written(told: Told) -> list[Signal]:
    """Judge accessPolicies/add, /remove and /replace: with a body, by the entry of the vendor's principal."""
    body = embedded(pick(told.body, "accessPolicies"))
    found = []
    for key in told.keys:
        access = _policy_change(told, key, entries(body) if isinstance(body, list) else None)
        if access:
            reason = f"An access policy was changed: {access.why}."
            subject = settings.POLICY
            found.append(told.case.signal(access.effect, reason, key, means=Means.KEY_POLICY, subject=subject))
    return found


def _policy_change(told: Told, key: WatchedKey, listed: list[Entry] | None) -> Access | None:
    container = key.container
    if listed is None:
        return Access(Standing.UNKNOWN, "the record does not say whose")
    principal = container.estate.principal or ""
    mine = [entry for entry in listed if entry.principal == principal]
    how = name_of(told.target)
    if container.facts.permission_model != "access_policies" or (not mine and how != "replace"):
        return None
    if not mine or any(entry.keys is None for entry in mine):
        return Access(Standing.UNKNOWN, "the record does not show what is left of the vendor's entry")
    held = frozenset[str]().union(*(entry.keys or frozenset() for entry in mine))
    if how == "remove":
        return without(held, key.needed, "the vendor's entry") if held & key.needed else None
    given = policy(mine, principal, key.needed)
    # `add` merges: what is given is added to what the entry already has.
    return None if how == "add" and given.standing is not Standing.KEPT else given


# -------------------------------------------------------------------------------------------------------------- network


def endpoint_deleted(told: Told) -> list[Signal]:
    """A private endpoint connection was deleted: of weight if registered; a public path may remain."""
    reason = f"The private endpoint connection {name_of(told.target)} was removed; a public path may remain."
    return _endpoint(told, Effect.PATH_BLOCKED, reason)


def endpoint_written(told: Told) -> list[Signal]:
    """A private endpoint connection was approved or rejected: the body says which."""
    state = mapping(embedded(pick(told.body, "privateLinkServiceConnectionState")))
    name = name_of(told.target)
    match (text(pick(state, "status")) or "").lower():
        case "rejected" | "disconnected":
            return _endpoint(told, Effect.PATH_BLOCKED, f"The private endpoint connection {name} was rejected.")
        case "approved":
            return _endpoint(told, Effect.PATH_OPENED, f"The private endpoint connection {name} was approved.")
        case "pending":
            return []
        case _:
            reason = f"The private endpoint connection {name} was written; the record does not say how."
            return _endpoint(told, Effect.KEY_CHANGED, reason)


def _endpoint(told: Told, effect: Effect, reason: str) -> list[Signal]:
    container = told.container
    known = {name.lower() for name in container.facts.private_endpoint_connections} if container else set()
    if name_of(told.target) not in known:
        return []
    subject = f"private endpoint connection {name_of(told.target)}"
    blocked = effect is Effect.PATH_BLOCKED
    return [told.case.signal(effect, reason, key, subject=subject, part=subject, probe=blocked) for key in told.keys]


# --------------------------------------------------------------------------------------------- groups and subscriptions


def group_deleted(told: Told) -> list[Signal]:
    """A resource group was deleted: the containers in it, the vendor's identities in it, else the feeds in it."""
    containers = _containers_under(told, told.target)
    gone = lost(told.case, containers, f"The resource group {name_of(told.target)} of the vault was deleted")
    identities = sorted({found for found in told.case.index.identities.values() if found.startswith(f"{told.target}/")})
    for identity in identities:
        gone += _identity_lost(told, identity)
    return gone + feeds.removed(told.case, told.target, {container.id for container in containers})


def _containers_under(told: Told, scope: str) -> list[Container]:
    found = {key.container.id: key.container for key in told.case.index.keys_under.get(scope, [])}
    return list(found.values())


def resources_moved(told: Told) -> list[Signal]:
    """Resources were moved out of a group: their ids change, direct role assignments are orphaned (azure.md row 23)."""
    fields = told.change.request or told.change.response
    listed = pick(fields, "resources") if fields else None
    moved = {found for found in map(canonical, texts(listed)) if found} if isinstance(listed, list) else None
    reason = "Resources were moved out of the vault's group: ids change, and direct role assignments are orphaned."
    found = [
        told.case.signal(Effect.ACCESS_CHANGED, reason, key, means=Means.IAM_BINDING, subject="moved vault")
        for container in _containers_under(told, told.target)
        if moved is None or container.id in moved
        for key in container.keys
    ]
    places = [told.target] if moved is None else sorted(moved)
    carriers = [feed for place in places for feed in told.case.index.feeds_under.get(place, [])]
    if found:  # what lies in a moved container moves with it, and the probe of the container settles both
        return found
    return told.case.tampered(carriers, "Resources that carry the watch were moved, so their ids change", probe=True)


def subscription_cancelled(told: Told) -> list[Signal]:
    """Say what a cancelled subscription means; it may also keep a deleted key from being recovered (row 29)."""
    subject = _subscription(told)
    return lost(
        told.case,
        _containers_under(told, subject),
        "The subscription of the vault was cancelled, and until it is active nothing in it can be recovered",
        subject=subject,
    )


def subscription_enabled(told: Told) -> list[Signal]:
    """The subscription is active again; nothing in it was removed."""
    reason = "The subscription of the vault is active again."
    subject = _subscription(told)
    return [
        told.case.signal(Effect.CONTAINER_RESTORED, reason, key, subject=subject)
        for container in _containers_under(told, subject)
        for key in container.keys
    ]


def _subscription(told: Told) -> str:
    return f"/subscriptions/{subscription_of(told.change.target) or ''}"


def lock_deleted(told: Told) -> list[Signal]:
    """A lock at the vault or above it was removed; it guarded against deleting the vault, never a key."""
    scope = roles.scope_of(told.target)
    reason = f"The lock {name_of(told.target)} above the vault was removed: the vault can be deleted now."
    subject = f"lock {name_of(told.target)}"
    return [
        told.case.signal(Effect.PROTECTION_WEAKENED, reason, key, subject=subject)
        for key in told.case.index.keys_in_scope(scope, told.change.tenant)
    ]


# --------------------------------------------------------------------------------------------------------- the vendor's


def identity_deleted(told: Told) -> list[Signal]:
    """The vendor's own managed identity was deleted: the vendor's fault, every key behind it."""
    return _identity_lost(told, told.target) if told.target in told.case.index.identities else []


def _identity_lost(told: Told, identity: str) -> list[Signal]:
    reason = "The vendor's own managed identity, by which its applications sign in, was deleted."
    return [
        told.case.signal(
            Effect.ACCESS_REVOKED,
            reason,
            key,
            fault=Fault.VENDOR,
            means=Means.IDENTITY,
            subject=f"managed identity {identity}",
        )
        for key in told.case.index.keys_served_through(identity)
    ]


# ---------------------------------------------------------------------------------------------------------------- table


def _rule(
    operation: str,
    effect: str,
    note: str,
    meaning: Meaning | None = None,
    *,
    seen: Seen = Seen.RESOURCE,
    source: str = OPERATIONS,
) -> Rule[Told]:
    return Rule(
        operation=operation,
        effect=effect,
        note=note,
        source=source,
        seen=seen if meaning else Seen.NOT_NEEDED,
        stream=Stream.RESOURCE,
        meaning=meaning,
    )


def _feed_written(told: Told) -> list[Signal]:
    return feeds.written(told.case, told.change)


def _feed_deleted(told: Told) -> list[Signal]:
    return feeds.removed(told.case, told.target)


def _feed_stopped(told: Told) -> list[Signal]:
    return feeds.stopped(told.case, told.change)


def _feed_rekeyed(told: Told) -> list[Signal]:
    return feeds.rekeyed(told.case, told.change)


def _assigned(told: Told) -> list[Signal]:
    return roles.assignment_changed(told.case, told.change)


def _denied(told: Told) -> list[Signal]:
    return roles.denial_changed(told.case, told.change)


def _redefined(told: Told) -> list[Signal]:
    return roles.definition_changed(told.case, told.change)


def _scheduled(told: Told) -> list[Signal]:
    return roles.scheduled(told.case, told.change)


def _feed_rules(kind: str, note: str) -> tuple[Rule[Told], Rule[Told]]:
    return (
        _rule(f"{kind}/write", "feed_tampered", f"{note}; a heartbeat decides", _feed_written),
        _rule(f"{kind}/delete", "feed_tampered", note, _feed_deleted),
    )


VAULTS, HSMS = "Microsoft.KeyVault/vaults", "Microsoft.KeyVault/managedHSMs"
AUTHORIZATION = "Microsoft.Authorization"
GROUPS = "Microsoft.Resources/subscriptions/resourceGroups"
BY_SETTINGS = "with a body by the settings (azure.md 3.5), without one key_changed"

RULES: tuple[Rule[Told], ...] = (
    _rule(f"{VAULTS}/write", "by the settings", BY_SETTINGS, container_written),
    _rule(f"{VAULTS}/delete", "container_lost", "the purge date is not in it", container_deleted, source=SOFT_DELETE),
    _rule(
        "Microsoft.KeyVault/locations/deletedVaults/purge/action",
        "key_destroyed",
        "subscription and name decide; a topic of a resource group never has it",
        container_purged,
    ),
    _rule(f"{VAULTS}/accessPolicies/write", "access_changed", "with a body by the vendor's entry", policies_written),
    _rule(f"{VAULTS}/keys/write", "key_changed", "the only genuine key operation here", key_written),
    _rule(f"{VAULTS}/keys/read", "no_effect", "reads only"),
    _rule(f"{VAULTS}/keys/versions/read", "no_effect", "reads only"),
    _rule(f"{VAULTS}/privateEndpointConnections/delete", "path_blocked", "if registered", endpoint_deleted),
    _rule(f"{VAULTS}/privateEndpointConnections/write", "path_blocked or path_opened", "by body", endpoint_written),
    _rule(f"{VAULTS}/PrivateEndpointConnectionsApproval/action", "no_effect", "the write of the connection tells"),
    _rule(f"{VAULTS}/secrets/write", "no_effect", "not keys, even under the key's name"),
    _rule(f"{VAULTS}/deploy/action", "no_effect", "a template may read secrets"),
    _rule(f"{VAULTS}/eventGridFilters/write", "no_effect", "Event Grid announces a subscription to Key Vault"),
    _rule(f"{VAULTS}/eventGridFilters/delete", "no_effect", "the subscription's own deletion tells"),
    _rule(f"{HSMS}/write", "by the settings", BY_SETTINGS, container_written),
    _rule(f"{HSMS}/delete", "container_lost", "the purge date is not in it", container_deleted),
    _rule(
        "Microsoft.KeyVault/locations/deletedManagedHSMs/purge/action",
        "key_destroyed",
        "subscription and name decide",
        container_purged,
    ),
    _rule(f"{HSMS}/keys/write", "key_changed", "the only genuine key operation here", key_written),
    _rule(f"{HSMS}/keys/read", "no_effect", "reads only"),
    _rule(f"{HSMS}/privateEndpointConnections/delete", "path_blocked", "if registered", endpoint_deleted),
    _rule(f"{HSMS}/privateEndpointConnections/write", "path_blocked or path_opened", "by body", endpoint_written),
    _rule(f"{AUTHORIZATION}/roleAssignments/delete", "access_revoked", "registered; else access_changed", _assigned),
    _rule(f"{AUTHORIZATION}/roleAssignments/write", "access_changed", "access_granted by its body", _assigned),
    _rule(f"{AUTHORIZATION}/denyAssignments/write", "access_changed", "may shut the vendor out", _denied),
    _rule(f"{AUTHORIZATION}/denyAssignments/delete", "access_changed", "may let the vendor in again", _denied),
    _rule(f"{AUTHORIZATION}/roleDefinitions/write", "access_changed", "with a body by its data actions", _redefined),
    _rule(f"{AUTHORIZATION}/roleDefinitions/delete", "access_changed", "of a role behind a grant", _redefined),
    _rule(f"{AUTHORIZATION}/roleAssignmentScheduleRequests/write", "access_changed", "time-bound", _scheduled),
    _rule(f"{AUTHORIZATION}/locks/delete", "protection_weakened", "guards the vault, never a key", lock_deleted),
    _rule(f"{AUTHORIZATION}/locks/write", "no_effect", "protects more than before"),
    _rule(f"{GROUPS}/delete", "container_lost", "feed_tampered, if it holds the watch only", group_deleted),
    _rule(f"{GROUPS}/moveResources/action", "access_changed", "on the source group", resources_moved),
    _rule(f"{GROUPS}/validateMoveResources/action", "no_effect", "a rehearsal"),
    _rule(
        "Microsoft.Subscription/cancel/action",
        "container_lost",
        "the name is not confirmed; most causes leave no record",
        subscription_cancelled,
        seen=Seen.ACTIVITY,
    ),
    _rule(
        "Microsoft.Subscription/enable/action",
        "container_restored",
        "the name is not confirmed",
        subscription_enabled,
        seen=Seen.ACTIVITY,
    ),
    *_feed_rules("Microsoft.Insights/diagnosticSettings", "harmless if its body shows the audit log on"),
    *_feed_rules("Microsoft.EventGrid/systemTopics", "carries the events of the vault"),
    *_feed_rules("Microsoft.EventGrid/systemTopics/eventSubscriptions", "carries the events of the vault"),
    *_feed_rules("Microsoft.EventGrid/eventSubscriptions", "carries the events of the subscription"),
    *_feed_rules("Microsoft.EventGrid/namespaces", "the vendor reads from it"),
    *_feed_rules("Microsoft.EventGrid/namespaces/topics", "the vendor reads from it"),
    *_feed_rules("Microsoft.EventGrid/namespaces/topics/eventSubscriptions", "the vendor reads from it"),
    *_feed_rules("Microsoft.EventHub/namespaces", "carries the audit log"),
    *_feed_rules("Microsoft.EventHub/namespaces/eventhubs", "carries the audit log"),
    *_feed_rules("Microsoft.Storage/storageAccounts", "keeps the audit log, or a queue of events"),
    *_feed_rules("Microsoft.Web/sites", "the forwarder"),
    _rule("Microsoft.Web/sites/stop/action", "feed_tampered", "the forwarder", _feed_stopped),
    _rule(
        "Microsoft.EventHub/namespaces/authorizationRules/regenerateKeys/action",
        "feed_tampered",
        "what reads with the old key is shut out; a heartbeat decides",
        _feed_rekeyed,
    ),
    _rule(
        "Microsoft.Storage/storageAccounts/regenerateKey/action",
        "feed_tampered",
        "what reads with the old key is shut out; a heartbeat decides",
        _feed_rekeyed,
    ),
    _rule(
        "Microsoft.ManagedIdentity/userAssignedIdentities/delete",
        "access_revoked",
        "the vendor's own identity: the vendor's fault",
        identity_deleted,
        seen=Seen.VENDOR_RESOURCE,
    ),
)
ANY_KEY_OPERATION = _rule(
    "Microsoft.KeyVault/vaults/keys/(any other)",
    "key_changed",
    "this plane cannot carry it: not believed, not dropped",
    impossible,
)
ANY_OTHER_OF_VAULT = _rule(
    "Microsoft.KeyVault/vaults/(any other write, action or delete)",
    "key_changed",
    "an unknown operation on a registered vault must surface",
    surfaced,
)
ANY_OTHER_FEED = _rule(
    "(write or delete of any other registered feed)",
    "feed_tampered",
    "whatever type of resource carries the watch",
    _feed_deleted,
    seen=Seen.ACTIVITY,
)
TABLE = table(RULES)
IN_CONTAINERS = (f"{VAULTS}/".lower(), f"{HSMS}/".lower())
IN_KEYS = (f"{VAULTS}/keys/".lower(), f"{HSMS}/keys/".lower())


def meaning_of(change: Change, case: Case) -> tuple[str, Meaning | None]:
    """Return why an operation matters or not, and the function that tells; None when it changes nothing."""
    name = change.name
    known = TABLE.get(name)
    if known:
        return known.note, known.meaning
    if name.endswith("/read") or "/keys/read" in name:
        return "reads only", None
    if name.startswith(IN_KEYS):
        return ANY_KEY_OPERATION.note, impossible
    if name.startswith(IN_CONTAINERS) and "/providers/" not in name:
        return ANY_OTHER_OF_VAULT.note, surfaced
    if name.endswith("/delete") and (change.target or "") in case.index.feeds_under:
        return ANY_OTHER_FEED.note, _feed_deleted
    if name.endswith("/write"):
        return ANY_OTHER_FEED.note, _feed_written
    return "no operation that can concern a key or the watch", None


# -------------------------------------------------------------------------------------------------------------- reading


def signals(change: Change, case: Case) -> list[Signal]:
    """Tell what a change means. Raises UnreadableError."""
    container = case.index.container_of(change.target)
    if change.operation is None:
        return _without_data(change.target, case)
    note, meaning = meaning_of(change, case)
    told = Told(case, change, container)
    if meaning is None or change.outcome is Outcome.BEGUN:
        return quiet(note if meaning is None else "The beginning of an operation: its end has a record of its own.")
    found = [signal for signal in meaning(told) if signal.effect is not Effect.NO_EFFECT]
    match change.outcome:
        case Outcome.REFUSED:
            found = refused(found or _written_in_vain(told, meaning), f"{change.operation} was refused")
        case Outcome.UNKNOWN:
            found = undecided(found, case, "The record does not say whether it worked.")
        case _:
            pass
    return found or quiet(f"{change.operation} concerns nothing registered: {note}.")


def _without_data(target: str | None, case: Case) -> list[Signal]:
    """Tell an event that cannot be used: of no weight about nothing registered. Raises UnreadableError for the rest."""
    index, place = case.index, target or "/"
    ours = index.container_of(place) or _purged(index, place) or roles.scope_of(place) in index.keys_under
    ours = ours or place in index.feeds_under or place in index.keys_under or place in index.identities
    if ours or name_of(place) in index.grants or name_of(place) in index.readers:
        raise UnreadableError("an event about a registered resource whose data cannot be used")
    return quiet("An event without usable data, about nothing registered.")


def _written_in_vain(told: Told, meaning: Meaning) -> list[Signal]:
    """A refused write of a vault is told whatever it would have changed."""
    keys = told.keys if meaning is container_written and not told.inside else []
    return [told.case.signal(Effect.KEY_CHANGED, "", key) for key in keys]


def notified(notification: Notification, case: Case) -> list[Signal]:
    """Tell what a resource notification means: a result, with booleans as 0 and 1. Raises UnreadableError."""
    target = notification.target or "/"
    if not notification.is_told:
        return _without_data(target, case)
    container = case.index.container_of(target)
    if container and target == container.id:
        if notification.deleted:
            return lost(case, [container], "The vault was deleted")
        if notification.properties is None:
            reason = "The vault was written, and the notification does not carry its settings."
            return [case.signal(Effect.KEY_CHANGED, reason, key) for key in container.keys]
        said = settings.settings_of(notification.properties, is_result=True)
        return settings.written(case, container, said)
    if notification.deleted and target in case.index.feeds_under and container is None:
        return feeds.removed(case, target)
    feed = case.index.feeds.get(target)
    if feed:
        what = "A resource that carries the watch was deleted" if notification.deleted else FEED_WRITTEN
        return case.tampered([feed], what, probe=not notification.deleted)
    return quiet("A notification about nothing registered.")


FEED_WRITTEN = "A resource that carries the watch was written anew, and the notification does not say how"
NOTIFICATION_RULES = (
    Rule[object](
        operation="Microsoft.ResourceNotifications.Resources.CreatedOrUpdated",
        effect="by the settings",
        note="the resulting settings of a vault; booleans may be 0 and 1",
        source=NOTIFICATIONS,
        seen=Seen.NOTIFICATION,
        stream=Stream.NOTIFICATION,
    ),
    Rule[object](
        operation="Microsoft.ResourceNotifications.Resources.Deleted",
        effect="container_lost",
        note="the purge date is not in it",
        source=NOTIFICATIONS,
        seen=Seen.NOTIFICATION,
        stream=Stream.NOTIFICATION,
    ),
)
