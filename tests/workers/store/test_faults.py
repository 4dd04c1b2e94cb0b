"""When the store cannot serve: one family of errors, each with its reason; everything else flies as it is."""
# ruff: noqa: PT012 -- it is the end of a transaction that raises

import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy.exc
from sqlalchemy import create_engine, make_url, text

from tests.servers import database, plain, postgres, with_database
from tests.workers.store.things import KEY, MINUTE, T0, arrival, health, incident, notice
from workers.store import migrate, open_store
from workers.store.engines import WRITERS_LOCK
from workers.store.faults import told
from workers.store.interface import Store, StoreFault, StoreUnavailable


def reason(store: Store, *, writing: bool = False) -> StoreFault:
    """Why the store cannot serve."""
    with pytest.raises(StoreUnavailable) as caught, store.write() if writing else store.read():
        pass
    return caught.value.reason


# ----------------------------------------------------------------------------------------------------------- the URL


@pytest.mark.parametrize(
    "url",
    [
        "",
        "memory",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        "mysql://root:hunter2@db/x",
        "postgresql+psycopg2://root:hunter2@db/x",
        "redis://localhost",
        "not a url hunter2",
    ],
)
def test_another_url_is_refused_with_those_that_are_valid(url: str) -> None:
    with pytest.raises(ValueError, match=r"sqlite:///FILE.*postgresql\+psycopg://.*memory:") as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.servers
@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_every_usual_spelling_of_a_postgresql_url_works(postgres_server: str, scheme: str) -> None:
    with database(postgres_server, "spelling", template="migrated") as url:
        store = open_store(url.replace("postgresql+psycopg", scheme))
        with store.read() as unit:
            assert unit.register_revision() == 0
        store.close()


def test_every_reason_has_a_hint_and_says_whether_to_wait() -> None:
    faults = [StoreUnavailable(one, "x") for one in StoreFault]

    assert len({fault.hint() for fault in faults}) == len(faults)
    assert [fault.reason for fault in faults if fault.permanent] == [
        StoreFault.REFUSED,
        StoreFault.DAMAGED,
        StoreFault.UNSUPPORTED,
        StoreFault.SCHEMA,
    ]
    assert str(faults[0]) == "store unreachable: x"


# ------------------------------------------------------------------------------------------------------------ SQLite


def test_a_folder_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'nowhere' / 'store.db'}"
    store = open_store(url)

    assert (reason(store), reason(store, writing=True)) == (StoreFault.UNREACHABLE, StoreFault.UNREACHABLE)
    with pytest.raises(StoreUnavailable):
        migrate(url)
    store.close()


def test_a_file_that_is_no_database_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"Dear diary, " * 1000)
    store = open_store(f"sqlite:///{path}")

    assert reason(store) is StoreFault.DAMAGED
    store.close()


def test_a_writer_of_another_process_that_holds_its_turn_makes_the_store_busy(
    sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.store.engines.TURN_SECONDS", 0.2)
    path = tmp_path / "store.db"
    path.write_bytes(sqlite_template.read_bytes())
    # Two stores share nothing but the file, as two processes do.
    one, other = open_store(f"sqlite:///{path}"), open_store(f"sqlite:///{path}")
    with one.write():
        assert reason(other, writing=True) is StoreFault.BUSY
    with other.write() as unit:
        unit.receive([arrival()])
    one.close()
    other.close()


def test_a_full_disk_is_full(sqlite_template: Path, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(sqlite_template.read_bytes())
    store: Any = open_store(f"sqlite:///{path}")
    with pytest.raises(StoreUnavailable) as caught, store.write() as unit:
        # SQLite's own way to play a full disk.
        unit._connection.execute(text("PRAGMA max_page_count = 60"))
        unit.receive([arrival(body=b"x" * (1 << 20))])
    assert caught.value.reason is StoreFault.FULL
    store.close()


def test_a_commit_to_sqlite_is_on_disk_and_readers_do_not_block_it(database_store: Any) -> None:
    with database_store.write() as unit:
        connection = unit._connection
        if connection.dialect.name != "sqlite":
            assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"
            return
        settings = [
            connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    full = 2
    assert settings == ["wal", full, 1, 10_000]


def test_the_rows_that_belong_together_stay_together(database_store: Any) -> None:
    with pytest.raises(sqlalchemy.exc.IntegrityError), database_store.write() as unit:
        unit.put_incident(incident())
        unit._connection.execute(text("DELETE FROM incidents"))


# -------------------------------------------------------------------------------------------------------- PostgreSQL


@pytest.mark.servers
def test_a_server_that_is_not_there_is_unreachable() -> None:
    store = open_store("postgresql+psycopg://byok:hunter2@127.0.0.1:1/byok")
    with pytest.raises(StoreUnavailable) as caught, store.read():
        pass
    assert caught.value.reason is StoreFault.UNREACHABLE
    assert "hunter2" not in str(caught.value)
    store.close()


@pytest.mark.servers
def test_a_database_that_is_not_there_is_unreachable(postgres_server: str) -> None:
    store = open_store(with_database(postgres_server, "nobody"))
    with pytest.raises(StoreUnavailable, match='"nobody" does not exist') as caught, store.write():
        pass
    assert caught.value.reason is StoreFault.UNREACHABLE
    store.close()


@pytest.mark.servers
def test_a_connection_lost_in_the_middle_is_lost_and_the_next_one_works(postgres_server: str) -> None:
    with database(postgres_server, "lost", template="migrated") as url:
        store: Any = open_store(url)
        with pytest.raises(StoreUnavailable) as caught, store.write() as unit:
            unit.receive([arrival()])
            terminate(url, unit._connection.execute(text("SELECT pg_backend_pid()")).scalar())
            unit.receive([arrival("second")])
        assert caught.value.reason is StoreFault.LOST
        # An idle connection that died meanwhile is noticed before it is used.
        with store.write() as unit:
            assert unit.inbox_counts()["record"] == 0
            backend = unit._connection.execute(text("SELECT pg_backend_pid()")).scalar()
        terminate(url, backend)
        with store.write() as unit:
            assert len(unit.receive([arrival()])) == 1
        store.close()


@pytest.mark.servers
def test_a_connection_lost_at_the_commit_is_lost(postgres_server: str) -> None:
    with database(postgres_server, "lost_commit", template="migrated") as url:
        store: Any = open_store(url)
        with pytest.raises(StoreUnavailable) as caught, store.write() as unit:
            unit.receive([arrival()])
            terminate(url, unit._connection.execute(text("SELECT pg_backend_pid()")).scalar())
        assert caught.value.reason is StoreFault.LOST
        with store.read() as unit:
            assert unit.inbox_counts()["record"] == 0
        store.close()


@pytest.mark.servers
def test_a_stuck_writer_makes_the_others_say_busy(postgres_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = "workers.store.engines._BEGIN_WRITING"
    with database(postgres_server, "stuck", template="migrated") as url:
        with monkeypatch.context() as patch:
            patch.setattr(sql, f"SET LOCAL lock_timeout = '100ms'; SELECT pg_advisory_xact_lock({WRITERS_LOCK})")
            store = open_store(url)
        stuck = psycopg.connect(plain(url))
        stuck.execute("SELECT pg_advisory_lock(%s)", (WRITERS_LOCK,))
        began = time.monotonic()
        assert reason(store, writing=True) is StoreFault.BUSY
        assert time.monotonic() - began < 5
        with store.read() as unit:  # readers go on
            assert unit.register_revision() == 0
        stuck.close()
        with store.write() as unit:
            unit.receive([arrival()])
        store.close()


@pytest.mark.servers
def test_a_writer_has_its_limits_for_the_length_of_its_turn_only(postgres_server: str) -> None:
    names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "synchronous_commit")

    def settings(connection: Any) -> list[str]:
        return [connection.execute(text(f"SHOW {name}")).scalar() for name in names]

    with database(postgres_server, "limits", template="migrated") as url:
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("ALTER DATABASE limits SET synchronous_commit = off"))
        engine.dispose()
        store: Any = open_store(url)
        with store.write() as unit:
            connection = unit._connection
            assert settings(connection) == ["10s", "30s", "1min", "on"]
            raw = connection.connection.dbapi_connection
        assert raw.execute("SHOW lock_timeout").fetchone() == ("0",)
        raw.rollback()
        with store.read() as unit:
            assert unit._connection.execute(text("SHOW transaction_isolation")).scalar() == "repeatable read"
            assert unit._connection.execute(text("SHOW transaction_read_only")).scalar() == "on"
        store.close()


@pytest.mark.servers
def test_a_server_that_only_reads_refuses_a_writer(postgres_server: str) -> None:
    with database(postgres_server, "standby", template="migrated") as url:
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("ALTER DATABASE standby SET default_transaction_read_only = on"))
        engine.dispose()
        store = open_store(url)
        with pytest.raises(StoreUnavailable, match="read-only") as caught, store.write() as unit:
            unit.receive([arrival()])
        assert caught.value.reason is StoreFault.REFUSED
        with store.read() as unit:
            assert unit.register_revision() == 0
        store.close()


@pytest.mark.servers
def test_the_store_works_again_when_the_server_has_come_back() -> None:
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        with postgres(Path(folder)) as url:
            migrate(url)
            store = open_store(url)
            with store.write() as unit:
                unit.receive([arrival()])
        away = {StoreFault.UNREACHABLE, StoreFault.LOST}
        assert {reason(store), reason(store, writing=True), reason(store, writing=True)} <= away
        with postgres(Path(folder)) as again:
            assert again == url
            with store.write() as unit:
                assert unit.receive([arrival()]) == []
            store.close()


@pytest.mark.servers
def test_times_do_not_depend_on_the_zone_of_the_session(postgres_server: str) -> None:
    with database(postgres_server, "zone", template="migrated") as url:
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("ALTER DATABASE zone SET timezone = 'Asia/Kolkata'"))
        engine.dispose()
        store = open_store(url)
        with store.write() as unit:
            unit.put_health(health())
        with store.read() as unit:
            changed_at = unit.healths([KEY])[KEY].changed_at
            assert (changed_at, changed_at.utcoffset()) == (T0, T0.utcoffset())
        store.close()


def terminate(url: str, backend: int) -> None:
    """End one session of the server, as an administrator or a failover does."""
    with psycopg.connect(plain(url), autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (backend,))


# ------------------------------------------------------------------------------------------------- our own faults fly


def test_a_fault_of_our_own_is_not_dressed_up(database_store: Store) -> None:
    with database_store.write() as unit:
        unit.add_notices([notice("a", dedup="x")])
    with pytest.raises(sqlalchemy.exc.IntegrityError) as caught, database_store.write() as unit:
        unit.add_notices([notice("a", dedup="y")])
    # What outsiders wrote does not get into logs by way of an error.
    assert "first notice" not in str(caught.value)


def test_an_error_that_is_not_the_databases_passes_through() -> None:
    with pytest.raises(ZeroDivisionError), told(writing=True):
        raise ZeroDivisionError


# ------------------------------------------------------------------------------------------------------------ speed


def test_looking_for_what_is_due_does_not_read_what_is_done(database_url: str, database_store: Any) -> None:
    with database_store.write() as unit:
        unit.receive([arrival(f"e-{number}") for number in range(1000)])
        for inbox_id, _ in unit.arrived_due(T0, 990):
            unit.arrival_done(inbox_id, at=T0, outcome="observed")
        for number in range(100):
            unit.put_incident(incident(f"INC-{number}", check_at=T0 if number > 90 else None))
        unit.add_notices([notice(f"n-{number}") for number in range(100)])
        unit._connection.execute(text("UPDATE notices SET free_at = NULL, state = 'accepted' WHERE number <= 90"))
    plans = plans_of(database_url, database_store)

    indexes = {"inbox": "inbox_due", "notices": "notices_waiting", "incidents": "incidents_due"}
    assert {table: index for table, index in indexes.items() if not all(index in plan for plan in plans[table])} == {}
    assert all(plans.values())


def plans_of(url: str, store: Any) -> dict[str, list[str]]:
    """How the database finds what the due-queries ask for."""
    explain = "EXPLAIN QUERY PLAN " if make_url(url).get_backend_name() == "sqlite" else "EXPLAIN "
    found: dict[str, list[str]] = {"inbox": [], "notices": [], "incidents": []}
    with store.write() as unit:
        connection = unit._connection
        if explain == "EXPLAIN ":
            # For so few rows PostgreSQL would rather read the whole table: ask whether it could do otherwise.
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        asked: list[tuple[str, Any]] = []
        note_statements(connection, asked)
        unit.arrived_due(T0 + MINUTE, 10)
        unit.notices_due(T0 + MINUTE, 10)
        unit.incidents_due(T0 + MINUTE, 10)
        for sql, parameters in tuple(asked):
            rows = connection.exec_driver_sql(explain + sql, parameters).all()
            table = next(name for name in found if f"FROM {name}" in sql)
            found[table].append(" ".join(str(value) for row in rows for value in row))
    return found


def note_statements(connection: Any, asked: list[tuple[str, Any]]) -> None:
    """Note every statement from now on."""

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith("EXPLAIN"):
            asked.append((statement, parameters))

    sqlalchemy.event.listen(connection, "before_cursor_execute", note)
