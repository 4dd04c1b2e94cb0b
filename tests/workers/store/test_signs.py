"""Signs of life, in every store: the newest of each route over each feed stays; and when a key last gave an answer."""

from datetime import timedelta

from tests.workers.store.things import HOSTILE, KOLKATA, MINUTE, SECOND, T0
from watchdog.coverage import Sign
from workers.store.interface import ProbeOutcome, ProbePlan, Store


def sign(feed: str, route: str, after: timedelta) -> Sign:
    return Sign(feed=feed, route=route, at=T0 + after)


def test_the_newest_sign_of_each_route_over_each_feed_stays(store: Store) -> None:
    with store.write() as unit:
        assert unit.signs() == []
        unit.note_signs(
            [sign("east", "aws:1", MINUTE), sign("west", "aws:1", 3 * MINUTE), sign("east", "aws:2", SECOND)]
        )
    with store.write() as unit:
        unit.note_signs([sign("east", "aws:1", 2 * MINUTE), sign("west", "aws:1", MINUTE)])
        unit.note_signs([])
    with store.read() as unit:
        assert unit.signs() == [
            sign("east", "aws:1", 2 * MINUTE), sign("east", "aws:2", SECOND), sign("west", "aws:1", 3 * MINUTE)
        ]  # fmt: skip


def test_of_several_signs_in_one_call_the_newest_counts_in_whatever_order(store: Store) -> None:
    times = [2 * MINUTE, 5 * MINUTE, 3 * MINUTE]
    with store.write() as unit:
        unit.note_signs(sign("east", "aws:1", after) for after in times)
        unit.note_signs(sign("east", "aws:2", after) for after in reversed(times))
    with store.read() as unit:
        assert {one.at for one in unit.signs()} == {T0 + 5 * MINUTE}


def test_a_sign_keeps_its_moment_whatever_zone_it_is_given_in(store: Store) -> None:
    with store.write() as unit:
        unit.note_signs([Sign(feed="east", route="aws:1", at=(T0 + MINUTE).astimezone(KOLKATA))])
        unit.note_signs([sign("east", "aws:1", SECOND)])
    with store.read() as unit:
        assert unit.signs() == [sign("east", "aws:1", MINUTE)]


def test_names_that_an_outsider_had_a_part_in_are_kept_apart(store: Store) -> None:
    with store.write() as unit:
        unit.note_signs(sign(name, route, MINUTE) for name in ("a", "b") for route in HOSTILE)
    with store.read() as unit:
        assert {(one.feed, one.route) for one in unit.signs()} == {(name, route) for name in "ab" for route in HOSTILE}


def test_an_answer_is_remembered_through_probes_that_could_not_tell(store: Store) -> None:
    plan = ProbePlan(key="k", cloud="aws", account="1", every=5 * MINUTE, due_at=T0)
    with store.write() as unit:
        unit.plan_probes([plan])
        assert unit.probes(["k"])["k"].answered_at is None
    for number, passed in enumerate((False, None, None)):
        with store.write() as unit:
            (taken,) = unit.take_probes(["k"], now=T0 + number * MINUTE, length=MINUTE, per_account=None)
            outcome = ProbeOutcome(
                key="k", fence=taken.fence, at=T0 + number * MINUTE, passed=passed, words="", outcome="", failures=0,
                due_at=T0,
            )  # fmt: skip
            assert unit.settle_probes([outcome]) == {"k"}
    with store.read() as unit:
        assert (unit.probes(["k"])["k"].answered_at, unit.probes(["k"])["k"].last_at) == (T0, T0 + 2 * MINUTE)
