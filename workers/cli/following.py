"""Following backfills to their end: how far they are, and their work itself where no scheduler does it."""

import time
from collections.abc import Callable, Collection, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from workers.backfilling import Backfilling
from workers.cli.backfills import share
from workers.cli.output import safe
from workers.processes import make_work
from workers.runtime import Runtime, utc_now
from workers.store.interface import OPEN_BACKFILLS, Carries, StoredBackfill
from workers.viewing import STALE

LOOK_EVERY = 0.5
"""Seconds between two looks at what others work."""


def follow(
    found: Runtime, ids: Collection[int], *, quiet: bool, sleep: Callable[[float], None] = time.sleep
) -> list[StoredBackfill]:
    """Wait until these have ended, and show how far they are; return them.

    While no scheduler is alive they are worked here, with the records and notices that come of it.
    """
    work = make_work(found).by_itself()

    def hand_on(rows: Sequence[tuple[int, Carries]]) -> None:
        for row in rows:
            work.row(*row)

    backfilling = Backfilling(found, work.intake, hand_on)
    worked = False
    with _progress(quiet=quiet) as bar:
        tasks = {number: bar.add_task(f"backfill {number}", total=1.0) for number in sorted(ids)}

        def have_ended() -> bool:
            rows = look(found, ids)
            for row in rows:
                text = f"{row.plan.archive}: {row.received} records, {row.kept} kept"
                bar.update(tasks[row.id], completed=share(row), description=safe(text))
            return not any(row.state in OPEN_BACKFILLS for row in rows)

        while not have_ended():
            # Asked after each page whether to stop: so the bar moves.
            if _is_scheduled(found) or backfilling.step(only=ids, stop=have_ended) is None:
                sleep(LOOK_EVERY)
            else:
                worked = True
    if worked:
        work.drain(before=utc_now())
    return look(found, ids)


def look(found: Runtime, ids: Collection[int]) -> list[StoredBackfill]:
    """Return these as they are now."""
    with found.store.read() as unit:
        return [row for number in sorted(ids) if (row := unit.backfill(number)) is not None]


def _is_scheduled(found: Runtime) -> bool:
    now = utc_now()
    with found.store.read() as unit:
        return any(one.kind == "scheduler" and now - one.seen_at < STALE for one in unit.processes())


def _progress(*, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True)
