"""Which key a record names, in every form in which keys arrive, and who acted."""

from typing import Any

import pytest

from tests.watchdog.clouds.aws.events import ADMIN, APPLICATION, event, raw, record, use
from tests.watchdog.clouds.aws.readout import labelled
from tests.watchdog.clouds.aws.world import (
    ALIAS,
    BACKUP_ROLE_ID,
    GLOBEX,
    GLOBEX_MANAGEMENT,
    GOV,
    GOV_ROLE,
    IMPORTED,
    INITECH,
    KEY,
    PRIMARY,
    REPLICA,
    ROLE,
    ROLE_ID,
    STRANGER,
    UNWATCHED,
    VENDOR,
    VENDOR_GOV,
    register,
)
from watchdog.clouds import aws

REGISTER = register()
ID = KEY.rpartition("/")[2]


def named(**fields: Any) -> list[str | None]:
    signals = aws.meaning(raw(record("FreezeKey", **fields)), REGISTER)
    return [signal.key for signal in signals]


NOWHERE: dict[str, Any] = {"resources": None, "responseElements": None, "requestParameters": None}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, KEY, id="everywhere"),
        pytest.param(NOWHERE | {"resources": [{"ARN": KEY}]}, KEY, id="resources without type and owner"),
        pytest.param(
            NOWHERE | {"resources": [{"accountId": "AWS Internal", "ARN": KEY}]}, KEY, id="owner AWS Internal"
        ),
        pytest.param(NOWHERE | {"resources": {"ARN": KEY}}, KEY, id="one resource in place of a list"),
        pytest.param(NOWHERE | {"resources": [None, 5, {"ARN": None}, {"ARN": KEY}]}, KEY, id="odd resources beside"),
        pytest.param(
            NOWHERE
            | {
                "resources": [
                    {
                        "ARN": KEY.upper()
                        .replace("ARN:AWS:KMS:EU-WEST-1", "arn:aws:kms:eu-west-1")
                        .replace("KEY/", "key/")
                    }
                ]
            },
            KEY,
            id="hex in capitals",
        ),
        pytest.param(NOWHERE | {"resources": [{"ARN": ALIAS}]}, KEY, id="a registered alias in resources"),
        pytest.param(NOWHERE | {"resources": [{"ARN": f"{ALIAS}-x"}, {"ARN": KEY}]}, KEY, id="an unknown alias first"),
        pytest.param(NOWHERE | {"responseElements": {"keyId": KEY}}, KEY, id="response"),
        pytest.param(NOWHERE | {"requestParameters": {"keyId": KEY}}, KEY, id="request, ARN"),
        pytest.param(NOWHERE | {"requestParameters": {"keyId": ALIAS}}, KEY, id="request, alias ARN"),
        pytest.param(NOWHERE | {"requestParameters": {"keyId": ID}}, KEY, id="request, bare id"),
        pytest.param(NOWHERE | {"requestParameters": {"keyId": ID.upper()}}, KEY, id="request, bare id in capitals"),
        pytest.param(
            NOWHERE | {"requestParameters": {"keyId": "alias/acme-instance-1"}}, KEY, id="request, alias name"
        ),
        pytest.param(NOWHERE | {"responseElements": {"keyId": ID}}, KEY, id="response, bare id"),
        pytest.param(NOWHERE | {"serviceEventDetails": {"keyId": ID}}, KEY, id="service event, bare id"),
        pytest.param(NOWHERE | {"serviceEventDetails": {"keyId": KEY}}, KEY, id="service event, ARN"),
        pytest.param(
            {"resources": [{"ARN": KEY}], "responseElements": {"keyId": IMPORTED}}, KEY, id="resources decide"
        ),
        pytest.param({"resources": [], "responseElements": {"keyId": IMPORTED}}, IMPORTED, id="then the response"),
        pytest.param({"awsRegion": "us-east-1"}, KEY, id="the ARN outranks the Region"),
        pytest.param({"resources": [{"ARN": UNWATCHED}]}, None, id="an unwatched key decides as well"),
        pytest.param(NOWHERE | {"requestParameters": {"keyId": ID[:-1] + "c"}}, None, id="one digit off"),
        pytest.param(
            NOWHERE | {"requestParameters": {"keyId": ID}, "recipientAccountId": INITECH},
            None,
            id="the same id in another account",
        ),
        pytest.param(
            NOWHERE | {"requestParameters": {"keyId": ID}, "awsRegion": "eu-west-2"},
            None,
            id="the same id in another Region",
        ),
        pytest.param({"resources": [{"ARN": PRIMARY}], "responseElements": None}, None, id="an unwatched sibling"),
        pytest.param({"resources": [{"ARN": REPLICA}]}, REPLICA, id="a watched replica"),
        pytest.param(
            NOWHERE | {"requestParameters": {"keyId": REPLICA.rpartition("/")[2]}}, REPLICA, id="a bare mrk id"
        ),
        pytest.param(NOWHERE | {"requestParameters": {"keyId": f"x{KEY}"}}, None, id="no ARN at the beginning"),
        pytest.param(NOWHERE | {"requestParameters": {"keyId": f"{KEY}0"}}, None, id="one character more"),
        pytest.param(NOWHERE | {"requestParameters": {"keyId": [KEY]}}, None, id="a list in place of an id"),
        pytest.param(NOWHERE, None, id="nowhere"),
        pytest.param(
            NOWHERE | {"requestParameters": {"keyId": "alias/Acme-instance-1"}}, None, id="alias names distinguish case"
        ),
    ],
)
def test_a_key_is_found_in_every_form(fields: dict[str, Any], expected: str | None) -> None:
    assert named(**fields) == [expected]


def test_a_bare_id_in_a_gov_region_belongs_to_that_partition() -> None:
    fields = NOWHERE | {
        "requestParameters": {"keyId": GOV.rpartition("/")[2]},
        "awsRegion": "us-gov-west-1",
        "recipientAccountId": INITECH,
    }
    assert named(**fields) == [GOV]


def test_a_call_that_names_several_watched_keys_gives_a_signal_each() -> None:
    assert named(resources=[{"ARN": KEY}, {"ARN": UNWATCHED}, {"ARN": IMPORTED}, {"ARN": KEY}]) == [KEY, IMPORTED]


def failed(message: str | None, **fields: Any) -> list[dict[str, Any]]:
    made = use(errorCode="DisabledException", errorMessage=message, **fields)
    return [labelled(signal) for signal in aws.meaning(raw(made), REGISTER)]


def test_the_message_of_a_failed_use_outranks_the_resources() -> None:
    both = [{"ARN": KEY}, {"ARN": IMPORTED}]
    assert [one.get("key") for one in failed(f"{IMPORTED} is disabled.", resources=both)] == [IMPORTED]
    assert failed(f"{UNWATCHED} is disabled.", resources=both) == [{"effect": "no_effect"}]
    assert [one.get("key") for one in failed(None, resources=both)] == [KEY, IMPORTED]


@pytest.mark.parametrize("around", ["'{}' is disabled", '"{}", is disabled', "({}): is disabled", "{}: is disabled"])
def test_what_stands_around_an_arn_does_not_get_into_it(around: str) -> None:
    found = failed(around.format(KEY), resources=None, requestParameters=None)
    assert [one.get("key") for one in found] == [KEY]


def test_a_failure_that_names_no_key_is_told_without_one() -> None:
    found = aws.meaning(raw(use(errorCode="AccessDenied", errorMessage="no", **NOWHERE)), REGISTER)
    assert [labelled(one) for one in found] == [
        {"effect": "use_failed", "fault": "unknown", "cause": "access_denied", "probe": True}
    ]


def used_by(identity: dict[str, Any], **fields: Any) -> str:
    return aws.meaning(raw(use(userIdentity=identity, **fields)), REGISTER)[0].effect


SESSION = f"arn:aws:sts::{VENDOR}:assumed-role/acme-instance-1/i-1"


@pytest.mark.parametrize(
    ("identity", "fields"),
    [
        pytest.param({"arn": SESSION, "accountId": VENDOR}, {}, id="a session of the role"),
        pytest.param({"arn": ROLE, "accountId": VENDOR}, {}, id="the role itself"),
        pytest.param(
            {"arn": f"arn:aws:sts::{VENDOR}:assumed-role/acme-backup/x"}, {}, id="a role whose path is dropped"
        ),
        pytest.param({"sessionContext": {"sessionIssuer": {"arn": ROLE}}}, {}, id="the session's issuer"),
        pytest.param(
            {"type": "AWSAccount", "principalId": f"{ROLE_ID}:i-1", "accountId": VENDOR},
            {"recipientAccountId": GLOBEX},
            id="the unique id in the owner's copy",
        ),
        pytest.param({"type": "AWSAccount", "principalId": BACKUP_ROLE_ID}, {}, id="the unique id alone"),
        pytest.param(
            {"type": "AWSService", "invokedBy": "rds.amazonaws.com"}, {}, id="a service in the vendor's account"
        ),
        pytest.param(
            {
                "type": "AssumedRole",
                "accountId": VENDOR,
                "arn": f"arn:aws:sts::{VENDOR}:assumed-role/aws:ec2-infrastructure/i-1",
            },
            {},
            id="EC2's own role",
        ),
        pytest.param(
            {"type": "AWSAccount", "accountId": VENDOR, "principalId": f"{VENDOR}:aws:ec2-infrastructure:i-1"},
            {"recipientAccountId": GLOBEX},
            id="EC2's own role in the owner's copy",
        ),
    ],
)
def test_the_vendor_is_recognised(identity: dict[str, Any], fields: dict[str, Any]) -> None:
    assert used_by(identity, **fields) == "use_succeeded"


@pytest.mark.parametrize(
    ("identity", "fields"),
    [
        pytest.param(
            {"arn": SESSION.replace("instance-1", "instance-10"), "accountId": VENDOR}, {}, id="a longer name"
        ),
        pytest.param({"arn": SESSION.replace(VENDOR, STRANGER), "accountId": STRANGER}, {}, id="another account"),
        pytest.param({"arn": SESSION.replace(":aws:", ":aws-us-gov:")}, {}, id="another partition"),
        pytest.param({"arn": f"arn:aws:iam::{VENDOR}:user/acme-instance-1"}, {}, id="a user of that name"),
        pytest.param(
            {"type": "Root", "arn": f"arn:aws:iam::{VENDOR}:root", "accountId": VENDOR}, {}, id="the root user"
        ),
        pytest.param(
            {"type": "AWSService", "invokedBy": "rds.amazonaws.com"},
            {"recipientAccountId": GLOBEX},
            id="a service in the customer's account",
        ),
        pytest.param(
            {
                "type": "AssumedRole",
                "accountId": GLOBEX,
                "arn": f"arn:aws:sts::{GLOBEX}:assumed-role/aws:ec2-infrastructure/i-1",
            },
            {"recipientAccountId": GLOBEX},
            id="EC2's own role of the customer",
        ),
        pytest.param({"principalId": f"{ROLE_ID}X:i-1"}, {}, id="a longer unique id"),
        pytest.param({"principalId": ["x"], "arn": 5, "accountId": {}}, {}, id="fields of wrong types"),
        pytest.param(ADMIN, {"recipientAccountId": GLOBEX}, id="the customer"),
    ],
)
def test_nobody_else_is_the_vendor(identity: dict[str, Any], fields: dict[str, Any]) -> None:
    assert used_by(identity, **fields) == "no_effect"


def test_a_gov_role_is_recognised_in_its_own_partition_only() -> None:
    session = f"arn:aws-us-gov:sts::{VENDOR_GOV}:assumed-role/acme-gov/i-1"
    fields = {"awsRegion": "us-gov-west-1", "resources": [{"ARN": GOV}], "recipientAccountId": VENDOR_GOV}
    assert used_by({"arn": session, "accountId": VENDOR_GOV}, **fields) == "use_succeeded"
    assert used_by({"arn": GOV_ROLE}, **fields) == "use_succeeded"
    assert used_by({"arn": session.replace("aws-us-gov", "aws")}, **fields) == "no_effect"


@pytest.mark.parametrize(
    ("identity", "recipient", "fault"),
    [
        (ADMIN, GLOBEX, "customer"),
        ({"type": "Root", "accountId": GLOBEX, "arn": f"arn:aws:iam::{GLOBEX}:root"}, GLOBEX, "customer"),
        ({"accountId": GLOBEX, "invokedBy": "AWS Internal"}, GLOBEX, "customer"),
        ({}, GLOBEX, "customer"),
        ({"accountId": GLOBEX_MANAGEMENT}, GLOBEX, "customer"),
        (APPLICATION, GLOBEX, "vendor"),
    ],
)
def test_the_fault_follows_from_the_account_of_the_actor(identity: dict[str, Any], recipient: str, fault: str) -> None:
    signal = aws.meaning(raw(record(userIdentity=identity, recipientAccountId=recipient)), REGISTER)[0]
    assert (signal.effect, signal.fault) == ("key_disabled", fault)


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        ({"arn": "arn:aws:iam::1:user/ünïcödé\u202e", "userName": "x"}, "arn:aws:iam::1:user/ünïcödé\u202e"),
        ({"userName": "jane", "principalId": "AIDA"}, "jane"),
        ({"type": "AWSAccount", "principalId": "AROAX:i-1", "accountId": VENDOR}, "AROAX:i-1"),
        ({"accountId": GLOBEX, "invokedBy": "AWS Internal"}, "AWS Internal"),
        ({"accountId": GLOBEX}, GLOBEX),
    ],
)
def test_the_actor_is_named_as_the_log_names_it(identity: dict[str, Any], name: str) -> None:
    actor = aws.meaning(raw(event(record(userIdentity=identity))), REGISTER)[0].actor
    assert actor is not None
    assert actor.name == name


@pytest.mark.parametrize("identity", [None, [], "x", {}, {"arn": None}])
def test_a_record_that_names_nobody_has_no_actor(identity: object) -> None:
    assert aws.meaning(raw(record(userIdentity=identity)), REGISTER)[0].actor is None
