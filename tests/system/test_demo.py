"""The demo runs to its end on embedded defaults, shows what it promises, and leaves nothing behind."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.stage import ROOT, living
from workers.samples import story

pytestmark = pytest.mark.servers

VERDICTS = {
    "Acme, on AWS": ["unusable", "doomed", "unusable", "recovering", "healthy"],
    "Globex, on Azure": ["doomed", "recovering", "healthy"],
    "Initech, on Google Cloud": ["doomed", "doomed", "unusable", "recovering", "healthy"],
}
"""After each step; the last one is a person's decision, and then a use of the key that works."""

GCLOUD = "--key=initech-prod --keyring=byok --location=europe-west3 --project=initech-keys"
COMMANDS = {
    "Acme, on AWS": [
        f"aws kms enable-key --region eu-west-1 --key-id {story.KEY}",
        f"aws kms cancel-key-deletion --region eu-west-1 --key-id {story.KEY}",
    ],
    "Globex, on Azure": ["az keyvault key recover --vault-name kv-globex --name globex-prod"],
    "Initech, on Google Cloud": [
        f"gcloud kms keys versions restore 3 {GCLOUD}",
        f"gcloud kms keys versions enable 3 {GCLOUD}",
    ],
}
CONTACTS = {
    "Acme, on AWS": "alice@acme.example",
    "Globex, on Azure": "gina@globex.example",
    "Initech, on Google Cloud": "ines@initech.example",
}


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where the demo makes its folder; short, because the path of the broker's socket has a limit."""
    with tempfile.TemporaryDirectory(prefix="d-") as folder:
        yield Path(folder)


def demo(temporary: Path, *options: str) -> str:
    """What the demo prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BYOK_"))}
    command = [sys.executable, "-m", "workers.cli.entry", "demo", *options]
    done = subprocess.run(
        command, cwd=ROOT, env=environment | {"TMPDIR": str(temporary)}, capture_output=True, text=True, timeout=180,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stderr == ""
    return done.stdout


def chapters(shown: str) -> dict[str, str]:
    """What was printed under each heading."""
    parts = re.split(r"\n=== (.*?) =+\n", shown)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def verdicts(part: str) -> list[str]:
    return re.findall(r"^   verdict: (.*)$", part, re.MULTILINE)


def test_the_demo_shows_who_is_told_on_every_cloud_and_leaves_nothing_behind(temporary: Path) -> None:
    told = chapters(demo(temporary))

    assert [*told] == ["An ordinary day", *VERDICTS, "Summary"]
    for title, expected in VERDICTS.items():
        part = told[title]
        assert f"   {title}: healthy - proven usable at " in told["An ordinary day"]
        assert [re.split(r"[ ,]", verdict)[0] for verdict in verdicts(part)] == expected
        assert re.search(r"\+\d+\.\d s PAGE critical +on-call ", part)
        assert re.search(rf"\+\d+\.\d s MAIL customer +{CONTACTS[title]} ", part)
        assert re.search(r"\+\d+\.\d s MAIL account +carol@vendor\.example ", part)
        assert "| ACTION REQUIRED: " in part
        assert "| RESOLVED: " in part
        for command in COMMANDS[title]:
            assert f"|   {command}\n" in part
    assert list(temporary.iterdir()) == []
    assert living(temporary) == []


def test_the_demo_counts_down_where_there_is_a_date_and_says_so_where_there_is_none(temporary: Path) -> None:
    home = temporary / "home"
    told = chapters(demo(temporary, "--full", "--home", str(home)))

    acme, globex, initech = (verdicts(told[title]) for title in VERDICTS)
    assert re.fullmatch(r"doomed \(deletion scheduled\), 6 d 23 h left", acme[1])
    assert globex[0] == "doomed (irreversible soon)"
    assert initech[0] == "doomed (deletion scheduled)"
    assert re.fullmatch(r"doomed \(deletion scheduled\), (30 d 00|29 d 23) h left", initech[1])
    assert initech[2] == "unusable (impaired)"
    # Every notice whole, as the processes write it themselves.
    for title, contact in CONTACTS.items():
        assert f"CRITICAL alarm for customer to {contact}" in told[title]
        assert "HOW TO REACH US AND HOW TO CHECK THIS MESSAGE" in told[title]
        for command in COMMANDS[title]:
            assert f"\n    {command}\n" in told[title]
    for feed, matter in (("aws", 6), ("azure", 4), ("gcp", 6)):  # two of them uses, before and after
        assert re.search(rf"feed {feed} +\d+ records received, {matter} mattered", told["Summary"])
        assert [one.name for one in (home / "drop" / feed).iterdir() if one.is_file()] == []
    assert living(home) == []
