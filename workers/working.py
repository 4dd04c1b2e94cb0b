"""Working: what a task does, and what a process does by itself when nobody else can."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from functools import cached_property

from alerts import letters
from watchdog import operators
from workers.broker import BrokerAway, Hand
from workers.delivering import Delivered, deliver, deliver_leased
from workers.intake import Intake, Taken
from workers.observing import Queued, add_new, observe_row, queued
from workers.preflighting import Preflighting
from workers.probing import Probing
from workers.runtime import Runtime, utc_now
from workers.stops import stop_at
from workers.store.interface import Arrived, Carries, StoreUnavailable

READING = timedelta(seconds=55)
"""How long one reading of a delivery may take before another process may begin it again."""

BATCH = 50

HEAD_START = 0.25
"""Seconds for which a page has this process to itself, before the other notices are handed on."""

SIDE_BY_SIDE = 8
"""Notices of one record that a process sends at the same time when it cannot hand them on."""

ROUND_SECONDS = 10.0
"""For how long one round begins to send further notices over one channel; the rest waits for the next round."""


class Work:
    """The work of one process. Every piece may be lost or done twice without harm: the store knows what is done.

    Without a `hand` nothing is handed on: whoever works rows has to `drain` afterwards, which sends their notices.
    """

    def __init__(
        self, runtime: Runtime, intake: Intake, hand: Hand | None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.runtime = runtime
        self.intake = intake
        self.hand = hand
        self._monotonic = monotonic

    def by_itself(self) -> "Work":
        """Return the same work without the broker: everything is done in this process."""
        return Work(self.runtime, self.intake, None, self._monotonic)

    @cached_property
    def probing(self) -> Probing:
        """The probes of this process."""
        return Probing(self.runtime)

    @cached_property
    def preflighting(self) -> Preflighting:
        """The pre-flights of this process."""
        return Preflighting(self.runtime)

    def close(self) -> None:
        """Let go of everything that this process has opened."""
        if "probing" in self.__dict__:
            self.probing.close()
        if "preflighting" in self.__dict__:
            self.preflighting.close()
        self.runtime.close()

    def warm_up(self) -> None:
        """Read what the first piece of work would have to read; a store that is away now may be back by then."""
        _ = self.runtime.table, self.runtime.channels, self.runtime.routing
        letters.warm_up()
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
        observed = observe_row(self.runtime, inbox_id, now=utc_now(), lease_pages=self.hand is not None)
        if observed is None:
            return
        # Side by side: a pager that hangs must hold up neither the second page nor the customer's mail.
        with ThreadPoolExecutor(max_workers=SIDE_BY_SIDE) as pool:
            sent = [pool.submit(deliver_leased, self.runtime, page, now=utc_now()) for page in observed.pages]
            wait(sent, timeout=HEAD_START)
            self.send(observed.notices)
        for page in sent:
            page.result()
        stop_at("observe.handed_on")

    def read_delivery(self, inbox_id: int) -> None:
        """Read the object that a delivery points at; its records become inbox rows, which are then handed on."""
        now = utc_now()
        with self.runtime.store.write() as unit:
            arrived = unit.claim_arrival(inbox_id, now=now, length=READING)
        if arrived is None or arrived.carries is not Carries.DELIVERY:
            return
        stop_at("delivery.claimed")
        taken = self.intake.read_delivery(arrived)
        stop_at("delivery.read")
        try:
            self.hand_rows(taken.ids)
        except BrokerAway:
            for row in taken.ids:
                self.row(*row)
        self._tell(arrived, taken)

    def _tell(self, arrived: Arrived, taken: Taken) -> None:
        """Tell the operators what could not be read (their notice is in the outbox already), or not be fetched."""
        now = utc_now()
        routing = self.runtime.routing
        notices = []
        if taken.quarantined:
            waiting = operators.unreadable(arrived.feed, arrived.event_id, "", routing, at=now)  # only its id counts
            self.send(queued(waiting))
        if taken.fault is not None:
            fault = taken.fault
            self.runtime.log.warning("delivery.fault", object=arrived.event_id, reason=fault.reason, text=str(fault))
            if fault.permanent:
                notices += operators.unfetched(
                    arrived.feed, arrived.event_id, str(fault), fault.hint(), routing, at=now
                )
        if notices:
            with self.runtime.store.write() as unit:
                told = add_new(unit, notices)
            self.send(queued(told))

    def start_probes(self) -> int:
        """Take the keys that are due and hand them on; return how many were taken.

        Those whose taker has died are probed here, and all of them when nobody could be handed any: what the broker
        lost is not given to it again.
        """
        taken = self.probing.take()
        lost = [one for one in taken if one.lost]
        fresh = [one for one in taken if not one.lost]
        if taken and not self.probing.has_workers():
            lost, fresh = taken, []
        for wanted in (True, False):
            for batch in self.probing.batches(one for one in fresh if one.wanted is wanted):
                try:
                    self._hand_probes(batch, wanted=wanted)
                except BrokerAway:
                    self.probe(batch)
        for batch in self.probing.batches(lost):
            self.probe(batch)
        return len(taken)

    def _hand_probes(self, batch: Mapping[str, int], *, wanted: bool) -> None:
        if self.hand is None:
            raise BrokerAway("this process works without a broker")
        self.hand.probes(batch, wanted=wanted)

    def probe(self, claims: Mapping[str, int]) -> None:
        """Probe taken keys, and see that the notices of each go out without waiting for the slowest."""
        for notices in self.probing.probe(claims):
            self.send(notices)

    def start_preflights(self) -> int:
        """Take the keys whose pre-flight is due and hand them on; return how many were taken.

        They are checked here when nobody could be handed any.
        """
        taken = self.preflighting.take()
        to_workers = bool(taken) and self.hand is not None and self.probing.has_workers()
        for batch in self.preflighting.batches(taken):
            if self.hand is None or not to_workers:
                self.preflight(batch)
                continue
            try:
                self.hand.preflights(batch)
            except BrokerAway:
                self.preflight(batch)
        return len(taken)

    def preflight(self, claims: Mapping[str, int]) -> None:
        """Check taken keys, and see that the notices of what was found go out."""
        self.send(self.preflighting.check(claims))

    def row(self, inbox_id: int, carries: Carries) -> None:
        """Work one inbox row of either kind."""
        if carries is Carries.DELIVERY:
            self.read_delivery(inbox_id)
        else:
            self.observe(inbox_id)

    def send(self, notices: Iterable[Queued]) -> None:
        """Hand notices on to the workers, or send them here when the broker is away. Without a hand they wait."""
        waiting = list(notices)
        if self.hand is None or not waiting:
            return
        try:
            self.hand.notices(waiting)
        except BrokerAway:
            self.deliver_all(notice.id for notice in waiting)

    def deliver_all(self, notice_ids: Iterable[str]) -> None:
        """Send a few notices side by side: one destination that hangs must not hold up the others."""
        with ThreadPoolExecutor(max_workers=SIDE_BY_SIDE) as pool:
            list(pool.map(self.deliver, notice_ids))

    def deliver(self, notice_id: str) -> Delivered | None:
        """Send one notice."""
        return deliver(self.runtime, notice_id, now=utc_now())

    def drain(self, *, before: datetime) -> int:
        """Work everything that has been due since `before`, by the same functions; return how much there was.

        This is the way back for whatever the broker lost, a dead worker dropped, or nobody could be handed. Records
        come before notices, but no notice waits for more than a batch of them.
        """
        done = 0
        for rows in self._batches(before):
            done += self._work(rows)
            if self.hand is None:
                done += self.send_due(before=utc_now())
        return done + self.send_due(before=before)

    def drain_rows(self, *, before: datetime) -> int:
        """Work the inbox rows that have been due since `before`; return how many there were."""
        return sum(self._work(rows) for rows in self._batches(before))

    def _work(self, rows: list[tuple[int, Carries]]) -> int:
        for inbox_id, carries in rows:
            self.row(inbox_id, carries)
        return len(rows)

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

    def send_due(self, *, before: datetime) -> int:
        """Send the notices that have been due since `before`, each channel's on a thread; return how many."""
        names = [*self.runtime.channels, None]
        with ThreadPoolExecutor(max_workers=len(names)) as pool:
            return sum(pool.map(lambda name: self.send_due_over(name, before=before), names))

    def send_due_over(self, channel: str | None, *, before: datetime) -> int:
        """Send the due notices of one channel (None: of those that no longer exist) in turn; return how many."""
        end = self._monotonic() + ROUND_SECONDS
        tried: set[str] = set()
        while due := [notice_id for notice_id in self._due(channel, before) if notice_id not in tried]:
            for notice_id in due:
                tried.add(notice_id)
                self.deliver(notice_id)
                if self._monotonic() >= end:
                    return len(tried)
        return len(tried)

    def _due(self, channel: str | None, before: datetime) -> list[str]:
        with self.runtime.store.read() as unit:
            if channel is not None:
                return [notice_id for notice_id, _ in unit.notices_due(before, BATCH, channel=channel)]
            found = [(notice_id, unit.notice(notice_id)) for notice_id, _ in unit.notices_due(before, BATCH)]
        return [name for name, stored in found if stored and stored.notice.channel not in self.runtime.channels]
