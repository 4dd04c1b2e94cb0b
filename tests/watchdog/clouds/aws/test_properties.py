"""Whatever arrives, nothing raises, every record is accounted for once, and what triage drops has no meaning."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.watchdog.clouds.aws.events import ADMIN, APPLICATION, event, notification, record, use
from tests.watchdog.clouds.aws.test_recorded import EXPECTED, RECORDED
from tests.watchdog.clouds.aws.world import ALIAS, GLOBEX, KEY, RULE, STORE, TOPIC, TRAIL, VENDOR, register
from watchdog.cloud import Broken, Dropped, Entry
from watchdog.clouds import aws
from watchdog.clouds.aws import kms, services
from watchdog.clouds.aws.policy import caller, judge
from watchdog.words import NOT_A_SIGNAL, Effect

REGISTER = register()
RELAXED = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])

WORDS = st.sampled_from(
    [
        KEY,
        KEY.rpartition("/")[2],
        ALIAS,
        "alias/acme-instance-1",
        GLOBEX,
        VENDOR,
        TRAIL,
        RULE,
        STORE,
        "org-trail",
        "to-acme",
        "true",
        "false",
        "AccessDenied",
        "DisabledException",
        "DryRunOperationException",
        f"{KEY} is disabled.",
        "",
        "2026-06-30",
        "RESOURCE_CONTROL_POLICY",
        "default",
        "acme-instance-1",
        "arn:",
        "*",
        '{"Statement":[]}',
        "2.0",
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    WORDS,
    st.text(),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(), inner, max_size=3),
    max_leaves=8,
)
OPERATIONS = st.sampled_from([(rule.service, rule.operation) for rule in (*kms.RULES, *services.RULES)])
REQUESTS = [
    "keyId",
    "policy",
    "grantId",
    "tags",
    "tagKeys",
    "customKeyStoreId",
    "aliasName",
    "targetKeyId",
    "validTo",
    "importType",
    "pendingWindowInDays",
    "name",
    "rule",
    "trailName",
    "eventSelectors",
    "advancedEventSelectors",
    "eventPattern",
    "queueUrl",
    "roleName",
    "policyArn",
    "setAsDefault",
    "targetId",
    "policyId",
    "accountId",
    "regionName",
    "granteePrincipal",
    "eventBusName",
    "s3BucketName",
    "snsTopicName",
    "state",
    "isMultiRegionTrail",
    "bypassPolicyLockoutSafetyCheck",
]
PARAMETERS = st.dictionaries(st.sampled_from(REQUESTS), JSON, max_size=5)
FIELDS = st.sampled_from([*sorted(record()), "errorCode", "errorMessage", "serviceEventDetails", "additionalEventData"])


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    """A record of a known operation with some of its fields replaced by anything."""
    source, name = draw(OPERATIONS)
    made = record(name, eventSource=source, userIdentity=draw(st.sampled_from([ADMIN, APPLICATION, {}])))
    made["requestParameters"] = draw(PARAMETERS)
    for field in draw(st.lists(FIELDS, max_size=4)):
        made[field] = draw(JSON)
    return made


def check(body: bytes) -> None:
    for known in (None, REGISTER):
        unpacked = aws.unpack(body, register=known, first=7)
        again = aws.unpack(body, register=known, first=7, detail=True)
        assert unpacked.entries == again.entries
        assert [one.number for one in unpacked.broken] == [one.number for one in again.broken]
        assert unpacked.dropped_count == again.dropped_count == len(again.dropped)
        found: list[Entry | Broken | Dropped] = [*again.entries, *again.broken, *again.dropped]
        numbers = [one.number for one in found]
        assert len(numbers) == len(set(numbers))
        if not unpacked.pointers:
            assert sorted(numbers) == list(range(7, 7 + len(numbers)))
        for entry in unpacked.entries:
            for signal in aws.meaning(entry.raw, REGISTER):
                assert signal.reason
                assert signal.key is None or signal.key in REGISTER.keys
                assert signal.effect not in NOT_A_SIGNAL or signal.key is None
                assert signal.deadline is None or signal.deadline.tzinfo is not None


@RELAXED
@given(st.binary(max_size=200))
def test_any_bytes_are_taken(body: bytes) -> None:
    check(body)
    assert aws.meaning(body, REGISTER)


@RELAXED
@given(JSON)
def test_any_json_is_taken(content: Any) -> None:
    body = json.dumps(content).encode()
    check(body)
    assert aws.meaning(body, REGISTER)


@RELAXED
@given(records())
def test_any_mutated_record_is_taken_in_every_wrapper(made: dict[str, Any]) -> None:
    for content in (made, event(made), notification(event(made), TOPIC), {"Records": [made, made]}):
        body = json.dumps(content).encode()
        check(body)
        assert aws.meaning(body, REGISTER)


@RELAXED
@given(records())
def test_what_triage_drops_has_no_meaning(made: dict[str, Any]) -> None:
    for content in (made, event(made)):
        raw = json.dumps(content).encode()
        for known in (None, REGISTER):
            if aws.unpack(raw, register=known).dropped_count:
                effects = {signal.effect for signal in aws.meaning(raw, REGISTER)}
                # Without a register, whether a stranger may speak of a harmless thing cannot be judged, nor need it be.
                assert effects <= ({Effect.NO_EFFECT} if known else {Effect.NO_EFFECT, Effect.UNTRUSTED})


@RELAXED
@given(st.lists(records() | st.just(use()) | JSON, max_size=6), st.integers(0, 5), st.binary(max_size=20))
def test_lines_and_files_account_for_every_record_once(made: list[Any], at: int, rubbish: bytes) -> None:
    lines = [json.dumps(one).encode() for one in made]
    check(b"\n".join([*lines[:at], rubbish.replace(b"\n", b""), *lines[at:]]))
    check(json.dumps({"Records": made}, separators=(",", ":")).encode())
    check(json.dumps(made).encode())


@RELAXED
@given(st.sampled_from(EXPECTED), st.data())
def test_a_recorded_event_may_be_damaged_anywhere(entry: dict[str, Any], data: st.DataObject) -> None:
    body = bytearray((RECORDED / entry["file"]).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=3))
    check(bytes(body))
    assert aws.meaning(bytes(body), REGISTER)


STATEMENTS = st.lists(
    st.fixed_dictionaries(
        {
            "Effect": st.sampled_from(["Allow", "Deny"]),
            "Resource": st.just("*") | JSON,
            "Action": st.just("kms:*") | JSON,
        },
        optional={"Principal": JSON, "NotPrincipal": JSON, "NotAction": JSON, "Condition": JSON, "Sid": JSON},
    )
    | JSON,
    max_size=4,
)


@RELAXED
@given(JSON | STATEMENTS.map(lambda found: json.dumps({"Statement": found})))
def test_any_policy_is_judged(policy: Any) -> None:
    verdict = judge(
        policy, REGISTER.keys[KEY], lambda name: caller(name, organization=None, unique_id=None), at=None, bypass=False
    )
    assert verdict.reason
