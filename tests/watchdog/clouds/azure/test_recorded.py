"""Every recorded event means what its label says. That every row of the catalogue has one: test_completeness."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.watchdog.clouds.azure.readout import labelled, ordered, told
from tests.watchdog.clouds.azure.world import HSM_KEY, NAMESPACE, SETTING, register
from watchdog.clouds import azure
from watchdog.words import NOT_A_SIGNAL, QUIET, RECOVERY, Effect

RECORDED = Path(__file__).resolve().parents[3] / "recorded" / "azure"
EXPECTED: list[dict[str, Any]] = json.loads((RECORDED / "expected.json").read_text(encoding="utf-8"))
REGISTER = register()
# Undoing a deletion is `key_recovered` on Azure, and there is no key material or store apart (azure.md 2).
NEVER = {
    Effect.KEY_MATERIAL_REMOVED,
    Effect.KEY_MATERIAL_RESTORED,
    Effect.DELETION_CANCELLED,
    Effect.KEY_STORE_DISCONNECTED,
    Effect.KEY_STORE_RECONNECTED,
}


def by_file(entry: dict[str, Any]) -> str:
    return str(entry["file"]).removesuffix(".json")


@pytest.mark.parametrize("entry", EXPECTED, ids=by_file)
@pytest.mark.parametrize("triage_knows", [True, False], ids=["with the register", "without it"])
def test_a_recorded_event_means_what_its_label_says(entry: dict[str, Any], *, triage_knows: bool) -> None:
    body = (RECORDED / entry["file"]).read_bytes()
    assert ordered(entry["expect"]) == told(body, REGISTER, triage_knows=triage_knows)


@pytest.mark.parametrize("entry", EXPECTED, ids=by_file)
def test_every_signal_says_why_when_and_what(entry: dict[str, Any]) -> None:
    body = (RECORDED / entry["file"]).read_bytes()
    for kept in azure.unpack(body).entries:
        for signal in azure.meaning(kept.raw, REGISTER):
            assert signal.reason
            assert signal.reason.endswith((".", "?")) or signal.effect in QUIET | {Effect.UNREADABLE}
            assert signal.event_id == kept.event_id
            assert signal.occurred_at is not None or signal.operation == "handshake"
            assert (signal.deadline is None) == (signal.deadline_source is None)
            assert signal.effect not in NEVER
            if signal.effect in NOT_A_SIGNAL | QUIET | RECOVERY:
                assert (signal.fault, signal.probe) == (None, False)
            if signal.effect in NOT_A_SIGNAL | {Effect.NO_EFFECT}:
                assert labelled(signal) == {"effect": signal.effect}


@pytest.mark.parametrize("entry", EXPECTED, ids=by_file)
def test_triage_lists_each_record_once(entry: dict[str, Any]) -> None:
    for register_at_hand in (None, REGISTER):
        found = azure.unpack((RECORDED / entry["file"]).read_bytes(), first=7, detail=True, register=register_at_hand)
        places = [one.number for one in found.entries]
        places += [one.number for one in found.broken]
        places += [one.number for one in found.dropped]
        assert sorted(places) == list(range(7, 7 + len(places)))
        assert found.dropped_count == len(found.dropped)
        assert all(one.reason for one in found.broken)
        assert all(one.reason for one in found.dropped)


def signals(name: str) -> list[Any]:
    entries = azure.unpack((RECORDED / f"{name}.json").read_bytes()).entries
    return [signal for entry in entries for signal in azure.meaning(entry.raw, REGISTER)]


def test_a_feed_signal_names_the_customer_and_the_resource() -> None:
    found = signals("arm_setting_delete")[0]
    assert (found.customer, found.subject) == ("globex", SETTING.lower())
    found = signals("arm_namespace_delete")[0]
    assert (found.customer, found.subject) == (None, NAMESPACE.lower())


@pytest.mark.parametrize(
    ("name", "who", "tenant", "address"),
    [
        ("key_delete", "jane@globex.example", None, "203.0.113.9"),
        ("hsm_key_delete", "jane@globex.example", None, "203.0.113.9"),
        ("vault_patch_model", "jane@globex.example", None, "203.0.113.9"),
        ("arm_vault_delete", "jane@globex.example", "b0000000-1111-4222-8333-000000000b01", "203.0.113.9"),
        ("arm_vault_delete_rest", "jane@globex.example", None, None),
        ("entra_hard_delete", "jane@globex.example", "c0000000-1111-4222-8333-000000000c01", "203.0.113.9"),
    ],
)
def test_the_actor_is_told_as_the_log_names_it(name: str, who: str, tenant: str | None, address: str | None) -> None:
    actor = signals(name)[0].actor
    assert (actor.name, actor.account, actor.address) == (who, tenant, address)


def test_a_caller_without_a_user_name_is_told_by_its_ids() -> None:
    actor = signals("key_update_disabled_by_vendor")[0].actor
    assert actor.name == (
        "application a9900000-1111-4222-8333-000000000001, object b5900000-1111-4222-8333-000000000b01"
    )
    assert actor.agent == "AZURECLI/2.91.0"


def test_an_event_of_the_topic_names_nobody() -> None:
    assert signals("topic_key_expired")[0].actor is None


def test_the_version_that_was_hit_is_the_subject() -> None:
    assert [one.subject for one in signals("key_update_disabled")] == ["1" * 32]
    assert [one.key for one in signals("hsm_external_silent")] == [HSM_KEY]


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("key_update_operations_without_unwrap", "key_operations"),
        ("key_update_not_before", "condition"),
        ("vault_patch_policy_removed", "key_policy"),
        ("vault_patch_model", "role_or_policy"),
        ("vault_patch_tenant", "identity"),
        ("arm_role_delete", "iam_binding"),
        ("arm_role_write_vendor", "iam_binding"),
        ("hsm_role_assignment_delete", "iam_binding"),
        ("arm_definition_no_unwrap", "role_or_policy"),
        ("arm_deny_write", "org_control"),
        ("entra_disabled", "identity"),
        ("arm_identity_delete", "identity"),
    ],
)
def test_access_signals_say_by_which_means(name: str, means: str) -> None:
    assert {str(one.means) for one in signals(name)} == {means}


def test_a_deletion_without_purge_protection_says_that_there_is_no_safe_date() -> None:
    assert "can be purged at any moment" in signals("vault_delete_unprotected")[0].reason
    assert "can be purged at any moment" in signals("key_delete_sparse")[0].reason
    assert "an estimate" in signals("key_delete")[0].reason


def test_an_id_is_the_same_for_one_happening_however_it_is_delivered() -> None:
    direct, passed_on = signals("key_delete")[0], signals("key_delete_forwarded")[0]
    assert direct.event_id == passed_on.event_id
