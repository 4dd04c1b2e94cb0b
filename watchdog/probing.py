"""Probing: what a probe asks of a key, what the providers answer, and what the answers together come to.

A prober (`workers.clouds.*`) asks and puts each answer into these closed words; the pure half of its cloud
(`watchdog.clouds.*.probe`) judges them. Neither decides from an error text alone whose fault a refusal is: a *control*
question, put to a key of the vendor's own with the same credentials, tells a broken caller from a lost key.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from watchdog.assessment import fresh_for
from watchdog.health import LOSS_SLOTS, SETTLE, Condition, Health, Mark, Origin, Slot, judge
from watchdog.incidents import VENDOR_WATCH
from watchdog.places import place_of
from watchdog.preflight import MARKS
from watchdog.register import RegisteredKey
from watchdog.words import LOSS, RECOVERY, Cause, Effect, Fault, Means


class Question(StrEnum):
    """What is asked. `state` and `use` prove a key; the others help to tell why, or what its stores still can."""

    STATE = "state"
    USE = "use"
    CANARY = "canary"
    GRANTS = "grants"
    CONSUMER = "consumer"
    CONTROL = "control"


class Answer(StrEnum):
    """What was answered. The first one is good; those of `CANNOT_TELL` say nothing about the key."""

    OK = "ok"
    # the key's own state
    DISABLED = "disabled"
    PENDING_DELETION = "pending_deletion"
    DESTROYED = "destroyed"
    NOT_FOUND = "not_found"
    PENDING_IMPORT = "pending_import"
    UNAVAILABLE = "unavailable"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    CONTAINER_LOST = "container_lost"
    # the way to it
    DENIED = "denied"
    PATH_BLOCKED = "path_blocked"
    IDENTITY_REFUSED = "identity_refused"
    # says nothing about the key
    CREDENTIALS = "credentials"
    THROTTLED = "throttled"
    UNREACHABLE = "unreachable"
    SERVER_FAULT = "server_fault"
    NOT_UNDERSTOOD = "not_understood"
    NOT_ASKED = "not_asked"


CANNOT_TELL = frozenset(
    {
        Answer.CREDENTIALS,
        Answer.THROTTLED,
        Answer.UNREACHABLE,
        Answer.SERVER_FAULT,
        Answer.NOT_UNDERSTOOD,
        Answer.NOT_ASKED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One answer. `words` is what the provider said, shortened, never with a credential in it.

    `version` is set when one version of the key was asked, `subject` names the consumer or the grant. `deadline` is a
    date that the answer gave (deletion, purge, destruction, expiry), aware and UTC; `deadline_source` says which field.
    `detail` keeps what pre-flight and coverage look at (recovery level, window), as text by name.
    """

    question: Question
    answer: Answer
    at: datetime
    words: str = ""
    version: str | None = None
    subject: str | None = None
    deadline: datetime | None = None
    deadline_source: str | None = None
    detail: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What all findings of one probe come to.

    `passed`: True when state and use of every version in use (and every consumer that is asked) are proven, False when
    something is wrong with the key or the way to it, None when that cannot be told. `words` say it to people, with the
    next thing to do. `marks` go into the health of their subjects (the key, or the vendor's watch when our own
    credentials are what is broken), `fault` is whose side a refusal lies on. `again_after` asks for another probe
    sooner than the schedule would.
    """

    at: datetime
    passed: bool | None
    words: str
    fault: Fault
    marks: Mapping[str, Sequence[Mark]] = field(default_factory=dict)
    again_after: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What the judgement of a probe may look back to: the key's last passing probe, and its newest change by event.

    `open` are the key's open conditions, `open_effects` the effects of them. `watch_open` are the subjects of the open
    conditions of the vendor's own watch (empty text for one without a subject). `recovered_at` is when a probe last
    found that something is over, which alone is no proof.
    """

    passed_at: datetime | None = None
    changed_at: datetime | None = None
    open_effects: frozenset[str] = frozenset()
    open: tuple[Condition, ...] = ()
    watch_open: frozenset[str] = frozenset()
    recovered_at: datetime | None = None


def before(health: Health, watch: Health | None = None) -> Before:
    """Return what a probe's judgement looks back to, from the health of its key and of the vendor's own watch."""
    passed = [mark.at for mark in health.marks if mark.origin is Origin.PROBE and mark.effect is None]
    changed = [mark.at for mark in health.marks if mark.origin is Origin.EVENT and mark.effect not in _SYMPTOMS]
    recovered = [
        mark.at
        for mark in health.marks
        if mark.origin is Origin.PROBE and mark.effect in _ENDS
        if not mark.id.startswith(MARKS)
    ]
    conditions = judge(health).conditions
    open_there = judge(watch).conditions if watch else ()
    return Before(
        passed_at=max(passed, default=None),
        changed_at=max(changed, default=None),
        open_effects=frozenset(condition.effect for condition in conditions),
        open=conditions,
        watch_open=frozenset(condition.latest.subject or "" for condition in open_there),
        recovered_at=max(recovered, default=None),
    )


_SYMPTOMS = frozenset({Effect.USE_FAILED, Effect.USE_SUCCEEDED})
_ENDS = RECOVERY | {Effect.USE_SUCCEEDED}


# ------------------------------------------------------------------------------------------------- reading the findings

_FROM_WORST = (
    Answer.DESTROYED, Answer.NOT_FOUND, Answer.CONTAINER_LOST, Answer.PENDING_DELETION, Answer.PENDING_IMPORT,
    Answer.EXPIRED, Answer.DISABLED, Answer.UNAVAILABLE, Answer.NOT_YET_VALID, Answer.IDENTITY_REFUSED, Answer.DENIED,
    Answer.PATH_BLOCKED, Answer.CREDENTIALS, Answer.NOT_UNDERSTOOD, Answer.SERVER_FAULT, Answer.UNREACHABLE,
    Answer.THROTTLED, Answer.NOT_ASKED, Answer.OK,
)  # fmt: skip

EFFECTS: Mapping[Answer, Effect] = {
    Answer.DISABLED: Effect.KEY_DISABLED,
    Answer.NOT_YET_VALID: Effect.KEY_DISABLED,
    Answer.PENDING_DELETION: Effect.KEY_DELETION_SCHEDULED,
    Answer.DESTROYED: Effect.KEY_DESTROYED,
    Answer.NOT_FOUND: Effect.KEY_DESTROYED,
    Answer.PENDING_IMPORT: Effect.KEY_MATERIAL_REMOVED,
    Answer.UNAVAILABLE: Effect.KEY_STORE_DISCONNECTED,
    Answer.EXPIRED: Effect.KEY_EXPIRED,
    Answer.CONTAINER_LOST: Effect.CONTAINER_LOST,
    Answer.DENIED: Effect.ACCESS_REVOKED,
    Answer.IDENTITY_REFUSED: Effect.ACCESS_REVOKED,
    Answer.PATH_BLOCKED: Effect.PATH_BLOCKED,
}
"""The loss that an answer is, when it is about the key and everything that could excuse it has been looked at."""

CAUSES: Mapping[Answer, Cause] = {
    Answer.DISABLED: Cause.DISABLED,
    Answer.NOT_YET_VALID: Cause.DISABLED,
    Answer.PENDING_DELETION: Cause.PENDING_DELETION,
    Answer.DESTROYED: Cause.DESTROYED,
    Answer.NOT_FOUND: Cause.NOT_FOUND,
    Answer.PENDING_IMPORT: Cause.PENDING_IMPORT,
    Answer.UNAVAILABLE: Cause.UNAVAILABLE,
    Answer.EXPIRED: Cause.EXPIRED,
    Answer.DENIED: Cause.ACCESS_DENIED,
    Answer.IDENTITY_REFUSED: Cause.ACCESS_DENIED,
    Answer.PATH_BLOCKED: Cause.PATH_BLOCKED,
    Answer.THROTTLED: Cause.THROTTLED,
    Answer.UNREACHABLE: Cause.TRANSIENT,
    Answer.SERVER_FAULT: Cause.TRANSIENT,
}
"""The same answers as causes of a failed use (`use_failed`), for what is a symptom only."""


def of(findings: Iterable[Finding], *questions: Question) -> list[Finding]:
    """Return the findings on these questions, worst answer first."""
    found = [finding for finding in findings if finding.question in questions]
    return sorted(found, key=lambda finding: _FROM_WORST.index(finding.answer))


def worst(findings: Iterable[Finding], *questions: Question) -> Finding | None:
    """Return the finding with the worst answer to these questions; None when none of them was put."""
    return next(iter(of(findings, *questions)), None)


def answer_to(findings: Iterable[Finding], *questions: Question) -> Answer:
    """Return the worst answer to these questions; `not_asked` when none of them was put."""
    found = worst(findings, *questions)
    return found.answer if found else Answer.NOT_ASKED


# ------------------------------------------------------------------------------------------------------------ the fault


class Control(StrEnum):
    """What the control question tells of the caller: it works, it is broken, nothing answers it, or nobody asked."""

    SOUND = "sound"
    BROKEN = "broken"
    AWAY = "away"
    MISSING = "missing"


def control_of(findings: Iterable[Finding]) -> Control:
    """Tell from the control findings whether the caller's own side works.

    A refusal of the credentials themselves needs no control: whatever was being asked, the caller is what is broken.
    """
    every = list(findings)
    if any(finding.answer is Answer.CREDENTIALS for finding in every):
        return Control.BROKEN
    answers = {finding.answer for finding in every if finding.question is Question.CONTROL} - {Answer.NOT_ASKED}
    if not answers:
        return Control.MISSING
    if answers - CANNOT_TELL - {Answer.OK}:
        return Control.BROKEN
    return Control.AWAY if answers & CANNOT_TELL else Control.SOUND


def owners_fault(key: RegisteredKey) -> Fault:
    """Whose side a change of the key itself lies on: only the account that holds a key can disable or delete it."""
    return Fault.CUSTOMER if key.customer_owned else Fault.VENDOR


def fault_of_refusal(control: Control, key: RegisteredKey) -> Fault:
    """Whose side a refusal lies on. Without a control that works it is nobody's that could be named (aws.md 0.9)."""
    return {
        Control.SOUND: owners_fault(key),
        Control.BROKEN: Fault.VENDOR,
        Control.AWAY: Fault.PROVIDER,
        Control.MISSING: Fault.UNKNOWN,
    }[control]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """Whose side a refusal lies on, and by which means access was taken (None: not known)."""

    fault: Fault
    means: Means | None = None


def blame(control: Control, key: RegisteredKey, look_back: Before) -> Blame:
    """Put a refusal together with what events said of the access: they may name the side and the means, a probe cannot.

    Events that blame both sides blame nobody; without any the control decides.
    """
    said = [one for one in look_back.open if one.slot in {Slot.ACCESS, Slot.QUESTION, Slot.PATH}]
    faults = {one.fault for one in said} - {Fault.UNKNOWN}
    means = {one.means for one in said if one.means is not Means.GRANT}
    decided = fault_of_refusal(control, key) if not faults else Fault.UNKNOWN
    return Blame(fault=faults.pop() if len(faults) == 1 else decided, means=means.pop() if len(means) == 1 else None)


# ----------------------------------------------------------------------------------------------------------- the clocks

CONFIRMATIONS = (timedelta(minutes=1), timedelta(minutes=5), SETTLE)
"""When to ask again after a change, counted from it: answers may be those of before until the last one (aws.md 2)."""


def again_after(look_back: Before, *, at: datetime) -> timedelta | None:
    """How long until the next confirmation after the newest change by event; None when none is outstanding."""
    if look_back.changed_at is None:
        return None
    due = [look_back.changed_at + after - at for after in CONFIRMATIONS]
    return next((wait for wait in due if wait > timedelta()), None)


def is_settling(look_back: Before, *, at: datetime) -> bool:
    """Whether a good answer may be that of before a loss: minutes after a disable it proves nothing (aws.md 2)."""
    hurt = look_back.open_effects & {effect.value for effect in LOSS | _QUESTIONS}
    return look_back.changed_at is not None and bool(hurt) and at - look_back.changed_at < SETTLE


_QUESTIONS = frozenset({Effect.ACCESS_CHANGED, Effect.KEY_CHANGED, Effect.USE_FAILED})


def is_lagging(look_back: Before, *, at: datetime, patience: timedelta = SETTLE) -> bool:
    """Whether a bad answer may still be that of before a repair: events said so just now, and nothing is open since."""
    hurt = look_back.open_effects & {effect.value for effect in LOSS | _QUESTIONS}
    return look_back.changed_at is not None and not hurt and timedelta() <= at - look_back.changed_at < patience


# ------------------------------------------------------------------------------------------------------------ the marks


STEP = timedelta(microseconds=1)
"""Keeps marks of one probe in their order, where `health` would take those of one moment in another."""


def proofs(*, at: datetime, reason: str) -> tuple[Mark, ...]:
    """Return the marks of a passing probe: the first and the last of an hour stay, so that they do not pile up."""
    hour = at.replace(minute=0, second=0, microsecond=0).isoformat()
    mark = Mark(id="", at=at, origin=Origin.PROBE, effect=None, reason=reason)
    return _folded(mark, f"probe:passed:{hour}")


def losses(
    effect: Effect, look_back: Before, *, at: datetime, reason: str, fault: Fault, cause: Cause | None = None,
    means: Means | None = None, subject: str | None = None, version: str | None = None,
    deadline: datetime | None = None, deadline_source: str | None = None,
) -> tuple[Mark, ...]:  # fmt: skip
    """Return the marks of something that is wrong with a key. They are closed by the next proof, or by an event.

    However often it is found, the first and the last since the last passing probe stay: when it began, and what is
    known now. An unknown fault is left open, so that it does not wipe out what an event said of the same thing.
    """
    mark = Mark(
        id="", at=at, origin=Origin.PROBE, effect=effect, reason=reason, cause=cause, means=means, subject=subject,
        fault=None if fault is Fault.UNKNOWN else fault, deadline=deadline, deadline_source=deadline_source,
        version=version,
    )  # fmt: skip
    episode = look_back.passed_at.isoformat() if look_back.passed_at else "never"
    what = ":".join((effect, cause or "", means or "", subject or "", version or ""))
    return _folded(mark, f"probe:{what}:{episode}")


def recovery(
    effect: Effect, *, at: datetime, reason: str, fault: Fault | None = None, means: Means | None = None,
    subject: str | None = None, version: str | None = None, part: str | None = None,
) -> Mark:  # fmt: skip
    """Return the mark of something that a probe shows to be over, while the key as a whole is not proven."""
    what = ":".join((effect, means or "", subject or "", version or "", at.isoformat()))
    return Mark(
        id=f"probe:{what}", at=at, origin=Origin.PROBE, effect=effect, reason=reason, fault=fault, means=means,
        subject=subject, version=version, part=part,
    )  # fmt: skip


EXPIRY_SOON = timedelta(days=30)
"""How long before its end a key's expiry is a risk that people hear of (aws.md 3.1)."""


def expiries(
    end: datetime | None, look_back: Before, *, at: datetime, reason: str, source: str | None, fault: Fault
) -> tuple[Mark, ...]:
    """Return the marks that bring what is known of a key's own end in line with what the provider says it is.

    `end` None: it does not end. An end that is further away than `EXPIRY_SOON` and not told yet is left for later.
    """
    known = next((one for one in look_back.open if one.slot is Slot.EXPIRY and one.means is None), None)
    told = known.latest.deadline if known else None
    if end == told or (known is None and (end is None or end - at > EXPIRY_SOON)):
        return ()
    later = known is not None and (end is None or (told is not None and end > told))
    effect = Effect.KEY_MATERIAL_RESTORED if later else Effect.EXPIRY_AHEAD
    name = f"probe:expiry:{end.isoformat() if end else 'never'}:{at.isoformat()}"
    mark = Mark(
        id=name, at=at, origin=Origin.PROBE, effect=effect, reason=reason, fault=fault, deadline=end,
        deadline_source=source,
    )  # fmt: skip
    return (mark,)


def _folded(mark: Mark, name: str) -> tuple[Mark, ...]:
    """Return a mark twice, under the two names of which `health.add` keeps the earliest and the latest."""
    return replace(mark, id=f"{name}:first"), replace(mark, id=f"{name}:last")


# -------------------------------------------------------------------------------------------------- what is not the key


def callers_fault(key: RegisteredKey, findings: Sequence[Finding], *, at: datetime) -> Probed:
    """Judge a probe whose own caller is broken: the vendor's watch is marked, nothing is said of the key."""
    broken = next(
        (one for one in of(findings, *Question) if one.answer is Answer.CREDENTIALS), worst(findings, Question.CONTROL)
    )
    said = f" ({broken.words})" if broken and broken.words else ""
    caller = key.entry.probe.principal if key.entry.probe and key.entry.probe.principal else "its own identity"
    words = (
        f"The watchdog's own way to the keys of {key.cloud} is broken, asked as {caller}{said}. Nothing can be told of "
        "the key. Repair the permissions or credentials of the caller, or the control key, and probe again."
    )
    marks = _on_watch(
        Effect.ACCESS_REVOKED, key, at=at, reason=words, fault=Fault.VENDOR, means=Means.IDENTITY,
        cause=Cause.ACCESS_DENIED,
    )  # fmt: skip
    return Probed(at=at, passed=None, words=words, fault=Fault.VENDOR, marks={VENDOR_WATCH: marks})


def unreachable(
    key: RegisteredKey, findings: Sequence[Finding], look_back: Before, *, at: datetime, words: str | None = None
) -> Probed:
    """Judge a probe that got no answer about the key: time-outs, throttling, faults of the far end. Never a loss.

    It is told to the vendor once the last proof is too old to count: of the key when its control does answer, of the
    vendor's watch when that does not either (an outage hits every key, and is one thing). `words` replace the first
    sentence where there was an answer, but one that nothing can be concluded from.
    """
    control = control_of(findings)
    if control is Control.BROKEN:
        return callers_fault(key, findings, at=at)
    silent = worst(findings, Question.STATE, Question.USE, Question.CANARY, Question.CONSUMER)
    # A quota that the control feels too is the caller's own.
    quota = {one.answer for one in findings if one.answer in CANNOT_TELL} - {Answer.NOT_ASKED} == {Answer.THROTTLED}
    away = Fault.VENDOR if quota else Fault.PROVIDER
    fault = away if control is Control.AWAY else Fault.UNKNOWN
    said = f" ({silent.words})" if silent and silent.words else ""
    first = words or f"No answer about the key{said}."
    words = f"{first} {_ABOUT_CONTROL[control]} This says nothing about the key itself."
    if look_back.passed_at is None or at - look_back.passed_at < fresh_for(key):
        return Probed(at=at, passed=None, words=words, fault=fault)
    cause = Cause.THROTTLED if quota else Cause.TRANSIENT
    if control is Control.SOUND and any(one.slot in LOSS_SLOTS for one in look_back.open):
        return Probed(at=at, passed=None, words=words, fault=fault)  # it is told to be lost: silence adds no question
    if control is Control.SOUND:
        marks = losses(Effect.USE_FAILED, look_back, at=at, reason=words, fault=fault, cause=cause)
        return Probed(at=at, passed=None, words=words, fault=fault, marks={key.id: marks})
    marks = _on_watch(Effect.PATH_BLOCKED, key, at=at, reason=words, fault=fault, cause=cause)
    return Probed(at=at, passed=None, words=words, fault=fault, marks={VENDOR_WATCH: marks})


_ABOUT_CONTROL = {
    Control.SOUND: "The control key answers, so the way to the provider works.",
    Control.AWAY: "The control key does not answer either: the provider, or the way to it, is disturbed.",
    Control.MISSING: "No control key is declared, so it cannot be told whose side this lies on.",
    Control.BROKEN: "",
}


def unproven(
    probed: Probed, key: RegisteredKey, findings: Iterable[Finding], look_back: Before, *, at: datetime
) -> Probed:
    """Let people hear of a verdict that is neither a proof nor a loss, once the key's last proof is too old to count.

    Answers that contradict each other, a right to look that was taken away, a store that shows nothing: each could last
    for ever. What an outage explains is left to `unreachable`; of a key that was not proven since a change people know.
    """
    hurt = any(one.slot in LOSS_SLOTS for one in look_back.open)
    if probed.passed is not None or probed.fault is not Fault.UNKNOWN or hurt or VENDOR_WATCH in probed.marks:
        return probed
    passed_at, marks = look_back.passed_at, probed.marks.get(key.id, ())
    if passed_at is None or at - passed_at < fresh_for(key) or any(mark.effect is Effect.USE_FAILED for mark in marks):
        return probed
    changes = (look_back.changed_at, look_back.recovered_at)
    passing = {one.answer for one in findings if one.question is not Question.GRANTS} & _PASSING
    if passing or any(change is not None and change > passed_at for change in changes):
        return probed
    told = losses(
        Effect.USE_FAILED, look_back, at=at, reason=probed.words, fault=Fault.UNKNOWN, cause=Cause.UNKNOWN
    )  # fmt: skip
    return replace(probed, marks={**probed.marks, key.id: (*marks, *told)})


_PASSING = CANNOT_TELL - {Answer.NOT_UNDERSTOOD, Answer.NOT_ASKED}
"""Silences that pass by themselves, and mostly hit more than one key."""


def _on_watch(
    effect: Effect, key: RegisteredKey, *, at: datetime, reason: str, fault: Fault, cause: Cause,
    means: Means | None = None,
) -> tuple[Mark, ...]:  # fmt: skip
    """Return the marks on the vendor's watch. Thousands of keys may say the same: two an hour stay for each way."""
    way = way_of(key)
    mark = Mark(
        id="", at=at, origin=Origin.PROBE, effect=effect, reason=reason, cause=cause, means=means, subject=way,
        part=way, fault=None if fault is Fault.UNKNOWN else fault,
    )  # fmt: skip
    hour = at.replace(minute=0, second=0, microsecond=0).isoformat()
    return _folded(mark, f"probe:{effect}:{means or ''}:{way}:{hour}")


def way_of(key: RegisteredKey) -> str:
    """Name the way by which a key is asked: the region of its cloud, as whom, and what vouches for the caller.

    What is broken there is broken for every key that is asked so, and what works for one of them works for all.
    """
    probe = key.entry.probe
    _, region = place_of(key.id, key)
    caller = probe.principal if probe and probe.principal else "the watchdog's own identity"
    control = f", with control {probe.control}" if probe and probe.control else ""
    return f"way to {' '.join(filter(None, (key.cloud, region)))} as {caller}{control}"


def watch_repaired(key: RegisteredKey, look_back: Before, *, at: datetime) -> Mapping[str, Sequence[Mark]]:
    """Return the marks that end what is open on the vendor's watch of the way to this key; none when nothing is.

    To be added to every verdict for which the caller worked and the provider answered. What is open there of other ways
    or by records stays: only when nothing else is open does a proof go with it.
    """
    way = way_of(key)
    if way not in look_back.watch_open:
        return {}
    reason = "The watchdog's own way to the keys works again: the provider answered, and let the caller in."
    back = (
        recovery(Effect.ACCESS_GRANTED, at=at, reason=reason, means=Means.IDENTITY, subject=way, part=way),
        recovery(Effect.PATH_OPENED, at=at, reason=reason, subject=way, part=way),
    )
    # Of one moment a proof counts first: a step later it finds nothing open any more.
    proven = proofs(at=at + STEP, reason=reason) if look_back.watch_open == {way} else ()
    return {VENDOR_WATCH: (*back, *proven)}
