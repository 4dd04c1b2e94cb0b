"""Every store that we have, each one fresh and migrated, under one fixture."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.servers import database, postgres, run_sql
from workers.store import migrate, open_store
from workers.store.interface import Store
from workers.store.schema import metadata

_numbers = count(1)
_TEMPLATE = "migrated"

SQLITE = pytest.param("sqlite", id="sqlite")
POSTGRES = pytest.param("postgres", id="postgres", marks=pytest.mark.servers)
MEMORY = pytest.param("memory", id="memory")


@dataclass(frozen=True, slots=True)
class Opened:
    """A store and where it is."""

    url: str
    store: Store


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with postgres(durable=False) as url, database(url, _TEMPLATE) as template:
        migrate(template)
        yield url


@pytest.fixture(scope="session")
def postgres_contract(postgres_server: str) -> Iterator[str]:
    """The database that the contract's tests use one after the other."""
    with database(postgres_server, "contract", template=_TEMPLATE) as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "store.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=[SQLITE, POSTGRES])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a database may be, that no program has touched yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'store.db'}"
    else:
        with database(request.getfixturevalue("postgres_server"), f"empty_{next(_numbers)}") as url:
            yield url


@pytest.fixture(params=[SQLITE, POSTGRES])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database with nothing in it."""
    return _url(request.param, request, tmp_path)


@pytest.fixture(params=[MEMORY, SQLITE, POSTGRES])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """Each kind of store in turn."""
    url = "memory:" if request.param == "memory" else _url(request.param, request, tmp_path)
    with closing(open_store(url)) as store:
        yield Opened(url, store)


@pytest.fixture
def store(opened: Opened) -> Store:
    return opened.store


@pytest.fixture
def database_store(database_url: str) -> Iterator[Store]:
    with closing(open_store(database_url)) as store:
        yield store


def _url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if kind == "sqlite":
        path = tmp_path / "store.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        return f"sqlite:///{path}"
    url: str = request.getfixturevalue("postgres_contract")
    # Thirty times as quick as a new database. The role "replica" does without triggers, which forbid this.
    emptying = "; ".join(f"DELETE FROM {table}" for table in metadata.tables)
    run_sql(url, f"SET session_replication_role = replica; {emptying}")
    return url
