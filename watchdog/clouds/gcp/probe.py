"""What the answers of Google Cloud to one probe of one key come to: the state of every version first, then its uses.

The order is that of gcp.md 7: not found, container, destroyed, scheduled, disabled; only then may a use or a store
prove the key. A store that still works does not overrule a state, for disabling takes effect with a delay (gcp.md 2).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from watchdog import probing
from watchdog.clouds.gcp.index import index_of, version_of
from watchdog.health import SETTLE, Condition, Mark, Slot
from watchdog.probing import CANNOT_TELL, Answer, Before, Control, Finding, Probed, Question
from watchdog.register import Register, RegisteredKey
from watchdog.words import Cause, Effect, Fault, Means

AS = "as"
"""Name of the detail that says as whom a use was made: the watchdog's own account, or the agent of a store."""
STATUS = "status"
"""Name of the detail with the status that a database's own service gives: it may be older than a repair."""
JUSTIFICATIONS = "justifications"
"""Name of the detail with the access reasons that a key allows, with spaces between; absent where it has no policy."""
PRIMARY = "primary"
"""Name of the detail with the number of the primary version."""
LACKS = "lacks"
"""Name of the detail with the operations that a registered principal has lost; all of them where it is absent."""
DEAD = "dead"
"""Name of the detail that is `yes` where what is left of a grant is that of a deleted account."""

SOON = timedelta(minutes=1)
REASONS = frozenset({"CUSTOMER_INITIATED_ACCESS", "GOOGLE_INITIATED_SYSTEM_OPERATION"})
"""Access reasons without which services that use a key go down (gcp.md 3.2, B9)."""


class State(StrEnum):
    """What the states of the key and of its versions come to. `blind`: we may not see them."""

    FINE = "fine"
    BAD = "bad"
    GONE = "gone"
    BLIND = "blind"
    SILENT = "silent"


class Use(StrEnum):
    """What the uses come to: those by the watchdog, and those that stores make as their own agents.

    `partly`: what was tried worked, but a declared store could not be asked. `store`: a database says that it is
    suspended for its key, which may be older than a repair. `unasked`: nobody may use it for us, and no store tells.
    """

    WORKED = "worked"
    PARTLY = "partly"
    REFUSED = "refused"
    BAD = "bad"
    STORE = "store"
    SILENT = "silent"
    UNASKED = "unasked"


class Outcome(StrEnum):
    """What states and uses come to together, before anybody is blamed."""

    PROVEN = "proven"
    UNSEEN = "unseen"  # every version is enabled, but no use shows that the vendor may use it
    STATE = "state"
    USE = "use"
    REFUSED = "refused"
    STORE = "store"
    GONE = "gone"
    ODD = "odd"  # the answers contradict each other
    BLIND = "blind"
    UNTOLD = "untold"


_O = Outcome
TABLE: Mapping[State, Mapping[Use, Outcome]] = {
    State.FINE: {
        Use.WORKED: _O.PROVEN, Use.PARTLY: _O.UNSEEN, Use.REFUSED: _O.REFUSED, Use.BAD: _O.USE, Use.STORE: _O.STORE,
        Use.SILENT: _O.UNTOLD, Use.UNASKED: _O.UNSEEN,
    },
    State.BAD: dict.fromkeys(Use, _O.STATE),
    State.GONE: {
        Use.WORKED: _O.ODD, Use.PARTLY: _O.ODD, Use.REFUSED: _O.GONE, Use.BAD: _O.GONE, Use.STORE: _O.GONE,
        Use.SILENT: _O.GONE, Use.UNASKED: _O.GONE,
    },
    State.BLIND: {
        Use.WORKED: _O.BLIND, Use.PARTLY: _O.BLIND, Use.REFUSED: _O.REFUSED, Use.BAD: _O.USE, Use.STORE: _O.STORE,
        Use.SILENT: _O.BLIND, Use.UNASKED: _O.BLIND,
    },
    State.SILENT: {
        Use.WORKED: _O.UNTOLD, Use.PARTLY: _O.UNTOLD, Use.REFUSED: _O.UNTOLD, Use.BAD: _O.USE, Use.STORE: _O.UNTOLD,
        Use.SILENT: _O.UNTOLD, Use.UNASKED: _O.UNTOLD,
    },
}  # fmt: skip
"""gcp.md 7, with the columns that it leaves out.

Losing the right to look (`blind`) says nothing of the key. A refusal while the state gives no answer at all could come
from a caller in trouble, and is not believed.
"""

WORDS: Mapping[Outcome, str] = {
    _O.PROVEN: "The key is usable: {answers}.",
    _O.UNSEEN: "Every version in use is enabled, but that the vendor may use the key is not shown: {answers}. This is "
    "no loss. Declare a store that can be asked, or a canary that the watchdog may decrypt.",
    _O.STATE: "The key cannot be used: {answers}.",
    _O.USE: "Using the key fails: {answers}.",
    _O.REFUSED: "The use of the key is refused: {answers}.",
    _O.STORE: "A store says that its key does not work, although the key itself shows no fault: {answers}. It may need "
    "to be started again after a loss.",
    _O.GONE: "Cloud KMS does not find the key: {answers}.",
    _O.ODD: "The answers contradict each other: {answers}. The probe is repeated.",
    _O.BLIND: "The watchdog may not see the state of the key: {answers}. Ask for roles/cloudkms.viewer on the key for "
    "the account that it is probed as.",
    _O.UNTOLD: "It cannot be told whether the key is usable: {answers}.",
}

STATES: Mapping[Answer, State] = {
    Answer.OK: State.FINE,
    Answer.DISABLED: State.BAD,
    Answer.PENDING_DELETION: State.BAD,
    Answer.DESTROYED: State.BAD,
    Answer.PENDING_IMPORT: State.BAD,
    Answer.UNAVAILABLE: State.BAD,
    Answer.CONTAINER_LOST: State.BAD,
    Answer.DENIED: State.BLIND,
    Answer.PATH_BLOCKED: State.BLIND,
}
USES: Mapping[Answer, Use] = {
    Answer.OK: Use.WORKED,
    Answer.DISABLED: Use.BAD,
    Answer.PENDING_DELETION: Use.BAD,
    Answer.DESTROYED: Use.BAD,
    Answer.PENDING_IMPORT: Use.BAD,
    Answer.UNAVAILABLE: Use.BAD,
    Answer.CONTAINER_LOST: Use.BAD,
    Answer.NOT_FOUND: Use.BAD,
    Answer.DENIED: Use.REFUSED,
    Answer.PATH_BLOCKED: Use.REFUSED,
}
_OWN = (Question.USE, Question.CANARY)
_USED = (*_OWN, Question.CONSUMER)


def judge(
    findings: Sequence[Finding], key: RegisteredKey, register: Register, look_back: Before, *, at: datetime
) -> Probed:
    """Tell what the findings of one probe at `at` (aware, UTC) come to. Pure; gcp.md 2, 4 and 7."""
    case = _Case(findings, key, register, look_back, at)
    probed = probing.unproven(_of_key(case), key, findings, look_back, at=at)
    if probed.passed is None and probed.fault in {Fault.VENDOR, Fault.PROVIDER}:
        return probed
    repaired = probing.watch_repaired(key, look_back, at=at) if case.answered else {}
    return replace(probed, marks={**probed.marks, **repaired})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loss:
    """One thing that is wrong, with the key or with one version of it, and the words for it."""

    effect: Effect
    fault: Fault
    words: str
    cause: Cause | None = None
    means: Means | None = None
    version: str | None = None
    subject: str | None = None
    deadline: datetime | None = None
    deadline_source: str | None = None


class _Case:
    """One probe of one key, with everything that its judgement looks at."""

    def __init__(
        self, findings: Sequence[Finding], key: RegisteredKey, register: Register, look_back: Before, at: datetime
    ) -> None:
        self.key = key
        self.look_back = look_back
        self.at = at
        self.findings = [one for one in findings if not _is_retired(one, key)]
        self.control = probing.control_of(findings)
        self.states = probing.of(self.findings, Question.STATE)
        self.tried = [one for one in probing.of(self.findings, *_USED) if one.answer is not Answer.NOT_ASKED]
        self.refused = [one for one in self.tried if USES.get(one.answer) is Use.REFUSED]
        self.grants = probing.of(self.findings, Question.GRANTS)
        self.principals = index_of(register).principals.get(key.id, {}).keys()
        self.has_vendor_perimeter = bool(register.vendor.gcp and register.vendor.gcp.service_perimeters)
        self.state = self._state()
        self.use = self._use()
        self.outcome = TABLE[self.state][self.use]

    def _state(self) -> State:
        """Fold the states of the key and its versions. A version that is missing is lost; the key itself, all of it."""
        if any(one.answer is Answer.NOT_FOUND and one.version is None for one in self.states):
            return State.GONE
        if self.bad:
            return State.BAD
        # The versions are what counts: where they are seen, not being let to see more is no matter.
        versions = {STATES.get(one.answer, State.SILENT) for one in self.states if one.version}
        about_key = {STATES.get(one.answer, State.SILENT) for one in self.states if not one.version}
        if State.SILENT in versions | about_key or not versions | about_key:
            return State.SILENT
        if State.BLIND in (versions or about_key):
            return State.BLIND
        return State.FINE if versions else State.SILENT

    def _use(self) -> Use:
        """Fold the uses: one that fails by the key's state outweighs a refusal, and that what worked."""
        uses = {USES.get(one.answer) for one in self.tried if STATUS not in one.detail}
        if Use.BAD in uses:
            return Use.BAD
        if Use.REFUSED in uses:
            return Use.REFUSED
        if self.failing:
            return Use.STORE
        if any(one.answer in CANNOT_TELL for one in self.tried if one.question in _OWN):
            return Use.SILENT
        if any(one.answer is Answer.OK for one in self.tried):
            return Use.PARTLY if any(one.answer in CANNOT_TELL for one in self.tried) else Use.WORKED
        return Use.UNASKED

    @property
    def bad(self) -> list[Finding]:
        """The findings on states that say that something is lost, the worst first."""
        return [one for one in self.states if STATES.get(one.answer) is State.BAD or one.answer is Answer.NOT_FOUND]

    @property
    def failing(self) -> list[Finding]:
        """The databases that say that their key does not work."""
        return [one for one in self.tried if STATUS in one.detail and one.answer not in {*CANNOT_TELL, Answer.OK}]

    @property
    def is_justified(self) -> bool:
        """Whether the key allows the access reasons that services need, as far as it was seen."""
        said = [one.detail[JUSTIFICATIONS] for one in self.states if JUSTIFICATIONS in one.detail]
        return all(set(text.split()) >= REASONS for text in said)

    @property
    def answered(self) -> bool:
        """Whether the provider let this caller in, as far as the probe shows."""
        told = self.outcome not in {Outcome.UNTOLD, Outcome.BLIND}
        return self.control is Control.SOUND or (self.control is Control.MISSING and told)

    @property
    def was_well(self) -> bool:
        """Whether an earlier probe found everything about the key in order."""
        return self.look_back.passed_at is not None

    def is_open(self, version: str | None, *effects: Effect) -> bool:
        """Whether one of these is known of this version, or of the key as a whole."""
        return any(one.effect in effects and one.version in {None, version} for one in self.look_back.open)

    def words(self, *more: str) -> str:
        """Say the outcome with the answers that it rests on."""
        return " ".join((WORDS[self.outcome].format(answers=_answers(self.findings)), *more))

    def lags(self) -> bool:
        """Whether a bad answer may be that of before a repair. Enabling takes effect at once (gcp.md 2)."""
        told = self.outcome in {Outcome.STATE, Outcome.GONE}
        return probing.is_lagging(self.look_back, at=self.at, patience=SOON if told else SETTLE)


def _is_retired(finding: Finding, key: RegisteredKey) -> bool:
    """Whether a finding is about the state of a version that the register says is not in use any more."""
    if finding.version is None or finding.question not in {Question.STATE, Question.CANARY}:
        return False
    return version_of(key, finding.version)[0] is False


def _answers(findings: Iterable[Finding]) -> str:
    """Say the answers about the key itself, the versions that are enabled together."""
    enabled: list[str] = []
    said: list[str] = []
    for one in findings:
        if one.question not in {Question.STATE, *_USED} or one.answer is Answer.NOT_ASKED:
            continue
        if one.question is Question.STATE and one.answer is Answer.OK:
            enabled += [one.version] if one.version else []
        elif one.answer is Answer.OK:
            said.append(f"{_what(one)} ok")
        else:
            said.append(f"{_what(one)} {one.answer.replace('_', ' ')}" + (f" ({one.words})" if one.words else ""))
    every = [f"versions enabled: {_listed(enabled)}", *said] if enabled else said
    return "; ".join(every) or "nothing was asked"


def _what(finding: Finding) -> str:
    version = f"version {finding.version}" if finding.version else ""
    if finding.question is Question.STATE:
        return version or finding.subject or "state"
    who = f" as {finding.detail[AS]}" if AS in finding.detail else ""
    place = f" of {version}" if version else ""
    return f"{finding.subject or finding.question}{place}{who}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


# ------------------------------------------------------------------------------------------------------- the key itself


def _of_key(case: _Case) -> Probed:
    match case.outcome:
        case Outcome.PROVEN:
            return _proven(case)
        case Outcome.UNSEEN:
            return _unseen(case)
        case Outcome.BLIND | Outcome.UNTOLD:
            return _unreachable(case)
        case Outcome.ODD:
            return Probed(at=case.at, passed=None, words=case.words(), fault=Fault.UNKNOWN, again_after=SOON)
    own = [one for one in case.refused if one.question in _OWN]
    if case.outcome is Outcome.REFUSED and len(own) == len(case.refused):
        # Only what the watchdog itself asks has the same caller as the control.
        if case.control is Control.BROKEN:
            return probing.callers_fault(case.key, case.findings, at=case.at)
        if case.control is Control.AWAY:
            return _unreachable(case)
    if case.lags():
        words = case.words("Events said a moment ago that it is repaired: this may be the answer of before.")
        wait = probing.again_after(case.look_back, at=case.at) or SOON
        return Probed(at=case.at, passed=None, words=words, fault=Fault.UNKNOWN, again_after=wait)
    expected = case.is_open(None, *_ENDS_OF_KEY)
    if case.outcome is Outcome.GONE and case.control in {Control.BROKEN, Control.AWAY} and not expected:
        return _unreachable(case)
    return _lost(case, _losses(case))


def _unreachable(case: _Case) -> Probed:
    return probing.unreachable(case.key, case.findings, case.look_back, at=case.at, words=case.words())


def _losses(case: _Case) -> list[_Loss]:
    match case.outcome:
        case Outcome.STATE | Outcome.GONE:
            strange = [one for one in case.bad if _is_strange(case, one)]
            found = [_of_state(case, one) for one in case.bad if one not in strange]
            found += [_of_strange(strange)] if strange else []
        case Outcome.USE:
            found = [_of_use(case, one) for one in case.tried if USES.get(one.answer) is Use.BAD]
        case Outcome.STORE:
            found = [_of_store(one) for one in case.failing]
        case _:
            found = [_of_refusal(case)]
    access = _of_grants(case) if case.outcome is not Outcome.REFUSED else None
    return [*found, access] if access else found


def _of_state(case: _Case, found: Finding) -> _Loss:
    """Tell what the state of the key or of one of its versions is: the doing of whoever owns it."""
    version, what = found.version, f"Version {found.version}" if found.version else "The key"
    if found.answer is Answer.NOT_FOUND:
        return _of_missing(case, found, what)
    if found.answer is Answer.CONTAINER_LOST:
        words = f"The project of the key does not serve it: {found.words or found.answer}."
        return _Loss(
            effect=Effect.CONTAINER_LOST, fault=probing.owners_fault(case.key), words=words, subject=found.subject
        )
    said = found.words or found.answer.replace("_", " ")
    effect = probing.EFFECTS[found.answer]
    dated = effect is Effect.KEY_DELETION_SCHEDULED
    return _Loss(
        effect=effect, fault=probing.owners_fault(case.key), words=f"{what}: {said}.{_reach(case, version)}",
        cause=probing.CAUSES.get(found.answer), version=version, deadline=found.deadline if dated else None,
        deadline_source=found.deadline_source if dated else None,
    )  # fmt: skip


def _is_strange(case: _Case, found: Finding) -> bool:
    """Whether a version that the register does not know was out of use before anybody ever found the key in order.

    Perhaps nothing of the vendor was ever encrypted under it: then it is no loss, and nobody must be told of one.
    """
    unknown = found.version is not None and version_of(case.key, found.version)[0] is None
    return unknown and not case.was_well and found.answer in {Answer.DISABLED, Answer.DESTROYED}


def _of_strange(found: Sequence[Finding]) -> _Loss:
    versions = sorted((one.version or "" for one in found), key=lambda name: (len(name), name))
    words = (
        f"Versions that the register does not know were out of use at the first probe already: {_listed(versions)}. "
        "List them there, with in_use: false where nothing of the vendor is encrypted under them."
    )
    return _Loss(effect=Effect.KEY_CHANGED, fault=Fault.UNKNOWN, words=words)


def _reach(case: _Case, version: str | None) -> str:
    """Say what one lost version takes with it (gcp.md 5)."""
    primary = next((one.detail[PRIMARY] for one in case.states if PRIMARY in one.detail), None)
    if version is None or primary is None:
        return ""
    if version == primary:
        return " It is the primary one: nothing can be written, and what it encrypted cannot be read."
    return " It is not the primary one: what it encrypted cannot be read, while new data can be written."


_ENDS_OF_KEY = (Effect.KEY_DELETION_SCHEDULED, Effect.KEY_DESTROYED, Effect.CONTAINER_LOST)


def _of_missing(case: _Case, found: Finding, what: str) -> _Loss:
    """Judge what Cloud KMS does not find: destroyed, when it was there before; else perhaps never rightly named.

    A version that is missing from a key that is found needs no control: project, API and billing answered.
    """
    told = found.version is not None or case.control is Control.SOUND
    if case.is_open(found.version, *_ENDS_OF_KEY) or (told and case.was_well):
        words = f"{what} is not found any more. Earlier probes found it, or its end is known: it is destroyed."
        return _Loss(
            effect=Effect.KEY_DESTROYED, fault=probing.owners_fault(case.key), words=words, cause=Cause.NOT_FOUND,
            version=found.version,
        )  # fmt: skip
    words = f"{what} is not found. It is destroyed, or the register names it wrongly: no probe has ever found it."
    return _Loss(
        effect=Effect.USE_FAILED, fault=Fault.UNKNOWN, words=words, cause=Cause.NOT_FOUND, version=found.version
    )


def _of_use(case: _Case, found: Finding) -> _Loss:
    """Tell what a use is that fails by what the key is, or by what is behind it (an external manager)."""
    if found.answer is Answer.NOT_FOUND:
        return _Loss(
            effect=Effect.USE_FAILED, fault=Fault.UNKNOWN, words=f"{_what(found)}: the key is not found.",
            cause=Cause.NOT_FOUND, version=found.version, subject=found.detail.get(AS),
        )  # fmt: skip
    words = f"{_what(found)}: {found.words or found.answer}."
    return _Loss(
        effect=probing.EFFECTS[found.answer], fault=probing.owners_fault(case.key), words=words,
        cause=probing.CAUSES.get(found.answer), version=found.version,
    )  # fmt: skip


def _of_store(found: Finding) -> _Loss:
    words = f"The store {found.subject} does not work: {found.words or found.answer}."
    return _Loss(effect=Effect.USE_FAILED, fault=Fault.UNKNOWN, words=words, cause=Cause.UNKNOWN, subject=found.subject)


def _lost(case: _Case, losses: Sequence[_Loss]) -> Probed:
    """Put down everything that is lost. The first one is the worst, and says whose side it is."""
    marks: list[Mark] = list(_over(case))
    for one in losses:
        marks += probing.losses(
            one.effect, case.look_back, at=case.at, reason=one.words, fault=one.fault, cause=one.cause, means=one.means,
            subject=one.subject, version=one.version, deadline=one.deadline, deadline_source=one.deadline_source,
        )  # fmt: skip
    known = all(case.is_open(one.version, one.effect) for one in losses)
    wait = probing.again_after(case.look_back, at=case.at) if known else SOON
    words = case.words(*(one.words for one in losses))
    return Probed(
        at=case.at, passed=False, words=words, fault=losses[0].fault, marks={case.key.id: marks}, again_after=wait
    )


# ------------------------------------------------------------------------------------------------------------ refusals


def _of_refusal(case: _Case) -> _Loss:
    """Judge refused uses: who is refused, by what, and whose side that lies on as far as anything shows it."""
    blamed = probing.blame(_witness(case), case.key, case.look_back)
    who = list(dict.fromkeys(one.detail.get(AS) or f"the agent of {one.subject}" for one in case.refused))
    subject = next((one.detail[AS] for one in case.refused if AS in one.detail), None)
    words = f"Refused: {_listed(who)}. {_WHOSE[blamed.fault]}"
    blocked = _is_blocked(case)
    users = any(one.question is Question.CONSUMER or one.detail.get(AS) in case.principals for one in case.refused)
    if not case.is_justified or (blocked and users):
        by_what = "a perimeter or an organisation policy" if blocked else "the access reasons that the key allows"
        return _Loss(
            effect=Effect.PATH_BLOCKED, fault=blamed.fault, words=f"{words} It is blocked by {by_what}.",
            cause=Cause.PATH_BLOCKED, subject=subject,
        )  # fmt: skip
    if not users:
        # Only the watchdog's own way in is closed, which no store needs.
        words = f"{words} It is no registered user of the key: whether those that are were hit too is not shown."
        return _Loss(
            effect=Effect.ACCESS_CHANGED, fault=blamed.fault, words=words, cause=Cause.ACCESS_DENIED,
            means=blamed.means, subject=subject,
        )  # fmt: skip
    working = {one.detail.get(AS) for one in case.tried if one.answer is Answer.OK and AS in one.detail}
    reduced = all(one.detail.get(AS) in working for one in case.refused)
    by_policy = bool(_gone_grants(case))
    return _Loss(
        effect=Effect.ACCESS_REDUCED if reduced else Effect.ACCESS_REVOKED, fault=blamed.fault, words=words,
        cause=Cause.ACCESS_DENIED, means=Means.IAM_BINDING if by_policy else blamed.means, subject=subject,
    )  # fmt: skip


def _is_blocked(case: _Case) -> bool:
    """Whether it is the path that is closed. A store refuses without saying by what: whoever else is refused tells."""
    closed = any(one.answer is Answer.PATH_BLOCKED for one in [*case.states, *case.refused])
    return closed and not any(one.answer is Answer.DENIED for one in case.refused if one.question in _OWN)


_WHOSE = {
    Fault.CUSTOMER: "What shows it lies on the key owner's side.",
    Fault.VENDOR: "This lies on the vendor's own side.",
    Fault.PROVIDER: "This lies with the provider.",
    Fault.UNKNOWN: "Whose side this lies on is not shown.",
}


def _witness(case: _Case) -> Control:
    """Return what vouches for the caller of a refusal. A policy of the key itself needs nobody to vouch for it.

    The control speaks for the watchdog's own account only: a store's agent may have lost its own side. And a perimeter
    may be the vendor's own, which lets its control key through (gcp.md 4: the organisation decides, and is not told).
    """
    gone = _gone_grants(case)
    if not case.is_justified or any(DEAD not in one.detail for one in gone):
        return Control.SOUND
    if gone:
        return Control.MISSING  # an account was deleted, most likely by its owner: leave it open (gcp.md 3.2)
    own = [one for one in case.refused if one.question in _OWN]
    if not own:
        return Control.MISSING
    vendor = any(one.answer is Answer.PATH_BLOCKED for one in own) and case.has_vendor_perimeter
    return Control.MISSING if vendor else case.control


def _gone_grants(case: _Case) -> list[Finding]:
    return [one for one in case.grants if one.answer is Answer.DENIED]


def _of_grants(case: _Case) -> _Loss | None:
    """Tell what the policies of key and ring say: a registered right that is gone is gone, whatever still works."""
    gone = _gone_grants(case)
    if not gone or probing.is_lagging(case.look_back, at=case.at):
        return None
    dead = all(DEAD in one.detail for one in gone)
    blamed = probing.blame(Control.MISSING if dead else Control.SOUND, case.key, case.look_back)
    whole = [one for one in gone if LACKS not in one.detail]
    worst = (whole or gone)[0]
    words = f"The policy of the key no longer gives what is registered: {_listed([_lack(one) for one in gone])}."
    if all(one.subject in _shown(case) for one in gone):
        words = f"{words} Its use still works, by another grant or because it is remembered for a while."
        effect = Effect.ACCESS_CHANGED
    else:
        effect = Effect.ACCESS_REVOKED if whole else Effect.ACCESS_REDUCED
    return _Loss(
        effect=effect, fault=blamed.fault, words=words, cause=Cause.ACCESS_DENIED, means=Means.IAM_BINDING,
        subject=worst.subject,
    )  # fmt: skip


def _lack(finding: Finding) -> str:
    dead = ", whose account was deleted" if DEAD in finding.detail else ""
    return f"{finding.subject}{dead} ({finding.detail.get(LACKS, 'everything')})"


def _shown(case: _Case) -> set[str]:
    """Return the principals of which a use shows that they may use the key."""
    refused = {one.detail.get(AS) for one in [*case.refused, *case.failing]}
    return {one.detail[AS] for one in case.tried if one.answer is Answer.OK and AS in one.detail} - refused


def _kept(case: _Case) -> set[str]:
    """Return the principals of which the policies of key and ring say that they may."""
    return {one.subject for one in case.grants if one.answer is Answer.OK and one.subject}


# ------------------------------------------------------------------------------------------------------ what passes


def _proven(case: _Case) -> Probed:
    """Judge a key whose versions are all enabled and which is used with success: is that all that was in doubt?"""
    access = _of_grants(case)
    if access:
        return _lost(case, [access])
    wait = probing.again_after(case.look_back, at=case.at)
    more = [*_remarks(case)]
    if probing.is_settling(case.look_back, at=case.at):
        words = case.words("But minutes after a change this may be the answer of before, and proves nothing.", *more)
        return Probed(at=case.at, passed=None, words=words, fault=Fault.UNKNOWN, again_after=wait)
    doubtful = [one for one in case.look_back.open if _is_in_doubt(case, one)]
    if doubtful:
        more.append(f"But this does not settle what is known of {_listed([_about(one) for one in doubtful])}.")
        words = case.words(*more)
        marks = {case.key.id: _over(case)}
        return Probed(at=case.at, passed=None, words=words, fault=Fault.UNKNOWN, marks=marks, again_after=wait)
    words = case.words(*more)
    # A proof ends the rest by itself, but no destruction; and of one moment it would count first.
    back = [one for one in _over(case) if one.effect in {Effect.KEY_MATERIAL_RESTORED, Effect.KEY_RECOVERED}]
    every = (*back, *_timed(case), *probing.proofs(at=case.at + len(back) * probing.STEP, reason=words))
    return Probed(
        at=case.at, passed=True, words=words, fault=Fault.UNKNOWN, marks={case.key.id: every}, again_after=wait
    )


def _remarks(case: _Case) -> Iterable[str]:
    unseen = sorted(case.principals - _shown(case) - _kept(case))
    if unseen:
        yield (
            f"Whether {_listed(unseen)} may use it is not seen: let the probe's account read the policy of the key "
            "(roles/iam.securityReviewer), or declare a store of it."
        )
    if not case.is_justified:
        yield "The access reasons that it allows lack some that services need; they are not enforced, as uses show."
    if case.control is Control.BROKEN:
        yield "The control key does not work, so the next refusal could not be told from a fault of our own."


def _is_in_doubt(case: _Case, condition: Condition) -> bool:
    """Whether what is open about somebody's access needs more than what this probe shows.

    The policies of key and ring settle what was known of them; a deny policy, a role or a perimeter only a use settles.
    """
    latest = condition.latest
    if condition.slot is Slot.USE and latest.cause not in {Cause.ACCESS_DENIED, Cause.PATH_BLOCKED}:
        return False  # the states of the versions tell
    if condition.slot is Slot.PATH and latest.operation == "UpdateCryptoKey":
        return not case.is_justified  # the access reasons of the key itself
    if condition.slot not in {Slot.ACCESS, Slot.PATH, Slot.USE} and condition.effect is not Effect.ACCESS_CHANGED:
        return False
    settled = _shown(case)
    if condition.means in {Means.IAM_BINDING, Means.CONDITION}:
        settled |= _kept(case)
    about = _about(condition)
    return about not in settled if about in case.principals else not case.principals <= settled


def _about(condition: Condition) -> str:
    return (condition.latest.subject or "its access").removeprefix("serviceAccount:")


def _unseen(case: _Case) -> Probed:
    """Judge a key that is enabled, and of which no use shows anything: what policy and access reasons say counts."""
    access = _of_grants(case)
    if access:
        return _lost(case, [access])
    if not case.is_justified and not probing.is_lagging(case.look_back, at=case.at):
        words = "The key does not allow the access reasons that services need. Where they are enforced it is unusable."
        changed = _Loss(effect=Effect.KEY_CHANGED, fault=probing.owners_fault(case.key), words=words)
        return _lost(case, [changed])
    wait = probing.again_after(case.look_back, at=case.at)
    marks = {case.key.id: (*_over(case), *_timed(case))}
    return Probed(at=case.at, passed=None, words=case.words(), fault=Fault.UNKNOWN, marks=marks, again_after=wait)


def _timed(case: _Case) -> tuple[Mark, ...]:
    """Bring what is known of time-limited grants in line with the policy: their end leaves no record (gcp.md 3.2)."""
    if not case.grants or any(one.answer is not Answer.OK for one in case.grants):
        return ()
    ending = [(one.deadline, one) for one in case.grants if one.deadline is not None]
    end, first = min(ending, key=lambda pair: pair[0]) if ending else (None, None)
    known = next((one for one in case.look_back.open if one.slot is Slot.EXPIRY and one.means is Means.CONDITION), None)
    if end == (known.latest.deadline if known else None):
        return ()
    if end is None or first is None:
        reason = "The rights to use the key have no time limit any more."
        return (probing.recovery(Effect.ACCESS_GRANTED, at=case.at, reason=reason, means=Means.CONDITION),)
    reason = f"The right of {first.subject} to use the key ends on {end:%Y-%m-%d %H:%M} UTC, without any record."
    name = f"probe:{Effect.EXPIRY_AHEAD}:{Means.CONDITION}:{end.isoformat()}:{case.at.isoformat()}"
    mark = replace(
        probing.recovery(Effect.EXPIRY_AHEAD, at=case.at, reason=reason, means=Means.CONDITION, subject=first.subject),
        id=name, fault=probing.owners_fault(case.key), deadline=end, deadline_source=first.deadline_source,
    )  # fmt: skip
    return (mark,)


# ------------------------------------------------------------------------------------- what the answers show to be over

_EXCLUDED: Mapping[Answer, frozenset[Slot]] = {
    Answer.OK: frozenset({Slot.DELETION, Slot.DISABLED, Slot.MATERIAL, Slot.DESTROYED}),
    Answer.DISABLED: frozenset({Slot.DELETION, Slot.MATERIAL, Slot.DESTROYED}),
    Answer.PENDING_IMPORT: frozenset({Slot.DELETION}),
}
"""What cannot be of a version that is in this state (gcp.md 2; a scheduled destruction hides the rest)."""


def _over(case: _Case) -> tuple[Mark, ...]:
    """Return the recoveries that the answers show, of a key that is not proven as a whole, version by version.

    Nothing within the settling time of a change, when the answers may be older than it.
    """
    if case.look_back.changed_at is not None and case.at - case.look_back.changed_at < SETTLE:
        return ()
    over = [
        (effect, one)
        for one in case.look_back.open
        if case.states and _is_over(case, one)
        for effect in _ends(case, one)
    ]
    reason = f"The state shows that this is over: {_answers(case.states)}."
    marks = [
        _ended(effect, one, at=case.at + number * probing.STEP, reason=reason)
        for number, (effect, one) in enumerate(over)
    ]
    return (*marks, *_granted(case))


def _ended(effect: Effect, condition: Condition, *, at: datetime, reason: str) -> Mark:
    subject = condition.latest.subject if effect is Effect.CONTAINER_RESTORED else None
    return probing.recovery(effect, at=at, reason=reason, version=condition.version, subject=subject)


def _is_over(case: _Case, condition: Condition) -> bool:
    answers = {one.version: one.answer for one in case.states}
    if condition.slot is Slot.CONTAINER:
        told = [STATES.get(answer) for answer in answers.values() if answer is not Answer.CONTAINER_LOST]
        return len(told) == len(answers) and State.FINE in told
    about = [
        answer
        for version, answer in answers.items()
        if version is not None and condition.version in {None, version}
    ]  # fmt: skip
    return bool(about) and all(condition.slot in _EXCLUDED.get(answer, frozenset()) for answer in about)


def _ends(case: _Case, condition: Condition) -> tuple[Effect, ...]:
    """Return the recoveries that end a condition; a restored version is disabled, unless its state says otherwise."""
    enabled = all(
        one.answer is Answer.OK for one in case.states if one.version and condition.version in {None, one.version}
    )
    match condition.slot:
        case Slot.CONTAINER:
            return (Effect.CONTAINER_RESTORED,)
        case Slot.DELETION:
            return (Effect.DELETION_CANCELLED, Effect.KEY_ENABLED) if enabled else (Effect.DELETION_CANCELLED,)
        case Slot.DISABLED:
            return (Effect.KEY_ENABLED,)
        case Slot.DESTROYED if condition.version is None:
            return (Effect.KEY_RECOVERED,)  # the name of a deleted key is never given again (gcp.md 2): it was there
        case _:
            return (Effect.KEY_MATERIAL_RESTORED,)


def _granted(case: _Case) -> list[Mark]:
    """Return what ends a lost right of which the policies say that every registered principal has it again."""
    lost = any(one.slot is Slot.ACCESS and one.means is Means.IAM_BINDING for one in case.look_back.open)
    if not lost or case.refused or not case.principals or not case.principals <= _kept(case):
        return []
    reason = "The policies of the key and its ring give every registered principal what it needs."
    return [probing.recovery(Effect.ACCESS_GRANTED, at=case.at, reason=reason, means=Means.IAM_BINDING)]
