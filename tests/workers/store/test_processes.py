"""Several processes on one database; and processes that die."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.workers.store.stranger import REFUSED
from tests.workers.store.things import KEY, T0, accept, arrival, notice
from watchdog.evidence import verify
from workers.store import open_store, schema_revision
from workers.store.interface import Store
from workers.store.schema import REVISIONS

ROOT = Path(__file__).resolve().parents[3]


def stranger(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.workers.store.stranger", *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_processes_take_turns_and_leave_one_unbroken_chain(database_url: str, database_store: Store) -> None:
    others = [stranger("append", database_url, f"process {number}") for number in range(3)]
    for _ in range(10):
        with database_store.write() as unit:
            unit.append_evidence("signal", KEY, {}, at=T0)
    for other in others:
        other.communicate(timeout=60)

    assert [other.returncode for other in others] == [0, 0, 0]
    with database_store.read() as unit:
        assert verify(unit.evidence()) == (40, None)


def test_a_writer_killed_in_the_middle_leaves_nothing_behind(database_url: str, database_store: Store) -> None:
    with database_store.write() as unit:
        unit.receive([arrival("before")])
    other = stranger("hold", database_url)
    assert other.stdout is not None
    assert other.stdout.readline() == "holding\n"
    other.kill()
    other.communicate(timeout=60)

    # The turn is free at once, and what the dead one wrote is not there.
    with database_store.write() as unit:
        assert unit.inbox_counts()["record"] == 1
        assert len(unit.receive([arrival("held-0"), arrival("before")])) == 1
        assert unit.append_evidence("signal", KEY, {}, at=T0).number == 1


def test_what_was_committed_is_there_for_whoever_opens_next(database_url: str) -> None:
    for number in range(3):
        store = open_store(database_url)
        with store.write() as unit:
            assert unit.append_evidence("signal", KEY, {}, at=T0).number == number + 1
        store.close()


def test_a_store_is_refused_to_a_forked_child_and_stays_whole_for_the_parent(database_url: str) -> None:
    other = stranger("fork", database_url)
    other.communicate(timeout=60)

    assert other.returncode == REFUSED


def test_two_processes_migrate_the_same_empty_database_at_once(empty_url: str) -> None:
    others = [stranger("migrate", empty_url) for _ in range(3)]
    for other in others:
        other.communicate(timeout=60)

    assert [other.returncode for other in others] == [0, 0, 0]
    assert schema_revision(empty_url) == REVISIONS[-1]


@pytest.mark.parametrize("table", ["evidence", "attempts"])
def test_the_database_refuses_to_change_what_is_append_only(
    database_url: str, database_store: Store, table: str
) -> None:
    with database_store.write() as unit:
        unit.append_evidence("signal", KEY, {}, at=T0)
        unit.add_notices([notice()])
        accept(unit, "n-1")
    changes = [
        f"UPDATE {table} SET at = at WHERE number = 1",
        f"DELETE FROM {table} WHERE number = 1",
        f"DELETE FROM {table}",
        *([f"TRUNCATE {table}"] if database_url.startswith("postgresql") else []),
    ]
    for change in changes:
        tamper(database_url, change, refusal=f"{table} is append-only")

    with database_store.read() as unit:
        assert verify(unit.evidence()) == (1, None)
        assert len(unit.attempts("n-1")) == 1


@pytest.mark.parametrize("number", [1, 2, 4])
def test_the_database_refuses_a_gap_and_a_second_entry_of_a_number(
    database_url: str, database_store: Store, number: int
) -> None:
    with database_store.write() as unit:
        unit.append_evidence("signal", KEY, {}, at=T0)
        unit.append_evidence("signal", KEY, {}, at=T0)
    # SQLite's REPLACE deletes without asking the triggers for deletion.
    for verb in ["INSERT", *(["INSERT OR REPLACE"] if database_url.startswith("sqlite") else [])]:
        copied = f"SELECT {number}, at, kind, subject, body, previous, seal FROM evidence WHERE number = 1"
        tamper(database_url, f"{verb} INTO evidence {copied}", refusal="without gaps")

    with database_store.read() as unit:
        assert verify(unit.evidence()) == (2, None)


def tamper(url: str, sql: str, *, refusal: str) -> None:
    """Do something to the database past the store, and see it refused."""
    engine = create_engine(url)
    try:
        with pytest.raises(Exception, match=refusal), engine.begin() as connection:
            connection.execute(text(sql))
    finally:
        engine.dispose()
