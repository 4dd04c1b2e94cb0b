"""A Pub/Sub that speaks gRPC on loopback, built on the client package's own message types; and the official emulator.

What it does as the service does (gcp.md 6.3): an ack id belongs to one lease; a lease that ends, or is given up
(deadline 0), brings the message again under another ack id; `delivery_attempt` is told only with a dead-letter policy,
which moves a message away after its attempts; with exactly-once delivery an ack of a lease that has ended is refused by
its ack id, without it such an ack is taken as if it counted; a stream gets no more than it said it would hold; a seek
to a time brings acknowledged messages back where they are retained, and acknowledges what was published before.
What it does not do: filters, ordering, snapshots, push, an end of retention, permissions.

`python -m tests.pubsub_server PORT` runs it as a process of its own.
"""

import argparse
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]  # it ships no type information
from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.protobuf import any_pb2, empty_pb2  # type: ignore[import-untyped]  # no type information
from google.pubsub_v1 import PublisherClient, SubscriberClient, types
from google.pubsub_v1.services.publisher.transports.grpc import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports.grpc import SubscriberGrpcTransport
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # no type information
from grpc_status import rpc_status  # type: ignore[import-untyped]  # no type information

from tests.servers import free_port

START_SECONDS = 60
PROJECT = "acme-watch"
MOST_IN_ANSWER = 1000
LARGEST_ANSWER = 9_000_000  # bytes; one message may have ten million, and then comes alone
_ANY_SIZE = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
_THREADS = 40  # every open stream keeps one
_ACKS = "EXACTLY_ONCE_ACKID_FAILURE"
EMULATOR_JAR = "pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"


# ------------------------------------------------------------------------------------------------- the server's matter


class RefusedError(Exception):
    """A call that ends with a status. `acks`: ack id -> why, told beside it as the service does with exactly-once."""

    def __init__(self, code: grpc.StatusCode, text: str, acks: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.acks = acks


@dataclass(slots=True)
class Kept:
    """One message in one subscription. `ack_id` is that of the running or last lease; `until` is its end, or 0."""

    message: Any
    attempts: int = 0
    ack_id: str = ""
    until: float = 0.0
    not_before: float = 0.0
    stream: int = 0


@dataclass(slots=True)
class Line:
    """One subscription: its settings and what is in it, in the order of publishing."""

    settings: Any
    kept: dict[str, Kept] = field(default_factory=dict)
    retained: dict[str, Any] = field(default_factory=dict)
    """Messages that were acknowledged, where the settings say to retain them."""
    leases: dict[str, str] = field(default_factory=dict)
    """Every ack id that was ever handed out -> the message's id."""

    @property
    def exactly_once(self) -> bool:
        """Whether exactly-once delivery is on."""
        return bool(self.settings.enable_exactly_once_delivery)


@dataclass(slots=True)
class Refusal:
    """What a method answers instead, `left` times."""

    error: RefusedError
    left: float


@dataclass(slots=True)
class Flow:
    """One open stream: what its client said that it would hold, and how it was told to end."""

    number: int
    deadline: int
    messages: int
    bytes: int
    end: RefusedError | None = None


class Matter:
    """Topics and subscriptions in memory, and what a test wants to go wrong. All methods may be called at any time."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.topics: set[str] = set()
        self.lines: dict[str, Line] = {}
        self.flows: dict[int, Flow] = {}
        self.calls: Counter[str] = Counter()
        """How often each method was called; a stream counts when it is opened."""
        self.hurry = 1.0
        """How many times faster than they should the leases end: no client may ask for less than ten seconds."""
        self.minds_flow = True
        """Whether a stream gets no more than it said it would hold."""
        self._refusals: dict[str, Refusal] = {}
        self._ack_refusals: list[str] = []
        self._numbers = itertools.count(1)

    # ------------------------------------------------------------------------------------------ what a test asks for

    def refuse(self, method: str, code: str, text: str = "no", *, times: float = float("inf")) -> None:
        """Let a method ("StreamingPull", "Acknowledge" ...) end with a status, from now on or some times."""
        with self.changed:
            self._refusals[method] = Refusal(RefusedError(grpc.StatusCode[code], text), times)

    def allow(self, method: str) -> None:
        """Let a method work again."""
        with self.changed:
            self._refusals.pop(method, None)

    def refuse_acks(self, *reasons: str) -> None:
        """Refuse each of the next acks by its ack id, for these reasons (TRANSIENT_FAILURE_..., PERMANENT_...)."""
        with self.changed:
            self._ack_refusals += reasons

    def end_streams(self, code: str, text: str = "ended") -> None:
        """End all open streams with a status."""
        with self.changed:
            for flow in self.flows.values():
                flow.end = RefusedError(grpc.StatusCode[code], text)
            self.changed.notify_all()

    def counts(self, subscription: str) -> tuple[int, int]:
        """How many messages of a subscription wait, and how many are leased."""
        with self.changed:
            kept = self.lines[subscription].kept.values()
            leased = sum(one.until > time.monotonic() for one in kept)
            return len(kept) - leased, leased

    # -------------------------------------------------------------------------------------------------------- methods

    def call(self, method: str) -> None:
        """Count a call. Raises RefusedError when a test wants it to."""
        with self.changed:
            self.calls[method] += 1
            refusal = self._refusals.get(method)
            if refusal is None or refusal.left < 1:
                return
            refusal.left -= 1
            raise refusal.error

    def create_topic(self, request: Any) -> Any:
        with self.changed:
            if request.name in self.topics:
                raise RefusedError(grpc.StatusCode.ALREADY_EXISTS, f"topic {request.name} exists")
            self.topics.add(request.name)
        return request

    def create_subscription(self, request: Any) -> Any:
        with self.changed:
            if request.name in self.lines:
                raise RefusedError(grpc.StatusCode.ALREADY_EXISTS, f"subscription {request.name} exists")
            self._topic(request.topic)
            if request.filter or request.enable_message_ordering or request.push_config.push_endpoint:
                raise RefusedError(grpc.StatusCode.UNIMPLEMENTED, "this double has no filters, no ordering, no push")
            request.ack_deadline_seconds = request.ack_deadline_seconds or 10
            if not 10 <= request.ack_deadline_seconds <= 600:
                raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "ack deadline out of range (10 to 600)")
            self.lines[request.name] = Line(request)
        return request

    def get_subscription(self, request: Any) -> Any:
        with self.changed:
            return self._line(request.subscription).settings

    def delete_subscription(self, request: Any) -> Any:
        with self.changed:
            self._line(request.subscription)
            del self.lines[request.subscription]
            self.changed.notify_all()
        return empty_pb2.Empty()

    def publish(self, request: Any) -> Any:
        with self.changed:
            self._topic(request.topic)
            for message in request.messages:
                if not message.data and not message.attributes:
                    raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "a message needs data or attributes")
                message.message_id = str(8_000_000_000_000_000 + next(self._numbers))
                message.publish_time.GetCurrentTime()
                self._spread(request.topic, message)
            self.changed.notify_all()
        return types.PublishResponse.pb()(message_ids=[one.message_id for one in request.messages])

    def acknowledge(self, request: Any) -> Any:
        with self.changed:
            line = self._line(request.subscription)
            refused: dict[str, str] = {}
            for ack_id in request.ack_ids:
                kept = self._leased(line, ack_id)
                if self._ack_refusals:
                    refused[ack_id] = self._ack_refusals.pop(0)
                elif kept is not None:
                    self._settle(line, kept.message)
                elif line.exactly_once:
                    refused[ack_id] = "PERMANENT_FAILURE_INVALID_ACK_ID"
            self.changed.notify_all()
            self._tell(refused)
        return empty_pb2.Empty()

    def modify(self, request: Any) -> Any:
        seconds = request.ack_deadline_seconds
        if not 0 <= seconds <= 600:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "ack deadline out of range (0 to 600)")
        with self.changed:
            line = self._line(request.subscription)
            refused = {}
            for ack_id in request.ack_ids:
                kept = self._leased(line, ack_id, late=False)
                if kept is not None:
                    kept.until = time.monotonic() + seconds / self.hurry if seconds else 0.0
                    kept.not_before = 0.0 if seconds else self._pause(line, kept)
                elif line.exactly_once:
                    refused[ack_id] = "PERMANENT_FAILURE_INVALID_ACK_ID"
            self.changed.notify_all()
            self._tell(refused)
        return empty_pb2.Empty()

    def seek(self, request: Any) -> Any:
        with self.changed:
            line = self._line(request.subscription)
            at = request.time.ToDatetime()
            for message in [kept.message for kept in line.kept.values()]:
                if message.publish_time.ToDatetime() < at:
                    self._settle(line, message)
            again = {name: one for name, one in line.retained.items() if one.publish_time.ToDatetime() >= at}
            for name, message in again.items():
                del line.retained[name]
                line.kept[name] = Kept(message)
            self.changed.notify_all()
        return types.SeekResponse.pb()()

    def pull(self, request: Any) -> Any:
        with self.changed:
            line = self._line(request.subscription)
            flow = Flow(0, line.settings.ack_deadline_seconds, request.max_messages, LARGEST_ANSWER)
            self.changed.wait_for(lambda: self._waiting(line), 1.0)
            received = self._hand_out(line, flow)
        return types.PullResponse.pb()(received_messages=received)

    def open(self, first: Any) -> Flow:
        """Begin a stream. Raises RefusedError."""
        with self.changed:
            self._line(first.subscription)
            if not 10 <= first.stream_ack_deadline_seconds <= 600:
                raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "stream ack deadline out of range (10 to 600)")
            flow = Flow(
                next(self._numbers),
                first.stream_ack_deadline_seconds,
                (self.minds_flow and first.max_outstanding_messages) or sys.maxsize,
                (self.minds_flow and first.max_outstanding_bytes) or sys.maxsize,
            )
            self.flows[flow.number] = flow
        return flow

    def answers(self, name: str, flow: Flow, is_wanted: Callable[[], bool]) -> Iterator[Any]:
        """Yield the answers of a stream until nobody wants them. Raises RefusedError when it is to end."""
        answer = types.StreamingPullResponse.pb()
        try:
            while True:
                with self.changed:
                    while is_wanted():
                        if flow.end is not None:
                            raise flow.end
                        line = self._line(name)
                        received = self._hand_out(line, flow)
                        if received:
                            break
                        self.changed.wait(self._pause_until(line))
                    else:
                        return
                    once = line.exactly_once
                yield answer(
                    received_messages=received, subscription_properties={"exactly_once_delivery_enabled": once}
                )
        finally:
            with self.changed:
                self.flows.pop(flow.number, None)

    # --------------------------------------------------------------------------------------------------------- inside

    def _topic(self, name: str) -> None:
        if name not in self.topics:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={name}).")

    def _line(self, name: str) -> Line:
        if name not in self.lines:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={name}).")
        return self.lines[name]

    def _settle(self, line: Line, message: Any) -> None:
        line.kept.pop(message.message_id, None)
        if line.settings.retain_acked_messages:
            line.retained[message.message_id] = message

    def _spread(self, topic: str, message: Any) -> None:
        for line in self.lines.values():
            if line.settings.topic == topic:
                copy = types.PubsubMessage.pb()()
                copy.CopyFrom(message)
                line.kept[message.message_id] = Kept(copy)

    def _leased(self, line: Line, ack_id: str, *, late: bool = True) -> Kept | None:
        """Return what an ack id stands for; without exactly-once and `late` also when its lease has ended."""
        kept = line.kept.get(line.leases.get(ack_id, ""))
        if kept is None or (late and not line.exactly_once):
            return kept
        return kept if kept.ack_id == ack_id and kept.until > time.monotonic() else None

    def _tell(self, refused: Mapping[str, str]) -> None:
        if refused:
            raise RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "Some acknowledgement ids in the request were invalid.",
                refused,
            )

    def _waiting(self, line: Line) -> list[Kept]:
        now = time.monotonic()
        return [kept for kept in line.kept.values() if max(kept.until, kept.not_before) <= now]

    def _pause_until(self, line: Line) -> float:
        ends = [max(kept.until, kept.not_before) for kept in line.kept.values()]
        return min(max(0.01, min(ends, default=0.2) - time.monotonic()), 0.2)

    def _pause(self, line: Line, kept: Kept) -> float:
        """Return when a message that was given up may come again, by the retry policy."""
        policy = line.settings.retry_policy
        least = policy.minimum_backoff.ToTimedelta().total_seconds()
        most = policy.maximum_backoff.ToTimedelta().total_seconds()
        return float(time.monotonic() + min(least * 2.0 ** (kept.attempts - 1), most))

    def _hand_out(self, line: Line, flow: Flow) -> list[Any]:
        now = time.monotonic()
        held = [kept for kept in line.kept.values() if kept.stream == flow.number and kept.until > now]
        room = min(flow.messages - len(held), MOST_IN_ANSWER)
        room_bytes = min(flow.bytes - sum(kept.message.ByteSize() for kept in held), LARGEST_ANSWER)
        received: list[Any] = []
        for kept in self._waiting(line):
            if len(received) >= room or room_bytes <= 0:
                break
            size = kept.message.ByteSize()
            if received and size > room_bytes:
                break
            if self._is_dead(line, kept):
                continue
            room_bytes -= size
            received.append(self._lease(line, kept, flow))
        return received

    def _lease(self, line: Line, kept: Kept, flow: Flow) -> Any:
        kept.attempts += 1
        kept.ack_id = f"lease-{next(self._numbers)}-{kept.message.message_id}"
        kept.until, kept.not_before = time.monotonic() + flow.deadline / self.hurry, 0.0
        kept.stream = flow.number
        line.leases[kept.ack_id] = kept.message.message_id
        told = kept.attempts if line.settings.dead_letter_policy.dead_letter_topic else 0
        return types.ReceivedMessage.pb()(ack_id=kept.ack_id, message=kept.message, delivery_attempt=told)

    def _is_dead(self, line: Line, kept: Kept) -> bool:
        policy = line.settings.dead_letter_policy
        if not policy.dead_letter_topic or kept.attempts < (policy.max_delivery_attempts or 5):
            return False
        del line.kept[kept.message.message_id]
        self._spread(policy.dead_letter_topic, kept.message)
        return True


# ---------------------------------------------------------------------------------------------------------- the server


class PubSubServer:
    """The double in this process. What it keeps survives `stop` and `start`, on the same port."""

    def __init__(self, port: int | None = None) -> None:
        self.matter = Matter()
        self.port = port or free_port()
        self._server: Any = None

    @property
    def host(self) -> str:
        """HOST:PORT, as PUBSUB_EMULATOR_HOST wants it."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin to serve."""
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS, thread_name_prefix="pubsub-double"),
            options=[*_ANY_SIZE, ("grpc.so_reuseport", 0)],
        )
        self._server.add_generic_rpc_handlers((_publisher(self.matter), _subscriber(self.matter)))
        if self._server.add_insecure_port(self.host) != self.port:
            raise OSError(f"port {self.port} is taken")
        self._server.start()

    def stop(self) -> None:
        """End all streams at once and serve no more."""
        stopped = self._server.stop(grace=None)
        with self.matter.changed:
            self.matter.changed.notify_all()
        stopped.wait(10)

    def wait(self) -> None:
        """Serve until the process ends."""
        self._server.wait_for_termination()


def _publisher(matter: Matter) -> Any:
    methods = {
        "CreateTopic": _unary(matter, "CreateTopic", matter.create_topic, types.Topic),
        "Publish": _unary(matter, "Publish", matter.publish, types.PublishRequest),
    }
    return grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", methods)


def _subscriber(matter: Matter) -> Any:
    methods = {
        "CreateSubscription": _unary(matter, "CreateSubscription", matter.create_subscription, types.Subscription),
        "GetSubscription": _unary(matter, "GetSubscription", matter.get_subscription, types.GetSubscriptionRequest),
        "DeleteSubscription": _unary(
            matter, "DeleteSubscription", matter.delete_subscription, types.DeleteSubscriptionRequest
        ),
        "Acknowledge": _unary(matter, "Acknowledge", matter.acknowledge, types.AcknowledgeRequest),
        "ModifyAckDeadline": _unary(matter, "ModifyAckDeadline", matter.modify, types.ModifyAckDeadlineRequest),
        "Seek": _unary(matter, "Seek", matter.seek, types.SeekRequest),
        "Pull": _unary(matter, "Pull", matter.pull, types.PullRequest),
        "StreamingPull": grpc.stream_stream_rpc_method_handler(
            lambda requests, context: _stream(matter, requests, context),
            request_deserializer=types.StreamingPullRequest.pb().FromString,
            response_serializer=_bytes,
        ),
    }
    return grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", methods)


def _bytes(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _unary(matter: Matter, name: str, answer: Callable[[Any], Any], request: Any) -> Any:
    def answered(asked: Any, context: Any) -> Any:
        try:
            matter.call(name)
            return answer(asked)
        except RefusedError as refused:
            _abort(context, refused)

    return grpc.unary_unary_rpc_method_handler(
        answered, request_deserializer=request.pb().FromString, response_serializer=_bytes
    )


def _stream(matter: Matter, requests: Iterator[Any], context: Any) -> Iterator[Any]:
    try:
        matter.call("StreamingPull")
        first = next(requests)
        flow = matter.open(first)
        context.add_callback(lambda: _wake(matter))
        reader = threading.Thread(target=_read, args=(matter, first.subscription, requests), daemon=True)
        reader.start()
        yield from matter.answers(first.subscription, flow, context.is_active)
    except RefusedError as refused:
        _abort(context, refused)


def _wake(matter: Matter) -> None:
    with matter.changed:
        matter.changed.notify_all()


def _read(matter: Matter, name: str, requests: Iterable[Any]) -> None:
    """Do what a client asks for on its stream: acks and deadlines, best effort as in the service."""
    with contextlib.suppress(grpc.RpcError):  # the stream has ended
        for request in requests:
            with contextlib.suppress(RefusedError):
                matter.acknowledge(types.AcknowledgeRequest.pb()(subscription=name, ack_ids=request.ack_ids))
            pairs = zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=True)
            for ack_id, seconds in pairs:
                with contextlib.suppress(RefusedError):
                    matter.modify(
                        types.ModifyAckDeadlineRequest.pb()(
                            subscription=name, ack_ids=[ack_id], ack_deadline_seconds=seconds
                        )
                    )


def _abort(context: Any, refused: RefusedError) -> None:
    if refused.acks is None:
        context.abort(refused.code, str(refused))
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=_ACKS, domain="pubsub.googleapis.com", metadata=refused.acks))
    status = status_pb2.Status(code=refused.code.value[0], message=str(refused), details=[detail])
    context.abort_with_status(rpc_status.to_status(status))


# ------------------------------------------------------------------------------------------ whoever speaks to a server


class PubSub:
    """A running Pub/Sub, the double or the emulator, and the side of a test that plays the publisher and the owner."""

    def __init__(self, host: str) -> None:
        self.host = host
        self._channel = grpc.insecure_channel(host, options=_ANY_SIZE)
        nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]  # google.auth has gaps in its types
        self.publisher = PublisherClient(
            transport=PublisherGrpcTransport(host=host, credentials=nobody, channel=self._channel)
        )
        self.subscriber = SubscriberClient(
            transport=SubscriberGrpcTransport(host=host, credentials=nobody, channel=self._channel)
        )

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes the client library of any process speak to it."""
        return {"PUBSUB_EMULATOR_HOST": self.host, "NO_GCE_CHECK": "true"}

    def topic(self, name: str) -> str:
        """Make a topic and return its full name."""
        full = f"projects/{PROJECT}/topics/{name}"
        self.publisher.create_topic(name=full)
        return full

    def subscription(self, name: str, topic: str, **settings: Any) -> str:
        """Make a subscription (ack deadline ten seconds, the least there is) and return its full name."""
        full = f"projects/{PROJECT}/subscriptions/{name}"
        self.subscriber.create_subscription(
            types.Subscription(name=full, topic=topic, **{"ack_deadline_seconds": 10, **settings})
        )
        return full

    def feed(self, name: str, **settings: Any) -> "Feed":
        """Make a topic with one subscription, both of this name."""
        topic = self.topic(name)
        return Feed(self, topic, self.subscription(name, topic, **settings))

    def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()


@dataclass(frozen=True, slots=True)
class Feed:
    """A topic with its subscription."""

    server: PubSub
    topic: str
    subscription: str

    def publish(self, *bodies: bytes, **attributes: str) -> list[str]:
        """Publish messages of these bodies, each in a request of its own; return their ids."""
        return [
            self.server.publisher.publish(
                topic=self.topic, messages=[types.PubsubMessage(data=body, attributes=attributes)], retry=None
            ).message_ids[0]
            for body in bodies
        ]

    def pull(self, most: int = 100) -> list[types.ReceivedMessage]:
        """Pull once, by the unary method; waits a moment when there is nothing."""
        try:
            return list(
                self.server.subscriber.pull(
                    subscription=self.subscription, max_messages=most, timeout=5, retry=None
                ).received_messages
            )
        except GoogleAPICallError as error:
            if error.grpc_status_code is grpc.StatusCode.DEADLINE_EXCEEDED:
                return []  # the emulator waits for longer than a test wants to
            raise

    def acknowledge(self, *ack_ids: str) -> None:
        """Acknowledge by the unary method."""
        self.server.subscriber.acknowledge(subscription=self.subscription, ack_ids=list(ack_ids), retry=None, timeout=5)

    def modify(self, seconds: int, *ack_ids: str) -> None:
        """Set the deadline of leases by the unary method."""
        self.server.subscriber.modify_ack_deadline(
            subscription=self.subscription, ack_ids=list(ack_ids), ack_deadline_seconds=seconds, retry=None, timeout=5
        )


@contextlib.contextmanager
def served(port: int | None = None) -> Iterator[PubSubServer]:
    """Run the double in this process, on a free port of loopback."""
    server = PubSubServer(port)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def pubsub(tmp: Path, port: int | None = None) -> Iterator[PubSub]:
    """Run the double as a process of its own, on a free port of loopback; its log goes to `tmp`."""
    number = port or free_port()
    command = [sys.executable, "-m", "tests.pubsub_server", str(number)]
    with _process(tmp / f"pubsub-{number}.log", command, number) as server:
        yield server


def emulator_jar() -> str | None:
    """Return the official emulator of an installed Google Cloud SDK; None when it or Java is not here."""
    gcloud = shutil.which("gcloud")
    if gcloud is None or shutil.which("java") is None:
        return None
    near = Path(gcloud).resolve().parent
    roots = [Path(os.environ.get("CLOUDSDK_ROOT_DIR", near.parent)), near.parent, near.parent / "lib/google-cloud-sdk"]
    return next((str(jar) for root in roots for jar in sorted((root / "platform").glob(EMULATOR_JAR))), None)


@contextlib.contextmanager
def emulator(tmp: Path, jar: str) -> Iterator[PubSub]:
    """Run the official emulator, on a free port of loopback; its log goes to `tmp`."""
    number = free_port()
    command = ["java", "-Xmx512m", "-jar", jar, "--host=127.0.0.1", f"--port={number}"]
    with _process(tmp / f"emulator-{number}.log", command, number) as server:
        yield server


@contextlib.contextmanager
def _process(log_path: Path, command: list[str], port: int) -> Iterator[PubSub]:
    with log_path.open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    server = PubSub(f"127.0.0.1:{port}")
    try:
        _wait_for(server, process, log_path)
        yield server
    finally:
        server.close()
        process.send_signal(signal.SIGKILL)
        process.wait(START_SECONDS)


def _wait_for(server: PubSub, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            server.topic("is-it-there")
        except GoogleAPICallError as error:
            if process.poll() is not None or time.monotonic() > until:
                raise OSError(log.read_text()[-2000:]) from error
            time.sleep(0.1)
        else:
            return


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description="A Pub/Sub on loopback, for tests")
    parser.add_argument("port", type=int)
    server = PubSubServer(parser.parse_args().port)
    server.start()
    server.wait()


if __name__ == "__main__":
    main()
