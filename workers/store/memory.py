"""The store in memory: for unit tests, timelines and trying things out. Gone with the process.

A writer works on a copy of the state, which becomes the state when the block is left without an exception: that is the
whole of commit, rollback and snapshot. Rows are values and are replaced, never changed.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from threading import Lock

from watchdog.coverage import Sign
from watchdog.evidence import Sealed
from watchdog.notices import Notice
from workers.probes.interface import Canary
from workers.store import documents
from workers.store.interface import (
    PACE,
    Arrival,
    Arrived,
    Attempt,
    BackfillPlan,
    BackfillState,
    Carries,
    FeedSeen,
    Lease,
    NoticeState,
    PreflightOutcome,
    ProbeOutcome,
    ProbePlan,
    ProcessSeen,
    StoredBackfill,
    StoredHealth,
    StoredIncident,
    StoredNotice,
    StoredPreflight,
    StoredProbe,
    StoreFault,
    StoreUnavailable,
    TakenProbe,
    Unit,
    Unreadable,
    WrongProcess,
)
from workers.store.rules import check_settlement, error_of, merged, next_probe, paced, utc, wanted_from

# As in a database: a writer that waits this long for its turn is told so.
_TURN_SECONDS = 10


@dataclass(frozen=True, slots=True)
class _Arrival:
    row: Arrived
    due_at: datetime | None
    claimed: bool = False


@dataclass(frozen=True, slots=True)
class _Told:
    """A notice; `free_at` is from when on it may be taken, None once it is settled for good."""

    stored: StoredNotice
    number: int
    free_at: datetime | None
    fence: int = 0


@dataclass(frozen=True, slots=True)
class _Probe:
    row: StoredProbe
    taken_at: datetime | None = None


def _planned(row: StoredProbe) -> tuple[object, ...]:
    return row.cloud, row.account, row.every, row.due_at is None


def _replanned(known: StoredProbe, plan: StoredProbe) -> StoredProbe:
    """Put a new plan into a row; whoever is just probing it loses it."""
    return replace(
        known,
        cloud=plan.cloud,
        account=plan.account,
        every=plan.every,
        due_at=plan.due_at,
        wanted_at=None,
        claimed=False,
        fence=known.fence + 1,
    )


@dataclass(slots=True)
class _State:
    documents: list[bytes] = field(default_factory=list)
    inbox: dict[int, _Arrival] = field(default_factory=dict)
    inbox_known: set[tuple[str, str]] = field(default_factory=set)
    quarantine: dict[tuple[str, str], tuple[int, Unreadable]] = field(default_factory=dict)
    health: dict[str, StoredHealth] = field(default_factory=dict)
    incident_number: int = 0
    incidents: dict[str, StoredIncident] = field(default_factory=dict)
    notices: dict[str, _Told] = field(default_factory=dict)
    notices_known: set[tuple[str | None, ...]] = field(default_factory=set)
    attempts: list[tuple[str, Attempt]] = field(default_factory=list)
    evidence: list[Sealed] = field(default_factory=list)
    raw: dict[str, bytes] = field(default_factory=dict)
    probes: dict[str, _Probe] = field(default_factory=dict)
    canaries: dict[tuple[str, str], Canary] = field(default_factory=dict)
    preflights: dict[str, StoredPreflight] = field(default_factory=dict)
    preflight_docs: dict[str, bytes] = field(default_factory=dict)
    backfills: dict[int, StoredBackfill] = field(default_factory=dict)
    jobs: dict[str, datetime] = field(default_factory=dict)
    memos: dict[str, bytes] = field(default_factory=dict)
    processes: dict[str, ProcessSeen] = field(default_factory=dict)
    feeds: dict[str, FeedSeen] = field(default_factory=dict)
    signs: dict[tuple[str, str], Sign] = field(default_factory=dict)

    def copied(self) -> "_State":
        return _State(*(copy(getattr(self, part.name)) for part in fields(self)))


class MemoryStore:
    """A store that keeps everything in this process."""

    def __init__(self) -> None:
        self._state = _State()
        self._turn = Lock()
        self._process = os.getpid()

    @contextmanager
    def write(self) -> Iterator[Unit]:
        """Begin the one writing transaction."""
        self._own()
        if not self._turn.acquire(timeout=_TURN_SECONDS):
            raise StoreUnavailable(StoreFault.BUSY, f"another writer has held its turn for {_TURN_SECONDS} seconds")
        try:
            draft = self._state.copied()
            unit = MemoryUnit(draft, writing=True)
            try:
                yield unit
            finally:
                unit.end()
            self._state = draft
        finally:
            self._turn.release()

    @contextmanager
    def read(self) -> Iterator[Unit]:
        """Begin a reading transaction on the state of this moment."""
        self._own()
        unit = MemoryUnit(self._state, writing=False)
        try:
            yield unit
        finally:
            unit.end()

    def close(self) -> None:
        """Nothing to close."""
        self._own()

    def _own(self) -> None:
        """Refuse to be two stores after a fork: what one process writes the other would never see."""
        if os.getpid() != self._process:
            raise WrongProcess(f"this store was opened by process {self._process}; open another one after the fork")


class MemoryUnit:
    """One transaction in memory. The promises of each method stand in `Unit`."""

    def __init__(self, state: _State, *, writing: bool) -> None:
        self._known: _State | None = state
        self._writing = writing

    def end(self) -> None:
        """Refuse every use from now on."""
        self._known = None

    @property
    def _state(self) -> _State:
        if self._known is None:
            raise RuntimeError("this transaction has ended")
        return self._known

    @property
    def _draft(self) -> _State:
        if not self._writing:
            raise RuntimeError("a reading transaction changes nothing")
        return self._state

    # ------------------------------------------------------------------------------------------------ the register

    def register_revision(self) -> int:
        """Return the number of the newest document, 0 when there is none."""
        return len(self._state.documents)

    def register_latest(self) -> tuple[int, bytes] | None:
        """Return number and bytes of the newest document."""
        documents = self._state.documents
        return (len(documents), documents[-1]) if documents else None

    def register_add(self, document: bytes, *, at: datetime, by: str, source: str) -> int:  # noqa: ARG002 -- not asked
        """Keep a document as the newest; return its number."""
        utc(at)
        self._draft.documents.append(document)
        return self.register_revision()

    # --------------------------------------------------------------------------------------------------- the inbox

    def receive(self, arrivals: Sequence[Arrival]) -> list[int]:
        """Add what is new; return the new ids in order."""
        draft = self._draft
        added: list[int] = []
        for arrival in arrivals:
            if (arrival.feed, arrival.event_id) in draft.inbox_known:
                continue
            row = Arrived(
                id=len(draft.inbox) + 1,
                feed=arrival.feed,
                event_id=arrival.event_id,
                cloud=arrival.cloud,
                body=arrival.body,
                received_at=utc(arrival.received_at),
                carries=arrival.carries,
                attempts=0,
            )
            draft.inbox_known.add((arrival.feed, arrival.event_id))
            draft.inbox[row.id] = _Arrival(row, due_at=row.received_at)
            added.append(row.id)
        return added

    def arrived(self, inbox_id: int) -> Arrived | None:
        """Return the row while it still has to be worked."""
        known = self._state.inbox.get(inbox_id)
        return known.row if known and known.due_at else None

    def arrived_due(self, now: datetime, limit: int) -> list[tuple[int, Carries]]:
        """Return the ids of due rows: records first, then the oldest."""
        due = sorted(
            (known.row.carries is Carries.DELIVERY, known.due_at, known.row.id, known.row.carries)
            for known in self._state.inbox.values()
            if known.due_at and known.due_at <= now
        )
        return [(number, carries) for _, _, number, carries in due[:limit]]

    def claim_arrival(self, inbox_id: int, *, now: datetime, length: timedelta) -> Arrived | None:
        """Take a due row until `now + length`; a claim that ran out counts as a failure."""
        draft = self._draft
        known = draft.inbox.get(inbox_id)
        if known is None or known.due_at is None or known.due_at > now:
            return None
        row = replace(known.row, attempts=known.row.attempts + 1) if known.claimed else known.row
        draft.inbox[inbox_id] = _Arrival(row, due_at=utc(now + length), claimed=True)
        return row

    def arrival_done(self, inbox_id: int, *, at: datetime, outcome: str) -> None:  # noqa: ARG002 -- not asked for
        """End the row and empty its body."""
        utc(at)
        draft = self._draft
        if row := self.arrived(inbox_id):
            draft.inbox[inbox_id] = _Arrival(replace(row, body=b""), due_at=None)

    def arrival_retry(self, inbox_id: int, *, due_at: datetime, error: str) -> None:  # noqa: ARG002 -- not asked for
        """Count a failure and make the row due again at `due_at`."""
        draft = self._draft
        if row := self.arrived(inbox_id):
            draft.inbox[inbox_id] = _Arrival(replace(row, attempts=row.attempts + 1), due_at=utc(due_at))

    def inbox_counts(self) -> Mapping[str, int]:
        """Count the open rows by kind."""
        waiting = [known.row.carries for known in self._state.inbox.values() if known.due_at]
        return {str(carries): waiting.count(carries) for carries in Carries}

    # -------------------------------------------------------------------------------------------------- quarantine

    def quarantine(self, piece: Unreadable) -> int | None:
        """Keep an unreadable piece, once per feed and bytes."""
        draft = self._draft
        key = (piece.feed, _sha256(piece.body))
        if key in draft.quarantine:
            return None
        number = len(draft.quarantine) + 1
        draft.quarantine[key] = number, replace(piece, received_at=utc(piece.received_at))
        return number

    def quarantined(self, limit: int) -> list[tuple[int, Unreadable]]:
        """Return the newest pieces first."""
        return list(self._state.quarantine.values())[::-1][:limit]

    def quarantine_count(self) -> int:
        """Count the pieces."""
        return len(self._state.quarantine)

    # ------------------------------------------------------------------------------------------------------ health

    def healths(self, subjects: Iterable[str]) -> dict[str, StoredHealth]:
        """Return the health of those subjects that have one."""
        health = self._state.health
        return {subject: health[subject] for subject in subjects if subject in health}

    def put_health(self, health: StoredHealth) -> None:
        """Write a subject's health over the one before."""
        self._draft.health[health.subject] = replace(health, changed_at=utc(health.changed_at))

    def put_healths(self, healths: Iterable[StoredHealth]) -> None:
        """Write each subject's health over the one before."""
        for health in healths:
            self.put_health(health)

    def all_health(self) -> Iterator[StoredHealth]:
        """Return every health, by subject."""
        return iter([health for _, health in sorted(self._state.health.items())])

    # --------------------------------------------------------------------------------------------------- incidents

    def incident_number(self) -> int:
        """Return a number that was never committed before."""
        self._draft.incident_number += 1
        return self._state.incident_number

    def incident(self, incident_id: str) -> StoredIncident | None:
        """Return one incident."""
        return self._state.incidents.get(incident_id)

    def open_incidents(self, subjects: Iterable[str]) -> dict[str, str]:
        """Return the open incident of each subject that has one."""
        of_subject = {
            subject: incident.id
            for incident in self._state.incidents.values()
            if incident.is_open
            for subject in incident.subjects
        }
        return {subject: of_subject[subject] for subject in subjects if subject in of_subject}

    def put_incident(self, incident: StoredIncident) -> None:
        """Write an incident over what was stored of it. It keeps its place in the order of opening."""
        check_at = utc(incident.check_at) if incident.check_at else None
        self._draft.incidents[incident.id] = replace(incident, check_at=check_at)

    def incidents_due(self, now: datetime, limit: int) -> list[str]:
        """Return the incidents that are to be checked, those waiting longest first."""
        due = [
            (incident.check_at, number, incident.id)
            for number, incident in enumerate(self._state.incidents.values())
            if incident.check_at and incident.check_at <= now
        ]
        return [name for _, _, name in sorted(due)[:limit]]

    def incidents(self, *, only_open: bool, limit: int = 1000) -> list[StoredIncident]:
        """Return incidents, the newest first."""
        newest = list(self._state.incidents.values())[::-1]
        return [incident for incident in newest if incident.is_open or not only_open][:limit]

    # -------------------------------------------------------------------------------------------------- the outbox

    def add_notices(self, notices: Sequence[Notice]) -> list[str]:
        """Queue what is new; return the new ids."""
        return [notice.id for notice in notices if self._add_notice(notice)]

    def _add_notice(self, notice: Notice) -> bool:
        draft = self._draft
        email = notice.recipient.email if notice.recipient else None
        key = (notice.incident, notice.kind, notice.dedup, notice.channel, email)
        if key in draft.notices_known:
            return False
        if notice.id in draft.notices:
            raise ValueError(f"there is another notice {notice.id}")
        # Written down and read again, so that what cannot be stored shows here as it does in a database.
        kept = documents.loaded(documents.dumped(notice), documents.facts_type(notice))
        stored = StoredNotice(
            notice=kept,
            state=NoticeState.QUEUED,
            attempts=0,
            due_at=utc(notice.created_at),
            provider_id=None,
            error=None,
            accepted_at=None,
            rendered_sha256=None,
        )
        draft.notices_known.add(key)
        draft.notices[notice.id] = _Told(stored, number=len(draft.notices), free_at=stored.due_at)
        return True

    def notices_due(self, now: datetime, limit: int, *, channel: str | None = None) -> list[tuple[str, bool]]:
        """Return the notices that may be leased now, urgent ones first, then by age."""
        due = sorted(
            (not told.stored.notice.urgent, told.stored.notice.created_at, told.number, told.stored.notice.id)
            for told in self._leasable(now)
            if channel in {None, told.stored.notice.channel}
        )
        return [(notice_id, not later) for later, _, _, notice_id in due[:limit]]

    def lease(self, notice_id: str, *, now: datetime, length: timedelta) -> Lease | None:
        """Take a due notice until `now + length`."""
        draft = self._draft
        told = draft.notices.get(notice_id)
        if told is None or not self._may_be_leased(told, now):
            return None
        until = utc(now + length)
        fence = told.fence + 1
        draft.notices[notice_id] = replace(
            told, stored=replace(told.stored, state=NoticeState.LEASED), fence=fence, free_at=until
        )
        return Lease(notice=told.stored.notice, fence=fence, attempts=told.stored.attempts, until=until)

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
        content_type: str | None = None,  # noqa: ARG002 -- not asked for
    ) -> bool:
        """Record what came of a lease, and the attempt; False when the fence is no longer the current one."""
        check_settlement(state, due_at)
        draft = self._draft
        told = draft.notices.get(notice_id)
        if told is None or told.fence != fence or told.stored.state is not NoticeState.LEASED:
            return False
        attempt = replace(attempt, at=utc(attempt.at))
        free_at = utc(due_at) if due_at else None
        stored = told.stored
        draft.notices[notice_id] = replace(
            told,
            free_at=free_at,
            stored=replace(
                stored,
                state=state,
                attempts=stored.attempts + 1,
                due_at=free_at or stored.due_at,
                provider_id=stored.provider_id if provider_id is None else provider_id,
                error=error_of(state, attempt),
                accepted_at=attempt.at if state is NoticeState.ACCEPTED else None,
                rendered_sha256=(
                    stored.rendered_sha256 if rendered is None else self.keep_raw(rendered, at=attempt.at)
                ),
            ),
        )
        draft.attempts.append((notice_id, attempt))
        return True

    def notice(self, notice_id: str) -> StoredNotice | None:
        """Return a notice with what has become of it."""
        told = self._state.notices.get(notice_id)
        return told.stored if told else None

    def notices_of(self, incident_id: str) -> list[StoredNotice]:
        """Return an incident's notices in the order in which they were added."""
        stored = (told.stored for told in self._state.notices.values())
        return [each for each in stored if each.notice.incident == incident_id]

    def attempts(self, notice_id: str) -> list[Attempt]:
        """Return the attempts to send a notice, in order."""
        return [attempt for of_notice, attempt in self._state.attempts if of_notice == notice_id]

    def rendered(self, notice_id: str) -> bytes | None:
        """Return the bytes that went out last."""
        stored = self.notice(notice_id)
        return self.raw(stored.rendered_sha256) if stored and stored.rendered_sha256 else None

    def outbox_counts(self) -> Mapping[str, int]:
        """Count the notices by state."""
        states = [told.stored.state for told in self._state.notices.values()]
        return {str(state): states.count(state) for state in NoticeState}

    def oldest_due_notice(self, now: datetime) -> datetime | None:
        """Return since when the longest waiting notice is due."""
        return min((told.stored.due_at for told in self._leasable(now)), default=None)

    def oldest_unsent_notice(self) -> datetime | None:
        """Return when the oldest notice that still waits was made."""
        waiting = (told.stored.notice.created_at for told in self._state.notices.values() if told.free_at is not None)
        return min((utc(at) for at in waiting), default=None)

    def _leasable(self, now: datetime) -> Iterator[_Told]:
        return (told for told in self._state.notices.values() if self._may_be_leased(told, now))

    def _may_be_leased(self, told: _Told, now: datetime) -> bool:
        """Whether it is queued and due, or its lease ran out, and nothing that goes before it is still on its way."""
        before = self._state.notices.get(told.stored.notice.after or "")
        return told.free_at is not None and told.free_at <= now and (before is None or before.free_at is None)

    # ---------------------------------------------------------------------------------------------------- evidence

    def append_evidence(self, kind: str, subject: str, body: Mapping[str, object], *, at: datetime) -> Sealed:
        """Seal one entry after the last one and keep it."""
        chain = self._draft.evidence
        entry = documents.sealed(chain[-1] if chain else None, kind, subject, body, at=at)
        chain.append(entry)
        return entry

    def evidence(self, *, after: int = 0) -> Iterator[Sealed]:
        """Return the entries that follow number `after`."""
        return iter(self._state.evidence[after:])

    def keep_raw(self, body: bytes, *, at: datetime) -> str:
        """Keep bytes once under their SHA-256."""
        utc(at)
        sha256 = _sha256(body)
        self._draft.raw.setdefault(sha256, body)
        return sha256

    def raw(self, sha256: str) -> bytes | None:
        """Return kept bytes."""
        return self._state.raw.get(sha256)

    # ------------------------------------------------------------------------------------------------------ probes

    def plan_probes(self, plans: Iterable[ProbePlan]) -> int:
        """Keep a row for each of these keys and for no other; return how many rows were changed."""
        probes = self._draft.probes
        gone, changed = set(probes), 0
        for plan in plans:
            gone.discard(plan.key)
            known = probes.get(plan.key)
            due_at = utc(plan.due_at) if plan.due_at else None
            row = StoredProbe(
                key=plan.key, cloud=plan.cloud, account=plan.account, every=plan.every, due_at=due_at
            )  # fmt: skip
            if known is None:
                probes[plan.key] = _Probe(row)
            elif _planned(known.row) != _planned(row):
                probes[plan.key] = replace(known, row=_replanned(known.row, row))
            else:
                continue
            changed += 1
        for key in gone:
            del probes[key]
        return changed + len(gone)

    def probes(self, keys: Iterable[str]) -> dict[str, StoredProbe]:
        """Return the rows of those keys that have one."""
        probes = self._state.probes
        return {key: probes[key].row for key in keys if key in probes}

    def all_probes(self) -> Iterator[StoredProbe]:
        """Return every row, by key."""
        return iter([probe.row for _, probe in sorted(self._state.probes.items())])

    def probes_due(self, now: datetime, limit: int, *, clouds: Collection[str], per_account: int) -> list[str]:
        """Return the keys that may be taken now: wanted ones first, then the oldest."""
        due = sorted(
            (probe.row.wanted_at is None, probe.row.due_at, key, probe.row)
            for key, probe in self._state.probes.items()
            if probe.row.due_at and probe.row.due_at <= now and probe.row.cloud in clouds
        )
        return [row.key for row in paced((row for _, _, _, row in due), {}, per_account)[:limit]]

    def probes_claimed(self, now: datetime) -> int:
        """Count the claims that have not run out."""
        rows = [probe.row for probe in self._state.probes.values()]
        return sum(1 for row in rows if row.claimed and row.due_at is not None and row.due_at > now)

    def take_probes(
        self, keys: Sequence[str], *, now: datetime, length: timedelta, per_account: int | None
    ) -> list[TakenProbe]:
        """Take those of these keys that are due, and that their account's pace allows."""
        probes = self._draft.probes
        rows = [probes[key].row for key in keys if key in probes]
        if per_account is not None:
            due = [row for row in rows if row.due_at is not None and row.due_at <= now]
            taken = Counter(
                (probe.row.cloud, probe.row.account)
                for probe in probes.values()
                if probe.taken_at and probe.taken_at > now - PACE
            )
            rows = paced(due, taken, per_account)
        for row in rows:
            until = utc(now + length)
            held = replace(row, due_at=until, wanted_at=None, claimed=True, fence=row.fence + 1)
            probes[row.key] = _Probe(held, taken_at=utc(now))
        return [
            TakenProbe(key=row.key, fence=row.fence + 1, wanted=row.wanted_at is not None, lost=row.claimed)
            for row in rows
        ]

    def settle_probes(self, outcomes: Sequence[ProbeOutcome]) -> set[str]:
        """Record what came of taken probes; return the keys whose fence was the current one."""
        probes = self._draft.probes
        settled = set()
        for outcome in outcomes:
            known = probes.get(outcome.key)
            if known is None or not known.row.claimed or known.row.fence != outcome.fence:
                continue
            row = known.row
            due_at, wanted_at = next_probe(outcome, row.wanted_at)
            settled.add(outcome.key)
            row = replace(
                row,
                due_at=utc(due_at),
                wanted_at=utc(wanted_at) if wanted_at else None,
                claimed=False,
                failures=outcome.failures,
                last_at=utc(outcome.at),
                last_passed=outcome.passed,
                last_words=outcome.words,
                outcome=outcome.outcome,
                told_at=utc(outcome.told_at) if outcome.told_at else row.told_at,
                slow_at=utc(outcome.slow_at) if outcome.slow_at else row.slow_at,
                answered_at=row.answered_at if outcome.passed is None else utc(outcome.at),
            )
            probes[outcome.key] = replace(known, row=row)
        return settled

    def want_probes(self, keys: Iterable[str], *, at: datetime) -> None:
        """Let these keys be probed at once, but APART after their last probe."""
        probes = self._draft.probes
        at = utc(at)
        for key in keys:
            known = probes.get(key)
            if known is None or known.row.due_at is None:
                continue
            row = known.row
            due_at = known.row.due_at if row.claimed else min(known.row.due_at, wanted_from(at, row.last_at))
            probes[key] = replace(known, row=replace(row, wanted_at=at, due_at=due_at))

    def put_canaries(self, canaries: Iterable[Canary]) -> None:
        """Keep canaries, each over the one of the same key and version."""
        kept = self._draft.canaries
        for canary in canaries:
            kept[canary.key, canary.version] = replace(canary, made_at=utc(canary.made_at))

    def canaries(self, keys: Iterable[str]) -> dict[str, list[Canary]]:
        """Return the canaries of those keys that have any, the oldest first."""
        wanted = set(keys)
        found: dict[str, list[Canary]] = {}
        for canary in sorted(self._state.canaries.values(), key=lambda one: (one.made_at, one.version)):
            if canary.key in wanted:
                found.setdefault(canary.key, []).append(canary)
        return found

    # --------------------------------------------------------------------------------------------------- backfills

    def add_backfill(self, plan: BackfillPlan, *, at: datetime, due_at: datetime | None = None) -> StoredBackfill:
        """Add one, due at once unless `due_at` says later."""
        kept = self._draft.backfills
        plan = replace(plan, start=utc(plan.start), end=utc(plan.end))
        row = StoredBackfill(id=len(kept) + 1, plan=plan, asked_at=utc(at), due_at=utc(due_at or at))
        kept[row.id] = row
        return row

    def backfill(self, backfill_id: int) -> StoredBackfill | None:
        """Return one of them."""
        return self._state.backfills.get(backfill_id)

    def backfills(self, states: Collection[BackfillState], limit: int = 1000) -> list[StoredBackfill]:
        """Return those in these states, the newest first."""
        newest = list(self._state.backfills.values())[::-1]
        return [row for row in newest if row.state in states][:limit]

    def backfills_due(self, now: datetime, limit: int) -> list[int]:
        """Return the ids of those that may be taken now, the one that waits longest first."""
        rows = self._state.backfills.values()
        due = sorted((row.due_at, row.id) for row in rows if row.due_at and row.due_at <= now)
        return [number for _, number in due[:limit]]

    def claim_backfill(self, backfill_id: int, *, now: datetime, length: timedelta) -> StoredBackfill | None:
        """Take a due one until `now + length`; a claim that ran out counts as a failure."""
        kept = self._draft.backfills
        row = kept.get(backfill_id)
        if row is None or row.due_at is None or row.due_at > now:
            return None
        kept[backfill_id] = replace(
            row, state=BackfillState.RUNNING, due_at=utc(now + length), claimed=True, fence=row.fence + 1,
            failures=row.failures + row.claimed,
        )  # fmt: skip
        return kept[backfill_id]

    def save_backfill(self, row: StoredBackfill) -> bool:
        """Write a taken one over what was stored, if its fence is the current one."""
        kept = self._draft.backfills
        known = kept.get(row.id)
        if known is None or not known.claimed or known.fence != row.fence:
            return False
        due_at, until, progress_at = (at and utc(at) for at in (row.due_at, row.until, row.progress_at))
        kept[row.id] = replace(
            row, plan=known.plan, asked_at=known.asked_at, due_at=due_at, until=until, progress_at=progress_at
        )
        return True

    def resume_backfill(self, backfill_id: int, *, at: datetime) -> bool:
        """Let one that failed go on where it stopped."""
        kept = self._draft.backfills
        row = kept.get(backfill_id)
        if row is None or row.state is not BackfillState.FAILED:
            return False
        kept[backfill_id] = replace(row, state=BackfillState.WAITING, due_at=utc(at), failures=0)
        return True

    # -------------------------------------------------------------------------------------------------- pre-flights

    def plan_preflights(self, turns: Mapping[str, datetime]) -> int:
        """Keep a row for each of these keys and for no other; return how many were added or removed."""
        kept, docs = self._draft.preflights, self._draft.preflight_docs
        new, gone = turns.keys() - kept.keys(), kept.keys() - turns.keys()
        for key in gone:
            del kept[key]
            docs.pop(key, None)
        kept.update({key: StoredPreflight(key=key, due_at=utc(turns[key])) for key in new})
        return len(new) + len(gone)

    def preflights(self, keys: Iterable[str]) -> dict[str, StoredPreflight]:
        """Return the rows of those keys that have one."""
        kept = self._state.preflights
        return {key: kept[key] for key in keys if key in kept}

    def all_preflights(self) -> Iterator[StoredPreflight]:
        """Return every row, by key."""
        return iter([row for _, row in sorted(self._state.preflights.items())])

    def preflight_docs(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the last results of those keys that have one, in full."""
        docs = self._state.preflight_docs
        return {key: docs[key] for key in keys if key in docs}

    def preflights_due(self, now: datetime, limit: int) -> list[str]:
        """Return the keys that may be taken now: wanted ones first, then the oldest."""
        rows = self._state.preflights.values()
        due = sorted((row.wanted_at is None, row.due_at, row.key) for row in rows if row.due_at <= now)
        return [key for _, _, key in due[:limit]]

    def preflights_claimed(self, now: datetime) -> int:
        """Count the claims that have not run out."""
        return sum(1 for row in self._state.preflights.values() if row.claimed and row.due_at > now)

    def take_preflights(
        self, keys: Sequence[str], *, now: datetime, length: timedelta, due_only: bool = True
    ) -> dict[str, int]:
        """Take those of these keys that are due; return their fences."""
        kept = self._draft.preflights
        rows = [kept[key] for key in keys if key in kept and (not due_only or kept[key].due_at <= now)]
        for row in rows:
            kept[row.key] = replace(
                row, due_at=utc(now + length), wanted_at=None, claimed=True, fence=row.fence + 1
            )  # fmt: skip
        return {row.key: row.fence + 1 for row in rows}

    def settle_preflights(self, outcomes: Sequence[PreflightOutcome]) -> set[str]:
        """Record what came of taken ones; return the keys whose fence was the current one."""
        kept, docs = self._draft.preflights, self._draft.preflight_docs
        settled = set()
        for one in outcomes:
            row = kept.get(one.key)
            if row is None or not row.claimed or row.fence != one.fence:
                continue
            settled.add(one.key)
            docs[one.key] = one.doc
            kept[one.key] = replace(
                row,
                due_at=row.wanted_at or utc(one.due_at),
                claimed=False,
                first_at=row.first_at or utc(one.at),
                last_at=utc(one.at),
                told_at=utc(one.told_at) if one.told_at else row.told_at,
                summary=one.summary,
            )
        return settled

    def want_preflights(self, keys: Iterable[str], *, at: datetime) -> None:
        """Let these keys have their pre-flight at once."""
        kept = self._draft.preflights
        at = utc(at)
        for row in [kept[key] for key in keys if key in kept]:
            kept[row.key] = replace(row, wanted_at=at, due_at=row.due_at if row.claimed else min(row.due_at, at))

    # ----------------------------------------------------------------------------------- schedule, processes, feeds

    def claim_job(self, name: str, *, now: datetime, every: timedelta) -> bool:
        """Whether the caller is the one to run this job now (a due time out of all reason is not believed)."""
        jobs = self._draft.jobs
        due_at = jobs.get(name)
        if due_at is not None and now < due_at <= now + 2 * every:
            return False
        jobs[name] = utc(now + every)
        return True

    def jobs(self) -> Mapping[str, datetime]:
        """Return when each claimed job is due again."""
        return dict(self._state.jobs)

    def put_memo(self, name: str, doc: bytes, *, at: datetime) -> None:
        """Keep what a job has to know."""
        utc(at)
        self._draft.memos[name] = doc

    def memo(self, name: str) -> bytes | None:
        """Return what a job has kept."""
        return self._state.memos.get(name)

    def process_beat(self, process: ProcessSeen) -> None:
        """Note a sign of life."""
        self._draft.processes[process.name] = replace(
            process, seen_at=utc(process.seen_at), started_at=utc(process.started_at)
        )

    def processes(self) -> list[ProcessSeen]:
        """Return every process that was ever seen, by name."""
        return [process for _, process in sorted(self._state.processes.items())]

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
        """Add to a feed's counts and move its times on."""
        seen = FeedSeen(
            feed=feed,
            asked_at=utc(asked_at) if asked_at else None,
            record_at=utc(record_at) if record_at else None,
            received=received,
            kept=kept,
            dropped=dropped,
            broken=broken,
            error=error,
        )
        feeds = self._draft.feeds
        known = feeds.get(feed)
        feeds[feed] = merged(known, seen) if known else seen

    def feeds(self) -> list[FeedSeen]:
        """Return what every feed has done, by name."""
        return [feed for _, feed in sorted(self._state.feeds.items())]

    def note_signs(self, signs: Iterable[Sign]) -> None:
        """Keep the newest sign of each route over each feed."""
        kept = self._draft.signs
        for sign in signs:
            known = kept.get((sign.feed, sign.route))
            if known is None or known.at < sign.at:
                kept[sign.feed, sign.route] = replace(sign, at=utc(sign.at))

    def signs(self) -> list[Sign]:
        """Return every sign that is kept, by feed and route."""
        return [sign for _, sign in sorted(self._state.signs.items())]


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
