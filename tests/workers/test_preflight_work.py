"""Handing pre-flights on, and what is done here when that cannot be."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.workers.probers import FakeProber
from tests.workers.readers import RIGHTS, FakeReader
from tests.workers.runtimes import channel, make_runtime
from tests.workers.test_probe_work import alive
from tests.workers.test_working import FakeHand, work
from tests.worlds import ACME_KEY, GLOBEX_KEY, VENDOR_KEY
from watchdog.preflight import Outcome
from workers.preflight.readers import Readers
from workers.probes.probers import Probers
from workers.runtime import Runtime, utc_now
from workers.scheduler import Scheduler
from workers.settings import ProbeSettings
from workers.working import Work

KEYS = {ACME_KEY, GLOBEX_KEY, VENDOR_KEY}


@pytest.fixture
def reader() -> FakeReader:
    return FakeReader()


@pytest.fixture
def runtime(tmp_path: Path, reader: FakeReader) -> Iterator[Runtime]:
    """All keys are due: they were just imported."""
    found = make_runtime(tmp_path)
    found.settings = replace(found.settings, probes=ProbeSettings(clouds=("aws",)))
    found.__dict__["probers"] = Probers.given({"aws": FakeProber()})
    found.__dict__["readers"] = Readers.given({"aws": reader})
    yield found
    found.close()


def done(runtime: Runtime) -> set[str]:
    with runtime.store.read() as unit:
        return {row.key for row in unit.all_preflights() if row.last_at is not None}


def started(runtime: Runtime, hand: FakeHand | None) -> Work:
    found = work(runtime, hand)
    found.start_preflights()
    return found


def test_keys_are_handed_to_the_workers_of_probes_once(runtime: Runtime) -> None:
    alive(runtime)
    hand = FakeHand()
    started(runtime, hand)
    started(runtime, hand)
    assert [KEYS] == [set(keys) for keys in hand.handed_preflights]
    assert set() == done(runtime)


@pytest.mark.parametrize("hand", [None, FakeHand(away=True)], ids=["without a hand", "broker away"])
def test_without_a_broker_the_keys_are_checked_here_and_their_notices_sent(
    runtime: Runtime, reader: FakeReader, hand: FakeHand | None
) -> None:
    reader.says[ACME_KEY] = {RIGHTS: Outcome.FAIL}
    alive(runtime)
    found = started(runtime, hand)
    if hand is None:
        found.drain(before=utc_now())
    assert KEYS == done(runtime)
    assert ["alarm"] == [one.kind for one in channel(runtime, "pager").sent]


def test_without_a_worker_for_probes_nothing_is_put_into_a_queue_that_nobody_reads(runtime: Runtime) -> None:
    alive(runtime, "worker urgent,normal")
    hand = FakeHand()
    started(runtime, hand)
    assert ([], KEYS) == (hand.handed_preflights, done(runtime))


def test_a_worker_checks_what_it_is_handed_and_lets_go_of_the_readers_at_the_end(
    runtime: Runtime, reader: FakeReader
) -> None:
    found = work(runtime, None)
    found.preflight(found.preflighting.take())
    assert KEYS == done(runtime)
    found.close()
    assert reader.closed


def test_the_scheduler_starts_them_also_where_no_cloud_is_asked(runtime: Runtime) -> None:
    runtime.settings = replace(runtime.settings, probes=ProbeSettings())
    scheduler = Scheduler(runtime, work(runtime, None))
    (job,) = [one for one in scheduler.jobs if one.name == "pre-flight"]
    job.run(utc_now())
    assert KEYS == done(runtime)
