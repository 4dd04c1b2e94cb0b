"""Signs of life at the way in: believed ones are kept at their own time, and cost neither a row nor a commit each."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec

from tests.workers.fakes import NOW, Clock, FakeCloud, FakeObjects, FaultyStore, line, message
from tests.worlds import ACME_KEY, GLOBEX_KEY, VENDOR_KEY, document
from watchdog.coverage import Cover, Sign, Way
from workers.feeds.pieces import Form, Piece
from workers.intake import SEEN_EVERY, Intake
from workers.registry import Registry
from workers.store.interface import Carries
from workers.store.memory import MemoryStore

MINUTE = timedelta(minutes=1)
ACME = Way(cover=Cover.FORWARDED, route="fake:acme", words="Acme's records", customer="acme", beats=5 * MINUTE)
GLOBEX = replace(ACME, route="fake:globex", customer="globex")
OWN = replace(ACME, route="fake:own", customer=None, cover=Cover.SELF_OBSERVED)


class House:
    """An intake on a store in memory, with a clock that passes only when told to."""

    def __init__(self, *, customers: Mapping[str, Collection[str]] | None = None, live: bool = True) -> None:
        self.store, self.clock = FaultyStore(MemoryStore()), Clock()
        self.cloud = FakeCloud({ACME_KEY: [ACME, OWN], GLOBEX_KEY: [GLOBEX], VENDOR_KEY: [OWN]})
        self.objects = FakeObjects({})
        self.intake = Intake(
            self.store, Registry(self.store), lambda _: self.cloud, customers=customers, live=live,
            objects={"fake": self.objects}, now=lambda: NOW, monotonic=self.clock,
        )  # fmt: skip
        with self.store.write() as unit:
            unit.register_add(msgspec.json.encode(document()), at=NOW, by="alice", source="test")

    def take(self, *bodies: bytes, feed: str = "feed-1") -> None:
        self.intake.take(feed, "fake", [message("m", *bodies)])

    def signs(self) -> list[Sign]:
        with self.store.read() as unit:
            return unit.signs()

    def rows(self) -> int:
        with self.store.read() as unit:
            return sum(unit.inbox_counts().values())


def beat(route: str, at: datetime = NOW, event_id: str = "b") -> bytes:
    return line(event_id, beats=route, at=at.isoformat())


def sign(route: str, at: datetime = NOW, feed: str = "feed-1") -> Sign:
    return Sign(feed=feed, route=route, at=at)


def test_a_beat_is_kept_as_a_sign_and_not_as_a_record() -> None:
    house = House()
    house.take(beat("fake:acme"))
    assert (house.signs(), house.rows()) == ([sign("fake:acme")], 0)


def test_beats_cost_no_commit_each_and_none_is_forgotten() -> None:
    house = House()
    house.take()
    before = house.store.writes
    for number in range(50):
        house.take(beat("fake:acme", NOW - (60 - number) * MINUTE))
    house.take(beat("fake:globex", NOW - 3 * MINUTE))
    assert house.store.writes == before
    house.clock.seconds += SEEN_EVERY
    house.take()
    assert house.store.writes == before + 1
    assert house.signs() == [sign("fake:acme", NOW - 11 * MINUTE), sign("fake:globex", NOW - 3 * MINUTE)]
    house.clock.seconds += SEEN_EVERY
    known = house.signs()
    house.take()
    assert house.signs() == known


def test_what_is_owed_is_committed_before_the_process_ends() -> None:
    house = House()
    house.take()
    house.take(beat("fake:acme"))
    assert house.signs() == []
    house.intake.flush()
    assert house.signs() == [sign("fake:acme")]


def test_a_sign_rides_with_the_record_that_shows_it_and_takes_along_what_is_owed() -> None:
    house = House()
    house.take()
    house.take(beat("fake:globex"))
    house.take(line("e", says=["key_disabled"], of=ACME_KEY, at=NOW.isoformat(), route="fake:acme"))
    assert house.signs() == [sign("fake:acme"), sign("fake:globex")]
    assert house.rows() == 1


def test_a_sign_has_the_records_own_time_and_none_that_lies_ahead() -> None:
    house = House()
    house.take(beat("fake:acme", NOW - 90 * MINUTE), beat("fake:globex", NOW + 90 * MINUTE))
    assert house.signs() == [sign("fake:acme", NOW - 90 * MINUTE), sign("fake:globex")]


def test_each_feed_has_its_own_signs() -> None:
    house = House()
    house.take(beat("fake:acme", NOW - MINUTE), feed="east")
    house.take(beat("fake:acme"), feed="west")
    assert house.signs() == [sign("fake:acme", NOW - MINUTE, "east"), sign("fake:acme", feed="west")]


def test_over_a_feed_of_certain_customers_only_their_routes_are_believed_to_be_alive() -> None:
    house = House(customers={"feed-1": ["acme"]})
    house.take(beat("fake:acme"), beat("fake:globex"), beat("fake:own"), beat("fake:nobody"))
    assert house.signs() == [sign("fake:acme")]


def test_a_record_that_is_not_believed_shows_no_life() -> None:
    house = House(customers={"feed-1": ["acme"]})
    house.take(line("e", says=["key_disabled"], of=GLOBEX_KEY, at=NOW.isoformat(), route="fake:globex"))
    assert house.signs() == []


def test_what_is_made_up_shows_no_life() -> None:
    house = House(live=False)
    house.take(beat("fake:acme"))
    house.intake.flush()
    assert house.signs() == []


def test_a_sign_out_of_a_fetched_object_counts_too() -> None:
    house = House()
    house.objects.objects = {"o": [Piece(name="o", first=1, form=Form.LINES, body=beat("fake:acme", NOW - MINUTE))]}
    house.take(line("d", bucket="trail", name="o"))
    with house.store.write() as unit:
        ((row, carries),) = unit.arrived_due(NOW, 9)
        arrived = unit.claim_arrival(row, now=NOW, length=MINUTE)
    assert carries is Carries.DELIVERY
    assert arrived is not None
    house.clock.seconds += SEEN_EVERY
    house.intake.read_delivery(arrived)
    house.intake.flush()
    assert house.signs() == [sign("fake:acme", NOW - MINUTE)]


def test_a_page_out_of_an_archive_shows_no_life_of_the_feed() -> None:
    house = House()
    house.intake.take_page(
        "feed-1", "fake", [message("m", beat("fake:acme"))], customers=None, also=lambda _unit, _taken: None
    )
    house.intake.flush()
    assert house.signs() == []
