"""The samples under deploy/ are what the product reads: a sample with a fault teaches the fault."""

import base64
import importlib
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.house.tree import ROOT
from watchdog import clouds
from watchdog.clouds.azure import forwarder
from workers.feeds.kinds import KINDS, make_source
from workers.register_file import load as load_register
from workers.runtime import build_channels, impact_table
from workers.settings import load as load_settings

DEPLOY = ROOT / "deploy"
SAMPLE = DEPLOY / "byok-watchdog.toml.example"
SECRETS = {
    "PAGERDUTY_ROUTING_KEY": "0123456789abcdef0123456789abcdef",
    "SMTP_PASSWORD": "correct horse",
    "WEBHOOK_SECRET": "whsec_" + base64.b64encode(b"a secret of twenty-four bytes").decode(),
    "EVENT_GRID_KEY": base64.b64encode(b"a key of thirty-two bytes or more").decode(),
    "EVENT_GRID_PUSH_SECRET": "correct-horse-battery-staple-0123456789",
    "STORAGE_KEY": base64.b64encode(b"a key of sixty-four bytes" * 3).decode(),
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
        "archives",
        "watch",
        "channels",
        "routes",
        "operators",
        "customer_mail",
        "worker",
        "probes",
        "heartbeat",
        "home",
    }


def test_the_settings_sample_shows_every_kind_of_feed_with_all_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    found = load_settings({}, config=SAMPLE)
    certificates = {"certificate", "private_key"}  # shown in words: a file that is not there would be a fault

    shown: dict[str, set[str]] = {}
    for feed in found.feeds:
        shown.setdefault(feed.kind, set()).update(feed.options)

    assert shown == {kind: {*facts.options} - certificates for kind, facts in KINDS.items()}
    assert {feed.cloud for feed in found.feeds if feed.kind == "folder"} == set(clouds.CLOUDS)
    assert all(f"`{name}`" in SAMPLE.read_text(encoding="utf-8") for name in (*certificates, "customers"))
    assert {"azure-globex": ("globex",), "gcp-initech": ("initech",)}.items() <= found.customers_by_feed.items()


@pytest.mark.parametrize("feed", tomllib.loads(SAMPLE.read_text(encoding="utf-8"))["feeds"])
def test_every_feed_of_the_settings_sample_can_be_made(
    feed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    facts = load_settings({}, config=SAMPLE).feed(feed)
    options = {name: secret(value) for name, value in facts.options.items()}
    if facts.kind == "folder":
        options["path"] = str(tmp_path / feed)

    make_source(facts.kind, feed, facts.cloud, options).close()


def test_the_settings_sample_reads_from_what_the_register_sample_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings = load_settings({}, config=SAMPLE)
    document = load_register(DEPLOY / "register.example.yaml", stores=None)
    assert document.vendor.gcp
    assert document.vendor.azure
    serves = {one.subscription: None for one in document.vendor.gcp.feeds} | {
        feed.subscription: (customer.id,)
        for customer in document.customers
        if customer.gcp
        for feed in customer.gcp.feeds
    }
    pulled = {feed.options["subscription"]: feed.customers for feed in settings.feeds if feed.kind == "pubsub"}
    [namespace] = document.vendor.azure.feeds.namespaces
    [event_grid] = [feed.options for feed in settings.feeds if feed.kind == "event_grid"]
    [push] = [feed.options for feed in settings.feeds if feed.kind == "pubsub_push"]

    assert pulled == serves
    assert (namespace.topic, namespace.subscription) == (event_grid["topic"], event_grid["subscription"])
    assert namespace.id.endswith(f"/{event_grid['endpoint'].removeprefix('https://').partition('.')[0]}")
    assert push["audience"] == document.vendor.gcp.push_audience
    assert push["service_account"] == document.vendor.gcp.push_service_account
    assert {name for feed in settings.feeds for name in feed.customers or ()} <= {one.id for one in document.customers}


def secret(value: Any) -> Any:
    """The value of an option, as the runtime hands it to a source."""
    if isinstance(value, list):
        return [secret(one) for one in value]
    return SECRETS[value.removeprefix("env:")] if isinstance(value, str) and value.startswith("env:") else value


def test_no_secret_stands_in_the_settings_sample() -> None:
    sample = tomllib.loads(SAMPLE.read_text(encoding="utf-8"))
    secrets = {"password", "routing_key", "secrets", "key"}

    written = [
        value
        for section in ("channels", "feeds")
        for options in sample[section].values()
        for option, value in options.items()
        if option in secrets
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

    keys = [entry for one in document.customers for part in one.instances for entry in part.keys]
    owners = {(entry.cloud, entry.owner.value) for entry in keys}
    assert [customer.id for customer in document.customers] == ["acme", "globex", "initech"]
    assert owners == {(cloud, "customer") for cloud in clouds.CLOUDS} | {("aws", "vendor")}
    assert all(customer.contacts and customer.account_staff for customer in document.customers)


def test_the_register_sample_agrees_with_the_generated_files() -> None:
    document = load_register(DEPLOY / "register.example.yaml", stores=None)
    forwarders = [one for customer in document.customers if customer.azure for one in customer.azure.feeds.forwarders]
    sinks = [sink for customer in document.customers if customer.gcp for sink in customer.gcp.sinks]
    assert {one.type for one in forwarders} == {forwarder.RECORD}
    assert {sink.filter for sink in sinks} == {clouds.cloud("gcp").filters()["sink-filter"]}


# ---------------------------------------------------------------------------------------------------- what is generated


def generated() -> dict[str, str]:
    """What `catalogue --for` prints, by the file under deploy/ that holds it."""
    found = {}
    for cloud in clouds.CLOUDS:
        for name, text in clouds.cloud(cloud).filters().items():
            ending = ".json" if text.startswith(("{", "[")) else ".txt"
            file = "forwarder/forwarder.py" if name == "forwarder" else f"{name}{ending}"
            found[f"{cloud}/{file}"] = f"{text}\n"
    return found


@pytest.mark.parametrize("file", generated())
def test_a_generated_file_is_what_the_catalogue_prints(file: str) -> None:
    cloud, name = file.split("/", 1)
    call = f"byok-watchdog catalogue --cloud {cloud} --for {Path(name).stem} > deploy/{file}"
    assert (DEPLOY / file).read_text(encoding="utf-8") == generated()[file], call


def test_every_file_for_a_customer_is_generated_or_explained_beside_it() -> None:
    by_hand = {"README.md", "forwarder.md", "function_app.py", "host.json", "requirements.txt"}
    found = {path for cloud in clouds.CLOUDS for path in (DEPLOY / cloud).rglob("*") if path.is_file()}
    strangers = {str(path.relative_to(DEPLOY)) for path in found if path.name not in by_hand} - set(generated())
    assert strangers - {str(path) for path in found if "__pycache__" in path.parts} == set()


@pytest.mark.parametrize("file", generated())
def test_every_generated_file_is_named_in_the_instructions_of_its_cloud(file: str) -> None:
    cloud, name = file.split("/", 1)
    told = "".join(path.read_text(encoding="utf-8") for path in (DEPLOY / cloud).glob("*.md"))
    assert name in told


def test_the_function_hands_the_messages_and_the_beat_to_the_forwarder(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[object] = []
    program, runtime = ModuleType("forwarder"), ModuleType("azure.functions")
    vars(program).update(forward=called.extend, beat=lambda: called.append("beat"))
    vars(runtime).update(FunctionApp=Recorder, EventHubEvent=object, TimerRequest=object)
    monkeypatch.setitem(sys.modules, "forwarder", program)
    monkeypatch.setitem(sys.modules, "azure.functions", runtime)
    monkeypatch.setattr(importlib.import_module("azure"), "functions", runtime, raising=False)
    path = DEPLOY / "azure" / "forwarder" / "function_app.py"
    scope: dict[str, Any] = {}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), scope)

    scope["forward"]([SimpleNamespace(get_body=lambda: b"a"), SimpleNamespace(get_body=lambda: b"b")])
    scope["heartbeat"](None)

    assert called == [b"a", b"b", "beat"]
    settings = scope["app"].settings
    assert settings["retry"]["max_retry_count"] == "-1", "a call that failed is not repeated, and its records are lost"
    assert settings["event_hub_message_trigger"]["cardinality"] == "many"


class Recorder:
    """A function app that notes how its functions are decorated."""

    def __init__(self) -> None:
        self.settings: dict[str, dict[str, Any]] = {}

    def __getattr__(self, name: str) -> Any:
        def decorator(*_: object, **settings: Any) -> Any:
            self.settings[name] = settings
            return lambda function: function

        return decorator


@pytest.mark.parametrize("unit", sorted((DEPLOY / "systemd").glob("*.service")), ids=lambda path: path.name)
def test_every_process_is_started_again_whatever_ended_it(unit: Path) -> None:
    text = unit.read_text(encoding="utf-8")

    assert "\nRestart=always\n" in text
    assert "\nStartLimitIntervalSec=0\n" in text, "after five quick ends systemd would give up"


def test_every_unit_is_in_the_instructions() -> None:
    told = (DEPLOY / "README.md").read_text(encoding="utf-8")

    units = {path.stem for path in (DEPLOY / "systemd").glob("*.service")}
    assert set(re.findall(r"byok-watchdog-[a-z-]+", told)) == units
