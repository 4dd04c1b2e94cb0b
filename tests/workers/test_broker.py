import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu.transport.memory import Transport

from tests.servers import free_port
from workers.broker import (
    ASK,
    AWAY_SECONDS,
    BULK,
    DELIVER,
    NORMAL,
    OBSERVE,
    PROBE,
    PROBE_NOW,
    QUEUES,
    READ_DELIVERY,
    TASK_SECONDS,
    URGENT,
    BrokerAway,
    Hand,
    make_app,
)
from workers.observing import Queued
from workers.settings import Settings
from workers.store.interface import Carries


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def settings(broker_url: str, home: Path = Path("/nowhere")) -> Settings:
    return Settings(home=home, source="test", store_url="memory:", broker_url=broker_url)


@pytest.fixture
def app() -> Iterator[Any]:
    """An application on a broker in memory; every test finds it empty."""
    found = make_app(settings("memory://"))
    yield found
    found.close()
    Transport.global_state.clear()
    for name in QUEUES:
        found.connection_for_write().channel().queue_purge(name)


def waiting(app: Any) -> list[tuple[str, str, list[object]]]:
    """Everything that waits at the broker: (queue, task, arguments)."""
    found = []
    with app.connection_for_read() as connection:
        channel = connection.channel()
        for queue in app.conf.task_queues:
            bound = queue(channel)
            bound.declare()
            while (message := bound.get(no_ack=True)) is not None:
                found.append((queue.name, message.headers["task"], message.payload[0]))
    return found


def test_a_record_goes_ahead_of_a_page_for_later_and_a_delivery_waits_behind_both(app: Any) -> None:
    hand = Hand(app)
    hand.rows([(7, Carries.DELIVERY), (8, Carries.RECORD)])
    hand.notices([Queued(id="KW-1-1-alarm-pager", urgent=True), Queued(id="KW-1-1-clear-pager", urgent=False)])

    assert waiting(app) == [
        (URGENT, OBSERVE, [8]),
        (URGENT, DELIVER, ["KW-1-1-alarm-pager"]),
        (NORMAL, DELIVER, ["KW-1-1-clear-pager"]),
        (BULK, READ_DELIVERY, [7]),
    ]


def test_a_probe_that_somebody_waits_for_goes_ahead_of_the_others(app: Any) -> None:
    hand = Hand(app)
    hand.probes({"key-1": 4, "key-2": 7}, wanted=False)
    hand.probes({"key-3": 2}, wanted=True)

    assert waiting(app) == [(PROBE_NOW, ASK, [{"key-3": 2}]), (PROBE, ASK, [{"key-1": 4, "key-2": 7}])]


def test_a_worker_asks_the_queues_in_the_order_of_their_urgency(app: Any) -> None:
    assert [URGENT, NORMAL, PROBE_NOW, PROBE, BULK] == [queue.name for queue in app.conf.task_queues]
    options = make_app(settings("redis://127.0.0.1:6379/0")).conf.broker_transport_options
    assert "priority" == options["queue_order_strategy"]


def test_no_task_is_handed_out_again_while_it_may_still_run() -> None:
    conf = make_app(settings("redis://127.0.0.1:6379/0")).conf
    assert conf.task_time_limit == TASK_SECONDS
    assert conf.task_time_limit < conf.broker_transport_options["visibility_timeout"]


def test_a_task_is_acknowledged_after_its_work_and_comes_back_when_its_worker_dies(app: Any) -> None:
    assert (True, True, 1) == (
        app.conf.task_acks_late,
        app.conf.task_reject_on_worker_lost,
        app.conf.worker_prefetch_multiplier,
    )


def test_only_json_is_believed(app: Any) -> None:
    assert (["json"], "json") == (app.conf.accept_content, app.conf.task_serializer)


@pytest.mark.parametrize("way", ["tcp", "socket"])
def test_a_dead_broker_is_known_at_once(way: str, tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0" if way == "tcp" else "embedded"
    hand = Hand(make_app(settings(url, tmp_path)))
    began = time.monotonic()
    with pytest.raises(BrokerAway, match=r"Connection refused|No such file"):
        hand.notices([Queued(id="n", urgent=True)])
    # kombu's own patience is six seconds; nobody waits that long for each page.
    assert time.monotonic() - began < 2


def test_a_dead_broker_is_not_asked_again_for_a_while_and_its_reason_stays() -> None:
    clock = Clock()
    hand = Hand(make_app(settings(f"redis://127.0.0.1:{free_port()}/0")), monotonic=clock)
    with pytest.raises(BrokerAway) as first:
        hand.rows([(1, Carries.RECORD)])
    asked: list[str] = []
    hand._app.send_task = lambda name, **_: asked.append(name)

    with pytest.raises(BrokerAway) as second:
        hand.rows([(1, Carries.RECORD)])
    assert (str(first.value), []) == (str(second.value), asked)

    clock.seconds += AWAY_SECONDS
    hand.rows([(1, Carries.RECORD)])
    hand.rows([(2, Carries.RECORD)])
    assert [OBSERVE, OBSERVE] == asked


def test_the_fault_of_a_broker_never_shows_its_password() -> None:
    hand = Hand(make_app(settings(f"redis://:hunter2@127.0.0.1:{free_port()}/0")))
    with pytest.raises(BrokerAway) as away:
        hand.rows([(1, Carries.RECORD)])
    assert "hunter2" not in str(away.value)
    assert "hunter2" not in repr(away.value.__cause__)
