"""The contract of a feed's source: receive, acknowledge after the commit, and say what is wrong in closed words."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One message, or one piece of a file, that the source has handed out and that is not acknowledged yet.

    `id` is unique in its source. `receipt` belongs to the source. `deliveries` counts how often the source has handed
    it out, this time included. `place` says to people where it stands (a file's name). `first` is the number of its
    first record, `fault` why the source itself could not read it (then `body` holds the bytes it could not read).
    """

    id: str
    body: bytes
    received_at: datetime
    receipt: object
    deliveries: int = 1
    place: str = ""
    first: int = 1
    fault: str | None = None


class Reason(StrEnum):
    """Why a source does not answer as it should; the metric label."""

    THROTTLED = "throttled"
    NETWORK = "network"
    SERVER = "server"
    CREDENTIALS = "credentials"
    DENIED = "denied"
    NOT_FOUND = "not_found"
    SETTINGS = "settings"
    REFUSED = "refused"


HINTS: dict[Reason, str] = {
    Reason.THROTTLED: "the provider asks to slow down; it is tried again by itself",
    Reason.NETWORK: "the provider cannot be reached; check network, proxy and endpoint settings; it is tried again",
    Reason.SERVER: "the provider has a fault of its own; it is tried again by itself",
    Reason.CREDENTIALS: "give this process valid credentials (role, profile or environment); it is tried again slowly",
    Reason.DENIED: "let the role of this process do what it was denied; it is tried again slowly",
    Reason.NOT_FOUND: "check the name, the account and the region; it is tried again slowly",
    Reason.SETTINGS: "mend the settings of this feed",
    Reason.REFUSED: "the provider does not accept the request; look at its answer",
}
PERMANENT = frozenset({Reason.CREDENTIALS, Reason.DENIED, Reason.NOT_FOUND, Reason.SETTINGS, Reason.REFUSED})


class FeedFault(Exception):  # noqa: N818  # the house calls a thing that is wrong a fault
    """A source could not do what it was asked. `permanent`: it stays so until a person changes something.

    The text never holds a credential. `permanent` follows from the reason; False says that the source goes on working
    meanwhile, so that nobody waits long before it is asked again.
    """

    def __init__(self, reason: Reason, text: str, *, hint: str | None = None, permanent: bool | None = None) -> None:
        super().__init__(text)
        self.reason = reason
        self.permanent = reason in PERMANENT if permanent is None else permanent
        self._hint = hint

    def hint(self) -> str:
        """Say what a person should do."""
        return self._hint or HINTS[self.reason]


class Source(Protocol):
    """Where records come from. What is not acknowledged within `visibility` seconds is handed out again.

    `extend` may be called from another thread while `receive` or `acknowledge` runs.
    """

    @property
    def name(self) -> str:
        """Name of the feed, unique in the installation."""
        ...

    @property
    def cloud(self) -> str:
        """Name of the cloud whose records it carries."""
        ...

    @property
    def visibility(self) -> float:
        """Seconds after which an unacknowledged message is handed out again."""
        ...

    def receive(self, wait: float) -> Sequence[Received]:
        """Return the next messages, waiting at most `wait` seconds (in whole) for the first one. Raises FeedFault."""
        ...

    def acknowledge(
        self, received: Sequence[Received], *, unreadable: Collection[str] = frozenset()
    ) -> Sequence[Received]:
        """Give up messages that are committed; return those that could not be given up and will come again.

        `unreadable` names (by id) those in which nothing could be read. Raises FeedFault.
        """
        ...

    def extend(self, received: Sequence[Received], seconds: float) -> Sequence[Received]:
        """Keep messages back for `seconds` from now (0: hand them out again at once); return those it failed for.

        Raises FeedFault.
        """
        ...

    def close(self) -> None:
        """Let go of everything; messages in work will be handed out again."""
        ...
