"""Probes on real parts: what no event told is found, what is told is resolved by proof, nobody is blamed wrongly."""

from collections.abc import Iterator

import msgspec
import pytest

from tests.key_services.aws import Aws
from tests.moto_server import REGION, Moto
from tests.system.far_ends import plain_text
from tests.system.parties import ACME, ROLE_ARN, Party, document, now
from tests.system.stage import Stage, servers_stage
from watchdog.register_probe import KeyProbe
from watchdog.words import Stage as Step
from workers.samples.corpus import VENDOR

pytestmark = pytest.mark.servers

BROKEN = Party(1)
"""Its role is the vendor's own fault: it may use no key at all any more."""

CONTROL = f"arn:aws:kms:{REGION}:{VENDOR}:key/00000000-1111-2222-3333-444444444444"
OWN = f"arn:aws:iam::{VENDOR}:role/byok-watchdog"
BROKEN_ROLE = f"{ROLE_ARN}-broken"
OPERATIONS = frozenset({"DescribeKey", "GenerateDataKey", "Encrypt", "Decrypt", "ListGrants"})


@pytest.fixture(scope="module")
def kms() -> Iterator[Aws]:
    made = Aws()
    for key in (ACME.key, BROKEN.key, CONTROL):
        made.make_key(key, {ROLE_ARN: OPERATIONS, BROKEN_ROLE: OPERATIONS})
    made.sign_in(OWN, "AKIAIOSFODNN7EXAMPLE")
    for role in (ROLE_ARN, BROKEN_ROLE):
        made.role(role, trusts=frozenset({OWN}))
    with made.served():
        yield made


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, postgresql: str, aws: Moto, kms: Aws) -> Iterator[Stage]:
    parties = [ACME, BROKEN]
    asked = '\n[probes]\nclouds = ["aws"]\n'
    with servers_stage(tmp_path_factory.mktemp("probes"), postgresql, aws, parties, worker=asked) as made:
        for service in ("KMS", "STS", "RDS"):
            made.environment[f"AWS_ENDPOINT_URL_{service}"] = kms.url
        for party, role in ((ACME, ROLE_ARN), (BROKEN, BROKEN_ROLE)):
            _declare(made, parties, party, role)
        made.start("consumer", "consume", "events", kept=False)
        made.start("worker", "worker", "--queues", "urgent,normal", kept=False)
        made.start("worker-probes", "worker", "--queues", "probe-now,probe", kept=False)
        made.start("scheduler", "scheduler", kept=False)
        yield made


PROBES: dict[str, KeyProbe] = {}


def _declare(stage: Stage, parties: list[Party], party: Party, role: str) -> None:
    """Import the register anew, with what it says of this party's probe."""
    PROBES[party.key] = KeyProbe(principal=role, control=CONTROL, every_seconds=60)
    plain = msgspec.to_builtins(document(parties))
    for customer in plain["customers"]:
        for entry in customer["instances"][0]["keys"]:
            if entry["key"] in PROBES:
                entry["probe"] = msgspec.to_builtins(PROBES[entry["key"]])
    file = stage.home / "probed.yaml"  # JSON is YAML
    file.write_bytes(msgspec.json.encode(plain))
    told = stage.command("register", "import", str(file), "--by", "test")
    assert told.code == 0, told.errors


def _begins(stage: Stage, party: Party) -> None:
    """Wait for the first probe of a party's key, which the schedule puts anywhere into its first minute."""
    stage.until(f"the first probe of {party.id}", lambda: stage.verdict_of(party) == "healthy", seconds=100)


def test_a_loss_of_which_no_event_tells_is_found_and_told(stage: Stage, kms: Aws) -> None:
    _begins(stage, ACME)
    kms.act("DisableKey", ACME.key)
    found = stage.command("probe", ACME.key, "--json")
    assert found.code == 3
    stage.until_told(ACME, Step.IMPAIRED)
    (mail,) = stage.relay.to(ACME.contact)
    assert "aws kms enable-key" in plain_text(mail)
    assert len(stage.pager.taken(ACME.key, "trigger")) == 1

    kms.act("EnableKey", ACME.key)
    stage.event(ACME.enables(1, now()))
    stage.until_told(ACME, Step.RESOLVED)
    assert stage.verdict_of(ACME) == "healthy", "by proof, and nobody had to decide anything"
    incident = stage.incident_of(ACME)
    assert incident is not None
    assert incident.resolved_by is None
    assert stage.pager.taken(f"{incident.id}:")[-1].action == "resolve"


def test_a_fault_of_the_vendors_own_role_is_told_to_the_vendor_only(stage: Stage, kms: Aws) -> None:
    _begins(stage, BROKEN)
    kms.identities[BROKEN_ROLE] = frozenset()
    found = stage.command("probe", BROKEN.key, "--json")
    assert found.code == 3
    assert found.lines[0]["fault"] == "vendor"
    stage.until("the page", lambda: stage.pager.taken(BROKEN_ROLE, "trigger") or stage.pager.taken("watch", "trigger"))
    assert stage.relay.to(BROKEN.contact) == [], "the customer has done nothing"
    assert stage.incident_of(BROKEN) is None
