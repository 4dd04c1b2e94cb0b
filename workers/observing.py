"""Observing: work one inbox row, one probe, one decision or the passing of time, each in one commit."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from watchdog import clouds, operators
from watchdog.assessment import Assessment
from watchdog.health import Condition, Health, Mark, Origin, Slot, add, judge, settle
from watchdog.hearing import heard
from watchdog.incidents import Incident
from watchdog.notices import Kind, Notice, Reader, Verified
from watchdog.observation import Changes, Known, advance, observe, subjects_of
from watchdog.probing import proofs
from watchdog.register import Register
from watchdog.signals import Signal
from watchdog.words import Effect, Means, Verdict
from workers import synthetic
from workers.logs import in_words
from workers.runtime import Runtime
from workers.settings import SYNTHETIC
from workers.stops import stop_at
from workers.store.interface import (
    Arrived,
    Lease,
    StoredHealth,
    StoredIncident,
    StoredProbe,
    StoreUnavailable,
    Unit,
    Unreadable,
)

ATTEMPTS_AT_MOST = 5
RETRY = timedelta(seconds=30)
PAGES_AT_ONCE = 2

_health = msgspec.json.Decoder(Health)
_incident = msgspec.json.Decoder(Incident)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A notice that now waits in the outbox, and whether somebody must be woken by it."""

    id: str
    urgent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What came of one inbox row: the effects seen, the notices that now wait, and the pages to be sent right here.

    `pages` were leased in the same commit: a page need not wait for another trip through the broker and another lease.
    """

    effects: tuple[str, ...]
    notices: tuple[Queued, ...]
    pages: tuple[Lease, ...] = ()


def observe_row(runtime: Runtime, inbox_id: int, *, now: datetime, lease_pages: bool = False) -> Observed | None:
    """Work one inbox row; None when it needs no work any more (known, done, or done by somebody else).

    With `lease_pages` the caller gets the first pages leased, and has to send them at once.
    A record that our own code cannot work is tried again later, and after ATTEMPTS_AT_MOST goes to quarantine with the
    operator told: one bad record neither stalls the rest nor vanishes.
    """
    try:
        with runtime.store.write() as unit:
            arrived = unit.arrived(inbox_id)
            if arrived is None:
                return None
            if arrived.feed == SYNTHETIC:
                return Observed(effects=synthetic.come_out(runtime, unit, arrived, now=now), notices=())
            stop_at("observe.taken")
            observed = _observe(runtime, unit, arrived, now, lease_pages=lease_pages)
            stop_at("observe.before_commit")
    except StoreUnavailable:
        raise  # says nothing about the record: the row waits, and no failure is counted
    except Exception as error:  # noqa: BLE001 - put aside, and told
        # Protects the loop: whatever a record does to our code, the row stays in the inbox and its failure is told.
        _put_aside(runtime, inbox_id, error, now)
        return None
    stop_at("observe.committed")
    return observed


def _observe(runtime: Runtime, unit: Unit, arrived: Arrived, now: datetime, *, lease_pages: bool) -> Observed:
    register = runtime.registry.current(unit)
    signals = heard(
        clouds.cloud(arrived.cloud).meaning(arrived.body, register, received_at=arrived.received_at),
        register,
        runtime.settings.customers_by_feed.get(arrived.feed),
    )
    state = known(unit, set(subjects_of(signals)))
    changes = observe(signals, state, runtime.world(unit, register), received_at=arrived.received_at, now=now)
    raw = unit.keep_raw(arrived.body, at=arrived.received_at)
    unit.append_evidence(
        "record",
        arrived.event_id,
        {
            "feed": arrived.feed,
            "cloud": arrived.cloud,
            "received_at": arrived.received_at,
            "raw_sha256": raw,
            "signals": signals,
        },
        at=now,
    )
    notices = apply(unit, changes, register, now=now)
    unit.want_probes(_to_be_probed(changes, state), at=now)
    unit.want_preflights(_to_be_checked(signals, changes), at=now)
    notices += _tell_operators(runtime, unit, arrived, signals, now)
    unit.arrival_done(arrived.id, at=now, outcome=",".join(sorted({str(signal.effect) for signal in signals})))
    pages = _lease_pages(runtime, unit, notices, now) if lease_pages else []
    held = {lease.notice.id for lease in pages}
    return Observed(
        effects=tuple(str(signal.effect) for signal in signals),
        notices=queued(notice for notice in notices if notice.id not in held),
        pages=tuple(pages),
    )


def _to_be_probed(changes: Changes, before: Known) -> set[str]:
    """Return whose state a probe has to verify: where something has come to be wrong, or right, or cannot be."""
    found = set(changes.probe_wanted)
    for subject, (_, assessment) in changes.healths.items():
        was = judge(before.healths[subject]).conditions if subject in before.healths else ()
        if _open(was) != _open(assessment.judgement.conditions):
            found.add(subject)
    return found


def _to_be_checked(signals: Iterable[Signal], changes: Changes) -> set[str]:
    """Return whose protections have to be looked at: one was weakened, or is told to be and may be back."""
    weakened = {one.key for one in signals if one.effect is Effect.PROTECTION_WEAKENED and one.key is not None}
    told = {
        subject
        for subject, (_, assessment) in changes.healths.items()
        if any(one.slot is Slot.PROTECTION for one in assessment.judgement.conditions)
    }
    return weakened | told


def _open(conditions: Iterable[Condition]) -> set[tuple[Slot, Means | None]]:
    return {(condition.slot, condition.means) for condition in conditions}


def _lease_pages(runtime: Runtime, unit: Unit, notices: Sequence[Notice], now: datetime) -> list[Lease]:
    """Lease the first alarms for the on-call; more than PAGES_AT_ONCE would keep this process too long."""
    wanted = [one for one in notices if one.reader is Reader.ON_CALL and one.kind in {Kind.ALARM, Kind.PROGRESS}]
    leases = (unit.lease(one.id, now=now, length=runtime.settings.lease) for one in wanted[:PAGES_AT_ONCE])
    return [lease for lease in leases if lease is not None]


def _tell_operators(
    runtime: Runtime, unit: Unit, arrived: Arrived, signals: Sequence[Signal], now: datetime
) -> list[Notice]:
    """Tell the operators of a record that cannot be trusted or read; it changes nothing else."""
    found: list[Notice] = []
    for signal in signals:
        if signal.effect is Effect.UNREADABLE:
            unit.quarantine(
                Unreadable(
                    feed=arrived.feed, cloud=arrived.cloud, place=arrived.event_id, reason=signal.reason,
                    body=arrived.body, received_at=arrived.received_at,
                )
            )  # fmt: skip
            found += operators.unreadable(arrived.feed, arrived.event_id, signal.reason, runtime.routing, at=now)
        if signal.effect is Effect.UNTRUSTED:
            found += operators.untrusted(arrived.feed, signal, runtime.routing, at=now)
    return add_new(unit, found)


def _put_aside(runtime: Runtime, inbox_id: int, error: Exception, now: datetime) -> None:
    """Keep a row that failed for a later try, or in quarantine with the operators told."""
    with runtime.store.write() as unit:
        arrived = unit.arrived(inbox_id)
        if arrived is None:
            return
        reason = in_words(error)
        runtime.log.error("record.failed", inbox=inbox_id, event_id=arrived.event_id, error=reason, exc_info=error)
        if arrived.attempts + 1 < ATTEMPTS_AT_MOST:
            unit.arrival_retry(inbox_id, due_at=now + RETRY * (arrived.attempts + 1), error=reason)
            return
        unit.quarantine(
            Unreadable(
                feed=arrived.feed, cloud=arrived.cloud, place=arrived.event_id,
                reason=f"our own reading failed {ATTEMPTS_AT_MOST} times: {reason}", body=arrived.body,
                received_at=arrived.received_at,
            )
        )  # fmt: skip
        unit.append_evidence("quarantined", arrived.event_id, {"feed": arrived.feed, "reason": reason}, at=now)
        unit.add_notices(operators.unreadable(arrived.feed, arrived.event_id, reason, runtime.routing, at=now))
        unit.arrival_done(inbox_id, at=now, outcome="quarantined")


def known(unit: Unit, subjects: Iterable[str]) -> Known:
    """Load the state that a change of these subjects may touch: theirs, and that of their incidents' other members."""
    wanted = set(subjects)
    open_ids = sorted(set(unit.open_incidents(wanted).values()), key=_by_number)
    found = [stored for stored in (unit.incident(one) for one in open_ids) if stored is not None]
    opened = [_incident.decode(stored.doc) for stored in found]
    wanted.update(subject for incident in opened for subject in incident.subjects)
    return Known(healths=healths(unit, wanted), incidents=opened)


def healths(unit: Unit, subjects: Collection[str]) -> dict[str, Health]:
    """Load the health of each subject, with the last passing probe in it."""
    stored, rows = unit.healths(subjects), unit.probes(subjects)
    return {
        subject: caught_up(
            _health.decode(stored[subject].doc) if subject in stored else Health(subject=subject), rows.get(subject)
        )
        for subject in subjects
    }


def caught_up(health: Health, row: StoredProbe | None) -> Health:
    """Return a health with the last passing probe in it: of many that say the same, some leave only their row."""
    if row is None or row.last_at is None or row.last_passed is not True:
        return health
    if health.probed_at is None or health.probe_passed is not True or row.last_at <= health.probed_at:
        return health
    proven = add(health, proofs(at=row.last_at, reason=row.last_words))
    return replace(proven, probed_at=row.last_at, probe_words=row.last_words)


def _by_number(incident_id: str) -> int:
    return int(incident_id.rpartition("-")[2])


def apply(unit: Unit, changes: Changes, register: Register, *, now: datetime) -> list[Notice]:
    """Write everything that has changed, with the evidence for it; return the notices that are new."""
    unit.put_healths(_stored(subject, *found, register, now) for subject, found in changes.healths.items())
    for subject, (_, assessment) in changes.healths.items():
        was = changes.was.get(subject, Verdict.BLIND)
        if was is not assessment.verdict:
            unit.append_evidence(
                "verdict", subject, {"was": was, "is": assessment.verdict, "why": assessment.why}, at=now
            )
    for incident in changes.incidents:
        put_incident(unit, incident)
        unit.append_evidence("incident", incident.id, incident_evidence(incident), at=now)
    for incident_id, decision in changes.decisions:
        unit.append_evidence("decision", incident_id, msgspec.to_builtins(decision), at=now)
    return add_new(unit, changes.notices)


def _stored(subject: str, found: Health, assessment: Assessment, register: Register, now: datetime) -> StoredHealth:
    key = register.keys.get(subject)
    return StoredHealth(
        subject=subject, doc=msgspec.json.encode(settle(found)), verdict=assessment.verdict,
        customer=key.customer.id if key else "", changed_at=now,
    )  # fmt: skip


def put_incident(unit: Unit, incident: Incident) -> None:
    """Write one incident."""
    unit.put_incident(
        StoredIncident(
            id=incident.id, doc=msgspec.json.encode(incident), is_open=incident.is_open, customer=incident.customer,
            stage=incident.stage, subjects=incident.subjects, check_at=incident.check_at if incident.is_open else None,
        )
    )  # fmt: skip


def incident_evidence(incident: Incident) -> Mapping[str, object]:
    """Return what the evidence keeps of an incident's turn."""
    return {
        "customer": incident.customer,
        "subjects": incident.subjects,
        "stage": incident.stage,
        "turn": incident.turn,
        "why": incident.turns[-1].why,
        "fault": incident.fault,
        "severity": incident.severity,
        "resolved_by": incident.resolved_by,
    }


def add_new(unit: Unit, notices: Sequence[Notice]) -> list[Notice]:
    """Put notices into the outbox; return those that are new there."""
    new = set(unit.add_notices(notices))
    return [notice for notice in notices if notice.id in new]


def queued(notices: Iterable[Notice]) -> tuple[Queued, ...]:
    """Return notices as they are handed on."""
    return tuple(Queued(id=notice.id, urgent=notice.urgent) for notice in notices)


def advance_incident(runtime: Runtime, incident_id: str, *, now: datetime) -> tuple[Queued, ...]:
    """Look at an incident again because time has passed (a deadline came near). Running it twice is harmless."""
    with runtime.store.write() as unit:
        stored = unit.incident(incident_id)
        if stored is None or not stored.is_open:
            return ()
        state = known(unit, stored.subjects)
        register = runtime.registry.current(unit)
        changes = advance({}, state, runtime.world(unit, register), now=now)
        return queued(apply(unit, changes, register, now=now))


def take_marks(
    runtime: Runtime, marks: Mapping[str, Sequence[Mark]], *, kind: str, evidence: Mapping[str, object], now: datetime,
    probed: Mapping[str, Verified] | None = None,
) -> tuple[Queued, ...]:  # fmt: skip
    """Take what a probe or an operator says down the same path as a record, in one commit."""
    with runtime.store.write() as unit:
        register = runtime.registry.current(unit)
        for subject in marks:
            unit.append_evidence(kind, subject, evidence, at=now)
        changes = advance(marks, known(unit, marks), runtime.world(unit, register), now=now, probed=probed)
        return queued(apply(unit, changes, register, now=now))


def operator_mark(by: str, reason: str, *, at: datetime) -> Mark:
    """Return the mark of a named decision that nothing is wrong any more."""
    return Mark(
        id=f"operator:{by}:{at.isoformat()}", at=at, origin=Origin.OPERATOR, effect=None,
        reason=f"{by}: {reason}",
    )  # fmt: skip
