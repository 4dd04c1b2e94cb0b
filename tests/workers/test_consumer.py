"""The consumer's loop: commit, then acknowledge, then hand on; and it lives through everything else."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import pytest

from tests.workers.fakes import NOW, Clock, FakeCloud, FakeSource, FakeStop, FaultyStore, disabled, line, message
from tests.worlds import ACME_KEY, document, key
from workers.broker import BrokerAway
from workers.consumer import POISON_AFTER, Backoff, Consumer
from workers.feeds.interface import FeedFault, Reason, Received
from workers.intake import Intake, Taken
from workers.registry import Registry
from workers.store.interface import Carries, StoreFault, StoreUnavailable
from workers.store.memory import MemoryStore


class Picky(Intake):
    """An intake on which our own code fails for some messages, as a database does for text it cannot keep."""

    on_taken: Callable[[], object] = staticmethod(lambda: None)

    def take(self, feed: str, cloud: str, received: Sequence[Received]) -> Taken:
        if any(b"poison" in one.body for one in received):
            raise ValueError("cannot be kept")
        taken = super().take(feed, cloud, received)
        self.on_taken()
        return taken


@dataclass
class House:
    """A consumer with all that it works with, and notes of what it asked of the process around it."""

    clock: Clock = field(default_factory=Clock)
    log: list[object] = field(default_factory=list)
    degraded: list[str | None] = field(default_factory=list)
    alarms: list[tuple[float, str]] = field(default_factory=list)
    told: list[Sequence[int]] = field(default_factory=list)
    beats: list[float] = field(default_factory=list)
    broker_away: bool = False
    alarm_fails: bool = False

    def __post_init__(self) -> None:
        self.store = FaultyStore(MemoryStore())
        cloud = FakeCloud()
        self.intake = Picky(self.store, Registry(self.store), lambda _: cloud, now=lambda: NOW, monotonic=self.clock)
        with self.store.write() as unit:
            unit.register_add(msgspec.json.encode(document(key(ACME_KEY))), at=NOW, by="alice", source="test")

    def source(self, *script: Sequence[Received] | FeedFault | Exception) -> FakeSource:
        return FakeSource(list(script), clock=self.clock)

    def consumer(self, source: FakeSource) -> Consumer:
        return Consumer(
            source,
            self.intake,
            self.hand_on,
            drain=lambda: self.log.append("drain"),
            tell_quarantined=lambda _, pieces: self.told.append(pieces),
            on_degraded=self.degraded.append,
            beat=self.beat,
            bare_alarm=self.alarm,
            monotonic=self.clock,
        )

    def beat(self) -> None:
        with self.store.read():
            self.beats.append(self.clock.seconds)

    def hand_on(self, rows: Sequence[tuple[int, Carries]]) -> None:
        if self.broker_away:
            raise BrokerAway("connection refused")
        self.log.append(("handed on", [row for row, _ in rows]))

    def alarm(self, text: str) -> None:
        if self.alarm_fails:
            raise OSError("no route to host")
        self.alarms.append((self.clock.seconds, text))

    def run(self, source: FakeSource, seconds: float, **events: Callable[[], object]) -> FakeStop:
        """Let `seconds` pass; an event `at_30` happens 30 seconds after the start."""
        start = self.clock.seconds
        at = {start + float(name.removeprefix("at_")): event for name, event in events.items()}
        stop = FakeStop(self.clock, at=start + seconds, events=at)
        self.consumer(source).run(stop)
        return stop

    def inbox(self) -> list[str]:
        with self.store.read() as unit:
            rows = [unit.arrived(row) for row, _ in unit.arrived_due(NOW, 100)]
        return [row.event_id for row in rows if row is not None]

    def put_store(self, *, away: bool) -> None:
        self.store.away = away


@pytest.fixture
def house() -> House:
    return House()


# ---------------------------------------------------------------------------------------------------------- the order


def test_a_batch_is_committed_then_acknowledged_then_handed_on(house: House) -> None:
    source = house.source([message("m1", disabled("e1", ACME_KEY)), message("m2", line("e2", noise=1))])
    order: list[str] = []

    def hand_on(rows: Sequence[tuple[int, Carries]]) -> None:
        order.append(f"hand on {len(rows)}")

    house.intake.on_taken = lambda: order.append("commit")
    source.on_acknowledge = lambda: order.append("acknowledge")
    house.hand_on = hand_on  # type: ignore[method-assign]  # only its order matters here

    house.run(source, 5)

    assert order[:3] == ["commit", "acknowledge", "hand on 1"]
    assert source.acknowledged == ["m1", "m2"]
    assert house.inbox() == ["e1"]


def test_what_is_unreadable_is_acknowledged_as_such_and_told(house: House) -> None:
    source = house.source([message("m1", b"rubbish"), message("m2", disabled("e2", ACME_KEY))])

    house.run(source, 5)

    assert source.acknowledged == ["m1", "m2"]
    assert source.unreadable == ["m1"]
    assert [len(pieces) for pieces in house.told] == [1]


def test_it_gives_signs_of_life_while_nothing_comes(house: House) -> None:
    house.run(house.source(), 60)

    assert len(house.beats) >= 12


def test_it_closes_the_source_and_commits_the_counts_at_the_end(house: House) -> None:
    source = house.source([], [message("m1", line("e1", noise=1))])
    house.run(source, 0.1)

    assert source.closed
    with house.store.read() as unit:
        assert [feed.dropped for feed in unit.feeds()] == [1]


def test_a_batch_that_arrives_when_it_is_time_to_stop_is_given_back(house: House) -> None:
    source = house.source([message("m1", disabled("e1", ACME_KEY))])
    stop = FakeStop(house.clock, at=house.clock.seconds + 1)
    source.on_receive = lambda: setattr(house.clock, "seconds", house.clock.seconds + 5)

    house.consumer(source).run(stop)

    assert source.extended == [(["m1"], 0)]
    assert source.acknowledged == []
    assert house.inbox() == []


# --------------------------------------------------------------------------------------------------- faults of the feed


def test_a_passing_fault_is_waited_out_with_growing_delays(house: House) -> None:
    throttled = FeedFault(Reason.THROTTLED, "slow down")
    source = house.source(*[throttled] * 6, [message("m1", disabled("e1", ACME_KEY))])

    stop = house.run(source, 60)

    assert source.acknowledged == ["m1"]
    delays = stop.waits[:6]
    assert all(0.25 * 2**n <= delay <= 0.5 * 2**n for n, delay in enumerate(delays[:4]))
    assert house.degraded == [
        "feed feed-1: slow down (the provider asks to slow down; it is tried again by itself)",
        None,
    ]


def test_a_permanent_fault_is_shown_and_tried_again_slowly_but_for_ever(house: House) -> None:
    asked: list[float] = []
    source = house.source(*[FeedFault(Reason.NOT_FOUND, "queue q is not there")] * 100)
    source.on_receive = lambda: asked.append(house.clock.seconds)

    house.run(source, 600)

    assert 10 <= len(asked) <= 11
    assert house.degraded == [
        "feed feed-1: queue q is not there (check the name, the account and the region; it is tried again slowly)"
    ]
    with house.store.read() as unit:
        assert [feed.error for feed in unit.feeds()] == [
            "queue q is not there (check the name, the account and the region; it is tried again slowly)"
        ]
    assert max(later - sooner for sooner, later in zip(house.beats, house.beats[1:], strict=False)) <= 5.1


def test_an_error_of_our_own_in_the_source_does_not_end_the_loop(house: House) -> None:
    source = house.source(RuntimeError("a bug"), [message("m1", disabled("e1", ACME_KEY))])

    house.run(source, 30)

    assert source.acknowledged == ["m1"]
    assert house.degraded == ["feed feed-1: our own code fails (RuntimeError('a bug'))", None]


def test_a_sign_of_life_that_fails_does_not_keep_records_from_coming_in(house: House) -> None:
    def beat() -> None:
        raise RuntimeError("a bug")

    house.beat = beat  # type: ignore[method-assign]  # another sign of life
    source = house.source([message("m1", disabled("e1", ACME_KEY))])
    house.run(source, 1)

    assert source.acknowledged == ["m1"]
    assert house.degraded[0] == "feed feed-1: our own code fails (RuntimeError('a bug'))"


def test_what_could_not_be_told_of_the_quarantine_is_told_at_the_next_turn(house: House) -> None:
    told = house.told

    class Failing(list[Sequence[int]]):
        def append(self, _pieces: Sequence[int]) -> None:
            house.told = told
            raise RuntimeError("a bug")

    house.told = Failing()
    source = house.source([message("m1", b"rubbish")], [message("m2", b"more rubbish")])
    house.run(source, 20)

    assert [list(pieces) for pieces in told] == [[1, 2]]


def test_a_failing_acknowledgement_loses_nothing_and_is_shown(house: House) -> None:
    source = house.source([message("m1", disabled("e1", ACME_KEY))])
    source.acknowledge_fault = FeedFault(Reason.NETWORK, "connection reset")

    house.run(source, 1)

    assert house.log == [("handed on", [1])]
    assert house.degraded[0] is not None
    assert "cannot acknowledge: connection reset" in house.degraded[0]


# -------------------------------------------------------------------------------------------------------- store is away


def test_without_a_store_nothing_is_acknowledged_and_the_batch_is_committed_when_it_is_back(house: House) -> None:
    source = house.source([message("m1", disabled("e1", ACME_KEY))])
    source.on_receive = lambda: house.put_store(away=house.clock.seconds < 1040)

    house.run(source, 60, at_40=lambda: house.put_store(away=False))

    assert source.acknowledged == ["m1"]
    assert house.inbox() == ["e1"]
    assert house.log == [("handed on", [1])]
    assert house.degraded[0] is not None
    assert house.degraded[0].startswith(
        "feed feed-1: nothing can be committed, so nothing is acknowledged: store unreach"
    )
    assert house.degraded[-1] is None
    assert house.alarms == [], "less than a minute"


def test_nothing_new_is_received_while_the_store_is_away(house: House) -> None:
    asked: list[float] = []
    source = house.source([message("m1", disabled("e1", ACME_KEY))])

    def receiving() -> None:
        asked.append(house.clock.seconds)
        house.put_store(away=True)

    source.on_receive = receiving
    house.run(source, 300)

    assert len(asked) == 1
    assert source.acknowledged == []
    assert source.extended == [(["m1"], 0)], "given back at the end, so that another consumer has it at once"


def test_after_a_minute_without_a_store_somebody_is_paged_then_once_an_hour(house: House) -> None:
    source = house.source([message("m1", disabled("e1", ACME_KEY))])
    source.on_receive = lambda: house.put_store(away=True)

    house.run(source, 2 * 3600)

    since = [round(at - 1000) for at, _ in house.alarms]
    assert len(since) == 2
    assert 60 <= since[0] <= 66
    assert 3600 <= since[1] - since[0] <= 3606
    assert StoreUnavailable(StoreFault.UNREACHABLE, "").hint() in house.alarms[0][1]


def test_a_bare_alarm_that_fails_is_tried_again_at_once(house: House) -> None:
    source = house.source([message("m1", disabled("e1", ACME_KEY))])
    source.on_receive = lambda: house.put_store(away=True)
    house.alarm_fails = True

    house.run(source, 600, at_300=lambda: setattr(house, "alarm_fails", False))

    assert [300 <= at - 1000 <= 306 for at, _ in house.alarms] == [True]


# ------------------------------------------------------------------------------------------------------- broker is away


def test_without_a_broker_this_process_works_itself_until_handing_on_succeeds(house: House) -> None:
    house.broker_away = True
    source = house.source([message("m1", disabled("e1", ACME_KEY))])
    source.poll = 2.0
    source.on_receive = lambda: setattr(house, "broker_away", house.clock.seconds < 1011)

    house.run(source, 20)

    assert source.acknowledged == ["m1"]
    assert house.log.count("drain") >= 3
    assert house.log[-1] == ("handed on", [1]), "a row that could not be handed on asks whether the broker is back"
    assert house.degraded == [
        "the broker is away (connection refused): this process works records and notices itself",
        None,
    ]


def test_a_broker_that_is_away_is_not_asked_for_every_batch(house: House) -> None:
    tries: list[float] = []

    def hand_on(rows: Sequence[tuple[int, Carries]]) -> None:
        tries.append(house.clock.seconds)
        raise BrokerAway("timed out")

    house.hand_on = hand_on  # type: ignore[method-assign]  # another broker
    source = house.source(*[[message(f"m{n}", disabled(f"e{n}", ACME_KEY))] for n in range(50)])
    source.on_receive = lambda: setattr(house.clock, "seconds", house.clock.seconds + 0.1)

    house.run(source, 5)

    assert len(tries) <= 2
    assert house.log.count("drain") > 45


# --------------------------------------------------------------------------------------------------------------- poison


def test_a_message_that_cannot_be_committed_does_not_hold_up_the_others(house: House) -> None:
    source = house.source(
        [
            message("m1", disabled("e1", ACME_KEY)),
            message("m2", disabled("poison", ACME_KEY)),
            message("m3", disabled("e3", ACME_KEY)),
        ]
    )

    house.run(source, 1)

    assert source.acknowledged == ["m1", "m3"]
    assert house.inbox() == ["e1", "e3"]
    assert house.log == [("handed on", [1, 2])]
    assert house.degraded[0] == "feed feed-1: our own code fails on message m2 (ValueError('cannot be kept'))"


def test_a_poisonous_message_ends_in_quarantine_and_is_told(house: House) -> None:
    body = disabled("poison", ACME_KEY)
    batches = [[message("m2", body, deliveries=number)] for number in range(1, POISON_AFTER + 2)]
    source = house.source(*batches)

    house.run(source, 5)

    assert source.acknowledged == ["m2"]
    with house.store.read() as unit:
        [(piece_id, piece)] = unit.quarantined(10)
    assert house.told == [[piece_id]]
    assert piece.body == body
    assert piece.reason == "our own code failed on it 6 times: ValueError('cannot be kept')"


def test_a_message_that_came_often_because_the_store_was_away_is_not_poison(house: House) -> None:
    source = house.source([message("m1", disabled("e1", ACME_KEY), deliveries=40)])

    house.run(source, 1)

    assert house.inbox() == ["e1"]
    assert house.told == []


# ----------------------------------------------------------------------------------------------------------- the delays


def test_delays_double_up_to_a_bound_and_begin_anew_after_success() -> None:
    backoff = Backoff(first=1, longest=8, jitter=lambda: 1.0)
    assert [backoff.next() for _ in range(5)] == [1, 2, 4, 8, 8]
    backoff.clear()
    assert backoff.next() == 1

    lowest = Backoff(first=1, longest=8, jitter=lambda: 0.0)
    assert [lowest.next() for _ in range(3)] == [0.5, 1, 2]


def test_a_real_event_stops_it_from_another_thread(house: House) -> None:
    stop = threading.Event()
    source = house.source()
    source.on_receive = lambda: stop.wait(0.01)
    thread = threading.Thread(target=house.consumer(source).run, args=(stop,))
    thread.start()
    stop.set()
    thread.join(5)

    assert not thread.is_alive()
