"""A Google Cloud Pub/Sub subscription as a feed, by the streaming pull of google-cloud-pubsub.

Who holds what. What waits here is leased by the library, as long as this process lives; its flow control, and the
bound of `_Waiting`, limit that in number and bytes. What `receive` hands out is taken from the library and held as with
every other feed: for `visibility` seconds, and longer only when `extend` asks for it. So a message that is neither
acknowledged nor held comes again, as it must; the library alone would keep it back for as long as the process lives.

What is confirmed. The library tells of an ack only with exactly-once delivery; without it its futures say "success"
whatever the server said. So acks and holds are asked for here, by the calls that the library itself would use: an
answer means that the service has taken the ack. With exactly-once it then never comes again; without, it may, rarely.

What is silent. The library opens a stream anew for ever when the far end is away, busy or cannot be given a token, and
says nothing; and when the new one ends at once too, it may leave one open that nobody reads, whose messages come again
only after their leases. So here a stream is one call (`_OneCall`), and its end is ours to judge: passing or a fault.
"""

import base64
import contextlib
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import TimeoutError as TooLate
from datetime import UTC, datetime
from typing import Any, Protocol

import grpc  # type: ignore[import-untyped]  # it ships no type information
import msgspec
from google.api_core import exceptions as answers
from google.api_core.retry import Retry, if_exception_type
from google.auth.credentials import AnonymousCredentials
from google.cloud.pubsub_v1 import SubscriberClient  # type: ignore[import-untyped]  # it ships no type information
from google.cloud.pubsub_v1.subscriber.message import Message  # type: ignore[import-untyped]  # same
from google.cloud.pubsub_v1.subscriber.scheduler import Scheduler  # type: ignore[import-untyped]  # same
from google.cloud.pubsub_v1.types import FlowControl  # type: ignore[import-untyped]  # same
from google.pubsub_v1.services.subscriber.transports.grpc import SubscriberGrpcTransport

from workers.clouds.gcp.faults import ERRORS, answered, fault_of
from workers.feeds.interface import FeedFault, Reason, Received

BATCH = 100
LEASE = 30
"""Seconds of one lease: a killed process's messages come again after it. The service takes 10 to 600 (gcp.md 6.3)."""

MESSAGES = 200
BYTES = 32 * 1024 * 1024
"""What one stream may hold: enough to work one batch while the next arrives, little enough to leave some to others."""

_FLOW = FlowControl(
    max_messages=MESSAGES,
    max_bytes=BYTES,
    # For as long as the service keeps a message. A lease given up while we wait for the store would make room, and
    # what waits here would grow by MESSAGES each time.
    max_lease_duration=31 * 86400.0,
    min_duration_per_lease_extension=LEASE,
    max_duration_per_lease_extension=LEASE,
)
_FRESH = LEASE / 3  # a message that has waited for less has enough of its lease left to be worked
_ASK_SECONDS = 4.0  # one question with all its tries: a stop must not wait for longer
_ACK_TRIES = 3
_CLOSE_SECONDS = 2.0
_STOOD = 10.0  # the service ends every stream now and then; one that stood for so long may be opened anew in silence
_PATIENCE = 10.0  # for a connection to be made
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_EMULATOR = "PUBSUB_EMULATOR_HOST"
_SUBSCRIPTION = re.compile(r"projects/[^/\s]+/subscriptions/[^/\s]+")

# The library's own channel to an emulator takes 4 MB at most: an answer above it ends the stream with
# RESOURCE_EXHAUSTED, and the library asks for the same answer again for ever, without a word. In production there is no
# such limit, so the options are those of its real channel.
_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_metadata_size", 4 * 1024 * 1024),
    ("grpc.keepalive_time_ms", 30000),
]
_PASSING = if_exception_type(answers.ServiceUnavailable, answers.Aborted, answers.InternalServerError)
_RETRY = Retry(predicate=_PASSING, initial=0.1, maximum=1.0, timeout=_ASK_SECONDS)


def source(name: str, cloud: str, options: Mapping[str, Any]) -> "PubSubSource":
    """Return the source of a feed of kind `pubsub`. Raises ValueError naming what is wrong, and what to do."""
    subscription = options["subscription"]
    if not _SUBSCRIPTION.fullmatch(subscription):
        raise ValueError(f"subscription: {subscription!r} is no name; a full one is projects/PROJECT/subscriptions/ID")
    emulator()
    return PubSubSource(subscription, name=name, cloud=cloud)


def emulator() -> str | None:
    """Return the HOST:PORT of the emulator that the environment names, if any. Raises ValueError if not on loopback.

    The library speaks to it without TLS and without credentials, whoever it is.
    """
    place = os.environ.get(_EMULATOR)
    if not place:
        return None
    host = place.rpartition(":")[0].strip("[]")
    if host not in _LOOPBACK:
        raise ValueError(
            f"{_EMULATOR} is {place!r}, which would be spoken to without TLS and is not on this machine: "
            "unset it to read the real service, or name an emulator as 127.0.0.1:PORT"
        )
    return place


class PubSubSource:
    """Source that reads one subscription. A stream that has ended is a fault, and opened anew at the next `receive`.

    A subscription that does not exist yet, or credentials that do not work yet, are faults to be waited out. Nothing
    here may be carried over a fork. Without a dead-letter policy the service does not count deliveries: then those to
    this process are counted.
    """

    visibility: float = LEASE

    def __init__(  # settings with defaults, and what tests replace
        self,
        subscription: str,
        *,
        name: str,
        cloud: str = "gcp",
        connect: "Callable[[], Client] | None" = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self.cloud = cloud
        self._subscription = subscription
        self._connect = connect or client
        self._now = now
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._stream: _Stream | None = None
        self._closed = False
        self._counted = _Counted()

    def receive(self, wait: float) -> Sequence[Received]:
        """Return what the stream has brought, at most a batch; opens it when there is none. Raises FeedFault.

        Raises also what our own code raised while it took messages from the library.
        """
        stream = self._opened()
        batch = [] if stream.is_our_fault else stream.waiting.take(wait, BATCH)
        if batch:
            return self._handed_out(batch)
        self._look(stream)
        return ()

    def acknowledge(
        self, received: Sequence[Received], *, unreadable: Collection[str] = frozenset()
    ) -> Sequence[Received]:
        """Acknowledge messages, and wait for the answer; return those that come again. Raises FeedFault."""
        del unreadable  # they are in quarantine; the service need not know
        asked, lost = _receipts(received), set[str]()
        for tried in range(_ACK_TRIES):
            if not asked:
                break
            if tried:
                self._sleep(0.1 * 2**tried)
            refused = self._ask("acknowledge", asked)  # those that are not named are taken (measured, emulator 0.8.20)
            asked = [ack_id for ack_id, why in refused.items() if why.startswith("TRANSIENT")]
            lost |= refused.keys() - set(asked)
        left = [one for one in received if one.receipt in lost or one.receipt in asked]
        self._counted.forget(one.id for one in received if one not in left)
        return left

    def extend(self, received: Sequence[Received], seconds: float) -> Sequence[Received]:
        """Set the leases of messages to `seconds` from now; return those it failed for. Raises FeedFault."""
        if not received:
            return ()
        refused = self._ask("modify_ack_deadline", _receipts(received), ack_deadline_seconds=int(seconds))
        return [one for one in received if one.receipt in refused]

    def close(self) -> None:
        """Give back what waits here, end the stream and the library's threads, and close the connection."""
        self._closed = True
        self._let_go()

    # ---------------------------------------------------------------------------------------------------------- inside

    def _opened(self) -> "_Stream":
        with self._lock:
            if self._closed:
                raise FeedFault(Reason.NETWORK, f"Pub/Sub on {self._subscription}: the feed is closed")
            if self._stream is None:
                try:
                    self._stream = _Stream(self._connect, self._subscription, self._monotonic)
                except ERRORS as error:
                    raise fault_of(error, f"Pub/Sub on {self._subscription}") from error
            return self._stream

    def _look(self, stream: "_Stream") -> None:
        """Raise what is wrong with a stream that brings nothing."""
        ended = stream.ended
        if ended is None and (stream.is_connected or stream.age < _PATIENCE):
            return
        self._let_go()  # the next one has a connection of its own, and looks for credentials anew
        if ended is not None and stream.is_our_fault:
            raise ended
        error = ended or answered(grpc.StatusCode.UNAVAILABLE, "there is no connection yet")
        fault = fault_of(error, f"Pub/Sub stream of {self._subscription}")
        if fault.permanent or ended is None or stream.age < _STOOD:
            raise fault from error

    def _let_go(self) -> None:
        with self._lock:
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _handed_out(self, batch: Sequence[tuple[Message, float]]) -> list[Received]:
        """Take messages over from the library. One whose lease is over already comes again: it is left out."""
        fresh = self._monotonic() - _FRESH
        stale = [message.ack_id for message, since in batch if since < fresh]
        try:
            gone = self._ask("modify_ack_deadline", stale, ack_deadline_seconds=LEASE) if stale else {}
        finally:
            for message, _ in batch:
                message.drop()
        return [self._received(message) for message, _ in batch if message.ack_id not in gone]

    def _ask(self, operation: str, ack_ids: Sequence[str], **arguments: object) -> Mapping[str, str]:
        """Ask for something about leases; return ack id -> why for those that were refused. Raises FeedFault."""
        connected = self._opened().client
        what = f"Pub/Sub {operation} on {self._subscription}"
        asked = {"subscription": self._subscription, "ack_ids": list(ack_ids), **arguments}
        try:
            getattr(connected, operation)(**asked, retry=_RETRY, timeout=_ASK_SECONDS)
        except ERRORS as error:
            refused = _refusals(error, ack_ids)
            if not refused:
                raise fault_of(error, what) from error
            return refused
        return {}

    def _received(self, message: Message) -> Received:
        times = self._counted.again(message.message_id)
        return Received(
            id=message.message_id,
            body=_wrapped(message, self._subscription),
            received_at=self._now(),
            receipt=message.ack_id,
            deliveries=max(times, message.delivery_attempt or 1),
            place=f"message {message.message_id}",
        )


class Call(Protocol):
    """What is used of a call of grpc."""

    def __next__(self) -> object:
        """Return the next answer."""
        ...

    def is_active(self) -> bool:
        """Whether it goes on."""
        ...

    def cancel(self) -> bool:
        """End it."""
        ...

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Be told when it ends; false when it has ended."""
        ...

    def code(self) -> grpc.StatusCode:
        """Return how it ended."""
        ...

    def details(self) -> str | None:
        """Return the words beside that."""
        ...


class StreamEnded(Exception):  # noqa: N818  # it may be in order
    """A stream has ended. It is none of the errors for which the library would open it anew."""

    def __init__(self, error: answers.GoogleAPICallError) -> None:
        super().__init__(str(error))
        self.error = error


class _OneCall:
    """The call of a stream as the library uses it, but that its end is told as one that is not to be mended."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._told = threading.Event()

    def __next__(self) -> object:
        try:
            return next(self._call)
        except (answers.GoogleAPICallError, StopIteration):
            # Whoever is the first to tell the library of an end says why; and this way it would not pass the reason on.
            self._told.wait(_CLOSE_SECONDS)
            raise self._end() from None

    def is_active(self) -> bool:
        return self._call.is_active()

    def cancel(self) -> bool:
        return self._call.cancel()

    def add_done_callback(self, callback: Callable[[StreamEnded], object]) -> None:
        def ended() -> None:
            callback(self._end())
            self._told.set()

        if not self._call.add_callback(ended):
            ended()

    def _end(self) -> StreamEnded:
        return StreamEnded(answered(self._call.code(), self._call.details() or "the stream has ended"))


class Client(SubscriberClient):  # type: ignore[misc]  # the library ships no type information
    """The library's client: a stream ends when its call ends, and its own threads never wait long for an answer."""

    def __init__(self, **arguments: object) -> None:
        self.has_threads = threading.Event()
        super().__init__(**arguments)

    def streaming_pull(self, *arguments: object, **more: object) -> _OneCall:
        """StreamingPull, as the library opens it from one of its threads while it still starts the others.

        A call that fails at once would have it stop threads that it then starts, and never stops again.
        """
        self.has_threads.wait(_PATIENCE)
        return _OneCall(super().streaming_pull(*arguments, **more))

    def modify_ack_deadline(self, *arguments: object, **more: object) -> None:
        """ModifyAckDeadline. The library's threads try it once only: it is what a stop would have to wait for."""
        try:
            super().modify_ack_deadline(*arguments, **{"retry": None, "timeout": _ASK_SECONDS, **more})
        except ValueError as error:
            if not self.closed:
                raise
            # The library takes no notice of an answer of the far end; anything else would end its thread noisily.
            raise answered(grpc.StatusCode.CANCELLED, "the connection was closed meanwhile") from error


def client() -> Client:
    """Return a client with application default credentials, or one of the emulator. Raises FeedFault, `ERRORS`."""
    try:
        place = emulator()
    except ValueError as error:
        raise FeedFault(Reason.SETTINGS, str(error)) from error
    if place is None:
        return Client()
    transport = SubscriberGrpcTransport(
        host=place,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]  # google.auth has gaps in its types
        channel=grpc.insecure_channel(place, options=_CHANNEL),
    )
    return Client(transport=transport)


class _Stream:
    """One streaming pull with a connection of its own, from its opening to its end."""

    def __init__(self, connect: Callable[[], Client], subscription: str, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._since = monotonic()
        self.waiting = _Waiting(monotonic)
        self.client = connect()
        self._connected = grpc.channel_ready_future(self.client.transport.grpc_channel)
        self._future = self.client.subscribe(
            subscription, self.waiting.put, flow_control=_FLOW, scheduler=_AtOnce(self.waiting.left_over)
        )
        self.client.has_threads.set()
        self._future.add_done_callback(lambda _: self.waiting.wake())

    @property
    def ended(self) -> BaseException | None:
        """Why the stream has ended; None while it has not."""
        if not self._future.done():
            return None
        error: BaseException | None = self._future.exception()
        if error is None:
            return answered(grpc.StatusCode.CANCELLED, "the stream was ended here")
        return error.error if isinstance(error, StreamEnded) else error

    @property
    def is_connected(self) -> bool:
        """Whether there has been a connection. When it is lost, the stream ends."""
        return bool(self._connected.done())

    @property
    def age(self) -> float:
        """Seconds since it was opened."""
        return self._monotonic() - self._since

    @property
    def is_our_fault(self) -> bool:
        """Whether our own code failed in a thread of the library."""
        return self.ended is not None and not isinstance(self.ended, ERRORS)

    def close(self) -> None:
        """Give back what waits, and let all threads of the library end."""
        self.waiting.close()
        self._connected.cancel()
        self._future.cancel()
        with contextlib.suppress(TooLate):  # a thread waits for an answer: to close the connection is what ends it
            self._future.exception(timeout=_CLOSE_SECONDS)
        self.client.close()


class _AtOnce(Scheduler):  # type: ignore[misc]  # the library ships no type information
    """Calls back in the thread that reads the stream: putting a message aside needs no pool of threads.

    `left_over` returns, when the stream has been shut, the messages that the library is to give back.
    """

    def __init__(self, left_over: Callable[[], list[Message]]) -> None:
        self._left_over = left_over
        self._queue: queue.Queue[object] = queue.Queue()

    @property
    def queue(self) -> "queue.Queue[object]":
        """What the library's own requests travel in."""
        return self._queue

    def schedule(self, callback: Callable[..., object], *arguments: object, **more: object) -> None:
        """Call back."""
        callback(*arguments, **more)

    def shutdown(self, await_msg_callbacks: bool = False) -> list[Message]:  # noqa: ARG002 - the library's signature
        """Return what is to be given back."""
        return self._left_over()


class _Waiting:
    """What the stream has brought and nobody has taken: each message once, at most twice what flow control allows.

    A message that is handed out anew takes the place of its older copy, whose lease is over. Should there be more than
    the library promises (with exactly-once it forgets leases that were lost), the oldest goes: it comes again.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._messages: dict[str, tuple[Message, float]] = {}
        self._woken = False
        self._closed = False

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: Message) -> None:
        """Put a message aside; called by the library. It never waits."""
        with self._changed:
            older: tuple[Message, float] | None = self._messages.pop(message.message_id, None)
            if older is None and len(self._messages) >= 2 * MESSAGES:
                older = self._messages.pop(next(iter(self._messages)))
            self._messages[message.message_id] = (message, self._monotonic())
            self._changed.notify_all()
        if older is not None:
            older[0].drop()

    def wake(self) -> None:
        """Let nobody wait any longer: nothing more will come."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def take(self, wait: float, most: int) -> list[tuple[Message, float]]:
        """Return messages with the time since when each is here; waits at most `wait` seconds for the first."""
        with self._changed:
            self._changed.wait_for(lambda: self._messages or self._woken, wait)
            ids = list(self._messages)[:most]
            return [self._messages.pop(one) for one in ids]

    def close(self) -> None:
        """Nobody takes anything any more."""
        with self._changed:
            self._closed = True

    def left_over(self) -> list[Message]:
        """Return what nobody will take. A stream that ended by itself may leave messages that are still taken."""
        with self._changed:
            found = [message for message, _ in self._messages.values()] if self._closed else []
            for message in found:
                del self._messages[message.message_id]
            return found


class _Counted:
    """How often each message was handed out by this process and not acknowledged since; of the newest ten thousand."""

    MOST = 10_000

    def __init__(self) -> None:
        self._times: dict[str, int] = {}

    def again(self, message: str) -> int:
        """Count one more and return the number."""
        times = self._times.pop(message, 0) + 1
        if len(self._times) >= self.MOST:
            del self._times[next(iter(self._times))]
        self._times[message] = times
        return times

    def forget(self, messages: Iterable[str]) -> None:
        """Forget messages that will not come again."""
        for message in messages:
            self._times.pop(message, None)


def _receipts(received: Sequence[Received]) -> list[str]:
    return [str(one.receipt) for one in received]


def _refusals(error: Exception, ack_ids: Collection[str]) -> Mapping[str, str]:
    """Return what an answer says of single ack ids; the service says it with exactly-once delivery only."""
    told = error.metadata if isinstance(error, answers.GoogleAPICallError) else None
    return {ack_id: told[ack_id] for ack_id in ack_ids if ack_id in told} if told else {}


def _wrapped(message: Message, subscription: str) -> bytes:
    """Return a message in the form in which Pub/Sub would push it: trust goes by its subscription (gcp.md 6.3, 6.4)."""
    wrapped = {
        "message": {
            "data": base64.b64encode(message.data).decode(),
            "attributes": dict(message.attributes),
            "messageId": message.message_id,
            "publishTime": message.publish_time.isoformat().replace("+00:00", "Z"),
        },
        "subscription": subscription,
    }
    return msgspec.json.encode(wrapped)
