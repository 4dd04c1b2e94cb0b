"""What every command that touches the store needs: settings, the runtime, and faults told in words."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workers.cli.output import fail
from workers.runtime import Runtime
from workers.settings import Settings, SettingsFaults, load
from workers.store import migrate
from workers.store.interface import StoreUnavailable


def settings() -> Settings:
    """Read the settings or end the command with every fault of them."""
    try:
        return load(os.environ)
    except SettingsFaults as faults:
        fail(f"The settings have faults:\n{faults}", hint="See deploy/byok-watchdog.toml.example for every setting.")


@contextmanager
def runtime(found: Settings | None = None, *, prepare: bool = True) -> Iterator[Runtime]:
    """Give a runtime on an up-to-date store; end the command in words when the store cannot be reached."""
    chosen = found or settings()
    try:
        if prepare:
            prepare_store(chosen)
        made = Runtime(chosen)
        yield made
        made.store.close()
    except StoreUnavailable as fault:
        fail(f"The store cannot be used: {fault}", hint=fault.hint())
    except SettingsFaults as faults:
        fail(f"The settings have faults:\n{faults}", hint="See deploy/byok-watchdog.toml.example for every setting.")


def prepare_store(found: Settings) -> None:
    """Make the home folder and bring the store's schema up to date. Safe to run by several processes at once."""
    found.home.mkdir(parents=True, exist_ok=True)
    if found.store_url.startswith("sqlite:///"):
        Path(found.store_url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    migrate(found.store_url)
