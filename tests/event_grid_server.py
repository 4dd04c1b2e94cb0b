"""An Event Grid namespace on loopback: pull delivery over HTTP, in this process or in one of its own (azure.md 6.4).

It keeps locks, delivery counts and dead letters as the documents tell, and answers 200 when tokens fail. What the real
one would never send, a malformed event, is put into it by `put`; what it seldom does, by `next_answers`.
"""

import argparse
import base64
import contextlib
import json
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers import free_port

KEY = "ZXhhbXBsZS1uYW1lc3BhY2Uta2V5LW9mLWFjbWU="
TOPIC = "byok-audit"
SUBSCRIPTION = "watchdog"
VERSIONS = frozenset({"2023-11-01", "2024-06-01"})
DELAYS = frozenset({"0", "10", "60", "600", "3600"})
RENEWABLE_SECONDS = 3600
START_SECONDS = 15

_OPERATION = re.compile(r"/topics/([^/:]+)(?:/eventsubscriptions/([^/:]+))?:(\w+)")


@dataclass(slots=True)
class Event:
    """One event in a subscription. `free_at` is when it can be handed out (again)."""

    raw: bytes
    free_at: float = 0.0
    deliveries: int = 0
    token: str | None = None
    first_at: float | None = None


@dataclass(slots=True)
class Subscription:
    """A queue subscription, with what is in it and what has left it."""

    lock_seconds: float = 60.0
    most_deliveries: int = 10
    events: list[Event] = field(default_factory=list)
    acknowledged: list[bytes] = field(default_factory=list)
    dead: list[tuple[str, bytes]] = field(default_factory=list)
    renewed: int = 0
    failing: dict[str, deque[str]] = field(default_factory=dict)
    """Operation -> error codes with which its next tokens fail although their locks hold."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered in place of the true answer. `after` seconds; `stalls`: the end of the body never comes."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    after: float = 0.0
    stalls: bool = False


class Namespace:
    """The state of a namespace, and its operations. `longest_wait` cuts polls short, for tests in a hurry."""

    def __init__(
        self,
        *,
        keys: Sequence[str] = (KEY,),
        tokens: Sequence[str] = (),
        longest_wait: float = 120.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.topics: dict[str, dict[str, Subscription]] = {TOPIC: {SUBSCRIPTION: Subscription()}}
        self.keys = list(keys)
        self.tokens = list(tokens)
        self.longest_wait = longest_wait
        self.next_answers: deque[Answer] = deque()
        self.requests: list[tuple[str, Mapping[str, str], bytes]] = []
        self.connections = 0
        self.now = now
        self.closed = False
        self._serial = 0
        self.changed = threading.Condition()

    @property
    def subscription(self) -> Subscription:
        """The one that is there from the beginning."""
        return self.topics[TOPIC][SUBSCRIPTION]

    def put(self, *raws: bytes, topic: str = TOPIC) -> None:
        """Put events into every subscription of a topic, whatever their bytes are."""
        with self.changed:
            for subscription in self.topics[topic].values():
                subscription.events += [Event(raw) for raw in raws]
            self.changed.notify_all()

    def state(self) -> dict[str, int]:
        """Count the events that wait, are locked, were acknowledged, are dead letters."""
        with self.changed:
            subscription, now = self.subscription, self.now()
            locked = sum(one.free_at > now for one in subscription.events)
            return {
                "waiting": len(subscription.events) - locked,
                "locked": locked,
                "acknowledged": len(subscription.acknowledged),
                "dead": len(subscription.dead),
            }

    def close(self) -> None:
        """Let polls end."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request."""
        with self.changed:
            self.requests.append((f"{method} {target}", headers, body))
            if self.next_answers:
                return self.next_answers.popleft()
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        found = _OPERATION.fullmatch(parts.path)
        if not self._knows(headers.get("authorization", "")):
            return _refusal(401, "Unauthorized", "the request has no key or token that is known here")
        if found is None or method != "POST":
            return _refusal(404, "NotFound", "there is nothing of this name")
        if query.get("api-version") not in VERSIONS:
            return _refusal(400, "BadRequest", "this api-version is not known")
        topic, name, operation = (unquote(part) if part else None for part in found.groups())
        subscriptions = self.topics.get(topic or "")
        if subscriptions is None or (name is not None and name not in subscriptions):
            return _refusal(404, "NotFound", "the topic or the event subscription does not exist")
        if name is None:
            return self._publish(topic or "", headers, body) if operation == "publish" else _unknown(operation)
        return self._operate(subscriptions[name], operation, query, body)

    def _knows(self, authorization: str) -> bool:
        scheme, _, secret = authorization.partition(" ")
        return (scheme == "SharedAccessKey" and secret in self.keys) or (scheme == "Bearer" and secret in self.tokens)

    def _publish(self, topic: str, headers: Mapping[str, str], body: bytes) -> Answer:
        kind = headers.get("content-type", "").partition(";")[0]
        if kind not in ("application/cloudevents+json", "application/cloudevents-batch+json"):
            return _refusal(415, "UnsupportedMediaType", "a namespace topic takes CloudEvents")
        try:
            sent = json.loads(body)
        except ValueError:
            return _refusal(400, "BadRequest", "the body is not JSON")
        events = sent if kind.endswith("batch+json") else [sent]
        for event in events:
            if any(not isinstance(event.get(name), str) for name in ("id", "source", "type", "specversion")):
                return _refusal(400, "BadRequest", "a CloudEvent has id, source, type and specversion")
        self.put(*(json.dumps(event).encode() for event in events), topic=topic)
        return Answer(200, b"{}")

    def _operate(
        self, subscription: Subscription, operation: str | None, query: Mapping[str, str], body: bytes
    ) -> Answer:
        if operation == "receive":
            return self._receive(subscription, query)
        actions = {
            "acknowledge": self._acknowledge,
            "reject": self._reject,
            "renewLock": self._renew,
            "release": self._release(query.get("releaseDelayInSeconds", "0")),
        }
        action = actions.get(operation or "")
        if action is None or query.get("releaseDelayInSeconds", "0") not in DELAYS:
            return _unknown(operation)
        try:
            tokens = json.loads(body)["lockTokens"]
        except (ValueError, KeyError, TypeError):
            return _refusal(400, "BadRequest", "lockTokens are missing")
        return self._settle(subscription, operation or "", tokens, action)

    # ----------------------------------------------------------------------------------------------------------- pull

    def _receive(self, subscription: Subscription, query: Mapping[str, str]) -> Answer:
        try:
            most, wait = int(query.get("maxEvents", "1")), int(query.get("maxWaitTime", "60"))
        except ValueError:
            most, wait = 0, 0
        if not (1 <= most <= 100 and 10 <= wait <= 120):
            return _refusal(400, "BadRequest", "maxEvents is 1 to 100, maxWaitTime 10 to 120")
        until = time.monotonic() + min(wait, self.longest_wait)
        with self.changed:
            while not (found := self._free(subscription, most)) and not self.closed:
                left = until - time.monotonic()
                if left <= 0:
                    break
                self.changed.wait(min(left, 0.05))
            for event in found:
                self._lock(subscription, event)
            return Answer(200, b'{"value":[' + b",".join(_delivery(event) for event in found) + b"]}")

    def _free(self, subscription: Subscription, most: int) -> list[Event]:
        found: list[Event] = []
        for event in list(subscription.events):
            if event.free_at > self.now() or len(found) == most:
                continue
            if event.deliveries >= subscription.most_deliveries:
                subscription.events.remove(event)
                subscription.dead.append(("MaxDeliveryAttemptsExceeded", event.raw))
                continue
            found.append(event)
        return found

    def _lock(self, subscription: Subscription, event: Event) -> None:
        self._serial += 1
        event.token = base64.b64encode(f"lock-{self._serial}".encode()).decode()
        event.deliveries += 1
        event.free_at = self.now() + subscription.lock_seconds
        event.first_at = self.now() if event.first_at is None else event.first_at

    # ---------------------------------------------------------------------------------------------------------- locks

    def _settle(
        self,
        subscription: Subscription,
        operation: str,
        tokens: Sequence[str],
        action: Callable[[Subscription, Event], bool],
    ) -> Answer:
        done: list[str] = []
        failed: list[dict[str, object]] = []
        with self.changed:
            held = {one.token: one for one in subscription.events if one.token and one.free_at > self.now()}
            for token in tokens:
                codes = subscription.failing.get(operation)
                if codes:
                    failed.append(_failed(token, codes.popleft()))
                elif token in held and action(subscription, held[token]):
                    done.append(token)
                else:
                    failed.append(_failed(token, "TokenLost"))
            self.changed.notify_all()
        return Answer(200, json.dumps({"succeededLockTokens": done, "failedLockTokens": failed}).encode())

    def _acknowledge(self, subscription: Subscription, event: Event) -> bool:
        subscription.events.remove(event)
        subscription.acknowledged.append(event.raw)
        return True

    def _reject(self, subscription: Subscription, event: Event) -> bool:
        subscription.events.remove(event)
        subscription.dead.append(("Rejected", event.raw))
        return True

    def _renew(self, subscription: Subscription, event: Event) -> bool:
        if event.first_at is None or self.now() - event.first_at > RENEWABLE_SECONDS:
            return False
        event.free_at = self.now() + subscription.lock_seconds
        subscription.renewed += 1
        return True

    def _release(self, delay: str) -> Callable[[Subscription, Event], bool]:
        def release(_: Subscription, event: Event) -> bool:
            event.token = None
            event.free_at = self.now() + int(delay)
            return True

        return release


def _delivery(event: Event) -> bytes:
    broker = json.dumps({"lockToken": event.token, "deliveryCount": event.deliveries}).encode()
    return b'{"brokerProperties":' + broker + b',"event":' + event.raw + b"}"


def _failed(token: str, code: str) -> dict[str, object]:
    return {"lockToken": token, "error": {"code": code, "message": "the lock of this token is not held"}}


def _refusal(status: int, code: str, message: str) -> Answer:
    return Answer(status, json.dumps({"error": {"code": code, "message": message}}).encode())


def _unknown(operation: str | None) -> Answer:
    return _refusal(400, "BadRequest", f"{operation} cannot be done like this")


# ----------------------------------------------------------------------------------------------------------- transport


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, namespace: Namespace) -> None:
        super().__init__(("127.0.0.1", port), _Requests)
        self.namespace = namespace

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that have gone."""


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        self.server.namespace.connections += 1
        super().setup()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.namespace.answer(self.command, self.path, headers, body)
        time.sleep(answer.after)
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body) + answer.stalls))
        self.end_headers()
        self.wfile.write(answer.body)
        if answer.stalls:
            while not self.server.namespace.closed:
                time.sleep(0.05)

    def do_GET(self) -> None:
        """Tell what is in the double's subscription: for tests whose server is in a process of its own."""
        state = json.dumps(self.server.namespace.state()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(state)))
        self.end_headers()
        self.wfile.write(state)

    def do_PUT(self) -> None:
        """Put the body into the subscription as an event, whatever it is."""
        self.server.namespace.put(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Keep quiet."""


@dataclass(slots=True)
class EventGrid:
    """A running namespace server. `namespace` is its state, when it runs in this process."""

    endpoint: str
    process: subprocess.Popen[bytes] | None = None

    def publish(self, *events: Mapping[str, object], topic: str = TOPIC) -> None:
        """Publish CloudEvents, as a customer's forwarder or a system topic's subscription does."""
        request = urllib.request.Request(
            f"{self.endpoint}/topics/{topic}:publish?api-version=2024-06-01",
            data=json.dumps(events).encode(),
            headers={
                "Authorization": f"SharedAccessKey {KEY}",
                "Content-Type": "application/cloudevents-batch+json; charset=utf-8",
            },
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()

    def put(self, raw: bytes) -> None:
        """Put an event into the subscription, whatever it is: a real namespace would refuse a malformed one."""
        request = urllib.request.Request(f"{self.endpoint}/double", data=raw, method="PUT")
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()

    def state(self) -> dict[str, int]:
        """Return how many events are `waiting`, `locked`, `acknowledged` and `dead`."""
        with urllib.request.urlopen(f"{self.endpoint}/double", timeout=10) as answer:
            found: dict[str, int] = json.load(answer)
            return found


@contextlib.contextmanager
def served(namespace: Namespace) -> Iterator[EventGrid]:
    """Serve a namespace in this process, on a free port of loopback."""
    with _Server(0, namespace) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield EventGrid(f"http://127.0.0.1:{server.server_address[1]}")
        finally:
            namespace.close()
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def event_grid(tmp: Path, *, lock_seconds: float = 60.0) -> Iterator[EventGrid]:
    """Run a namespace with TOPIC and SUBSCRIPTION in a process of its own; its log goes to `tmp`."""
    port = free_port()
    with (tmp / f"event-grid-{port}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.event_grid_server", str(port), "--lock-seconds", str(lock_seconds)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=Path(__file__).resolve().parents[1],
        )
    server = EventGrid(f"http://127.0.0.1:{port}", process)
    try:
        _wait_for(server, process)
        yield server
    finally:
        process.kill()
        process.wait(START_SECONDS)


def _wait_for(server: EventGrid, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            server.publish()
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


def main() -> None:
    """Serve one namespace until this process is ended."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("port", type=int)
    arguments.add_argument("--lock-seconds", type=float, default=60.0)
    given = arguments.parse_args()
    namespace = Namespace()
    namespace.subscription.lock_seconds = given.lock_seconds
    with _Server(given.port, namespace) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
