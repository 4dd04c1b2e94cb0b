"""Incidents: one episode of one key, or of one cause that hit several keys of one customer, and its stage."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from watchdog.assessment import WATCH, Assessment
from watchdog.health import LOSS_SLOTS
from watchdog.words import Effect, Fault, Severity, Stage

VENDOR_WATCH = f"{WATCH}vendor"

_EARLIER = timedelta(hours=1)
GROUPING = timedelta(minutes=2)
"""How long losses of further versions are gathered: Terraform takes a key's versions one by one (gcp.md 3.1, A8)."""

FLAPPING = timedelta(hours=1)
"""A key that is lost again so soon after it was proven back is flapping."""

HOLD, HOLD_MOST = timedelta(minutes=15), timedelta(hours=1)
"""How long a flapping key must stay well before its incident ends (alerting.md 5): first, then doubled, and at most."""

_BAD = (Stage.AT_RISK, Stage.IMPAIRED, Stage.DELETION_SCHEDULED, Stage.IRREVERSIBLE_SOON, Stage.LOST)
_SEVERITIES = (Severity.INFO, Severity.WARNING, Severity.ERROR, Severity.CRITICAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One change of an incident that people are told about. `why` is the named reason."""

    number: int
    stage: Stage
    at: datetime
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """The state of an incident. `alert` names the alert that is open at the paging service for it (None: none yet).

    `resolved_by` names who decided that it is over, and why; None when a check proved it. `versions` are the versions
    of keys that people were told to be lost, and that still are (of a watch: the parts that are silent). `flaps` counts
    the incidents about the same that had ended shortly before this one began.
    """

    id: str
    customer: str
    subjects: tuple[str, ...]
    opened_at: datetime
    stage: Stage
    severity: Severity
    fault: Fault
    turns: tuple[Turn, ...]
    headline_at: datetime | None = None
    alert: str | None = None
    customer_told: bool = False
    account_told: bool = False
    resolved_at: datetime | None = None
    resolved_by: str | None = None
    check_at: datetime | None = None
    versions: tuple[tuple[str, str], ...] = ()
    flaps: int = 0

    @property
    def turn(self) -> int:
        """Number of the current turn, counted from 1."""
        return self.turns[-1].number if self.turns else 0

    @property
    def is_open(self) -> bool:
        """Whether somebody still has to act."""
        return self.stage is not Stage.RESOLVED


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What all subjects of an incident come to together. `complete`: every subject could be judged in full."""

    stage: Stage
    severity: Severity
    fault: Fault
    headline_at: datetime | None
    check_at: datetime | None
    subjects: tuple[str, ...]
    decided_by: str | None = None
    complete: bool = True
    versions: frozenset[tuple[str, str]] = frozenset()


def standing(assessments: Mapping[str, Assessment]) -> Standing:
    """Fold the subjects' assessments into one: the worst stage and severity, the earliest deadline.

    With nothing wrong any more the incident is `recovering`, and `resolved` only when every subject is proven.
    """
    bad = {subject: found for subject, found in assessments.items() if found.stage is not None}
    if not bad:
        judgements = [found.judgement for found in assessments.values()]
        proven = bool(judgements) and all(judgement.proven_at is not None for judgement in judgements)
        decisions = dict.fromkeys(judgement.decided_by for judgement in judgements if judgement.decided_by)
        return Standing(
            stage=Stage.RESOLVED if proven else Stage.RECOVERING, severity=Severity.INFO, fault=Fault.UNKNOWN,
            headline_at=None, check_at=None, subjects=tuple(sorted(assessments)),
            decided_by="; ".join(decisions) if proven and decisions else None,
        )  # fmt: skip
    stages = [found.stage for found in bad.values() if found.stage is not None]
    worst = max(stages, key=_BAD.index)
    headlines = [found.headline.at for found in bad.values() if found.headline and found.headline.at]
    checks = [found.check_at for found in bad.values() if found.check_at]
    return Standing(
        stage=worst,
        severity=max((found.severity for found in bad.values()), key=_SEVERITIES.index),
        fault=_fault(found for found in bad.values() if found.stage is worst),
        headline_at=min(headlines, default=None),
        check_at=min(checks, default=None),
        subjects=tuple(sorted(assessments)),
        complete=all(found.complete for found in bad.values()),
        versions=frozenset(_lost_versions(bad)),
    )


def _lost_versions(assessments: Mapping[str, Assessment]) -> Iterator[tuple[str, str]]:
    for subject, found in assessments.items():
        for condition in found.judgement.conditions:
            if condition.version is not None and condition.slot in LOSS_SLOTS:
                yield subject, condition.version
            elif condition.effect is Effect.FEED_SILENT and condition.latest.part is not None:
                yield subject, condition.latest.part


def _held(incident: Incident, now: Standing) -> Standing:
    """Return the standing, but no milder than the incident when that is only because a key has left the register."""
    if now.complete or not is_worse(incident.stage, now.stage):
        return now
    return replace(now, stage=incident.stage, severity=incident.severity, headline_at=incident.headline_at)


def _steadied(incident: Incident, now: Standing, at: datetime) -> Standing:
    """Return the standing, but not the end of an incident whose key has come and gone: it is held open for a while.

    A named decision ends it all the same. What opens is never held.
    """
    if now.stage is not Stage.RESOLVED or now.decided_by is not None or not incident.is_open:
        return now
    flaps = incident.flaps + sum(turn.why == "relapsed" for turn in incident.turns)
    if not flaps:
        return now
    since = incident.turns[-1].at if incident.stage is Stage.RECOVERING else at
    until = since + min(HOLD * 2 ** min(flaps - 1, 10), HOLD_MOST)
    return now if at >= until else replace(now, stage=Stage.RECOVERING, check_at=until)


def flaps_before(resolved: Iterable[datetime], *, at: datetime) -> int:
    """Return how many of these ends of incidents lie so shortly before `at` that a new incident means flapping."""
    return sum(at - end < FLAPPING for end in resolved)


def _fault(assessments: Iterable[Assessment]) -> Fault:
    faults = {found.fault for found in assessments}
    for fault in (Fault.CUSTOMER, Fault.VENDOR, Fault.PROVIDER):
        if fault in faults:
            return fault
    return Fault.UNKNOWN


def reason_to_tell(incident: Incident | None, now: Standing, *, at: datetime) -> str | None:
    """Say by name why people must hear of this standing; None when nothing has changed that they must know."""
    if incident is None:
        return "opened" if now.stage in _BAD else None
    proven = now.stage is Stage.RESOLVED
    now = _steadied(incident, _held(incident, now), at)
    if now.stage is Stage.RESOLVED:
        why = "decided" if now.decided_by else "proven"
        return None if incident.stage is Stage.RESOLVED else why
    if now.stage is Stage.RECOVERING:
        why = "recovered, flapping" if proven else "recovered, unproven"
        return None if incident.stage is Stage.RECOVERING else why
    if incident.stage not in _BAD:
        return "relapsed"
    change = _BAD.index(now.stage) - _BAD.index(incident.stage)
    if change:
        return "worse" if change > 0 else "partly repaired"
    if set(now.subjects) - set(incident.subjects):
        return "more keys"
    untold = _untold(incident, now)
    if untold and at >= _gathered_at(incident):
        return "more ways" if all(subject.startswith(WATCH) for subject, _ in untold) else "more versions"
    if incident.fault is not Fault.CUSTOMER and now.fault is Fault.CUSTOMER:
        return "cause known"
    if _SEVERITIES.index(now.severity) > _SEVERITIES.index(incident.severity):
        return "more urgent"
    return "deadline earlier" if _is_earlier(now.headline_at, incident.headline_at) else None


def _untold(incident: Incident, now: Standing) -> frozenset[tuple[str, str]]:
    return now.versions - set(incident.versions)


def _gathered_at(incident: Incident) -> datetime:
    return incident.turns[-1].at + GROUPING


def _is_earlier(new: datetime | None, old: datetime | None) -> bool:
    return new is not None and (old is None or old - new >= _EARLIER)


def follow(incident: Incident, now: Standing, why: str | None, *, at: datetime) -> Incident:
    """Return the incident at its new standing; with a reason to tell it takes a turn."""
    now = _steadied(incident, _held(incident, now), at)
    told = now.versions if why is not None else now.versions & set(incident.versions)
    waits = why is None and now.stage in _BAD and _untold(incident, now)
    checks = [moment for moment in (now.check_at, _gathered_at(incident) if waits else None) if moment is not None]
    moved = replace(
        incident,
        subjects=tuple(sorted({*incident.subjects, *now.subjects})),
        stage=now.stage,
        severity=now.severity,
        fault=now.fault if now.stage in _BAD else incident.fault,
        headline_at=now.headline_at,
        check_at=min(checks, default=None),
        versions=tuple(sorted(told)),
        resolved_at=at if now.stage is Stage.RESOLVED else None,
        resolved_by=now.decided_by,
    )
    if why is None:
        return moved
    return replace(moved, turns=(*incident.turns, Turn(number=incident.turn + 1, stage=now.stage, at=at, why=why)))


def opened(
    number: Callable[[], int], customer: str, subjects: Sequence[str], now: Standing, *, at: datetime, flaps: int = 0
) -> Incident:
    """Open an incident at its first standing. `flaps`: see `Incident`."""
    return Incident(
        id=f"KW-{number()}",
        customer=customer,
        subjects=tuple(sorted(subjects)),
        opened_at=at,
        stage=now.stage,
        severity=now.severity,
        fault=now.fault,
        turns=(Turn(number=1, stage=now.stage, at=at, why="opened"),),
        headline_at=now.headline_at,
        check_at=now.check_at,
        versions=tuple(sorted(now.versions)),
        flaps=flaps,
    )


def is_worse(one: Stage, other: Stage) -> bool:
    """Whether stage `one` is further along than `other`; the two ways out are better than any."""
    rank = {stage: number for number, stage in enumerate(_BAD, start=1)}
    return rank.get(one, 0) > rank.get(other, 0)


def dedup_key(incident: Incident) -> str:
    """Name of the alert of the current turn: a worse stage pages anew, a late resolve cannot close a newer one."""
    return f"{incident.id}:{incident.stage}:{incident.turn}"
