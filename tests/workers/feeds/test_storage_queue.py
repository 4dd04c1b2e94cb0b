"""The storage queue feed, on Azurite where npm is at hand; a small server plays the rest: refusals and silences."""

import base64
import json
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest
from azure.core.credentials import AccessToken, AzureNamedKeyCredential
from azure.core.exceptions import ClientAuthenticationError
from azure.storage.queue import QueueClient, QueueSasPermissions, generate_queue_sas

from tests.azurite import ACCOUNT, KEY, Azurite, azurite_or_skip
from tests.servers import free_port
from tests.watchdog.clouds.azure.records import topic
from tests.watchdog.clouds.azure.world import document
from tests.workers.feeds.consuming import running, until
from watchdog import clouds
from workers.consumer import WAIT, Consumer
from workers.feeds import storage_queue
from workers.feeds.interface import FeedFault, Reason, Received
from workers.feeds.kinds import make_source
from workers.feeds.storage_queue import StorageQueueSource, source
from workers.intake import Intake
from workers.registry import Registry
from workers.store.memory import MemoryStore

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with azurite_or_skip(tmp_path_factory.mktemp("azurite")) as server:
        yield server


class Queue:
    """A queue of the account, from both sides."""

    _count = 0

    def __init__(self, account: Azurite) -> None:
        Queue._count += 1
        self.name = f"byok-{Queue._count}"
        self.client = account.queue(self.name)
        self.url = account.queue_url(self.name)

    def send(self, *texts: str) -> None:
        for text in texts:
            self.client.send_message(text)

    def count(self) -> int:
        return self.client.get_queue_properties().approximate_message_count or 0

    def source(self, **changes: Any) -> StorageQueueSource:
        settings: dict[str, Any] = {"name": "queue", "key": KEY, "now": lambda: NOW} | changes
        return StorageQueueSource(self.url, **settings)


@pytest.fixture
def queue(account: Azurite) -> Iterator[Queue]:
    made = Queue(account)
    with closing(made.client):
        yield made


def encoded(content: object) -> str:
    return base64.b64encode(json.dumps(content).encode()).decode()


def all_of(feed: StorageQueueSource, count: int) -> list[Received]:
    found: list[Received] = []
    for _ in range(20):
        found += feed.receive(1)
        if len(found) >= count:
            break
    return found


# ------------------------------------------------------------------------------------------------------ on real servers


@pytest.mark.servers
def test_base64_and_plain_json_come_as_json_and_anything_else_with_its_fault(queue: Queue) -> None:
    plain = '{"a": "Zoë", "n": 1}'
    odd = {
        "rubbish": b"rubbish",
        "cnViYmlzaA==": b"cnViYmlzaA==",  # base64 of no JSON
        "e30": b"e30",  # base64 that was cut off
        "<xml a='1'>&amp;</xml>": b"<xml a='1'>&amp;</xml>",
        '"a text"': b'"a text"',
        "": b"",
    }
    good = {
        plain: plain.encode(),
        "[1]": b"[1]",
        encoded({"b": 2}): b'{"b": 2}',
        base64.b64encode(b'\xef\xbb\xbf {"bom":1}').decode(): b'\xef\xbb\xbf {"bom":1}',
        base64.encodebytes(b'{"c": "' + b"x" * 100 + b'"}').decode(): b'{"c": "' + b"x" * 100 + b'"}',
        '{"d": ': b'{"d": ',  # for the decoder to tell what is wrong with it
    }
    queue.send(*odd, *good)
    with closing(queue.source()) as feed:
        received = all_of(feed, len(odd) + len(good))

        assert {one.body for one in received if one.fault is None} == set(good.values())
        assert {one.body for one in received if one.fault is not None} == set(odd.values())
        assert {(one.deliveries, one.received_at) for one in received} == {(1, NOW)}
        assert all(one.place == f"queue {queue.name} of {ACCOUNT}, message {one.id}" for one in received)
        assert len({one.id for one in received}) == len(received)
        assert list(feed.acknowledge(received, unreadable={one.id for one in received if one.fault})) == []
    assert queue.count() == 0


@pytest.mark.servers
def test_what_is_given_back_comes_again_at_once_with_its_count(queue: Queue) -> None:
    queue.send("{}")
    with closing(queue.source()) as feed:
        received = feed.receive(1)
        assert list(feed.receive(0)) == []
        assert list(feed.extend(received, 0)) == []
        again = feed.receive(0)

    assert [(one.id, one.deliveries) for one in again] == [(received[0].id, 2)]


@pytest.mark.servers
def test_what_is_not_acknowledged_comes_again_when_its_time_is_over(queue: Queue) -> None:
    queue.send("{}")
    with closing(queue.source(visibility=1)) as feed:
        assert len(feed.receive(1)) == 1
        assert [one.deliveries for one in feed.receive(3)] == [2]


@pytest.mark.servers
def test_an_extended_message_stays_away_and_is_deleted_with_its_newest_receipt(queue: Queue) -> None:
    queue.send("{}", encoded({"b": 1}))
    with closing(queue.source(visibility=1)) as feed:
        received = all_of(feed, 2)
        for _ in range(2):
            assert list(feed.extend(received, 30)) == []
        time.sleep(1.2)

        assert list(feed.receive(0)) == []
        assert list(feed.acknowledge(received)) == []
        assert queue.count() == 0
        assert list(feed.extend(received, 30)) == []  # gone by our own doing: nothing failed


@pytest.mark.servers
def test_a_message_keeps_its_text_when_it_is_extended(queue: Queue) -> None:
    queue.send(encoded({"b": "Zoë"}))
    with closing(queue.source()) as feed:
        received = feed.receive(1)
        feed.extend(received, 30)
        feed.extend(received, 0)

        assert [one.body for one in feed.receive(0)] == [received[0].body]


@pytest.mark.servers
def test_a_message_that_another_one_has_got_meanwhile_is_left_and_stays_theirs(queue: Queue) -> None:
    queue.send("{}", '{"n": 2}')
    with closing(queue.source(visibility=1)) as feed, closing(queue.source()) as other:
        received = all_of(feed, 2)
        feed.extend(received[1:], 30)
        time.sleep(1.2)
        theirs = other.receive(1)
        assert [one.id for one in theirs] == [received[0].id]

        assert list(feed.extend(received, 30)) == received[:1]
        assert list(feed.acknowledge(received)) == received[:1]
        assert list(other.acknowledge(theirs)) == []


@pytest.mark.servers
def test_a_message_that_is_not_there_any_more_is_done(queue: Queue) -> None:
    queue.send("{}")
    with closing(queue.source()) as feed:
        received = feed.receive(1)
        queue.client.clear_messages()

        assert list(feed.extend(received, 30)) == received
        assert list(feed.acknowledge(received)) == []


@pytest.mark.servers
def test_more_messages_than_a_page_come_in_pages_and_go_together(queue: Queue) -> None:
    queue.send(*["{}"] * 40)
    with closing(queue.source()) as feed:
        first, second = feed.receive(1), feed.receive(1)
        assert (len(first), len(second)) == (32, 8)
        assert list(feed.acknowledge([*first, *second])) == []

    assert queue.count() == 0


@pytest.mark.servers
def test_a_receive_sees_what_comes_while_it_waits_and_no_longer(queue: Queue) -> None:
    later = threading.Timer(0.7, queue.send, ["{}"])
    later.start()
    with closing(queue.source()) as feed:
        started = time.monotonic()
        received = feed.receive(5)
        took = time.monotonic() - started
        feed.acknowledge(received)
        started = time.monotonic()
        nothing = feed.receive(1)
        waited = time.monotonic() - started
    later.join()

    assert len(received) == 1
    assert took < 3
    assert list(nothing) == []
    assert 1 <= waited < 3


@pytest.mark.servers
def test_a_shared_access_signature_is_as_good_as_a_key(queue: Queue) -> None:
    signature = generate_queue_sas(
        ACCOUNT, queue.name, KEY, QueueSasPermissions(process=True, update=True), datetime(2037, 1, 1, tzinfo=UTC)
    )
    queue.send("{}")
    for key in (signature, f"?{signature}\n"):
        with closing(queue.source(key=key)) as feed:
            received = feed.receive(1)
            assert list(feed.extend(received, 0)) == []
    with closing(queue.source(key=signature)) as feed:
        assert list(feed.acknowledge(feed.receive(1))) == []


@pytest.mark.servers
def test_wrong_secrets_are_faults_that_do_not_show_them(queue: Queue) -> None:
    reading = generate_queue_sas(
        ACCOUNT, queue.name, KEY, QueueSasPermissions(read=True), datetime(2037, 1, 1, tzinfo=UTC)
    )
    expired = generate_queue_sas(
        ACCOUNT, queue.name, KEY, QueueSasPermissions(process=True), datetime(2020, 1, 1, tzinfo=UTC)
    )
    wrong = base64.b64encode(b"another key of that account").decode()
    for key, reasons in (
        (wrong, {Reason.CREDENTIALS}),
        (expired, {Reason.CREDENTIALS}),
        (reading, {Reason.DENIED}),
    ):
        with closing(queue.source(key=key)) as feed, pytest.raises(FeedFault) as caught:
            feed.receive(0)
        assert caught.value.reason in reasons
        assert key not in f"{caught.value} {caught.value.hint()}"
        assert "sig=" not in str(caught.value)


@pytest.mark.servers
def test_a_queue_that_does_not_exist_is_a_permanent_fault_and_mends_when_it_appears(account: Azurite) -> None:
    with closing(StorageQueueSource(account.queue_url("appears-later"), name="queue", key=KEY)) as feed:
        with pytest.raises(FeedFault) as caught:
            feed.receive(1)
        assert (caught.value.reason, caught.value.permanent) == (Reason.NOT_FOUND, True)
        assert "appears-later" in str(caught.value)

        with closing(account.queue("appears-later")):
            assert list(feed.receive(0)) == []


@pytest.mark.servers
def test_it_is_made_by_its_kind_with_its_settings(queue: Queue) -> None:
    queue.send("{}")
    feed = make_source("storage_queue", "acme queue", "azure", {"url": queue.url, "key": KEY, "visibility_seconds": 77})
    with closing(feed):
        assert len(feed.receive(1)) == 1

    assert (feed.name, feed.cloud, feed.visibility) == ("acme queue", "azure", 77)


# -------------------------------------------------------------------------------------------- the whole consumer on it


class Process:
    """A consumer of a queue in a thread, with the real decoder and intake, and its notes."""

    def __init__(self, feed: StorageQueueSource, *, wait: float = 1.0, slow: float = 0.0) -> None:
        self.store = MemoryStore()
        with self.store.write() as unit:
            unit.register_add(msgspec.json.encode(document()), at=NOW, by="alice", source="test")

        class Slow(Intake):
            def take(self, feed: str, cloud: str, received: Sequence[Received]) -> Any:
                if received:
                    time.sleep(slow)
                return super().take(feed, cloud, received)

        self.handed: list[int] = []
        self.told: list[int] = []
        self.lacks: list[str | None] = []
        self.consumer = Consumer(
            feed,
            Slow(self.store, Registry(self.store), clouds.cloud),
            lambda rows: self.handed.extend(row for row, _ in rows),
            drain=lambda: None,
            tell_quarantined=lambda _, pieces: self.told.extend(pieces),
            on_degraded=self.lacks.append,
            beat=lambda: None,
            bare_alarm=lambda _: None,
            wait=wait,
        )
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.consumer.run, args=(self.stop,))

    def bodies(self) -> list[bytes]:
        with self.store.read() as unit:
            rows = [unit.arrived(row) for row, _ in unit.arrived_due(NOW, 1000)]
        return sorted(row.body for row in rows if row is not None)

    def quarantine(self) -> list[tuple[str, bytes]]:
        with self.store.read() as unit:
            return [(piece.place, piece.body) for _, piece in unit.quarantined(50)]


def expired(name: str) -> dict[str, Any]:
    return topic("KeyExpired", id=name, data={"EXP": 1756000000})


@pytest.mark.servers
def test_what_is_sent_is_committed_handed_on_and_gone_from_the_queue(queue: Queue) -> None:
    queue.send(encoded(expired("e1")), "rubbish", json.dumps(expired("e2")), '{"d": ')
    with running(Process(queue.source())) as process:
        until(lambda: len(process.handed) == 2 and len(process.told) == 2)
        until(lambda: queue.count() == 0)

    assert process.bodies() == sorted(json.dumps(expired(name)).encode() for name in ("e1", "e2"))
    assert sorted(body for _, body in process.quarantine()) == [b"rubbish", b'{"d": ']
    assert all(f"queue {queue.name} of {ACCOUNT}" in place for place, _ in process.quarantine())
    assert process.lacks == []


@pytest.mark.servers
def test_a_batch_that_takes_longer_than_its_visibility_is_not_handed_out_twice(queue: Queue) -> None:
    queue.send(encoded(expired("e1")))
    with running(Process(queue.source(visibility=2), slow=5.0)) as process, closing(queue.source()) as other:
        time.sleep(0.7)
        others: list[Received] = []
        while not process.handed:
            others += other.receive(0)
            time.sleep(0.1)
        until(lambda: queue.count() == 0)

    assert others == []
    assert process.lacks == []


@pytest.mark.servers
def test_a_crash_between_commit_and_deletion_brings_the_messages_again_and_nothing_twice(queue: Queue) -> None:
    queue.send(encoded(expired("e1")), encoded(expired("e2")))
    store = MemoryStore()
    with store.write() as unit:
        unit.register_add(msgspec.json.encode(document()), at=NOW, by="alice", source="test")
    intake = Intake(store, Registry(store), clouds.cloud)
    with closing(queue.source(visibility=1)) as dying:
        assert len(intake.take("queue", "azure", all_of(dying, 2)).ids) == 2
    time.sleep(1.1)  # nobody deletes them

    with closing(queue.source()) as successor:
        received = all_of(successor, 2)
        again = intake.take("queue", "azure", received)
        assert list(successor.acknowledge(received)) == []

    assert [one.deliveries for one in received] == [2, 2]
    assert (again.ids, again.counts.received) == ([], 2)
    assert queue.count() == 0


@pytest.mark.servers
def test_it_stops_within_ten_seconds_although_it_waits(queue: Queue) -> None:
    process = Process(queue.source(), wait=WAIT)
    process.thread.start()
    time.sleep(0.5)
    started = time.monotonic()
    process.stop.set()
    process.thread.join(15)

    assert not process.thread.is_alive()
    assert time.monotonic() - started < 8


# ------------------------------------------------------------------------------------------------ refusals and silences

EMPTY = b'<?xml version="1.0" encoding="utf-8"?><QueueMessagesList/>'


def listed(*ids: str) -> bytes:
    messages = "".join(
        f"<QueueMessage><MessageId>{one}</MessageId><InsertionTime>Tue, 01 Dec 2026 09:00:00 GMT</InsertionTime>"
        f"<ExpirationTime>Tue, 08 Dec 2026 09:00:00 GMT</ExpirationTime><PopReceipt>r-{one}</PopReceipt>"
        "<TimeNextVisible>Tue, 01 Dec 2026 09:00:30 GMT</TimeNextVisible><DequeueCount>3</DequeueCount>"
        "<MessageText>e30=</MessageText></QueueMessage>"
        for one in ids
    )
    return f"<QueueMessagesList>{messages}</QueueMessagesList>".encode()


def refusal(code: str, message: str = "some words") -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}\nRequestId:17</Message></Error>".encode()


class Far(ThreadingHTTPServer):
    """A far end that answers what it was told, and 200 without messages after that."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.answers: deque[tuple[int, dict[str, str], bytes]] = deque()
        self.requests: list[tuple[str, str, str]] = []
        self.stall = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{ACCOUNT}/byok"

    def source(self, key: str | None = KEY, **changes: Any) -> StorageQueueSource:
        settings: dict[str, Any] = {"name": "queue", "sleep": lambda _: None} | changes
        return StorageQueueSource(self.url, key=key, **settings)


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Far

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append((self.command, self.path, self.headers.get("Authorization") or ""))
        time.sleep(self.server.stall)
        status, headers, body = self.server.answers.popleft() if self.server.answers else (200, {}, EMPTY)
        self.send_response(status)
        for name, value in {"Content-Type": "application/xml", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_DELETE(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Keep quiet."""


@pytest.fixture
def far() -> Iterator[Far]:
    with Far() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "code", "reason", "permanent"),
    [
        (400, "InvalidQueryParameterValue", Reason.REFUSED, True),
        (401, "NoAuthenticationInformation", Reason.CREDENTIALS, True),
        (401, "InvalidAuthenticationInfo", Reason.CREDENTIALS, True),
        (403, "AuthenticationFailed", Reason.CREDENTIALS, True),
        (403, "KeyBasedAuthenticationNotPermitted", Reason.CREDENTIALS, True),
        (403, "AuthorizationPermissionMismatch", Reason.DENIED, True),
        (403, "AuthorizationFailure", Reason.DENIED, True),
        (403, "AuthorizationSourceIPMismatch", Reason.DENIED, True),
        (403, "InsufficientAccountPermissions", Reason.DENIED, True),
        (403, "AccountIsDisabled", Reason.DENIED, True),
        (403, "SomethingNew", Reason.DENIED, True),
        (404, "QueueNotFound", Reason.NOT_FOUND, True),
        (404, "ResourceNotFound", Reason.NOT_FOUND, True),
        (409, "QueueBeingDeleted", Reason.NOT_FOUND, True),
        (409, "QueueDisabled", Reason.NOT_FOUND, True),
        (409, "SomethingNew", Reason.REFUSED, True),
        (410, "SomethingNew", Reason.NOT_FOUND, True),
        (302, "SomethingNew", Reason.REFUSED, True),
        (429, "TooManyRequests", Reason.THROTTLED, False),
        (503, "ServerBusy", Reason.THROTTLED, False),
        (500, "InternalError", Reason.SERVER, False),
        (500, "OperationTimedOut", Reason.SERVER, False),
        (502, "", Reason.SERVER, False),
    ],
)
def test_every_refusal_has_a_reason_and_a_hint_and_is_asked_for_once(
    far: Far, status: int, code: str, reason: Reason, permanent: bool
) -> None:
    headers = {"x-ms-error-code": code, "Retry-After": "1", "Location": "http://127.0.0.1:9/"} if code else {}
    far.answers.append((status, headers, refusal(code) if code else b""))
    with closing(far.source()) as feed, pytest.raises(FeedFault) as caught:
        feed.receive(0)

    assert (caught.value.reason, caught.value.permanent) == (reason, permanent)
    assert caught.value.hint()
    assert f"queue byok of {ACCOUNT}" in str(caught.value)
    assert code in str(caught.value)
    assert len(far.requests) == 1


def test_a_fault_shows_neither_what_was_signed_nor_the_signature(far: Far) -> None:
    quoted = "Signature did not match. String to sign used was SECRET"
    signature = "sv=2024-11-04&se=2037-01-01&sp=p&sig=SECRETSIGNATURE"
    for status, code in ((403, "AuthenticationFailed"), (400, "InvalidUri"), (500, "InternalError")):
        far.answers.append((status, {"x-ms-error-code": code}, refusal(code, quoted)))
        with closing(far.source(signature)) as feed, pytest.raises(FeedFault) as caught:
            feed.receive(0)
        assert "SECRET" not in f"{caught.value} {caught.value.hint()}"
    assert all("SECRETSIGNATURE" in path for _, path, _ in far.requests)


@pytest.mark.parametrize(
    "body", [b"", b"<html><p>Sign in</html>", b"<QueueMessagesList><QueueMessage>", b"<a>&#1;</a>", b"\xff\xfe"]
)
def test_an_answer_that_is_none_is_a_fault_with_its_place(far: Far, body: bytes) -> None:
    far.answers.append((200, {}, body))
    with closing(far.source()) as feed, pytest.raises(FeedFault) as caught:
        feed.receive(0)

    assert (caught.value.reason, caught.value.permanent) == (Reason.SERVER, False)
    assert f"receive on queue byok of {ACCOUNT}" in str(caught.value)


def test_after_a_page_that_cannot_be_read_messages_are_asked_for_one_by_one_then_more(far: Far) -> None:
    far.answers.append((200, {}, listed("m1").replace(b"e30=", b"&#1;")))
    with closing(far.source()) as feed:
        with pytest.raises(FeedFault):
            feed.receive(0)
        for _ in range(7):
            feed.receive(0)

    numbers = [path.partition("numofmessages=")[2].partition("&")[0] for _, path, _ in far.requests]
    assert numbers == ["32", "1", "2", "4", "8", "16", "32", "32"]


def test_settlements_that_are_answered_with_rubbish_are_faults(far: Far) -> None:
    far.answers.append((200, {}, listed("m1")))
    with closing(far.source()) as feed:
        received = feed.receive(0)
        for settle in (feed.acknowledge, lambda held: feed.extend(held, 30)):
            far.answers.append((400, {}, b"\xff\xfe<html>"))
            with pytest.raises(FeedFault):
                settle(received)


def test_a_deletion_that_is_refused_does_not_keep_the_others_from_being_deleted(far: Far) -> None:
    far.answers.append((200, {}, listed("m1", "m2", "m3")))
    with closing(far.source()) as feed:
        received = feed.receive(0)
        assert [(one.id, one.deliveries, one.body) for one in received] == [
            (name, 3, b"{}") for name in ("m1", "m2", "m3")
        ]
        far.answers.append((503, {"x-ms-error-code": "ServerBusy"}, refusal("ServerBusy")))
        far.answers.extend([(204, {}, b"")] * 2)
        with pytest.raises(FeedFault) as caught:
            feed.acknowledge(received)
        assert caught.value.reason is Reason.THROTTLED
        assert sorted(path.partition("?")[0][-2:] for _, path, _ in far.requests[1:]) == ["m1", "m2", "m3"]

        far.answers.append((204, {}, b""))
        asked = len(far.requests)
        assert list(feed.acknowledge(received)) == []
        assert len(far.requests) == asked + 1  # only the one that is still there


def test_only_one_page_is_asked_for(far: Far) -> None:
    far.answers.append((200, {}, listed("m1")))
    with closing(far.source()) as feed:
        assert [one.id for one in feed.receive(5)] == ["m1"]

    [(method, path, _)] = far.requests
    assert method == "GET"
    assert "numofmessages=32" in path
    assert "visibilitytimeout=30" in path


def test_nobody_listening_is_a_network_fault_at_once_and_shows_no_signature() -> None:
    url = f"http://127.0.0.1:{free_port()}/{ACCOUNT}/byok"
    started = time.monotonic()
    feed = StorageQueueSource(url, name="queue", key="sv=1&sig=SECRET")
    with closing(feed), pytest.raises(FeedFault) as caught:
        feed.receive(5)

    assert caught.value.reason is Reason.NETWORK
    assert "connection refused" in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert time.monotonic() - started < 5


def test_a_far_end_that_says_nothing_is_given_up_in_seconds(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_queue, "_READ_SECONDS", 0.3)
    far.stall = 1.0
    with closing(far.source()) as feed, pytest.raises(FeedFault) as caught:
        feed.receive(0)

    assert caught.value.reason is Reason.NETWORK
    assert "no answer in time" in str(caught.value)


# ------------------------------------------------------------------------------------------------------------- settings


class Identity:
    def __init__(self, said: str) -> None:
        self.said = said

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        raise ClientAuthenticationError(message=self.said)


def test_without_a_key_it_asks_its_identity_whose_words_it_keeps_to_itself() -> None:
    tried: list[Identity] = []

    def credential() -> Identity:
        tried.append(Identity("AADSTS700016: no such application; SECRET"))
        return tried[-1]

    url = "https://acmeforwarder.queue.core.windows.net/byok"
    with closing(StorageQueueSource(url, name="queue", credential=credential)) as feed:
        for _ in range(2):
            with pytest.raises(FeedFault) as caught:
                feed.receive(0)
            assert caught.value.reason is Reason.CREDENTIALS
            assert "AADSTS700016" in str(caught.value)
            assert "SECRET" not in str(caught.value)

    assert len(tried) == 2


@pytest.mark.parametrize(
    ("url", "account", "base", "name"),
    [
        ("https://acme.queue.core.windows.net/byok", "acme", "https://acme.queue.core.windows.net", "byok"),
        ("acme.queue.core.windows.net/byok/", "acme", "https://acme.queue.core.windows.net", "byok"),
        ("https://acme.queue.core.chinacloudapi.cn/q", "acme", "https://acme.queue.core.chinacloudapi.cn", "q"),
        ("http://127.0.0.1:10001/acme/byok", "acme", "http://127.0.0.1:10001/acme", "byok"),
        ("http://[::1]:10001/acme/byok", "acme", "http://[::1]:10001/acme", "byok"),
        ("https://gateway.acme.example/acme/byok", "acme", "https://gateway.acme.example/acme", "byok"),
    ],
)
def test_account_and_queue_are_read_from_the_queues_url(url: str, account: str, base: str, name: str) -> None:
    assert storage_queue._queue_in(url) == (account, base, name)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"url": "http://acme.queue.core.windows.net/byok"}, "url: must be https"),
        ({"url": "http://10.1.2.3/acme/byok"}, "url: must be https"),
        ({"url": "https://acme.queue.core.windows.net/"}, "url: must be the queue's own address"),
        ({"url": "https://acme.queue.core.windows.net/byok/messages"}, "url: must be the queue's own address"),
        ({"url": "https://acme.queue.core.windows.net/byok?sv=1&sig=SECRET"}, "url: must not carry anything after"),
        ({"url": "https://erin:SECRET@acme.queue.core.windows.net/byok"}, "url: must not carry a user name"),
        ({"key": "SECRET"}, "key: must be an account key or a shared access signature"),
        ({"key": ""}, "key: must be an account key"),
        ({"url": "http://127.0.0.1:1/acme/byok", "key": None}, "key: is needed over plain http"),
    ],
)
def test_wrong_options_are_told_by_name_and_without_secrets(changes: dict[str, str | None], says: str) -> None:
    options = {"url": "https://acme.queue.core.windows.net/byok", "key": KEY} | changes
    given = {name: value for name, value in options.items() if value is not None}
    with pytest.raises(ValueError, match=says) as caught:
        source("queue", "azure", given)

    assert "SECRET" not in str(caught.value)


def test_the_key_signs_for_the_account_in_the_url(far: Far) -> None:
    with closing(far.source()) as feed:
        feed.receive(0)
    with closing(QueueClient(far.url.rpartition("/")[0], "byok", AzureNamedKeyCredential("other", KEY))) as other:
        other.get_queue_properties()

    assert [authorization.partition(":")[0] for _, _, authorization in far.requests] == [
        f"SharedKey {ACCOUNT}",
        "SharedKey other",
    ]
