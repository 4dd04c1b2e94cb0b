"""Nothing but the demo pays for the samples: no other command imports them."""

import subprocess
import sys

from workers.cli.commands import COMMANDS

IMPORTED = """
import sys
from importlib import import_module
from workers.cli.commands import COMMANDS
for name, row in COMMANDS.items():
    if name in sys.argv[1:]:
        import_module(row.at.partition(":")[0])
print([name for name in sys.modules if name.startswith("workers.samples")])
"""


def samples_imported_by(*commands: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", IMPORTED, *commands], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_no_command_but_the_demo_imports_the_samples() -> None:
    assert samples_imported_by(*(name for name in COMMANDS if name != "demo")) == "[]"
    assert "workers.samples.story" in samples_imported_by("demo")
