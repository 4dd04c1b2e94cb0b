"""Whether the double of an Event Grid namespace does what the documents say (azure.md 6.4): by the SDK and bare."""

import json
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import ClientAuthenticationError, ResourceNotFoundError
from azure.core.messaging import CloudEvent
from azure.eventgrid import EventGridConsumerClient, EventGridPublisherClient

from tests.event_grid_server import (
    KEY,
    SUBSCRIPTION,
    TOPIC,
    Answer,
    EventGrid,
    Namespace,
    Subscription,
    event_grid,
    served,
)

VERSION = "api-version=2024-06-01"
RECEIVE = f"receive?{VERSION}&maxEvents=10&maxWaitTime=10"


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
    return Namespace(longest_wait=0.2, now=clock)


@pytest.fixture
def server(namespace: Namespace) -> Iterator[EventGrid]:
    with served(namespace) as running:
        yield running


def event(number: int) -> dict[str, object]:
    return {"specversion": "1.0", "id": f"e{number}", "source": "/acme", "type": "t", "data": {"n": number}}


def asked(
    server: EventGrid,
    operation: str,
    *tokens: str,
    topic: str = TOPIC,
    name: str = SUBSCRIPTION,
    auth: str | None = None,
) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"{server.endpoint}/topics/{topic}/eventsubscriptions/{name}:{operation}",
        data=json.dumps({"lockTokens": tokens}).encode(),
        headers={"Authorization": auth or f"SharedAccessKey {KEY}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.loads(refused.read())


def handed_out(server: EventGrid) -> list[tuple[str, str, int]]:
    """Id, lock token and delivery count of what a receive gives."""
    status, body = asked(server, RECEIVE)
    assert status == 200
    return [
        (one["event"]["id"], one["brokerProperties"]["lockToken"], one["brokerProperties"]["deliveryCount"])
        for one in body["value"]
    ]


def settled(server: EventGrid, operation: str, *tokens: str) -> tuple[list[str], list[tuple[str, str]]]:
    status, body = asked(server, f"{operation}?{VERSION}" if "?" not in operation else operation, *tokens)
    assert status == 200
    failed = [(one["lockToken"], one["error"]["code"]) for one in body["failedLockTokens"]]
    return body["succeededLockTokens"], failed


# ------------------------------------------------------------------------------------------------------------- the SDK


def test_the_sdk_can_publish_receive_and_settle(namespace: Namespace, server: EventGrid) -> None:
    key = AzureKeyCredential(KEY)
    with (
        EventGridPublisherClient(server.endpoint, key, namespace_topic=TOPIC) as publisher,
        EventGridConsumerClient(server.endpoint, key, namespace_topic=TOPIC, subscription=SUBSCRIPTION) as consumer,
    ):
        publisher.send([CloudEvent(source="/acme", type="t", id=f"e{number}", data=number) for number in range(4)])
        details = consumer.receive(max_events=10, max_wait_time=10)
        tokens = {one.event.id: one.broker_properties.lock_token for one in details}

        assert [one.broker_properties.delivery_count for one in details] == [1] * 4
        assert consumer.renew_locks(lock_tokens=[tokens["e0"]]).succeeded_lock_tokens == [tokens["e0"]]
        assert consumer.acknowledge(lock_tokens=[tokens["e0"]]).failed_lock_tokens == []
        assert consumer.reject(lock_tokens=[tokens["e1"]]).succeeded_lock_tokens == [tokens["e1"]]
        assert consumer.release(lock_tokens=[tokens["e2"]], release_delay=0).succeeded_lock_tokens == [tokens["e2"]]
        [failed] = consumer.acknowledge(lock_tokens=["nobody's"]).failed_lock_tokens
        assert (failed.lock_token, failed.error.code) == ("nobody's", "TokenLost")

    subscription = namespace.subscription
    assert [json.loads(raw)["id"] for raw in subscription.acknowledged] == ["e0"]
    assert [(why, json.loads(raw)["id"]) for why, raw in subscription.dead] == [("Rejected", "e1")]
    assert {json.loads(one.raw)["id"] for one in subscription.events} == {"e2", "e3"}


def test_the_sdk_loses_a_batch_with_a_malformed_event_which_is_why_it_is_not_asked_to_receive(
    namespace: Namespace, server: EventGrid
) -> None:
    namespace.put(json.dumps(event(1)).encode(), b'{"id":"e2"}')
    credential = AzureKeyCredential(KEY)
    with EventGridConsumerClient(
        server.endpoint, credential, namespace_topic=TOPIC, subscription=SUBSCRIPTION
    ) as consumer:
        with pytest.raises(ValueError, match="cloud"):
            consumer.receive(max_events=10, max_wait_time=10)
        assert consumer.receive(max_events=10, max_wait_time=10) == []


def test_the_sdk_sees_what_is_refused(server: EventGrid) -> None:
    for key, topic, error in ((f"{KEY}x", TOPIC, ClientAuthenticationError), (KEY, "none", ResourceNotFoundError)):
        with (
            closing(
                EventGridConsumerClient(
                    server.endpoint, AzureKeyCredential(key), namespace_topic=topic, subscription=SUBSCRIPTION
                )
            ) as consumer,
            pytest.raises(error),
        ):
            consumer.receive()


# --------------------------------------------------------------------------------------------------------------- rules


def test_a_lock_hides_an_event_until_it_is_over_and_every_delivery_is_counted(server: EventGrid, clock: Clock) -> None:
    server.publish(event(1))
    [(_, first, one)] = handed_out(server)
    assert handed_out(server) == []
    clock.seconds += 61
    [(_, second, two)] = handed_out(server)

    assert (one, two) == (1, 2)
    assert first != second
    assert settled(server, "acknowledge", first) == ([], [(first, "TokenLost")])
    assert settled(server, "acknowledge", second) == ([second], [])


def test_after_the_last_delivery_an_event_is_a_dead_letter(
    namespace: Namespace, server: EventGrid, clock: Clock
) -> None:
    namespace.subscription.most_deliveries = 2
    server.publish(event(1))
    for count in (1, 2):
        assert [number for _, _, number in handed_out(server)] == [count]
        clock.seconds += 61

    assert handed_out(server) == []
    assert [why for why, _ in namespace.subscription.dead] == ["MaxDeliveryAttemptsExceeded"]


def test_a_lock_is_renewed_within_an_hour_of_the_first_delivery_only(server: EventGrid, clock: Clock) -> None:
    server.publish(event(1))
    [(_, token, _)] = handed_out(server)
    for _ in range(72):
        clock.seconds += 50
        assert settled(server, "renewLock", token) == ([token], [])
    clock.seconds += 50

    assert settled(server, "renewLock", token) == ([], [(token, "TokenLost")])


def test_a_released_event_comes_at_once_or_after_its_delay(server: EventGrid, clock: Clock) -> None:
    server.publish(event(1))
    [(_, token, _)] = handed_out(server)
    settled(server, f"release?{VERSION}&releaseDelayInSeconds=0", token)
    [(_, token, count)] = handed_out(server)
    assert count == 2
    settled(server, f"release?{VERSION}&releaseDelayInSeconds=10", token)
    assert handed_out(server) == []
    clock.seconds += 11

    assert len(handed_out(server)) == 1


def test_failed_tokens_are_answered_with_200_beside_those_that_went_well(
    namespace: Namespace, server: EventGrid
) -> None:
    server.publish(event(1), event(2))
    (_, one, _), (_, two, _) = handed_out(server)
    namespace.subscription.failing["acknowledge"] = deque(["InternalServerError"])

    assert settled(server, "acknowledge", one, two) == ([two], [(one, "InternalServerError")])
    assert settled(server, "acknowledge", one) == ([one], [])


def test_every_subscription_of_a_topic_gets_its_own_copy(namespace: Namespace, server: EventGrid) -> None:
    namespace.topics[TOPIC]["second"] = Subscription()
    server.publish(event(1))

    assert [count for _, _, count in handed_out(server)] == [1]
    assert len(asked(server, RECEIVE, name="second")[1]["value"]) == 1


@pytest.mark.parametrize(
    "query",
    [
        "maxEvents=0&maxWaitTime=10",
        "maxEvents=101&maxWaitTime=10",
        "maxEvents=1&maxWaitTime=9",
        "maxEvents=1&maxWaitTime=121",
        "maxEvents=x",
    ],
)
def test_numbers_out_of_bounds_are_refused(server: EventGrid, query: str) -> None:
    assert asked(server, f"receive?{VERSION}&{query}")[0] == 400


@pytest.mark.parametrize(
    ("operation", "changes", "status"),
    [
        ("receive?api-version=2018-01-01", {}, 400),
        ("receive", {}, 400),
        (f"receive?{VERSION}", {"auth": "SharedAccessKey wrong"}, 401),
        (f"receive?{VERSION}", {"auth": f"Bearer {KEY}"}, 401),
        (f"receive?{VERSION}", {"topic": "none"}, 404),
        (f"receive?{VERSION}", {"name": "none"}, 404),
        (f"release?{VERSION}&releaseDelayInSeconds=7", {}, 400),
        (f"forget?{VERSION}", {}, 400),
    ],
)
def test_what_is_wrong_is_refused(server: EventGrid, operation: str, changes: dict[str, str], status: int) -> None:
    refused, body = asked(server, operation, **changes)

    assert refused == status
    assert body["error"]["code"]


def test_a_token_is_as_good_as_a_key(namespace: Namespace, server: EventGrid) -> None:
    namespace.tokens.append("entra")

    assert asked(server, RECEIVE, auth="Bearer entra")[0] == 200


def test_a_malformed_event_cannot_be_published(server: EventGrid) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        server.publish({"id": "e1"})
    with caught.value as refused:
        assert refused.code == 400


def test_a_poll_answers_as_soon_as_there_is_an_event(namespace: Namespace, server: EventGrid) -> None:
    namespace.longest_wait = 20
    started = time.monotonic()
    server.publish(event(1))

    assert len(handed_out(server)) == 1
    assert time.monotonic() - started < 5


def test_it_can_be_told_what_to_answer(namespace: Namespace, server: EventGrid) -> None:
    namespace.next_answers.append(Answer(503, b'{"error":{"code":"Busy","message":""}}'))

    assert [asked(server, RECEIVE)[0] for _ in range(2)] == [503, 200]


@pytest.mark.servers
def test_it_runs_as_a_process_of_its_own_with_its_locks(tmp_path: Path) -> None:
    with event_grid(tmp_path, lock_seconds=1) as server:
        server.publish(event(1))
        [(name, _, count)] = handed_out(server)
        time.sleep(1.1)
        [(_, token, again)] = handed_out(server)

        assert (name, count, again) == ("e1", 1, 2)
        assert server.state() == {"waiting": 0, "locked": 1, "acknowledged": 0, "dead": 0}
        assert settled(server, "acknowledge", token) == ([token], [])
        server.put(b'"malformed"')
        assert server.state() == {"waiting": 1, "locked": 0, "acknowledged": 1, "dead": 0}
