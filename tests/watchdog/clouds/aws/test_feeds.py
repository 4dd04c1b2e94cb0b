"""A change of the watch's own trails and rules is told when it blinds the watch, and only then."""

import json
from typing import Any

import pytest

from tests.watchdog.clouds.aws.events import APPLICATION, raw, record
from tests.watchdog.clouds.aws.world import BUCKET, BUS, GLOBEX, RULE, TOPIC, TRAIL, VENDOR, register
from watchdog.clouds import aws
from watchdog.clouds.aws.feeds import keeps_kms_writes, lets_kms_through

REGISTER = register()
KMS = "kms.amazonaws.com"


def basic(**fields: Any) -> dict[str, Any]:
    return {"eventSelectors": [{"readWriteType": "All", "includeManagementEvents": True} | fields]}


def advanced(*fields: dict[str, Any], category: str = "Management") -> dict[str, Any]:
    selectors = [{"field": "eventCategory", "equals": [category]}, *fields]
    return {"advancedEventSelectors": [{"name": "x", "fieldSelectors": selectors}]}


@pytest.mark.parametrize(
    ("selectors", "keeps"),
    [
        (basic(), True),
        (basic(readWriteType="WriteOnly"), True),
        (basic(readWriteType="ReadOnly"), False),
        (basic(includeManagementEvents=False), False),
        (basic(includeManagementEvents="false"), False),
        (basic(excludeManagementEventSources=[KMS]), False),
        (basic(excludeManagementEventSources=["rdsdata.amazonaws.com"]), True),
        (basic(excludeManagementEventSources=None), True),
        ({"eventSelectors": [{"readWriteType": "ReadOnly"}, {"readWriteType": "WriteOnly"}]}, True),
        ({"eventSelectors": []}, False),
        ({"eventSelectors": [None, "x"]}, False),
        ({}, False),
        (advanced(), True),
        (advanced(category="Data"), False),
        (advanced({"field": "eventSource", "notEquals": [KMS]}), False),
        (advanced({"field": "eventSource", "notEquals": ["rdsdata.amazonaws.com"]}), True),
        (advanced({"field": "eventSource", "equals": ["s3.amazonaws.com"]}), False),
        (advanced({"field": "eventSource", "equals": ["s3.amazonaws.com", KMS]}), True),
        (advanced({"field": "eventSource", "startsWith": ["kms."]}), True),
        (advanced({"field": "eventSource", "notStartsWith": ["km"]}), False),
        (advanced({"field": "eventSource", "endsWith": [".amazonaws.com"]}), True),
        (advanced({"field": "eventSource", "notEndsWith": [".amazonaws.com"]}), False),
        (advanced({"field": "readOnly", "equals": ["true"]}), False),
        (advanced({"field": "readOnly", "equals": [True]}), False),
        (advanced({"field": "readOnly", "equals": ["false"]}), True),
        (advanced({"field": "readOnly", "equals": ["true", "false"]}), True),
        (advanced({"field": "eventName", "notEquals": ["DisableKey"]}), False),
        (advanced({"field": "eventName", "notEquals": ["Decrypt"]}), True),
        (advanced({"field": "eventType", "notEquals": ["AwsServiceEvent"]}), False),
        (advanced({"field": "userIdentity.arn", "notEquals": ["arn:aws:iam::1:user/admin"]}), False),
        ({"advancedEventSelectors": [{"fieldSelectors": []}]}, False),
        (advanced({"field": "readOnly", "equals": ["true"]}) | basic(), True),
    ],
)
def test_selectors_keep_what_kms_writes_or_not(selectors: dict[str, Any], *, keeps: bool) -> None:
    assert keeps_kms_writes(selectors) is keeps


@pytest.mark.parametrize(
    ("pattern", "lets"),
    [
        ({"source": ["aws.kms"]}, True),
        ({"source": ["aws.s3", "aws.kms"]}, True),
        ({"source": "aws.kms"}, True),
        ({"source": ["aws.s3"]}, False),
        ({"source": ["AWS.KMS"]}, False),
        ({"source": []}, False),
        ({"source": [{"prefix": "aws."}]}, True),
        ({"source": [{"prefix": "aws.s"}]}, False),
        ({"source": [{"suffix": ".kms"}]}, True),
        ({"source": [{"wildcard": "aws.*"}]}, True),
        ({"source": [{"wildcard": "*.s3"}]}, False),
        ({"source": [{"equals-ignore-case": "AWS.KMS"}]}, True),
        ({"source": [{"anything-but": ["aws.s3"]}]}, True),
        ({"source": [{"anything-but": "aws.kms"}]}, False),
        ({"source": [{"anything-but": {"prefix": "aws."}}]}, False),
        ({"source": [{"exists": True}]}, True),
        ({"source": [{"exists": False}]}, False),
        ({"account": ["1"]}, True),
        ({}, False),
        ("{", False),
        ("[]", False),
        (None, False),
    ],
)
def test_a_pattern_lets_kms_events_through_or_not(pattern: Any, *, lets: bool) -> None:
    assert lets_kms_through(pattern) is lets
    if isinstance(pattern, dict):
        assert lets_kms_through(json.dumps(pattern)) is lets


def effects(name: str, service: str, request: Any, **fields: Any) -> list[str]:
    made = record(
        name,
        eventSource=f"{service}.amazonaws.com",
        requestParameters=request,
        resources=None,
        responseElements=None,
        **fields,
    )
    return [signal.effect for signal in aws.meaning(raw(made), REGISTER)]


@pytest.mark.parametrize(
    ("request_", "tampered"),
    [
        ({"isMultiRegionTrail": False}, True),
        ({"isMultiRegionTrail": True}, False),
        ({"includeGlobalServiceEvents": "false"}, True),
        ({"s3BucketName": BUCKET}, False),
        ({"s3BucketName": "elsewhere"}, True),
        ({"s3BucketName": [BUCKET]}, True),
        ({"snsTopicName": TOPIC}, False),
        ({"snsTopicName": "audit-to-acme"}, False),
        ({"snsTopicName": "elsewhere"}, True),
        ({"enableLogFileValidation": False}, False),
        ({}, False),
    ],
)
def test_a_trail_is_narrowed_or_not(request_: dict[str, Any], *, tampered: bool) -> None:
    found = effects("UpdateTrail", "cloudtrail", {"name": TRAIL, **request_})
    assert found == ["feed_tampered" if tampered else "no_effect"]


PATTERN = '{"source":["aws.kms"]}'


@pytest.mark.parametrize(
    ("name", "request_", "tampered"),
    [
        ("DisableRule", {"name": "to-acme"}, True),
        ("DisableRule", {"name": "to-acme", "eventBusName": "default"}, True),
        (
            "DisableRule",
            {"name": "to-acme", "eventBusName": f"arn:aws:events:eu-west-1:{GLOBEX}:event-bus/default"},
            True,
        ),
        (
            "DisableRule",
            {"name": "to-acme", "eventBusName": f"arn:aws:events:eu-west-1:{GLOBEX}:event-bus/security"},
            True,
        ),
        ("DisableRule", {"name": "to-acme", "eventBusName": "other"}, False),
        ("DisableRule", {"name": "to-acme-2"}, False),
        ("DisableRule", {"name": "acme-heartbeat"}, True),
        ("DisableRule", None, False),
        ("RemoveTargets", {"rule": "to-acme", "ids": ["1"]}, True),
        ("PutRule", {"name": "to-acme", "eventPattern": PATTERN}, False),
        ("PutRule", {"name": "to-acme", "eventPattern": PATTERN, "state": "ENABLED"}, False),
        ("PutRule", {"name": "to-acme", "eventPattern": PATTERN, "state": "DISABLED"}, True),
        ("PutRule", {"name": "to-acme", "scheduleExpression": "rate(1 day)"}, True),
        ("PutRule", {"name": "acme-heartbeat", "scheduleExpression": "rate(5 minutes)", "state": "ENABLED"}, False),
        ("PutRule", {"name": "acme-heartbeat", "scheduleExpression": "rate(5 minutes)", "state": "DISABLED"}, True),
        ("EnableRule", {"name": "to-acme"}, False),
        ("DeleteEventBus", {"name": "acme-intake"}, False),
    ],
)
def test_a_rule_is_stopped_or_not(name: str, request_: Any, *, tampered: bool) -> None:
    assert effects(name, "events", request_) == ["feed_tampered" if tampered else "no_effect"]


def test_the_vendor_s_own_intake_is_the_vendor_s_fault() -> None:
    for name, service, request in (
        ("DeleteEventBus", "events", {"name": "acme-intake"}),
        ("RemovePermission", "events", {"eventBusName": BUS, "statementId": "x"}),
        ("DeleteQueue", "sqs", {"queueUrl": f"https://sqs.eu-west-1.amazonaws.com/{VENDOR}/acme-intake"}),
    ):
        made = record(
            name, eventSource=f"{service}.amazonaws.com", requestParameters=request, recipientAccountId=VENDOR
        )
        found = aws.meaning(raw(made), REGISTER)
        assert [(one.effect, one.fault, one.customer, one.key) for one in found] == [
            ("feed_tampered", "vendor", None, None)
        ]


def test_a_rule_that_the_vendor_stops_at_the_customer_is_the_vendor_s_fault() -> None:
    made = record(
        "DisableRule",
        eventSource="events.amazonaws.com",
        requestParameters={"name": "to-acme"},
        userIdentity=APPLICATION,
    )
    signal = aws.meaning(raw(made), REGISTER)[0]
    assert (signal.effect, signal.fault, signal.customer, signal.subject) == ("feed_tampered", "vendor", "globex", RULE)


def test_a_refused_change_of_a_feed_is_an_attempt() -> None:
    refused = {"errorCode": "AccessDenied", "errorMessage": f"not authorized on resource: {TRAIL} because"}
    assert effects("StopLogging", "cloudtrail", {"name": "org-trail"}, **refused) == ["attempt_failed"]
    assert effects("StopLogging", "cloudtrail", None, **refused) == ["attempt_failed"]
    assert effects("StopLogging", "cloudtrail", {"name": "other"}, errorCode="X") == ["no_effect"]
    assert effects("DisableRule", "events", {"name": "to-acme"}, errorCode="X") == ["attempt_failed"]
