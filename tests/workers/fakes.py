# ruff: noqa: ARG002 - the methods have the arguments of the ports that they stand for
"""Fakes for the way in: a cloud whose records say themselves what they mean, a source, a stop that lets time pass."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from watchdog.cloud import Broken, Entry, Pointer, Row, Unpacked
from watchdog.coverage import Way
from watchdog.register import Register, RegisteredKey
from watchdog.repair import Step
from watchdog.signals import Signal
from watchdog.words import Cause, Effect, Means
from workers.feeds.interface import FeedFault, Received
from workers.feeds.pieces import Piece
from workers.store.interface import Store, StoreFault, StoreUnavailable, Unit

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)


def line(event_id: str, **record: object) -> bytes:
    """A record of the fake cloud."""
    return json.dumps({"id": event_id, **record}).encode()


def disabled(event_id: str, key: str) -> bytes:
    """A record that says that a key was disabled: it matters when the key is registered."""
    return line(event_id, key=key)


class FakeCloud:
    """A cloud of JSON lines. `key` matters when it is registered; `noise` is dropped by triage; `says` is an effect.

    `beats` is a sign of life of the route that it names and means nothing else; any record may have a `route`.
    `going` are the ways of each key.
    """

    NAME = "fake"

    def __init__(self, going: Mapping[str, Sequence[Way]] | None = None) -> None:
        self.meanings = 0
        self.going = going or {}

    def unpack(
        self, body: bytes, *, first: int = 1, detail: bool = False, register: Register | None = None
    ) -> Unpacked:
        if b"unpack fails" in body:
            raise RuntimeError("unpack fails")
        found = Unpacked()
        rows = [row for row in body.split(b"\n") if row.strip()]
        for number, raw in enumerate(rows, first):
            try:
                record = json.loads(raw)
            except ValueError as error:
                found.broken.append(Broken(number=number, reason=f"not JSON: {error}", raw=raw))
                continue
            if "noise" in record:
                found.dropped_count += 1
            elif "bucket" in record:
                found.pointers.append(Pointer(bucket=record["bucket"], name=record["name"], region="eu-west-1"))
            elif register is not None and "key" in record and record["key"] not in register.keys:
                found.dropped_count += 1  # the register at hand does not know it
            else:
                found.entries.append(Entry(number=number, raw=raw, event_id=record["id"]))
        return found

    def meaning(self, raw: bytes, register: Register, *, received_at: datetime | None = None) -> list[Signal]:
        self.meanings += 1
        record = json.loads(raw)
        if record.get("meaning") == "fails":
            raise KeyError("meaning fails")
        if record.get("meaning") == "none":
            return []
        at = datetime.fromisoformat(record["at"]) if "at" in record else None
        if "beats" in record:
            return [Signal(effect=Effect.NO_EFFECT, reason="a beat", occurred_at=at, route=record["beats"])]
        if "says" in record:
            return [
                Signal(
                    effect=Effect(says), reason=f"it says {says}", key=record.get("of"), occurred_at=at,
                    route=record.get("route"),
                )
                for says in record["says"]
            ]  # fmt: skip
        effect = Effect.KEY_DISABLED if record["key"] in register.keys else Effect.NO_EFFECT
        return [Signal(effect=effect, reason="", key=record["key"])]

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
        return ()

    def ways(self, key: RegisteredKey, register: Register) -> Sequence[Way]:
        return self.going.get(key.id, ())

    def catalogue(self) -> Sequence[Row]:
        return ()

    def filters(self) -> dict[str, str]:
        return {}


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class FakeStop:
    """A stop whose waiting lets the clock pass; `at` is the time to stop, `after` a number of waits."""

    def __init__(
        self, clock: Clock, *, at: float = float("inf"), events: Mapping[float, Callable[[], object]] | None = None
    ) -> None:
        self._clock = clock
        self.at = at
        self.waits: list[float] = []
        self._events = sorted((events or {}).items(), key=lambda event: event[0])

    def is_set(self) -> bool:
        return self._clock.seconds >= self.at

    def wait(self, timeout: float, /) -> bool:
        self.waits.append(timeout)
        self._clock.seconds = min(self._clock.seconds + timeout, max(self.at, self._clock.seconds))
        while self._events and self._events[0][0] <= self._clock.seconds:
            self._events.pop(0)[1]()
        return self.is_set()


@dataclass
class FakeSource:
    """A source that hands out what it was given: batches, or faults to raise. Each poll takes `poll` seconds."""

    script: list[Sequence[Received] | FeedFault | Exception]
    clock: Clock = field(default_factory=Clock)
    name: str = "feed-1"
    cloud: str = "fake"
    visibility: float = 30.0
    poll: float = 5.0
    on_receive: Callable[[], object] = lambda: None
    on_acknowledge: Callable[[], object] = lambda: None
    acknowledge_fault: FeedFault | None = None
    acknowledged: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    extended: list[tuple[list[str], float]] = field(default_factory=list)
    closed: bool = False

    def receive(self, wait: float) -> Sequence[Received]:
        self.on_receive()
        if not self.script:
            self.clock.seconds += self.poll
            return ()
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def acknowledge(
        self, received: Sequence[Received], *, unreadable: Collection[str] = frozenset()
    ) -> Sequence[Received]:
        if self.acknowledge_fault is not None:
            raise self.acknowledge_fault
        self.on_acknowledge()
        self.acknowledged += [one.id for one in received]
        self.unreadable += sorted(unreadable)
        return ()

    def extend(self, received: Sequence[Received], seconds: float) -> Sequence[Received]:
        self.extended.append(([one.id for one in received], seconds))
        return ()

    def close(self) -> None:
        self.closed = True


def message(message_id: str, *bodies: bytes, **fields: Any) -> Received:
    """A received message whose body is these records, one a line."""
    plain = Received(id=message_id, body=b"\n".join(bodies), received_at=NOW, receipt=message_id)
    return replace(plain, **fields)


class FakeObjects:
    """An object store in memory; an object may be an exception to raise."""

    def __init__(
        self, objects: Mapping[str, Sequence[Piece | Exception]], *, buckets: Sequence[str] = ("trail",)
    ) -> None:
        self.objects = objects
        self.buckets = buckets

    def refusal(self, pointer: Pointer, register: Register) -> str | None:
        return None if pointer.bucket in self.buckets else f"bucket {pointer.bucket} is not registered"

    def pieces(self, pointer: Pointer) -> Iterator[Piece]:
        for piece in self.objects[pointer.name]:
            if isinstance(piece, Exception):
                raise piece
            yield piece


class FaultyStore:
    """A store that cannot serve while `away` is set, and counts its transactions."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.away = False
        self.writes = 0
        self.before_write: Callable[[], object] = lambda: None

    @contextmanager
    def write(self) -> Iterator[Unit]:
        self._look()
        self.before_write()
        with self._store.write() as unit:
            yield unit
        self.writes += 1

    @contextmanager
    def read(self) -> Iterator[Unit]:
        self._look()
        with self._store.read() as unit:
            yield unit

    def close(self) -> None:
        self._store.close()

    def replace(self, store: Store) -> None:
        """Put another store in its place, as restoring a backup does."""
        self._store = store

    def _look(self) -> None:
        if self.away:
            raise StoreUnavailable(StoreFault.UNREACHABLE, "connection refused")
