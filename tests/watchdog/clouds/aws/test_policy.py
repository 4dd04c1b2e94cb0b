"""Key policies are read, not searched: kept, reduced, lost or not to be told, for each principal and operation."""

import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.watchdog.clouds.aws.world import (
    BACKUP_ROLE,
    GLOBEX,
    GOV,
    GOV_ROLE,
    KEY,
    ROLE,
    ROLE_ID,
    STRANGER,
    UNWATCHED,
    VENDOR,
    VENDOR_GOV,
    access,
    document,
    key,
)
from watchdog.clouds.aws.patterns import glob
from watchdog.clouds.aws.policy import Caller, Verdict, caller, judge, needed
from watchdog.register import Access, Register
from watchdog.words import Effect

AT = datetime(2026, 3, 20, 10, 0, tzinfo=UTC)
ROOT = f"arn:aws:iam::{VENDOR}:root"
SESSION = f"arn:aws:sts::{VENDOR}:assumed-role/acme-instance-1/i-0abc"
USES = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:DescribeKey"]
OWNER = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{GLOBEX}:root"}, "Action": "kms:*", "Resource": "*"}

REVOKED, REDUCED, CHANGED = Effect.ACCESS_REVOKED, Effect.ACCESS_REDUCED, Effect.ACCESS_CHANGED
GRANTED, ENDING, WEAKENED = Effect.ACCESS_GRANTED, Effect.EXPIRY_AHEAD, Effect.PROTECTION_WEAKENED

ORGANIZATIONS = {VENDOR: "o-acme123456"}


def allow(principal: Any = ROLE, action: Any = USES, **fields: Any) -> dict[str, Any]:
    element = principal if principal == "*" or isinstance(principal, dict) else {"AWS": principal}
    made = {"Effect": "Allow", "Principal": element, "Action": action, "Resource": "*"} | fields
    return {name: value for name, value in made.items() if value is not ...}


def deny(principal: Any = "*", action: Any = "kms:*", **fields: Any) -> dict[str, Any]:
    return allow(principal, action, Effect="Deny", **fields)


def when(operator: str, name: str, value: Any) -> dict[str, Any]:
    return {"Condition": {operator: {name: value}}}


def verdict(
    *statements: Any,
    principals: Iterable[dict[str, Any]] = (access(),),
    policy: Any = ...,
    arn: str = KEY,
    at: datetime | None = AT,
    bypass: bool = False,
) -> Verdict:
    register = Register(document([key(arn, access=list(principals))], []))
    text = json.dumps({"Version": "2012-10-17", "Statement": list(statements)}) if policy is ... else policy
    return judge(text, register.keys[arn], known, at=at, bypass=bypass)


def known(principal: str) -> Caller:
    unique_id = ROLE_ID if principal == ROLE else None
    return caller(principal, organization=ORGANIZATIONS.get(principal.split(":")[4]), unique_id=unique_id)


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        # --- principals
        pytest.param([allow()], GRANTED, id="the role itself"),
        pytest.param([allow([f"arn:aws:iam::{GLOBEX}:role/x", ROLE])], GRANTED, id="the role in a list"),
        pytest.param([allow(ROOT)], GRANTED, id="the account's root"),
        pytest.param([allow(VENDOR)], GRANTED, id="the bare account id"),
        pytest.param([allow("*")], GRANTED, id="everybody"),
        pytest.param([allow({"AWS": "*"})], GRANTED, id="every AWS principal"),
        pytest.param([OWNER], REVOKED, id="only the owner"),
        pytest.param([], REVOKED, id="no statement"),
        pytest.param([allow(ROLE + "0")], REVOKED, id="one digit more"),
        pytest.param([allow(ROLE[:-1])], REVOKED, id="one digit less"),
        pytest.param([allow(ROLE.upper())], REVOKED, id="another case"),
        pytest.param([allow(f"arn:aws:iam::{VENDOR}:role/path/acme-instance-1")], REVOKED, id="a path that it has not"),
        pytest.param([allow(f"arn:aws-us-gov:iam::{VENDOR}:root")], REVOKED, id="the root of another partition"),
        pytest.param([allow(ROLE.replace(":aws:", ":aws-cn:"))], REVOKED, id="the role in another partition"),
        pytest.param([allow(f"arn:aws:iam::{STRANGER}:role/acme-instance-1")], REVOKED, id="same name, other account"),
        pytest.param([allow({"Service": "rds.amazonaws.com"})], REVOKED, id="a service"),
        pytest.param([allow({"Federated": ROLE})], REVOKED, id="a federated user"),
        pytest.param([allow({})], REVOKED, id="an empty principal"),
        pytest.param([allow(Principal=...)], REVOKED, id="no principal at all"),
        pytest.param([OWNER | {"Sid": f"{VENDOR} acme-instance-1"}], REVOKED, id="the vendor in a statement id"),
        pytest.param([allow(SESSION)], CHANGED, id="one session of the role"),
        pytest.param([allow([SESSION, ROLE])], GRANTED, id="a session and the role"),
        pytest.param([allow(SESSION.replace("acme-instance-1", "other"))], REVOKED, id="a session of another role"),
        pytest.param([allow("AROAACMEGONE000000000")], REVOKED, id="the orphan of a deleted role"),
        pytest.param([allow(ROLE_ID)], REVOKED, id="the orphan of the registered role"),
        pytest.param([allow([ROLE_ID, ROOT])], GRANTED, id="an orphan beside the account's root"),
        # --- statements without effect
        pytest.param([allow(Resource=...)], REVOKED, id="without Resource"),
        pytest.param([allow(action=...)], REVOKED, id="without Action"),
        pytest.param([allow(action=[])], REVOKED, id="with an empty list of actions"),
        pytest.param([allow(Resource=KEY)], GRANTED, id="the key as the resource"),
        pytest.param([allow(Resource=[UNWATCHED, KEY])], GRANTED, id="the key among resources"),
        pytest.param([allow(Resource=UNWATCHED)], REVOKED, id="another key as the resource"),
        pytest.param([allow(Resource=f"arn:aws:kms:*:{GLOBEX}:key/*")], GRANTED, id="a pattern of keys"),
        pytest.param([allow(Resource=..., NotResource=UNWATCHED)], GRANTED, id="every key but another"),
        pytest.param([deny(Resource=...), allow()], GRANTED, id="a deny without Resource"),
        # --- actions
        pytest.param([allow(action="kms:*")], GRANTED, id="all of KMS"),
        pytest.param([allow(action="*")], GRANTED, id="everything"),
        pytest.param(
            [allow(action=["KMS:decrypt", "kms:ENCRYPT", "kms:generateData*", "Kms:DescribeKey"])],
            GRANTED,
            id="mixed case",
        ),
        pytest.param(
            [allow(action=["kms:?ecrypt", "kms:Encrypt", "kms:*DataKey", "kms:Describe*"])], GRANTED, id="wildcards"
        ),
        pytest.param([allow(action=["kms:Decrypt"])], REDUCED, id="reading only"),
        pytest.param(
            [allow(action=["kms:Encrypt", "kms:GenerateDataKey", "kms:DescribeKey"])], REDUCED, id="no Decrypt"
        ),
        pytest.param(
            [allow(action=["kms:Decrypt", "kms:DescribeKey"]), allow(action=["kms:Encrypt", "kms:G*"])],
            GRANTED,
            id="spread over two statements",
        ),
        pytest.param([allow(action=..., NotAction=["kms:Put*", "kms:ScheduleKeyDeletion"])], GRANTED, id="NotAction"),
        pytest.param([allow(action=..., NotAction="kms:Decrypt")], REDUCED, id="NotAction that takes one"),
        pytest.param([allow(action=..., NotAction="*")], REVOKED, id="NotAction that takes all"),
        pytest.param([allow(action=["s3:GetObject"])], REVOKED, id="another service"),
        # --- denies
        pytest.param([allow(), deny(ROLE)], REVOKED, id="deny beats allow"),
        pytest.param([deny(ROLE), allow()], REVOKED, id="deny first"),
        pytest.param([allow(), deny(ROLE, "kms:Decrypt")], REDUCED, id="deny of one operation"),
        pytest.param([allow(), deny("*", ["kms:ScheduleKeyDeletion"])], GRANTED, id="deny of what is not needed"),
        pytest.param([allow(), deny(f"arn:aws:iam::{GLOBEX}:role/x")], GRANTED, id="deny of somebody else"),
        pytest.param([allow(), deny(SESSION)], CHANGED, id="deny of one session"),
        pytest.param([allow(), deny(ROLE_ID)], CHANGED, id="deny of the role's unique id"),
        pytest.param([allow(), deny(VENDOR)], REVOKED, id="deny of the account"),
        pytest.param([allow(), deny(action=..., NotAction=[*USES, "kms:*"])], GRANTED, id="deny of nothing"),
        pytest.param([allow(), deny(action=..., NotAction="kms:DescribeKey")], REDUCED, id="deny of all but one"),
        # --- NotPrincipal
        pytest.param(
            [allow(), deny(Principal=..., NotPrincipal={"AWS": f"arn:aws:iam::{GLOBEX}:root"})],
            REVOKED,
            id="deny all but the owner",
        ),
        pytest.param(
            [allow(), deny(Principal=..., NotPrincipal={"AWS": [ROLE, ROOT]})],
            GRANTED,
            id="deny all but the role and its account",
        ),
        pytest.param(
            [allow(), deny(Principal=..., NotPrincipal={"AWS": [ROLE, VENDOR]})],
            GRANTED,
            id="deny all but the role and its bare account",
        ),
        pytest.param(
            [allow(), deny(Principal=..., NotPrincipal={"AWS": ROLE})],
            CHANGED,
            id="deny all but the role without its account",
        ),
        pytest.param(
            [allow(), deny(Principal=..., NotPrincipal={"AWS": ROOT})],
            CHANGED,
            id="deny all but the account without the role",
        ),
        # --- conditions that can be judged
        pytest.param([allow("*", **when("StringEquals", "kms:CallerAccount", VENDOR))], GRANTED, id="caller account"),
        pytest.param(
            [allow("*", **when("StringEquals", "KMS:calleraccount", VENDOR))], GRANTED, id="key in other case"
        ),
        pytest.param(
            [allow("*", **when("stringequals", "kms:CallerAccount", VENDOR))], GRANTED, id="operator in lower case"
        ),
        pytest.param([allow("*", **when("StringEquals", "kms:CallerAccount", int(VENDOR)))], GRANTED, id="a number"),
        pytest.param(
            [allow("*", **when("StringEquals", "kms:CallerAccount", [STRANGER, VENDOR]))], GRANTED, id="one of"
        ),
        pytest.param([allow("*", **when("StringEquals", "kms:CallerAccount", STRANGER))], REVOKED, id="other account"),
        pytest.param(
            [allow("*", **when("StringNotEquals", "kms:CallerAccount", STRANGER))], GRANTED, id="not other account"
        ),
        pytest.param(
            [allow("*", **when("StringNotEquals", "aws:PrincipalAccount", [STRANGER, VENDOR]))],
            REVOKED,
            id="none of two accounts",
        ),
        pytest.param(
            [allow("*", **when("StringEqualsIfExists", "aws:PrincipalAccount", VENDOR))], GRANTED, id="IfExists"
        ),
        pytest.param(
            [allow("*", **when("StringNotLikeIfExists", "aws:PrincipalAccount", "1234*"))],
            REVOKED,
            id="NotLikeIfExists",
        ),
        pytest.param(
            [allow("*", **when("StringLike", "aws:PrincipalArn", "arn:aws:iam::*:role/acme-*"))],
            GRANTED,
            id="principal ARN like",
        ),
        pytest.param(
            [allow("*", **when("StringEquals", "aws:PrincipalArn", "arn:aws:iam::*:role/acme-*"))],
            REVOKED,
            id="a pattern where none is allowed",
        ),
        pytest.param([allow("*", **when("ArnEquals", "aws:PrincipalArn", ROLE))], GRANTED, id="ARN equals"),
        pytest.param(
            [allow("*", **when("ArnLike", "aws:PrincipalArn", f"arn:*:iam::{VENDOR}:role/*"))], GRANTED, id="ARN like"
        ),
        pytest.param(
            [allow("*", **when("ArnLike", "aws:PrincipalArn", f"arn:aws:iam::{VENDOR}:*/other"))],
            REVOKED,
            id="ARN not like",
        ),
        pytest.param([allow("*", **when("ArnNotEquals", "aws:PrincipalArn", ROLE))], REVOKED, id="ARN not equals"),
        pytest.param(
            [allow(), deny(**when("ArnNotLike", "aws:PrincipalArn", f"arn:aws:iam::{GLOBEX}:*"))],
            REVOKED,
            id="deny all ARNs but the owner's",
        ),
        pytest.param([allow(**when("StringEquals", "aws:PrincipalOrgID", "o-acme123456"))], GRANTED, id="organisation"),
        pytest.param(
            [allow(), deny(**when("StringNotEquals", "aws:PrincipalOrgID", "o-globex12345"))],
            REVOKED,
            id="deny outside the owner's organisation",
        ),
        pytest.param(
            [allow(), deny(**when("StringNotEqualsIfExists", "aws:PrincipalOrgID", ["o-x", "o-acme123456"]))],
            GRANTED,
            id="deny outside two organisations",
        ),
        pytest.param(
            [
                allow(
                    Condition={
                        "StringEquals": {"kms:CallerAccount": VENDOR},
                        "ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/acme-*"},
                    }
                )
            ],
            GRANTED,
            id="two conditions that hold",
        ),
        pytest.param(
            [allow(Condition={"StringEquals": {"kms:CallerAccount": VENDOR, "aws:PrincipalAccount": "1"}})],
            REVOKED,
            id="two conditions of which one fails",
        ),
        pytest.param(
            [
                allow(
                    Condition={
                        "StringEquals": {"kms:CallerAccount": STRANGER},
                        "IpAddress": {"aws:SourceIp": "192.0.2.1"},
                    }
                )
            ],
            REVOKED,
            id="a failing condition beside one that cannot be judged",
        ),
        # --- conditions that cannot
        pytest.param(
            [allow(**when("StringEquals", "kms:ViaService", "s3.eu-west-1.amazonaws.com"))], CHANGED, id="ViaService"
        ),
        pytest.param([allow(**when("IpAddress", "aws:SourceIp", "192.0.2.0/24"))], CHANGED, id="SourceIp"),
        pytest.param([allow(), deny(**when("StringNotEquals", "aws:SourceVpce", "vpce-1"))], CHANGED, id="SourceVpce"),
        pytest.param([allow(**when("StringEquals", "aws:ResourceTag/team", "a"))], CHANGED, id="tags"),
        pytest.param([allow(**when("StringEquals", "kms:EncryptionContext:a", "b"))], CHANGED, id="encryption context"),
        pytest.param([allow(**when("NumericLessThan", "kms:CallerAccount", VENDOR))], CHANGED, id="an odd operator"),
        pytest.param(
            [allow(**when("StringEquals", "kms:CallerAccount", "${aws:PrincipalAccount}"))], CHANGED, id="a variable"
        ),
        pytest.param([allow(**when("StringEquals", "kms:CallerAccount", [{}]))], CHANGED, id="an odd value"),
        pytest.param([allow(**when("DateLessThan", "aws:TokenIssueTime", "2026-01-01"))], CHANGED, id="another date"),
        pytest.param(
            [allow(**when("Null", "aws:PrincipalOrgID", "false"))],
            CHANGED,
            id="an allow that asks for any organisation",
        ),
        pytest.param(
            [allow(), deny(**when("Null", "aws:PrincipalOrgID", "true"))], CHANGED, id="a deny of whoever has none"
        ),
        pytest.param([allow(**when("DateLessThan", "aws:CurrentTime", "next year"))], CHANGED, id="an unreadable date"),
        pytest.param(
            [allow(action="kms:Decrypt"), allow(**when("Bool", "aws:MultiFactorAuthPresent", "true"))],
            CHANGED,
            id="a part without condition",
        ),
        pytest.param(
            [allow(), allow(**when("IpAddress", "aws:SourceIp", "192.0.2.0/24"))],
            GRANTED,
            id="an unneeded allow that cannot be judged",
        ),
        pytest.param(
            [deny(ROLE), allow(), deny(**when("StringNotEquals", "aws:SourceVpce", "vpce-1"))],
            REVOKED,
            id="a certain deny beside an uncertain one",
        ),
        pytest.param(
            [OWNER, deny(**when("StringNotEquals", "aws:SourceVpce", "vpce-1"))],
            REVOKED,
            id="an uncertain deny of what nothing allows",
        ),
        pytest.param(
            [allow(action="kms:Decrypt"), deny(action="kms:Encrypt", **when("Bool", "aws:SecureTransport", "false"))],
            REDUCED,
            id="an uncertain deny of one operation that nothing allows",
        ),
        pytest.param(
            [
                allow(**when("DateLessThan", "aws:CurrentTime", "2026-01-01")),
                deny(**when("StringNotEquals", "aws:SourceVpce", "vpce-1")),
            ],
            REVOKED,
            id="an uncertain deny beside an allow that is over",
        ),
        # --- grants for AWS resources
        pytest.param(
            [allow(**when("Bool", "kms:GrantIsForAWSResource", "true"))], REVOKED, id="uses asked to be grants"
        ),
        pytest.param(
            [allow(**when("BoolIfExists", "kms:GrantIsForAWSResource", "true"))], GRANTED, id="uses with IfExists"
        ),
    ],
)
def test_a_policy_is_judged(statements: list[Any], expected: Effect) -> None:
    assert verdict(*statements).effect is expected


CREATE = [access(operations=["kms:Decrypt", "kms:CreateGrant"])]


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (
            [
                allow(action=["kms:Decrypt"]),
                allow(action="kms:*Grant*", **when("Bool", "kms:GrantIsForAWSResource", "true")),
            ],
            GRANTED,
        ),
        (
            [
                allow(action=["kms:Decrypt"]),
                allow(action="kms:*Grant*", Condition={"Bool": {"kms:GrantIsForAWSResource": True}}),
            ],
            GRANTED,
        ),
        (
            [
                allow(action=["kms:Decrypt"]),
                allow(action="kms:*Grant*", **when("Bool", "kms:GrantIsForAWSResource", "false")),
            ],
            CHANGED,
        ),
        ([allow(action=["kms:Decrypt"])], REDUCED),
        (
            [
                allow(action=["kms:Decrypt", "kms:CreateGrant"]),
                deny(action="kms:CreateGrant", **when("Bool", "kms:GrantIsForAWSResource", "true")),
            ],
            REDUCED,
        ),
    ],
)
def test_a_grant_for_an_aws_resource_counts_as_given(statements: list[Any], expected: Effect) -> None:
    assert verdict(*statements, principals=CREATE).effect is expected


def until(operator: str, value: Any) -> dict[str, Any]:
    return when(operator, "aws:CurrentTime", value)


@pytest.mark.parametrize(
    ("statements", "expected", "end"),
    [
        pytest.param([allow(**until("DateLessThan", "2026-06-30T00:00:00Z"))], ENDING, (2026, 6, 30), id="allow until"),
        pytest.param(
            [allow(**until("DateLessThanEquals", "2026-06-30"))], ENDING, (2026, 6, 30), id="a day is its first moment"
        ),
        pytest.param([allow(**until("DateLessThan", 1782777600))], ENDING, (2026, 6, 30), id="epoch seconds"),
        pytest.param([allow(**until("DateLessThanIfExists", "2026-06-30"))], ENDING, (2026, 6, 30), id="IfExists"),
        pytest.param(
            [allow(**until("DateLessThan", ["2026-06-30", "2026-05-01"]))], ENDING, (2026, 6, 30), id="the later of two"
        ),
        pytest.param([allow(**until("DateLessThan", "2026-01-31"))], REVOKED, None, id="already over"),
        pytest.param([allow(**until("DateGreaterThan", "2026-01-31"))], GRANTED, None, id="already begun"),
        pytest.param([allow(**until("DateGreaterThan", "2026-04-01"))], REVOKED, None, id="not begun"),
        pytest.param(
            [
                allow(
                    Condition={
                        "DateGreaterThan": {"aws:CurrentTime": "2026-01-01"},
                        "DateLessThan": {"aws:CurrentTime": "2026-04-01"},
                    }
                )
            ],
            ENDING,
            (2026, 4, 1),
            id="between two moments",
        ),
        pytest.param(
            [
                allow(
                    Condition={
                        "DateGreaterThan": {"aws:CurrentTime": "2026-05-01"},
                        "DateLessThan": {"aws:CurrentTime": "2026-04-01"},
                    }
                )
            ],
            REVOKED,
            None,
            id="never",
        ),
        pytest.param([allow(**until("DateNotEquals", "2026-04-01"))], GRANTED, None, id="not at one moment"),
        pytest.param([allow(**until("DateLessThan", "2026-06-30")), allow()], GRANTED, None, id="another allow stays"),
        pytest.param(
            [allow(**until("DateLessThan", "2026-06-30")), allow(**until("DateGreaterThan", "2026-06-01"))],
            GRANTED,
            None,
            id="taken over without a gap",
        ),
        pytest.param(
            [allow(**until("DateLessThan", "2026-06-01")), allow(**until("DateGreaterThan", "2026-06-30"))],
            ENDING,
            (2026, 6, 1),
            id="taken over with a gap",
        ),
        pytest.param(
            [allow(), deny(ROLE, **until("DateGreaterThanEquals", "2026-05-01"))], ENDING, (2026, 5, 1), id="deny from"
        ),
        pytest.param([allow(), deny(ROLE, **until("DateGreaterThan", "2026-03-01"))], REVOKED, None, id="deny since"),
        pytest.param(
            [allow(), deny(ROLE, **until("DateLessThan", "2026-05-01"))], REVOKED, None, id="deny that ends later"
        ),
        pytest.param(
            [allow(), deny(ROLE, **until("DateLessThan", "2026-03-01"))], GRANTED, None, id="deny that has ended"
        ),
        pytest.param(
            [allow(**until("DateLessThan", "2026-06-30")), deny(ROLE, **until("DateGreaterThan", "2026-05-01"))],
            ENDING,
            (2026, 5, 1),
            id="the earlier of both",
        ),
        pytest.param(
            [
                allow(action=["kms:Decrypt", "kms:DescribeKey"]),
                allow(action=USES, **until("DateLessThan", "2026-06-30")),
            ],
            ENDING,
            (2026, 6, 30),
            id="one operation ends",
        ),
        pytest.param(
            [allow(**until("DateLessThan", "2026-06-30") | {"Action": "kms:Decrypt"})],
            REDUCED,
            None,
            id="loss outranks the end",
        ),
    ],
)
def test_time_limits_are_told(statements: list[Any], expected: Effect, end: tuple[int, int, int] | None) -> None:
    found = verdict(*statements)
    assert (found.effect, found.until) == (expected, datetime(*end, tzinfo=UTC) if end else None)


def test_a_time_limit_cannot_be_judged_without_an_event_time() -> None:
    assert verdict(allow(**until("DateLessThan", "2026-06-30")), at=None).effect is CHANGED
    assert verdict(allow(), at=None).effect is GRANTED


TWO = [access(), access(BACKUP_ROLE, operations=["kms:Decrypt"])]


@pytest.mark.parametrize(
    ("statements", "expected", "subject"),
    [
        ([allow([ROLE, BACKUP_ROLE])], GRANTED, None),
        ([allow(ROLE)], REVOKED, BACKUP_ROLE),
        ([allow([ROLE, BACKUP_ROLE.replace("batch/", "")])], REVOKED, BACKUP_ROLE),
        ([allow(ROLE, ["kms:Decrypt"]), allow(BACKUP_ROLE)], REDUCED, ROLE),
        ([allow(ROLE, ["kms:Decrypt"])], REVOKED, BACKUP_ROLE),
        ([allow(ROLE), allow(BACKUP_ROLE, **when("IpAddress", "aws:SourceIp", "192.0.2.1"))], CHANGED, BACKUP_ROLE),
        (
            [
                allow(ROLE, **until("DateLessThan", "2026-06-30")),
                allow(BACKUP_ROLE, **until("DateLessThan", "2026-05-01")),
            ],
            ENDING,
            BACKUP_ROLE,
        ),
    ],
)
def test_the_worst_of_several_principals_counts(statements: list[Any], expected: Effect, subject: str | None) -> None:
    found = verdict(*statements, principals=TWO)
    assert (found.effect, found.subject) == (expected, subject)


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ([OWNER], CHANGED),
        ([OWNER, deny(ROLE)], REVOKED),
        ([OWNER, deny(**when("StringEquals", "aws:PrincipalAccount", VENDOR))], REVOKED),
        ([OWNER, deny(ROLE, "kms:Decrypt")], REDUCED),
        ([OWNER, deny(f"arn:aws:iam::{GLOBEX}:role/x")], CHANGED),
        ([OWNER, allow()], GRANTED),
        ([OWNER, allow(ROLE, "kms:Decrypt")], CHANGED),
        ([OWNER, deny(ROLE, **when("IpAddress", "aws:SourceIp", "192.0.2.1"))], CHANGED),
    ],
)
def test_a_grant_survives_a_policy_that_does_not_deny(statements: list[Any], expected: Effect) -> None:
    assert verdict(*statements, principals=[access(via="grant")]).effect is expected


@pytest.mark.parametrize(
    "policy",
    [
        None,
        "",
        "{",
        '{"Version":"2012-10-17","Statement":[{"Ef',
        "[]",
        "5",
        5,
        [],
        "null",
        "{}",
        '{"Statement":null}',
        '{"Statement":["x"]}',
        '{"Statement":[null]}',
        '{"Statement":[{"Effect":"Maybe"}]}',
        "\ud800",
        "[" * 100_000,
    ],
)
def test_what_is_no_policy_cannot_be_judged(policy: object) -> None:
    found = verdict(policy=policy)
    assert (found.effect, found.probe) == (CHANGED, True)


def test_a_single_statement_may_stand_without_a_list() -> None:
    assert verdict(policy=json.dumps({"Statement": allow()})).effect is GRANTED


def test_a_policy_may_be_an_object_already() -> None:
    assert verdict(policy={"Statement": [allow()]}).effect is GRANTED


def test_latin_letters_in_the_text_do_no_harm() -> None:
    assert verdict(allow(Sid="Schlüssel für Acme")).effect is GRANTED


def test_a_key_that_serves_nobody_registered_cannot_be_judged() -> None:
    assert verdict(allow(), principals=[]).effect is CHANGED


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ([OWNER, allow()], WEAKENED),
        ([OWNER], REVOKED),
        ([OWNER, allow(**until("DateLessThan", "2026-06-30"))], ENDING),
        ([OWNER, allow(**when("IpAddress", "aws:SourceIp", "192.0.2.1"))], CHANGED),
    ],
)
def test_a_skipped_safety_check_counts_when_nothing_worse_does(statements: list[Any], expected: Effect) -> None:
    assert verdict(*statements, bypass=True).effect is expected


def test_a_lock_out_of_the_owner_is_said() -> None:
    reader = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{GLOBEX}:role/reader"}, "Action": "kms:Decrypt"}
    assert "only AWS Support" in verdict(reader | {"Resource": "*"}).reason
    assert "only AWS Support" not in verdict(OWNER).reason
    admin = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{GLOBEX}:role/admin"}, "Action": "kms:Put*"}
    assert "only AWS Support" not in verdict(admin | {"Resource": "*"}).reason


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (
            [OWNER],
            (
                "no longer allows kms:Decrypt, kms:Encrypt, kms:GenerateDataKey and kms:DescribeKey to "
                f"{ROLE}: no statement names it."
            ),
        ),
        ([OWNER, allow(), deny(ROLE, Sid="freeze")], "statement 3 (freeze) denies it."),
        ([OWNER, allow(**until("DateLessThan", "2026-01-31"))], "the statement that allowed it ended on 2026-01-31"),
        ([OWNER, allow(action="kms:Decrypt")], "kms:Encrypt, kms:GenerateDataKey and kms:DescribeKey is lost"),
        ([OWNER, allow(**when("IpAddress", "aws:SourceIp", "192.0.2.1"))], "statement 2 depends on something"),
    ],
)
def test_the_reason_says_why(statements: list[Any], words: str) -> None:
    assert words in verdict(*statements).reason


def test_another_partition_has_its_own_accounts() -> None:
    gov = [access(GOV_ROLE)]
    assert verdict(allow(GOV_ROLE), principals=gov, arn=GOV).effect is GRANTED
    assert verdict(allow(f"arn:aws-us-gov:iam::{VENDOR_GOV}:root"), principals=gov, arn=GOV).effect is GRANTED
    assert verdict(allow(f"arn:aws:iam::{VENDOR_GOV}:root"), principals=gov, arn=GOV).effect is REVOKED
    assert verdict(allow(GOV_ROLE.replace("aws-us-gov", "aws")), principals=gov, arn=GOV).effect is REVOKED


def test_an_organisation_that_is_not_registered_cannot_be_judged() -> None:
    statements = allow(GOV_ROLE), deny(**when("StringNotEquals", "aws:PrincipalOrgID", "o-globex12345"))
    assert verdict(*statements, principals=[access(GOV_ROLE)], arn=GOV).effect is CHANGED


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        (["Decrypt"], ["kms:Decrypt"]),
        (["kms:ReEncrypt"], ["kms:ReEncryptFrom", "kms:ReEncryptTo"]),
        (["kms:ReEncrypt*"], ["kms:ReEncryptFrom", "kms:ReEncryptTo"]),
        (["kms:GenerateDataKey"], ["kms:GenerateDataKey"]),
        (
            ["kms:GenerateDataKey*"],
            [
                "kms:GenerateDataKey",
                "kms:GenerateDataKeyPair",
                "kms:GenerateDataKeyPairWithoutPlaintext",
                "kms:GenerateDataKeyWithoutPlaintext",
            ],
        ),
        (["kms:SomethingNew"], ["kms:SomethingNew"]),
    ],
)
def test_needed_operations_are_spelled_out(operations: list[str], expected: list[str]) -> None:
    assert needed(Access(principal=ROLE, operations=operations)) == expected


def test_a_wildcard_in_the_register_is_reduced_when_one_of_its_operations_is_missing() -> None:
    wanted = [access(operations=["kms:GenerateDataKey*"])]
    assert verdict(allow(action="kms:GenerateDataKey"), principals=wanted).effect is REDUCED
    assert verdict(allow(action="kms:GenerateDataKey*"), principals=wanted).effect is GRANTED


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("", "", True),
        ("*", "", True),
        ("a*", "abc", True),
        ("*c", "abc", True),
        ("a*c", "abbc", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("a*b*c", "aXbYc", True),
        ("a*b*c", "acb", False),
        ("abc", "abcd", False),
        ("**", "x", True),
        ("*a*a*", "banana", True),
    ],
)
def test_wildcards_match_as_in_policies(pattern: str, value: str, *, matches: bool) -> None:
    assert glob(pattern, value) is matches


def test_a_hostile_pattern_does_not_take_long() -> None:
    begun = time.process_time()
    assert not glob("*a" * 500 + "b", "a" * 2000)
    assert time.process_time() - begun < 2


def test_thirty_kilobytes_of_statements_are_read_to_the_last() -> None:
    team = [allow(f"arn:aws:iam::{GLOBEX}:role/team-{number:03}", ["kms:Decrypt"]) for number in range(200)]
    assert verdict(*team, allow()).effect is GRANTED
    assert verdict(*team).effect is REVOKED
