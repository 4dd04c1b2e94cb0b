"""When each key is probed: an even load, whatever happens; sooner after a change, later without an answer."""

from collections import Counter
from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest

from tests.worlds import ACME_ACCOUNT, ACME_KEY, GLOBEX_KEY, T0, register
from tests.worlds import key as entry
from watchdog.probing import Probed
from watchdog.register_probe import KeyProbe
from watchdog.words import Fault
from workers.probes.schedule import BACK_OFF, account_of, next_probe, plans, turn_after

MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
EVERY = 5 * MINUTE


def probed(passed: bool | None = True, again: timedelta | None = None, at: timedelta = timedelta()) -> Probed:
    return Probed(at=T0 + at, passed=passed, words="", fault=Fault.UNKNOWN, again_after=again)


def test_turns_come_one_interval_after_the_other_and_hang_on_the_name_alone() -> None:
    at = T0
    turns = []
    for _ in range(4):
        at = turn_after("key-1", EVERY, at)
        turns.append(at)
    assert {later - earlier for earlier, later in pairwise(turns)} == {EVERY}
    assert turn_after("key-1", EVERY, turns[0] - MINUTE) == turns[0]
    assert turn_after("key-2", EVERY, T0) not in turns


def test_many_keys_are_an_even_load() -> None:
    per_second = Counter(int((turn_after(f"key {n}", EVERY, T0) - T0).total_seconds()) for n in range(50_000))
    assert len(per_second) == 300
    assert 100 < min(per_second.values())
    assert max(per_second.values()) < 240


def test_a_healthy_key_is_asked_at_each_of_its_turns() -> None:
    at = turn_after("key-1", EVERY, T0)
    late = at + 20 * SECOND
    assert next_probe("key-1", EVERY, probed(at=late - T0), 0).at == at + EVERY


def test_after_a_pause_all_keys_fall_back_into_their_places() -> None:
    names = [f"key {number}" for number in range(3000)]
    after = Counter(int((next_probe(name, EVERY, probed(), 0).at - T0).total_seconds()) // 30 for name in names)
    assert len(after) == 10
    assert 200 < min(after.values())
    for name in names:
        assert EVERY / 2 <= next_probe(name, EVERY, probed(), 0).at - T0 <= EVERY * 1.5


def test_after_a_signal_it_comes_at_the_wanted_minute_and_somebody_waits_for_it() -> None:
    found = next_probe("key-1", EVERY, probed(again=MINUTE), 0)
    assert (found.at, found.wanted) == (T0 + MINUTE, True)


def test_a_confirmation_that_is_later_than_the_next_turn_moves_nothing() -> None:
    plain = next_probe("key-1", EVERY, probed(), 0)
    assert next_probe("key-1", EVERY, probed(again=15 * MINUTE), 0) == plain
    assert not plain.wanted


def test_without_an_answer_it_waits_longer_each_time_up_to_a_bound() -> None:
    waits = [next_probe("key-1", EVERY, probed(None), failures).at - T0 for failures in (1, 2, 3, 40)]
    for wait, wanted in zip(waits, (EVERY, 2 * EVERY, BACK_OFF, BACK_OFF), strict=True):
        assert abs(wait - wanted) <= EVERY / 2


def test_a_key_of_a_slow_pace_is_not_asked_more_often_because_it_does_not_answer() -> None:
    day = timedelta(days=1)
    assert day / 2 <= next_probe("key-1", day, probed(None), 5).at - T0 <= 1.5 * day


def test_the_register_says_how_often_and_whether_at_all() -> None:
    slow = msgspec.structs.replace(entry(ACME_KEY), probe=KeyProbe(every_seconds=3600))
    never = msgspec.structs.replace(entry(ACME_KEY.replace("1111111", "2222222")), probe=KeyProbe(off=True))
    first, second, plain, _ = plans(register(slow, never).keys.values(), now=T0)

    assert (first.key, first.cloud, first.account, first.every) == (ACME_KEY, "aws", ACME_ACCOUNT, timedelta(hours=1))
    assert second.due_at is None
    assert (plain.key, plain.every, plain.due_at) == (GLOBEX_KEY, EVERY, turn_after(GLOBEX_KEY, EVERY, T0))


@pytest.mark.parametrize(
    ("cloud", "key", "account"),
    [
        ("aws", ACME_KEY, ACME_ACCOUNT),
        ("azure", "https://acme-vault.vault.azure.net/keys/payroll", "acme-vault.vault.azure.net"),
        ("gcp", "projects/acme-prod/locations/europe-west3/keyRings/r/cryptoKeys/payroll", "acme-prod"),
        ("aws", "odd", "odd"),
    ],
)
def test_requests_are_counted_where_the_provider_counts_them(cloud: str, key: str, account: str) -> None:
    assert account_of(cloud, key) == account
