# ruff: noqa: ARG002 - the methods have the arguments of the ports that they stand for
"""The listener: an answer only after the commit, 503 for whatever is our own fault, and bounds for everybody else."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3
from starlette.requests import Request

from tests.workers.fakes import FakeCloud, disabled
from tests.workers.feeds.pushing import House, Sender, certificate, tls_door, until
from tests.worlds import ACME_KEY, document, key
from workers.feeds.doors import Certificate, Door, door
from workers.feeds.interface import FeedFault, Reason
from workers.feeds.listening import Answer, Delivery, Listening, RefusedError, Trouble, Troubles, UnableError
from workers.feeds.lobby import BATCH, Limits

LIMITS = Limits(body=1 << 20, answer=5.0)
SECRET = "open sesame"


class PlainDesk:
    """A desk that takes what has the right word in a header."""

    methods = ("POST",)

    def __init__(self) -> None:
        self.unable = False
        self.lacking: str | None = None

    async def admit(self, request: Request) -> None:
        if self.unable:
            raise UnableError("the keys are away")
        if request.headers.get("x-word") != SECRET:
            raise RefusedError("the word is wrong")

    async def take(self, request: Request, body: bytes) -> Delivery:
        if body == b"fails":
            raise KeyError("our own fault")
        return Delivery(body=body, place="a push", answer=Answer(body=b"taken"))

    async def tend(self) -> None:
        pass

    def lacks(self) -> str | None:
        return self.lacking


class Stage:
    """A listener with TLS, a sender that trusts it, and a house behind it."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.desk = PlainDesk()
        self.house = House(FakeCloud(), document(key(ACME_KEY)))

    def listening(self, limits: Limits = LIMITS, where: Door | None = None, **named: Any) -> Listening:
        source = Listening(
            where or tls_door(self.folder), self.desk, name="feed-1", cloud="fake", limits=limits, **named
        )
        self.stack.callback(source.close)
        return source

    def sender(self, source: Listening, word: str = SECRET) -> Sender:
        return self.stack.enter_context(closing(Sender(source, self.folder / "door.crt", headers={"x-word": word})))

    def raw(self, source: Listening) -> ssl.SSLSocket:
        """A connection of a client that sends what it likes."""
        assert source.address is not None
        context = ssl.create_default_context(cafile=str(self.folder / "door.crt"))
        plain = socket.create_connection(source.address, timeout=10)
        return self.stack.enter_context(context.wrap_socket(plain, server_hostname="127.0.0.1"))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(stack, tmp_path)


def opened(source: Listening) -> Listening:
    """Let a source listen, without a consumer."""
    assert list(source.receive(0)) == []
    return source


def record(event_id: str) -> bytes:
    return disabled(event_id, ACME_KEY)


def head(*lines: str) -> bytes:
    return "\r\n".join(["POST /in HTTP/1.1", "Host: door", f"X-Word: {SECRET}", *lines, "", ""]).encode()


def read_all(connection: socket.socket) -> bytes:
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except (ConnectionError, ssl.SSLError):
        pass
    return found


# ----------------------------------------------------------------------------------------------------------- the commit


def test_it_answers_only_after_the_commit(stage: Stage) -> None:
    gate = threading.Event()
    source = stage.listening()
    with stage.house.consuming(source):
        stage.house.store.before_write = gate.wait
        waiting = stage.sender(source).later(record("e1"))
        time.sleep(0.7)
        assert not waiting.done()
        assert stage.house.inbox() == []
        gate.set()
        answer = waiting.result()

    assert (answer.status, answer.data) == (200, b"taken")
    assert stage.house.inbox() == ["e1"]


def test_many_requests_at_once_are_committed_in_few_commits(stage: Stage) -> None:
    gate = threading.Event()
    source = stage.listening(replace(LIMITS, answer=20.0))
    sender = stage.sender(source)
    with stage.house.consuming(source):
        stage.house.store.before_write = gate.wait
        first = sender.later(record("e0"))
        until(lambda: not source._lobby._is_queued() and source._lobby._messages)
        writes = stage.house.store.writes
        others = [sender.later(record(f"e{number}")) for number in range(1, 201)]
        until(lambda: len(source._lobby._messages) == 201, 20)
        threads = threading.active_count()
        gate.set()
        answers = [one.result().status for one in [first, *others]]

    assert answers == [200] * 201
    assert stage.house.store.writes - writes <= 4
    assert len(stage.house.inbox()) == 201
    assert threads < 230, "the senders have 201 of them; the listener has none per request"


def test_it_answers_503_while_the_store_is_away_and_what_comes_again_is_committed_once(stage: Stage) -> None:
    source = stage.listening(replace(LIMITS, answer=0.5))
    sender = stage.sender(source)
    with stage.house.consuming(source):
        stage.house.store.away = True
        first = sender.send(record("e1"))
        assert (first.status, first.headers["Retry-After"]) == (503, "10")
        assert sender.send(record("e1")).status == 503
        stage.house.store.away = False
        until(lambda: sender.send(record("e1")).status == 200)

    assert stage.house.inbox() == ["e1"]


def test_what_came_during_an_outage_is_committed_when_it_is_over_and_not_only_when_it_comes_again(stage: Stage) -> None:
    source = stage.listening(replace(LIMITS, answer=0.5))
    sender = stage.sender(source)
    with stage.house.consuming(source):
        stage.house.store.away = True
        assert [sender.send(record(name)).status for name in ("e1", "e2", "e3")] == [503, 503, 503]
        stage.house.store.away = False
        until(lambda: stage.house.inbox() == ["e1", "e2", "e3"])


def test_a_store_that_dies_in_the_commit_answers_nothing_as_committed(stage: Stage) -> None:
    source = stage.listening(replace(LIMITS, answer=1.0))
    sender = stage.sender(source)

    def die() -> None:
        stage.house.store.away = True
        stage.house.store.before_write = lambda: None
        stage.house.store._look()

    with stage.house.consuming(source):
        stage.house.store.before_write = die
        assert sender.send(record("e1")).status == 503
        stage.house.store.away = False
        assert stage.house.inbox() in ([], ["e1"])
        until(lambda: stage.house.inbox() == ["e1"])


def test_what_waits_at_a_stop_is_given_back(stage: Stage) -> None:
    source = stage.listening()
    sender = stage.sender(source)
    with stage.house.consuming(source) as stop:
        stage.house.store.away = True
        waiting = [sender.later(record(f"e{number}")) for number in range(100)]
        until(lambda: len(source._lobby._messages) == 100)
        began = time.monotonic()
        stop.set()
        answers = [one.result() for one in waiting]

    assert [one.status for one in answers] == [503] * 100
    assert {one.headers["Retry-After"] for one in answers} == {"10"}
    assert time.monotonic() - began < 5
    stage.house.store.away = False
    assert stage.house.inbox() == []


def test_what_cannot_be_read_is_answered_as_taken_for_it_lies_in_quarantine(stage: Stage) -> None:
    source = stage.listening()
    with stage.house.consuming(source):
        answer = stage.sender(source).send(b"rubbish")

    assert answer.status == 200
    assert [place for place, _ in stage.house.quarantine()] == ["a push, record 1"]


def test_noise_is_answered_too(stage: Stage) -> None:
    source = stage.listening()
    with stage.house.consuming(source):
        assert stage.sender(source).send(b'{"id": "n", "noise": 1}').status == 200

    assert stage.house.inbox() == []


# --------------------------------------------------------------------------------------------- the contract of a source


def test_a_message_that_comes_again_while_it_waits_is_one_message_with_two_requests(stage: Stage) -> None:
    source = opened(stage.listening())
    sender = stage.sender(source)
    requests = [sender.later(b"same"), sender.later(b"same")]
    until(lambda: [len(one.requests) for one in source._lobby._messages.values()] == [2])

    received = source.receive(1)
    assert [one.body for one in received] == [b"same"]
    assert list(source.acknowledge(received)) == []
    assert [one.result().status for one in requests] == [200, 200]


def test_one_that_comes_again_while_it_is_in_work_joins_it(stage: Stage) -> None:
    source = opened(stage.listening())
    sender = stage.sender(source)
    first = sender.later(b"same")
    received = source.receive(1)
    second = sender.later(b"same")
    until(lambda: [len(one.requests) for one in source._lobby._messages.values()] == [2])

    assert list(source.receive(0)) == []
    source.acknowledge(received)
    assert [first.result().status, second.result().status] == [200, 200]


def test_an_acknowledgement_after_the_answer_says_that_it_comes_again(stage: Stage) -> None:
    source = opened(stage.listening(replace(LIMITS, answer=0.2)))
    waiting = stage.sender(source).later(b"late")
    received = source.receive(1)
    assert waiting.result().status == 503

    assert list(source.acknowledge(received)) == list(received)


def test_what_is_given_back_is_answered_503_at_once_and_its_deliveries_are_counted(stage: Stage) -> None:
    source = opened(stage.listening())
    sender = stage.sender(source)
    counts = []
    for _ in range(3):
        waiting = sender.later(b"same")
        received = source.receive(1)
        counts += [one.deliveries for one in received]
        assert list(source.extend(received, 0)) == []
        answer = waiting.result()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "10")

    assert counts == [1, 2, 3]


def test_one_that_nobody_acknowledges_is_handed_out_again_when_it_comes_again(stage: Stage) -> None:
    source = opened(stage.listening(replace(LIMITS, answer=0.3)))
    sender = stage.sender(source)
    first = sender.later(b"same")
    assert [one.deliveries for one in source.receive(1)] == [1]
    assert first.result().status == 503

    second = sender.later(b"same")
    again = source.receive(1)
    assert [one.deliveries for one in again] == [2]
    source.acknowledge(again)
    assert second.result().status == 200


def test_a_message_in_work_is_not_handed_out_again_while_it_is_held(stage: Stage) -> None:
    source = opened(stage.listening(replace(LIMITS, answer=0.3)))
    sender = stage.sender(source)
    first = sender.later(b"same")
    received = source.receive(1)
    assert list(source.extend(received, 30)) == []
    assert first.result().status == 503
    sender.later(b"same")

    assert list(source.receive(0.3)) == []


def test_no_more_is_handed_out_at_once_than_a_commit_should_hold(stage: Stage) -> None:
    source = opened(stage.listening(replace(LIMITS, messages=2000)))
    loop = source._loop
    assert loop is not None
    for number in range(BATCH + 7):
        body = str(number).encode()
        assert source._lobby.has_room(len(body))
        source._lobby.put(source._received(Delivery(body=body, place="")), loop.create_future())

    assert [len(source.receive(0)), len(source.receive(0)), len(source.receive(0))] == [BATCH, 7, 0]


def test_without_room_it_answers_503_at_once(stage: Stage) -> None:
    source = opened(stage.listening(replace(LIMITS, messages=1)))
    sender = stage.sender(source)
    first = sender.later(b"one")
    until(lambda: source._lobby._messages)
    began = time.monotonic()

    assert sender.send(b"two").status == 503
    assert time.monotonic() - began < 2
    source.acknowledge(source.receive(1))
    assert first.result().status == 200
    assert source._lobby._held == 0


def test_bodies_take_no_more_memory_than_they_may(stage: Stage) -> None:
    source = opened(stage.listening(replace(LIMITS, held=1000)))
    sender = stage.sender(source)
    assert sender.send(b"x" * 1001).status == 503
    assert source._lobby._held == 0
    waiting = sender.later(b"x" * 600)
    until(lambda: source._lobby._messages)
    assert sender.send(b"y" * 600).status == 503
    source.extend(source.receive(1), 0)
    assert waiting.result().status == 503
    assert source._lobby._held == 0


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("status", "method", "path", "word", "body"),
    [
        (401, "POST", "/in", "wrong", b"x"),
        (404, "POST", "/", SECRET, b"x"),
        (404, "POST", "/in/", SECRET, b"x"),
        (405, "GET", "/in", SECRET, b""),
        (405, "PUT", "/in", SECRET, b"x"),
        (405, "OPTIONS", "/in", SECRET, b""),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_request_is_told_and_nothing_is_queued(
    stage: Stage, status: int, method: str, path: str, word: str, body: bytes
) -> None:
    source = opened(stage.listening())
    sender = stage.sender(source, word)
    sender.path = path

    answer = sender.send(body, method)

    assert (answer.status, answer.data) == (status, b"")
    assert ("Allow" in answer.headers) == (status == 405)
    assert "server" not in answer.headers
    assert source._lobby._messages == {}
    assert source._lobby._held == 0


def test_the_largest_body_that_may_come_is_taken(stage: Stage) -> None:
    source = opened(stage.listening())
    waiting = stage.sender(source).later(b"x" * (1 << 20))
    received = source.receive(5)
    source.acknowledge(received)

    assert [len(one.body) for one in received] == [1 << 20]
    assert waiting.result().status == 200


def test_a_body_that_grows_too_large_without_saying_so_is_refused(stage: Stage) -> None:
    source = opened(stage.listening())
    with stage.raw(source) as connection:
        connection.sendall(head("Transfer-Encoding: chunked"))
        chunk = b"%x\r\n%s\r\n" % (1 << 16, b"x" * (1 << 16))
        answer = b""
        try:
            for _ in range(40):
                connection.sendall(chunk)
        except (ConnectionError, ssl.SSLError):
            pass
        else:
            answer = read_all(connection)

    assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")
    until(lambda: source._lobby._held == 0)
    assert source._lobby._messages == {}
    with pytest.raises(
        FeedFault, match="deliveries were larger than the provider can send and are lost for this feed: 1 x"
    ):
        source.receive(0)


def test_a_body_that_is_announced_as_too_large_is_refused_before_it_comes(stage: Stage) -> None:
    source = opened(stage.listening())
    with stage.raw(source) as connection:
        connection.sendall(head(f"Content-Length: {(1 << 20) + 1}"))
        answer = read_all(connection)

    assert answer.startswith(b"HTTP/1.1 413 ")
    named, _, body = answer.lower().partition(b"\r\n\r\n")
    assert body == b""
    assert b"\r\nallow:" not in named
    assert b"\r\nserver:" not in named
    assert source._lobby._messages == {}
    assert source._lobby._held == 0


def test_what_cannot_be_checked_is_put_off_and_never_refused(stage: Stage) -> None:
    source = opened(stage.listening())
    stage.desk.unable = True

    assert stage.sender(source, "wrong-word").send(b"x").status == 503
    with pytest.raises(FeedFault, match="could not be checked") as told:
        source.receive(0)
    assert (told.value.reason, told.value.permanent) == (Reason.NETWORK, False)


def test_a_fault_of_our_own_is_no_refusal(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    source = opened(stage.listening())

    assert stage.sender(source).send(b"fails").status == 500
    assert source._lobby._held == 0
    waiting = stage.sender(source).later(b"next")
    source.acknowledge(source.receive(1))
    assert waiting.result().status == 200


def test_refused_deliveries_are_shown_once_an_hour_and_stop_nothing(stage: Stage) -> None:
    source = stage.listening()
    stranger, sender = stage.sender(source, "wrong-word"), stage.sender(source)
    with stage.house.consuming(source):
        for number in range(20):
            assert stranger.send(b"x").status == 401
            assert sender.send(record(f"e{number}")).status == 200
        until(lambda: len(stage.house.degraded) == 2)

    text, whole = stage.house.degraded
    assert text is not None
    assert "deliveries were refused" in text
    assert "x the word is wrong" in text
    assert "wrong-word" not in text
    assert whole is None
    assert len(stage.house.inbox()) == 20


def test_troubles_are_told_by_kind_at_most_once_an_hour_with_what_came_meanwhile() -> None:
    seconds = [0.0]
    lines: list[dict[str, Any]] = []

    class Log:
        def warning(self, event: str, **named: Any) -> None:
            lines.append(named)

    troubles = Troubles(Log(), lambda: seconds[0])  # type: ignore[arg-type]  # it is only told
    assert troubles.due() is None
    for number in range(100):
        seconds[0] = number
        troubles.note(Trouble.REFUSED, "no secret", "192.0.2.1")
    first = troubles.due()
    troubles.note(Trouble.REFUSED, "the secret is wrong", "192.0.2.1")
    assert troubles.due() is None
    troubles.note(Trouble.CERTIFICATE, "it has expired")
    assert "certificate" in str(troubles.due())
    seconds[0] += 3600
    later = troubles.due()

    assert str(first) == "deliveries were refused and are lost for this feed: 100 x no secret"
    assert str(later) == "deliveries were refused and are lost for this feed: 1 x the secret is wrong"
    assert troubles.due() is None
    assert [line["count"] for line in lines if line["text"] == "no secret"] == [1, 60]


def test_while_nothing_can_be_taken_the_source_says_so_each_time(stage: Stage) -> None:
    source = stage.listening()
    stage.desk.lacking = "there is no key set"
    for _ in range(2):
        with pytest.raises(FeedFault, match="nothing that is pushed can be taken: there is no key set") as told:
            source.receive(0)
        assert not told.value.permanent
    stage.desk.lacking = None
    assert list(source.receive(0)) == []


# ----------------------------------------------------------------------------------------------- slow, cut, and strange


def test_a_head_that_comes_byte_by_byte_is_cut_off(stage: Stage) -> None:
    source = opened(stage.listening(replace(LIMITS, head=0.5)))
    began = time.monotonic()
    with stage.raw(source) as connection:
        try:
            for byte in head() * 20:
                connection.sendall(bytes([byte]))
                time.sleep(0.02)
                if time.monotonic() - began > 5:
                    break
        except (ConnectionError, ssl.SSLError):
            pass
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("opening", [b"", b"\x16\x03\x01"])
def test_one_that_never_finishes_tls_is_cut_off(stage: Stage, opening: bytes) -> None:
    source = opened(stage.listening(replace(LIMITS, head=0.5)))
    assert source.address is not None
    began = time.monotonic()
    with socket.create_connection(source.address, timeout=10) as connection:
        connection.sendall(opening)
        assert read_all(connection) == b""
    assert 0.3 < time.monotonic() - began < 4


def test_a_body_that_does_not_come_is_answered_503_in_time(stage: Stage) -> None:
    source = opened(stage.listening(replace(LIMITS, answer=0.5)))
    with stage.raw(source) as connection:
        connection.sendall(head("Content-Length: 10") + b"12345")
        began = time.monotonic()
        answer = read_all(connection)

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert time.monotonic() - began < 4
    assert source._lobby._messages == {}
    assert source._lobby._held == 0


def test_a_body_that_is_cut_off_is_forgotten(stage: Stage) -> None:
    source = opened(stage.listening())
    connection = stage.raw(source)
    connection.sendall(head("Content-Length: 10") + b"12345")
    until(lambda: source._lobby._held == 5)
    connection.close()

    until(lambda: source._lobby._held == 0)
    assert list(source.receive(0)) == []


def test_a_refused_sender_cannot_make_us_read_its_body(stage: Stage) -> None:
    source = opened(stage.listening())
    with stage.raw(source) as connection:
        connection.sendall(head("Content-Length: 1000000").replace(SECRET.encode(), b"wrong") + b"12345")
        answer = read_all(connection)

    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\x00 garbage\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000,
        b"POST /in HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /in HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: gzip\r\n\r\nx",
        head("Content-Length: 3", "Content-Length: 4") + b"abcd",
        head("Transfer-Encoding: chunked") + b"zz\r\nxx",
        head("Connection: Upgrade", "Upgrade: websocket", "Content-Length: 1").replace(b"/in", b"/other") + b"x",
    ],
)
def test_garbage_ends_its_connection_and_nothing_else(stage: Stage, garbage: bytes) -> None:
    source = opened(stage.listening(replace(LIMITS, head=1.0)))
    with stage.raw(source) as connection:
        connection.sendall(garbage)
        answer = read_all(connection)
    assert answer[:13] in (b"", b"HTTP/1.1 400 ", b"HTTP/1.1 404 ", b"HTTP/1.1 501 ")

    waiting = stage.sender(source).later(b"next")
    received = source.receive(2)
    source.acknowledge(received)
    assert [one.body for one in received] == [b"next"]
    assert waiting.result().status == 200


def test_pipelined_requests_are_answered_in_their_order_each_after_its_commit(stage: Stage) -> None:
    source = opened(stage.listening())
    with stage.raw(source) as connection:
        connection.sendall(
            head("Content-Length: 3") + b"one" + head("Content-Length: 3") + b"two" + head("Connection: close")
        )
        bodies = []
        for _ in range(3):
            received = source.receive(2)
            bodies += [one.body for one in received]
            source.acknowledge(received)
        answer = read_all(connection)

    assert bodies == [b"one", b"two", b""]
    assert answer.count(b"HTTP/1.1 200 ") == 3


def test_one_connection_serves_one_request_after_the_other(stage: Stage) -> None:
    source = opened(stage.listening())
    sender = stage.sender(source)
    for number in range(3):
        waiting = sender.later(str(number).encode())
        source.acknowledge(source.receive(2))
        assert waiting.result().status == 200

    assert len(source._connections) == 1


def test_a_connection_without_requests_is_ended(stage: Stage) -> None:
    source = opened(stage.listening(replace(LIMITS, idle=0.3)))
    sender = stage.sender(source)
    waiting = sender.later(b"one")
    source.acknowledge(source.receive(2))
    assert waiting.result().status == 200

    until(lambda: source._connections == {}, 4)


def test_a_newcomer_takes_the_place_of_whoever_waits_longest_without_a_request(stage: Stage) -> None:
    source = opened(stage.listening(replace(LIMITS, connections=4, head=30.0)))
    assert source.address is not None
    address = source.address
    idle = [stage.stack.enter_context(socket.create_connection(address, timeout=10)) for _ in range(4)]
    until(lambda: len(source._connections) == 4)

    waiting = stage.sender(source).later(b"real")
    received = source.receive(5)
    source.acknowledge(received)

    assert [one.body for one in received] == [b"real"]
    assert waiting.result().status == 200
    assert read_all(idle[0]) == b""


def test_when_every_connection_has_a_request_in_work_a_newcomer_is_turned_away(stage: Stage) -> None:
    source = opened(stage.listening(replace(LIMITS, connections=2)))
    sender = stage.sender(source)
    waiting = [sender.later(b"one"), sender.later(b"two")]
    until(lambda: list(source._connections.values()) == [True, True])

    with pytest.raises(urllib3.exceptions.HTTPError):
        sender.send(b"three")
    source.acknowledge(source.receive(1))
    source.acknowledge(source.receive(0))
    assert [one.result().status for one in waiting] == [200, 200]


def test_plain_http_gets_nothing_where_tls_is_spoken(stage: Stage) -> None:
    source = opened(stage.listening(replace(LIMITS, head=1.0)))
    assert source.address is not None
    with socket.create_connection(source.address, timeout=10) as connection:
        connection.sendall(head("Content-Length: 1") + b"x")
        assert b"HTTP" not in read_all(connection)
    assert list(source.receive(0)) == []


def test_behind_a_proxy_on_this_machine_plain_http_serves(stage: Stage) -> None:
    source = opened(stage.listening(where=Door(host="127.0.0.1", port=0, path="/in")))
    sender = stage.stack.enter_context(closing(Sender(source, headers={"x-word": SECRET})))
    waiting = sender.later(b"x")
    source.acknowledge(source.receive(2))

    assert waiting.result().status == 200


# ------------------------------------------------------------------------------------------------------ port and thread


def test_a_port_in_use_is_a_fault_with_a_hint_and_served_when_it_is_free(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        where = Door(host="127.0.0.1", port=other.getsockname()[1], path="/in")
        source = stage.listening(where=where)
        with pytest.raises(FeedFault, match=r"cannot listen on 127\.0\.0\.1:") as told:
            source.receive(0)
        assert told.value.reason is Reason.SETTINGS
        assert "end what else listens there" in told.value.hint()
    assert list(source.receive(0)) == []


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_a_fault_with_a_hint(stage: Stage, host: str) -> None:
    source = stage.listening(where=Door(host=host, port=1, path="/in"))
    with pytest.raises(FeedFault, match="cannot listen on") as told:
        source.receive(0)
    assert told.value.reason is Reason.SETTINGS


def test_the_port_is_free_after_close_and_threads_are_gone(stage: Stage) -> None:
    source = opened(stage.listening())
    assert source.address is not None
    sender = stage.sender(source)
    waiting = sender.later(b"x")
    source.acknowledge(source.receive(2))
    waiting.result()
    idle = socket.create_connection(source.address, timeout=10)
    began = time.monotonic()

    source.close()

    assert time.monotonic() - began < 4
    assert not any(one.name == "listening feed-1" for one in threading.enumerate())
    with socket.create_server(source.address), idle:
        pass
    assert list(source.receive(0)) == []
    source.close()


def test_a_source_that_never_received_can_be_closed(stage: Stage) -> None:
    stage.listening().close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_listener_that_ended_by_a_fault_says_so_and_listens_again(stage: Stage) -> None:
    async def fail() -> None:
        raise RuntimeError("our own fault")

    stage.desk.tend = fail  # type: ignore[method-assign]  # a desk whose code is wrong
    source = stage.listening()
    source.receive(0)
    until(lambda: source._thread is None or not source._thread.is_alive())
    del stage.desk.tend

    with pytest.raises(FeedFault, match="ended by a fault of our own"):
        source.receive(0)
    assert list(source.receive(0)) == []
    waiting = stage.sender(source).later(b"x")
    source.acknowledge(source.receive(2))
    assert waiting.result().status == 200


# --------------------------------------------------------------------------------------------------------- certificates


def served(source: Listening) -> bytes:
    """The certificate that a new connection is shown."""
    assert source.address is not None
    context = ssl._create_unverified_context()
    with socket.create_connection(source.address, timeout=10) as plain, context.wrap_socket(plain) as connection:
        return connection.getpeercert(binary_form=True) or b""


def test_a_renewed_certificate_is_shown_without_a_restart(stage: Stage) -> None:
    source = opened(stage.listening(tend_every=0.05))
    before = served(source)
    certificate(stage.folder)

    until(lambda: served(source) != before)


def test_a_broken_renewal_keeps_the_old_certificate_and_is_told(stage: Stage) -> None:
    source = opened(stage.listening(tend_every=0.05))
    before = served(source)
    made, _ = certificate(stage.folder, "other")
    made.replace(stage.folder / "door.crt")  # of another key

    texts: list[str] = []

    def told() -> None:
        try:
            source.receive(0)
        except FeedFault as fault:
            texts.append(f"{fault} permanent: {fault.permanent}")

    def is_told() -> bool:
        told()
        return bool(texts)

    until(is_told)
    assert "the key does not belong to the certificate" in texts[0]
    assert "the one before is kept" in texts[0]
    assert texts[0].endswith("permanent: False")
    assert served(source) == before
    certificate(stage.folder)
    until(lambda: served(source) != before)


def test_an_expired_certificate_is_told_while_it_is_served(tmp_path: Path) -> None:
    where = tls_door(tmp_path)
    found = Certificate(where)
    now = datetime.now(UTC)
    found.load(now)
    assert found.renew(now) is False
    with pytest.raises(ValueError, match="has expired at"):
        found.renew(now + timedelta(days=2))
    assert found.context is not None


Spoil = Callable[[Path], dict[str, str]]


def _files(folder: Path, **named: Any) -> dict[str, str]:
    made, own_key = certificate(folder, **named)
    return {"certificate": str(made), "private_key": str(own_key)}


def _with(folder: Path, option: str, content: str | None) -> dict[str, str]:
    options = _files(folder)
    if content is None:
        Path(options[option]).unlink()
    else:
        Path(options[option]).write_text(content)
    return options


@pytest.mark.parametrize(
    ("words", "spoil"),
    [
        ("certificate: cannot read", lambda folder: _with(folder, "certificate", None)),
        ("private_key: cannot read", lambda folder: _with(folder, "private_key", None)),
        ("holds no certificate in PEM form", lambda folder: _with(folder, "certificate", "nothing")),
        ("cannot be used together", lambda folder: _with(folder, "private_key", "nothing")),
        ("has expired at", lambda folder: _files(folder, ends=timedelta(minutes=-1))),
        ("is not valid before", lambda folder: _files(folder, begins=timedelta(hours=1))),
        ("is encrypted", lambda folder: _files(folder, passphrase=b"secret-word")),
        ("the key does not belong to the certificate", lambda folder: {
            **_files(folder), "private_key": _files(folder, name="other")["private_key"]}),
        ("one of the two is missing", lambda folder: {"certificate": _files(folder)["certificate"]}),
        ("needed to listen on 0.0.0.0", lambda _: {}),
        ("path: must begin with /", lambda folder: {**_files(folder), "path": "in"}),
        ("path: must begin with /", lambda folder: {**_files(folder), "path": "/in?secret=1"}),
        ("listen: must be HOST:PORT", lambda folder: {**_files(folder), "listen": "8443"}),
        ("listen: must be HOST:PORT", lambda folder: {**_files(folder), "listen": ":8443"}),
        ("listen: must be HOST:PORT", lambda folder: {**_files(folder), "listen": "0.0.0.0:0"}),
        ("listen: must be HOST:PORT", lambda folder: {**_files(folder), "listen": "0.0.0.0:65536"}),
        ("listen: must be HOST:PORT", lambda folder: {**_files(folder), "listen": "::1:8443"}),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named_with_what_to_do(tmp_path: Path, words: str, spoil: Spoil) -> None:
    faults: list[str] = []
    door({"listen": "0.0.0.0:8443", **spoil(tmp_path)}, path="/in", now=datetime.now(UTC), faults=faults)

    assert len(faults) == 1
    assert words in faults[0]
    assert "secret-word" not in faults[0]


def test_all_wrong_options_are_named_together() -> None:
    faults: list[str] = []
    door({"listen": "all", "path": "in", "certificate": "c.pem"}, path="/", now=datetime.now(UTC), faults=faults)
    assert [fault.split(":")[0] for fault in faults] == ["listen", "path", "certificate, private_key"]


@pytest.mark.parametrize("listen", ["127.0.0.1:80", "localhost:80", "[::1]:80", "127.8.8.8:80"])
def test_a_loopback_address_needs_no_certificate(listen: str) -> None:
    faults: list[str] = []
    found = door({"listen": listen}, path="/in", now=datetime.now(UTC), faults=faults)

    assert faults == []
    assert (found.port, found.path, found.certificate) == (80, "/in", None)


def test_a_certificate_opens_any_address(tmp_path: Path) -> None:
    faults: list[str] = []
    found = door(
        {"listen": "[::]:8443", "path": "/x", **_files(tmp_path)}, path="/in", now=datetime.now(UTC), faults=faults
    )
    assert faults == []
    assert (found.host, found.port, found.path) == ("::", 8443, "/x")
    assert json.dumps(str(found.certificate)) == json.dumps(str(tmp_path / "door.crt"))
