"""Cloud Logging as an archive: the audit records of projects, oldest first, as long as their log buckets keep them.

Admin Activity, System Event and Access Transparency are kept for 400 days, Data Access and Policy Denied for 30 unless
the customer says otherwise. What the role that is held does not show is left out without a word: roles/logging.viewer
shows no Data Access records (refused uses of a key), roles/logging.privateLogViewer does. Changes that only a Cloud
Asset feed tells (a version destroyed by the clock) are in no log: probes find them.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import grpc  # type: ignore[import-untyped]  # it ships no type information
import msgspec
from msgspec import Struct

from watchdog.clouds.gcp.catalogue import filters
from watchdog.clouds.gcp.dates import moment
from watchdog.clouds.gcp.fields import mapping, text
from workers.backfill import asking
from workers.backfill.interface import Page
from workers.clouds.gcp.faults import answered, fault_of
from workers.clouds.gcp.identities import Callers, NoCaller, Session, is_safe
from workers.feeds.interface import FeedFault, Reason

ENDPOINT = "https://logging.googleapis.com"
SCOPES = ["https://www.googleapis.com/auth/logging.read"]
PAGE_SIZE = 1000
APART = 1.1
"""Seconds between two calls: a project may be read 60 times a minute, by everybody together."""

_MOST_PROJECTS = 100
_MOST_FILTER = 19_000  # of 20,000 characters; the times come to it
_TIMES = (4.0, 15.0)  # seconds to connect, and between two pieces of an answer
_WHOLE = 30.0  # seconds for a whole answer: a page with all its tries must not outlive the claim on a backfill
_IAM = "https://iamcredentials.googleapis.com"
_HINTS = {
    Reason.DENIED: "give this process' account roles/logging.privateLogViewer on every project that is named (with "
    "roles/logging.viewer refused uses of keys stay hidden)",
    Reason.NOT_FOUND: "check `projects`",
    Reason.REFUSED: "look at the answer, and at `filter` and `projects`",
}
_STATUSES = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}
_PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{5,29}|[0-9]{6,20}")


def archive(name: str, options: Mapping[str, Any]) -> "CloudLogging":
    """Return an archive of kind `cloud_logging`. Raises ValueError with all that is wrong with its options."""
    projects = [one.removeprefix("projects/") for one in options.get("projects", ())]
    odd = [one for one in projects if not _PROJECT.fullmatch(one)]
    faults = []
    if not projects or len(projects) > _MOST_PROJECTS:
        faults.append(f"projects: name 1 to {_MOST_PROJECTS} projects; make several archives for more")
    if odd:
        faults.append(f"projects: give ids or numbers of projects; these are none: {', '.join(map(repr, odd[:5]))}")
    chosen = options.get("filter", filters()["sink-filter"])
    if not chosen.strip() or len(chosen) > _MOST_FILTER:
        faults.append(f"filter: must have 1 to {_MOST_FILTER} characters; leave it out to use the catalogue's own")
    endpoint = options.get("endpoint", ENDPOINT).rstrip("/")
    if not is_safe(endpoint):
        faults.append("endpoint: must be an https:// address (plain http only to loopback)")
    if faults:
        raise ValueError("; ".join(faults))
    return CloudLogging(name, projects, chosen=chosen, endpoint=endpoint)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the reading stands. A token counts for one filter only, so `since`, from which it was made, is kept.

    `last` is the time of the newest record that was handed out: from there on it goes without the token.
    """

    since: datetime
    last: datetime
    token: str = ""

    def cursor(self) -> str:
        return asking.written({"since": self.since.isoformat(), "last": self.last.isoformat(), "token": self.token})


class CloudLogging:
    """Reads the log entries of some projects by entries.list. It only asks, never changes; for one thread."""

    def __init__(
        self,
        name: str,
        projects: Sequence[str],
        *,
        chosen: str,
        endpoint: str = ENDPOINT,
        times: tuple[float, float] = _TIMES,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._what = f"Cloud Logging for {name}"
        self._names = [f"projects/{one}" for one in projects]
        self._filter = chosen
        self._url = f"{endpoint}/v2/entries:list"
        self._times = times
        self._now = now
        self._monotonic = monotonic
        self._sleep = sleep
        self._next_at = 0.0
        self._callers = Callers(times, _IAM, 1, scopes=SCOPES)

    def pages(self, start: datetime, end: datetime, cursor: str | None) -> Iterator[Page]:
        """Yield the entries from `start` to before `end`, one a message, as a sink would have published them.

        Raises FeedFault. A page may be empty although others follow.
        """
        place: _Place | None = _resumed(start, end, cursor)
        while place is not None:
            entries, token, asked = self._asked(place, end)
            last = max([asked.last, *(at for one in entries if (at := _time_of(one)) and at < end)])
            place = replace(asked, last=last, token=token) if token else None
            yield Page(
                messages=tuple(asking.message(one, self._what, self._now()) for one in entries),
                cursor=place.cursor() if place else None,
                until=last if place else end,
            )

    def close(self) -> None:
        """Let go of connections."""
        self._callers.close()

    # ---------------------------------------------------------------------------------------------------------- inside

    def _asked(self, place: _Place, end: datetime) -> tuple[list[bytes], str, _Place]:
        """Ask for one page; when its token is not accepted any more, from the last time on, which comes again."""
        try:
            return *self._page(place, end), place
        except FeedFault as fault:
            if fault.reason is not Reason.REFUSED or not place.token:
                raise
        anew = _Place(place.last, place.last)
        return *self._page(anew, end), anew

    def _page(self, place: _Place, end: datetime) -> tuple[list[bytes], str]:
        body = {
            "resourceNames": self._names,
            "filter": f'({self._filter}\n) AND timestamp>="{_stamp(place.since)}" AND timestamp<"{_stamp(end)}"',
            "orderBy": "timestamp asc",
            "pageSize": PAGE_SIZE,
            **({"pageToken": place.token} if place.token else {}),
        }
        content = asking.patiently(lambda: self._posted(body), self._sleep)
        try:
            entries, rest = asking.page(content, "entries", required=False)
        except ValueError as fault:
            raise FeedFault(Reason.SERVER, f"{self._what}: the answer cannot be read: {fault}") from fault
        token = rest.get("nextPageToken") or ""
        if not isinstance(token, str) or (token and token == place.token):
            raise FeedFault(Reason.SERVER, f"{self._what}: the answer does not say how it goes on")
        return entries, token

    def _posted(self, body: Mapping[str, object]) -> bytes:
        """Make one call, not too soon after the one before; with a new token once more, when the old one is over."""
        status, content, retry_after = 0, b"", None
        for _ in range(2):
            self._pause()
            try:
                session = self._callers.acting(None)
            except NoCaller as none:
                raise asking.without_token(none.answer, none.words, self._what) from none
            status, content, retry_after = self._sent(session, body)
            if status != 401:
                break
            self._callers.forget(None)
        if status == 200:
            return content
        raise asking.waiting(self._refusal(status, content), retry_after)

    def _pause(self) -> None:
        ahead = self._next_at - self._monotonic()
        if ahead > 0:
            self._sleep(ahead)
        self._next_at = self._monotonic() + APART

    def _sent(self, session: Session, body: Mapping[str, object]) -> tuple[int, bytes, str | None]:
        until = self._monotonic() + _WHOLE
        try:
            with session.post(
                self._url, json=body, timeout=self._times, allow_redirects=False, stream=True
            ) as response:
                content = bytearray()
                for chunk in response.iter_content(1 << 16):
                    content += chunk
                    if len(content) > asking.MOST_BYTES:
                        text = f"{self._what}: the answer is longer than {asking.MOST_BYTES} bytes"
                        raise FeedFault(Reason.REFUSED, text, hint="narrow `filter`, or name fewer projects")
                    if self._monotonic() > until:
                        raise FeedFault(Reason.NETWORK, f"{self._what}: the answer does not end in time")
                return response.status_code, bytes(content), response.headers.get("Retry-After")
        except OSError as error:
            # Whatever the way there may be: the texts of these can quote a proxy's address with its password.
            raise FeedFault(Reason.NETWORK, f"{self._what}: no answer ({type(error).__name__})") from error

    def _refusal(self, status: int, content: bytes) -> FeedFault:
        error = _error_in(content)
        code = text(error.get("status")) or _STATUSES.get(status) or ("INTERNAL" if status >= 500 else "")
        if not error and status < 500 and status != 429:
            # A proxy or a guest network says 401 and 403 too: without Google's own form it is not Google that refuses.
            return FeedFault(Reason.NETWORK, f"{self._what}: {status}: not an answer of Google Cloud")
        known = grpc.StatusCode.__members__.get(code, grpc.StatusCode.UNKNOWN)
        fault = fault_of(answered(known, text(error.get("message")) or ""), self._what)
        return FeedFault(fault.reason, str(fault), hint=_HINTS.get(fault.reason))


class _Timed(Struct):
    timestamp: str | None = None


_TIMED = msgspec.json.Decoder(_Timed)


def _time_of(entry: bytes) -> datetime | None:
    """Return the time of an entry; None for what is none, which the decoder will say."""
    try:
        return moment(_TIMED.decode(entry).timestamp)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _stamp(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _resumed(start: datetime, end: datetime, cursor: str | None) -> _Place:
    """Return where a cursor stands; the beginning where it does not fit the gap."""
    told = asking.read(cursor)
    try:
        since, last = datetime.fromisoformat(told["since"]), datetime.fromisoformat(told["last"])
    except (KeyError, ValueError):
        return _Place(start, start)
    if since.tzinfo is None or last.tzinfo is None or not start <= since <= last < end:
        return _Place(start, start)
    return _Place(since, last, told.get("token", "")) if told.get("token") else _Place(last, last)


def _error_in(content: bytes) -> Mapping[str, object]:
    try:
        told: object = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return mapping(mapping(told).get("error"))
