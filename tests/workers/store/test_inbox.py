"""Contract: the register's documents, the inbox and the quarantine, in every store."""

from tests.workers.store.things import KOLKATA, MINUTE, ODD_ZONE, SECOND, T0, arrival, piece
from workers.store.interface import Arrived, Carries, Store

RECORD, DELIVERY = Carries.RECORD, Carries.DELIVERY


def test_the_newest_register_counts_and_has_the_next_number(store: Store) -> None:
    with store.write() as unit:
        before = (unit.register_revision(), unit.register_latest())
        first = unit.register_add(b"one", at=T0, by="alice", source="a.yaml")
        second = unit.register_add(b"two", at=T0 + SECOND, by="bob", source="b.yaml")
    with store.read() as unit:
        assert before == (0, None)
        assert (first, second) == (1, 2)
        assert (unit.register_revision(), unit.register_latest()) == (2, (2, b"two"))


def test_a_received_row_comes_back_as_it_was(store: Store) -> None:
    with store.write() as unit:
        [number] = unit.receive([arrival("e-9", feed="acme-push", cloud="gcp", body=b"\x00\xff", carries=DELIVERY)])
    with store.read() as unit:
        assert unit.arrived(number) == Arrived(
            id=number,
            feed="acme-push",
            event_id="e-9",
            cloud="gcp",
            body=b"\x00\xff",
            received_at=T0,
            carries=DELIVERY,
            attempts=0,
        )


def test_a_row_is_received_once_per_feed_and_event_id(store: Store) -> None:
    with store.write() as unit:
        first = unit.receive([arrival("a"), arrival("b"), arrival("a", body=b"other")])
        second = unit.receive([arrival("b"), arrival("c"), arrival("b", feed="globex-sqs")])
    with store.write() as unit:
        third = unit.receive([arrival("c"), arrival("b", feed="globex-sqs")])

    assert len(first) == 2
    assert len(second) == 2
    assert len({*first, *second}) == 4
    assert third == []
    with store.read() as unit:
        assert [row.event_id for row in map(unit.arrived, first) if row] == ["a", "b"]
        assert [(row.feed, row.event_id) for row in map(unit.arrived, second) if row] == [
            ("acme-sqs", "c"),
            ("globex-sqs", "b"),
        ]


def test_feed_and_event_id_do_not_run_into_each_other(store: Store) -> None:
    with store.write() as unit:
        assert len(unit.receive([arrival("b,c", feed="a"), arrival("c", feed="a,b"), arrival('b","c', feed="a")])) == 3


def test_a_done_row_stays_known_and_gives_its_bytes_back(store: Store) -> None:
    with store.write() as unit:
        [number] = unit.receive([arrival()])
        unit.arrival_done(number, at=T0 + SECOND, outcome="observed")
        assert unit.receive([arrival()]) == []
        assert unit.arrived(number) is None
        assert unit.arrived_due(T0 + MINUTE, 10) == []
        # Nothing brings it back.
        unit.arrival_retry(number, due_at=T0, error="late")
        assert unit.claim_arrival(number, now=T0 + MINUTE, length=MINUTE) is None
        assert unit.arrived(number) is None
        assert unit.inbox_counts() == {"record": 0, "delivery": 0}


def test_an_unknown_row_is_nobodys(store: Store) -> None:
    with store.write() as unit:
        assert unit.arrived(404) is None
        assert unit.claim_arrival(404, now=T0, length=MINUTE) is None


def test_records_are_due_before_deliveries_and_the_oldest_first(store: Store) -> None:
    with store.write() as unit:
        late, early, pointer, same = unit.receive(
            [
                arrival("late", received_at=T0 + SECOND),
                arrival("early", received_at=T0),
                arrival("pointer", received_at=T0 - MINUTE, carries=DELIVERY),
                arrival("same", received_at=T0),
            ]
        )
        [future] = unit.receive([arrival("future", received_at=T0 + MINUTE)])
        now = T0 + SECOND
        assert unit.arrived_due(now, 10) == [(early, RECORD), (same, RECORD), (late, RECORD), (pointer, DELIVERY)]
        assert unit.arrived_due(now, 2) == [(early, RECORD), (same, RECORD)]
        assert unit.arrived_due(T0 + MINUTE, 10)[3] == (future, RECORD)
        assert unit.inbox_counts() == {"record": 4, "delivery": 1}


def test_the_order_of_time_does_not_depend_on_the_zone_it_was_said_in(store: Store) -> None:
    with store.write() as unit:
        second, first = unit.receive(
            [
                # Read as text the first of these looks the later one.
                arrival("second", received_at=(T0 + SECOND).astimezone(ODD_ZONE)),
                arrival("first", received_at=T0.astimezone(KOLKATA)),
            ]
        )
        assert unit.arrived_due(T0.astimezone(ODD_ZONE), 10) == [(first, RECORD)]
        assert unit.arrived_due((T0 + SECOND).astimezone(KOLKATA), 10) == [(first, RECORD), (second, RECORD)]


def test_a_retry_waits_for_its_time_and_counts(store: Store) -> None:
    with store.write() as unit:
        [number] = unit.receive([arrival()])
        unit.arrival_retry(number, due_at=T0 + MINUTE, error="decode failed")
        row = unit.arrived(number)
        assert row is not None
        assert row.attempts == 1
        assert unit.arrived_due(T0 + MINUTE - SECOND, 10) == []
        assert unit.arrived_due(T0 + MINUTE, 10) == [(number, RECORD)]


def test_a_claimed_row_is_not_due_until_the_claim_runs_out(store: Store) -> None:
    with store.write() as unit:
        [number] = unit.receive([arrival(carries=DELIVERY)])
        claimed = unit.claim_arrival(number, now=T0, length=MINUTE)
        assert claimed is not None
        assert (claimed.id, claimed.body, claimed.attempts, claimed.carries) == (number, b'{"n":1}', 0, DELIVERY)
    with store.write() as unit:
        assert unit.arrived_due(T0 + MINUTE - SECOND, 10) == []
        assert unit.claim_arrival(number, now=T0 + MINUTE - SECOND, length=MINUTE) is None
        # It is still to be worked, whoever holds it.
        assert unit.arrived(number) == claimed


def test_a_claim_that_ran_out_counts_as_a_failure(store: Store) -> None:
    with store.write() as unit:
        [number] = unit.receive([arrival()])
        now, seen = T0, []
        for _ in range(3):
            row = unit.claim_arrival(number, now=now, length=MINUTE)
            assert row is not None
            seen.append(row.attempts)
            now += MINUTE
    assert seen == [0, 1, 2]


def test_a_claim_that_was_settled_counts_once(store: Store) -> None:
    with store.write() as unit:
        [number] = unit.receive([arrival()])
        assert unit.claim_arrival(number, now=T0, length=MINUTE)
        unit.arrival_retry(number, due_at=T0 + SECOND, error="no such object yet")
        row = unit.claim_arrival(number, now=T0 + SECOND, length=MINUTE)
        assert row is not None
        assert row.attempts == 1
        unit.arrival_done(number, at=T0 + SECOND, outcome="read")
        assert unit.arrived(number) is None


def test_an_event_id_and_a_body_may_be_huge(store: Store) -> None:
    name = "x" * 100_000
    bodies = [bytes([number]) * (1 << 20) for number in range(3)]
    with store.write() as unit:
        ids = unit.receive([arrival(f"{name}{number}", body=body) for number, body in enumerate(bodies)])
        assert unit.receive([arrival(f"{name}1")]) == []
    with store.read() as unit:
        assert [row.body for row in map(unit.arrived, ids) if row] == bodies


def test_a_batch_of_thousands_keeps_its_order(store: Store) -> None:
    with store.write() as unit:
        ids = unit.receive([arrival(f"e-{number}") for number in range(2000)])
    with store.read() as unit:
        some = [unit.arrived(ids[number]) for number in (0, 49, 50, 1234, 1999)]
        assert [row.event_id for row in some if row] == ["e-0", "e-49", "e-50", "e-1234", "e-1999"]
        assert [number for number, _ in unit.arrived_due(T0, 3000)] == ids


def test_receiving_nothing_is_nothing(store: Store) -> None:
    with store.write() as unit:
        assert unit.receive([]) == []


def test_quarantine_keeps_the_same_bytes_of_a_feed_once(store: Store) -> None:
    first, other_feed = piece(b"{", place="1"), piece(b"{", place="2", feed="globex-sqs")
    other_bytes = piece(b"[", place="3", cloud="gcp", reason="nested", received_at=(T0 + SECOND).astimezone(KOLKATA))
    with store.write() as unit:
        numbers = [unit.quarantine(one) for one in (first, other_feed, other_bytes)]
        assert unit.quarantine(piece(b"{", place="4")) is None
    with store.read() as unit:
        assert unit.quarantine_count() == 3
        kept = unit.quarantined(10)
        assert kept == list(zip(numbers, (first, other_feed, other_bytes), strict=True))[::-1]
        assert kept[0][1].received_at.utcoffset() == T0.utcoffset()
        assert unit.quarantined(1) == kept[:1]
