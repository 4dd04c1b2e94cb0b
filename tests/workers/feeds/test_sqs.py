"""The SQS feed, on a server that speaks SQS; botocore's stub plays what that server cannot: refusals and outages."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

import botocore.exceptions
import msgspec
import pytest
from botocore.stub import Stubber

from tests.moto_server import Moto
from tests.servers import free_port
from tests.workers.fakes import FakeCloud, disabled, message
from tests.workers.feeds.consuming import running, until
from tests.worlds import ACME_KEY, document, key
from workers.consumer import WAIT, Consumer
from workers.feeds.interface import FeedFault, Reason, Received
from workers.feeds.sqs import SqsClient, SqsSource, client
from workers.intake import Intake
from workers.registry import Registry
from workers.store.memory import MemoryStore

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)


@pytest.fixture
def queue(aws: Moto, request: pytest.FixtureRequest) -> str:
    return aws.queue(request.node.name[:60].replace("[", "-").replace("]", "-"))


def sent(aws: Moto, queue: str, *bodies: bytes) -> None:
    for body in bodies:
        aws.client("sqs").send_message(QueueUrl=queue, MessageBody=body.decode())


def counts(aws: Moto, queue: str) -> tuple[int, int]:
    """How many messages wait, and how many are in flight."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = aws.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return int(found[names[0]]), int(found[names[1]])


# --------------------------------------------------------------------------------------------------- on a real server


@pytest.mark.servers
def test_messages_come_with_body_count_and_time_and_go_when_acknowledged(aws: Moto, queue: str) -> None:
    sent(aws, queue, b'{"a": "Zo\xc3\xab"}', b"not json")
    with closing(SqsSource(queue, name="intake", now=lambda: NOW)) as source:
        received = source.receive(1)
        while len(received) < 2:
            received = [*received, *source.receive(1)]

        assert {one.body for one in received} == {b'{"a": "Zo\xc3\xab"}', b"not json"}
        assert {(one.deliveries, one.received_at) for one in received} == {(1, NOW)}
        assert all(one.place == f"message {one.id}" for one in received)
        assert counts(aws, queue) == (0, 2)

        assert source.acknowledge(received) == []
        assert counts(aws, queue) == (0, 0)


@pytest.mark.servers
def test_what_is_given_back_comes_again_at_once_with_its_count(aws: Moto, queue: str) -> None:
    sent(aws, queue, b"{}")
    with closing(SqsSource(queue, name="intake")) as source:
        received = source.receive(1)
        assert source.extend(received, 0) == []

        assert [one.deliveries for one in source.receive(1)] == [2]


@pytest.mark.servers
def test_an_extended_message_stays_away_longer_than_it_would(aws: Moto, queue: str) -> None:
    sent(aws, queue, b"{}")
    with closing(SqsSource(queue, name="intake", visibility=1)) as source:
        received = source.receive(1)
        source.extend(received, 30)
        time.sleep(1.2)

        assert source.receive(0) == []
        assert counts(aws, queue) == (0, 1)


@pytest.mark.servers
def test_what_is_not_acknowledged_comes_again_when_its_time_is_over(aws: Moto, queue: str) -> None:
    sent(aws, queue, b"{}")
    with closing(SqsSource(queue, name="intake", visibility=1)) as source:
        assert len(source.receive(1)) == 1
        assert [one.deliveries for one in source.receive(3)] == [2]


@pytest.mark.servers
def test_more_than_ten_messages_are_acknowledged_in_parts(aws: Moto, queue: str) -> None:
    sent(aws, queue, *[b"{}"] * 23)
    with closing(SqsSource(queue, name="intake")) as source:
        received: list[Received] = []
        while len(received) < 23:
            received += source.receive(1)

        assert source.acknowledge(received) == []
        assert counts(aws, queue) == (0, 0)


@pytest.mark.servers
def test_a_queue_that_does_not_exist_is_a_permanent_fault_and_mends_when_it_appears(aws: Moto) -> None:
    url = f"{aws.url}/123456789012/appears-later"
    with closing(SqsSource(url, name="intake")) as source:
        with pytest.raises(FeedFault) as caught:
            source.receive(1)
        assert (caught.value.reason, caught.value.permanent) == (Reason.NOT_FOUND, True)
        assert "appears-later" in str(caught.value)

        aws.queue("appears-later")
        assert source.receive(0) == []


# -------------------------------------------------------------------------------------------- the whole consumer on it


class Process:
    """A consumer of a queue, with its notes, in a thread."""

    def __init__(
        self, queue: str, *, visibility: float = 30.0, slow: float = 0.0, poison: bytes = b"\0", wait: float = 1.0
    ) -> None:
        self.store = MemoryStore()
        with self.store.write() as unit:
            unit.register_add(msgspec.json.encode(document(key(ACME_KEY))), at=NOW, by="alice", source="test")
        cloud = FakeCloud()

        class Slow(Intake):
            def take(self, feed: str, cloud: str, received: Sequence[Received]) -> Any:
                if any(poison in one.body for one in received):
                    raise ValueError("cannot be kept")
                if received:
                    time.sleep(slow)
                return super().take(feed, cloud, received)

        self.handed: list[int] = []
        self.told: list[int] = []
        self.source = SqsSource(queue, name="intake", visibility=visibility)
        self.consumer = Consumer(
            self.source,
            Slow(self.store, Registry(self.store), lambda _: cloud),
            lambda rows: self.handed.extend(row for row, _ in rows),
            drain=lambda: None,
            tell_quarantined=lambda _, pieces: self.told.extend(pieces),
            on_degraded=lambda _: None,
            beat=lambda: None,
            bare_alarm=lambda _: None,
            wait=wait,
            poison_after=2,
        )
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.consumer.run, args=(self.stop,))

    def events(self) -> list[str]:
        with self.store.read() as unit:
            rows = [unit.arrived(row) for row, _ in unit.arrived_due(datetime.now(UTC), 1000)]
        return sorted(row.event_id for row in rows if row is not None)


@pytest.mark.servers
def test_what_is_sent_is_committed_handed_on_and_gone_from_the_queue(aws: Moto, queue: str) -> None:
    sent(aws, queue, *(disabled(f"e{number}", ACME_KEY) for number in range(12)), b"rubbish")
    with running(Process(queue)) as process:
        until(lambda: len(process.handed) == 12 and len(process.told) == 1)

    assert process.events() == sorted(f"e{number}" for number in range(12))
    assert counts(aws, queue) == (0, 0)


@pytest.mark.servers
def test_it_stops_within_ten_seconds_although_a_long_poll_runs(aws: Moto, queue: str) -> None:
    process = Process(queue, wait=WAIT)
    process.thread.start()
    time.sleep(0.5)  # the poll of an empty queue is under way
    started = time.monotonic()
    process.stop.set()
    process.thread.join(15)

    assert not process.thread.is_alive()
    assert time.monotonic() - started < 10


@pytest.mark.servers
def test_a_batch_that_takes_longer_than_its_visibility_is_not_handed_out_twice(aws: Moto, queue: str) -> None:
    sent(aws, queue, disabled("e1", ACME_KEY))
    with running(Process(queue, visibility=1, slow=3.0)) as process:
        until(lambda: counts(aws, queue)[1] == 1)
        seen = set()
        while not process.handed:
            seen.add(counts(aws, queue))
            time.sleep(0.1)
        until(lambda: counts(aws, queue) == (0, 0))

    assert (1, 0) not in seen


@pytest.mark.servers
def test_a_poisonous_message_leaves_the_queue_for_the_quarantine(aws: Moto, queue: str) -> None:
    sent(aws, queue, disabled("poison", ACME_KEY), disabled("e2", ACME_KEY))
    with running(Process(queue, visibility=1, poison=b"poison")) as process:
        until(lambda: len(process.handed) == 1)
        until(lambda: counts(aws, queue) == (0, 0), seconds=40)
        until(lambda: len(process.told) == 1)

    assert process.events() == ["e2"]
    with process.store.read() as unit:
        assert [piece.body for _, piece in unit.quarantined(5)] == [disabled("poison", ACME_KEY)]


# ------------------------------------------------------------------------------------------------- refusals and outages


@contextmanager
def stubbed() -> Iterator[tuple[SqsSource, Stubber, list[float]]]:
    slept: list[float] = []
    made: Any = client("eu-west-1")
    with Stubber(made) as stub:
        source = SqsSource(QUEUE, name="intake", connect=lambda _: made, sleep=slept.append)
        yield source, stub, slept
        stub.assert_no_pending_responses()


QUEUE = "https://sqs.eu-west-1.amazonaws.com/999988887777/byok-intake"


def failed(*ids: int) -> dict[str, Any]:
    return {
        "Successful": [],
        "Failed": [{"Id": str(one), "SenderFault": False, "Code": "InternalError", "Message": "x"} for one in ids],
    }


def deleting(*receipts: str) -> dict[str, Any]:
    return {
        "QueueUrl": QUEUE,
        "Entries": [{"Id": str(number), "ReceiptHandle": receipt} for number, receipt in enumerate(receipts)],
    }


def test_what_could_not_be_deleted_is_tried_again_alone() -> None:
    with stubbed() as (source, stub, slept):
        stub.add_response("delete_message_batch", failed(0, 2), deleting("m1", "m2", "m3"))
        stub.add_response("delete_message_batch", failed(1), deleting("m1", "m3"))
        stub.add_response("delete_message_batch", failed(), deleting("m3"))

        assert source.acknowledge([message("m1"), message("m2"), message("m3")]) == []
    assert len(slept) == 2


def test_what_stays_undeletable_is_returned_and_left() -> None:
    with stubbed() as (source, stub, _):
        stub.add_response("delete_message_batch", failed(1), deleting("m1", "m2"))
        for _again in range(2):
            stub.add_response("delete_message_batch", failed(0), deleting("m2"))

        assert [one.id for one in source.acknowledge([message("m1"), message("m2")])] == ["m2"]


def test_messages_that_could_not_be_extended_are_returned() -> None:
    with stubbed() as (source, stub, _):
        stub.add_response("change_message_visibility_batch", failed(1))

        assert [one.id for one in source.extend([message("m1"), message("m2")], 30)] == ["m2"]


@pytest.mark.parametrize(
    ("code", "status", "reason", "permanent"),
    [
        ("RequestThrottled", 400, Reason.THROTTLED, False),
        ("ThrottlingException", 400, Reason.THROTTLED, False),
        ("TooManyRequests", 429, Reason.THROTTLED, False),
        ("InternalError", 500, Reason.SERVER, False),
        ("Whatever", 503, Reason.SERVER, False),
        ("InvalidClientTokenId", 403, Reason.CREDENTIALS, True),
        ("ExpiredToken", 400, Reason.CREDENTIALS, True),
        ("SignatureDoesNotMatch", 403, Reason.CREDENTIALS, True),
        ("AccessDenied", 403, Reason.DENIED, True),
        ("AccessDeniedException", 400, Reason.DENIED, True),
        ("AWS.SimpleQueueService.NonExistentQueue", 400, Reason.NOT_FOUND, True),
        ("QueueDoesNotExist", 400, Reason.NOT_FOUND, True),
        ("SomethingNew", 400, Reason.REFUSED, True),
    ],
)
def test_every_refusal_has_a_reason_and_a_hint(code: str, status: int, reason: Reason, permanent: bool) -> None:
    with stubbed() as (source, stub, _):
        stub.add_client_error("receive_message", code, "no", http_status_code=status)
        with pytest.raises(FeedFault) as caught:
            source.receive(5)

    assert (caught.value.reason, caught.value.permanent) == (reason, permanent)
    assert caught.value.hint()
    assert QUEUE in str(caught.value)


def test_a_fault_never_shows_a_secret() -> None:
    quoted = "The Canonical String should have been 'POST x-amz-security-token:SECRET-TOKEN'"
    with stubbed() as (source, stub, _):
        stub.add_client_error("receive_message", "SignatureDoesNotMatch", quoted, http_status_code=403)
        with pytest.raises(FeedFault) as caught:
            source.receive(5)

    assert "SECRET" not in f"{caught.value} {caught.value.hint()}"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (botocore.exceptions.EndpointConnectionError(endpoint_url=QUEUE), Reason.NETWORK),
        (botocore.exceptions.ConnectTimeoutError(endpoint_url=QUEUE), Reason.NETWORK),
        (botocore.exceptions.ReadTimeoutError(endpoint_url=QUEUE), Reason.NETWORK),
        (botocore.exceptions.ConnectionClosedError(endpoint_url=QUEUE), Reason.NETWORK),
        (botocore.exceptions.SSLError(endpoint_url=QUEUE, error="x"), Reason.NETWORK),
        (botocore.exceptions.ProxyConnectionError(proxy_url="x"), Reason.NETWORK),
        (botocore.exceptions.NoCredentialsError(), Reason.CREDENTIALS),
        (botocore.exceptions.PartialCredentialsError(provider="env", cred_var="x"), Reason.CREDENTIALS),
        (botocore.exceptions.CredentialRetrievalError(provider="process", error_msg="SECRET"), Reason.CREDENTIALS),
        (botocore.exceptions.TokenRetrievalError(provider="sso", error_msg="SECRET"), Reason.CREDENTIALS),
        (botocore.exceptions.ParamValidationError(report="x"), Reason.SETTINGS),
    ],
)
def test_every_silence_has_a_reason(error: Exception, reason: Reason) -> None:
    class Broken:
        def receive_message(self, **_arguments: object) -> Any:
            raise error

        delete_message_batch = change_message_visibility_batch = receive_message

        def close(self) -> None:
            pass

    source = SqsSource(QUEUE, name="intake", connect=lambda _: Broken())
    with pytest.raises(FeedFault) as caught:
        source.receive(5)

    assert caught.value.reason is reason
    assert "SECRET" not in str(caught.value)


def test_missing_credentials_are_a_fault_and_are_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    made: list[SqsClient] = []

    def connect(region: str | None) -> SqsClient:
        made.append(client(region))
        return made[-1]

    source = SqsSource(QUEUE, name="intake", connect=connect)
    for _ in range(2):
        with pytest.raises(FeedFault) as caught:
            source.receive(5)
        assert caught.value.reason is Reason.CREDENTIALS

    assert len(made) == 2
    for one in made:
        one.close()


def test_nobody_listening_is_a_network_fault_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    started = time.monotonic()
    with closing(SqsSource(QUEUE, name="intake")) as source, pytest.raises(FeedFault) as caught:
        source.receive(5)

    assert caught.value.reason is Reason.NETWORK
    assert time.monotonic() - started < 5


def test_no_region_at_all_is_a_fault_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    source = SqsSource("http://queue.example/1/q", name="intake")
    with pytest.raises(FeedFault) as caught:
        source.receive(5)

    assert caught.value.reason is Reason.SETTINGS
    assert "region" in str(caught.value).lower()


@pytest.mark.parametrize(
    ("url", "region"),
    [
        (QUEUE, "eu-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/999988887777/q", "cn-north-1"),
        ("http://127.0.0.1:4566/000000000000/q", None),
        ("https://queue.example/sqs/q", None),
    ],
)
def test_the_region_is_read_from_the_queues_url(url: str, region: str | None) -> None:
    seen: list[str | None] = []

    class Silent:
        def receive_message(self, **arguments: object) -> Any:
            assert arguments["QueueUrl"] == url
            return {}

        delete_message_batch = change_message_visibility_batch = receive_message

        def close(self) -> None:
            pass

    def connect(asked: str | None) -> SqsClient:
        seen.append(asked)
        return Silent()

    assert SqsSource(url, name="intake", connect=connect).receive(5) == []
    assert seen == [region]


def test_a_body_is_handed_on_as_bytes_unchanged() -> None:
    body = json.dumps({"detail": {"userIdentity": "\u202eZoë"}}, ensure_ascii=False)
    with stubbed() as (source, stub, _):
        stub.add_response("receive_message", {"Messages": [{"MessageId": "m1", "ReceiptHandle": "r1", "Body": body}]})
        [received] = source.receive(5)

    assert received.body == body.encode()
    assert received.deliveries == 1
