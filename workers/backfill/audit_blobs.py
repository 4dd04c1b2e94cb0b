"""The log of a vault or managed HSM in a storage account as an archive: what the Activity Log does not hold.

Where a diagnostic setting sends AuditEvent to a storage account too, each hour with records has an append blob
`resourceId=/SUBSCRIPTIONS/.../VAULTS/NAME/y=2026/m=11/d=24/h=09/m=00/PT1H.json` of JSON lines (azure.md 6.1). The hours
of a gap are read whole: what lies before or after it is known already. An hour without a blob had no records; so a
prefix under which there is nothing at all is a fault, not a quiet vault.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from workers.backfill import asking
from workers.backfill.azure import ids
from workers.backfill.entra import LIMITS, Absent, Web, root
from workers.backfill.interface import Page
from workers.clouds.azure.addresses import secure
from workers.clouds.azure.identities import Limits
from workers.feeds.interface import FeedFault, Reason, Received
from workers.feeds.pieces import Piece, cut

CONTAINER = "insights-logs-auditevent"
SCOPE = "https://storage.azure.com/.default"
HOUR = timedelta(hours=1)
_HEADERS = {"x-ms-version": "2021-12-02"}
_HINTS = {
    Reason.DENIED: "give this process' application the role Storage Blob Data Reader on the container, and let the "
    "account's firewall pass it",
    Reason.NOT_FOUND: "check `url` and `container`; diagnostic settings make the container with their first record",
}
_CONTAINER_NAME = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}")


def archive(name: str, options: Mapping[str, Any]) -> "AuditBlobs":
    """Return an archive of kind `audit_blobs`. Raises ValueError with all that is wrong with its options."""
    faults = ids(options, "tenant", "application")
    try:
        secure(options.get("url", ""))
    except ValueError as fault:
        faults.append(f"url: {fault}; give the one of the account, https://ACCOUNT.blob.core.windows.net")
    container = options.get("container", CONTAINER)
    if not _CONTAINER_NAME.fullmatch(container):
        faults.append(f"container: {container!r} is no name of a container; the usual one is {CONTAINER}")
    prefix = options.get("prefix", "").strip("/")
    if not prefix.lower().startswith("resourceid=/subscriptions/"):
        faults.append("prefix: give the folder of the vault, resourceId=/SUBSCRIPTIONS/.../VAULTS/NAME")
    if faults:
        raise ValueError("; ".join(faults))
    return AuditBlobs(
        options["url"], container, prefix, tenant=options["tenant"], application=options.get("application"), name=name
    )


class AuditBlobs:
    """Reads the log of one vault hour by hour, each in pieces of bounded size. It only asks, never changes."""

    def __init__(
        self,
        url: str,
        container: str,
        prefix: str,
        *,
        tenant: str,
        application: str | None = None,
        name: str = "audit_blobs",
        limits: Limits = LIMITS,
        environment: Mapping[str, str] = os.environ,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = secure(url)
        self._container = (
            f"{root(parts)}{parts.path.rstrip('/')}/{container}"  # an emulator has the account in its path
        )
        self._prefix = prefix
        self._name = name
        self._now = now
        self._sleep = sleep
        self._web = Web(tenant, application, SCOPE, hints=_HINTS, limits=limits, environment=environment)

    def pages(self, start: datetime, end: datetime, cursor: str | None) -> Iterator[Page]:
        """Yield the hours from the one of `start` to the last before `end`, large ones in pieces.

        Raises FeedFault, also in the middle of an hour.
        """
        first = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        hour, done = _resumed(first, end, cursor)
        self._check_prefix()
        while hour < end:
            after = hour + HOUR
            for piece in self._pieces(hour):
                if piece.first <= done:  # an append blob only grows: what was cut off it once is cut off it again
                    continue
                here = asking.written({"hour": hour.isoformat(), "done": str(piece.first)})
                yield Page(messages=(self._received(piece),), cursor=here, until=hour)
            more = asking.written({"hour": after.isoformat()}) if after < end else None
            yield Page(messages=(), cursor=more, until=after)
            hour, done = after, 0

    def close(self) -> None:
        """Let go of connections."""
        self._web.close()

    # ---------------------------------------------------------------------------------------------------------- inside

    def _check_prefix(self) -> None:
        """Raise FeedFault when there is nothing at all under the prefix: it is misspelt, or nothing is written."""
        what = f"list of blobs of {self._name}"
        params = {"restype": "container", "comp": "list", "prefix": f"{self._prefix}/y=", "maxresults": "1"}
        listed = asking.patiently(lambda: self._web.get(self._container, what, _HEADERS, params), self._sleep)
        if b"<EnumerationResults" not in listed:
            raise FeedFault(Reason.NETWORK, f"{what}: not an answer of Azure Storage")
        # A page may be empty and have a successor: then there is something.
        if b"<Blob>" not in listed and not re.search(rb"<NextMarker>[^<]", listed):
            hint = "check `prefix`, whose letters count (Azure writes ids in capitals), and the diagnostic setting"
            raise FeedFault(Reason.NOT_FOUND, f"{what}: there is no blob under {self._prefix}", hint=hint)

    def _pieces(self, hour: datetime) -> Iterator[Piece]:
        place = f"{self._prefix}/y={hour:%Y}/m={hour:%m}/d={hour:%d}/h={hour:%H}/m=00/PT1H.json"
        url, what = f"{self._container}/{quote(place, safe='/=')}", f"blob {place}"
        with ExitStack() as opened:

            def stream() -> Iterator[bytes]:
                return opened.enter_context(self._web.stream(url, what, _HEADERS))

            try:
                chunks = asking.patiently(stream, self._sleep)
            except Absent:
                return
            yield from cut(_Stream(chunks), place)

    def _received(self, piece: Piece) -> Received:
        digest = hashlib.sha256(f"{piece.name}:{piece.first}:".encode() + piece.body).hexdigest()
        return Received(
            id=digest, body=piece.body, received_at=self._now(), receipt=None, place=piece.name, first=piece.first,
            fault=piece.error,
        )  # fmt: skip


def _resumed(first: datetime, end: datetime, cursor: str | None) -> tuple[datetime, int]:
    """Return the hour that a cursor stands in, and the first record of the last piece that is done (0: none)."""
    told = asking.read(cursor)
    try:
        hour, done = datetime.fromisoformat(told["hour"]), int(told.get("done", "0"))
    except (KeyError, ValueError):
        return first, 0
    return (hour, done) if hour.tzinfo is not None and first <= hour < end else (first, 0)


class _Stream:
    """The pieces of an answer as something that is read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def read(self, size: int, /) -> bytes:
        """Return the next piece, of whatever size the transport gives; nothing at the end."""
        del size
        return next((chunk for chunk in self._chunks if chunk), b"")
