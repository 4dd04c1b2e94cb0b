"""The watch's own resources: what their loss, their rewriting and their moving means (azure.md 3.7, row 32)."""

from collections.abc import Mapping

from watchdog.clouds.azure.case import Case
from watchdog.clouds.azure.fields import embedded, items, mapping, pick, text, truth
from watchdog.clouds.azure.ids import holds
from watchdog.clouds.azure.record import Change
from watchdog.signals import Signal
from watchdog.words import Effect

AUDIT_CATEGORY = "AuditEvent"
AUDIT_GROUPS = ("audit", "allLogs")
SETTING = "diagnostic setting"


def removed(case: Case, target: str, lost: set[str] | frozenset[str] = frozenset()) -> list[Signal]:
    """Something was deleted: the registered feeds that it was, or that lay in it.

    `lost` are canonical ids of containers that went with it: their own feeds are subsumed (azure.md 3.7).
    """
    gone = [
        feed
        for feed in case.index.feeds_under.get(target, [])
        if not any(holds(container, feed.id) for container in lost)
    ]
    nearest_first = sorted(gone, key=lambda feed: len(feed.id))
    return case.tampered(nearest_first, "A resource that carries the watch was deleted")


def written(case: Case, change: Change) -> list[Signal]:
    """A feed's resource was written: harmless if its body shows the audit log still on, else for a heartbeat to say."""
    feed = case.index.feeds.get(change.target or "")
    if feed is None:
        return []
    body = change.request or change.response
    if feed.kind != SETTING or body is None:
        reason = "A resource that carries the watch was written anew, and the record does not say how"
        return case.tampered([feed], reason, probe=True)
    if keeps_audit(body):
        return []
    return case.tampered([feed], "The diagnostic setting no longer sends the category AuditEvent")


def stopped(case: Case, change: Change) -> list[Signal]:
    """The forwarder was stopped."""
    feed = case.index.feeds.get(change.target or "")
    return case.tampered([feed] if feed else [], "The forwarder was stopped")


def rekeyed(case: Case, change: Change) -> list[Signal]:
    """Access keys of a feed, or of its parent, were made anew: what reads with the old ones is shut out."""
    target = change.target or ""
    above = case.index.feeds_under.get(target) or case.index.feeds_under.get(
        target.rpartition("/")[0].rpartition("/")[0]
    )
    reason = "Access keys of a resource that carries the watch were made anew"
    return case.tampered(above or [], reason, probe=True)


def keeps_audit(body: Mapping[str, object]) -> bool:
    """Whether a diagnostic setting still sends the audit log: an enabled entry of its category, or of a group."""
    properties = mapping(pick(body, "properties")) or body
    for one in items(embedded(pick(properties, "logs"))):
        entry = mapping(one)
        category, group = text(pick(entry, "category")) or "", text(pick(entry, "categoryGroup")) or ""
        named = category.lower() == AUDIT_CATEGORY.lower() or group.lower() in [name.lower() for name in AUDIT_GROUPS]
        if named and truth(pick(entry, "enabled")):
            return True
    return False


def subscription_deleted(case: Case, subscription: str | None, resource: str | None) -> list[Signal]:
    """Event Grid tells that an event subscription is gone; named by its header, or by its resource id."""
    feed = case.index.subscriptions.get((subscription or "").lower()) or case.index.feeds.get(resource or "")
    if feed is None:
        return []
    return [
        Signal(
            effect=Effect.FEED_TAMPERED,
            reason=f"Event Grid says that the event subscription was deleted ({feed.id}).",
            customer=feed.estate.customer,
            fault=feed.estate.fault,
            subject=feed.id,
        )
    ]
