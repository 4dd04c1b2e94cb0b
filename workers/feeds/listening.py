"""One HTTPS listener that is a source: a request is answered only after what it brought is committed.

A POST becomes one message. Its request waits, without a thread of its own, until the consumer acknowledges the message
(then 200) or gives it back, the time is over, there is no room, or the process stops (then 503: the provider sends it
again). So requests that wait together are committed together. What was answered 503 may be committed all the same: it
comes again, and changes nothing, because the inbox knows its event ids. The other way round cannot be.

Refused deliveries are counted; people hear of them by a fault that `receive` raises at most once an hour. It is not
permanent, so that the feed pauses for half a second and no more: strangers can neither stop deliveries with wrong
secrets nor raise more than one alarm an hour, and an event subscription with an outdated secret is still seen.
"""

import asyncio
import contextlib
import hashlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, StrEnum
from functools import partial
from typing import Any, Protocol

import structlog
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from workers.feeds.doors import Certificate, Door
from workers.feeds.interface import FeedFault, Reason, Received
from workers.feeds.lobby import Limits, Lobby

LOG = structlog.get_logger(__name__)

TELL_EVERY = 3600.0
"""Seconds between two faults about the same kind of trouble."""

LOG_EVERY = 60.0
"""Seconds between two lines of the log about the same trouble: strangers may cause it as often as they like."""

RETRY_AFTER = "10"

_HEAD_BYTES = 16 << 10  # a token of an issuer has two to four thousand
_LEAVE_SECONDS = 2.0  # for the last answers to go out
_JOIN_SECONDS = 5.0


class Event(StrEnum):
    """What the log of a listener tells."""

    LISTENS = "push.listens"
    TROUBLE = "push.trouble"
    CERTIFICATE = "push.certificate"


class RefusedError(Exception):
    """A request is not from whom it should be; that could be checked. The text holds nothing that its sender chose."""


class UnableError(Exception):
    """Whether a request may be taken cannot be told now, for a reason of our own; it must be sent again."""


class Trouble(Enum):
    """What people must get to see although the feed goes on: the reason, what it is, and what to do."""

    REFUSED = (
        Reason.CREDENTIALS,
        "deliveries were refused and are lost for this feed",
        "if your own subscription sends them, give it the secret, or the identity, that the settings of this feed name",
    )
    UNCHECKED = (
        Reason.NETWORK,
        "deliveries could not be checked and were put off",
        "if something cannot be reached, let this process reach it; the deliveries are sent again meanwhile",
    )
    TOO_LARGE = (
        Reason.REFUSED,
        "deliveries were larger than the provider can send and are lost for this feed",
        "find out who sends them",
    )
    CERTIFICATE = (Reason.SETTINGS, "the certificate was found wanting", "put a valid certificate in its place")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a sender is told once its delivery is committed."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What a request brought: the body as the cloud's decoder takes it, and what to answer when it is committed.

    `deliveries` is how often it was sent, as far as the sender tells; `fault` says why it cannot be read.
    """

    body: bytes
    place: str
    deliveries: int = 1
    fault: str | None = None
    answer: Answer = field(default_factory=Answer)


class Desk(Protocol):
    """What one kind of push decides about its requests."""

    @property
    def methods(self) -> Sequence[str]:
        """The methods of HTTP that it takes."""
        ...

    async def admit(self, request: Request) -> None:
        """Check from the head alone whether the sender is who it should be. Raises RefusedError, UnableError."""
        ...

    async def take(self, request: Request, body: bytes) -> Delivery:
        """Return what an admitted request brought. Raises UnableError."""
        ...

    async def tend(self) -> None:
        """Look after what grows old; called every few seconds."""
        ...

    def lacks(self) -> str | None:
        """Say why nothing at all can be taken at present; None when it can."""
        ...


# ------------------------------------------------------------------------------------------------------------ troubles


class Troubles:
    """Counts what goes wrong with requests, logs it now and then, and makes a fault of it once an hour."""

    def __init__(self, log: structlog.stdlib.BoundLogger, monotonic: Callable[[], float]) -> None:
        self._log = log
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._counts: dict[Trouble, Counter[str]] = {}
        self._unlogged: Counter[str] = Counter()
        self._logged_at: dict[str, float] = {}
        self._told_at: dict[Trouble, float] = {}

    def note(self, trouble: Trouble, text: str, sender: str = "") -> None:
        """Count one. `text` comes from a closed set, so that the memory it takes is bounded."""
        now = self._monotonic()
        with self._lock:
            self._counts.setdefault(trouble, Counter())[text] += 1
            self._unlogged[text] += 1
            if now - self._logged_at.get(text, now - LOG_EVERY) < LOG_EVERY:
                return
            self._logged_at[text] = now
            count = self._unlogged.pop(text)
        self._log.warning(Event.TROUBLE, trouble=trouble.name.lower(), text=text, count=count, sender=sender)

    def due(self) -> FeedFault | None:
        """Return a fault about what was counted, if one may be told again."""
        now = self._monotonic()
        with self._lock:
            for trouble, counts in self._counts.items():
                if not counts or now - self._told_at.get(trouble, now - TELL_EVERY) < TELL_EVERY:
                    continue
                self._told_at[trouble] = now
                self._counts[trouble] = Counter()
                reason, what, hint = trouble.value
                texts = "; ".join(f"{count} x {text}" for text, count in counts.most_common())
                return FeedFault(reason, f"{what}: {texts}", hint=hint, permanent=False)
        return None


# ---------------------------------------------------------------------------------------------------------- connection


class _Connection(H11Protocol):
    """A connection that must bring the whole head of a request in time.

    uvicorn bounds neither the time of a head that comes byte by byte nor that of TLS, nor the number of connections.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        ended: "asyncio.Future[None]",
        on_busy: Callable[[bool], object],
        **plain: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**plain)  # what uvicorn gives every connection
        self._limits = limits
        self._ended = ended
        self._on_busy = on_busy
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn names the kind of transport it gets
        self._await_head(self._limits.head)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        if not self._ended.done():
            self._ended.set_result(None)

    def handle_events(self) -> None:
        super().handle_events()
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn says nothing of the None before the first request
        if cycle is not None and not cycle.response_complete:
            self._disarm()
            self._on_busy(True)  # noqa: FBT003 - a callback

    def on_response_complete(self) -> None:
        self._await_head(self._limits.idle)  # first: the next request may be here already
        super().on_response_complete()

    def _await_head(self, seconds: float) -> None:
        self._disarm()
        self._timer = self.loop.call_later(seconds, self.transport.abort)
        self._on_busy(False)  # noqa: FBT003 - a callback

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


# ----------------------------------------------------------------------------------------------------------- listening


class Listening:
    """Source of what is pushed to it. It listens from the first `receive` until `close`.

    `visibility` is how long a request waits: whoever sent it sends it again then.
    """

    def __init__(  # settings with defaults, and what tests replace
        self,
        where: Door,
        desk: Desk,
        *,
        name: str,
        cloud: str,
        limits: Limits,
        tend_every: float = 10.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.cloud = cloud
        self.visibility = limits.answer
        self.address: tuple[str, int] | None = None
        self._where = where
        self._desk = desk
        self._limits = limits
        self._tend_every = tend_every
        self._now = now
        self._log = LOG.bind(feed=name, cloud=cloud)
        self._lobby = Lobby(limits, monotonic)
        self._troubles = Troubles(self._log, monotonic)
        self._certificate = Certificate(where) if where.certificate else None
        self._broken: str | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._connections: dict[asyncio.Task[None], bool] = {}  # whether it is busy; those that wait longest first

    # ---------------------------------------------------------------------------------------------------------- source

    def receive(self, wait: float) -> Sequence[Received]:
        """Return what was pushed, waiting at most `wait` seconds for the first one. Raises FeedFault."""
        if self._closed:
            return []
        self._start()
        told = self._troubles.due()
        if told is not None:
            raise told
        found = self._lobby.take(wait, self.visibility)
        lacks = None if found else self._desk.lacks()
        if lacks is not None:
            raise FeedFault(Reason.NETWORK, f"nothing that is pushed can be taken: {lacks}")
        return found

    def acknowledge(
        self, received: Sequence[Received], *, unreadable: Collection[str] = frozenset()
    ) -> Sequence[Received]:
        """Let the requests of committed messages be answered; return those whose time was over before."""
        del unreadable  # they are in quarantine; sent again they could be read no better
        return self._lobby.settle(received, committed=True)

    def extend(self, received: Sequence[Received], seconds: float) -> Sequence[Received]:
        """Keep messages for in work; with 0 let their requests be answered 503, so that they are sent again."""
        if seconds > 0:
            return self._lobby.hold(received, seconds)
        self._lobby.settle(received, committed=False)
        return []

    def close(self) -> None:
        """Answer every request that waits with 503, and free the port."""
        self._closed = True
        self._lobby.close()
        if self._thread is None:
            return
        if self._ready.wait(_JOIN_SECONDS) and self._loop is not None and self._stopping is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_JOIN_SECONDS)
        self._thread = None

    # ---------------------------------------------------------------------------------------------------------- thread

    def _start(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        if self._thread is not None:
            self._thread = None
            raise FeedFault(
                Reason.SERVER, "the listener has ended by a fault of our own", hint="look into the log; it is restarted"
            )
        if self._certificate is not None:
            try:
                self._certificate.load(self._now())
            except ValueError as fault:
                raise FeedFault(Reason.SETTINGS, str(fault)) from fault
        listening = self._bound()
        self._ready.clear()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main(listening)), name=f"listening {self.name}", daemon=True
        )
        self._thread.start()
        self._ready.wait(_JOIN_SECONDS)

    def _bound(self) -> socket.socket:
        """Return a socket that listens. Raises FeedFault with what to do."""
        host, port = self._where.host, self._where.port
        listening: socket.socket | None = None
        try:
            family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            listening = socket.socket(family, kind, number)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(512)
        except OSError as error:
            if listening is not None:
                listening.close()
            raise FeedFault(
                Reason.SETTINGS,
                f"cannot listen on {host}:{port}: {error.strerror or error}",
                hint="end what else listens there, or choose an address of this machine and a free port in `listen` (a "
                "port below 1024 needs a right of its own); it is tried again slowly",
            ) from error
        listening.settimeout(0)
        self.address = listening.getsockname()[:2]
        return listening

    async def _main(self, listening: socket.socket) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        config = uvicorn.Config(
            self._app, interface="asgi3", http=_Connection, ws="none", lifespan="off", loop="asyncio",
            log_config=None, log_level="error",  # its warnings are about requests of strangers
            access_log=False,  # a query may hold a secret
            proxy_headers=False, server_header=False, date_header=False,
            timeout_keep_alive=int(self._limits.idle) + 1, h11_max_incomplete_event_size=_HEAD_BYTES,
        )  # fmt: skip
        config.load()
        work = [
            asyncio.create_task(self._accept(listening, config, ServerState())),
            asyncio.create_task(self._tend()),
        ]
        self._log.info(Event.LISTENS, address=self.address, tls=self._certificate is not None)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([*work, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in work:
                task.cancel()
            ended = await asyncio.gather(*work, return_exceptions=True)
            listening.close()
            stopping.cancel()
            await self._let_go()
        for fault in ended:
            if isinstance(fault, BaseException) and not isinstance(fault, asyncio.CancelledError):
                raise fault

    async def _let_go(self) -> None:
        """Let the last answers go out, then end every connection."""
        for task, busy in list(self._connections.items()):
            if not busy:
                task.cancel()
        if self._connections:
            await asyncio.wait(list(self._connections), timeout=_LEAVE_SECONDS)
        for task in list(self._connections):
            task.cancel()
        if self._connections:
            await asyncio.wait(list(self._connections), timeout=_LEAVE_SECONDS)

    async def _tend(self) -> None:
        while True:
            self._look_at_certificate()
            await self._desk.tend()
            await asyncio.sleep(self._tend_every)

    def _look_at_certificate(self) -> None:
        if self._certificate is None:
            return
        try:
            renewed = self._certificate.renew(self._now())
        except ValueError as fault:
            # Seen once it may be one that is being written: the files are two.
            if self._broken == str(fault):
                self._troubles.note(Trouble.CERTIFICATE, f"{fault} (the one before is kept)")
            self._broken = str(fault)
            return
        self._broken = None
        if renewed:
            self._log.info(Event.CERTIFICATE, text="a renewed certificate is in use")

    # ----------------------------------------------------------------------------------------------------- connections

    async def _accept(self, listening: socket.socket, config: uvicorn.Config, state: ServerState) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as error:  # no more files may be opened, or the like; it passes
                self._log.warning(Event.TROUBLE, text=f"cannot accept a connection: {error}")
                await asyncio.sleep(1)
                continue
            if len(self._connections) >= self._limits.connections and not self._make_room():
                connection.close()
                continue
            task = loop.create_task(self._serve(connection, config, state))
            self._connections[task] = False
            task.add_done_callback(partial(self._forget, connection))

    def _make_room(self) -> bool:
        """End the connection that has waited longest for a request; False when all have one in work."""
        for task, busy in self._connections.items():
            if not busy:
                task.cancel()
                del self._connections[task]
                return True
        return False

    def _forget(self, connection: socket.socket, task: "asyncio.Task[None]") -> None:
        self._connections.pop(task, None)
        connection.close()  # a task that was ended before it began has nobody else to do it
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._log.error(Event.TROUBLE, text="a connection failed by a fault of our own", exc_info=fault)

    async def _serve(self, connection: socket.socket, config: uvicorn.Config, state: ServerState) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        ended: asyncio.Future[None] = loop.create_future()

        def on_busy(busy: bool) -> None:
            if task is not None and self._connections.pop(task, None) is not None:
                self._connections[task] = busy

        connection.settimeout(0)
        context = self._certificate.context if self._certificate else None
        tls: dict[str, Any] = {}
        if context is not None:
            tls = {"ssl": context, "ssl_handshake_timeout": self._limits.head, "ssl_shutdown_timeout": 2.0}
        made = _Connection(
            limits=self._limits, ended=ended, on_busy=on_busy,
            config=config, server_state=state, app_state={}, _loop=loop,
        )  # fmt: skip
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: made, connection, **tls)
        except OSError:  # not our TLS, or gone, or too slow: nobody to tell
            return
        try:
            await ended
        finally:
            if not ended.done() or ended.cancelled():
                transport.abort()

    # -------------------------------------------------------------------------------------------------------- requests

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            answer = await self._answered(request)
        except ClientDisconnect:  # cut off: nobody is there to be answered, and nothing was put in the queue
            return
        await Response(answer.body, answer.status, dict(answer.headers))(scope, receive, send)

    async def _answered(self, request: Request) -> Answer:
        if request.scope["path"] != self._where.path:
            return _closing(404)
        if request.method not in self._desk.methods:
            return _closing(405, Allow=", ".join(self._desk.methods))
        sender = request.client.host if request.client else ""
        try:
            async with asyncio.timeout(self._limits.answer):
                await self._desk.admit(request)
                return await self._taken(request)
        except TimeoutError:
            return _closing(503)
        except UnableError as fault:
            self._troubles.note(Trouble.UNCHECKED, str(fault), sender)
            return _closing(503)
        except RefusedError as fault:
            self._troubles.note(Trouble.REFUSED, str(fault), sender)
            return _closing(401)

    async def _taken(self, request: Request) -> Answer:
        """Read the body, and wait until what it brought is committed."""
        body = bytearray()
        reserved = 0
        try:
            if _declared(request) > self._limits.body:
                return self._too_large(request)
            async for chunk in request.stream():
                if len(body) + len(chunk) > self._limits.body:
                    return self._too_large(request)
                if not self._lobby.has_room(len(chunk)):
                    return _closing(503)
                reserved += len(chunk)
                body += chunk
            delivery = await self._desk.take(request, bytes(body))
            if len(delivery.body) > reserved and not self._lobby.has_room(len(delivery.body) - reserved):
                return self._again()
            self._lobby.give_room(max(0, reserved - len(delivery.body)))
            reserved = 0
        finally:
            if reserved:
                self._lobby.give_room(reserved)
        waiting: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._lobby.put(self._received(delivery), waiting)
        return delivery.answer if await waiting else self._again()

    def _again(self) -> Answer:
        # At the end of this process its connections end with it.
        return _closing(503) if self._closed else Answer(status=503, headers={"Retry-After": RETRY_AFTER})

    def _received(self, delivery: Delivery) -> Received:
        return Received(
            id=hashlib.sha256(delivery.body).hexdigest(),
            body=delivery.body,
            received_at=self._now(),
            receipt=None,
            deliveries=delivery.deliveries,
            place=delivery.place,
            fault=delivery.fault,
        )

    def _too_large(self, request: Request) -> Answer:
        text = f"a body of more than {self._limits.body} bytes"
        self._troubles.note(Trouble.TOO_LARGE, text, request.client.host if request.client else "")
        return _closing(413)


def _declared(request: Request) -> int:
    told = request.headers.get("content-length", "")
    return int(told) if told.isascii() and told.isdigit() and len(told) < 20 else 0


def _closing(status: int, **headers: str) -> Answer:
    """Answer at once, and read nothing more of this connection: whatever follows costs us nothing."""
    again = {"Retry-After": RETRY_AFTER} if status == 503 else {}
    return Answer(status=status, headers={**again, **headers, "Connection": "close"})
