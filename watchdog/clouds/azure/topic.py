"""The Key Vault topic of Event Grid: its ten types, and those of tomorrow (azure.md 3.9)."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from watchdog.clouds.azure.case import Case, DistrustedError, quiet
from watchdog.clouds.azure.dates import seconds
from watchdog.clouds.azure.fields import UnreadableError, mapping, pick, text
from watchdog.clouds.azure.ids import canonical, place
from watchdog.clouds.azure.index import Container, WatchedKey
from watchdog.clouds.azure.record import TOPIC_PREFIX, Audit, Event
from watchdog.clouds.azure.rules import KEY_VAULT_EVENTS, Rule, Seen, Stream
from watchdog.signals import Signal
from watchdog.words import Effect, Means

COPY = "EventGridNotification"


class About(Struct, frozen=True):
    """An event of the topic put beside the register: which watched key it names, if it names one."""

    case: Case
    kind: str
    container: Container
    key: WatchedKey | None
    version: str | None
    names_vault: bool
    data: Mapping[str, object]


Meaning = Callable[[About], list[Signal]]

# --------------------------------------------------------------------------------------------------------------- rules


def renewed(about: About) -> list[Signal]:
    """A new version: old data stays under the old one, which must stay enabled."""
    if about.key is None:
        return []
    reason = "The key has a new version; the versions in use must stay enabled."
    return [about.case.signal(Effect.ROTATED, reason, about.key, version=about.version)]


def near_expiry(about: About) -> list[Signal]:
    """An expiry comes near: the date stands in EXP, if at all."""
    if about.key is None:
        return []
    expires = seconds(pick(about.data, "EXP"))
    when = f"{expires:%Y-%m-%d %H:%M} UTC" if expires else "a date that the event does not tell"
    return [
        about.case.signal(
            Effect.EXPIRY_AHEAD,
            f"The key version comes near its expiry: {when}.",
            about.key,
            deadline=expires,
            source="EXP in the event of Key Vault",
            version=about.version,
        )
    ]


def expired(about: About) -> list[Signal]:
    """The current version expired; of weight if it is in use."""
    key = about.key
    if key is None:
        return []
    if about.version is None or about.version in key.versions:
        reason = "The key version has expired: wrapping is refused, and some stores stop."
        return [about.case.signal(Effect.KEY_EXPIRED, reason, key, version=about.version)]
    reason = "A version expired that is not registered as in use: is some store still pinned to it?"
    return [about.case.signal(Effect.KEY_CHANGED, reason, key, version=about.version)]


def policy_changed(about: About) -> list[Signal]:
    """An access policy or the permission model changed; the event does not say whose."""
    reason = "An access policy or the permission model of the vault was changed; the event does not say whose."
    return [
        about.case.signal(Effect.ACCESS_CHANGED, reason, key, means=Means.KEY_POLICY) for key in about.container.keys
    ]


def unknown(about: About) -> list[Signal]:
    """Surface a type that nobody knows; secrets and certificates may share the key's name, but are not the key."""
    keys = [about.key] if about.key else about.container.keys if about.names_vault else []
    reason = f"Key Vault sent an event of a type that is not known here ({about.kind})."
    return [about.case.signal(Effect.KEY_CHANGED, reason, key, version=about.version) for key in keys]


def _rule(kind: str, effect: str, note: str, meaning: Meaning | None = None) -> Rule[About]:
    return Rule(
        operation=f"{TOPIC_PREFIX}{kind}",
        effect=effect,
        note=note,
        source=KEY_VAULT_EVENTS,
        seen=Seen.TOPIC if meaning else Seen.NOT_NEEDED,
        stream=Stream.TOPIC,
        meaning=meaning,
    )


OTHER_OBJECTS = "secrets and certificates are not keys, even under the key's name"
RULES: tuple[Rule[About], ...] = (
    _rule("KeyNewVersionCreated", "rotated", "old data stays under the old version", renewed),
    _rule("KeyNearExpiry", "expiry_ahead", "only with a Notify policy, and for versions newer than it", near_expiry),
    _rule("KeyExpired", "key_expired", "current version only; key_changed if it is not in use", expired),
    _rule("VaultAccessPolicyChanged", "access_changed", "also when the permission model is switched", policy_changed),
    _rule("SecretNewVersionCreated", "no_effect", OTHER_OBJECTS),
    _rule("SecretNearExpiry", "no_effect", OTHER_OBJECTS),
    _rule("SecretExpired", "no_effect", OTHER_OBJECTS),
    _rule("CertificateNewVersionCreated", "no_effect", OTHER_OBJECTS),
    _rule("CertificateNearExpiry", "no_effect", OTHER_OBJECTS),
    _rule("CertificateExpired", "no_effect", OTHER_OBJECTS),
)
ANY_OTHER = _rule("(any other type)", "key_changed", "an unknown type on a watched key must surface", unknown)
TABLE = {rule.operation.lower(): rule for rule in RULES}


# -------------------------------------------------------------------------------------------------------------- reading


def signals(event: Event, case: Case) -> list[Signal]:
    """Tell what an event of the topic means. Raises DistrustedError, UnreadableError."""
    return _judged(event.type, event.source, event.data, case)


def is_copy(operation: str) -> bool:
    """Whether an operation of a vault's log is the copy of an event."""
    return operation.lower().endswith(COPY.lower())


def copied(audit: Audit, case: Case) -> list[Signal]:
    """Tell what the copy of such an event in the vault's own log means. Raises DistrustedError, UnreadableError."""
    nested = mapping(pick(audit.properties, "eventGridEventProperties"))
    own = case.index.containers.get(audit.vault or "")
    if not nested:
        if own is None:
            return quiet("The copy of an event about a vault that is not registered.")
        raise UnreadableError("the copy of an event carries no event")
    source = text(pick(nested, "topic")) or text(pick(nested, "source"))
    if case.index.containers.get(canonical(source) or "") is not own:
        raise DistrustedError(f"the log is of {audit.vault or 'no vault'}, the event in it of {source or 'no vault'}")
    kind = text(pick(nested, "eventType")) or text(pick(nested, "type"))
    return _judged(kind or f"{TOPIC_PREFIX}{(audit.operation or '')[: -len(COPY)]}", source, pick(nested, "data"), case)


def _judged(kind: str, source: str | None, data: object, case: Case) -> list[Signal]:
    index = case.index
    fields = mapping(data)
    named = place(pick(fields, "id"))
    topic = index.containers.get(canonical(source) or "")
    container = index.by_host.get(named.host) if named else None
    if named is None and topic is not None:
        raise UnreadableError("an event of a watched vault whose data cannot be used")
    if topic is not container:
        raise DistrustedError(f"the topic is {source or 'missing'}, the id is one of {named.host if named else 'none'}")
    if container is None or named is None:
        return quiet("An event of a vault that is not registered.")
    about = About(
        case=case,
        kind=kind,
        container=container,
        key=index.key_at(named.host, named.key),
        version=named.version,
        names_vault=not named.parts,
        data=fields,
    )
    rule = TABLE.get(kind.lower(), ANY_OTHER)
    found = rule.meaning(about) if rule.meaning else []
    return found or quiet(f"An event of a registered vault that concerns no watched key: {rule.note}.")
