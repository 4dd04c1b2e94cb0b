"""The contract of a channel: render a notice into bytes, send the bytes, say what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from watchdog.notices import Notice


class Outcome(StrEnum):
    """What came of one attempt to send."""

    ACCEPTED = "accepted"  # the far end took it over; that is not "read"
    RETRY = "retry"  # may succeed later
    PERMANENT = "permanent"  # will not succeed without a change by a person
    SUPPRESSED = "suppressed"  # not sent on purpose; the reason says why


class Reason(StrEnum):
    """Why an attempt failed; the metric label."""

    NONE = "none"
    CLIENT_ERROR = "client_error"
    AUTH_ERROR = "auth_error"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    REFUSED = "refused"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The exact bytes that go out, kept as evidence. `headers` carry no secret."""

    body: bytes
    content_type: str
    subject: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The outcome of one attempt. `hint` tells the operator what to do next; no field ever holds a secret."""

    outcome: Outcome
    reason: Reason = Reason.NONE
    provider_id: str | None = None
    http_status: int | None = None
    retry_after: timedelta | None = None
    excerpt: str = ""
    hint: str = ""


class Channel(Protocol):
    """One way to tell somebody. `render` is pure; `send` does the I/O, never sleeps, returns within its time-out."""

    name: str

    def render(self, notice: Notice) -> Rendered:
        """Turn the notice into bytes. Total: hostile or odd facts give a plain fixed text, never an exception."""
        ...

    def send(self, notice: Notice, rendered: Rendered, now: datetime) -> Receipt:
        """Send once. Returns what came of it; raises only for a fault of our own code."""
        ...
