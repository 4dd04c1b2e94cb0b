"""A storage account on loopback: Azurite, Microsoft's own emulator, from npm, in a process of its own.

It is installed once, into the user's cache folder, and only where npm is at hand. Without it the tests that need it are
skipped, and say so.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.queue import QueueClient

from tests.servers import free_port

VERSION = "3.37.0"
START_SECONDS = 30
INSTALL_SECONDS = 300
ACCOUNT = "acmeforwarder"
KEY = "YWNtZSdzIGV4YW1wbGUga2V5IG9mIGFuIGFjY291bnQ="


class NoAzuriteError(Exception):
    """It cannot be run here; the text says why."""


@dataclass(frozen=True, slots=True)
class Azurite:
    """A running queue service of one account."""

    url: str

    def queue(self, name: str) -> QueueClient:
        """Make a queue; return a plain client of it, for the side of the test that plays Azure."""
        client = QueueClient(f"{self.url}/{ACCOUNT}", name, credential=AzureNamedKeyCredential(ACCOUNT, KEY))
        client.create_queue()
        return client

    def queue_url(self, name: str) -> str:
        return f"{self.url}/{ACCOUNT}/{name}"


@contextlib.contextmanager
def azurite(tmp: Path) -> Iterator[Azurite]:
    """Run Azurite's queue service on a free port of loopback; its log goes to `tmp`. Raises NoAzuriteError."""
    script, port = _script(), free_port()
    with (tmp / f"azurite-{port}.log").open("ab") as log:
        process = subprocess.Popen(
            [
                *("node", str(script), "--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck"),
                *("--queueHost", "127.0.0.1", "--queuePort", str(port)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=tmp,
            env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"},
        )
    server = Azurite(f"http://127.0.0.1:{port}")
    try:
        _wait_for(server.url, process)
        yield server
    finally:
        process.kill()
        process.wait(START_SECONDS)


def azurite_or_skip(tmp: Path) -> contextlib.AbstractContextManager[Azurite]:
    """Run Azurite; skip the test, with the reason, where it cannot be had."""
    try:
        _script()
    except NoAzuriteError as fault:
        pytest.skip(f"no Azurite: {fault}")
    return azurite(tmp)


@cache
def _script() -> Path:
    """Return the queue service's script, installed when it is not there yet. Raises NoAzuriteError."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NoAzuriteError("npm and node are not on the PATH")
    cache_folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "byok-watchdog-tests"
    folder = cache_folder / f"azurite-{VERSION}"
    script = folder / "node_modules" / "azurite" / "dist" / "src" / "queue" / "main.js"
    if not script.exists():
        _install(npm, cache_folder, folder)
    return script


def _install(npm: str, cache_folder: Path, folder: Path) -> None:
    """Install it beside its place, then move it there: several test runs may do so at once."""
    cache_folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder, ignore_cleanup_errors=True) as fresh:
        quickly = ("--fetch-retries=0", "--fetch-timeout=30000")  # a registry that does not answer is no Azurite
        quietly = ("--no-audit", "--no-fund", "--ignore-scripts")
        command = [npm, "install", "--prefix", fresh, *quietly, *quickly, f"azurite@{VERSION}"]
        try:
            subprocess.run(
                command, cwd=fresh, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=INSTALL_SECONDS
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as fault:
            raise NoAzuriteError(f"npm could not install azurite {VERSION} ({type(fault).__name__})") from fault
        with contextlib.suppress(OSError):  # somebody else was quicker
            Path(fresh).rename(folder)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/{ACCOUNT}", timeout=2):
                return
        except urllib.error.HTTPError as answered:
            answered.close()  # it refuses whoever has no key: so it is there
            return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.1)
