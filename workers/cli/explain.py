"""The command `explain`: what do these records mean, for which key, and why. Needs no store, broker or network."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from watchdog import clouds
from watchdog.cloud import Cloud, Unpacked
from watchdog.register import Register
from watchdog.signals import Signal
from watchdog.words import Effect
from workers.cli.output import count, fail, json_line, moment, safe
from workers.feeds.folder import read_paths
from workers.feeds.pieces import Piece
from workers.register_file import RegisterFaults, load


@click.command()
@click.option(
    "--register", "register_path", required=True, type=click.Path(exists=True, dir_okay=False),
    help="The register file (YAML or JSON) that the records are read against.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, one for each signal.")
@click.option("--all", "every", is_flag=True, help="Print records without effect too; else they are only counted.")
@click.option("--cloud", default="aws", type=click.Choice(clouds.CLOUDS), help="Whose records these are.")
@click.argument("paths", nargs=-1, required=True)
def explain(register_path: str, *, as_json: bool, every: bool, cloud: str, paths: tuple[str, ...]) -> None:
    """Tell what records mean: for which key, with what effect, and why.

    PATHS are files and folders (read recursively), or - for standard input: single records, EventBridge events, SQS
    and SNS bodies, LookupEvents answers, CloudTrail files, JSON lines, plain or gz; with --cloud the deliveries and
    logs of another cloud; the cloud is never guessed. With --json every record is printed.
    """
    register = _register(register_path)
    missing = [path for path in paths if path != "-" and not Path(path).exists()]
    if missing:
        fail(f"No such file or folder: {', '.join(missing)}", hint="Name files, folders, or - for standard input.")
    half = clouds.cloud(cloud)
    quiet = Counter[str]()
    for piece in read_paths(paths):
        for row in rows(piece, half, register):
            if as_json:
                json_line(row)
            elif row["effect"] == Effect.NO_EFFECT and not (every or "fetch" in row):
                quiet[row["reason"]] += 1
            else:
                _print(row)
    if quiet:
        click.echo(f"{count(quiet.total(), 'record')} without effect on a registered key (list them with --all):")
        for reason, number in quiet.most_common():
            click.echo(f"    {number:6}  {safe(reason)}")


def _register(path: str) -> Register:
    """Read the register. Gaps that do not change what records mean (a missing contact, say) are told, and borne."""
    hint = f"Mend them; `byok-watchdog register check {path}` lists them too."
    try:
        return Register(load(Path(path)))
    except RegisterFaults as faults:
        if faults.document is None:
            fail(f"The register {path} has faults:\n{faults}", hint=hint)
        found = count(len(faults.faults), "fault")
        click.secho(f"The register {path} has {found}: it could not be imported. {hint}", fg="yellow", err=True)
        return Register(faults.document)


def rows(piece: Piece, cloud: Cloud, register: Register) -> Iterator[dict[str, Any]]:
    """Yield one row for each signal of a piece of a file, in the order of its records."""
    if piece.error is not None:
        yield _row(piece.name, piece.first, Signal(effect=Effect.UNREADABLE, reason=piece.error))
        return
    yield from sorted(_unsorted(piece, cloud, register), key=lambda row: int(row["record"]))


def _unsorted(piece: Piece, cloud: Cloud, register: Register) -> Iterator[dict[str, Any]]:
    unpacked: Unpacked = cloud.unpack(piece.body, first=piece.first, detail=True, register=register)
    for entry in unpacked.entries:
        for signal in cloud.meaning(entry.raw, register):
            yield _row(piece.name, entry.number, signal)
    for broken in unpacked.broken:
        yield _row(piece.name, broken.number, Signal(effect=Effect.UNREADABLE, reason=broken.reason))
    for dropped in unpacked.dropped:
        signal = Signal(
            effect=Effect.NO_EFFECT, reason=dropped.reason, operation=dropped.operation, occurred_at=dropped.occurred_at
        )
        yield _row(piece.name, dropped.number, signal)
    if unpacked.pointers:
        fetch = [{"bucket": one.bucket, "key": one.name} for one in unpacked.pointers]
        names = ", ".join(f"s3://{one['bucket']}/{one['key']}" for one in fetch)
        reason = f"this delivery only points at {len(fetch)} object{'s' * (len(fetch) > 1)} to fetch: {names}"
        yield {**_row(piece.name, piece.first, Signal(effect=Effect.NO_EFFECT, reason=reason)), "fetch": fetch}
    counted = bool(unpacked.entries or unpacked.broken or unpacked.dropped or unpacked.pointers)
    if not counted:
        empty = Signal(effect=Effect.NO_EFFECT, reason="there is no record in this delivery")
        yield _row(piece.name, piece.first, empty)


def _row(file: str, record: int, signal: Signal) -> dict[str, Any]:
    return {
        "file": file,
        "record": record,
        "effect": signal.effect.value,
        "key": signal.resource or signal.key,
        "version": signal.version,
        "operation": signal.operation,
        "occurred_at": moment(signal.occurred_at),
        "actor": signal.actor.name if signal.actor else None,
        "deadline": moment(signal.deadline),
        "deadline_source": signal.deadline_source,
        "fault": signal.fault.value if signal.fault else None,
        "cause": signal.cause.value if signal.cause else None,
        "means": signal.means.value if signal.means else None,
        "subject": signal.subject,
        "customer": signal.customer,
        "probe": signal.probe,
        "partial": signal.partial,
        "event_id": signal.event_id,
        "reason": signal.reason,
    }


_QUIET = {"no_effect", "attempt_failed", "use_succeeded", "rotated"}


def _print(row: dict[str, Any]) -> None:
    colour = "bright_black" if row["effect"] in _QUIET else "yellow"
    if row["fault"] or row["effect"] in {"untrusted", "unreadable"}:
        colour = "red"
    click.echo(f"{safe(row['file'])}, record {row['record']}: ", nl=False)
    click.secho(row["effect"], fg=colour, bold=True, nl=False)
    click.echo(f"  {safe(row['key'])}" if row["key"] else "")
    lines = [
        ("why", row["reason"]),
        ("what", _joined(row["operation"], row["occurred_at"], row["actor"])),
        ("deadline", _joined(row["deadline"], row["deadline_source"])),
        ("fault", _joined(row["fault"], row["cause"], row["means"])),
        ("next", "only a probe of the key can settle it" if row["probe"] else None),
        ("next", "partly repaired: the key is not usable yet" if row["partial"] else None),
    ]
    for label, text in lines:
        if text:
            click.echo(f"    {label:9} {safe(text)}")


def _joined(*parts: object) -> str:
    return ", ".join(str(part) for part in parts if part)
