"""The Activity Log of Azure subscriptions as an archive: what was changed in them, of the last 90 days.

It holds the records of the resource-manager plane only: vaults, roles, locks, networks, the watch's own resources.
What was done to keys in a vault or managed HSM (AuditEvent: a key disabled, deleted, purged) and in the directory
(AuditLogs) is not in it; such a gap is filled by `audit_blobs` where the customer's diagnostic setting also writes to a
storage account, and by probes otherwise. Records show up some minutes after the fact, up to twenty: a gap that has
ended just now is worth a second reading. The ids of its records are not those of Event Grid's events about the same
changes: one that came live too is judged a second time, as a late record by its own time.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from workers.backfill import asking
from workers.backfill.entra import LIMITS, Web, root
from workers.backfill.interface import Page
from workers.clouds.azure.addresses import secure
from workers.clouds.azure.identities import Limits
from workers.feeds.interface import FeedFault, Reason

ENDPOINT = "https://management.azure.com"
API_VERSION = "2015-04-01"
KEPT = timedelta(days=90)
WINDOW = timedelta(days=1)
"""How much is asked for at once: what has to be read again when a link to the next page is not accepted any more."""

_HINTS = {
    Reason.DENIED: "give this process' application the role Monitoring Reader on the subscription, in the customer's "
    "tenant",
    Reason.NOT_FOUND: "check `subscriptions` and `tenant`: each subscription must be one of that tenant",
    Reason.CREDENTIALS: "give this process valid credentials (AZURE_... variables) and let its application be "
    "consented to in the customer's tenant",
}
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def archive(name: str, options: Mapping[str, Any]) -> "ActivityLog":
    """Return an archive of kind `activity_log`. Raises ValueError with all that is wrong with its options."""
    faults = ids(options, "tenant", "application")
    subscriptions = list(options.get("subscriptions", ()))
    odd = [one for one in subscriptions if not _GUID.fullmatch(one)]
    if not subscriptions or odd:
        faults.append(f"subscriptions: give the ids of subscriptions, as 8-4-4-4-12 digits{_shown(odd)}")
    endpoint = options.get("endpoint", ENDPOINT)
    try:
        if secure(endpoint).path.strip("/"):
            faults.append("endpoint: must be an address without a path, such as https://management.azure.com")
    except ValueError as fault:
        faults.append(f"endpoint: {fault}")
    if faults:
        raise ValueError("; ".join(faults))
    return ActivityLog(
        name, options["tenant"], subscriptions, endpoint=endpoint, application=options.get("application")
    )


def ids(options: Mapping[str, Any], *names: str) -> list[str]:
    """Say which of these options, where they are given, are no ids of Entra; `tenant` must be given."""
    faults = [] if options.get("tenant") else ["tenant: give the id of the customer's Entra tenant"]
    return faults + [
        f"{name}: must be an id of 8-4-4-4-12 digits, is {options[name]!r}"
        for name in names
        if options.get(name) and not _GUID.fullmatch(options[name])
    ]


def _shown(odd: Sequence[str]) -> str:
    return f"; these are none: {', '.join(map(repr, odd[:5]))}" if odd else ""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the reading stands: a window of time, a subscription in it, and the link to the next page, if any."""

    since: datetime
    subscription: str
    link: str = ""

    def cursor(self) -> str:
        return asking.written({"since": self.since.isoformat(), "subscription": self.subscription, "link": self.link})


class ActivityLog:
    """Reads the Activity Log of some subscriptions of one tenant, day after day. It only asks, never changes."""

    def __init__(
        self,
        name: str,
        tenant: str,
        subscriptions: Sequence[str],
        *,
        endpoint: str = ENDPOINT,
        application: str | None = None,
        limits: Limits = LIMITS,
        environment: Mapping[str, str] = os.environ,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = secure(endpoint)
        self._name = name
        self._root = root(parts)
        self._subscriptions = tuple(dict.fromkeys(one.lower() for one in subscriptions))
        self._now = now
        self._sleep = sleep
        scope = f"{self._root if parts.scheme == 'https' else ENDPOINT}/.default"
        self._web = Web(tenant, application, scope, hints=_HINTS, limits=limits, environment=environment)

    def pages(self, start: datetime, end: datetime, cursor: str | None) -> Iterator[Page]:
        """Yield the records from `start` to before `end`, one a message, in the form of the REST interface.

        Records of a page come newest first. Raises FeedFault, also when `start` is longer ago than the log is kept.
        """
        place: _Place | None = self._resumed(start, end, cursor)
        while place is not None and place.since < end:
            until = min(place.since + WINDOW, end)
            body = self._asked(place, until)
            records, link = self._cut(body, place)
            after = self._after(place, until, end, link)
            about = f"Activity Log of subscription {place.subscription}"
            yield Page(
                messages=tuple(asking.message(one, about, self._now()) for one in records),
                cursor=after.cursor() if after else None,
                until=place.since if after and after.since == place.since else until,
            )
            place = after

    def close(self) -> None:
        """Let go of connections."""
        self._web.close()

    # ---------------------------------------------------------------------------------------------------------- inside

    def _resumed(self, start: datetime, end: datetime, cursor: str | None) -> _Place:
        """Return where a cursor stands; the beginning where it fits neither the gap nor the settings (any more)."""
        told = asking.read(cursor)
        try:
            since = datetime.fromisoformat(told["since"])
        except (KeyError, ValueError):
            return _Place(start, self._subscriptions[0])
        if since.tzinfo is None or not start <= since < end:
            return _Place(start, self._subscriptions[0])
        subscription = told.get("subscription", "")
        if subscription not in self._subscriptions:
            return _Place(since, self._subscriptions[0])
        return _Place(since, subscription, told.get("link", ""))

    def _after(self, place: _Place, until: datetime, end: datetime, link: str) -> _Place | None:
        if link:
            return _Place(place.since, place.subscription, link)
        number = self._subscriptions.index(place.subscription) + 1
        if number < len(self._subscriptions):
            return _Place(place.since, self._subscriptions[number])
        return _Place(until, self._subscriptions[0]) if until < end else None

    def _asked(self, place: _Place, until: datetime) -> bytes:
        """Ask for one page; from the beginning of its window when the link to it is not accepted any more."""
        if place.since < self._now() - KEPT:
            text = f"Activity Log of {self._name}: what happened before {self._now() - KEPT:%Y-%m-%d %H:%M} UTC is gone"
            hint = "read from a later time on (replay --from); what is older cannot be had back, so let keys be probed"
            raise FeedFault(Reason.REFUSED, text, hint=hint)
        if place.link:
            try:
                return self._get(self._followed(place.link, place), place, None)
            except FeedFault as fault:
                if fault.reason is not Reason.REFUSED:
                    raise
        # The last microsecond belongs to the next window; the service counts in steps of 100 nanoseconds.
        last = until - timedelta(microseconds=1)
        window = (
            f"eventTimestamp ge '{place.since.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}' and "
            f"eventTimestamp le '{last.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}9Z'"
        )
        return self._get(
            f"{self._root}{_path(place.subscription)}", place, {"api-version": API_VERSION, "$filter": window}
        )

    def _get(self, url: str, place: _Place, params: Mapping[str, str] | None) -> bytes:
        what = f"Activity Log of subscription {place.subscription}"
        headers = {"Accept": "application/json"}
        return asking.patiently(lambda: self._web.get(url, what, headers, params), self._sleep)

    def _cut(self, body: bytes, place: _Place) -> tuple[list[bytes], str]:
        """Return the records of a page and the link to the next one. Raises FeedFault when it is no page."""
        what = f"Activity Log of subscription {place.subscription}"
        try:
            records, rest = asking.page(body, "value", required=True)
        except ValueError as fault:
            raise FeedFault(Reason.SERVER, f"{what}: the answer cannot be read: {fault}") from fault
        link = rest.get("nextLink") or ""
        if not isinstance(link, str) or (link and link == place.link):
            raise FeedFault(Reason.SERVER, f"{what}: the link to the next page leads nowhere")
        if link:
            self._followed(link, place)
        return records, link

    def _followed(self, link: str, place: _Place) -> str:
        """Return a link that may be followed. Raises FeedFault: what the token is sent to is not for others to say."""
        try:
            parts = urlsplit(link)
            is_ours = root(parts).lower() == self._root.lower() and parts.path.lower() == _path(place.subscription)
        except ValueError:
            is_ours = False
        if not is_ours:
            text = f"Activity Log of subscription {place.subscription}: the next page is said to lie somewhere else"
            raise FeedFault(Reason.SERVER, f"{text} than at {self._root}; it is not followed")
        return link


def _path(subscription: str) -> str:
    return f"/subscriptions/{subscription}/providers/microsoft.insights/eventtypes/management/values"
