"""The command `catalogue`: what is seen, what is ignored and why, and what can never be seen."""

from collections.abc import Sequence

import click

from watchdog import clouds
from watchdog.cloud import Row
from workers.cli.output import count, fail, filled, json_line


@click.command()
@click.option("--cloud", "name", default="aws", type=click.Choice(clouds.CLOUDS), help="Whose catalogue.")
@click.option(
    "--for", "purpose", default=None, help="Print the event filter for this purpose instead; `list` lists them."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, one for each operation.")
def catalogue(name: str, purpose: str | None, *, as_json: bool) -> None:
    """List every operation with its effect, or print the filters that let them be seen."""
    cloud = clouds.cloud(name)
    if purpose is not None:
        filters = cloud.filters()
        if purpose == "list":
            click.echo("\n".join(filters))
            return
        if purpose not in filters:
            fail(f"There is no filter for {purpose!r}.", hint=f"There are: {', '.join(filters)}.")
        click.echo(filters[purpose])
        return
    rows = cloud.catalogue()
    if as_json:
        for row in rows:
            json_line(row)
        return
    _print(name, rows)


def _print(cloud: str, rows: Sequence[Row]) -> None:
    """Print the rows under what they are seen through, as that is what somebody has to set up."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row.seen_through), []).append(row)
    for seen_through, group in groups.items():
        click.secho(seen_through[0].upper() + seen_through[1:], bold=True)
        for row in group:
            click.echo(filled(f"{row.operation} ({row.service}): ", row.effect, indent="  "))
            click.secho(filled("", row.note, indent="      "), fg="bright_black")
        click.echo()
    click.echo(f"{count(len(rows), 'row')}. Filters to install: byok-watchdog catalogue --cloud {cloud} --for list")
