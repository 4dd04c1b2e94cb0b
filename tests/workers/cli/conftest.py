"""The commands as a person calls them, each test in a home of its own."""

import shutil
from pathlib import Path

import pytest

from tests.workers.cli.places import Place
from workers import logs
from workers.settings import BROKER_VARIABLE, CONFIG_VARIABLE, HOME_VARIABLE, STORE_VARIABLE
from workers.store import migrate


@pytest.fixture(scope="session")
def _migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "watchdog.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A home in which nothing has been made yet."""
    # The logs of these processes go to the standard error that the runner takes away again.
    monkeypatch.setattr(logs, "configure", lambda **_: None)
    for name in (CONFIG_VARIABLE, STORE_VARIABLE, BROKER_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / "files").mkdir()
    return Place(tmp_path / "home", tmp_path / "files")


@pytest.fixture
def place(bare: Place, _migrated: Path) -> Place:
    """A home with a store and an imported register."""
    bare.home.mkdir()
    shutil.copy(_migrated, bare.database)
    bare.imported()
    return bare
