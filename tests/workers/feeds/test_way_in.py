"""The way in with its real parts: AWS' shapes on a server that speaks SQS and S3, the decoder, the intake, a store."""

import gzip
import io
import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.moto_server import REGION, Moto
from tests.worlds import ACME_ACCOUNT, ACME_KEY, document
from watchdog import clouds
from watchdog.register import AwsCustomer, AwsCustomerFeeds, AwsVendorFeeds, Document
from workers.clouds.aws.objects import S3Objects
from workers.consumer import Consumer
from workers.feeds.folder import FolderSource
from workers.feeds.interface import Source
from workers.feeds.pieces import Limits, cut
from workers.feeds.sqs import SqsSource
from workers.intake import Intake
from workers.registry import Registry
from workers.store import migrate, open_store
from workers.store.interface import Arrived, Carries, Store, Unreadable
from workers.store.memory import MemoryStore

BUCKET = "example-vendor-trail-drop"
TOPIC = f"arn:aws:sns:eu-west-1:{ACME_ACCOUNT}:byok-audit"
KEY_ID = ACME_KEY.rpartition("/")[2]


def registered() -> Document:
    """Acme's key, with the topic and the bucket from which records may come."""
    plain = document()
    assert plain.vendor.aws is not None
    aws = msgspec.structs.replace(plain.vendor.aws, feeds=AwsVendorFeeds(trail_buckets=[BUCKET]))
    customer = msgspec.structs.replace(
        plain.customers[0], aws=AwsCustomer(accounts=[ACME_ACCOUNT], feeds=AwsCustomerFeeds(topics=[TOPIC]))
    )
    vendor = msgspec.structs.replace(plain.vendor, aws=aws)
    return msgspec.structs.replace(plain, vendor=vendor, customers=[customer, *plain.customers[1:]])


def record(event_id: str, name: str = "DisableKey", *, source: str = "kms.amazonaws.com") -> dict[str, Any]:
    """A CloudTrail record in the documented shape (aws.md 3.0)."""
    return {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "AssumedRole",
            "principalId": "AROAEXAMPLEADMIN00001:erin",
            "arn": f"arn:aws:sts::{ACME_ACCOUNT}:assumed-role/KeyAdmin/erin",
            "accountId": ACME_ACCOUNT,
        },
        "eventTime": "2026-12-01T09:15:00Z",
        "eventSource": source,
        "eventName": name,
        "awsRegion": "eu-west-1",
        "sourceIPAddress": "192.0.2.17",
        "userAgent": "aws-cli/2.31",
        "requestParameters": {"keyId": KEY_ID},
        "responseElements": {"keyId": ACME_KEY},
        "requestID": f"r-{event_id}",
        "eventID": event_id,
        "readOnly": False,
        "resources": [{"accountId": ACME_ACCOUNT, "type": "AWS::KMS::Key", "ARN": ACME_KEY}],
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": ACME_ACCOUNT,
        "eventCategory": "Management",
    }


def noise(event_id: str) -> dict[str, Any]:
    return record(event_id, "RunInstances", source="ec2.amazonaws.com")


def eventbridge(detail: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "0",
        "id": f"envelope-{detail['eventID']}",
        "detail-type": "AWS API Call via CloudTrail",
        "source": f"aws.{detail['eventSource'].partition('.')[0]}",
        "account": ACME_ACCOUNT,
        "time": "2026-12-01T09:15:02Z",
        "region": "eu-west-1",
        "resources": [],
        "detail": detail,
    }


def sns(inner: dict[str, Any], topic: str = TOPIC) -> dict[str, Any]:
    return {
        "Type": "Notification",
        "MessageId": "37616d65-8e9b-503d-8aa5-b86d584cdcde",
        "TopicArn": topic,
        "Message": json.dumps(inner),
        "Timestamp": "2026-12-01T09:21:01.412Z",
        "SignatureVersion": "2",
    }


def s3_notice(name: str, bucket: str = BUCKET) -> dict[str, Any]:
    """A notification of S3, in which the object's name is URL-encoded."""
    one = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-west-1",
        "eventTime": "2026-12-01T09:20:10.000Z",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": bucket}, "object": {"key": name, "size": 1234}},
    }
    return {"Records": [one]}


def trail_notice(*names: str) -> dict[str, Any]:
    return {"s3Bucket": BUCKET, "s3ObjectKey": list(names)}


def imported(store: Store) -> Store:
    with store.write() as unit:
        unit.register_add(
            msgspec.json.encode(registered()), at=datetime(2026, 12, 1, tzinfo=UTC), by="alice", source="test"
        )
    return store


class Process:
    """A consumer in a thread, and what it has brought in."""

    def __init__(self, source: Source, store: Store) -> None:
        self.store = store
        self.intake = Intake(store, Registry(store), clouds.cloud, objects={"aws": S3Objects()})
        self.told: list[int] = []
        self.handed: list[tuple[int, Carries]] = []
        self.stop = threading.Event()
        consumer = Consumer(
            source,
            self.intake,
            self.handed.extend,
            drain=lambda: None,
            tell_quarantined=lambda _, pieces: self.told.extend(pieces),
            on_degraded=lambda _: None,
            beat=lambda: None,
            bare_alarm=lambda _: None,
            wait=1,
        )
        self.thread = threading.Thread(target=consumer.run, args=(self.stop,))

    @contextmanager
    def running(self) -> Iterator[None]:
        self.thread.start()
        try:
            yield
        finally:
            self.stop.set()
            self.thread.join(15)
            assert not self.thread.is_alive()

    def inbox(self) -> list[Arrived]:
        with self.store.read() as unit:
            found = [unit.arrived(row) for row, _ in unit.arrived_due(datetime.now(UTC) + timedelta(days=1), 10_000)]
        return [row for row in found if row is not None]

    def events(self, carries: Carries = Carries.RECORD) -> list[str]:
        return sorted(row.event_id for row in self.inbox() if row.carries is carries)

    def quarantine(self) -> list[Unreadable]:
        with self.store.read() as unit:
            return [piece for _, piece in unit.quarantined(100)]


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)


@pytest.fixture
def bucket(aws: Moto) -> Iterator[Any]:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    yield s3
    for one in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        s3.delete_object(Bucket=BUCKET, Key=one["Key"])
    s3.delete_bucket(Bucket=BUCKET)


@pytest.mark.servers
def test_every_form_of_delivery_comes_in_through_the_queue(aws: Moto, bucket: Any, tmp_path: Path) -> None:
    queue = aws.queue("every-form")
    name = "customer a/AWSLogs/1/CloudTrail/x_a+a.json.gz"
    records = [noise(f"n{number}") for number in range(3000)]
    records[700], records[2100] = record("in-file-1", "ScheduleKeyDeletion"), record("in-file-2")
    bucket.put_object(Bucket=BUCKET, Key=name, Body=gzip.compress(json.dumps({"Records": records}).encode()))
    bucket.put_object(
        Bucket=BUCKET,
        Key="cut.json.gz",
        Body=gzip.compress(json.dumps({"Records": [record("whole"), record("cut")]}).encode())[:-14],
    )
    bodies = [
        eventbridge(record("bridge")),
        sns(eventbridge(record("wrapped"))),
        sns(eventbridge(record("forged")), topic=f"arn:aws:sns:eu-west-1:{ACME_ACCOUNT}:nobody-knows"),
        eventbridge(noise("n-bridge")),
        s3_notice("customer+a/AWSLogs/1/CloudTrail/x_a%2Ba.json.gz"),
        sns(trail_notice("cut.json.gz", "late.json.gz")),
        s3_notice("x.json.gz", bucket="somebody-elses"),
        {"Events": [{"EventId": "looked-up", "CloudTrailEvent": json.dumps(record("looked-up"))}]},
    ]
    for body in (*map(json.dumps, bodies), "not json"):
        aws.client("sqs").send_message(QueueUrl=queue, MessageBody=body)

    url = f"sqlite:///{tmp_path / 'watchdog.db'}"
    migrate(url)
    with closing(open_store(url)) as store:
        process = Process(SqsSource(queue, name="intake"), imported(store))
        with process.running():
            until(lambda: len(process.told) == 2 and len(process.handed) == 7)

        assert process.events(Carries.DELIVERY) == [
            f"{BUCKET}/{one}"
            for one in ("customer a/AWSLogs/1/CloudTrail/x_a+a.json.gz", "cut.json.gz", "late.json.gz")
        ]
        assert len(process.events()) == 4
        assert {piece.reason.partition(",")[0] for piece in process.quarantine()} == {
            "it is not JSON",
            "the notice points at bucket somebody-elses",
        }

        taken = {}
        for row in [row for row in process.inbox() if row.carries is Carries.DELIVERY]:
            taken[row.event_id.rpartition("/")[2]] = process.intake.read_delivery(row)
        assert process.events() == sorted({*process.events()})
        assert {"bridge", "wrapped", "looked-up", "in-file-1", "in-file-2", "whole"} <= {
            json.loads(row.body).get("eventID") or _inner(row.body)
            for row in process.inbox()
            if row.carries is Carries.RECORD
        }
        assert taken["x_a+a.json.gz"].counts.received == 3000
        assert len(taken["cut.json.gz"].quarantined) == 1
        assert "the gzip data is cut off at byte" in process.quarantine()[0].reason
        assert taken["late.json.gz"].fault is not None
        assert process.events(Carries.DELIVERY) == [f"{BUCKET}/late.json.gz"]


def _inner(body: bytes) -> str:
    """The event id inside an envelope, whatever it is wrapped in."""
    plain = json.loads(body)
    if "Message" in plain:
        plain = json.loads(plain["Message"])
    found: str = plain["detail"]["eventID"]
    return found


# ---------------------------------------------------------------------------------------------------------- the folder


def dropped(folder: Path, files: dict[str, bytes]) -> Process:
    folder.mkdir()
    for name, body in files.items():
        (folder / name).write_bytes(body)
    source = FolderSource(folder, name="drop", cloud="aws", settle=0)
    process = Process(source, imported(MemoryStore()))
    with process.running():
        until(lambda: not [path for path in folder.iterdir() if path.is_file()])
    return process


def jsonl(*records: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in records)


def where(folder: Path) -> dict[str, list[str]]:
    return {name: sorted(path.name for path in (folder / name).iterdir()) for name in ("done", "unreadable")}


def test_a_folder_of_everything_gives_each_record_and_one_line_for_each_fault(tmp_path: Path) -> None:
    thousand = [jsonl(record(f"k{number}"))[:-1] for number in range(1, 1001)]
    thousand[499] = thousand[499][:200]
    whole = gzip.compress(jsonl(record("gz1"), record("gz2"), record("gz3")))
    folder = tmp_path / "drop"

    process = dropped(
        folder,
        {
            "a-thousand.jsonl": b"\n".join(thousand) + b"\n",
            "b-truncated.jsonl.gz": whole[: len(whole) - 9],
            "c-empty.json": b"",
            "d-nested.json": b"[" * (50 << 20),
            "e-utf16.json": json.dumps({"Records": [record("utf16")]}).encode("utf-16"),
            "f-null.json": b"null",
            "g-list.json": json.dumps([record("in-list"), 8, 7]).encode(),
            "h-file.json.gz": gzip.compress(json.dumps({"Records": [record("file"), noise("n")]}).encode()),
            "i-latin.json": jsonl(record("good"))[:-2] + b', "x": "caf\xe9"}\n',
        },
    )

    expected = {f"k{number}" for number in range(1, 1001) if number != 500} | {"gz1", "utf16", "in-list", "file"}
    assert expected <= set(process.events())
    assert set(process.events()) - expected <= {"gz2", "gz3", "good"}
    told = {piece.place: piece.reason for piece in process.quarantine()}
    assert "a-thousand.jsonl, record 500" in told
    assert told["c-empty.json, record 1"] == "the file is empty"
    assert {"d-nested.json, record 1", "f-null.json, record 1"} <= told.keys()
    assert [place for place in told if place.startswith("b-truncated")], told
    assert len([place for place in told if place.startswith("g-list")]) == 2
    assert all(len(piece.body) < 2 << 20 for piece in process.quarantine())
    assert {"c-empty.json", "d-nested.json", "f-null.json"} <= set(where(folder)["unreadable"])
    assert {"a-thousand.jsonl", "b-truncated.jsonl.gz", "e-utf16.json", "g-list.json"} <= set(where(folder)["done"])


def test_dropping_the_same_file_again_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    process = dropped(folder, {"a.jsonl": jsonl(record("e1")), "b.jsonl": jsonl(record("e1"), record("e2"))})

    assert process.events() == ["e1", "e2"]


# ------------------------------------------------------------------------------------- the pieces and the decoder agree


@pytest.mark.parametrize("blank", [b"", b"\n", b" \r\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_records_have_the_number_of_their_line_whatever_the_pieces(blank: bytes, packed: bool) -> None:
    rows = [jsonl(record(f"e{number}")) if number % 3 else jsonl(noise(f"e{number}")) for number in range(1, 300)]
    rows[100] = b'{"broken": \n'
    body = blank.join(rows)
    stream = io.BytesIO(gzip.compress(body) if packed else body)

    found: dict[str, int] = {}
    broken: list[int] = []
    for piece in cut(stream, "f", Limits(piece=5000)):
        unpacked = clouds.cloud("aws").unpack(piece.body, first=piece.first)
        found |= {entry.event_id: entry.number for entry in unpacked.entries}
        broken += [one.number for one in unpacked.broken]

    assert found == {f"e{number}": number for number in range(1, 300) if number % 3 and number != 101}
    assert broken == [101]


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_every_whole_record_of_a_truncated_delivery_is_used(part: float) -> None:
    rows = [record(f"e{number}-{zlib.crc32(bytes([number])) ** 40}") for number in range(60)]
    whole = gzip.compress(json.dumps({"Records": rows}).encode())
    kept = whole[: int(len(whole) * part)]
    text = zlib.decompressobj(31).decompress(kept)

    pieces = list(cut(io.BytesIO(kept), "f"))
    entries = clouds.cloud("aws").unpack(pieces[0].body).entries

    whole_records = text.count(b', {"eventVersion"')  # one begins after each whole one
    assert [entry.event_id for entry in entries] == [one["eventID"] for one in rows[:whole_records]]
    assert [piece.error is None for piece in pieces] == [True, False]
