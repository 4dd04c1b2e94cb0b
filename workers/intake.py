"""Intake: what a feed has received is committed here, cut into records that matter, pointers and broken pieces."""

import hashlib
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import msgspec

from watchdog.cloud import Broken, Cloud, Entry, Pointer, Unpacked
from watchdog.coverage import Sign
from watchdog.hearing import heard
from watchdog.register import Register
from watchdog.signals import Signal
from watchdog.ways import ways_of
from watchdog.words import Effect
from workers.allocation import keep_large_blocks
from workers.clouds.interface import Objects
from workers.feeds.interface import FeedFault, Reason, Received
from workers.feeds.pieces import sealed
from workers.registry import Registry
from workers.store.interface import Arrival, Arrived, Carries, Store, Unit, Unreadable

CHUNK = 1000
"""Most records of a delivery in one transaction, so that urgent work need not wait for the writer for long."""

SEEN_EVERY = 1.0
"""Seconds between two commits that only say that a feed is alive: noise must not cost a durable commit a batch."""

MOST_BROKEN = 100
"""Most quarantine rows of one message; what is beyond shares a row, so that a wrong file cannot flood the store."""

_SYMPTOMS = frozenset({Effect.USE_FAILED, Effect.USE_SUCCEEDED})
_ID_BYTES = 1500  # a database index takes no more than about 2,700 bytes; an S3 bucket with its longest name has 1,088
_EMPTY_BYTES = 4096  # an empty list of records, with all that may be around it, is shorter
_NOT_FOUND_TRIES = 8  # with the delays below: about half an hour
_MOST_TRIES = 50  # about half a day; claims that ran out count too, so that a deadly object cannot go round for ever
_RETRY_FIRST = timedelta(seconds=15)
_RETRY_LONGEST = timedelta(minutes=15)


Signs = dict[str, datetime]
"""The newest sign of life of each route."""

InCommit = Callable[[Unit, str, Sequence[tuple[int, Unreadable]]], object]
"""Hears, inside the transaction, of the pieces of a feed that go to quarantine in it."""


@dataclass(slots=True)
class Counts:
    """How many records a feed has brought, and what became of them."""

    received: int = 0
    kept: int = 0
    dropped: int = 0
    broken: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """Return the sum of both."""
        return Counts(
            self.received + other.received,
            self.kept + other.kept,
            self.dropped + other.dropped,
            self.broken + other.broken,
        )

    def less(self, other: "Counts") -> "Counts":
        """Return what is left of these without `other`."""
        return self.plus(Counts(-other.received, -other.kept, -other.dropped, -other.broken))


@dataclass(slots=True)
class Taken:
    """What became of what was received.

    `ids` are the new inbox rows, to be handed on; `quarantined` the new quarantine rows, of which the caller must tell
    the operator; `unreadable` the ids of messages in which nothing could be read. `counts.kept` counts new rows only:
    what was known already is in `counts.received` alone. `fault` is set when a delivery could not be fetched: the row
    stays in the inbox and is due again, a permanent fault is for the operator.
    """

    ids: list[tuple[int, Carries]] = field(default_factory=list)
    quarantined: list[int] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)
    counts: Counts = field(default_factory=Counts)
    fault: FeedFault | None = None

    def add(self, other: "Taken") -> None:
        """Add what became of another part of the same delivery."""
        self.ids += other.ids
        self.quarantined += other.quarantined
        self.unreadable |= other.unreadable
        self.counts = self.counts.plus(other.counts)


@dataclass(slots=True)
class _Haul:
    """One received message, unpacked."""

    message: Received
    unpacked: Unpacked


@dataclass(slots=True)
class _Judged:
    """What is to be committed of some hauls."""

    records: list[Arrival] = field(default_factory=list)
    deliveries: list[Arrival] = field(default_factory=list)
    broken: list[Unreadable] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)
    counts: Counts = field(default_factory=Counts)
    signs: Signs = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be committed but counts and signs of life."""
        return not (self.records or self.deliveries or self.broken)


class Intake:
    """Takes in what feeds receive. Safe between threads. Raises StoreUnavailable, with nothing committed.

    `customers` names, for the feeds that are set up for certain customers only, of whom their records are believed.
    What is not `live` is made up, and shows no sign of life of any route.
    """

    def __init__(  # the parts of the house it works with, and the clocks
        self,
        store: Store,
        registry: Registry,
        clouds: Callable[[str], Cloud],
        *,
        objects: Mapping[str, Objects] | None = None,
        customers: Mapping[str, Collection[str]] | None = None,
        on_quarantine: InCommit = lambda _unit, _feed, _pieces: None,
        live: bool = True,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._registry = registry
        self._clouds = clouds
        self._objects = objects or {}
        self._customers = customers or {}
        self._on_quarantine = on_quarantine
        self._live = live
        self._now = now
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._owing: dict[str, Counts] = {}
        self._signs: dict[str, Signs] = {}
        self._told_at: dict[str, float] = {}

    def take(self, feed: str, cloud: str, received: Sequence[Received]) -> Taken:
        """Commit a batch in one transaction, if there is anything to commit; an empty batch says "I have asked".

        One bad message never loses the others, one bad record never its neighbours: they go to quarantine. Records
        that mean nothing for the register are dropped and counted.
        """
        register = self._registry.known()
        while True:
            hauls = [self._unpack(cloud, message, register) for message in received]
            found = self._keep(feed, cloud, hauls, register, asked=True)
            if isinstance(found, Taken):
                return found
            register = found

    def take_page(
        self, feed: str, cloud: str, received: Sequence[Received], *, customers: Collection[str] | None,
        also: Callable[[Unit, "Taken"], None],
    ) -> Taken:  # fmt: skip
        """Commit a page out of an archive as records of `feed`, together with what `also` writes.

        It is no sign of life of the feed. `customers` are those whose archive it is (None: of all of whom the feed may
        speak): what is about others goes to quarantine, since in the inbox it would be believed as the feed's own.
        """
        register = self._registry.known()
        while True:
            hauls = [self._unpack(cloud, message, register) for message in received]
            judged = self._judge(feed, cloud, hauls, register, customers)
            with self._store.write() as unit:
                current = self._registry.current(unit)
                if current.revision == register.revision:
                    taken = self._add(unit, feed, judged)
                    also(unit, taken)
                    return taken
            register = current

    def refuse(self, feed: str, cloud: str, message: Received, reason: str) -> Taken:
        """Commit a message to quarantine whole: our own code has failed on it again and again."""
        haul = _Haul(message, Unpacked(broken=[Broken(number=message.first, reason=reason, raw=message.body)]))
        register = self._registry.known()
        while True:
            found = self._keep(feed, cloud, [haul], register, asked=True)
            if isinstance(found, Taken):
                return found
            register = found

    def note_fault(self, feed: str, fault: FeedFault) -> None:
        """Keep what is wrong with a feed, where the status page shows it; it goes when the feed answers again."""
        with self._store.write() as unit:
            unit.feed_seen(feed, error=f"{fault} ({fault.hint()})")

    def flush(self) -> None:
        """Commit the counts and signs that have not been committed yet; called before a process ends."""
        for feed in list(self._owing):
            owed, signs, _ = self._owed(feed)
            with self._store.write() as unit:
                self._count(unit, feed, owed, asked=False)
                _note_signs(unit, feed, signs)
            self._paid(feed, owed, signs)

    # ------------------------------------------------------------------------------------------------------ deliveries

    def read_delivery(self, arrived: Arrived) -> Taken:
        """Fetch the object that an inbox row points at, take in its records, and settle the row.

        Bounded memory; a crash in between means reading it again, and rows that are known are not added twice. When
        the object cannot be fetched the row is due again later and the fault is returned; an object that stays away is
        quarantined.
        """
        keep_large_blocks()
        pointer = msgspec.json.decode(arrived.body, type=Pointer)
        objects = self._objects[arrived.cloud]
        with self._store.read() as unit:
            register = self._registry.current(unit)
        refusal = objects.refusal(pointer, register)
        if refusal is None and arrived.attempts >= _MOST_TRIES:
            refusal = f"reading it was tried {arrived.attempts} times without success"
        if refusal is not None:
            return self._give_up(arrived, refusal)
        total = Taken()
        try:
            for piece in objects.pieces(pointer):
                message = Received(
                    id=f"{arrived.event_id}#{piece.first}",
                    body=piece.body,
                    received_at=arrived.received_at,
                    receipt=None,
                    place=piece.name,
                    first=piece.first,
                    fault=piece.error,
                )
                total.add(self._take_piece(arrived, message))
        except FeedFault as fault:
            if fault.reason is Reason.NOT_FOUND and arrived.attempts + 1 >= _NOT_FOUND_TRIES:
                total.add(self._give_up(arrived, str(fault)))
                return total
            self._again(arrived, fault)
            total.fault = fault
            return total
        outcome = f"{total.counts.received} records read, {total.counts.kept} kept, {total.counts.broken} unreadable"
        with self._store.write() as unit:
            unit.arrival_done(arrived.id, at=self._now(), outcome=outcome)
        return total

    def _take_piece(self, arrived: Arrived, message: Received) -> Taken:
        """Take in one piece of an object, a chunk of records in each transaction."""
        total = Taken()
        register = self._registry.known()
        parts = _parts(self._unpack(arrived.cloud, message, register))
        while (part := next(parts, None)) is not None:
            found = self._keep(arrived.feed, arrived.cloud, [part], register, asked=False)
            if isinstance(found, Taken):
                total.add(found)
            else:  # begin the piece anew; what is in the inbox already is not added twice, only its counts are
                register = found
                parts = _parts(self._unpack(arrived.cloud, message, register))
        return total

    def _again(self, arrived: Arrived, fault: FeedFault) -> None:
        # A missing object may still appear (a notice can overtake it); other permanent faults wait for a person.
        waits = not fault.permanent or fault.reason is Reason.NOT_FOUND
        delay = min(_RETRY_FIRST * 2 ** min(arrived.attempts, 10), _RETRY_LONGEST) if waits else _RETRY_LONGEST
        with self._store.write() as unit:
            unit.arrival_retry(arrived.id, due_at=self._now() + delay, error=f"{fault} ({fault.hint()})")

    def _give_up(self, arrived: Arrived, reason: str) -> Taken:
        piece = Unreadable(
            feed=arrived.feed,
            cloud=arrived.cloud,
            place=arrived.event_id,
            reason=reason,
            body=arrived.body,
            received_at=arrived.received_at,
        )
        with self._store.write() as unit:
            quarantined = self._quarantine(unit, arrived.feed, [piece])
            unit.feed_seen(arrived.feed, broken=1)
            unit.arrival_done(arrived.id, at=self._now(), outcome=f"quarantined: {reason}")
        return Taken(quarantined=quarantined, counts=Counts(broken=1))

    # -------------------------------------------------------------------------------------------------- body to row

    def _unpack(self, cloud: str, message: Received, register: Register) -> _Haul:
        if message.fault is not None:
            return _Haul(
                message, Unpacked(broken=[Broken(number=message.first, reason=message.fault, raw=message.body)])
            )
        try:
            unpacked = self._clouds(cloud).unpack(message.body, first=message.first, register=register)
        except MemoryError:
            raise  # says nothing about the message
        except Exception as error:  # noqa: BLE001  # a fault of our own code must not stop the feed; it is told
            broken = Broken(number=message.first, reason=_own_fault(error), raw=message.body)
            return _Haul(message, Unpacked(broken=[broken]))
        if len(message.body) > _EMPTY_BYTES and _is_empty(unpacked):
            reason = f"nothing was found in its {len(message.body)} bytes, neither a record nor a fault"
            unpacked.broken.append(Broken(number=message.first, reason=reason, raw=message.body))
        return _Haul(message, unpacked)

    def _judge(
        self, feed: str, cloud: str, hauls: Sequence[_Haul], register: Register,
        only: Collection[str] | None = None,
    ) -> _Judged:  # fmt: skip
        """Tell what is to be kept of the hauls under this register; `only`: of those that speak of these customers."""
        judged = _Judged()
        believed = self._customers.get(feed)
        for haul in hauls:
            unpacked, message = haul.unpacked, haul.message
            broken = list(unpacked.broken)
            judged.counts.dropped += unpacked.dropped_count
            folding = _Folding(message.received_at)
            for entry in unpacked.entries:
                found = self._weigh(feed, cloud, entry, register, message)
                if only is not None and not isinstance(found, str) and heard(found, register, only) != found:
                    found = f"it speaks of others than {', '.join(only)}, whose archive it comes from"
                if isinstance(found, str):
                    broken.append(Broken(number=entry.number, reason=found, raw=entry.raw))
                else:
                    folding.add(entry, found)
                    if self._live:
                        _hear(judged.signs, found, register, self._clouds, believed, message.received_at)
            entries = folding.kept()
            judged.records += [_arrival(feed, cloud, message, entry.event_id, entry.raw) for entry in entries]
            judged.counts.dropped += folding.count - len(entries)
            for pointer in unpacked.pointers:
                body = msgspec.json.encode(pointer)
                refusal = self._refusal(cloud, pointer, register)
                if refusal is not None:
                    broken.append(Broken(number=message.first, reason=refusal, raw=body))
                else:
                    row = _arrival(feed, cloud, message, f"{pointer.bucket}/{pointer.name}", body)
                    judged.deliveries.append(replace(row, carries=Carries.DELIVERY))
            judged.counts.broken += len(broken)
            judged.broken += _unreadable(feed, cloud, message, broken)
            if broken and not (unpacked.entries or unpacked.pointers or unpacked.dropped_count):
                judged.unreadable.add(message.id)
        counts = judged.counts
        counts.received = len(judged.records) + len(judged.deliveries) + counts.dropped + counts.broken
        return judged

    def _weigh(
        self, feed: str, cloud: str, entry: Entry, register: Register, message: Received
    ) -> Sequence[Signal] | str:
        """Return what an entry means for the register, or (a text) why that cannot be told."""
        try:
            signals = self._clouds(cloud).meaning(entry.raw, register, received_at=message.received_at)
        except MemoryError:
            raise  # says nothing about the entry
        except Exception as error:  # noqa: BLE001  # a fault of our own code must not stop the feed; it is told
            return _own_fault(error)
        effects = {signal.effect for signal in signals}
        if not effects:
            return "our own code found no meaning at all, not even `no_effect`"
        if Effect.UNREADABLE in effects and effects <= {Effect.UNREADABLE, Effect.NO_EFFECT}:
            return next(signal.reason for signal in signals if signal.effect is Effect.UNREADABLE)
        return heard(signals, register, self._customers.get(feed))

    def _refusal(self, cloud: str, pointer: Pointer, register: Register) -> str | None:
        objects = self._objects.get(cloud)
        # A process that fetches nothing leaves the question to the one that does.
        return None if objects is None else objects.refusal(pointer, register)

    # ---------------------------------------------------------------------------------------------------------- commit

    def _keep(
        self, feed: str, cloud: str, hauls: Sequence[_Haul], register: Register, *, asked: bool
    ) -> Taken | Register:
        """Commit what matters of the hauls; when `register` is not the current one do nothing and return the current.

        What meant nothing under the old register may mean something under the new one: the caller begins anew.
        """
        judged = self._judge(feed, cloud, hauls, register)
        owed, signs, is_due = self._owed(feed)
        writes = is_due or not judged.is_empty
        with self._store.write() if writes else self._store.read() as unit:
            current = self._registry.current(unit)
            if current.revision != register.revision:
                return current
            taken = self._commit(unit, feed, judged, owed, asked=asked) if writes else None
            if writes:
                _note_signs(unit, feed, signs, judged.signs)
        if taken is None:
            self._owe(feed, judged)
            return Taken(counts=judged.counts)
        self._paid(feed, owed, signs)
        return taken

    def _commit(self, unit: Unit, feed: str, judged: _Judged, owed: Counts, *, asked: bool) -> Taken:
        taken = self._add(unit, feed, judged)
        self._count(unit, feed, taken.counts.plus(owed), asked=asked)
        return taken

    def _add(self, unit: Unit, feed: str, judged: _Judged) -> Taken:
        ids = [(row, Carries.RECORD) for row in _received(unit, judged.records)]
        ids += [(row, Carries.DELIVERY) for row in _received(unit, judged.deliveries)]
        quarantined = self._quarantine(unit, feed, judged.broken)
        counts = replace(judged.counts, kept=len(ids))
        return Taken(ids=ids, quarantined=quarantined, unreadable=judged.unreadable, counts=counts)

    def _quarantine(self, unit: Unit, feed: str, pieces: Sequence[Unreadable]) -> list[int]:
        """Keep what cannot be read, in the same transaction as the word of it; return the ids of the new rows."""
        kept = [(number, piece) for piece in pieces if (number := unit.quarantine(piece)) is not None]
        if kept:
            self._on_quarantine(unit, feed, kept)
        return [number for number, _ in kept]

    def _count(self, unit: Unit, feed: str, counts: Counts, *, asked: bool) -> None:
        now = self._now()
        unit.feed_seen(
            feed,
            asked_at=now if asked else None,
            record_at=now if counts.received else None,
            received=counts.received,
            kept=counts.kept,
            dropped=counts.dropped,
            broken=counts.broken,
        )

    # ----------------------------------------------------------------------------------------- counts not committed

    def _owed(self, feed: str) -> tuple[Counts, Signs, bool]:
        with self._lock:
            told_at = self._told_at.get(feed)
            is_due = told_at is None or self._monotonic() - told_at >= SEEN_EVERY
            return self._owing.get(feed, Counts()), dict(self._signs.get(feed, {})), is_due

    def _owe(self, feed: str, judged: _Judged) -> None:
        with self._lock:
            self._owing[feed] = self._owing.get(feed, Counts()).plus(judged.counts)
            _merge(self._signs.setdefault(feed, {}), judged.signs)

    def _paid(self, feed: str, counts: Counts, signs: Signs) -> None:
        with self._lock:
            self._told_at[feed] = self._monotonic()
            self._owing[feed] = self._owing.get(feed, Counts()).less(counts)
            owing = self._signs.get(feed, {})
            self._signs[feed] = {route: at for route, at in owing.items() if signs.get(route) != at}


class _Folding:
    """Chooses what is kept of one message: all that has an effect, but of a flood of one symptom its first and last.

    One disabled key gives thousands of equal failures, one key in use thousands of equal successes (aws.md 8.24);
    health knows the first and the last of an hour only, and a task for each would drown what matters.
    """

    def __init__(self, received_at: datetime) -> None:
        self._received_at = received_at
        self._places: dict[int, Entry] = {}
        self._floods: dict[object, list[tuple[datetime, int]]] = {}
        self.count = 0

    def add(self, entry: Entry, signals: Sequence[Signal]) -> None:
        """Take an entry with its meaning."""
        self.count += 1
        effects = {signal.effect for signal in signals}
        if effects == {Effect.NO_EFFECT}:
            return
        self._places[self.count] = entry
        if effects <= _SYMPTOMS:
            times = [signal.occurred_at or self._received_at for signal in signals]
            symptom = frozenset(
                (signal.key, signal.version, signal.subject, signal.effect, signal.cause, f"{at:%Y-%m-%dT%H}")
                for signal, at in zip(signals, times, strict=True)
            )
            self._floods.setdefault(symptom, []).append((max(times), self.count))

    def kept(self) -> list[Entry]:
        """Return the entries to be kept, in their order."""
        for flood in self._floods.values():
            for _, place in sorted(flood)[1:-1]:
                del self._places[place]
        return [*self._places.values()]


def _hear(
    signs: Signs, signals: Sequence[Signal], register: Register, cloud: Callable[[str], Cloud],
    believed: Collection[str] | None, received_at: datetime,
) -> None:  # fmt: skip
    """Add the signs of life in what an entry means, each at its own time: what comes late does not look alive now.

    Over a feed that is set up for certain customers only their routes are believed to be alive, as is all else of them.
    """
    for signal in signals:
        route = signal.route
        if route is None:
            continue
        if believed is not None:
            way = ways_of(register, cloud).by_route.get(route)
            if way is None or way.customer not in believed:
                continue
        _merge(signs, {route: min(signal.occurred_at or received_at, received_at)})


def _merge(signs: Signs, more: Signs) -> None:
    for route, at in more.items():
        if route not in signs or signs[route] < at:
            signs[route] = at


def _note_signs(unit: Unit, feed: str, *found: Signs) -> None:
    signs: Signs = {}
    for some in found:
        _merge(signs, some)
    if signs:
        unit.note_signs(Sign(feed=feed, route=route, at=at) for route, at in signs.items())


def _is_empty(unpacked: Unpacked) -> bool:
    return not (unpacked.entries or unpacked.broken or unpacked.pointers or unpacked.dropped_count)


def _received(unit: Unit, arrivals: Sequence[Arrival]) -> list[int]:
    return unit.receive(arrivals) if arrivals else []


def _arrival(feed: str, cloud: str, message: Received, event_id: str, body: bytes) -> Arrival:
    return Arrival(feed=feed, event_id=_storable(event_id), cloud=cloud, body=body, received_at=message.received_at)


def _storable(event_id: str) -> str:
    """Return an event id that every database can keep and index: odd or overlong ones are replaced by their hash."""
    raw = event_id.encode("utf-8", "surrogatepass")
    if len(raw) <= _ID_BYTES and "\0" not in event_id and raw.decode("utf-8", "replace") == event_id:
        return event_id
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def _unreadable(feed: str, cloud: str, message: Received, broken: Sequence[Broken]) -> list[Unreadable]:
    """Return the quarantine rows of one message: one for each broken record, but for a flood of them."""
    place = message.place or message.id
    rows = [
        (f"{place}, record {one.number}", one.reason, one.raw)
        for one in broken[: MOST_BROKEN if len(broken) > MOST_BROKEN + 1 else None]
    ]
    rest = broken[len(rows) :]
    if rest:
        reason = f"{len(rest)} more records cannot be read; the first of them: {rest[0].reason}"
        rows.append((f"{place}, from record {rest[0].number} on", reason, b"\n".join(one.raw for one in rest)))
    return [
        Unreadable(
            feed=feed,
            cloud=cloud,
            place=_text(where),
            reason=_text(reason),
            body=sealed(raw),
            received_at=message.received_at,
        )
        for where, reason, raw in rows
    ]


def _text(text: str) -> str:
    """Return a text that every database can keep: outsiders may have a part in it."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")[:2000]


def _own_fault(error: Exception) -> str:
    """Name a fault of our own code in one line: what, and where."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({last[0].filename.rsplit('/', 1)[-1]}:{last[0].lineno})" if last else ""
    return f"our own code failed on it: {traceback.format_exception_only(error)[-1].strip()}{where}"


def _parts(haul: _Haul) -> Iterator[_Haul]:
    """Cut a haul so that no part brings more than a chunk of records into one transaction."""
    unpacked = haul.unpacked
    entries = unpacked.entries
    yield _Haul(haul.message, replace(unpacked, entries=entries[:CHUNK]))
    for start in range(CHUNK, len(entries), CHUNK):
        yield _Haul(haul.message, Unpacked(entries=entries[start : start + CHUNK]))
