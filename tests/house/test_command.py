"""The command line as a whole: it starts at once, and every line of its table leads to a command."""

import sys
import time

import click
import pytest
from click.testing import CliRunner

from tests.house.tree import PYTHON, run
from workers.cli.commands import COMMANDS, LazyGroup, cli
from workers.release import VERSION

# Any of these costs more than the whole start may take.
HEAVY = ("alembic", "boto3", "celery", "jinja2", "kombu", "rich", "sqlalchemy", "yaml")

LISTED = f"""
import sys
from workers.cli.commands import cli
cli(sys.argv[1:], standalone_mode=False)
print([name for name in {HEAVY!r} if name in sys.modules])
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_line_of_the_table_leads_to_a_command(name: str) -> None:
    context = click.Context(cli)

    assert isinstance(cli.get_command(context, name), click.Command)


def test_the_help_lists_every_command_with_what_it_does() -> None:
    shown = " ".join(CliRunner().invoke(cli, ["--help"]).output.split())

    assert [name for name, row in COMMANDS.items() if f"{name} {row.does}" not in shown] == []


def test_what_the_table_does_not_have_is_said_to_be_unknown() -> None:
    done = CliRunner().invoke(cli, ["nonsense"])

    assert done.exit_code == 2
    assert "No such command 'nonsense'" in done.output


def test_a_line_that_leads_to_something_else_is_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    row = type(COMMANDS["status"])(at="workers.release:VERSION", does="Nothing.")
    monkeypatch.setattr("workers.cli.commands.COMMANDS", {"odd": row})

    with pytest.raises(TypeError, match=r"workers\.release:VERSION is not a click command"):
        LazyGroup().get_command(click.Context(cli), "odd")


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_neither_version_nor_help_imports_anything_heavy(option: str) -> None:
    done = run(PYTHON, "-c", LISTED, option)

    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_the_version_is_said_within_a_fifth_of_a_second() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        done = run(PYTHON, "-m", "workers.cli.entry", "--version")
        assert done.stdout == f"byok-watchdog {VERSION}\n", done.stderr
        return time.perf_counter() - start

    # The best of five: the machine may be busy with other tests, the command may not be slow every time.
    assert min(seconds() for _ in range(5)) < 0.2, sys.version
