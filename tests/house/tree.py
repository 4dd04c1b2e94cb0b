"""What the project's tree holds, for the tests about the project itself."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("watchdog", "alerts", "workers")


def modules(*packages: str) -> Iterator[Path]:
    """Yield every Python file of the packages, relative to the root."""
    for package in packages or PACKAGES:
        yield from (path.relative_to(ROOT) for path in sorted((ROOT / package).rglob("*.py")))


@cache
def files() -> tuple[Path, ...]:
    """List what is in the repository or would be with the next `git add`; without git, all that is not ignored."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0 and done.stdout:
        listed = (Path(name) for name in done.stdout.split("\0") if name)
        return tuple(sorted(path for path in listed if (ROOT / path).is_file()))
    return tuple(sorted(_walked(ROOT)))


def _walked(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir():
            # Environments, caches and git's own folder; of the hidden folders only .ci is ours.
            ours = path.name == ".ci" or not path.name.startswith(".")
            if ours and path.name not in {"__pycache__", "build", "dist", "var"}:
                yield from _walked(path)
        elif path.suffix != ".pyc":
            yield path.relative_to(ROOT)


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it said; the caller judges."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


PYTHON = Path(sys.executable)
