"""What the commands tell of backfills: a line for a person, or a JSON object."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from workers.cli.output import count, moment, safe, short
from workers.store.interface import BackfillState, StoredBackfill


def a_moment(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """Read an option that is a moment as RFC 3339, with its zone. Raises BadParameter, in words."""
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no time such as 2026-11-24T08:30Z.", ctx, param) from None
    if found.tzinfo is None:
        raise click.BadParameter(f"{value!r} names no zone: write {value}Z for UTC, or {value}+01:00.", ctx, param)
    return found.astimezone(UTC)


def backfill_row(row: StoredBackfill) -> dict[str, Any]:
    """Return one backfill as plain JSON."""
    plan = row.plan
    return {
        "type": "backfill", "backfill": row.id, "archive": plan.archive, "feed": plan.feed, "cloud": plan.cloud,
        "customers": plan.customers, "from": moment(plan.start), "to": moment(plan.end), "state": row.state,
        "until": moment(row.until), "share": round(share(row), 3), "received": row.received, "kept": row.kept,
        "known": row.known, "dropped": row.dropped, "unreadable": row.unreadable, "asked_by": plan.asked_by,
        "why": plan.why, "asked_at": moment(row.asked_at), "progress_at": moment(row.progress_at),
        "due_at": moment(row.due_at), "failures": row.failures, "error": row.error,
    }  # fmt: skip


def share(row: StoredBackfill) -> float:
    """Return how much of its time is read, from 0 to 1."""
    if row.state is BackfillState.DONE:
        return 1.0
    if row.until is None:
        return 0.0
    return max(0.0, min(1.0, (row.until - row.plan.start) / (row.plan.end - row.plan.start)))


def in_a_line(row: StoredBackfill) -> str:
    """Return one backfill in words for a person: what, how far, what came of it."""
    plan = row.plan
    head = f"backfill {row.id} from {plan.archive}: {short(plan.start)} to {short(plan.end)} UTC"
    return f"{head}, {_how_far(row)}; {_counts(row)}" if row.received or row.until else f"{head}, {_how_far(row)}"


def _how_far(row: StoredBackfill) -> str:
    reached = f"{share(row):.0%}"
    if row.state is BackfillState.WAITING:
        return "waits" if row.until is None else f"waits at {reached}"
    if row.state is BackfillState.RUNNING:
        return f"{reached} read"
    return "done" if row.state is BackfillState.DONE else f"failed at {reached}"


def _counts(row: StoredBackfill) -> str:
    return (
        f"{count(row.received, 'record')}: {row.kept} kept, {row.known} known already, {row.dropped} without meaning "
        f"for the register, {row.unreadable} unreadable"
    )


def show_backfills(rows: Sequence[StoredBackfill]) -> None:
    """Print backfills for a person: what failed in colour, with what to do."""
    for row in rows:
        failed = row.state is BackfillState.FAILED
        click.secho(safe(in_a_line(row)), fg="red" if failed else "yellow" if row.error else None)
        if row.error:
            click.secho(f"  {safe(row.error)}", fg="red" if failed else "yellow")
        if failed:
            click.echo(f"  when that is mended: byok-watchdog replay --resume {row.id}")
