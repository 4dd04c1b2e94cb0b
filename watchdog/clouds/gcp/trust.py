"""Authenticity: whether log and subscription of a record may say what it says (gcp.md 6.4)."""

from watchdog.clouds.gcp.index import OURS, Index
from watchdog.clouds.gcp.names import AUDIT_LOG, PLATFORM_LOG, project_of
from watchdog.clouds.gcp.rules import Witness
from watchdog.register import RegisteredKey


class DistrustedError(Exception):
    """A record claims what its source cannot know; the text says which."""


def audit_container(log: str | None, index: Index) -> str | None:
    """Return the container whose audit log this is, by project id; None for any other log."""
    found = AUDIT_LOG.fullmatch(log) if log else None
    return index.normal(found[1]) if found else None


def platform_container(log: str | None, index: Index) -> str | None:
    """Return the project whose platform log of Cloud KMS this is; None for any other log."""
    found = PLATFORM_LOG.fullmatch(log) if log else None
    return index.normal(found[1]) if found else None


def check_subscription(subscription: str | None, owners: set[str], index: Index) -> None:
    """Check that a message came by a subscription of one of its owners. Raises DistrustedError."""
    if subscription is None:
        return
    feed = index.subscriptions.get(index.normal(subscription))
    if feed is None:
        raise DistrustedError(f"the subscription {subscription!r} is not registered")
    if feed.customer not in owners:
        raise DistrustedError(f"it came by {subscription!r}, which serves somebody else")


def check_log(container: str | None, witness: Witness, key: RegisteredKey, index: Index) -> None:
    """Check that the log in which a record lies may tell of this key. Raises DistrustedError."""
    if container is None:
        raise DistrustedError("it lies in no audit log")
    own_project = container == f"projects/{project_of(key.id)}"
    customers = key.customer.id in index.owners.get(container, ())
    allowed = {
        Witness.KEY_PROJECT: own_project,
        Witness.CALLER: own_project or index.is_ours(container),
        Witness.CUSTOMER: customers or own_project,
        Witness.VENDOR: index.is_ours(container),
        Witness.EITHER: customers or index.is_ours(container),
    }[witness]
    if not allowed:
        raise DistrustedError(f"it lies in a log of {container}, only {witness.value} can tell of {key.id}")


def check_feed(container: str | None, customer: str, index: Index, *, ours: bool) -> None:
    """Check that a log may tell of a feed: the vendor's own lies in its projects. Raises DistrustedError."""
    owners = index.owners.get(container or "", set())
    if (OURS if ours else customer) not in owners:
        raise DistrustedError(f"it lies in a log of {container or 'no audit log'}, which does not own that feed")
