"""Routes: by which ways the audit records about a key come in on Azure, and what shows that a way is open.

Three, as far as the register names what carries them: the log of the key's vault (the only one that tells of keys), the
forwarder that brings logs over, and the changes of resources in a subscription. The Key Vault topic of Event Grid is no
way: it is silent about every loss (azure.md 0.1), and about Entra's log nothing regular is agreed.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta

from watchdog.clouds.azure.forwarder import HEARTBEAT
from watchdog.clouds.azure.ids import canonical, subscription_of
from watchdog.clouds.azure.index import Container, Estate, Feed, Index, index_of
from watchdog.clouds.azure.record import Audit, Change, Event, Reading, What, topic_subscription
from watchdog.coverage import Cover, Way
from watchdog.register import Register, RegisteredKey
from watchdog.register_azure import AzureForwarder
from watchdog.register_probe import KeyProbe

LATE = timedelta(minutes=10)
"""How long the log of a vault may take to the hub (azure.md 0.2)."""

FORWARDER_BEATS = timedelta(minutes=5)
"""The schedule in deploy/azure/forwarder/function_app.py."""

SETTINGS = "/providers/microsoft.insights/diagnosticsettings/"
OF_SUBSCRIPTION = "/providers/microsoft.eventgrid/eventsubscriptions/"
OF_SYSTEM_TOPICS = "/providers/microsoft.eventgrid/systemtopics/"

_PLAIN = KeyProbe()


def ways(key: RegisteredKey, register: Register) -> Sequence[Way]:
    """Return the ways of a key's records: its owner's, then the vendor's own.

    The log of its vault, when a diagnostic setting of the vault is registered. It beats as often as the fastest probe
    of a key in it: each probe unwraps, and every call to a vault is in its log, under the vendor's own application
    (azure.md 7). The forwarders that the log may come through: they beat by themselves. The subscriptions of the vault
    and of the vendor's identity, when an event subscription or the export of the Activity Log is registered there; a
    system topic's subscription counts, because its id does not say whether it is the vault's or the subscription's.
    """
    return register.view("azure ways", _build).get(key.id, ())


def route_of(entry: Reading, index: Index) -> str | None:
    """Return the route that a believed entry is a sign of life of; None where nothing registered wrote it.

    What a forwarder brought proves the way that it brought it over too, but a signal has one route: the heartbeat
    proves the forwarder's.
    """
    what = entry.what
    match what:
        case Audit():
            container = index.containers.get(what.vault or "")
            return _carried(entry, index, container.estate, of_vault(container)) if container else None
        case Change():
            subscription = subscription_of(what.target)
            estate = index.by_subscription.get(subscription or "")
            if subscription is None or estate is None or (what.is_event and topic_subscription(what) != subscription):
                return None
            return _carried(entry, index, estate, of_subscription(subscription))
        case Event() if is_heartbeat(what):
            known = index.forwarders.get((what.source or "").lower())
            return of_forwarder(known[0]) if known else None
        case _:
            return None


def is_heartbeat(what: What) -> bool:
    """Whether this is the beat of a forwarder: kept though it changes nothing, because what it is for is that it came.

    Who sent it must be looked at too.
    """
    return isinstance(what, Event) and what.type == HEARTBEAT


def of_vault(container: Container) -> str:
    """Name the route of the log of a vault or managed HSM."""
    return f"azure:vault:{container.facts.host.lower()}"


def of_forwarder(forwarder: AzureForwarder) -> str:
    """Name the route of a forwarder."""
    return f"azure:forwarder:{forwarder.source.lower()}"


def of_subscription(subscription: str) -> str:
    """Name the route of the changes in a subscription."""
    return f"azure:subscription:{subscription.lower()}"


def _carried(entry: Reading, index: Index, owner: Estate, route: str) -> str | None:
    """Return the route, unless a forwarder brought the entry that is unknown, or may not speak of its owner."""
    if entry.forwarder is None:
        return route
    known = index.forwarders.get(entry.forwarder.lower())
    return route if known and index.may_carry(known[1], owner.customer) else None


# ------------------------------------------------------------------------------------------------------- what is agreed


def _build(register: Register) -> dict[str, tuple[Way, ...]]:
    """Return the ways of every watched key; worked out once for each container, however many keys it holds."""
    index = index_of(register)
    told = {_subscription_told(feed) for feed in index.feeds.values()} - {None}
    carriers: dict[str | None, list[Estate]] = {}
    for estate in index.estates:
        for owner in index.carries.get(estate.customer, ()):
            carriers.setdefault(owner, []).append(estate)
    found: dict[str, tuple[Way, ...]] = {}
    for container in index.containers.values():
        ways_of = [
            *_vault(container, index),
            *(_forwarder(one, by) for by in carriers[container.estate.customer] for one in by.facts.feeds.forwarders),
            *_subscriptions(container, index, told),
        ]
        once = {way.route: way for way in ways_of}
        ordered = tuple(sorted(once.values(), key=lambda way: way.cover is Cover.SELF_OBSERVED))
        found |= dict.fromkeys((key.key.id for key in container.keys), ordered)
    return found


def _vault(container: Container, index: Index) -> Iterator[Way]:
    settings = [feed.id for feed in index.feeds_under.get(container.id, []) if SETTINGS in feed.id]
    if not settings:
        return
    beats = _beats(container)
    sign = f"the record of our own probe of a key in {container.name}, by {' or '.join(settings)}" if beats else ""
    yield Way(
        cover=_cover(container.estate),
        route=of_vault(container),
        words=f"the log (AuditEvent) of the {'managed HSM' if container.is_hsm else 'vault'} {container.name}",
        customer=container.estate.customer,
        beats=beats,
        lag=LATE,
        expects=sign,
        by_probe=True,
    )


def _beats(container: Container) -> timedelta | None:
    """Return how often our own calls are in the log. Those of an application that is not registered are strangers'."""
    app = container.estate.app
    probes = (key.key.entry.probe or _PLAIN for key in container.keys)
    ours = [
        probe.every_seconds
        for probe in probes
        if not probe.off and app is not None and (probe.principal or app).lower() == app
    ]
    return timedelta(seconds=min(ours)) if ours else None


def _forwarder(forwarder: AzureForwarder, estate: Estate) -> Way:
    return Way(
        cover=_cover(estate),
        route=of_forwarder(forwarder),
        words=f"what the forwarder {forwarder.source} brings over",
        customer=estate.customer,
        beats=FORWARDER_BEATS,
        expects=f"its heartbeat ({HEARTBEAT}), from {forwarder.id}",
    )


def _subscriptions(container: Container, index: Index, told: Collection[str | None]) -> Iterator[Way]:
    """Yield the ways of the vault's subscription and of that of the identity behind the vendor's application."""
    estate = container.estate
    places = [(container.id, estate)]
    if index.vendor:
        apps = [app for app in index.apps.values() if app.app_id.lower() == estate.app]
        places += [(canonical(app.identity) or "", index.vendor) for app in apps]
    for resource, side in places:
        subscription = subscription_of(resource)
        if subscription and subscription in told:
            yield Way(
                cover=_cover(side),
                route=of_subscription(subscription),
                words=f"the changes of resources in the Azure subscription {subscription}",
                customer=side.customer,
            )


def _subscription_told(feed: Feed) -> str | None:
    """Return the subscription whose changes a feed carries; None when it carries something else."""
    subscription = subscription_of(feed.id)
    root = f"/subscriptions/{subscription}"
    whole = feed.id.startswith((f"{root}{SETTINGS}", f"{root}{OF_SUBSCRIPTION}"))
    of_topic = feed.kind == "event subscription" and OF_SYSTEM_TOPICS in feed.id
    return subscription if whole or of_topic else None


def _cover(estate: Estate) -> Cover:
    return Cover.SELF_OBSERVED if estate.customer is None else Cover.FORWARDED
