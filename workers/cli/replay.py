"""The command `replay`: recorded deliveries go through the whole path again; what is known already changes nothing."""

import hashlib
import os
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from watchdog import clouds
from workers import logs
from workers.cli.context import runtime
from workers.cli.output import count, fail, json_line
from workers.feeds.folder import read_paths
from workers.feeds.interface import Received
from workers.feeds.pieces import Piece
from workers.intake import Taken
from workers.processes import make_work, tell_quarantined
from workers.runtime import utc_now


@click.command()
@click.option("--feed", default="replay", show_default=True, help="Name of the feed that the records count for.")
@click.option("--cloud", default="aws", type=click.Choice(clouds.CLOUDS), help="Whose records these are.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
@click.argument("paths", nargs=-1, required=True)
def replay(feed: str, cloud: str, *, as_json: bool, paths: tuple[str, ...]) -> None:
    """Feed PATHS (files, folders, - for standard input) through the whole path: inbox, health, notices.

    Safe to repeat and to break off: a record counts once for each feed, and old records cannot undo newer ones. With
    --feed NAME of a live feed, records that it has delivered already are not worked again.
    """
    logs.configure(level="warning")
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
