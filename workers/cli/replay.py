"""The command `replay`: recorded deliveries, or what archives keep, go through the whole path again.

What is known already changes nothing.
"""

import hashlib
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from watchdog import clouds
from workers import backfilling, logs
from workers.backfill.kinds import KINDS
from workers.backfilling import LAG, begin
from workers.cli.backfills import a_moment, backfill_row, show_backfills
from workers.cli.context import runtime, who
from workers.cli.following import follow, look
from workers.cli.output import count, fail, filled, json_line
from workers.feeds.folder import read_paths
from workers.feeds.interface import Received
from workers.feeds.pieces import Piece
from workers.intake import Taken
from workers.processes import make_work, tell_quarantined
from workers.runtime import Runtime, utc_now
from workers.settings import ArchiveSettings
from workers.store.interface import OPEN_BACKFILLS, BackfillState


@click.command()
@click.option(
    "--feed",
    help="With PATHS: the feed that the records count for (default: replay). With --from: the archives of this feed.",
)
@click.option("--cloud", default="aws", type=click.Choice(clouds.CLOUDS), help="With PATHS: whose records these are.")
@click.option(
    "--from",
    "start",
    metavar="TIME",
    callback=a_moment,
    help="Read again what archives keep from this time on (RFC 3339).",
)
@click.option("--to", "end", metavar="TIME", callback=a_moment, help="With --from: up to this time. Default: now.")
@click.option("--archive", "archives", multiple=True, help="With --from: only out of this archive (several times).")
@click.option("--resume", type=int, help="Let the backfill of this number, which failed, go on where it stopped.")
@click.option("--no-wait", is_flag=True, help="With --from or --resume: leave the work to the scheduler.")
@click.option("--by", help="With --from or --resume: who asks for it, for the evidence. Default: this user.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON, one object a line.")
@click.argument("paths", nargs=-1)
def replay(  # the options of two ways to bring records in again
    *, feed: str | None, cloud: str, start: datetime | None, end: datetime | None, archives: tuple[str, ...],
    resume: int | None, no_wait: bool, by: str | None, as_json: bool, paths: tuple[str, ...],
) -> None:  # fmt: skip
    """Feed PATHS (files, folders, - for standard input) through the whole path: inbox, health, notices.

    Or, with --from, what the configured archives keep of a time: the clouds' own audit logs, read as records of the
    feed whose gap they fill. Ctrl-C leaves that to the scheduler.

    Safe to repeat and to break off: a record counts once for each feed, and old records cannot undo newer ones. With
    --feed NAME of a live feed, records that it has delivered already are not worked again.
    """
    logs.configure(level="warning")
    given = [bool(paths), start is not None, resume is not None]
    if sum(given) != 1:
        raise click.UsageError("Give either PATHS, or --from TIME, or --resume NUMBER.")
    if paths and (end is not None or archives or no_wait):
        raise click.UsageError("--to, --archive and --no-wait belong to --from.")
    if paths:
        _replay_files(feed or "replay", cloud, paths, as_json=as_json)
        return
    name = who(by)
    # As below: what the console channel writes must not mix with the outcome.
    with runtime(prepare=True) as found:
        if start is not None:
            ids = _begin(found, start, end, archives, feed, by=name)
        else:
            ids = [_resume(found, resume or 0, by=name)]
        _follow(found, ids, no_wait=no_wait, as_json=as_json)


def _begin(
    found: Runtime, start: datetime, end: datetime | None, archives: Sequence[str], feed: str | None, *, by: str
) -> list[int]:
    """Begin a backfill of each archive that is meant; return their numbers."""
    now = utc_now()
    end = min(end or now, now)
    if start >= end:
        fail(f"There is nothing from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC: --from must lie before --to.")
    chosen = _archives(found, archives, feed)
    for one in chosen:
        click.echo(filled(f"{one.name} holds ", KINDS[one.kind].holds), err=True)
    if end > now - LAG:
        minutes = int(LAG.total_seconds() // 60)
        click.echo(
            f"Archives are late: what happened in the last {minutes} minutes may not be in them yet. "
            "Read that again later: to repeat is harmless.",
            err=True,
        )
    with found.store.write() as unit:
        rows = [begin(unit, one, start, end, by=by, why="asked for by a person", at=now)[0] for one in chosen]
    return [row.id for row in rows]


def _archives(found: Runtime, names: Sequence[str], feed: str | None) -> list[ArchiveSettings]:
    settings = found.settings
    if names:
        return [settings.archive(name) for name in names]
    if feed is not None:
        settings.feed(feed)  # ends the command when there is none
    chosen = [
        one for one in settings.archives if (feed is None or one.feed == feed) and KINDS[one.kind].by_itself
    ]  # fmt: skip
    if not chosen:
        fail(
            f"No archive is configured{f' for feed {feed}' if feed else ''}: nothing can be read again.",
            hint="Add [archives.NAME] to the settings (deploy/byok-watchdog.toml.example), or replay files by PATHS.",
        )
    return chosen


def _resume(found: Runtime, number: int, *, by: str) -> int:
    with found.store.write() as unit:
        resumed = backfilling.resume(unit, number, by=by, at=utc_now())
    if not resumed:
        fail(f"No backfill {number} has failed.", hint="`byok-watchdog status` lists those that have.")
    return number


def _follow(found: Runtime, ids: Sequence[int], *, no_wait: bool, as_json: bool) -> None:
    """Wait for backfills and tell what came of them, or leave them to the scheduler."""
    try:
        with redirect_stdout(sys.stderr):
            rows = look(found, ids) if no_wait else follow(found, ids, quiet=as_json)
    except KeyboardInterrupt:
        rows, no_wait = look(found, ids), True
    if as_json:
        for row in rows:
            json_line(backfill_row(row))
    else:
        show_backfills(rows)
    if no_wait and any(row.state in OPEN_BACKFILLS for row in rows):
        click.echo("Left to the scheduler. How far it is: byok-watchdog status", err=True)
    if any(row.state is BackfillState.FAILED for row in rows):
        raise SystemExit(1)


def _replay_files(feed: str, cloud: str, paths: tuple[str, ...], *, as_json: bool) -> None:
    missing = [path for path in paths if path != "-" and not Path(path).exists()]
    if missing:
        fail(f"No such file or folder: {', '.join(missing)}", hint="Name files, folders, or - for standard input.")
    total = Taken()
    # A console channel writes to standard output, which belongs to the outcome.
    with redirect_stdout(sys.stderr), runtime(prepare=True) as found:
        work = make_work(found).by_itself()
        files = _count(paths)
        with _progress(quiet=as_json) as bar:
            task = bar.add_task("reading", total=files)
            last = None
            for piece in read_paths(paths):
                if last is not None and piece.name != last:
                    bar.advance(task)
                last = piece.name
                total.add(work.intake.take(feed, cloud, [_received(piece)]))
            bar.update(task, completed=files)
        work.intake.flush()
        tell_quarantined(found, feed, total.quarantined)
        with _progress(quiet=as_json) as bar:
            task = bar.add_task("working", total=len(total.ids))
            for row in total.ids:
                work.row(*row)
                bar.advance(task)
        work.drain(before=utc_now())
    counts = total.counts
    known = counts.received - counts.kept - counts.dropped - counts.broken
    if as_json:
        json_line(
            {
                "feed": feed,
                "received": counts.received,
                "kept": counts.kept,
                "known": known,
                "dropped": counts.dropped,
                "unreadable": counts.broken,
            }
        )
        return
    click.echo(
        f"{count(counts.received, 'record')}: {counts.kept} worked, {known} known already, {counts.dropped} without "
        f"meaning for the register, {counts.broken} unreadable (in quarantine). See: byok-watchdog status"
    )


def _received(piece: Piece) -> Received:
    identity = hashlib.sha256(f"{piece.name}:{piece.first}".encode("utf-8", "surrogateescape") + piece.body).hexdigest()
    return Received(
        id=identity, body=piece.body, received_at=datetime.now(UTC), receipt=None, place=piece.name, first=piece.first,
        fault=piece.error,
    )  # fmt: skip


def _count(paths: tuple[str, ...]) -> int:
    return sum(sum(len(files) for _, _, files in os.walk(path)) if Path(path).is_dir() else 1 for path in paths)


def _progress(*, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True)
