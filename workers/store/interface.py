"""The store: the one truth of the product. Everything else (broker, caches, processes) may vanish at any moment."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from watchdog.coverage import Sign
from watchdog.evidence import Sealed
from watchdog.notices import Notice
from workers.probes.interface import Canary


class StoreFault(StrEnum):
    """Why the store cannot serve; the metric label."""

    UNREACHABLE = "unreachable"  # cannot connect, or the file cannot be opened
    LOST = "lost"  # the connection broke in the middle; whether a commit happened is unknown
    BUSY = "busy"  # the turn to write, a connection or an answer did not come in time
    REFUSED = "refused"  # wrong credentials, missing rights, or a server that only reads
    FULL = "full"  # no space left
    DAMAGED = "damaged"  # the database itself reports broken pages, or the file is not a database
    UNSUPPORTED = "unsupported"  # this SQLite, or the file system under it, cannot do what is needed
    SCHEMA = "schema"  # not migrated, or older than this program needs


_HINTS = {
    StoreFault.UNREACHABLE: "Check that the database runs, and that the store's URL has its host and user, or folder.",
    StoreFault.LOST: "Nothing to do if it comes back by itself: the work is repeated. Check the database's own log.",
    StoreFault.BUSY: "Look for a process that holds a transaction open; the database lists its sessions and locks.",
    StoreFault.REFUSED: "Check user, password, database name and rights, and that this is the primary, not a standby.",
    StoreFault.FULL: "Free space on the disk of the database, then nothing more: the work is repeated.",
    StoreFault.DAMAGED: "Stop the processes, keep a copy of the files, and restore from the last good backup.",
    StoreFault.UNSUPPORTED: "SQLite needs version 3.35 or newer and a local disk; otherwise use PostgreSQL.",
    StoreFault.SCHEMA: "Run the migration once with this version of the program, then start the processes.",
}
_PERMANENT = frozenset({StoreFault.REFUSED, StoreFault.DAMAGED, StoreFault.UNSUPPORTED, StoreFault.SCHEMA})


class StoreUnavailable(Exception):  # noqa: N818 -- a state of the world that callers wait out, not an error of theirs
    """The store cannot serve now. `detail` is the driver's own sentence; it holds no password and no customer text."""

    def __init__(self, reason: StoreFault, detail: str) -> None:
        super().__init__(f"store {reason}: {detail}")
        self.reason = reason
        self.detail = detail

    @property
    def permanent(self) -> bool:
        """Whether waiting will not help: a person has to change something."""
        return self.reason in _PERMANENT

    def hint(self) -> str:
        """Say what a person should do."""
        return _HINTS[self.reason]


class WrongProcess(RuntimeError):  # noqa: N818 -- reads as what it is
    """A store was used in another process than the one that opened it: open one after the fork."""


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


PACE = timedelta(seconds=1)
"""The time within which the probes of one account are counted."""

APART = timedelta(seconds=10)
"""Wanted probes of one key are at least so far apart: events come in swarms."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePlan:
    """What the register says of the probing of one key. `due_at` is its first time, should the row be new or changed.

    `account` is within which a provider counts requests. `due_at` None: the key is never asked.
    """

    key: str
    cloud: str
    account: str
    every: timedelta
    due_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredProbe:
    """The schedule of one key, and what its last probe came to.

    `due_at` is from when on it may be taken: while it is `claimed`, the end of the claim. `wanted_at` is set while
    somebody waits for the next probe. `failures` counts how often in a row it could not be told. `outcome` names what
    came out last, `told_at` is when that was last put into the evidence, `slow_at` when the questions of the slower
    pace were last put, `answered_at` when the key last gave an answer, good or bad.
    """

    key: str
    cloud: str
    account: str
    every: timedelta
    due_at: datetime | None
    wanted_at: datetime | None = None
    claimed: bool = False
    fence: int = 0
    failures: int = 0
    last_at: datetime | None = None
    last_passed: bool | None = None
    last_words: str = ""
    outcome: str = ""
    told_at: datetime | None = None
    slow_at: datetime | None = None
    answered_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenProbe:
    """The right to probe one key. `lost`: somebody took it before and never came back."""

    key: str
    fence: int
    wanted: bool
    lost: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOutcome:
    """What came of a taken probe, and when the next one is due (`wanted`: somebody waits for it)."""

    key: str
    fence: int
    at: datetime
    passed: bool | None
    words: str
    outcome: str
    failures: int
    due_at: datetime
    wanted: bool = False
    told_at: datetime | None = None
    slow_at: datetime | None = None


class BackfillState(StrEnum):
    """Life of a backfill: waiting -> running (given back between its steps) -> done, or failed until it is resumed."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


OPEN_BACKFILLS = (BackfillState.WAITING, BackfillState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillPlan:
    """What is to be read again: what an archive keeps from `start` to before `end`, as records of `feed`.

    `customers` are those of whom the records are believed (None: all of whom the feed may speak).
    """

    archive: str
    feed: str
    cloud: str
    customers: tuple[str, ...] | None
    start: datetime
    end: datetime
    asked_by: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBackfill:
    """A backfill and how far it is. `cursor` is where to go on (None: at the beginning), `until` the same for people.

    `due_at` is from when on it may be taken: while it is `claimed`, the end of the claim; None once it has ended.
    `progress_at` is when a page of it was last committed, `failures` how often in a row it failed since, `error` why.
    """

    id: int
    plan: BackfillPlan
    asked_at: datetime
    state: BackfillState = BackfillState.WAITING
    due_at: datetime | None
    claimed: bool = False
    fence: int = 0
    cursor: str | None = None
    until: datetime | None = None
    received: int = 0
    kept: int = 0
    known: int = 0
    dropped: int = 0
    unreadable: int = 0
    progress_at: datetime | None = None
    failures: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPreflight:
    """The turn of one key's pre-flight, and what the last one came to.

    `due_at` is from when on it may be taken: while it is `claimed`, the end of the claim. `wanted_at` is set while
    somebody waits for the next one. `first_at` and `last_at` are when it was first and last done, `told_at` when it was
    last put into the evidence. `summary` is the last result in short, as JSON.
    """

    key: str
    due_at: datetime
    wanted_at: datetime | None = None
    claimed: bool = False
    fence: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    told_at: datetime | None = None
    summary: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightOutcome:
    """What came of a taken pre-flight (`doc` in full, `summary` in short), and when the next one is due."""

    key: str
    fence: int
    at: datetime
    due_at: datetime
    summary: bytes
    doc: bytes
    told_at: datetime | None = None


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
        """Ids of rows that are due (never worked, or whose retry time has come): records first, then the oldest.

        A new row is due from its `received_at` on; "oldest" is by the time since which the row is due.
        """
        ...

    def claim_arrival(self, inbox_id: int, *, now: datetime, length: timedelta) -> Arrived | None:
        """Take a due row by compare-and-set: it is not due again before `now + length`. None when it is not due.

        For long work (a delivery), so that the sweeper does not start it twice; `arrival_done` or `arrival_retry`
        settles it. A claim that ran out unsettled counts as a failure in `attempts`: a delivery that kills its worker
        cannot go round for ever.
        """
        ...

    def arrival_done(self, inbox_id: int, *, at: datetime, outcome: str) -> None:
        """End the row: its (feed, event id) stays known for ever, its body is emptied (`keep_raw` keeps bytes)."""
        ...

    def arrival_retry(self, inbox_id: int, *, due_at: datetime, error: str) -> None:
        """Count a failure and make the row due again at `due_at`. Without effect on a row that is done."""
        ...

    def inbox_counts(self) -> Mapping[str, int]:
        """How many rows still have to be worked, by `Carries`; both kinds are always there."""
        ...

    # quarantine
    def quarantine(self, piece: Unreadable) -> int | None:
        """Keep an unreadable piece; return its id, or None when the same bytes of the same feed are already there."""
        ...

    def quarantined(self, limit: int) -> list[tuple[int, Unreadable]]:
        """The newest pieces first."""
        ...

    def quarantine_count(self) -> int: ...

    # health
    def healths(self, subjects: Iterable[str]) -> dict[str, StoredHealth]: ...
    def put_health(self, health: StoredHealth) -> None: ...
    def put_healths(self, healths: Iterable[StoredHealth]) -> None: ...
    def all_health(self) -> Iterator[StoredHealth]: ...

    # incidents
    def incident_number(self) -> int:
        """A number that no incident has had before. Numbers may have gaps."""
        ...

    def incident(self, incident_id: str) -> StoredIncident | None: ...
    def open_incidents(self, subjects: Iterable[str]) -> dict[str, str]:
        """The id of the open incident of each subject that has one (the newest, should there be several)."""
        ...

    def put_incident(self, incident: StoredIncident) -> None: ...
    def incidents_due(self, now: datetime, limit: int) -> list[str]: ...
    def incidents(self, *, only_open: bool, limit: int = 1000) -> list[StoredIncident]:
        """The newest first."""
        ...

    # the outbox
    def add_notices(self, notices: Sequence[Notice]) -> list[str]:
        """Queue notices, due from `created_at` on; return the ids of the new ones.

        Skips those whose (incident, kind, dedup, channel, recipient's email) exists.
        """
        ...

    def notices_due(self, now: datetime, limit: int, *, channel: str | None = None) -> list[tuple[str, bool]]:
        """Ids (and urgency) of notices that may be leased now (over one channel), urgent ones first, then by age."""
        ...

    def lease(self, notice_id: str, *, now: datetime, length: timedelta) -> Lease | None:
        """Take a due notice by compare-and-set.

        None when somebody holds it, it is settled, not due, or its `after` has not left the queue for good yet. An
        `after` that names no stored notice holds nothing back: better early than never.
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
        """Record what came of a lease; False (and nothing changed) when the fence is no longer the current one.

        `QUEUED` (to be tried again) needs `due_at`. Raises ValueError without it, and for `LEASED`.
        """
        ...

    def notice(self, notice_id: str) -> StoredNotice | None: ...
    def notices_of(self, incident_id: str) -> list[StoredNotice]: ...
    def attempts(self, notice_id: str) -> list[Attempt]: ...
    def rendered(self, notice_id: str) -> bytes | None: ...
    def outbox_counts(self) -> Mapping[str, int]:
        """How many notices are in each `NoticeState`; every state is there."""
        ...

    def oldest_unsent_notice(self) -> datetime | None:
        """When the oldest notice that has not left the queue for good was made, whether it may be leased now or not."""
        ...

    def oldest_due_notice(self, now: datetime) -> datetime | None:
        """Since when the longest waiting notice that may be leased now is due."""
        ...

    # evidence
    def append_evidence(self, kind: str, subject: str, body: Mapping[str, object], *, at: datetime) -> Sealed: ...
    def evidence(self, *, after: int = 0) -> Iterator[Sealed]: ...
    def keep_raw(self, body: bytes, *, at: datetime) -> str:
        """Keep bytes under their SHA-256 (once) and return it in hex."""
        ...

    def raw(self, sha256: str) -> bytes | None: ...

    # probes
    def plan_probes(self, plans: Iterable[ProbePlan]) -> int:
        """Keep a row for each of these keys and for no other; return how many rows were added, changed or removed.

        A row of which nothing has changed keeps its due time. Canaries stay, also of keys that have left.
        """
        ...

    def probes(self, keys: Iterable[str]) -> dict[str, StoredProbe]: ...
    def all_probes(self) -> Iterator[StoredProbe]: ...
    def probes_due(self, now: datetime, limit: int, *, clouds: Collection[str], per_account: int) -> list[str]:
        """Keys that may be taken now, the wanted ones first, then the oldest; of one account at most `per_account`."""
        ...

    def probes_claimed(self, now: datetime) -> int:
        """How many are taken, and their claims have not run out."""
        ...

    def take_probes(
        self, keys: Sequence[str], *, now: datetime, length: timedelta, per_account: int | None
    ) -> list[TakenProbe]:
        """Take those of these keys that are due, by compare-and-set, until `now + length`; in the order of `keys`.

        `per_account` is how many of one account may be taken within PACE, whoever takes them: more are left as they
        are. With None the keys are taken whether they are due or not, from whoever has them: a person asks.
        """
        ...

    def settle_probes(self, outcomes: Sequence[ProbeOutcome]) -> set[str]:
        """Record what came of taken probes; return the keys whose fence was the current one (the others are as before).

        One that was wanted meanwhile is due again, APART after this one, whatever `due_at` says: the answer may be
        older than what it was wanted for. `told_at` and `slow_at` of None leave what is stored.
        """
        ...

    def want_probes(self, keys: Iterable[str], *, at: datetime) -> None:
        """Let these keys be probed at once, but APART after their last probe. Keys that are never asked stay so."""
        ...

    def put_canaries(self, canaries: Iterable[Canary]) -> None:
        """Keep canaries, each over the one of the same key and version."""
        ...

    def canaries(self, keys: Iterable[str]) -> dict[str, list[Canary]]:
        """The canaries of those keys that have any, the oldest first."""
        ...

    # backfills
    def add_backfill(self, plan: BackfillPlan, *, at: datetime, due_at: datetime | None = None) -> StoredBackfill:
        """Add one, due at once unless `due_at` says later. Whether there is one like it is the caller's to look."""
        ...

    def backfill(self, backfill_id: int) -> StoredBackfill | None: ...
    def backfills(self, states: Collection[BackfillState], limit: int = 1000) -> list[StoredBackfill]:
        """Those in these states, the newest first."""
        ...

    def backfills_due(self, now: datetime, limit: int) -> list[int]:
        """Ids of those that may be taken now, the one that waits longest first."""
        ...

    def claim_backfill(self, backfill_id: int, *, now: datetime, length: timedelta) -> StoredBackfill | None:
        """Take a due one by compare-and-set until `now + length`, with a new fence. None when it is not due.

        A claim that ran out counts as a failure: one that kills its worker cannot go round unnoticed.
        """
        ...

    def save_backfill(self, row: StoredBackfill) -> bool:
        """Write a taken one over what was stored; False (and nothing is changed) when its fence is not the current one.

        What was asked for stays as it is. A row that is not `claimed` any more is given back.
        """
        ...

    def resume_backfill(self, backfill_id: int, *, at: datetime) -> bool:
        """Let one that failed go on where it stopped; False when there is none that failed of this id."""
        ...

    # pre-flights
    def plan_preflights(self, turns: Mapping[str, datetime]) -> int:
        """Keep a row for each of these keys and for no other; return how many were added or removed.

        A new row is due at its turn, one that is there keeps its due time.
        """
        ...

    def preflights(self, keys: Iterable[str]) -> dict[str, StoredPreflight]: ...
    def all_preflights(self) -> Iterator[StoredPreflight]:
        """Every row, by key."""
        ...

    def preflight_docs(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The last results of those keys that have one, in full."""
        ...

    def preflights_due(self, now: datetime, limit: int) -> list[str]:
        """Keys that may be taken now, the wanted ones first, then the oldest."""
        ...

    def preflights_claimed(self, now: datetime) -> int:
        """How many are taken, and their claims have not run out."""
        ...

    def take_preflights(
        self, keys: Sequence[str], *, now: datetime, length: timedelta, due_only: bool = True
    ) -> dict[str, int]:
        """Take those of these keys that are due, by compare-and-set, until `now + length`; return their fences.

        Without `due_only` they are taken whether they are due or not, from whoever has them: a person asks.
        """
        ...

    def settle_preflights(self, outcomes: Sequence[PreflightOutcome]) -> set[str]:
        """Record what came of taken ones; return the keys whose fence was the current one (the others are as before).

        One that was wanted meanwhile is due again at once. `told_at` of None leaves what is stored.
        """
        ...

    def want_preflights(self, keys: Iterable[str], *, at: datetime) -> None:
        """Let these keys have their pre-flight at once. Keys without a row are left out."""
        ...

    # schedule, processes, feeds
    def claim_job(self, name: str, *, now: datetime, every: timedelta) -> bool:
        """Whether the caller is the one to run this periodic job now; moves its due time on by compare-and-set."""
        ...

    def jobs(self) -> Mapping[str, datetime]:
        """When each periodic job that was ever claimed is due again."""
        ...

    def put_memo(self, name: str, doc: bytes, *, at: datetime) -> None:
        """Keep what a periodic job has to know at its next turn, over what it kept before."""
        ...

    def memo(self, name: str) -> bytes | None: ...
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
        """Add to a feed's counts and move its times on (never back).

        `error` is kept until the feed has asked its source with success again (`asked_at` without `error`).
        """
        ...

    def feeds(self) -> list[FeedSeen]: ...
    def note_signs(self, signs: Iterable[Sign]) -> None:
        """Keep the newest sign of life of each route over each feed; an older one changes nothing."""
        ...

    def signs(self) -> list[Sign]:
        """Return every sign that is kept, by feed and route."""
        ...


class Store(Protocol):
    """Where it all is kept. Safe to share between threads; not across a fork (open a new one there).

    Both transactions raise `StoreUnavailable` when the database cannot serve and `WrongProcess` after a fork; every
    other error is a fault of our own code and flies. They do not nest: a `write` inside a `write` waits for itself.
    """

    def write(self) -> AbstractContextManager[Unit]:
        """Begin the one writing transaction; others wait. Commits (durably) on leaving, rolls back on an exception."""
        ...

    def read(self) -> AbstractContextManager[Unit]:
        """Begin a reading transaction: it sees one consistent state, that of its first question, and changes none."""
        ...

    def close(self) -> None: ...
