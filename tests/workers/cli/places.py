"""A place where commands are called: a home folder, a folder for files, and what a command told."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.worlds import ACME_KEY, document
from watchdog.register import Document
from workers.cli.commands import cli
from workers.register_file import dump
from workers.samples.corpus import Corpus, eventbridge
from workers.settings import CONFIG_VARIABLE
from workers.store import open_store
from workers.store.interface import Store


@dataclass(frozen=True, slots=True)
class Told:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The output, one JSON object a line and nothing else."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True, slots=True)
class Place:
    """The home folder that the commands of a test work in, and a folder for files."""

    home: Path
    files: Path

    def run(self, *arguments: str, typed: bytes | None = None) -> Told:
        """Call a command; a fault of our own code is a failure of the test."""
        done = CliRunner().invoke(cli, arguments, input=typed, prog_name="byok-watchdog")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Told(done.exit_code, done.stdout, done.stderr)

    def write(self, name: str, body: bytes | str) -> str:
        """Write a file; return its path."""
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body.encode() if isinstance(body, str) else body)
        return str(path)

    def register(self, found: Document | None = None) -> str:
        """Write a register file; return its path."""
        return self.write("register.yaml", dump(found or document()))

    def imported(self, found: Document | None = None) -> None:
        assert 0 == self.run("register", "import", self.register(found), "--by", "test").code

    def settings(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        """Let the commands read this settings file."""
        monkeypatch.setenv(CONFIG_VARIABLE, self.write("settings.toml", text))

    @property
    def database(self) -> Path:
        return self.home / "watchdog.db"

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The store that the commands use."""
        with closing(open_store(f"sqlite:///{self.database}")) as store:
            yield store


def event(
    name: str = "DisableKey", key: str = ACME_KEY, *, ago: timedelta = timedelta(minutes=5), **fields: Any
) -> bytes:
    """A record of a change of a key, as EventBridge hands it over."""
    at = datetime.now(UTC).replace(microsecond=0) - ago
    return eventbridge(Corpus(seed=int(ago.total_seconds())).change(name, key, at=at, **fields))


HOSTILE = "mallory\x1b[31m\r\nregister: all keys healthy\u202e\u2066\x00\u2028\U000e0041"
"""A name that an outsider may choose: colours, a forged line, turned direction, invisible characters."""


def steered(text: str) -> list[str]:
    """The characters of an output that may steer a terminal or forge a line."""
    return [character for character in text if not character.isprintable() and character != "\n"]
