"""The catalogue is complete against the SDK's own clients, and the filters follow from it."""

import importlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.watchdog.clouds.azure.test_recorded import EXPECTED, RECORDED
from watchdog.clouds import azure
from watchdog.clouds.azure import audit, directory, feeds, record, resources, topic
from watchdog.clouds.azure.catalogue import VALUES_PER_SUBSCRIPTION, operation_prefixes
from watchdog.clouds.azure.rules import Seen, Stream
from watchdog.words import Effect

# What each method of the SDK's clients calls, by its name in the vault's log; None with the reason why nothing.
LOCAL = "works without a call to the vault"
METHODS: dict[str, str | tuple[None, str]] = {
    "KeyClient.backup_key": "KeyBackup",
    "KeyClient.begin_delete_key": "KeyDelete",
    "KeyClient.begin_recover_deleted_key": "KeyRecover",
    "KeyClient.close": (None, LOCAL),
    "KeyClient.create_ec_key": "KeyCreate",
    "KeyClient.create_key": "KeyCreate",
    "KeyClient.create_oct_key": "KeyCreate",
    "KeyClient.create_rsa_key": "KeyCreate",
    "KeyClient.get_cryptography_client": (None, LOCAL),
    "KeyClient.get_deleted_key": "KeyGetDeleted",
    "KeyClient.get_key": "KeyGet",
    "KeyClient.get_key_attestation": "(...Get, ...List, ...Status)",
    "KeyClient.get_key_rotation_policy": "KeyRotationPolicyGet",
    "KeyClient.get_random_bytes": (None, "asks a managed HSM for random bytes and touches no key"),
    "KeyClient.import_key": "KeyImport",
    "KeyClient.list_deleted_keys": "KeyListDeleted",
    "KeyClient.list_properties_of_key_versions": "KeyListVersions",
    "KeyClient.list_properties_of_keys": "KeyList",
    "KeyClient.purge_deleted_key": "KeyPurge",
    "KeyClient.release_key": "(any other operation)",
    "KeyClient.restore_key_backup": "KeyRestore",
    "KeyClient.rotate_key": "KeyRotate",
    "KeyClient.send_request": (None, "sends whatever it is given"),
    "KeyClient.update_key_properties": "KeyUpdate",
    "KeyClient.update_key_rotation_policy": "KeyRotationPolicySet",
    "KeyClient.vault_url": (None, LOCAL),
    "CryptographyClient.close": (None, LOCAL),
    "CryptographyClient.create_rsa_private_key": (None, LOCAL),
    "CryptographyClient.create_rsa_public_key": (None, LOCAL),
    "CryptographyClient.decrypt": "KeyDecrypt",
    "CryptographyClient.encrypt": "KeyEncrypt",
    "CryptographyClient.from_jwk": (None, LOCAL),
    "CryptographyClient.key_id": (None, LOCAL),
    "CryptographyClient.send_request": (None, "sends whatever it is given"),
    "CryptographyClient.sign": "KeySign",
    "CryptographyClient.unwrap_key": "KeyUnwrap",
    "CryptographyClient.vault_url": (None, LOCAL),
    "CryptographyClient.verify": "KeyVerify",
    "CryptographyClient.wrap_key": "KeyWrap",
}


def methods_of_the_sdk() -> set[str]:
    try:
        keys = importlib.import_module("azure.keyvault.keys")
        crypto = importlib.import_module("azure.keyvault.keys.crypto")
    except ModuleNotFoundError:
        pytest.skip("AZURE-KEYVAULT-KEYS IS ABSENT: its clients were not walked")
    clients = (keys.KeyClient, crypto.CryptographyClient)
    return {f"{client.__name__}.{name}" for client in clients for name in dir(client) if not name.startswith("_")}


def test_every_method_of_the_sdk_is_watched_or_ignored_with_a_reason() -> None:
    assert methods_of_the_sdk() - set(METHODS) == set()
    rows = {row.operation for row in azure.catalogue() if row.service == Stream.AUDIT}
    for method, calls in METHODS.items():
        assert calls in rows if isinstance(calls, str) else calls[1], method


def test_every_row_has_a_note_and_a_page() -> None:
    assert all(row.note and row.source.startswith("https://") for row in azure.catalogue())


def test_no_operation_is_classified_twice() -> None:
    named = [f"{row.service} {row.operation.lower()}" for row in azure.catalogue()]
    assert sorted(named) == sorted(set(named))


@pytest.mark.parametrize("rules", [audit.RULES, topic.RULES, resources.RULES, directory.RULES])
def test_only_what_changes_nothing_has_no_meaning(rules: Any) -> None:
    for rule in rules:
        assert (rule.meaning is None) == (rule.effect == "no_effect"), rule.operation
        assert (rule.meaning is None) == (rule.seen is Seen.NOT_NEEDED), rule.operation


# -------------------------------------------------------------------------------------------------------------- filters


def value_at(event: Mapping[str, Any], key: str) -> str:
    found: Any = event
    for part in key.split("."):
        found = found.get(part, {}) if isinstance(found, dict) else {}
    return str(found or "").lower()


def passes(event: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether Event Grid lets an event through a filter (its comparisons of texts ignore case)."""
    kind = event.get("eventType") or event.get("type")
    if "includedEventTypes" in wanted and kind not in wanted["includedEventTypes"]:
        return False
    for condition in wanted["advancedFilters"]:
        key = condition["key"].replace("eventType", "eventType" if "eventType" in event else "type")
        value, values = value_at(event, key), [one.lower() for one in condition["values"]]
        met = {
            "StringIn": value in values,
            "StringBeginsWith": value.startswith(tuple(values)),
            "StringNotBeginsWith": not value.startswith(tuple(values)),
        }[condition["operatorType"]]
        if not met:
            return False
    return True


def recorded(prefix: str) -> list[tuple[str, bool, dict[str, Any]]]:
    """Each recorded event of a stream: its file, whether it means something, and the event."""
    found = []
    for entry in EXPECTED:
        content = json.loads((RECORDED / entry["file"]).read_text(encoding="utf-8"))
        events = content if isinstance(content, list) else [content]
        means = entry["expect"] != [{"effect": Effect.NO_EFFECT}]
        found += [(entry["file"], means, event) for event in events if kind_of(event).startswith(prefix)]
    return found


def kind_of(event: Mapping[str, Any]) -> str:
    return str(event.get("eventType") or event.get("type") or "")


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("event-subscription-key-vault", "Microsoft.KeyVault."),
        ("event-subscription-resource-manager", "Microsoft.Resources."),
    ],
)
def test_a_subscription_lets_through_all_that_means_something(name: str, prefix: str) -> None:
    wanted = json.loads(azure.filters()[name])
    events = recorded(prefix)
    assert len(events) > 15
    for file, means, event in events:
        if means and value_at(event, "data"):
            assert passes(event, wanted), file
    assert sum(len(condition["values"]) for condition in wanted["advancedFilters"]) <= VALUES_PER_SUBSCRIPTION


def test_the_notifications_of_vaults_come_through() -> None:
    wanted = json.loads(azure.filters()["event-subscription-resource-notifications"])
    found = recorded("Microsoft.ResourceNotifications.")
    vaults = [event for file, _, event in found if "feed" not in file and event["data"]]
    assert len(vaults) == 5
    assert all(passes(event, wanted) for event in vaults)


def test_the_topic_subscription_holds_back_what_is_about_no_key() -> None:
    wanted = json.loads(azure.filters()["event-subscription-key-vault"])
    for rule in topic.RULES:
        assert passes({"eventType": rule.operation}, wanted) == (rule.meaning is not None)
    assert passes({"eventType": "Microsoft.KeyVault.KeyOfTomorrow"}, wanted)


def test_every_watched_operation_of_the_resource_manager_comes_through() -> None:
    wanted = json.loads(azure.filters()["event-subscription-resource-manager"])
    event = {"eventType": "Microsoft.Resources.ResourceDeleteFailure"}
    for rule in resources.RULES:
        if rule.meaning and rule.seen is not Seen.VENDOR_RESOURCE:
            assert passes(event | {"data": {"operationName": rule.operation.upper()}}, wanted), rule.operation
    for noise in ("Microsoft.Compute/virtualMachines/write", "Microsoft.Resources/deployments/write"):
        assert not passes(event | {"data": {"operationName": noise}}, wanted)


def test_a_prefix_never_holds_back_an_operation_of_the_vault_that_nobody_knows() -> None:
    assert "Microsoft.KeyVault/" in operation_prefixes()


def test_the_diagnostic_setting_is_one_that_the_watch_takes_for_intact() -> None:
    body = json.loads(azure.filters()["diagnostic-setting-vault"])
    assert feeds.keeps_audit({"properties": body})
    body["logs"][0]["enabled"] = False
    assert not feeds.keeps_audit({"properties": body})


def test_the_log_categories_are_those_that_the_decoder_reads() -> None:
    made = azure.filters()
    subscription = json.loads(made["diagnostic-setting-subscription"])["logs"][0]["category"]
    entra = json.loads(made["diagnostic-setting-entra"])["logs"][0]["category"]
    vault = json.loads(made["diagnostic-setting-vault"])["logs"][0]["category"]
    assert subscription.lower() in record.ADMINISTRATIVE
    assert (entra.lower(), vault.lower()) == (record.DIRECTORY, record.AUDIT)
