import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest
from msgspec.structs import replace

from tests.watchdog.clouds.gcp import world
from tests.watchdog.clouds.gcp.world import APP, DATABASE, KEY, OWN, STORAGE, WATCH
from tests.watchdog.stories import Story
from tests.worlds import MINUTE, T0
from watchdog import probing
from watchdog.clouds.gcp.probe import (
    AS,
    DEAD,
    JUSTIFICATIONS,
    LACKS,
    PRIMARY,
    STATES,
    STATUS,
    TABLE,
    USES,
    WORDS,
    Outcome,
    State,
    Use,
    judge,
)
from watchdog.health import SETTLE, Condition, Health, Mark, Origin, Slot, add
from watchdog.health import judge as judged
from watchdog.incidents import VENDOR_WATCH
from watchdog.notices import Notice, Reader, Verified
from watchdog.observation import advance
from watchdog.probing import CANNOT_TELL, Answer, Before, Finding, Probed, Question
from watchdog.register import Contact, Register
from watchdog.signals import Signal
from watchdog.words import Cause, Effect, Fault, Means, Stage

PASSED = T0 - 5 * MINUTE
WATCHDOG = f"watchdog@{WATCH}.iam.gserviceaccount.com"
END = T0 + timedelta(days=30)
A = Answer
F = Fault


def finding(question: Question, answer: Answer, **more: object) -> Finding:
    return Finding(question=question, answer=answer, at=T0, words=f"said {answer}", **more)  # type: ignore[arg-type]  # a table's fields


def states(
    *versions: Answer | None, key: Answer = A.OK, reasons: str | None = None, end: datetime | None = None
) -> list[Finding]:
    """The key, then versions 2 and 3 of it (None: nothing is said of it); 3 is the primary one."""
    detail = {PRIMARY: "3"} | ({} if reasons is None else {JUSTIFICATIONS: reasons})
    found = [finding(Question.STATE, key, subject="GetCryptoKey", detail=detail)]
    for number, answer in enumerate(versions, 2):
        if answer is not None:
            dated = {"deadline": end, "deadline_source": "CryptoKeyVersion destroyTime"} if end else {}
            found.append(finding(Question.STATE, answer, version=str(number), **dated))
    return found


def use(*answers: Answer, who: str = APP) -> list[Finding]:
    names = ("Encrypt", "Decrypt")
    return [
        finding(Question.USE, answer, subject=name, detail={AS: who})
        for name, answer in zip(names, answers, strict=False)
    ]


def store(answer: Answer, **detail: str) -> Finding:
    return finding(Question.CONSUMER, answer, subject="bucket", detail={AS: STORAGE, **detail})


def database(answer: Answer) -> Finding:
    return finding(Question.CONSUMER, answer, subject="db", detail={AS: DATABASE, STATUS: "state SUSPENDED"})


def control(answer: Answer | None) -> list[Finding]:
    return [] if answer is None else [finding(Question.CONTROL, answer)]


def grants(lost: Mapping[str, Mapping[str, str]] | None = None, *, until: datetime | None = None) -> list[Finding]:
    return [
        finding(Question.GRANTS, A.DENIED, subject=email, detail=(lost or {})[email])
        if email in (lost or {})
        else finding(Question.GRANTS, A.OK, subject=email, deadline=until, deadline_source="time limit of the binding")
        for email in (STORAGE, DATABASE, APP)
    ]


FINE = states(A.OK, A.OK)
WORKS = [store(A.OK)]


def verdict(
    found: Sequence[Finding], look_back: Before | None = None, *, of: str = KEY, where: Register | None = None
) -> Probed:
    register = where or world.register()
    return judge(found, register.keys[of], register, look_back or Before(passed_at=PASSED), at=T0)


Marked = frozenset[tuple[Effect | None, Fault | None, str | None]]


def opened(probed: Probed, where: str = KEY) -> Marked:
    return frozenset((mark.effect, mark.fault, mark.version) for mark in probed.marks.get(where, ()))


def marked(*effects: Effect | None, fault: Fault | None = F.CUSTOMER, version: str | None = None) -> Marked:
    return frozenset((effect, fault, version) for effect in effects)


NONE = marked()
PROVEN = marked(None, fault=None)
UNBLAMED = None  # a mark without a fault leaves it as events told it

# ------------------------------------------------------------------------------------------ every row of the verdicts

E = Effect
STATE_ROWS: list[tuple[list[Finding], Marked]] = [
    (states(A.OK, A.DISABLED), marked(E.KEY_DISABLED, version="3")),
    (states(A.DISABLED, A.OK), marked(E.KEY_DISABLED, version="2")),
    (states(A.OK, A.PENDING_DELETION, end=END), marked(E.KEY_DELETION_SCHEDULED, version="3")),
    (states(A.DESTROYED, A.OK), marked(E.KEY_DESTROYED, version="2")),
    (states(A.PENDING_IMPORT, A.OK), marked(E.KEY_MATERIAL_REMOVED, version="2")),
    (states(A.NOT_FOUND, A.OK), marked(E.KEY_DESTROYED, version="2")),
    (
        states(A.DISABLED, A.PENDING_DELETION),
        marked(E.KEY_DISABLED, version="2") | marked(E.KEY_DELETION_SCHEDULED, version="3"),
    ),
    (states(key=A.CONTAINER_LOST), marked(E.CONTAINER_LOST)),
    (states(A.OK, A.CONTAINER_LOST), marked(E.CONTAINER_LOST)),
]


@pytest.mark.parametrize("uses", [[], WORKS, [store(A.DENIED)], use(A.UNREACHABLE), use(A.OK, A.OK), [database(A.OK)]])
@pytest.mark.parametrize("answer", [A.OK, A.DENIED, A.UNREACHABLE, None])
@pytest.mark.parametrize(("found", "marks"), STATE_ROWS)
def test_a_state_decides_whatever_uses_and_control_say(
    found: list[Finding], marks: Marked, answer: Answer | None, uses: list[Finding]
) -> None:
    """A green store does not overrule it: disabling takes effect with a delay (gcp.md 2)."""
    probed = verdict([*found, *uses, *control(answer)])

    assert (False, F.CUSTOMER) == (probed.passed, probed.fault)
    assert marks == opened(probed)


# states, uses, grants, control -> passed, fault, marks on the key
ROWS: list[tuple[list[Finding], list[Finding], list[Finding], Answer | None, bool | None, Fault, Marked]] = [
    (FINE, WORKS, grants(), A.OK, True, F.UNKNOWN, PROVEN),
    (FINE, WORKS, [], None, True, F.UNKNOWN, PROVEN),
    (FINE, use(A.OK, A.OK), [], A.DENIED, True, F.UNKNOWN, PROVEN),
    (states(A.OK, A.OK, key=A.DENIED), WORKS, [], A.OK, True, F.UNKNOWN, PROVEN),
    # enabled, but nobody shows that it may be used: no loss, and no proof
    (FINE, [], [], A.OK, None, F.UNKNOWN, NONE),
    (FINE, [], grants(), A.OK, None, F.UNKNOWN, NONE),
    (FINE, [store(A.NOT_UNDERSTOOD)], [], A.OK, None, F.UNKNOWN, NONE),
    (FINE, [store(A.OK), database(A.NOT_UNDERSTOOD)], [], A.OK, None, F.UNKNOWN, NONE),
    # not found: gone, when it was there before
    (states(key=A.NOT_FOUND), [], [], A.OK, False, F.CUSTOMER, marked(E.KEY_DESTROYED)),
    (states(key=A.NOT_FOUND), use(A.DENIED, A.DENIED), [], A.OK, False, F.CUSTOMER, marked(E.KEY_DESTROYED)),
    (states(key=A.NOT_FOUND), [], [], None, False, F.UNKNOWN, marked(E.USE_FAILED, fault=UNBLAMED)),
    (states(key=A.NOT_FOUND), [], [], A.DENIED, None, F.VENDOR, NONE),
    (states(key=A.NOT_FOUND), [], [], A.UNREACHABLE, None, F.PROVIDER, NONE),
    (states(key=A.NOT_FOUND), WORKS, [], A.OK, None, F.UNKNOWN, NONE),
    # a refusal to look says nothing of the key
    *(
        (states(key=blind), uses, [], A.OK, None, F.UNKNOWN, NONE)
        for blind, uses in product((A.DENIED, A.PATH_BLOCKED), ([], WORKS, use(A.UNREACHABLE)))
    ),
    (states(A.DENIED, None, key=A.OK), WORKS, [], A.OK, None, F.UNKNOWN, NONE),
    (states(key=A.DENIED), [], [], A.DENIED, None, F.VENDOR, NONE),
    (states(key=A.DENIED), [], [], A.UNREACHABLE, None, F.PROVIDER, NONE),
    # the watchdog is a registered user and is refused: the control tells whose side that is
    (FINE, use(A.DENIED, A.DENIED), [], A.OK, False, F.CUSTOMER, marked(E.ACCESS_REVOKED)),
    (FINE, use(A.DENIED, A.OK), [], A.OK, False, F.CUSTOMER, marked(E.ACCESS_REDUCED)),
    (states(key=A.DENIED), use(A.DENIED, A.DENIED), [], A.OK, False, F.CUSTOMER, marked(E.ACCESS_REVOKED)),
    *(
        (FINE, use(A.DENIED, A.DENIED), [], answer, None, F.VENDOR, NONE)
        for answer in (A.DENIED, A.CREDENTIALS, A.DISABLED, A.NOT_FOUND, A.CONTAINER_LOST)
    ),
    *(
        (FINE, use(A.DENIED, A.DENIED), [], answer, None, F.PROVIDER, NONE)
        for answer in (A.UNREACHABLE, A.SERVER_FAULT)
    ),
    (FINE, use(A.DENIED, A.DENIED), [], None, False, F.UNKNOWN, marked(E.ACCESS_REVOKED, fault=UNBLAMED)),
    # the watchdog is none of the users: its own way in says nothing of theirs
    (FINE, use(A.DENIED, A.DENIED, who=WATCHDOG), [], A.OK, False, F.CUSTOMER, marked(E.ACCESS_CHANGED)),
    (FINE, use(A.PATH_BLOCKED, who=WATCHDOG), [], None, False, F.UNKNOWN, marked(E.ACCESS_CHANGED, fault=UNBLAMED)),
    # a store is refused: the control is no witness for its agent, the policy of the key is
    (FINE, [store(A.DENIED)], [], A.OK, False, F.UNKNOWN, marked(E.ACCESS_REVOKED, fault=UNBLAMED)),
    (FINE, [store(A.DENIED)], grants(), A.OK, False, F.UNKNOWN, marked(E.ACCESS_REVOKED, fault=UNBLAMED)),
    (FINE, [store(A.DENIED)], grants({STORAGE: {}}), None, False, F.CUSTOMER, marked(E.ACCESS_REVOKED)),
    (FINE, [store(A.DENIED)], grants({STORAGE: {}}), A.DENIED, False, F.CUSTOMER, marked(E.ACCESS_REVOKED)),
    (
        FINE, [store(A.DENIED)], grants({STORAGE: {DEAD: "yes"}}), A.OK,
        False, F.UNKNOWN, marked(E.ACCESS_REVOKED, fault=UNBLAMED),
    ),
    (FINE, [store(A.DENIED), *use(A.OK, A.OK)], [], A.OK, False, F.UNKNOWN,
     marked(E.ACCESS_REVOKED, fault=UNBLAMED)),
    # a policy that no longer gives what is registered
    (FINE, [], grants({STORAGE: {}}), None, False, F.CUSTOMER, marked(E.ACCESS_REVOKED)),
    (FINE, [], grants({STORAGE: {LACKS: "encrypt"}}), A.OK, False, F.CUSTOMER, marked(E.ACCESS_REDUCED)),
    (FINE, WORKS, grants({DATABASE: {}}), A.OK, False, F.CUSTOMER, marked(E.ACCESS_REVOKED)),
    (FINE, WORKS, grants({STORAGE: {}}), A.OK, False, F.CUSTOMER, marked(E.ACCESS_CHANGED)),
    (FINE, [], grants({STORAGE: {DEAD: "yes"}}), A.OK, False, F.UNKNOWN, marked(E.ACCESS_REVOKED, fault=UNBLAMED)),
    # access reasons
    (states(A.OK, A.OK, reasons=""), [store(A.DENIED)], [], A.OK, False, F.CUSTOMER, marked(E.PATH_BLOCKED)),
    (states(A.OK, A.OK, reasons=""), [], [], A.OK, False, F.CUSTOMER, marked(E.KEY_CHANGED)),
    (states(A.OK, A.OK, reasons=""), WORKS, [], A.OK, True, F.UNKNOWN, PROVEN),
    (states(A.OK, A.OK, reasons="CUSTOMER_INITIATED_ACCESS GOOGLE_INITIATED_SYSTEM_OPERATION"), [], [], A.OK,
     None, F.UNKNOWN, NONE),
    (states(A.OK, A.OK, reasons="CUSTOMER_INITIATED_ACCESS"), [store(A.DENIED)], [], A.OK, False, F.CUSTOMER,
     marked(E.PATH_BLOCKED)),
    # a use that fails by what the key is, or by what is behind it
    (FINE, use(A.UNAVAILABLE, A.UNAVAILABLE), [], A.OK, False, F.CUSTOMER, marked(E.KEY_STORE_DISCONNECTED)),
    (FINE, [store(A.UNAVAILABLE)], [], None, False, F.CUSTOMER, marked(E.KEY_STORE_DISCONNECTED)),
    (states(key=A.DENIED), [store(A.DISABLED)], [], A.OK, False, F.CUSTOMER, marked(E.KEY_DISABLED)),
    # a database that says it is suspended may be behind
    (FINE, [database(A.UNAVAILABLE)], [], A.OK, False, F.UNKNOWN, marked(E.USE_FAILED, fault=UNBLAMED)),
    (FINE, [database(A.UNAVAILABLE), store(A.OK)], [], A.OK, False, F.UNKNOWN,
     marked(E.USE_FAILED, fault=UNBLAMED)),
    # no answer
    *(
        (found, uses, [], answer, None, fault, NONE)
        for found, uses in (
            (states(key=A.UNREACHABLE), []),
            (states(key=A.SERVER_FAULT), WORKS),
            (states(key=A.THROTTLED), use(A.DENIED, A.DENIED)),
            (states(key=A.NOT_UNDERSTOOD), [store(A.DENIED)]),
            (states(A.OK, A.UNREACHABLE), WORKS),
            (FINE, use(A.UNREACHABLE)),
        )
        for answer, fault in ((A.OK, F.UNKNOWN), (A.UNREACHABLE, F.PROVIDER), (None, F.UNKNOWN), (A.DENIED, F.VENDOR))
    ),
    (states(key=A.THROTTLED), [], [], A.THROTTLED, None, F.VENDOR, NONE),
    (states(key=A.CREDENTIALS), [], [], None, None, F.VENDOR, NONE),
    ([], [], [], A.OK, None, F.UNKNOWN, NONE),
]  # fmt: skip


@pytest.mark.parametrize(("found", "uses", "granted", "answer", "passed", "fault", "marks"), ROWS)
def test_states_uses_grants_and_control_come_to_a_verdict(
    found: list[Finding],
    uses: list[Finding],
    granted: list[Finding],
    answer: Answer | None,
    passed: bool | None,
    fault: Fault,
    marks: Marked,
) -> None:
    probed = verdict([*found, *uses, *granted, *control(answer)])

    assert (passed, fault, marks) == (probed.passed, probed.fault, opened(probed))


def test_the_table_has_every_cell_and_every_outcome_its_words() -> None:
    assert {state: set(Use) for state in State} == {state: set(row) for state, row in TABLE.items()}
    assert set(Outcome) == set(WORDS)
    assert set(Outcome) == {outcome for row in TABLE.values() for outcome in row.values()}


def test_an_answer_that_no_table_knows_is_no_answer() -> None:
    # of the other clouds: Google Cloud never says them, and saying nothing is the safe reading
    foreign = {A.EXPIRED, A.NOT_YET_VALID, A.IDENTITY_REFUSED}
    spoken = set(Answer) - CANNOT_TELL
    assert foreign | {A.NOT_FOUND} == spoken - STATES.keys()
    assert foreign == spoken - USES.keys()


@pytest.mark.parametrize(("state", "used"), list(product(Answer, Answer)))
def test_nothing_that_cannot_be_told_ever_blames_the_customer(state: Answer, used: Answer) -> None:
    """Every pair of answers with a caller that is broken, or a provider that is away: no loss by a refusal."""
    told = {A.DISABLED, A.PENDING_DELETION, A.DESTROYED, A.PENDING_IMPORT, A.UNAVAILABLE, A.CONTAINER_LOST}
    for answer in (A.DENIED, A.CREDENTIALS, A.UNREACHABLE, A.SERVER_FAULT, A.THROTTLED):
        probed = verdict([*states(key=state), *use(used, used), *control(answer)])
        if not {state, used} & told:
            assert F.CUSTOMER is not probed.fault
            assert not {fault for _, fault, _ in opened(probed)} & {F.CUSTOMER}


@pytest.mark.parametrize("silent", sorted(CANNOT_TELL))
def test_silence_is_never_called_a_loss_nor_a_proof(silent: Answer) -> None:
    probed = verdict([*states(key=silent), *use(silent, silent), store(silent), *control(A.OK)])

    assert probed.passed is None
    assert KEY not in probed.marks
    assert "revoked" not in probed.words


def test_a_key_of_the_vendors_own_blames_nobody_else() -> None:
    one = finding(Question.STATE, A.DISABLED, version="1")

    probed = verdict([finding(Question.STATE, A.OK), one], of=OWN)

    assert marked(E.KEY_DISABLED, fault=F.VENDOR, version="1") == opened(probed, OWN)


# ------------------------------------------------------------------------------------------------------------ versions


def test_the_date_of_a_destruction_and_its_source_come_with_the_mark() -> None:
    probed = verdict(states(A.OK, A.PENDING_DELETION, end=END))

    assert {(END, "CryptoKeyVersion destroyTime", "3")} == {
        (mark.deadline, mark.deadline_source, mark.version) for mark in probed.marks[KEY]
    }


def test_a_version_that_is_registered_as_out_of_use_is_no_matter() -> None:
    retired = finding(Question.STATE, A.DESTROYED, version="1")

    assert verdict([*FINE, retired, *WORKS]).passed is True


def test_it_is_said_whether_old_data_or_new_data_is_hit() -> None:
    assert "new data can be written" in verdict(states(A.DISABLED, A.OK)).words
    assert "nothing can be written" in verdict(states(A.OK, A.DISABLED)).words


@pytest.mark.parametrize("answer", [A.DISABLED, A.DESTROYED])
def test_an_unknown_version_that_was_never_seen_well_is_a_question_and_no_loss(answer: Answer) -> None:
    strange = finding(Question.STATE, answer, version="4")

    first = verdict([*FINE, strange, *WORKS], Before())
    later = verdict([*FINE, strange, *WORKS])

    assert marked(E.KEY_CHANGED, fault=UNBLAMED) == opened(first)
    assert "in_use: false" in first.words
    assert marked(probing.EFFECTS[answer], version="4") == opened(later)


def test_an_unknown_version_whose_clock_runs_is_told_at_once() -> None:
    strange = finding(Question.STATE, A.PENDING_DELETION, version="4", deadline=END)

    assert marked(E.KEY_DELETION_SCHEDULED, version="4") == opened(verdict([*FINE, strange, *WORKS], Before()))


def test_a_version_that_was_never_found_may_be_wrongly_registered() -> None:
    probed = verdict(states(A.NOT_FOUND, A.OK), Before())

    assert marked(E.USE_FAILED, fault=UNBLAMED, version="2") == opened(probed)
    assert probed.fault is F.UNKNOWN


def test_the_known_end_of_one_version_says_nothing_of_another_that_is_missing() -> None:
    health = history(mark(E.KEY_DELETION_SCHEDULED, T0 - 90 * MINUTE, version="3", deadline=END))

    probed = verdict(states(A.NOT_FOUND, A.PENDING_DELETION, end=END), probing.before(health))

    assert (E.USE_FAILED, None, "2") in opened(probed)


def test_a_right_that_is_gone_is_no_question_when_one_of_two_databases_already_stands_still() -> None:
    """Two databases of one agent: the one that still runs only has not noticed yet."""
    stands = finding(Question.CONSUMER, A.UNAVAILABLE, subject="db-2", detail={AS: DATABASE, STATUS: "SUSPENDED"})

    probed = verdict([*FINE, database(A.OK), stands, *grants({DATABASE: {}})])

    assert (E.ACCESS_REVOKED, F.CUSTOMER, None) in opened(probed)


# ------------------------------------------------------------------------------------------------------- looking back


def mark(effect: Effect, at: datetime, origin: Origin = Origin.EVENT, **more: object) -> Mark:
    return Mark(id=f"{effect}:{at}:{more}", at=at, origin=origin, effect=effect, reason="told", **more)  # type: ignore[arg-type]  # a table's fields


def history(*marks: Mark, passed_at: datetime | None = None) -> Health:
    proof = [Mark(id="p", at=passed_at, origin=Origin.PROBE, effect=None, reason="well")] if passed_at else []
    return add(Health(subject=KEY), [*marks, *proof])


def after(health: Health, probed: Probed) -> list[Condition]:
    return list(judged(add(health, probed.marks.get(KEY, ()))).conditions)


def test_a_green_store_minutes_after_a_disable_proves_nothing() -> None:
    health = history(mark(E.KEY_DISABLED, T0 - 3 * MINUTE, version="3", fault=F.CUSTOMER))

    probed = verdict([*FINE, *WORKS], probing.before(health))

    assert probed.passed is None
    assert NONE == opened(probed)
    assert probed.again_after == 2 * MINUTE


def test_a_bad_state_seconds_after_a_repair_may_be_the_one_of_before() -> None:
    health = history(
        mark(E.KEY_DISABLED, T0 - 90 * MINUTE, version="3"), mark(E.KEY_ENABLED, T0 - MINUTE / 2, version="3")
    )

    soon = verdict(states(A.OK, A.DISABLED), probing.before(health))

    assert (None, NONE) == (soon.passed, opened(soon))


def test_enabling_works_at_once_so_a_bad_state_is_believed_after_a_minute() -> None:
    health = history(
        mark(E.KEY_DISABLED, T0 - 90 * MINUTE, version="3"), mark(E.KEY_ENABLED, T0 - 2 * MINUTE, version="3")
    )

    assert verdict(states(A.OK, A.DISABLED), probing.before(health)).passed is False


def test_a_refusal_may_lag_behind_a_grant_for_longer() -> None:
    health = history(
        mark(E.ACCESS_REVOKED, T0 - 90 * MINUTE, means=Means.IAM_BINDING),
        mark(E.ACCESS_GRANTED, T0 - 2 * MINUTE, means=Means.IAM_BINDING),
    )

    assert verdict([*FINE, store(A.DENIED)], probing.before(health)).passed is None


def test_what_is_over_for_one_version_ends_for_that_one_only() -> None:
    health = history(
        mark(E.KEY_DISABLED, T0 - 90 * MINUTE, version="2", fault=F.CUSTOMER),
        mark(E.KEY_DISABLED, T0 - 80 * MINUTE, version="3", fault=F.CUSTOMER),
    )

    left = after(health, verdict(states(A.OK, A.DISABLED), probing.before(health)))

    assert [(Slot.DISABLED, "3")] == [(one.slot, one.version) for one in left]


def test_a_restored_version_is_still_disabled() -> None:
    health = history(mark(E.KEY_DELETION_SCHEDULED, T0 - 90 * MINUTE, version="3", fault=F.CUSTOMER, deadline=END))

    left = after(health, verdict(states(A.OK, A.DISABLED), probing.before(health)))

    assert [(Slot.DISABLED, "3", F.CUSTOMER)] == [(one.slot, one.version, one.fault) for one in left]


def test_a_state_without_a_proof_ends_what_it_excludes_and_is_no_proof() -> None:
    health = history(mark(E.KEY_DELETION_SCHEDULED, T0 - 90 * MINUTE, version="3", deadline=END))

    probed = verdict(FINE, probing.before(health))

    assert probed.passed is None
    assert [] == after(health, probed)
    assert None not in {effect for effect, _, _ in opened(probed)}


def test_material_that_was_imported_again_ends_even_a_destruction() -> None:
    health = history(mark(E.KEY_DESTROYED, T0 - 90 * MINUTE, version="2", fault=F.CUSTOMER))

    probed = verdict([*FINE, *WORKS], probing.before(health))

    assert probed.passed is True
    assert [] == after(health, probed)
    assert T0 <= (judged(add(health, probed.marks[KEY])).proven_at or PASSED)


def test_a_key_that_is_found_was_not_destroyed_for_its_name_is_given_only_once() -> None:
    health = history(mark(E.KEY_DESTROYED, T0 - 90 * MINUTE, fault=F.CUSTOMER))

    assert [] == after(health, verdict([*FINE, *WORKS], probing.before(health)))
    assert [] == after(health, verdict(FINE, probing.before(health)))
    assert [Slot.DESTROYED, Slot.DELETION] == [
        one.slot for one in after(health, verdict(states(A.OK, A.PENDING_DELETION), probing.before(health)))
    ]


def test_minutes_after_a_change_a_state_ends_nothing() -> None:
    health = history(
        mark(E.KEY_DISABLED, T0 - 90 * MINUTE, version="3"), mark(E.KEY_CHANGED, T0 - 3 * MINUTE, version="2")
    )

    assert NONE == opened(verdict(FINE, probing.before(health)))


def test_an_api_that_answers_again_ends_the_loss_of_its_container_only() -> None:
    place = f"billing of projects/{world.GLOBEX}"
    health = history(
        mark(E.CONTAINER_LOST, T0 - 90 * MINUTE, subject=place, fault=F.CUSTOMER),
        mark(E.KEY_DISABLED, T0 - 80 * MINUTE, version="3", fault=F.CUSTOMER),
    )

    left = after(health, verdict(states(A.OK, A.DISABLED), probing.before(health)))

    assert [(Slot.DISABLED, "3")] == [(one.slot, one.version) for one in left]


@pytest.mark.parametrize(
    ("open_mark", "found", "passed"),
    [
        # the grant of the database's agent was taken: a green bucket is no proof of it
        (mark(E.ACCESS_REVOKED, T0 - 90 * MINUTE, means=Means.IAM_BINDING, subject=f"serviceAccount:{DATABASE}"),
         WORKS, None),
        (mark(E.ACCESS_REVOKED, T0 - 90 * MINUTE, means=Means.IAM_BINDING, subject=f"serviceAccount:{DATABASE}"),
         [*WORKS, *grants()], True),
        (mark(E.ACCESS_REVOKED, T0 - 90 * MINUTE, means=Means.IAM_BINDING, subject=f"serviceAccount:{STORAGE}"),
         WORKS, True),
        # a deny policy is not seen in the policy of the key: only uses settle it
        (mark(E.ACCESS_REVOKED, T0 - 90 * MINUTE, means=Means.ORG_CONTROL, subject=DATABASE),
         [*WORKS, *grants()], None),
        (mark(E.ACCESS_REVOKED, T0 - 90 * MINUTE, means=Means.ORG_CONTROL, subject=DATABASE),
         [*WORKS, database(A.OK)], True),
        (mark(E.USE_FAILED, T0 - 90 * MINUTE, cause=Cause.ACCESS_DENIED, subject=DATABASE), [*WORKS, *grants()], None),
        (mark(E.ACCESS_CHANGED, T0 - 90 * MINUTE, means=Means.ORG_CONTROL, subject="organizations/1"),
         [*WORKS, *grants()], None),
        (mark(E.ACCESS_CHANGED, T0 - 90 * MINUTE, means=Means.ORG_CONTROL, subject="organizations/1"),
         [*WORKS, database(A.OK), *use(A.OK, A.OK)], True),
        (mark(E.PROTECTION_WEAKENED, T0 - 90 * MINUTE), WORKS, True),
        # the states of the versions settle what a use said of them, and the key its access reasons
        (mark(E.USE_FAILED, T0 - 90 * MINUTE, cause=Cause.DISABLED, subject="3", version="3"), WORKS, True),
        (mark(E.PATH_BLOCKED, T0 - 90 * MINUTE, operation="UpdateCryptoKey"), WORKS, True),
        (mark(E.PATH_BLOCKED, T0 - 90 * MINUTE, subject="accessPolicies/1/servicePerimeters/p"), WORKS, None),
        (mark(E.PATH_BLOCKED, T0 - 90 * MINUTE, subject=STORAGE), WORKS, True),
    ],
)  # fmt: skip
def test_a_use_by_one_agent_is_no_proof_of_anothers_access(
    open_mark: Mark, found: list[Finding], passed: bool | None
) -> None:
    health = history(open_mark)

    probed = verdict([*FINE, *found], probing.before(health))

    assert passed is probed.passed
    assert (passed is True) == (None in {effect for effect, _, _ in opened(probed)})


def test_policies_that_give_everything_again_end_a_lost_grant() -> None:
    health = history(mark(E.ACCESS_REVOKED, T0 - 90 * MINUTE, means=Means.IAM_BINDING, fault=F.CUSTOMER))

    assert [] == after(health, verdict([*FINE, *grants()], probing.before(health)))


def test_a_principal_that_is_not_seen_is_named_although_the_key_passes() -> None:
    probed = verdict([*FINE, *WORKS])

    assert probed.passed is True
    assert DATABASE in probed.words
    assert STORAGE not in probed.words.partition("Whether")[2]


def test_what_an_event_said_of_the_side_outranks_the_control() -> None:
    health = history(mark(E.ACCESS_REVOKED, T0 - 90 * MINUTE, means=Means.IDENTITY, fault=F.VENDOR, subject=APP))

    probed = verdict([*FINE, *use(A.DENIED, A.DENIED), *control(A.OK)], probing.before(health))

    assert F.VENDOR is probed.fault


def test_a_perimeter_that_may_be_the_vendors_own_blames_nobody() -> None:
    blocked = [*FINE, *use(A.PATH_BLOCKED, A.PATH_BLOCKED), *control(A.OK)]
    document = world.document()
    assert document.vendor.gcp
    without = replace(
        document, vendor=replace(document.vendor, gcp=replace(document.vendor.gcp, service_perimeters=[]))
    )

    assert marked(E.PATH_BLOCKED, fault=UNBLAMED) == opened(verdict(blocked))
    assert marked(E.PATH_BLOCKED) == opened(verdict(blocked, where=Register(without)))


# ----------------------------------------------------------------------------------------------- timed grants, watch


def test_a_grant_that_ends_is_told_once_and_is_over_when_it_has_no_end_any_more() -> None:
    until = T0 + timedelta(days=9)
    health = history(passed_at=PASSED)

    first = verdict([*FINE, *WORKS, *grants(until=until)], probing.before(health))
    health = add(health, first.marks[KEY])
    again = verdict([*FINE, *WORKS, *grants(until=until)], probing.before(health))
    later = T0 + 5 * MINUTE
    register = world.register()
    over = judge([*FINE, *WORKS, *grants()], register.keys[KEY], register, probing.before(health), at=later)

    (condition,) = judged(health).conditions
    assert (Slot.EXPIRY, until, "time limit of the binding") == (
        condition.slot, condition.latest.deadline, condition.latest.deadline_source
    )  # fmt: skip
    assert {None} == {effect for effect, _, _ in opened(again)}
    assert [] == after(health, over)


def test_a_caller_that_is_broken_marks_the_watch_and_a_working_one_ends_that() -> None:
    probed = verdict([*states(key=A.CREDENTIALS)])
    assert marked(E.ACCESS_REVOKED, fault=F.VENDOR) == opened(probed, VENDOR_WATCH)

    back = verdict(
        [*FINE, *WORKS], Before(passed_at=PASSED, watch_open=frozenset({probing.way_of(world.register().keys[KEY])}))
    )
    assert E.ACCESS_GRANTED in {effect for effect, _, _ in opened(back, VENDOR_WATCH)}


def test_being_blind_for_long_is_told_to_the_vendor_and_is_no_loss() -> None:
    probed = verdict([*states(key=A.DENIED), *WORKS, *control(A.OK)], Before(passed_at=T0 - 60 * MINUTE))

    assert (None, F.UNKNOWN) == (probed.passed, probed.fault)
    assert {(E.USE_FAILED, Cause.TRANSIENT)} == {(one.effect, one.cause) for one in probed.marks[KEY]}
    assert "cloudkms.viewer" in probed.words


def test_a_loss_is_confirmed_soon_and_then_at_the_usual_pace() -> None:
    known = history(mark(E.KEY_DISABLED, T0 - 90 * MINUTE, version="3"))

    assert MINUTE == verdict(states(A.OK, A.DISABLED)).again_after
    assert verdict(states(A.OK, A.DISABLED), probing.before(known)).again_after is None
    assert SETTLE == 15 * MINUTE


# ------------------------------------------------------------------------------------------------- who is told of it


def register_with_people() -> Register:
    document = world.document()
    owner = Contact(name="Kay Owner", email="kay@globex.example")
    return Register(replace(document, customers=[replace(one, contacts=[owner]) for one in document.customers]))


def told(*steps: Sequence[Signal] | Sequence[Finding], minutes: int = 5) -> tuple[Story, list[Notice]]:
    """Push records and probes, some minutes apart, the way that they go; return the notices of all."""
    story, notices = Story(register=register_with_people()), list[Notice]()
    for number, step in enumerate(steps):
        at = T0 + minutes * number * MINUTE
        signals = [one for one in step if isinstance(one, Signal)]
        if signals:
            dated = [dataclasses.replace(one, occurred_at=at, event_id=f"{one.effect}@{at}") for one in signals]
            notices += story.push(*dated, now=at)
            continue
        asked = [one for one in step if isinstance(one, Finding)]
        known = probing.before(story.healths.get(KEY, Health(subject=KEY)), story.healths.get(VENDOR_WATCH))
        probed = judge(asked, story.register.keys[KEY], story.register, known, at=at)
        marks = {one: probed.marks.get(one, ()) for one in {KEY, *probed.marks}}
        said = {KEY: Verified(at=at, passed=probed.passed, words=probed.words)}
        notices += story._apply(advance(marks, story._known(marks), story.world(), now=at, probed=said))
    return story, notices


def record(effect: Effect, **more: Any) -> Signal:
    return Signal(effect=effect, reason=f"a record says {effect}", key=KEY, fault=F.CUSTOMER, **more)


def mails(notices: Sequence[Notice]) -> int:
    return sum(notice.channel == "mail" and notice.reader is Reader.CUSTOMER for notice in notices)


GREEN = [*FINE, *WORKS, database(A.OK), *use(A.OK, A.OK), *grants()]
LOSSES: list[tuple[Signal, list[Finding], Stage]] = [
    (record(E.KEY_DISABLED, version="3"), states(A.OK, A.DISABLED), Stage.IMPAIRED),
    (record(E.KEY_DISABLED, version="2"), states(A.DISABLED, A.OK), Stage.IMPAIRED),
    (record(E.KEY_DELETION_SCHEDULED, version="2", deadline=END), states(A.PENDING_DELETION, A.OK, end=END),
     Stage.DELETION_SCHEDULED),
    (record(E.KEY_DESTROYED, version="2"), states(A.DESTROYED, A.OK), Stage.LOST),
    (record(E.KEY_STORE_DISCONNECTED), [*FINE, *use(A.UNAVAILABLE)], Stage.IMPAIRED),
    (record(E.ACCESS_REVOKED, means=Means.IAM_BINDING, subject=STORAGE), [*FINE, *grants({STORAGE: {}})],
     Stage.IMPAIRED),
    (record(E.ACCESS_REDUCED, means=Means.IAM_BINDING, subject=STORAGE),
     [*FINE, *grants({STORAGE: {LACKS: "encrypt"}})], Stage.IMPAIRED),
    (record(E.PATH_BLOCKED, operation="UpdateCryptoKey"), [*states(A.OK, A.OK, reasons=""), store(A.DENIED)],
     Stage.IMPAIRED),
    (record(E.CONTAINER_LOST, subject=f"billing of projects/{world.GLOBEX}"), states(key=A.CONTAINER_LOST),
     Stage.IMPAIRED),
]  # fmt: skip


@pytest.mark.parametrize(("event", "found", "stage"), LOSSES, ids=lambda one: getattr(one, "effect", None))
def test_a_loss_is_told_by_its_event_by_its_probe_and_by_both_as_one(
    event: Signal, found: list[Finding], stage: Stage
) -> None:
    by_event, by_probe, by_both = told([event]), told(GREEN, found), told(GREEN, [event], found)

    for story, notices in (by_event, by_probe, by_both):
        assert stage is story.stage()
        assert mails(notices) > 0
        assert F.CUSTOMER is story.incident.fault
    assert len(by_both[1]) == len(by_event[1])


@pytest.mark.parametrize(("event", "found", "stage"), LOSSES, ids=lambda one: getattr(one, "effect", None))
def test_an_event_that_probes_contradict_is_believed_until_it_has_settled(
    event: Signal, found: list[Finding], stage: Stage
) -> None:
    soon, _ = told([event], GREEN, GREEN)
    later, _ = told([event], GREEN, GREEN, GREEN, GREEN, GREEN)

    assert stage is soon.stage()
    assert Stage.RESOLVED is later.stage()


def test_three_refusals_that_look_alike_are_told_to_three() -> None:
    refused = [*FINE, *use(A.DENIED, A.DENIED)]

    customers, to_customer = told(GREEN, [*refused, *control(A.OK)])
    vendors, to_vendor = told(GREEN, [*refused, *control(A.DENIED)])
    providers, to_nobody = told(GREEN, [*refused, *control(A.SERVER_FAULT)])

    assert (F.CUSTOMER, 1) == (customers.incident.fault, mails(to_customer))
    assert (F.VENDOR, 0) == (vendors.incident.fault, mails(to_vendor))
    assert ({}, 0) == (providers.incidents, mails(to_nobody))
    outage, told_late = told(GREEN, *[[*refused, *control(A.SERVER_FAULT)]] * 6)
    assert (F.PROVIDER, 0) == (outage.incident.fault, mails(told_late))
