"""Drift on real parts: a protection that is gone, of which no record tells, is found, told, and resolved by proof."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tests.key_services.aws import Aws
from tests.moto_server import REGION, Moto
from tests.system.far_ends import plain_text
from tests.system.parties import ACME, ROLE_ARN, document
from tests.system.stage import Stage, servers_stage
from watchdog.preflight import Preflight
from watchdog.register_probe import KeyProbe
from watchdog.words import Stage as Step
from workers.preflighting import last_preflight
from workers.samples.corpus import VENDOR

pytestmark = pytest.mark.servers

CONTROL = f"arn:aws:kms:{REGION}:{VENDOR}:key/00000000-1111-2222-3333-444444444444"
OWN = f"arn:aws:iam::{VENDOR}:role/byok-watchdog"
AUDITOR = f"arn:aws:iam::{ACME.account}:role/byok-audit"
BREAK_GLASS = f"arn:aws:iam::{ACME.account}:role/break-glass"
OPERATIONS = frozenset({"DescribeKey", "GenerateDataKey", "Encrypt", "Decrypt", "ListGrants"})
WINDOW = "aws.deletion_window"

USE = {
    "Effect": "Allow", "Principal": {"AWS": ROLE_ARN}, "Resource": "*",
    "Action": ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:DescribeKey"],
}  # fmt: skip
ADMINISTER = {
    "Effect": "Allow", "Principal": {"AWS": BREAK_GLASS}, "Resource": "*",
    "Action": ["kms:ScheduleKeyDeletion", "kms:DisableKey", "kms:EnableKey", "kms:PutKeyPolicy"],
}  # fmt: skip
GUARD = {
    "Effect": "Deny", "Principal": "*", "Action": "kms:ScheduleKeyDeletion", "Resource": "*",
    "Condition": {"NumericLessThan": {"kms:ScheduleKeyDeletionPendingWindowInDays": "30"}},
}  # fmt: skip
"""Without it the key can be deleted within seven days."""


def protected(kms: Aws, *statements: dict[str, Any]) -> None:
    """Let the key's policy be this. Nobody forwards a record of it."""
    kms.keys[ACME.key].policy_text = json.dumps({"Version": "2012-10-17", "Statement": statements})


@pytest.fixture(scope="module")
def kms() -> Iterator[Aws]:
    made = Aws()
    for key in (ACME.key, CONTROL):
        made.make_key(key, {ROLE_ARN: OPERATIONS})
    protected(made, USE, ADMINISTER, GUARD)
    made.sign_in(OWN, "AKIAIOSFODNN7EXAMPLE")
    made.role(ROLE_ARN, trusts=frozenset({OWN}))
    made.role(AUDITOR, trusts=frozenset({OWN}), operations=frozenset({"GetKeyPolicy", "ListResourceTags"}))
    with made.served():
        yield made


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, postgresql: str, aws: Moto, kms: Aws) -> Iterator[Stage]:
    asked = '\n[probes]\nclouds = ["aws"]\n'
    with servers_stage(tmp_path_factory.mktemp("drift"), postgresql, aws, [ACME], worker=asked) as made:
        for service in ("KMS", "STS", "RDS"):
            made.environment[f"AWS_ENDPOINT_URL_{service}"] = kms.url
        plain = msgspec.to_builtins(document([ACME]))
        (customer,) = plain["customers"]
        customer["aws"] |= {"audit_roles": [AUDITOR], "break_glass": [BREAK_GLASS]}
        probe = KeyProbe(principal=ROLE_ARN, control=CONTROL, every_seconds=60)
        customer["instances"][0]["keys"][0]["probe"] = msgspec.to_builtins(probe)
        file = made.home / "checked.yaml"  # JSON is YAML
        file.write_bytes(msgspec.json.encode(plain))
        told = made.command("register", "import", str(file), "--by", "test")
        assert told.code == 0, told.errors
        made.start("worker", "worker", "--queues", "urgent,normal", kept=False)
        made.start("worker-probes", "worker", "--queues", "probe-now,probe", kept=False)
        made.start("scheduler", "scheduler", kept=False)
        yield made


def last(stage: Stage) -> Preflight | None:
    with stage.store.read() as unit:
        return last_preflight(unit, ACME.key)


def outcome(stage: Stage, check: str) -> str | None:
    found = last(stage)
    line = found.line(check) if found else None
    return line.checked.outcome if line else None


def turn_comes(stage: Stage) -> None:
    """Let the key's turn of the day be now."""
    with stage.store.write() as unit:
        unit.want_preflights([ACME.key], at=datetime.now(UTC))


def test_a_lost_deletion_protection_is_found_told_and_resolved_by_proof(stage: Stage, kms: Aws) -> None:
    stage.until("the first pre-flight", lambda: outcome(stage, WINDOW) == "pass")
    stage.until("the first probe", lambda: stage.verdict_of(ACME) == "healthy", seconds=100)
    assert stage.incident_of(ACME) is None, "a key in order is nobody's trouble"

    protected(kms, USE, ADMINISTER)
    turn_comes(stage)
    stage.until_told(ACME, Step.AT_RISK)
    assert outcome(stage, WINDOW) == "fail"
    (mail,) = stage.relay.to(ACME.contact)
    text = " ".join(plain_text(mail).split())
    assert "was found to be less protected than agreed" in text
    assert "Its deletion may be scheduled with a waiting period of 7 days" in text
    assert "kms:ScheduleKeyDeletionPendingWindowInDays" in text, "what repairs it"
    assert len(stage.pager.taken(ACME.key, "trigger")) == 1

    turn_comes(stage)
    protected(kms, USE, ADMINISTER, GUARD)
    told = stage.command("register", "check", "--key", ACME.key, "--json", "--by", "test")
    assert told.code == 0, told.errors
    stage.until_told(ACME, Step.RESOLVED)
    assert stage.verdict_of(ACME) == "healthy"
    incident = stage.incident_of(ACME)
    assert incident is not None
    assert incident.resolved_by is None, "by proof"
    assert stage.pager.taken(f"{incident.id}:")[-1].action == "resolve"
    evidence = [one for one in stage.evidence() if one.kind == "preflight" and one.subject == ACME.key]
    assert [json.loads(one.body)["checks"][WINDOW] for one in evidence][-1] == "pass"
    assert "fail" in {json.loads(one.body)["checks"][WINDOW] for one in evidence}


def test_the_result_is_shown_with_the_key(stage: Stage) -> None:
    stage.until("the first probe", lambda: stage.verdict_of(ACME) == "healthy", seconds=100)
    turn_comes(stage)
    stage.until("a pre-flight after it", lambda: outcome(stage, "all.usable") == "pass")
    told = stage.command("register", "show", "--json")
    (row,) = told.lines
    checks = {one["check"]: one for one in row["preflight"]["checks"]}
    assert (checks[WINDOW]["outcome"], checks["all.usable"]["outcome"]) == ("pass", "pass")
    assert [] == row["preflight"]["blocked_by"]
