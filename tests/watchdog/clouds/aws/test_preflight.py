"""What each check of AWS comes to: a key in order first, then one thing wrong at a time, with what repairs it."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tests.watchdog.clouds.aws.world import (
    ALIAS,
    BUS,
    GLOBEX,
    GRANT,
    INITECH,
    KEY,
    OWN,
    REPLICA,
    ROLE,
    RULE,
    SERVICE_GRANT,
    STORE,
    TRAIL,
    VENDOR,
    access,
    key,
)
from watchdog.clouds import aws
from watchdog.clouds.aws.preflight import CHECKS, Absent, Described, ForwardRule, Held, Reading, Trail, judge
from watchdog.preflight import Checked, Outcome, Unread
from watchdog.register import Document, Register
from watchdog.words import Owner

AT = datetime(2026, 5, 4, 9, tzinfo=UTC)
BREAK_GLASS = f"arn:aws:iam::{GLOBEX}:role/key-break-glass"
AUDITOR = f"arn:aws:iam::{GLOBEX}:role/byok-audit"
APPLICATION = f"arn:aws:iam::{GLOBEX}:role/billing"
DENIED = Unread(why="GetKeyPolicy: AccessDeniedException: no.", right="kms:GetKeyPolicy")
ACCESS = access(operations=["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:DescribeKey"])


def allow(principal: object, *actions: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": list(actions), "Resource": "*", **more}


def deny(*actions: str, **conditions: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Principal": "*", "Action": list(actions), "Resource": "*", "Condition": conditions}


ADMINISTRATION = allow(
    BREAK_GLASS, "kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion", "kms:DisableKey", "kms:EnableKey",
    "kms:PutKeyPolicy", "kms:RevokeGrant", "kms:DeleteImportedKeyMaterial", "kms:DeleteAlias", "kms:UpdateAlias",
)  # fmt: skip
WINDOW = deny("kms:ScheduleKeyDeletion", NumericLessThan={"kms:ScheduleKeyDeletionPendingWindowInDays": "30"})
READS = allow(AUDITOR, "kms:GetKeyPolicy", "kms:ListResourceTags")
USE = allow(ROLE, "kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:DescribeKey")
GRANTS = allow(
    ROLE, "kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant",
    Condition={"Bool": {"kms:GrantIsForAWSResource": "true"}},
)  # fmt: skip
ROOT = allow(f"arn:aws:iam::{GLOBEX}:root", "kms:*")
SOUND = (ADMINISTRATION, WINDOW, READS, USE, GRANTS)


def policy(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def forwarding(**fields: Any) -> ForwardRule:
    made: dict[str, Any] = {
        "enabled": True,
        "pattern": aws.filters()["forward-rule"].replace("<KEY_ARN>", KEY),
        "targets": (BUS,),
    }
    return ForwardRule(**(made | fields))


def trail(*, logging: bool = True, multi_region: bool = True, **selector: Any) -> Trail:
    kept = {"readWriteType": "All", "includeManagementEvents": True, **selector}
    return Trail(logging=logging, multi_region=multi_region, selectors={"eventSelectors": [kept]})


def described(**fields: Any) -> Described:
    made: dict[str, Any] = {
        "arn": KEY, "state": "Enabled", "manager": "CUSTOMER", "spec": "SYMMETRIC_DEFAULT",
        "usage": "ENCRYPT_DECRYPT", "origin": "AWS_KMS", "description": "Protects Acme data. DO NOT DELETE.",
    }  # fmt: skip
    return Described(**(made | fields))


def held(name: str, grantee: str = ROLE, issuer: str = VENDOR, operations: tuple[str, ...] = ("Decrypt",)) -> Held:
    return Held(id=name, grantee=grantee, issuer=f"arn:aws:iam::{issuer}:root", operations=operations)


def reading(**fields: Any) -> Reading:
    made: dict[str, Any] = {
        "key": described(), "grants": (held(GRANT),), "policy": policy(*SOUND), "tags": {}, "aliases": (),
        "store": None, "trails": {TRAIL: trail()}, "rules": {RULE: forwarding()},
    }  # fmt: skip
    return Reading(**(made | fields))


def world(customer: dict[str, Any] | None = None, **entry: Any) -> Register:
    """Acme's register with one key of Globex, which is in order unless the test says otherwise."""
    facts: dict[str, Any] = {
        "access": [ACCESS], "grants": [{"id": GRANT}],
        "consumers": [{"id": f"arn:aws:rds:eu-west-1:{VENDOR}:db:acme-db-1", "store": "aws.rds"}],
    }  # fmt: skip
    section = {
        "accounts": [GLOBEX], "break_glass": [BREAK_GLASS], "audit_roles": [AUDITOR],
        "feeds": {"trails": [TRAIL], "rules": [RULE]},
    }  # fmt: skip
    return Register(
        msgspec.convert(
            {
                "version": 1,
                "vendor": {
                    "name": "Acme",
                    "aws": {
                        "accounts": [{"id": VENDOR, "organization": "o-acme123456"}],
                        "principals": [{"arn": ROLE}],
                        "feeds": {"event_buses": [BUS]},
                    },
                },
                "customers": [
                    {
                        "id": "globex",
                        "aws": section | (customer or {}),
                        "instances": [{"id": "globex-1", "keys": [key(entry.pop("arn", KEY), **(facts | entry))]}],
                    }
                ],
            },
            Document,
        )
    )


def checked(read: Reading, register: Register | None = None) -> dict[str, Checked]:
    known = register or world()
    [only] = known.keys.values()
    return {one.id.removeprefix("aws."): one for one in judge(read, only, known, at=AT)}


ASKED = {"resource_policies", "vendor_alarms", "break_glass_alarm"}
"""What nobody can read from outside, whatever is allowed."""


# ------------------------------------------------------------------------------------------------------------ the whole


def test_a_key_in_order_passes_all_that_can_be_read() -> None:
    found = checked(reading())
    assert {name: one.outcome.value for name, one in found.items()} == {
        one.id.removeprefix("aws."): "cannot verify" if one.id.removeprefix("aws.") in ASKED else "pass"
        for one in CHECKS
    }


def test_every_check_comes_always_in_one_order_and_says_something() -> None:
    nothing = Unread(why="No answer.", right="kms:Everything")
    silent = Reading(
        key=nothing, grants=nothing, policy=nothing, tags=nothing, aliases=nothing, store=nothing,
        trails={TRAIL: nothing}, rules={RULE: nothing},
    )  # fmt: skip
    for read in (reading(), silent, reading(policy="{not a policy")):
        known = world()
        found = judge(read, known.keys[KEY], known, at=AT)
        assert [one.id for one in found] == [one.id for one in CHECKS]
        assert [(one.title, one.hard, one.source) for one in found] == [(o.title, o.hard, o.source) for o in CHECKS]
        assert all(one.words.endswith((".", ")")) for one in found), [one.words for one in found]
        assert all(one.fix for one in found if one.outcome is not Outcome.PASS)
        assert all(one.id.startswith("aws.") for one in found)


def test_what_could_not_be_read_never_passes() -> None:
    nothing = Unread(why="GetKeyPolicy: AccessDeniedException.", right="kms:GetKeyPolicy")
    silent = Reading(
        key=nothing, grants=nothing, policy=nothing, tags=nothing, aliases=nothing, store=nothing,
        trails={TRAIL: nothing}, rules={RULE: nothing},
    )  # fmt: skip
    found = checked(silent)
    assert {name for name, one in found.items() if one.outcome is not Outcome.CANNOT_VERIFY} == {"arn_in_use"}, (
        "which the register alone can tell"
    )
    assert found["deletion_window"].fix == f"Allow kms:GetKeyPolicy to {AUDITOR}."


def test_without_a_role_in_the_account_it_says_which_one_is_needed() -> None:
    found = checked(reading(policy=DENIED), world({"audit_roles": []}))["deletion_window"]
    assert found.outcome is Outcome.CANNOT_VERIFY
    assert found.words == DENIED.why
    assert found.fix
    assert "kms:GetKeyPolicy" in found.fix
    assert f"account {GLOBEX}" in found.fix
    assert "aws.audit_roles" in found.fix


def test_an_audit_role_of_another_account_is_none() -> None:
    elsewhere = AUDITOR.replace(GLOBEX, INITECH)
    found = checked(reading(policy=DENIED), world({"audit_roles": [elsewhere]}))["deletion_window"]
    assert found.fix
    assert elsewhere not in found.fix


def test_of_its_own_key_the_vendor_has_to_see_to_everything() -> None:
    found = checked(reading(key=described(arn=OWN, state="Disabled")), world(arn=OWN, owner="vendor"))
    assert {one.owner for one in found.values()} == {Owner.VENDOR}
    assert found["key_kind"].fix == f"aws kms enable-key --region eu-west-1 --key-id {OWN}"


def test_only_what_responsibility_marks_may_block_an_exception() -> None:
    assert {one.id for one in CHECKS if one.hard} == {"aws.vendor_rights", "aws.duties_apart"}


# ---------------------------------------------------------------------------------------------------------- by table

TARGET = f"--region eu-west-1 --key-id {KEY}"


@pytest.mark.parametrize(
    ("name", "key_", "outcome", "words", "fix"),
    [
        ("key_kind", {"state": "Updating"}, "pass", "Updating", None),
        ("key_kind", {"state": "Disabled"}, "fail", "disabled", f"aws kms enable-key {TARGET}"),
        ("key_kind", {"state": "PendingDeletion"}, "fail", "PendingDeletion",
         f"aws kms cancel-key-deletion {TARGET} && aws kms enable-key {TARGET}"),
        ("key_kind", {"state": "Unavailable"}, "fail", "Unavailable", f"aws kms describe-key {TARGET}"),
        ("key_kind", {"manager": "AWS"}, "fail", "managed by AWS", "make a new one"),
        ("key_kind", {"spec": "RSA_2048"}, "fail", "RSA_2048", "make a new one"),
        ("key_kind", {"usage": "SIGN_VERIFY"}, "fail", "SIGN_VERIFY", "make a new one"),
        ("key_kind", {"arn": OWN}, "fail", OWN, "Correct the ARN"),
        ("material", {"origin": "EXTERNAL"}, "fail", "EXTERNAL", "origin: EXTERNAL"),
        ("material_expiry", {"valid_to": AT + timedelta(days=31)}, "pass", "2026-06-04 09:00 UTC", None),
        ("material_expiry", {"valid_to": AT + timedelta(days=30)}, "fail", "2026-06-03 09:00 UTC",
         f"aws kms import-key-material {TARGET} "),
        ("material_expiry", {"expiration": "KEY_MATERIAL_EXPIRES"}, "cannot verify", "does not say when", "When"),
        ("material_kept", {"origin": "EXTERNAL"}, "cannot verify", "kept", "Ask the customer"),
        ("custom_key_store", {"store": STORE}, "fail", STORE, "Agree with the customer"),
        ("labels", {"description": "for billing"}, "fail", "whose data",
         f"aws kms update-key-description {TARGET} --description 'DO NOT DELETE or disable"),
        ("multi_region", {"multi_region": True, "family": (KEY, REPLICA)}, "fail", "not all registered", REPLICA),
    ],
)  # fmt: skip
def test_what_describe_key_says(name: str, key_: dict[str, Any], outcome: str, words: str, fix: str | None) -> None:
    found = checked(reading(key=described(**key_)))[name]
    assert found.outcome.value == outcome
    assert words in found.words
    assert (fix is None) == (found.fix is None)
    assert fix is None or fix in (found.fix or "")


@pytest.mark.parametrize(
    ("name", "statements", "outcome", "words", "fix"),
    [
        # the waiting period
        ("deletion_window", (ADMINISTRATION, USE), "fail", "period of 7 days", '"NumericLessThan"'),
        ("deletion_window", (ROOT, WINDOW), "pass", "30 days", None),
        ("deletion_window", (ROOT, deny("kms:Schedule*", NumericLessThanEquals={
            "kms:ScheduleKeyDeletionPendingWindowInDays": 13})), "fail", "period of 14 days", "put-key-policy"),
        ("deletion_window", (USE,), "pass", "nobody", None),
        ("deletion_window", (allow(BREAK_GLASS, "kms:ScheduleKeyDeletion", Condition={
            "NumericGreaterThanEquals": {"kms:ScheduleKeyDeletionPendingWindowInDays": "30"}}),), "pass", "30", None),
        ("deletion_window", (ADMINISTRATION, {**WINDOW, "Principal": {"AWS": APPLICATION}}), "fail", "7 days", "Deny"),
        # the vendor's rights
        ("vendor_rights", (ADMINISTRATION, allow(ROLE, "kms:Decrypt")), "fail",
         "does not allow kms:Encrypt, kms:GenerateDataKey, kms:DescribeKey".replace("kms:", ""), f'"AWS": "{ROLE}"'),
        ("vendor_rights", (allow(ROLE, "kms:*"),), "fail", "more than it needs: ScheduleKeyDeletion", "only what"),
        ("vendor_rights", (USE, allow(ROLE, "kms:CreateGrant")), "fail", "more than it needs: CreateGrant", "only"),
        ("vendor_rights", (USE, GRANTS), "pass", "what is registered", None),
        ("vendor_rights", ({**USE, "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}},), "cannot verify",
         "hangs on conditions", "Probe the key"),
        # who else
        ("break_glass", (ROOT, WINDOW, USE), "fail", "every role of account", '"ArnNotEquals"'),
        ("break_glass", (ROOT, USE, deny(*(f"kms:{one}" for one in (
            "ScheduleKeyDeletion", "DisableKey", "PutKeyPolicy", "DeleteImportedKeyMaterial", "DeleteAlias",
            "UpdateAlias")), ArnNotEquals={"aws:PrincipalArn": [BREAK_GLASS]})), "pass", BREAK_GLASS, None),
        ("break_glass", (*SOUND, allow(APPLICATION, "kms:DisableKey")), "fail", APPLICATION, BREAK_GLASS),
        ("break_glass", (*SOUND, allow(APPLICATION, "kms:RevokeGrant")), "fail", APPLICATION, BREAK_GLASS),
        ("duties_apart", (*SOUND, allow(BREAK_GLASS, "kms:Decrypt")), "fail", BREAK_GLASS, "different roles"),
        ("duties_apart", (ROOT, USE), "cannot verify", GLOBEX, "Ask the customer"),
        ("sole_user", (*SOUND, allow(APPLICATION, "kms:Decrypt")), "fail", APPLICATION, "a key of its own"),
        ("sole_user", (*SOUND, {**allow("x", "kms:Decrypt"), "Principal": {"Service": "logs.amazonaws.com"}}),
         "fail", "logs.amazonaws.com", "a key of its own"),
        ("sole_user", (*SOUND, ROOT), "cannot verify", GLOBEX, "anything else"),
        ("create_grant", (ADMINISTRATION, USE), "fail", "aws.rds", '"kms:GrantIsForAWSResource": "true"'),
        # conditions
        ("conditions", ({**USE, "Condition": {"StringEquals": {"aws:SourceVpce": "vpce-1"}}},), "fail",
         "aws:SourceVpce (the caller's VPC endpoint)", "Take these conditions out"),
        ("conditions", (USE, deny("kms:*", DateGreaterThan={"aws:CurrentTime": "2027-01-01T00:00:00Z"})), "fail",
         "aws:CurrentTime (the time)", "Take"),
        ("conditions", ({**USE, "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-acme123456"}}},), "fail",
         "organisation id", "Take"),
        ("conditions", (USE, {**allow(APPLICATION, "kms:Decrypt"), "Condition": {
            "IpAddress": {"aws:SourceIp": "192.0.2.1"}}}), "pass", "nothing", None),
        ("conditions", ({**USE, "Condition": {"StringEquals": {"kms:CallerAccount": VENDOR}}},), "pass", "nothing",
         None),
    ],
)  # fmt: skip
def test_what_the_key_policy_says(
    name: str, statements: tuple[dict[str, Any], ...], outcome: str, words: str, fix: str | None
) -> None:
    found = checked(reading(policy=policy(*statements)))[name]
    assert (found.outcome.value, words in found.words) == (outcome, True), found.words
    assert (fix is None) == (found.fix is None)
    assert fix is None or fix in (found.fix or "")


@pytest.mark.parametrize("name", ["deletion_window", "vendor_rights", "break_glass", "create_grant"])
def test_the_statement_that_a_fix_prints_repairs_what_it_is_for(name: str) -> None:
    bare = [ROOT] if name != "vendor_rights" else [ADMINISTRATION]
    before = checked(reading(policy=policy(*bare)))[name]
    assert before.outcome is Outcome.FAIL
    assert before.fix
    statement, _ = json.JSONDecoder().raw_decode(before.fix[before.fix.index("{") :])
    assert checked(reading(policy=policy(*bare, statement)))[name].outcome is Outcome.PASS


def test_a_break_glass_role_that_is_not_registered_is_asked_for() -> None:
    found = checked(reading(), world({"break_glass": []}))["break_glass"]
    assert found.outcome is Outcome.CANNOT_VERIFY
    assert BREAK_GLASS in found.words
    assert "aws.break_glass" in (found.fix or "")


def test_conditions_that_are_registered_are_watched() -> None:
    conditions = {"StringEquals": {"aws:PrincipalOrgID": "o-acme123456", "aws:ResourceTag/team": "acme"}}
    known = world(aws={"needs_vendor_organization": True, "policy_tags": ["team"]})
    text = policy(ADMINISTRATION, {**USE, "Condition": conditions})
    assert checked(reading(policy=text), known)["conditions"].outcome is Outcome.PASS
    assert checked(reading(policy=text))["conditions"].outcome is Outcome.FAIL


# ----------------------------------------------------------------------------------------------- grants, aliases, store

OTHERS = "f" * 64


@pytest.mark.parametrize(
    ("grants", "name", "outcome", "words"),
    [
        ((held(GRANT), held(SERVICE_GRANT, "rds.eu-west-1.amazonaws.com")), "grants_inventoried", "fail",
         SERVICE_GRANT),
        ((), "grants_inventoried", "fail", GRANT),
        ((held(GRANT), held(OTHERS, f"arn:aws:sts::{VENDOR}:assumed-role/aws:ec2-infrastructure/i-0abc")),
         "grants_inventoried", "pass", "All 1"),
        ((held(GRANT), held(OTHERS, APPLICATION, GLOBEX)), "grants_inventoried", "pass", "All 1"),
        ((held(GRANT), held(OTHERS, APPLICATION, GLOBEX)), "sole_user", "fail", APPLICATION),
        ((held(GRANT), held(OTHERS, ROLE, GLOBEX)), "sole_user", "pass", "Nobody"),
        (Unread(why="ListGrants: refused.", right="kms:ListGrants"), "sole_user", "cannot verify", "refused"),
    ],
)  # fmt: skip
def test_what_the_grants_say(grants: Any, name: str, outcome: str, words: str) -> None:
    found = checked(reading(grants=grants))[name]
    assert (found.outcome.value, words in found.words) == (outcome, True), found.words


def test_others_grants_show_a_shared_key_even_where_the_policy_is_closed() -> None:
    grants = (held(GRANT), held(OTHERS, APPLICATION, GLOBEX))
    found = checked(reading(policy=DENIED, grants=grants))["sole_user"]
    assert (found.outcome, APPLICATION in found.words) == (Outcome.FAIL, True)


def test_a_role_that_uses_the_key_by_grant_needs_that_grant() -> None:
    known = world(access=[access(via="grant", operations=["kms:Decrypt", "kms:Encrypt"])])
    lacking = checked(reading(policy=policy(ADMINISTRATION)), known)["vendor_rights"]
    assert (lacking.outcome, lacking.words) == (Outcome.FAIL, f"No grant gives Encrypt to {ROLE}.")
    assert lacking.fix == (f"aws kms create-grant {TARGET} --grantee-principal {ROLE} --operations Decrypt Encrypt")
    whole = (held(GRANT, operations=("Decrypt", "Encrypt")),)
    assert checked(reading(policy=policy(ADMINISTRATION), grants=whole), known)["vendor_rights"].outcome is Outcome.PASS


def test_a_grant_may_let_the_role_create_grants() -> None:
    grants = (held(GRANT, operations=("CreateGrant",)),)
    assert checked(reading(policy=DENIED, grants=grants))["create_grant"].outcome is Outcome.PASS
    assert checked(reading(policy=DENIED))["create_grant"].outcome is Outcome.CANNOT_VERIFY
    assert checked(reading(policy=DENIED), world(consumers=[]))["create_grant"].outcome is Outcome.PASS


def test_an_alias_in_use_is_told_and_so_is_one_that_leads_elsewhere() -> None:
    known = world(aws={"aliases": [ALIAS]})
    used = checked(reading(aliases=(ALIAS,)), known)["arn_in_use"]
    assert (used.outcome, used.owner) == (Outcome.FAIL, Owner.VENDOR)
    assert KEY in (used.fix or "")
    moved = checked(reading(aliases=()), known)["arn_in_use"]
    assert "does not lead to this key" in moved.words


@pytest.mark.parametrize(
    ("state", "entry", "outcome", "words"),
    [
        ("CONNECTED", {}, "pass", "real calls"),
        (Unread(why="refused", right="kms:DescribeCustomKeyStores"), {}, "pass", "real calls"),
        ("DISCONNECTED", {}, "fail", "DISCONNECTED"),
        ("CONNECTED", {"probe": {"off": True}}, "fail", "not probed"),
    ],
)
def test_a_custom_key_store_is_agreed_connected_and_probed(
    state: Any, entry: dict[str, Any], outcome: str, words: str
) -> None:
    known = world(aws={"origin": "AWS_CLOUDHSM", "custom_key_store_id": STORE}, **entry)
    read = reading(key=described(origin="AWS_CLOUDHSM", store=STORE), store=state)
    found = checked(read, known)["custom_key_store"]
    assert (found.outcome.value, words in found.words) == (outcome, True), found.words


def test_an_end_of_the_material_that_nobody_watches_fails() -> None:
    read = reading(key=described(valid_to=AT + timedelta(days=300)))
    assert checked(read)["material_expiry"].outcome is Outcome.PASS
    assert checked(read, world(probe={"off": True}))["material_expiry"].outcome is Outcome.FAIL


def test_stores_elsewhere_ask_for_a_multi_region_key() -> None:
    known = world(consumers=[{"id": "acme-copy", "store": "aws.rds", "region": "eu-central-1"}])
    found = checked(reading(), known)["multi_region"]
    assert (found.outcome, "eu-central-1" in found.words) == (Outcome.FAIL, True)


def test_tags_may_say_whose_data_it_is_and_unread_ones_leave_it_open() -> None:
    plain = described(description="")
    assert checked(reading(key=plain, tags={"vendor": "Acme"}))["labels"].outcome is Outcome.PASS
    refused = Unread(why="ListResourceTags: refused.", right="kms:ListResourceTags")
    left = checked(reading(key=plain, tags=refused))["labels"]
    assert (left.outcome, left.fix) == (Outcome.CANNOT_VERIFY, f"Allow kms:ListResourceTags to {AUDITOR}.")


# ----------------------------------------------------------------------------------------------------- trail and rules

UNREAD = Unread(why="DescribeRule: refused.", right="events:DescribeRule")
BLINDING = RULE.replace("to-acme", "blinding")


@pytest.mark.parametrize(
    ("trails", "outcome", "words", "fix"),
    [
        ({TRAIL: trail(logging=False)}, "fail", "does not log",
         f"aws cloudtrail start-logging --region eu-west-1 --name {TRAIL}"),
        ({TRAIL: trail(excludeManagementEventSources=["kms.amazonaws.com"])}, "fail", "leaves out", "get-event-selec"),
        ({TRAIL: trail(readWriteType="ReadOnly")}, "fail", "leaves out", "get-event-selectors"),
        ({TRAIL: trail(multi_region=False)}, "pass", "records", None),
        ({TRAIL.replace("eu-west-1", "us-east-1"): trail(multi_region=False)}, "fail", "us-east-1 only", "eu-west-1"),
        ({TRAIL: Absent()}, "fail", "not there", TRAIL),
        ({TRAIL: UNREAD}, "cannot verify", "refused", "events:DescribeRule"),
        ({TRAIL: trail(logging=False), f"{TRAIL}-2": trail()}, "pass", "records", None),
        ({TRAIL: trail(logging=False), f"{TRAIL}-2": UNREAD}, "cannot verify", "refused", "events:DescribeRule"),
        ({}, "cannot verify", "No trail is registered", "aws.feeds.trails"),
    ],
)  # fmt: skip
def test_what_the_trails_say(trails: Any, outcome: str, words: str, fix: str | None) -> None:
    found = checked(reading(trails=trails))["trail"]
    assert (found.outcome.value, words in found.words) == (outcome, True), found.words
    assert (fix is None) == (found.fix is None)
    assert fix is None or fix in (found.fix or "")


def without(name: str) -> str:
    pattern = json.loads(forwarding().pattern or "")
    pattern["$or"][1]["detail"]["eventName"].remove(name)
    return json.dumps(pattern)


def kinds(*names: str) -> str:
    return json.dumps(json.loads(forwarding().pattern or "") | {"detail-type": list(names)})


@pytest.mark.parametrize(
    ("rules", "outcome", "words"),
    [
        ({RULE: forwarding(pattern=aws.filters()["forward-rule-one-key"].replace("<KEY_ARN>", KEY))}, "pass", "forw"),
        ({RULE: forwarding(pattern='{"source": ["aws.kms"]}')}, "pass", "forwarded"),
        ({RULE: forwarding(pattern='{"source": [{"prefix": "aws."}]}')}, "pass", "forwarded"),
        ({RULE: forwarding(enabled=False)}, "fail", "is disabled"),
        ({RULE: forwarding(targets=(f"arn:aws:sqs:eu-west-1:{GLOBEX}:elsewhere",))}, "fail", "sends to nothing"),
        ({RULE: forwarding(pattern=without("RevokeGrant"))}, "fail", "does not let through RevokeGrant"),
        ({RULE: forwarding(pattern=kinds("AWS API Call via CloudTrail"))}, "fail", "DeleteKey, DeleteExpiredKeyMat"),
        ({RULE: forwarding(pattern=kinds("AWS API Call via CloudTrail", "AWS Service Event via CloudTrail"))}, "fail",
         "does not let through KMS CMK Deletion"),
        ({RULE: forwarding(pattern=None)}, "fail", "does not let through DisableKey"),
        ({RULE: forwarding(pattern="{")}, "fail", "does not let through DisableKey"),
        ({RULE: Absent()}, "fail", "is not there"),
        ({RULE: UNREAD}, "cannot verify", "refused"),
        ({RULE: forwarding(), BLINDING: forwarding(pattern=aws.filters()["blinding-rule"])}, "pass", "forwarded"),
        ({RULE: forwarding(pattern=without("RevokeGrant")), BLINDING: UNREAD}, "cannot verify", "refused"),
        ({RULE: forwarding(), BLINDING: UNREAD}, "pass", "forwarded"),
        ({RULE.replace("eu-west-1", "eu-west-2"): forwarding()}, "fail", "No rule is registered"),
        ({}, "fail", "No rule is registered"),
    ],
)  # fmt: skip
def test_what_the_rules_say(rules: Any, outcome: str, words: str) -> None:
    found = checked(reading(rules=rules))["forward_rule"]
    assert (found.outcome.value, words in found.words) == (outcome, True), found.words


def test_the_rule_that_a_fix_writes_lets_everything_through_for_every_key_there() -> None:
    fix = checked(reading(rules={}))["forward_rule"].fix or ""
    head, _, pattern = fix.partition(" --event-pattern ")
    assert head == "aws events put-rule --region eu-west-1 --name byok-watchdog-forward --state ENABLED"
    written = pattern.strip("'")
    assert json.loads(written)["$or"][0]["resources"] == [KEY]
    assert checked(reading(rules={RULE: forwarding(pattern=written)}))["forward_rule"].outcome is Outcome.PASS
