"""The samples under deploy/ are what the product reads: a sample with a fault teaches the fault."""

import base64
import re
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.house.tree import ROOT
from workers.register_file import load as load_register
from workers.runtime import build_channels, impact_table
from workers.settings import load as load_settings

DEPLOY = ROOT / "deploy"
SAMPLE = DEPLOY / "byok-watchdog.toml.example"
SECRETS = {
    "PAGERDUTY_ROUTING_KEY": "0123456789abcdef0123456789abcdef",
    "SMTP_PASSWORD": "correct horse",
    "WEBHOOK_SECRET": "whsec_" + base64.b64encode(b"a secret of twenty-four bytes").decode(),
}


def environment_sample() -> dict[str, str]:
    lines = (DEPLOY / "byok-watchdog.env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_settings_sample_has_no_fault_and_all_its_channels_can_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)

    found = load_settings({}, config=SAMPLE)

    assert {"page", "mail", "tickets"} == build_channels(found).keys()
    assert found.routes["default"] == ("page", "tickets")
    assert found.customer_mail == "mail"


def test_the_settings_sample_shows_every_section_that_there_is(tmp_path: Path) -> None:
    sections = tomllib.loads(SAMPLE.read_text(encoding="utf-8")).keys()

    assert sections == {
        "store",
        "broker",
        "feeds",
        "channels",
        "routes",
        "operators",
        "customer_mail",
        "worker",
        "probes",
        "home",
    }


def test_no_secret_stands_in_the_settings_sample() -> None:
    sample = tomllib.loads(SAMPLE.read_text(encoding="utf-8"))
    secrets = {"password", "routing_key", "secrets"}

    written = [
        value for options in sample["channels"].values() for option, value in options.items() if option in secrets
    ]
    assert sorted(taken(written)) == sorted(SECRETS)
    assert len(written) == len(SECRETS)
    for part in ("store", "broker"):
        assert urlsplit(sample[part]["url"]).password is None


def test_the_environment_sample_sets_every_variable_that_the_settings_sample_takes() -> None:
    sample = tomllib.loads(SAMPLE.read_text(encoding="utf-8"))

    assert taken(sample) <= environment_sample().keys()


def taken(value: object) -> set[str]:
    """Return the variables that `env:` refers to, anywhere in a part of the settings."""
    if isinstance(value, dict):
        return set().union(*map(taken, value.values()))
    if isinstance(value, list):
        return set().union(*map(taken, value))
    return {value.removeprefix("env:")} if isinstance(value, str) and value.startswith("env:") else set()


def test_the_environment_sample_names_variables_that_the_settings_know() -> None:
    known = set(
        re.findall(r'"(BYOK_WATCHDOG_[A-Z_]+)"', (ROOT / "workers" / "settings.py").read_text(encoding="utf-8"))
    )

    assert {name for name in environment_sample() if name.startswith("BYOK_")} == known


def test_the_register_sample_has_no_fault() -> None:
    document = load_register(DEPLOY / "register.example.yaml", stores=impact_table().topologies())

    assert [customer.id for customer in document.customers] == ["acme", "globex"]


@pytest.mark.parametrize("unit", sorted((DEPLOY / "systemd").glob("*.service")), ids=lambda path: path.name)
def test_every_process_is_started_again_whatever_ended_it(unit: Path) -> None:
    text = unit.read_text(encoding="utf-8")

    assert "\nRestart=always\n" in text
    assert "\nStartLimitIntervalSec=0\n" in text, "after five quick ends systemd would give up"


def test_every_unit_is_in_the_instructions() -> None:
    told = (DEPLOY / "README.md").read_text(encoding="utf-8")

    units = {path.stem for path in (DEPLOY / "systemd").glob("*.service")}
    assert set(re.findall(r"byok-watchdog-[a-z-]+", told)) == units
