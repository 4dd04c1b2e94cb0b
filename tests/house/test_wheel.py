"""The wheel: it carries everything, and it lives in one environment with PyPI's package `watchdog`."""

import shutil
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.house.tree import PACKAGES, PYTHON, ROOT, run

pytestmark = pytest.mark.slow

HIDDEN = "from workers.cli.entry import main; main()"

# Read every file of ours that is no code through the packages, as the product does, and count them.
COUNT_DATA = """
from importlib.resources import files
def count(folder):
    return sum(count(one) if one.is_dir() else bool(one.read_bytes()) for one in folder.iterdir() if not code(one))
def code(one):
    return one.name == "__pycache__" or one.name.endswith((".py", ".pyc"))
print(sum(count(files(package)) for package in ("watchdog", "alerts", "workers")))
"""


def held(package: str) -> set[str]:
    """Name every file that a package holds on this disk, ignored by git or not."""
    found = (path for path in (ROOT / package).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what a wheel is built from: nothing is written into the tree."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, copy / name)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture(scope="module")
def ours(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel with the locked hatchling, without build isolation: nothing is fetched."""
    folder = tmp_path_factory.mktemp("ours")
    done = run(PYTHON, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=source)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Download PyPI's `watchdog` (locked by hash like all else); skip where no index can be reached."""
    folder = tmp_path_factory.mktemp("theirs")
    lock = ROOT / "requirements" / "beside.txt"
    fetch = ("-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--retries", "1")
    done = run(PYTHON, *fetch, "-d", folder, "-r", lock)
    if "DO NOT MATCH" in done.stderr:
        pytest.fail(done.stderr)
    if done.returncode:
        pytest.skip(f"NOT TRIED beside PyPI's watchdog, it could not be downloaded: {done.stderr.strip()[-300:]}")
    [wheel] = folder.glob("*.whl")
    return wheel


class Environment:
    """A fresh environment that sees the packages of this one, as they stand, but has none of ours."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "bin" / "python"
        self.command = folder / "bin" / "byok-watchdog"
        assert run(PYTHON, "-m", "venv", "--without-pip", folder).returncode == 0
        [self.packages] = folder.glob("lib/python*/site-packages")
        (self.packages / "those-of-the-tests.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")

    def pip(self, *arguments: str | Path) -> None:
        """Let this environment's pip work on that one."""
        done = run(PYTHON, "-m", "pip", "--python", self.python, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def install(self, wheels: Sequence[Path]) -> None:
        """Install wheels one by one, in this order."""
        for wheel in wheels:
            self.pip("install", "--no-deps", "--no-index", wheel)

    def runs(self, away: Path) -> None:
        """Check that our command starts, our packages import and their data can be read, from a folder elsewhere."""
        version = run(self.command, "--version", cwd=away)
        assert (version.returncode, version.stderr) == (0, "")
        assert version.stdout.startswith("byok-watchdog ")
        imported = run(self.python, "-c", "import watchdog.words, workers.cli.entry, alerts.interface", cwd=away)
        assert (imported.returncode, imported.stderr) == (0, "")
        counted = run(self.python, "-c", COUNT_DATA, cwd=away)
        data = {name for package in PACKAGES for name in held(package) if not name.endswith((".py", ".pyc"))}
        assert counted.stdout.strip() == f"{len(data)}", counted.stderr


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "environment")


def test_the_wheel_carries_every_file_of_the_packages(ours: Path) -> None:
    carried = set(zipfile.ZipFile(ours).namelist())

    missing = {name for package in PACKAGES for name in held(package)} - carried
    assert missing == set()


def test_the_wheel_brings_nothing_but_the_packages(ours: Path) -> None:
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(ours).namelist()}

    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_the_wheel_says_its_name_licence_and_command(ours: Path) -> None:
    carried = zipfile.ZipFile(ours)
    [folder] = {name.partition("/")[0] for name in carried.namelist() if ".dist-info/" in name}

    metadata = carried.read(f"{folder}/METADATA").decode()
    assert "\nName: byok-watchdog\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert carried.read(f"{folder}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert "byok-watchdog = workers.cli.entry:main" in carried.read(f"{folder}/entry_points.txt").decode()


@pytest.mark.parametrize("order", ["ours first", "theirs first"])
def test_it_works_beside_the_other_watchdog_and_after_its_removal(
    order: str, ours: Path, theirs: Path, environment: Environment, tmp_path: Path
) -> None:
    environment.install([ours, theirs] if order == "ours first" else [theirs, ours])

    environment.runs(tmp_path)
    assert run(environment.python, "-c", "import watchdog.events", cwd=tmp_path).returncode == 0

    environment.pip("uninstall", "--yes", "watchdog")

    assert not (environment.packages / "watchdog" / "events.py").exists()
    environment.runs(tmp_path)


def test_it_says_in_one_sentence_that_an_earlier_watchdog_on_the_path_hides_it(
    ours: Path, theirs: Path, environment: Environment, tmp_path: Path
) -> None:
    environment.install([ours])
    zipfile.ZipFile(theirs).extractall(tmp_path / "earlier")

    done = run(environment.command, "--version", cwd=tmp_path, PYTHONPATH=str(tmp_path / "earlier"))

    assert_one_sentence(done.returncode, done.stdout, done.stderr, hidden_by=tmp_path / "earlier" / "watchdog")
    assert f"hidden by watchdog {theirs.name.split('-')[1]} in" in done.stderr


def test_it_says_in_one_sentence_that_an_editable_install_is_hidden(
    source: Path, theirs: Path, environment: Environment, tmp_path: Path
) -> None:
    environment.install([theirs])
    # This line is all that an editable install is.
    (environment.packages / "byok-watchdog-editable.pth").write_text(f"{source}\n", encoding="utf-8")

    done = run(environment.python, "-c", HIDDEN, cwd=tmp_path)

    assert_one_sentence(done.returncode, done.stdout, done.stderr, hidden_by=environment.packages / "watchdog")
    assert "never editable" in done.stderr


def test_it_says_in_one_sentence_that_its_package_is_gone(ours: Path, environment: Environment, tmp_path: Path) -> None:
    environment.install([ours])
    shutil.rmtree(environment.packages / "watchdog")

    done = run(environment.command, "--version", cwd=tmp_path)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "is not installed here" in done.stderr


def assert_one_sentence(code: int, out: str, err: str, *, hidden_by: Path) -> None:
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert err.count("\n") == 1
    assert err.endswith(".\n")
    assert str(hidden_by) in err
