"""What every cloud's pure half must offer: unpack a delivery, tell what an entry means, say how to repair."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from watchdog.coverage import Way
from watchdog.register import Register, RegisteredKey
from watchdog.repair import Step
from watchdog.signals import Signal
from watchdog.words import Cause, Effect, Means


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One audit record that may matter, cut out of its delivery.

    `raw` is complete in itself: `meaning` reads it again without the delivery (an EventBridge event keeps its envelope,
    an SNS-wrapped one its wrapper, a CloudTrail file's record stands bare). `number` counts from 1 in the delivery.
    `event_id` is the provider's own id where there is one, else the SHA-256 of `raw`: equal ids are one happening.
    """

    number: int
    raw: bytes
    event_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """Something in a delivery that cannot be read; it goes to quarantine with its place, its neighbours go on."""

    number: int
    reason: str
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """A delivery that only points at an object to fetch (a CloudTrail file in a bucket)."""

    bucket: str
    name: str
    region: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A record that triage threw away; kept by number and reason only when the caller asks for it."""

    number: int
    reason: str
    operation: str | None = None
    occurred_at: datetime | None = None


@dataclass(slots=True, kw_only=True)
class Unpacked:
    """What is in one delivery. Every record of it is counted in exactly one of the lists or in `dropped_count`."""

    entries: list[Entry] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    pointers: list[Pointer] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    dropped_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a cloud's catalogue, for people and for the completeness tests."""

    operation: str
    service: str
    effect: str
    seen_through: str
    note: str
    source: str


class Cloud(Protocol):
    """The functions that a cloud's module offers. Pure: no clock, no network, no files."""

    NAME: str

    def unpack(
        self, body: bytes, *, first: int = 1, detail: bool = False, register: Register | None = None
    ) -> Unpacked:
        """Cut one delivery (a message body, or a whole file's text) into entries, broken pieces and pointers.

        Never raises for bad input: what cannot be read is `Broken` with its place. Triage happens here: a narrow
        decode throws away what no register could care about and counts it (`detail=True` also lists it). `first` is
        the number of the first record, for callers that cut a long file of JSON lines into pieces. With a `register`
        at hand triage may throw away more: what concerns nothing in this very register.
        """
        ...

    def meaning(self, raw: bytes, register: Register, *, received_at: datetime | None = None) -> list[Signal]:
        """Tell what one entry means: at least one signal, `no_effect` when nothing registered is concerned.

        `received_at` stands in for the event's time when neither record nor envelope has one.
        """
        ...

    def steps(
        self,
        effect: Effect,
        key: RegisteredKey,
        register: Register,
        *,
        means: Means | None = None,
        subject: str | None = None,
        cause: Cause | None = None,
    ) -> Sequence[Step]:
        """The ordered steps that undo one loss of one key, with exact commands, an owner each."""
        ...

    def ways(self, key: RegisteredKey, register: Register) -> Sequence[Way]:
        """By which ways audit records about a key come in, as far as the register says so: the owner's, the vendor's.

        Two keys with a way in common give equal values of it. What `meaning` puts into `Signal.route` is `Way.route`.
        """
        ...

    def catalogue(self) -> Sequence[Row]:
        """Every operation that is watched or ignored with a reason, and what can never be seen."""
        ...

    def filters(self) -> dict[str, str]:
        """The event filters that let this catalogue be seen, by name of the thing they are for, as text to paste."""
        ...
