"""What the answers of AWS to one probe of one key come to: a table of state against use, then control and events."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from watchdog import probing
from watchdog.health import SETTLE, Mark, Slot
from watchdog.probing import CANNOT_TELL, Answer, Before, Control, Finding, Probed, Question
from watchdog.register import Register, RegisteredKey
from watchdog.words import Cause, Effect, Fault, Means

REAL = "real"
"""Name of the detail of a finding on a use that was carried out, not only permitted: its text is then `yes`."""
TEXT_BLAMES = "text_blames"
"""Name of the detail that says whose policy a refusal's text names; it may excuse the customer, never blame it."""
STORE = "custom_key_store_id"
"""Name of the detail of DescribeKey that says in which custom key store a key lives."""

SOON = timedelta(minutes=1)


class State(StrEnum):
    """What DescribeKey comes to. `vague`: enabled, but in a custom key store, which that says nothing of (aws.md 2)."""

    FINE = "fine"
    VAGUE = "vague"
    BAD = "bad"
    REFUSED = "refused"
    GONE = "gone"
    SILENT = "silent"


class Use(StrEnum):
    """What trying the key comes to. `allowed`: a dry run, which proves a permission and no more (aws.md 10)."""

    WORKED = "worked"
    ALLOWED = "allowed"
    PARTLY = "partly"
    REFUSED = "refused"
    BAD = "bad"
    GONE = "gone"
    SILENT = "silent"


class Outcome(StrEnum):
    """What state and use come to together, before anybody is blamed."""

    PROVEN = "proven"
    UNSEEN = "unseen"  # it may be used, but whether it can be is not seen
    STATE = "state"  # the state says what is wrong
    USE = "use"  # the use says what is wrong
    REVOKED = "revoked"
    REDUCED = "reduced"
    AMBIGUOUS = "ambiguous"  # everything is refused: revoked, or deleted
    GONE = "gone"
    ODD = "odd"  # the answers contradict each other
    UNTOLD = "untold"


_O = Outcome
TABLE: Mapping[State, Mapping[Use, Outcome]] = {
    State.FINE: {
        Use.WORKED: _O.PROVEN, Use.ALLOWED: _O.PROVEN, Use.PARTLY: _O.REDUCED, Use.REFUSED: _O.REVOKED,
        Use.BAD: _O.USE, Use.GONE: _O.ODD, Use.SILENT: _O.UNTOLD,
    },
    State.VAGUE: {
        Use.WORKED: _O.PROVEN, Use.ALLOWED: _O.UNSEEN, Use.PARTLY: _O.REDUCED, Use.REFUSED: _O.REVOKED,
        Use.BAD: _O.USE, Use.GONE: _O.ODD, Use.SILENT: _O.UNTOLD,
    },
    State.BAD: dict.fromkeys(Use, _O.STATE),
    State.REFUSED: {
        Use.WORKED: _O.PROVEN, Use.ALLOWED: _O.UNSEEN, Use.PARTLY: _O.REDUCED, Use.REFUSED: _O.AMBIGUOUS,
        Use.BAD: _O.USE, Use.GONE: _O.GONE, Use.SILENT: _O.UNTOLD,
    },
    State.GONE: {
        Use.WORKED: _O.ODD, Use.ALLOWED: _O.ODD, Use.PARTLY: _O.ODD, Use.REFUSED: _O.GONE,
        Use.BAD: _O.ODD, Use.GONE: _O.GONE, Use.SILENT: _O.GONE,
    },
    State.SILENT: {
        Use.WORKED: _O.PROVEN, Use.ALLOWED: _O.UNTOLD, Use.PARTLY: _O.UNTOLD, Use.REFUSED: _O.UNTOLD,
        Use.BAD: _O.USE, Use.GONE: _O.UNTOLD, Use.SILENT: _O.UNTOLD,
    },
}  # fmt: skip
"""aws.md 7, with the columns that it leaves out.

A permission without a state (`unseen`) is no loss and no proof: a disabled key may be permitted too. One answer alone
that could have come from a caller in trouble (`silent` beside a refusal) is not believed.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What an outcome is: does it pass, what it does to the key (None: as the answer says), and the words for it."""

    passed: bool | None
    words: str
    effect: Effect | None = None
    is_refusal: bool = False


ROWS: Mapping[Outcome, Row] = {
    _O.PROVEN: Row(passed=True, words="The key is usable: {answers}."),
    _O.UNSEEN: Row(
        passed=None,
        words="The use of the key is permitted, but whether it can be used is not seen: {answers}. This is no loss. "
        "Let the probe's principal do kms:DescribeKey, and for a key in a custom key store declare a canary.",
    ),
    _O.STATE: Row(passed=False, words="The key cannot be used: {answers}."),
    _O.USE: Row(passed=False, words="Using the key fails: {answers}."),
    _O.REVOKED: Row(
        passed=False, words="The key is there, but every use of it is refused: {answers}.",
        effect=Effect.ACCESS_REVOKED, is_refusal=True,
    ),
    _O.REDUCED: Row(
        passed=False, words="Some uses of the key are refused: {answers}.",
        effect=Effect.ACCESS_REDUCED, is_refusal=True,
    ),
    _O.AMBIGUOUS: Row(
        passed=False, words="KMS refuses everything about the key: {answers}.",
        effect=Effect.ACCESS_REVOKED, is_refusal=True,
    ),
    _O.GONE: Row(passed=False, words="KMS does not find the key: {answers}."),
    _O.ODD: Row(passed=None, words="The answers contradict each other: {answers}. The probe is repeated."),
    _O.UNTOLD: Row(passed=None, words="It cannot be told whether the key is usable: {answers}."),
}  # fmt: skip

STATES: Mapping[Answer, State] = {
    Answer.DISABLED: State.BAD,
    Answer.PENDING_DELETION: State.BAD,
    Answer.PENDING_IMPORT: State.BAD,
    Answer.UNAVAILABLE: State.BAD,
    Answer.EXPIRED: State.BAD,
    Answer.NOT_FOUND: State.GONE,
    Answer.DESTROYED: State.GONE,
    Answer.DENIED: State.REFUSED,
    Answer.PATH_BLOCKED: State.SILENT,  # on AWS only by the policy of the vendor's own endpoint (aws.md 4)
}
USES: Mapping[Answer, Use] = {
    Answer.OK: Use.ALLOWED,
    Answer.DISABLED: Use.BAD,
    Answer.PENDING_DELETION: Use.BAD,
    Answer.PENDING_IMPORT: Use.BAD,
    Answer.UNAVAILABLE: Use.BAD,
    Answer.EXPIRED: Use.BAD,
    Answer.NOT_FOUND: Use.GONE,
    Answer.DESTROYED: Use.GONE,
    Answer.DENIED: Use.REFUSED,
    Answer.PATH_BLOCKED: Use.SILENT,
}


def judge(
    findings: Sequence[Finding], key: RegisteredKey, register: Register, look_back: Before, *, at: datetime
) -> Probed:
    """Tell what the findings of one probe at `at` (aware, UTC) come to. Pure; aws.md 2, 4 and 7."""
    del register  # what a probe needs of it stands in the key's entry
    case = _Case(findings, key, look_back, at)
    probed = probing.unproven(_with_stores(case, _of_key(case)), key, findings, look_back, at=at)
    if probed.passed is None and probed.fault in {Fault.VENDOR, Fault.PROVIDER}:
        return probed
    repaired = probing.watch_repaired(key, look_back, at=at) if case.answered else {}
    return replace(probed, marks={**probed.marks, **repaired})


class _Case:
    """One probe of one key, with everything that its judgement looks at."""

    def __init__(self, findings: Sequence[Finding], key: RegisteredKey, look_back: Before, at: datetime) -> None:
        self.findings = findings
        self.key = key
        self.look_back = look_back
        self.at = at
        self.control = probing.control_of(findings)
        self.state = _state(findings, key)
        self.use = _use(findings)
        self.outcome = TABLE[self.state][self.use]

    @property
    def answered(self) -> bool:
        """Whether the provider let this caller in, as far as the probe shows."""
        return self.control is Control.SOUND or (self.control is Control.MISSING and self.outcome is not Outcome.UNTOLD)

    @property
    def decisive(self) -> Finding:
        """The answer that says what is wrong: of the state where that tells, else of a use that fails by the state."""
        if self.outcome is Outcome.STATE:
            return probing.of(self.findings, Question.STATE)[0]
        return next(one for one in probing.of(self.findings, *_USED) if USES.get(one.answer) is Use.BAD)

    @property
    def lacks_grant(self) -> bool:
        """Whether a registered grant is not on the key any more."""
        return any(one.answer is Answer.NOT_FOUND for one in probing.of(self.findings, Question.GRANTS))

    def words(self, *more: str) -> str:
        """Say the outcome with the answers that it rests on."""
        return " ".join((ROWS[self.outcome].words.format(answers=_answers(self.findings)), *more))

    def lags(self) -> bool:
        """Whether a bad answer may be that of before a repair. The state follows nearly at once (aws.md 2)."""
        patience = SOON if self.outcome is Outcome.STATE else SETTLE
        return probing.is_lagging(self.look_back, at=self.at, patience=patience)


_USED = (Question.USE, Question.CANARY)


def _state(findings: Sequence[Finding], key: RegisteredKey) -> State:
    said = probing.worst(findings, Question.STATE)
    if said is None or said.answer is not Answer.OK:
        return STATES.get(said.answer, State.SILENT) if said else State.SILENT
    in_store = key.entry.aws.custom_key_store_id or said.detail.get(STORE)
    return State.VAGUE if in_store else State.FINE


def _use(findings: Sequence[Finding]) -> Use:
    """Fold all uses that were tried: one that fails by the key's state outweighs what was permitted."""
    tried = [one for one in probing.of(findings, *_USED) if one.answer is not Answer.NOT_ASKED]
    uses = [USES.get(one.answer, Use.SILENT) for one in tried]
    if not uses:
        return Use.SILENT
    for heavy in (Use.GONE, Use.BAD):
        if heavy in uses:
            return heavy
    if Use.REFUSED in uses:
        if Use.SILENT in uses:
            return Use.SILENT
        return Use.PARTLY if Use.ALLOWED in uses else Use.REFUSED
    if Use.SILENT in uses:
        return Use.SILENT
    return Use.WORKED if any(one.detail.get(REAL) == "yes" for one in tried) else Use.ALLOWED


def _answers(findings: Iterable[Finding]) -> str:
    """Say the answers about the key itself, each with what was asked."""
    said = [
        f"{one.subject or one.question} {one.answer.replace('_', ' ')}" + (f" ({one.words})" if one.words else "")
        for one in findings
        if one.question in {Question.STATE, *_USED} and one.answer is not Answer.NOT_ASKED
    ]
    return "; ".join(said) or "nothing was asked"


# ------------------------------------------------------------------------------------------------------- the key itself


def _of_key(case: _Case) -> Probed:
    row = ROWS[case.outcome]
    if case.outcome is Outcome.PROVEN:
        return _proven(case)
    if case.outcome is Outcome.UNTOLD:
        return _untold(case)
    if row.is_refusal and case.control is Control.BROKEN:
        return probing.callers_fault(case.key, case.findings, at=case.at)
    if row.is_refusal and case.control is Control.AWAY:
        return probing.unreachable(case.key, case.findings, case.look_back, at=case.at, words=case.words())
    if row.passed is None:
        wait = SOON if case.outcome is Outcome.ODD else None
        return Probed(at=case.at, passed=None, words=case.words(), fault=Fault.UNKNOWN, again_after=wait)
    if case.lags():
        words = case.words("Events said a moment ago that it is repaired: this may be the answer of before.")
        wait = probing.again_after(case.look_back, at=case.at) or SOON
        return Probed(at=case.at, passed=None, words=words, fault=Fault.UNKNOWN, again_after=wait)
    if case.outcome is Outcome.GONE:
        return _gone(case)
    return _refused(case) if row.is_refusal else _broken(case)


def _proven(case: _Case) -> Probed:
    wait = probing.again_after(case.look_back, at=case.at)
    more = []
    if case.state is State.REFUSED:
        more.append("DescribeKey is refused, so state and dates are not seen: let the probe's principal do it.")
    if case.control is Control.BROKEN:
        more.append("The control key does not work, so the next refusal could not be told from a fault of our own.")
    if probing.is_settling(case.look_back, at=case.at):
        words = case.words("But minutes after a change this may be the answer of before, and proves nothing.", *more)
        return Probed(at=case.at, passed=None, words=words, fault=Fault.UNKNOWN, again_after=wait)
    words = case.words(*more)
    back = _found_again(case)
    # Of one moment a proof counts first: a step later it finds nothing open any more.
    proven = probing.proofs(at=case.at + len(back) * probing.STEP, reason=words)
    marks = (*back, *_expiry(case), *proven)
    return Probed(
        at=case.at, passed=True, words=words, fault=Fault.UNKNOWN, marks={case.key.id: marks}, again_after=wait
    )


def _untold(case: _Case) -> Probed:
    """Judge a silence. A way that the policy of an endpoint closes, for this key only, is the vendor's (aws.md 4)."""
    probed = probing.unreachable(case.key, case.findings, case.look_back, at=case.at, words=case.words())
    ways = probing.of(case.findings, Question.STATE, *_USED)
    if case.control is not Control.SOUND or all(one.answer is not Answer.PATH_BLOCKED for one in ways):
        return probed
    marks = {
        subject: tuple(replace(mark, fault=Fault.VENDOR) for mark in found) for subject, found in probed.marks.items()
    }
    words = f"{probed.words} The policy of the vendor's own VPC endpoint closes the way: let the key through there."
    return replace(probed, fault=Fault.VENDOR, words=words, marks=marks)


def _broken(case: _Case) -> Probed:
    """Judge a key that is disabled, doomed, without material or behind a key store that fails: its owner's doing."""
    found = case.decisive
    effect = probing.EFFECTS[found.answer]
    dated = effect is Effect.KEY_DELETION_SCHEDULED
    return _lost(
        case, effect, probing.owners_fault(case.key), cause=probing.CAUSES.get(found.answer),
        deadline=found.deadline if dated else None, deadline_source=found.deadline_source if dated else None,
    )  # fmt: skip


def _refused(case: _Case) -> Probed:
    """Judge a refusal of a caller that is sound, or that nobody vouches for."""
    # A missing grant explains a refusal, and anybody may have ended it: the owner, the grantee, a service (aws.md 3.1).
    witness = Control.MISSING if case.lacks_grant and case.control is Control.SOUND else case.control
    blamed = probing.blame(witness, case.key, case.look_back)
    fault = Fault.VENDOR if _text_excuses(case.findings) else blamed.fault
    effect = ROWS[case.outcome].effect or Effect.ACCESS_REVOKED
    more = [_WHOSE[fault]]
    if case.outcome is Outcome.AMBIGUOUS:
        if case.look_back.open_effects & _ENDS_OF_KEY:
            # What is known already explains it: a deleted key is refused too, and a second loss would be a guess.
            more.append("A deletion of it is known, so it may be gone.")
            return _lost(case, Effect.USE_FAILED, fault, cause=Cause.ACCESS_DENIED, more=more)
        more.append("Its access was taken away, or it was deleted: KMS says the same of both.")
    return _lost(case, effect, fault, cause=Cause.ACCESS_DENIED, means=blamed.means, more=more)


_ENDS_OF_KEY = frozenset({Effect.KEY_DELETION_SCHEDULED.value, Effect.KEY_DESTROYED.value, Effect.CONTAINER_LOST.value})
_WHOSE = {
    Fault.CUSTOMER: "The same caller uses its control key, or an event says so: the change is on the key owner's side.",
    Fault.VENDOR: "This lies on the vendor's own side.",
    Fault.PROVIDER: "This lies with the provider.",
    Fault.UNKNOWN: "Whose side this lies on is not shown: declare a control key for it.",
}


def _text_excuses(findings: Iterable[Finding]) -> bool:
    """Whether a refusal names a policy of the vendor's own (aws.md 4): never the customer's doing."""
    refused = [one for one in probing.of(findings, Question.STATE, *_USED) if one.answer is Answer.DENIED]
    return any(one.detail.get(TEXT_BLAMES) == Fault.VENDOR for one in refused)


def _gone(case: _Case) -> Probed:
    """Judge a key that KMS does not find: destroyed, when it was there before; else perhaps never rightly named."""
    expected = bool(case.look_back.open_effects & _ENDS_OF_KEY)
    if case.control in {Control.BROKEN, Control.AWAY} and not expected:
        return probing.unreachable(case.key, case.findings, case.look_back, at=case.at, words=case.words())
    if expected or (case.control is Control.SOUND and case.look_back.passed_at is not None):
        more = ["It was found by earlier probes, or its deletion is known: it is destroyed."]
        return _lost(case, Effect.KEY_DESTROYED, probing.owners_fault(case.key), cause=Cause.NOT_FOUND, more=more)
    more = ["It is destroyed, or the register names a wrong ARN or Region: no probe has ever found it there. Compare."]
    return _lost(case, Effect.USE_FAILED, Fault.UNKNOWN, cause=Cause.NOT_FOUND, more=more)


def _lost(
    case: _Case, effect: Effect, fault: Fault, *, cause: Cause | None, means: Means | None = None,
    deadline: datetime | None = None, deadline_source: str | None = None, more: Sequence[str] = (),
) -> Probed:  # fmt: skip
    words = case.words(*more)
    marks = probing.losses(
        effect, case.look_back, at=case.at, reason=words, fault=fault, cause=cause, means=means, deadline=deadline,
        deadline_source=deadline_source,
    )  # fmt: skip
    known = effect in case.look_back.open_effects
    wait = probing.again_after(case.look_back, at=case.at) if known else SOON
    marks = (*_over(case), *marks)
    return Probed(at=case.at, passed=False, words=words, fault=fault, marks={case.key.id: marks}, again_after=wait)


# ------------------------------------------------------------------------------------- what the answers show to be over

_EXCLUDED: Mapping[Answer, frozenset[Slot]] = {
    Answer.OK: frozenset({Slot.DESTROYED, Slot.DELETION, Slot.DISABLED, Slot.MATERIAL}),
    Answer.DISABLED: frozenset({Slot.DESTROYED, Slot.DELETION, Slot.MATERIAL}),
    Answer.PENDING_IMPORT: frozenset({Slot.DESTROYED, Slot.DELETION}),
    Answer.PENDING_DELETION: frozenset({Slot.DESTROYED}),
}
"""What cannot be while DescribeKey gives this state (aws.md 2; a deletion hides the rest)."""


def _found_again(case: _Case) -> tuple[Mark, ...]:
    """Return what ends a destruction, when KMS shows the very key: no ARN is given twice, but to a replica made anew.

    That one has the same material (aws.md 2), so what works under the ARN works for the data.
    """
    if not any(one.slot is Slot.DESTROYED for one in case.look_back.open):
        return ()
    reason = f"The key is there, so it was not destroyed, or is a replica made anew: {_answers(case.findings)}."
    return (probing.recovery(Effect.KEY_RECOVERED, at=case.at, reason=reason),)


def _over(case: _Case) -> tuple[Mark, ...]:
    """Return the recoveries that the answers show, of a key that is not well as a whole.

    Nothing within the settling time of a change, when the answers may be older than it.
    """
    if case.look_back.changed_at is not None and case.at - case.look_back.changed_at < SETTLE:
        return ()
    answer = probing.answer_to(case.findings, Question.STATE)
    open_slots = {condition.slot for condition in case.look_back.open}
    past = open_slots & _EXCLUDED.get(answer, frozenset())
    effects = []
    if Slot.DELETION in past:
        effects.append(Effect.DELETION_CANCELLED)
    if Slot.MATERIAL in past:
        effects.append(Effect.KEY_MATERIAL_RESTORED)
    # A cancelled deletion leaves a key disabled (aws.md 0.5), unless the state says otherwise.
    if Slot.DISABLED in past or (Slot.DELETION in past and answer is not Answer.DISABLED):
        effects.append(Effect.KEY_ENABLED)
    reason = f"DescribeKey shows that this is over: {_answers(probing.of(case.findings, Question.STATE))}."
    state = [
        probing.recovery(effect, at=case.at + number * probing.STEP, reason=reason)
        for number, effect in enumerate(effects)
    ]
    again = _found_again(case) if Slot.DESTROYED in past else ()
    return (*again, *state, *_granted(case))


def _granted(case: _Case) -> list[Mark]:
    """Return what ends a lost access, when the same uses are permitted again. A grant is told by its own finding."""
    if case.use not in {Use.WORKED, Use.ALLOWED}:
        return []
    reason = f"The use of the key is permitted: {_answers(probing.of(case.findings, *_USED))}."
    lost = {one.means for one in case.look_back.open if one.slot is Slot.ACCESS and one.means is not Means.GRANT}
    ordered = sorted(lost, key=lambda means: means or "")
    return [probing.recovery(Effect.ACCESS_GRANTED, at=case.at, reason=reason, means=means) for means in ordered]


def _expiry(case: _Case) -> tuple[Mark, ...]:
    """Return what brings the known end of imported material in line with DescribeKey's ValidTo (aws.md 3.1)."""
    found = probing.worst(case.findings, Question.STATE)
    if found is None or found.answer is not Answer.OK:
        return ()
    end = f" on {found.deadline:%Y-%m-%d %H:%M} UTC" if found.deadline else ""
    reason = f"DescribeKey says that the key material expires{end}." if end else "The key material does not expire."
    return probing.expiries(
        found.deadline, case.look_back, at=case.at, reason=reason, source=found.deadline_source,
        fault=probing.owners_fault(case.key),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ grants and the stores


def _with_stores(case: _Case, probed: Probed) -> Probed:
    """Add what grants and consumers say. They can only take a proof away: what a store suffers from may be the key."""
    if probed.passed is None and case.outcome is not Outcome.UNSEEN:
        return probed
    missing = [] if case.lags() else _missing_grants(case)
    failing = [] if probed.passed is False else _failing_stores(case)
    silent = [one for one in probing.of(case.findings, Question.CONSUMER) if one.answer in CANNOT_TELL]
    if missing or failing:
        words = " ".join([probed.words, *(mark.reason for mark in [*missing, *failing] if mark.id.endswith(":last"))])
        kept = probed.marks.get(case.key.id, ()) if probed.passed is False else _over(case)
        marks = {**probed.marks, case.key.id: (*kept, *missing, *failing)}
        wait = probed.again_after or SOON
        return replace(probed, passed=False, words=words, marks=marks, again_after=wait)
    if probed.passed and probing.answer_to(case.findings, Question.GRANTS) not in _GRANTS_SEEN:
        probed = replace(
            probed, words=f"{probed.words} But its grants could not be compared: let it do kms:ListGrants."
        )
    if probed.passed and silent:
        words = f"{probed.words} But a declared store could not be asked: {_stores(silent)}."
        return replace(probed, passed=None, words=words, marks={case.key.id: _over(case)})
    return probed


_GRANTS_SEEN = frozenset({Answer.OK, Answer.NOT_ASKED})


def _missing_grants(case: _Case) -> list[Mark]:
    """A grant that is not listed is lost; by whom cannot be seen: owner, grantee and services can all end one."""
    marks: list[Mark] = []
    for one in probing.of(case.findings, Question.GRANTS):
        if one.answer is Answer.NOT_FOUND:
            reason = f"The registered grant {one.subject} is not on the key any more."
            marks += probing.losses(
                Effect.ACCESS_REVOKED, case.look_back, at=case.at, reason=reason, fault=Fault.UNKNOWN,
                cause=Cause.ACCESS_DENIED, means=Means.GRANT, subject=one.subject,
            )  # fmt: skip
    return marks


def _failing_stores(case: _Case) -> list[Mark]:
    marks: list[Mark] = []
    for one in probing.of(case.findings, Question.CONSUMER):
        if one.answer is not Answer.OK and one.answer not in CANNOT_TELL:
            reason = (
                f"The store {one.subject} does not work although the key does: {one.words or one.answer}. Look at the "
                "store; after a loss it may need to be started again."
            )
            marks += probing.losses(
                Effect.USE_FAILED, case.look_back, at=case.at, reason=reason, fault=Fault.UNKNOWN, cause=Cause.UNKNOWN,
                subject=one.subject,
            )  # fmt: skip
    return marks


def _stores(findings: Iterable[Finding]) -> str:
    return "; ".join(f"{one.subject} {one.answer} ({one.words})" for one in findings)
