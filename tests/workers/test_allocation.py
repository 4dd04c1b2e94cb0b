"""Large pieces take their memory from the piece before."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.house.tree import ROOT
from tests.workers.fakes import NOW, Clock, FakeCloud, FakeObjects, FakeSource, FakeStop
from watchdog.cloud import Pointer
from workers.allocation import keep_large_blocks
from workers.consumer import Consumer
from workers.intake import Intake
from workers.registry import Registry
from workers.samples.corpus import Corpus, trail_gzip
from workers.store.interface import Arrived, Carries
from workers.store.memory import MemoryStore

READING = """
import resource, sys
from workers.allocation import keep_large_blocks
from workers.feeds.folder import read_paths
can = keep_large_blocks() if sys.argv[1] == "keep" else True
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    assert [piece.error for piece in read_paths(sys.argv[2:] * 10)] == [None] * 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(can, faults())
"""


def page_faults(how: str, file: Path) -> int:
    """How often the kernel had to find memory while a large file was read ten times, the very first times aside."""
    command = [sys.executable, "-c", READING, how, str(file)]
    can, count = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    if can != "True":
        pytest.skip("this C library cannot be told to keep memory")
    return int(count)


def test_the_memory_of_one_file_serves_the_next(tmp_path: Path) -> None:
    file = tmp_path / "trail.json.gz"
    file.write_bytes(trail_gzip(list(Corpus(1).records(5000))))

    assert page_faults("keep", file) < 1000 < page_faults("leave", file)


@pytest.fixture
def intake() -> Intake:
    store = MemoryStore()
    return Intake(store, Registry(store), lambda _: FakeCloud(), objects={"fake": FakeObjects({})}, now=lambda: NOW)


def test_a_consumer_keeps_the_memory_of_its_pieces(intake: Intake) -> None:
    keep_large_blocks.cache_clear()

    Consumer(
        FakeSource([]),
        intake,
        hand_on=lambda _: None,
        drain=lambda: None,
        tell_quarantined=lambda *_: None,
        on_degraded=lambda _: None,
        beat=lambda: None,
        bare_alarm=lambda _: None,
    ).run(FakeStop(Clock(), at=0))

    assert keep_large_blocks.cache_info().misses == 1


def test_whoever_reads_a_delivery_keeps_the_memory_of_its_pieces(intake: Intake) -> None:
    keep_large_blocks.cache_clear()
    pointer = msgspec.json.encode(Pointer(bucket="unknown", name="a.json.gz"))

    intake.read_delivery(
        Arrived(
            id=1,
            feed="feed-1",
            event_id="unknown/a.json.gz",
            cloud="fake",
            body=pointer,
            received_at=NOW,
            carries=Carries.DELIVERY,
            attempts=0,
        )
    )

    assert keep_large_blocks.cache_info().misses == 1
