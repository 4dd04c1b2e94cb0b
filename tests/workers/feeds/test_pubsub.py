"""The Pub/Sub feed, on the double and, for what counts most, on the official emulator where that is installed."""

import base64
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]  # it ships no type information
import msgspec
import pytest
from google.api_core import exceptions as answers
from google.auth import exceptions as auth
from google.cloud.pubsub_v1 import SubscriberClient  # type: ignore[import-untyped]  # it ships no type information
from google.pubsub_v1 import types

from tests.pubsub_server import Feed, PubSub, PubSubServer, emulator, emulator_jar, served
from tests.watchdog.clouds.gcp import world
from tests.watchdog.clouds.gcp.events import raw, version_update
from tests.workers.feeds.consuming import running
from watchdog.clouds import cloud
from workers.clouds.gcp.faults import answered, fault_of
from workers.consumer import Consumer
from workers.feeds.interface import FeedFault, Reason, Received
from workers.feeds.kinds import make_source
from workers.feeds.pubsub import BATCH, BYTES, MESSAGES, Client, PubSubSource, client, source
from workers.intake import Intake
from workers.registry import Registry
from workers.store.interface import Carries
from workers.store.memory import MemoryStore

pytestmark = pytest.mark.servers

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
MISSING = "projects/acme-watch/subscriptions/appears-later"


@pytest.fixture(autouse=True)
def _no_google_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PUBSUB_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[PubSubServer]:
    with served() as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.host)
        yield server


@pytest.fixture
def far(double: PubSubServer) -> Iterator[PubSub]:
    server = PubSub(double.host)
    yield server
    server.close()


@pytest.fixture
def feed(far: PubSub) -> Feed:
    return far.feed("audit-globex")


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PubSub]:
    jar = emulator_jar()
    if jar is None:
        pytest.skip("the official Pub/Sub emulator is not installed (google-cloud-cli-pubsub-emulator, with Java)")
    with emulator(tmp_path_factory.mktemp("pubsub"), jar) as server:
        yield server


@pytest.fixture(params=["double", "emulator"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Feed:
    """A feed on the double, then on the emulator."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:80]
    server: PubSub = request.getfixturevalue("far" if request.param == "double" else "official")
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.host)
    return server.feed(name)


def opened(feed: Feed, **settings: Any) -> Any:
    return closing(PubSubSource(feed.subscription, name="globex", **settings))


def received_all(source: PubSubSource, number: int, seconds: float = 15) -> list[Received]:
    found: list[Received] = []
    until = time.monotonic() + seconds
    while len(found) < number:
        assert time.monotonic() < until, f"only {len(found)} of {number} came"
        found += source.receive(1)
    return found


def until(holds: Callable[[], object], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"it did not come true in time; {threading.enumerate()}"
        time.sleep(0.05)


def faulted(source: PubSubSource, wait: float = 5) -> FeedFault:
    with pytest.raises(FeedFault) as caught:
        source.receive(wait)
    return caught.value


def untyped(kind: Any, *arguments: object, **more: object) -> Exception:
    """Make an error of a library whose errors have no types."""
    made: Exception = kind(*arguments, **more)
    return made


def data(received: Received) -> bytes:
    return base64.b64decode(json.loads(received.body)["message"]["data"])


def threads_of_the_library() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if "_serve" not in one.name and "_read" not in one.name}


# ------------------------------------------------------------------------------------------------------- the contract


def test_a_message_comes_in_the_form_of_a_push_and_goes_when_acknowledged(either: Feed) -> None:
    [sent] = either.publish('{"a": "Zoë"}'.encode(), kind="audit", **{"logging.googleapis.com/timestamp": "t"})
    with opened(either, now=lambda: NOW) as source:
        [received] = received_all(source, 1)
        body = json.loads(received.body)
        published = datetime.fromisoformat(body["message"].pop("publishTime"))

        assert body == {
            "message": {
                "data": base64.b64encode('{"a": "Zoë"}'.encode()).decode(),
                "attributes": {"kind": "audit", "logging.googleapis.com/timestamp": "t"},
                "messageId": sent,
            },
            "subscription": either.subscription,
        }
        assert abs((datetime.now(UTC) - published).total_seconds()) < 60
        assert (received.id, received.deliveries, received.received_at) == (sent, 1, NOW)
        assert received.place == f"message {sent}"
        assert source.acknowledge([received]) == []
    assert either.pull() == []


def test_what_is_given_back_comes_again_at_once_with_its_count(either: Feed) -> None:
    either.publish(b"1")
    with opened(either) as source:
        received = received_all(source, 1)
        assert source.extend(received, 0) == []
        [again] = received_all(source, 1, seconds=5)

        assert (again.id, again.deliveries) == (received[0].id, 2)
        assert source.acknowledge([again]) == []
        assert source.extend([], 0) == ()


def test_messages_larger_than_grpc_takes_by_itself_come_through(either: Feed) -> None:
    bodies = [bytes([number]) * 5_000_000 for number in (1, 2, 3)]
    either.publish(*bodies)
    with opened(either) as source:
        received = received_all(source, 3)

        assert sorted(map(data, received)) == bodies
        assert source.acknowledge(received) == []


def test_the_library_alone_would_ask_for_a_large_message_for_ever(double: PubSubServer, feed: Feed) -> None:
    double.matter.hurry = 60
    feed.publish(b"x" * 5_000_000)
    came: list[object] = []
    alone = SubscriberClient()
    future = alone.subscribe(feed.subscription, came.append)
    until(lambda: double.matter.calls["StreamingPull"] > 2)

    assert (came, future.done()) == ([], False)
    future.cancel()
    future.exception(timeout=10)
    alone.close()


def test_what_is_not_acknowledged_comes_again_when_its_time_is_over(double: PubSubServer, feed: Feed) -> None:
    double.matter.hurry = 30  # its thirty seconds last one
    feed.publish(b"1")
    with opened(feed) as source:
        first = received_all(source, 1)
        started = time.monotonic()
        again = received_all(source, 1)

        assert time.monotonic() - started < 5, "the library does not keep it back"
        assert [one.deliveries for one in [*first, *again]] == [1, 2]
        assert first[0].receipt != again[0].receipt


def test_an_extended_message_stays_away_longer_than_it_would(double: PubSubServer, feed: Feed) -> None:
    double.matter.hurry = 30
    feed.publish(b"1")
    with opened(feed) as source:
        received = received_all(source, 1)
        assert source.extend(received, 600) == []
        time.sleep(2)

        assert source.receive(0) == ()
        assert double.matter.counts(feed.subscription) == (0, 1)


def test_what_waited_for_long_is_held_before_it_is_handed_out(double: PubSubServer, feed: Feed) -> None:
    seconds = [100.0]
    feed.publish(b"1", b"2")
    with opened(feed, monotonic=lambda: seconds[0]) as source:
        source.receive(0)
        until(lambda: len(source._stream.waiting) == 2)
        before = double.matter.calls["ModifyAckDeadline"]
        seconds[0] += 12

        assert len(source.receive(1)) == 2
        assert double.matter.calls["ModifyAckDeadline"] == before + 1


def test_what_is_handed_out_anew_replaces_its_older_copy_and_takes_no_room(double: PubSubServer, feed: Feed) -> None:
    double.matter.hurry = 60
    with opened(feed) as source:
        source.receive(0)
        sent = feed.publish(*[b"%d" % number for number in range(MESSAGES // 5)])
        time.sleep(3.5)  # their leases end, again and again, while nobody takes them
        double.matter.hurry = 1
        time.sleep(1.5)
        received = received_all(source, len(sent))

        assert sorted(one.id for one in received) == sorted(sent)
        assert source.acknowledge(received) == []
        assert double.matter.counts(feed.subscription) == (0, 0)
        assert len(feed.publish(*[b"more"] * MESSAGES)) == MESSAGES
        assert source.acknowledge(received_all(source, MESSAGES)) == []


def test_more_than_a_batch_comes_and_goes_in_parts(double: PubSubServer, feed: Feed) -> None:
    feed.server.publisher.publish(
        topic=feed.topic, messages=[types.PubsubMessage(data=b"%d" % number) for number in range(450)]
    )
    with opened(feed) as source:
        found: list[Received] = []
        while len(found) < 450:
            part = source.receive(5)
            assert 0 < len(part) <= BATCH
            assert source.acknowledge(part) == []
            found += part

        assert sorted(int(data(one)) for one in found) == list(range(450))
        assert double.matter.counts(feed.subscription) == (0, 0)


def test_deliveries_are_those_that_the_service_counts_if_it_does(double: PubSubServer, far: PubSub) -> None:
    policy = types.DeadLetterPolicy(dead_letter_topic=far.topic("grave"), max_delivery_attempts=10)
    feed = far.feed("counted", dead_letter_policy=policy)
    feed.publish(b"1")
    for _ in range(3):
        [one] = feed.pull()
        feed.modify(0, one.ack_id)
    with opened(feed) as source:
        assert [one.deliveries for one in received_all(source, 1)] == [4]


def test_a_subscription_that_does_not_exist_is_a_permanent_fault_and_mends_when_it_appears(far: PubSub) -> None:
    with closing(PubSubSource(MISSING, name="globex")) as source:
        fault = faulted(source)
        assert (fault.reason, fault.permanent) == (Reason.NOT_FOUND, True)
        assert "appears-later" in str(fault)

        feed = far.feed("appears-later")
        feed.publish(b"1")
        assert len(received_all(source, 1)) == 1


# -------------------------------------------------------------------------------------------------------------- crash


def test_what_was_handed_out_and_not_acknowledged_comes_to_the_next_process(double: PubSubServer, feed: Feed) -> None:
    double.matter.hurry = 30
    sent = feed.publish(b"1", b"2")
    with opened(feed) as source:
        received_all(source, 2)
    with opened(feed) as source:
        assert sorted(one.id for one in received_all(source, 2)) == sorted(sent)


def test_what_waits_at_the_end_is_given_back_at_once(double: PubSubServer, feed: Feed) -> None:
    with opened(feed) as source:
        source.receive(0)
        feed.publish(*[b"%d" % number for number in range(5)])
        until(lambda: len(source._stream.waiting) == 5)
        assert double.matter.counts(feed.subscription) == (0, 5)

    assert double.matter.counts(feed.subscription) == (5, 0)


@pytest.mark.parametrize("settings", [{}, {"enable_exactly_once_delivery": True}], ids=["plain", "exactly once"])
@pytest.mark.parametrize("away", [False, True], ids=["server there", "server away"])
def test_it_ends_within_seconds_with_all_threads_of_the_library(
    double: PubSubServer, far: PubSub, settings: dict[str, Any], *, away: bool
) -> None:
    feed = far.feed("ends", **settings)
    feed.publish(b"1", b"2", b"3")
    before = threads_of_the_library()
    source = PubSubSource(feed.subscription, name="globex")
    source.receive(0)
    until(lambda: len(source._stream.waiting) == 3)  # type: ignore[union-attr]  # it is open
    if away:
        double.stop()
        time.sleep(1)
    started = time.monotonic()
    source.close()

    assert time.monotonic() - started < 4
    until(lambda: not {one for one in threads_of_the_library() - before if "pubsub-double" not in one.name}, 5)
    if away:
        double.start()


def test_a_closed_feed_asks_for_nothing_more(double: PubSubServer, feed: Feed) -> None:
    feed.publish(b"1")
    source = PubSubSource(feed.subscription, name="globex")
    received = received_all(source, 1)
    source.close()
    source.close()

    with pytest.raises(FeedFault, match="closed"):
        source.extend(received, 30)


# ----------------------------------------------------------------------------------------------------- streams that end


@pytest.mark.parametrize(
    ("code", "reason", "permanent"),
    [
        ("PERMISSION_DENIED", Reason.DENIED, True),
        ("NOT_FOUND", Reason.NOT_FOUND, True),
        ("UNAUTHENTICATED", Reason.CREDENTIALS, True),
        ("INVALID_ARGUMENT", Reason.REFUSED, True),
        ("FAILED_PRECONDITION", Reason.REFUSED, True),
        ("CANCELLED", Reason.SERVER, False),
    ],
)
def test_a_stream_that_ends_is_a_fault_and_the_next_receive_opens_it_anew(
    double: PubSubServer, feed: Feed, code: str, reason: Reason, permanent: bool
) -> None:
    with opened(feed) as source:
        source.receive(0.2)
        until(lambda: double.matter.flows)
        double.matter.end_streams(code, "for a reason")
        fault = faulted(source)
        assert (fault.reason, fault.permanent) == (reason, permanent)
        assert feed.subscription in str(fault)
        assert fault.hint()

        feed.publish(b"1")
        received = received_all(source, 1)
        assert source.acknowledge(received) == []
        assert double.matter.calls["StreamingPull"] == 2


def test_what_a_stream_brought_before_it_ended_is_handed_out_and_can_be_acknowledged(
    double: PubSubServer, feed: Feed
) -> None:
    with opened(feed) as source:
        source.receive(0)
        feed.publish(b"1")
        until(lambda: len(source._stream.waiting) == 1)
        double.matter.end_streams("CANCELLED")
        until(lambda: source._stream.ended)
        received = source.receive(1)
        assert len(received) == 1
        assert faulted(source).reason is Reason.SERVER

        assert source.acknowledge(received) == []
        assert double.matter.counts(feed.subscription) == (0, 0)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("UNAVAILABLE", Reason.NETWORK),
        ("DEADLINE_EXCEEDED", Reason.NETWORK),
        ("RESOURCE_EXHAUSTED", Reason.THROTTLED),
        ("INTERNAL", Reason.SERVER),
        ("ABORTED", Reason.SERVER),
        ("UNKNOWN", Reason.SERVER),
    ],
)
def test_what_the_library_would_retry_in_silence_is_a_fault_until_it_is_over(
    double: PubSubServer, feed: Feed, code: str, reason: Reason
) -> None:
    double.matter.refuse("StreamingPull", code, "not now")
    with opened(feed) as source:
        fault = faulted(source)
        assert (fault.reason, fault.permanent) == (reason, False)
        assert "not now" in str(fault)
        faulted(source)
        assert double.matter.calls["StreamingPull"] == 2, "only we open it"
        until(lambda: not any("Lease" in one.name or "Heartbeat" in one.name for one in threading.enumerate()), 5)

        double.matter.allow("StreamingPull")
        feed.publish(b"1")
        received = received_all(source, 1)
        assert source.acknowledge(received) == []
        assert source.receive(0) == ()
        assert len(double.matter.flows) == 1, "no stream is left that nobody reads"


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "CANCELLED"])
def test_a_stream_that_the_service_ends_after_it_stood_is_no_fault(double: PubSubServer, feed: Feed, code: str) -> None:
    seconds = [100.0]
    with opened(feed, monotonic=lambda: seconds[0]) as source:
        source.receive(0)
        until(lambda: double.matter.flows)
        seconds[0] += 20
        double.matter.end_streams(code, "The service was unable to fulfill your request.")
        assert source.receive(5) == ()
        feed.publish(b"1")
        assert len(received_all(source, 1)) == 1
        assert double.matter.calls["StreamingPull"] == 2


def test_a_stream_that_stood_and_may_not_any_more_is_a_fault(double: PubSubServer, feed: Feed) -> None:
    seconds = [100.0]
    with opened(feed, monotonic=lambda: seconds[0]) as source:
        source.receive(0)
        until(lambda: double.matter.flows)
        seconds[0] += 20
        double.matter.end_streams("PERMISSION_DENIED")
        assert faulted(source).reason is Reason.DENIED


def test_a_server_that_goes_away_is_told_and_its_messages_come_when_it_is_back(
    double: PubSubServer, feed: Feed
) -> None:
    sent = feed.publish(b"1")
    double.stop()
    with opened(feed) as source:
        assert faulted(source).reason is Reason.NETWORK
        assert faulted(source).reason is Reason.NETWORK
        double.start()

        assert [one.id for one in received_all(source, 1)] == sent


def test_a_connection_that_is_never_made_is_told_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [100.0]
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)  # it takes the connection and never says a word
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{deaf.getsockname()[1]}")
        with closing(PubSubSource(MISSING, name="globex", monotonic=lambda: seconds[0])) as source:
            assert source.receive(0.3) == ()
            seconds[0] += 11
            fault = faulted(source, 0.1)

    assert fault.reason is Reason.NETWORK
    assert "no connection" in str(fault)


def test_no_call_begins_before_the_library_has_started_all_its_threads(double: PubSubServer, feed: Feed) -> None:
    begun: list[int] = []

    class Slow(Client):
        def subscribe(self, subscription: str, callback: object, **more: Any) -> Any:
            future = super().subscribe(subscription, callback, **more)
            time.sleep(0.5)
            begun.append(double.matter.calls["StreamingPull"])
            return future

    def connect() -> Client:
        made = client()
        made.__class__ = Slow
        return made

    with opened(feed, connect=connect) as source:
        assert source.receive(0.5) == ()
        assert double.matter.calls["StreamingPull"] == 1
    assert begun == [0]


def test_a_callback_that_raises_ends_the_stream_instead_of_looping(double: PubSubServer, feed: Feed) -> None:
    class Raising(Client):
        def subscribe(self, subscription: str, _callback: object, **more: Any) -> Any:
            def raising(_message: object) -> None:
                raise RuntimeError("a bug")

            return super().subscribe(subscription, raising, **more)

    clients: list[type[Client]] = [Raising]
    double.matter.hurry = 30
    feed.publish(b"1")

    def connect() -> Client:
        made = client()
        made.__class__ = clients.pop() if clients else Client
        return made

    with opened(feed, connect=connect) as source:
        with pytest.raises(RuntimeError, match="a bug"):
            [source.receive(1) for _ in range(10)]
        until(lambda: not double.matter.flows)
        calls = Counter(double.matter.calls)
        time.sleep(1)
        assert double.matter.calls == calls, "nothing goes on behind our back"

        assert len(received_all(source, 1)) == 1


# --------------------------------------------------------------------------------------------------------- flow control


def test_no_more_waits_here_than_one_stream_may_hold(double: PubSubServer, feed: Feed) -> None:
    feed.server.publisher.publish(
        topic=feed.topic, messages=[types.PubsubMessage(data=b"%d" % number) for number in range(900)]
    )
    with opened(feed) as source:
        source.receive(0)
        until(lambda: len(source._stream.waiting) == MESSAGES)
        time.sleep(0.5)

        assert len(source._stream.waiting) == MESSAGES
        assert double.matter.counts(feed.subscription) == (900 - MESSAGES, MESSAGES)


def test_no_more_waits_here_than_that_although_the_server_minds_nothing(double: PubSubServer, feed: Feed) -> None:
    double.matter.minds_flow = False
    feed.server.publisher.publish(
        topic=feed.topic, messages=[types.PubsubMessage(data=b"%d" % number) for number in range(900)]
    )
    with opened(feed) as source:
        source.receive(0)
        until(lambda: len(source._stream.waiting) >= MESSAGES)
        time.sleep(0.5)
        assert len(source._stream.waiting) <= 2 * MESSAGES

        found = received_all(source, 900, seconds=30)
        assert len({one.id for one in found}) == 900


def test_no_more_bytes_wait_here_than_one_stream_may_hold(double: PubSubServer, feed: Feed) -> None:
    feed.publish(*[bytes([number]) * 4_000_000 for number in range(12)])
    with opened(feed) as source:
        source.receive(0)
        until(lambda: len(source._stream.waiting) >= 8)
        time.sleep(0.5)

        assert len(source._stream.waiting) * 4_000_000 <= BYTES + 4_000_000


# ----------------------------------------------------------------------------------------------------------------- acks


def test_an_ack_that_the_server_does_not_take_is_a_fault_also_without_exactly_once(
    double: PubSubServer, feed: Feed
) -> None:
    feed.publish(b"1")
    with opened(feed) as source:
        received = received_all(source, 1)
        double.matter.refuse("Acknowledge", "PERMISSION_DENIED")
        with pytest.raises(FeedFault) as caught:
            source.acknowledge(received)
        assert caught.value.reason is Reason.DENIED

        double.matter.allow("Acknowledge")
        assert source.acknowledge(received) == []
        assert double.matter.counts(feed.subscription) == (0, 0)


def test_an_ack_that_fails_in_passing_is_asked_for_again(double: PubSubServer, feed: Feed) -> None:
    feed.publish(b"1")
    double.matter.refuse("Acknowledge", "UNAVAILABLE", times=2)
    with opened(feed) as source:
        assert source.acknowledge(received_all(source, 1)) == []
        assert double.matter.calls["Acknowledge"] == 3


def test_acks_that_are_refused_in_passing_are_asked_for_again_alone(double: PubSubServer, far: PubSub) -> None:
    feed = far.feed("once", enable_exactly_once_delivery=True)
    feed.publish(b"1", b"2", b"3")
    slept: list[float] = []
    with opened(feed, sleep=slept.append) as source:
        received = received_all(source, 3)
        double.matter.refuse_acks("TRANSIENT_FAILURE_SERVICE_UNAVAILABLE", "TRANSIENT_FAILURE_SERVICE_UNAVAILABLE")

        assert source.acknowledge(received) == []
        assert len(slept) == 1
        assert double.matter.counts(feed.subscription) == (0, 0)


def test_acks_that_stay_refused_are_returned_and_come_again(double: PubSubServer, far: PubSub) -> None:
    feed = far.feed("once", enable_exactly_once_delivery=True)
    feed.publish(b"1", b"2", b"3")
    with opened(feed, sleep=lambda _: None) as source:
        received = received_all(source, 3)
        double.matter.refuse_acks("PERMANENT_FAILURE_INVALID_ACK_ID", *["TRANSIENT_FAILURE_X"] * 6)
        left = source.acknowledge(received)

        assert [one.id for one in left] == [one.id for one in received]
        assert double.matter.counts(feed.subscription) == (0, 3)


def test_an_ack_after_its_time_is_told_with_exactly_once(double: PubSubServer, far: PubSub) -> None:
    double.matter.hurry = 30
    feed = far.feed("once", enable_exactly_once_delivery=True)
    feed.publish(b"1")
    with opened(feed, sleep=lambda _: None) as source:
        late = received_all(source, 1)
        [again] = received_all(source, 1)
        double.matter.hurry = 1
        assert source.extend([again], 30) in ([], [again])

        assert source.acknowledge(late) == late
        assert source.extend(late, 30) == late


# ------------------------------------------------------------------------------------------------ settings, credentials


@pytest.mark.parametrize(
    "place", ["203.0.113.7:8085", "pubsub.example:8085", "127.0.0.1.example:80", "localhost.example:1", "8085", ":8085"]
)
def test_an_emulator_that_is_not_on_this_machine_is_refused(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", place)
    with pytest.raises(ValueError, match="unset it to read the real service"):
        source("globex", "gcp", {"subscription": MISSING})

    with closing(PubSubSource(MISSING, name="globex")) as made:
        fault = faulted(made, 0)
    assert fault.reason is Reason.SETTINGS
    assert place in str(fault)


@pytest.mark.parametrize("place", ["127.0.0.1:1", "localhost:1", "[::1]:1"])
def test_an_emulator_on_this_machine_is_taken(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", place)
    with closing(make_source("pubsub", "globex", "gcp", {"subscription": MISSING})) as made:
        assert (made.name, made.cloud, made.visibility) == ("globex", "gcp", 30)
        with pytest.raises(FeedFault, match="UNAVAILABLE"):
            made.receive(1)


@pytest.mark.parametrize("name", ["audit", "projects/p/topics/t", "projects/p/subscriptions/", "projects/a b/x", ""])
def test_a_subscription_is_named_in_full(name: str) -> None:
    with pytest.raises(ValueError, match=r"subscription: .* projects/PROJECT/subscriptions/ID"):
        source("globex", "gcp", {"subscription": name})


def test_credentials_that_are_not_there_are_a_fault_to_be_waited_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with closing(source("globex", "gcp", {"subscription": MISSING})) as made:
        assert faulted(made, 0).reason is Reason.CREDENTIALS
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
        fault = faulted(made, 0)

    assert (fault.reason, fault.permanent) == (Reason.CREDENTIALS, True)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (untyped(auth.DefaultCredentialsError, "SECRET"), Reason.CREDENTIALS),
        (untyped(auth.RefreshError, "SECRET"), Reason.CREDENTIALS),
        (untyped(auth.RefreshError, "SECRET", retryable=True), Reason.NETWORK),
        (untyped(auth.TransportError, "SECRET"), Reason.NETWORK),
        (
            answered(grpc.StatusCode.UNAVAILABLE, "Getting metadata from plugin failed with error: SECRET"),
            Reason.CREDENTIALS,
        ),
        (answered(grpc.StatusCode.UNAUTHENTICATED, "SECRET"), Reason.CREDENTIALS),
        (answered(grpc.StatusCode.UNAVAILABLE, "x"), Reason.NETWORK),
        (answered(grpc.StatusCode.DATA_LOSS, "x"), Reason.SERVER),
        (answered(grpc.StatusCode.OK, "x"), Reason.SERVER),
        (answered(grpc.StatusCode.OUT_OF_RANGE, "x"), Reason.REFUSED),
        (untyped(answers.RetryError, "too long", answered(grpc.StatusCode.UNAVAILABLE, "x")), Reason.NETWORK),
        (untyped(answers.RetryError, "too long", None), Reason.REFUSED),
    ],
)
def test_every_error_has_a_reason_and_shows_no_secret(error: Exception, reason: Reason) -> None:
    fault = fault_of(error, "Pub/Sub on x")

    assert fault.reason is reason
    assert str(fault).startswith("Pub/Sub on x")
    assert "SECRET" not in f"{fault} {fault.hint()}"


# -------------------------------------------------------------------------------------------- the whole consumer on it


class Process:
    """A consumer of a subscription with Google Cloud's own decoder, with its notes, in a thread."""

    def __init__(self, subscription: str, *, poison: bytes = b"\0", wait: float = 1.0) -> None:
        self.store = MemoryStore()
        with self.store.write() as unit:
            unit.register_add(msgspec.json.encode(world.document()), at=NOW, by="alice", source="test")

        class Picky(Intake):
            def take(self, feed: str, cloud: str, received: Sequence[Received]) -> Any:
                if any(poison in data(one) for one in received):
                    raise ValueError("cannot be kept")
                return super().take(feed, cloud, received)

        self.handed: list[int] = []
        self.told: list[int] = []
        self.lacks: list[str | None] = []
        self.source = PubSubSource(subscription, name="globex")
        self.consumer = Consumer(
            self.source,
            Picky(self.store, Registry(self.store), cloud),
            self.hand_on,
            drain=lambda: None,
            tell_quarantined=lambda _, pieces: self.told.extend(pieces),
            on_degraded=self.lacks.append,
            beat=lambda: None,
            bare_alarm=lambda _: None,
            wait=wait,
            poison_after=2,
        )
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.consumer.run, args=(self.stop,))

    def hand_on(self, rows: Sequence[tuple[int, Carries]]) -> None:
        self.handed.extend(row for row, _ in rows)

    def kept(self) -> list[bytes]:
        with self.store.read() as unit:
            rows = [unit.arrived(row) for row, _ in unit.arrived_due(datetime.now(UTC), 1000)]
        return [row.body for row in rows if row is not None]

    def quarantined(self) -> list[str]:
        with self.store.read() as unit:
            return [piece.reason for _, piece in unit.quarantined(100)]


def disabled(version: str, insert_id: str) -> bytes:
    return raw(version_update(version, entry={"insertId": insert_id}))


def test_malformed_data_goes_to_quarantine_beside_good_neighbours(double: PubSubServer, feed: Feed) -> None:
    feed.publish(disabled("3", "e1"), b"\xff\xfenot json", disabled("3", "e2"), b"17", disabled("3", "e3"))
    with running(Process(feed.subscription)) as process:
        until(lambda: len(process.handed) == 3 and len(process.told) == 2)
        until(lambda: double.matter.counts(feed.subscription) == (0, 0))

    assert {json.loads(body)["subscription"] for body in process.kept()} == {world.SUBSCRIPTION}
    assert len(process.quarantined()) == 2


def test_the_greeting_of_an_asset_feed_is_no_trouble(double: PubSubServer, far: PubSub) -> None:
    feed = far.feed("assets-globex")
    assert feed.subscription == world.ASSETS
    feed.publish(f"You have successfully configured real time feed {world.ASSET_FEED}.".encode())
    with running(Process(feed.subscription)) as process:
        until(lambda: double.matter.calls["Acknowledge"] == 1)
        until(lambda: double.matter.counts(feed.subscription) == (0, 0))

    assert (process.handed, process.quarantined()) == ([], [])


def test_a_record_of_another_customers_subscription_keeps_its_subscription(double: PubSubServer, far: PubSub) -> None:
    feed = far.feed("audit-initech")
    feed.publish(disabled("3", "e1"))
    with running(Process(feed.subscription)) as process:
        until(process.kept)

    register = world.register()
    [body] = process.kept()
    assert {str(signal.effect) for signal in cloud("gcp").meaning(body, register)} == {"untrusted"}


def test_a_poisonous_message_leaves_the_subscription_for_the_quarantine(double: PubSubServer, feed: Feed) -> None:
    double.matter.hurry = 30
    feed.publish(disabled("3", "poison"), disabled("3", "e2"))
    with running(Process(feed.subscription, poison=b"poison")) as process:
        until(lambda: len(process.told) == 1, 30)
        until(lambda: double.matter.counts(feed.subscription) == (0, 0))

    assert len(process.kept()) == 1
    assert "failed on it 3 times" in process.quarantined()[0]


def test_it_stops_within_ten_seconds_although_a_long_wait_runs(double: PubSubServer, feed: Feed) -> None:
    process = Process(feed.subscription, wait=5)
    process.thread.start()
    time.sleep(0.5)
    started = time.monotonic()
    process.stop.set()
    process.thread.join(15)

    assert not process.thread.is_alive()
    assert time.monotonic() - started < 8


def test_a_fault_is_shown_and_gone_when_the_stream_works_again(double: PubSubServer, feed: Feed) -> None:
    double.matter.refuse("StreamingPull", "CANCELLED", "not now", times=2)
    with running(Process(feed.subscription, wait=1)) as process:
        until(lambda: len(process.lacks) >= 2)
        feed.publish(disabled("3", "e1"))
        until(lambda: process.handed)

    assert process.lacks[0] is not None
    assert "CANCELLED: not now" in process.lacks[0]
    assert process.lacks[-1] is None
    assert double.matter.calls["StreamingPull"] == 3
