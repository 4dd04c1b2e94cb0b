"""A field that is missing never hides a loss: what says the same is read, else the record is a question."""

from typing import Any

import pytest

from tests.watchdog.clouds.azure.readout import told
from tests.watchdog.clouds.azure.records import activity, attributes, audit, change, hsm_audit, raw
from tests.watchdog.clouds.azure.world import (
    DATA_GRANT,
    DATA_KEY,
    DATA_VAULT,
    HSM,
    HSM_KEY,
    IDENTITY,
    STRANGER_SUBSCRIPTION,
    register,
)

REGISTER = register()
GROUP = DATA_VAULT.partition("/providers/")[0]
SUBSCRIPTION = GROUP.partition("/resourceGroups/")[0]
AUTHORIZATION = "/providers/Microsoft.Authorization"


def question(key: str) -> dict[str, Any]:
    return {"effect": "key_changed", "key": key, "fault": "customer", "probe": True}


@pytest.mark.parametrize("operation", ["KeyUpdate", "KeyDelete", "KeyPurge", "KeyCreate"])
def test_a_write_of_a_key_that_is_not_named_asks_for_every_key_of_the_vault(operation: str) -> None:
    record = audit(operation, None, properties=attributes(enabled=False))
    assert told(raw(record), REGISTER) == [question(DATA_KEY)]
    assert told(raw(hsm_audit(operation, "", HSM) | {"requestUri": None}), REGISTER) == [question(HSM_KEY)]


def test_a_refused_write_of_a_key_that_is_not_named_is_of_no_weight() -> None:
    record = audit("KeyDelete", None, properties={"httpStatusCode": 403})
    assert told(raw(record), REGISTER) == [{"effect": "no_effect"}]


@pytest.mark.parametrize(
    ("operation", "target", "effect"),
    [
        ("Microsoft.KeyVault/vaults/delete", DATA_VAULT, "container_lost"),
        (
            "Microsoft.Authorization/roleAssignments/delete",
            f"{DATA_VAULT}{AUTHORIZATION}/roleAssignments/{DATA_GRANT}",
            "access_revoked",
        ),
    ],
)
@pytest.mark.parametrize("missing", [("operationName",), ("resourceId", "entity")])
def test_the_authorization_says_what_was_done_and_where(
    operation: str, target: str, effect: str, missing: tuple[str, ...]
) -> None:
    record = activity(operation, target)
    record["identity"]["authorization"] = {"action": operation, "scope": target}
    for name in missing:
        record.pop(name, None)
        record["properties"].pop(name, None)
    assert [one["effect"] for one in told(raw(record), REGISTER)] == [effect]


@pytest.mark.parametrize(
    "target",
    [
        DATA_VAULT,
        f"{SUBSCRIPTION}/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults/glbx-data-kv",
        f"{SUBSCRIPTION}{AUTHORIZATION}/locks/keep",
        f"{GROUP}{AUTHORIZATION}/roleAssignments/0f000000-0000-4000-8000-000000000000",
        IDENTITY,
    ],
)
def test_an_event_about_something_registered_whose_data_is_missing_is_put_aside(target: str) -> None:
    event = change("Microsoft.KeyVault/vaults/delete", target) | {"data": None}
    assert told(raw([event]), REGISTER) == [{"effect": "unreadable"}]
    elsewhere = "/".join([*target.split("/")[:2], STRANGER_SUBSCRIPTION, *target.split("/")[3:]])
    assert told(raw([event | {"subject": elsewhere}]), REGISTER) == [{"effect": "no_effect"}]
