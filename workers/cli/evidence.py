"""The command `evidence`: check that the chain of evidence holds."""

import click

from watchdog.evidence import verify as verify_chain
from workers.cli.context import runtime
from workers.cli.output import count, fail, json_line


@click.group()
def evidence() -> None:
    """Verify the chain of evidence."""


@evidence.command()
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
def verify(*, as_json: bool) -> None:
    """Check every entry of the chain in order; exit 1 and name the first one that does not hold."""
    with runtime() as found, found.store.read() as unit:
        held, flaw = verify_chain(unit.evidence())
    if as_json:
        json_line({"entries": held, "holds": flaw is None, "first_flaw": flaw})
    if flaw is not None:
        fail(
            f"The evidence does not hold: {flaw.text}. {count(held, 'entry', 'entries')} before it hold.",
            hint="Keep the store as it is and compare it with a backup: entries from this one on prove nothing.",
        )
    if not as_json:
        entries = count(held, "entry", "entries")
        click.echo(f"The evidence holds: {entries}, each sealing the one before it.")
