"""Contract: when keys are probed, who may, and what came of it, in every store."""

import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.workers.store.things import KEY, KOLKATA, MINUTE, SECOND, T0
from workers.probes.interface import Canary
from workers.store.interface import APART, PACE, ProbeOutcome, ProbePlan, Store, StoredProbe, TakenProbe, Unit

LENGTH = 2 * MINUTE
CLOUDS = ("aws", "gcp")


def plan(key: str = KEY, **other: Any) -> ProbePlan:
    return ProbePlan(
        **{"key": key, "cloud": "aws", "account": "111122223333", "every": 5 * MINUTE, "due_at": T0, **other}
    )


def outcome(taken: TakenProbe, **other: Any) -> ProbeOutcome:
    return ProbeOutcome(
        **{
            "key": taken.key,
            "fence": taken.fence,
            "at": T0 + SECOND,
            "passed": True,
            "words": "usable",
            "outcome": "passed",
            "failures": 0,
            "due_at": T0 + 5 * MINUTE,
            **other,
        }
    )


def planned(store: Store, *plans: ProbePlan) -> int:
    with store.write() as unit:
        return unit.plan_probes(plans)


def due(store: Store, now: datetime = T0, *, limit: int = 100, per_account: int = 100) -> list[str]:
    with store.read() as unit:
        return unit.probes_due(now, limit, clouds=CLOUDS, per_account=per_account)


def take(
    store: Store, *keys: str, now: datetime = T0, length: timedelta = LENGTH, per_account: int | None = 100
) -> list[TakenProbe]:
    with store.write() as unit:
        return unit.take_probes(keys or (KEY,), now=now, length=length, per_account=per_account)


def settle(store: Store, *outcomes: ProbeOutcome) -> set[str]:
    with store.write() as unit:
        return unit.settle_probes(outcomes)


def want(store: Store, *keys: str, at: datetime = T0) -> None:
    with store.write() as unit:
        unit.want_probes(keys or (KEY,), at=at)


def row(store: Store, key: str = KEY) -> StoredProbe:
    with store.read() as unit:
        return unit.probes([key])[key]


# ------------------------------------------------------------------------------------------------------------- planning


def test_a_planned_key_has_never_been_probed(store: Store) -> None:
    assert planned(store, plan(due_at=T0.astimezone(KOLKATA))) == 1

    assert row(store) == StoredProbe(
        key=KEY, cloud="aws", account="111122223333", every=timedelta(minutes=5), due_at=T0
    )  # fmt: skip


def test_planning_the_same_again_leaves_the_due_time_and_what_was_found(store: Store) -> None:
    planned(store, plan())
    (taken,) = take(store)
    settle(store, outcome(taken, due_at=T0 + 7 * MINUTE))
    before = row(store)

    assert planned(store, plan(due_at=T0 + 99 * MINUTE)) == 0
    assert row(store) == before


@pytest.mark.parametrize(
    "change", [{"cloud": "gcp"}, {"account": "444455556666"}, {"every": MINUTE}, {"due_at": None}], ids=str
)
def test_a_changed_plan_is_taken_up_and_takes_the_key_from_whoever_probes_it(
    store: Store, change: dict[str, Any]
) -> None:
    planned(store, plan())
    (taken,) = take(store)
    new = plan(**{"due_at": T0 + 3 * MINUTE, **change})

    assert planned(store, new) == 1
    found = row(store)
    assert (found.cloud, found.account, found.every, found.due_at) == (new.cloud, new.account, new.every, new.due_at)
    assert settle(store, outcome(taken)) == set()
    assert row(store).last_at is None


def test_a_key_that_has_left_has_no_row_and_its_probe_comes_to_nothing(store: Store) -> None:
    planned(store, plan("a"), plan("b"))
    (taken,) = take(store, "a")

    assert planned(store, plan("b")) == 1
    with store.read() as unit:
        assert list(unit.probes(["a", "b"])) == ["b"]
        assert [one.key for one in unit.all_probes()] == ["b"]
    assert settle(store, outcome(taken)) == set()


def test_many_keys_are_planned_at_once(store: Store) -> None:
    names = [f"k{number:04}" for number in range(1200)]
    assert planned(store, *[plan(name) for name in names]) == 1200
    assert planned(store, *[plan(name) for name in names[:100]]) == 1100
    with store.read() as unit:
        assert [one.key for one in unit.all_probes()] == names[:100]
        assert len(unit.probes(names)) == 100


# ------------------------------------------------------------------------------------------------------------------ due


def test_a_key_is_due_from_its_time_on(store: Store) -> None:
    planned(store, plan())
    assert due(store, T0 - SECOND) == []
    assert due(store, T0) == [KEY]


def test_the_oldest_comes_first_and_no_more_than_asked_for(store: Store) -> None:
    planned(store, *[plan(name, due_at=T0 - age * SECOND) for name, age in (("a", 1), ("b", 3), ("c", 2))])
    assert due(store) == ["b", "c", "a"]
    assert due(store, limit=2) == ["b", "c"]


def test_a_key_that_is_never_asked_and_one_of_another_cloud_are_not_due(store: Store) -> None:
    planned(store, plan("off", due_at=None), plan("azure", cloud="azure"), plan("gcp", cloud="gcp"))
    assert due(store) == ["gcp"]
    want(store, "off")
    assert due(store, T0 + MINUTE) == ["gcp"]
    assert take(store, "off") == []


def test_one_account_cannot_fill_the_list(store: Store) -> None:
    crowd = [plan(f"k{number}", account="1", due_at=T0 - MINUTE) for number in range(5)]
    other_cloud = plan("g", account="1", cloud="gcp", due_at=T0)
    planned(store, *crowd, plan("z", account="2", due_at=T0), other_cloud)

    assert due(store, per_account=2) == ["k0", "k1", "g", "z"]


# --------------------------------------------------------------------------------------------------------------- taking


def test_a_taken_key_is_not_due_until_the_claim_runs_out_and_is_then_lost(store: Store) -> None:
    planned(store, plan())
    assert take(store) == [TakenProbe(key=KEY, fence=1, wanted=False, lost=False)]

    assert due(store, T0 + LENGTH - SECOND) == []
    assert take(store, now=T0 + LENGTH - SECOND) == []
    with store.read() as unit:
        assert unit.probes_claimed(T0 + LENGTH - SECOND) == 1
        assert unit.probes_claimed(T0 + LENGTH) == 0
    assert take(store, now=T0 + LENGTH) == [TakenProbe(key=KEY, fence=2, wanted=False, lost=True)]


def test_what_is_not_due_or_not_there_is_not_taken(store: Store) -> None:
    planned(store, plan("a"), plan("b", due_at=T0 + SECOND))
    assert [one.key for one in take(store, "b", "nowhere", "a")] == ["a"]


def test_a_person_takes_a_key_whether_it_is_due_or_not_and_from_whoever_has_it(store: Store) -> None:
    planned(store, plan(due_at=T0 + 4 * MINUTE))
    (first,) = take(store, per_account=None)
    (second,) = take(store, per_account=None)

    assert (first.fence, second.fence, second.lost) == (1, 2, True)
    assert settle(store, outcome(first)) == set()
    assert settle(store, outcome(second)) == {KEY}


def test_the_pace_of_an_account_holds_for_all_who_take(store: Store) -> None:
    names = [f"k{number}" for number in range(5)]
    planned(store, *[plan(name, account="1") for name in names], plan("other", account="2"))

    assert [one.key for one in take(store, "k0", "k1", per_account=3)] == ["k0", "k1"]
    assert [one.key for one in take(store, *names, "other", per_account=3)] == ["k2", "other"]
    # What was refused is due as before, and settling does not give an account more.
    assert due(store) == ["k3", "k4"]
    assert take(store, "k3", now=T0 + PACE - SECOND / 10, per_account=3) == []
    assert [one.key for one in take(store, "k3", "k4", now=T0 + PACE, per_account=3)] == ["k3", "k4"]


def test_of_takers_at_the_same_moment_one_gets_the_key(store: Store) -> None:
    names = [f"k{number}" for number in range(20)]
    planned(store, *[plan(name) for name in names])
    got: list[str] = []
    gate = threading.Barrier(4)

    def run() -> None:
        gate.wait(10)
        got.extend(one.key for one in take(store, *names))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(names)


# ------------------------------------------------------------------------------------------------------------- settling


def test_what_came_of_it_is_kept_and_the_key_is_due_at_its_next_time(store: Store) -> None:
    planned(store, plan())
    (taken,) = take(store)
    told = T0 + 2 * SECOND
    done = outcome(
        taken, passed=None, words="no answer", outcome="silent", failures=3, told_at=told.astimezone(KOLKATA),
        slow_at=T0 + 3 * SECOND,
    )  # fmt: skip

    assert settle(store, done) == {KEY}
    assert row(store) == StoredProbe(
        key=KEY, cloud="aws", account="111122223333", every=5 * MINUTE, due_at=T0 + 5 * MINUTE, fence=1, failures=3,
        last_at=T0 + SECOND, last_passed=None, last_words="no answer", outcome="silent", told_at=told,
        slow_at=T0 + 3 * SECOND,
    )  # fmt: skip
    assert due(store, T0 + 5 * MINUTE - SECOND) == []
    assert due(store, T0 + 5 * MINUTE) == [KEY]


def test_what_is_not_said_anew_of_evidence_and_canary_stays(store: Store) -> None:
    planned(store, plan())
    (taken,) = take(store)
    settle(store, outcome(taken, told_at=T0, slow_at=T0 + SECOND, passed=False))
    (again,) = take(store, now=T0 + 9 * MINUTE)
    settle(store, outcome(again))

    found = row(store)
    assert (found.told_at, found.slow_at, found.last_passed) == (T0, T0 + SECOND, True)


def test_a_probe_is_settled_once(store: Store) -> None:
    planned(store, plan())
    (taken,) = take(store)
    assert settle(store, outcome(taken)) == {KEY}
    assert settle(store, outcome(taken, words="twice")) == set()
    assert row(store).last_words == "usable"


def test_whoever_comes_back_after_the_claim_was_taken_over_changes_nothing(store: Store) -> None:
    planned(store, plan("a"), plan("b"))
    slow, fine = take(store, "a", "b")
    (quick,) = take(store, "a", now=T0 + LENGTH)

    assert settle(store, outcome(slow, words="old"), outcome(fine)) == {"b"}
    assert row(store, "a").last_at is None
    assert settle(store, outcome(quick, words="new")) == {"a"}
    assert row(store, "a").last_words == "new"


# -------------------------------------------------------------------------------------------------------------- wanting


def test_a_wanted_key_is_due_at_once_and_before_the_others(store: Store) -> None:
    planned(store, plan("a", due_at=T0 - MINUTE), plan("b", due_at=T0 + 4 * MINUTE))
    want(store, "b", "nowhere")

    assert due(store) == ["b", "a"]
    assert [one.wanted for one in take(store, "b", "a")] == [True, False]
    assert row(store, "b").wanted_at is None


def test_a_key_that_is_due_already_stays_due(store: Store) -> None:
    planned(store, plan(due_at=T0 - MINUTE))
    want(store)
    assert row(store).due_at == T0 - MINUTE


def test_a_key_wanted_right_after_its_probe_waits_a_little(store: Store) -> None:
    planned(store, plan())
    (taken,) = take(store)
    settle(store, outcome(taken, at=T0))
    want(store, at=T0 + SECOND)
    assert row(store).due_at == T0 + APART
    want(store, at=T0 + 2 * APART)
    assert row(store).due_at == T0 + APART


def test_a_key_wanted_while_it_is_probed_is_probed_again(store: Store) -> None:
    planned(store, plan())
    (taken,) = take(store)
    want(store, at=T0 + SECOND)
    assert due(store, T0 + SECOND) == [], "two at a time would be told as one"

    assert settle(store, outcome(taken, at=T0)) == {KEY}
    found = row(store)
    assert (found.due_at, found.wanted_at) == (T0 + APART, T0 + SECOND)
    assert [one.wanted for one in take(store, now=T0 + APART)] == [True]


def test_a_confirmation_comes_before_the_ordinary_ones_at_its_time(store: Store) -> None:
    planned(store, plan("a"), plan("b", due_at=T0 + MINUTE - SECOND))
    (taken,) = take(store, "a")
    settle(store, outcome(taken, due_at=T0 + MINUTE, wanted=True))

    assert due(store, T0 + MINUTE - SECOND) == ["b"]
    assert due(store, T0 + MINUTE) == ["a", "b"]


# ------------------------------------------------------------------------------------------------------------- canaries


def canary(key: str = KEY, version: str = "1", **other: Any) -> Canary:
    return Canary(
        **{"key": key, "version": version, "ciphertext": b"\x00\xff", "algorithm": "RSA-OAEP", "made_at": T0, **other}
    )


def test_canaries_are_kept_by_key_and_version_the_oldest_first(store: Store) -> None:
    second = canary(version="0", made_at=T0 + SECOND)
    with store.write() as unit:
        unit.put_canaries([second, canary(), canary("other", made_at=T0.astimezone(KOLKATA))])
    with store.read() as unit:
        assert unit.canaries([KEY, "nowhere"]) == {KEY: [canary(), second]}
        assert unit.canaries(["other"]) == {"other": [canary("other")]}


def test_a_canary_made_anew_takes_the_place_of_the_old_one(store: Store) -> None:
    anew = canary(ciphertext=b"2", algorithm="x", made_at=T0 + MINUTE)
    for one in (canary(), anew):
        with store.write() as unit:
            unit.put_canaries([one])
    with store.read() as unit:
        assert unit.canaries([KEY]) == {KEY: [anew]}


def test_a_key_that_leaves_keeps_its_canaries(store: Store) -> None:
    planned(store, plan())
    with store.write() as unit:
        unit.put_canaries([canary()])
    planned(store)
    with store.read() as unit:
        assert unit.canaries([KEY]) == {KEY: [canary()]}


# ------------------------------------------------------------------------------------------------------- all or nothing


def test_what_is_rolled_back_was_never_taken_wanted_or_settled(store: Store) -> None:
    planned(store, plan("a"), plan("b"))
    (taken,) = take(store, "b")

    def change(unit: Unit) -> None:
        unit.take_probes(["a"], now=T0, length=LENGTH, per_account=9)
        unit.settle_probes([outcome(taken)])
        unit.want_probes(["b"], at=T0)
        unit.put_canaries([canary()])
        unit.plan_probes([])
        raise ZeroDivisionError

    before = (row(store, "a"), row(store, "b"))
    with pytest.raises(ZeroDivisionError), store.write() as unit:
        change(unit)
    assert (row(store, "a"), row(store, "b")) == before
    with store.read() as unit:
        assert unit.canaries([KEY]) == {}


def test_a_naive_time_is_refused(store: Store) -> None:
    with pytest.raises(Exception, match="aware"), store.write() as unit:
        unit.plan_probes([replace(plan(), due_at=T0.replace(tzinfo=None))])
