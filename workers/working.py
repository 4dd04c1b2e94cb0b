"""Working: what a task does, and what a process does by itself when nobody else can."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from watchdog import operators
from workers.broker import BrokerAway, Hand
from workers.delivering import Delivered, deliver
from workers.intake import Intake, Taken
from workers.observing import Queued, observe_row
from workers.runtime import Runtime, utc_now
from workers.stops import stop_at
from workers.store.interface import Arrived, Carries, StoreUnavailable

READING = timedelta(seconds=55)
"""How long one reading of a delivery may take before another process may begin it again."""

BATCH = 50


class Work:
    """The work of one process. Every piece may be lost or done twice without harm: the store knows what is done."""

    def __init__(self, runtime: Runtime, intake: Intake, hand: Hand | None) -> None:
        self.runtime = runtime
        self.intake = intake
        self.hand = hand

    def by_itself(self) -> "Work":
        """Return the same work without the broker: everything is done in this process."""
        return Work(self.runtime, self.intake, None)

    def warm_up(self) -> None:
        """Read what the first piece of work would have to read; a store that is away now may be back by then."""
        _ = self.runtime.table, self.runtime.channels, self.runtime.routing
        try:
            with self.runtime.store.read() as unit:
                self.runtime.registry.current(unit)
        except StoreUnavailable as away:
            self.runtime.log.warning("store.away", error=str(away), hint=away.hint())

    def hand_rows(self, rows: Iterable[tuple[int, Carries]]) -> None:
        """Queue inbox rows for the workers. Raises BrokerAway."""
        if self.hand is None:
            raise BrokerAway("this process works without a broker")
        self.hand.rows(rows)

    def observe(self, inbox_id: int) -> None:
        """Work one record, then see that its notices go out."""
        observed = observe_row(self.runtime, inbox_id, now=utc_now())
        if observed is not None:
            self.send(observed.notices)
            stop_at("observe.handed_on")

    def read_delivery(self, inbox_id: int) -> None:
        """Read the object that a delivery points at; its records become inbox rows, which are then handed on."""
        now = utc_now()
        with self.runtime.store.write() as unit:
            arrived = unit.claim_arrival(inbox_id, now=now, length=READING)
        if arrived is None or arrived.carries is not Carries.DELIVERY:
            return
        taken = self.intake.read_delivery(arrived)
        stop_at("delivery.read")
        try:
            self.hand_rows(taken.ids)
        except BrokerAway:
            for row in taken.ids:
                self.row(*row)
        self._tell(arrived, taken)

    def _tell(self, arrived: Arrived, taken: Taken) -> None:
        """Tell the operators what could not be read, or not be fetched."""
        now = utc_now()
        routing = self.runtime.routing
        notices = []
        if taken.quarantined:
            reason = f"{len(taken.quarantined)} pieces of the object are in quarantine"
            notices += operators.unreadable(arrived.feed, arrived.event_id, reason, routing, at=now)
        if taken.fault is not None:
            fault = taken.fault
            self.runtime.log.warning("delivery.fault", object=arrived.event_id, reason=fault.reason, text=str(fault))
            if fault.permanent:
                notices += operators.unfetched(
                    arrived.feed, arrived.event_id, str(fault), fault.hint(), routing, at=now
                )
        if notices:
            with self.runtime.store.write() as unit:
                told = set(unit.add_notices(notices))
            self.send(Queued(id=one.id, urgent=one.urgent) for one in notices if one.id in told)

    def row(self, inbox_id: int, carries: Carries) -> None:
        """Work one inbox row of either kind."""
        if carries is Carries.DELIVERY:
            self.read_delivery(inbox_id)
        else:
            self.observe(inbox_id)

    def send(self, notices: Iterable[Queued]) -> None:
        """Hand notices on to the workers, or send them here when the broker is away."""
        waiting = list(notices)
        try:
            self._hand_notices(waiting)
        except BrokerAway:
            for notice in waiting:
                self.deliver(notice.id)

    def _hand_notices(self, notices: Iterable[Queued]) -> None:
        if self.hand is None:
            raise BrokerAway("this process works without a broker")
        self.hand.notices(notices)

    def deliver(self, notice_id: str) -> Delivered | None:
        """Send one notice."""
        return deliver(self.runtime, notice_id, now=utc_now())

    def drain(self, *, before: datetime, threads: int = 1) -> int:
        """Work everything that has been due since `before`, by the same functions; return how much there was.

        This is the way back for whatever the broker lost, a dead worker dropped, or nobody could be handed.
        """
        done = 0
        for rows in self._batches(before):
            for inbox_id, carries in rows:
                self.row(inbox_id, carries)
            done += len(rows)
        return done + self._drain_notices(before, threads)

    def _batches(self, before: datetime) -> Iterator[list[tuple[int, Carries]]]:
        worked: set[int] = set()
        while True:
            with self.runtime.store.read() as unit:
                due = unit.arrived_due(before, BATCH)
            rows = [row for row in due if row[0] not in worked]
            if not rows:
                return
            worked.update(inbox_id for inbox_id, _ in rows)
            yield rows

    def _drain_notices(self, before: datetime, threads: int) -> int:
        with self.runtime.store.read() as unit:
            due = [notice_id for notice_id, _ in unit.notices_due(before, BATCH)]
        if threads > 1 and len(due) > 1:
            # One destination that hangs must not hold up the others.
            with ThreadPoolExecutor(max_workers=threads) as pool:
                list(pool.map(self.deliver, due))
        else:
            for notice_id in due:
                self.deliver(notice_id)
        return len(due)
