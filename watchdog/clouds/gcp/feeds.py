"""The watch's own resources on Google Cloud: sinks, topics, subscriptions, asset feeds (gcp.md 3.5)."""

from watchdog.clouds.gcp import access
from watchdog.clouds.gcp.case import Case
from watchdog.clouds.gcp.fields import covers, either, mapping, mappings, mask, text
from watchdog.clouds.gcp.index import OURS, Sink
from watchdog.clouds.gcp.trust import check_feed
from watchdog.register_gcp import GcpSink
from watchdog.signals import Signal
from watchdog.words import Fault

PUBLISHER = "roles/pubsub.publisher"


def _named(case: Case, *fields: str) -> str:
    """Return the resource of a record, from the request where the record itself does not name it."""
    names = (case.record.resource, *(text(either(case.record.request, name)) for name in fields))
    return next((case.index.normal(name) for name in names if name), "")


def _sink(case: Case) -> Sink | None:
    found = case.index.sinks.get(_named(case, "sinkName"))
    if found:
        check_feed(case.container, found.customer, case.index, ours=False)
    return found


def sink_deleted(case: Case) -> list[Signal]:
    """DeleteSink: of a registered sink, by its exact name."""
    found = _sink(case)
    if found is None:
        return []
    return [case.tampered("The log sink that feeds the watch was deleted.", found.customer, found.sink.name)]


def sink_updated(case: Case) -> list[Signal]:
    """UpdateSink: what the mask names and the register does not expect."""
    found = _sink(case)
    if found is None:
        return []
    reason = _narrowed(case, found.sink)
    return [case.tampered(reason, found.customer, found.sink.name)] if reason else []


def _narrowed(case: Case, sink: GcpSink) -> str | None:
    body = either(case.record.request, "sink")
    if not isinstance(body, dict):
        return "The log sink that feeds the watch was changed, and the record does not say how."
    paths = mask(case.record.request)
    # Without a mask, destination and filter are what the call replaces (gcp.md 3.5).
    named = paths if paths is not None else ["destination", "filter"]
    if covers(named, "disabled") and body.get("disabled") is True:
        return "The log sink that feeds the watch was switched off."
    if covers(named, "destination") and text(body.get("destination")) != sink.destination:
        return "The log sink that feeds the watch now writes to another destination."
    if covers(named, "filter") and (text(body.get("filter")) or "") != sink.filter:
        return "The filter of the log sink that feeds the watch is another one than agreed."
    if covers(named, "exclusions") and mappings(body.get("exclusions")):
        return "An exclusion was put on the log sink that feeds the watch."
    children = either(body, "includeChildren")
    if sink.include_children and covers(named, "includeChildren") and children is not True:
        return "The log sink that feeds the watch no longer includes the projects below."
    return None


def topic_deleted(case: Case) -> list[Signal]:
    """DeleteTopic: of a topic of the watch."""
    found = case.index.topics.get(_named(case, "topic"))
    if found is None:
        return []
    return [_own(case, "The topic that receives the audit records was deleted.", found.customer, found.name)]


def subscription_lost(case: Case) -> list[Signal]:
    """DeleteSubscription and DetachSubscription: of a subscription of the watch."""
    found = case.index.subscriptions.get(_named(case, "subscription"))
    if found is None:
        return []
    word = "detached" if case.record.operation == "detachsubscription" else "deleted"
    reason = f"The subscription that the audit records are read from was {word}."
    return [_own(case, reason, found.customer, found.name)]


def topic_policy_set(case: Case) -> list[Signal]:
    """SetIamPolicy of a topic: every registered writer identity must stay a publisher."""
    name = _named(case, "resource")
    found = case.index.topics.get(name)
    paths = mask(case.record.request)
    if found is None or (paths is not None and not covers(paths, "bindings")):
        return []
    policy = case.record.request.get("policy")
    writers = case.index.writers.get(name, set())
    if not isinstance(policy, dict):
        reason = "The policy of the topic was replaced, and the record does not show the new one."
        return [_own(case, reason, found.customer, found.name)] if writers else []
    publishers = {
        member
        for binding in access.bindings_in(mapping(policy))
        if binding.role == PUBLISHER and not binding.condition
        for member in binding.members
    }
    missing = sorted(writers - publishers)
    if not missing:
        return []
    reason = f"The policy of the topic no longer lets {missing[0]} publish: the customer's sink cannot write."
    return [_own(case, reason, found.customer, found.name)]


def _own(case: Case, reason: str, customer: str, name: str) -> Signal:
    check_feed(case.container, OURS, case.index, ours=True)
    return case.tampered(reason, customer, name, fault=Fault.VENDOR)


def asset_feed_changed(case: Case) -> list[Signal]:
    """DeleteFeed and UpdateFeed: of a registered asset feed."""
    name = _named(case, "name")
    if name not in case.index.asset_feeds:
        name = case.index.normal(text(mapping(case.record.request.get("feed")).get("name")))
    found = case.index.asset_feeds.get(name)
    if found is None:
        return []
    check_feed(case.container, found.customer, case.index, ours=False)
    word = "deleted" if case.record.operation == "deletefeed" else "changed"
    return [case.tampered(f"The asset feed of the watch was {word}.", found.customer, found.name)]
