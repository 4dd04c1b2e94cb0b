"""A consumer of a test at work: run it in its thread, and wait for what it is to bring about."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar


class Process(Protocol):
    """What runs a consumer."""

    stop: threading.Event
    thread: threading.Thread


P = TypeVar("P", bound=Process)


@contextmanager
def running(process: P) -> Iterator[P]:
    """Run a process; in the end it stops when it is asked to."""
    process.thread.start()
    try:
        yield process
    finally:
        process.stop.set()
        process.thread.join(20)
        assert not process.thread.is_alive()


def until(holds: Callable[[], object], seconds: float = 15) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)
