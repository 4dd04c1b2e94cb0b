"""The conformance of the Pub/Sub double: one suite for it and for the official emulator, where that is installed.

Where the emulator (0.8.20) differs from the service's documents, its test says so in words, and the double goes with
the service:

- it takes ack deadlines below ten seconds;
- it hands out more on a stream than the stream said it would hold;
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]  # it ships no type information
import pytest
from google.api_core.exceptions import GoogleAPICallError
from google.pubsub_v1 import types

from tests.pubsub_server import PROJECT, Feed, PubSub, emulator, emulator_jar, pubsub, served

pytestmark = pytest.mark.servers

DOUBLE, EMULATOR = "double", "emulator"


@pytest.fixture(scope="module", params=[DOUBLE, EMULATOR])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PubSub]:
    tmp = tmp_path_factory.mktemp("pubsub")
    if request.param == DOUBLE:
        with pubsub(tmp) as double:
            yield double
        return
    jar = emulator_jar()
    if jar is None:
        pytest.skip("the official Pub/Sub emulator is not installed (google-cloud-cli-pubsub-emulator, with Java)")
    with emulator(tmp, jar) as official:
        yield official


@pytest.fixture
def is_emulator(request: pytest.FixtureRequest) -> bool:
    """Whether the server of this test is the official one."""
    return f"[{EMULATOR}" in request.node.name


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:80]


def streamed(feed: Feed, **settings: int) -> Any:
    """Open a stream as the client library does."""
    first = types.StreamingPullRequest(
        subscription=feed.subscription,
        **{"stream_ack_deadline_seconds": 10, "max_outstanding_messages": 100, **settings},
    )
    stopped: list[bool] = []

    def requests() -> Iterator[types.StreamingPullRequest]:
        yield first
        while not stopped:
            time.sleep(0.05)

    open_stream: Any = feed.server.subscriber.transport.streaming_pull
    call = open_stream(requests())
    call.add_callback(lambda: stopped.append(True))
    return call


def until(holds: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(GoogleAPICallError) as caught:
        call()
    return str(getattr(caught.value.grpc_status_code, "name", None))


def pulled(feed: Feed, seconds: float = 60) -> list[types.ReceivedMessage]:
    """Pull until something comes."""
    found: list[types.ReceivedMessage] = []

    def came() -> bool:
        found.extend(feed.pull())
        return bool(found)

    until(came, seconds)
    return found


# --------------------------------------------------------------------------------------------------------- publishing


def test_a_message_comes_with_its_data_attributes_id_and_time(server: PubSub, name: str) -> None:
    feed = server.feed(name)
    before = datetime.now(UTC) - timedelta(seconds=1)
    [sent] = feed.publish('{"a": "Zoë"}'.encode(), origin="sink", kind="audit")

    [received] = feed.pull()

    assert received.message.data == b'{"a": "Zo\xc3\xab"}'
    assert dict(received.message.attributes) == {"origin": "sink", "kind": "audit"}
    assert received.message.message_id == sent
    assert before < received.message.publish_time < datetime.now(UTC) + timedelta(seconds=1)
    assert received.delivery_attempt == 0, "it is told with a dead-letter policy only"


def test_every_subscription_of_a_topic_gets_every_message(server: PubSub, name: str) -> None:
    feed = server.feed(name)
    other = Feed(server, feed.topic, server.subscription(f"{name}-other", feed.topic))
    ids = feed.publish(b"1", b"2")

    for one in (feed, other):
        found = {received.message.message_id for received in [*one.pull(), *one.pull()]}
        assert found == set(ids)


def test_a_message_without_anything_in_it_is_refused(server: PubSub, name: str) -> None:
    feed = server.feed(name)

    assert refused(lambda: feed.publish(b"")) == "INVALID_ARGUMENT"


def test_what_is_not_there_is_not_found(server: PubSub, name: str) -> None:
    gone = Feed(server, f"projects/{PROJECT}/topics/none", f"projects/{PROJECT}/subscriptions/none")

    assert refused(lambda: gone.publish(b"1")) == "NOT_FOUND"
    assert refused(gone.pull) == "NOT_FOUND"
    assert refused(lambda: gone.acknowledge("x")) == "NOT_FOUND"
    assert refused(lambda: gone.modify(0, "x")) == "NOT_FOUND"
    assert refused(lambda: server.subscription(name, f"projects/{PROJECT}/topics/none")) == "NOT_FOUND"
    call = streamed(gone)
    with pytest.raises(grpc.RpcError):
        next(call)
    assert call.code() is grpc.StatusCode.NOT_FOUND


def test_nothing_is_made_twice_and_no_deadline_is_out_of_range(server: PubSub, name: str, *, is_emulator: bool) -> None:
    feed = server.feed(name)

    assert refused(lambda: server.topic(name)) == "ALREADY_EXISTS"
    assert refused(lambda: server.subscription(name, feed.topic)) == "ALREADY_EXISTS"
    assert refused(lambda: server.subscription(f"{name}-2", feed.topic, ack_deadline_seconds=601)) == "INVALID_ARGUMENT"
    assert refused(lambda: feed.modify(601, "x")) == "INVALID_ARGUMENT"
    if not is_emulator:  # it takes less than the documented ten seconds
        short = {"ack_deadline_seconds": 9}
        assert refused(lambda: server.subscription(f"{name}-3", feed.topic, **short)) == "INVALID_ARGUMENT"


# ------------------------------------------------------------------------------------------------------------- leases


def test_what_is_acknowledged_never_comes_again(server: PubSub, name: str) -> None:
    feed = server.feed(name)
    feed.publish(b"1")
    [received] = feed.pull()
    feed.acknowledge(received.ack_id)
    time.sleep(11)

    assert feed.pull() == []


def test_what_is_not_acknowledged_comes_again_after_its_deadline_under_another_ack_id(
    server: PubSub, name: str
) -> None:
    feed = server.feed(name)
    feed.publish(b"1")
    [first] = feed.pull()
    assert feed.pull() == []
    started = time.monotonic()
    again = pulled(feed)

    assert time.monotonic() - started > 4, "ten seconds after it was handed out, less what the empty pull took"
    assert again[0].message.message_id == first.message.message_id
    assert again[0].ack_id != first.ack_id


def test_what_is_given_up_comes_again_at_once(server: PubSub, name: str) -> None:
    feed = server.feed(name)
    feed.publish(b"1")
    [first] = feed.pull()
    feed.modify(0, first.ack_id)
    started = time.monotonic()
    again = pulled(feed, 8)

    assert time.monotonic() - started < 5
    assert again[0].message.message_id == first.message.message_id


def test_a_longer_deadline_keeps_it_away(server: PubSub, name: str) -> None:
    feed = server.feed(name)
    feed.publish(b"1")
    [first] = feed.pull()
    feed.modify(60, first.ack_id)
    time.sleep(11)

    assert feed.pull() == []


def test_without_exactly_once_an_ack_that_is_late_or_strange_is_taken(server: PubSub, name: str) -> None:
    feed = server.feed(name)
    feed.publish(b"1")
    [first] = feed.pull()
    feed.modify(0, first.ack_id)

    feed.acknowledge(first.ack_id)
    feed.acknowledge(first.ack_id)


def test_deliveries_are_counted_with_a_dead_letter_policy_and_then_it_goes_away(server: PubSub, name: str) -> None:
    grave = server.feed(f"{name}-grave")
    policy = types.DeadLetterPolicy(dead_letter_topic=grave.topic, max_delivery_attempts=5)
    feed = server.feed(name, dead_letter_policy=policy)
    feed.publish(b"poison")
    attempts = []
    for _ in range(5):
        found = pulled(feed)
        attempts.append(found[0].delivery_attempt)
        feed.modify(0, found[0].ack_id)
    feed.pull()
    dead = pulled(grave)

    assert attempts == [1, 2, 3, 4, 5]
    assert [one.message.data for one in dead] == [b"poison"]


# ------------------------------------------------------------------------------------------------------- exactly once


def test_with_exactly_once_the_stream_says_so(server: PubSub, name: str) -> None:
    feed = server.feed(name, enable_exactly_once_delivery=True)
    feed.publish(b"1")
    call = streamed(feed)
    answer = next(call)
    call.cancel()

    assert answer.subscription_properties.exactly_once_delivery_enabled


def test_with_exactly_once_only_the_ids_that_are_named_are_refused(server: PubSub, name: str) -> None:
    feed = server.feed(name, enable_exactly_once_delivery=True)
    feed.publish(b"1", b"2")
    found = pulled(feed)
    found += pulled(feed) if len(found) < 2 else []
    first, second = (one.ack_id for one in found)
    feed.acknowledge(first)
    with pytest.raises(GoogleAPICallError) as caught:
        feed.acknowledge(first, second)
    assert caught.value.metadata == {first: "PERMANENT_FAILURE_INVALID_ACK_ID"}

    with pytest.raises(GoogleAPICallError) as caught:
        feed.acknowledge(second)
    assert caught.value.metadata == {second: "PERMANENT_FAILURE_INVALID_ACK_ID"}, "it is acknowledged already"


def test_with_exactly_once_an_ack_that_is_late_is_refused_by_its_id(server: PubSub, name: str) -> None:
    feed = server.feed(name, enable_exactly_once_delivery=True)
    feed.publish(b"1")
    [first] = feed.pull()
    feed.modify(0, first.ack_id)
    with pytest.raises(GoogleAPICallError) as caught:
        feed.acknowledge(first.ack_id)

    assert caught.value.grpc_status_code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.metadata == {first.ack_id: "PERMANENT_FAILURE_INVALID_ACK_ID"}


# ------------------------------------------------------------------------------------------------------------ streams


def test_a_stream_brings_what_is_there_and_what_comes(server: PubSub, name: str) -> None:
    feed = server.feed(name)
    feed.publish(b"1")
    call = streamed(feed)
    first = next(call).received_messages[0]
    feed.publish(b"2")
    second = next(call).received_messages[0]
    call.cancel()

    assert [first.message.data, second.message.data] == [b"1", b"2"]


def test_a_stream_brings_no_more_than_it_said_it_would_hold(server: PubSub, name: str, *, is_emulator: bool) -> None:
    if is_emulator:
        pytest.skip("the emulator hands out more on a stream than the stream said it would hold")
    feed = server.feed(name)
    feed.publish(*[b"%d" % number for number in range(12)])
    call = streamed(feed, max_outstanding_messages=5)
    found: list[str] = []
    while len(found) < 5:
        found += [one.ack_id for one in next(call).received_messages]
    assert len(found) == 5

    feed.acknowledge(*found)
    more: list[str] = []
    while len(more) < 5:
        more += [one.ack_id for one in next(call).received_messages]
    call.cancel()

    assert len(more) == 5


def test_what_a_stream_leaves_behind_comes_again_after_its_deadline(server: PubSub, name: str) -> None:
    # Nobody documents that a client that goes gives its messages back; the deadline holds for all.
    feed = server.feed(name)
    feed.publish(b"1")
    call = streamed(feed)
    first = next(call).received_messages[0]
    call.cancel()
    again = pulled(feed)

    assert again[0].message.message_id == first.message.message_id


def test_a_message_of_eight_megabytes_comes_over_a_stream(server: PubSub, name: str) -> None:
    feed = server.feed(name)
    body = bytes(range(256)) * 32_000
    feed.publish(body)
    call = streamed(feed)
    received = next(call).received_messages[0]
    call.cancel()

    assert received.message.data == body


# ------------------------------------------------------------------------------------------ what only the double can


@pytest.mark.parametrize("code", ["PERMISSION_DENIED", "NOT_FOUND", "UNAVAILABLE", "FAILED_PRECONDITION", "CANCELLED"])
def test_the_double_ends_streams_with_any_status(code: str) -> None:
    with served() as double:
        feed = PubSub(double.host).feed("ended")
        call = streamed(feed)
        until(lambda: double.matter.flows)
        double.matter.end_streams(code, "it is over")
        with pytest.raises(grpc.RpcError):
            next(call)

        assert (call.code().name, call.details()) == (code, "it is over")
        until(lambda: not double.matter.flows)
        feed.server.close()


def test_the_double_refuses_as_often_as_it_is_told() -> None:
    with served() as double:
        feed = PubSub(double.host).feed("refusing")
        double.matter.refuse("Publish", "RESOURCE_EXHAUSTED", times=1)

        assert refused(lambda: feed.publish(b"1")) == "RESOURCE_EXHAUSTED"
        assert len(feed.publish(b"1")) == 1
        assert double.matter.calls["Publish"] == 2
        feed.server.close()


def test_the_double_keeps_what_it_has_while_it_is_away() -> None:
    with served() as double:
        feed = PubSub(double.host).feed("away")
        feed.publish(b"1")
        double.stop()
        assert refused(lambda: feed.pull(1)) in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
        double.start()
        found: list[types.ReceivedMessage] = []

        def came() -> object:
            try:
                found.extend(feed.pull())
            except GoogleAPICallError:
                return False  # the connection is still being made
            return found

        until(came)
        assert [one.message.data for one in found] == [b"1"]
        feed.server.close()


def test_the_double_runs_as_a_process_of_its_own(tmp_path: Path) -> None:
    with pubsub(tmp_path) as server:
        feed = server.feed("own-process")
        feed.publish(b"1")

        assert [one.message.data for one in feed.pull()] == [b"1"]
        assert server.environment["PUBSUB_EMULATOR_HOST"] == server.host
