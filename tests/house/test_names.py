"""Names that would hide somebody else's code, or let somebody else's code hide ours; and names that must not travel."""

import os
import re
import sys
from urllib.parse import urlsplit

import pytest

from tests.house.tree import PYTHON, ROOT, files, modules, run

# What PyPI's package `watchdog` ships beside its empty `__init__.py`; the same name in ours would be overwritten.
THEIRS = {"__main__", "events", "observers", "tricks", "utils", "version", "watchmedo"}
# Words that name nothing (CONTRIBUTING.md).
EMPTY_WORDS = {
    "manager",
    "helper",
    "helpers",
    "utils",
    "util",
    "handler",
    "handlers",
    "process",
    "data",
    "info",
    "misc",
}

LOCKS = ("requirements/dev.txt", "requirements/runtime.txt")
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)(?: ; (.+?))? \\$", re.MULTILINE)


def pins(lock: str) -> dict[tuple[str, str], str]:
    """Return the locked version by name and marker."""
    found = PIN.findall((ROOT / lock).read_text(encoding="utf-8"))
    return {(name, marker): version for name, version, marker in found}


def test_the_package_watchdog_starts_empty() -> None:
    assert (ROOT / "watchdog" / "__init__.py").read_bytes() == b""


def test_no_module_of_watchdog_has_the_name_of_one_of_theirs() -> None:
    ours = {path.name.removesuffix(".py") for path in (ROOT / "watchdog").iterdir()}

    assert ours & THEIRS == set()


def test_no_module_has_the_name_of_one_of_the_standard_library() -> None:
    shadows = [
        str(path) for path in modules() if {path.stem, *path.parts[1:-1]} & sys.stdlib_module_names - {"__main__"}
    ]

    assert shadows == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [str(path) for path in modules() if path.stem in EMPTY_WORDS] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_the_other_watchdog_is_nobodys_dependency(lock: str) -> None:
    names = {name for name, _ in pins(lock)}

    assert len(names) > 20, "the lock was not understood"
    assert "watchdog" not in names


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_names_no_place_that_packages_come_from(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")

    # Options (--index-url, --find-links, -e), addresses, and references to files all begin like this.
    places = re.findall(r"^.*(?:^-|://|\s--(?!hash=sha256:)|file:|@ |\.\./|(?<=\s)/).*$", text, re.MULTILINE)
    assert places == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_carries_its_hashes(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]

    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block or not PIN.match(block)] == []


def test_what_is_shipped_is_what_was_tested() -> None:
    tested = pins("requirements/dev.txt")

    shipped = pins("requirements/runtime.txt")
    assert {pin: version for pin, version in shipped.items() if tested.get(pin) != version} == {}


def test_nothing_that_travels_names_a_machine_or_a_package_index() -> None:
    # Taken apart so that this file does not name them.
    folders = "|".join(("wo" + "rk", "ro" + "ot", "Us" + "ers", "opt/py" + "pi"))
    hosts = ["py" + r"pi\.org", "python" + r"hosted\.org", *map(re.escape, configured_indexes())]
    found = re.compile(rf"(?<![\w.)\]}}-])/(?:{folders})/|(?:{'|'.join(hosts)})", re.IGNORECASE)

    places = [
        f"{path}:{number}: {line.strip()[:120]}"
        for path in files()
        for number, line in enumerate((ROOT / path).read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
        if found.search(line)
    ]

    assert places == []


def configured_indexes() -> set[str]:
    """Hosts and local folders from which this machine's pip takes packages: none of them may get into the tree."""
    listed = run(PYTHON, "-m", "pip", "config", "list").stdout.splitlines()
    spoken = [f"{name}={value}" for name, value in os.environ.items() if name.startswith(("PIP_", "UV_"))]
    places = " ".join(line for line in listed + spoken if re.search(r"index|find.links", line, re.IGNORECASE))
    addresses = [urlsplit(address) for address in re.findall(r"[a-z+]+://[^\s'\"]+|(?<=[\s'\"=])/[^\s'\"]+", places)]
    return {address.hostname or address.path for address in addresses} - {"localhost", "127.0.0.1"}
