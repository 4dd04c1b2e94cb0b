"""Failed uses: the evidence in its order decides cause and fault, in the log and in answers to probes (azure.md 4)."""

from typing import Any

import pytest

from tests.watchdog.clouds.azure.records import raw, use
from tests.watchdog.clouds.azure.world import register
from watchdog.clouds import azure
from watchdog.clouds.azure.answers import posture, said
from watchdog.clouds.azure.failures import ANYTHING_ELSE, ROWS, Answer, failure, of_answer
from watchdog.words import Cause, Effect, Fault

DENIED = {"error": {"code": "Forbidden", "innererror": {"code": "ForbiddenByRbac"}}}


@pytest.mark.parametrize(
    ("answer", "cause", "fault"),
    [
        ({"status": 429, "external": True}, Cause.THROTTLED, Fault.UNKNOWN),
        ({"status": 503, "external": True}, Cause.UNAVAILABLE, Fault.CUSTOMER),
        ({"status": 408, "external": True}, Cause.UNAVAILABLE, Fault.CUSTOMER),
        ({"status": 408}, Cause.UNKNOWN, Fault.UNKNOWN),
        ({"status": 500, "rbac": False}, Cause.TRANSIENT, Fault.PROVIDER),
        ({"status": 404, "known_version": True, "said": "keydisabled"}, Cause.NOT_FOUND, Fault.CUSTOMER),
        ({"status": 404}, Cause.NOT_FOUND, Fault.UNKNOWN),
        ({"status": 400, "said": "on a disabled key"}, Cause.CALLER_ERROR, Fault.VENDOR),
        ({"status": 403, "said": "on a disabled key", "address": False}, Cause.DISABLED, Fault.CUSTOMER),
        ({"status": 403, "said": "on an expired key", "rbac": False}, Cause.EXPIRED, Fault.CUSTOMER),
        ({"status": 403, "address": False, "rbac": False}, Cause.PATH_BLOCKED, Fault.UNKNOWN),
        ({"status": 403, "address": False, "known_address": True}, Cause.PATH_BLOCKED, Fault.CUSTOMER),
        ({"status": 403, "rbac": False}, Cause.ACCESS_DENIED, Fault.CUSTOMER),
        ({"status": 403, "policy": False}, Cause.ACCESS_DENIED, Fault.CUSTOMER),
        ({"status": 403, "rbac": True, "address": True}, Cause.UNKNOWN, Fault.UNKNOWN),
        ({"status": 401}, Cause.UNKNOWN, Fault.UNKNOWN),
        ({"status": None}, Cause.UNKNOWN, Fault.UNKNOWN),
    ],
)
def test_the_evidence_decides_in_its_order(answer: dict[str, Any], cause: Cause, fault: Fault) -> None:
    found = failure(Answer(**answer))
    assert (found.cause, found.fault) == (cause, fault)
    assert found.probe == (cause is Cause.UNKNOWN)


def test_every_row_can_be_reached() -> None:
    reached = {
        id(failure(Answer(status=status, said=said, external=external, known_version=known, known_address=known)))
        for status in (400, 403, 404, 408, 429, 503)
        for said in ("", "on a disabled key", "on an expired key", "forbiddenbyfirewall", "forbiddenbyrbac")
        for external in (True, False)
        for known in (True, False)
    }
    assert reached == {id(row.failure) for row in ROWS} | {id(ANYTHING_ELSE)}


@pytest.mark.parametrize(
    ("status", "body", "cause", "probe"),
    [
        (403, DENIED, Cause.ACCESS_DENIED, False),
        (403, {"error": {"innererror": {"code": "KeyDisabled"}}}, Cause.DISABLED, False),
        (403, {"error": {"innererror": {"code": "ForbiddenByFirewall"}}}, Cause.PATH_BLOCKED, True),
        (403, {"error": {"innererror": {"code": "ForbiddenByConnection"}}}, Cause.PATH_BLOCKED, True),
        (
            403,
            {"error": {"message": "… does not have keys get permission on key vault 'x'"}},
            Cause.ACCESS_DENIED,
            False,
        ),
        (403, {}, Cause.UNKNOWN, True),
        (403, None, Cause.UNKNOWN, True),
        (404, {"error": {"code": "KeyNotFound"}}, Cause.NOT_FOUND, False),
        (503, "busy", Cause.TRANSIENT, False),
    ],
)
def test_an_answer_to_a_probe_is_read_by_its_codes(status: int, body: object, cause: Cause, *, probe: bool) -> None:
    found = of_answer(status, body)
    assert (found.cause, found.probe) == (cause, probe)


def test_our_own_probe_comes_from_a_registered_address() -> None:
    assert of_answer(403, {"error": {"innererror": {"code": "ForbiddenByFirewall"}}}).fault is Fault.CUSTOMER


def listed(enabled: str) -> dict[str, Any]:
    """List versions of a key, from 0 on: y is enabled, n is not."""
    return {
        "value": [
            {"kid": f"https://x.vault.azure.net/keys/k/{number:032x}", "attributes": {"enabled": one == "y"}}
            for number, one in enumerate(enabled)
        ]
    }


@pytest.mark.parametrize(
    ("body", "versions", "effect"),
    [
        (listed("yy"), (), Effect.NO_EFFECT),
        (listed("yn"), (), Effect.USE_FAILED),
        (listed("yn"), (f"{0:032x}",), Effect.NO_EFFECT),
        (listed("yn"), (f"{1:032x}",), Effect.USE_FAILED),
        (
            {"key": {"kid": "https://x.vault.azure.net/keys/k"}, "attributes": {"enabled": False}},
            ("1",),
            Effect.USE_FAILED,
        ),
        ({}, (), Effect.NO_EFFECT),
        (None, (), Effect.NO_EFFECT),
    ],
)
def test_a_disabled_version_is_listed_with_success(body: object, versions: tuple[str, ...], effect: Effect) -> None:
    assert said(200, body, proves_use=False, versions=versions).effect is effect


def test_only_a_remote_use_proves_a_use() -> None:
    assert said(200, {}, proves_use=True).effect is Effect.USE_SUCCEEDED
    assert said(401, {}, proves_use=True, with_token=False).effect is Effect.NO_EFFECT
    refused = said(401, {}, proves_use=True)
    assert (refused.effect, refused.cause, refused.probe) == (Effect.USE_FAILED, Cause.UNKNOWN, True)


@pytest.mark.parametrize(
    ("level", "purgeable"),
    [
        ("Purgeable", True),
        ("Recoverable+Purgeable", True),
        ("Recoverable", False),
        ("Recoverable+ProtectedSubscription", False),
        ("CustomizedRecoverable+Purgeable", True),
        ("CustomizedRecoverable", False),
        ("CustomizedRecoverable+ProtectedSubscription", False),
        (None, None),
    ],
)
def test_the_recovery_level_tells_whether_a_key_can_be_purged(level: str | None, *, purgeable: bool | None) -> None:
    found = posture({"attributes": {"recoveryLevel": level, "recoverableDays": 90}})
    assert (found.purgeable, found.recoverable_days) == (purgeable, 90)


@pytest.mark.parametrize(
    ("signature", "cause", "fault"),
    [
        ("Not Found", Cause.NOT_FOUND, Fault.CUSTOMER),
        ("NotFound", Cause.NOT_FOUND, Fault.CUSTOMER),
        ("Too Many Requests", Cause.THROTTLED, Fault.UNKNOWN),
        ("Service Unavailable", Cause.TRANSIENT, Fault.PROVIDER),
        ("Bad Request", Cause.CALLER_ERROR, Fault.VENDOR),
        ("Forbidden", Cause.UNKNOWN, Fault.UNKNOWN),
    ],
)
def test_the_signature_stands_in_for_a_status_that_is_missing(signature: str, cause: Cause, fault: Fault) -> None:
    silent = {"httpStatusCode": ..., "isRbacAuthorized": ...}
    record = use(properties=silent, resultSignature=signature)
    (found,) = azure.meaning(raw(record), register())
    assert (found.effect, found.cause, found.fault) == (Effect.USE_FAILED, cause, fault)
