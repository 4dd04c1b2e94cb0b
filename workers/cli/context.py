"""What every command that touches the store needs: settings, the runtime, and faults told in words."""

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from workers import settings as settings_module
from workers.cli.output import fail
from workers.runtime import Runtime, build_channels, build_heartbeat
from workers.settings import CONFIG_VARIABLE, HOME_VARIABLE, STORE_VARIABLE, Settings, SettingsFault, SettingsFaults
from workers.store import migrate, schema_revision
from workers.store.interface import StoreUnavailable

_SQLITE = "sqlite:///"


def settings(*, with_channels: bool = False) -> Settings:
    """Read the settings, or end the command with every fault of them (of the channels and their secrets too)."""
    try:
        found, faults = settings_module.read(os.environ)
    except SettingsFaults as unread:
        _end(unread.faults)
    if with_channels:
        faults += channel_faults(found)
    if faults:
        _end(faults)
    return found


def channel_faults(found: Settings) -> list[SettingsFault]:
    """Return what keeps the channels and the heartbeat from being built, secrets that are missing among it."""
    faults: list[SettingsFault] = []
    for build in (build_channels, build_heartbeat):
        try:
            build(found)
        except SettingsFaults as lacking:
            faults += lacking.faults
    return faults


def _end(faults: list[SettingsFault]) -> NoReturn:
    lines = "\n".join(f"  {fault.place}: {fault.text}" for fault in faults)
    number = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
    fail(f"The settings have {number}:\n{lines}", hint="See deploy/byok-watchdog.toml.example for every setting.")


@contextmanager
def runtime(*, prepare: bool = False) -> Iterator[Runtime]:
    """Give a runtime on a store; end the command in words when the store cannot be used.

    `prepare` makes the store where there is none, and brings its schema up to date. Without it a store that is not
    there ends the command: a place that was named wrongly must not look like one where nothing has happened.
    """
    chosen = settings()
    try:
        if prepare:
            prepare_store(chosen)
        else:
            _expect_store(chosen)
        made = Runtime(chosen)
        try:
            yield made
        finally:  # also when the command ends with an exit status of its own
            made.close()
    except StoreUnavailable as fault:
        fail(f"The store cannot be used: {fault}", hint=fault.hint())
    except SettingsFaults as faults:
        _end(faults.faults)


def prepare_store(found: Settings) -> None:
    """Make the home folder and bring the store's schema up to date. Safe to run by several processes at once."""
    found.home.mkdir(parents=True, exist_ok=True)
    file = store_file(found)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    migrate(found.store_url)


def store_file(found: Settings) -> Path | None:
    """Return the file of an SQLite store; None for a database server."""
    return Path(found.store_url.removeprefix(_SQLITE)) if found.store_url.startswith(_SQLITE) else None


def _expect_store(found: Settings) -> None:
    file = store_file(found)
    if file is not None and not file.exists():
        fail(
            f"There is no store at {file}.",
            hint="`byok-watchdog register import FILE` or `byok-watchdog up` makes it. If it is elsewhere, say where "
            f"with {HOME_VARIABLE}, {CONFIG_VARIABLE} or {STORE_VARIABLE}.",
        )
    if schema_revision(found.store_url) is None:
        fail("The store is empty.", hint="`byok-watchdog register import FILE` or `byok-watchdog up` prepares it.")


def who(named: str | None) -> str:
    """Return who gives a command, for the evidence: the name that was given, else that of the user."""
    if named:
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        fail("The system knows no name for this user.", hint="Say who you are with --by NAME.")
