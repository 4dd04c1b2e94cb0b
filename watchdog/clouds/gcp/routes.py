"""Routes: by which ways the audit records about a key come in on Google Cloud, and what shows that a way is open.

Google Cloud keeps the records of each project apart, and names the project in every entry (`logName`): so a route is a
project, named by its id. All that a sink forwards of a project takes the same way, sink, topic and subscription; so any
entry of its audit log is a sign of life. Due is a sign only where the register says that a job of the project writes
the heartbeat (`GcpProject.heartbeat`). The records of our own probes come back too, where the customer writes data
access logs (`data_access_logs`) *and* its sink carries reads; the filter that we print carries refusals only, so that
they are signs when they come, and no silence when they do not.

The log of a folder, an organisation or a billing account proves nothing of a project's: such an entry has no route.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from watchdog.clouds.gcp.fields import mapping, text
from watchdog.clouds.gcp.index import OURS, Index, index_of
from watchdog.clouds.gcp.names import HEARTBEAT, HEARTBEAT_LOG, container_of, project_of
from watchdog.clouds.gcp.record import Kind, Reading
from watchdog.clouds.gcp.trust import audit_container, platform_container
from watchdog.coverage import Cover, Way
from watchdog.register import Register, RegisteredKey
from watchdog.register_gcp import GcpCustomer, GcpSink

BEATS = timedelta(minutes=5)
LATE = timedelta(minutes=5)
"""Seen were two seconds between an entry and its receipt, promised is nothing (gcp.md 6.2)."""


def ways(key: RegisteredKey, register: Register) -> Sequence[Way]:
    """Return the ways of a key's records: its owner's log and asset feed, then the vendor's own projects.

    A customer's log comes in when a feed of kind `audit` is registered for it and, where any of its sinks are, one that
    covers the project. The vendor's own: the project of the instance, and that of the key where the vendor owns it.
    """
    index, customer, vendor = index_of(register), key.customer.gcp, register.vendor.gcp
    project = project_of(key.id)
    own = [project] if project in index.vendor_projects else []
    if customer and customer.vendor_project:
        own.append(customer.vendor_project)
    is_heard = vendor is not None and any(feed.kind == "audit" for feed in vendor.feeds)
    found = [_log(Cover.SELF_OBSERVED, one, None, index) for one in dict.fromkeys(own)] if is_heard else []
    if customer is None or not key.customer_owned:
        return found
    return [*_forwarded(key, project, customer, index), *found]


def route_of(found: Reading, index: Index) -> str | None:
    """Return the route that a believed message is a sign of life of; None when it is one of no registered project.

    A message proves the way of its own project's owner only: what came by another's subscription proves nothing.
    """
    if found.kind is Kind.ASSET:
        name = mapping(found.content.get("asset")).get("name") or mapping(found.content.get("priorAsset")).get("name")
        container, form = container_of(index.normal(text(name))), "gcp:assets:{}"
    else:
        container, form = _container(found, index), "gcp:{}"
    kind, _, project = (container or "").partition("/")
    if kind != "projects" or container not in index.owners or not _is_owners(found.subscription, container, index):
        return None
    return form.format(project)


def heartbeat_of(found: Reading, index: Index) -> str | None:
    """Return the project whose registered heartbeat an entry is; None for any other message."""
    log = HEARTBEAT_LOG.fullmatch(text(found.content.get("logName")) or "")
    container = index.normal(log[1]) if log and found.kind in (Kind.JSON_LOG, Kind.OTHER_LOG) else None
    return container if container in index.heartbeats else None


def _container(found: Reading, index: Index) -> str | None:
    """Return the container in whose log an entry lies, if that log is one of those that are forwarded."""
    log = text(found.content.get("logName"))
    match found.kind:
        case Kind.AUDIT:
            return audit_container(log, index)
        case Kind.JSON_LOG:
            return platform_container(log, index) or heartbeat_of(found, index)
        case Kind.OTHER_LOG:
            return heartbeat_of(found, index)
        case _:
            return None


def _is_owners(subscription: str | None, container: str, index: Index) -> bool:
    """Whether a message came by a subscription of the container's one owner; what names none came by a plain file."""
    if subscription is None:
        return True
    feed = index.subscriptions.get(index.normal(subscription))
    # A customer that uses a key in the vendor's project may tell of that key, not of the vendor's way.
    owners = {OURS} if index.is_ours(container) else index.owners[container]
    return feed is not None and feed.customer in owners


def sinks_of(project: str, customer: GcpCustomer, index: Index) -> list[GcpSink]:
    """Return the registered sinks of a customer that cover a project: its own, and those above it with children."""
    own, above = f"projects/{project}", _above(project, customer)
    return [
        one
        for one in customer.sinks
        if index.normal(one.scope) == own or (one.include_children and index.normal(one.scope) in above)
    ]


def _above(project: str, customer: GcpCustomer) -> set[str]:
    """Return a project and all that is above it."""
    ancestors = {place for one in customer.projects if one.id == project for place in one.ancestors}
    return {f"projects/{project}"} | ancestors


def _forwarded(key: RegisteredKey, project: str, customer: GcpCustomer, index: Index) -> Iterator[Way]:
    above = _above(project, customer)
    kinds = {feed.kind for feed in customer.feeds}
    if "audit" in kinds and (sinks_of(project, customer, index) or not customer.sinks):
        yield _log(Cover.FORWARDED, project, key.customer.id, index)
    if "assets" in kinds and any(container_of(index.normal(name)) in above for name in customer.asset_feeds):
        yield Way(
            cover=Cover.FORWARDED,
            route=f"gcp:assets:{project}",
            words=f"the asset feed of Google Cloud project {project}",
            customer=key.customer.id,
        )


def _log(cover: Cover, project: str, customer: str | None, index: Index) -> Way:
    beats = f"projects/{project}" in index.heartbeats
    job = f"the Cloud Scheduler job {HEARTBEAT} of project {project}, its last run, then the sink and its writer"
    return Way(
        cover=cover,
        route=f"gcp:{project}",
        words=f"the audit log of Google Cloud project {project}",
        customer=customer,
        beats=BEATS if beats else None,
        lag=LATE if beats else timedelta(),
        expects=f"an entry in the log projects/{project}/logs/{HEARTBEAT} (look at {job})" if beats else "",
    )
