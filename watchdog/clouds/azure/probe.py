"""What the answers of Azure to one probe of one key come to: a table of state against use for each version in use.

Then control, events and stores are looked at: a refusal is nobody's fault until the control key answers, a firewall
that refuses the probe is no loss while the stores work (azure.md 0.9), and the first success after a loss is no proof.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from watchdog import probing
from watchdog.clouds.azure import access, settings
from watchdog.clouds.azure.index import WatchedKey, index_of
from watchdog.health import LOSS_SLOTS, SETTLE, Condition, Mark, Slot
from watchdog.probing import CANNOT_TELL, Answer, Before, Control, Finding, Probed, Question
from watchdog.register import Register, RegisteredKey
from watchdog.words import Cause, Effect, Fault, Means

PERMITTED = "key_ops"
"""Name of the detail of a version's state that lists the operations which its key permits."""
RECOVERY_LEVEL = "recovery_level"
"""Name of the detail that says how a deleted key is kept; one that ends in `Purgeable` may be purged (azure.md 2)."""
LOST = "lost"
"""Name of the detail of a refusal that says what of the access is lost; its text is one of `Lost`."""
DELETED = "deleted"
"""Name of the detail of a key that is not found: whether a deleted key of its name is there (`no`, `unknown`)."""
OTHERS = "other_versions"
"""Name of the detail of a version that is not found: `yes` when the key has others, so that it is another key."""
UNRESOLVED = "unresolved"
"""Name of the detail of a silence: `yes` when the vault's own name leads nowhere, as that of a deleted vault does."""

SOON = timedelta(minutes=1)
CONFIRMED = timedelta(minutes=10)
"""How far two successes must be apart after a loss: role changes take about as long, both ways (azure.md 7)."""


class Lost(StrEnum):
    """What a refusal says has been taken away, where it says more than no."""

    OPERATION = "operation"
    PRINCIPAL = "principal"
    SIGN_IN = "sign_in"
    POLICY = "policy"
    TENANT = "tenant"


class State(StrEnum):
    """What the attributes of one version come to. `narrow`: it permits unwrapping, but no wrapping."""

    FINE = "fine"
    NARROW = "narrow"
    EXPIRED = "expired"
    EARLY = "early"
    DISABLED = "disabled"
    UNPERMITTED = "unpermitted"
    DELETED = "deleted"
    GONE = "gone"
    REFUSED = "refused"
    BLOCKED = "blocked"
    SILENT = "silent"


class Use(StrEnum):
    """What the remote unwrap under one version comes to."""

    WORKED = "worked"
    DISABLED = "disabled"
    EXPIRED = "expired"
    UNPERMITTED = "unpermitted"
    GONE = "gone"
    REFUSED = "refused"
    BLOCKED = "blocked"
    SILENT = "silent"


class Outcome(StrEnum):
    """What state and use come to together, before anybody is blamed; the worst first."""

    DELETED = "deleted"
    GONE = "gone"
    DISABLED = "disabled"
    UNPERMITTED = "unpermitted"
    REVOKED = "revoked"
    EXPIRED = "expired"
    EARLY = "early"
    NARROW = "narrow"
    BLOCKED = "blocked"
    ODD = "odd"  # the answers contradict each other
    UNTOLD = "untold"
    PROVEN = "proven"


_O = Outcome
_READABLE = {
    Use.DISABLED: _O.DISABLED, Use.EXPIRED: _O.EXPIRED, Use.UNPERMITTED: _O.UNPERMITTED, Use.GONE: _O.ODD,
    Use.REFUSED: _O.REVOKED, Use.BLOCKED: _O.BLOCKED, Use.SILENT: _O.UNTOLD,
}  # fmt: skip
_UNREADABLE = {**_READABLE, Use.WORKED: _O.PROVEN}
TABLE: Mapping[State, Mapping[Use, Outcome]] = {
    State.FINE: {**_READABLE, Use.WORKED: _O.PROVEN},
    # An attribute that was read stands, also when the use is not heard of.
    State.NARROW: {**_READABLE, Use.WORKED: _O.NARROW, Use.SILENT: _O.NARROW, Use.BLOCKED: _O.NARROW},
    State.EXPIRED: {**_READABLE, Use.WORKED: _O.EXPIRED, Use.SILENT: _O.EXPIRED, Use.BLOCKED: _O.EXPIRED},
    State.EARLY: {**_READABLE, Use.WORKED: _O.EARLY, Use.SILENT: _O.EARLY, Use.BLOCKED: _O.EARLY},
    State.DISABLED: {**dict.fromkeys(Use, _O.DISABLED), Use.WORKED: _O.ODD, Use.GONE: _O.ODD},
    State.UNPERMITTED: {
        **dict.fromkeys(Use, _O.UNPERMITTED), Use.WORKED: _O.ODD, Use.GONE: _O.ODD, Use.DISABLED: _O.DISABLED,
    },
    State.DELETED: {**dict.fromkeys(Use, _O.DELETED), Use.WORKED: _O.ODD},
    State.GONE: {
        **dict.fromkeys(Use, _O.ODD), Use.GONE: _O.GONE, Use.REFUSED: _O.GONE, Use.BLOCKED: _O.GONE,
        Use.SILENT: _O.GONE,
    },
    # The proof is the unwrap: who may do it, but not look at the key, has what data needs (azure.md 7, step 3).
    State.REFUSED: {**_UNREADABLE, Use.GONE: _O.GONE},
    State.BLOCKED: {**_UNREADABLE, Use.WORKED: _O.ODD, Use.REFUSED: _O.BLOCKED, Use.SILENT: _O.BLOCKED},
    # One refusal beside a silence could be that of a caller or a service in trouble.
    State.SILENT: {**_UNREADABLE, Use.GONE: _O.UNTOLD, Use.REFUSED: _O.UNTOLD},
}  # fmt: skip
"""azure.md 2 and 7, with all that they leave out. An expired key still unwraps; a disabled one does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What an outcome is: the words for it, and what it does to the key where that is one thing."""

    words: str
    effect: Effect | None = None
    cause: Cause | None = None
    means: Means | None = None


ROWS: Mapping[Outcome, Row] = {
    _O.PROVEN: Row(words="Every version in use unwraps: {answers}."),
    _O.DISABLED: Row(words="The key is disabled: {answers}.", effect=Effect.KEY_DISABLED, cause=Cause.DISABLED),
    _O.EXPIRED: Row(
        words="The key has expired: {answers}. Key Vault goes on unwrapping with it, but wraps nothing any more; each "
        "store decides for itself.",
        effect=Effect.KEY_EXPIRED, cause=Cause.EXPIRED,
    ),
    _O.EARLY: Row(
        words="The key is not valid yet, so nothing can be wrapped with it: {answers}.",
        effect=Effect.ACCESS_REDUCED, means=Means.CONDITION,
    ),
    _O.UNPERMITTED: Row(
        words="The key does not permit unwrapping any more, to nobody: {answers}.",
        effect=Effect.ACCESS_REVOKED, cause=Cause.ACCESS_DENIED, means=Means.KEY_OPERATIONS,
    ),
    _O.NARROW: Row(
        words="The key does not permit wrapping any more, only unwrapping: {answers}.",
        effect=Effect.ACCESS_REDUCED, means=Means.KEY_OPERATIONS,
    ),
    _O.REVOKED: Row(
        words="The vendor may not use the key: {answers}.", effect=Effect.ACCESS_REVOKED, cause=Cause.ACCESS_DENIED,
    ),
    _O.DELETED: Row(
        words="The key is deleted: {answers}.", effect=Effect.KEY_DELETION_SCHEDULED, cause=Cause.PENDING_DELETION,
    ),
    _O.GONE: Row(words="The key is not found: {answers}.", cause=Cause.NOT_FOUND),
    _O.BLOCKED: Row(
        words="The vault's network rules do not let the watchdog's own check in: {answers}.",
        effect=Effect.PATH_BLOCKED, cause=Cause.PATH_BLOCKED,
    ),
    _O.ODD: Row(words="The answers contradict each other: {answers}. The probe is repeated."),
    _O.UNTOLD: Row(words="It cannot be told whether the key is usable: {answers}."),
}  # fmt: skip

STATES: Mapping[Answer, State] = {
    Answer.OK: State.FINE,
    Answer.DISABLED: State.DISABLED,
    Answer.EXPIRED: State.EXPIRED,
    Answer.NOT_YET_VALID: State.EARLY,
    Answer.PENDING_DELETION: State.DELETED,
    Answer.NOT_FOUND: State.GONE,
    Answer.DESTROYED: State.GONE,
    Answer.DENIED: State.REFUSED,
    Answer.IDENTITY_REFUSED: State.REFUSED,
    Answer.PATH_BLOCKED: State.BLOCKED,
}
USES: Mapping[Answer, Use] = {
    Answer.OK: Use.WORKED,
    Answer.DISABLED: Use.DISABLED,
    Answer.EXPIRED: Use.EXPIRED,
    Answer.NOT_FOUND: Use.GONE,
    Answer.DENIED: Use.REFUSED,
    Answer.IDENTITY_REFUSED: Use.REFUSED,
    Answer.PATH_BLOCKED: Use.BLOCKED,
}


def judge(
    findings: Sequence[Finding], key: RegisteredKey, register: Register, look_back: Before, *, at: datetime
) -> Probed:
    """Tell what the findings of one probe at `at` (aware, UTC) come to. Pure; azure.md 0, 2, 4 and 7."""
    case = _Case(findings, key, index_of(register).by_id.get(key.id), look_back, at)
    probed = probing.unproven(_with_stores(case, _of_key(case)), key, findings, look_back, at=at)
    if probed.passed is None and probed.fault in {Fault.VENDOR, Fault.PROVIDER}:
        return probed
    repaired = probing.watch_repaired(key, look_back, at=at) if case.answered else {}
    return replace(probed, marks={**probed.marks, **repaired})


class _Case:
    """One probe of one key, with everything that its judgement looks at; `watched` is what the register adds."""

    def __init__(
        self,
        findings: Sequence[Finding],
        key: RegisteredKey,
        watched: WatchedKey | None,
        look_back: Before,
        at: datetime,
    ) -> None:
        self.findings = findings
        self.key = key
        self.watched = watched
        self.look_back = look_back
        self.at = at
        self.control = probing.control_of(findings)
        self.versions = {version: self._outcome(version) for version in _versions(findings)}
        self.outcome = min(self.versions.values(), key=list(Outcome).index)

    def _outcome(self, version: str | None) -> Outcome:
        state = probing.worst(self.about(version), Question.STATE)
        return TABLE[_state(state)][_use(self.about(version))]

    def about(self, version: str | None) -> list[Finding]:
        """Return the findings on a version, and those on the key as a whole."""
        return [one for one in self.findings if one.version in {None, version}]

    @property
    def hit(self) -> str | None:
        """The one version that has the worst outcome; None when that is so of all of them, or of several."""
        found = [version for version, outcome in self.versions.items() if outcome is self.outcome]
        return found[0] if len(found) == 1 and len(self.versions) > 1 else None

    @property
    def decisive(self) -> Finding | None:
        """The answer that the outcome rests on; None for an outcome that needs no more than its name."""
        hit = [version for version, outcome in self.versions.items() if outcome is self.outcome]
        about = [one for version in hit for one in self.about(version)]
        said = [*probing.of(about, Question.STATE), *probing.of(about, *_USED)]
        return next((one for answer in _DECISIVE.get(self.outcome, ()) for one in said if one.answer is answer), None)

    @property
    def answered(self) -> bool:
        """Whether the provider let this caller in, as far as the probe shows."""
        heard = self.outcome not in {Outcome.UNTOLD, Outcome.BLOCKED}
        return self.control is Control.SOUND or (self.control is Control.MISSING and heard)

    def words(self, *more: str) -> str:
        """Say the outcome with the answers that it rests on."""
        return " ".join((ROWS[self.outcome].words.format(answers=_answers(self.findings)), *more))

    def words_about(self, version: str | None) -> str:
        """Say the outcome of one version with the answers that it rests on."""
        return ROWS[self.versions[version]].words.format(answers=_answers(self.about(version)))

    def lags(self) -> bool:
        """Whether a bad answer may be that of before a repair: grants travel slowly, attributes do not (azure.md 2)."""
        patience = SETTLE if self.outcome is Outcome.REVOKED else SOON
        return probing.is_lagging(self.look_back, at=self.at, patience=patience)

    def conditions(self, *slots: Slot) -> list[Condition]:
        """Return the key's open conditions in these slots."""
        return [one for one in self.look_back.open if one.slot in slots]


_USED = (Question.USE, Question.CANARY)
_DECISIVE: Mapping[Outcome, Sequence[Answer]] = {
    Outcome.DELETED: (Answer.PENDING_DELETION,),
    Outcome.GONE: (Answer.DESTROYED, Answer.NOT_FOUND),
    Outcome.REVOKED: (Answer.IDENTITY_REFUSED, Answer.DENIED),
}


def _versions(findings: Iterable[Finding]) -> list[str | None]:
    """Return the versions that were asked; the key as a whole when none is named."""
    asked = [one.version for one in findings if one.question in {Question.STATE, *_USED}]
    return list(dict.fromkeys(one for one in asked if one is not None)) or [None]


def _state(found: Finding | None) -> State:
    state = STATES.get(found.answer, State.SILENT) if found else State.SILENT
    if found is None or state not in {State.FINE, State.EXPIRED, State.EARLY} or PERMITTED not in found.detail:
        return state
    permitted = {name.lower() for name in found.detail[PERMITTED].split()}
    if access.UNWRAP not in permitted:
        return State.UNPERMITTED
    return State.NARROW if state is State.FINE and access.WRAP not in permitted else state


def _use(findings: Iterable[Finding]) -> Use:
    tried = [one for one in probing.of(findings, *_USED) if one.answer is not Answer.NOT_ASKED]
    if not tried:
        return Use.SILENT
    if tried[0].answer is Answer.DENIED and tried[0].detail.get(LOST) == Lost.OPERATION:
        return Use.UNPERMITTED
    return USES.get(tried[0].answer, Use.SILENT)


def _answers(findings: Iterable[Finding]) -> str:
    """Say the answers about the key itself, each with what was asked; the same one of several versions once."""
    said = {
        f"{one.question} {one.answer.replace('_', ' ')}" + (f" ({one.words})" if one.words else ""): None
        for one in findings
        if one.question in {Question.STATE, *_USED} and one.answer is not Answer.NOT_ASKED
    }
    return "; ".join(said) or "nothing was asked"


# ------------------------------------------------------------------------------------------------------- the key itself


def _of_key(case: _Case) -> Probed:  # the outcomes, each with its way
    outcome = case.outcome
    if outcome is Outcome.PROVEN:
        return _proven(case)
    if outcome is Outcome.UNTOLD:
        return _untold(case)
    if outcome is Outcome.BLOCKED:
        return _blocked(case)
    if outcome is Outcome.ODD:
        return Probed(at=case.at, passed=None, words=case.words(), fault=Fault.UNKNOWN, again_after=SOON)
    if outcome is Outcome.REVOKED and case.control is Control.BROKEN:
        return probing.callers_fault(case.key, case.findings, at=case.at)
    if outcome is Outcome.REVOKED and case.control is Control.AWAY:
        return probing.unreachable(case.key, case.findings, case.look_back, at=case.at, words=case.words())
    if case.lags():
        return _lagging(case)
    if outcome is Outcome.REVOKED:
        return _revoked(case)
    if outcome is Outcome.GONE:
        return _gone(case)
    return _deleted(case) if outcome is Outcome.DELETED else _lost(case, fault=probing.owners_fault(case.key))


def _lagging(case: _Case) -> Probed:
    words = case.words("Events said a moment ago that it is repaired: this may be the answer of before.")
    wait = probing.again_after(case.look_back, at=case.at) or SOON
    return Probed(at=case.at, passed=None, words=words, fault=Fault.UNKNOWN, again_after=wait)


def _proven(case: _Case) -> Probed:
    """Judge a success. After a loss it takes two of them, ten minutes apart: the first one only ends the loss."""
    more = []
    if any(one.answer is not Answer.OK for one in probing.of(case.findings, Question.STATE)):
        more.append("Its attributes are not seen: let the probe's application get the key.")
    if case.control is Control.BROKEN:
        more.append("The control key does not work, so the next refusal could not be told from a fault of our own.")
    if probing.is_settling(case.look_back, at=case.at):
        words = case.words("But minutes after a change this may be the answer of before, and proves nothing.", *more)
        wait = probing.again_after(case.look_back, at=case.at)
        return Probed(at=case.at, passed=None, words=words, fault=Fault.UNKNOWN, again_after=wait)
    if case.conditions(Slot.DESTROYED) and not case.key.versions:
        more.append(
            "But it was destroyed, and may be another key of its name: register the versions in use, so that they can "
            "be told apart, or resolve by name."
        )
        return Probed(at=case.at, passed=None, words=case.words(*more), fault=Fault.UNKNOWN)
    over = _over(case)
    unproven = [one for one in case.conditions(Slot.ACCESS) if not _shows(one)]
    if unproven:
        names = "; ".join(sorted({one.latest.subject or "its access" for one in unproven}))
        words = case.words(f"But that the vendor may wrap with it again is not shown, which was lost: {names}.", *more)
        marks = {case.key.id: over} if over else {}
        return Probed(at=case.at, passed=None, words=words, fault=Fault.UNKNOWN, marks=marks)
    guarded = _protection(case, over)
    guarded = (*guarded, *_expiry(case, (*over, *guarded)))
    waits = CONFIRMED if over else _confirmed_in(case)
    if waits:
        words = case.words("One more success ten minutes later proves it: grants and tokens travel slowly.", *more)
        marks = {case.key.id: (*over, *guarded)} if over or guarded else {}
        return Probed(at=case.at, passed=None, words=words, fault=Fault.UNKNOWN, marks=marks, again_after=waits)
    words = case.words(*more)
    # A risk that is found with the proof must not come after it, or it would undo it.
    proven_at = case.at + 2 * probing.STEP if guarded else case.at
    marks = {case.key.id: (*guarded, *probing.proofs(at=proven_at, reason=words))}
    wait = probing.again_after(case.look_back, at=case.at)
    return Probed(at=case.at, passed=True, words=words, fault=Fault.UNKNOWN, marks=marks, again_after=wait)


def _confirmed_in(case: _Case) -> timedelta | None:
    """How long until a success is one of two far enough apart; None when it is, or when nothing was wrong."""
    changes = [one for one in (case.look_back.recovered_at, case.look_back.changed_at) if one is not None]
    newest = max(changes, default=None)
    if newest is None or (case.look_back.passed_at is not None and case.look_back.passed_at >= newest):
        return None
    return max(newest + CONFIRMED - case.at, timedelta()) or None


def _untold(case: _Case) -> Probed:
    more = []
    if any(one.detail.get(UNRESOLVED) for one in case.findings if one.question is not Question.CONTROL):
        more.append("The name of its vault leads nowhere, as that of a deleted vault does: look whether it exists.")
    words = case.words(*more)
    return probing.unreachable(case.key, case.findings, case.look_back, at=case.at, words=words)


def _blocked(case: _Case) -> Probed:
    """Judge a network that keeps our check out. Storage may still pass: only the stores tell (azure.md 0.9)."""
    if case.control in {Control.BROKEN, Control.AWAY}:
        return probing.unreachable(case.key, case.findings, case.look_back, at=case.at, words=case.words())
    failing = _failing(case)
    if failing and case.lags():
        return _lagging(case)
    if failing:
        stores = "; ".join(f"{one.subject} {one.words or one.answer}" for one in failing)
        fault = probing.fault_of_refusal(case.control, case.key)
        return _lost(case, fault=fault, more=[f"Its stores are cut off too: {stores}."])
    working = [one.subject or "" for one in _stores(case) if one.answer is Answer.OK]
    if working:
        more = f"The data is not cut off: {', '.join(working)} works. Let the watchdog's address in to check the key."
    else:
        more = (
            "Whether the data is cut off too is not shown, as storage may pass where we do not: declare a store to be "
            "asked, or let the watchdog's address in."
        )
    words = case.words(more)
    return probing.unreachable(case.key, case.findings, case.look_back, at=case.at, words=words)


def _revoked(case: _Case) -> Probed:
    """Judge a refusal of a caller that is sound, or that nobody vouches for."""
    blamed = probing.blame(case.control, case.key, case.look_back)
    lost = case.decisive.detail.get(LOST) if case.decisive else None
    means = Means.IDENTITY if lost in {Lost.PRINCIPAL, Lost.SIGN_IN, Lost.POLICY} else blamed.means
    return _lost(case, fault=blamed.fault, means=means, subject=_subject(case, lost), more=[_WHOSE[blamed.fault]])


def _subject(case: _Case, lost: str | None) -> str | None:
    """Name what was lost, as the repair steps know it."""
    principal = case.watched.container.estate.principal if case.watched else None
    if lost == Lost.TENANT:
        return settings.TENANT
    if principal and lost in {Lost.PRINCIPAL, Lost.SIGN_IN}:
        return f"{'sign-in of ' if lost == Lost.SIGN_IN else ''}service principal {principal}"
    return None


_WHOSE = {
    Fault.CUSTOMER: "The same caller uses its control key, or an event says so: the change is on the key owner's side.",
    Fault.VENDOR: "This lies on the vendor's own side.",
    Fault.PROVIDER: "This lies with the provider.",
    Fault.UNKNOWN: "Whose side this lies on is not shown: declare a control key for it.",
}


def _deleted(case: _Case) -> Probed:
    """Judge a deleted key. Without purge protection there is no safe date: it may be purged at any moment."""
    found = case.decisive
    fault = probing.owners_fault(case.key)
    if found is None or found.deadline is None:
        return _lost(case, fault=fault, more=["Until when it can be recovered is not shown."])
    day = f"{found.deadline:%Y-%m-%d %H:%M} UTC"
    if _is_purgeable(found) is not False:
        more = [f"It can be purged at any moment, at the latest on {day}: without purge protection there is no date."]
        return _lost(case, fault=fault, subject=settings.PURGE_PROTECTION, more=more)
    more = [f"It can be recovered until {day}; then it is purged."]
    return _lost(case, fault=fault, deadline=found.deadline, deadline_source=found.deadline_source, more=more)


def _gone(case: _Case) -> Probed:
    """Judge a key that is not found. The vault says the same of a deleted and a purged one (azure.md 4).

    Soft delete is always on: a key that was there is deleted, until it is shown that it was purged.
    """
    found = case.decisive
    detail = found.detail if found else {}
    fault = probing.owners_fault(case.key)
    known = case.conditions(Slot.DESTROYED, Slot.DELETION, Slot.CONTAINER)
    if not known and case.look_back.passed_at is None:
        more = ["It is deleted, or the register names a wrong vault, key or version: no probe has ever found it there."]
        return _lost(case, effect=Effect.USE_FAILED, fault=Fault.UNKNOWN, more=more)
    if not known and case.control in {Control.BROKEN, Control.AWAY}:
        return probing.unreachable(case.key, case.findings, case.look_back, at=case.at, words=case.words())
    if detail.get(OTHERS) == "yes":
        more = ["The key that bears its name now has other versions: it was purged, and this is another key."]
        return _lost(case, effect=Effect.KEY_DESTROYED, fault=fault, more=more)
    ends = [one.latest.deadline for one in known if one.slot is Slot.DELETION and one.latest.deadline]
    if detail.get(DELETED) == "no" or any(one.slot is Slot.DESTROYED for one in known):
        more = ["No deleted key of its name can be recovered: it is purged."]
        return _lost(case, effect=Effect.KEY_DESTROYED, fault=fault, more=more)
    if ends and min(ends) < case.at:
        more = [f"The date of its purge was {min(ends):%Y-%m-%d %H:%M} UTC: it is purged."]
        return _lost(case, effect=Effect.KEY_DESTROYED, fault=fault, more=more)
    more = ["It is deleted. Whether and until when it can be recovered is not shown to this caller."]
    return _lost(case, effect=Effect.KEY_DELETION_SCHEDULED, fault=fault, more=more)


def _lost(
    case: _Case, *, fault: Fault, effect: Effect | None = None, means: Means | None = None, subject: str | None = None,
    deadline: datetime | None = None, deadline_source: str | None = None, more: Sequence[str] = (),
) -> Probed:  # fmt: skip
    """Put down what is lost: each version that has its own fault, as records name it, or the key as a whole."""
    row = ROWS[case.outcome]
    effect = effect or row.effect or Effect.USE_FAILED
    words = case.words(*more)
    marks: list[Mark] = [*_found_again(case)]
    if case.outcome in _OF_A_VERSION:
        for version, outcome in case.versions.items():
            one = ROWS[outcome]
            if outcome in _OF_A_VERSION and one.effect is not None:
                marks += probing.losses(
                    one.effect, case.look_back, at=case.at, reason=case.words_about(version), fault=fault,
                    cause=one.cause, means=one.means, subject=version, version=version,
                )  # fmt: skip
    else:
        marks += probing.losses(
            effect, case.look_back, at=case.at, reason=words, fault=fault, cause=row.cause, means=means or row.means,
            subject=subject or case.hit, version=case.hit if case.outcome is Outcome.GONE else None, deadline=deadline,
            deadline_source=deadline_source,
        )  # fmt: skip
    known = effect in case.look_back.open_effects
    wait = probing.again_after(case.look_back, at=case.at) if known else SOON
    return Probed(at=case.at, passed=False, words=words, fault=fault, marks={case.key.id: marks}, again_after=wait)


_OF_A_VERSION = frozenset({Outcome.DISABLED, Outcome.UNPERMITTED, Outcome.EXPIRED, Outcome.EARLY, Outcome.NARROW})
"""What is so of a version by its own attributes. Whatever else is refused is refused to the whole key."""


_THERE = frozenset({Answer.OK, Answer.DISABLED, Answer.EXPIRED, Answer.NOT_YET_VALID})
"""Answers on a version's state that only a key can have of which nothing is deleted (azure.md 2)."""


def _is_settled(case: _Case) -> bool:
    """Whether the answers cannot be older than the last change that a record told of."""
    return case.look_back.changed_at is None or case.at - case.look_back.changed_at >= SETTLE


def _found_again(case: _Case) -> tuple[Mark, ...]:
    """Return what the answers end of a key that is not well as a whole: it is there again, or one of its versions is.

    A vault that is recovered has lost its role assignments, and the subscriptions that would have told of it too
    (azure.md 0.6): often its refusal is the first that is heard of it.
    """
    if not _is_settled(case):
        return ()
    ended = [*_key_found(case)]
    for one in case.conditions(*LOSS_SLOTS):
        if one.version is not None and case.versions.get(one.version) is Outcome.PROVEN and one.slot in _ENDS:
            reason = f"Version {one.version} works again: {_answers(case.about(one.version))}."
            ended.append(
                probing.recovery(_ENDS[one.slot], at=case.at, reason=reason, means=one.means, version=one.version)
            )
    return tuple(ended)


def _key_found(case: _Case) -> Iterable[Mark]:
    """Yield what ends a deletion, of the key or of what it lies in: the vault shows the key, or at least answers."""
    states = probing.of(case.findings, Question.STATE)
    is_there = bool(states) and all(one.answer in _THERE for one in states)
    back = (Slot.DESTROYED, Slot.DELETION, Slot.CONTAINER) if is_there else (Slot.DESTROYED,)
    is_same = bool(case.key.versions) or not case.conditions(Slot.DESTROYED)
    if (is_there or case.outcome is Outcome.DELETED) and is_same and case.conditions(*back):
        reason = f"The vault shows the key, so it was not purged, or was restored: {_answers(case.findings)}."
        yield probing.recovery(Effect.KEY_RECOVERED, at=case.at, reason=reason)
        return
    vault = case.watched.container.id if case.watched else ""
    refused = any(one.answer is Answer.DENIED for one in probing.of(case.findings, Question.STATE, *_USED))
    gone = [one.latest.subject or "" for one in case.conditions(Slot.CONTAINER)]
    if refused and any(place and place in {vault, _group_of(vault)} for place in gone):
        reason = f"The vault is there again, for it answers: {_answers(case.findings)}."
        yield probing.recovery(Effect.CONTAINER_RESTORED, at=case.at, reason=reason, subject=vault)


def _group_of(vault: str) -> str:
    return vault.partition("/providers/")[0]


# ------------------------------------------------------------------------------------------ what is over, what is ahead

_ENDS: Mapping[Slot, Effect] = {
    # No version's id is given twice: what unwraps under it is that key, restored from a backup if it was purged.
    Slot.DESTROYED: Effect.KEY_RECOVERED,
    Slot.DELETION: Effect.KEY_RECOVERED,
    Slot.CONTAINER: Effect.CONTAINER_RESTORED,
    Slot.MATERIAL: Effect.KEY_MATERIAL_RESTORED,
    Slot.STORE: Effect.KEY_STORE_RECONNECTED,
    Slot.DISABLED: Effect.KEY_ENABLED,
    Slot.ACCESS: Effect.ACCESS_GRANTED,
    Slot.PATH: Effect.PATH_OPENED,
    Slot.USE: Effect.USE_SUCCEEDED,
}
"""What ends a loss when every version in use unwraps."""


def _over(case: _Case) -> tuple[Mark, ...]:
    """Return what a success shows to be over: every loss that is open. They are no proof, which the next one is."""
    reason = f"The key is usable again: {_answers(case.findings)}."
    ended = sorted(
        {(_ENDS[one.slot], one.means) for one in case.conditions(*LOSS_SLOTS) if one.slot in _ENDS and _shows(one)},
        key=lambda one: (one[0], one[1] or ""),
    )
    return tuple(probing.recovery(effect, at=case.at, reason=reason, means=means) for effect, means in ended)


def _shows(condition: Condition) -> bool:
    """Whether an unwrap and the attributes show that a loss is over: who may unwrap need not be let to wrap."""
    of_the_key = condition.means in {Means.KEY_OPERATIONS, Means.CONDITION}
    return condition.effect is not Effect.ACCESS_REDUCED or of_the_key


def _is_purgeable(found: Finding) -> bool | None:
    level = found.detail.get(RECOVERY_LEVEL)
    return level.lower().endswith("purgeable") if level else None


def _left(case: _Case, marks: Sequence[Mark], slot: Slot) -> list[Condition]:
    """Return what stays open in a slot: some marks end what else was known by the same means (`watchdog.health`)."""
    given = {Effect.ACCESS_GRANTED} if slot is Slot.PROTECTION else {Effect.ACCESS_GRANTED, Effect.PROTECTION_WEAKENED}
    ended: set[Means | None] = {mark.means for mark in marks if mark.effect in given and mark.means is not None}
    if slot is Slot.EXPIRY and any(mark.effect is Effect.KEY_MATERIAL_RESTORED for mark in marks):
        ended.add(None)
    return [one for one in case.conditions(slot) if one.means not in ended]


def _protection(case: _Case, over: Sequence[Mark]) -> tuple[Mark, ...]:
    """Return what brings the known protection of the vault in line with what its key's recovery level says."""
    seen = {_is_purgeable(one) for one in probing.of(case.findings, Question.STATE)} - {None}
    agreed = case.watched is not None and case.watched.container.facts.purge_protection
    told = any(one.latest.subject == settings.PURGE_PROTECTION for one in _left(case, over, Slot.PROTECTION))
    if seen == {True} and agreed and not told:
        reason = "The vault has no purge protection, though it is registered with it: a deleted key can be purged."
        return probing.losses(
            Effect.PROTECTION_WEAKENED, case.look_back, at=case.at, reason=reason, fault=probing.owners_fault(case.key),
            subject=settings.PURGE_PROTECTION,
        )  # fmt: skip
    if seen == {False} and told:
        reason = "The vault has purge protection, as the recovery level of its key says."
        back = probing.recovery(
            Effect.ACCESS_GRANTED, at=case.at, reason=reason, subject=settings.PURGE_PROTECTION,
        )  # fmt: skip
        return (back,)
    return ()


def _expiry(case: _Case, marks: Sequence[Mark]) -> tuple[Mark, ...]:
    """Return what brings the known end of the key in line with the earliest expiry of a version in use.

    It comes after the other `marks` of this probe.
    """
    read = [one for one in probing.of(case.findings, Question.STATE) if one.answer is Answer.OK]
    if not read:
        return ()
    first = min((one for one in read if one.deadline), key=lambda one: one.deadline or one.at, default=None)
    reason = "No version in use expires."
    if first and first.deadline:
        reason = f"Version {first.version} in use expires on {first.deadline:%Y-%m-%d %H:%M} UTC: then nothing is "
        reason += "wrapped any more, and some stores stop."
    known = replace(case.look_back, open=tuple(_left(case, marks, Slot.EXPIRY)))
    return probing.expiries(
        first.deadline if first else None, known, at=case.at + probing.STEP, reason=reason,
        source=first.deadline_source if first else None, fault=probing.owners_fault(case.key),
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- the stores


def _stores(case: _Case) -> list[Finding]:
    return [one for one in probing.of(case.findings, Question.CONSUMER) if one.answer is not Answer.NOT_ASKED]


def _failing(case: _Case) -> list[Finding]:
    return [one for one in _stores(case) if one.answer is not Answer.OK and one.answer not in CANNOT_TELL]


def _with_stores(case: _Case, probed: Probed) -> Probed:
    """Add what the stores say of a key that works. They can only take a proof away."""
    if case.outcome is not Outcome.PROVEN:
        return probed
    failing = _failing(case)
    silent = [one for one in _stores(case) if one.answer in CANNOT_TELL]
    if failing:
        marks = [mark for one in failing for mark in _unwell(case, one)]
        words = " ".join([probed.words, *(mark.reason for mark in marks if mark.id.endswith(":last"))])
        kept = [mark for mark in probed.marks.get(case.key.id, ()) if mark.effect is not None]
        wait = probed.again_after or SOON
        return replace(
            probed, passed=False, words=words, marks={**probed.marks, case.key.id: (*kept, *marks)}, again_after=wait
        )
    if probed.passed and silent:
        said = "; ".join(f"{one.subject} {one.answer} ({one.words})" for one in silent)
        kept = [mark for mark in probed.marks.get(case.key.id, ()) if mark.effect is not None]
        words = f"{probed.words} But a declared store could not be asked: {said}."
        return replace(probed, passed=None, words=words, marks={case.key.id: tuple(kept)} if kept else {})
    return probed


def _unwell(case: _Case, found: Finding) -> tuple[Mark, ...]:
    """A store that suffers though the key works: platform caches lag by a day, and MySQL waits for us (azure.md 5)."""
    reason = (
        f"The store {found.subject} does not work although the key does: {found.words or found.answer}. Look at the "
        "store: MySQL takes a revalidation by the vendor, a machine a start."
    )
    return probing.losses(
        Effect.USE_FAILED, case.look_back, at=case.at, reason=reason, fault=Fault.UNKNOWN, cause=Cause.UNKNOWN,
        subject=found.subject,
    )  # fmt: skip
