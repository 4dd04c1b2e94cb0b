"""Processes: what a consumer, a worker and a scheduler are made of, from the runtime up."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType

from alerts.interface import Outcome
from watchdog import clouds, operators
from watchdog.notices import OperatorFacts
from watchdog.words import Severity
from workers.broker import Hand, make_app
from workers.clouds.aws.objects import S3Objects
from workers.consumer import Consumer
from workers.delivering import deliver
from workers.feeds.folder import FolderSource
from workers.feeds.interface import Source
from workers.intake import Intake
from workers.observing import Queued
from workers.runtime import Runtime, utc_now
from workers.settings import FeedSettings
from workers.store.interface import ProcessSeen, StoreUnavailable
from workers.working import Work

BEAT_EVERY = timedelta(seconds=10)


def make_intake(runtime: Runtime) -> Intake:
    """Return the intake of this process, able to fetch what each cloud's notices point at."""
    return Intake(runtime.store, runtime.registry, clouds.cloud, objects={"aws": S3Objects()}, now=utc_now)


def make_work(runtime: Runtime) -> Work:
    """Return the work of this process, with the broker to hand on to."""
    return Work(runtime, make_intake(runtime), Hand(make_app(runtime.settings)))


def make_source(feed: FeedSettings) -> Source:
    """Return the source of a configured feed."""
    if feed.kind == "folder":
        folder = Path(str(feed.options["path"]))
        folder.mkdir(parents=True, exist_ok=True)
        return FolderSource(folder, name=feed.name, cloud=feed.cloud)
    from workers.feeds.sqs import VISIBILITY, SqsSource  # noqa: PLC0415 - boto3 takes half a second to import

    return SqsSource(
        str(feed.options["url"]), name=feed.name, cloud=feed.cloud, region=feed.options.get("region"),
        visibility=feed.options.get("visibility_seconds", VISIBILITY),
    )  # fmt: skip


class Presence:
    """The sign of life of one process, at most one commit every BEAT_EVERY."""

    def __init__(self, runtime: Runtime, kind: str) -> None:
        self.runtime = runtime
        self.kind = kind
        self.started_at = utc_now()
        self.degraded: str | None = None
        self._beaten_at: datetime | None = None
        self._told: str | None = None

    def beat(self) -> None:
        """Leave a sign of life, and tell the operators once of what this process has to do without."""
        now = utc_now()
        changed = self.degraded != self._told
        if self._beaten_at is not None and now - self._beaten_at < BEAT_EVERY and not changed:
            return
        seen = ProcessSeen(
            name=self.runtime.name, kind=self.kind, seen_at=now, started_at=self.started_at, degraded=self.degraded
        )
        told: list[str] = []
        with self.runtime.store.write() as unit:
            unit.process_beat(seen)
            if changed and self.degraded is not None:
                notices = operators.degraded(self.kind, self.degraded, self.runtime.routing, at=now)
                told = unit.add_notices(notices)
        self._beaten_at, self._told = now, self.degraded
        for notice_id in told:
            deliver(self.runtime, notice_id, now=utc_now())

    def lack(self, what: str | None) -> None:
        """Note what this process has to do without; None when it has everything."""
        self.degraded = what
        if what is not None:
            self.runtime.log.warning("degraded", process_kind=self.kind, what=what)
        elif self._told is not None:
            self.runtime.log.info("whole_again", process_kind=self.kind)


def tell_quarantined(runtime: Runtime, feed: str, ids: Sequence[int]) -> None:
    """Tell the operators that pieces of a feed went to quarantine, and keep it as evidence."""
    if not ids:
        return
    now = utc_now()
    with runtime.store.write() as unit:
        pieces = {number: piece for number, piece in unit.quarantined(1000) if number in set(ids)}
        first = next(iter(pieces.values()), None)
        place = first.place if first else f"quarantine {ids[0]}"
        reason = first.reason if first else "see the quarantine"
        more = f" ({len(ids)} pieces; this is the first)" if len(ids) > 1 else ""
        unit.append_evidence("quarantined", feed, {"ids": list(ids), "first": place, "reason": reason}, at=now)
        told = unit.add_notices(operators.unreadable(feed, place, reason + more, runtime.routing, at=now))
    for notice_id in told:
        deliver(runtime, notice_id, now=utc_now())


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
        receipt = channel.send(notice, channel.render(notice), now)
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
        make_source(feed),
        work.intake,
        work.hand_rows,
        drain=drain,
        tell_quarantined=lambda name, ids: tell_quarantined(runtime, name, ids),
        on_degraded=presence.lack,
        beat=presence.beat,
        bare_alarm=lambda text: bare_alarm(runtime, text),
    )


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set; a second signal ends the process at once."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        del frame
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return stop


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
    for notice in notices:
        work.deliver(notice.id)
