"""Native EventBridge events: of KMS itself, and of the stores that could not use a key (aws.md 4 and 6)."""

from watchdog.clouds.aws.arns import KEY_ID, built, in_text, parse
from watchdog.clouds.aws.case import Named, named
from watchdog.clouds.aws.failures import ANYTHING_ELSE, Failure, told_in
from watchdog.clouds.aws.fields import text
from watchdog.clouds.aws.index import Index, account_of
from watchdog.clouds.aws.record import Envelope
from watchdog.clouds.aws.trust import DistrustedError
from watchdog.register import RegisteredKey
from watchdog.signals import Signal
from watchdog.words import QUIET, Effect, Fault

KMS = "aws.kms"
EC2 = "aws.ec2"
RDS = "aws.rds"
EVENTS = "aws.events"
SCHEDULED = "Scheduled Event"
VOLUME = "EBS Volume Notification"
VOLUME_EVENTS = frozenset({"createVolume", "attachVolume", "reattachVolume"})
DATABASES = ("RDS DB Instance Event", "RDS DB Cluster Event")
KEY_INACCESSIBLE = "RDS-EVENT-0419"

KEY_EVENTS = {
    "KMS CMK Deletion": (
        Effect.KEY_DESTROYED,
        "KMS deleted the key at the end of its waiting period: it is gone for good.",
    ),
    "KMS Imported Key Material Expiration": (
        Effect.KEY_EXPIRED,
        "The imported key material reached its end date: the key cannot be used.",
    ),
    "KMS CMK Rotation": (Effect.ROTATED, "The key material was rotated; old data still decrypts."),
}


def signals(envelope: Envelope, index: Index) -> list[Signal]:
    """Tell what a native event means; none when it concerns nothing registered. Raises DistrustedError."""
    if envelope.source == KMS and envelope.detail_type in KEY_EVENTS:
        return _key_event(envelope, index)
    if envelope.source == EC2 and envelope.detail_type == VOLUME:
        return _volume(envelope, index)
    if envelope.source == RDS and envelope.detail_type in DATABASES:
        return _database(envelope, index)
    if envelope.source == EVENTS and envelope.detail_type == SCHEDULED:
        return _heartbeat(envelope, index)
    return []


def may_matter(envelope: Envelope, index: Index | None) -> bool:
    """Whether a native event can concern a registered key or store, or is a sign of life that is waited for."""
    source, detail_type = envelope.source, envelope.detail_type
    if source == EVENTS and detail_type == SCHEDULED:
        return index is None or any(map(index.heartbeat, envelope.resources))
    return (
        (source == KMS and detail_type in KEY_EVENTS)
        or (source == EC2 and detail_type == VOLUME)
        or (source == RDS and detail_type in DATABASES)
    )


def _key_event(envelope: Envelope, index: Index) -> list[Signal]:
    effect, reason = KEY_EVENTS[envelope.detail_type]
    fault = None if effect in QUIET else Fault.VENDOR if envelope.account in index.vendor_accounts else Fault.CUSTOMER
    found = []
    for key in _keys(envelope, index).keys:
        if account_of(key) != envelope.account:
            raise DistrustedError(f"the event is of account {envelope.account}, the key of account {account_of(key)}")
        found.append(Signal(effect=effect, reason=reason, key=key.id, fault=fault))
    return found


def _keys(envelope: Envelope, index: Index) -> Named:
    found = named(envelope.resources, index)
    if found.decides:
        return found
    key_id = text(envelope.detail.get("key-id")) or ""
    bare = KEY_ID.fullmatch(key_id) is not None
    arn = built("key", key_id.lower(), region=envelope.region, account=envelope.account) if bare else key_id
    return named([arn] if arn else [], index)


def _volume(envelope: Envelope, index: Index) -> list[Signal]:
    """A volume that could not be made or attached: the cause quotes KMS."""
    cause = text(envelope.detail.get("cause")) or ""
    if text(envelope.detail.get("event")) not in VOLUME_EVENTS or envelope.detail.get("result") != "failed":
        return []
    found = named(in_text(cause), index)
    if not found.decides:
        found = named(envelope.resources, index)
    told = told_in(cause)
    if not told.of_key and envelope.account not in index.vendor_accounts:
        return []
    return [_failed(key, f"EC2 could not use the key for a volume: {told.why}.", told) for key in found.keys]


def _database(envelope: Envelope, index: Index) -> list[Signal]:
    """RDS lost the key of a registered database; only a probe can tell why. RDS' own clock runs (aws.md 5)."""
    if envelope.detail.get("EventID") != KEY_INACCESSIBLE:
        return []
    stores = [*envelope.resources, text(envelope.detail.get("SourceArn")) or ""]
    keys = {key.id: key for store in stores for key in index.by_consumer.get(store, ())}
    reason = "RDS cannot use the key of a registered database and does not say why; its 7-day clock is running."
    return [_failed(key, reason, ANYTHING_ELSE) for key in keys.values()]


def _heartbeat(envelope: Envelope, index: Index) -> list[Signal]:
    """A sign of life: the schedule of a registered rule went off and its event came through (aws.md 6)."""
    found = []
    for feed in filter(None, map(index.heartbeat, envelope.resources)):
        rule = parse(feed.arn)
        if rule is None or (rule.account, rule.region) != (envelope.account, envelope.region):
            raise DistrustedError(f"account {envelope.account} in {envelope.region} does not own the rule {feed.arn}")
        reason = f"A sign of life by the scheduled rule {feed.arn}: the way of these records is open."
        found.append(Signal(effect=Effect.NO_EFFECT, reason=reason))
    return found[:1]


def _failed(key: RegisteredKey, reason: str, told: Failure) -> Signal:
    return Signal(
        effect=Effect.USE_FAILED, reason=reason, key=key.id, cause=told.cause, fault=told.fault, probe=told.probe
    )
