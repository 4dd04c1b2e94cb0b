"""The order of decisions, and what the single rows do with odd or missing fields."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.watchdog.clouds.aws.events import AT, event, raw, record, use
from tests.watchdog.clouds.aws.readout import labelled
from tests.watchdog.clouds.aws.world import (
    ALIAS,
    GRANT,
    GRANTED,
    IMPORTED,
    INITECH,
    KEY,
    POLICY,
    ROLE,
    STORE,
    STORED,
    UNWATCHED,
    VENDOR,
    register,
)
from watchdog.clouds import aws
from watchdog.signals import Signal

REGISTER = register()


def only(content: Any, received_at: datetime | None = None) -> Signal:
    found = aws.meaning(raw(content), REGISTER, received_at=received_at)
    assert len(found) == 1
    return found[0]


def words(content: Any) -> list[dict[str, Any]]:
    return [labelled(signal) for signal in aws.meaning(raw(content), REGISTER)]


RECEIVED = datetime(2026, 4, 2, 11, 0, tzinfo=UTC)
OWN_TIME = datetime(2026, 4, 2, 10, 0, tzinfo=UTC)
ENVELOPE_TIME = "2026-04-02T10:30:00Z"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (event(record(), time=ENVELOPE_TIME), OWN_TIME),
        (event(record(eventTime=...), time=ENVELOPE_TIME), datetime(2026, 4, 2, 10, 30, tzinfo=UTC)),
        (event(record(eventTime="?"), time=ENVELOPE_TIME), datetime(2026, 4, 2, 10, 30, tzinfo=UTC)),
        (event(record(eventTime=...), time=None), RECEIVED),
        (record(eventTime=...), RECEIVED),
        (record(eventTime=1775124000), OWN_TIME),
    ],
)
def test_the_event_s_own_time_counts_then_the_envelope_s_then_the_receipt(content: Any, expected: datetime) -> None:
    assert only(content, RECEIVED).occurred_at == expected


def test_an_unreadable_entry_is_one_signal_with_the_reason() -> None:
    found = aws.meaning(b'{"eventName":', REGISTER, received_at=RECEIVED)
    assert [(one.effect, one.occurred_at) for one in found] == [("unreadable", RECEIVED)]
    assert "not valid JSON" in found[0].reason


@pytest.mark.parametrize("version", ["2.0", "2", "10.1", 2.0, [], "x", "01"])
def test_an_unknown_major_version_asks_for_a_probe(version: object) -> None:
    assert only(record(eventVersion=version)).probe
    assert only(record("EnableKey", eventVersion=version)).probe
    assert not only(record("EnableKeyRotation", eventVersion=version)).probe


@pytest.mark.parametrize("version", ["1.11", "1.02", "1", 1.08, None, ...])
def test_a_known_version_does_not(version: object) -> None:
    assert not only(record(eventVersion=version)).probe


@pytest.mark.parametrize("code", ["DryRunOperationException", "DryRunOperation", "Client.DryRunOperation"])
@pytest.mark.parametrize(
    "name", ["DisableKey", "RevokeGrant", "CreateGrant", "Decrypt", "GenerateDataKey", "FreezeKey"]
)
def test_a_dry_run_is_neither_failure_nor_recovery(name: str, code: str) -> None:
    assert only(use(name, errorCode=code)).effect == "no_effect"


@pytest.mark.parametrize("error", ["AccessDenied", ["AccessDenied"], {"a": 1}, 5, True])
def test_an_error_code_of_any_type_means_that_nothing_changed(error: object) -> None:
    assert words(record(errorCode=error)) == [{"effect": "attempt_failed", "key": KEY}]


@pytest.mark.parametrize("error", [None, "", ...])
def test_no_error_code_means_success(error: object) -> None:
    assert only(record(errorCode=error)).effect == "key_disabled"


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        ("FreezeKey", {}, "key_changed"),
        ("FreezeKey", {"readOnly": "false"}, "key_changed"),
        ("FreezeKey", {"readOnly": ...}, "key_changed"),
        ("FreezeKey", {"readOnly": True}, "no_effect"),
        ("FreezeKey", {"readOnly": "TRUE"}, "no_effect"),
        ("FreezeKey", {"errorCode": "X"}, "attempt_failed"),
        ("FreezeKey", {"errorCode": "X", "readOnly": True}, "no_effect"),
        ("GetSomething", {"readOnly": ...}, "no_effect"),
        ("GetKeyPolicy", {"readOnly": True, "errorCode": "AccessDenied"}, "no_effect"),
        ("GetParametersForImport", {"errorCode": "X"}, "attempt_failed"),
        ("GetParametersForImport", {"errorCode": "X", "readOnly": True}, "no_effect"),
        ("disablekey", {}, "key_changed"),
        ("DisableKey", {"eventSource": "kms2.amazonaws.com"}, "no_effect"),
        ("DeleteKeyPair", {"eventSource": "ec2.amazonaws.com"}, "no_effect"),
        ("DisableKey", {"eventType": "AwsVpceEvent"}, "no_effect"),
        ("DisableKey", {"eventCategory": "NetworkActivity"}, "no_effect"),
        ("DisableKey", {"eventCategory": "Insight"}, "no_effect"),
        ("DisableKey", {"eventCategory": "NetworkActivity", "errorCode": "VpceAccessDenied"}, "no_effect"),
        ("DisableKey", {"addendum": {"reason": "UPDATED_DATA", "originalEventID": "x"}}, "key_disabled"),
    ],
)
def test_the_kind_of_call_decides_first(name: str, fields: dict[str, Any], expected: str) -> None:
    assert only(record(name, **fields)).effect == expected


def test_an_endpoint_s_refusal_counts_for_the_vendor_at_its_own_endpoint() -> None:
    refused: dict[str, Any] = {
        "eventType": "AwsVpceEvent",
        "eventCategory": "NetworkActivity",
        "errorCode": "VpceAccessDenied",
        "resources": None,
        "requestParameters": None,
    }
    expected = {"effect": "use_failed", "cause": "path_blocked", "fault": "vendor"}
    assert words(use(vpcEndpointAccountId=VENDOR, **refused)) == [expected]
    assert words(use("ListKeys", vpcEndpointAccountId=VENDOR, **refused)) == [expected]
    assert words(use(vpcEndpointAccountId=INITECH, **refused)) == [{"effect": "no_effect"}]
    assert words(use(vpcEndpointAccountId=VENDOR, **refused | {"errorCode": "AccessDenied"})) == [
        {"effect": "no_effect"}
    ]


def failed(code: str, message: str | None = None, key: str = KEY, **fields: Any) -> list[dict[str, Any]]:
    return words(use(errorCode=code, errorMessage=message, resources=[{"ARN": key}], **fields))


def test_an_unknown_state_of_a_key_in_no_store_is_an_unknown_cause() -> None:
    expected = {"effect": "use_failed", "key": KEY, "cause": "unknown", "fault": "unknown", "probe": True}
    assert failed("KMSInvalidStateException", "something did not respond") == [expected]
    assert failed("KMSInvalidStateException") == [expected]


def test_a_store_s_own_words_are_not_taken_for_a_key_state() -> None:
    expected = {"effect": "use_failed", "key": STORED, "cause": "unavailable", "fault": "customer", "probe": True}
    assert failed("KMSInvalidStateException", "the external key is disabled", STORED) == [expected]
    state = {"effect": "use_failed", "key": STORED, "cause": "unavailable", "fault": "customer"}
    assert failed("KMSInvalidStateException", f"{STORED} is unavailable.", STORED) == [state]
    disabled = {"effect": "use_failed", "key": STORED, "cause": "disabled", "fault": "customer"}
    assert failed("DisabledException", None, STORED) == [disabled]


def test_the_store_is_known_from_the_record_as_well() -> None:
    found = failed("KMSInvalidStateException", "no answer", additionalEventData={"customKeyStoreId": STORE})
    assert [one["cause"] for one in found] == ["unavailable"]


def test_a_name_in_the_message_cannot_choose_the_cause() -> None:
    user = "arn:aws:sts::123456789012:assumed-role/acme-instance-1/is-disabled"
    message = f"User: {user} is not authorized to perform: kms:Decrypt on resource: {KEY} with an explicit deny in a resource-based policy"  # noqa: E501  # one line, as KMS writes it
    assert failed("AccessDenied", message) == [
        {"effect": "use_failed", "key": KEY, "cause": "access_denied", "fault": "customer"}
    ]


@pytest.mark.parametrize(
    ("source", "code", "message", "expected"),
    [
        ("s3", "KMS.DisabledException", f"{KEY} is disabled.", ("disabled", "customer")),
        ("s3", "KMS.KMSInvalidStateException", f"{KEY} is pending deletion.", ("pending_deletion", "customer")),
        (
            "s3",
            "AccessDenied",
            (
                f"User: x is not authorized to perform: kms:Decrypt on resource: {KEY} because no "
                "identity-based policy allows the kms:Decrypt action"
            ),
            ("access_denied", "vendor"),
        ),
        ("rds", "KMSKeyNotAccessibleFault", f"The key {KEY} cannot be used", ("unknown", "unknown")),
        ("s3", "AccessDenied", f"{UNWATCHED} is disabled.", None),
        ("s3", "AccessDenied", "Access Denied", None),
        ("s3", "KMS.DisabledException", "The key is disabled", None),
    ],
)
def test_another_service_that_could_not_use_a_watched_key_is_a_symptom(
    source: str, code: str, message: str, expected: tuple[str, str] | None
) -> None:
    made = use("GetObject", eventSource=f"{source}.amazonaws.com", errorCode=code, errorMessage=message, resources=None)
    signal = only(made)
    assert (signal.cause, signal.fault) == (expected or (None, None))
    assert (signal.effect, signal.key) == (("use_failed", KEY) if expected else ("no_effect", None))


def grant(name: str, **fields: Any) -> dict[str, Any]:
    return record(name, **({"resources": [{"ARN": GRANTED}], "responseElements": None} | fields))


def test_a_registered_grant_of_another_key_is_an_unknown_grant_of_this_one() -> None:
    found = only(grant("RevokeGrant", resources=[{"ARN": KEY}], requestParameters={"keyId": KEY, "grantId": GRANT}))
    assert (found.effect, found.key, found.probe) == ("access_changed", KEY, True)


def test_a_registered_grant_leads_to_its_key_when_the_record_names_none() -> None:
    found = only(grant("RetireGrant", resources=None, requestParameters=None, additionalEventData={"grantId": GRANT}))
    assert (found.effect, found.key, found.subject) == ("access_revoked", GRANTED, GRANT)


def test_a_grant_without_an_id_cannot_be_judged() -> None:
    assert only(grant("RevokeGrant", requestParameters=None)).effect == "access_changed"


def test_a_service_that_revokes_a_registered_grant_is_nobody_s_known_fault() -> None:
    found = only(grant("RevokeGrant", requestParameters={"grantId": GRANT}, userIdentity={"type": "AWSService"}))
    assert (found.effect, found.fault) == ("access_revoked", "unknown")


@pytest.mark.parametrize(
    ("grantee", "expected"),
    [
        (ROLE, "access_granted"),
        (f"arn:aws:sts::{VENDOR}:assumed-role/acme-instance-1/x", "access_granted"),
        (f"arn:aws:iam::{VENDOR}:role/batch/acme-backup", "no_effect"),
        (f"arn:aws:iam::{VENDOR}:role/other", "no_effect"),
        ("rds.eu-west-1.amazonaws.com", "no_effect"),
        (None, "no_effect"),
        ([ROLE], "no_effect"),
    ],
)
def test_a_new_grant_counts_for_a_principal_of_that_key(grantee: object, expected: str) -> None:
    assert only(grant("CreateGrant", requestParameters={"granteePrincipal": grantee})).effect == expected


def alias(name: str, request: dict[str, Any], *resources: str, **fields: Any) -> Signal:
    arns = [{"ARN": arn} for arn in resources] or None
    return only(record(name, requestParameters=request, resources=arns, responseElements=None, **fields))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (UNWATCHED.rpartition("/")[2], "key_changed"),
        (UNWATCHED, "key_changed"),
        (IMPORTED, "key_changed"),
        (KEY, "no_effect"),
        (KEY.rpartition("/")[2], "no_effect"),
        (KEY.rpartition("/")[2].upper(), "no_effect"),
        (None, "key_changed"),
    ],
)
def test_an_alias_counts_unless_it_points_to_its_key(target: object, expected: str) -> None:
    for resources in ((), (ALIAS,), (UNWATCHED, ALIAS)):
        found = alias("UpdateAlias", {"aliasName": "alias/acme-instance-1", "targetKeyId": target}, *resources)
        assert (found.effect, found.key) == (expected, KEY if expected == "key_changed" else None)


def test_an_alias_of_the_same_name_elsewhere_does_not_count() -> None:
    request = {"aliasName": "alias/acme-instance-1"}
    assert alias("DeleteAlias", request).key == KEY
    assert alias("DeleteAlias", request, awsRegion="eu-west-2").effect == "no_effect"
    assert alias("DeleteAlias", request, recipientAccountId=INITECH).effect == "no_effect"
    assert alias("DeleteAlias", {"aliasName": "alias/acme-instance-10"}).effect == "no_effect"


@pytest.mark.parametrize(
    ("name", "request_", "expected"),
    [
        ("TagResource", {"tags": [{"tagKey": "team", "tagValue": "x"}]}, "access_changed"),
        ("TagResource", {"tags": [{"TagKey": "team", "TagValue": "x"}]}, "access_changed"),
        ("TagResource", {"tags": [{"tagKey": "Team", "tagValue": "x"}]}, "no_effect"),
        ("UntagResource", {"tagKeys": ["a", "team"]}, "access_changed"),
        ("UntagResource", {"tagKeys": "team"}, "access_changed"),
        ("UntagResource", {"tagKeys": ["a"]}, "no_effect"),
        ("TagResource", {}, "access_changed"),
        ("UntagResource", None, "access_changed"),
    ],
)
def test_a_tag_counts_when_a_policy_depends_on_it(name: str, request_: Any, expected: str) -> None:
    assert only(record(name, requestParameters=request_)).effect == expected


def store(request: Any, **fields: Any) -> dict[str, Any]:
    made = {"requestParameters": request, "resources": None, "responseElements": None}
    return record(
        "DisconnectCustomKeyStore", **(made | {"recipientAccountId": INITECH, "awsRegion": "eu-central-1"} | fields)
    )


def test_a_store_is_known_by_its_id_wherever_it_stands() -> None:
    disconnected = {"effect": "key_store_disconnected", "key": STORED, "fault": "customer"}
    assert words(store({"customKeyStoreId": STORE})) == [disconnected]
    assert words(store(None, additionalEventData={"customKeyStoreId": STORE})) == [disconnected]
    assert words(store({"customKeyStoreId": STORE + "0"})) == [{"effect": "no_effect"}]


def test_a_store_that_is_not_named_may_be_any_of_the_account() -> None:
    assert words(store(None)) == [{"effect": "key_changed", "key": STORED, "fault": "customer", "probe": True}]
    assert words(store(None, awsRegion="eu-west-1")) == [{"effect": "no_effect"}]


def iam(name: str, **request: Any) -> list[str | None]:
    made = record(
        name,
        eventSource="iam.amazonaws.com",
        requestParameters=request,
        recipientAccountId=VENDOR,
        awsRegion="us-east-1",
        resources=None,
        responseElements=None,
    )
    return [signal.key for signal in aws.meaning(raw(made), REGISTER)]


def test_a_managed_policy_counts_when_its_default_version_changes() -> None:
    assert KEY in iam("CreatePolicyVersion", policyArn=POLICY, setAsDefault="true")
    for request in ({"setAsDefault": False}, {}, {"setAsDefault": "yes"}):
        assert iam("CreatePolicyVersion", policyArn=POLICY, **request) == [None]
    assert iam("SetDefaultPolicyVersion", policyArn=POLICY + "2") == [None]


def test_a_role_of_the_customer_is_not_the_vendor_s() -> None:
    made = record("DeleteRole", eventSource="iam.amazonaws.com", requestParameters={"roleName": "acme-instance-1"})
    assert only(made).effect == "no_effect"


def test_an_organisation_that_is_not_registered_has_no_keys_to_expand_to() -> None:
    made = record(
        "UpdatePolicy",
        eventSource="organizations.amazonaws.com",
        recipientAccountId=INITECH,
        requestParameters={"policyId": "p-12345678"},
        resources=None,
        responseElements=None,
    )
    assert only(made).effect == "no_effect"


@pytest.mark.parametrize(
    ("state", "effect"),
    [("SUCCEEDED", "container_lost"), ("FAILED", "no_effect"), ("IN_PROGRESS", "no_effect"), (None, "container_lost")],
)
def test_an_account_is_closed_when_the_result_says_so(state: str | None, effect: str) -> None:
    made = record(
        "CloseAccountResult",
        eventSource="organizations.amazonaws.com",
        recipientAccountId="777788889999",
        serviceEventDetails={"closeAccountStatus": {"accountId": "111122223333", "state": state}},
        requestParameters=None,
        resources=None,
        responseElements=None,
    )
    assert {signal.effect for signal in aws.meaning(raw(made), REGISTER)} == {effect}


def volume(cause: str, account: str = VENDOR, **detail: Any) -> list[dict[str, Any]]:
    made = {"event": "createVolume", "result": "failed", "cause": cause} | detail
    kind = {"detail-type": "EBS Volume Notification", "source": "aws.ec2", "account": account}
    return words(event(made, **kind))


def test_a_volume_s_failure_counts_by_what_it_quotes() -> None:
    disabled = {"effect": "use_failed", "key": KEY, "cause": "disabled", "fault": "customer"}
    assert volume(f"{KEY} is disabled.") == [disabled]
    assert volume(f"{KEY} is disabled.", account="111122223333") == [disabled]
    gone = {"effect": "use_failed", "key": KEY, "cause": "not_found", "fault": "unknown", "probe": True}
    assert volume(f"Key '{KEY}' does not exist") == [gone]
    quiet = [{"effect": "no_effect"}]
    assert volume(f"Key '{KEY}' does not exist", account="111122223333") == quiet
    assert volume(f"{UNWATCHED} is disabled.") == quiet
    assert volume(f"{KEY} is disabled.", result="available") == quiet
    assert volume(f"{KEY} is disabled.", event="deleteVolume") == quiet
    assert volume("", event=["createVolume"]) == quiet


def test_a_long_name_does_not_make_a_long_reason() -> None:
    assert len(only(record("Freeze" * 10_000)).reason) < 1100


def test_the_time_of_the_events_here_is_the_one_they_say() -> None:
    assert json.loads(raw(record()))["eventTime"] == AT
