"""Pre-flight: what makes a key hard to lose, checked before an exception is granted and every day after (drift).

The reader of a cloud (`workers.clouds.*.preflight`) asks; the pure half (`watchdog.clouds.*.preflight`) judges what was
answered, line by line of responsibility.md 5. What could not be read is `cannot verify`, never a pass.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from importlib import import_module

from watchdog.health import Condition, Mark, Origin, Slot
from watchdog.register import Deviation, RegisteredKey, Statement
from watchdog.repair import Step
from watchdog.words import Effect, Fault, Owner


class Outcome(StrEnum):
    """What one check came to."""

    PASS = "pass"  # noqa: S105 - a word of the product
    FAIL = "fail"
    CANNOT_VERIFY = "cannot verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """What stands in a reading where an answer is missing: why, and the right that would make it readable."""

    why: str
    right: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One check of one key.

    `id` is stable (`aws.deletion_window`, `all.usable`): drift, agreed deviations and customers' statements name it.
    `title` says what should be so, `words` what was found or why it could not be told. `fix` is the exact command, or
    the sentence, that repairs a failure or makes it readable; `owner` who has to do it. A `hard` one must pass before
    an exception may become active. `source` names the line of the document.
    """

    id: str
    title: str
    outcome: Outcome
    words: str
    fix: str | None = None
    owner: Owner = Owner.CUSTOMER
    hard: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What is the same of a check whatever it comes to; see `Checked`.

    A cloud lists its own ones in the order of its reader, as `CHECKS` of `watchdog.clouds.NAME.preflight`: without
    asking anything they can be named in the register, and shown as not verified.
    """

    id: str
    title: str
    owner: Owner = Owner.CUSTOMER
    hard: bool = False
    source: str = ""

    def said(self, outcome: Outcome, words: str, fix: str | None = None, owner: Owner | None = None) -> Checked:
        """Return what this check came to. `owner`: who has to repair it, where that is another one than usual."""
        return Checked(
            id=self.id, title=self.title, outcome=outcome, words=words, fix=fix, owner=owner or self.owner,
            hard=self.hard, source=self.source,
        )  # fmt: skip


def unverified(checks: Iterable[Check], words: str, fix: str | None = None) -> list[Checked]:
    """Return these checks as such that cannot be verified, all for one reason."""
    return [one.said(Outcome.CANNOT_VERIFY, words, fix) for one in checks]


def listed(cloud: str) -> Sequence[Check]:
    """Return the checks of a cloud, in the order of its reader."""
    checks: Sequence[Check] = import_module(f"watchdog.clouds.{cloud}.preflight").CHECKS
    return checks


# ----------------------------------------------------------------------------------------------------------- the result

STATED_LONG_AGO = timedelta(days=365)
"""After which what a customer has said has to be said again."""

MARKS = "preflight:"
"""How the marks of a pre-flight are called."""

TOLD_ELSEWHERE = frozenset({"all.usable", "all.old_data_readable", "all.feed_alive"})
"""Failures of which probes and feeds tell by themselves, with what they know of whose side they lie on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One check as it stands: what it came to, what the register says of it, and what is known from before.

    `deviation` is the agreement of the register that it may fail; `is_agreed` says that it holds on the day of the
    check. `is_stale`: what the customer has `statement`ed is older than a year. `told` is the last outcome that said
    anything, this one included; `passed_at` when it last passed. `alarms`: it fails, and people hear of that.
    """

    checked: Checked
    deviation: Deviation | None = None
    is_agreed: bool = False
    statement: Statement | None = None
    is_stale: bool = False
    told: Outcome | None = None
    passed_at: datetime | None = None
    alarms: bool = False

    @property
    def blocks(self) -> bool:
        """Whether an exception may not become active by this: it fails, must not, and nobody has agreed."""
        return self.checked.hard and self.checked.outcome is Outcome.FAIL and not self.is_agreed

    @property
    def verified_until(self) -> datetime | None:
        """When it last passed, where that can no longer be told; None elsewhere."""
        unread = self.checked.outcome is Outcome.CANNOT_VERIFY and self.told is Outcome.PASS
        return self.passed_at if unread else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A pre-flight in a line: how many checks passed, failed (of these: as agreed), and could not be verified."""

    at: datetime
    passed: int
    failed: int
    agreed: int
    unverified: int
    blocked_by: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The summary in words, without its date."""
        agreed = f" ({self.agreed} as agreed)" if self.agreed else ""
        return f"{self.passed} pass, {self.failed} fail{agreed}, {self.unverified} cannot verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """All checks of one key at one time."""

    key: str
    at: datetime
    lines: tuple[Line, ...]

    @property
    def summary(self) -> Summary:
        """The pre-flight in a line."""
        outcomes = [line.checked.outcome for line in self.lines]
        return Summary(
            at=self.at,
            passed=outcomes.count(Outcome.PASS),
            failed=outcomes.count(Outcome.FAIL),
            agreed=sum(line.is_agreed and line.checked.outcome is Outcome.FAIL for line in self.lines),
            unverified=outcomes.count(Outcome.CANNOT_VERIFY),
            blocked_by=tuple(line.checked.id for line in self.lines if line.blocks),
        )

    def line(self, check: str) -> Line | None:
        """Return the line of a check, None when it is not among them."""
        return next((line for line in self.lines if line.checked.id == check), None)

    def comes_to(self) -> Collection[tuple[str, Outcome, bool]]:
        """Return what has to differ for two pre-flights to be told apart: dates in words do not count."""
        return {(line.checked.id, line.checked.outcome, line.is_agreed) for line in self.lines}


def preflight(key: RegisteredKey, checks: Iterable[Checked], before: Preflight | None, *, at: datetime) -> Preflight:
    """Put the checks of one key together with what its exception says, and with the pre-flight `before`."""
    exception = key.entry.exception
    deviations = {one.check: one for one in exception.deviations} if exception else {}
    statements = {one.check: one for one in exception.statements} if exception else {}
    known = {line.checked.id: line for line in before.lines} if before else {}
    lines = []
    for checked in checks:
        deviation, statement = deviations.get(checked.id), statements.get(checked.id)
        line = Line(
            checked=checked,
            deviation=deviation,
            is_agreed=deviation is not None and (deviation.until is None or at.date() <= deviation.until),
            statement=statement,
            is_stale=statement is not None and at.date() - statement.stated_on > STATED_LONG_AGO,
        )
        lines.append(_followed(line, known.get(checked.id, Line(checked=checked)), at))
    return Preflight(key=key.id, at=at, lines=tuple(lines))


def _followed(line: Line, before: Line, at: datetime) -> Line:
    """Return a line with what was known before, and whether people hear of it."""
    match line.checked.outcome:
        case Outcome.PASS:
            return replace(line, told=Outcome.PASS, passed_at=at)
        case Outcome.CANNOT_VERIFY:  # no alarm, and no end of one
            return replace(
                line, told=before.told, passed_at=before.passed_at, alarms=before.alarms and not line.is_agreed
            )
    drifted = before.told is Outcome.PASS or before.alarms or before.is_agreed
    alarms = not line.is_agreed and (line.checked.hard or drifted) and line.checked.id not in TOLD_ELSEWHERE
    return replace(line, told=Outcome.FAIL, passed_at=before.passed_at, alarms=alarms)


# ------------------------------------------------------------------------------------------------------------ the drift


def drift(
    now: Preflight, before: Preflight | None, key: RegisteredKey, conditions: Iterable[Condition]
) -> tuple[Mark, ...]:
    """Return the marks that bring the health of a key in line with what its checks came to.

    A protection that fails opens a condition of its own, and only its passing, or an agreement, ends exactly that
    (`health`: ACCESS_GRANTED of the same subject and without a means). What an operator has ended comes back with the
    next check only where it must not fail: that has to be agreed in the register.
    """
    open_here = {one.latest.subject for one in conditions if one.slot is Slot.PROTECTION and one.means is None}
    marks = []
    for line in now.lines:
        known = before.line(line.checked.id) if before else None
        was_alarming = known is not None and known.alarms
        is_open = line.checked.id in open_here
        if line.alarms and line.checked.outcome is Outcome.FAIL and not is_open:
            if line.checked.hard or not was_alarming:
                marks.append(_weakened(line, known, key, now.at))
        elif is_open and (line.is_agreed or line.checked.outcome is Outcome.PASS):
            marks.append(_restored(line, now.at))
    return tuple(marks)


def _weakened(line: Line, known: Line | None, key: RegisteredKey, at: datetime) -> Mark:
    """Say that a protection is gone; one that was never there is nobody's doing: the vendor took the key so."""
    found = line.checked
    passed = known.passed_at if known else None
    fault = fault_of(found, key)
    since = f"It was as agreed on {passed:%Y-%m-%d %H:%M} UTC. " if passed else ""
    return Mark(
        id=f"{MARKS}{found.id}:fails:{at.isoformat()}", at=at, origin=Origin.PROBE, effect=Effect.PROTECTION_WEAKENED,
        reason=f"This should be so, and is not: {_ended(found.title)} {since}{_ended(found.words)}",
        fault=None if fault is Fault.CUSTOMER and not passed else fault, subject=found.id, step=step_of(found),
    )  # fmt: skip


def _restored(line: Line, at: datetime) -> Mark:
    found = line.checked
    if line.is_agreed and line.deviation is not None and found.outcome is not Outcome.PASS:
        reason = f"It is agreed with {line.deviation.owner} that this is not so: {_ended(found.title)}"
    else:
        reason = f"Our check passes again: {_ended(found.title)}"
    return Mark(
        id=f"{MARKS}{found.id}:passes:{at.isoformat()}", at=at, origin=Origin.PROBE, effect=Effect.ACCESS_GRANTED,
        reason=reason, subject=found.id,
    )  # fmt: skip


def fault_of(checked: Checked, key: RegisteredKey) -> Fault:
    """Whose side a failure lies on: the customer's only where it has to repair it, and the key is its own."""
    if checked.owner is Owner.CUSTOMER and key.customer_owned:
        return Fault.CUSTOMER
    return Fault.PROVIDER if checked.owner is Owner.PROVIDER else Fault.VENDOR


_TOOLS = frozenset({"aws", "az", "gcloud", "gsutil", "byok-watchdog"})


def step_of(checked: Checked) -> Step | None:
    """Return the repair of a check as a step: a command stays one that can be copied, a sentence is one."""
    if checked.fix is None:
        return None
    if is_command(checked.fix):
        return Step(
            owner=checked.owner, text=f"See to it that this is so: {_ended(checked.title)}", command=checked.fix
        )
    return Step(owner=checked.owner, text=checked.fix)


def is_command(fix: str) -> bool:
    """Whether a fix is a command, not a sentence."""
    return fix.split(" ", 1)[0] in _TOOLS


def _ended(sentence: str) -> str:
    return f"{sentence.rstrip('. ')}."
