"""The demo runs to its end on embedded defaults, shows what it promises, and leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.stage import ROOT, living
from workers.samples import story

pytestmark = pytest.mark.servers

VERDICTS = ["unusable", "doomed", "unusable", "recovering", "blind"]
"""After each step; at the end a person has decided, but no check has proven anything."""


@pytest.fixture
def shown(tmp_path: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BYOK_"))}
    command = [sys.executable, "-m", "workers.cli.entry", "demo", "--home", str(tmp_path / "home")]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_the_demo_shows_the_page_the_mail_and_the_countdown_and_leaves_no_process_behind(
    shown: str, tmp_path: Path
) -> None:
    assert "CRITICAL alarm for on-call" in shown
    assert "alarm for customer to alice@acme.example" in shown
    assert f"aws kms enable-key --region eu-west-1 --key-id {story.KEY}" in shown
    assert f"aws kms cancel-key-deletion --region eu-west-1 --key-id {story.KEY}" in shown
    verdicts = [line.split("verdict: ")[1] for line in shown.splitlines() if "verdict: " in line]
    assert [verdict.partition(",")[0] for verdict in verdicts] == VERDICTS
    assert verdicts[1].endswith(" left"), "the countdown of the deletion"
    assert "Summary" in shown
    assert living(tmp_path / "home") == []
