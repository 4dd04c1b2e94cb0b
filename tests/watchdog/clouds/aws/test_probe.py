import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import product

import pytest
from msgspec.structs import replace

from tests.watchdog.stories import Story
from tests.worlds import ACME_KEY, MINUTE, T0, VENDOR_KEY, key, register
from watchdog import probing
from watchdog.clouds.aws.probe import (
    REAL,
    ROWS,
    STATES,
    TABLE,
    TEXT_BLAMES,
    USES,
    Outcome,
    State,
    Use,
    judge,
)
from watchdog.health import SETTLE, Condition, Health, Mark, Origin, Slot, add
from watchdog.incidents import VENDOR_WATCH
from watchdog.notices import Notice, Reader, Verified
from watchdog.observation import advance
from watchdog.probing import CANNOT_TELL, Answer, Before, Finding, Probed, Question
from watchdog.register import AwsKey, RegisteredKey
from watchdog.signals import Signal
from watchdog.words import Effect, Fault, KeyOwner, Means, Stage

PASSED = T0 - 5 * MINUTE
STALE = T0 - 60 * MINUTE


def finding(question: Question, answer: Answer, **more: object) -> Finding:
    return Finding(question=question, answer=answer, at=T0, words=f"said {answer}", **more)  # type: ignore[arg-type]  # a table's fields


def findings(
    state: Answer,
    *uses: Answer,
    control: Answer | None = Answer.OK,
    real: bool = False,
    end: datetime | None = None,
    store: bool = False,
    detail: Mapping[str, str] | None = None,
) -> list[Finding]:
    more = {"custom_key_store_id": "cks-1"} if store else {}
    source = "DescribeKey DeletionDate" if end else None
    found = [finding(Question.STATE, state, deadline=end, deadline_source=source, detail={**more, **(detail or {})})]
    names = ("GenerateDataKey", "Decrypt")
    found += [
        finding(Question.USE, use, subject=name, detail={**({REAL: "yes"} if real else {}), **(detail or {})})
        for name, use in zip(names, uses, strict=False)
    ]
    return [*found, finding(Question.CONTROL, control)] if control else found


def subject(*, owner: KeyOwner = KeyOwner.CUSTOMER, store: str | None = None) -> RegisteredKey:
    arn = ACME_KEY if owner is KeyOwner.CUSTOMER else VENDOR_KEY
    made = replace(key(arn, owner=owner), aws=AwsKey(custom_key_store_id=store))
    return register(made).keys[arn]


def verdict(found: Sequence[Finding], look_back: Before | None = None, *, of: RegisteredKey | None = None) -> Probed:
    return judge(found, of or subject(), register(), look_back or Before(passed_at=PASSED), at=T0)


def opened(probed: Probed, where: str = ACME_KEY) -> "Marked":
    return frozenset((mark.effect, mark.fault) for mark in probed.marks.get(where, ()))


Marked = frozenset[tuple[Effect | None, Fault | None]]


def marked(*effects: Effect | None, fault: Fault | None = Fault.CUSTOMER) -> Marked:
    return frozenset((effect, fault) for effect in effects)


NONE = marked()
PROVEN = marked(None, fault=None)
REVOKED = marked(Effect.ACCESS_REVOKED)
REDUCED = marked(Effect.ACCESS_REDUCED)
DISABLED = marked(Effect.KEY_DISABLED)
PENDING = marked(Effect.KEY_DELETION_SCHEDULED)
GONE = marked(Effect.KEY_DESTROYED)
UNBLAMED = None  # a mark without a fault leaves it as events told it
A = Answer

# state, uses, control -> passed, fault, marks on the key. Every row of aws.md 7, and what it leaves out.
ROWS_OF_AWS: list[tuple[Answer, tuple[Answer, ...], Answer | None, bool | None, Fault, Marked]] = [
    (A.OK, (A.OK, A.OK), A.OK, True, Fault.UNKNOWN, PROVEN),
    (A.OK, (A.OK, A.OK), None, True, Fault.UNKNOWN, PROVEN),
    (A.OK, (A.OK, A.OK), A.DENIED, True, Fault.UNKNOWN, PROVEN),
    # a state that is told needs nobody to vouch for the caller
    *(
        (state, uses, control, False, Fault.CUSTOMER, marked(effect))
        for (state, effect), uses, control in product(
            (
                (A.DISABLED, Effect.KEY_DISABLED),
                (A.PENDING_DELETION, Effect.KEY_DELETION_SCHEDULED),
                (A.PENDING_IMPORT, Effect.KEY_MATERIAL_REMOVED),
                (A.UNAVAILABLE, Effect.KEY_STORE_DISCONNECTED),
            ),
            ((A.OK, A.OK), (A.DENIED, A.DENIED), (A.UNREACHABLE, A.UNREACHABLE), (A.NOT_FOUND,), (A.EXPIRED,)),
            (A.OK, A.DENIED, A.UNREACHABLE, None),
        )
    ),
    # a use that fails by the key's state, whatever DescribeKey may say
    (A.OK, (A.DISABLED, A.DISABLED), A.OK, False, Fault.CUSTOMER, DISABLED),
    (A.DENIED, (A.PENDING_DELETION, A.PENDING_DELETION), None, False, Fault.CUSTOMER, PENDING),
    (A.UNREACHABLE, (A.DISABLED, A.UNREACHABLE), None, False, Fault.CUSTOMER, DISABLED),
    # only the permission to look is missing: no loss, and no proof
    (A.DENIED, (A.OK, A.OK), A.OK, None, Fault.UNKNOWN, NONE),
    (A.DENIED, (A.OK, A.OK), A.DENIED, None, Fault.UNKNOWN, NONE),
    # refusals, and the four things a control may say
    (A.OK, (A.DENIED, A.DENIED), A.OK, False, Fault.CUSTOMER, REVOKED),
    (A.DENIED, (A.DENIED, A.DENIED), A.OK, False, Fault.CUSTOMER, REVOKED),
    (A.OK, (A.DENIED, A.OK), A.OK, False, Fault.CUSTOMER, REDUCED),
    (A.DENIED, (A.OK, A.DENIED), A.OK, False, Fault.CUSTOMER, REDUCED),
    *(
        (state, uses, control, None, Fault.VENDOR, NONE)
        for state, uses, control in product(
            (A.OK, A.DENIED),
            ((A.DENIED, A.DENIED), (A.OK, A.DENIED)),
            (A.DENIED, A.CREDENTIALS, A.DISABLED, A.NOT_FOUND, A.PATH_BLOCKED),
        )
    ),
    *(
        (state, (A.DENIED, A.DENIED), control, None, Fault.PROVIDER, NONE)
        for state, control in product((A.OK, A.DENIED), (A.UNREACHABLE, A.SERVER_FAULT))
    ),
    (A.DENIED, (A.DENIED, A.DENIED), A.THROTTLED, None, Fault.VENDOR, NONE),
    (A.DENIED, (A.DENIED, A.DENIED), None, False, Fault.UNKNOWN, marked(Effect.ACCESS_REVOKED, fault=UNBLAMED)),
    (A.OK, (A.OK, A.DENIED), None, False, Fault.UNKNOWN, marked(Effect.ACCESS_REDUCED, fault=UNBLAMED)),
    # not found
    (A.NOT_FOUND, (A.NOT_FOUND, A.NOT_FOUND), A.OK, False, Fault.CUSTOMER, GONE),
    (A.NOT_FOUND, (A.DENIED, A.DENIED), A.OK, False, Fault.CUSTOMER, GONE),
    (A.DENIED, (A.NOT_FOUND, A.NOT_FOUND), A.OK, False, Fault.CUSTOMER, GONE),
    (A.NOT_FOUND, (A.NOT_FOUND,), A.DENIED, None, Fault.VENDOR, NONE),
    (A.NOT_FOUND, (A.NOT_FOUND,), A.UNREACHABLE, None, Fault.PROVIDER, NONE),
    (A.NOT_FOUND, (A.NOT_FOUND,), None, False, Fault.UNKNOWN, marked(Effect.USE_FAILED, fault=UNBLAMED)),
    # contradictions
    (A.NOT_FOUND, (A.OK, A.OK), A.OK, None, Fault.UNKNOWN, NONE),
    (A.OK, (A.NOT_FOUND, A.NOT_FOUND), A.OK, None, Fault.UNKNOWN, NONE),
    (A.NOT_FOUND, (A.DISABLED, A.DISABLED), A.OK, None, Fault.UNKNOWN, NONE),
    # no answer
    *(
        (state, (use, use), control, None, fault, NONE)
        for state, use in (
            (A.UNREACHABLE, A.UNREACHABLE),
            (A.OK, A.SERVER_FAULT),
            (A.SERVER_FAULT, A.OK),
            (A.NOT_UNDERSTOOD, A.NOT_UNDERSTOOD),
            (A.DENIED, A.UNREACHABLE),
            (A.UNREACHABLE, A.DENIED),
        )
        for control, fault in ((A.OK, Fault.UNKNOWN), (A.UNREACHABLE, Fault.PROVIDER), (None, Fault.UNKNOWN))
    ),
    (A.THROTTLED, (A.THROTTLED, A.THROTTLED), A.THROTTLED, None, Fault.VENDOR, NONE),
    (A.CREDENTIALS, (A.CREDENTIALS, A.CREDENTIALS), None, None, Fault.VENDOR, NONE),
    (A.PATH_BLOCKED, (A.PATH_BLOCKED, A.PATH_BLOCKED), A.PATH_BLOCKED, None, Fault.VENDOR, NONE),
]


@pytest.mark.parametrize(("state", "uses", "control", "passed", "fault", "marks"), ROWS_OF_AWS)
def test_state_use_and_control_come_to_a_verdict(
    state: Answer,
    uses: tuple[Answer, ...],
    control: Answer | None,
    passed: bool | None,
    fault: Fault,
    marks: Marked,
) -> None:
    found = verdict(findings(state, *uses, control=control))

    assert (passed, fault, marks) == (found.passed, found.fault, opened(found))


def test_the_table_has_every_cell_and_every_outcome_its_words() -> None:
    assert {state: set(Use) for state in State} == {state: set(row) for state, row in TABLE.items()}
    assert set(Outcome) == set(ROWS)
    assert set(Outcome) == {outcome for row in TABLE.values() for outcome in row.values()}


def test_an_answer_that_no_table_knows_is_no_answer() -> None:
    spoken = {answer for answer in Answer if answer not in CANNOT_TELL} - {A.OK}
    # of the other clouds: AWS never says them, and saying nothing is the safe reading
    assert {A.NOT_YET_VALID, A.CONTAINER_LOST, A.IDENTITY_REFUSED} == spoken - STATES.keys()
    assert spoken - STATES.keys() == spoken - USES.keys()


@pytest.mark.parametrize(("state", "use"), list(product(Answer, Answer)))
def test_nothing_that_cannot_be_told_ever_blames_the_customer(state: Answer, use: Answer) -> None:
    """Every pair of answers with a caller that is broken, or a provider that is away: no loss by a refusal."""
    told = {A.DISABLED, A.PENDING_DELETION, A.PENDING_IMPORT, A.UNAVAILABLE, A.EXPIRED}
    for control in (A.DENIED, A.CREDENTIALS, A.UNREACHABLE, A.SERVER_FAULT, A.THROTTLED):
        found = verdict(findings(state, use, use, control=control))
        if not {state, use} & told:
            assert Fault.CUSTOMER is not found.fault
            assert found.passed is not False


def test_the_date_of_the_answer_is_the_deadline_with_its_source() -> None:
    end = T0 + timedelta(days=7)
    found = verdict(findings(A.PENDING_DELETION, A.OK, A.OK, end=end))

    assert {(end, "DescribeKey DeletionDate")} == {(m.deadline, m.deadline_source) for m in found.marks[ACME_KEY]}


def test_a_key_of_the_vendors_own_is_the_vendors_fault() -> None:
    found = verdict(findings(A.DISABLED, A.DISABLED, A.DISABLED), of=subject(owner=KeyOwner.VENDOR))

    assert Fault.VENDOR is found.fault
    assert {(Effect.KEY_DISABLED, Fault.VENDOR)} == opened(found, VENDOR_KEY)


# ----------------------------------------------------------------------------------------------------------- key stores


@pytest.mark.parametrize("by", ["register", "answer"])
def test_a_key_in_a_key_store_is_proven_by_a_real_use_only(by: str) -> None:
    of = subject(store="cks-1" if by == "register" else None)
    told = by == "answer"

    assert verdict(findings(A.OK, A.OK, A.OK, store=told), of=of).passed is None
    assert verdict(findings(A.OK, A.OK, A.OK, store=told, real=True), of=of).passed is True
    broken = verdict(findings(A.OK, A.UNAVAILABLE, A.UNAVAILABLE, store=told), of=of)
    assert {(Effect.KEY_STORE_DISCONNECTED, Fault.CUSTOMER)} == opened(broken)


def test_a_canary_that_was_decrypted_proves_a_key_whose_state_is_not_seen() -> None:
    canary = finding(Question.CANARY, A.OK, detail={REAL: "yes"})
    found = verdict([*findings(A.DENIED, A.OK, A.OK), canary])

    assert (True, PROVEN) == (found.passed, opened(found))
    assert "DescribeKey is refused" in found.words


def test_a_canary_that_fails_outweighs_what_is_permitted() -> None:
    assert DISABLED == opened(verdict([*findings(A.OK, A.OK, A.OK), finding(Question.CANARY, A.DISABLED)]))


# ---------------------------------------------------------------------------------------------- what events said before


def condition(effect: Effect, slot: Slot, minutes: float, **more: object) -> Condition:
    fault = more.pop("fault", Fault.CUSTOMER)
    means = more.pop("means", None)
    at = T0 + minutes * MINUTE
    mark = Mark(id=effect, at=at, origin=Origin.EVENT, effect=effect, reason="an event", **more)  # type: ignore[arg-type]  # a table's fields
    return Condition(slot=slot, means=means, effect=effect, since=at, clock_from=at, fault=fault, latest=mark)  # type: ignore[arg-type]  # same


def after(*conditions: Condition, changed: float = -60, passed: datetime | None = PASSED) -> Before:
    return Before(
        passed_at=passed,
        changed_at=T0 + changed * MINUTE,
        open=conditions,
        open_effects=frozenset(one.effect for one in conditions),
    )


def test_an_event_says_whose_fault_and_by_which_means_when_no_control_does() -> None:
    policy = condition(Effect.ACCESS_CHANGED, Slot.QUESTION, -1, means=Means.KEY_POLICY)
    found = verdict(findings(A.DENIED, A.DENIED, A.DENIED, control=None), after(policy, changed=-1))

    assert Fault.CUSTOMER is found.fault
    assert {Means.KEY_POLICY} == {mark.means for mark in found.marks[ACME_KEY]}


def test_an_event_of_the_vendors_own_side_outweighs_a_sound_control() -> None:
    policy = condition(Effect.ACCESS_CHANGED, Slot.QUESTION, -1, means=Means.ROLE_OR_POLICY, fault=Fault.VENDOR)

    assert Fault.VENDOR is verdict(findings(A.OK, A.DENIED, A.DENIED), after(policy, changed=-1)).fault


def test_events_that_blame_both_sides_blame_nobody() -> None:
    ours = condition(Effect.ACCESS_CHANGED, Slot.QUESTION, -1, means=Means.ROLE_OR_POLICY, fault=Fault.VENDOR)
    theirs = condition(Effect.ACCESS_CHANGED, Slot.QUESTION, -1, means=Means.KEY_POLICY)

    assert Fault.UNKNOWN is verdict(findings(A.OK, A.DENIED, A.DENIED), after(ours, theirs, changed=-1)).fault


@pytest.mark.parametrize("control", [A.OK, None])
def test_a_text_of_the_vendors_own_policy_excuses_the_customer(control: Answer | None) -> None:
    found = verdict(findings(A.DENIED, A.DENIED, A.DENIED, control=control, detail={TEXT_BLAMES: "vendor"}))

    assert (False, Fault.VENDOR) == (found.passed, found.fault)


def test_a_text_that_blames_the_customer_does_so_only_with_a_control() -> None:
    found = verdict(findings(A.DENIED, A.DENIED, A.DENIED, control=None, detail={TEXT_BLAMES: "customer"}))

    assert Fault.UNKNOWN is found.fault


def test_a_key_whose_deletion_is_known_and_that_refuses_everything_gets_no_second_loss() -> None:
    doomed = condition(Effect.KEY_DELETION_SCHEDULED, Slot.DELETION, -60)
    found = verdict(findings(A.DENIED, A.DENIED, A.DENIED), after(doomed))

    assert {Effect.USE_FAILED} == {mark.effect for mark in found.marks[ACME_KEY]}
    assert "may be gone" in found.words


@pytest.mark.parametrize("control", [A.OK, A.DENIED, A.UNREACHABLE, None])
def test_a_key_whose_deletion_is_known_and_that_is_not_found_is_destroyed(control: Answer | None) -> None:
    doomed = condition(Effect.KEY_DELETION_SCHEDULED, Slot.DELETION, -60)

    assert GONE == opened(verdict(findings(A.NOT_FOUND, A.NOT_FOUND, control=control), after(doomed, passed=None)))


def test_a_key_that_no_probe_ever_found_may_be_named_wrongly() -> None:
    found = verdict(findings(A.NOT_FOUND, A.NOT_FOUND), Before())

    assert (False, Fault.UNKNOWN, marked(Effect.USE_FAILED, fault=UNBLAMED)) == (
        found.passed,
        found.fault,
        opened(found),
    )
    assert "wrong ARN or Region" in found.words


# ------------------------------------------------------------------------------------------------- eventual consistency


@pytest.mark.parametrize(("minutes", "wait"), [(0.5, 0.5), (1, 4), (4, 1), (5, 10), (14, 1)])
def test_a_green_probe_minutes_after_a_disable_proves_nothing(minutes: float, wait: float) -> None:
    disabled = condition(Effect.KEY_DISABLED, Slot.DISABLED, -minutes)
    found = verdict(findings(A.OK, A.OK, A.OK), after(disabled, changed=-minutes))

    assert (None, {}) == (found.passed, found.marks)
    assert wait * MINUTE == found.again_after


def test_after_the_settling_time_it_does() -> None:
    disabled = condition(Effect.KEY_DISABLED, Slot.DISABLED, -15)
    found = verdict(findings(A.OK, A.OK, A.OK), after(disabled, changed=-15))

    assert (True, PROVEN, None) == (found.passed, opened(found), found.again_after)


def test_a_green_probe_right_after_a_repair_does_too() -> None:
    assert verdict(findings(A.OK, A.OK, A.OK), after(changed=-1)).passed is True


@pytest.mark.parametrize("use", [A.DENIED, A.DISABLED])
def test_a_use_that_fails_right_after_a_repair_is_asked_again_before_it_counts(use: Answer) -> None:
    early = verdict(findings(A.OK, use, use), after(changed=-3))
    assert (None, {}, 2 * MINUTE) == (early.passed, early.marks, early.again_after)

    assert verdict(findings(A.OK, use, use), after(changed=-15)).passed is False


def test_a_state_is_believed_after_a_minute() -> None:
    assert verdict(findings(A.DISABLED, A.OK, A.OK), after(changed=-0.5)).passed is None
    assert verdict(findings(A.DISABLED, A.OK, A.OK), after(changed=-1)).passed is False


def test_a_loss_that_nobody_knew_of_is_confirmed_within_the_minute() -> None:
    assert MINUTE == verdict(findings(A.DISABLED, A.OK, A.OK)).again_after
    known = condition(Effect.KEY_DISABLED, Slot.DISABLED, -60)
    assert verdict(findings(A.DISABLED, A.OK, A.OK), after(known)).again_after is None


# --------------------------------------------------------------------------------------------------------- what is over

OVER = [
    (A.DISABLED, (Slot.DELETION,), [Effect.DELETION_CANCELLED]),
    (A.DISABLED, (Slot.MATERIAL,), [Effect.KEY_MATERIAL_RESTORED]),
    (A.OK, (Slot.DISABLED,), [Effect.KEY_ENABLED]),
    (A.OK, (Slot.DELETION,), [Effect.DELETION_CANCELLED, Effect.KEY_ENABLED]),
    (A.PENDING_IMPORT, (Slot.DELETION,), [Effect.DELETION_CANCELLED, Effect.KEY_ENABLED]),
    (A.PENDING_DELETION, (Slot.DISABLED, Slot.MATERIAL), []),
    (A.UNAVAILABLE, (Slot.DISABLED, Slot.DELETION), []),
    (A.DENIED, (Slot.DISABLED, Slot.DELETION, Slot.MATERIAL), []),
]
EFFECT_OF = {
    Slot.DELETION: Effect.KEY_DELETION_SCHEDULED,
    Slot.DISABLED: Effect.KEY_DISABLED,
    Slot.MATERIAL: Effect.KEY_MATERIAL_REMOVED,
}


@pytest.mark.parametrize(("state", "known", "over"), OVER)
def test_a_state_ends_what_cannot_be_beside_it(state: Answer, known: tuple[Slot, ...], over: list[Effect]) -> None:
    conditions = [condition(EFFECT_OF[slot], slot, -60) for slot in known]
    uses = (A.DENIED, A.DENIED)
    found = verdict(findings(state, *uses), after(*conditions))

    marks = sorted((mark for mark in found.marks[ACME_KEY]), key=lambda mark: mark.at)
    assert over == [mark.effect for mark in marks if not mark.id.endswith((":first", ":last"))]
    young = verdict(findings(state, *uses), after(*conditions, changed=-14))
    assert all(mark.id.endswith((":first", ":last")) for mark in young.marks[ACME_KEY])


# ---------------------------------------------------------------------------------------------------- grants and stores


def test_a_missing_grant_is_a_loss_by_that_means_and_nobodys_fault() -> None:
    missing = finding(Question.GRANTS, A.NOT_FOUND, subject="g-1")
    found = verdict([*findings(A.OK, A.OK, A.OK), missing, finding(Question.GRANTS, A.OK, subject="g-2")])

    assert found.passed is False
    assert {(Effect.ACCESS_REVOKED, Means.GRANT, "g-1", None)} == {
        (mark.effect, mark.means, mark.subject, mark.fault) for mark in found.marks[ACME_KEY]
    }


def test_grants_that_cannot_be_listed_are_told_and_take_no_proof_away() -> None:
    found = verdict([*findings(A.OK, A.OK, A.OK), finding(Question.GRANTS, A.DENIED, subject="g-1")])

    assert found.passed is True
    assert "kms:ListGrants" in found.words


def test_a_store_that_fails_takes_the_proof_away() -> None:
    store = finding(Question.CONSUMER, A.UNAVAILABLE, subject="database")
    found = verdict([*findings(A.OK, A.OK, A.OK), store])

    assert found.passed is False
    assert {(Effect.USE_FAILED, "database")} == {(mark.effect, mark.subject) for mark in found.marks[ACME_KEY]}


def test_a_store_that_still_fails_after_the_key_is_back_leaves_only_the_store_open() -> None:
    disabled = condition(Effect.KEY_DISABLED, Slot.DISABLED, -60)
    revoked = condition(Effect.ACCESS_REVOKED, Slot.ACCESS, -60, means=Means.KEY_POLICY)
    store = finding(Question.CONSUMER, A.UNAVAILABLE, subject="database")
    found = verdict([*findings(A.OK, A.OK, A.OK), store], after(disabled, revoked))

    assert {Effect.KEY_ENABLED, Effect.ACCESS_GRANTED, Effect.USE_FAILED} == {m.effect for m in found.marks[ACME_KEY]}


def test_a_store_that_cannot_be_asked_leaves_it_open_whether_the_key_is_proven() -> None:
    found = verdict([*findings(A.OK, A.OK, A.OK), finding(Question.CONSUMER, A.UNREACHABLE, subject="database")])

    assert (None, NONE) == (found.passed, opened(found))


def test_a_failing_store_adds_nothing_to_a_key_that_is_lost() -> None:
    store = finding(Question.CONSUMER, A.UNAVAILABLE, subject="database")

    assert DISABLED == opened(verdict([*findings(A.DISABLED, A.OK, A.OK), store]))


# --------------------------------------------------------------------------------------------------- the vendor's watch


def test_a_broken_caller_is_told_on_the_vendors_watch_and_taken_back_when_it_works() -> None:
    broken = verdict(findings(A.DENIED, A.DENIED, A.DENIED, control=A.DENIED))
    assert {(Effect.ACCESS_REVOKED, Fault.VENDOR)} == opened(broken, VENDOR_WATCH)

    watch = add(Health(subject=VENDOR_WATCH), broken.marks[VENDOR_WATCH])
    look_back = probing.before(Health(subject=ACME_KEY), watch)
    mended = judge(findings(A.OK, A.OK, A.OK), subject(), register(), look_back, at=T0 + MINUTE)
    closed = probing.before(Health(subject=ACME_KEY), add(watch, mended.marks[VENDOR_WATCH]))
    assert frozenset() == closed.watch_open


@pytest.mark.parametrize("control", [A.UNREACHABLE, None])
def test_an_outage_is_told_once_the_last_proof_is_stale(control: Answer | None) -> None:
    found = findings(A.UNREACHABLE, A.UNREACHABLE, A.UNREACHABLE, control=control)
    assert {} == verdict(found, Before(passed_at=PASSED)).marks

    told = verdict(found, Before(passed_at=STALE))
    assert {VENDOR_WATCH} == set(told.marks)
    assert {Effect.PATH_BLOCKED} == {mark.effect for mark in told.marks[VENDOR_WATCH]}


def test_a_key_that_alone_does_not_answer_is_told_as_its_own_question() -> None:
    found = verdict(findings(A.SERVER_FAULT, A.SERVER_FAULT, A.SERVER_FAULT), Before(passed_at=STALE))

    assert {ACME_KEY} == set(found.marks)
    assert {Effect.USE_FAILED} == {mark.effect for mark in found.marks[ACME_KEY]}


def test_an_expiry_comes_into_the_health_once_it_is_near() -> None:
    end = T0 + timedelta(days=29)
    near = verdict(findings(A.OK, A.OK, A.OK, end=end))
    assert {(Effect.EXPIRY_AHEAD, end), (None, None)} == {(m.effect, m.deadline) for m in near.marks[ACME_KEY]}

    assert PROVEN == opened(verdict(findings(A.OK, A.OK, A.OK, end=T0 + timedelta(days=31))))


def test_the_settling_time_is_the_one_of_health() -> None:
    assert SETTLE == probing.CONFIRMATIONS[-1]


# ------------------------------------------------------------------------------------------------- who is told of it


def _told(*steps: Sequence[Signal] | Sequence[Finding]) -> tuple[Story, list[Notice]]:
    """Push records and probes, five minutes apart, the way that they go; return the notices of all."""
    story, notices = Story(), list[Notice]()
    for number, step in enumerate(steps):
        at = T0 + 5 * number * MINUTE
        signals = [replace_at(one, at) for one in step if isinstance(one, Signal)]
        if signals:
            notices += story.push(*signals, now=at)
            continue
        asked = [one for one in step if isinstance(one, Finding)]
        found = judge(asked, subject(), story.register, _before(story), at=at)
        subjects = {ACME_KEY, *found.marks}
        said = Verified(at=at, passed=found.passed, words=found.words)
        marks = {one: found.marks.get(one, ()) for one in subjects}
        changes = advance(marks, story._known(subjects), story.world(), now=at, probed={ACME_KEY: said})
        notices += story._apply(changes)
    return story, notices


def _before(story: Story) -> Before:
    known = story.healths.get(ACME_KEY, Health(subject=ACME_KEY))
    return probing.before(known, story.healths.get(VENDOR_WATCH))


def replace_at(signal: Signal, at: datetime) -> Signal:
    return dataclasses.replace(signal, occurred_at=at, event_id=f"{signal.effect}@{at}")


def signal(effect: Effect, fault: Fault | None = Fault.CUSTOMER, means: Means | None = None) -> Signal:
    return Signal(effect=effect, reason=f"a record says {effect}", key=ACME_KEY, fault=fault, means=means)


GREEN = findings(A.OK, A.OK, A.OK)
REFUSED = findings(A.DENIED, A.DENIED, A.DENIED)
OURS = findings(A.DENIED, A.DENIED, A.DENIED, control=A.DENIED)
OUTAGE = findings(A.DENIED, A.DENIED, A.DENIED, control=A.SERVER_FAULT)
OFF = findings(A.DISABLED, A.DISABLED, A.DISABLED)
CHANGED = signal(Effect.ACCESS_CHANGED, means=Means.KEY_POLICY)
DISABLE = signal(Effect.KEY_DISABLED)
ENABLE = signal(Effect.KEY_ENABLED, None)


def _mails(notices: Sequence[Notice]) -> int:
    return sum(notice.channel == "mail" and notice.reader is Reader.CUSTOMER for notice in notices)


STORIES: list[tuple[str, list[Sequence[Signal] | Sequence[Finding]], bool, Stage | None]] = [
    ("the customer revoked", [GREEN, REFUSED], True, Stage.IMPAIRED),
    ("the vendor is broken", [GREEN, OURS], False, Stage.AT_RISK),
    ("the provider is away", [GREEN, OUTAGE], False, None),
    ("the provider stays away", [GREEN, OUTAGE, OUTAGE, OUTAGE, OUTAGE, OUTAGE], False, Stage.AT_RISK),
    ("the provider comes back", [GREEN, *[OUTAGE] * 5, GREEN], False, Stage.RESOLVED),
    ("the vendor is mended", [GREEN, OURS, GREEN], False, Stage.RESOLVED),
    ("no control, no event", [GREEN, REFUSED[:3]], False, Stage.IMPAIRED),
    ("no control, but an event", [GREEN, [CHANGED], REFUSED[:3]], True, Stage.IMPAIRED),
    ("only the event", [GREEN, [DISABLE]], True, Stage.IMPAIRED),
    ("only the probe", [GREEN, OFF], True, Stage.IMPAIRED),
    ("event and probe", [GREEN, [DISABLE], OFF], True, Stage.IMPAIRED),
    ("the probe contradicts at first", [GREEN, [DISABLE], GREEN], True, Stage.IMPAIRED),
    ("the probe goes on to contradict", [GREEN, [DISABLE], GREEN, GREEN, GREEN], True, Stage.RESOLVED),
    ("an event says repaired", [GREEN, [DISABLE], OFF, [ENABLE]], True, Stage.RECOVERING),
    ("and the probe says so too", [GREEN, [DISABLE], OFF, [ENABLE], GREEN], True, Stage.RESOLVED),
    ("found and repaired without a record", [GREEN, OFF, OFF, OFF, GREEN], True, Stage.RESOLVED),
    ("found, and green too early", [GREEN, OFF, GREEN], True, Stage.IMPAIRED),
]


@pytest.mark.parametrize(("name", "steps", "mailed", "stage"), STORIES, ids=[row[0] for row in STORIES])
def test_records_and_probes_together_tell_whom_they_concern(
    name: str, steps: list[Sequence[Signal] | Sequence[Finding]], mailed: bool, stage: Stage | None
) -> None:
    story, notices = _told(*steps)

    assert mailed == bool(_mails(notices))
    assert ([stage] if stage else []) == [incident.stage for incident in story.incidents.values()]


def test_what_a_record_and_a_probe_find_is_told_once() -> None:
    _, once = _told(GREEN, [DISABLE])
    _, twice = _told(GREEN, [DISABLE], OFF, OFF, OFF)

    assert len(once) == len(twice)


@pytest.mark.parametrize(
    ("control", "fault"), [(A.OK, Fault.VENDOR), (A.DENIED, Fault.VENDOR), (A.UNREACHABLE, Fault.PROVIDER)]
)
@pytest.mark.parametrize("uses", [(A.PATH_BLOCKED, A.PATH_BLOCKED), (A.OK, A.PATH_BLOCKED)])
def test_a_way_that_our_own_endpoint_closes_is_the_vendors_fault_and_no_word_on_the_key(
    uses: tuple[Answer, ...], control: Answer, fault: Fault
) -> None:
    """An endpoint's policy may let the control key through and not this one (aws.md 4)."""
    probed = verdict(findings(A.OK, *uses, control=control), Before(passed_at=STALE))

    assert (None, fault) == (probed.passed, probed.fault)
    told = [mark for marks in probed.marks.values() for mark in marks]
    assert {fault} == {mark.fault for mark in told}
    expected = {ACME_KEY: {Effect.USE_FAILED}} if control is A.OK else {}
    assert expected == {
        key: {mark.effect for mark in marks} for key, marks in probed.marks.items() if key != VENDOR_WATCH
    }
