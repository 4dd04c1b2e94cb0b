"""The lobby of a feed that is pushed to: messages wait in it, and the requests that brought them with them."""

import asyncio
import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from workers.feeds.interface import Received

BATCH = 500
BATCH_BYTES = 16 << 20
"""The most that is taken at once: what is committed together."""

_COUNTED = 10_000  # messages whose deliveries are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a listener bears: bytes of one body, of all bodies in memory, seconds, and numbers.

    `answer` seconds after its head has come a request is answered, in whatever way. `head` seconds may pass until a new
    connection has brought its first head, TLS included, `idle` seconds between an answer and the next one.
    """

    body: int
    answer: float
    head: float = 10.0
    idle: float = 30.0
    connections: int = 256
    messages: int = 1000
    held: int = 128 << 20


@dataclass(slots=True)
class _Message:
    """A message with the requests that wait for it: more than one when the provider has sent it again meanwhile."""

    received: Received
    requests: list[asyncio.Future[bool]]
    out_until: float | None = None  # None: in the queue

    @property
    def is_awaited(self) -> bool:
        return any(not request.done() for request in self.requests)


class Lobby:
    """Where messages wait: put in by the listener's loop, taken and settled by the consumer. Safe between threads.

    A message whose request has been answered 503 stays in the queue: it is good to know it sooner than the provider
    sends it again, which may be hours later. One that comes again joins the one that waits, or is in work.
    """

    def __init__(self, limits: Limits, monotonic: Callable[[], float]) -> None:
        self._limits = limits
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._messages: OrderedDict[str, _Message] = OrderedDict()
        self._times: OrderedDict[str, int] = OrderedDict()
        self._held = 0
        self._closed = False

    def has_room(self, size: int) -> bool:
        """Reserve memory for `size` bytes of a body; False when there is none."""
        with self._changed:
            if self._closed or self._held + size > self._limits.held or len(self._messages) >= self._limits.messages:
                return False
            self._held += size
            return True

    def give_room(self, size: int) -> None:
        """Give memory back that was reserved and is not used."""
        with self._changed:
            self._held -= size

    def put(self, received: Received, request: "asyncio.Future[bool]") -> None:
        """Queue a message for which room is reserved; `request` is told whether it was committed."""
        with self._changed:
            if self._closed:
                self._held -= len(received.body)
                request.set_result(False)
                return
            known = self._messages.get(received.id)
            if known is not None:
                self._held -= len(received.body)
                known.requests.append(request)
                if known.out_until is not None and known.out_until <= self._monotonic():
                    known.out_until = None  # whoever had it has forgotten it
                known.received = replace(known.received, deliveries=max(known.received.deliveries, received.deliveries))
            else:
                self._messages[received.id] = _Message(received, [request])
            self._changed.notify_all()

    def take(self, wait: float, visibility: float) -> list[Received]:
        """Return what is queued, waiting at most `wait` seconds for the first one."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._is_queued(), wait)
            now = self._monotonic()
            found: list[Received] = []
            size = 0
            for name, message in list(self._messages.items()):
                if message.out_until is not None and message.out_until > now:
                    continue
                if message.out_until is not None and not message.is_awaited:
                    self._drop(name)  # nobody gave it back, and nobody waits for it: it comes again
                    continue
                size += len(message.received.body)
                if found and (len(found) >= BATCH or size > BATCH_BYTES):
                    break
                message.out_until = now + visibility
                found.append(self._counted(message.received))
            return found

    def settle(self, received: Sequence[Received], *, committed: bool) -> list[Received]:
        """Let the requests of these messages be answered; return those for which none waited any more."""
        late = []
        with self._changed:
            for one in received:
                message = self._drop(one.id)
                if committed:
                    self._times.pop(one.id, None)
                if message is None or not message.is_awaited:
                    late.append(one)
                if message is not None:
                    _tell(message.requests, committed=committed)
        return late

    def hold(self, received: Sequence[Received], seconds: float) -> list[Received]:
        """Take messages for in work for `seconds` more; return those that are not here any more."""
        with self._changed:
            here = [(one, self._messages.get(one.id)) for one in received]
            for _, message in here:
                if message is not None:
                    message.out_until = self._monotonic() + seconds
        return [one for one, message in here if message is None]

    def close(self) -> None:
        """Take nothing more, and let every request be answered that its message is to be sent again."""
        with self._changed:
            self._closed = True
            for name in list(self._messages):
                message = self._drop(name)
                if message is not None:
                    _tell(message.requests, committed=False)
            self._changed.notify_all()

    def _is_queued(self) -> bool:
        return any(message.out_until is None for message in self._messages.values())

    def _drop(self, name: str) -> _Message | None:
        message = self._messages.pop(name, None)
        if message is not None:
            self._held -= len(message.received.body)
        return message

    def _counted(self, received: Received) -> Received:
        """Count how often it was handed out: not every sender tells, and one that fails for ever must end somewhere."""
        times = self._times.pop(received.id, 0) + 1
        self._times[received.id] = times
        if len(self._times) > _COUNTED:
            self._times.popitem(last=False)
        return replace(received, deliveries=max(times, received.deliveries))


def _tell(requests: Sequence["asyncio.Future[bool]"], *, committed: bool) -> None:
    for request in requests:
        with contextlib.suppress(RuntimeError):  # its loop has ended, and its connection with it
            request.get_loop().call_soon_threadsafe(_set, request, committed)


def _set(request: "asyncio.Future[bool]", committed: bool) -> None:
    if not request.done():
        request.set_result(committed)
