"""Health: the set of conditions of one key, judged from everything that is known about it, in the order of its time.

A key's health is never changed in place. Every record, probe and decision leaves a *mark*; the marks are a set, and
`judge` replays them by their own time. So repeats and re-ordering cannot change the outcome, whatever arrives when.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from watchdog.signals import Actor, Signal
from watchdog.words import Cause, Effect, Fault, Means

SETTLE = timedelta(minutes=15)
"""How long the clouds may go on serving a key that was just taken away (aws.md 2)."""


class Origin(StrEnum):
    """Who says what a mark says."""

    EVENT = "event"
    PROBE = "probe"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One thing known about a key at one moment. `effect` None from a probe or an operator means: proven usable."""

    id: str
    at: datetime
    origin: Origin
    effect: Effect | None
    reason: str
    fault: Fault | None = None
    cause: Cause | None = None
    means: Means | None = None
    subject: str | None = None
    operation: str | None = None
    actor: Actor | None = None
    deadline: datetime | None = None
    deadline_source: str | None = None
    event_id: str | None = None
    probe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """All that is known about one key (or about the watch of one customer), and what the last probe said."""

    subject: str
    marks: tuple[Mark, ...] = ()
    floor: datetime | None = None
    probed_at: datetime | None = None
    probe_passed: bool | None = None
    probe_words: str | None = None


class Slot(StrEnum):
    """The independent ways in which a key can be unwell; conditions of different slots are open side by side."""

    DESTROYED = "destroyed"
    DELETION = "deletion"
    CONTAINER = "container"
    MATERIAL = "material"
    STORE = "store"
    DISABLED = "disabled"
    ACCESS = "access"
    PATH = "path"
    USE = "use"
    QUESTION = "question"
    EXPIRY = "expiry"
    PROTECTION = "protection"
    FEED = "feed"


STATE_SLOTS = frozenset({Slot.DESTROYED, Slot.DELETION, Slot.CONTAINER, Slot.MATERIAL, Slot.STORE, Slot.DISABLED})
"""Slots in which nobody can use the key: the consumers' clocks run from the first of them until the last is closed."""

LOSS_SLOTS = STATE_SLOTS | {Slot.ACCESS, Slot.PATH, Slot.USE}

_OUTLIVES_PROOF = frozenset({Slot.EXPIRY, Slot.PROTECTION, Slot.FEED, Slot.DESTROYED})
"""A key that works today is no proof that it will not expire, is protected and watched, or was not destroyed."""

_SYMPTOMS_OF_LOSS = frozenset(
    {
        Cause.DISABLED, Cause.PENDING_DELETION, Cause.PENDING_IMPORT, Cause.UNAVAILABLE, Cause.NOT_FOUND,
        Cause.ACCESS_DENIED, Cause.PATH_BLOCKED, Cause.DESTROYED, Cause.EXPIRED,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing wrong with a key. `since` is when it began, `clock_from` from when the consumers' clocks run."""

    slot: Slot
    means: Means | None
    effect: Effect
    since: datetime
    clock_from: datetime
    fault: Fault
    latest: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the marks of one key come to. `claimed` leaves probes and operators out: only what events say.

    `proven_at` is the last time that a probe or a named operator showed that nothing is wrong, with nothing after it;
    `decided_by` names the operator and the reason when it rests on a decision, not on a check.
    `last_change_at` is the time of the newest mark that changed anything.
    """

    conditions: tuple[Condition, ...]
    claimed: tuple[Condition, ...]
    proven_at: datetime | None
    decided_by: str | None
    last_change_at: datetime | None
    probe_wanted: bool


# What an effect closes, then what it opens, each as (slot, with the same means only).
_CLOSES: dict[Effect, tuple[Slot, ...]] = {
    Effect.KEY_ENABLED: (Slot.DISABLED,),
    Effect.DELETION_CANCELLED: (Slot.DELETION,),
    Effect.KEY_RECOVERED: (Slot.DELETION, Slot.CONTAINER),
    Effect.KEY_MATERIAL_RESTORED: (Slot.MATERIAL,),
    Effect.KEY_STORE_RECONNECTED: (Slot.STORE,),
    Effect.CONTAINER_RESTORED: (Slot.CONTAINER,),
    Effect.PATH_OPENED: (Slot.PATH,),
    Effect.USE_SUCCEEDED: (Slot.USE,),
}
_CLOSES_OF_SAME_MEANS: dict[Effect, tuple[Slot, ...]] = {
    Effect.ACCESS_GRANTED: (Slot.ACCESS, Slot.QUESTION, Slot.EXPIRY, Slot.PROTECTION),
    Effect.ACCESS_REVOKED: (Slot.QUESTION, Slot.EXPIRY),
    Effect.ACCESS_REDUCED: (Slot.QUESTION, Slot.EXPIRY),
    Effect.EXPIRY_AHEAD: (Slot.EXPIRY, Slot.ACCESS, Slot.QUESTION),
    Effect.PROTECTION_WEAKENED: (Slot.ACCESS, Slot.QUESTION, Slot.EXPIRY),
}
_OPENS: dict[Effect, Slot] = {
    Effect.KEY_DISABLED: Slot.DISABLED,
    Effect.KEY_DELETION_SCHEDULED: Slot.DELETION,
    Effect.KEY_DESTROYED: Slot.DESTROYED,
    Effect.KEY_MATERIAL_REMOVED: Slot.MATERIAL,
    Effect.KEY_EXPIRED: Slot.MATERIAL,
    Effect.KEY_STORE_DISCONNECTED: Slot.STORE,
    Effect.ACCESS_REVOKED: Slot.ACCESS,
    Effect.ACCESS_REDUCED: Slot.ACCESS,
    Effect.PATH_BLOCKED: Slot.PATH,
    Effect.CONTAINER_LOST: Slot.CONTAINER,
    Effect.ACCESS_CHANGED: Slot.QUESTION,
    Effect.KEY_CHANGED: Slot.QUESTION,
    Effect.EXPIRY_AHEAD: Slot.EXPIRY,
    Effect.PROTECTION_WEAKENED: Slot.PROTECTION,
    Effect.FEED_TAMPERED: Slot.FEED,
    # A cancelled deletion leaves the key disabled (aws.md 0.5, gcp.md).
    Effect.DELETION_CANCELLED: Slot.DISABLED,
}


def marks_of(signal: Signal, *, received_at: datetime) -> tuple[Mark, ...]:
    """Return the marks that a signal leaves on its subject; none when it changes nobody's health.

    Symptoms are folded into the first and the last of an hour for each cause: one disabled key gives thousands of
    failures (aws.md 8.24), and more than that adds nothing to the judgement.
    """
    effect = signal.effect
    changes = effect in _OPENS or effect in _CLOSES or effect in _CLOSES_OF_SAME_MEANS
    if not changes and not (effect is Effect.USE_FAILED and _counts(signal)):
        return ()
    at = signal.occurred_at or received_at
    mark = Mark(
        id=f"{signal.event_id or signal.reason}:{effect}:{signal.subject or ''}",
        at=at,
        origin=Origin.EVENT,
        effect=effect,
        reason=signal.reason,
        fault=signal.fault,
        cause=signal.cause,
        means=signal.means,
        subject=signal.subject,
        operation=signal.operation,
        actor=signal.actor,
        deadline=signal.deadline,
        deadline_source=signal.deadline_source,
        event_id=signal.event_id,
        probe=signal.probe,
    )
    if effect not in _SYMPTOMS:
        return (mark,)
    hour = at.replace(minute=0, second=0, microsecond=0).isoformat()
    bucket = f"{effect}:{signal.cause or ''}:{hour}"
    return replace(mark, id=f"{bucket}:{_FIRST}"), replace(mark, id=f"{bucket}:{_LAST}")


def _counts(signal: Signal) -> bool:
    return signal.cause in _SYMPTOMS_OF_LOSS or (signal.cause is Cause.UNKNOWN and signal.probe)


_SYMPTOMS = frozenset({Effect.USE_FAILED, Effect.USE_SUCCEEDED})
_FIRST, _LAST = "first", "last"


def add(health: Health, marks: Iterable[Mark]) -> Health:
    """Return the health with these marks in it. A mark that is known changes nothing.

    Of two marks with one identity (a folded symptom) the earlier or the later stays, as the identity says, whatever
    the order of arrival.
    """
    known = {mark.id: mark for mark in health.marks}
    before = dict(known)
    for mark in marks:
        if health.floor is not None and mark.at < health.floor and _slot(mark) not in _OUTLIVES_PROOF:
            continue  # proven usable since: an old record that comes late can open nothing (aws.md 6, order)
        other = known.get(mark.id)
        known[mark.id] = mark if other is None else _better(other, mark)
    if known == before:
        return health
    return replace(health, marks=tuple(sorted(known.values(), key=_order)))


def _better(one: Mark, other: Mark) -> Mark:
    pick = max if one.id.endswith(_LAST) else min
    # The whole text as the last tie-break: whichever of two different marks stays, it is the same one in any order.
    return one if one == other else pick(one, other, key=lambda mark: (mark.at, repr(mark)))


def _slot(mark: Mark) -> Slot | None:
    return _OPENS.get(mark.effect) if mark.effect else None


def _order(mark: Mark) -> tuple[datetime, int, str]:
    """By time; at the same moment what closes comes before what opens, so that a tie counts as the worse of the two."""
    if mark.effect is None:
        rank = 0
    elif mark.effect is Effect.DELETION_CANCELLED:
        rank = 2
    elif mark.effect in _OPENS or mark.effect is Effect.USE_FAILED:
        rank = 3
    else:
        rank = 1
    return mark.at, rank, mark.id


def informed(health: Health, mark: Mark) -> Mark:
    """Return an operator's mark placed after everything that is known when it is made; any other mark as it is.

    A cloud's clock may run ahead of ours: a decision must not be overtaken by the very records that it rests on.
    """
    newest = max((known.at for known in health.marks), default=mark.at)
    if mark.origin is not Origin.OPERATOR or mark.at > newest:
        return mark
    return replace(mark, at=newest + timedelta(microseconds=1))


def settle(health: Health) -> Health:
    """Drop the marks that a proof has made history, so that a key's marks do not grow for ever.

    Only what is older than the settling time before the last proof goes, and only when nothing was open at it.
    """
    judgement = judge(health)
    if judgement.proven_at is None:
        return health
    floor = judgement.proven_at - SETTLE
    kept = tuple(
        mark for mark in health.marks if mark.at >= floor or _slot(mark) in _OUTLIVES_PROOF or _keeps_expiry(mark)
    )
    if len(kept) == len(health.marks):
        return health
    return replace(health, marks=kept, floor=max(floor, health.floor) if health.floor else floor)


def _keeps_expiry(mark: Mark) -> bool:
    """Whether a mark may still be needed to tell which expiry or protection counts."""
    return mark.effect in {
        Effect.ACCESS_GRANTED, Effect.ACCESS_REVOKED, Effect.ACCESS_REDUCED, Effect.KEY_MATERIAL_RESTORED,
        Effect.EXPIRY_AHEAD, Effect.PROTECTION_WEAKENED,
    }  # fmt: skip


class _Replay:
    """The state of the replay: open conditions by slot and means, and since when nobody could use the key."""

    def __init__(self) -> None:
        self.open: dict[tuple[Slot, Means | None], Condition] = {}
        self.unusable_since: datetime | None = None
        self.proven_at: datetime | None = None
        self.decided_by: str | None = None
        self.last_change_at: datetime | None = None
        self.probe_wanted = False
        self._closed: dict[Slot, datetime] = {}

    def take(self, mark: Mark) -> None:
        if mark.effect is None:
            self._prove(mark)
            return
        before = dict(self.open)
        self._close(mark)
        slot = _OPENS.get(mark.effect)
        if mark.effect is Effect.USE_FAILED:
            slot = Slot.USE if mark.cause in _SYMPTOMS_OF_LOSS else Slot.QUESTION
        if mark.effect is Effect.KEY_MATERIAL_RESTORED:
            slot = Slot.EXPIRY if mark.deadline else None
        if slot is not None:
            self._put(slot, mark)
        self._run_clock(mark)
        if self.open != before:
            self.last_change_at = mark.at
            self.proven_at = self.decided_by = None
        if mark.probe:
            self.probe_wanted = True

    def _put(self, slot: Slot, mark: Mark) -> None:
        assert mark.effect is not None  # noqa: S101 - only marks with an effect come here
        place = (slot, mark.means if slot in {Slot.ACCESS, Slot.EXPIRY, Slot.PROTECTION, Slot.QUESTION} else None)
        known = self.open.get(place)
        if self._closed.get(slot) == mark.at:
            self.probe_wanted = True  # two records of one second contradict each other: only a probe can tell
        since = known.since if known else mark.at
        latest = mark
        if known and slot is Slot.DELETION:
            latest = _with_earliest_deadline(known.latest, mark)
        self.open[place] = Condition(
            slot=slot, means=place[1], effect=_effect(mark, slot), since=since, clock_from=since,
            fault=mark.fault or (known.fault if known else Fault.UNKNOWN), latest=latest,
        )  # fmt: skip

    def _close(self, mark: Mark) -> None:
        assert mark.effect is not None  # noqa: S101 - only marks with an effect come here
        for slot in _CLOSES.get(mark.effect, ()):
            for place in [place for place in self.open if place[0] is slot]:
                del self.open[place]
            self._closed[slot] = mark.at
        for slot in _CLOSES_OF_SAME_MEANS.get(mark.effect, ()):
            if self.open.pop((slot, mark.means), None) is not None:
                self._closed[slot] = mark.at
        if mark.effect is Effect.KEY_MATERIAL_RESTORED:
            self.open.pop((Slot.EXPIRY, None), None)
        if self._contradicts(mark):
            self.probe_wanted = True

    def _contradicts(self, mark: Mark) -> bool:
        """Whether the record cannot be, if all that is known is true: then something is missing or wrong."""
        if mark.effect in {Effect.KEY_ENABLED, Effect.KEY_DISABLED}:
            # KMS refuses both while a deletion is pending (aws.md 2): its cancelling was not seen.
            return (Slot.DELETION, None) in self.open
        return mark.effect is Effect.USE_SUCCEEDED and any(
            slot in STATE_SLOTS and mark.at - condition.since > SETTLE for (slot, _), condition in self.open.items()
        )

    def _prove(self, mark: Mark) -> None:
        everything = mark.origin is Origin.OPERATOR
        for place, condition in list(self.open.items()):
            young = mark.at - condition.since < SETTLE
            if everything or not (place[0] in _OUTLIVES_PROOF or young):
                del self.open[place]
        self._run_clock(mark)
        left = {slot for slot, _ in self.open} - {Slot.EXPIRY, Slot.PROTECTION}
        if not left:
            self.proven_at = mark.at
            self.decided_by = mark.reason if everything else None
            self.probe_wanted = False
        else:
            self.probe_wanted = True

    def _run_clock(self, mark: Mark) -> None:
        unusable = [condition for (slot, _), condition in self.open.items() if slot in STATE_SLOTS]
        if not unusable:
            self.unusable_since = None
        elif self.unusable_since is None:
            self.unusable_since = mark.at


def _with_earliest_deadline(known: Mark, new: Mark) -> Mark:
    if known.deadline is not None and (new.deadline is None or known.deadline < new.deadline):
        return replace(new, deadline=known.deadline, deadline_source=known.deadline_source)
    return new


def _effect(mark: Mark, slot: Slot) -> Effect:
    if slot is Slot.DISABLED:
        return Effect.KEY_DISABLED
    if slot is Slot.EXPIRY:
        return Effect.EXPIRY_AHEAD
    assert mark.effect is not None  # noqa: S101 - only marks with an effect open anything
    return mark.effect


_FOR_PEOPLE = list(Slot)


def judge(health: Health) -> Judgement:
    """Replay the marks in the order of their time and tell what is open. Pure, and independent of arrival order."""
    every = _replay(health.marks)
    claimed = _replay(mark for mark in health.marks if mark.origin is Origin.EVENT)
    return Judgement(
        conditions=_conditions(every),
        claimed=_conditions(claimed),
        proven_at=every.proven_at,
        decided_by=every.decided_by,
        last_change_at=every.last_change_at,
        probe_wanted=every.probe_wanted,
    )


def _replay(marks: Iterable[Mark]) -> _Replay:
    replay = _Replay()
    for mark in marks:
        replay.take(mark)
    return replay


def _conditions(replay: _Replay) -> tuple[Condition, ...]:
    """Worst first. State clocks run from the moment nobody could use the key; symptoms of a known loss are left out."""
    explained = any(slot in LOSS_SLOTS and slot is not Slot.USE for slot, _ in replay.open)
    found = [
        replace(condition, clock_from=replay.unusable_since or condition.since) if slot in STATE_SLOTS else condition
        for (slot, _), condition in replay.open.items()
        if not (slot is Slot.USE and explained)
    ]
    return tuple(sorted(found, key=lambda item: (_FOR_PEOPLE.index(item.slot), item.since, item.means or "")))
