"""Observation: from what one record (or probe, or the passing of time) says to everything that must change for it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from watchdog import health, incidents, policy
from watchdog.assessment import WATCH, Assessment, Steps, assess
from watchdog.health import Health, Mark
from watchdog.impact import ImpactTable
from watchdog.incidents import VENDOR_WATCH, Incident
from watchdog.notices import Notice, Verified
from watchdog.policy import Decision
from watchdog.register import Register
from watchdog.routing import Routing
from watchdog.signals import Signal
from watchdog.words import NOT_A_SIGNAL, QUIET, Effect, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What judging needs beside the state: all of it plain values, given by the composition root."""

    register: Register
    table: ImpactTable
    routing: Routing
    steps: Steps
    number: Callable[[], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The state before: the health of every subject concerned and of every member of the incidents concerned."""

    healths: Mapping[str, Health]
    incidents: Sequence[Incident] = ()


@dataclass(slots=True, kw_only=True)
class Changes:
    """What must be committed together. `decisions` go into the evidence, by incident."""

    healths: dict[str, tuple[Health, Assessment]] = field(default_factory=dict)
    was: dict[str, Verdict] = field(default_factory=dict)
    incidents: list[Incident] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    decisions: list[tuple[str, Decision]] = field(default_factory=list)
    probe_wanted: set[str] = field(default_factory=set)


def subjects_of(signals: Iterable[Signal]) -> dict[str, list[Signal]]:
    """Return the signals by the subject whose health they touch: a key, or the watch of a customer or the vendor."""
    found: dict[str, list[Signal]] = {}
    for signal in signals:
        takes_back = signal.effect is Effect.ATTEMPT_FAILED and signal.key is not None and signal.long_operation
        if (signal.effect in QUIET and not takes_back) or signal.effect in NOT_A_SIGNAL:
            continue
        subject = signal.key
        if subject is None:
            known = signal.effect is Effect.FEED_TAMPERED and signal.customer is not None
            subject = f"{WATCH}{signal.customer}" if known else VENDOR_WATCH
        found.setdefault(subject, []).append(signal)
    return found


def observe(signals: Sequence[Signal], known: Known, world: World, *, received_at: datetime, now: datetime) -> Changes:
    """Fold one record's signals into the state and say what follows. Pure; a known record changes nothing."""
    marks = {
        subject: [mark for signal in group for mark in health.marks_of(signal, received_at=received_at)]
        for subject, group in subjects_of(signals).items()
    }
    return advance(marks, known, world, now=now)


def advance(
    marks: Mapping[str, Sequence[Mark]], known: Known, world: World, *, now: datetime,
    probed: Mapping[str, Verified] | None = None,
) -> Changes:  # fmt: skip
    """Fold marks (none: only time has passed) into the state and say what follows.

    `probed` is what a probe said of a subject in words, for people; what it proves or disproves comes as marks.
    """
    changes = Changes()
    healths = dict(known.healths)
    for subject, added in marks.items():
        before = healths.get(subject, Health(subject=subject))
        after = health.add(before, [health.informed(before, mark) for mark in added])
        if probed and subject in probed:
            said = probed[subject]
            after = replace(after, probed_at=said.at, probe_passed=said.passed, probe_words=said.words)
        healths[subject] = after
        if after != before:
            _note(changes, before, after, world, now)
    assessments = {
        subject: changes.healths[subject][1] if subject in changes.healths else _assess(found, world, now)
        for subject, found in healths.items()
    }
    changes.probe_wanted |= {subject for subject in marks if assessments[subject].judgement.probe_wanted}
    covered = {subject for incident in known.incidents for subject in incident.subjects}
    for incident in known.incidents:
        _follow(changes, incident, _of(assessments, incident.subjects), healths, world, now)
    fresh = {
        subject: found for subject, found in assessments.items() if subject not in covered and found.stage is not None
    }
    for customer, group in _by_customer(fresh, world.register).items():
        _open(changes, customer, group, healths, world, now)
    return changes


def _note(changes: Changes, before: Health, after: Health, world: World, now: datetime) -> None:
    changes.was[after.subject] = _assess(before, world, now).verdict
    changes.healths[after.subject] = (after, _assess(after, world, now))


def _assess(found: Health, world: World, now: datetime) -> Assessment:
    return assess(found, world.register.keys.get(found.subject), world.table, world.steps, now=now)


def _of(assessments: Mapping[str, Assessment], subjects: Iterable[str]) -> dict[str, Assessment]:
    return {subject: assessments[subject] for subject in subjects if subject in assessments}


def _by_customer(assessments: Mapping[str, Assessment], register: Register) -> dict[str, dict[str, Assessment]]:
    """Group subjects that one record hit: many keys of one customer by one cause are one incident."""
    groups: dict[str, dict[str, Assessment]] = {}
    for subject, found in assessments.items():
        key = register.keys.get(subject)
        customer = key.customer.id if key else subject.removeprefix(WATCH)
        groups.setdefault("" if customer == "vendor" and key is None else customer, {})[subject] = found
    return groups


def _follow(
    changes: Changes, incident: Incident, assessments: Mapping[str, Assessment], healths: Mapping[str, Health],
    world: World, now: datetime,
) -> None:  # fmt: skip
    standing = incidents.standing(assessments)
    why = incidents.reason_to_tell(incident, standing, at=now)
    moved = incidents.follow(incident, standing, why, at=now)
    if moved == incident:
        return
    if why is not None:
        moved = _tell(changes, moved, incident, assessments, healths, world, now)
    changes.incidents.append(moved)
    if not moved.is_open and moved.resolved_by is None:
        for subject, found in assessments.items():
            lately = (end for end in healths[subject].resolved if now - end < incidents.FLAPPING)
            ended = replace(healths[subject], resolved=(*lately, now))
            changes.was.setdefault(subject, found.verdict)
            changes.healths[subject] = (ended, found)


def _open(
    changes: Changes, customer: str, assessments: Mapping[str, Assessment], healths: Mapping[str, Health],
    world: World, now: datetime,
) -> None:  # fmt: skip
    standing = incidents.standing(assessments)
    flaps = max(incidents.flaps_before(healths[subject].resolved, at=now) for subject in assessments)
    incident = incidents.opened(world.number, customer, list(assessments), standing, at=now, flaps=flaps)
    changes.incidents.append(_tell(changes, incident, None, assessments, healths, world, now))


def _tell(
    changes: Changes, incident: Incident, previous: Incident | None, assessments: Mapping[str, Assessment],
    healths: Mapping[str, Health], world: World, now: datetime,
) -> Incident:  # fmt: skip
    verified = {subject: _verified(healths[subject]) for subject in assessments}
    told = policy.tell(incident, previous, assessments, world.register, world.routing, verified, at=now)
    changes.notices += told.notices
    changes.decisions += [(incident.id, decision) for decision in told.decisions]
    return told.incident


def _verified(found: Health) -> Verified | None:
    if found.probed_at is None:
        return None
    return Verified(at=found.probed_at, passed=found.probe_passed, words=found.probe_words or "")
