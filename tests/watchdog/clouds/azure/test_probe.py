"""The verdict on one probe of an Azure key: state against use, then control, network, events, stores (azure.md 7)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tests.watchdog.clouds.azure.world import DATA_KEY, FILES_KEY, GLOBEX_PRINCIPAL, OWN_KEY, V1, V2, register
from watchdog.clouds.azure import settings
from watchdog.clouds.azure.index import index_of
from watchdog.clouds.azure.probe import (
    CONFIRMED,
    DELETED,
    LOST,
    OTHERS,
    PERMITTED,
    RECOVERY_LEVEL,
    TABLE,
    UNRESOLVED,
    State,
    Use,
    judge,
)
from watchdog.clouds.azure.repair import steps
from watchdog.health import Health, Mark, Origin, Slot, add
from watchdog.health import judge as judged
from watchdog.incidents import VENDOR_WATCH
from watchdog.probing import Answer, Before, Finding, Probed, Question, before, way_of
from watchdog.words import Cause, Effect, Fault, Means

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KNOWN = Before(passed_at=NOW - 5 * MINUTE)
OLD = Before(passed_at=NOW - 60 * MINUTE)
REGISTER = register()
ALL = "encrypt decrypt wrapKey unwrapKey"


def found(question: Question, answer: Answer = Answer.OK, version: str | None = None, **facts: Any) -> Finding:
    return Finding(question=question, answer=answer, at=NOW, version=version, **facts)


SOUND = [found(Question.CONTROL, subject="get"), found(Question.CONTROL, subject="unwrap")]
BROKEN = [found(Question.CONTROL, Answer.DENIED)]
AWAY = [found(Question.CONTROL, Answer.SERVER_FAULT)]
MISSING = [found(Question.CONTROL, Answer.NOT_ASKED)]

STATES: Mapping[State, tuple[Answer, dict[str, str]]] = {
    State.FINE: (Answer.OK, {PERMITTED: ALL}),
    State.NARROW: (Answer.OK, {PERMITTED: "get unwrapKey"}),
    State.EXPIRED: (Answer.EXPIRED, {PERMITTED: ALL}),
    State.EARLY: (Answer.NOT_YET_VALID, {PERMITTED: ALL}),
    State.DISABLED: (Answer.DISABLED, {PERMITTED: ALL}),
    State.UNPERMITTED: (Answer.OK, {PERMITTED: "encrypt wrapKey"}),
    State.DELETED: (Answer.PENDING_DELETION, {}),
    State.GONE: (Answer.NOT_FOUND, {DELETED: "unknown"}),
    State.REFUSED: (Answer.DENIED, {}),
    State.BLOCKED: (Answer.PATH_BLOCKED, {}),
    State.SILENT: (Answer.SERVER_FAULT, {}),
}
USES: Mapping[Use, tuple[Answer, dict[str, str]]] = {
    Use.WORKED: (Answer.OK, {}),
    Use.DISABLED: (Answer.DISABLED, {}),
    Use.EXPIRED: (Answer.EXPIRED, {}),
    Use.UNPERMITTED: (Answer.DENIED, {LOST: "operation"}),
    Use.GONE: (Answer.NOT_FOUND, {}),
    Use.REFUSED: (Answer.DENIED, {}),
    Use.BLOCKED: (Answer.PATH_BLOCKED, {}),
    Use.SILENT: (Answer.UNREACHABLE, {}),
}


def of(state: State, use: Use, version: str = V1) -> list[Finding]:
    (answer, detail), (used, how) = STATES[state], USES[use]
    return [
        found(Question.STATE, answer, version, detail=detail),
        found(Question.USE, used, version, detail=how),
    ]


FINE = [*of(State.FINE, Use.WORKED), *of(State.FINE, Use.WORKED, V2)]


def probed(
    findings: Iterable[Finding], control: Sequence[Finding] = SOUND, look_back: Before = KNOWN, key: str = DATA_KEY
) -> Probed:
    return judge([*findings, *control], REGISTER.keys[key], REGISTER, look_back, at=NOW)


def effects(verdict: Probed, key: str = DATA_KEY) -> set[Effect | None]:
    return {mark.effect for mark in verdict.marks.get(key, ())}


def mark_of(verdict: Probed, effect: Effect, key: str = DATA_KEY) -> Mark:
    return next(mark for mark in verdict.marks[key] if mark.effect is effect)


def hurt(effect: Effect, *, ago: timedelta = 60 * MINUTE, origin: Origin = Origin.PROBE, **facts: Any) -> Before:
    """Look back at a key that was proven, then had this happen to it."""
    marks = [
        Mark(id="proof", at=NOW - ago - 5 * MINUTE, origin=Origin.PROBE, effect=None, reason=""),
        Mark(id="loss", at=NOW - ago, origin=origin, effect=effect, reason="", **facts),
    ]
    return before(add(Health(subject=DATA_KEY), marks))


# ------------------------------------------------------------------------------------------------ the table, row by row

# The columns of `Use`; p proven, d disabled, x expired, e early, n narrow, u unpermitted, D deletion, G gone (here
# taken as deleted), r revoked, b blocked, o odd, ? untold.
ROWS = {
    #                  wor dis exp unp gon ref blo sil
    State.FINE:        "p   d   x   u   o   r   b   ?",
    State.NARROW:      "n   d   x   u   o   r   n   n",
    State.EXPIRED:     "x   d   x   u   o   r   x   x",
    State.EARLY:       "e   d   x   u   o   r   e   e",
    State.DISABLED:    "o   d   d   d   o   d   d   d",
    State.UNPERMITTED: "o   d   u   u   o   u   u   u",
    State.DELETED:     "o   D   D   D   D   D   D   D",
    State.GONE:        "o   o   o   o   G   G   G   G",
    State.REFUSED:     "p   d   x   u   G   r   b   ?",
    State.BLOCKED:     "o   d   x   u   o   b   b   b",
    State.SILENT:      "p   d   x   u   ?   ?   b   ?",
}  # fmt: skip
MEANINGS: Mapping[str, tuple[bool | None, Effect | None, Means | None]] = {
    "p": (True, None, None),
    "d": (False, Effect.KEY_DISABLED, None),
    "x": (False, Effect.KEY_EXPIRED, None),
    "e": (False, Effect.ACCESS_REDUCED, Means.CONDITION),
    "n": (False, Effect.ACCESS_REDUCED, Means.KEY_OPERATIONS),
    "u": (False, Effect.ACCESS_REVOKED, Means.KEY_OPERATIONS),
    "D": (False, Effect.KEY_DELETION_SCHEDULED, None),
    "G": (False, Effect.KEY_DELETION_SCHEDULED, None),
    "r": (False, Effect.ACCESS_REVOKED, None),
    "b": (None, None, None),
    "o": (None, None, None),
    "?": (None, None, None),
}
CELLS = [(state, use, cell) for state, row in ROWS.items() for use, cell in zip(Use, row.split(), strict=True)]


def test_the_table_is_whole() -> None:
    assert [set(State), {frozenset(Use)}] == [set(TABLE), {frozenset(row) for row in TABLE.values()}]
    assert len(State) * len(Use) == len(CELLS)


@pytest.mark.parametrize(("state", "use", "cell"), CELLS, ids=[f"{state}-{use}" for state, use, _ in CELLS])
def test_each_state_with_each_use_is_one_verdict(state: State, use: Use, cell: str) -> None:
    passes, effect, means = MEANINGS[cell]

    verdict = probed(of(state, use))

    assert passes is verdict.passed
    if passes is None:
        assert {} == dict(verdict.marks)
        return
    assert {effect} == effects(verdict)
    assert {means} == {mark.means for mark in verdict.marks[DATA_KEY]}
    if not passes:
        assert Fault.CUSTOMER is verdict.fault
        assert verdict.again_after == MINUTE


@pytest.mark.parametrize(("state", "use", "cell"), CELLS, ids=[f"{state}-{use}" for state, use, _ in CELLS])
@pytest.mark.parametrize("control", [BROKEN, AWAY, MISSING], ids=["broken", "away", "missing"])
def test_no_refusal_is_the_customers_without_a_control_that_works(
    state: State, use: Use, cell: str, control: list[Finding]
) -> None:
    verdict = probed(of(state, use), control)

    if cell == "r":
        assert Fault.CUSTOMER is not verdict.fault
        assert (None if control is not MISSING else False) is verdict.passed
    elif cell in "dxenuD":  # attributes are facts, whoever reads them
        assert (False, Fault.CUSTOMER) == (verdict.passed, verdict.fault)
    else:
        assert not [
            mark for mark in verdict.marks.get(DATA_KEY, ()) if mark.effect and mark.fault is Fault.CUSTOMER
        ] or (cell == "G" and control is MISSING)


def test_one_version_that_is_lost_is_a_loss_of_that_version() -> None:
    verdict = probed([*of(State.FINE, Use.WORKED), *of(State.DISABLED, Use.DISABLED, V2)])
    assert (False, V2) == (verdict.passed, mark_of(verdict, Effect.KEY_DISABLED).subject)


def test_each_version_is_lost_by_itself_as_records_name_it() -> None:
    verdict = probed([*of(State.DISABLED, Use.DISABLED), *of(State.EXPIRED, Use.WORKED, V2)])
    lost = {(mark.effect, mark.version, mark.subject) for mark in verdict.marks[DATA_KEY]}
    assert {(Effect.KEY_DISABLED, V1, V1), (Effect.KEY_EXPIRED, V2, V2)} == lost


def test_a_canary_counts_as_a_use() -> None:
    findings = [
        found(Question.STATE, Answer.OK, V1, detail={PERMITTED: ALL}),
        found(Question.CANARY, Answer.OK, V1),
    ]
    assert probed(findings).passed
    failing = [*of(State.FINE, Use.WORKED), found(Question.CANARY, Answer.NOT_UNDERSTOOD, V1)]
    assert probed(failing).passed is None


def test_a_key_of_the_vendors_own_is_the_vendors_own_fault() -> None:
    verdict = probed(of(State.DISABLED, Use.DISABLED), key=OWN_KEY)
    assert (False, Fault.VENDOR) == (verdict.passed, verdict.fault)


def test_nothing_asked_is_nothing_told() -> None:
    assert probed([]).passed is None


# ------------------------------------------------------------------------------------------------------------- identity


@pytest.mark.parametrize(
    ("lost", "means", "subject"),
    [
        ("principal", Means.IDENTITY, f"service principal {GLOBEX_PRINCIPAL}"),
        ("sign_in", Means.IDENTITY, f"sign-in of service principal {GLOBEX_PRINCIPAL}"),
        ("policy", Means.IDENTITY, None),
        ("tenant", None, settings.TENANT),
    ],
)
def test_a_refused_identity_is_access_that_was_taken_and_its_repair_is_known(
    lost: str, means: Means | None, subject: str | None
) -> None:
    detail = {LOST: lost}
    refused = [
        found(question, Answer.IDENTITY_REFUSED, V1, detail=detail) for question in (Question.STATE, Question.USE)
    ]

    verdict = probed(refused)
    mark = mark_of(verdict, Effect.ACCESS_REVOKED)

    assert (False, Fault.CUSTOMER) == (verdict.passed, verdict.fault)
    assert (means, subject) == (mark.means, mark.subject)
    assert steps(Effect.ACCESS_REVOKED, REGISTER.keys[DATA_KEY], REGISTER, means=mark.means, subject=mark.subject)


def test_our_own_expired_secret_is_never_the_customers() -> None:
    ours = [found(question, Answer.CREDENTIALS, V1) for question in (Question.STATE, Question.USE)]

    verdict = probed(ours, SOUND)

    assert (None, Fault.VENDOR, [VENDOR_WATCH]) == (verdict.passed, verdict.fault, list(verdict.marks))


def test_an_event_may_name_the_side_that_a_refusal_cannot() -> None:
    look_back = hurt(Effect.ACCESS_REVOKED, origin=Origin.EVENT, fault=Fault.VENDOR, means=Means.IDENTITY)
    verdict = probed(of(State.REFUSED, Use.REFUSED), look_back=look_back)
    assert (False, Fault.VENDOR) == (verdict.passed, verdict.fault)


# ------------------------------------------------------------------------------------------------------------- deletion


def deleted(level: str | None) -> list[Finding]:
    until = NOW + timedelta(days=90)
    detail = {RECOVERY_LEVEL: level} if level else {}
    return [
        found(Question.STATE, Answer.PENDING_DELETION, V1, deadline=until, deadline_source="s", detail=detail),
        found(Question.USE, Answer.NOT_FOUND, V1),
    ]


def test_a_deleted_key_has_its_purge_date_when_purge_protection_is_on() -> None:
    mark = mark_of(probed(deleted("Recoverable")), Effect.KEY_DELETION_SCHEDULED)
    assert (NOW + timedelta(days=90), "s") == (mark.deadline, mark.deadline_source)


@pytest.mark.parametrize("level", ["Recoverable+Purgeable", "CustomizedRecoverable+Purgeable", None])
def test_a_deleted_key_without_purge_protection_has_no_safe_date(level: str | None) -> None:
    verdict = probed(deleted(level))
    assert mark_of(verdict, Effect.KEY_DELETION_SCHEDULED).deadline is None
    assert "at any moment, at the latest on 2027-02-22" in verdict.words


@pytest.mark.parametrize(
    ("detail", "look_back", "effect", "fault"),
    [
        ({DELETED: "unknown"}, KNOWN, Effect.KEY_DELETION_SCHEDULED, Fault.CUSTOMER),
        ({DELETED: "no"}, KNOWN, Effect.KEY_DESTROYED, Fault.CUSTOMER),
        ({OTHERS: "yes"}, KNOWN, Effect.KEY_DESTROYED, Fault.CUSTOMER),
        ({DELETED: "unknown"}, hurt(Effect.KEY_DESTROYED, origin=Origin.EVENT), Effect.KEY_DESTROYED, Fault.CUSTOMER),
        ({DELETED: "unknown"}, hurt(Effect.KEY_DELETION_SCHEDULED, deadline=NOW - MINUTE), Effect.KEY_DESTROYED,
         Fault.CUSTOMER),
        ({DELETED: "unknown"}, hurt(Effect.KEY_DELETION_SCHEDULED, deadline=NOW + MINUTE),
         Effect.KEY_DELETION_SCHEDULED, Fault.CUSTOMER),
        ({DELETED: "no"}, Before(), Effect.USE_FAILED, Fault.UNKNOWN),
        ({OTHERS: "yes"}, Before(), Effect.USE_FAILED, Fault.UNKNOWN),
    ],
)  # fmt: skip
def test_a_key_that_is_not_found_is_called_destroyed_only_when_that_is_shown(
    detail: dict[str, str], look_back: Before, effect: Effect, fault: Fault
) -> None:
    findings = [found(Question.STATE, Answer.NOT_FOUND, V1, detail=detail), found(Question.USE, Answer.NOT_FOUND, V1)]

    verdict = probed(findings, look_back=look_back)

    assert (False, fault) == (verdict.passed, verdict.fault)
    assert {effect} == effects(verdict)


# ---------------------------------------------------------------------------------------------------------- the network

CUT = of(State.BLOCKED, Use.BLOCKED)


def store(answer: Answer, subject: str = "acme-db", words: str = "") -> Finding:
    return found(Question.CONSUMER, answer, subject=subject, words=words)


@pytest.mark.parametrize(
    ("stores", "control", "passes", "fault", "marked"),
    [
        ([store(Answer.OK)], SOUND, None, Fault.UNKNOWN, None),
        ([], SOUND, None, Fault.UNKNOWN, None),
        ([store(Answer.SERVER_FAULT)], SOUND, None, Fault.UNKNOWN, None),
        ([store(Answer.UNAVAILABLE)], SOUND, False, Fault.CUSTOMER, Effect.PATH_BLOCKED),
        ([store(Answer.OK, "files"), store(Answer.UNAVAILABLE)], SOUND, False, Fault.CUSTOMER, Effect.PATH_BLOCKED),
        ([store(Answer.UNAVAILABLE)], MISSING, False, Fault.UNKNOWN, Effect.PATH_BLOCKED),
        ([store(Answer.UNAVAILABLE)], BROKEN, None, Fault.VENDOR, None),
        ([store(Answer.UNAVAILABLE)], AWAY, None, Fault.PROVIDER, None),
    ],
)
def test_a_firewall_that_keeps_the_probe_out_is_a_loss_only_when_the_stores_are_cut_off_too(
    stores: list[Finding], control: list[Finding], passes: bool | None, fault: Fault, marked: Effect | None,
) -> None:  # fmt: skip
    verdict = probed([*CUT, *stores], control)
    assert (passes, fault) == (verdict.passed, verdict.fault)
    assert ({marked} if marked else set()) == effects(verdict)


def test_a_probe_that_is_kept_out_for_long_is_told_as_a_question_and_blames_nobody() -> None:
    verdict = probed([*CUT, store(Answer.OK)], look_back=OLD)
    mark = mark_of(verdict, Effect.USE_FAILED)
    assert (None, Cause.TRANSIENT) == (mark.fault, mark.cause)
    assert {Slot.QUESTION} == {one.slot for one in judged(add(Health(subject=DATA_KEY), [mark])).conditions}


def test_a_vault_whose_name_leads_nowhere_is_said_but_is_no_loss() -> None:
    silent = [
        found(question, Answer.UNREACHABLE, V1, detail={UNRESOLVED: "yes"})
        for question in (Question.STATE, Question.USE)
    ]
    verdict = probed(silent)
    assert (None, {}) == (verdict.passed, dict(verdict.marks))
    assert "deleted vault" in verdict.words


# ------------------------------------------------------------------------------------------------ before, and the proof

LOSSES = [
    (Effect.ACCESS_REVOKED, None, Effect.ACCESS_GRANTED),
    (Effect.ACCESS_REVOKED, Means.IDENTITY, Effect.ACCESS_GRANTED),
    (Effect.ACCESS_REDUCED, Means.CONDITION, Effect.ACCESS_GRANTED),
    (Effect.KEY_DISABLED, None, Effect.KEY_ENABLED),
    (Effect.KEY_DELETION_SCHEDULED, None, Effect.KEY_RECOVERED),
    (Effect.KEY_EXPIRED, None, Effect.KEY_MATERIAL_RESTORED),
    (Effect.CONTAINER_LOST, None, Effect.CONTAINER_RESTORED),
    (Effect.PATH_BLOCKED, None, Effect.PATH_OPENED),
    (Effect.KEY_STORE_DISCONNECTED, None, Effect.KEY_STORE_RECONNECTED),
]


@pytest.mark.parametrize("origin", [Origin.PROBE, Origin.EVENT])
@pytest.mark.parametrize(("loss", "means", "back"), LOSSES, ids=[f"{loss}-{means}" for loss, means, _ in LOSSES])
def test_the_first_success_after_a_loss_ends_it_and_the_second_proves_it(
    loss: Effect, means: Means | None, back: Effect, origin: Origin
) -> None:
    health = Health(subject=DATA_KEY)
    began = NOW - 60 * MINUTE
    health = add(
        health,
        [
            Mark(id="proof", at=began - MINUTE, origin=Origin.PROBE, effect=None, reason=""),
            Mark(id="loss", at=began, origin=origin, effect=loss, means=means, reason=""),
        ],
    )

    first = probed(FINE, look_back=before(health))
    assert (None, CONFIRMED) == (first.passed, first.again_after)
    assert {back} == effects(first)
    health = add(health, first.marks[DATA_KEY])
    assert () == judged(health).conditions
    assert judged(health).proven_at is None

    for minutes, passes in ((5, None), (9, None), (10, True)):
        at = NOW + minutes * MINUTE
        again = judge([*FINE, *SOUND], REGISTER.keys[DATA_KEY], REGISTER, before(health), at=at)
        assert passes is again.passed, minutes
        health = add(health, again.marks.get(DATA_KEY, ()))
    assert judged(health).proven_at == NOW + 10 * MINUTE


def test_a_relapse_between_two_successes_begins_anew() -> None:
    health = Health(subject=DATA_KEY)
    story = [(0, FINE), (1, of(State.REFUSED, Use.REFUSED)), (30, FINE), (35, of(State.REFUSED, Use.REFUSED)),
             (38, FINE), (41, FINE), (48, FINE)]  # fmt: skip
    told = []
    for minutes, findings in story:
        at = NOW + minutes * MINUTE
        verdict = judge([*findings, *SOUND], REGISTER.keys[DATA_KEY], REGISTER, before(health), at=at)
        health = add(health, verdict.marks.get(DATA_KEY, ()))
        told.append(verdict.passed)
    assert [True, False, None, False, None, None, True] == told


def test_a_success_minutes_after_an_event_that_took_something_proves_nothing() -> None:
    look_back = hurt(Effect.ACCESS_REVOKED, ago=4 * MINUTE, origin=Origin.EVENT)
    verdict = probed(FINE, look_back=look_back)
    assert (None, {}, MINUTE) == (verdict.passed, dict(verdict.marks), verdict.again_after)


def test_a_success_minutes_after_an_event_that_gave_something_is_not_enough() -> None:
    look_back = Before(passed_at=NOW - 90 * MINUTE, changed_at=NOW - 4 * MINUTE)
    verdict = probed(FINE, look_back=look_back)
    assert (None, 6 * MINUTE) == (verdict.passed, verdict.again_after)
    assert probed(FINE, look_back=replace(look_back, changed_at=NOW - 10 * MINUTE)).passed


def test_a_refusal_minutes_after_a_repair_may_be_that_of_before() -> None:
    look_back = Before(passed_at=NOW - 90 * MINUTE, changed_at=NOW - 9 * MINUTE)
    assert probed(of(State.REFUSED, Use.REFUSED), look_back=look_back).passed is None
    assert probed(of(State.DISABLED, Use.DISABLED), look_back=look_back).passed is False


def test_a_question_is_answered_by_one_success() -> None:
    look_back = hurt(Effect.KEY_CHANGED, ago=30 * MINUTE, origin=Origin.EVENT)
    assert probed(FINE, look_back=look_back).passed


def test_a_loss_that_is_found_again_and_again_stays_two_marks() -> None:
    health = Health(subject=DATA_KEY)
    for minutes in range(0, 100, 5):
        at = NOW + minutes * MINUTE
        verdict = judge(
            [*of(State.DISABLED, Use.DISABLED), *SOUND], REGISTER.keys[DATA_KEY], REGISTER, before(health), at=at
        )
        health = add(health, verdict.marks[DATA_KEY])
    assert 2 == len(health.marks)
    assert {NOW} == {one.since for one in judged(health).conditions}


def test_a_watch_that_was_broken_by_this_key_is_mended_by_it() -> None:
    look_back = replace(KNOWN, watch_open=frozenset({way_of(REGISTER.keys[DATA_KEY])}))
    assert VENDOR_WATCH in probed(FINE, look_back=look_back).marks
    assert VENDOR_WATCH not in probed(FINE, AWAY, look_back).marks


# --------------------------------------------------------------------------------------- expiry, protection, the stores


def test_the_earliest_expiry_of_a_version_in_use_is_told_in_time() -> None:
    soon, later = NOW + timedelta(days=9), NOW + timedelta(days=20)
    findings = [
        replace(one, deadline=later if one.version == V1 else soon) if one.question is Question.STATE else one
        for one in FINE
    ]
    verdict = probed(findings)
    assert verdict.passed
    assert soon == mark_of(verdict, Effect.EXPIRY_AHEAD).deadline


def guarded(level: str) -> list[Finding]:
    return [replace(one, detail={**one.detail, RECOVERY_LEVEL: level}) for one in FINE]


def test_a_vault_that_is_registered_with_purge_protection_and_has_none_is_at_risk() -> None:
    verdict = probed(guarded("Recoverable+Purgeable"))
    assert verdict.passed
    assert settings.PURGE_PROTECTION == mark_of(verdict, Effect.PROTECTION_WEAKENED).subject


def test_purge_protection_that_nobody_agreed_on_is_not_missed() -> None:
    assert {None} == effects(probed(guarded("Recoverable+Purgeable"), key=FILES_KEY), FILES_KEY)


def test_missing_purge_protection_is_told_once_and_taken_back() -> None:
    health = add(Health(subject=DATA_KEY), probed(guarded("Recoverable+Purgeable")).marks[DATA_KEY])
    later = replace(before(health), passed_at=NOW)
    assert {None} == effects(probed(guarded("Recoverable+Purgeable"), look_back=later))

    back = probed(guarded("Recoverable"), look_back=later)

    assert back.passed
    health = add(health, [replace(mark, at=mark.at + MINUTE) for mark in back.marks[DATA_KEY]])
    assert () == judged(health).conditions


@pytest.mark.parametrize("level", ["Recoverable", "Recoverable+Purgeable"])
def test_what_is_told_of_the_protection_does_not_hide_an_expiry_nor_undo_the_proof(level: str) -> None:
    soon = NOW + timedelta(days=9)
    told = level == "Recoverable"
    ahead = Mark(
        id="e", at=NOW - 60 * MINUTE, origin=Origin.PROBE, effect=Effect.EXPIRY_AHEAD, reason="", deadline=soon
    )  # fmt: skip
    weak = Mark(
        id="w", at=NOW - 61 * MINUTE, origin=Origin.PROBE, effect=Effect.PROTECTION_WEAKENED, reason="",
        subject=settings.PURGE_PROTECTION,
    )  # fmt: skip
    marks = [weak, ahead] if told else [ahead]
    health = add(Health(subject=DATA_KEY), marks)
    findings = [replace(one, deadline=soon) if one.question is Question.STATE else one for one in guarded(level)]

    verdict = probed(findings, look_back=before(health))

    judgement = judged(add(health, verdict.marks[DATA_KEY]))
    assert verdict.passed
    assert {Slot.EXPIRY} | ({Slot.PROTECTION} if not told else set()) == {one.slot for one in judgement.conditions}
    assert judgement.proven_at is not None


@pytest.mark.parametrize(
    ("stores", "passes", "marked"),
    [
        ([store(Answer.OK)], True, {None}),
        ([store(Answer.NOT_ASKED)], True, {None}),
        ([store(Answer.UNAVAILABLE)], False, {Effect.USE_FAILED}),
        ([store(Answer.OK, "files"), store(Answer.NOT_UNDERSTOOD)], None, set()),
    ],
)
def test_a_key_passes_only_with_its_stores(
    stores: list[Finding], passes: bool | None, marked: set[Effect | None]
) -> None:
    verdict = probed([*FINE, *stores])
    assert (passes, marked) == (verdict.passed, effects(verdict))


def test_a_store_that_suffers_alone_blames_nobody() -> None:
    verdict = probed([*FINE, store(Answer.UNAVAILABLE, words="state Inaccessible")])
    mark = mark_of(verdict, Effect.USE_FAILED)
    assert (None, "acme-db") == (mark.fault, mark.subject)
    assert "revalidation" in verdict.words


def test_what_an_azure_answer_says_reaches_people() -> None:
    said = [
        found(Question.STATE, Answer.DENIED, V1, words="get key: 403 ForbiddenByRbac Caller is not authorized"),
        found(Question.USE, Answer.DENIED, V1),
    ]
    assert "ForbiddenByRbac" in probed(said).words


def test_every_answer_can_be_judged() -> None:
    for state in Answer:
        for use in Answer:
            for control in Answer:
                findings = [found(Question.STATE, state, V1), found(Question.USE, use, V1)]
                verdict = probed(findings, [found(Question.CONTROL, control)])
                assert verdict.words
                if verdict.passed is False:
                    assert verdict.marks[DATA_KEY]


# ------------------------------------------------------------------------------------------- what is there again

VAULT = index_of(REGISTER).by_id[DATA_KEY].container.id
GROUP = VAULT.partition("/providers/")[0]
SUBSCRIPTION = GROUP.partition("/resourcegroups/")[0]
DISABLED = [*of(State.DISABLED, Use.DISABLED), *of(State.DISABLED, Use.DISABLED, V2)]
REFUSED = [*of(State.REFUSED, Use.REFUSED), *of(State.REFUSED, Use.REFUSED, V2)]
UNHEARD = [*of(State.SILENT, Use.SILENT), *of(State.SILENT, Use.SILENT, V2)]


def left(verdict: Probed, look_back: Health) -> set[Slot]:
    return {one.slot for one in judged(add(look_back, verdict.marks.get(DATA_KEY, ()))).conditions}


@pytest.mark.parametrize("effect", [Effect.KEY_DELETION_SCHEDULED, Effect.CONTAINER_LOST, Effect.KEY_DESTROYED])
@pytest.mark.parametrize(
    ("answers", "slot"),
    [(DISABLED, Slot.DISABLED), ([*of(State.FINE, Use.REFUSED), *of(State.FINE, Use.WORKED, V2)], Slot.ACCESS)],
)
def test_a_key_that_the_vault_shows_is_not_deleted_whatever_else_ails_it(
    effect: Effect, answers: list[Finding], slot: Slot
) -> None:
    """The record of a recovery may never come: the subscriptions of a deleted vault are gone with it (azure.md 0.6)."""
    lost = [Mark(id="e", at=NOW - 60 * MINUTE, origin=Origin.EVENT, effect=effect, reason="", subject=VAULT)]
    known = add(Health(subject=DATA_KEY), lost)

    verdict = probed(answers, look_back=before(known))

    assert (False, {slot}) == (verdict.passed, left(verdict, known))


@pytest.mark.parametrize(
    ("subject", "answers", "expected"),
    [
        (VAULT, REFUSED, {Slot.ACCESS}),
        (GROUP, REFUSED, {Slot.ACCESS}),
        (SUBSCRIPTION, REFUSED, {Slot.CONTAINER, Slot.ACCESS}),  # a disabled one may answer so (azure.md 3.2, row 29)
        (VAULT, UNHEARD, {Slot.CONTAINER}),
        (GROUP + "-dev", REFUSED, {Slot.CONTAINER, Slot.ACCESS}),
    ],
)
def test_a_vault_that_refuses_is_not_deleted_but_has_lost_its_roles(
    subject: str, answers: list[Finding], expected: set[Slot]
) -> None:
    lost = Mark(
        id="e", at=NOW - 60 * MINUTE, origin=Origin.EVENT, effect=Effect.CONTAINER_LOST, reason="", subject=subject,
        fault=Fault.CUSTOMER, deadline=NOW + timedelta(days=80),
    )  # fmt: skip
    known = add(Health(subject=DATA_KEY), [lost])

    verdict = probed(answers, look_back=before(known))

    assert expected == left(verdict, known)


def test_minutes_after_a_deletion_an_answer_may_be_older_than_it() -> None:
    lost = [
        Mark(
            id="e", at=NOW - 5 * MINUTE, origin=Origin.EVENT, effect=Effect.CONTAINER_LOST, reason="", subject=VAULT
        )
    ]  # fmt: skip
    known = add(Health(subject=DATA_KEY), lost)
    assert Slot.CONTAINER in left(probed(REFUSED, look_back=before(known)), known)
    assert Slot.CONTAINER in left(probed(DISABLED, look_back=before(known)), known)


def test_of_two_lost_versions_the_one_that_works_again_is_no_longer_told_to_be_lost() -> None:
    lost = [
        Mark(
            id=f"e{version}", at=NOW - 60 * MINUTE, origin=Origin.EVENT, effect=Effect.KEY_DISABLED, reason="",
            version=version, subject=version, fault=Fault.CUSTOMER,
        )
        for version in (V1, V2)
    ]  # fmt: skip
    known = add(Health(subject=DATA_KEY), lost)

    verdict = probed([*of(State.FINE, Use.WORKED), *of(State.DISABLED, Use.DISABLED, V2)], look_back=before(known))

    still = judged(add(known, verdict.marks[DATA_KEY])).conditions
    assert (False, [V2]) == (verdict.passed, [one.version for one in still])


@pytest.mark.parametrize("answers", [of(State.FINE, Use.WORKED), of(State.DISABLED, Use.DISABLED)])
@pytest.mark.parametrize(("versions", "is_over"), [(True, True), (False, False)])
def test_a_key_of_which_no_version_is_registered_may_be_another_one_after_a_purge(
    answers: list[Finding], *, versions: bool, is_over: bool
) -> None:
    """The name may be given again, a version's id never (azure.md 8.12)."""
    key = REGISTER.keys[DATA_KEY]
    if not versions:
        assert key.entry.azure
        nothing = msgspec.structs.replace(key.entry.azure, versions=[])
        key = replace(key, entry=msgspec.structs.replace(key.entry, azure=nothing))
    purged = [Mark(id="e", at=NOW - 60 * MINUTE, origin=Origin.EVENT, effect=Effect.KEY_DESTROYED, reason="")]
    known = add(Health(subject=DATA_KEY), purged)

    verdict = judge([*answers, *SOUND], key, REGISTER, before(known), at=NOW)

    assert is_over is (Slot.DESTROYED not in left(verdict, known))
    assert verdict.passed is not True
