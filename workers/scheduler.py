"""The scheduler: what must happen by itself. Two of them are harmless: every job is claimed in the store."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from workers import backfilling, covering, heartbeat, synthetic
from workers.backfilling import Backfilling
from workers.broker import BrokerAway
from workers.observing import advance_incident
from workers.processes import note_quarantined
from workers.runtime import Runtime, utc_now
from workers.store.interface import Carries, ProcessSeen, StoreUnavailable
from workers.working import Work

NOTICE_GRACE = timedelta(seconds=3)
SWEEP = timedelta(seconds=2)
ADVANCE = timedelta(seconds=15)
BEAT = timedelta(seconds=10)
PROBE = timedelta(seconds=1)
PREFLIGHT = timedelta(seconds=2)
PLAN = timedelta(minutes=10)
SYNTHETIC = timedelta(minutes=1)
BACKFILL = timedelta(seconds=2)
COMING_UP = timedelta(seconds=60)
"""After which a scheduler puts in synthetic records: at a start the workers are just coming up, and have a backlog."""

CLAIMED = {"advance": ADVANCE, "plan probes": PLAN, "synthetic record": SYNTHETIC, "coverage": covering.EVERY}
"""The jobs that one scheduler claims, with their periods: the audit looks whether they run."""


@dataclass(frozen=True, slots=True)
class Job:
    """A periodic job. `claimed`: only one scheduler runs it in each period; otherwise every scheduler runs it."""

    name: str
    every: timedelta
    run: Callable[[datetime], None]
    claimed: bool = True


class Scheduler:
    """Runs the jobs until told to stop."""

    def __init__(self, runtime: Runtime, work: Work) -> None:
        self.runtime = runtime
        self.work = work
        self.started_at = utc_now()
        self.degraded: str | None = None
        self.backfilling = Backfilling(runtime, work.intake, partial(self._hand_on, "backfill.not_handed_on"))
        self._stop = threading.Event()
        self.jobs = (
            Job("sweep", SWEEP, self.sweep, claimed=False),
            # One for each channel: a destination that hangs holds up no other. None: channels that are gone.
            *(
                Job(f"send over {name or 'lost channels'}", SWEEP, partial(self.send, name), claimed=False)
                for name in (*runtime.channels, None)
            ),
            Job("advance", ADVANCE, self.advance),
            Job("plan probes", PLAN, self.plan_probes),
            *([Job("probe", PROBE, self.probe, claimed=False)] if runtime.settings.probes.clouds else []),
            Job("pre-flight", PREFLIGHT, self.preflight, claimed=False),
            Job("synthetic record", SYNTHETIC, self.put_in_synthetic),
            Job("coverage", covering.every(runtime.settings), self.cover),
            Job("backfill", BACKFILL, self.backfill, claimed=False),
            Job("audit", runtime.settings.audit_every, self.audit),
            Job("beat", BEAT, self.beat, claimed=False),
        )

    def sweep(self, now: datetime) -> None:
        """Work rows that are due and were not picked up: lost by the broker, or dropped by a dead worker."""
        done = self.work.drain_rows(before=now - self.runtime.settings.sweep_after)
        if done:
            self.runtime.log.info("swept", rows=done)

    def send(self, channel: str | None, now: datetime) -> None:
        """Send the notices of one channel that nobody picked up, or whose time to be tried again has come."""
        done = self.work.send_due_over(channel, before=now - NOTICE_GRACE)
        if done:
            self.runtime.log.info("sent_late", channel=channel, notices=done)

    def advance(self, now: datetime) -> None:
        """Look again at the incidents for which a deadline has come near."""
        with self.runtime.store.read() as unit:
            due = unit.incidents_due(now, 200)
        failed: Exception | None = None
        for incident_id in due:
            try:
                self.work.send(advance_incident(self.runtime, incident_id, now=now))
            except StoreUnavailable:
                raise
            except Exception as error:
                # Protects the other incidents: their deadlines must not wait for one that our own code fails on.
                self.runtime.log.error("incident.failed", incident=incident_id, exc_info=error)
                failed = error
        if failed is not None:
            raise failed

    def probe(self, now: datetime) -> None:
        """Hand the keys on whose turn has come. Each is taken in the store, so any number of schedulers may do it."""
        del now  # taking asks the clock itself
        self.work.start_probes()

    def preflight(self, now: datetime) -> None:
        """Hand the keys on whose pre-flight is due. Each is taken in the store, so any number of schedulers may."""
        del now
        self.work.start_preflights()

    def plan_probes(self, now: datetime) -> None:
        """Bring the rows of probes and pre-flights in line with the register: an older program may have imported it."""
        del now
        changed = self.work.probing.plan() + self.work.preflighting.plan()
        if changed:
            self.runtime.log.info("probes_planned", rows=changed)

    def put_in_synthetic(self, now: datetime) -> None:
        """Let a made-up loss of each cloud go the whole way, once a day."""
        if now - self.started_at < COMING_UP:
            return
        rows = synthetic.put_in(self.runtime, partial(note_quarantined, self.runtime), now=now)
        self._hand_on("synthetic.not_handed_on", rows)

    def cover(self, now: datetime) -> None:
        """Look whether every way of audit records shows signs of life, and tell what has fallen silent."""
        fill = partial(backfilling.fill, self.runtime, at=now)
        self.work.send(covering.cover(self.runtime, now=now, on_return=fill).queued)

    def backfill(self, now: datetime) -> None:
        """Go on with what is read again out of archives, a step of each in turn, while there is any."""
        del now  # claiming asks the clock itself
        while not self._stop.is_set() and self.backfilling.step(stop=self._stop.is_set) is not None:
            pass

    def _hand_on(self, otherwise: str, rows: Sequence[tuple[int, Carries]]) -> None:
        try:
            if rows:
                self.work.hand_rows(rows)
        except BrokerAway as away:
            self.runtime.log.warning(otherwise, error=str(away))  # the sweep works them

    def audit(self, now: datetime) -> None:
        """Look whether the watchdog itself works; only then does the heartbeat leave."""
        self.work.send(heartbeat.beat(self.runtime, CLAIMED, now=now).queued)

    def beat(self, now: datetime) -> None:
        """Leave a sign of life."""
        with self.runtime.store.write() as unit:
            unit.process_beat(
                ProcessSeen(
                    name=self.runtime.name, kind="scheduler", seen_at=now, started_at=self.started_at,
                    degraded=self.degraded,
                )
            )  # fmt: skip

    def run(self, stop: threading.Event) -> None:
        """Run until `stop` is set; each job on a thread of its own, so that a slow one holds up no other."""
        self._stop = stop
        threads = [threading.Thread(target=self._repeat, args=(job, stop), name=job.name) for job in self.jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _repeat(self, job: Job, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self._once(job)
            except Exception as error:
                # Protects the loop: a store that is away for a while must not end the schedule. It is told in the log,
                # and the missing beat shows on the status.
                self.runtime.log.error("job.failed", job=job.name, exc_info=error)
            stop.wait(job.every.total_seconds())

    def _once(self, job: Job) -> None:
        now = utc_now()
        if job.claimed:
            with self.runtime.store.write() as unit:
                mine = unit.claim_job(job.name, now=now, every=job.every * 0.9)
            if not mine:
                return
        job.run(now)
