import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.key_services import gcp as double
from tests.key_services.gcp import ADMIN, REVIEWER, USER, VIEWER, Gcp, Policy, Project, Refusal, speak_to
from tests.watchdog.clouds.gcp import world
from tests.watchdog.clouds.gcp.world import (
    APP,
    DATABASE,
    GLOBEX,
    GLOBEX_NUMBER,
    INSTANCE,
    INSTANCE_NUMBER,
    KEY,
    OWN,
    RING,
    STORAGE,
    WATCH,
    WATCH_NUMBER,
    account,
)
from watchdog import health, probing
from watchdog.clouds.gcp.probe import AS, DEAD, JUSTIFICATIONS, LACKS, judge
from watchdog.health import Health
from watchdog.incidents import VENDOR_WATCH
from watchdog.probing import Answer, Before, Finding, Probed, Question
from watchdog.register import KeyEntry, Register, RegisteredKey
from watchdog.register_probe import ConsumerProbe, KeyProbe
from watchdog.words import Effect, Fault
from workers.clouds.gcp.calls import Endpoints, Limits
from workers.clouds.gcp.probing import GcpProber
from workers.probes.interface import Canary

WATCHDOG = f"watchdog@{WATCH}.iam.gserviceaccount.com"
BUCKET = ConsumerProbe(consumer="bucket", kind="gcs_object", target="gs://globex-data/probe/one object")
SQL = ConsumerProbe(consumer="db", kind="cloud_sql_state", target=f"projects/{INSTANCE}/instances/main")
PROBE = KeyProbe(principal=APP, control=OWN, consumers=[BUCKET])
ASKED = (Question.STATE, Question.USE, Question.GRANTS, Question.CONSUMER, Question.CONTROL)
QUICK = Limits(deadline=6, connect=1, read=0.5)
A = Answer


def users(*emails: str) -> Policy:
    return tuple((USER, account(email), "") for email in emails)


POLICY: Policy = (
    (VIEWER, account(APP), ""), (REVIEWER, account(APP), ""), *users(STORAGE, DATABASE, APP)
)  # fmt: skip


class Clock:
    """The time of the double and of the prober."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gcp(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gcp]:
    made = Gcp(clock)
    for name, number in ((GLOBEX, GLOBEX_NUMBER), (INSTANCE, INSTANCE_NUMBER), (WATCH, WATCH_NUMBER)):
        made.projects[name] = Project(number)
    made.make_key(KEY, POLICY, versions=3)
    made.act("DisableCryptoKeyVersion", KEY, "1")  # registered as not in use any more
    made.make_key(OWN, ((VIEWER, account(APP), ""), *users(APP)))
    made.objects["globex-data", "probe/one object"] = (b"data", f"{KEY}/cryptoKeyVersions/2", STORAGE)
    made.readers = frozenset({APP})
    with made.served():
        speak_to(made, WATCHDOG, APP, tmp_path, monkeypatch)
        yield made


def prober_of(gcp: Gcp, clock: Clock, limits: Limits | None = None) -> GcpProber:
    return GcpProber(limits, Endpoints(kms=gcp.url, storage=gcp.url, sql=gcp.url, iam=gcp.url), now=clock)


@pytest.fixture
def prober(gcp: Gcp, clock: Clock) -> Iterator[GcpProber]:
    made = prober_of(gcp, clock)
    yield made
    made.close()


@pytest.fixture
def impatient(gcp: Gcp, clock: Clock) -> Iterator[GcpProber]:
    """For those tests in which something hangs: on a busy machine its time may be too short for anything else."""
    made = prober_of(gcp, clock, QUICK)
    yield made
    made.close()


def entry(
    probe: KeyProbe = PROBE, change: Callable[[KeyEntry], KeyEntry] | None = None
) -> tuple[RegisteredKey, Register]:
    """The world's register, with this probe for its key."""

    def changed(one: KeyEntry) -> KeyEntry:
        if one.key != KEY:
            return one
        made = replace(one, probe=probe)
        return change(made) if change else made

    document = world.document()
    customers = [
        replace(
            customer,
            instances=[replace(one, keys=[changed(key) for key in one.keys]) for one in customer.instances],
        )
        for customer in document.customers
    ]
    register = Register(replace(document, customers=customers))
    return register.keys[KEY], register


def ask(
    prober: GcpProber,
    *questions: Question,
    probe: KeyProbe = PROBE,
    canaries: Sequence[Canary] = (),
    change: Callable[[KeyEntry], KeyEntry] | None = None,
) -> Sequence[Finding]:
    key, register = entry(probe, change)
    return prober.ask(key, register, questions or ASKED, canaries)


def probe(
    prober: GcpProber,
    look_back: Before | None = None,
    probe: KeyProbe = PROBE,
    asked: Sequence[Question] = ASKED,
    canaries: Sequence[Canary] = (),
) -> Probed:
    key, register = entry(probe)
    findings = prober.ask(key, register, asked, canaries)
    return judge(findings, key, register, look_back or Before(passed_at=findings[0].at), at=findings[0].at)


def answers(findings: Sequence[Finding], question: Question) -> list[tuple[str | None, str | None, Answer]]:
    return [(one.subject, one.version, one.answer) for one in findings if one.question is question]


def effects(probed: Probed, where: str = KEY) -> set[tuple[Effect | None, Fault | None, str | None]]:
    return {(mark.effect, mark.fault, mark.version) for mark in probed.marks.get(where, ())}


# ------------------------------------------------------------------------------------------------ each answer, for real


def test_a_key_in_order_answers_every_question_with_ok(gcp: Gcp, prober: GcpProber) -> None:
    findings = ask(prober)

    assert [("GetCryptoKey", None, A.OK), (None, "2", A.OK), (None, "3", A.OK)] == answers(findings, Question.STATE)
    assert [("Encrypt", "3", A.OK), ("Decrypt", None, A.OK)] == answers(findings, Question.USE)
    assert [(email, None, A.OK) for email in (STORAGE, DATABASE, APP)] == answers(findings, Question.GRANTS)
    assert [("bucket", "2", A.OK)] == answers(findings, Question.CONSUMER)
    assert [("GetCryptoKey", None, A.OK), ("Encrypt", "1", A.OK), ("Decrypt", None, A.OK)] == answers(
        findings, Question.CONTROL
    )
    assert {(None, None, None)} == effects(probe(prober))
    assert probe(prober).passed is True


def test_nothing_but_reading_and_trying_is_ever_sent(gcp: Gcp, prober: GcpProber) -> None:
    ask(prober, *Question, probe=replace(PROBE, consumers=[BUCKET, SQL]))
    key, register = entry()
    prober.make_canaries(key, register)

    assert {
        "token", "generateAccessToken", "GetCryptoKey", "ListCryptoKeyVersions", "GetIamPolicy", "Encrypt", "Decrypt",
        "objects.get", "objects.get media", "instances.get",
    } == {operation for _, operation, _ in gcp.calls}  # fmt: skip


def test_it_asks_as_the_account_that_the_register_names(gcp: Gcp, prober: GcpProber) -> None:
    ask(prober, Question.STATE)

    assert {APP} == {caller for caller, operation, _ in gcp.calls if operation == "GetCryptoKey"}


ACTS: list[tuple[str, tuple[str, ...], Answer, Effect]] = [
    ("disabled", ("DisableCryptoKeyVersion",), A.DISABLED, Effect.KEY_DISABLED),
    ("scheduled", ("DestroyCryptoKeyVersion",), A.PENDING_DELETION, Effect.KEY_DELETION_SCHEDULED),
    ("restored", ("DestroyCryptoKeyVersion", "RestoreCryptoKeyVersion"), A.DISABLED, Effect.KEY_DISABLED),
]


@pytest.mark.parametrize("version", ["2", "3"])
@pytest.mark.parametrize(("name", "acts", "expected", "effect"), ACTS, ids=[row[0] for row in ACTS])
def test_what_the_owner_did_to_any_version_in_use_is_seen(
    gcp: Gcp, prober: GcpProber, name: str, acts: tuple[str, ...], expected: Answer, effect: Effect, version: str
) -> None:
    for act in acts:
        gcp.act(act, KEY, version)

    assert (None, version, expected) in answers(ask(prober), Question.STATE)
    found = probe(prober)
    assert (False, Fault.CUSTOMER) == (found.passed, found.fault)
    assert {(effect, Fault.CUSTOMER, version)} == effects(found)


def test_the_date_of_a_destruction_is_that_of_the_key_not_a_default(gcp: Gcp, prober: GcpProber, clock: Clock) -> None:
    gcp.keys[KEY].window = timedelta(hours=24)
    gcp.act("DestroyCryptoKeyVersion", KEY, "2")

    found = next(one for one in ask(prober, Question.STATE) if one.version == "2")

    assert found.deadline_source == "CryptoKeyVersion destroyTime"
    assert clock.at + timedelta(hours=24) == (found.deadline or clock.at).replace(microsecond=0)


def test_a_destroyed_version_tells_whether_its_material_may_be_imported_again(
    gcp: Gcp, prober: GcpProber, clock: Clock
) -> None:
    gcp.keys[KEY].versions["2"].imported = True
    gcp.act("DestroyCryptoKeyVersion", KEY, "2")
    gcp.act("DestroyCryptoKeyVersion", KEY, "3")
    clock.at += timedelta(days=31)

    found = {one.version: one for one in ask(prober, Question.STATE)}

    assert (A.DESTROYED, "True") == (found["2"].answer, found["2"].detail["reimport_eligible"])
    assert (A.DESTROYED, None) == (found["3"].answer, found["3"].detail.get("reimport_eligible"))
    assert {(Effect.KEY_DESTROYED, Fault.CUSTOMER, number) for number in "23"} == effects(probe(prober))


def test_an_import_into_a_destroyed_version_brings_it_back(gcp: Gcp, prober: GcpProber, clock: Clock) -> None:
    gcp.keys[KEY].versions["2"].imported = True
    gcp.act("DestroyCryptoKeyVersion", KEY, "2")
    clock.at += timedelta(days=31)
    known = health.add(Health(subject=KEY), probe(prober).marks[KEY])
    gcp.act("ImportCryptoKeyVersion", KEY, "2")
    assert (None, "2", A.PENDING_IMPORT) in answers(ask(prober), Question.STATE)
    gcp.act("FinishImport", KEY, "2")
    clock.at += timedelta(minutes=20)

    found = probe(prober, probing.before(known))

    assert found.passed is True
    assert () == health.judge(health.add(known, found.marks[KEY])).conditions


def test_a_version_that_is_deleted_is_not_found(gcp: Gcp, prober: GcpProber, clock: Clock) -> None:
    gcp.act("DestroyCryptoKeyVersion", KEY, "2")
    clock.at += timedelta(days=31)
    gcp.act("DeleteCryptoKeyVersion", KEY, "2")

    assert ("GetCryptoKeyVersion", "2", A.NOT_FOUND) in answers(ask(prober), Question.STATE)
    assert {(Effect.KEY_DESTROYED, Fault.CUSTOMER, "2")} == effects(probe(prober))


def test_a_key_that_is_deleted_is_not_found_by_who_may_see_its_ring(gcp: Gcp, prober: GcpProber, clock: Clock) -> None:
    gcp.rings[RING].set(clock.at, ((VIEWER, account(APP), ""),))
    del gcp.keys[KEY]

    found = probe(prober)

    assert [("GetCryptoKey", None, A.NOT_FOUND)] == answers(ask(prober), Question.STATE)
    assert {(Effect.KEY_DESTROYED, Fault.CUSTOMER, None)} == effects(found)


def test_a_key_that_is_deleted_only_blinds_who_saw_it_by_its_own_policy(gcp: Gcp, prober: GcpProber) -> None:
    """Its policy went with it: IAM says of what does not exist what it says of what is not allowed."""
    del gcp.keys[KEY]

    assert A.DENIED in {answer for _, _, answer in answers(ask(prober), Question.STATE)}


def test_all_versions_are_listed_however_many_pages_they_fill(gcp: Gcp, prober: GcpProber) -> None:
    for _ in range(4):
        gcp.rotate(KEY)
    gcp.page = 2
    gcp.act("DisableCryptoKeyVersion", KEY, "6")

    found = {version: answer for _, version, answer in answers(ask(prober), Question.STATE) if version}

    assert {"2", "3", "4", "5", "6", "7"} == found.keys()
    assert {"6"} == {version for version, answer in found.items() if answer is A.DISABLED}
    assert {(Effect.KEY_DISABLED, Fault.CUSTOMER, "6")} == effects(probe(prober))


def test_a_listing_that_breaks_off_is_no_proof(gcp: Gcp, prober: GcpProber) -> None:
    gcp.page = 2
    gcp.trouble("unavailable", operation="ListCryptoKeyVersions", after=1)

    found = probe(prober)

    assert found.passed is None
    assert "ListCryptoKeyVersions server fault" in found.words


def test_who_may_not_list_asks_for_the_known_versions_one_by_one(
    gcp: Gcp, prober: GcpProber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(double._GIVES, VIEWER, frozenset({"cryptoKeys.get", "cryptoKeyVersions.get"}))

    assert [(None, "2", A.OK), (None, "3", A.OK)] == answers(ask(prober), Question.STATE)[1:]
    assert probe(prober).passed is True


EVERY_STATE = [
    ("ENABLED", A.OK), ("DISABLED", A.DISABLED), ("DESTROY_SCHEDULED", A.PENDING_DELETION), ("DESTROYED", A.DESTROYED),
    ("PENDING_EXTERNAL_DESTRUCTION", A.DESTROYED), ("EXTERNAL_DESTRUCTION_FAILED", A.DESTROYED),
    ("PENDING_IMPORT", A.PENDING_IMPORT), ("IMPORT_FAILED", A.PENDING_IMPORT),
    ("PENDING_GENERATION", A.PENDING_IMPORT), ("GENERATION_FAILED", A.PENDING_IMPORT),
    ("SOMETHING_NEW", A.NOT_UNDERSTOOD),
]  # fmt: skip


@pytest.mark.parametrize(("state", "expected"), EVERY_STATE)
def test_every_state_of_a_version_is_told(gcp: Gcp, prober: GcpProber, state: str, expected: Answer) -> None:
    gcp.keys[KEY].versions["2"].state.set(gcp.now(), state)

    assert (None, "2", expected) in answers(ask(prober, Question.STATE), Question.STATE)


def test_a_version_that_never_had_material_and_is_not_registered_is_no_matter(gcp: Gcp, prober: GcpProber) -> None:
    gcp.rotate(KEY)
    gcp.keys[KEY].primary.set(gcp.now(), "3")
    gcp.keys[KEY].versions["4"].state.set(gcp.now(), "PENDING_IMPORT")

    assert {None, "2", "3"} == {version for _, version, _ in answers(ask(prober), Question.STATE)}


def test_access_reasons_are_read_whether_absent_empty_or_a_list(gcp: Gcp, prober: GcpProber) -> None:
    def said() -> str | None:
        return ask(prober, Question.STATE)[0].detail.get(JUSTIFICATIONS)

    assert said() is None
    gcp.keys[KEY].reasons = []
    assert said() == ""
    assert {(Effect.PATH_BLOCKED, Fault.CUSTOMER, None)} == effects(probe(prober))
    gcp.keys[KEY].reasons = ["GOOGLE_INITIATED_SYSTEM_OPERATION", "CUSTOMER_INITIATED_ACCESS"]
    assert said() == "CUSTOMER_INITIATED_ACCESS GOOGLE_INITIATED_SYSTEM_OPERATION"
    assert probe(prober).passed is True


def test_access_reasons_of_a_key_that_is_not_enrolled_are_not_enforced(gcp: Gcp, prober: GcpProber) -> None:
    gcp.keys[KEY].reasons = []
    gcp.keys[KEY].enrolled = False

    assert probe(prober).passed is True


# ------------------------------------------------------------------------------------------------------------- delays


def test_a_green_store_does_not_overrule_a_disable_that_has_not_come_through(
    gcp: Gcp, prober: GcpProber, clock: Clock
) -> None:
    gcp.lag = timedelta(hours=2)
    clock.at += timedelta(hours=3)
    gcp.act("DisableCryptoKeyVersion", KEY, "3")
    gcp.act("DisableCryptoKeyVersion", KEY, "2")

    findings = ask(prober)

    assert [("bucket", "2", A.OK)] == answers(findings, Question.CONSUMER)
    assert [("Encrypt", "3", A.OK), ("Decrypt", None, A.OK)] == answers(findings, Question.USE)
    assert {(Effect.KEY_DISABLED, Fault.CUSTOMER, version) for version in "23"} == effects(probe(prober))


def test_enabling_works_at_once(gcp: Gcp, prober: GcpProber, clock: Clock) -> None:
    gcp.lag = timedelta(hours=2)
    gcp.act("DisableCryptoKeyVersion", KEY, "3")
    clock.at += timedelta(hours=3)
    assert A.DISABLED in {answer for _, _, answer in answers(ask(prober), Question.USE)}
    gcp.act("EnableCryptoKeyVersion", KEY, "3")

    assert probe(prober).passed is True


# ------------------------------------------------------------------------------------------------ containers and paths

CONTAINERS: list[tuple[str, Callable[[Project], None], str]] = [
    ("API off", lambda project: setattr(project, "api", False), f"cloudkms.googleapis.com in projects/{GLOBEX}"),
    ("billing off", lambda project: setattr(project, "billing", False), f"billing of projects/{GLOBEX}"),
    ("project deleted", lambda project: setattr(project, "deleted", True), f"projects/{GLOBEX}"),
]


@pytest.mark.parametrize(("name", "lose", "subject"), CONTAINERS, ids=[row[0] for row in CONTAINERS])
def test_a_project_that_does_not_serve_is_the_loss_of_its_container(
    gcp: Gcp, prober: GcpProber, name: str, lose: Callable[[Project], None], subject: str
) -> None:
    lose(gcp.projects[GLOBEX])

    found = probe(prober)

    assert [(subject, None, A.CONTAINER_LOST)] == answers(ask(prober), Question.STATE)
    assert {(Effect.CONTAINER_LOST, Fault.CUSTOMER, None)} == effects(found)
    assert {subject} == {mark.subject for mark in found.marks[KEY]}


def test_the_same_text_about_the_vendors_own_project_is_the_vendors_fault(gcp: Gcp, prober: GcpProber) -> None:
    gcp.projects[INSTANCE].api = False

    found = probe(prober)

    assert [("GetCryptoKey", None, A.CREDENTIALS)] == answers(ask(prober), Question.STATE)
    assert (None, Fault.VENDOR, {VENDOR_WATCH}) == (found.passed, found.fault, set(found.marks))


def test_a_project_that_nobody_registered_blames_nobody(gcp: Gcp, prober: GcpProber) -> None:
    gcp.projects[GLOBEX].number = "777000777000"
    gcp.projects[GLOBEX].api = False

    assert [("GetCryptoKey", None, A.NOT_UNDERSTOOD)] == answers(ask(prober), Question.STATE)


def test_a_perimeter_blinds_the_watchdog_and_is_no_loss_while_the_stores_work(gcp: Gcp, prober: GcpProber) -> None:
    gcp.projects[GLOBEX].let_in = frozenset({STORAGE, DATABASE})

    findings = ask(prober, Question.STATE, Question.CONSUMER)

    assert [("GetCryptoKey", None, A.PATH_BLOCKED)] == answers(findings, Question.STATE)
    assert [("bucket", "2", A.OK)] == answers(findings, Question.CONSUMER)
    assert (None, set()) == (
        probe(prober, asked=[Question.STATE, Question.CONSUMER]).passed,
        effects(probe(prober, asked=[Question.STATE, Question.CONSUMER])),
    )


def test_a_perimeter_that_shuts_a_registered_user_out_is_a_blocked_path(gcp: Gcp, prober: GcpProber) -> None:
    gcp.projects[GLOBEX].let_in = frozenset()

    assert {(Effect.PATH_BLOCKED, None, None)} == effects(probe(prober))


def test_losing_the_right_to_look_says_nothing_of_the_key(gcp: Gcp, prober: GcpProber) -> None:
    gcp.grant(KEY, *users(STORAGE, DATABASE, APP))

    found = probe(prober)

    assert 1 == sum(operation == "GetCryptoKeyVersion" for _, operation, _ in gcp.calls)
    assert {A.DENIED} == {answer for _, _, answer in answers(ask(prober), Question.STATE)}
    assert (None, set()) == (found.passed, effects(found))
    assert "roles/cloudkms.viewer" in found.words


# ------------------------------------------------------------------------------------------- external key managers

EXTERNAL = ["EXTERNAL_UNREACHABLE", "EXTERNAL_PERMISSION_DENIED", "EXTERNAL_NOT_FOUND"]


@pytest.mark.parametrize("kind", EXTERNAL)
def test_an_external_manager_that_does_not_serve_is_found_by_use_alone(gcp: Gcp, prober: GcpProber, kind: str) -> None:
    gcp.keys[KEY].backing_fault = kind

    findings = ask(prober)

    assert {A.OK} == {answer for _, _, answer in answers(findings, Question.STATE)}
    assert ("Encrypt", None, A.UNAVAILABLE) in answers(findings, Question.USE)
    assert [("bucket", "2", A.UNAVAILABLE)] == answers(findings, Question.CONSUMER)
    assert {Effect.KEY_STORE_DISCONNECTED} == {effect for effect, _, _ in effects(probe(prober))}


def test_what_an_external_manager_says_outranks_the_state_beside_it(gcp: Gcp, prober: GcpProber) -> None:
    """Cloud EKM switches a version off by itself when its manager refuses (gcp.md 3.4, D3)."""
    gcp.keys[KEY].backing_fault = "EXTERNAL_PERMISSION_DENIED"
    gcp.act("DisableCryptoKeyVersion", KEY, "3")

    assert ("Encrypt", None, A.UNAVAILABLE) in answers(ask(prober), Question.USE)


# ------------------------------------------------------------------------------------------------------------- grants


def test_a_grant_that_is_gone_is_a_loss_for_that_agent(gcp: Gcp, prober: GcpProber) -> None:
    gcp.grant(KEY, *POLICY[:2], *users(STORAGE, APP))

    findings = ask(prober)

    assert (DATABASE, None, A.DENIED) in answers(findings, Question.GRANTS)
    assert (STORAGE, None, A.OK) in answers(findings, Question.GRANTS)
    assert {(Effect.ACCESS_REVOKED, Fault.CUSTOMER, None)} == effects(probe(prober))


def test_a_grant_that_lost_one_operation_is_reduced(gcp: Gcp, prober: GcpProber) -> None:
    only = ("roles/cloudkms.cryptoKeyDecrypter", account(DATABASE), "")
    gcp.grant(KEY, *POLICY[:2], *users(STORAGE, APP), only)

    found = next(one for one in ask(prober, Question.GRANTS) if one.subject == DATABASE)

    assert (A.DENIED, "encrypt") == (found.answer, found.detail[LACKS])
    assert {(Effect.ACCESS_REDUCED, Fault.CUSTOMER, None)} == effects(probe(prober))


def test_what_is_left_of_a_deleted_account_is_a_dead_grant(gcp: Gcp, prober: GcpProber) -> None:
    dead = (USER, f"deleted:serviceAccount:{DATABASE}?uid=1", "")
    gcp.grant(KEY, *POLICY[:2], *users(STORAGE, APP), dead)

    found = next(one for one in ask(prober, Question.GRANTS) if one.subject == DATABASE)

    assert (A.DENIED, "yes") == (found.answer, found.detail[DEAD])
    assert {(Effect.ACCESS_REVOKED, None, None)} == effects(probe(prober))


def test_a_right_by_the_ring_is_a_right(gcp: Gcp, prober: GcpProber, clock: Clock) -> None:
    gcp.grant(KEY, *POLICY[:2], *users(STORAGE, APP))
    gcp.rings[RING].set(clock.at, (*users(DATABASE), (REVIEWER, account(APP), "")))

    assert {A.OK} == {answer for _, _, answer in answers(ask(prober), Question.GRANTS)}


def test_a_right_that_ends_comes_with_its_end(gcp: Gcp, prober: GcpProber, clock: Clock) -> None:
    until = clock.at + timedelta(days=3)
    limited = (USER, account(DATABASE), f'request.time < timestamp("{until:%Y-%m-%dT%H:%M:%SZ}")')
    gcp.grant(KEY, *POLICY[:2], *users(STORAGE, APP), limited)

    found = next(one for one in ask(prober, Question.GRANTS) if one.subject == DATABASE)

    assert (A.OK, until) == (found.answer, found.deadline)
    assert (Effect.EXPIRY_AHEAD, Fault.CUSTOMER, None) in effects(probe(prober))
    clock.at = until
    assert (DATABASE, None, A.DENIED) in answers(ask(prober), Question.GRANTS)


def test_policies_that_may_not_be_read_are_not_asked_and_no_trouble(gcp: Gcp, prober: GcpProber) -> None:
    gcp.grant(KEY, (VIEWER, account(APP), ""), *users(STORAGE, DATABASE, APP))

    found = ask(prober, Question.GRANTS)

    assert {A.NOT_ASKED} == {one.answer for one in found}
    assert "getIamPolicy" in found[0].words
    assert probe(prober).passed is True
    assert DATABASE in probe(prober).words


def test_a_right_that_is_registered_above_the_key_cannot_be_told_from_its_policy(gcp: Gcp, prober: GcpProber) -> None:
    gcp.grant(KEY, *POLICY[:2], *users(STORAGE, APP))

    def above(one: KeyEntry) -> KeyEntry:
        assert one.gcp
        (grant,) = one.gcp.grants
        return replace(one, gcp=replace(one.gcp, grants=[replace(grant, level=f"projects/{GLOBEX}")]))

    found = {one.subject: one.answer for one in ask(prober, Question.GRANTS, change=above)}

    assert {STORAGE: A.OK, DATABASE: A.NOT_ASKED, APP: A.OK} == found


# --------------------------------------------------------------------------------------------------- uses and canaries


def test_a_watchdog_that_is_no_registered_user_tries_no_use(gcp: Gcp, prober: GcpProber, clock: Clock) -> None:
    gcp.grant(KEY, (VIEWER, account(WATCHDOG), ""), *users(STORAGE, DATABASE, APP))
    gcp.readers = frozenset({WATCHDOG})

    findings = ask(prober, Question.STATE, Question.USE, Question.CONSUMER, probe=KeyProbe(consumers=[BUCKET]))

    (used,) = [one for one in findings if one.question is Question.USE]
    assert A.NOT_ASKED is used.answer
    assert WATCHDOG in used.words
    assert "Encrypt" not in {operation for _, operation, _ in gcp.calls}
    assert [("bucket", "2", A.OK)] == answers(findings, Question.CONSUMER)


def test_canaries_are_made_under_each_version_and_tell_which_one_fails(gcp: Gcp, prober: GcpProber) -> None:
    key, register = entry()
    canaries, making = prober.make_canaries(key, register)
    assert {"2", "3"} == {canary.version for canary in canaries}
    assert {A.OK} == {one.answer for one in making}
    gcp.act("DisableCryptoKeyVersion", KEY, "2")

    found = ask(prober, Question.CANARY, canaries=canaries)

    assert [("canary", "2", A.DISABLED), ("canary", "3", A.OK)] == answers(found, Question.CANARY)


def test_a_canary_of_another_key_is_not_understood(gcp: Gcp, prober: GcpProber) -> None:
    key, register = entry()
    (canary, _), _ = prober.make_canaries(key, register)
    sealed = canary.ciphertext.replace(b"payroll", b"others")
    other = Canary(
        key=KEY, version="2", ciphertext=sealed, algorithm=canary.algorithm, made_at=canary.made_at
    )  # fmt: skip

    assert [("canary", "2", A.NOT_UNDERSTOOD)] == answers(
        ask(prober, Question.CANARY, canaries=[other]), Question.CANARY
    )


def test_a_key_that_cannot_be_used_gives_no_canary_and_says_why(gcp: Gcp, prober: GcpProber) -> None:
    gcp.act("DisableCryptoKeyVersion", KEY, "2")
    gcp.act("DisableCryptoKeyVersion", KEY, "3")
    key, register = entry()

    canaries, (said,) = prober.make_canaries(key, register)

    assert ((), A.DISABLED) == (tuple(canaries), said.answer)


def test_reading_still_works_where_only_writing_was_taken(gcp: Gcp, prober: GcpProber) -> None:
    key, register = entry()
    canaries, _ = prober.make_canaries(key, register)
    only = ("roles/cloudkms.cryptoKeyDecrypter", account(APP), "")
    gcp.grant(KEY, *POLICY[:2], *users(STORAGE, DATABASE), only)

    found = probe(prober, canaries=canaries)

    assert [("Encrypt", None, A.DENIED), ("Decrypt", None, A.OK)] == answers(
        ask(prober, canaries=canaries), Question.USE
    )
    assert {(Effect.ACCESS_REDUCED, Fault.CUSTOMER, None)} == effects(found)


# -------------------------------------------------------------------------------------------------------------- stores


def test_a_store_whose_agent_lost_the_key_is_refused(gcp: Gcp, prober: GcpProber) -> None:
    gcp.grant(KEY, *POLICY[:2], *users(DATABASE, APP))

    findings = ask(prober)

    (store,) = [one for one in findings if one.question is Question.CONSUMER]
    assert (A.DENIED, STORAGE, "2") == (store.answer, store.detail[AS], store.version)
    assert {(Effect.ACCESS_REVOKED, Fault.CUSTOMER, None)} == effects(probe(prober))


def test_a_deny_policy_is_seen_by_use_alone_and_blames_nobody(gcp: Gcp, prober: GcpProber) -> None:
    """The policy of the key still gives everything; who denies, and on which level, is not told."""
    gcp.keys[KEY].denies = frozenset({STORAGE})

    findings = ask(prober)

    assert {A.OK} == {answer for _, _, answer in answers(findings, Question.GRANTS)}
    assert {(Effect.ACCESS_REVOKED, None, None)} == effects(probe(prober))


def test_a_store_that_the_watchdog_may_not_read_says_nothing_of_the_key(gcp: Gcp, prober: GcpProber) -> None:
    """The same 403, but before the key is needed: the vendor's own bucket."""
    gcp.readers = frozenset()

    assert [("bucket", None, A.NOT_UNDERSTOOD)] == answers(ask(prober), Question.CONSUMER)
    assert probe(prober).passed is None
    assert set() == effects(probe(prober))


def test_a_store_that_does_not_know_the_caller_says_nothing_of_its_credentials_at_cloud_kms(
    gcp: Gcp, prober: GcpProber
) -> None:
    gcp.trouble("account disabled", operation="objects.get")

    assert [("bucket", None, A.NOT_UNDERSTOOD)] == answers(ask(prober), Question.CONSUMER)
    assert Fault.VENDOR is not probe(prober).fault


@pytest.mark.parametrize("under", [None, f"{OWN}/cryptoKeyVersions/1"])
def test_an_object_under_another_key_proves_nothing(gcp: Gcp, prober: GcpProber, under: str | None) -> None:
    gcp.objects["globex-data", "probe/one object"] = (b"data", under, STORAGE)

    assert [("bucket", None, A.NOT_UNDERSTOOD)] == answers(ask(prober), Question.CONSUMER)


def test_an_object_that_names_the_project_by_number_is_known(gcp: Gcp, prober: GcpProber) -> None:
    by_number = f"{KEY.replace(GLOBEX, GLOBEX_NUMBER)}/cryptoKeyVersions/2"
    gcp.objects["globex-data", "probe/one object"] = (b"data", by_number, STORAGE)

    assert [("bucket", "2", A.OK)] == answers(ask(prober), Question.CONSUMER)


def test_an_empty_object_can_be_read_too(gcp: Gcp, prober: GcpProber) -> None:
    gcp.objects["globex-data", "probe/one object"] = (b"", f"{KEY}/cryptoKeyVersions/2", STORAGE)

    assert [("bucket", "2", A.OK)] == answers(ask(prober), Question.CONSUMER)


DATABASES = [
    ({"state": "RUNNABLE"}, A.OK),
    ({"state": "SUSPENDED", "suspensionReason": ["KMS_KEY_ISSUE"]}, A.UNAVAILABLE),
    ({"state": "SUSPENDED", "suspensionReason": ["BILLING_ISSUE"]}, A.NOT_UNDERSTOOD),
    ({"state": "MAINTENANCE"}, A.NOT_UNDERSTOOD),
    ({"state": "RUNNABLE", "settings": {"activationPolicy": "NEVER"}}, A.NOT_UNDERSTOOD),
    ({}, A.NOT_UNDERSTOOD),
]


@pytest.mark.parametrize("target", [SQL.target, f"{INSTANCE}:main", f"{INSTANCE}:europe-west3:main"])
@pytest.mark.parametrize(("fields", "expected"), DATABASES)
def test_the_state_of_a_database_is_read_as_its_service_means_it(
    gcp: Gcp, prober: GcpProber, fields: dict[str, object], expected: Answer, target: str
) -> None:
    under = {
        "diskEncryptionConfiguration": {"kmsKeyName": KEY},
        "diskEncryptionStatus": {"kmsKeyVersionName": f"{KEY}/cryptoKeyVersions/2"},
    }
    gcp.databases[SQL.target] = {**fields, **under}
    declared = replace(PROBE, consumers=[replace(SQL, target=target)])

    assert [("db", "2", expected)] == answers(ask(prober, Question.CONSUMER, probe=declared), Question.CONSUMER)


def test_a_database_that_is_suspended_for_its_key_takes_the_proof_away(gcp: Gcp, prober: GcpProber) -> None:
    gcp.databases[SQL.target] = {
        "state": "SUSPENDED", "suspensionReason": ["KMS_KEY_ISSUE"],
        "diskEncryptionConfiguration": {"kmsKeyName": KEY},
    }  # fmt: skip

    found = probe(prober, probe=replace(PROBE, consumers=[BUCKET, SQL]))

    assert (False, Fault.UNKNOWN) == (found.passed, found.fault)
    assert {(Effect.USE_FAILED, "db")} == {(mark.effect, mark.subject) for mark in found.marks[KEY]}


# ------------------------------------------------------------------------- three that look alike: one text, three sides


def test_one_text_of_refusal_has_three_outcomes(gcp: Gcp, prober: GcpProber, clock: Clock) -> None:
    """A customer that revokes, a vendor that loses its own right, a provider that does not answer the control."""
    asked = (Question.STATE, Question.USE, Question.CONTROL)

    def said() -> set[str]:
        return {one.words for one in ask(prober, *asked) if one.question is Question.USE and one.answer is A.DENIED}

    gcp.grant(KEY, *POLICY[:2], *users(STORAGE, DATABASE))
    text, revoked = said(), probe(prober, asked=asked)

    gcp.grant(OWN, (VIEWER, account(APP), ""))
    text_too, broken = said(), probe(prober, asked=asked)

    gcp.grant(OWN, (VIEWER, account(APP), ""), *users(APP))
    gcp.trouble("internal", named=OWN)
    text_again, away = said(), probe(prober, asked=asked)

    assert text == text_too == text_again != set()
    assert (False, Fault.CUSTOMER, {KEY}) == (revoked.passed, revoked.fault, set(revoked.marks))
    assert {(Effect.ACCESS_REVOKED, Fault.CUSTOMER, None)} == effects(revoked)
    assert (None, Fault.VENDOR, {VENDOR_WATCH}) == (broken.passed, broken.fault, set(broken.marks))
    assert (None, Fault.PROVIDER, {}) == (away.passed, away.fault, away.marks)


@pytest.mark.parametrize("control", [None, "no name of a key"])
def test_without_a_control_key_a_refusal_is_nobodys_fault(gcp: Gcp, prober: GcpProber, control: str | None) -> None:
    gcp.grant(KEY, *POLICY[:2], *users(STORAGE, DATABASE))
    asked = (Question.STATE, Question.USE, Question.CONTROL)

    found = probe(prober, probe=KeyProbe(principal=APP, control=control), asked=asked)

    assert (False, Fault.UNKNOWN) == (found.passed, found.fault)


def test_a_right_that_has_not_come_through_yet_is_the_refusal_of_before(
    gcp: Gcp, prober: GcpProber, clock: Clock
) -> None:
    gcp.iam_lag = timedelta(minutes=3)
    gcp.grant(KEY, *POLICY[:2], *users(STORAGE, DATABASE))
    clock.at += timedelta(minutes=30)
    gcp.grant(KEY, *POLICY)
    clock.at += timedelta(minutes=1)
    granted = clock.at - timedelta(minutes=1)

    found = probe(prober, Before(passed_at=granted - timedelta(hours=1), changed_at=granted))

    assert (None, set()) == (found.passed, effects(found))
    clock.at += timedelta(minutes=3)
    assert probe(prober).passed is True


# -------------------------------------------------------------------------------------------------- trouble on the way

TROUBLES = [
    ("throttle", A.THROTTLED),
    ("internal", A.SERVER_FAULT),
    ("unavailable", A.SERVER_FAULT),
    ("deadline", A.SERVER_FAULT),
    ("bad token", A.CREDENTIALS),
    ("account disabled", A.CREDENTIALS),
    ("hang", A.UNREACHABLE),
    ("cut", A.UNREACHABLE),
    ("html", A.NOT_UNDERSTOOD),
    ("proxy", A.NOT_UNDERSTOOD),
    ("redirect", A.NOT_UNDERSTOOD),
]


@pytest.mark.parametrize(("how", "expected"), TROUBLES, ids=[row[0] for row in TROUBLES])
def test_trouble_on_the_way_is_told_apart_and_never_a_loss(
    gcp: Gcp, prober: GcpProber, impatient: GcpProber, how: str, expected: Answer
) -> None:
    for operation in ("GetCryptoKey", "ListCryptoKeyVersions", "Encrypt", "Decrypt", "GetIamPolicy", "objects.get"):
        gcp.trouble(how, operation=operation)

    findings = ask(impatient if how == "hang" else prober)

    keyed = [one for one in findings if one.question is not Question.CONSUMER and one.answer is not A.NOT_ASKED]
    assert {expected} == {one.answer for one in keyed}
    key, register = entry()
    found = judge(findings, key, register, Before(passed_at=findings[0].at), at=findings[0].at)
    assert found.passed is None
    assert KEY not in found.marks
    assert "revoked" not in found.words


TOKENS = [
    ("token", "internal", A.SERVER_FAULT),
    ("token", "unavailable", A.SERVER_FAULT),
    ("token", "throttle", A.THROTTLED),
    ("token", "cut", A.UNREACHABLE),
    ("token", "hang", A.UNREACHABLE),
    ("token", "html", A.NOT_UNDERSTOOD),
    ("token", "proxy", A.NOT_UNDERSTOOD),
    ("generateAccessToken", "internal", A.SERVER_FAULT),
    ("generateAccessToken", "throttle", A.THROTTLED),
    ("generateAccessToken", "hang", A.UNREACHABLE),
    ("generateAccessToken", "html", A.NOT_UNDERSTOOD),
    ("generateAccessToken", "proxy", A.NOT_UNDERSTOOD),
    ("generateAccessToken", "bad token", A.CREDENTIALS),
]


@pytest.mark.parametrize(("operation", "how", "expected"), TOKENS)
def test_trouble_with_a_token_is_told_apart_and_never_a_loss(
    gcp: Gcp, impatient: GcpProber, prober: GcpProber, operation: str, how: str, expected: Answer
) -> None:
    gcp.trouble(how, operation=operation)

    begun = time.monotonic()
    findings = ask(impatient if how == "hang" else prober, Question.STATE, Question.USE, Question.CONTROL)

    assert time.monotonic() - begun < QUICK.deadline + 2

    assert {expected} == {one.answer for one in findings} - {A.NOT_ASKED}
    assert "GetCryptoKey" not in {operation for _, operation, _ in gcp.calls}


def test_a_token_service_is_asked_once_and_not_again_and_again(gcp: Gcp, prober: GcpProber) -> None:
    gcp.trouble("unavailable", operation="token")

    begun = time.monotonic()
    ask(prober, Question.STATE)

    assert ["token"] == [operation for _, operation, _ in gcp.calls]
    assert time.monotonic() - begun < 2


def test_an_account_that_may_not_be_impersonated_is_our_own_fault(gcp: Gcp, prober: GcpProber) -> None:
    gcp.impersonable.clear()

    found = probe(prober)

    assert (None, Fault.VENDOR, {VENDOR_WATCH}) == (found.passed, found.fault, set(found.marks))
    assert "tokenCreator" not in found.words  # the service's text stays where it is


def test_an_own_account_that_is_gone_is_our_own_fault(gcp: Gcp, prober: GcpProber) -> None:
    gcp.accounts[WATCHDOG] = False

    assert {A.CREDENTIALS} == {one.answer for one in ask(prober, Question.STATE)}


def test_without_any_credentials_it_says_so(
    gcp: Gcp, prober: GcpProber, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))

    assert {A.CREDENTIALS} == {one.answer for one in ask(prober, Question.STATE)}


def test_a_token_that_is_not_accepted_any_more_is_renewed_once(gcp: Gcp, prober: GcpProber) -> None:
    ask(prober, Question.STATE)
    gcp.revoke_tokens()

    assert probe(prober).passed is True
    assert 4 == sum(operation in {"token", "generateAccessToken"} for _, operation, _ in gcp.calls)


def test_tokens_are_fetched_once_for_all_threads(gcp: Gcp, prober: GcpProber) -> None:
    failed: list[BaseException] = []

    def one() -> None:
        try:
            assert {A.OK} == {finding.answer for finding in ask(prober)}
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test has to see it
            failed.append(error)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert [] == failed
    assert [1, 1] == [sum(name == call for _, call, _ in gcp.calls) for name in ("token", "generateAccessToken")]


def test_everything_hangs_and_the_probe_ends_in_time(gcp: Gcp, impatient: GcpProber) -> None:
    ask(impatient, Question.STATE)  # the tokens
    gcp.trouble("hang")

    begun = time.monotonic()
    findings = ask(impatient, *Question, probe=replace(PROBE, consumers=[BUCKET, SQL, BUCKET, SQL]))

    assert time.monotonic() - begun < QUICK.deadline + 2
    assert {A.UNREACHABLE} == {one.answer for one in findings if one.answer is not A.NOT_ASKED}
    assert set(Question) == {one.question for one in findings}


def test_an_answer_without_its_substance_is_not_understood(gcp: Gcp, prober: GcpProber) -> None:
    gcp.keys[KEY].versions["3"].state.set(gcp.now(), "SOMETHING_NEW")

    assert probe(prober).passed is None


def test_no_token_stands_in_any_word(gcp: Gcp, prober: GcpProber, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    said = [one.words for one in ask(prober)]
    gcp.trouble("bad token")
    said += [one.words for one in ask(prober)]

    assert not [words for words in [*said, caplog.text] if "ya29." in words]
    assert "ya29." not in repr(prober.__dict__)


@pytest.mark.parametrize("name", ["kms", "storage", "sql", "iam"])
def test_an_endpoint_without_tls_is_refused_unless_it_is_on_loopback(name: str) -> None:
    with pytest.raises(ValueError, match="https"):
        Endpoints(**{name: "http://cloudkms.vendor.example"})


def test_a_token_is_not_fetched_in_the_clear(
    gcp: Gcp, prober: GcpProber, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "other.json"
    elsewhere = gcp.url.replace("127.0.0.1", "0.0.0.0")  # the same server, by a name that is not loopback
    file.write_text(json.dumps({**gcp.account(WATCHDOG), "token_uri": f"{elsewhere}/token"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))

    (state,) = ask(prober, Question.STATE)

    assert A.UNREACHABLE is state.answer
    assert [] == gcp.calls


# ------------------------------------------------------------------------------------------------ the double, as it is


def test_the_double_keeps_to_the_state_table(gcp: Gcp) -> None:
    gcp.act("DestroyCryptoKeyVersion", KEY, "2")
    for act in (
        "EnableCryptoKeyVersion",
        "DisableCryptoKeyVersion",
        "DestroyCryptoKeyVersion",
        "ImportCryptoKeyVersion",
    ):
        with pytest.raises(Refusal):
            gcp.act(act, KEY, "2")
    gcp.act("RestoreCryptoKeyVersion", KEY, "2")
    assert gcp.keys[KEY].versions["2"].state.now == "DISABLED"
    with pytest.raises(Refusal):
        gcp.act("RestoreCryptoKeyVersion", KEY, "2")


def test_the_double_lets_an_administrator_manage_and_not_use(gcp: Gcp, clock: Clock) -> None:
    gcp.grant(KEY, (ADMIN, account("jane@globex.example"), ""))
    version = f"{KEY}/cryptoKeyVersions/2"

    gcp.kms("DestroyCryptoKeyVersion", version, {}, "jane@globex.example", {})
    assert gcp.keys[KEY].versions["2"].state.now == "DESTROY_SCHEDULED"
    with pytest.raises(Refusal, match="useToEncrypt"):
        gcp.kms("Encrypt", KEY, {"plaintext": ""}, "jane@globex.example", {})
