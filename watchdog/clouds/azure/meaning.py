"""What one entry means: from its form to the stream that it belongs to, and whether that may speak (azure.md 6.2)."""

from dataclasses import replace
from datetime import datetime

from watchdog.clouds.azure import audit, directory, feeds, resources, routes, topic
from watchdog.clouds.azure.case import Case, DistrustedError, quiet
from watchdog.clouds.azure.fields import UnreadableError, mapping, pick
from watchdog.clouds.azure.ids import canonical, subscription_of
from watchdog.clouds.azure.index import Container, Estate, Index, index_of
from watchdog.clouds.azure.record import (
    DELETION,
    TOPIC_PREFIX,
    Audit,
    Change,
    Directory,
    Event,
    Handshake,
    Notification,
    Other,
    Reading,
    What,
    actor_of,
    read,
    sha256,
    topic_subscription,
)
from watchdog.register import Register
from watchdog.signals import Actor, Signal
from watchdog.words import Effect


def meaning(raw: bytes, register: Register, *, received_at: datetime | None = None) -> list[Signal]:
    """Tell what one entry means: one signal for each watched key concerned, else one that says why it is quiet.

    `received_at` stands in where the record has no time. Never raises for bad input.
    """
    try:
        entry = read(raw)
    except UnreadableError as fault:
        return [Signal(effect=Effect.UNREADABLE, reason=str(fault), occurred_at=received_at, event_id=sha256(raw))]
    return judged(entry, index_of(register), received_at)


def judged(entry: Reading, index: Index, received_at: datetime | None) -> list[Signal]:
    """The same for an entry that is read already."""
    what = entry.what
    at = _time(what) or received_at
    route = None
    try:
        found = _told(what, index, at)
        _carried(entry, found, index)
        route = routes.route_of(entry, index)
    except DistrustedError as fault:
        found = [Signal(effect=Effect.UNTRUSTED, reason=f"Not believed: {fault}.")]
    except UnreadableError as fault:
        found = [Signal(effect=Effect.UNREADABLE, reason=str(fault))]
    operation, actor = _operation(what), _actor(what)
    return [
        replace(signal, occurred_at=at, event_id=entry.event_id, operation=operation, actor=actor, route=route)
        for signal in found
    ]


def _told(what: What, index: Index, at: datetime | None) -> list[Signal]:
    match what:
        case Audit():
            return _audit(what, Case(index, at, what.claims))
        case Change():
            return _of_resource(what, resources.signals(what, Case(index, at, what.claims)))
        case Notification():
            return _of_resource(what, resources.notified(what, Case(index, at)))
        case Directory():
            return directory.signals(what, Case(index, at))
        case Event():
            return _event(what, Case(index, at))
        case Handshake():
            return _handshake(what, index)
        case Other():
            return quiet(f"It is {what.why}.")


# -------------------------------------------------------------------------------------------------------------- streams


def _audit(record: Audit, case: Case) -> list[Signal]:
    """Put a record of a vault's log to the container that its resource id and its URLs name alike."""
    container = _logged_by(record, case.index)
    if record.operation is None:
        if container is None:
            return quiet("A record without an operation, about nothing registered.")
        raise UnreadableError("a record of a registered vault without an operation")
    if topic.is_copy(record.operation):
        return topic.copied(record, case)
    if container is None:
        return quiet("A record of a vault that is not registered.")
    return audit.signals(record, case, container)


def _logged_by(record: Audit, index: Index) -> Container | None:
    """Return the container that logged a record. Raises DistrustedError when the record names two of them."""
    own = index.containers.get(record.vault or "")
    for url in (record.named, record.called):
        if url is not None and index.by_host.get(url.host) is not own:
            raise DistrustedError(f"the log is of {record.vault or 'no vault'}, the record names {url.host}")
    return own


def _of_resource(what: Change | Notification, found: list[Signal]) -> list[Signal]:
    """Believe an event of the management plane about something of ours only from the subscription that it is in."""
    if isinstance(what, Change) and not what.is_event:
        return found
    concerned = any(signal.effect is not Effect.NO_EFFECT for signal in found)
    said, true = topic_subscription(what), subscription_of(what.target)
    if concerned and (said is None or said != true):
        raise DistrustedError(
            f"the event comes from subscription {said or 'none'}, the resource lies in {true or 'none'}"
        )
    return found


def _event(event: Event, case: Case) -> list[Signal]:
    if event.type.startswith(TOPIC_PREFIX):
        return topic.signals(event, case)
    if event.type.lower() == DELETION.lower():
        resource = canonical(pick(mapping(event.data), "eventSubscriptionId"))
        found = feeds.subscription_deleted(case, event.subscription, resource)
        return found or quiet("An event subscription that is not registered was deleted.")
    known = case.index.forwarders.get((event.source or "").lower())
    if routes.is_heartbeat(event):
        return _beat(event, known[1] if known else None)
    if known and known[0].type and event.type == known[0].type:
        raise UnreadableError("what the forwarder passed on carries no log record")
    return quiet(f"An event of a type that cannot concern a key ({event.type}).")


def _beat(event: Event, owner: Estate | None) -> list[Signal]:
    if owner is None:
        raise DistrustedError(f"a heartbeat of {event.source or 'a source without a name'}, no registered forwarder")
    return [Signal(effect=Effect.NO_EFFECT, reason="The heartbeat of a registered forwarder.", customer=owner.customer)]


def _handshake(handshake: Handshake, index: Index) -> list[Signal]:
    name = handshake.subscription
    if name is None or name.lower() in index.subscriptions:
        return quiet("The handshake of a registered event subscription.")
    raise DistrustedError(f"a handshake for the event subscription {name}, which nobody registered")


def _carried(entry: Reading, found: list[Signal], index: Index) -> None:
    """Raise DistrustedError for what a forwarder passed on that is not registered, or that may not speak of it."""
    if entry.forwarder is None or all(signal.effect is Effect.NO_EFFECT for signal in found):
        return
    known = index.forwarders.get(entry.forwarder.lower())
    if known is None:
        raise DistrustedError(f"{entry.forwarder or 'a source without a name'} is not a registered forwarder")
    for signal in found:
        key = index.by_id.get(signal.key or "")
        owner = key.container.estate.customer if key else signal.customer
        if signal.effect is not Effect.NO_EFFECT and not index.may_carry(known[1], owner):
            raise DistrustedError(f"the forwarder of {known[1].customer} may not speak for {owner or 'the vendor'}")


# ---------------------------------------------------------------------------------------------------------------- small


def _time(what: What) -> datetime | None:
    return None if isinstance(what, Handshake) else what.at


def _operation(what: What) -> str | None:
    match what:
        case Event():
            return what.type
        case Handshake():
            return "handshake"
        case _:
            return what.operation


def _actor(what: What) -> Actor | None:
    match what:
        case Audit():
            return actor_of(what)
        case Change() | Directory():
            return what.actor
        case _:
            return None
