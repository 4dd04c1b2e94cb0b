"""The store: the one truth of the product. Everything else (broker, caches, processes) may vanish at any moment."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from watchdog.evidence import Sealed
from watchdog.notices import Notice


class Carries(StrEnum):
    """What an inbox row holds: one audit record, or a pointer to an object full of them."""

    RECORD = "record"
    DELIVERY = "delivery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """Something a feed has received and is about to acknowledge. Unique by feed and event id."""

    feed: str
    event_id: str
    cloud: str
    body: bytes
    received_at: datetime
    carries: Carries = Carries.RECORD


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """An inbox row that still has to be worked. `attempts` counts the failures so far."""

    id: int
    feed: str
    event_id: str
    cloud: str
    body: bytes
    received_at: datetime
    carries: Carries
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A piece that could not be read: where it came from, where in the delivery it stood, why, and its bytes."""

    feed: str
    cloud: str
    place: str
    reason: str
    body: bytes
    received_at: datetime


class NoticeState(StrEnum):
    """Life of a notice: queued -> leased -> accepted, or back to queued, or one of the ends that are told."""

    QUEUED = "queued"
    LEASED = "leased"
    ACCEPTED = "accepted"
    FAILED = "failed"
    SUPPRESSED = "suppressed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredNotice:
    """A notice with what has become of it so far."""

    notice: Notice
    state: NoticeState
    attempts: int
    due_at: datetime
    provider_id: str | None
    error: str | None
    accepted_at: datetime | None
    rendered_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to send one notice until `until`. Only the holder of the current fence may settle it."""

    notice: Notice
    fence: int
    attempts: int
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt to send a notice, kept for ever."""

    at: datetime
    outcome: str
    reason: str
    http_status: int | None
    excerpt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredIncident:
    """An incident row. `doc` is the engine's own state of it (`watchdog.incidents.Incident`, as JSON)."""

    id: str
    doc: bytes
    is_open: bool
    customer: str
    stage: str
    subjects: tuple[str, ...]
    check_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredHealth:
    """The health of one subject: a key id, or `watch:CUSTOMER` for a customer's feeds. `doc` is the engine's state."""

    subject: str
    doc: bytes
    verdict: str
    customer: str
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSeen:
    """What a feed has done: when it last asked its source with success, when a record last came, and its counts."""

    feed: str
    asked_at: datetime | None
    record_at: datetime | None
    received: int
    kept: int
    dropped: int
    broken: int
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSeen:
    """The last sign of life of one process. `degraded` says in words what it does without (None: nothing)."""

    name: str
    kind: str
    seen_at: datetime
    started_at: datetime
    degraded: str | None


class Unit(Protocol):
    """One transaction. Everything done through it is committed together or not at all."""

    # the register: every imported document is kept, the newest counts
    def register_revision(self) -> int: ...
    def register_latest(self) -> tuple[int, bytes] | None: ...
    def register_add(self, document: bytes, *, at: datetime, by: str, source: str) -> int: ...

    # the inbox
    def receive(self, arrivals: Sequence[Arrival]) -> list[int]:
        """Add rows, skip those whose (feed, event id) is known; return the ids of the new ones in order."""
        ...

    def arrived(self, inbox_id: int) -> Arrived | None:
        """Return the row while it still has to be worked, else None (done by somebody else, or unknown)."""
        ...

    def arrived_due(self, now: datetime, limit: int) -> list[tuple[int, Carries]]:
        """Ids of rows that are due (never worked, or whose retry time has come), oldest first, records before deliveries."""
        ...

    def arrival_done(self, inbox_id: int, *, at: datetime, outcome: str) -> None: ...
    def arrival_retry(self, inbox_id: int, *, due_at: datetime, error: str) -> None: ...
    def inbox_counts(self) -> Mapping[str, int]: ...

    # quarantine
    def quarantine(self, piece: Unreadable) -> int | None:
        """Keep an unreadable piece; return its id, or None when the same bytes of the same feed are already there."""
        ...

    def quarantined(self, limit: int) -> list[tuple[int, Unreadable]]: ...
    def quarantine_count(self) -> int: ...

    # health
    def healths(self, subjects: Iterable[str]) -> dict[str, StoredHealth]: ...
    def put_health(self, health: StoredHealth) -> None: ...
    def all_health(self) -> Iterator[StoredHealth]: ...

    # incidents
    def incident_number(self) -> int:
        """A number that no incident has had before. Numbers may have gaps."""
        ...

    def incident(self, incident_id: str) -> StoredIncident | None: ...
    def open_incidents(self, subjects: Iterable[str]) -> dict[str, str]:
        """The id of the open incident of each subject that has one."""
        ...

    def put_incident(self, incident: StoredIncident) -> None: ...
    def incidents_due(self, now: datetime, limit: int) -> list[str]: ...
    def incidents(self, *, only_open: bool, limit: int = 1000) -> list[StoredIncident]: ...

    # notices (outbox)
    def add_notices(self, notices: Sequence[Notice]) -> list[str]:
        """Queue notices, due at once; skip those whose (incident, kind, dedup, channel, recipient) exists; ids of new."""
        ...

    def notices_due(self, now: datetime, limit: int) -> list[tuple[str, bool]]:
        """Ids (and urgency) of notices that may be leased now, urgent ones first, then by age."""
        ...

    def lease(self, notice_id: str, *, now: datetime, length: timedelta) -> Lease | None:
        """Take a due notice by compare-and-set.

        None when somebody holds it, it is settled, not due, or its `after` has not left the queue for good yet.
        """
        ...

    def settle(
        self,
        notice_id: str,
        fence: int,
        *,
        state: NoticeState,
        attempt: Attempt,
        due_at: datetime | None = None,
        provider_id: str | None = None,
        rendered: bytes | None = None,
        content_type: str | None = None,
    ) -> bool:
        """Record what came of a lease; False (and nothing changed) when the fence is no longer the current one."""
        ...

    def notice(self, notice_id: str) -> StoredNotice | None: ...
    def notices_of(self, incident_id: str) -> list[StoredNotice]: ...
    def attempts(self, notice_id: str) -> list[Attempt]: ...
    def rendered(self, notice_id: str) -> bytes | None: ...
    def outbox_counts(self) -> Mapping[str, int]: ...
    def oldest_due_notice(self, now: datetime) -> datetime | None: ...

    # evidence
    def append_evidence(self, kind: str, subject: str, body: Mapping[str, object], *, at: datetime) -> Sealed: ...
    def evidence(self, *, after: int = 0) -> Iterator[Sealed]: ...
    def keep_raw(self, body: bytes, *, at: datetime) -> str:
        """Keep bytes under their SHA-256 (once) and return it in hex."""
        ...

    def raw(self, sha256: str) -> bytes | None: ...

    # schedule, processes, feeds
    def claim_job(self, name: str, *, now: datetime, every: timedelta) -> bool:
        """Whether the caller is the one to run this periodic job now; moves its due time on by compare-and-set."""
        ...

    def process_beat(self, process: ProcessSeen) -> None: ...
    def processes(self) -> list[ProcessSeen]: ...
    def feed_seen(
        self,
        feed: str,
        *,
        asked_at: datetime | None = None,
        record_at: datetime | None = None,
        received: int = 0,
        kept: int = 0,
        dropped: int = 0,
        broken: int = 0,
        error: str | None = None,
    ) -> None:
        """Add to a feed's counts and move its times on (never back)."""
        ...

    def feeds(self) -> list[FeedSeen]: ...


class Store(Protocol):
    """Where it all is kept. Safe to share between threads; not across a fork (open a new one there)."""

    def write(self) -> AbstractContextManager[Unit]:
        """Begin the one writing transaction; others wait. Commits (durably) on leaving, rolls back on an exception."""
        ...

    def read(self) -> AbstractContextManager[Unit]:
        """Begin a reading transaction that sees one consistent state."""
        ...

    def close(self) -> None: ...
