import json
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from boto3.session import Session
from msgspec.structs import replace

from tests.key_services import aws as double
from tests.key_services.aws import Aws, Refusal, speak_to
from tests.moto_server import moto
from tests.worlds import ACME_ACCOUNT, ACME_KEY, DATABASE, ROLE, VENDOR_ACCOUNT, VENDOR_KEY, key, register
from watchdog import health, probing
from watchdog.clouds.aws import meaning
from watchdog.clouds.aws.probe import judge
from watchdog.health import Health
from watchdog.incidents import VENDOR_WATCH
from watchdog.probing import Answer, Before, Finding, Probed, Question
from watchdog.register import Grant, KeyEntry, Register, RegisteredKey
from watchdog.register_probe import ConsumerProbe, KeyProbe
from watchdog.words import Effect, Fault
from workers.clouds.aws.probing import AwsProber, Limits
from workers.probes.interface import Canary

OWN = f"arn:aws:iam::{VENDOR_ACCOUNT}:role/byok-watchdog"
ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
ALLOWED = {ROLE: frozenset({"DescribeKey", "GenerateDataKey", "Encrypt", "Decrypt", "ListGrants"})}
PROBE = KeyProbe(principal=ROLE, control=VENDOR_KEY)
ASKED = (Question.STATE, Question.USE, Question.CONTROL)
QUICK = Limits(deadline=6, connect=1, read=0.5)


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
def aws(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    made = Aws(clock)
    made.make_key(ACME_KEY, ALLOWED)
    made.make_key(VENDOR_KEY, ALLOWED)
    # The vendor's own key is a key of the same account: its policy leaves it to the account's identities.
    made.sign_in(OWN, ACCESS_KEY)
    made.role(ROLE, trusts=frozenset({OWN}))
    with made.served():
        speak_to(made.url, ACCESS_KEY, monkeypatch)
        yield made


@pytest.fixture
def prober(clock: Clock) -> Iterator[AwsProber]:
    made = AwsProber(now=clock)
    yield made
    made.close()


@pytest.fixture
def impatient(clock: Clock) -> Iterator[AwsProber]:
    """For those tests in which something hangs: on a busy machine its time may be too short for anything else."""
    made = AwsProber(QUICK, now=clock)
    yield made
    made.close()


def entry(probe: KeyProbe = PROBE, **fields: Any) -> tuple[RegisteredKey, Register]:
    made: KeyEntry = replace(key(ACME_KEY), probe=probe, **fields)
    world = register(made)
    return world.keys[ACME_KEY], world


def ask(
    prober: AwsProber, *questions: Question, probe: KeyProbe = PROBE, canaries: Sequence[Canary] = (), **fields: Any
) -> Sequence[Finding]:
    subject, world = entry(probe, **fields)
    return prober.ask(subject, world, questions or ASKED, canaries)


def probe(prober: AwsProber, look_back: Before | None = None, **fields: Any) -> Probed:
    subject, world = entry(**fields)
    findings = prober.ask(subject, world, ASKED, ())
    return judge(findings, subject, world, look_back or Before(passed_at=findings[0].at), at=findings[0].at)


def answers(findings: Sequence[Finding], question: Question) -> list[tuple[str | None, Answer]]:
    return [(one.subject, one.answer) for one in findings if one.question is question]


# ------------------------------------------------------------------------------------------------ each answer, for real


def test_a_key_in_order_answers_every_question_with_ok(aws: Aws, prober: AwsProber) -> None:
    findings = ask(prober)

    assert [(None, Answer.OK)] == answers(findings, Question.STATE)
    assert [("GenerateDataKey", Answer.OK), ("Decrypt", Answer.OK)] == answers(findings, Question.USE)
    assert [("DescribeKey", Answer.OK), ("GenerateDataKey", Answer.OK), ("Decrypt", Answer.OK)] == answers(
        findings, Question.CONTROL
    )


def test_trying_a_key_encrypts_and_decrypts_nothing(aws: Aws, prober: AwsProber) -> None:
    ask(prober)

    assert [] == aws.carried_out


OWNERS_ACTS: list[tuple[str, Callable[[Aws], object], Answer]] = [
    ("disabled", lambda aws: aws.act("DisableKey", ACME_KEY), Answer.DISABLED),
    ("scheduled", lambda aws: aws.act("ScheduleKeyDeletion", ACME_KEY, PendingWindowInDays=7), Answer.PENDING_DELETION),
    ("unavailable", lambda aws: aws.act("DisconnectCustomKeyStore", CustomKeyStoreId="cks-1"), Answer.UNAVAILABLE),
    ("without material", lambda aws: aws.act("DeleteImportedKeyMaterial", ACME_KEY), Answer.PENDING_IMPORT),
]


@pytest.mark.parametrize("looks_at_state", [True, False])
@pytest.mark.parametrize(("name", "act", "expected"), OWNERS_ACTS, ids=[row[0] for row in OWNERS_ACTS])
def test_what_the_owner_did_is_seen_in_state_and_use(
    aws: Aws, prober: AwsProber, name: str, act: Callable[[Aws], object], expected: Answer, looks_at_state: bool
) -> None:
    """Whether a dry run looks at the state is not documented (aws.md 10): the verdict may not depend on it."""
    aws.make_key(ACME_KEY, ALLOWED, store="cks-1", external=True)
    aws.dry_run_looks_at_state = looks_at_state
    act(aws)

    findings = ask(prober)

    assert [(None, expected)] == answers(findings, Question.STATE)
    assert probe(prober).passed is False
    assert probe(prober).fault is Fault.CUSTOMER


def test_the_date_of_a_deletion_comes_with_the_state(aws: Aws, prober: AwsProber, clock: Clock) -> None:
    aws.act("ScheduleKeyDeletion", ACME_KEY, PendingWindowInDays=7)

    (state,) = ask(prober, Question.STATE)

    assert (clock.at + timedelta(days=7), "DescribeKey DeletionDate") == (state.deadline, state.deadline_source)
    marks = probe(prober).marks[ACME_KEY]
    assert {(Effect.KEY_DELETION_SCHEDULED, clock.at + timedelta(days=7))} == {(m.effect, m.deadline) for m in marks}


def test_a_primary_that_waits_for_its_replicas_has_no_date_but_a_window(aws: Aws, prober: AwsProber) -> None:
    aws.make_key(ACME_KEY, ALLOWED, replicas=True)
    aws.act("ScheduleKeyDeletion", ACME_KEY, PendingWindowInDays=14)

    (state,) = ask(prober, Question.STATE)

    assert (Answer.PENDING_DELETION, None, "14") == (state.answer, state.deadline, state.detail["window_days"])


def test_the_end_of_imported_material_comes_with_the_state(aws: Aws, prober: AwsProber, clock: Clock) -> None:
    aws.make_key(ACME_KEY, ALLOWED, external=True).valid_to = clock.at + timedelta(days=20)

    (state,) = ask(prober, Question.STATE)

    assert (Answer.OK, "DescribeKey ValidTo") == (state.answer, state.deadline_source)
    assert Effect.EXPIRY_AHEAD in {mark.effect for mark in probe(prober).marks[ACME_KEY]}


def test_a_destroyed_key_is_not_found(aws: Aws, prober: AwsProber, clock: Clock) -> None:
    aws.act("ScheduleKeyDeletion", ACME_KEY, PendingWindowInDays=7)
    clock.at += timedelta(days=8)

    assert [(None, Answer.NOT_FOUND)] == answers(ask(prober), Question.STATE)
    assert {Effect.KEY_DESTROYED} == {mark.effect for mark in probe(prober).marks[ACME_KEY]}


def test_a_key_store_that_fails_behind_an_enabled_key_is_found_by_a_real_use(aws: Aws, prober: AwsProber) -> None:
    aws.make_key(ACME_KEY, ALLOWED, store="cks-1").backing_fault = "The external key is not enabled."

    findings = ask(prober)

    assert [(None, Answer.OK)] == answers(findings, Question.STATE)
    assert ("GenerateDataKey", Answer.UNAVAILABLE) in answers(findings, Question.USE)
    assert {Effect.KEY_STORE_DISCONNECTED} == {mark.effect for mark in probe(prober).marks[ACME_KEY]}


def test_a_key_in_a_key_store_passes_by_a_real_use_only(aws: Aws, prober: AwsProber) -> None:
    aws.make_key(ACME_KEY, ALLOWED, store="cks-1")

    assert {"yes"} == {one.detail.get("real") for one in ask(prober) if one.question is Question.USE}
    assert probe(prober).passed is True


def test_a_dry_run_of_a_vendor_that_only_reads_is_not_taken_for_a_real_use(aws: Aws, prober: AwsProber) -> None:
    aws.make_key(ACME_KEY, ALLOWED, store="cks-1")
    access = replace(key(ACME_KEY).access[0], operations=["kms:Decrypt"])

    findings = [one for one in ask(prober, access=[access]) if one.question is Question.USE]
    assert [(Answer.OK, None)] == [(one.answer, one.detail.get("real")) for one in findings]
    assert probe(prober, access=[access]).passed is None


def test_a_key_store_that_does_not_answer_is_no_loss(aws: Aws, prober: AwsProber) -> None:
    aws.make_key(ACME_KEY, ALLOWED, store="cks-1").backing_fault = "The external key manager did not respond in time."

    assert probe(prober).passed is None
    assert {} == probe(prober).marks


TROUBLES = [
    ("throttle", Answer.THROTTLED),
    ("internal", Answer.SERVER_FAULT),
    ("unavailable", Answer.SERVER_FAULT),
    ("dependency", Answer.SERVER_FAULT),
    ("bad token", Answer.CREDENTIALS),
    ("expired token", Answer.CREDENTIALS),
    ("hang", Answer.UNREACHABLE),
    ("cut", Answer.UNREACHABLE),
    ("html", Answer.NOT_UNDERSTOOD),
]


@pytest.mark.parametrize(("how", "expected"), TROUBLES, ids=[row[0] for row in TROUBLES])
def test_trouble_on_the_way_is_told_apart_and_never_a_loss(
    aws: Aws, prober: AwsProber, impatient: AwsProber, how: str, expected: Answer
) -> None:
    aws.trouble(how, service="kms")
    prober = impatient if how == "hang" else prober

    findings = ask(prober, Question.STATE, Question.USE)

    assert {expected} == {one.answer for one in findings}
    subject, world = entry()
    found = judge(findings, subject, world, Before(passed_at=findings[0].at), at=findings[0].at)
    assert found.passed is None
    assert ACME_KEY not in found.marks
    assert "revoked" not in found.words


def test_a_host_that_does_not_exist_is_out_of_reach(
    aws: Aws, prober: AwsProber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")

    assert {Answer.UNREACHABLE} == {one.answer for one in ask(prober)}


def test_an_endpoint_without_tls_is_refused_unless_it_is_on_loopback(
    aws: Aws, prober: AwsProber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://kms.vendor.example")

    (state,) = ask(prober, Question.STATE)

    assert Answer.NOT_UNDERSTOOD is state.answer
    assert "TLS" in state.words


# ------------------------------------------------------------------------- three that look alike: one text, three sides


def _text(prober: AwsProber) -> set[str]:
    denied = [one.words for one in ask(prober, Question.STATE, Question.USE) if one.answer is Answer.DENIED]
    return {words.partition("kms:")[0] + words.rpartition("because ")[2].partition("kms:")[0] for words in denied}


def test_one_text_of_refusal_has_three_outcomes(aws: Aws, prober: AwsProber) -> None:
    """A customer that revokes, a vendor that loses its own permission, a provider that does not answer the control."""
    aws.keys[ACME_KEY].policy.set(aws.now(), {})
    said, revoked = _text(prober), probe(prober)

    aws.keys[ACME_KEY].policy.set(aws.now(), ALLOWED)
    aws.identities[ROLE] = frozenset()
    said_too, broken = _text(prober), probe(prober)

    aws.identities[ROLE] = double.EVERYTHING
    aws.keys[ACME_KEY].policy.set(aws.now(), {})
    aws.trouble("internal", key=VENDOR_KEY)
    said_again, away = _text(prober), probe(prober)

    assert said == said_too == said_again
    assert (False, Fault.CUSTOMER, {ACME_KEY}) == (revoked.passed, revoked.fault, set(revoked.marks))
    assert {(Effect.ACCESS_REVOKED, Fault.CUSTOMER)} == {(m.effect, m.fault) for m in revoked.marks[ACME_KEY]}
    assert (None, Fault.VENDOR, {VENDOR_WATCH}) == (broken.passed, broken.fault, set(broken.marks))
    assert (None, Fault.PROVIDER, {}) == (away.passed, away.fault, away.marks)


def test_without_a_control_key_a_refusal_is_nobodys_fault(aws: Aws, prober: AwsProber) -> None:
    aws.keys[ACME_KEY].policy.set(aws.now(), {})

    found = probe(prober, probe=KeyProbe(principal=ROLE))

    assert (False, Fault.UNKNOWN) == (found.passed, found.fault)


@pytest.mark.parametrize("control", [VENDOR_KEY, None])
def test_a_text_that_names_the_vendors_own_policy_excuses_the_customer(
    aws: Aws, prober: AwsProber, control: str | None
) -> None:
    aws.keys[ACME_KEY].policy.set(aws.now(), {})
    aws.keys[ACME_KEY].refusal = double.REFUSED_BY_IDENTITY

    assert Fault.VENDOR is probe(prober, probe=KeyProbe(principal=ROLE, control=control)).fault


def test_the_policy_of_the_vendors_endpoint_is_a_blocked_way_and_no_loss(aws: Aws, prober: AwsProber) -> None:
    for one in aws.keys.values():
        one.policy.set(aws.now(), {})
        one.refusal = double.REFUSED_BY_ENDPOINT
    aws.identities[ROLE] = frozenset()

    # The control key is in the role's own account: there the endpoint refuses by the identity that it lets nothing do.
    found = probe(prober)

    assert {Answer.PATH_BLOCKED} == {one.answer for one in ask(prober, Question.STATE, Question.USE)}
    assert found.passed is None


def test_a_policy_that_keeps_reading_and_loses_writing_is_reduced(aws: Aws, prober: AwsProber) -> None:
    aws.keys[ACME_KEY].policy.set(aws.now(), {ROLE: frozenset({"DescribeKey", "Decrypt"})})

    assert {Effect.ACCESS_REDUCED} == {mark.effect for mark in probe(prober).marks[ACME_KEY]}


def test_only_what_the_vendor_needs_is_tried(aws: Aws, prober: AwsProber) -> None:
    access = replace(key(ACME_KEY).access[0], operations=["kms:decrypt", "kms:ReEncrypt*"])

    assert [("Decrypt", Answer.OK)] == answers(ask(prober, Question.USE, access=[access]), Question.USE)


# ---------------------------------------------------------------------------------------------------- the caller's role


def test_a_role_that_may_not_be_assumed_is_the_callers_trouble(aws: Aws, prober: AwsProber) -> None:
    aws.assumable[ROLE] = frozenset()

    assert {Answer.CREDENTIALS} == {one.answer for one in ask(prober)}
    found = probe(prober)
    assert (None, Fault.VENDOR, {VENDOR_WATCH}) == (found.passed, found.fault, set(found.marks))


@pytest.mark.parametrize(("how", "expected"), [("hang", Answer.UNREACHABLE), ("throttle", Answer.THROTTLED)])
def test_a_token_service_in_trouble_says_nothing_of_the_key(
    aws: Aws, impatient: AwsProber, how: str, expected: Answer
) -> None:
    aws.trouble(how, service="sts")

    assert {expected} == {one.answer for one in ask(impatient, Question.STATE)}


def test_a_role_is_assumed_once_and_again_before_its_credentials_end(aws: Aws, prober: AwsProber, clock: Clock) -> None:
    ask(prober)
    ask(prober)
    assert 1 == _assumed(aws)

    clock.at += timedelta(minutes=56)
    assert {Answer.OK} == {one.answer for one in ask(prober)}
    assert 2 == _assumed(aws)


def test_credentials_that_are_refused_are_looked_for_anew_once(aws: Aws, prober: AwsProber) -> None:
    ask(prober)
    aws.trouble("expired token", operation="DescribeKey", times=1)
    assert Answer.OK is ask(prober, Question.STATE)[0].answer
    assert 2 == _assumed(aws)

    aws.trouble("expired token", operation="DescribeKey")
    assert Answer.CREDENTIALS is ask(prober, Question.STATE)[0].answer
    assert 3 == _assumed(aws)


def test_no_more_clients_are_kept_than_allowed(aws: Aws, clock: Clock) -> None:
    prober = AwsProber(Limits(clients=2), now=clock)
    for number in range(4):
        role = f"{ROLE}-{number}"
        aws.role(role, trusts=frozenset({OWN}))
        aws.keys[ACME_KEY].policy.set(aws.now(), {role: double.EVERYTHING})
        assert Answer.OK is ask(prober, Question.STATE, probe=KeyProbe(principal=role))[0].answer

    assert 2 == len(prober._callers._clients)
    prober.close()


def test_many_threads_share_one_role_and_its_clients(aws: Aws, prober: AwsProber) -> None:
    found: list[Finding] = []
    threads = [threading.Thread(target=lambda: found.extend(ask(prober, Question.STATE))) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(20)

    assert [Answer.OK] * 8 == [one.answer for one in found]
    assert 1 == _assumed(aws)


def test_without_a_principal_the_process_asks_as_itself(aws: Aws, prober: AwsProber) -> None:
    aws.keys[ACME_KEY].policy.set(aws.now(), {OWN: double.EVERYTHING})

    assert {Answer.OK} == {one.answer for one in ask(prober, Question.STATE, probe=KeyProbe())}
    assert {(ACCESS_KEY, "DescribeKey")} == {(who, what) for who, what, _ in aws.calls}


def _assumed(aws: Aws) -> int:
    return sum(operation == "AssumeRole" for _, operation, _ in aws.calls)


# ------------------------------------------------------------------------------------------------------------ the clock


def test_a_probe_ends_in_time_when_nothing_answers(aws: Aws, clock: Clock) -> None:
    aws.trouble("hang", service="kms")
    prober = AwsProber(Limits(deadline=3, connect=0.5, read=0.5), now=clock)

    findings = ask(prober, *Question, probe=replace(PROBE, consumers=[_object()]), grants=[Grant(id="g-1")])
    prober.close()

    assert set(Question) == {one.question for one in findings}
    assert {Answer.UNREACHABLE} == {one.answer for one in findings if one.question in {*ASKED, Question.GRANTS}}


def test_no_call_is_begun_that_could_end_too_late(aws: Aws, clock: Clock) -> None:
    """Every call takes six seconds here: of twenty the last seven are kept for the one that was begun before."""
    prober = AwsProber(now=clock, monotonic=lambda: 6.0 * len(aws.calls))

    findings = ask(prober)
    prober.close()

    assert ["AssumeRole", "DescribeKey", "GenerateDataKey"] == [operation for _, operation, _ in aws.calls]
    assert [Answer.OK, Answer.OK] + [Answer.UNREACHABLE] * 4 == [one.answer for one in findings]


def test_nothing_is_tried_twice_by_itself(aws: Aws, prober: AwsProber) -> None:
    aws.trouble("throttle", service="kms")

    ask(prober, Question.STATE)

    assert ["DescribeKey"] == [operation for _, operation, _ in aws.calls if operation != "AssumeRole"]


def test_use_goes_on_for_a_while_after_a_disable_and_that_proves_nothing(
    aws: Aws, prober: AwsProber, clock: Clock
) -> None:
    aws.dry_run_looks_at_state = True
    aws.lag = timedelta(minutes=5)
    aws.act("DisableKey", ACME_KEY)
    clock.at += timedelta(minutes=1)

    assert [("GenerateDataKey", Answer.OK), ("Decrypt", Answer.OK)] == answers(ask(prober), Question.USE)
    assert probe(prober).passed is False


# ----------------------------------------------------------------------------------------- canaries, grants, the stores


def test_a_canary_is_made_and_decrypted_for_real(aws: Aws, prober: AwsProber) -> None:
    subject, world = entry()
    (canary,), (made,) = prober.make_canaries(subject, world)
    assert (ACME_KEY, Answer.OK) == (canary.key, made.answer)

    (found,) = ask(prober, Question.CANARY, canaries=[canary])

    assert (Answer.OK, "yes", canary.version) == (found.answer, found.detail["real"], found.version)


def test_a_canary_of_a_disabled_key_does_not_sing(aws: Aws, prober: AwsProber) -> None:
    subject, world = entry()
    (canary,), _ = prober.make_canaries(subject, world)
    aws.act("DisableKey", ACME_KEY)

    assert Answer.DISABLED is ask(prober, Question.CANARY, canaries=[canary])[0].answer
    assert ([], [Answer.DISABLED]) == _made_of(prober.make_canaries(subject, world))


def test_a_canary_under_other_material_is_not_understood(aws: Aws, prober: AwsProber) -> None:
    subject, world = entry()
    (canary,), _ = prober.make_canaries(subject, world)
    damaged = Canary(key=ACME_KEY, version="2", ciphertext=b"junk", algorithm=canary.algorithm, made_at=canary.made_at)

    assert Answer.NOT_UNDERSTOOD is ask(prober, Question.CANARY, canaries=[damaged])[0].answer


def _made_of(made: tuple[Sequence[Canary], Sequence[Finding]]) -> tuple[list[Canary], list[Answer]]:
    return list(made[0]), [one.answer for one in made[1]]


def test_every_page_of_the_grants_is_read_before_one_is_missed(aws: Aws, prober: AwsProber) -> None:
    made = [
        aws.act("CreateGrant", ACME_KEY, GranteePrincipal=ROLE, Operations=["Decrypt"])["GrantId"] for _ in range(205)
    ]
    aws.act("RevokeGrant", ACME_KEY, GrantId=made[7])

    findings = ask(prober, Question.GRANTS, grants=[Grant(id=made[204]), Grant(id=made[7])])

    assert [(made[204], Answer.OK), (made[7], Answer.NOT_FOUND)] == answers(findings, Question.GRANTS)
    assert 3 == sum(operation == "ListGrants" for _, operation, _ in aws.calls)


@pytest.mark.parametrize(("how", "expected"), [("throttle", Answer.THROTTLED), ("html", Answer.NOT_UNDERSTOOD)])
def test_a_page_that_cannot_be_had_makes_no_grant_missing(
    aws: Aws, prober: AwsProber, how: str, expected: Answer
) -> None:
    aws.trouble(how, operation="ListGrants")

    assert {expected} == {one.answer for one in ask(prober, Question.GRANTS, grants=[Grant(id="g-1")])}


def test_a_key_that_is_not_found_makes_no_grant_missing(aws: Aws, prober: AwsProber) -> None:
    del aws.keys[ACME_KEY]

    assert {Answer.NOT_UNDERSTOOD} == {one.answer for one in ask(prober, Question.GRANTS, grants=[Grant(id="g-1")])}


def _object(target: str = "s3://acme-prod-files/canary.bin") -> ConsumerProbe:
    return ConsumerProbe(consumer="files", kind="s3_object", target=target)


def _store(prober: AwsProber, consumer: ConsumerProbe) -> Finding:
    (found,) = ask(prober, Question.CONSUMER, probe=replace(PROBE, consumers=[consumer]))
    return found


def test_an_object_under_the_key_is_read(aws: Aws, prober: AwsProber) -> None:
    aws.objects["acme-prod-files", "canary.bin"] = (b"hello", ACME_KEY)
    assert Answer.OK is _store(prober, _object()).answer

    aws.act("DisableKey", ACME_KEY)
    assert Answer.DISABLED is _store(prober, _object()).answer

    aws.act("EnableKey", ACME_KEY)
    aws.keys[ACME_KEY].policy.set(aws.now(), {})
    assert Answer.DENIED is _store(prober, _object()).answer


@pytest.mark.parametrize("under", [None, VENDOR_KEY])
def test_an_object_that_is_not_under_the_key_proves_nothing(aws: Aws, prober: AwsProber, under: str | None) -> None:
    aws.objects["acme-prod-files", "canary.bin"] = (b"hello", under)

    assert Answer.NOT_UNDERSTOOD is _store(prober, _object()).answer


def test_an_object_that_is_missing_proves_nothing(aws: Aws, prober: AwsProber) -> None:
    assert Answer.NOT_UNDERSTOOD is _store(prober, _object()).answer


@pytest.mark.parametrize("how", ["may not look", "may not pass"])
@pytest.mark.parametrize("target", ["s3://acme-prod-files/canary.bin", "acme-prod", "cluster:acme-aurora"])
def test_a_right_to_look_at_a_store_that_we_lack_is_no_word_on_its_key(
    aws: Aws, prober: AwsProber, how: str, target: str
) -> None:
    aws.objects["acme-prod-files", "canary.bin"] = (b"hello", ACME_KEY)
    aws.trouble(how, service="s3" if target.startswith("s3:") else "rds")
    kind = "s3_object" if target.startswith("s3:") else "rds_status"
    store = ConsumerProbe(consumer="store", kind=kind, target=target)  # type: ignore[arg-type]  # a Literal

    assert Answer.NOT_UNDERSTOOD is _store(prober, store).answer
    asked, world = entry(replace(PROBE, consumers=[store]))
    found = prober.ask(asked, world, (*ASKED, Question.CONSUMER), ())
    judged = judge(found, asked, world, Before(passed_at=found[0].at), at=found[0].at)
    assert (None, {}) == (judged.passed, {key: marks for key, marks in judged.marks.items() if marks})


DATABASES = [
    ("available", ACME_KEY, Answer.OK),
    ("backing-up", ACME_KEY, Answer.OK),
    ("inaccessible-encryption-credentials-recoverable", ACME_KEY, Answer.UNAVAILABLE),
    ("inaccessible-encryption-credentials", ACME_KEY, Answer.UNAVAILABLE),
    ("stopped", ACME_KEY, Answer.NOT_UNDERSTOOD),
    ("available", VENDOR_KEY, Answer.NOT_UNDERSTOOD),
]


@pytest.mark.parametrize(("status", "under", "expected"), DATABASES)
def test_the_status_of_a_database_tells_of_its_key(
    aws: Aws, prober: AwsProber, status: str, under: str, expected: Answer
) -> None:
    aws.databases["acme-prod"] = (status, under)
    aws.clusters["acme-aurora"] = (status, under)

    for target in (DATABASE, "acme-prod", "cluster:acme-aurora"):
        found = _store(prober, ConsumerProbe(consumer="database", kind="rds_status", target=target))
        assert (expected, "database", status) == (found.answer, found.subject, found.detail["status"])


def test_a_database_that_rds_does_not_know_proves_nothing(aws: Aws, prober: AwsProber) -> None:
    found = _store(prober, ConsumerProbe(consumer="database", kind="rds_status", target="other"))

    assert Answer.NOT_UNDERSTOOD is found.answer


def test_what_is_not_declared_is_not_asked(aws: Aws, prober: AwsProber) -> None:
    findings = ask(prober, *Question, probe=KeyProbe(principal=ROLE))

    left = (Question.CONTROL, Question.CANARY, Question.GRANTS, Question.CONSUMER)
    assert {Answer.NOT_ASKED} == {one.answer for one in findings if one.question in left}
    assert set(Question) == {one.question for one in findings}


# ----------------------------------------------------------------------------------------------------------- no secrets


@pytest.mark.parametrize("how", [None, "bad token", "html", "cut", "internal"])
def test_no_secret_stands_in_the_words(aws: Aws, prober: AwsProber, how: str | None) -> None:
    if how:
        aws.trouble(how, operation="DescribeKey")
    aws.keys[ACME_KEY].policy.set(aws.now(), {})

    said = repr(ask(prober))

    assert "secret-of-role" not in said
    assert "token-of-role" not in said
    assert ACCESS_KEY not in said


def test_a_proxy_with_a_password_is_not_quoted(aws: Aws, prober: AwsProber, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "https://kms.eu-west-1.amazonaws.com")
    monkeypatch.setenv("HTTPS_PROXY", "http://carol:hush@127.0.0.1:1")

    (state,) = ask(prober, Question.STATE)

    assert Answer.UNREACHABLE is state.answer
    assert "hush" not in state.words


# ---------------------------------------------------------------------------------------------------- the double itself

ADMIN = "AKIAIOSFODNN7ACMEADM"


@pytest.fixture
def owner(aws: Aws) -> Any:
    """The SDK in the hands of the key's owner."""
    aws.sign_in(f"arn:aws:iam::{ACME_ACCOUNT}:role/KeyAdmin", ADMIN)
    client = Session().client(
        "kms", endpoint_url=aws.url, region_name="eu-west-1", aws_access_key_id=ADMIN, aws_secret_access_key="example"
    )
    yield client
    client.close()


def test_an_owners_act_over_the_sdk_is_a_record_that_is_understood(aws: Aws, owner: Any) -> None:
    answer = owner.schedule_key_deletion(KeyId=ACME_KEY, PendingWindowInDays=7)
    owner.cancel_key_deletion(KeyId=ACME_KEY)
    _, world = entry()

    found = [
        (signal.effect, signal.key, signal.deadline)
        for record in aws.records
        for signal in meaning(_bytes(record), world)
    ]

    assert [
        (Effect.KEY_DELETION_SCHEDULED, ACME_KEY, answer["DeletionDate"].astimezone(UTC)),
        (Effect.DELETION_CANCELLED, ACME_KEY, None),
    ] == found
    assert "Disabled" == aws.keys[ACME_KEY].state.now


def _bytes(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode()


GUARDS = [
    ("DisableKey", "ScheduleKeyDeletion", "KMSInvalidStateException"),
    ("EnableKey", "ScheduleKeyDeletion", "KMSInvalidStateException"),
    ("ScheduleKeyDeletion", "ScheduleKeyDeletion", "KMSInvalidStateException"),
    ("CancelKeyDeletion", "DisableKey", "KMSInvalidStateException"),
    ("EnableKey", "DeleteImportedKeyMaterial", "KMSInvalidStateException"),
    ("CreateGrant", "DisableKey", "DisabledException"),
]


@pytest.mark.parametrize(("operation", "after", "code"), GUARDS)
def test_the_state_table_is_kept(aws: Aws, operation: str, after: str, code: str) -> None:
    aws.make_key(ACME_KEY, ALLOWED, external=True)
    aws.act(after, ACME_KEY)

    with pytest.raises(Refusal) as refused:
        aws.act(operation, ACME_KEY, GranteePrincipal=ROLE, Operations=["Decrypt"])
    assert code == refused.value.code


def test_no_admin_act_is_possible_from_another_account(aws: Aws) -> None:
    aws.keys[ACME_KEY].policy.set(aws.now(), {ROLE: double.EVERYTHING})

    with pytest.raises(Refusal, match="not authorized"):
        aws.act("DisableKey", ACME_KEY, by=ROLE)


def test_a_key_policy_is_read_as_far_as_it_is_told(aws: Aws, prober: AwsProber) -> None:
    statement = {"Effect": "Allow", "Principal": {"AWS": ROLE}, "Action": ["kms:DescribeKey"], "Resource": "*"}
    aws.act("PutKeyPolicy", ACME_KEY, PolicyName="default", Policy=_bytes({"Statement": [statement]}).decode())

    findings = ask(prober)
    assert (Answer.OK, Answer.DENIED) == (findings[0].answer, findings[1].answer)


@pytest.mark.servers
def test_moto_uses_disabled_keys_and_carries_dry_runs_out(tmp_path: Path) -> None:
    """Why this double exists (aws.md 9): against moto the same probe finds nothing wrong with a disabled key's use."""
    with moto(tmp_path) as server:
        client = server.client("kms")
        made = client.create_key()["KeyMetadata"]["KeyId"]
        client.disable_key(KeyId=made)

        assert "Disabled" == client.describe_key(KeyId=made)["KeyMetadata"]["KeyState"]
        assert "Plaintext" in client.generate_data_key(KeyId=made, KeySpec="AES_256", DryRun=True)


def test_the_double_refuses_what_moto_lets_through(aws: Aws, owner: Any) -> None:
    owner.disable_key(KeyId=ACME_KEY)
    with pytest.raises(owner.exceptions.DisabledException):
        owner.generate_data_key(KeyId=ACME_KEY, KeySpec="AES_256")
    with pytest.raises(owner.exceptions.DryRunOperationException):
        owner.generate_data_key(KeyId=ACME_KEY, KeySpec="AES_256", DryRun=True)


def test_a_probe_of_a_health_goes_the_whole_way(aws: Aws, prober: AwsProber) -> None:
    """Found disabled, repaired, proven: by the marks of probes alone."""
    subject, world = entry()
    known = Health(subject=ACME_KEY)
    clock: Any = aws.now
    open_slots = []
    for act in (None, "DisableKey", None, "EnableKey", None, None, None):
        if act:
            aws.act(act, ACME_KEY)
        findings = prober.ask(subject, world, ASKED, ())
        found = judge(findings, subject, world, probing.before(known), at=clock.at)
        known = health.add(known, found.marks.get(ACME_KEY, ()))
        open_slots.append([condition.slot.value for condition in health.judge(known).conditions])
        clock.at += timedelta(minutes=5)

    assert [[], ["disabled"], ["disabled"], ["disabled"], [], [], []] == open_slots
    assert health.judge(known).proven_at is not None
