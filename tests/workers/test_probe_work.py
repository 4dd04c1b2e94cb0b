"""Handing probes on, and what is done here when that cannot be, or was lost."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.workers.probers import DISABLED, FakeProber
from tests.workers.runtimes import channel, make_runtime
from tests.workers.test_working import FakeHand, work
from tests.worlds import ACME_KEY, GLOBEX_KEY, VENDOR_KEY, document, key, stores
from workers.probes.probers import Probers
from workers.probing import CLAIM, Probing
from workers.runtime import Runtime, utc_now
from workers.settings import ProbeSettings
from workers.store.interface import ProcessSeen
from workers.working import Work

HOUR = timedelta(hours=1)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    found = make_runtime(tmp_path, register=document(key(ACME_KEY, *stores())))
    found.settings = replace(found.settings, probes=ProbeSettings(clouds=("aws",), at_once=2))
    found.__dict__["probers"] = Probers.given({"aws": FakeProber()})
    yield found
    found.close()


def alive(runtime: Runtime, kind: str = "worker probe-now,probe") -> None:
    now = utc_now()
    with runtime.store.write() as unit:
        unit.process_beat(ProcessSeen(name="w", kind=kind, seen_at=now, started_at=now, degraded=None))


def want(runtime: Runtime, *keys: str) -> None:
    with runtime.store.write() as unit:
        unit.want_probes(keys, at=utc_now())


def probed(runtime: Runtime) -> set[str]:
    with runtime.store.read() as unit:
        return {row.key for row in unit.all_probes() if row.last_at is not None}


def started(runtime: Runtime, hand: FakeHand | None, *, later: timedelta = timedelta()) -> Work:
    found = work(runtime, hand)
    found.__dict__["probing"] = Probing(runtime, now=lambda: utc_now() + later)
    found.start_probes()
    return found


def test_keys_are_handed_on_once_those_that_somebody_waits_for_by_themselves(runtime: Runtime) -> None:
    with runtime.store.write() as unit:
        # Their turns come within five minutes: as if all had come.
        unit.take_probes([VENDOR_KEY], now=utc_now() - HOUR, length=HOUR, per_account=None)
    alive(runtime)
    want(runtime, ACME_KEY, GLOBEX_KEY)
    hand = FakeHand()
    started(runtime, hand)
    started(runtime, hand)
    assert [(True, sorted([ACME_KEY, GLOBEX_KEY]))] == [(wanted, sorted(keys)) for wanted, keys in hand.handed_probes]
    assert {VENDOR_KEY} == probed(runtime), "what was taken and never settled is not handed on again"


def test_a_batch_is_no_larger_than_what_is_asked_at_once(runtime: Runtime) -> None:
    alive(runtime)
    want(runtime, ACME_KEY, GLOBEX_KEY, VENDOR_KEY)
    hand = FakeHand()
    started(runtime, hand)
    assert [2, 1] == [len(keys) for _, keys in hand.handed_probes]


@pytest.mark.parametrize("hand", [None, FakeHand(away=True)], ids=["without a hand", "broker away"])
def test_without_a_broker_the_keys_are_probed_here_and_their_notices_sent(
    runtime: Runtime, hand: FakeHand | None
) -> None:
    prober = FakeProber(says={ACME_KEY: DISABLED})
    runtime.__dict__["probers"] = Probers.given({"aws": prober})
    alive(runtime)
    want(runtime, ACME_KEY)
    found = started(runtime, hand)
    if hand is None:
        found.drain(before=utc_now())
    assert {ACME_KEY} == probed(runtime)
    assert ["alarm"] == [one.kind for one in channel(runtime, "pager").sent]


def test_without_a_worker_for_probes_nothing_is_put_into_a_queue_that_nobody_reads(runtime: Runtime) -> None:
    alive(runtime, "worker urgent,normal")
    want(runtime, ACME_KEY)
    hand = FakeHand()
    started(runtime, hand)
    assert ([], {ACME_KEY}) == (hand.handed_probes, probed(runtime))


def test_what_a_dead_worker_had_is_probed_here(runtime: Runtime) -> None:
    alive(runtime)
    want(runtime, ACME_KEY)
    hand = FakeHand()
    started(runtime, hand)
    started(runtime, hand, later=CLAIM - timedelta(seconds=5))
    assert set() == probed(runtime) - {GLOBEX_KEY, VENDOR_KEY}
    alive(runtime)
    started(runtime, hand, later=CLAIM + timedelta(seconds=5))
    assert ACME_KEY in probed(runtime)


def test_closing_lets_go_of_the_probers(runtime: Runtime) -> None:
    prober = FakeProber()
    runtime.__dict__["probers"] = Probers.given({"aws": prober})
    want(runtime, ACME_KEY)
    found = started(runtime, None)
    found.close()
    assert prober.closed
