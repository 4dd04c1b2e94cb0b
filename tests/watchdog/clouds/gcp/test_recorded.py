"""Every recorded event means what its label says. That every row of the catalogue has one: test_completeness."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.watchdog.clouds.gcp.readout import labelled, ordered, told
from tests.watchdog.clouds.gcp.world import APP, ASSET_FEED, KEY, SINK, TOPIC, register
from watchdog.clouds import gcp
from watchdog.words import NOT_A_SIGNAL, Effect

RECORDED = Path(__file__).resolve().parents[3] / "recorded" / "gcp"
EXPECTED: list[dict[str, Any]] = json.loads((RECORDED / "expected.json").read_text(encoding="utf-8"))
REGISTER = register()


def by_file(entry: dict[str, Any]) -> str:
    return str(entry["file"]).removesuffix(".json")


def plain(expect: list[dict[str, Any]], *, means: bool) -> list[dict[str, Any]]:
    return ordered([{name: value for name, value in one.items() if means or name != "means"} for one in expect])


@pytest.mark.parametrize("entry", EXPECTED, ids=by_file)
@pytest.mark.parametrize("triage_knows", [True, False], ids=["with the register", "without it"])
def test_a_recorded_event_means_what_its_label_says(entry: dict[str, Any], *, triage_knows: bool) -> None:
    body = (RECORDED / entry["file"]).read_bytes()
    assert plain(entry["expect"], means=False) == told(body, REGISTER, triage_knows=triage_knows)


@pytest.mark.parametrize("entry", [entry for entry in EXPECTED if "means" in str(entry["expect"])], ids=by_file)
def test_access_signals_say_by_which_means(entry: dict[str, Any]) -> None:
    body = (RECORDED / entry["file"]).read_bytes()
    assert plain(entry["expect"], means=True) == told(body, REGISTER, means=True)


@pytest.mark.parametrize("entry", EXPECTED, ids=by_file)
def test_every_signal_says_why_when_what_and_by_whom(entry: dict[str, Any]) -> None:
    body = (RECORDED / entry["file"]).read_bytes()
    for kept in gcp.unpack(body).entries:
        for signal in gcp.meaning(kept.raw, REGISTER):
            assert signal.reason.endswith(".") or signal.effect is Effect.UNREADABLE
            assert signal.event_id == kept.event_id
            assert signal.occurred_at is not None
            assert signal.operation
            if signal.deadline:
                assert signal.deadline_source
            if signal.effect in NOT_A_SIGNAL | {Effect.NO_EFFECT}:
                assert labelled(signal) == {"effect": signal.effect}


@pytest.mark.parametrize("entry", EXPECTED, ids=by_file)
def test_triage_drops_nothing_that_has_a_meaning(entry: dict[str, Any]) -> None:
    body = (RECORDED / entry["file"]).read_bytes()
    if not gcp.unpack(body, register=REGISTER).entries:
        assert {signal.effect for signal in gcp.meaning(body, REGISTER)} == {Effect.NO_EFFECT}


@pytest.mark.parametrize(
    ("file", "customer", "subject"),
    [
        ("delete_sink.json", "globex", SINK),
        ("delete_topic.json", "globex", TOPIC),
        ("deletefeed.json", "globex", ASSET_FEED),
        ("disable_service_account.json", None, APP),
        ("project_audit_narrowed.json", "globex", "projects/globex-keys"),
    ],
)
def test_a_signal_names_the_customer_and_what_was_lost(file: str, customer: str | None, subject: str) -> None:
    path = RECORDED / file.replace("deletefeed", "delete_feed")
    signal = gcp.meaning(path.read_bytes(), REGISTER)[0]
    assert (signal.customer, signal.subject) == (customer, subject)


def test_the_actor_is_told_as_the_log_names_it() -> None:
    signal = gcp.meaning((RECORDED / "update_version_disabled.json").read_bytes(), REGISTER)[0]
    assert signal.actor is not None
    assert signal.actor.name == "jane@globex.example"
    assert (signal.actor.address, signal.actor.agent) == ("198.51.100.7", "gcloud/560.0.0")
    assert (signal.subject, signal.version, signal.key) == ("3", "3", KEY)
