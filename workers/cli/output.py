"""Output of the commands: JSON lines for machines, readable text for people, and faults that say what to do."""

import shutil
import sys
import textwrap
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NoReturn

import click
import msgspec

_ENCODER = msgspec.json.Encoder(order=None)


MARK = "\N{REPLACEMENT CHARACTER}"
"""Stands where a character was that is not shown."""


def json_line(value: object) -> None:
    """Print one JSON object on one line."""
    stream = sys.stdout.buffer
    stream.write(_ENCODER.encode(value) + b"\n")
    stream.flush()


def safe(text: object) -> str:
    """Return text in one line for a terminal: what outsiders may choose can neither steer it nor forge a line."""
    return "".join(_shown(character) for character in str(text))


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    # Other spaces become plain ones; control, direction, invisible and broken characters leave a visible mark.
    return " " if character.isspace() and character not in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029" else MARK


def count(number: int, one: str, many: str = "") -> str:
    """Print a number of things: "1 key", "2 keys"."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def fail(text: str, *, hint: str = "", code: int = 1) -> NoReturn:
    """End the command with a sentence that says what is wrong (its lines stay lines), and one that says what to do."""
    click.secho("\n".join(safe(line) for line in text.split("\n")), fg="red", err=True)
    if hint:
        click.echo(safe(hint), err=True)
    raise SystemExit(code)


def moment(value: datetime | None) -> str | None:
    """Print a time as RFC 3339 in UTC, None as None."""
    if value is None:
        return None
    text = value.astimezone(UTC).isoformat()
    return text.replace("+00:00", "Z")


def short(value: datetime | None) -> str:
    """Print a time for a table: to the minute, UTC."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if value else "-"


def countdown(until: datetime, now: datetime) -> str:
    """Print how far away a moment is: "in 13 d 22 h", "passed"."""
    left = remaining(until, now)
    return left if left == "passed" else f"in {left}"


def remaining(until: datetime, now: datetime) -> str:
    """Print what is left until a moment: "13 d 22 h", "3 h 05 min", "passed"."""
    seconds = int((until - now).total_seconds())
    if seconds <= 0:
        return "passed"
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    if days:
        return f"{days} d {hours:02} h"
    if hours:
        return f"{hours} h {rest // 60:02} min"
    return f"{rest // 60} min {rest % 60:02} s"


def filled(head: str, text: str, *, indent: str = "") -> str:
    """Return text for a terminal, its lines as long as fits and a person likes to read, the later ones indented."""
    width = max(60, min(shutil.get_terminal_size((110, 24)).columns, 110))
    following = indent if not head.strip() else " " * min(len(indent + head), 23)
    return textwrap.fill(
        safe(head + text), width, initial_indent=indent, subsequent_indent=following or indent,
        break_long_words=False, break_on_hyphens=False, drop_whitespace=True,
    )  # fmt: skip


def table(headings: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a plain table, its columns as wide as they must be."""
    lines = [[safe(cell) for cell in row] for row in rows]
    heads = list(headings)
    widths = [max(len(line[number]) for line in [heads, *lines]) for number in range(len(heads))]
    click.secho("  ".join(head.ljust(width) for head, width in zip(heads, widths, strict=True)).rstrip(), bold=True)
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
