"""Holding: a slow batch is kept back as long as it is in work, and no longer."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from tests.workers.fakes import FakeSource, message
from workers.feeds.holding import Holding
from workers.feeds.interface import FeedFault, Reason, Received


@dataclass
class Slow(FakeSource):
    """A source that tells when it is asked to extend."""

    asked: threading.Event = field(default_factory=threading.Event)
    answer: FeedFault | Sequence[Received] = ()

    def extend(self, received: Sequence[Received], seconds: float) -> Sequence[Received]:
        super().extend(received, seconds)
        self.asked.set()
        if isinstance(self.answer, FeedFault):
            raise self.answer
        return self.answer


def held(source: Slow, faults: list[str]) -> Holding:
    return Holding(source, faults.append)


def test_a_batch_is_extended_before_half_of_its_time_is_over_and_again() -> None:
    source = Slow([], visibility=0.3)
    holding = held(source, [])
    started = time.monotonic()
    with holding.of([message("m1"), message("m2")]):
        assert source.asked.wait(5)
        assert time.monotonic() - started < 0.3
        source.asked.clear()
        assert source.asked.wait(5)
    holding.close()

    assert source.extended[0] == (["m1", "m2"], 0.3)


def test_a_quick_batch_is_never_extended() -> None:
    source = Slow([], visibility=0.3)
    holding = held(source, [])
    for _ in range(50):
        with holding.of([message("m1")]):
            pass
    time.sleep(0.25)
    holding.close()

    assert source.extended == []


def test_a_batch_is_let_go_when_its_work_fails() -> None:
    source = Slow([], visibility=0.15)
    holding = held(source, [])
    with pytest.raises(KeyError), holding.of([message("m1")]):
        raise KeyError
    time.sleep(0.15)
    holding.close()

    assert source.extended == []


def test_a_failed_extension_is_told_and_tried_again() -> None:
    source = Slow([], visibility=0.15)
    source.answer = FeedFault(Reason.NETWORK, "connection reset")
    faults: list[str] = []
    holding = held(source, faults)
    with holding.of([message("m1"), message("m2")]):
        assert source.asked.wait(5)
        source.asked.clear()
        source.answer = [message("m2")]
        assert source.asked.wait(5)
        source.asked.clear()
        assert source.asked.wait(5)
    holding.close()

    assert faults[0] == "2 messages could not be held: connection reset"
    assert "1 of 2 messages could not be held" in faults
