"""The command `up`: everything on this machine, in real processes, store and broker included."""

import os

import click

from workers import logs
from workers.cli.context import prepare_store, settings
from workers.cli.output import fail
from workers.processes import stop_on_signals
from workers.settings import CONFIG_VARIABLE, HOME_VARIABLE, Settings
from workers.store.interface import StoreUnavailable
from workers.supervisor import NoBroker, Supervisor


@click.command()
def up() -> None:
    """Run everything on this machine until stopped: broker, scheduler, workers, and a consumer for each feed.

    Without settings: an SQLite store, a broker of its own, a folder feed and the console, all below
    ./byok-watchdog-home (or $BYOK_WATCHDOG_HOME).
    """
    logs.configure()
    found = settings(with_channels=True)
    try:
        prepare_store(found)
    except StoreUnavailable as fault:
        fail(f"The store cannot be used: {fault}", hint=fault.hint())
    stop = stop_on_signals()
    click.echo(f"Settings: {found.source}. Home: {found.home}. Feeds: {', '.join(feed.name for feed in found.feeds)}.")
    click.echo("Stop with Ctrl-C. In another terminal: byok-watchdog status")
    try:
        Supervisor(found, environment=environment(found)).run(stop)
    except NoBroker as fault:
        fail(f"No broker: {fault}")


def environment(found: Settings) -> dict[str, str]:
    """Return the environment in which every child finds the same settings."""
    chosen = {**os.environ, HOME_VARIABLE: str(found.home)}
    if found.source != "embedded defaults":
        chosen[CONFIG_VARIABLE] = found.source
    return chosen
