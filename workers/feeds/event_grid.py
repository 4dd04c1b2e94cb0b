"""A queue subscription of an Event Grid namespace as a feed, through the transport of azure-eventgrid's client.

Never through its `receive`: that raises for a whole batch when one event in it is malformed, and leaves all of them
locked until they die together at the delivery limit (azure.md 6.4).
"""

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec
from azure.core.credentials import AzureKeyCredential, TokenCredential
from azure.core.exceptions import AzureError
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest, HttpResponse
from azure.eventgrid import EventGridConsumerClient
from azure.identity import DefaultAzureCredential
from msgspec import Raw, Struct

from workers.clouds.azure.addresses import secure
from workers.clouds.azure.entra import signed_in, signed_out
from workers.clouds.azure.faults import answered, fault_of
from workers.feeds.interface import FeedFault, Reason, Received

API_VERSION = "2024-06-01"
BATCH = 100  # the most that one receive gives (azure.md 6.4)
LOCK = 60.0  # seconds; what a subscription has when nothing was said about it
POLL = 10  # seconds; the least that `maxWaitTime` may be

_MOST_BYTES = 128 * 1024 * 1024  # of one answer: a hundred events of at most 1 MB
_CONNECT_SECONDS = 2
_READ_SECONDS = 4
_POLL_READ_SECONDS = POLL + 5
_ROUND_TRIP = 1.0  # seconds that an answer may take which the broker does not wait for
_LEAVE_SECONDS = 2.0
_TRIES = 3
_LOST = "TokenLost"
_KEY = re.compile(r"[!-~]+")  # it goes into a header

_HINTS: Mapping[Reason, str] = {
    Reason.CREDENTIALS: "give the namespace's access key as `key`, or this process an Entra identity that gets tokens",
    Reason.DENIED: (
        "give the identity the role EventGrid Data Receiver on the namespace, and let this machine through its firewall"
    ),
    Reason.NOT_FOUND: "check endpoint, topic and subscription; it must be a namespace, and a subscription to be pulled",
}


class _Broker(Struct, rename="camel"):
    lock_token: str
    delivery_count: int = 1


class _Delivery(Struct, rename="camel"):
    broker_properties: _Broker
    event: Raw


class _Answer(Struct):
    value: list[_Delivery]


class _Lost(Struct):
    code: str = ""


class _Failed(Struct, rename="camel"):
    lock_token: str
    error: _Lost | None = None


class _Settled(Struct, rename="camel", kw_only=True):
    succeeded_lock_tokens: list[str] = []
    failed_lock_tokens: list[_Failed] = []


class _Refusal(Struct):
    class Error(Struct):
        code: str | None = None
        message: str | None = None

    error: Error | None = None


_ANSWER = msgspec.json.Decoder(_Answer)
_SETTLED = msgspec.json.Decoder(_Settled)
_REFUSAL = msgspec.json.Decoder(_Refusal)
_UNDECODABLE = (msgspec.MsgspecError, RecursionError, ValueError)


def source(name: str, cloud: str, options: Mapping[str, Any]) -> "EventGridSource":
    """Return the source of a feed of kind `event_grid`. Raises ValueError with all that is wrong with its options."""
    faults = [f"{option}: must not be empty" for option in ("topic", "subscription") if not options[option].strip()]
    try:
        secure(options["endpoint"])
    except ValueError as fault:
        faults.append(f"endpoint: {fault}")
    if "key" in options and not _KEY.fullmatch(options["key"].strip()):
        faults.append("key: must be an access key of the namespace; leave it out to use an Entra identity")
    if faults:
        raise ValueError("; ".join(faults))
    return EventGridSource(
        options["endpoint"],
        options["topic"].strip(),
        options["subscription"].strip(),
        name=name,
        cloud=cloud,
        key=options.get("key"),
        lock=options.get("lock_seconds", LOCK),
    )


class EventGridSource:
    """Source that pulls one subscription. `lock` is what the subscription is set to; it cannot be asked for.

    The broker waits ten seconds at least, and a request that is given up may take events with it, locked, so that they
    come a minute late. So a poll runs on by itself, and `receive` looks at it: it returns after the time that it was
    given, the next one goes on with the same poll, and a stop gives back what the last poll still brings.
    """

    def __init__(  # settings with defaults, and what tests replace
        self,
        endpoint: str,
        topic: str,
        subscription: str,
        *,
        name: str,
        cloud: str = "azure",
        key: str | None = None,
        lock: float = LOCK,
        credential: Callable[[], TokenCredential] = DefaultAzureCredential,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self.cloud = cloud
        self.visibility = lock
        parts = secure(endpoint)
        self._endpoint = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._is_plain = parts.scheme == "http"
        self._path = f"/topics/{quote(topic, safe='')}/eventsubscriptions/{quote(subscription, safe='')}"
        self._place = f"topic {topic}, subscription {subscription}"
        self._key = key.strip() if key else None
        self._credential = credential
        self._now = now
        self._monotonic = monotonic
        self._sleep = sleep
        self._client: EventGridConsumerClient | None = None
        self._entra: TokenCredential | None = None
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=f"event_grid {name}")
        self._poll: Future[tuple[float, Sequence[Received]]] | None = None
        self._has_left = threading.Event()

    def receive(self, wait: float) -> Sequence[Received]:
        """Return at most a hundred events as soon as there are some, or nothing after `wait` seconds. Raises FeedFault.

        An answer takes a round trip even when nothing is waited for: a second is granted for it.
        """
        if self._poll is None:
            self._connected()
            self._poll = self._threads.submit(self._polled)
        if not _is_done(self._poll, max(wait, _ROUND_TRIP)):
            return ()
        poll, self._poll = self._poll, None
        try:
            came_at, received = poll.result()
        except FeedFault as fault:
            if fault.reason is Reason.CREDENTIALS:
                self._disconnect()  # a new client looks for credentials anew
            raise
        if received and self._monotonic() - came_at > self.visibility / 2:
            # They lay here while something else took long: their locks may end before anybody renews them.
            self.extend(received, 0)
            return ()
        return received

    def acknowledge(
        self, received: Sequence[Received], *, unreadable: Collection[str] = frozenset()
    ) -> Sequence[Received]:
        """Give events up: acknowledge, or reject the unreadable ones, so that a dead-letter container gets them.

        Returns those whose lock was lost: they come again. Raises FeedFault.
        """
        good = [one for one in received if one.id not in unreadable]
        bad = [one for one in received if one.id in unreadable]
        return [*self._settle("acknowledge", good), *self._settle("reject", bad)]

    def extend(self, received: Sequence[Received], seconds: float) -> Sequence[Received]:
        """Renew the locks, by what the subscription is set to, or (0) release them; return those it failed for.

        A lock can be renewed within an hour of the receive only (azure.md 6.4). After that it is lost: the event is
        returned here each time, comes again, is known by then, and nothing is lost but one of its deliveries. Raises
        FeedFault.
        """
        if seconds <= 0:
            return self._settle("release", received, releaseDelayInSeconds=0)
        return self._settle("renewLock", received)

    def close(self) -> None:
        """Give back what a poll that still runs brings, and close the connections.

        This waits for two seconds at most; a poll that takes longer does the same by itself when it ends.
        """
        self._threads.shutdown(wait=False)
        if self._poll is None:
            self._disconnect()
            return
        poll, self._poll = self._poll, None
        poll.add_done_callback(self._leave)
        self._has_left.wait(_LEAVE_SECONDS)

    # ------------------------------------------------------------------------------------------------------------ poll

    def _polled(self) -> tuple[float, Sequence[Received]]:
        """Run one poll; return what it brought, and the moment. In a thread of its own."""
        body = self._ask("receive", None, _POLL_READ_SECONDS, maxEvents=BATCH, maxWaitTime=POLL)
        return self._monotonic(), self._received(body)

    def _leave(self, poll: Future[tuple[float, Sequence[Received]]]) -> None:
        try:
            if poll.exception() is None:
                self.extend(poll.result()[1], 0)
        finally:  # what could not be released comes again when its lock is over
            self._disconnect()
            self._has_left.set()

    def _received(self, body: bytes) -> list[Received]:
        try:
            deliveries = _ANSWER.decode(body).value
        except _UNDECODABLE:
            return self._sorted(body)
        return [
            self._one(bytes(one.event), one.broker_properties.lock_token, one.broker_properties.delivery_count)
            for one in deliveries
        ]

    def _sorted(self, body: bytes) -> list[Received]:
        """Take an answer apart in which something is not as it should be, so that it costs nobody else."""
        try:
            pieces = _elements(_members(body)["value"])
        except (ValueError, KeyError) as fault:
            text = f"receive on {self._place}: the answer is not that of an Event Grid namespace: {self._shown(body)}"
            raise FeedFault(Reason.SERVER, text, hint=_HINTS[Reason.NOT_FOUND]) from fault
        return [self._piece(piece) for piece in pieces]

    def _piece(self, piece: bytes) -> Received:
        try:
            fields = _members(piece)
            broker = _members(fields["brokerProperties"])
            token = msgspec.json.decode(broker["lockToken"], type=str)
            counted = broker.get("deliveryCount", b"")
            count = int(counted) if counted.isdigit() else 1
            event = fields.get("event")
        except (*_UNDECODABLE, KeyError):
            return self._one(piece, None, 1, "the broker has sent it without a lock, so that it cannot be given up")
        if event is None:
            return self._one(piece, token, count, "the broker has sent a delivery without an event")
        return self._one(event, token, count)

    def _one(self, event: bytes, token: str | None, count: int, fault: str | None = None) -> Received:
        name = _name(event)
        return Received(
            id=name,
            body=event,
            received_at=self._now(),
            receipt=token,
            deliveries=max(count, 1),
            place=f"{self._place}, event {name}",
            fault=fault,
        )

    # ----------------------------------------------------------------------------------------------------------- locks

    def _settle(self, operation: str, received: Sequence[Received], **query: object) -> list[Received]:
        """Do something to the locks of events; return those for which the broker does not say that it was done.

        What failed for another reason than a lost lock is tried again a few times: the answer is 200 all the same.
        """
        left = [one for one in received if one.receipt is None]
        again = [one for one in received if one.receipt is not None]
        for tried in range(_TRIES):
            if not again:
                return left
            if tried:
                self._sleep(0.1 * 2**tried)
            parts = [again[start : start + BATCH] for start in range(0, len(again), BATCH)]
            again = []
            for part in parts:
                lost, undone = self._settled(operation, part, query)
                left += lost
                again += undone
        return [*left, *again]

    def _settled(
        self, operation: str, part: Sequence[Received], query: Mapping[str, object]
    ) -> tuple[list[Received], list[Received]]:
        tokens = {"lockTokens": [one.receipt for one in part]}
        body = self._ask(operation, tokens, _READ_SECONDS, **query)
        try:
            answer = _SETTLED.decode(body)
        except _UNDECODABLE as fault:
            text = (
                f"{operation} on {self._place}: the answer is not that of an Event Grid namespace: {self._shown(body)}"
            )
            raise FeedFault(Reason.SERVER, text) from fault
        done = set(answer.succeeded_lock_tokens)
        lost = {one.lock_token for one in answer.failed_lock_tokens if one.error and one.error.code == _LOST}
        undone = [one for one in part if one.receipt not in done]
        return (
            [one for one in undone if one.receipt in lost],
            [one for one in undone if one.receipt not in lost],
        )

    # ------------------------------------------------------------------------------------------------------- transport

    def _connected(self) -> EventGridConsumerClient:
        """Return the client. Its retries are off: the consumer waits, shows why, and stops at once when asked to."""
        if self._client is None:
            credential = AzureKeyCredential(self._key) if self._key else self._identity()
            transport = RequestsTransport(connection_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS)
            transport.open()  # by one thread: to open it is not safe between threads, to use it is
            self._client = EventGridConsumerClient(
                self._endpoint,
                credential,
                namespace_topic="",  # for its own methods, which are not used
                subscription="",
                api_version=API_VERSION,
                transport=transport,
                retry_total=0,
                permit_redirects=False,  # the key goes to the endpoint and nowhere else
                user_agent="byok-watchdog",
            )
        return self._client

    def _identity(self) -> TokenCredential:
        self._entra = signed_in(self._credential, self._place)
        return self._entra

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
            signed_out(self._entra)

    def _ask(self, operation: str, content: object, seconds: float, **query: object) -> bytes:
        """Ask the broker; return the body of its answer. Raises FeedFault."""
        what = f"{operation} on {self._place}"
        params = {"api-version": API_VERSION, **{name: str(value) for name, value in query.items()}}
        request = HttpRequest(
            "POST", f"{self._endpoint}{self._path}:{operation}", params=params, json=content,
            headers={"Accept": "application/json"},
        )  # fmt: skip
        # The policy for tokens refuses plain http, also to loopback; the one for keys does not know the option.
        options = {"enforce_https": False} if self._is_plain and not self._key else {}
        try:
            # As a stream: otherwise the client decodes the body, and raises for all that is not JSON.
            response = self._connected().send_request(request, stream=True, read_timeout=seconds, **options)
            body = self._body(response, what, seconds)
        except AzureError as error:
            raise fault_of(error, what, _HINTS) from error
        if response.status_code != 200 and not _is_settlement(body):
            raise self._refusal(response.status_code, body, what)
        return body

    def _body(self, response: HttpResponse, what: str, seconds: float) -> bytes:
        """Read an answer, neither endless nor for ever."""
        until = self._monotonic() + seconds
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) <= _MOST_BYTES and self._monotonic() <= until:
                continue
            response.close()
            if len(body) > _MOST_BYTES:
                raise FeedFault(Reason.SERVER, f"{what}: the answer is longer than {_MOST_BYTES} bytes")
            raise FeedFault(Reason.NETWORK, f"{what}: the answer does not end in time")
        return bytes(body)  # read to its end, the connection is kept for the next request

    def _shown(self, body: bytes) -> str:
        return self._without_key(body[:200].decode("ascii", "backslashreplace"))[:100]

    def _without_key(self, text: str) -> str:
        # A far end that repeats what it was sent must not make us show it.
        return text.replace(self._key, "***") if self._key else text

    def _refusal(self, status: int, body: bytes, what: str) -> FeedFault:
        try:
            error = _REFUSAL.decode(body).error
        except _UNDECODABLE:
            error = None
        code, message = (error.code or "", error.message or "") if error else ("", "")
        return answered(status, self._without_key(code), self._without_key(message), what, _HINTS)


# ---------------------------------------------------------------------------------------------------------------- JSON

# An event may hold what no decoder takes: half a surrogate pair, nesting without end. Where an event begins and ends
# can be told without decoding it.
_MARK = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z)|[\[\]{},]', re.DOTALL)


def _elements(raw: bytes) -> list[bytes]:
    """Cut a list into its elements, whatever they are. Raises ValueError when it is none."""
    return _children(raw, b"[")


def _members(raw: bytes) -> dict[str, bytes]:
    """Cut an object into its members, whatever they are. Raises ValueError when it is none."""
    found: dict[str, bytes] = {}
    for child in _children(raw, b"{"):
        name = _MARK.match(child)
        after = child[name.end() :].lstrip() if name else b""
        if name is None or not after.startswith(b":"):
            raise ValueError("a member without a name")
        found[json.loads(name[0])] = after[1:].strip()
    return found


def _children(raw: bytes, opening: bytes) -> list[bytes]:
    raw = raw.strip()
    if not raw.startswith(opening):
        raise ValueError(f"it does not begin with {opening.decode()}")
    depth, start = 0, 1
    found: list[bytes] = []
    for mark in _MARK.finditer(raw):
        kind = mark[0]
        if kind in (b"[", b"{"):
            depth += 1
        elif kind in (b"]", b"}"):
            depth -= 1
        if (kind == b"," and depth == 1) or depth == 0:
            child = raw[start : mark.start()].strip()
            start = mark.end()
            if child or found or kind == b",":
                found.append(child)
        if depth == 0:
            break
    if depth or start != len(raw):
        raise ValueError("it ends in the middle, or goes on after its end")
    return found


class _Named(Struct):
    id: str


_NAMED = msgspec.json.Decoder(_Named)


def _name(event: bytes) -> str:
    """Return the id of an event: its own, with a hash of it all, since only a publisher's good will keeps ids apart.

    It stays the same when the event is delivered again; the lock token does not.
    """
    digest = hashlib.sha256(event).hexdigest()[:16]
    try:
        return f"{_NAMED.decode(event).id[:200]} ({digest})"
    except _UNDECODABLE:
        return f"without id ({digest})"


def _is_settlement(body: bytes) -> bool:
    """Whether an answer tells of failed tokens: 200 is promised only when at least one of them went well."""
    try:
        return bool(_SETTLED.decode(body).failed_lock_tokens)
    except _UNDECODABLE:
        return False


def _is_done(poll: Future[Any], seconds: float) -> bool:
    return bool(wait([poll], seconds).done)
