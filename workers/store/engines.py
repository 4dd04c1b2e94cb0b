"""Engines: how each database is connected to, and how its transactions begin.

Two engines per store. The *writer* has one connection, for there is one writer at a time anyhow: the threads of a
process queue here for their turn, in order, and only processes compete in the database. The *reader* has several.
"""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from workers.store.interface import StoreFault, StoreUnavailable

# How long anybody waits for the turn to write before it is an error. Writers take milliseconds.
TURN_SECONDS = 10

# RETURNING (3.35) is the youngest thing that we need of SQLite.
_OLDEST_SQLITE = (3, 35)

# "byok" in ASCII. Advisory locks are per database; this one is ours to write and to migrate.
WRITERS_LOCK = 0x62796F6B

# Sent as one message when a writer begins. The limits hold for this transaction only, so they also work behind a
# pooling proxy. A writer that stops between two statements (a suspended machine) loses its turn after a minute. A role
# may have durable commits switched off: not here.
_BEGIN_WRITING = f"""
SET LOCAL lock_timeout = '{TURN_SECONDS}s';
SET LOCAL statement_timeout = '30s';
SET LOCAL idle_in_transaction_session_timeout = '60s';
SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off';
SELECT pg_advisory_xact_lock({WRITERS_LOCK})
"""

# A server that vanished without a word (pulled cable, failed-over address) is noticed within half a minute.
_CONNECT_POSTGRES = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "byok-watchdog",
}


@dataclass(frozen=True, slots=True)
class Engines:
    """The two engines of one database."""

    writer: Engine
    reader: Engine

    def dispose(self) -> None:
        """Close every connection that is not in use."""
        self.writer.dispose()
        self.reader.dispose()


def engines(url: str) -> Engines:
    """Make the engines for a URL; nothing is connected yet.

    Raises ValueError for a URL that names no store of ours, `StoreUnavailable` when this Python's SQLite is too old.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is not None and parsed.drivername in {"sqlite", "sqlite+pysqlite"} and _names_a_file(parsed):
        return _sqlite(parsed.set(drivername="sqlite+pysqlite"))
    if parsed is not None and parsed.drivername in {"postgresql", "postgres", "postgresql+psycopg"}:
        return _postgres(parsed.set(drivername="postgresql+psycopg"))
    # The URL itself may hold a password: it is not repeated.
    raise ValueError("a store is sqlite:///FILE, postgresql+psycopg://USER@HOST/DATABASE or memory:")


def _names_a_file(url: URL) -> bool:
    return bool(url.database) and url.database != ":memory:" and not str(url.database).startswith("file:")


def _sqlite(url: URL) -> Engines:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StoreUnavailable(StoreFault.UNSUPPORTED, f"SQLite is {sqlite3.sqlite_version}")
    # `timeout` is SQLite's busy_timeout; a connection wanders between threads but serves one at a time.
    common: dict[str, Any] = {
        "poolclass": QueuePool,
        "pool_timeout": TURN_SECONDS,
        "hide_parameters": True,
        "connect_args": {"timeout": TURN_SECONDS, "check_same_thread": False},
    }
    writer = create_engine(url, pool_size=1, max_overflow=0, **common)
    reader = create_engine(url, **common)
    # IMMEDIATE takes the turn to write at once: a transaction that asks for it later can be told only "busy", at once.
    for engine, begin in ((writer, "BEGIN IMMEDIATE"), (reader, "BEGIN")):
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _sender(begin))
    event.listen(reader, "connect", _forbid_changes)
    return Engines(writer, reader)


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    mode = _write_ahead(cursor)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()
    if mode != ("wal",):
        raise StoreUnavailable(StoreFault.UNSUPPORTED, f"the file system allows SQLite no write-ahead log, but {mode}")


def _write_ahead(cursor: DBAPICursor) -> Any:  # noqa: ANN401 -- a driver's row
    """Switch to the write-ahead log, which a file does once in its life.

    SQLite does not wait for its turn here: processes that open a new file at the same moment are told "busy" at once.
    """
    until = time.monotonic() + TURN_SECONDS
    while True:
        try:
            return cursor.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as fault:
            if fault.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _forbid_changes(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only = ON")
    cursor.close()


def _postgres(url: URL) -> Engines:
    given = {name: value for name, value in _CONNECT_POSTGRES.items() if name not in url.query}
    common: dict[str, Any] = {
        "pool_pre_ping": True,
        "pool_timeout": TURN_SECONDS,
        "hide_parameters": True,
        "connect_args": given,
    }
    writer = create_engine(url, pool_size=1, max_overflow=0, **common)
    event.listen(writer, "begin", _sender(_BEGIN_WRITING))
    reader = create_engine(url, **common)
    return Engines(writer, reader.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True))


def _sender(sql: str) -> Callable[[Connection], None]:
    def send(connection: Connection) -> None:
        connection.exec_driver_sql(sql, execution_options={"no_parameters": True})

    return send
