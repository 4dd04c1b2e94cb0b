import random
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.worlds import ACME_KEY, ACME_SECOND_KEY, GLOBEX_KEY, MINUTE, T0, VENDOR_KEY, key, register
from watchdog import health, probing
from watchdog.assessment import FRESH
from watchdog.health import SETTLE, Health, Mark, Origin, Slot, judge
from watchdog.incidents import VENDOR_WATCH
from watchdog.probing import Answer, Before, Blame, Control, Finding, Question
from watchdog.register import RegisteredKey
from watchdog.register_probe import KeyProbe
from watchdog.signals import Signal
from watchdog.words import Effect, Fault, Means

KEY = register().keys[ACME_KEY]
OTHER = register().keys[GLOBEX_KEY]
ROLE = "arn:aws:iam::999988887777:role/acme-prod"
TWO_KEYS = (ACME_KEY, ACME_SECOND_KEY)


def finding(question: Question, answer: Answer, words: str = "") -> Finding:
    return Finding(question=question, answer=answer, at=T0, words=words)


def event(effect: Effect, minutes: float, *, fault: Fault = Fault.CUSTOMER, means: Means | None = None) -> list[Mark]:
    signal = Signal(
        effect=effect, reason=f"{effect} at {minutes}", key=ACME_KEY, occurred_at=T0 + minutes * MINUTE,
        event_id=f"{effect}{minutes}", fault=fault, means=means,
    )  # fmt: skip
    return list(health.marks_of(signal, received_at=T0))


def loss(effect: Effect, minutes: float, known: Health, fault: Fault = Fault.CUSTOMER) -> Sequence[Mark]:
    at = T0 + minutes * MINUTE
    return probing.losses(effect, probing.before(known), at=at, reason=f"probe: {effect} at {minutes}", fault=fault)


def proof(minutes: float) -> Sequence[Mark]:
    return probing.proofs(at=T0 + minutes * MINUTE, reason=f"proven at {minutes}")


def open_slots(found: Health) -> list[Slot]:
    return [condition.slot for condition in judge(found).conditions]


EMPTY = Health(subject=ACME_KEY)

# --------------------------------------------------------------------------------------------------------- the findings


def test_the_worst_answer_speaks_and_every_answer_has_its_place() -> None:
    assert set(Answer) == set(probing._FROM_WORST)
    found = [finding(Question.USE, answer) for answer in (Answer.OK, Answer.DISABLED, Answer.THROTTLED)]
    assert Answer.DISABLED is probing.answer_to(found, Question.USE)
    assert Answer.NOT_ASKED is probing.answer_to(found, Question.STATE)


def test_what_was_not_asked_hides_no_answer_but_a_good_one() -> None:
    """One version proven and another one not asked is not proven."""
    found = [finding(Question.USE, Answer.OK), finding(Question.USE, Answer.NOT_ASKED)]
    assert Answer.NOT_ASKED is probing.answer_to(found, Question.USE)


# ------------------------------------------------------------------------------------------------------------ the fault

CONTROLS = [
    ((), Control.MISSING),
    ((Answer.NOT_ASKED,), Control.MISSING),
    ((Answer.OK, Answer.OK), Control.SOUND),
    ((Answer.OK, Answer.DENIED), Control.BROKEN),
    ((Answer.UNREACHABLE, Answer.DENIED), Control.BROKEN),
    ((Answer.IDENTITY_REFUSED,), Control.BROKEN),
    ((Answer.DISABLED,), Control.BROKEN),
    ((Answer.CREDENTIALS,), Control.BROKEN),
    ((Answer.OK, Answer.UNREACHABLE), Control.AWAY),
    ((Answer.SERVER_FAULT,), Control.AWAY),
    ((Answer.THROTTLED,), Control.AWAY),
    ((Answer.NOT_UNDERSTOOD,), Control.AWAY),
]


@pytest.mark.parametrize(("answers", "expected"), CONTROLS)
def test_the_control_tells_of_the_caller(answers: tuple[Answer, ...], expected: Control) -> None:
    found = [finding(Question.CONTROL, answer) for answer in answers]
    assert expected is probing.control_of([finding(Question.STATE, Answer.DENIED), *found])


def test_refused_credentials_need_no_control() -> None:
    assert Control.BROKEN is probing.control_of([finding(Question.USE, Answer.CREDENTIALS)])


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        (Control.SOUND, Fault.CUSTOMER),
        (Control.BROKEN, Fault.VENDOR),
        (Control.AWAY, Fault.PROVIDER),
        (Control.MISSING, Fault.UNKNOWN),
    ],
)
def test_the_control_decides_whose_side_a_refusal_lies_on(control: Control, expected: Fault) -> None:
    assert Blame(fault=expected) == probing.blame(control, KEY, Before())


def test_a_refusal_by_the_vendors_own_key_is_never_the_customers() -> None:
    own = register().keys[VENDOR_KEY]
    assert Fault.VENDOR is probing.blame(Control.SOUND, own, Before()).fault


def test_a_grant_that_is_known_to_be_gone_does_not_name_the_means_of_another_refusal() -> None:
    known = health.add(EMPTY, event(Effect.ACCESS_REVOKED, 0, means=Means.GRANT))
    assert probing.blame(Control.MISSING, KEY, probing.before(known)).means is None


# ---------------------------------------------------------------------------------- marks of probes and events together


def test_a_loss_that_a_probe_found_is_closed_by_a_later_proof() -> None:
    known = health.add(EMPTY, loss(Effect.KEY_DISABLED, 0, EMPTY))
    assert [Slot.DISABLED] == open_slots(known)

    known = health.add(known, proof(15))
    assert [] == open_slots(known)
    assert judge(known).proven_at == T0 + SETTLE


def test_a_proof_before_the_settling_time_closes_nothing() -> None:
    known = health.add(health.add(EMPTY, loss(Effect.ACCESS_REVOKED, 0, EMPTY)), proof(14))
    assert [Slot.ACCESS] == open_slots(known)


def test_an_event_ends_what_a_probe_found_but_only_a_proof_resolves_it() -> None:
    known = health.add(EMPTY, [*loss(Effect.KEY_DISABLED, 0, EMPTY), *event(Effect.KEY_ENABLED, 20)])
    assert ([], None) == (open_slots(known), judge(known).proven_at)

    assert judge(health.add(known, proof(21))).proven_at is not None


def test_an_event_before_the_probe_ends_nothing() -> None:
    known = health.add(EMPTY, [*loss(Effect.KEY_DISABLED, 5, EMPTY), *event(Effect.KEY_ENABLED, 0)])
    assert [Slot.DISABLED] == open_slots(known)


def test_an_unknown_fault_leaves_what_the_event_said() -> None:
    known = health.add(EMPTY, event(Effect.KEY_DISABLED, 0))
    known = health.add(known, loss(Effect.KEY_DISABLED, 5, known, Fault.UNKNOWN))
    assert Fault.CUSTOMER is judge(known).conditions[0].fault


def test_what_only_probes_know_is_not_claimed_by_events() -> None:
    assert () == judge(health.add(EMPTY, loss(Effect.KEY_DISABLED, 0, EMPTY))).claimed


def test_a_month_of_failing_probes_leaves_two_marks_and_keeps_the_beginning() -> None:
    known = EMPTY
    for minutes in range(0, 30 * 24 * 60, 60):
        known = health.add(known, loss(Effect.KEY_DELETION_SCHEDULED, minutes, known))

    assert 2 == len(known.marks)
    assert T0 == judge(known).conditions[0].since


def test_a_day_of_passing_probes_leaves_few_marks() -> None:
    known = EMPTY
    for minutes in range(0, 24 * 60, 5):
        known = health.settle(health.add(known, proof(minutes)))

    assert len(known.marks) <= 4


def test_a_key_that_flaps_begins_anew_with_each_loss() -> None:
    """The stores' clocks must run from the loss that is open, not from one that was repaired in between."""
    known = EMPTY
    for began in (0, 60, 300):
        for minutes in (began, began + 5, began + 20):
            known = health.add(known, loss(Effect.KEY_DISABLED, minutes, known))
        assert T0 + began * MINUTE == judge(known).conditions[0].since
        known = health.add(known, proof(began + 25))
        assert [] == open_slots(known)


def _history() -> list[Mark]:
    """A key that is disabled, doomed, half repaired, proven, and refused, as events and probes told it."""
    known = EMPTY
    marks: list[Mark] = []
    steps: list[Sequence[Mark]] = [
        event(Effect.KEY_DISABLED, 0),
        [],
        event(Effect.KEY_DELETION_SCHEDULED, 30),
        event(Effect.DELETION_CANCELLED, 90),
        event(Effect.KEY_ENABLED, 95),
        proof(100),
        event(Effect.ACCESS_CHANGED, 200, means=Means.KEY_POLICY),
    ]
    steps[1] = loss(Effect.KEY_DISABLED, 5, health.add(EMPTY, steps[0]))
    for step in steps:
        marks += step
        known = health.add(known, step)
    refused = loss(Effect.ACCESS_REVOKED, 205, known)
    return [*marks, *refused, *loss(Effect.ACCESS_REVOKED, 210, health.add(known, refused))]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_marks_of_probes_and_events_come_to_the_same_in_any_order(seed: int) -> None:
    marks = _history()
    straight = judge(health.add(EMPTY, marks))
    shuffled = [*marks, *random.Random(seed).sample(marks, 5)]
    random.Random(seed).shuffle(shuffled)
    known = EMPTY
    for mark in shuffled:
        known = health.add(known, [mark])

    assert straight == judge(known)
    assert [Slot.ACCESS, Slot.QUESTION] == open_slots(known)


# ----------------------------------------------------------------------------------------------------- what came before


def test_looking_back_finds_the_last_proof_the_last_change_and_what_is_open() -> None:
    known = health.add(
        EMPTY, [*proof(0), *proof(5), *event(Effect.KEY_DISABLED, 7), *loss(Effect.KEY_DISABLED, 9, EMPTY)]
    )
    found = probing.before(known)

    assert (T0 + 5 * MINUTE, T0 + 7 * MINUTE) == (found.passed_at, found.changed_at)
    assert frozenset({"key_disabled"}) == found.open_effects
    assert [Slot.DISABLED] == [condition.slot for condition in found.open]


def test_an_operators_decision_is_no_passing_probe_and_a_symptom_is_no_change() -> None:
    decided = Mark(id="o", at=T0, origin=Origin.OPERATOR, effect=None, reason="by decision")
    symptom = Mark(id="s", at=T0, origin=Origin.EVENT, effect=Effect.USE_SUCCEEDED, reason="used")
    found = probing.before(health.add(EMPTY, [decided, symptom]))

    assert (None, None) == (found.passed_at, found.changed_at)


# ------------------------------------------------------------------------------------------------------------ no answer


SILENT = [finding(Question.STATE, Answer.UNREACHABLE, "connect time-out"), finding(Question.USE, Answer.UNREACHABLE)]
SOUND = finding(Question.CONTROL, Answer.OK)
AWAY = finding(Question.CONTROL, Answer.UNREACHABLE)


@pytest.mark.parametrize(("control", "where"), [(SOUND, ACME_KEY), (AWAY, VENDOR_WATCH), (None, VENDOR_WATCH)])
def test_silence_is_told_when_the_last_proof_is_too_old_to_count(control: Finding | None, where: str) -> None:
    found = [*SILENT, *([control] if control else [])]
    early = probing.unreachable(KEY, found, Before(passed_at=T0 - FRESH + MINUTE), at=T0)
    late = probing.unreachable(KEY, found, Before(passed_at=T0 - FRESH), at=T0)

    assert (None, {}) == (early.passed, early.marks)
    assert (None, {where}) == (late.passed, set(late.marks))
    assert "connect time-out" in late.words
    assert "nothing about the key" in late.words


def test_silence_about_a_key_is_a_question_and_no_loss() -> None:
    found = probing.unreachable(KEY, [*SILENT, SOUND], Before(passed_at=T0 - FRESH), at=T0)
    assert [Slot.QUESTION] == open_slots(health.add(EMPTY, found.marks[ACME_KEY]))


def test_a_quota_that_the_control_feels_too_is_the_callers_own() -> None:
    throttled = [finding(question, Answer.THROTTLED) for question in (Question.STATE, Question.USE, Question.CONTROL)]
    assert Fault.VENDOR is probing.unreachable(KEY, throttled, Before(), at=T0).fault


def _watch() -> Health:
    return Health(subject=VENDOR_WATCH)


def _broken(minutes: float = 0, of: str = ACME_KEY) -> Sequence[Mark]:
    denied = finding(Question.CONTROL, Answer.DENIED, "AssumeRole refused")
    found = probing.callers_fault(register().keys[of], [denied], at=T0 + minutes * MINUTE)
    return found.marks[VENDOR_WATCH]


def test_a_broken_caller_is_named_with_what_was_said() -> None:
    entry = replace(key(ACME_KEY), probe=KeyProbe(principal=ROLE))
    denied = finding(Question.CONTROL, Answer.DENIED, "AssumeRole refused")
    found = probing.callers_fault(register(entry).keys[ACME_KEY], [denied], at=T0)

    assert (None, Fault.VENDOR) == (found.passed, found.fault)
    assert ROLE in found.words
    assert "AssumeRole refused" in found.words


def test_fifty_thousand_keys_with_one_broken_caller_leave_two_marks_an_hour_for_each_region() -> None:
    watch = _watch()
    for number in range(200):
        watch = health.add(watch, _broken(number / 10, of=ACME_KEY if number % 2 else GLOBEX_KEY))
    assert 4 == len(watch.marks)


def test_a_repaired_way_to_the_keys_leaves_another_one_broken() -> None:
    """Two roles are broken, one is repaired: the other one stays, and nothing is proven until it works too."""
    entries = {name: replace(key(name), probe=KeyProbe(principal=f"{ROLE}-{n}")) for n, name in enumerate(TWO_KEYS)}
    keys = register(*entries.values()).keys
    watch = _watch()
    for number, name in enumerate([*TWO_KEYS, *TWO_KEYS]):
        denied = finding(Question.CONTROL, Answer.DENIED, "AssumeRole refused")
        at = T0 + number * MINUTE
        watch = health.add(watch, probing.callers_fault(keys[name], [denied], at=at).marks[VENDOR_WATCH])
    first, second = (keys[name] for name in TWO_KEYS)

    def repaired(by: RegisteredKey, minutes: int) -> Health:
        marks = probing.watch_repaired(by, probing.before(EMPTY, watch), at=T0 + minutes * MINUTE)
        return health.add(watch, marks.get(VENDOR_WATCH, ()))

    watch = repaired(second, 10)
    assert [probing.way_of(first)] == [one.latest.subject for one in judge(watch).conditions]
    assert judge(watch).proven_at is None

    watch = repaired(first, 20)
    assert () == judge(watch).conditions
    assert judge(watch).proven_at is not None


def test_a_key_that_is_asked_in_the_same_way_shows_that_the_way_works() -> None:
    keys = register(*(key(name) for name in TWO_KEYS)).keys
    broken, other = (keys[name] for name in TWO_KEYS)
    denied = finding(Question.CONTROL, Answer.CREDENTIALS, "expired token")
    watch = health.add(_watch(), probing.callers_fault(broken, [denied], at=T0).marks[VENDOR_WATCH])
    marks = probing.watch_repaired(other, probing.before(EMPTY, watch), at=T0 + MINUTE)
    assert () == judge(health.add(watch, marks[VENDOR_WATCH])).conditions


def test_what_is_repaired_is_proven_on_the_vendors_watch() -> None:
    watch = health.add(_watch(), _broken())
    marks = probing.watch_repaired(KEY, probing.before(EMPTY, watch), at=T0 + 3 * MINUTE)
    watch = health.add(watch, marks[VENDOR_WATCH])

    assert () == judge(watch).conditions
    assert judge(watch).proven_at is not None


def test_one_key_cannot_end_what_another_one_opened_or_what_a_record_told() -> None:
    watch = health.add(_watch(), _broken(of=GLOBEX_KEY))
    assert {} == probing.watch_repaired(KEY, probing.before(EMPTY, watch), at=T0 + MINUTE)

    symptom = Signal(effect=Effect.FEED_TAMPERED, reason="the trail was stopped", occurred_at=T0, event_id="e")
    watch = health.add(watch, health.marks_of(symptom, received_at=T0))
    marks = probing.watch_repaired(OTHER, probing.before(EMPTY, watch), at=T0 + MINUTE)
    watch = health.add(watch, marks[VENDOR_WATCH])
    assert [Slot.FEED] == open_slots(watch)
    assert judge(watch).proven_at is None


# --------------------------------------------------------------------------------------------------------------- expiry


def _with_end(end: datetime | None, known: Health, minutes: float) -> Health:
    marks = probing.expiries(
        end, probing.before(known), at=T0 + minutes * MINUTE, reason="it ends", source="DescribeKey ValidTo",
        fault=Fault.CUSTOMER,
    )  # fmt: skip
    return health.add(known, marks)


def _end(known: Health) -> datetime | None:
    found = [condition.latest.deadline for condition in judge(known).conditions if condition.slot is Slot.EXPIRY]
    return found[0] if found else None


def test_an_end_is_told_once_moves_with_the_provider_and_goes_away() -> None:
    near, later = T0 + timedelta(days=10), T0 + timedelta(days=300)
    known = _with_end(later, EMPTY, 0)
    assert _end(known) is None

    known = _with_end(near, known, 5)
    assert near == _end(known)
    assert known == _with_end(near, known, 10)

    known = _with_end(later, known, 15)
    assert later == _end(known)
    known = _with_end(near, known, 20)
    assert near == _end(known)
    assert _end(_with_end(None, known, 25)) is None
