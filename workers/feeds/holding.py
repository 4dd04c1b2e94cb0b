"""Holding: keep a batch from being handed out again while it is being worked, however long that takes."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from workers.feeds.interface import FeedFault, Received, Source


class Holding:
    """Extends the batch in work before half of the source's visibility is over, again and again, from a thread.

    `on_fault` hears of every extension that failed; the messages then come again, which is harmless.
    """

    def __init__(self, source: Source, on_fault: Callable[[str], None]) -> None:
        self._source = source
        self._on_fault = on_fault
        self._every = source.visibility / 3
        self._batch: Sequence[Received] = ()
        self._turn = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"holding {source.name}", daemon=True)

    @contextmanager
    def of(self, batch: Sequence[Received]) -> Iterator[None]:
        """Hold the batch until the block is left."""
        if not self._thread.is_alive():
            self._thread.start()
        self._put(batch)
        try:
            yield
        finally:
            self._put(())

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _put(self, batch: Sequence[Received]) -> None:
        with self._changed:
            self._batch = batch
            self._turn += 1
            self._changed.notify_all()

    def _run(self) -> None:
        while not self._closed:
            batch = self._overdue()
            if batch:
                self._extend(batch)

    def _overdue(self) -> Sequence[Received]:
        """Wait for a batch, then give it its time; return it if it is still in work then."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._batch)
            turn = self._turn
            self._changed.wait_for(lambda: self._closed or self._turn != turn, self._every)
            return self._batch if self._turn == turn and not self._closed else ()

    def _extend(self, batch: Sequence[Received]) -> None:
        try:
            left = self._source.extend(batch, self._source.visibility)
        except FeedFault as fault:
            self._on_fault(f"{len(batch)} messages could not be held: {fault}")
            return
        if left:
            self._on_fault(f"{len(left)} of {len(batch)} messages could not be held")
