"""Does the vendor still hold what it needs: kept, reduced, lost, or not to be told (azure.md 3.5, 3.6)."""

import time
from typing import Any

import pytest

from watchdog.clouds.azure import access
from watchdog.clouds.azure.access import Standing
from watchdog.clouds.azure.index import NEEDED
from watchdog.words import Effect

READ, WRAP = "Microsoft.KeyVault/vaults/keys/read", "Microsoft.KeyVault/vaults/keys/wrap/action"
UNWRAP = "Microsoft.KeyVault/vaults/keys/unwrap/action"


def role(*permissions: dict[str, Any]) -> dict[str, Any]:
    return {"properties": {"roleName": "keeps its name", "permissions": list(permissions)}}


@pytest.mark.parametrize(
    ("permissions", "standing"),
    [
        ([{"dataActions": [READ, WRAP, UNWRAP]}], Standing.KEPT),
        ([{"dataActions": ["Microsoft.KeyVault/vaults/keys/*"]}], Standing.KEPT),
        ([{"dataActions": ["*"]}], Standing.KEPT),
        ([{"dataActions": ["*/action", "*/READ"]}], Standing.KEPT),
        ([{"dataActions": ["microsoft.keyvault/*/keys/*/action", READ.upper()]}], Standing.KEPT),
        ([{"dataActions": [READ]}, {"dataActions": [WRAP, UNWRAP]}], Standing.KEPT),
        ([{"dataActions": ["*"], "notDataActions": [UNWRAP]}], Standing.LOST),
        ([{"dataActions": ["*"], "notDataActions": [UNWRAP]}, {"dataActions": [UNWRAP]}], Standing.KEPT),
        ([{"dataActions": ["*"], "notDataActions": ["*/wrap/*"]}], Standing.REDUCED),
        ([{"dataActions": [WRAP, UNWRAP]}], Standing.REDUCED),
        ([{"dataActions": [READ, WRAP]}], Standing.LOST),
        ([{"actions": ["*"]}], Standing.LOST),
        ([{"dataActions": ["Microsoft.KeyVault/vaults/keys/unwrap"]}], Standing.LOST),
        ([], Standing.LOST),
    ],
)
def test_a_role_is_read_by_its_data_actions(permissions: list[dict[str, Any]], standing: Standing) -> None:
    assert access.role(role(*permissions), NEEDED).standing == standing


@pytest.mark.parametrize("body", [None, {}, {"properties": {}}, {"properties": {"permissions": None}}])
def test_without_its_permissions_a_role_cannot_be_judged(body: dict[str, Any] | None) -> None:
    assert access.role(body, NEEDED).standing == Standing.UNKNOWN


def test_many_wildcards_are_matched_in_one_pass() -> None:
    begun = time.perf_counter()
    found = access.role(role({"dataActions": ["*" * 5000 + "a*" * 5000 + "x"]}), NEEDED)
    assert time.perf_counter() - begun < 1
    assert found.standing == Standing.LOST


@pytest.mark.parametrize(
    ("pattern", "action", "met"),
    [
        ("a", "a", True),
        ("a*", "a", True),
        ("*a", "ba", True),
        ("a*a", "a", False),
        ("a*b*c", "axbyc", True),
        ("a*b*c", "axcyb", False),
        ("**", "", True),
        ("", "a", False),
        ("a.", "ab", False),
    ],
)
def test_a_wildcard_stands_for_any_text(pattern: str, action: str, *, met: bool) -> None:
    assert access._matches(pattern, action) == met


@pytest.mark.parametrize(
    ("permitted", "standing", "why"),
    [
        (["wrapKey", "unwrapKey"], Standing.KEPT, "all that the vendor needs"),
        (["UNWRAPKEY"], Standing.REDUCED, "lacks wrapKey"),
        (["wrapKey"], Standing.LOST, "lacks unwrapKey"),
        ([], Standing.LOST, "lacks wrapKey and unwrapKey"),
    ],
)
def test_permitted_operations_say_what_is_missing(permitted: list[str], standing: Standing, why: str) -> None:
    found = access.operations(permitted, NEEDED)
    assert found.standing == standing
    assert why in found.why


def test_what_the_vendor_does_not_need_is_not_missed() -> None:
    assert access.operations(["unwrapKey"], {"get", "unwrapkey"}).standing == Standing.KEPT


def test_each_standing_has_its_effect() -> None:
    assert {access.Access(one, "").effect for one in Standing} == {
        Effect.ACCESS_GRANTED,
        Effect.ACCESS_REDUCED,
        Effect.ACCESS_REVOKED,
        Effect.ACCESS_CHANGED,
    }


@pytest.mark.parametrize("written", [["get", "unwrapKey"], '["get","unwrapKey"]', "get, unwrapKey", "get;unwrapKey"])
def test_flattened_permissions_are_read_in_every_form(written: object) -> None:
    fields = {"addedAccessPolicy_ObjectId": "ME", "addedAccessPolicy_Permissions_keys": written}
    found = access.flat_entries(fields, "addedAccessPolicy")
    assert [(one.principal, one.keys) for one in found] == [("me", frozenset({"get", "unwrapkey"}))]
