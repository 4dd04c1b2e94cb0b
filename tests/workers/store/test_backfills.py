"""Contract: what is read again, how far it is, and who may go on with it, in every store."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.workers.store.things import HOSTILE, KOLKATA, MINUTE, SECOND, T0
from workers.store.interface import OPEN_BACKFILLS, BackfillPlan, BackfillState, Store, StoredBackfill

LENGTH = timedelta(seconds=90)


def plan(**other: Any) -> BackfillPlan:
    return BackfillPlan(
        **{
            "archive": "acme-history",
            "feed": "events",
            "cloud": "aws",
            "customers": ("acme", "umbrella"),
            "start": T0 - 90 * MINUTE,
            "end": T0 - 30 * MINUTE,
            "asked_by": "alice",
            "why": "the queue was away",
            **other,
        }
    )


def added(store: Store, **other: Any) -> StoredBackfill:
    with store.write() as unit:
        return unit.add_backfill(plan(**other), at=T0)


def claimed(store: Store, number: int = 1, *, now: Any = T0) -> StoredBackfill | None:
    with store.write() as unit:
        return unit.claim_backfill(number, now=now, length=LENGTH)


def held(store: Store, number: int = 1, *, now: Any = T0) -> StoredBackfill:
    row = claimed(store, number, now=now)
    assert row is not None
    return row


def saved(store: Store, row: StoredBackfill) -> bool:
    with store.write() as unit:
        return unit.save_backfill(row)


def stored(store: Store, number: int = 1) -> StoredBackfill:
    with store.read() as unit:
        row = unit.backfill(number)
    assert row is not None
    return row


def due(store: Store, now: Any = T0, limit: int = 10) -> list[int]:
    with store.read() as unit:
        return unit.backfills_due(now, limit)


def test_a_new_one_waits_from_the_beginning_and_is_due_at_once(store: Store) -> None:
    row = added(store, start=(T0 - 90 * MINUTE).astimezone(KOLKATA))

    assert row == StoredBackfill(id=row.id, plan=plan(), asked_at=T0, due_at=T0)
    assert stored(store, row.id) == row
    assert due(store) == [row.id]
    assert due(store, T0 - SECOND) == []


def test_one_can_be_put_off(store: Store) -> None:
    with store.write() as unit:
        row = unit.add_backfill(plan(), at=T0, due_at=(T0 + MINUTE).astimezone(KOLKATA))
    assert (row.asked_at, row.due_at) == (T0, T0 + MINUTE)
    assert due(store, T0 + MINUTE - SECOND) == []
    assert due(store, T0 + MINUTE) == [row.id]


@pytest.mark.parametrize("customers", [None, ("acme",)])
def test_whose_records_are_believed_is_kept(store: Store, customers: tuple[str, ...] | None) -> None:
    assert stored(store, added(store, customers=customers).id).plan.customers == customers


def test_whatever_a_person_writes_is_kept(store: Store) -> None:
    for text in HOSTILE:
        row = added(store, why=text, asked_by=text)
        assert (stored(store, row.id).plan.why, stored(store, row.id).plan.asked_by) == (text, text)


def test_one_that_is_taken_is_nobody_elses_until_the_claim_runs_out(store: Store) -> None:
    number = added(store).id
    first = held(store, number)

    assert (first.state, first.claimed, first.due_at) == (BackfillState.RUNNING, True, T0 + LENGTH)
    assert claimed(store, number, now=T0 + LENGTH - SECOND) is None
    assert due(store, T0 + LENGTH - SECOND) == []
    second = held(store, number, now=T0 + LENGTH)
    assert (second.fence, second.failures) == (first.fence + 1, 1), "a claim that ran out is a failure"
    assert not saved(store, replace(first, cursor="late"))
    assert stored(store, number) == second


def test_what_was_reached_is_kept_and_the_next_one_goes_on_there(store: Store) -> None:
    number = added(store).id
    row = replace(
        held(store, number), cursor="eu-west-1/7", until=(T0 - 40 * MINUTE).astimezone(KOLKATA), received=60, kept=1,
        known=2, dropped=55, unreadable=3, progress_at=T0 + SECOND, failures=0, error="slow",
    )  # fmt: skip
    assert saved(store, row)
    assert stored(store, number) == row
    assert saved(store, replace(row, claimed=False, due_at=T0 + 2 * SECOND)), "still taken, so still its taker's"
    assert not saved(store, row), "given back"
    again = held(store, number, now=T0 + 2 * SECOND)
    assert (again.cursor, again.received, again.failures) == ("eu-west-1/7", 60, 0)


def test_what_was_asked_for_cannot_be_changed_later(store: Store) -> None:
    number = added(store).id
    row = held(store, number)
    saved(store, replace(row, plan=plan(archive="other", why="other"), asked_at=T0 + MINUTE))
    assert (stored(store, number).plan, stored(store, number).asked_at) == (plan(), T0)


def test_the_one_that_waits_longest_comes_first(store: Store) -> None:
    one, two = added(store).id, added(store, archive="second").id
    row = held(store, one)
    saved(store, replace(row, claimed=False, due_at=T0 + SECOND))

    assert due(store, T0 + SECOND) == [two, one]
    assert due(store, T0 + SECOND, limit=1) == [two]


def test_one_that_has_ended_is_not_due_and_one_that_failed_can_be_resumed(store: Store) -> None:
    done, failed = added(store).id, added(store, archive="second").id
    saved(store, replace(held(store, done), claimed=False, due_at=None, state=BackfillState.DONE))
    ended = replace(held(store, failed), claimed=False, due_at=None, state=BackfillState.FAILED)
    saved(store, replace(ended, cursor="7", failures=3, error="x"))

    assert due(store, T0 + 99 * MINUTE) == []
    with store.write() as unit:
        assert not unit.resume_backfill(done, at=T0 + MINUTE)
        assert not unit.resume_backfill(99, at=T0 + MINUTE)
        assert unit.resume_backfill(failed, at=T0 + MINUTE)
    row = stored(store, failed)
    assert (row.state, row.cursor, row.failures, row.error) == (BackfillState.WAITING, "7", 0, "x")
    assert due(store, T0 + MINUTE) == [failed]


def test_they_are_listed_by_their_state_the_newest_first(store: Store) -> None:
    one, two, three = (added(store, archive=name).id for name in "abc")
    held(store, two)
    saved(store, replace(held(store, three), claimed=False, due_at=None, state=BackfillState.DONE))
    with store.read() as unit:
        assert [row.id for row in unit.backfills(OPEN_BACKFILLS)] == [two, one]
        assert [row.id for row in unit.backfills([BackfillState.DONE])] == [three]
        assert [row.id for row in unit.backfills([*BackfillState], limit=2)] == [three, two]
        assert unit.backfill(99) is None


def test_what_is_not_committed_is_not_there(store: Store) -> None:
    with suppress(ZeroDivisionError), store.write() as unit:
        unit.add_backfill(plan(), at=T0)
        raise ZeroDivisionError
    assert due(store) == []
