"""The contract of an archive: where the records of a gap can be read again, page by page, from where it was left."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from workers.feeds.interface import Received


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some deliveries out of an archive, and where to go on after them (None: that was the end).

    The bodies have the form that a live feed of the cloud brings, so the same intake reads them. `until` is how far
    the reading has got, for people (None: cannot be told).
    """

    messages: tuple[Received, ...]
    cursor: str | None
    until: datetime | None = None


class Archive(Protocol):
    """Reads what a cloud has kept of its audit records. Read-only."""

    def pages(self, start: datetime, end: datetime, cursor: str | None) -> Iterator[Page]:
        """Yield what happened from `start` to before `end`, beginning after `cursor`. Raises FeedFault.

        Every page may come again after a crash: records are known by their event ids, as everywhere.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
