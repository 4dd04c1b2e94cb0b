"""Health: the set of conditions of one key, judged from everything that is known about it, in the order of its time.

A key's health is never changed in place. Every record, probe and decision leaves a *mark*; the marks are a set, and
`judge` replays them by their own time. So repeats and re-ordering cannot change the outcome, whatever arrives when.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from watchdog.repair import Step
from watchdog.signals import Actor, Signal
from watchdog.words import RECOVERY, Cause, Effect, Fault, Means

SETTLE = timedelta(minutes=15)
"""How long the clouds may go on serving a key that was just taken away (aws.md 2)."""


class Origin(StrEnum):
    """Who says what a mark says."""

    EVENT = "event"
    PROBE = "probe"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One thing known about a key at one moment. `effect` None from a probe or an operator means: proven usable.

    `version` is set when it is about one version of the key only. `long_operation` is the provider's id of an operation
    that takes its time: its end may take back what its beginning said. `partial`: a recovery that leaves a rest to do.
    `unwatched`: of what has fallen silent some keys are not asked either, so that nothing at all watches them.
    `step` is what repairs exactly this, where that is known better than from effect and subject.
    """

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
    version: str | None = None
    long_operation: str | None = None
    partial: bool = False
    part: str | None = None
    unwatched: bool = False
    step: Step | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """All that is known about one key (or about the watch of one customer), and what the last probe said.

    `resolved` are the times at which incidents about it ended on proof lately: one that comes and goes is flapping.
    """

    subject: str
    marks: tuple[Mark, ...] = ()
    floor: datetime | None = None
    probed_at: datetime | None = None
    probe_passed: bool | None = None
    probe_words: str | None = None
    resolved: tuple[datetime, ...] = ()


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
    """One thing wrong with a key, or with one `version` of it (None: with all that there is of the key).

    `since` is when it began, `clock_from` from when the consumers' clocks run. `is_blamed_by_record`: a record, and not
    only a probe, says whose `fault` it is.
    """

    slot: Slot
    means: Means | None
    effect: Effect
    since: datetime
    clock_from: datetime
    fault: Fault
    latest: Mark
    version: str | None = None
    is_blamed_by_record: bool = False


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


# ------------------------------------------------------------------------------------------- what opens, what closes

# A row of the table: the slot that is closed, and whether this very mark closes this very condition there. That the
# mark is about the condition's version, or about the whole key, is asked for everywhere (`_concerns`).
Test = Callable[[Mark, Condition], bool]
Closing = tuple[Slot, Test]


def _whatever(_mark: Mark, _condition: Condition) -> bool:
    return True


def _same_means(mark: Mark, condition: Condition) -> bool:
    """A verdict on one policy, assignment or attribute answers what was open about the same one."""
    return mark.means == condition.means


def _same_policy(mark: Mark, condition: Condition) -> bool:
    """The same, of a word that is used for other things too: a removed lock (no means) says nothing of any access."""
    return mark.means is not None and mark.means == condition.means


def _same_right(mark: Mark, condition: Condition) -> bool:
    """What is given back by name is what was taken; without a means only a probe that tried it all can tell.

    A record that names no means is about a protection (a lock, purge protection): it lets nobody in.
    """
    tried = mark.origin is Origin.PROBE and (mark.subject is None or mark.part is not None)
    return mark.means == condition.means and (mark.means is not None or tried)


def _same_protection(mark: Mark, condition: Condition) -> bool:
    """A lock or purge protection has no means, and is put back by name: a key that may be used again does not do it."""
    named = mark.means is not None or mark.subject == condition.latest.subject
    return mark.means == condition.means and named


def _same_use(mark: Mark, condition: Condition) -> bool:
    """A success proves nothing about another version, nor, where it names none, about another user of the key.

    On Google Cloud each product uses the key as somebody else, and need not say with which version (gcp.md 1).
    """
    return _part(Slot.USE, mark) == _part(Slot.USE, condition.latest)


def _answers_failure(mark: Mark, condition: Condition) -> bool:
    """Whether a success answers what a failure had asked that said nothing of the key itself."""
    return condition.effect is Effect.USE_FAILED and _same_use(mark, condition)


def _same_silence(mark: Mark, condition: Condition) -> bool:
    """A sign of life ends the silence of its own way, and nothing that a record has told of."""
    return condition.effect is Effect.FEED_SILENT and condition.latest.part == mark.part


def _same_container(mark: Mark, condition: Condition) -> bool:
    """Whether a restored container is the one that was lost, lies in it, or completes one that was restored in part.

    A project, its API and its billing are lost and given back each by itself (gcp.md 3.3); a vault that is recovered
    proves its group and its subscription to be there too (azure.md 3.2, rows 14, 29, 33).
    """
    back, lost = mark.subject, condition.latest.subject
    rest = condition.latest.effect is Effect.CONTAINER_RESTORED and not mark.partial
    return rest or back is None or lost is None or back == lost or back.startswith(f"{lost}/")


def _of_material(_mark: Mark, condition: Condition) -> bool:
    return condition.means is None


def _imported_again(mark: Mark, condition: Condition) -> bool:
    """Only Google Cloud takes material back into a destroyed version (gcp.md 2), and only its end proves it (A9)."""
    return mark.version is not None and mark.version == condition.version and not mark.probe


def _extended(mark: Mark, condition: Condition) -> bool:
    """An Azure version that had expired has a new end (azure.md 3.4); on AWS further material restores nothing."""
    return mark.version is not None and mark.version == condition.version and condition.effect is Effect.KEY_EXPIRED


def _slots(*slots: Slot, when: Test = _whatever) -> tuple[Closing, ...]:
    return tuple((slot, when) for slot in slots)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """What an effect does to a key's conditions: what it closes, then the slot that it opens."""

    closes: tuple[Closing, ...] = ()
    opens: Slot | None = None


_S = Slot
# The end of the key itself is another thing than that of a right, though neither names a means: see `_same_policy`.
_ACCESS_SETTLED = (*_slots(_S.QUESTION, when=_same_means), *_slots(_S.EXPIRY, when=_same_policy))
_RULES: dict[Effect, _Rule] = {
    Effect.KEY_DISABLED: _Rule(opens=_S.DISABLED),
    Effect.KEY_ENABLED: _Rule(closes=_slots(_S.DISABLED)),
    Effect.KEY_DELETION_SCHEDULED: _Rule(opens=_S.DELETION),
    # A cancelled deletion leaves what it was about disabled (aws.md 0.5; gcp.md 2: that version).
    Effect.DELETION_CANCELLED: _Rule(closes=_slots(_S.DELETION), opens=_S.DISABLED),
    # Azure: the enabled flag comes back as it was, so what was disabled before stays open (azure.md 3.2, row 10). After
    # a purge only a restored backup can bring a key back, and that too is said by this effect.
    Effect.KEY_RECOVERED: _Rule(closes=_slots(_S.DELETION, _S.CONTAINER, _S.DESTROYED)),
    Effect.KEY_DESTROYED: _Rule(opens=_S.DESTROYED),
    Effect.KEY_MATERIAL_REMOVED: _Rule(opens=_S.MATERIAL),
    Effect.KEY_EXPIRED: _Rule(opens=_S.MATERIAL),
    # With an end date it opens EXPIRY: see `_opened`.
    Effect.KEY_MATERIAL_RESTORED: _Rule(
        closes=(
            *_slots(_S.MATERIAL), *_slots(_S.EXPIRY, when=_of_material), *_slots(_S.DESTROYED, when=_imported_again),
        )
    ),
    Effect.KEY_STORE_DISCONNECTED: _Rule(opens=_S.STORE),
    Effect.KEY_STORE_RECONNECTED: _Rule(closes=_slots(_S.STORE)),
    Effect.CONTAINER_LOST: _Rule(opens=_S.CONTAINER),
    # A partial one opens what is still missing: see `_opened`.
    Effect.CONTAINER_RESTORED: _Rule(closes=_slots(_S.CONTAINER, when=_same_container)),
    Effect.PATH_BLOCKED: _Rule(opens=_S.PATH),
    Effect.PATH_OPENED: _Rule(closes=_slots(_S.PATH)),
    Effect.ACCESS_REVOKED: _Rule(closes=_ACCESS_SETTLED, opens=_S.ACCESS),
    Effect.ACCESS_REDUCED: _Rule(closes=_ACCESS_SETTLED, opens=_S.ACCESS),
    Effect.ACCESS_GRANTED: _Rule(
        closes=(
            *_slots(_S.ACCESS, _S.QUESTION, when=_same_right), *_slots(_S.EXPIRY, when=_same_policy),
            *_slots(_S.PROTECTION, when=_same_protection),
        )
    ),
    Effect.ACCESS_CHANGED: _Rule(opens=_S.QUESTION),
    Effect.KEY_CHANGED: _Rule(opens=_S.QUESTION),
    Effect.EXPIRY_AHEAD: _Rule(
        closes=(
            *_slots(_S.EXPIRY, when=_same_means), *_slots(_S.ACCESS, _S.QUESTION, when=_same_policy),
            *_slots(_S.MATERIAL, when=_extended),
        ),
        opens=_S.EXPIRY,
    ),
    Effect.PROTECTION_WEAKENED: _Rule(
        closes=_slots(_S.ACCESS, _S.QUESTION, _S.EXPIRY, when=_same_policy), opens=_S.PROTECTION
    ),
    Effect.FEED_TAMPERED: _Rule(opens=_S.FEED),
    Effect.FEED_SILENT: _Rule(opens=_S.FEED),
    Effect.SILENCE_ENDED: _Rule(closes=_slots(_S.FEED, when=_same_silence)),
    # A failure that says nothing of the key itself opens QUESTION: see `_opened`.
    Effect.USE_FAILED: _Rule(opens=_S.USE),
    Effect.USE_SUCCEEDED: _Rule(closes=(*_slots(_S.USE, when=_same_use), *_slots(_S.QUESTION, when=_answers_failure))),
}  # fmt: skip

_BY_MEANS = frozenset({Slot.ACCESS, Slot.EXPIRY, Slot.PROTECTION, Slot.QUESTION})
"""Slots in which conditions of different means are open side by side."""

_IN_PARTS = frozenset({Slot.ACCESS, Slot.EXPIRY, Slot.QUESTION, Slot.PATH, Slot.FEED})
"""Slots in which what has parts is lost and given back by part: one principal's right says nothing of another's."""

_BACK_FOR_GOOD = frozenset({Effect.KEY_RECOVERED, Effect.KEY_MATERIAL_RESTORED, Effect.SILENCE_ENDED})
"""What may end a condition that outlives a proof, and so has to be remembered as long as that."""


def _opened(mark: Mark) -> Slot | None:
    """Return the slot that a mark opens, which for three effects depends on more than the effect."""
    match mark.effect:
        case None:
            return None
        case Effect.USE_FAILED:
            return Slot.USE if mark.cause in _SYMPTOMS_OF_LOSS else Slot.QUESTION
        case Effect.KEY_MATERIAL_RESTORED:
            return Slot.EXPIRY if mark.deadline else None
        case Effect.CONTAINER_RESTORED if mark.partial:
            # A recovered vault has lost its role assignments (means); a restored project has no billing (gcp.md C1b).
            return Slot.ACCESS if mark.means else Slot.CONTAINER
        case _:
            rule = _RULES.get(mark.effect)
            return rule.opens if rule else None


def _part(slot: Slot, mark: Mark) -> str | None:
    """Return what of a key is unwell by itself: a version, a container, a protection, a principal, a way, a user."""
    if slot is Slot.CONTAINER:
        return mark.subject
    if slot is Slot.PROTECTION and mark.means is None:  # a lock, purge protection: each stands by itself
        return ":".join(filter(None, (mark.subject, mark.version))) or None
    if slot is Slot.USE:
        return mark.version or mark.subject
    return mark.version or (mark.part if slot in _IN_PARTS else None)


def _concerns(mark: Mark, condition: Condition) -> bool:
    """Whether a mark is about what a condition is about: the whole key, or the condition's own version and part.

    A probe meets the loss and not the part: what it found stands beside what records say of parts, and ends with them.
    """
    found = condition.latest.origin is Origin.PROBE and condition.latest.part is None
    same_part = found or mark.part is None or mark.part == condition.latest.part
    return same_part and (mark.version is None or mark.version == condition.version)


def _overlap(one: str | None, other: str | None) -> bool:
    """Whether two versions (None: the whole key) can speak of the same thing."""
    return one is None or other is None or one == other


# ------------------------------------------------------------------------------------------------------------- marks


def marks_of(signal: Signal, *, received_at: datetime) -> tuple[Mark, ...]:
    """Return the marks that a signal leaves on its subject; none when it changes nobody's health.

    Symptoms are folded into the first and the last of an hour for each cause: one disabled key gives thousands of
    failures (aws.md 8.24), and more than that adds nothing to the judgement.
    """
    effect = signal.effect
    if not _leaves_a_mark(signal):
        return ()
    at = signal.occurred_at or received_at
    version = f":{signal.version}" if signal.version else ""
    mark = Mark(
        id=f"{signal.event_id or signal.reason}:{effect}:{signal.subject or ''}{version}",
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
        version=signal.version,
        part=signal.part,
        long_operation=signal.long_operation,
        partial=signal.partial,
    )
    if effect not in _SYMPTOMS:
        return (mark,)
    hour = at.replace(minute=0, second=0, microsecond=0).isoformat()
    part = _part(Slot.USE, mark)
    bucket = f"{effect}:{signal.cause or ''}:{hour}" + (f":{part}" if part else "")
    return replace(mark, id=f"{bucket}:{_FIRST}"), replace(mark, id=f"{bucket}:{_LAST}")


def _leaves_a_mark(signal: Signal) -> bool:
    if signal.effect is Effect.ATTEMPT_FAILED:  # of weight only when an earlier record said that it came to pass
        return signal.long_operation is not None
    if signal.effect is Effect.USE_FAILED:
        return signal.cause in _SYMPTOMS_OF_LOSS or signal.cause is Cause.UNKNOWN
    return signal.effect in _RULES


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
        if health.floor is not None and mark.at < health.floor and not _may_outlive_proof(mark):
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


def _may_outlive_proof(mark: Mark) -> bool:
    """Whether a mark counts after a proof: it opens what no proof ends, or ends it (an operator's decision does)."""
    ends = mark.effect in _BACK_FOR_GOOD or mark.effect is Effect.ATTEMPT_FAILED or mark.origin is Origin.OPERATOR
    return ends or _opened(mark) in _OUTLIVES_PROOF


def _order(mark: Mark) -> tuple[datetime, int, str]:
    """By time; at the same moment what closes comes before what opens, so that a tie counts as the worse of the two."""
    if mark.effect is None:
        rank = 0
    elif mark.effect in RECOVERY:
        rank = 2 if mark.effect is Effect.DELETION_CANCELLED or mark.partial else 1
    elif _opened(mark) is not None:
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
    old = _still_needed([mark for mark in health.marks if mark.at < floor])
    kept = (*old, *(mark for mark in health.marks if mark.at >= floor))
    if len(kept) == len(health.marks):
        return health
    settled = replace(health, marks=kept, floor=max(floor, health.floor) if health.floor else floor)
    after = judge(settled)
    # What began before the floor may go on after it, and would seem to have begun just now: a later proof settles it.
    same = (after.conditions, after.proven_at) == (judgement.conditions, judgement.proven_at)
    return settled if same else health


def _still_needed(old: list[Mark]) -> Iterator[Mark]:
    """Yield what of the history may still count; of the decisions the last one, where it closed any of that."""
    decided = [mark for mark in old if mark.origin is Origin.OPERATOR]
    rest = [mark for mark in old if mark.origin is not Origin.OPERATOR]
    kept = [mark for mark in rest if _may_outlive_proof(mark) or _keeps_expiry(mark)]
    needed = decided[-1:] if decided and kept and kept[0].at <= decided[-1].at else []
    yield from sorted([*kept, *needed], key=_order)


def _keeps_expiry(mark: Mark) -> bool:
    """Whether a mark may still be needed to tell which expiry or protection counts."""
    return mark.effect in {
        Effect.ACCESS_GRANTED, Effect.ACCESS_REVOKED, Effect.ACCESS_REDUCED, Effect.KEY_MATERIAL_RESTORED,
        Effect.EXPIRY_AHEAD, Effect.PROTECTION_WEAKENED,
    }  # fmt: skip


Place = tuple[Slot, Means | None, str | None]
"""Where a condition stands: its slot, the means where they count, and the part of the key (see `_part`)."""


class _Replay:
    """The state of the replay: open conditions by their place, and since when nobody could use what.

    `void` are the long operations that failed in the end: what their beginning said never came to pass.
    """

    def __init__(self, void: frozenset[str]) -> None:
        self.open: dict[Place, Condition] = {}
        self.unusable_since: dict[str | None, datetime] = {}
        self.proven_at: datetime | None = None
        self.decided_by: str | None = None
        self.last_change_at: datetime | None = None
        self.probe_wanted = False
        self._void = void
        self._closed: dict[tuple[Slot, str | None], Mark] = {}

    def take(self, mark: Mark) -> None:
        if mark.effect is None:
            self._prove(mark)
            return
        if mark.long_operation in self._void:
            self._take_back(mark)
            return
        before = dict(self.open)
        ended = self._close(mark)
        slot = _opened(mark)
        if slot is not None:
            self._put(slot, mark, ended)
        self._run_clock(mark)
        if self.open != before:
            self._changed(mark)
        if mark.probe:
            self.probe_wanted = True

    def _changed(self, mark: Mark) -> None:
        self.last_change_at = mark.at
        self.proven_at = self.decided_by = None

    def _take_back(self, mark: Mark) -> None:
        """Let an operation that failed count for nothing; but where it was believed once, a proof has to follow."""
        self._changed(mark)
        self.probe_wanted = True

    def _put(self, slot: Slot, mark: Mark, ended: list[Condition]) -> None:
        means = mark.means if slot in _BY_MEANS else None
        place = (slot, means, _part(slot, mark))
        known = self.open.get(place)
        if any(
            closed.at == mark.at and closed.id != mark.id and _overlap(version, mark.version)
            for (other, version), closed in self._closed.items()
            if other is slot
        ):
            self.probe_wanted = True  # two records of one second contradict each other: only a probe can tell
        since = known.since if known else mark.at
        latest = _with_actor(known.latest, mark) if known else mark
        if known and slot in {Slot.DELETION, Slot.CONTAINER}:  # of one deletion only some of the records have a date
            latest = _with_deadline(known.latest, latest)
        self.open[place] = Condition(
            slot=slot, means=means, effect=_effect(mark, slot), since=since, clock_from=since,
            fault=_fault_of(mark, known, ended), latest=latest, version=mark.version,
            is_blamed_by_record=_is_blamed_by_record(mark, known),
        )  # fmt: skip

    def _close(self, mark: Mark) -> list[Condition]:
        """Close what a mark ends, and return it."""
        assert mark.effect is not None  # noqa: S101 - only marks with an effect come here
        if self._contradicts(mark):
            self.probe_wanted = True
        ended: list[Condition] = []
        for slot, closes in _RULES[mark.effect].closes if mark.effect in _RULES else ():
            found = [
                place
                for place, condition in self.open.items()
                if place[0] is slot and _concerns(mark, condition) and closes(mark, condition)
            ]
            ended += [self.open.pop(place) for place in found]
            if found or closes in {_whatever, _same_use}:
                self._closed[slot, mark.version] = mark
        return ended

    def _contradicts(self, mark: Mark) -> bool:
        """Whether the record cannot be, if all that is known is true: then something is missing or wrong."""
        if mark.effect in {Effect.KEY_ENABLED, Effect.KEY_DISABLED}:
            # Every cloud refuses both while a deletion is pending (aws.md 2; gcp.md 2: of that version; azure.md 2: a
            # deleted key is not found): its cancelling was not seen.
            return any(
                condition.slot is Slot.DELETION and _overlap(condition.version, mark.version)
                for condition in self.open.values()
            )
        return mark.effect is Effect.USE_SUCCEEDED and any(
            condition.slot in STATE_SLOTS
            and condition.version in {None, mark.version}
            and mark.at - condition.since > SETTLE
            for condition in self.open.values()
        )

    def _prove(self, mark: Mark) -> None:
        """A probe uses every version in use, and an operator decides about the key: both speak for all of it."""
        everything = mark.origin is Origin.OPERATOR
        for place, condition in list(self.open.items()):
            young = mark.at - condition.since < SETTLE
            if everything or not (place[0] in _OUTLIVES_PROOF or young):
                del self.open[place]
        self._run_clock(mark)
        left = {slot for slot, _, _ in self.open} - {Slot.EXPIRY, Slot.PROTECTION}
        if not left:
            self.proven_at = mark.at
            self.decided_by = mark.reason if everything else None
            self.probe_wanted = False
        else:
            self.probe_wanted = True

    def _run_clock(self, mark: Mark) -> None:
        """Keep since when each version could not be used without a break; what hits the whole key hits every version.

        None stands for what hits the whole key, and for the versions that no record has named.
        """
        before = self.unusable_since
        hit = {condition.version for condition in self.open.values() if condition.slot in STATE_SLOTS}
        running = hit | set(before) if None in hit else hit
        self.unusable_since = {}
        for version in running:
            known = [before[one] for one in (version, None) if one in before]
            self.unusable_since[version] = min(known, default=mark.at)


def _fault_of(mark: Mark, known: Condition | None, ended: list[Condition]) -> Fault:
    """Whose side a condition lies on. A recovery names nobody: what it leaves open is the rest of what it ended.

    A probe sees what is lost, not who did it: whom a record has named, it does not put right.
    """
    if mark.origin is Origin.PROBE and known is not None and known.is_blamed_by_record:
        return known.fault
    if mark.fault is not None:
        return mark.fault
    before = [known] if known else ended if mark.effect in RECOVERY else []
    return before[0].fault if before else Fault.UNKNOWN


def _is_blamed_by_record(mark: Mark, known: Condition | None) -> bool:
    told = mark.origin is Origin.EVENT and mark.fault not in {None, Fault.UNKNOWN}
    return told or (known is not None and known.is_blamed_by_record)


def _with_actor(known: Mark, new: Mark) -> Mark:
    """Keep who did it: a second source of the same change (an asset feed, a probe) may not name anybody."""
    if new.actor is not None or known.actor is None or known.effect is not new.effect:
        return new
    return replace(new, actor=known.actor, operation=new.operation or known.operation)


def _with_deadline(known: Mark, new: Mark) -> Mark:
    """Keep the date that is known where the newer mark has none. Of two that records reckon, the earlier one counts.

    What a probe reads is the date that holds now, be it later: the deletion was cancelled, and scheduled again.
    """
    if known.deadline is None:
        return new
    if new.deadline is None or (known.deadline < new.deadline and new.origin is not Origin.PROBE):
        return replace(new, deadline=known.deadline, deadline_source=known.deadline_source)
    return new


def _effect(mark: Mark, slot: Slot) -> Effect:
    if slot is Slot.DISABLED:
        return Effect.KEY_DISABLED
    if slot is Slot.EXPIRY:
        return Effect.EXPIRY_AHEAD
    if mark.effect is Effect.CONTAINER_RESTORED:
        return Effect.ACCESS_REVOKED if slot is Slot.ACCESS else Effect.CONTAINER_LOST
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
    ordered = list(marks)
    replay = _Replay(_void(ordered))
    for mark in ordered:
        replay.take(mark)
    return replay


def _void(marks: Iterable[Mark]) -> frozenset[str]:
    """Return the long operations that said at first that something happened, and failed in the end (gcp.md 3.0, 6).

    Only its own end takes an operation's alarm back, whatever else it has in common with another.
    """
    begun: set[str] = set()
    failed: set[str] = set()
    for mark in marks:
        if mark.long_operation is not None:
            (failed if mark.effect is Effect.ATTEMPT_FAILED else begun).add(mark.long_operation)
    return frozenset(begun & failed)


def _conditions(replay: _Replay) -> tuple[Condition, ...]:
    """Worst first. State clocks run from the moment nobody could use the key; symptoms of a known loss are left out."""
    losses = [condition for condition in replay.open.values() if condition.slot in LOSS_SLOTS - {Slot.USE}]
    found = [
        replace(condition, clock_from=replay.unusable_since.get(condition.version, condition.since))
        if condition.slot in STATE_SLOTS
        else condition
        for condition in replay.open.values()
        if condition.slot is not Slot.USE or not any(_overlap(condition.version, loss.version) for loss in losses)
    ]
    return tuple(sorted(found, key=_for_people))


def _for_people(condition: Condition) -> tuple[object, ...]:
    part = condition.version or condition.latest.subject or ""
    return _FOR_PEOPLE.index(condition.slot), condition.since, condition.means or "", len(part), part


def said(condition: Condition) -> str:
    """Say a condition in the words of its record, with the version where it is about one."""
    reason = condition.latest.reason.rstrip(".")
    return f"{reason} (version {condition.version})" if condition.version else reason
