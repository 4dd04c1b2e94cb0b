"""The Event Grid feed, on a namespace server on loopback: locks, malformed neighbours, refusals, silences, stops."""

import base64
import datetime as dt
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests import event_grid_server
from tests.event_grid_server import KEY, SUBSCRIPTION, TOPIC, Answer, EventGrid, Namespace, served
from tests.servers import free_port
from tests.watchdog.clouds.azure.records import attributes, audit, cloud_event, forwarded, topic
from tests.watchdog.clouds.azure.world import DATA_KEY, V1, document
from tests.workers.feeds.consuming import running, until
from watchdog import clouds
from workers.consumer import WAIT, Consumer
from workers.feeds import event_grid
from workers.feeds.event_grid import EventGridSource, source
from workers.feeds.interface import FeedFault, Reason, Received
from workers.feeds.kinds import make_source
from workers.intake import Intake
from workers.registry import Registry
from workers.store.memory import MemoryStore

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.seconds = 5000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def namespace(clock: Clock) -> Namespace:
    return Namespace(longest_wait=0.1, now=clock)


@pytest.fixture
def server(namespace: Namespace) -> Iterator[EventGrid]:
    with served(namespace) as running:
        yield running


def made(server: EventGrid, **changes: Any) -> EventGridSource:
    settings: dict[str, Any] = {"name": "pull", "key": KEY, "sleep": lambda _: None, "now": lambda: NOW} | changes
    return EventGridSource(server.endpoint, TOPIC, SUBSCRIPTION, **settings)


@pytest.fixture
def feed(server: EventGrid) -> Iterator[EventGridSource]:
    with closing(made(server)) as opened:
        yield opened


def event(number: int, **fields: object) -> dict[str, object]:
    plain = {"specversion": "1.0", "id": f"e{number}", "source": "/acme", "type": "t", "data": {"n": number}}
    return plain | fields


def encoded(number: int, **fields: object) -> bytes:
    return json.dumps(event(number, **fields)).encode()


def ids(received: Sequence[Received]) -> list[str]:
    return [one.id.partition(" ")[0] for one in received]


# ----------------------------------------------------------------------------------------------------------- good days


def test_each_event_comes_by_itself_with_its_own_bytes_and_its_place(
    namespace: Namespace, feed: EventGridSource
) -> None:
    one, two = b'{ "id":"e1", "text" : "Zo\xc3\xab" }', encoded(2)
    namespace.put(one, two)

    first, second = feed.receive(5)

    assert (first.body, second.body) == (one, two)
    assert (first.deliveries, first.received_at, first.fault) == (1, NOW, None)
    assert first.place == f"topic {TOPIC}, subscription {SUBSCRIPTION}, event {first.id}"
    assert first.id.startswith("e1 ")
    assert first.receipt != second.receipt


def test_what_is_acknowledged_is_gone_and_what_is_unreadable_is_rejected(
    namespace: Namespace, feed: EventGridSource
) -> None:
    namespace.put(encoded(1), b'{"id":"e2"}', encoded(3))
    received = feed.receive(5)

    assert feed.acknowledge(received, unreadable={received[1].id}) == []

    assert namespace.subscription.acknowledged == [encoded(1), encoded(3)]
    assert namespace.subscription.dead == [("Rejected", b'{"id":"e2"}')]
    assert namespace.subscription.events == []


def test_nothing_comes_when_there_is_nothing_and_nothing_to_settle_asks_nobody(
    namespace: Namespace, feed: EventGridSource
) -> None:
    assert list(feed.receive(0)) == []
    asked = len(namespace.requests)
    assert list(feed.acknowledge([])) == []
    assert list(feed.extend([], 30)) == []
    assert list(feed.extend([], 0)) == []
    assert len(namespace.requests) == asked


def test_it_asks_for_a_hundred_events_and_the_shortest_wait_that_there_is(
    namespace: Namespace, feed: EventGridSource
) -> None:
    namespace.put(*(encoded(number) for number in range(101)))

    assert [len(feed.receive(5)), len(feed.receive(5))] == [100, 1]
    line, headers, _ = namespace.requests[0]
    assert line.endswith(":receive?api-version=2024-06-01&maxEvents=100&maxWaitTime=10")
    assert headers["authorization"] == f"SharedAccessKey {KEY}"


def test_more_than_a_hundred_are_settled_in_parts(namespace: Namespace, feed: EventGridSource) -> None:
    namespace.put(*(encoded(number) for number in range(150)))
    received = [*feed.receive(5), *feed.receive(5)]

    assert feed.extend(received, 60) == []
    assert feed.acknowledge(received) == []
    sizes = [len(json.loads(body)["lockTokens"]) for line, _, body in namespace.requests if ":acknowledge" in line]
    assert sizes == [100, 50]


def test_one_connection_serves_many_requests(namespace: Namespace, feed: EventGridSource) -> None:
    for number in range(5):
        namespace.put(encoded(number))
        feed.acknowledge(feed.receive(5))

    assert namespace.connections == 1


# --------------------------------------------------------------------------------------------------------------- locks


def test_what_is_not_acknowledged_comes_again_with_its_id_and_its_count(
    namespace: Namespace, feed: EventGridSource, clock: Clock
) -> None:
    namespace.put(encoded(1))
    [first] = feed.receive(5)
    clock.seconds += 61
    [second] = feed.receive(5)

    assert (first.id, first.deliveries, second.deliveries) == (second.id, 1, 2)
    assert first.receipt != second.receipt
    assert feed.acknowledge([first]) == [first]
    assert feed.acknowledge([second]) == []


def test_what_is_given_back_comes_again_at_once(namespace: Namespace, feed: EventGridSource) -> None:
    namespace.put(encoded(1))
    received = feed.receive(5)
    assert feed.extend(received, 0) == []

    assert [one.deliveries for one in feed.receive(0)] == [2]


def test_a_renewed_lock_holds_for_an_hour_and_is_then_lost_without_losing_the_event(
    namespace: Namespace, feed: EventGridSource, clock: Clock
) -> None:
    namespace.put(encoded(1))
    received = feed.receive(5)
    for _ in range(61):
        clock.seconds += 59
        assert feed.extend(received, 60) == []
    clock.seconds += 59

    assert feed.extend(received, 60) == received
    clock.seconds += 2
    assert feed.acknowledge(received) == received
    assert [(one.deliveries, one.body) for one in feed.receive(5)] == [(2, encoded(1))]


def test_only_those_whose_token_failed_are_left(namespace: Namespace, feed: EventGridSource) -> None:
    namespace.put(encoded(1), encoded(2), encoded(3))
    received = feed.receive(5)
    namespace.subscription.failing["acknowledge"] = deque(["TokenLost"])

    assert feed.acknowledge(received) == received[:1]
    assert namespace.subscription.acknowledged == [encoded(2), encoded(3)]


def test_a_token_that_failed_for_another_reason_is_tried_again_alone(server: EventGrid, namespace: Namespace) -> None:
    namespace.put(encoded(1), encoded(2))
    slept: list[float] = []
    with closing(made(server, sleep=slept.append)) as feed:
        received = feed.receive(5)
        namespace.subscription.failing["acknowledge"] = deque(["InternalServerError"])

        assert feed.acknowledge(received) == []
    bodies = [json.loads(body)["lockTokens"] for line, _, body in namespace.requests if ":acknowledge" in line]
    assert bodies == [[one.receipt for one in received], [received[0].receipt]]
    assert len(slept) == 1


def test_a_token_that_keeps_failing_is_left(namespace: Namespace, feed: EventGridSource) -> None:
    namespace.put(encoded(1))
    received = feed.receive(5)
    namespace.subscription.failing["acknowledge"] = deque(["InternalServerError"] * 3)

    assert feed.acknowledge(received) == received


def test_a_token_of_which_the_answer_says_nothing_is_left(namespace: Namespace, feed: EventGridSource) -> None:
    namespace.put(encoded(1))
    received = feed.receive(5)
    namespace.next_answers += [Answer(body=b'{"succeededLockTokens":[],"failedLockTokens":[]}')] * 3

    assert feed.acknowledge(received) == received


def test_failed_tokens_are_left_too_when_none_went_well_and_the_status_says_so(
    namespace: Namespace, feed: EventGridSource
) -> None:
    namespace.put(encoded(1))
    [one] = feed.receive(5)
    said = {"succeededLockTokens": [], "failedLockTokens": [{"lockToken": one.receipt, "error": {"code": "TokenLost"}}]}
    namespace.next_answers.append(Answer(400, json.dumps(said).encode()))

    assert feed.acknowledge([one]) == [one]
    assert len(namespace.requests) == 2


def test_events_that_lay_here_for_too_long_are_given_back(server: EventGrid, namespace: Namespace) -> None:
    moments = iter([100.0, 100.0, 100.0])
    with closing(made(server, monotonic=lambda: next(moments, 131.0))) as feed:
        namespace.put(encoded(1))
        feed.receive(5)
        assert namespace.subscription.events[0].token is None

        assert [one.deliveries for one in feed.receive(5)] == [2]


# ----------------------------------------------------------------------------------------------- malformed, and hostile

ODD: dict[str, bytes] = {
    "no source and no type": b'{"id":"odd"}',
    "a bad time": b'{"specversion":"1.0","id":"odd","source":"/a","type":"t","time":"yesterday"}',
    "an extension in upper case": b'{"specversion":"1.0","id":"odd","source":"/a","type":"t","Odd-One":1}',
    "data twice": b'{"specversion":"1.0","id":"odd","source":"/a","type":"t","data":1,"data_base64":"AA=="}',
    "half a surrogate pair": b'{"id":"odd","data":"\\ud800"}',
    "bytes that are no text": b'{"id":"odd","data":"\xff\xfe"}',
    "nested without end": b'{"id":"odd","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "an odd number": b'{"id":"odd","data":NaN}',
    "a control character": b'{"id":"odd","data":"\x01"}',
    "brackets in a text": b'{"id":"odd","data":"}],{\\"[","event":"x"}',
    "a text": b'"odd"',
    "nothing": b"null",
    "a number": b"17",
    "an empty list": b"[]",
    "an id that is none": b'{"id":{"a":[1,2]}}',
    "a long one": b'{"id":"odd","data":"' + b"\\n" * 400_000 + b'"}',
}


@pytest.mark.parametrize("odd", list(ODD.values()), ids=list(ODD))
def test_a_malformed_event_costs_its_neighbours_nothing_and_can_be_given_up_itself(
    namespace: Namespace, feed: EventGridSource, odd: bytes
) -> None:
    namespace.put(encoded(1), odd, encoded(2))

    received = feed.receive(5)

    assert [one.body for one in received] == [encoded(1), odd, encoded(2)]
    assert len({one.id for one in received}) == 3
    assert feed.acknowledge(received, unreadable={received[1].id}) == []
    assert namespace.subscription.dead == [("Rejected", odd)]


@pytest.mark.parametrize(
    ("delivery", "token", "says"),
    [
        (b'{"brokerProperties":{"lockToken":"t2","deliveryCount":3}}', "t2", "without an event"),
        (b'{"event":{"id":"e"}}', None, "without a lock"),
        (b'{"brokerProperties":{"lockToken":7},"event":{"id":"e"}}', None, "without a lock"),
        (b'{"brokerProperties":[],"event":{"id":"e"}}', None, "without a lock"),
        (b"[1,[2]]", None, "without a lock"),
        (b'"}"', None, "without a lock"),
        (b"", None, "without a lock"),
    ],
)
def test_a_delivery_that_is_none_is_told_and_its_neighbours_go_on(
    namespace: Namespace, feed: EventGridSource, delivery: bytes, token: str | None, says: str
) -> None:
    good = b'{"event":{"id":"e1"},"brokerProperties":{"deliveryCount":2,"lockToken":"t1"}}'
    namespace.next_answers.append(Answer(body=b'{"value":[' + good + b"," + delivery + b"]}"))

    first, second = feed.receive(5)

    assert (first.body, first.receipt, first.deliveries, first.fault) == (b'{"id":"e1"}', "t1", 2, None)
    assert second.receipt == token
    assert says in (second.fault or "")
    if token is None:
        assert feed.acknowledge([second]) == [second]


@pytest.mark.parametrize("count", [b"null", b'"3"', b"-1", b"2.5"])
def test_a_count_that_is_none_counts_as_the_first_delivery(
    namespace: Namespace, feed: EventGridSource, count: bytes
) -> None:
    delivery = b'{"brokerProperties":{"lockToken":"t","deliveryCount":' + count + b'},"event":{}}'
    namespace.next_answers.append(Answer(body=b'{"value":[' + delivery + b"]}"))

    assert [(one.receipt, one.deliveries) for one in feed.receive(5)] == [("t", 1)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Sign in to the network</html>",
        b"{}",
        b"[]",
        b'{"value":{}}',
        b'{"value":[',
        b'{"value":[{"event":"',
        b'{"value":[]} {"value":[]}',
        b'{"value":[]}]',
        b"{value:[]}",
        b'{"value":[{"event":"' + b'\\"' * 40_000,
        b"[" * 40_000,
    ],
)
def test_an_answer_that_is_none_is_a_fault_with_its_place(
    namespace: Namespace, feed: EventGridSource, body: bytes
) -> None:
    namespace.next_answers.append(Answer(body=body))
    started = time.monotonic()
    with pytest.raises(FeedFault) as caught:
        feed.receive(5)

    assert (caught.value.reason, caught.value.permanent) == (Reason.SERVER, False)
    assert f"topic {TOPIC}, subscription {SUBSCRIPTION}" in str(caught.value)
    assert time.monotonic() - started < 5
    assert list(feed.receive(5)) == []


def test_a_settlement_that_is_none_is_a_fault_too(namespace: Namespace, feed: EventGridSource) -> None:
    namespace.put(encoded(1))
    received = feed.receive(5)
    for body in (b"[]", b"", b'{"failedLockTokens":[7]}'):
        namespace.next_answers.append(Answer(body=body))
        with pytest.raises(FeedFault) as caught:
            feed.acknowledge(received)
        assert caught.value.reason is Reason.SERVER
        assert "acknowledge" in str(caught.value)


def test_an_answer_without_end_is_not_read_into_memory(
    namespace: Namespace, feed: EventGridSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_grid, "_MOST_BYTES", 100_000)
    namespace.next_answers.append(Answer(body=b" " * 3_000_000))
    with pytest.raises(FeedFault) as caught:
        feed.receive(5)

    assert caught.value.reason is Reason.SERVER
    assert "longer than" in str(caught.value)


# ------------------------------------------------------------------------------------------------ refusals and silences


@pytest.mark.parametrize(
    ("status", "reason", "permanent"),
    [
        (204, Reason.REFUSED, True),
        (302, Reason.REFUSED, True),
        (307, Reason.REFUSED, True),
        (308, Reason.REFUSED, True),
        (400, Reason.REFUSED, True),
        (401, Reason.CREDENTIALS, True),
        (403, Reason.DENIED, True),
        (404, Reason.NOT_FOUND, True),
        (405, Reason.REFUSED, True),
        (407, Reason.NETWORK, False),
        (408, Reason.SERVER, False),
        (409, Reason.REFUSED, True),
        (410, Reason.NOT_FOUND, True),
        (413, Reason.REFUSED, True),
        (429, Reason.THROTTLED, False),
        (500, Reason.SERVER, False),
        (502, Reason.SERVER, False),
        (503, Reason.SERVER, False),
        (504, Reason.SERVER, False),
    ],
)
@pytest.mark.parametrize("body", [b'{"error":{"code":"SomeCode","message":"some words"}}', b"<html>", b'{"error":7}'])
def test_every_status_has_a_reason_and_a_hint_and_is_asked_for_once(
    namespace: Namespace, feed: EventGridSource, status: int, reason: Reason, permanent: bool, body: bytes
) -> None:
    headers = {"Location": "http://127.0.0.1:9/elsewhere", "Retry-After": "1"}
    namespace.next_answers.append(Answer(status, b"" if status == 204 else body, headers))
    with pytest.raises(FeedFault) as caught:
        feed.receive(5)

    assert (caught.value.reason, caught.value.permanent) == (reason, permanent)
    assert caught.value.hint()
    assert f"topic {TOPIC}, subscription {SUBSCRIPTION}" in str(caught.value)
    assert len(namespace.requests) == 1
    if b"SomeCode" in body and status != 204:
        assert "SomeCode" in str(caught.value)


def test_a_fault_never_shows_the_key_even_when_the_far_end_repeats_it(
    namespace: Namespace, feed: EventGridSource
) -> None:
    for status in (200, 400, 401, 403, 500):
        said = json.dumps({"error": {"code": KEY, "message": f"Authorization: SharedAccessKey {KEY}"}}).encode()
        namespace.next_answers.append(Answer(status, said))
        with pytest.raises(FeedFault) as caught:
            feed.receive(5)
        assert KEY not in f"{caught.value} {caught.value.hint()}"


def test_a_wrong_key_is_a_fault_that_mends_when_the_key_is_right(server: EventGrid, namespace: Namespace) -> None:
    namespace.keys = ["another"]
    with closing(made(server)) as feed:
        with pytest.raises(FeedFault) as caught:
            feed.receive(5)
        assert caught.value.reason is Reason.CREDENTIALS
        namespace.keys = [KEY]

        assert list(feed.receive(5)) == []


def test_a_subscription_that_does_not_exist_yet_is_waited_for(server: EventGrid, namespace: Namespace) -> None:
    subscription = namespace.topics[TOPIC].pop(SUBSCRIPTION)
    with closing(made(server)) as feed:
        with pytest.raises(FeedFault) as caught:
            feed.receive(5)
        assert caught.value.reason is Reason.NOT_FOUND
        namespace.topics[TOPIC][SUBSCRIPTION] = subscription

        assert list(feed.receive(5)) == []


def silent() -> socket.socket:
    """A port that takes connections and says nothing."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    return listening


def test_nobody_listening_is_a_network_fault_at_once() -> None:
    started = time.monotonic()
    feed = EventGridSource(f"http://127.0.0.1:{free_port()}", "t", "s", name="f", key=KEY)
    with closing(feed), pytest.raises(FeedFault) as caught:
        feed.receive(5)

    assert caught.value.reason is Reason.NETWORK
    assert "connection refused" in str(caught.value)
    assert time.monotonic() - started < 5


def test_a_far_end_that_says_nothing_to_a_settlement_is_given_up_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_grid, "_READ_SECONDS", 0.3)
    message = Received(id="e1", body=b"{}", received_at=NOW, receipt="t1")
    with silent() as port:
        endpoint = f"http://127.0.0.1:{port.getsockname()[1]}"
        feed = EventGridSource(endpoint, "t", "s", name="f", key=KEY)
        with closing(feed), pytest.raises(FeedFault) as caught:
            feed.acknowledge([message])

    assert caught.value.reason is Reason.NETWORK
    assert "no answer in time" in str(caught.value)


def test_an_answer_that_breaks_off_is_a_network_fault(
    namespace: Namespace, feed: EventGridSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_grid, "_POLL_READ_SECONDS", 0.3)
    namespace.next_answers.append(Answer(body=b'{"value":[]}', stalls=True))
    with pytest.raises(FeedFault) as caught:
        feed.receive(5)

    assert caught.value.reason is Reason.NETWORK


def test_a_name_that_does_not_resolve_is_a_network_fault_that_says_so() -> None:
    feed = EventGridSource("acme.invalid", "t", "s", name="f", key=KEY)
    with closing(feed), pytest.raises(FeedFault) as caught:
        feed.receive(5)

    assert caught.value.reason is Reason.NETWORK


# ------------------------------------------------------------------------------------------------------------- identity


class Identity:
    """An Entra identity. `said` is why it gives no token."""

    def __init__(self, token: str = "entra-token", said: str | None = None) -> None:
        self.token = token
        self.said = said
        self.scopes: list[str] = []
        self.closed = False

    def get_token(self, *scopes: str, **_options: Any) -> AccessToken:
        self.scopes += scopes
        if self.said is not None:
            raise ClientAuthenticationError(message=self.said)
        return AccessToken(self.token, int(time.time()) + 3600)

    def close(self) -> None:
        self.closed = True


def test_without_a_key_it_asks_with_a_token_of_its_identity(server: EventGrid, namespace: Namespace) -> None:
    namespace.tokens = ["entra-token"]
    identity = Identity()
    with closing(made(server, key=None, credential=lambda: identity)) as feed:
        namespace.put(encoded(1))
        assert feed.acknowledge(feed.receive(5)) == []

    assert set(identity.scopes) == {"https://eventgrid.azure.net/.default"}
    assert {headers["authorization"] for _, headers, _ in namespace.requests} == {"Bearer entra-token"}
    assert identity.closed


def test_an_identity_without_a_token_is_a_fault_that_keeps_what_was_said_to_itself(server: EventGrid) -> None:
    said = "AADSTS7000215: Invalid client secret provided: SECRET-OF-ACME"
    tried: list[Identity] = []

    def credential() -> Identity:
        tried.append(Identity(said=said))
        return tried[-1]

    with closing(made(server, key=None, credential=credential)) as feed:
        for _ in range(2):
            with pytest.raises(FeedFault) as caught:
                feed.receive(5)
            assert caught.value.reason is Reason.CREDENTIALS
            assert "AADSTS7000215" in str(caught.value)
            assert "SECRET" not in f"{caught.value} {caught.value.hint()}"

    assert len(tried) == 2  # it is looked for anew: it may be there by now


def test_an_identity_whose_settings_are_wrong_is_a_fault_of_the_settings(server: EventGrid) -> None:
    def credential() -> Identity:
        raise ValueError("AZURE_TOKEN_CREDENTIALS must be one of ...")

    with closing(made(server, key=None, credential=credential)) as feed, pytest.raises(FeedFault) as caught:
        feed.receive(5)

    assert caught.value.reason is Reason.SETTINGS


# ------------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("endpoint", "asked"),
    [
        ("acme.westeurope-1.eventgrid.azure.net", "https://acme.westeurope-1.eventgrid.azure.net"),
        ("https://acme.westeurope-1.eventgrid.azure.net/", "https://acme.westeurope-1.eventgrid.azure.net"),
        ("HTTPS://acme.westeurope-1.eventgrid.azure.net:443", "https://acme.westeurope-1.eventgrid.azure.net:443"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_endpoint_is_https_unless_it_is_this_machine(endpoint: str, asked: str) -> None:
    with closing(EventGridSource(endpoint, "t", "s", name="f", key=KEY)) as feed:
        assert feed._endpoint == asked


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"endpoint": "http://acme.westeurope-1.eventgrid.azure.net"}, "endpoint: must be https"),
        ({"endpoint": "http://127.0.0.1.example.com"}, "endpoint: must be https"),
        ({"endpoint": "http://10.0.0.1"}, "endpoint: must be https"),
        ({"endpoint": "ftp://acme.example"}, "endpoint: must be an https:// address"),
        ({"endpoint": "https://"}, "endpoint: must be an https:// address"),
        ({"endpoint": "https://acme.example:port"}, "endpoint: must be an https:// address"),
        ({"endpoint": "https://erin:SECRET@acme.example"}, "endpoint: must not carry a user name"),
        ({"endpoint": "https://acme.example/?key=SECRET"}, "endpoint: must not carry anything after"),
        ({"topic": " "}, "topic: must not be empty"),
        ({"subscription": ""}, "subscription: must not be empty"),
        ({"key": "SECRET one\nSECRET two"}, "key: must be an access key"),
        ({"key": ""}, "key: must be an access key"),
    ],
)
def test_wrong_options_are_told_by_name_and_without_secrets(changes: dict[str, str], says: str) -> None:
    options = {"endpoint": "acme.example", "topic": "t", "subscription": "s"} | changes
    with pytest.raises(ValueError, match=says) as caught:
        source("pull", "azure", options)

    assert "SECRET" not in str(caught.value)


def test_all_faults_of_the_options_are_told_together() -> None:
    with pytest.raises(ValueError, match=r"topic: .*subscription: .*endpoint: .*key: "):
        source("pull", "azure", {"endpoint": "http://acme.example", "topic": "", "subscription": "", "key": ""})


def test_it_is_made_by_its_kind_with_its_settings(server: EventGrid, namespace: Namespace) -> None:
    options = {
        "endpoint": server.endpoint,
        "topic": TOPIC,
        "subscription": SUBSCRIPTION,
        "key": f"{KEY}\n",
        "lock_seconds": 300,
    }
    feed = make_source("event_grid", "acme pull", "azure", options)
    with closing(feed):
        namespace.put(encoded(1))
        assert ids(feed.receive(5)) == ["e1"]

    assert (feed.name, feed.cloud, feed.visibility) == ("acme pull", "azure", 300)


def test_names_go_into_the_address_quoted(server: EventGrid, namespace: Namespace) -> None:
    namespace.topics["a/b ?"] = {"ö:x": namespace.subscription}
    with closing(EventGridSource(server.endpoint, "a/b ?", "ö:x", name="f", key=KEY)) as feed:
        assert list(feed.receive(5)) == []


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Acme private CA")])
    now = dt.datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(17)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "ca.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


@contextmanager
def tls_server(namespace: Namespace, certificate: Path, key: Path) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server: ThreadingHTTPServer = event_grid_server._Server(0, namespace)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        namespace.close()
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_private_authority_is_trusted_by_the_usual_variable_and_not_without_it(
    namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = _certificate(tmp_path)
    with tls_server(namespace, certificate, key) as address:
        feed = EventGridSource(address, TOPIC, SUBSCRIPTION, name="f", key=KEY)
        with closing(feed), pytest.raises(FeedFault) as caught:
            feed.receive(5)
        assert caught.value.reason is Reason.NETWORK
        assert "certificate is not trusted" in str(caught.value)
        assert namespace.requests == []

        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        with closing(EventGridSource(address, TOPIC, SUBSCRIPTION, name="f", key=KEY)) as feed:
            assert list(feed.receive(5)) == []


# -------------------------------------------------------------------------------------------- the whole consumer on it


class Process:
    """A consumer of the subscription in a thread, with the real decoder and intake, and its notes."""

    def __init__(
        self, feed: EventGridSource, *, wait: float = 0.2, poison: bytes = b"\0", on_taken: Callable[[], object] = int
    ) -> None:
        self.store = MemoryStore()
        with self.store.write() as unit:
            unit.register_add(msgspec.json.encode(document()), at=NOW, by="alice", source="test")

        class Picky(Intake):
            def take(self, feed: str, cloud: str, received: Sequence[Received]) -> Any:
                if any(poison in one.body for one in received):
                    raise ValueError("cannot be kept")
                taken = super().take(feed, cloud, received)
                if received:
                    on_taken()
                return taken

        self.handed: list[int] = []
        self.told: list[int] = []
        self.lacks: list[str | None] = []
        self.consumer = Consumer(
            feed,
            Picky(self.store, Registry(self.store), clouds.cloud),
            lambda rows: self.handed.extend(row for row, _ in rows),
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

    def bodies(self) -> list[bytes]:
        with self.store.read() as unit:
            rows = [unit.arrived(row) for row, _ in unit.arrived_due(NOW, 1000)]
        return sorted(row.body for row in rows if row is not None)

    def quarantine(self) -> list[tuple[str, bytes]]:
        with self.store.read() as unit:
            return [(piece.place, piece.body) for _, piece in unit.quarantined(50)]


def expiring(name: str) -> dict[str, Any]:
    return cloud_event(topic("KeyNearExpiry", id=name, data={"EXP": 1811808000}))


def disabled(name: str) -> dict[str, Any]:
    return forwarded(audit(properties=attributes(enabled=False))) | {"id": name}


def raw(content: object) -> bytes:
    return json.dumps(content).encode()


def test_events_are_committed_handed_on_and_gone_and_the_malformed_one_is_in_quarantine(
    server: EventGrid, namespace: Namespace
) -> None:
    namespace.put(
        raw(disabled("f1")), b'{"id":"odd","data":{"Id":"' + f"{DATA_KEY}/{V1}".encode() + b'"}}', raw(expiring("n1"))
    )
    with running(Process(made(server))) as process:
        until(lambda: len(process.handed) == 2 and len(process.told) == 1)
        until(lambda: namespace.subscription.events == [])

    assert process.bodies() == sorted([raw(disabled("f1")), raw(expiring("n1"))])
    [(place, body)] = process.quarantine()
    assert f"subscription {SUBSCRIPTION}, event odd" in place
    assert b'"odd"' in body
    assert namespace.subscription.acknowledged == [raw(disabled("f1")), raw(expiring("n1"))]
    assert [why for why, _ in namespace.subscription.dead] == ["Rejected"]


def test_a_hundred_odd_events_among_a_hundred_good_ones_keep_nothing_back(
    server: EventGrid, namespace: Namespace
) -> None:
    odd = [one for one in ODD.values() if one != b"[]"]
    for number in range(50):
        namespace.put(raw(expiring(f"n{number}")), odd[number % len(odd)])
    with running(Process(made(server))) as process:
        until(lambda: namespace.subscription.events == [], seconds=30)

    assert len(process.handed) == 50
    assert {why for why, _ in namespace.subscription.dead} == {"Rejected"}


def test_a_poisonous_event_leaves_the_subscription_for_the_quarantine(
    server: EventGrid, namespace: Namespace, clock: Clock
) -> None:
    def delivered(count: int) -> bool:
        return namespace.subscription.events[0].deliveries == count

    namespace.put(raw(expiring("poison")), raw(expiring("n2")))
    with running(Process(made(server), poison=b"poison")) as process:
        until(lambda: len(process.handed) == 1)
        for count in (1, 2):
            until(partial(delivered, count))
            time.sleep(0.3)  # the consumer has done with it
            clock.seconds += 61
        until(lambda: len(process.told) == 1)

    assert process.bodies() == [raw(expiring("n2"))]
    assert [body for _, body in process.quarantine()] == [raw(expiring("poison"))]
    assert namespace.subscription.events == []


def test_a_batch_whose_locks_are_lost_before_the_acknowledgement_comes_again_and_changes_nothing(
    server: EventGrid, namespace: Namespace, clock: Clock
) -> None:
    lapses = iter([61.0])

    def lapse() -> None:
        clock.seconds += next(lapses, 0.0)

    namespace.put(raw(expiring("n1")), raw(expiring("n2")))
    with running(Process(made(server), on_taken=lapse)) as process:
        until(lambda: namespace.subscription.events == [])

    assert len(process.handed) == 2
    assert len(namespace.subscription.acknowledged) == 2
    assert any("2 messages could not be acknowledged" in (lack or "") for lack in process.lacks)
    assert process.lacks[-1] is None


def test_a_slow_batch_is_held_by_renewals_from_another_thread(server: EventGrid, namespace: Namespace) -> None:
    namespace.now = time.monotonic
    namespace.subscription.lock_seconds = 0.9
    namespace.put(raw(expiring("n1")))
    with running(Process(made(server, lock=0.9), on_taken=lambda: time.sleep(2.5))) as process:
        until(lambda: namespace.subscription.events == [])

    assert namespace.subscription.renewed >= 3
    assert len(process.handed) == 1
    assert [line for line, _, _ in namespace.requests if ":acknowledge" in line] != []
    assert process.lacks == []


def test_a_feed_that_is_refused_says_so_and_goes_on_when_it_is_not(server: EventGrid, namespace: Namespace) -> None:
    namespace.put(raw(expiring("n1")))
    namespace.next_answers += [Answer(503), Answer(429)]
    with running(Process(made(server))) as process:
        until(lambda: len(process.handed) == 1)

    assert any("503" in (lack or "") for lack in process.lacks)
    assert process.lacks[-1] is None


# --------------------------------------------------------------------------------------------------------------- a stop


def test_it_stops_within_ten_seconds_although_a_poll_of_ten_seconds_runs(
    server: EventGrid, namespace: Namespace
) -> None:
    namespace.longest_wait = 120
    process = Process(made(server), wait=WAIT)
    process.thread.start()
    until(lambda: namespace.requests)
    started = time.monotonic()
    process.stop.set()
    process.thread.join(15)

    assert not process.thread.is_alive()
    assert time.monotonic() - started < 8


def test_what_comes_between_two_looks_at_a_poll_is_not_lost_to_it(server: EventGrid, namespace: Namespace) -> None:
    namespace.longest_wait = 120
    with closing(made(server)) as feed:
        assert list(feed.receive(0)) == []
        namespace.put(encoded(1))
        until(lambda: namespace.subscription.events[0].token)
        assert ids(feed.receive(0)) == ["e1"]

    assert len([line for line, _, _ in namespace.requests if ":receive" in line]) == 1


def test_what_the_last_poll_brings_while_it_stops_is_given_back(server: EventGrid, namespace: Namespace) -> None:
    namespace.longest_wait = 120
    feed = made(server)
    assert list(feed.receive(0)) == []
    namespace.put(encoded(1))
    feed.close()

    assert namespace.subscription.events[0].free_at <= namespace.now()
    with closing(made(server)) as successor:
        assert [(one.deliveries, one.id.split()[0]) for one in successor.receive(5)] == [(2, "e1")]


def test_a_poll_that_outlives_the_stop_gives_back_what_it_brings(
    server: EventGrid, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_grid, "_LEAVE_SECONDS", 0.1)
    namespace.longest_wait = 120
    feed = made(server)
    assert list(feed.receive(0)) == []
    feed.close()
    namespace.put(encoded(1))

    until(lambda: any(":release" in line for line, _, _ in namespace.requests))
    until(lambda: namespace.subscription.events[0].token is None)
    until(feed._has_left.is_set)


def test_a_crash_between_commit_and_acknowledgement_brings_the_events_again_and_nothing_twice(
    server: EventGrid, namespace: Namespace, clock: Clock
) -> None:
    namespace.put(raw(expiring("n1")), raw(expiring("n2")))
    store = MemoryStore()
    with store.write() as unit:
        unit.register_add(msgspec.json.encode(document()), at=NOW, by="alice", source="test")
    intake = Intake(store, Registry(store), clouds.cloud)
    with closing(made(server)) as dying:
        taken = intake.take("pull", "azure", dying.receive(5))
    assert len(taken.ids) == 2
    clock.seconds += 61  # nobody acknowledges

    with closing(made(server)) as successor:
        received = successor.receive(5)
        again = intake.take("pull", "azure", received)
        assert successor.acknowledge(received, unreadable=again.unreadable) == []

    assert [one.deliveries for one in received] == [2, 2]
    assert (again.ids, again.counts.received) == ([], 2)
    assert namespace.subscription.events == []


def test_data_in_base64_is_read_by_the_decoder_as_it_comes(server: EventGrid, namespace: Namespace) -> None:
    whole = expiring("n1")
    data = base64.b64encode(raw(whole.pop("data"))).decode()
    namespace.put(raw(whole | {"data_base64": data}))
    with running(Process(made(server))) as process:
        until(lambda: len(process.handed) == 1)
