"""Contract: what a transaction is, in every store."""
# ruff: noqa: PT012 -- it is the end of a transaction that matters

import hashlib
import threading
from datetime import datetime

import pytest
import sqlalchemy.exc

from tests.workers.store.conftest import Opened
from tests.workers.store.things import HOSTILE, KEY, MINUTE, T0, arrival, health, incident, notice, piece
from watchdog.evidence import verify
from workers.store import open_store
from workers.store.interface import Store, StoreFault, StoreUnavailable, Unit


def everything(unit: Unit) -> None:
    """Change every table."""
    unit.register_add(b"version: 1", at=T0, by="alice", source="register.yaml")
    unit.receive([arrival()])
    unit.quarantine(piece())
    unit.put_health(health())
    unit.put_incident(incident())
    unit.add_notices([notice()])
    unit.append_evidence("signal", KEY, {"n": 1}, at=T0)
    unit.keep_raw(b"raw", at=T0)
    unit.claim_job("sweep", now=T0, every=MINUTE)
    unit.feed_seen("acme-sqs", received=1)


def trace(unit: Unit) -> list[object]:
    """What there is to see of `everything`."""
    return [
        unit.register_revision(),
        unit.inbox_counts()["record"],
        unit.quarantine_count(),
        len(unit.healths([KEY])),
        len(unit.incidents(only_open=False)),
        unit.outbox_counts()["queued"],
        len(list(unit.evidence())),
        unit.raw(hashlib.sha256(b"raw").hexdigest()),
        len(unit.feeds()),
    ]


NOTHING = [0, 0, 0, 0, 0, 0, 0, None, 0]
ALL = [1, 1, 1, 1, 1, 1, 1, b"raw", 1]


def test_a_writer_sees_its_own_changes_and_others_see_them_after_it(store: Store) -> None:
    with store.write() as unit:
        everything(unit)
        inside = trace(unit)
    with store.read() as unit:
        after = trace(unit)

    assert (inside, after) == (ALL, ALL)


def test_an_exception_undoes_everything(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.write() as unit:
        everything(unit)
        raise ZeroDivisionError
    with store.write() as unit:
        assert trace(unit) == NOTHING
        # The job too: it is still to be run.
        assert unit.claim_job("sweep", now=T0, every=MINUTE)


def test_an_interrupt_undoes_everything(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), store.write() as unit:
        everything(unit)
        raise KeyboardInterrupt
    with store.read() as unit:
        assert trace(unit) == NOTHING


def test_the_next_writer_goes_on_after_a_rollback(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.write() as unit:
        unit.append_evidence("signal", KEY, {"n": 1}, at=T0)
        raise ZeroDivisionError
    with store.write() as unit:
        entry = unit.append_evidence("signal", KEY, {"n": 2}, at=T0)

    assert (entry.number, entry.body) == (1, '{"n":2}')


def test_a_reader_keeps_seeing_the_state_of_its_first_question(store: Store) -> None:
    with store.read() as reader:
        before = trace(reader)
        with store.write() as writer:
            everything(writer)
        during = trace(reader)
    with store.read() as reader:
        after = trace(reader)

    assert (before, during, after) == (NOTHING, NOTHING, ALL)


def test_nobody_sees_what_is_not_committed(store: Store) -> None:
    with store.write() as writer:
        everything(writer)
        with store.read() as reader:
            assert trace(reader) == NOTHING


def test_a_reader_cannot_change_anything(store: Store) -> None:
    with pytest.raises((RuntimeError, sqlalchemy.exc.DBAPIError)), store.read() as unit:
        unit.receive([arrival()])
    with store.read() as unit:
        assert trace(unit) == NOTHING


def test_a_transaction_that_has_ended_serves_nobody(store: Store) -> None:
    with store.write() as unit:
        everything(unit)
    with pytest.raises((RuntimeError, sqlalchemy.exc.InvalidRequestError)):
        unit.receive([arrival("late")])
    with store.read() as reader:
        assert trace(reader) == ALL


def test_a_naive_time_is_refused(store: Store) -> None:
    naive = T0.replace(tzinfo=None)

    with pytest.raises((ValueError, sqlalchemy.exc.StatementError), match="aware"), store.write() as unit:
        unit.receive([arrival(received_at=naive)])
    with pytest.raises((ValueError, sqlalchemy.exc.StatementError), match="aware"), store.write() as unit:
        unit.append_evidence("signal", KEY, {}, at=naive)


def test_threads_take_turns_and_leave_one_unbroken_chain(store: Store) -> None:
    faults: list[BaseException] = []

    def append(name: str) -> None:
        try:
            for number in range(20):
                with store.write() as unit:
                    unit.append_evidence("signal", name, {"n": number}, at=T0)
                    unit.incident_number()
        except BaseException as fault:
            faults.append(fault)
            raise

    threads = [threading.Thread(target=append, args=(f"thread {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert faults == []
    with store.write() as unit:
        entries = list(unit.evidence())
        assert verify(entries) == (80, None)
        assert unit.incident_number() == 81
    # Each thread's own entries stand in its own order.
    for thread_number in range(4):
        own = [entry.body for entry in entries if entry.subject == f"thread {thread_number}"]
        assert own == [f'{{"n":{number}}}' for number in range(20)]


def test_readers_do_not_wait_for_a_writer(store: Store) -> None:
    written = threading.Event()
    seen: list[int] = []

    def look() -> None:
        with store.read() as unit:
            seen.append(unit.register_revision())
        written.set()

    with store.write() as unit:
        unit.register_add(b"1", at=T0, by="alice", source="x")
        thread = threading.Thread(target=look)
        thread.start()
        assert written.wait(5), "the reader waits"
    thread.join()

    assert seen == [0]


def test_a_writer_that_waits_too_long_is_told_so(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    # Ten seconds are right in earnest and too long for a test.
    monkeypatch.setattr("workers.store.memory._TURN_SECONDS", 0.2)
    monkeypatch.setattr("workers.store.engines.TURN_SECONDS", 0.2)
    store = opened.store if opened.url == "memory:" else open_store(opened.url)

    with store.write(), pytest.raises(StoreUnavailable) as told, store.write():
        pass
    with store.write() as unit:  # and the turn was given back
        unit.register_add(b"1", at=T0, by="alice", source="x")

    assert told.value.reason is StoreFault.BUSY
    assert not told.value.permanent
    store.close()


def test_it_gives_back_any_text_of_an_outsider_exactly(store: Store) -> None:
    for text in HOSTILE:
        give_and_take(store, text)


def give_and_take(store: Store, text: str) -> None:
    late = datetime.max.replace(tzinfo=T0.tzinfo)
    with store.write() as unit:
        ids = unit.receive([arrival(f"id{text}", feed="f", cloud=text)])
        again = unit.receive([arrival(f"id{text}", feed="f")])
        unit.quarantine(piece(text.encode("utf-8", "surrogatepass"), place=text, reason=f"why {text}"))
        unit.put_health(health(f"s{text}", verdict=text))
        unit.put_incident(incident(f"i{text}", customer=text, subjects=(f"s{text}", text)))
        unit.feed_seen(f"feed{text}", asked_at=T0, error=f"e{text}")
        unit.arrival_retry(ids[0], due_at=late, error=text)
    with store.read() as unit:
        arrived = unit.arrived(ids[0])
        assert arrived is not None
        assert (arrived.event_id, arrived.cloud, again) == (f"id{text}", text, [])
        [(_, kept)] = unit.quarantined(1)
        assert (kept.place, kept.reason) == (text, f"why {text}")
        assert unit.healths([f"s{text}"]) == {f"s{text}": health(f"s{text}", verdict=text)}
        assert unit.incident(f"i{text}") == incident(f"i{text}", customer=text, subjects=(f"s{text}", text))
        assert unit.open_incidents([text]) == {text: f"i{text}"}
        assert (f"feed{text}", f"e{text}") in [(feed.feed, feed.error) for feed in unit.feeds()]
