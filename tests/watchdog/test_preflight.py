"""The pre-flight of one key, and the drift from one to the next: what blocks, what is agreed, what people hear of."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

import msgspec
import pytest

from tests.worlds import ACME_KEY, T0, VENDOR_KEY, key, register
from watchdog import health
from watchdog.health import Health, Mark, Origin, Slot, judge
from watchdog.preflight import Checked, Outcome, Preflight, drift, fault_of, preflight, step_of
from watchdog.probing import before
from watchdog.register import Deviation, KeyEntry, RegisteredKey, Statement
from watchdog.words import Effect, Fault, KeyOwner, Owner

PASS, FAIL, UNTOLD = Outcome.PASS, Outcome.FAIL, Outcome.CANNOT_VERIFY
DAY = timedelta(days=1)

HARD, SOFT, OURS = "aws.purge", "aws.window", "aws.alarms"
"""Checks: one that must pass, one that need not, one that the vendor has to repair."""


def checked(check: str, outcome: Outcome, **other: object) -> Checked:
    owner = Owner.VENDOR if check == OURS else Owner.CUSTOMER
    plain = Checked(
        id=check, title=f"{check} holds", outcome=outcome, words=f"{check} came to {outcome}", fix=f"aws fix {check}",
        owner=owner, hard=check == HARD,
    )  # fmt: skip
    return replace(plain, **other)  # type: ignore[arg-type]  # a test names its fields


def agreed(check: str, until: date | None) -> Deviation:
    return Deviation(check=check, owner="Carol", reason="an old tool", until=until)


@dataclass
class Story:
    """One key that is checked day by day, with its health."""

    entry: KeyEntry = field(default_factory=lambda: key(ACME_KEY))
    health: Health = field(default_factory=lambda: Health(subject=ACME_KEY))
    last: Preflight | None = None
    day: int = 0
    marks: tuple[Mark, ...] = ()

    @property
    def now(self) -> datetime:
        return T0 + self.day * DAY

    @property
    def key(self) -> RegisteredKey:
        return next(iter(register(self.entry).keys.values()))

    def agree(self, *deviations: Deviation, statements: tuple[Statement, ...] = ()) -> None:
        assert self.entry.exception is not None
        terms = msgspec.structs.replace(
            self.entry.exception, deviations=list(deviations), statements=list(statements)
        )  # fmt: skip
        self.entry = msgspec.structs.replace(self.entry, exception=terms)

    def check(self, outcomes: Mapping[str, Outcome]) -> Preflight:
        """Let the next day's pre-flight come to this."""
        self.day += 1
        found = preflight(self.key, [checked(*one) for one in outcomes.items()], self.last, at=self.now)
        self.marks = tuple(drift(found, self.last, self.key, judge(self.health).conditions))
        self.health = health.add(self.health, self.marks)
        self.last = found
        return found

    def gone(self) -> list[str]:
        """The protections that are told to be gone."""
        return sorted(one.latest.subject or "" for one in judge(self.health).conditions)


# ---------------------------------------------------------------------------------------------------------- the summary


def test_a_summary_counts_what_came_of_the_checks_and_names_what_blocks() -> None:
    story = Story()
    story.agree(agreed(SOFT, None))
    found = story.check({HARD: FAIL, SOFT: FAIL, OURS: PASS, "aws.trail": UNTOLD}).summary
    assert (found.passed, found.failed, found.agreed, found.unverified) == (1, 2, 1, 1)
    assert found.blocked_by == (HARD,)
    assert found.words == "1 pass, 2 fail (1 as agreed), 1 cannot verify"


def test_a_pre_flight_is_kept_as_it_is() -> None:
    story = Story()
    story.agree(
        agreed(SOFT, date(2027, 1, 1)), statements=(Statement(check=HARD, by="Alice", stated_on=date(2026, 1, 1)),)
    )
    found = story.check({HARD: FAIL, SOFT: FAIL, OURS: UNTOLD})
    assert msgspec.json.decode(msgspec.json.encode(found), type=Preflight) == found


def test_what_somebody_has_stated_is_shown_and_does_not_pass() -> None:
    story = Story()
    stated = Statement(check=SOFT, by="Alice", stated_on=story.now.date() - timedelta(days=364))
    story.agree(statements=(stated,))
    line = story.check({SOFT: UNTOLD}).lines[0]
    assert (line.checked.outcome, line.statement, line.is_stale) == (UNTOLD, stated, False)
    story.check({SOFT: UNTOLD})
    assert story.last is not None
    assert story.last.lines[0].is_stale, "a year is a long time"


# ------------------------------------------------------------------------------------------------------------- agreeing


def test_an_agreed_failure_fails_but_neither_blocks_nor_alarms_until_its_date_has_passed() -> None:
    story = Story()
    story.agree(agreed(HARD, (story.now + 2 * DAY).date()))
    for _ in range(2):
        (line,) = story.check({HARD: FAIL}).lines
        assert (line.checked.outcome, line.is_agreed, line.blocks, line.alarms) == (FAIL, True, False, False)
    assert story.gone() == []
    (line,) = story.check({HARD: FAIL}).lines
    assert (line.is_agreed, line.blocks, line.alarms) == (False, True, True)
    assert story.gone() == [HARD]


def test_a_soft_check_alarms_when_its_agreement_has_run_out() -> None:
    story = Story()
    story.agree(agreed(SOFT, (story.now + DAY).date()))
    story.check({SOFT: FAIL})
    assert story.gone() == []
    story.check({SOFT: FAIL})
    assert story.gone() == [SOFT]


def test_agreeing_to_what_is_told_ends_it() -> None:
    story = Story()
    story.check({HARD: FAIL, SOFT: PASS})
    assert story.gone() == [HARD]
    story.agree(agreed(HARD, None))
    story.check({HARD: FAIL, SOFT: PASS})
    assert story.gone() == []
    assert "agreed with Carol" in story.marks[0].reason


# ------------------------------------------------------------------------------------------------------------ the drift


def test_what_passed_and_fails_now_is_told_and_ends_when_it_passes_again() -> None:
    story = Story()
    story.check({SOFT: PASS})
    assert not story.marks
    story.check({SOFT: FAIL})
    (mark,) = story.marks
    assert (mark.effect, mark.origin, mark.subject, mark.fault) == (
        Effect.PROTECTION_WEAKENED, Origin.PROBE, SOFT, Fault.CUSTOMER,
    )  # fmt: skip
    assert f"{SOFT} holds. It was as agreed on 2026-12-02 09:00 UTC. {SOFT} came to fail." in mark.reason
    assert mark.step is not None
    assert mark.step.command == f"aws fix {SOFT}"
    story.check({SOFT: FAIL})
    assert story.marks == (), "it is told once"
    story.check({SOFT: PASS})
    assert story.gone() == []


def test_a_hard_check_that_never_passed_is_told_without_blaming_the_customer() -> None:
    story = Story()
    story.check({HARD: FAIL})
    (mark,) = story.marks
    assert (mark.subject, mark.fault) == (HARD, None)
    assert "as agreed on" not in mark.reason


def test_a_soft_check_that_never_passed_is_shown_and_not_told() -> None:
    story = Story()
    story.check({SOFT: FAIL})
    story.check({SOFT: FAIL})
    assert story.gone() == []


def test_what_can_no_longer_be_verified_is_no_alarm_but_shows_until_when_it_was() -> None:
    story = Story()
    passed_at = story.check({SOFT: PASS}).at
    story.check({SOFT: UNTOLD})
    (line,) = story.check({SOFT: UNTOLD}).lines
    assert (story.gone(), line.verified_until) == ([], passed_at)
    story.check({SOFT: FAIL})
    assert story.gone() == [SOFT], "the last that was known was a pass"


def test_what_cannot_be_verified_ends_nothing_that_is_told() -> None:
    story = Story()
    story.check({HARD: FAIL})
    story.check({HARD: UNTOLD})
    assert story.gone() == [HARD]
    story.check({HARD: FAIL})
    assert (story.gone(), story.marks) == ([HARD], ())


def test_protections_stand_side_by_side_and_end_one_by_one() -> None:
    story = Story()
    story.check({HARD: PASS, SOFT: PASS, OURS: PASS})
    story.check({HARD: FAIL, SOFT: FAIL, OURS: FAIL})
    assert story.gone() == sorted([HARD, SOFT, OURS])
    story.check({HARD: FAIL, SOFT: PASS, OURS: FAIL})
    assert story.gone() == sorted([HARD, OURS])
    story.check({HARD: PASS, SOFT: FAIL, OURS: FAIL})
    assert story.gone() == sorted([SOFT, OURS]), "of one moment, each by itself"


def test_what_a_check_restores_ends_nothing_else() -> None:
    story = Story()
    story.check({HARD: FAIL})
    others = [
        Mark(id=name, at=T0, origin=Origin.EVENT, effect=effect, reason=name, subject=subject)
        for name, effect, subject in (
            ("lock", Effect.PROTECTION_WEAKENED, "a lock"),
            ("access", Effect.ACCESS_REVOKED, HARD),
            ("question", Effect.ACCESS_CHANGED, HARD),
            ("expiry", Effect.EXPIRY_AHEAD, HARD),
        )
    ]
    story.health = health.add(story.health, others)
    story.check({HARD: PASS})
    left = {(one.slot, one.latest.subject) for one in judge(story.health).conditions}
    assert left == {(Slot.PROTECTION, "a lock"), (Slot.ACCESS, HARD), (Slot.QUESTION, HARD), (Slot.EXPIRY, HARD)}


def test_a_check_that_passes_again_is_no_recovery_of_the_key_itself() -> None:
    """A probe on Azure waits for a second success after a recovery: that must not count from here."""
    story = Story()
    story.check({HARD: FAIL})
    story.check({HARD: PASS})
    assert before(story.health).recovered_at is None


def decided(story: Story) -> None:
    mark = Mark(id="o", at=story.now, origin=Origin.OPERATOR, effect=None, reason="known")
    story.health = health.add(story.health, [health.informed(story.health, mark)])
    assert story.gone() == []


def test_an_operators_decision_holds_for_a_drift_and_not_for_what_must_not_fail() -> None:
    story = Story()
    story.check({HARD: PASS, SOFT: PASS})
    story.check({HARD: FAIL, SOFT: FAIL})
    decided(story)
    story.check({HARD: FAIL, SOFT: FAIL})
    assert story.gone() == [HARD], "that has to be agreed in the register"


def test_what_probes_and_feeds_tell_by_themselves_is_not_told_twice() -> None:
    story = Story()
    usable = checked("all.usable", FAIL, hard=True)
    found = preflight(story.key, [usable], None, at=story.now)
    assert found.summary.blocked_by == ("all.usable",)
    assert drift(found, None, story.key, ()) == ()


# ---------------------------------------------------------------------------------------------------------- whose it is


@pytest.mark.parametrize(
    ("owner", "of_key", "fault"),
    [
        (Owner.CUSTOMER, KeyOwner.CUSTOMER, Fault.CUSTOMER),
        (Owner.CUSTOMER, KeyOwner.VENDOR, Fault.VENDOR),
        (Owner.VENDOR, KeyOwner.CUSTOMER, Fault.VENDOR),
        (Owner.WATCHDOG, KeyOwner.CUSTOMER, Fault.VENDOR),
        (Owner.PROVIDER, KeyOwner.CUSTOMER, Fault.PROVIDER),
    ],
)
def test_a_failure_is_the_customers_only_where_it_has_to_repair_its_own_key(
    owner: Owner, of_key: KeyOwner, fault: Fault
) -> None:
    found = register(key(ACME_KEY if of_key is KeyOwner.CUSTOMER else VENDOR_KEY, owner=of_key))
    one = next(iter(found.keys.values()))
    assert fault_of(checked(SOFT, FAIL, owner=owner), one) is fault


def test_a_fix_is_a_command_to_copy_or_a_sentence() -> None:
    command, words = step_of(checked(SOFT, FAIL)), step_of(checked(SOFT, FAIL, fix="Ask them to switch it on."))
    assert command is not None
    assert (command.command, command.text) == (f"aws fix {SOFT}", f"See to it that this is so: {SOFT} holds.")
    assert words is not None
    assert (words.command, words.text) == (None, "Ask them to switch it on.")
    assert step_of(checked(SOFT, FAIL, fix=None)) is None
