"""The schema: what the migrations make is what `schema.py` says, and nobody runs on the wrong one."""

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, inspect, text

from tests.workers.store.things import KEY, T0
from watchdog.evidence import verify
from workers.store import migrate, open_store, schema_revision
from workers.store.interface import StoreFault, StoreUnavailable
from workers.store.migrations import revisions
from workers.store.schema import REVISIONS, metadata


def described(engine: Engine) -> dict[str, Any]:
    """Everything that a database says about its tables, in a form that compares."""
    seen = inspect(engine)
    tables = [table for table in seen.get_table_names() if table != "alembic_version"]
    return {
        table: {
            "columns": [
                {name: str(column.get(name)) for name in ("name", "type", "nullable", "default", "autoincrement")}
                | {"collation": getattr(column["type"], "collation", None)}
                for column in seen.get_columns(table)
            ],
            "key": seen.get_pk_constraint(table)["constrained_columns"],
            "foreign": sorted(
                (key["constrained_columns"], key["referred_table"], key["referred_columns"])
                for key in seen.get_foreign_keys(table)
            ),
            "unique": seen.get_unique_constraints(table),
            "indexes": sorted(
                (
                    str(index["name"]),
                    index["column_names"],
                    bool(index["unique"]),
                    sorted((name, str(value)) for name, value in index.get("dialect_options", {}).items()),
                )
                for index in seen.get_indexes(table)
            ),
        }
        for table in tables
    }


def test_the_migrations_make_exactly_what_the_schema_says(empty_url: str) -> None:
    engine = create_engine(empty_url)
    try:
        metadata.create_all(engine)
        drawn = described(engine)
        metadata.drop_all(engine)
        migrate(empty_url)
        assert described(engine) == drawn
        assert len(drawn) == len(metadata.tables) > 10
    finally:
        engine.dispose()


def test_the_known_revisions_are_those_that_there_are() -> None:
    assert revisions() == list(REVISIONS)


def test_a_migration_starts_from_nothing_and_running_it_again_changes_nothing(empty_url: str) -> None:
    assert schema_revision(empty_url) is None
    migrate(empty_url)
    store = open_store(empty_url)
    with store.write() as unit:
        unit.append_evidence("signal", KEY, {}, at=T0)
    migrate(empty_url)
    assert schema_revision(empty_url) == REVISIONS[-1]
    with store.read() as unit:
        assert verify(unit.evidence()) == (1, None)
    store.close()


def test_threads_migrate_the_same_empty_database_at_once(empty_url: str) -> None:
    faults: list[BaseException] = []

    def run() -> None:
        try:
            migrate(empty_url)
        except BaseException as fault:
            faults.append(fault)
            raise

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert faults == []
    assert schema_revision(empty_url) == REVISIONS[-1]


def test_a_new_file_that_another_process_is_just_making_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE t (n INTEGER)")
    waiting = threading.Thread(target=migrate, args=(f"sqlite:///{path}",))
    waiting.start()
    waiting.join(0.3)
    still_waiting = waiting.is_alive()
    other.execute("ROLLBACK")
    other.close()
    waiting.join()

    assert still_waiting
    assert schema_revision(f"sqlite:///{path}") == REVISIONS[-1]


def test_a_migration_that_fails_leaves_nothing(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        # The last thing that the first migration does.
        patch.setattr("alembic.op.execute", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            migrate(empty_url)
    engine = create_engine(empty_url)
    assert inspect(engine).get_table_names() == []
    engine.dispose()

    migrate(empty_url)
    assert schema_revision(empty_url) == REVISIONS[-1]


def test_a_database_without_a_schema_is_refused_in_words(empty_url: str) -> None:
    store = open_store(empty_url)
    for use in (store.read, store.write):
        with pytest.raises(StoreUnavailable, match="has no schema yet") as told, use():
            pass
        assert told.value.reason is StoreFault.SCHEMA
        assert told.value.permanent
        assert "migration" in told.value.hint()
    # And it takes up its work as soon as there is one.
    migrate(empty_url)
    with store.read() as unit:
        assert unit.register_revision() == 0
    store.close()


def test_an_older_schema_is_refused_and_a_newer_one_is_worked_with(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(empty_url)
    with monkeypatch.context() as patch:
        patch.setattr("workers.store.schema.REVISIONS", (*REVISIONS, "9999"))
        store = open_store(empty_url)
        has = f"has schema {REVISIONS[-1]}, this program needs 9999"
        with pytest.raises(StoreUnavailable, match=has), store.read():
            pass
        store.close()
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()

    migrate(empty_url)  # by a program that does not know 9999: left alone
    assert schema_revision(empty_url) == "9999"
    store = open_store(empty_url)
    with store.write() as unit:
        assert unit.register_add(b"1", at=T0, by="alice", source="x") == 1
    store.close()


def test_the_memory_store_needs_no_migration() -> None:
    migrate("memory:")
    assert schema_revision("memory:") == REVISIONS[-1]
