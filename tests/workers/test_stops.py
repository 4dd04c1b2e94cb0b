"""Named stops: free in real use, deadly exactly once in a crash test."""

import os
import subprocess
import sys
from pathlib import Path

CODE = """
from workers.stops import stop_at
stop_at("one")
print("alive after one")
stop_at("two")
print("alive after two")
"""


def run(order: Path | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "BYOK_WATCHDOG_CRASH"}
    if order is not None:
        environment["BYOK_WATCHDOG_CRASH"] = str(order)
    return subprocess.run(
        [sys.executable, "-u", "-c", CODE], env=environment, capture_output=True, text=True, check=False
    )


def test_without_an_order_nothing_stops() -> None:
    assert run(None).stdout.splitlines() == ["alive after one", "alive after two"]


def test_the_process_is_killed_at_the_stop_named_and_only_once(tmp_path: Path) -> None:
    order = tmp_path / "crash"
    order.write_text("two\n")

    killed = run(order)
    assert (killed.returncode, killed.stdout) == (-9, "alive after one\n")
    assert not order.exists()
    assert run(order).returncode == 0
