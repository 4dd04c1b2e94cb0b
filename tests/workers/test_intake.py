"""Intake: what matters is committed once, what cannot be read is kept apart, what means nothing costs nothing."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from tests.workers.fakes import NOW, Clock, FakeCloud, FakeObjects, FaultyStore, disabled, line, message
from tests.worlds import ACME_KEY, GLOBEX_KEY, document, key
from watchdog.cloud import Pointer
from watchdog.register import Document
from workers.feeds.interface import FeedFault, Reason
from workers.feeds.pieces import Form, Piece
from workers.intake import CHUNK, MOST_BROKEN, Counts, Intake, Taken
from workers.registry import Registry
from workers.store import migrate, open_store
from workers.store.interface import Arrived, Carries, FeedSeen, StoreUnavailable, Unreadable
from workers.store.memory import MemoryStore

UNKNOWN_KEY = "arn:aws:kms:eu-west-1:121212121212:key/00000000-0000-0000-0000-000000000000"


@dataclass
class House:
    """An intake with its store, clock, cloud and objects."""

    store: FaultyStore
    intake: Intake
    clock: Clock
    cloud: FakeCloud
    objects: FakeObjects

    def register(self, added: Document) -> None:
        with self.store.write() as unit:
            unit.register_add(msgspec.json.encode(added), at=NOW, by="alice", source="test")

    def take(self, *messages: object) -> Taken:
        return self.intake.take("feed-1", "fake", messages)  # type: ignore[arg-type]  # messages of the tests

    def inbox(self) -> list[Arrived]:
        with self.store.read() as unit:
            rows = [unit.arrived(row) for row, _ in unit.arrived_due(NOW + timedelta(days=9), 10_000)]
        return [row for row in rows if row is not None]

    def quarantine(self) -> list[Unreadable]:
        with self.store.read() as unit:
            return [piece for _, piece in reversed(unit.quarantined(10_000))]

    def feed(self) -> FeedSeen:
        with self.store.read() as unit:
            return next(feed for feed in unit.feeds() if feed.feed == "feed-1")


@pytest.fixture
def house() -> House:
    clock, cloud = Clock(), FakeCloud()
    objects = FakeObjects({})
    store = FaultyStore(MemoryStore())
    intake = Intake(
        store, Registry(store), lambda _: cloud, objects={"fake": objects}, now=lambda: NOW, monotonic=clock
    )
    house = House(store, intake, clock, cloud, objects)
    house.register(document(key(ACME_KEY)))
    return house


# ------------------------------------------------------------------------------------------------------------ records


def test_what_concerns_a_registered_key_is_committed_and_handed_out(house: House) -> None:
    taken = house.take(message("m1", disabled("e1", ACME_KEY)), message("m2", disabled("e2", GLOBEX_KEY)))

    rows = house.inbox()
    assert taken.ids == [(row.id, Carries.RECORD) for row in rows]
    assert [(row.feed, row.cloud, row.event_id, row.body, row.received_at) for row in rows] == [
        ("feed-1", "fake", "e1", disabled("e1", ACME_KEY), NOW),
        ("feed-1", "fake", "e2", disabled("e2", GLOBEX_KEY), NOW),
    ]


def test_what_means_nothing_is_dropped_and_counted(house: House) -> None:
    taken = house.take(
        message("m1", disabled("e1", UNKNOWN_KEY), line("e2", noise=1), line("e3", noise=1), disabled("e4", ACME_KEY)),
        message("m2", line("e5", says=["no_effect"])),
    )

    assert [row.event_id for row in house.inbox()] == ["e4"]
    assert taken.counts == Counts(received=5, kept=1, dropped=4, broken=0)


@pytest.mark.parametrize("says", [["untrusted"], ["attempt_failed"], ["rotated"], ["no_effect", "use_failed"]])
def test_whatever_has_an_effect_of_any_kind_is_kept(house: House, says: list[str]) -> None:
    house.take(message("m1", line("e1", says=says)))

    assert [row.event_id for row in house.inbox()] == ["e1"]


def test_a_known_event_is_not_added_twice_whatever_message_brings_it(house: House) -> None:
    first = house.take(message("m1", disabled("e1", ACME_KEY)))
    again = house.take(message("m2", disabled("e1", ACME_KEY), disabled("e2", ACME_KEY)))

    assert len(first.ids) == 1
    assert len(again.ids) == 1
    assert again.counts == Counts(received=2, kept=1)
    assert [row.event_id for row in house.inbox()] == ["e1", "e2"]


@pytest.mark.parametrize("odd", ["a\0b", "x" * 5000])
def test_an_odd_event_id_is_kept_as_its_hash(house: House, odd: str) -> None:
    house.take(message("m1", disabled(odd, ACME_KEY)))
    house.take(message("m2", disabled(odd, ACME_KEY)))

    assert [row.event_id[:7] for row in house.inbox()] == ["sha256:"]


def symptom(event_id: str, at: str, *, of: str = ACME_KEY, effect: str = "use_succeeded") -> bytes:
    return line(event_id, says=[effect], of=of, at=f"2026-12-01T{at}+00:00")


def test_of_a_flood_of_one_symptom_in_one_message_the_first_and_the_last_are_kept(house: House) -> None:
    flood = [symptom(f"s{minute:02}", f"09:{minute:02}:00") for minute in (31, 7, 12, 55, 40)]
    taken = house.take(
        message(
            "m1",
            *flood,
            symptom("other-hour", "10:00:00"),
            symptom("other-key", "09:20:00", of=GLOBEX_KEY),
            symptom("other-effect", "09:21:00", effect="use_failed"),
            line("more", says=["use_succeeded", "key_enabled"], of=ACME_KEY, at="2026-12-01T09:22:00+00:00"),
            line("first", says=["key_disabled"], of=ACME_KEY, at="2026-12-01T09:23:00+00:00"),
            line("second", says=["key_disabled"], of=ACME_KEY, at="2026-12-01T09:24:00+00:00"),
            line("third", says=["key_disabled"], of=ACME_KEY, at="2026-12-01T09:25:00+00:00"),
        )
    )

    kept = [row.event_id for row in house.inbox()]
    assert kept == ["s07", "s55", "other-hour", "other-key", "other-effect", "more", "first", "second", "third"]
    assert taken.counts == Counts(received=12, kept=9, dropped=3)


def test_equal_symptoms_in_messages_of_their_own_are_all_kept(house: House) -> None:
    house.take(*(message(f"m{minute}", symptom(f"s{minute}", f"09:{minute}:00")) for minute in range(10, 15)))

    assert len(house.inbox()) == 5


# ------------------------------------------------------------------------------------------------------- broken pieces


def test_one_bad_record_does_not_lose_its_neighbours(house: House) -> None:
    records = [disabled(f"e{number}", ACME_KEY) for number in range(1, 1001)]
    records[499] = b'{"id": "e500", "key": '
    taken = house.take(message("m1", *records))

    assert len(house.inbox()) == 999
    assert [(piece.place, piece.body) for piece in house.quarantine()] == [("m1, record 500", records[499])]
    assert taken.counts == Counts(received=1000, kept=999, broken=1)
    assert taken.unreadable == set()


def test_one_bad_message_does_not_lose_the_others_and_is_named_unreadable(house: House) -> None:
    taken = house.take(
        message("m1", b"rubbish"), message("m2", disabled("e2", ACME_KEY)), message("m3", line("e3", noise=1), b"x")
    )

    assert [row.event_id for row in house.inbox()] == ["e2"]
    assert [piece.place for piece in house.quarantine()] == ["m1, record 1", "m3, record 2"]
    assert len(taken.quarantined) == 2
    assert taken.unreadable == {"m1"}


def test_the_same_rubbish_is_told_once(house: House) -> None:
    first = house.take(message("m1", b"rubbish"))
    again = house.take(message("m1", b"rubbish"))

    assert len(first.quarantined) == 1
    assert again.quarantined == []
    assert again.counts.broken == 1


def test_a_message_that_our_unpacking_fails_on_is_quarantined_with_the_reason(house: House) -> None:
    house.take(message("m1", b"unpack fails"), message("m2", disabled("e2", ACME_KEY)))

    [piece] = house.quarantine()
    assert piece.body == b"unpack fails"
    assert piece.reason.startswith("our own code failed on it: RuntimeError: unpack fails (fakes.py:")
    assert [row.event_id for row in house.inbox()] == ["e2"]


def test_a_record_whose_meaning_fails_is_quarantined_alone(house: House) -> None:
    house.take(message("m1", disabled("e1", ACME_KEY), line("e2", meaning="fails"), disabled("e3", ACME_KEY)))

    [piece] = house.quarantine()
    assert piece.place == "m1, record 2"
    assert piece.reason.startswith("our own code failed on it: KeyError: 'meaning fails' (fakes.py:")
    assert [row.event_id for row in house.inbox()] == ["e1", "e3"]


def test_no_meaning_at_all_is_a_fault_and_never_noise(house: House) -> None:
    taken = house.take(message("m1", line("e1", meaning="none")))

    assert taken.counts == Counts(received=1, broken=1)
    assert len(house.quarantine()) == 1


def test_a_large_body_of_which_nothing_comes_out_is_a_fault_and_never_silence(house: House) -> None:
    house.take(message("m1", b" " * 5000), message("m2", b"\n"))

    assert [(piece.place, piece.reason) for piece in house.quarantine()] == [
        ("m1, record 1", "nothing was found in its 5000 bytes, neither a record nor a fault")
    ]


def test_an_entry_that_turns_out_unreadable_is_quarantined_with_the_clouds_reason(house: House) -> None:
    house.take(message("m1", line("e1", says=["unreadable"])))

    assert [piece.reason for piece in house.quarantine()] == ["it says unreadable"]
    assert house.inbox() == []


def test_what_the_feed_itself_could_not_read_is_quarantined_with_its_place(house: House) -> None:
    taken = house.take(message("f#2", b"rest", fault="the gzip data is cut off at byte 12", place="a.gz", first=7))

    assert [(piece.place, piece.reason, piece.body) for piece in house.quarantine()] == [
        ("a.gz, record 7", "the gzip data is cut off at byte 12", b"rest")
    ]
    assert taken.unreadable == {"f#2"}


def test_a_flood_of_broken_records_shares_one_row_at_the_end(house: House) -> None:
    taken = house.take(message("m1", *(b"rubbish %d" % number for number in range(1, 5001))))

    pieces = house.quarantine()
    assert len(pieces) == MOST_BROKEN + 1
    assert taken.counts.broken == 5000
    assert pieces[-1].place == f"m1, from record {MOST_BROKEN + 1} on"
    assert pieces[-1].reason.startswith("4900 more records cannot be read; the first of them: not JSON")
    assert pieces[-1].body.splitlines()[-1] == b"rubbish 5000"


def test_a_huge_piece_is_kept_by_head_length_and_hash(house: House) -> None:
    house.take(message("m1", b"[" * (50 << 20)))

    [piece] = house.quarantine()
    assert len(piece.body) < 2 << 20
    assert b"52428800 bytes in whole, SHA-256" in piece.body[-200:]


def test_texts_that_a_database_refuses_are_made_harmless(house: House) -> None:
    house.take(message("m1", b"rubbish", place="a\0b\ud800.json"))

    assert [piece.place for piece in house.quarantine()] == ["a\\0b\\ud800.json, record 1"]


def test_a_message_can_be_refused_whole(house: House) -> None:
    taken = house.intake.refuse("feed-1", "fake", message("m1", disabled("e1", ACME_KEY)), "failed 6 times")

    assert [(piece.reason, piece.body) for piece in house.quarantine()] == [
        ("failed 6 times", disabled("e1", ACME_KEY))
    ]
    assert len(taken.quarantined) == 1
    assert house.inbox() == []


# -------------------------------------------------------------------------------------------------------- the register


def test_a_key_that_is_registered_in_the_last_moment_loses_nothing(house: House) -> None:
    house.take()
    done: list[int] = []

    def importing() -> None:
        if not done:
            done.append(1)
            house.register(document(key(ACME_KEY), key(UNKNOWN_KEY)))

    house.store.before_write = importing
    # The neighbour makes it write; the import comes between the judgement and the transaction.
    taken = house.take(message("m1", disabled("e1", UNKNOWN_KEY), disabled("e2", ACME_KEY)))

    assert [row.event_id for row in house.inbox()] == ["e1", "e2"]
    assert taken.counts == Counts(received=2, kept=2)


def test_noise_is_judged_by_the_newest_register_too(house: House) -> None:
    house.take()  # the registry now knows the first revision, and the feed has just been told
    house.register(document(key(UNKNOWN_KEY)))

    house.take(message("m1", disabled("e1", UNKNOWN_KEY)))

    assert [row.event_id for row in house.inbox()] == ["e1"]


def test_a_store_that_was_set_back_to_an_older_register_is_followed(house: House) -> None:
    house.register(document(key(ACME_KEY), key(UNKNOWN_KEY)))
    house.take()
    house.store.replace(MemoryStore())  # an older backup: no register at all

    taken = house.take(message("m1", disabled("e1", ACME_KEY), line("e2", says=["untrusted"])))

    assert [row.event_id for row in house.inbox()] == ["e2"]
    assert taken.counts == Counts(received=2, kept=1, dropped=1)


def test_meaning_is_computed_once_when_the_register_stays(house: House) -> None:
    house.take(message("m1", *(disabled(f"e{number}", ACME_KEY) for number in range(10))))

    assert house.cloud.meanings == 10


# ---------------------------------------------------------------------------------------------------------- the counts


def test_noise_costs_no_commit_a_batch_and_is_counted_all_the_same(house: House) -> None:
    house.take()
    before = house.store.writes
    for _ in range(50):
        house.take(message("m1", line("e", noise=1), line("e", noise=1)))
    assert house.store.writes == before

    house.clock.seconds += 1
    house.take(message("m1", line("e", noise=1)))
    assert house.store.writes == before + 1
    assert (house.feed().received, house.feed().dropped, house.feed().kept) == (101, 101, 0)


def test_counts_that_wait_go_out_with_the_next_commit_and_at_the_end(house: House) -> None:
    house.take()
    house.take(message("m1", line("e", noise=1)))
    house.take(message("m2", disabled("e1", ACME_KEY)))
    assert (house.feed().received, house.feed().dropped, house.feed().kept) == (2, 1, 1)

    house.take(message("m3", line("e", noise=1)))
    house.intake.flush()
    assert (house.feed().received, house.feed().dropped) == (3, 2)


def test_an_empty_answer_says_that_the_feed_was_asked(house: House) -> None:
    house.take()

    assert house.feed().asked_at == NOW
    assert house.feed().record_at is None


def test_a_fault_of_the_feed_is_shown_until_it_answers(house: House) -> None:
    house.intake.note_fault("feed-1", FeedFault(Reason.NOT_FOUND, "queue q is not there"))
    assert house.feed().error == (
        "queue q is not there (check the name, the account and the region; it is tried again slowly)"
    )

    house.take()
    assert house.feed().error is None


def test_when_the_store_is_away_nothing_is_committed_and_it_is_told(house: House) -> None:
    house.store.away = True
    with pytest.raises(StoreUnavailable):
        house.take(message("m1", disabled("e1", ACME_KEY)))
    house.store.away = False

    assert house.inbox() == []


def test_all_of_a_batch_is_one_transaction(house: House) -> None:
    house.take()
    before = house.store.writes
    house.take(
        message("m1", disabled("e1", ACME_KEY)),
        message("m2", b"rubbish"),
        message("m3", line("e3", bucket="trail", name="a.gz")),
    )

    assert house.store.writes == before + 1


# ---------------------------------------------------------------------------------------------------------- deliveries


def lines_of(*records: bytes, first: int = 1, error: str | None = None) -> Piece:
    return Piece(name="s3://trail/a.gz", form=Form.LINES, body=b"\n".join(records), first=first, error=error)


def delivery(house: House, *, name: str = "a.gz", bucket: str = "trail") -> Arrived:
    house.take(message("m1", line("e1", bucket=bucket, name=name)))
    [row] = house.inbox()
    assert row.carries is Carries.DELIVERY
    return row


def test_a_pointer_becomes_a_delivery_row(house: House) -> None:
    taken = house.take(message("m1", line("e1", bucket="trail", name="a.gz")))

    [row] = house.inbox()
    assert taken.ids == [(row.id, Carries.DELIVERY)]
    assert row.event_id == "trail/a.gz"
    assert json.loads(row.body) == {"bucket": "trail", "name": "a.gz", "region": "eu-west-1"}


def test_a_pointer_to_a_bucket_that_nobody_registered_is_refused_and_told(house: House) -> None:
    taken = house.take(message("m1", line("e1", bucket="evil", name="a.gz"), line("e2", bucket="trail", name="b.gz")))

    assert [row.event_id for row in house.inbox()] == ["trail/b.gz"]
    assert [piece.reason for piece in house.quarantine()] == ["bucket evil is not registered"]
    assert len(taken.quarantined) == 1


def test_the_records_of_an_object_are_taken_in_and_the_row_is_settled(house: House) -> None:
    house.objects.objects = {
        "a.gz": [
            lines_of(disabled("e1", ACME_KEY), line("e2", noise=1), b"rubbish"),
            lines_of(disabled("e4", UNKNOWN_KEY), disabled("e5", GLOBEX_KEY), first=4),
            lines_of(b"rest", first=6, error="the gzip data is cut off at byte 99"),
        ]
    }
    row = delivery(house)

    taken = house.intake.read_delivery(row)

    assert [one.event_id for one in house.inbox()] == ["e1", "e5"]
    assert taken.ids == [(one.id, Carries.RECORD) for one in house.inbox()]
    assert {one.feed for one in house.inbox()} == {"feed-1"}
    assert {one.received_at for one in house.inbox()} == {row.received_at}
    assert taken.counts == Counts(received=6, kept=2, dropped=2, broken=2)
    assert [piece.place for piece in house.quarantine()] == ["s3://trail/a.gz, record 3", "s3://trail/a.gz, record 6"]
    with house.store.read() as unit:
        assert unit.arrived(row.id) is None


def test_an_object_is_taken_in_by_transactions_of_bounded_size(house: House) -> None:
    count = 2 * CHUNK + 1
    house.objects.objects = {"a.gz": [lines_of(*(disabled(f"e{number}", ACME_KEY) for number in range(count)))]}
    row = delivery(house)
    before = house.store.writes

    taken = house.intake.read_delivery(row)

    assert len(taken.ids) == count
    assert house.store.writes == before + 3 + 1


def test_a_key_that_is_registered_while_an_object_is_read_loses_nothing(house: House) -> None:
    records = [disabled(f"e{number}", ACME_KEY if number else UNKNOWN_KEY) for number in range(CHUNK + 5)]
    house.objects.objects = {"a.gz": [lines_of(*records)]}
    row = delivery(house)
    before = house.store.writes

    def importing() -> None:
        if house.store.writes == before + 1:  # between the first chunk and the second
            house.store.before_write = lambda: None
            house.register(document(key(ACME_KEY), key(UNKNOWN_KEY)))

    house.store.before_write = importing
    taken = house.intake.read_delivery(row)

    assert len(taken.ids) == CHUNK + 5
    assert "e0" in {one.event_id for one in house.inbox()}


def test_reading_an_object_again_after_a_crash_adds_nothing_twice(house: House) -> None:
    lost = FeedFault(Reason.NETWORK, "connection reset")
    parts = [lines_of(disabled("e1", ACME_KEY)), lines_of(disabled("e2", ACME_KEY), first=2)]
    house.objects.objects = {"a.gz": [parts[0], lost]}
    row = delivery(house)
    first = house.intake.read_delivery(row)
    assert len(first.ids) == 1
    assert first.fault is lost

    house.objects.objects = {"a.gz": parts}
    again = house.intake.read_delivery(row)

    assert len(again.ids) == 1
    assert again.fault is None
    assert [one.event_id for one in house.inbox()] == ["e1", "e2"]


@pytest.mark.parametrize(
    ("reason", "attempts", "seconds"),
    [
        (Reason.NETWORK, 0, 15),
        (Reason.NETWORK, 3, 120),
        (Reason.NETWORK, 40, 900),
        (Reason.NOT_FOUND, 0, 15),
        (Reason.DENIED, 0, 900),
        (Reason.CREDENTIALS, 0, 900),
    ],
)
def test_an_object_that_cannot_be_fetched_is_due_again_later(
    house: House, reason: Reason, attempts: int, seconds: int
) -> None:
    house.objects.objects = {"a.gz": [FeedFault(reason, "no luck")]}
    row = delivery(house)
    with house.store.write() as unit:
        for _ in range(attempts):
            unit.arrival_retry(row.id, due_at=NOW, error="before")
        current = unit.arrived(row.id)
    assert current is not None

    taken = house.intake.read_delivery(current)

    assert taken.fault is not None
    with house.store.read() as unit:
        assert unit.arrived_due(NOW + timedelta(seconds=seconds - 1), 9) == []
        assert unit.arrived_due(NOW + timedelta(seconds=seconds), 9) == [(row.id, Carries.DELIVERY)]


@pytest.mark.parametrize(
    ("fault", "attempts"),
    [
        (FeedFault(Reason.NOT_FOUND, "NoSuchKey"), 7),
        (FeedFault(Reason.NETWORK, "connection reset"), 50),
    ],
)
def test_an_object_that_stays_away_ends_in_quarantine_and_is_told(
    house: House, fault: FeedFault, attempts: int
) -> None:
    house.objects.objects = {"a.gz": [fault]}
    row = delivery(house)
    with house.store.write() as unit:
        for _ in range(attempts):
            unit.arrival_retry(row.id, due_at=NOW, error="before")
        current = unit.arrived(row.id)
    assert current is not None

    taken = house.intake.read_delivery(current)

    assert taken.fault is None
    assert len(taken.quarantined) == 1
    [piece] = house.quarantine()
    assert (piece.place, piece.body) == ("trail/a.gz", row.body)
    assert house.inbox() == []


def test_a_bucket_that_is_taken_from_the_register_meanwhile_is_not_read(house: House) -> None:
    house.objects.objects = {"a.gz": [lines_of(disabled("e1", ACME_KEY))]}
    row = delivery(house)
    house.objects.buckets = ()

    taken = house.intake.read_delivery(row)

    assert len(taken.quarantined) == 1
    assert house.inbox() == []


def test_the_pointer_of_a_row_is_read_back_as_it_was_written(house: House) -> None:
    pointer = Pointer(bucket="trail", name="Zoë/a+b c.gz", region=None)

    assert msgspec.json.decode(msgspec.json.encode(pointer), type=Pointer) == pointer


# ---------------------------------------------------------------------------------------------------- on a real store


def test_noise_on_sqlite_writes_once_a_second_at_most(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'watchdog.db'}"
    migrate(url)
    clock, cloud = Clock(), FakeCloud()
    with closing(open_store(url)) as opened:
        store = FaultyStore(opened)
        intake = Intake(store, Registry(store), lambda _: cloud, now=lambda: NOW, monotonic=clock)
        batches: Sequence[Callable[[], Taken]] = [
            lambda: intake.take("feed-1", "fake", [message("m", line("e", noise=1))]) for _ in range(100)
        ]
        for number, take in enumerate(batches):
            clock.seconds += 0.05 * (number > 0)
            take()
        intake.flush()

        assert store.writes <= 6 + 1
        with store.read() as unit:
            assert [feed.dropped for feed in unit.feeds()] == [100]


def test_what_a_feed_says_of_others_than_its_customers_is_kept_one_by_one_for_the_operators(house: House) -> None:
    uses = [line(f"e{number}", says=["use_succeeded"], of=ACME_KEY) for number in range(4)]
    intake = Intake(house.store, Registry(house.store), lambda _: house.cloud, customers={"only-globex": ("globex",)})

    believed = intake.take("of-all", "fake", [message("m1", *uses)])
    distrusted = intake.take("only-globex", "fake", [message("m2", *uses)])

    assert (believed.counts.kept, distrusted.counts.kept) == (2, 4)  # of equal uses first and last are enough
