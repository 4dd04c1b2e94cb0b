"""Which errors of the drivers mean that the store cannot serve; all others are faults of our own code and fly."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import exc

from workers.store.interface import StoreFault, StoreUnavailable

# Primary result codes, https://www.sqlite.org/rescode.html
_SQLITE = {
    sqlite3.SQLITE_PERM: StoreFault.REFUSED,
    sqlite3.SQLITE_BUSY: StoreFault.BUSY,
    sqlite3.SQLITE_LOCKED: StoreFault.BUSY,
    sqlite3.SQLITE_READONLY: StoreFault.REFUSED,
    sqlite3.SQLITE_IOERR: StoreFault.LOST,
    sqlite3.SQLITE_CORRUPT: StoreFault.DAMAGED,
    sqlite3.SQLITE_FULL: StoreFault.FULL,
    sqlite3.SQLITE_CANTOPEN: StoreFault.UNREACHABLE,
    sqlite3.SQLITE_PROTOCOL: StoreFault.BUSY,
    sqlite3.SQLITE_AUTH: StoreFault.REFUSED,
    sqlite3.SQLITE_NOTADB: StoreFault.DAMAGED,
}

# SQLSTATE codes, the longest match counts, https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRES = {
    "08": StoreFault.LOST,
    "25006": StoreFault.REFUSED,  # read-only transaction: a standby
    "25P03": StoreFault.LOST,  # idle in transaction for too long
    "25P04": StoreFault.LOST,  # transaction took too long
    "28": StoreFault.REFUSED,
    "3D000": StoreFault.REFUSED,  # no such database
    "40001": StoreFault.BUSY,  # a standby cancels a reader
    "40P01": StoreFault.BUSY,
    "42501": StoreFault.REFUSED,
    "53": StoreFault.BUSY,
    "53100": StoreFault.FULL,
    "55P03": StoreFault.BUSY,  # lock_timeout
    "57014": StoreFault.BUSY,  # statement_timeout
    "57P": StoreFault.LOST,
    "57P03": StoreFault.UNREACHABLE,  # starting up
    "58": StoreFault.LOST,
    "XX001": StoreFault.DAMAGED,
    "XX002": StoreFault.DAMAGED,
}


@contextmanager
def told(*, writing: bool) -> Iterator[None]:
    """Turn the errors of a transaction that mean "cannot serve now" into `StoreUnavailable`."""
    try:
        yield
    except exc.TimeoutError as fault:
        raise StoreUnavailable(StoreFault.BUSY, "every connection of this process is in use") from fault
    except exc.DBAPIError as fault:
        reason = _reason(fault, writing=writing)
        if reason is None:
            raise
        # `orig` alone: the wrapper's text quotes the statement.
        raise StoreUnavailable(reason, str(fault.orig).strip()) from fault


def _reason(fault: exc.DBAPIError, *, writing: bool) -> StoreFault | None:
    match fault.orig:
        case sqlite3.Error() as error:
            code = getattr(error, "sqlite_errorcode", None)  # absent when the module itself complains
            found = None if code is None else _SQLITE.get(code & 0xFF)
            refused_by_us = code is not None and code & 0xFF == sqlite3.SQLITE_READONLY and not writing
        case psycopg.Error() as error:
            state = error.sqlstate
            found = _by_state(state) if state else _without_state(fault)
            refused_by_us = state == "25006" and not writing
        case _:
            return None
    return None if refused_by_us else found


def _by_state(state: str) -> StoreFault | None:
    matching = [prefix for prefix in _POSTGRES if state.startswith(prefix)]
    return _POSTGRES[max(matching, key=len)] if matching else None


def _without_state(fault: exc.DBAPIError) -> StoreFault | None:
    """Errors of libpq itself have no SQLSTATE: the connection broke, or there never was one."""
    if fault.connection_invalidated:
        return StoreFault.LOST
    return StoreFault.UNREACHABLE if isinstance(fault.orig, psycopg.OperationalError) else None
