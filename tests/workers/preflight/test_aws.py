"""The reader of AWS: the real boto3 on our own AWS on loopback, as the vendor and as a role of the key's account."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.key_services.aws import Aws, Grant, speak_to
from tests.worlds import ACME_ACCOUNT, ACME_KEY, DATABASE, ROLE, VENDOR_ACCOUNT, VENDOR_KEY, document, key
from watchdog.clouds import aws as half
from watchdog.clouds.aws.preflight import CHECKS
from watchdog.preflight import Checked, Outcome
from watchdog.register import Consumer, KeyEntry, Register
from watchdog.register import Grant as Registered
from watchdog.register_probe import KeyProbe
from workers.clouds.aws.preflight import AwsReader, reader
from workers.clouds.aws.probing import Limits
from workers.preflight.interface import Reader

OWN = f"arn:aws:iam::{VENDOR_ACCOUNT}:role/byok-watchdog"
AUDITOR = f"arn:aws:iam::{ACME_ACCOUNT}:role/byok-audit"
BREAK_GLASS = f"arn:aws:iam::{ACME_ACCOUNT}:role/break-glass"
ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
GRANT = "a" * 64
BUS = f"arn:aws:events:eu-west-1:{VENDOR_ACCOUNT}:event-bus/byok"
TRAIL = f"arn:aws:cloudtrail:us-east-1:{ACME_ACCOUNT}:trail/organisation"
RULE = f"arn:aws:events:eu-west-1:{ACME_ACCOUNT}:rule/security/byok-forward"
ALIAS = f"arn:aws:kms:eu-west-1:{ACME_ACCOUNT}:alias/acme"
READS = frozenset(
    {
        "GetKeyPolicy", "ListResourceTags", "ListAliases", "DescribeCustomKeyStores", "GetTrail", "GetTrailStatus",
        "GetEventSelectors", "DescribeRule", "ListTargetsByRule",
    }
)  # fmt: skip
ASKED = {"aws.resource_policies", "aws.vendor_alarms", "aws.break_glass_alarm"}

POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow", "Principal": {"AWS": BREAK_GLASS}, "Resource": "*",
            "Action": ["kms:ScheduleKeyDeletion", "kms:DisableKey", "kms:EnableKey", "kms:PutKeyPolicy"],
        },
        {
            "Effect": "Deny", "Principal": "*", "Action": "kms:ScheduleKeyDeletion", "Resource": "*",
            "Condition": {"NumericLessThan": {"kms:ScheduleKeyDeletionPendingWindowInDays": "30"}},
        },
        {
            "Effect": "Allow", "Principal": {"AWS": ROLE}, "Resource": "*",
            "Action": ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:DescribeKey"],
        },
        {
            "Effect": "Allow", "Principal": {"AWS": ROLE}, "Resource": "*", "Action": ["kms:CreateGrant"],
            "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
        },
    ],
}  # fmt: skip


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    made = Aws()
    allowed = {ROLE: frozenset({"DescribeKey", "ListGrants", "Decrypt", "Encrypt", "GenerateDataKey"})}
    subject = made.make_key(ACME_KEY, allowed)
    subject.policy_text = json.dumps(POLICY)
    subject.tags = {"owner": "Alice", "note": "do not delete: data at Example Vendor"}
    subject.aliases = (ALIAS,)
    subject.grants.set(made.now(), (Grant(GRANT, ROLE, frozenset({"Decrypt"}), f"arn:aws:iam::{VENDOR_ACCOUNT}:root"),))
    made.make_key(VENDOR_KEY, allowed)
    made.trails[TRAIL] = {
        "logging": True,
        "multi_region": True,
        "selectors": {"EventSelectors": [{"ReadWriteType": "WriteOnly", "IncludeManagementEvents": True}]},
    }
    pattern = half.filters()["forward-rule"].replace("<KEY_ARN>", ACME_KEY)
    made.rules[RULE] = {"state": "ENABLED", "pattern": pattern, "targets": ["arn:aws:sns:x", BUS]}
    made.sign_in(OWN, ACCESS_KEY)
    made.role(ROLE, trusts=frozenset({OWN}))
    made.role(AUDITOR, trusts=frozenset({OWN}), operations=READS)
    with made.served():
        speak_to(made.url, ACCESS_KEY, monkeypatch)
        yield made


@pytest.fixture
def asked() -> Iterator[AwsReader]:
    made = AwsReader()
    yield made
    made.close()


def world(*, auditor: str | None = AUDITOR, principal: str | None = ROLE, **entry: Any) -> Register:
    facts: dict[str, Any] = {
        "probe": KeyProbe(principal=principal), "grants": [Registered(id=GRANT)],
        "consumers": [Consumer(id=DATABASE, store="aws.rds")],
    }  # fmt: skip
    subject: KeyEntry = replace(key(ACME_KEY), **(facts | entry))
    found = msgspec.to_builtins(document(subject))
    found["vendor"]["aws"]["feeds"] = {"event_buses": [BUS]}
    found["customers"][0]["aws"] |= {
        "audit_roles": [auditor] if auditor else [], "break_glass": [BREAK_GLASS],
        "feeds": {"trails": [TRAIL], "rules": [RULE]},
    }  # fmt: skip
    return Register(msgspec.convert(found, type(document())), 1)


def check(asks: AwsReader, known: Register | None = None, name: str = ACME_KEY) -> dict[str, Checked]:
    register = known or world()
    return {one.id: one for one in asks.check(register.keys[name], register)}


def outcomes(found: dict[str, Checked]) -> dict[str, str]:
    return {name: one.outcome.value for name, one in found.items()}


def operations(aws: Aws) -> list[str]:
    return [operation for _, operation, _ in aws.calls]


# ------------------------------------------------------------------------------------------------------------ the whole


def test_the_factory_makes_a_reader_of_aws() -> None:
    made: Reader = reader()
    assert made.cloud == "aws"
    made.close()


def test_a_key_in_order_passes_all_that_can_be_read(aws: Aws, asked: AwsReader) -> None:
    assert outcomes(check(asked)) == {one.id: "cannot verify" if one.id in ASKED else "pass" for one in CHECKS}
    # Nothing is carried out, nothing is tried: a pre-flight only looks.
    looked = {"AssumeRole", "DescribeKey", "ListGrants"} | READS - {"ListAliases", "DescribeCustomKeyStores"}
    assert set(operations(aws)) == looked
    assert aws.carried_out == []


def test_the_vendors_principal_is_asked_first_and_the_auditor_for_the_rest(aws: Aws, asked: AwsReader) -> None:
    check(asked)
    by = {operation: aws.caller(access_key) for access_key, operation, _ in aws.calls if operation != "AssumeRole"}
    assert {by[name] for name in ("DescribeKey", "ListGrants")} == {ROLE}
    assert {who for name, who in by.items() if name not in {"DescribeKey", "ListGrants"}} == {AUDITOR}


def test_without_a_role_in_the_account_what_others_can_see_is_still_checked(aws: Aws, asked: AwsReader) -> None:
    found = check(asked, world(auditor=None))

    assert found["aws.key_kind"].outcome is Outcome.PASS
    assert found["aws.grants_inventoried"].outcome is Outcome.PASS
    closed = found["aws.deletion_window"]
    assert closed.outcome is Outcome.CANNOT_VERIFY
    assert closed.words == f"This can be read in account {ACME_ACCOUNT} only, and the watchdog asks as {ROLE}."
    assert "kms:GetKeyPolicy" in (closed.fix or "")
    assert "cloudtrail:GetTrail" in (found["aws.trail"].fix or "")
    assert "events:DescribeRule" in (found["aws.forward_rule"].fix or "")
    assert not READS & set(operations(aws)), "no call that can only be refused"


def test_a_principal_of_the_keys_own_account_is_enough(aws: Aws, asked: AwsReader) -> None:
    inside = f"arn:aws:iam::{ACME_ACCOUNT}:role/probes"
    aws.role(inside, trusts=frozenset({OWN}))
    assert check(asked, world(auditor=None, principal=inside))["aws.deletion_window"].outcome is Outcome.PASS


def test_the_watchdogs_own_identity_is_looked_up_where_it_becomes_nobody(aws: Aws, asked: AwsReader) -> None:
    found = check(asked, world(auditor=None, principal=None))["aws.trail"]
    assert found.words == f"This can be read in account {ACME_ACCOUNT} only, and the watchdog asks as {OWN}."


def test_of_the_vendors_own_key_its_own_identity_can_read_the_policy(aws: Aws, asked: AwsReader) -> None:
    known = Register(document(), 1)
    found = check(asked, known, VENDOR_KEY)
    assert found["aws.vendor_rights"].outcome is Outcome.PASS
    assert found["aws.deletion_window"].outcome is Outcome.PASS
    assert "GetKeyPolicy" in operations(aws)


# -------------------------------------------------------------------------------------------------- one thing at a time


@pytest.mark.parametrize(
    ("missing", "check_", "right"),
    [
        ("GetKeyPolicy", "aws.deletion_window", "kms:GetKeyPolicy"),
        ("GetTrail", "aws.trail", "cloudtrail:GetTrail"),
        ("GetTrailStatus", "aws.trail", "cloudtrail:GetTrailStatus"),
        ("GetEventSelectors", "aws.trail", "cloudtrail:GetEventSelectors"),
        ("DescribeRule", "aws.forward_rule", "events:DescribeRule"),
        ("ListTargetsByRule", "aws.forward_rule", "events:ListTargetsByRule"),
    ],
)
def test_a_right_that_is_missing_is_named(aws: Aws, asked: AwsReader, missing: str, check_: str, right: str) -> None:
    aws.role(AUDITOR, trusts=frozenset({OWN}), operations=READS - {missing})
    found = check(asked)[check_]
    assert found.outcome is Outcome.CANNOT_VERIFY
    assert "not authorized" in found.words
    assert found.fix == f"Allow {right} to {AUDITOR}."


def test_tags_that_may_not_be_read_leave_the_labels_open(aws: Aws, asked: AwsReader) -> None:
    aws.role(AUDITOR, trusts=frozenset({OWN}), operations=READS - {"ListResourceTags"})
    found = check(asked)["aws.labels"]
    assert (found.outcome, found.fix) == (Outcome.CANNOT_VERIFY, f"Allow kms:ListResourceTags to {AUDITOR}.")


def test_the_description_is_read_from_outside(aws: Aws, asked: AwsReader) -> None:
    aws.keys[ACME_KEY].description = "Data of Acme at Example Vendor, ask Alice"
    assert check(asked, world(auditor=None))["aws.labels"].outcome is Outcome.PASS


def test_a_role_that_cannot_be_assumed_fails_nothing(aws: Aws, asked: AwsReader) -> None:
    aws.role(AUDITOR, trusts=frozenset())
    found = check(asked)
    assert found["aws.key_kind"].outcome is Outcome.PASS
    assert found["aws.deletion_window"].outcome is Outcome.CANNOT_VERIFY
    assert "AssumeRole" in found["aws.deletion_window"].words


def test_a_vendor_that_lost_its_right_is_told_by_the_auditor(aws: Aws, asked: AwsReader) -> None:
    aws.role(AUDITOR, trusts=frozenset({OWN}), operations=READS | {"DescribeKey", "ListGrants"})
    aws.role(ROLE, trusts=frozenset({OWN}), operations=frozenset())
    assert check(asked)["aws.key_kind"].outcome is Outcome.PASS


def test_what_is_off_is_told(aws: Aws, asked: AwsReader) -> None:
    aws.act("DisableKey", ACME_KEY)
    aws.trails[TRAIL]["logging"] = False
    aws.rules[RULE]["state"] = "DISABLED"
    found = check(asked)
    assert {name for name, one in found.items() if one.outcome is Outcome.FAIL} == {
        "aws.key_kind", "aws.trail", "aws.forward_rule",
    }  # fmt: skip
    assert found["aws.trail"].fix == f"aws cloudtrail start-logging --region us-east-1 --name {TRAIL}"
    assert "--name byok-forward " in (found["aws.forward_rule"].fix or "")


def test_a_trail_and_a_rule_that_are_gone_fail(aws: Aws, asked: AwsReader) -> None:
    aws.trails.clear()
    aws.rules.clear()
    found = check(asked)
    assert [
        (found[name].outcome, "is not there" in found[name].words) for name in ("aws.trail", "aws.forward_rule")
    ] == [
        (Outcome.FAIL, True),
        (Outcome.FAIL, True),
    ]


def test_the_selectors_are_read_in_either_form(aws: Aws, asked: AwsReader) -> None:
    advanced = [{"FieldSelectors": [{"Field": "eventCategory", "Equals": ["Management"]}]}]
    aws.trails[TRAIL]["selectors"] = {"AdvancedEventSelectors": advanced}
    assert check(asked)["aws.trail"].outcome is Outcome.PASS
    advanced[0]["FieldSelectors"].append({"Field": "eventSource", "NotEquals": ["kms.amazonaws.com"]})
    assert check(asked)["aws.trail"].outcome is Outcome.FAIL


def test_every_page_of_the_grants_is_read(aws: Aws, asked: AwsReader) -> None:
    subject = aws.keys[ACME_KEY]
    others = tuple(Grant(f"{at:064x}", ROLE, frozenset({"Decrypt"})) for at in range(150))
    subject.grants.set(aws.now(), (*others, *subject.grants.now))
    found = check(asked, world(grants=[Registered(id=one.id) for one in subject.grants.now]))
    assert found["aws.grants_inventoried"].words == "All 151 grants of the vendor are registered and there."


def test_an_alias_is_looked_up_where_one_is_used(aws: Aws, asked: AwsReader) -> None:
    entry = replace(key(ACME_KEY).aws, aliases=[ALIAS])
    assert "anybody may point elsewhere" in check(asked, world(aws=entry))["aws.arn_in_use"].words
    aws.keys[ACME_KEY].aliases = ()
    assert "does not lead to this key" in check(asked, world(aws=entry))["aws.arn_in_use"].words


def test_imported_material_and_its_end_are_read(aws: Aws, asked: AwsReader) -> None:
    aws.keys[ACME_KEY].external = True
    aws.keys[ACME_KEY].valid_to = (datetime.now(UTC) + timedelta(days=20)).replace(microsecond=0)
    found = check(asked, world(aws=replace(key(ACME_KEY).aws, origin="EXTERNAL")))
    assert (found["aws.material"].outcome, found["aws.material_expiry"].outcome) == (Outcome.PASS, Outcome.FAIL)
    assert f"{aws.keys[ACME_KEY].valid_to:%Y-%m-%d %H:%M} UTC" in found["aws.material_expiry"].words
    assert found["aws.material_kept"].outcome is Outcome.CANNOT_VERIFY


def test_the_connection_of_a_custom_key_store_is_read(aws: Aws, asked: AwsReader) -> None:
    store = "cks-1234567890abcdef0"
    aws.keys[ACME_KEY].store = store
    aws.stores[store] = True
    known = world(aws=replace(key(ACME_KEY).aws, origin="AWS_CLOUDHSM", custom_key_store_id=store))
    assert check(asked, known)["aws.custom_key_store"].outcome is Outcome.PASS
    aws.stores[store] = False
    found = check(asked, known)["aws.custom_key_store"]
    assert (found.outcome, "DISCONNECTED" in found.words) == (Outcome.FAIL, True)


# --------------------------------------------------------------------------------------------------------- disturbances


@pytest.mark.parametrize("how", ["throttle", "internal", "cut", "html", "bad token"])
def test_a_disturbance_is_no_verdict_about_the_key(aws: Aws, asked: AwsReader, how: str) -> None:
    aws.trouble(how)
    found = check(asked)
    assert [one.id for one in CHECKS] == list(found)
    assert {name for name, one in found.items() if one.outcome is not Outcome.CANNOT_VERIFY} == {"aws.arn_in_use"}
    assert all("example" not in one.words.lower().replace("example vendor", "") for one in found.values())


def test_what_hangs_ends_in_time_and_leaves_the_rest_unread(aws: Aws) -> None:
    aws.trouble("hang", operation="GetKeyPolicy")
    made = AwsReader(Limits(deadline=6, connect=1, read=0.5))
    try:
        found = check(made)
    finally:
        made.close()
    assert found["aws.deletion_window"].outcome is Outcome.CANNOT_VERIFY
    assert found["aws.key_kind"].outcome is Outcome.PASS
