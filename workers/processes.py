"""Processes: what a consumer, a worker and a scheduler are made of, from the runtime up."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from types import FrameType

import structlog
from billiard import active_children

from alerts.interface import Outcome
from watchdog import clouds, operators
from watchdog.notices import OperatorFacts
from watchdog.register import Register
from watchdog.words import Severity
from workers import settings
from workers.broker import Hand, make_app
from workers.clouds.aws.objects import S3Objects
from workers.consumer import Consumer
from workers.delivering import deliver
from workers.feeds import kinds
from workers.feeds.interface import Source
from workers.intake import Intake
from workers.observing import Queued
from workers.runtime import Runtime, utc_now
from workers.settings import FeedSettings, SettingsFault, SettingsFaults
from workers.store.interface import ProcessSeen, StoreUnavailable, Unit, Unreadable
from workers.working import Work

BEAT_EVERY = timedelta(seconds=10)
LEAVE_AFTER = 6.5
"""Seconds that a process which is asked to stop waits at most for a far end that hangs; less than any supervisor waits.

Whatever it had begun is begun again by others, as after a crash: a notice at the worst goes out twice.
"""

TELL_AGAIN = timedelta(hours=1)
"""How often the operators are told of the same lack while it lasts."""


def make_intake(runtime: Runtime) -> Intake:
    """Return the intake of this process, able to fetch what each cloud's notices point at."""

    def on_quarantine(unit: Unit, feed: str, pieces: Sequence[tuple[int, Unreadable]]) -> None:
        note_quarantined(runtime, unit, feed, pieces)

    return Intake(
        runtime.store, runtime.registry, clouds.cloud, objects={"aws": S3Objects()},
        customers=runtime.settings.customers_by_feed, on_quarantine=on_quarantine, now=utc_now,
    )  # fmt: skip


def make_work(runtime: Runtime) -> Work:
    """Return the work of this process, with the broker to hand on to."""
    return Work(runtime, make_intake(runtime), Hand(make_app(runtime.settings)))


def make_source(feed: FeedSettings, register: Callable[[], Register] | None = None) -> Source:
    """Return the source of a configured feed. Raises SettingsFaults with all that its options lack."""
    options = settings.resolved(feed)
    try:
        return kinds.make_source(feed.kind, feed.name, feed.cloud, options, register=register)
    except ValueError as error:  # the source's own report of its options, all of them in one text
        raise SettingsFaults([SettingsFault(f"feeds.{feed.name}", str(error))]) from error


class Presence:
    """The sign of life of one process: a commit every BEAT_EVERY, and at once when it comes to lack something else."""

    def __init__(self, runtime: Runtime, kind: str, now: Callable[[], datetime] = utc_now) -> None:
        self.runtime = runtime
        self.kind = kind
        self._now = now
        self.started_at = now()
        self.degraded: str | None = None
        self._beaten_at: datetime | None = None
        self._shown: str | None = None
        self._told_at: datetime | None = None

    def beat(self) -> None:
        """Leave a sign of life, and tell the operators of what this process lacks: at once, then every hour."""
        now = self._now()
        lacks, changed = self.degraded, self.degraded != self._shown
        if self._beaten_at is not None and now - self._beaten_at < BEAT_EVERY and not changed:
            return
        is_due = changed or self._told_at is None or now - self._told_at >= TELL_AGAIN
        seen = ProcessSeen(
            name=self.runtime.name, kind=self.kind, seen_at=now, started_at=self.started_at, degraded=lacks
        )
        told: list[str] = []
        with self.runtime.store.write() as unit:
            unit.process_beat(seen)
            if lacks is not None and is_due:
                told = unit.add_notices(operators.degraded(self.kind, lacks, self.runtime.routing, at=now))
        self._beaten_at, self._shown = now, lacks
        if is_due:
            self._told_at = now
        for notice_id in told:
            deliver(self.runtime, notice_id, now=self._now())

    def lack(self, what: str | None) -> None:
        """Note what this process has to do without; None when it has everything."""
        self.degraded = what
        if what is not None:
            self.runtime.log.warning("degraded", process_kind=self.kind, what=what)
        elif self._shown is not None:
            self.runtime.log.info("whole_again", process_kind=self.kind)


def note_quarantined(runtime: Runtime, unit: Unit, feed: str, pieces: Sequence[tuple[int, Unreadable]]) -> None:
    """Add, in the commit that puts pieces of a feed into quarantine, the evidence of it and the operators' notice."""
    now = utc_now()
    ids = [number for number, _ in pieces]
    _, first = pieces[0]
    more = f" ({len(ids)} pieces; this is the first)" if len(ids) > 1 else ""
    unit.append_evidence("quarantined", feed, {"ids": ids, "first": first.place, "reason": first.reason}, at=now)
    unit.add_notices(operators.unreadable(feed, first.place, first.reason + more, runtime.routing, at=now))


def tell_quarantined(runtime: Runtime, feed: str, ids: Sequence[int]) -> None:
    """Send at once what `note_quarantined` has left in the outbox; should it not come to that, others send it."""
    if not ids:
        return
    now = utc_now()
    for notice in operators.unreadable(feed, "", "", runtime.routing, at=now):  # only its id counts here
        deliver(runtime, notice.id, now=now)


def bare_alarm(runtime: Runtime, text: str) -> None:
    """Page the operators without the store: nothing can be committed, so nothing is acknowledged either.

    Raises RuntimeError when no operator channel took it.
    """
    now = utc_now()
    facts = OperatorFacts(
        subject="The watchdog cannot reach its store",
        what=f"{text}. No audit record is worked, no notice is sent, and no key is watched until it is back.",
        where=runtime.name,
        next="Bring the database back. Nothing is lost: records wait at the clouds' queues until then. "
        "`byok-watchdog doctor` says what it finds.",
        at=now,
        severity=Severity.CRITICAL,
    )
    refused = []
    for notice in operators.tell(f"store-away:{now:%Y-%m-%dT%H}", facts, runtime.routing, at=now):
        channel = runtime.channels[notice.channel]
        try:
            receipt = channel.send(notice, channel.render(notice), now)
        except Exception as error:
            # Protects the last resort: a fault of one sender's own code must not keep the next one from being asked.
            runtime.log.error("alarm.sender_failed", channel=notice.channel, exc_info=error)
            refused.append(f"{notice.channel}: {type(error).__name__}")
            continue
        if receipt.outcome is Outcome.ACCEPTED:
            return
        refused.append(f"{notice.channel}: {receipt.reason}")
    raise RuntimeError(f"no operator channel took the alarm: {', '.join(refused) or 'none is configured'}")


def make_consumer(runtime: Runtime, feed: FeedSettings) -> Consumer:
    """Return the consumer of one feed, with everything it needs around it."""
    work = make_work(runtime)
    presence = Presence(runtime, f"consumer {feed.name}")

    def drain() -> None:
        work.by_itself().drain(before=utc_now())

    return Consumer(
        make_source(feed, runtime.registry.known),
        work.intake,
        work.hand_rows,
        drain=drain,
        tell_quarantined=lambda name, ids: tell_quarantined(runtime, name, ids),
        on_degraded=presence.lack,
        beat=presence.beat,
        bare_alarm=lambda text: bare_alarm(runtime, text),
    )


def stop_on_signals(*, in_time: bool = False) -> threading.Event:
    """Return an event that SIGTERM and SIGINT set; a second signal ends the process at once.

    With `in_time` the process ends by itself after LEAVE_AFTER, whatever it is still waiting for.
    """
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        del frame
        if stop.is_set():
            os._exit(128 + number)
        stop.set()
        if in_time:
            leave_in_time()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return stop


def leave_in_time() -> None:
    """See that this process, with its pool if it has one, is gone after LEAVE_AFTER at the latest."""
    timer = threading.Timer(LEAVE_AFTER, _leave)
    timer.daemon = True
    timer.start()


def _leave() -> None:
    structlog.get_logger(__name__).warning("process.left", after_seconds=LEAVE_AFTER)
    for child in active_children():
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself meanwhile
            os.kill(child.pid, signal.SIGKILL)
    os._exit(0)


def wait_for_store(runtime: Runtime, ready: Callable[[], None], stop: threading.Event) -> bool:
    """Wait until the store can be used; a service that is started before its database does not give up."""
    told = False
    while not stop.is_set():
        try:
            ready()
        except StoreUnavailable as fault:
            if not told:
                runtime.log.error("store.away", error=str(fault), hint=fault.hint())
                told = True
            stop.wait(2.0)
        else:
            return True
    return False


def send_all(work: Work, notices: Iterable[Queued]) -> None:
    """Send notices from this process, without the broker; for commands."""
    work.deliver_all(notice.id for notice in notices)
