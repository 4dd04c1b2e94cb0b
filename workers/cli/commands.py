"""The table of commands: what each is for and where its code is. Only the one that is called gets imported."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

import click

from workers.release import VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One command: `at` is "module:name" of its click command, `does` the line that the help shows."""

    at: str
    does: str


COMMANDS: Mapping[str, Row] = {
    "demo": Row(at="workers.cli.demo:demo", does="Show a key being revoked and who is told."),
    "up": Row(at="workers.cli.up:up", does="Run everything on this machine, store and broker included."),
    "consume": Row(at="workers.cli.services:consume", does="Receive audit records from the feeds."),
    "worker": Row(at="workers.cli.services:worker", does="Work on what was received, and send the notices."),
    "scheduler": Row(at="workers.cli.services:scheduler", does="Start what is due; any number may run."),
    "register": Row(at="workers.cli.register:register", does="Import, check or show the register of keys."),
    "status": Row(at="workers.cli.status:status", does="Show the verdict of every key and the open incidents."),
    "explain": Row(at="workers.cli.explain:explain", does="Tell what records mean, for which key, and why."),
    "probe": Row(at="workers.cli.probe:probe", does="Ask a key now whether it works, and whose fault it is if not."),
    "replay": Row(at="workers.cli.replay:replay", does="Feed recorded deliveries through the whole path again."),
    "catalogue": Row(at="workers.cli.catalogue:catalogue", does="List what is seen and what cannot be seen."),
    "doctor": Row(at="workers.cli.doctor:doctor", does="Check the settings and everything that they name."),
    "resolve": Row(at="workers.cli.decisions:resolve", does="Close an incident by a named decision."),
    "evidence": Row(at="workers.cli.evidence:evidence", does="Verify the chain of evidence."),
}


class LazyGroup(click.Group):
    """A group that knows its commands from COMMANDS; listing them or showing the help imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the names in the order of the table, which is the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # same
        """Import one command. Raises TypeError when the table points at something that is not one."""
        row = COMMANDS.get(cmd_name)
        if row is None:
            return None
        module, _, name = row.at.partition(":")
        command = getattr(import_module(module), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{row.at} is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # same
        """Write the list from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, row.does) for name, row in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(VERSION, prog_name="byok-watchdog", message="%(prog)s %(version)s")
def cli() -> None:
    """Watch customer-owned encryption keys, and tell the right people in time."""
