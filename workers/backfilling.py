"""Backfilling: what an archive keeps of a gap is taken in again, page by page, each committed with where to go on."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta

from watchdog import operators
from watchdog.coverage import Returned, Way
from watchdog.notices import OperatorFacts
from watchdog.words import Severity
from workers import settings
from workers.backfill.interface import Archive, Page
from workers.backfill.kinds import KINDS, make_archive
from workers.feeds.interface import FeedFault
from workers.intake import Intake, Taken
from workers.logs import in_words
from workers.runtime import Runtime, utc_now
from workers.settings import ArchiveSettings, SettingsFault, SettingsFaults
from workers.stops import stop_at
from workers.store.interface import (
    OPEN_BACKFILLS,
    BackfillPlan,
    BackfillState,
    Carries,
    StoredBackfill,
    StoreUnavailable,
    Unit,
)

STEP = 20.0
"""Seconds after which a step ends with the page that it is at: then another backfill has its turn."""

CLAIM = 3
"""For how many leases one page may take, with all that its archive waits, before somebody else may begin it again."""

RETRY_FIRST, RETRY_LONGEST = timedelta(seconds=15), timedelta(minutes=15)
MOST_OWN = 5
"""How often in a row our own code may fail on a page before it is left to a person."""

STUCK = timedelta(hours=1)
"""Without progress for so long, what may still pass by itself is told to the operators, too."""

EARLIER = timedelta(minutes=5)
"""How long before the last sign of life a gap may have begun: signs are late, too."""

LAG = timedelta(minutes=30)
"""After which an archive has what happened: CloudTrail promises nothing better, Azure takes up to twenty minutes."""

ROUND = timedelta(minutes=15)
"""Gaps are rounded up to this: ways that fall silent together come back together, and are read once."""

SHOWN = timedelta(days=30)

HandOn = Callable[[Sequence[tuple[int, Carries]]], object]


# ------------------------------------------------------------------------------------------------------------ beginning


def begin(
    unit: Unit,
    archive: ArchiveSettings,
    start: datetime,
    end: datetime,
    *,
    by: str,
    why: str,
    at: datetime,
    due_at: datetime | None = None,
) -> tuple[StoredBackfill, bool]:
    """Add a backfill from `start` to before `end`; return it, and whether it is new: an open equal one is returned.

    `due_at` puts it off (None: it is wanted now).
    """
    plan = BackfillPlan(
        archive=archive.name, feed=archive.feed, cloud=archive.cloud, customers=archive.customers, start=start, end=end,
        asked_by=by, why=why,
    )  # fmt: skip
    for row in unit.backfills(OPEN_BACKFILLS):
        # One that is put off does not stand for one that is wanted now, nor the other way round.
        if _asks(row.plan) == _asks(plan) and (row.due_at if _is_put_off(row, at) else None) == due_at:
            return row, False
    row = unit.add_backfill(plan, at=at, due_at=due_at)
    _seal(unit, row, "begun", at, by=by, why=why, customers=plan.customers)
    return row, True


def after_silence(
    unit: Unit, archives: Iterable[ArchiveSettings], returned: Returned, *, at: datetime
) -> list[StoredBackfill]:
    """Begin to read what a way has missed between its last sign of life and its return; return what is new.

    In every archive of its feed that holds records of its customer (or of whomever, when it is the vendor's own way:
    the vendor's accounts speak of everybody's keys). At once, and a second time, of the last part, when the archive has
    what was late. A gap that others cover is not read twice, and to hear of one way twice is harmless.
    """
    begun: list[StoredBackfill] = []
    start, end = _floor(returned.since - EARLIER), _ceiling(returned.at)
    for archive in archives:
        if not (archive.feed == returned.feed and KINDS[archive.kind].by_itself and _is_of(archive, returned.way)):
            continue
        why = f"no sign of life of {returned.way.words}"
        if not _is_covered(unit, archive, start, end, at):
            begun.append(begin(unit, archive, start, end, by="watchdog", why=why, at=at)[0])
        late = max(start, _floor(at - LAG))
        if late < end:
            again = f"{why}; what was late"
            row, is_new = begin(unit, archive, late, end, by="watchdog", why=again, at=at, due_at=end + LAG)
            begun += [row] if is_new else []
    return begun


def fill(runtime: Runtime, returned: Sequence[Returned], *, at: datetime) -> None:
    """Begin to read what ways have missed that are heard again."""
    with runtime.store.write() as unit:
        begun = [row for back in returned for row in after_silence(unit, runtime.settings.archives, back, at=at)]
    for row in begun:
        runtime.log.info("backfill.begun", backfill=row.id, archive=row.plan.archive, why=row.plan.why)


def resume(unit: Unit, backfill_id: int, *, by: str, at: datetime) -> bool:
    """Let one that failed go on where it stopped; False when there is none of this id that failed."""
    row = unit.backfill(backfill_id)
    if row is None or not unit.resume_backfill(backfill_id, at=at):
        return False
    _seal(unit, row, "resumed", at, by=by)
    return True


def shown(unit: Unit, *, now: datetime) -> list[StoredBackfill]:
    """Return what people must see, the newest first: those that are open, and of the failed those not made good since.

    A failed one is made good by a later one of its archive that is done and covers what it was to read.
    """
    rows = unit.backfills([*OPEN_BACKFILLS, BackfillState.FAILED])
    done = unit.backfills([BackfillState.DONE])
    return [
        row
        for row in rows
        if row.state is not BackfillState.FAILED
        or (
            now - row.asked_at < SHOWN
            and not any(one.id > row.id and _covers(one.plan, row.plan.archive, row.plan.start, row.plan.end)
                        for one in done)
        )
    ]  # fmt: skip


def _is_of(archive: ArchiveSettings, way: Way) -> bool:
    return way.customer is None or archive.customers is None or way.customer in archive.customers


def _asks(plan: BackfillPlan) -> tuple[object, ...]:
    return plan.archive, plan.feed, plan.customers, plan.start, plan.end


def _is_covered(unit: Unit, archive: ArchiveSettings, start: datetime, end: datetime, at: datetime) -> bool:
    """Whether others read this already, or have just done so: what came after them is left to the second reading."""
    rows = unit.backfills([*OPEN_BACKFILLS, BackfillState.DONE], 200)
    return any(_covers(row.plan, archive.name, start, end) and not _is_put_off(row, at) for row in rows)


def _covers(plan: BackfillPlan, archive: str, start: datetime, end: datetime) -> bool:
    return plan.archive == archive and plan.start <= start and plan.end >= end


def _is_put_off(row: StoredBackfill, at: datetime) -> bool:
    return row.state is BackfillState.WAITING and row.due_at is not None and row.due_at > at


def _floor(at: datetime) -> datetime:
    return at - timedelta(seconds=at.timestamp() % ROUND.total_seconds())


def _ceiling(at: datetime) -> datetime:
    return _floor(at + ROUND - timedelta(microseconds=1))


def _seal(unit: Unit, row: StoredBackfill, what: str, at: datetime, **more: object) -> None:
    body = {
        "what": what, "archive": row.plan.archive, "feed": row.plan.feed, "from": row.plan.start, "to": row.plan.end,
        **more,
    }  # fmt: skip
    unit.append_evidence("backfill", f"backfill:{row.id}", body, at=at)


# ------------------------------------------------------------------------------------------------------------- reading


class LostClaim(Exception):  # noqa: N818  # a state of the world: somebody else goes on with it
    """The page took so long that somebody else has taken the backfill; nothing of it was committed here."""


def open_archive(chosen: ArchiveSettings) -> Archive:
    """Return a configured archive. Raises SettingsFaults with all that its options lack."""
    try:
        return make_archive(chosen.kind, chosen.name, settings.resolved(chosen))
    except ValueError as error:  # the archive's own report of its options, all of them in one text
        raise SettingsFaults([SettingsFault(f"archives.{chosen.name}", str(error))]) from error


class Backfilling:
    """Works backfills, a step at a time. Any number of processes may: each step claims its row, and the fence holds.

    `hand_on` gets the new inbox rows of each page after its commit; what it loses is swept up as everywhere.
    """

    def __init__(
        self,
        runtime: Runtime,
        intake: Intake,
        hand_on: HandOn,
        *,
        make: Callable[[ArchiveSettings], Archive] = open_archive,
        now: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runtime = runtime
        self._intake = intake
        self._hand_on = hand_on
        self._make = make
        self._now = now
        self._monotonic = monotonic
        self._claim = CLAIM * runtime.settings.lease

    def step(
        self, *, only: Collection[int] | None = None, stop: Callable[[], bool] = lambda: False
    ) -> StoredBackfill | None:
        """Go on with the backfill that waits longest (of `only` these), for about STEP seconds or until `stop`.

        Return it as it is now, None when none was due. Raises StoreUnavailable.
        """
        row = self._claimed(only)
        return None if row is None else self._work(row, stop)

    def _claimed(self, only: Collection[int] | None) -> StoredBackfill | None:
        now = self._now()
        with self._runtime.store.read() as unit:
            due = [number for number in unit.backfills_due(now, 100) if only is None or number in only]
        for number in due:
            with self._runtime.store.write() as unit:
                row = unit.claim_backfill(number, now=now, length=self._claim)
                if row is not None:
                    self._tell_stuck(unit, row, now)
                    return row
        return None

    def _work(self, row: StoredBackfill, stop: Callable[[], bool]) -> StoredBackfill:
        end = self._monotonic() + STEP
        plan = row.plan
        try:
            with closing(self._make(self._runtime.settings.archive(plan.archive))) as archive:
                for page in archive.pages(plan.start, plan.end, row.cursor):
                    stop_at("backfill.read")
                    row = self._kept(row, page)
                    if row.state is BackfillState.DONE:
                        return row
                    if stop() or self._monotonic() >= end:
                        return self._given_back(row)
            return self._kept(row, Page(messages=(), cursor=None))
        except LostClaim:
            self._runtime.log.warning("backfill.lost", backfill=row.id)
            return row
        except StoreUnavailable:
            raise  # says nothing about the archive: the claim runs out
        except KeyboardInterrupt:
            self._given_back(row)
            raise
        except FeedFault as fault:
            return self._stopped(row, str(fault), fault.hint(), fails=fault.permanent)
        except SettingsFaults as faults:
            text = "; ".join(f"{fault.place}: {fault.text}" for fault in faults.faults)
            return self._stopped(row, text, "mend the settings of this archive", fails=True)
        except Exception as error:
            # Protects the other backfills, and this one: it is tried again, then left to a person who is told.
            self._runtime.log.error("backfill.failed", backfill=row.id, exc_info=error)
            text = f"our own code failed on it: {in_words(error)}"
            return self._stopped(row, text, "report it", fails=row.failures + 1 >= MOST_OWN)

    def _kept(self, row: StoredBackfill, page: Page) -> StoredBackfill:
        """Commit a page together with where to go on; then hand its rows on. Raises LostClaim."""
        now = self._now()

        def also(unit: Unit, taken: Taken) -> None:
            moved = _moved(row, page, taken, now, self._claim)
            if not unit.save_backfill(moved):
                raise LostClaim
            if moved.state is BackfillState.DONE:
                _seal(unit, moved, "done", now, **_counts(moved))

        plan = row.plan
        taken = self._intake.take_page(plan.feed, plan.cloud, page.messages, customers=plan.customers, also=also)
        stop_at("backfill.committed")
        self._hand_on(taken.ids)
        moved = _moved(row, page, taken, now, self._claim)
        if moved.state is BackfillState.DONE:
            self._runtime.log.info("backfill.done", backfill=row.id, archive=plan.archive, **_counts(moved))
        return moved

    def _given_back(self, row: StoredBackfill) -> StoredBackfill:
        row = replace(row, claimed=False, due_at=self._now())
        with self._runtime.store.write() as unit:
            unit.save_backfill(row)
        return row

    def _stopped(self, row: StoredBackfill, text: str, hint: str, *, fails: bool) -> StoredBackfill:
        """Put a backfill off, or end it and tell the operators."""
        now = self._now()
        delay = min(RETRY_FIRST * 2 ** min(row.failures, 10), RETRY_LONGEST)
        row = replace(row, claimed=False, due_at=now + delay, failures=row.failures + 1, error=f"{text} ({hint})")
        if fails:
            row = replace(row, state=BackfillState.FAILED, due_at=None)
        with self._runtime.store.write() as unit:
            if unit.save_backfill(row) and fails:
                _seal(unit, row, "failed", now, error=row.error, **_counts(row))
                remedy = f"{hint[:1].upper()}{hint[1:]}. Then let it go on where it stopped: "
                remedy += f"byok-watchdog replay --resume {row.id}"
                self._tell(unit, row, f"failed:{row.fence}", "has failed", remedy, now)
        self._runtime.log.warning("backfill.stopped", backfill=row.id, archive=row.plan.archive, text=text, fails=fails)
        return row

    def _tell_stuck(self, unit: Unit, row: StoredBackfill, now: datetime) -> None:
        since = row.progress_at or row.asked_at
        if row.failures and now - since > STUCK:
            remedy = "It is tried again by itself. Look at the log for `backfill`, and mend what it names."
            self._tell(unit, row, f"stuck:{now:%Y-%m-%d}", f"makes no progress since {since:%H:%M} UTC", remedy, now)

    def _tell(self, unit: Unit, row: StoredBackfill, topic: str, how: str, remedy: str, now: datetime) -> None:
        plan = row.plan
        reached = f"up to {row.until:%Y-%m-%d %H:%M} UTC" if row.until else "not begun"
        facts = OperatorFacts(
            subject=f"Backfill {row.id} from {plan.archive} {how}",
            what=f"What feed {plan.feed} has missed from {plan.start:%Y-%m-%d %H:%M} to {plan.end:%Y-%m-%d %H:%M} UTC "
            f"is read again out of archive {plan.archive} ({reached}). That {how}: {row.error or 'its worker died'}. "
            "A change of a key may be among what is not read.",
            where=f"archive {plan.archive}",
            next=remedy,
            at=now,
            severity=Severity.ERROR,
        )
        unit.add_notices(operators.tell(f"backfill:{row.id}:{topic}", facts, self._runtime.routing, at=now))


def _moved(row: StoredBackfill, page: Page, taken: Taken, now: datetime, claim: timedelta) -> StoredBackfill:
    """Return a row after a page was taken in, claimed for the next one."""
    counts = taken.counts
    known = counts.received - counts.kept - counts.dropped - counts.broken
    moved = replace(
        row, cursor=page.cursor, until=page.until or row.until, due_at=now + claim, progress_at=now, failures=0,
        error=None, received=row.received + counts.received, kept=row.kept + counts.kept, known=row.known + known,
        dropped=row.dropped + counts.dropped, unreadable=row.unreadable + counts.broken,
    )  # fmt: skip
    if page.cursor is not None:
        return moved
    return replace(moved, state=BackfillState.DONE, claimed=False, due_at=None, until=row.plan.end)


def _counts(row: StoredBackfill) -> Mapping[str, int]:
    return {name: getattr(row, name) for name in ("received", "kept", "known", "dropped", "unreadable")}
