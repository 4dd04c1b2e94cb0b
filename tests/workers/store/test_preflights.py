"""Contract: when the pre-flight of a key is due, who may do it, and what came of it, in every store."""

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.workers.store.things import KEY, KOLKATA, MINUTE, SECOND, T0
from workers.store.interface import PreflightOutcome, Store, StoredPreflight, Unit

LENGTH = 2 * MINUTE
DAY = timedelta(days=1)


def outcome(key: str = KEY, fence: int = 1, **other: Any) -> PreflightOutcome:
    return PreflightOutcome(
        **{
            "key": key, "fence": fence, "at": T0 + SECOND, "due_at": T0 + DAY, "summary": b'{"s":1}',
            "doc": b'{"d":\x00}', **other,
        }
    )  # fmt: skip


def planned(store: Store, *keys: str, due_at: datetime = T0) -> int:
    with store.write() as unit:
        return unit.plan_preflights(dict.fromkeys(keys or (KEY,), due_at))


def due(store: Store, now: datetime = T0, limit: int = 100) -> list[str]:
    with store.read() as unit:
        return unit.preflights_due(now, limit)


def take(store: Store, *keys: str, now: datetime = T0, due_only: bool = True) -> dict[str, int]:
    with store.write() as unit:
        return unit.take_preflights(keys or (KEY,), now=now, length=LENGTH, due_only=due_only)


def settle(store: Store, *outcomes: PreflightOutcome) -> set[str]:
    with store.write() as unit:
        return unit.settle_preflights(outcomes)


def want(store: Store, *keys: str, at: datetime = T0) -> None:
    with store.write() as unit:
        unit.want_preflights(keys or (KEY,), at=at)


def row(store: Store, key: str = KEY) -> StoredPreflight:
    with store.read() as unit:
        return unit.preflights([key])[key]


def test_a_planned_key_has_its_turn_and_no_result(store: Store) -> None:
    assert planned(store, due_at=T0.astimezone(KOLKATA)) == 1
    assert row(store) == StoredPreflight(key=KEY, due_at=T0)
    with store.read() as unit:
        assert (unit.preflight_docs([KEY]), unit.preflights(["nowhere"])) == ({}, {})


def test_planning_keeps_what_is_there_and_forgets_what_has_left(store: Store) -> None:
    planned(store, "a", "b")
    take(store, "a", "b")
    settle(store, outcome("a"), outcome("b"))
    before = row(store, "a")

    assert planned(store, "a", "c", due_at=T0 + 9 * MINUTE) == 2
    assert row(store, "a") == before
    with store.read() as unit:
        assert [one.key for one in unit.all_preflights()] == ["a", "c"]
        assert set(unit.preflight_docs("abc")) == {"a"}
    assert planned(store, "a", "c") == 0


def test_many_keys_are_planned_and_read_at_once(store: Store) -> None:
    names = [f"k{number:04}" for number in range(1200)]
    assert planned(store, *names) == 1200
    with store.read() as unit:
        assert [one.key for one in unit.all_preflights()] == names
        assert len(unit.preflights(names)) == 1200
    assert planned(store, *names[:100]) == 1100


def test_the_oldest_comes_first_and_the_wanted_ones_before(store: Store) -> None:
    with store.write() as unit:
        unit.plan_preflights({"a": T0 - SECOND, "b": T0 - 3 * SECOND, "c": T0 + MINUTE, "d": T0 + DAY})
    assert due(store) == ["b", "a"]
    want(store, "d", "nowhere")
    assert due(store) == ["d", "b", "a"]
    assert due(store, limit=2) == ["d", "b"]
    assert due(store, T0 - 2 * SECOND) == ["b"]


def test_a_taken_key_is_not_due_until_the_claim_runs_out(store: Store) -> None:
    planned(store)
    assert take(store) == {KEY: 1}
    assert (due(store, T0 + LENGTH - SECOND), take(store, now=T0 + LENGTH - SECOND)) == ([], {})
    with store.read() as unit:
        assert unit.preflights_claimed(T0 + LENGTH - SECOND) == 1
        assert unit.preflights_claimed(T0 + LENGTH) == 0
    assert take(store, now=T0 + LENGTH) == {KEY: 2}
    assert settle(store, outcome(fence=1)) == set()
    assert settle(store, outcome(fence=2)) == {KEY}


def test_a_person_takes_a_key_whether_it_is_due_or_not_and_from_whoever_has_it(store: Store) -> None:
    planned(store, due_at=T0 + DAY)
    assert take(store) == {}
    assert take(store, due_only=False) == {KEY: 1}
    assert take(store, due_only=False) == {KEY: 2}
    assert settle(store, outcome(fence=1)) == set()


def test_of_takers_at_the_same_moment_one_gets_the_key(store: Store) -> None:
    names = [f"k{number}" for number in range(20)]
    planned(store, *names)
    got: list[str] = []
    gate = threading.Barrier(4)

    def run() -> None:
        gate.wait(10)
        got.extend(take(store, *names))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(names)


def test_what_came_of_it_is_kept_and_the_first_time_and_the_evidence_stay(store: Store) -> None:
    planned(store)
    take(store)
    assert settle(store, outcome(told_at=(T0 + 2 * SECOND).astimezone(KOLKATA))) == {KEY}
    assert row(store) == StoredPreflight(
        key=KEY, due_at=T0 + DAY, fence=1, first_at=T0 + SECOND, last_at=T0 + SECOND, told_at=T0 + 2 * SECOND,
        summary=b'{"s":1}',
    )  # fmt: skip
    take(store, now=T0 + DAY)
    settle(store, outcome(fence=2, at=T0 + DAY, due_at=T0 + 2 * DAY, summary=b"2", doc=b"two"))
    found = row(store)
    assert (found.first_at, found.last_at, found.told_at, found.summary) == (
        T0 + SECOND, T0 + DAY, T0 + 2 * SECOND, b"2",
    )  # fmt: skip
    with store.read() as unit:
        assert unit.preflight_docs([KEY]) == {KEY: b"two"}


def test_a_key_is_settled_once(store: Store) -> None:
    planned(store)
    take(store)
    assert [settle(store, outcome()), settle(store, outcome(doc=b"twice"))] == [{KEY}, set()]


def test_a_key_wanted_while_it_is_checked_is_checked_again_at_once(store: Store) -> None:
    planned(store)
    take(store)
    want(store, at=T0 + SECOND)
    assert due(store, T0 + SECOND) == []
    settle(store, outcome())
    assert (row(store).due_at, due(store, T0 + SECOND)) == (T0 + SECOND, [KEY])
    take(store, now=T0 + SECOND)
    settle(store, outcome(fence=2))
    assert row(store).due_at == T0 + DAY


def test_a_key_that_is_due_already_stays_due(store: Store) -> None:
    planned(store, due_at=T0 - MINUTE)
    want(store)
    assert (row(store).due_at, row(store).wanted_at) == (T0 - MINUTE, T0)


def test_what_is_rolled_back_was_never_done(store: Store) -> None:
    planned(store, "a", "b")
    take(store, "b")
    before = (row(store, "a"), row(store, "b"))

    def change(unit: Unit) -> None:
        unit.take_preflights(["a"], now=T0, length=LENGTH)
        unit.settle_preflights([outcome("b")])
        unit.want_preflights(["a"], at=T0)
        unit.plan_preflights({})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), store.write() as unit:
        change(unit)
    assert (row(store, "a"), row(store, "b")) == before


def test_a_naive_time_is_refused(store: Store) -> None:
    with pytest.raises(Exception, match="aware"):
        planned(store, due_at=T0.replace(tzinfo=None))
