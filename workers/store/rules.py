"""What every store decides alike, whatever it is kept in."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from workers.store.interface import APART, Attempt, FeedSeen, NoticeState, ProbeOutcome


class _OfAccount(Protocol):
    @property
    def cloud(self) -> str: ...
    @property
    def account(self) -> str: ...


P = TypeVar("P", bound=_OfAccount)


def utc(at: datetime) -> datetime:
    """Bring an aware time to UTC. Raises ValueError for a naive one."""
    if at.tzinfo is None:
        raise ValueError("the store needs aware times")
    return at.astimezone(UTC)


def check_settlement(state: NoticeState, due_at: datetime | None) -> None:
    """Raise ValueError for an outcome that would leave the notice held by nobody, or due for ever."""
    if state is NoticeState.LEASED:
        raise ValueError("a lease is settled, not prolonged")
    if (state is NoticeState.QUEUED) != (due_at is not None):
        raise ValueError("a notice needs a due time exactly when it goes back to the queue")


def error_of(state: NoticeState, attempt: Attempt) -> str | None:
    """Return what stands beside the notice as its last error."""
    if state is NoticeState.ACCEPTED:
        return None
    return f"{attempt.reason}: {attempt.excerpt}" if attempt.excerpt else attempt.reason


def merged(known: FeedSeen, new: FeedSeen) -> FeedSeen:
    """Add `new` to what is known of a feed: counts add up, times never go back, an error stays until an answer came."""
    cleared = new.asked_at is not None and new.error is None
    return FeedSeen(
        feed=known.feed,
        asked_at=_later(known.asked_at, new.asked_at),
        record_at=_later(known.record_at, new.record_at),
        received=known.received + new.received,
        kept=known.kept + new.kept,
        dropped=known.dropped + new.dropped,
        broken=known.broken + new.broken,
        error=None if cleared else (new.error or known.error),
    )


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    if one is None or other is None:
        return one or other
    return max(one, other)


def wanted_from(at: datetime, last_at: datetime | None) -> datetime:
    """Return from when on a probe that was wanted at `at` may be taken."""
    return at if last_at is None else max(at, last_at + APART)


def next_probe(outcome: ProbeOutcome, wanted_at: datetime | None) -> tuple[datetime, datetime | None]:
    """Return when a settled row is due next, and since when it is wanted; `wanted_at`: it was wanted meanwhile."""
    if wanted_at is not None:
        return wanted_from(wanted_at, outcome.at), wanted_at
    return outcome.due_at, outcome.due_at if outcome.wanted else None


def paced(rows: Iterable[P], taken: Mapping[tuple[str, str], int], per_account: int) -> list[P]:
    """Return the rows that may be taken when so many of each account (cloud, account) have been taken already."""
    counts = dict(taken)
    allowed: list[P] = []
    for row in rows:
        place = (row.cloud, row.account)
        if counts.get(place, 0) < per_account:
            counts[place] = counts.get(place, 0) + 1
            allowed.append(row)
    return allowed
