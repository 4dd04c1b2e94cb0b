"""The command `register`: check, import and show the exception register."""

from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from watchdog.register import Document, Register, registered_keys
from workers.cli.output import count, fail, json_line, safe, table


@click.group()
def register() -> None:
    """Import, check or show the register of keys."""


@register.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option("--key", "named", multiple=True, help="Only this key (its id, or the last part of it); repeatable.")
@click.option("--by", default=None, help="Who asks, for the evidence; the user's name if left out.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, for each fault or for each key.")
def check(file: str | None, named: tuple[str, ...], by: str | None, *, as_json: bool) -> None:
    """Report every fault of a register FILE with its place; change nothing.

    Without FILE: ask the clouds of the imported keys whether they can be used and are hard to lose (the pre-flight),
    with the credentials of this process. Missing canaries are made, the result is stored, and what is wrong is told.

    Exit status of the pre-flight: 0 nothing blocks, 1 a check fails that must not and is not agreed.
    """
    if file is None:
        from workers.cli.context import who  # noqa: PLC0415 - a file is checked without a store
        from workers.cli.preflight import check_keys  # noqa: PLC0415 - as above

        raise SystemExit(0 if check_keys(named, by=who(by), as_json=as_json) else 1)
    if named:
        raise click.UsageError("--key is for the pre-flight of imported keys: leave FILE out.")
    document = _load(file, as_json=as_json)
    customers, keys = len(document.customers), len(list(registered_keys(document)))
    if as_json:
        json_line({"file": file, "faults": 0, "customers": customers, "keys": keys})
    else:
        click.echo(f"{file}: no fault; {count(customers, 'customer')}, {count(keys, 'key')}.")


@register.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--by", default=None, help="Who imports it (kept as evidence); the user's name if left out.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
def import_(file: str, by: str | None, *, as_json: bool) -> None:
    """Make a register file the one that counts. With any fault in it nothing is changed."""
    document = _load(file, as_json=as_json)
    from workers.cli.context import runtime, who  # noqa: PLC0415 - opens the store: only after the file is known to be sound
    from workers.registering import RespeltKeys, import_document  # noqa: PLC0415 - same

    name = who(by)
    with runtime(prepare=True) as found:
        try:
            outcome = import_document(found, document, by=name, source=Path(file).name, now=datetime.now(UTC))
        except RespeltKeys as fault:
            lines = "\n".join(f"  {new}\n    is registered as {old}" for old, new in fault.spellings)
            hint = "Keep the spelling that is registered: what is known about the key hangs on it."
            fail(f"{file}: nothing was changed; keys are spelt in another letter case than before:\n{lines}", hint=hint)
    if as_json:
        json_line(outcome)
        return
    if not outcome.changed:
        click.echo(f"{file}: the same as revision {outcome.revision}, which counts already; nothing was changed.")
        return
    click.echo(
        f"{file}: imported as revision {outcome.revision}; {count(outcome.keys, 'key')} of "
        f"{count(outcome.customers, 'customer')}."
    )
    for word, names in (("new", outcome.added), ("gone", outcome.removed), ("changed", outcome.altered)):
        for name in names:
            click.echo(f"  {word:8} {name}")
    if outcome.removed:
        click.echo(
            "Keys that are gone are no longer watched. An open incident about one stays open until somebody ends it: "
            "byok-watchdog resolve"
        )


@register.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, one for each key.")
def show(*, as_json: bool) -> None:
    """Show the register that counts."""
    from workers.cli.context import runtime  # noqa: PLC0415 - the other commands of this group need no store
    from workers.cli.preflight import preflight_row  # noqa: PLC0415 - same
    from workers.cli.status import cover_row, in_short  # noqa: PLC0415 - same
    from workers.covering import covers_of_all  # noqa: PLC0415 - same
    from workers.preflighting import all_preflights  # noqa: PLC0415 - same

    with runtime() as found, found.store.read() as unit:
        latest = unit.register_latest()
        covers = covers_of_all(found, unit, now=datetime.now(UTC))
        preflights = all_preflights(unit) if as_json else {}
    if latest is None:
        fail(
            "No register has been imported.",
            hint="`byok-watchdog register import FILE`; see deploy/register.example.yaml.",
        )
    revision, text = latest
    keys = Register(msgspec.json.decode(text, type=Document), revision).keys.values()
    if as_json:
        for key in keys:
            json_line(
                {
                    "key": key.id,
                    "owner": key.entry.owner,
                    "customer": key.customer.id,
                    "instance": key.instance.id,
                    "exception": key.entry.exception.reference if key.entry.exception else None,
                    "stores": [consumer.store for consumer in key.entry.consumers],
                    "revision": revision,
                    "preflight": preflight_row(preflights.get(key.id)),
                    "coverage": [cover_row(one) for one in covers[key.id]],
                }
            )
        return
    click.echo(f"Revision {revision}")
    rows = [
        (key.id, key.entry.owner.value, key.customer.id, key.instance.id, len(key.entry.consumers),
         *(in_short(one) for one in covers[key.id]))
        for key in keys
    ]  # fmt: skip
    table(("KEY", "OWNER", "CUSTOMER", "INSTANCE", "STORES", "FORWARDED", "SELF-OBSERVED", "PROBED"), rows)


@register.command()
def schema() -> None:
    """Print the JSON Schema of the register file."""
    from workers.register_file import schema_json  # noqa: PLC0415 - only this command needs it

    click.echo(schema_json(), nl=False)


def _load(file: str, *, as_json: bool) -> Document:
    from workers.register_file import RegisterFaults, load  # noqa: PLC0415 - `show` needs no YAML
    from workers.runtime import impact_table  # noqa: PLC0415 - same

    try:
        return load(Path(file), stores=impact_table().topologies())
    except RegisterFaults as faults:
        for fault in faults.faults:
            if as_json:
                json_line(
                    {"file": file, "line": fault.line, "place": fault.place, "fault": fault.text, "fix": fault.fix}
                )
            else:
                place = fault.place or "the whole file"
                click.echo(f"{safe(file)}:{fault.line or '?'}: {safe(place)}: {safe(fault.text)}", err=True)
                if fault.fix:
                    click.echo(f"    {safe(fault.fix)}", err=True)
        fail(
            f"{file}: {count(len(faults.faults), 'fault')}; nothing was changed.",
            hint="Mend them and try again; `byok-watchdog register schema` prints the schema.",
        )
