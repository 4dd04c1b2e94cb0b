"""What a cloud's half in `workers` offers to the intake: fetching the objects that its notices point at."""

from collections.abc import Iterator
from typing import Protocol

from watchdog.cloud import Pointer
from watchdog.register import Register
from workers.feeds.pieces import Piece


class Objects(Protocol):
    """Reads objects full of audit records from a cloud's object store."""

    def refusal(self, pointer: Pointer, register: Register) -> str | None:
        """Say why this object must not be fetched (None: it may be). Anybody may send a notice; few own the bucket."""
        ...

    def pieces(self, pointer: Pointer) -> Iterator[Piece]:
        """Read one object in pieces, in bounded memory. Raises FeedFault, also in the middle."""
        ...
