"""A refused use tells its cause and whose side it lies on, and only when a principal of that very key met it."""

from typing import Any

import pytest

from tests.watchdog.clouds.gcp.events import audit, raw
from tests.watchdog.clouds.gcp.world import (
    APP,
    EXTERNAL,
    GLOBEX_NUMBER,
    INITECH,
    INSTANCE_NUMBER,
    KEY,
    STORAGE,
    STORAGE_2,
    register,
)
from watchdog.clouds import gcp

REGISTER = register()
V2 = f"{KEY}/cryptoKeyVersions/2"
OFF = "Cloud Key Management Service (KMS) API has not been used in project {} before or it is disabled."


def violations(*types: str, subject: str = V2) -> list[dict[str, Any]]:
    return [{"@type": "x", "violations": [{"type": kind, "subject": subject} for kind in types]}]


def disabled_in(project: str) -> list[dict[str, Any]]:
    return [{"reason": "SERVICE_DISABLED", "metadata": {"consumer": f"projects/{project}"}}]


def use(status: dict[str, Any], by: str = STORAGE, key: str = KEY) -> Any:
    log = f"projects/{key.split('/')[1]}"
    signal = gcp.meaning(
        raw(audit("Decrypt", key, {"name": key}, by=by, log=log, kind="data_access", status=status)), REGISTER
    )
    return signal[0]


@pytest.mark.parametrize(
    ("status", "cause", "fault", "version"),
    [
        ({"code": 9, "message": "key is not enabled, current state is: DISABLED."}, "disabled", "customer", None),
        ({"code": 9, "message": f"{V2} is not enabled, current state is: DISABLED."}, "disabled", "customer", "2"),
        ({"code": 9, "details": violations("KEY_DISABLED")}, "disabled", "customer", "2"),
        ({"code": 9, "details": violations("KEY_DESTROY_SCHEDULED")}, "pending_deletion", "customer", "2"),
        ({"code": 9, "message": "current state is: DESTROY_SCHEDULED."}, "pending_deletion", "customer", None),
        ({"code": 9, "message": "current state is: DESTROYED."}, "destroyed", "customer", None),
        ({"code": 9, "message": "current state is: PENDING_GENERATION."}, "pending_import", "customer", None),
        (
            {"code": 9, "message": "projects/p/locations/l/keyRings/r/cryptoKeys/DISABLED failed"},
            "unknown",
            "unknown",
            None,
        ),
        ({"code": "9", "message": "current state is: DISABLED."}, "disabled", "customer", None),
        ({"code": 9, "details": violations("KEY_DISABLED", "EXTERNAL_TIMEOUT")}, "unavailable", "customer", "2"),
        ({"code": 9, "details": violations("EXTERNAL_NOT_FOUND", "KEY_DISABLED")}, "not_found", "customer", "2"),
        ({"code": 9, "details": violations("X", "EXTERNAL_PERMISSION_DENIED")}, "access_denied", "customer", "2"),
        ({"code": 9, "details": [5, {"violations": 5}]}, "unknown", "unknown", None),
        ({"code": 7, "message": OFF.format(GLOBEX_NUMBER)}, "unavailable", "customer", None),
        ({"code": 7, "message": OFF.format(INSTANCE_NUMBER)}, "caller_error", "vendor", None),
        ({"code": 7, "message": OFF.format("1")}, "unavailable", "unknown", None),
        (
            {"code": 7, "message": OFF.format("1"), "details": disabled_in(INSTANCE_NUMBER)},
            "caller_error",
            "vendor",
            None,
        ),
        ({"code": 7, "details": disabled_in(GLOBEX_NUMBER)}, "unavailable", "customer", None),
        (
            {"code": 7, "message": f"Permission denied on '{KEY}' (or it may not exist)."},
            "access_denied",
            "unknown",
            None,
        ),
        ({"code": 5}, "not_found", "unknown", None),
        ({"code": 3}, "caller_error", "vendor", None),
        ({"code": 8}, "throttled", "unknown", None),
        ({"code": 4}, "transient", "provider", None),
        ({"code": 13}, "transient", "provider", None),
        ({"code": 14}, "transient", "provider", None),
        ({"code": 2}, "unknown", "unknown", None),
        ({"code": 16}, "unknown", "unknown", None),
    ],
)
def test_a_refused_use_tells_cause_and_side(
    status: dict[str, Any], cause: str, fault: str, version: str | None
) -> None:
    signal = use(status)
    assert (signal.effect, signal.cause, signal.fault) == ("use_failed", cause, fault)
    assert (signal.key, signal.version) == (KEY, version or None)
    assert signal.resource == (f"{KEY}/cryptoKeyVersions/{version}" if version else None)


def test_a_passing_fault_of_an_external_key_has_no_known_side() -> None:
    signal = use({"code": 14}, by=STORAGE_2, key=EXTERNAL)
    assert (signal.cause, signal.fault) == ("unknown", "unknown")
    assert INITECH in EXTERNAL


@pytest.mark.parametrize("by", ["eve@globex.example", STORAGE_2, f"x{APP}", "", STORAGE.upper()])
@pytest.mark.parametrize("status", [{}, {"code": 9, "message": "current state is: DISABLED."}])
def test_strangers_and_agents_of_other_instances_do_not_count(by: str, status: dict[str, Any]) -> None:
    assert use(status, by=by).effect == "no_effect"


@pytest.mark.parametrize("status", [{}, None, {"code": 0}, {"code": False}, {"code": None}, []])
def test_no_code_is_a_success(status: Any) -> None:
    assert use(status).effect == "use_succeeded"
