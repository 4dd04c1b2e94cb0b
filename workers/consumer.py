"""Consumer: the loop of one feed. Receive, commit, then acknowledge, then hand on; and live through everything else."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeVar

import structlog

from workers.allocation import keep_large_blocks
from workers.broker import BrokerAway
from workers.feeds.holding import Holding
from workers.feeds.interface import FeedFault, Received, Source
from workers.intake import Intake, Taken
from workers.stops import stop_at
from workers.store.interface import Carries, StoreUnavailable

T = TypeVar("T")

LOG = structlog.get_logger(__name__)

WAIT = 5.0
"""Seconds of one long poll. SQS would allow 20; five leave time to stop within ten, and cost cents a month."""

POISON_AFTER = 5
"""Deliveries after which a message that our own code fails on is quarantined whole."""

ALARM_AFTER = 60.0
"""Seconds without a store after which a page goes out that needs none; then every `ALARM_EVERY` seconds."""

ALARM_EVERY = 3600.0
BROKER_EVERY = 5.0
"""Seconds between two looks whether a broker that was away is back: each may cost a connection time-out."""

_SHORT, _LONG, _SLOW = 0.5, 30.0, 60.0  # seconds: first and longest delay, and the one of a permanent fault
_STORE_LONGEST = 5.0  # seconds; our own store is asked more often than a provider: every page waits for it


class Event(StrEnum):
    """What the log of a consumer tells."""

    FAULT = "feed.fault"
    NOT_HELD = "feed.not_held"
    NOT_ACKNOWLEDGED = "feed.not_acknowledged"
    POISON = "feed.poison"
    FAILED = "feed.failed"
    STORE_AWAY = "store.away"
    ALARM_FAILED = "alarm.failed"
    BROKER_AWAY = "broker.away"


class Stop(Protocol):
    """What `threading.Event` offers, so that a test can let the waiting pass."""

    def is_set(self) -> bool:
        """Whether to stop."""
        ...

    def wait(self, timeout: float, /) -> bool:
        """Wait; true when it is time to stop."""
        ...


class Backoff:
    """Delays that double, with jitter so that many processes do not come back at the same moment."""

    def __init__(
        self, first: float = _SHORT, longest: float = _LONG, jitter: Callable[[], float] = random.random
    ) -> None:
        self._first = first
        self._longest = longest
        self._jitter = jitter
        self._tries = 0

    def next(self) -> float:
        """Return the next delay in seconds: between half of the full one and the full one."""
        full: float = min(self._first * 2.0 ** min(self._tries, 20), self._longest)
        self._tries += 1
        return full * (0.5 + self._jitter() / 2)

    def clear(self) -> None:
        """Begin anew: it has worked."""
        self._tries = 0


@dataclass(slots=True)
class _Batch:
    """What was committed, and the messages that may be acknowledged for it."""

    taken: Taken = field(default_factory=Taken)
    done: list[Received] = field(default_factory=list)


class Consumer:
    """Runs one feed until it is told to stop. Nothing is acknowledged before it is committed.

    The process around it gives what the loop needs, as functions:
    `hand_on` queues inbox rows for the workers and raises BrokerAway when it cannot; then `drain` is called again and
    again, which works inbox and outbox in this process, until queueing works. `tell_quarantined` tells the operator of
    new quarantine rows of a feed. `on_degraded` hears what this consumer has to do without (None: nothing any more) and
    must not use the store. `beat` gives a sign of life every few seconds. `bare_alarm` pages somebody without using the
    store.
    """

    def __init__(  # the functions that the process gives, each by its name
        self,
        source: Source,
        intake: Intake,
        hand_on: Callable[[Sequence[tuple[int, Carries]]], object],
        *,
        drain: Callable[[], object],
        tell_quarantined: Callable[[str, Sequence[int]], object],
        on_degraded: Callable[[str | None], object],
        beat: Callable[[], object],
        bare_alarm: Callable[[str], object],
        wait: float = WAIT,
        poison_after: int = POISON_AFTER,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._intake = intake
        self._hand_on = hand_on
        self._drain = drain
        self._tell_quarantined = tell_quarantined
        self._on_degraded = on_degraded
        self._beat = beat
        self._bare_alarm = bare_alarm
        self._wait = wait
        self._poison_after = poison_after
        self._monotonic = monotonic
        self._log = LOG.bind(feed=source.name, cloud=source.cloud)
        self._holding = Holding(source, lambda text: self._log.warning(Event.NOT_HELD, text=text))
        self._backoff = Backoff()
        self._lacks: dict[str, str] = {}
        self._unhanded: list[tuple[int, Carries]] = []
        self._untold: list[int] = []
        self._broker_at = 0.0
        self._alarmed_at: float | None = None

    def run(self, stop: Stop) -> None:
        """Work until `stop` is set; then end within about the length of one poll, with nothing half done."""
        keep_large_blocks()
        try:
            while not stop.is_set():
                self._sign(stop)
                if not self._guarded("work", lambda: self._turn(stop)):
                    self._pause(stop, self._backoff.next())
            self._intake.flush()
        except StoreUnavailable as away:
            self._log.warning(Event.STORE_AWAY, text=str(away))  # at the end only counts are lost with it
        finally:
            self._holding.close()
            self._source.close()

    def _guarded(self, what: str, action: Callable[[], object]) -> bool:
        try:
            action()
        except Exception as error:  # noqa: BLE001  # the loop must live: a consumer that is gone watches nothing
            self._log.exception(Event.FAILED, what=what)
            self._lack(what, f"feed {self._source.name}: our own code fails ({error!r})")
            return False
        self._lack(what, None)
        return True

    def _sign(self, stop: Stop) -> None:
        # Guarded by itself: a sign of life that fails must not keep a record from being received.
        self._guarded("beat", lambda: self._patiently(stop, self._beat))

    def _turn(self, stop: Stop) -> None:
        received = self._receive(stop)
        if received is None:
            return
        if received:
            stop_at("consumer.received")
            if stop.is_set():
                self._give_back(received)
                return
        with self._holding.of(received):
            batch = self._patiently(stop, lambda: self._take(received))
            if batch is not None and received:
                stop_at("consumer.committed")
                self._acknowledge(batch)
                stop_at("consumer.acknowledged")
        if batch is None:
            self._give_back(received)
            return
        self._untold += batch.taken.quarantined
        self._patiently(stop, lambda: self._pass_on(batch.taken.ids))
        if received:
            stop_at("consumer.handed_on")
        self._patiently(stop, self._tell)

    def _tell(self) -> None:
        """Tell of what is in quarantine; what could not be told is told at the next turn."""
        if self._untold:
            self._tell_quarantined(self._source.name, self._untold)
            self._untold = []

    # --------------------------------------------------------------------------------------------------------- source

    def _receive(self, stop: Stop) -> Sequence[Received] | None:
        try:
            received = self._source.receive(self._wait)
        except FeedFault as fault:
            self._bear(fault, stop)
            return None
        self._backoff.clear()
        self._lack("feed", None)
        return received

    def _bear(self, fault: FeedFault, stop: Stop) -> None:
        """Show what is wrong with the source and wait; a permanent fault is retried too, slowly: it may be mended."""
        name = self._source.name
        self._log.warning(Event.FAULT, reason=fault.reason, permanent=fault.permanent, text=str(fault))
        self._lack("feed", f"feed {name}: {fault} ({fault.hint()})")
        self._patiently(stop, lambda: self._intake.note_fault(name, fault))
        self._pause(stop, _SLOW if fault.permanent else self._backoff.next())

    def _acknowledge(self, batch: _Batch) -> None:
        """Give up what is committed. What cannot be given up comes again, and changes nothing then."""
        name = self._source.name
        try:
            left = self._source.acknowledge(batch.done, unreadable=batch.taken.unreadable)
        except FeedFault as fault:
            self._log.warning(Event.NOT_ACKNOWLEDGED, reason=fault.reason, text=str(fault))
            self._lack("acknowledge", f"feed {name}: cannot acknowledge: {fault} ({fault.hint()})")
            return
        if left:
            self._log.warning(Event.NOT_ACKNOWLEDGED, messages=[one.id for one in left])
        text = f"feed {name}: {len(left)} messages could not be acknowledged and will come again"
        self._lack("acknowledge", text if left else None)

    def _give_back(self, received: Sequence[Received]) -> None:
        try:
            self._source.extend(received, 0)
        except FeedFault as fault:  # then they come again when their time is over
            self._log.warning(Event.NOT_HELD, reason=fault.reason, text=str(fault))

    # ----------------------------------------------------------------------------------------------------------- store

    def _take(self, received: Sequence[Received]) -> _Batch:
        name, cloud = self._source.name, self._source.cloud
        try:
            batch = _Batch(self._intake.take(name, cloud, received), list(received))
        except StoreUnavailable:
            raise
        except Exception:
            if not received:
                raise
            # Something in it cannot be committed: each by itself, so that the others go their way.
            return self._take_apart(received)
        self._lack("own", None)
        return batch

    def _take_apart(self, received: Sequence[Received]) -> _Batch:
        name, cloud = self._source.name, self._source.cloud
        batch = _Batch()
        for message in received:
            try:
                taken = self._intake.take(name, cloud, [message])
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001  # one message must not stop the feed; it is told, then quarantined
                self._log.exception(Event.POISON, message=message.id, deliveries=message.deliveries)
                self._lack("own", f"feed {name}: our own code fails on message {message.id} ({error!r})")
                if message.deliveries <= self._poison_after:
                    continue
                reason = f"our own code failed on it {message.deliveries} times: {error!r}"
                taken = self._intake.refuse(name, cloud, message, reason)
            batch.taken.add(taken)
            batch.done.append(message)
        return batch

    def _patiently(self, stop: Stop, action: Callable[[], T]) -> T | None:
        """Do something that needs the store, as soon as the store is there; None when it is time to stop before.

        Nothing new is received meanwhile, and what was received is held: so an outage does not push messages into
        the queue's dead letters.
        """
        backoff = Backoff(longest=_STORE_LONGEST)
        since: float | None = None
        while True:
            try:
                found = action()
            except StoreUnavailable as away:
                since = self._monotonic() if since is None else since
                self._store_away(away, self._monotonic() - since)
                if stop.wait(backoff.next()):
                    return None
            else:
                self._lack("store", None)
                return found

    def _store_away(self, away: StoreUnavailable, seconds: float) -> None:
        self._log.warning(Event.STORE_AWAY, reason=away.reason, text=str(away), seconds=round(seconds))
        text = f"feed {self._source.name}: nothing can be committed, so nothing is acknowledged: {away} ({away.hint()})"
        self._lack("store", text)
        now = self._monotonic()
        if seconds < ALARM_AFTER or (self._alarmed_at is not None and now - self._alarmed_at < ALARM_EVERY):
            return
        try:
            self._bare_alarm(text)
        except Exception:  # noqa: BLE001  # the last resort must not end the loop; it is tried again at the next turn
            self._log.exception(Event.ALARM_FAILED)
            return
        self._alarmed_at = now

    # ---------------------------------------------------------------------------------------------------------- broker

    def _pass_on(self, rows: Sequence[tuple[int, Carries]]) -> None:
        if not rows and not self._unhanded:
            return
        if self._unhanded and self._monotonic() < self._broker_at:
            self._drain()
            return
        # A row that could not be handed on before tells whether the broker is back; to work a row twice is harmless.
        try:
            self._hand_on([*self._unhanded, *rows])
        except BrokerAway as away:
            self._unhanded = [*self._unhanded, *rows][-1:]
            self._broker_at = self._monotonic() + BROKER_EVERY
            self._log.warning(Event.BROKER_AWAY, text=str(away))
            self._lack("broker", f"the broker is away ({away}): this process works records and notices itself")
            self._drain()
            return
        self._unhanded = []
        self._lack("broker", None)

    # ----------------------------------------------------------------------------------------------------------- state

    def _lack(self, what: str, text: str | None) -> None:
        """Note what is missing (None: it is there), and pass it on when that is a change."""
        if self._lacks.get(what) == text:
            return
        if text is None:
            del self._lacks[what]
        else:
            self._lacks[what] = text
        self._on_degraded("; ".join(self._lacks.values()) or None)

    def _pause(self, stop: Stop, seconds: float) -> None:
        end = self._monotonic() + seconds
        while not stop.wait(max(0.0, min(WAIT, end - self._monotonic()))) and self._monotonic() < end:
            self._sign(stop)
