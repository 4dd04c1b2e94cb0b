"""What a record claims is believed only when account, source, topic and key agree with the register."""

from typing import Any

import pytest

from tests.watchdog.clouds.aws.events import APPLICATION, event, notification, raw, record, use
from tests.watchdog.clouds.aws.world import (
    ALIAS,
    GLOBEX,
    GLOBEX_MANAGEMENT,
    GRANT,
    GRANTED,
    INITECH,
    KEY,
    OPT_IN,
    STORE,
    STORED,
    STRANGER,
    TOPIC,
    TRAIL,
    UNWATCHED,
    VENDOR,
    VENDOR_TOPIC,
    register,
)
from watchdog.clouds import aws

REGISTER = register()


def effects(content: Any) -> set[str]:
    return {str(signal.effect) for signal in aws.meaning(raw(content), REGISTER)}


NOISE: dict[str, Any] = {"resources": [], "responseElements": None, "requestParameters": {"instanceType": "m7g.large"}}


def noise(**fields: Any) -> dict[str, Any]:
    return record("RunInstances", eventSource="ec2.amazonaws.com", **(NOISE | fields))


def native(**fields: Any) -> dict[str, Any]:
    kind = {"detail-type": "KMS CMK Deletion", "source": "aws.kms", "resources": [KEY]}
    detail = fields.pop("detail", {"key-id": KEY.rpartition("/")[2]})
    return event(detail, **(kind | {"account": GLOBEX} | fields))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(event(record()), "key_disabled", id="all agree"),
        pytest.param(event(record(), account=int(GLOBEX)), "key_disabled", id="the account as a number"),
        pytest.param(event(record(recipientAccountId=...), account=GLOBEX), "key_disabled", id="no recipient"),
        pytest.param(event(record(), source="custom.kms"), "untrusted", id="a source that anybody can use"),
        pytest.param(event(record(), source="AWS.kms"), "untrusted", id="a source in capitals"),
        pytest.param(event(record(), source="aws-kms"), "untrusted", id="a source that only looks like it"),
        pytest.param(event(record(), source="aws.s3"), "untrusted", id="another service's source"),
        pytest.param(event(record(), source="aws.kms2"), "untrusted", id="a longer source"),
        pytest.param(event(record(), source=5), "untrusted", id="a source that is no text"),
        pytest.param(event(record(), account=STRANGER), "untrusted", id="a stranger's account"),
        pytest.param(event(record(), account=None), "untrusted", id="no account"),
        pytest.param(event(record(recipientAccountId=STRANGER), account=GLOBEX), "untrusted", id="another recipient"),
        pytest.param(event(record(recipientAccountId=[GLOBEX]), account=GLOBEX), "key_disabled", id="an odd recipient"),
        pytest.param(event(record(recipientAccountId=INITECH)), "untrusted", id="another customer's account"),
        pytest.param(event(record(recipientAccountId=VENDOR)), "untrusted", id="the vendor's account about a change"),
        pytest.param(event(record(recipientAccountId=GLOBEX_MANAGEMENT)), "untrusted", id="the management account"),
        pytest.param(event(use()), "use_succeeded", id="a use in the vendor's account"),
        pytest.param(event(noise()), "no_effect", id="noise of a registered account"),
        pytest.param(event(noise(), source="acme.orders"), "untrusted", id="noise with a forged source"),
        pytest.param(event(noise(recipientAccountId=STRANGER, userIdentity={})), "no_effect", id="a stranger's noise"),
        pytest.param(
            event(noise(recipientAccountId=STRANGER, userIdentity={}), source="x"),
            "no_effect",
            id="a stranger's noise with any source",
        ),
        pytest.param(
            event(noise(recipientAccountId=STRANGER)), "untrusted", id="a stranger naming a registered account"
        ),
        pytest.param(
            event(noise(recipientAccountId=STRANGER, userIdentity={}, requestParameters={"k": KEY})),
            "untrusted",
            id="a stranger naming a watched key",
        ),
        pytest.param(
            event(record("EnableKeyRotation", recipientAccountId=INITECH)),
            "untrusted",
            id="a harmless change told by the wrong account",
        ),
        pytest.param(
            event(record("GetKeyPolicy", recipientAccountId=INITECH, readOnly=True)),
            "no_effect",
            id="a read told by another account",
        ),
        pytest.param(
            event(record(errorCode="AccessDenied", recipientAccountId=INITECH)),
            "attempt_failed",
            id="a refused change is logged in the caller's account",
        ),
        pytest.param(
            event(record(errorCode="DryRunOperationException", recipientAccountId=VENDOR)), "no_effect", id="a dry run"
        ),
        pytest.param(native(), "key_destroyed", id="native, all agree"),
        pytest.param(native(account=INITECH), "untrusted", id="native of another customer"),
        pytest.param(native(account=STRANGER), "untrusted", id="native of a stranger"),
        pytest.param(native(account=VENDOR), "untrusted", id="native of the vendor about a customer's key"),
        pytest.param(native(account=STRANGER, resources=[], detail={}), "no_effect", id="native, a stranger's own"),
        pytest.param(native(source="acme.kms"), "untrusted", id="native with a forged source"),
        pytest.param(native(resources=[UNWATCHED], detail={}), "no_effect", id="native of an unwatched key"),
        pytest.param(native(resources=None), "key_destroyed", id="native without resources"),
        pytest.param(native(**{"detail-type": "KMS CMK Restoration"}), "no_effect", id="native of an unknown kind"),
        pytest.param(
            event(use(recipientAccountId=INITECH, userIdentity={}, errorCode="DisabledException")),
            "untrusted",
            id="a key state told by another customer's account",
        ),
    ],
)
def test_an_eventbridge_event_is_believed_when_all_agrees(content: dict[str, Any], expected: str) -> None:
    assert effects(content) == {expected}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(record(), "key_disabled", id="the key's own account"),
        pytest.param(record(recipientAccountId=...), "key_disabled", id="no recipient, old records have none"),
        pytest.param(record(recipientAccountId=INITECH), "untrusted", id="another customer's account"),
        pytest.param(record(recipientAccountId=VENDOR), "untrusted", id="the vendor's account"),
        pytest.param(record(recipientAccountId=STRANGER), "untrusted", id="a stranger's account"),
        pytest.param(
            record("DeleteAlias", recipientAccountId=INITECH, resources=[{"ARN": ALIAS}]),
            "untrusted",
            id="an alias of another account",
        ),
        pytest.param(
            record(
                "DisconnectCustomKeyStore",
                requestParameters={"customKeyStoreId": STORE},
                resources=None,
                responseElements=None,
                recipientAccountId=GLOBEX,
            ),
            "untrusted",
            id="a store of another account",
        ),
        pytest.param(
            use(recipientAccountId=STRANGER, userIdentity={}, errorCode="DisabledException"),
            "use_failed",
            id="a key state counts whoever meets it",
        ),
    ],
)
def test_a_bare_record_of_a_change_is_believed_from_the_key_s_account(content: dict[str, Any], expected: str) -> None:
    assert effects(content) == {expected}


def grant_of(recipient: str, identity: dict[str, Any]) -> dict[str, Any]:
    request = {"keyId": GRANTED, "grantId": GRANT}
    return record(
        "RevokeGrant",
        requestParameters=request,
        responseElements={"keyId": GRANTED},
        resources=[{"ARN": GRANTED}],
        recipientAccountId=recipient,
        userIdentity=identity,
    )


def test_a_grant_can_be_taken_across_accounts_by_the_vendor_only() -> None:
    assert effects(grant_of(GLOBEX, APPLICATION)) == {"access_revoked"}
    assert effects(grant_of(VENDOR, APPLICATION)) == {"access_revoked"}
    assert effects(grant_of(INITECH, {"accountId": INITECH})) == {"untrusted"}
    assert effects(grant_of(STRANGER, {"accountId": STRANGER})) == {"untrusted"}
    assert effects(grant_of(VENDOR, {"accountId": STRANGER})) == {"untrusted"}


def close(recipient: str, closed: str = GLOBEX) -> dict[str, Any]:
    return record(
        "CloseAccount",
        eventSource="organizations.amazonaws.com",
        requestParameters={"accountId": closed},
        recipientAccountId=recipient,
        userIdentity={"accountId": recipient},
    )


def test_only_the_registered_management_account_closes_an_account() -> None:
    assert effects(close(GLOBEX_MANAGEMENT)) == {"container_lost"}
    assert effects(event(close(GLOBEX_MANAGEMENT))) == {"container_lost"}
    for other in (STRANGER, INITECH, GLOBEX, VENDOR):
        assert effects(close(other)) == {"untrusted"}
    assert effects(close(GLOBEX_MANAGEMENT, closed=INITECH)) == {"untrusted"}
    assert effects(close(GLOBEX_MANAGEMENT, closed=STRANGER)) == {"no_effect"}


def attach(recipient: str) -> dict[str, Any]:
    return record(
        "AttachPolicy",
        eventSource="organizations.amazonaws.com",
        requestParameters={"policyId": "p-12345678", "targetId": GLOBEX},
        recipientAccountId=recipient,
    )


def test_an_organisation_policy_is_believed_from_the_customer_s_side() -> None:
    assert effects(attach(GLOBEX_MANAGEMENT)) == {"access_changed"}
    assert effects(attach(GLOBEX)) == {"access_changed"}  # a delegated administrator
    assert effects(attach(INITECH)) == {"untrusted"}
    assert effects(attach(STRANGER)) == {"untrusted"}


def region(recipient: str, **request: str) -> dict[str, Any]:
    return record(
        "DisableRegion",
        eventSource="account.amazonaws.com",
        requestParameters={"regionName": "me-south-1", **request},
        recipientAccountId=recipient,
    )


def test_a_region_is_switched_off_by_the_account_itself_or_its_organisation() -> None:
    assert effects(region(INITECH)) == {"container_lost"}
    assert effects(region(GLOBEX)) == {"no_effect"}
    assert effects(region(GLOBEX_MANAGEMENT, accountId=INITECH)) == {"untrusted"}
    assert OPT_IN == aws.meaning(raw(region(INITECH)), REGISTER)[0].key


def trail(recipient: str, name: str) -> dict[str, Any]:
    return record(
        "StopLogging",
        eventSource="cloudtrail.amazonaws.com",
        requestParameters={"name": name},
        recipientAccountId=recipient,
    )


def test_a_feed_is_stopped_by_its_owner() -> None:
    assert effects(trail(GLOBEX, TRAIL)) == {"feed_tampered"}
    assert effects(trail(GLOBEX_MANAGEMENT, TRAIL)) == {"feed_tampered"}
    assert effects(trail(INITECH, TRAIL)) == {"untrusted"}
    assert effects(trail(INITECH, "org-trail")) == {"no_effect"}


@pytest.mark.parametrize(
    ("content", "topic", "expected"),
    [
        pytest.param(event(record()), TOPIC, "key_disabled", id="the customer's topic"),
        pytest.param(event(record()), VENDOR_TOPIC, "key_disabled", id="the vendor's topic"),
        pytest.param(record(), TOPIC, "key_disabled", id="a bare record in the customer's topic"),
        pytest.param(event(record()), TOPIC.replace(GLOBEX, STRANGER), "untrusted", id="a stranger's topic"),
        pytest.param(event(record()), TOPIC + "x", "untrusted", id="a longer topic name"),
        pytest.param(event(record()), "", "untrusted", id="no topic"),
        pytest.param(event(noise()), TOPIC.replace(GLOBEX, STRANGER), "untrusted", id="noise in a stranger's topic"),
        pytest.param(
            {"s3Bucket": "b", "s3ObjectKey": ["k"]}, "arn:aws:sns:x:1:y", "untrusted", id="a stranger's notice"
        ),
        pytest.param(
            event(record("EnableKey", recipientAccountId=INITECH, resources=[{"ARN": STORED}], responseElements=None)),
            TOPIC,
            "untrusted",
            id="one customer's topic about another's key",
        ),
        pytest.param(event(use()), TOPIC, "untrusted", id="the vendor's account in a customer's topic"),
        pytest.param(event(use()), VENDOR_TOPIC, "use_succeeded", id="the vendor's account in its own topic"),
    ],
)
def test_an_sns_message_is_believed_from_a_registered_topic(content: Any, topic: str, expected: str) -> None:
    assert effects(notification(content, topic)) == {expected}


@pytest.mark.parametrize("kind", ["SubscriptionConfirmation", "UnsubscribeConfirmation"])
def test_a_confirmation_has_no_effect_and_comes_from_a_registered_topic(kind: str) -> None:
    assert effects(notification("You have chosen", TOPIC, Type=kind, SubscribeURL="https://x")) == {"no_effect"}
    assert effects(notification("You have chosen", "arn:aws:sns:x:1:y", Type=kind)) == {"untrusted"}


def test_what_is_not_believed_carries_nothing_but_the_reason() -> None:
    signal = aws.meaning(raw(event(record(), account=STRANGER)), REGISTER)[0]
    assert (signal.key, signal.fault, signal.deadline, signal.probe) == (None, None, None, False)
    assert STRANGER in signal.reason
