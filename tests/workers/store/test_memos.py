"""What periodic jobs remember, when they are due again, and how long the oldest notice has waited: in every store."""

from tests.workers.store.things import MINUTE, SECOND, T0, accept, notice
from workers.store.interface import Attempt, NoticeState, Store


def test_a_memo_is_kept_over_the_one_before_and_only_under_its_name(store: Store) -> None:
    with store.write() as unit:
        unit.put_memo("audit", b"one", at=T0)
        unit.put_memo("synthetic:aws", b"\x00other", at=T0)
        unit.put_memo("audit", b"two", at=T0 + SECOND)
    with store.read() as unit:
        assert [unit.memo(name) for name in ("audit", "synthetic:aws", "never")] == [b"two", b"\x00other", None]


def test_the_jobs_that_were_ever_claimed_say_when_they_are_due_again(store: Store) -> None:
    with store.write() as unit:
        assert unit.jobs() == {}
        unit.claim_job("advance", now=T0, every=MINUTE)
        unit.claim_job("plan", now=T0 + SECOND, every=2 * MINUTE)
        assert not unit.claim_job("advance", now=T0 + SECOND, every=MINUTE)
    with store.read() as unit:
        assert unit.jobs() == {"advance": T0 + MINUTE, "plan": T0 + SECOND + 2 * MINUTE}


def test_the_oldest_unsent_notice_is_the_oldest_that_has_not_left_whether_it_is_due_or_not(store: Store) -> None:
    with store.write() as unit:
        assert unit.oldest_unsent_notice() is None
        unit.add_notices([notice("n-1", dedup="a", created_at=T0), notice("n-2", dedup="b", created_at=T0 + MINUTE)])
        assert unit.oldest_unsent_notice() == T0
        lease = unit.lease("n-1", now=T0, length=MINUTE)
        assert lease is not None
        assert unit.oldest_unsent_notice() == T0, "leased is not sent"
        refused = Attempt(at=T0, outcome="retry", reason="timeout", http_status=None, excerpt="")
        unit.settle("n-1", lease.fence, state=NoticeState.QUEUED, attempt=refused, due_at=T0 + 5 * MINUTE)
        assert unit.oldest_unsent_notice() == T0, "to be tried again is not sent"
        accept(unit, "n-1", now=T0 + 6 * MINUTE)
        assert unit.oldest_unsent_notice() == T0 + MINUTE
