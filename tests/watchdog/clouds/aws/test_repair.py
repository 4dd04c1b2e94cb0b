"""Repair steps carry exact commands, each with an owner, and never a text that a record could have smuggled in."""

import re
from itertools import product

import pytest

from tests.watchdog.clouds.aws.world import (
    ALIAS,
    BUS_RULE,
    GLOBEX,
    GOV,
    GRANT,
    GRANTED,
    IMPORTED,
    KEY,
    OPT_IN,
    PRIMARY,
    REPLICA,
    ROLE,
    RULE,
    SERVICE_GRANT,
    STORE,
    STORED,
    TRAIL,
    register,
)
from watchdog.clouds import aws
from watchdog.words import LOSS, RISK, Cause, Effect, Means, Owner

REGISTER = register()
MATERIAL = "a1" * 32


def commands(effect: Effect, key: str, **facts: object) -> list[str]:
    steps = aws.steps(effect, REGISTER.keys[key], REGISTER, **facts)  # type: ignore[arg-type]  # means, subject, cause
    return [step.command for step in steps if step.command]


def owners(effect: Effect, key: str, **facts: object) -> list[Owner]:
    return [step.owner for step in aws.steps(effect, REGISTER.keys[key], REGISTER, **facts)]  # type: ignore[arg-type]


ENABLE = f"aws kms enable-key --region eu-west-1 --key-id {KEY}"


@pytest.mark.parametrize("effect", [Effect.KEY_DISABLED, Effect.DELETION_CANCELLED])
def test_a_disabled_key_is_enabled(effect: Effect) -> None:
    assert commands(effect, KEY) == [ENABLE]


def test_a_deletion_is_cancelled_and_then_the_key_enabled() -> None:
    cancel = f"aws kms cancel-key-deletion --region eu-west-1 --key-id {KEY}"
    assert commands(Effect.KEY_DELETION_SCHEDULED, KEY) == [cancel, ENABLE]


def test_the_region_and_the_partition_are_the_key_s() -> None:
    assert commands(Effect.KEY_DISABLED, GOV) == [f"aws kms enable-key --region us-gov-west-1 --key-id {GOV}"]


def test_a_destroyed_key_has_no_command_but_a_replica_has() -> None:
    assert commands(Effect.KEY_DESTROYED, KEY) == []
    assert owners(Effect.KEY_DESTROYED, KEY) == [Owner.CUSTOMER]
    assert commands(Effect.KEY_DESTROYED, REPLICA) == [
        f"aws kms replicate-key --region us-east-1 --key-id {PRIMARY} --replica-region eu-west-1 --policy file://p.json"
    ]


@pytest.mark.parametrize("effect", [Effect.KEY_MATERIAL_REMOVED, Effect.KEY_EXPIRED])
def test_material_is_imported_again(effect: Effect) -> None:
    found = commands(effect, IMPORTED)
    assert [command.split()[2] for command in found] == [
        "list-key-rotations",
        "get-parameters-for-import",
        "import-key-material",
    ]
    assert found[1].endswith("--wrapping-algorithm RSAES_OAEP_SHA_256 --wrapping-key-spec RSA_3072")
    assert found[2].endswith("--expiration-model KEY_MATERIAL_DOES_NOT_EXPIRE")
    named = commands(effect, IMPORTED, subject=MATERIAL)[2]
    assert named.endswith(f" --import-type EXISTING_KEY_MATERIAL --key-material-id {MATERIAL}")


def test_a_store_is_connected_and_then_looked_at() -> None:
    store = f"--region eu-central-1 --custom-key-store-id {STORE}"
    assert commands(Effect.KEY_STORE_DISCONNECTED, STORED, subject=STORE) == [
        f"aws kms connect-custom-key-store {store}",
        f"aws kms describe-custom-key-stores {store}",
    ]
    assert commands(Effect.KEY_STORE_DISCONNECTED, KEY) == []


def test_a_key_policy_is_fetched_mended_and_stored() -> None:
    target = f"--region eu-west-1 --key-id {KEY} --policy-name default"
    assert commands(Effect.ACCESS_REVOKED, KEY, means=Means.KEY_POLICY, subject=ROLE) == [
        f"aws kms get-key-policy {target} --query Policy --output text > p.json",
        f"aws kms put-key-policy {target} --policy file://p.json",
    ]


def test_a_grant_is_made_again_with_what_the_register_knows() -> None:
    assert commands(Effect.ACCESS_REVOKED, GRANTED, means=Means.GRANT, subject=GRANT) == [
        (
            f"aws kms create-grant --region eu-west-1 --key-id {GRANTED} --grantee-principal {ROLE} "
            "--operations Decrypt DescribeKey"
        )
    ]


def test_a_grant_of_a_service_is_left_to_the_service() -> None:
    found = aws.steps(Effect.ACCESS_REVOKED, REGISTER.keys[GRANTED], REGISTER, means=Means.GRANT, subject=SERVICE_GRANT)
    assert [(step.owner, step.command) for step in found] == [(Owner.VENDOR, None)]
    assert "database acme-db-1" in found[0].text


def test_the_vendor_mends_its_own_roles() -> None:
    assert owners(Effect.ACCESS_REVOKED, KEY, means=Means.IDENTITY, subject=ROLE) == [Owner.VENDOR, Owner.CUSTOMER]
    assert owners(Effect.ACCESS_CHANGED, KEY, means=Means.ROLE_OR_POLICY, subject=ROLE) == [Owner.VENDOR]


def test_an_organisation_policy_is_detached_where_it_was_attached() -> None:
    found = commands(Effect.ACCESS_CHANGED, KEY, means=Means.ORG_CONTROL, subject=f"p-examplepolicy on {GLOBEX}")
    assert found == [f"aws organizations detach-policy --policy-id p-examplepolicy --target-id {GLOBEX}"]
    assert commands(Effect.ACCESS_CHANGED, KEY, means=Means.ORG_CONTROL) == []


def test_a_region_is_switched_on_and_an_account_is_left_to_support() -> None:
    on = "aws account enable-region --region-name me-south-1"
    assert commands(Effect.CONTAINER_LOST, OPT_IN, subject="me-south-1") == [on]
    assert commands(Effect.CONTAINER_LOST, KEY, subject=GLOBEX) == []
    assert "AWS Support" in aws.steps(Effect.CONTAINER_LOST, REGISTER.keys[KEY], REGISTER, subject=GLOBEX)[0].text


def test_an_alias_is_pointed_back() -> None:
    assert commands(Effect.KEY_CHANGED, KEY, subject=ALIAS) == [
        (
            "aws kms update-alias --region eu-west-1 --alias-name alias/acme-instance-1 "
            "--target-key-id 1234abcd-12ab-34cd-56ef-1234567890ab"
        )
    ]


def test_a_feed_is_switched_on_again() -> None:
    assert commands(Effect.FEED_TAMPERED, KEY, subject=TRAIL) == [
        f"aws cloudtrail start-logging --region eu-west-1 --name {TRAIL}"
    ]
    enable = "aws events enable-rule --region eu-west-1 --name to-acme"
    assert commands(Effect.FEED_TAMPERED, KEY, subject=RULE) == [enable]
    assert commands(Effect.FEED_TAMPERED, KEY, subject=BUS_RULE) == [f"{enable} --event-bus-name security"]


def test_a_failed_use_is_mended_by_its_cause() -> None:
    assert commands(Effect.USE_FAILED, KEY, cause=Cause.DISABLED) == [ENABLE]
    assert owners(Effect.USE_FAILED, KEY, cause=Cause.THROTTLED) == [Owner.VENDOR]
    assert owners(Effect.USE_FAILED, KEY, cause=Cause.TRANSIENT) == [Owner.PROVIDER]


def test_every_loss_and_risk_has_a_step() -> None:
    for effect in (LOSS | RISK | {Effect.FEED_TAMPERED}) - {Effect.USE_FAILED}:
        assert aws.steps(effect, REGISTER.keys[KEY], REGISTER), effect
    for cause in Cause:
        assert aws.steps(Effect.USE_FAILED, REGISTER.keys[KEY], REGISTER, cause=cause), cause


HOSTILE = [
    f"{GRANT}; rm -rf /",
    "$(reboot)",
    "`reboot`",
    f"{ROLE} --profile x",
    f"{TRAIL}\nreboot",
    f"{RULE};reboot",
    f"{ALIAS} && reboot",
    "p-examplepolicy on 111122223333; reboot",
    f"{STORE}|reboot",
    "me-south-1;reboot",
    "\u202egnp",
    "-x",
    "",
    "arn:aws:events:eu-west-1;reboot:1:rule/x",
    "arn:aws:cloudtrail:eu-west-1:1:trail/x y",
]
SAFE = re.compile(r"aws [a-z]+ [A-Za-z0-9 :/._*=,+@-]+(?: > p\.json)?")


@pytest.mark.parametrize("subject", HOSTILE)
def test_no_command_carries_what_an_outsider_wrote(subject: str) -> None:
    for effect, means, key in product(Effect, (None, *Means), (KEY, GRANTED, STORED, OPT_IN)):
        for command in commands(effect, key, means=means, subject=subject):
            assert SAFE.fullmatch(command), command
            assert "reboot" not in command
            assert " -x" not in command
