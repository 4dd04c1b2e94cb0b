"""The command `catalogue`: what is seen, what is ignored and why, and what can never be seen."""

import click

from watchdog import clouds
from workers.cli.output import fail, json_line, table


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
    table(
        ("SERVICE", "OPERATION", "EFFECT", "SEEN THROUGH", "NOTE"),
        ((row.service, row.operation, row.effect, row.seen_through, row.note) for row in rows),
    )
    click.echo(f"\n{len(rows)} rows. Filters to install: byok-watchdog catalogue --for list")
