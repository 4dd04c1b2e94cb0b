"""CloudTrail files in S3: read as they are, refused when anybody could have written them, faults told apart."""

import gzip
import io
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import botocore.exceptions
import pytest
from botocore.stub import Stubber

from tests.moto_server import REGION, Moto
from tests.worlds import document
from watchdog.cloud import Pointer
from watchdog.register import AwsVendor, AwsVendorFeeds, Document, Register, Vendor
from workers.clouds.aws.objects import S3Client, S3Objects, client
from workers.feeds.interface import FeedFault, Reason
from workers.feeds.pieces import Limits

BUCKET = "example-vendor-audit-trail"
NAME = "customer a/AWSLogs/111122223333/CloudTrail/eu-west-1/2026/12/01/111122223333_a+b.json.gz"


def cloudtrail(count: int) -> bytes:
    records = [{"eventID": f"e{number}", "x": f"{number:x}" * 40} for number in range(1, count + 1)]
    return json.dumps({"Records": records}).encode()


@pytest.fixture
def bucket(aws: Moto) -> Iterator[Any]:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    yield s3
    for one in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        s3.delete_object(Bucket=BUCKET, Key=one["Key"])
    s3.delete_bucket(Bucket=BUCKET)


def pointer(name: str = NAME, *, region: str | None = REGION) -> Pointer:
    return Pointer(bucket=BUCKET, name=name, region=region)


@pytest.mark.servers
@pytest.mark.parametrize("region", [REGION, None])
def test_an_object_is_read_whole(bucket: Any, region: str | None) -> None:
    bucket.put_object(Bucket=BUCKET, Key=NAME, Body=gzip.compress(cloudtrail(3000)))

    [piece] = S3Objects().pieces(pointer(region=region))

    assert piece.body == cloudtrail(3000)
    assert piece.name == f"s3://{BUCKET}/{NAME}"
    assert piece.error is None


@pytest.mark.servers
def test_a_truncated_object_is_used_up_to_its_end(bucket: Any) -> None:
    whole = gzip.compress(cloudtrail(3000))
    bucket.put_object(Bucket=BUCKET, Key=NAME, Body=whole[: len(whole) // 2])

    good, rest = S3Objects().pieces(pointer())

    assert 1000 < len(json.loads(good.body)["Records"]) < 2000
    assert rest.error is not None
    assert rest.error.startswith(f"the gzip data is cut off at byte {len(whole) // 2}; the ")


@pytest.mark.servers
def test_an_object_that_is_not_there_may_still_come(bucket: Any) -> None:
    with pytest.raises(FeedFault) as caught:
        list(S3Objects().pieces(pointer("none.json.gz")))
    assert caught.value.reason is Reason.NOT_FOUND


def stubbed() -> tuple[S3Objects, Stubber]:
    made: Any = client("eu-west-1")
    return S3Objects(lambda _: made), Stubber(made)


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")


@pytest.mark.parametrize(
    ("code", "status", "reason", "hint"),
    [
        ("NoSuchKey", 404, Reason.NOT_FOUND, "tried again"),
        ("AccessDenied", 403, Reason.DENIED, "s3:GetObject"),
        ("KMS.DisabledException", 400, Reason.REFUSED, "answer"),
        ("SlowDown", 503, Reason.THROTTLED, "tried again"),
        ("InternalError", 500, Reason.SERVER, "tried again"),
        ("InvalidAccessKeyId", 403, Reason.CREDENTIALS, "credentials"),
    ],
)
def test_every_refusal_has_a_reason_and_a_hint(code: str, status: int, reason: Reason, hint: str) -> None:
    objects, stub = stubbed()
    stub.add_client_error("get_object", code, "no", http_status_code=status)
    with stub, pytest.raises(FeedFault) as caught:
        list(objects.pieces(pointer()))

    assert caught.value.reason is reason
    assert hint in caught.value.hint()
    assert f"s3://{BUCKET}/{NAME}" in str(caught.value)


class Body:
    """A body that gives some bytes and then fails."""

    def __init__(self, given: bytes, error: Exception) -> None:
        self._given = [given]
        self._error = error
        self.closed = False

    def read(self, _size: int, /) -> bytes:
        if self._given:
            return self._given.pop()
        raise self._error

    def close(self) -> None:
        self.closed = True


class OneObject:
    """An S3 client with one object."""

    def __init__(self, body: object) -> None:
        self._body = body

    def get_object(self, **_arguments: object) -> dict[str, object]:
        return {"Body": self._body}


@pytest.mark.parametrize(
    "error",
    [
        botocore.exceptions.ReadTimeoutError(endpoint_url="x"),
        botocore.exceptions.ResponseStreamingError(error="x"),
        botocore.exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        ConnectionResetError(104, "Connection reset by peer"),
    ],
)
def test_a_connection_that_breaks_is_a_fault_and_never_the_end_of_the_file(error: Exception) -> None:
    body = Body(b'{"n": 1}\n{"n": 2}\n{"n":', error)
    objects = S3Objects(lambda _: OneObject(body))
    with pytest.raises(FeedFault) as caught:
        list(objects.pieces(pointer()))

    assert caught.value.reason is Reason.NETWORK
    assert body.closed


def test_a_body_is_closed_when_reading_is_given_up() -> None:
    body = Body(b'{"n": 1}\n' * 100, KeyError())
    pieces = S3Objects(lambda _: OneObject(body), Limits(piece=50)).pieces(pointer())
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]  # it is a generator

    assert body.closed


def test_memory_stays_bounded_however_large_the_object_is() -> None:
    class Long(io.RawIOBase):
        left = 200

        def read(self, _size: int = -1, /) -> bytes:
            self.left -= 1
            return b'{"eventID": "e", "x": "%s"}\n' % (b"y" * 1000) * 1000 if self.left > 0 else b""

    tracemalloc.start()
    try:
        objects = S3Objects(lambda _: OneObject(Long()))
        assert sum(len(piece.body) for piece in objects.pieces(pointer())) > 190 << 20
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 48 << 20


def test_credentials_are_looked_for_again_after_they_failed() -> None:
    made: list[S3Client] = []

    def connect(region: str | None) -> S3Client:
        one: Any = client(region)
        stub = Stubber(one)
        stub.add_client_error("get_object", "ExpiredToken", "no", http_status_code=400)
        stub.activate()
        made.append(one)
        return made[-1]

    objects = S3Objects(connect)
    for _ in range(2):
        with pytest.raises(FeedFault):
            list(objects.pieces(pointer(region="eu-west-1")))

    assert len(made) == 2


def register(buckets: list[str] | None) -> Register:
    aws = None if buckets is None else AwsVendor(accounts=[], feeds=AwsVendorFeeds(trail_buckets=buckets))
    return Register(Document(version=1, vendor=Vendor(name="Example Vendor", aws=aws)), 1)


def test_only_buckets_of_the_register_are_read() -> None:
    objects = S3Objects()

    assert objects.refusal(pointer(), register([BUCKET])) is None
    for other in (
        register(["other"]),
        register([BUCKET + "-x"]),
        register([]),
        register(None),
        Register(document(), 1),
    ):
        refusal = objects.refusal(pointer(), other)
        assert refusal is not None
        assert BUCKET in refusal
        assert "vendor.aws.feeds.trail_buckets" in refusal
