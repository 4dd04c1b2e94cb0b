"""A record speaks only of what the place that it comes from can know (azure.md 6.2, promise 7)."""

from typing import Any

import pytest
from msgspec.structs import replace

from tests.watchdog.clouds.azure.records import activity, audit, change, directory, forwarded, notification, raw, topic
from tests.watchdog.clouds.azure.world import (
    DATA_GRANT,
    DATA_KEY,
    DATA_VAULT,
    FORWARDED,
    GLOBEX_PRINCIPAL,
    HSM,
    HSM_KEY,
    HUB,
    INITECH,
    INITECH_KEY,
    INITECH_VAULT,
    OWN_KEY,
    STRANGER_SUBSCRIPTION,
    UNWATCHED_VAULT,
    V1,
    at,
    document,
    register,
)
from watchdog.clouds import azure
from watchdog.clouds.azure.index import index_of
from watchdog.register import Register
from watchdog.register_azure import AzureDiagnosticSetting
from watchdog.words import Effect

REGISTER = register()
FOREIGN = f"/subscriptions/{STRANGER_SUBSCRIPTION}"
OTHER_KEY = f"https://other-data-kv.vault.azure.net/keys/data-cmk/{V1}"


def effects(record: Any, of: Register = REGISTER) -> set[str]:
    return {signal.effect.value for signal in azure.meaning(raw(record), of)}


@pytest.mark.parametrize(
    "record",
    [
        topic("KeyExpired", source=UNWATCHED_VAULT),
        topic("KeyExpired", OTHER_KEY, DATA_VAULT),
        topic("KeyExpired", source=INITECH_VAULT),
        topic("SecretExpired", source=UNWATCHED_VAULT),
        audit(resourceId=UNWATCHED_VAULT),
        audit(resourceId=INITECH_VAULT),
        audit(resourceId=...),
        audit("KeyList", "https://glbx-data-kv.vault.azure.net/keys", resourceId=UNWATCHED_VAULT),
        audit(url=OTHER_KEY),
        audit(properties={"requestUri": OTHER_KEY}),
        audit(url=f"https://glbxhsm.managedhsm.azure.net/keys/hsm-cmk/{V1}"),
        audit(url=f"https://glbx-data-kv.vault.azure.cn/keys/data-cmk/{V1}"),
        change("Microsoft.KeyVault/vaults/delete", DATA_VAULT, topic=FOREIGN),
        change("Microsoft.KeyVault/vaults/delete", DATA_VAULT, topic=...),
        change("Microsoft.EventHub/namespaces/eventhubs/delete", HUB, topic=FOREIGN),
        change("Microsoft.Authorization/roleAssignments/delete", at(DATA_VAULT, DATA_GRANT), topic=FOREIGN),
        change("Microsoft.KeyVault/vaults/delete", DATA_VAULT, "Failure", topic=FOREIGN),
        notification(DATA_VAULT, None) | {"source": FOREIGN},
        directory("Remove service principal", GLOBEX_PRINCIPAL, INITECH),
        directory("Update service principal", GLOBEX_PRINCIPAL, INITECH),
        forwarded(audit("KeyDelete", DATA_KEY), source="/somewhere/else"),
        forwarded(audit("KeyDelete", INITECH_KEY, resourceId=INITECH_VAULT)),
        forwarded(activity("Microsoft.KeyVault/vaults/delete", INITECH_VAULT)),
        forwarded(audit("KeyDelete", OWN_KEY, resourceId=DATA_VAULT.replace("glbx-data-kv", "acme-own-kv"))),
    ],
)
def test_a_record_that_cannot_be_genuine_is_not_believed(record: Any) -> None:
    assert effects(record) == {"untrusted"}


@pytest.mark.parametrize(
    "record",
    [
        topic("KeyExpired", OTHER_KEY, UNWATCHED_VAULT),
        audit(url=OTHER_KEY, resourceId=UNWATCHED_VAULT),
        change("Microsoft.KeyVault/vaults/delete", UNWATCHED_VAULT, topic="/subscriptions/elsewhere"),
        notification(UNWATCHED_VAULT, None) | {"source": "/subscriptions/elsewhere"},
        forwarded(audit(url=OTHER_KEY, resourceId=UNWATCHED_VAULT), source="/somewhere/else"),
        forwarded({"beat": 1}, source="/somewhere/else"),
        {"specversion": "1.0", "id": "1", "source": "/x", "type": FORWARDED, "data": None},
    ],
)
def test_what_is_about_nothing_registered_is_no_forgery(record: Any) -> None:
    assert effects(record) == {"no_effect"}


def test_a_forwarder_may_carry_the_log_of_a_customer_that_sends_it_there() -> None:
    facts = document()
    side = facts.customers[1].azure
    assert side is not None
    side.feeds.diagnostic_settings.append(AzureDiagnosticSetting(id=f"{INITECH_VAULT}/x", destination=HUB))
    record = forwarded(audit("KeyDelete", INITECH_KEY, resourceId=INITECH_VAULT))
    assert effects(record, Register(facts)) == {"key_deletion_scheduled"}


def test_ids_compare_without_case_and_keep_the_registered_spelling() -> None:
    record = audit(
        "KeyDelete", "HTTPS://GLBXHSM.managedhsm.azure.net:443/KEYS/HSM-CMK/?x=1", resourceId=HSM.upper() + "/"
    )
    assert [signal.key for signal in azure.meaning(raw(record), REGISTER)] == [HSM_KEY]


def test_every_registered_thing_is_found_by_hash() -> None:
    index = index_of(REGISTER)
    assert index_of(REGISTER) is index
    assert len(index.by_id) == 8
    assert index.container_of(f"{DATA_VAULT}/keys/x".lower()) is index.containers[DATA_VAULT.lower()]
    assert index.container_of(f"{DATA_VAULT}2".lower()) is None
    assert index.container_of(None) is None


def test_a_register_without_the_vendors_side_still_knows_the_customers() -> None:
    facts = document()
    facts = replace(facts, vendor=replace(facts.vendor, azure=None))
    assert effects(audit("KeyDelete", DATA_KEY), Register(facts)) == {Effect.KEY_DELETION_SCHEDULED}
    assert effects(audit("KeyDelete", OWN_KEY), Register(facts)) == {Effect.UNTRUSTED}


def test_a_register_without_customers_concerns_nothing() -> None:
    facts = replace(document(), customers=[])
    assert effects(audit("KeyDelete", DATA_KEY), Register(facts)) == {Effect.NO_EFFECT}
