import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.workers.cli.places import Place, event


@pytest.fixture
def worked(place: Place) -> Place:
    """A place with some evidence: an import, a record, what followed, and the notices."""
    place.run("replay", place.write("a.json", event("DisableKey")))
    return place


def tamper(place: Place, *statements: str) -> None:
    """Change the evidence as somebody with the file would: past the store, and past its triggers."""
    with closing(sqlite3.connect(place.database)) as database:
        triggers = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            database.execute(f'DROP TRIGGER "{name}"')
        for statement in statements:
            assert 1 == database.execute(statement).rowcount, "nothing was changed"
        database.commit()


def test_evidence_that_holds_is_said_to_hold(worked: Place) -> None:
    told = worked.run("evidence", "verify")
    assert 0 == told.code
    with worked.store() as store, store.read() as unit:
        entries = sum(1 for _ in unit.evidence())
    assert f"The evidence holds: {entries} entries, each sealing the one before it.\n" == told.out
    assert [{"entries": entries, "holds": True, "first_flaw": None}] == worked.run("evidence", "verify", "--json").rows


TAMPERED: list[tuple[str, Callable[[Place], None], str, int]] = [
    (
        "a body",
        lambda place: tamper(place, "UPDATE evidence SET body = replace(body, 'acme', 'acne') WHERE number = 4"),
        "entry 4 was changed after it was sealed",
        3,
    ),
    (
        "a time",
        lambda place: tamper(place, "UPDATE evidence SET at = '2020-01-01 00:00:00.000000' WHERE number = 2"),
        "entry 2 was changed after it was sealed",
        1,
    ),
    (
        "an entry that is gone",
        lambda place: tamper(place, "DELETE FROM evidence WHERE number = 3"),
        "entry 3 is missing, entry 4 stands in its place",
        2,
    ),
    (
        "the seals",
        lambda place: tamper(place, f"UPDATE evidence SET previous = '{'0' * 64}' WHERE number = 5"),
        "entry 5 does not follow the entry before it",
        4,
    ),
]


@pytest.mark.parametrize(
    ("change", "flaw", "held"), [pytest.param(*row[1:], id=row[0]) for row in TAMPERED]
)  # fmt: skip
def test_evidence_that_was_tampered_with_is_named_with_its_first_flaw(
    worked: Place, change: Callable[[Place], None], flaw: str, held: int
) -> None:
    change(worked)
    told = worked.run("evidence", "verify")
    assert (1, "") == (told.code, told.out)
    assert f"The evidence does not hold: {flaw}." in told.err
    assert f"{held} entr{'y' if held == 1 else 'ies'} before it hold" in told.err
    assert "compare it with a backup" in told.err


def test_for_machines_the_flaw_is_in_the_object(worked: Place) -> None:
    TAMPERED[0][1](worked)
    told = worked.run("evidence", "verify", "--json")
    assert 1 == told.code
    (row,) = told.rows
    assert (3, False, 4) == (row["entries"], row["holds"], row["first_flaw"]["number"])


def test_a_store_that_is_not_there_proves_nothing(bare: Place) -> None:
    told = bare.run("evidence", "verify")
    assert (1, "") == (told.code, told.out)
    assert f"There is no store at {bare.database}." in told.err


def test_the_triggers_alone_keep_anybody_from_changing_it_by_mistake(worked: Place) -> None:
    with closing(sqlite3.connect(worked.database)) as database, pytest.raises(sqlite3.DatabaseError):
        database.execute("UPDATE evidence SET body = '{}' WHERE number = 1")
