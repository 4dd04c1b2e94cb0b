"""A delivery is cut into its records whatever its form; nothing is lost, nothing raises, nothing is counted twice."""

import gzip
import hashlib
import json
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from tests.watchdog.clouds.aws.events import event, notification, raw, record, use
from tests.watchdog.clouds.aws.world import (
    BUCKET,
    GLOBEX,
    IMPORTED,
    KEY,
    STRANGER,
    TOPIC,
    UNWATCHED,
    VENDOR,
    document,
    key,
    register,
)
from watchdog.cloud import Unpacked
from watchdog.clouds import aws
from watchdog.clouds.aws import envelope
from watchdog.register import Register
from watchdog.words import Effect

REGISTER = register()


def numbered(name: str, number: int, **fields: Any) -> dict[str, Any]:
    return record(name, eventID=f"id-{number}", **fields)


def noise(number: int) -> dict[str, Any]:
    return numbered(
        "DescribeInstances",
        number,
        eventSource="ec2.amazonaws.com",
        resources=None,
        responseElements=None,
        requestParameters={"filterSet": {}},
        readOnly=True,
    )


def total(unpacked: Unpacked) -> int:
    """Records that were accounted for, but for the notices, which give pointers."""
    return len(unpacked.entries) + len(unpacked.broken) + unpacked.dropped_count


def names(unpacked: Unpacked) -> list[tuple[int, str]]:
    return [(entry.number, json.loads(entry.raw)["eventName"]) for entry in unpacked.entries]


RECORD = record()
FORMS: dict[str, Any] = {
    "a bare record": RECORD,
    "a file": {"Records": [RECORD]},
    "an array": [RECORD],
    "a record as text": json.dumps(RECORD),
    "a file of texts": {"Records": [json.dumps(RECORD)]},
    "a LookupEvents answer": {"Events": [{"EventId": "x", "ReadOnly": "false", "CloudTrailEvent": json.dumps(RECORD)}]},
    "a LookupEvents event": {"EventId": "x", "CloudTrailEvent": json.dumps(RECORD)},
    "a LookupEvents event with an object": {"CloudTrailEvent": RECORD},
    "a queue answer": {"Messages": [{"MessageId": "m", "Body": json.dumps(RECORD)}]},
    "a queue message": {"MessageId": "m", "ReceiptHandle": "r", "Body": json.dumps(RECORD)},
    "a queue message with a file": {"Messages": [{"Body": json.dumps({"Records": [RECORD]})}]},
    "a queue batch of a function": {
        "Records": [{"messageId": "m", "eventSource": "aws:sqs", "body": json.dumps(RECORD)}]
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_bare_record(form: str) -> None:
    unpacked = aws.unpack(raw(FORMS[form]))
    assert [json.loads(entry.raw) for entry in unpacked.entries] == [RECORD]
    assert [(entry.number, entry.event_id) for entry in unpacked.entries] == [(1, RECORD["eventID"])]
    assert total(unpacked) == 1


WRAPPED: dict[str, Any] = {
    "an EventBridge event": event(RECORD),
    "an EventBridge event with its detail as text": event(RECORD) | {"detail": json.dumps(RECORD)},
    "an SNS message": notification(event(RECORD), TOPIC),
    "an SNS message with a bare record": notification(RECORD, TOPIC),
}


@pytest.mark.parametrize("form", WRAPPED)
@pytest.mark.parametrize("in_queue", [False, True])
def test_envelope_and_topic_stay_with_the_record(form: str, *, in_queue: bool) -> None:
    body = {"Messages": [{"Body": json.dumps(WRAPPED[form])}]} if in_queue else WRAPPED[form]
    unpacked = aws.unpack(raw(body))
    assert [json.loads(entry.raw) for entry in unpacked.entries] == [WRAPPED[form]]
    assert unpacked.entries[0].event_id == RECORD["eventID"]
    assert aws.meaning(unpacked.entries[0].raw, REGISTER)[0].effect is Effect.KEY_DISABLED


TIMELESS = {name: value for name, value in RECORD.items() if name != "eventTime"}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(event(TIMELESS) | {"time": "2026-03-07T08:09:10Z"}, id="EventBridge"),
        pytest.param(notification(TIMELESS, TOPIC) | {"Timestamp": "2026-03-07T08:09:10.000Z"}, id="SNS"),
        pytest.param(
            {"Events": [{"EventTime": 1772870950.0, "CloudTrailEvent": json.dumps(TIMELESS)}]}, id="LookupEvents"
        ),
        pytest.param(
            {"Events": [{"EventTime": "2026-03-07T08:09:10Z", "CloudTrailEvent": TIMELESS}]}, id="with an object"
        ),
    ],
)
def test_the_envelope_has_the_time_that_the_record_lacks(body: dict[str, Any]) -> None:
    (entry,) = aws.unpack(raw(body), register=REGISTER).entries
    assert entry.event_id == RECORD["eventID"]
    (signal,) = aws.meaning(entry.raw, REGISTER)
    assert (signal.effect, signal.occurred_at) == (Effect.KEY_DISABLED, datetime(2026, 3, 7, 8, 9, 10, tzinfo=UTC))


def test_a_file_in_an_sns_message_keeps_the_topic_with_each_record() -> None:
    message = {"Records": [numbered("DisableKey", 1), numbered("EnableKey", 2)]}
    for topic, expected in ((TOPIC, ["key_disabled", "key_enabled"]), (TOPIC + "x", ["untrusted"] * 2)):
        unpacked = aws.unpack(raw(notification(message, topic)))
        assert [json.loads(entry.raw)["TopicArn"] for entry in unpacked.entries] == [topic] * 2
        assert [aws.meaning(entry.raw, REGISTER)[0].effect for entry in unpacked.entries] == expected


def test_a_function_s_sns_record_keeps_its_topic() -> None:
    body = {"Records": [{"EventSource": "aws:sns", "Sns": notification(event(RECORD), TOPIC + "x")}]}
    unpacked = aws.unpack(raw(body))
    assert [aws.meaning(entry.raw, REGISTER)[0].effect for entry in unpacked.entries] == ["untrusted"]


def test_a_queue_message_inside_an_sns_message_does_not_shed_the_topic() -> None:
    inner = {"Records": [{"body": json.dumps(RECORD)}]}
    unpacked = aws.unpack(raw(notification(inner, TOPIC + "x")))
    effects = [aws.meaning(entry.raw, REGISTER)[0].effect for entry in unpacked.entries]
    assert Effect.KEY_DISABLED not in effects


def test_an_entry_without_an_id_is_named_by_its_bytes() -> None:
    body = raw(record(eventID=...))
    assert aws.unpack(body).entries[0].event_id == hashlib.sha256(body).hexdigest()
    native = event({"key-id": "x"}, **{"detail-type": "KMS CMK Deletion"})
    assert aws.unpack(raw(native)).entries[0].event_id == native["id"]


# ------------------------------------------------------------------------------------------------- lines and long files


def lines(records: list[Any]) -> bytes:
    return b"\n".join(json.dumps(one, separators=(",", ":")).encode() for one in records) + b"\n"


def compact(records: list[Any]) -> bytes:
    return json.dumps({"Records": records}, separators=(",", ":")).encode()


LONG = [noise(number) for number in range(300)]
LONG[150] = numbered("DisableKey", 150)
LONG[299] = numbered("EnableKey", 299)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(lines(LONG), id="lines"),
        pytest.param(lines(LONG).replace(b"\n", b"\r\n"), id="lines of Windows"),
        pytest.param(lines(LONG).replace(b"\n", b"\n\n \n"), id="blank lines between"),
        pytest.param(b"\n\n" + lines(LONG).rstrip(), id="blank lines first, no end of line"),
        pytest.param(b"\xef\xbb\xbf" + lines(LONG), id="lines with a byte order mark"),
        pytest.param(compact(LONG), id="a file"),
        pytest.param(b"\xef\xbb\xbf" + compact(LONG) + b"\n", id="a file with a byte order mark"),
        pytest.param(json.dumps({"Records": LONG}, indent=2).encode(), id="a file over many lines"),
        pytest.param(
            json.dumps({"Records": LONG, "note": [1]}, separators=(",", ":")).encode(), id="a file with more fields"
        ),
        pytest.param(json.dumps({"a": {}, "Records": LONG}, separators=(",", ":")).encode(), id="Records not first"),
        pytest.param(json.dumps(LONG, separators=(",", ":")).encode(), id="an array"),
        pytest.param(json.dumps(LONG, indent=1).encode(), id="an array over many lines"),
    ],
)
@pytest.mark.parametrize("detail", [False, True])
def test_a_long_delivery_is_cut_at_the_right_places(body: bytes, *, detail: bool) -> None:
    assert len(lines(LONG)) > 3 * envelope.CHUNK
    unpacked = aws.unpack(body, first=1001, detail=detail)
    assert names(unpacked) == [(1151, "DisableKey"), (1300, "EnableKey")]
    assert (unpacked.broken, unpacked.dropped_count) == ([], 298)
    numbers = [one.number for one in unpacked.dropped]
    assert numbers == ([1001 + at for at in range(300) if at not in {150, 299}] if detail else [])


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b'{"eventSource":"kms.amazonaws.com","eventName":', id="cut off"),
        pytest.param(b"not json", id="no JSON"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
        pytest.param(b"[" * 100_000, id="nested too deeply"),
        pytest.param(b'{"eventSource":"kms.amazonaws.com","eventName":"x","a":"\x00"}', id="a NUL"),
    ],
)
def test_a_broken_line_costs_nobody_else(bad: bytes) -> None:
    parts = lines(LONG).splitlines()
    parts[200] = bad
    unpacked = aws.unpack(b"\n".join(parts))
    assert names(unpacked) == [(151, "DisableKey"), (300, "EnableKey")]
    assert [(one.number, one.raw) for one in unpacked.broken] == [(201, bad)]
    assert total(unpacked) == 300


def test_a_broken_first_line_is_still_a_line() -> None:
    unpacked = aws.unpack(b"oops\n" + lines([RECORD, noise(1)]))
    assert names(unpacked) == [(2, "DisableKey")]
    assert [one.number for one in unpacked.broken] == [1]
    assert total(unpacked) == 3


@pytest.mark.parametrize(
    "rubbish",
    [
        None,
        "x",
        5,
        [],
        {},
        True,
        {"eventSource": "kms.amazonaws.com"},
        {"eventSource": "ec2.amazonaws.com"},
        {"eventName": "DisableKey"},
        {"eventName": ["DisableKey"], "eventSource": "kms.amazonaws.com"},
        {"eventName": "", "eventSource": "ec2.amazonaws.com"},
    ],
)
def test_rubbish_among_records_costs_nobody_else(rubbish: object) -> None:
    records = [*LONG[:150], rubbish, *LONG[150:]]
    for body in (compact(records), lines(records)):
        unpacked = aws.unpack(body)
        assert names(unpacked) == [(152, "DisableKey"), (301, "EnableKey")]
        assert [one.number for one in unpacked.broken] == [151]
        assert total(unpacked) == 301


def test_one_broken_record_of_a_thousand_in_a_file_is_put_aside() -> None:
    records = [noise(number) for number in range(1000)]
    records[400] = numbered("DisableKey", 400)
    body = compact(records).replace(b'"eventID":"id-500"', b'"eventID":id-500')
    unpacked = aws.unpack(body)
    assert names(unpacked) == [(401, "DisableKey")]
    assert [one.number for one in unpacked.broken] == [501]
    assert b"id-500" in unpacked.broken[0].raw
    assert total(unpacked) == 1000


@pytest.mark.parametrize("spaces", [None, 1])
def test_a_file_that_is_cut_off_gives_what_is_whole(spaces: int | None) -> None:
    records = [numbered("DisableKey", 1), noise(2), numbered("EnableKey", 3), noise(4)]
    whole = json.dumps({"Records": records}, indent=spaces, separators=None if spaces else (",", ":")).encode()
    unpacked = aws.unpack(whole[: whole.index(b"id-4")])
    assert names(unpacked) == [(1, "DisableKey"), (3, "EnableKey")]
    assert [one.number for one in unpacked.broken] == [4]


def test_a_file_that_is_cut_between_two_records_says_so() -> None:
    whole = compact([numbered("DisableKey", 1), numbered("EnableKey", 2)])
    unpacked = aws.unpack(whole[: whole.index(b',{"eventVersion"', 20)])
    assert names(unpacked) == [(1, "DisableKey")]
    assert [one.reason for one in unpacked.broken] == ["the file ends before its list of records is closed"]


def test_a_nested_start_of_a_record_does_not_mislead_the_cutter() -> None:
    nested = [{"eventVersion": "1.0", "a": 1}, {"eventVersion": "1.0", "a": 2}]
    records = [numbered("RunInstances", number, eventSource="ec2.amazonaws.com", requestParameters={"x": nested * 20})
               for number in range(200)]  # fmt: skip
    records[120] = numbered("DisableKey", 120, additionalEventData={"x": nested})
    unpacked = aws.unpack(compact(records))
    assert names(unpacked) == [(121, "DisableKey")]
    assert (unpacked.broken, total(unpacked)) == ([], 200)


def test_lines_may_be_events_and_files() -> None:
    body = lines(
        [event(RECORD), {"Records": [numbered("EnableKey", 2), noise(3)]}, noise(4), numbered("DisableKey", 5)]
    )
    unpacked = aws.unpack(body)
    assert [entry.number for entry in unpacked.entries] == [1, 2, 5]
    assert total(unpacked) == 5


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (json.dumps(RECORD).encode("utf-16"), "UTF-16"),
        (json.dumps(RECORD).encode("utf-16-le"), "UTF-16"),
        (json.dumps(RECORD).encode("utf-32"), "UTF-16"),
        (gzip.compress(b"{}", mtime=0), "gzip"),
        (b"DisableKey " + KEY.encode(), "not JSON"),
        (b'{"eventName":"DisableKey","even', "not valid JSON"),
        (raw(RECORD).replace(b"aws-cli", b"aws-\xff"), "UTF-8"),
        (b"[" * 1_000_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"Records":[' + b"[" * 100_000 + b"]}", "damaged"),
        (raw({"alert": "DisableKey", "key": KEY}), "no form"),
        (raw({}), "no form"),
        (b"5", "another shape"),
        (b"null", "another shape"),
        (b'"x"', "not JSON"),
        (raw(event(RECORD, detail=...)), "no detail"),
        (raw(event(RECORD) | {"detail": None}), "no detail"),
        (raw(event(RECORD) | {"detail": []}), "not an object"),
        (raw(event(RECORD) | {"detail": "x"}), "not JSON"),
        (raw(event(record(eventName=None))), "eventName missing"),
        (raw(event(record(eventSource=5))), "eventSource missing"),
        (raw(notification("not json", TOPIC)), "not JSON"),
        (raw(notification({"alert": 1}, TOPIC)), "missing"),
        (raw({"Messages": [{"MessageId": "m"}]}), "no form"),
        (raw({"Messages": [{"Body": ""}]}), "empty"),
        (raw({"Messages": [{"Body": 5}]}), "another shape"),
        (raw({"Messages": 5}), "another shape"),
        (raw({"Events": [{"EventId": "x"}]}), "no form"),
        (raw({"s3Bucket": 5, "s3ObjectKey": ["x"]}), "no bucket"),
        (raw({"s3Bucket": "b", "s3ObjectKey": []}), "no object"),
    ],
)
def test_what_cannot_be_read_is_put_aside_with_a_reason(body: bytes, words: str) -> None:
    unpacked = aws.unpack(body, register=REGISTER)
    assert len(unpacked.broken) == 1
    assert words in unpacked.broken[0].reason
    assert (unpacked.entries, unpacked.dropped_count) == ([], 0)


def test_wrappers_without_end_are_put_aside() -> None:
    body: Any = RECORD
    for _ in range(20):
        body = {"Messages": [{"Body": json.dumps(body)}]} if len(json.dumps(body)) < 10**6 else body
    assert [one.reason for one in aws.unpack(raw(body)).broken] == ["it is wrapped too many times"]


@pytest.mark.parametrize(
    "body",
    [
        b"\n \n",
        b'{"Records":[]}',
        b"[]",
        b'{"Messages":[]}',
        b'{"Messages":null}',
        b'{"ResponseMetadata":{"HTTPStatusCode":200}}',
        b'{"Events":[],"NextToken":"x"}',
    ],
)
def test_an_empty_delivery_holds_nothing(body: bytes) -> None:
    assert aws.unpack(body) == Unpacked()


def test_half_of_a_surrogate_pair_in_a_name_does_not_cost_the_record() -> None:
    body = raw(RECORD).replace(b"aws-cli", b"aws-\\ud800cli")
    for form in (body, body + b"\n" + body.replace(b"00000001", b"00000002"), b'{"Records":[' + body + b"]}"):
        unpacked = aws.unpack(form)
        assert unpacked.broken == []
        signal = aws.meaning(unpacked.entries[0].raw, REGISTER)[0]
        assert (signal.effect, signal.actor and signal.actor.agent) == (Effect.KEY_DISABLED, "aws-?cli/2.31")


def test_a_kept_record_with_bad_bytes_is_put_aside() -> None:
    bad = raw(RECORD).replace(b"aws-cli", b"aws-\xff")
    unpacked = aws.unpack(bad + b"\n" + raw(numbered("EnableKey", 2)))
    assert names(unpacked) == [(2, "EnableKey")]
    assert [one.number for one in unpacked.broken] == [1]


# ----------------------------------------------------------------------------------------------- notices and duplicates


def stored(name: str, happened: str = "ObjectCreated:Put") -> dict[str, Any]:
    where = {"bucket": {"name": BUCKET}, "object": {"key": name}}
    return {"eventSource": "aws:s3", "eventName": happened, "awsRegion": "eu-west-1", "s3": where}


def test_an_s3_notification_points_at_its_objects() -> None:
    names_ = ["a+b/AWSLogs/1/CloudTrail/x%2By.json.gz", "AWSLogs/%C3%BC.json.gz", "100%25/%zz"]
    unpacked = aws.unpack(raw({"Records": [stored(name) for name in names_]}))
    found = [(one.bucket, one.name, one.region) for one in unpacked.pointers]
    expected = ["a b/AWSLogs/1/CloudTrail/x+y.json.gz", "AWSLogs/ü.json.gz", "100%/%zz"]
    assert found == [(BUCKET, name, "eu-west-1") for name in expected]
    assert (total(unpacked), unpacked.broken) == (0, [])


@pytest.mark.parametrize(
    "record_",
    [
        stored("AWSLogs/1/CloudTrail-Digest/eu-west-1/x.json.gz"),
        stored("CloudTrail-Digest/x"),
        stored("AWSLogs/1/CloudTrail-Insight/eu-west-1/x.json.gz"),
        stored("AWSLogs/1/CloudTrail/x.json.gz", "ObjectRemoved:Delete"),
    ],
)
def test_digests_and_removed_objects_are_not_fetched(record_: dict[str, Any]) -> None:
    unpacked = aws.unpack(raw({"Records": [record_]}), detail=True)
    assert (unpacked.pointers, unpacked.dropped_count, len(unpacked.dropped)) == ([], 1, 1)


@pytest.mark.parametrize("in_topic", [False, True])
def test_a_cloudtrail_notice_points_at_several_objects(*, in_topic: bool) -> None:
    notice = {"s3Bucket": BUCKET, "s3ObjectKey": ["AWSLogs/a+b.gz", "AWSLogs/c.gz"]}
    unpacked = aws.unpack(raw(notification(notice, TOPIC) if in_topic else notice), register=REGISTER)
    assert [one.name for one in unpacked.pointers] == ["AWSLogs/a+b.gz", "AWSLogs/c.gz"]
    assert total(unpacked) == 0


def test_a_notice_of_a_topic_that_nobody_registered_is_not_followed() -> None:
    for message in ({"s3Bucket": BUCKET, "s3ObjectKey": ["x"]}, {"Records": [stored("x")]}):
        unpacked = aws.unpack(raw(notification(message, TOPIC + "x")), register=REGISTER)
        assert unpacked.pointers == []
        assert [aws.meaning(entry.raw, REGISTER)[0].effect for entry in unpacked.entries] == ["untrusted"]


@pytest.mark.parametrize(
    "body",
    [
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET},
        {"awsAccountId": "1", "digestStartTime": "2026-03-02T08:00:00Z", "digestS3Object": "x", "logFiles": []},
        notification({"Event": "s3:TestEvent"}, TOPIC),
        notification("confirm", TOPIC, Type="SubscriptionConfirmation"),
        {"eventVersion": "1.09", "eventCategory": "Insight", "insightDetails": {"eventName": "DisableKey"}},
        event({}, **{"detail-type": "Scheduled Event", "source": "aws.events", "account": GLOBEX}),
    ],
)
def test_what_only_announces_is_dropped_and_counted(body: dict[str, Any]) -> None:
    unpacked = aws.unpack(raw(body), register=REGISTER, detail=True)
    assert (unpacked.entries, unpacked.broken, unpacked.pointers) == ([], [], [])
    assert [one.number for one in unpacked.dropped] == [1]
    assert unpacked.dropped[0].reason


def test_the_same_event_id_counts_once_in_a_delivery() -> None:
    records = [numbered("DisableKey", 1), noise(2), numbered("DisableKey", 1), numbered("DisableKey", 3)]
    for body in (compact(records), lines(records)):
        unpacked = aws.unpack(body, detail=True)
        assert [entry.number for entry in unpacked.entries] == [1, 4]
        assert [(one.number, one.reason) for one in unpacked.dropped][1] == (3, "same event id as record 1")
        assert total(unpacked) == 4


# --------------------------------------------------------------------------------------------------------------- triage


@pytest.mark.parametrize(
    ("content", "kept_blindly", "kept_knowing"),
    [
        pytest.param(record(), True, True, id="a change"),
        pytest.param(use(), True, True, id="a use of a registered key"),
        pytest.param(use(resources=[{"ARN": UNWATCHED}]), True, False, id="a use of another key"),
        pytest.param(use(resources=[{"ARN": UNWATCHED}, {"ARN": IMPORTED}]), True, True, id="a use of both"),
        pytest.param(use(resources=None), True, True, id="a use that names nothing"),
        pytest.param(use(resources=[{"ARN": KEY.upper()}]), True, True, id="a key in capitals"),
        pytest.param(use("DescribeKey"), False, False, id="a reading call"),
        pytest.param(use("DescribeKey", errorCode="NotFoundException"), True, True, id="a reading call that failed"),
        pytest.param(
            use(errorCode="AccessDenied", errorMessage=f"on resource: {KEY} because"), True, True, id="a failure"
        ),
        pytest.param(
            use(errorCode="AccessDenied", errorMessage=f"on {UNWATCHED} because", resources=None),
            True,
            False,
            id="a failure of another key",
        ),
        pytest.param(
            use(errorCode="AccessDenied", errorMessage="no", resources=None), True, True, id="a vague failure"
        ),
        pytest.param(record("EnableKeyRotation"), False, True, id="a harmless change"),
        pytest.param(record("EnableKeyRotation", resources=[{"ARN": UNWATCHED}]), False, False, id="of another key"),
        pytest.param(record("RetireGrant", resources=[{"ARN": UNWATCHED}]), True, False, id="a grant of another key"),
        pytest.param(record("ListKeys", readOnly=True), False, False, id="a list"),
        pytest.param(record("ListKeys", errorCode="AccessDenied"), False, False, id="a refused list"),
        pytest.param(record("FreezeKey"), True, True, id="an unknown operation"),
        pytest.param(
            use("ListKeys", errorCode="VpceAccessDenied", resources=None),
            True,
            True,
            id="refused by an endpoint",
        ),
        pytest.param(noise(1), False, False, id="another service"),
        pytest.param(record("DeleteRole", eventSource="iam.amazonaws.com"), True, True, id="a role"),
        pytest.param(
            record("GetObject", eventSource="s3.amazonaws.com", errorCode="KMS.DisabledException"),
            True,
            True,
            id="another service that could not use a key",
        ),
        pytest.param(
            record("GetObject", eventSource="s3.amazonaws.com", errorCode="AccessDenied", errorMessage="no"),
            False,
            False,
            id="another service's own failure",
        ),
        pytest.param(event(noise(1)), False, False, id="an event about another service"),
        pytest.param(event(noise(1), source="x"), True, True, id="an event whose source does not fit"),
        pytest.param(
            event(noise(1) | {"recipientAccountId": STRANGER, "userIdentity": {}, "requestParameters": {}}),
            False,
            False,
            id="a stranger's event",
        ),
        pytest.param(
            event(use(recipientAccountId=STRANGER, userIdentity={}, resources=[{"ARN": UNWATCHED}])),
            True,
            True,
            id="a stranger's event about a registered account",
        ),
        pytest.param(notification(noise(1), TOPIC), True, False, id="noise in a registered topic"),
        pytest.param(notification(noise(1), TOPIC + "x"), True, True, id="noise in another topic"),
    ],
)
def test_triage_keeps_what_may_matter(content: Any, *, kept_blindly: bool, kept_knowing: bool) -> None:
    for body in (raw(content), raw(content) + b"\n" + raw(noise(9)), raw({"Records": [content, noise(9)]})):
        assert bool(aws.unpack(body).entries) is kept_blindly
        assert bool(aws.unpack(body, register=REGISTER).entries) is kept_knowing


def test_what_was_dropped_is_listed_with_reason_operation_and_time() -> None:
    unpacked = aws.unpack(lines([noise(1), use(resources=[{"ARN": UNWATCHED}])]), register=REGISTER, detail=True)
    found = [(one.number, one.reason, one.operation, one.occurred_at is not None) for one in unpacked.dropped]
    assert found == [
        (1, "not an operation that can take a key away", "DescribeInstances", True),
        (2, "about keys that are not registered", "Decrypt", True),
    ]


def test_a_vendor_account_that_uses_its_own_keys_costs_nothing() -> None:
    own = f"arn:aws:kms:eu-west-1:{VENDOR}:key/00000000-0000-4000-8000-000000000000"
    body = lines([use(eventID=f"i-{number}", resources=[{"ARN": own}]) for number in range(500)])
    assert aws.unpack(body, register=REGISTER) == Unpacked(dropped_count=500)


def test_the_cost_of_a_record_does_not_grow_with_the_register() -> None:
    body = lines([use(eventID=f"i-{number}", resources=[{"ARN": UNWATCHED}]) for number in range(3000)])
    many = Register(document([key(f"arn:aws:kms:eu-west-1:{GLOBEX}:key/{UUID(int=at)}") for at in range(20_000)], []))
    spent: dict[str, float] = {}
    for name, known in (("few", REGISTER), ("many", many), ("few", REGISTER), ("many", many)):
        for _ in range(5):
            begun = time.perf_counter()
            assert aws.unpack(body, register=known).dropped_count == 3000
            spent[name] = min(spent.get(name, 9.0), time.perf_counter() - begun)
    assert spent["many"] < 2 * spent["few"]  # the benchmark holds the narrower bound
