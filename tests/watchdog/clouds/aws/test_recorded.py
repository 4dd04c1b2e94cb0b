"""Every recorded event means what its label says. That every row of the catalogue has one: test_completeness."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.watchdog.clouds.aws.readout import labelled, ordered, told
from tests.watchdog.clouds.aws.world import register
from watchdog.clouds import aws
from watchdog.words import NOT_A_SIGNAL, Effect

RECORDED = Path(__file__).resolve().parents[3] / "recorded" / "aws"
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
    found = told(body, REGISTER, triage_knows=triage_knows, means=False)
    assert plain(entry["expect"], means=False) == found


@pytest.mark.parametrize("entry", [entry for entry in EXPECTED if "means" in str(entry["expect"])], ids=by_file)
def test_access_signals_say_by_which_means(entry: dict[str, Any]) -> None:
    body = (RECORDED / entry["file"]).read_bytes()
    assert plain(entry["expect"], means=True) == told(body, REGISTER, means=True)


@pytest.mark.parametrize("entry", EXPECTED, ids=by_file)
def test_every_signal_says_why_when_what_and_by_whom(entry: dict[str, Any]) -> None:
    body = (RECORDED / entry["file"]).read_bytes()
    for kept in aws.unpack(body).entries:
        for signal in aws.meaning(kept.raw, REGISTER):
            assert signal.reason
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
    content = json.loads(body)
    records = content.get("Records", [content])
    for record in records:
        raw = json.dumps(record).encode()
        if not aws.unpack(raw, register=REGISTER).entries:
            effects = {signal.effect for signal in aws.meaning(raw, REGISTER)}
            assert effects <= {Effect.NO_EFFECT, Effect.UNREADABLE}


def test_a_feed_signal_names_the_customer_and_the_resource() -> None:
    raw = (RECORDED / "stop_logging.json").read_bytes()
    signal = aws.meaning(raw, REGISTER)[0]
    assert (signal.customer, signal.subject) == ("globex", "arn:aws:cloudtrail:eu-west-1:111122223333:trail/org-trail")
    signal = aws.meaning((RECORDED / "delete_queue.json").read_bytes(), REGISTER)[0]
    assert (signal.customer, signal.subject) == (None, "arn:aws:sqs:eu-west-1:123456789012:acme-intake")


def test_the_actor_is_told_as_the_log_names_it() -> None:
    signal = aws.meaning((RECORDED / "disable_key.json").read_bytes(), REGISTER)[0]
    assert signal.actor is not None
    assert signal.actor.name == "arn:aws:sts::111122223333:assumed-role/KeyAdmin/jane.doe"
    assert (signal.actor.account, signal.actor.address) == ("111122223333", "198.51.100.7")
    assert signal.actor.agent == "aws-cli/2.31.4 md/command#kms"
