"""workers -> alerts -> watchdog, never back; and watchdog decides without touching the world."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.house.tree import PACKAGES, PYTHON, ROOT, modules, run

# What of the standard library would let watchdog reach the world, tell the time or throw dice. The rest is allowed.
WORLDLY = frozenset(
    """
    asyncio builtins concurrent ctypes fcntl ftplib getpass glob http imaplib logging mmap multiprocessing os pathlib
    poplib queue random sched secrets select selectors shelve shutil signal smtplib socket socketserver sqlite3 ssl
    subprocess syslog tempfile threading time uuid webbrowser wsgiref xmlrpc
    """.split()  # noqa: SIM905  # a paragraph is easier to read and to compare than forty quoted words
)
CLOCKS = frozenset({"now", "utcnow", "today"})


def tools() -> Any:
    """Return the tools' part of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and full name of everything that a module imports, wherever in it."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            yield node.lineno, f"{node.module}"


def test_the_import_contracts_hold() -> None:
    done = run(PYTHON, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rule_of_direction_is_among_the_contracts() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]

    assert ["workers", "alerts", "watchdog"] in [contract.get("layers") for contract in contracts]


def test_every_package_of_the_wheel_is_under_the_contracts() -> None:
    assert sorted(PACKAGES) == sorted(tools()["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert sorted(PACKAGES) == sorted(tools()["importlinter"]["root_packages"])


def test_watchdog_imports_only_msgspec_and_the_quiet_part_of_the_standard_library() -> None:
    allowed = (sys.stdlib_module_names - WORLDLY) | {"msgspec", "watchdog"}

    strangers = [
        f"{path}:{line}: {name}"
        for path in modules("watchdog")
        for line, name in imports(path)
        if name.partition(".")[0] not in allowed or name == "urllib.request"
    ]

    assert strangers == []


def test_watchdog_asks_no_clock_and_opens_no_file() -> None:
    calls = [
        f"{path}:{node.lineno}: {ast.unparse(node.func)}()"
        for path in modules("watchdog")
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        if (isinstance(node.func, ast.Name) and node.func.id in {"open", "input", "print"})
        or (isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS)
    ]

    assert calls == []


@pytest.mark.parametrize("half", ["watchdog.clouds", "workers.clouds"])
def test_clouds_do_not_import_each_other(half: str) -> None:
    folder = half.replace(".", "/")
    clouds = {path.name.removesuffix(".py") for path in (ROOT / folder).iterdir()} - {"__init__", "__pycache__"}

    crossings = [
        f"{path}:{line}: {name}"
        for path in modules(folder)
        for line, name in imports(path)
        for other in clouds - {path.parts[2].removesuffix(".py")}
        if path.name != "__init__.py" or len(path.parts) > 3
        if name == f"{half}.{other}" or name.startswith(f"{half}.{other}.")
    ]

    assert crossings == []
