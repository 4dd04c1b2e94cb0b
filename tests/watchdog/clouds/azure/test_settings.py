"""Settings of a vault against what is registered: what leads, what null means, how tight is tight (azure.md 3.5)."""

from typing import Any

import pytest

from tests.watchdog.clouds.azure.world import (
    ADDRESS,
    DATA_VAULT,
    FILES_VAULT,
    GLOBEX,
    GLOBEX_PRINCIPAL,
    HSM,
    INITECH,
    INITECH_VAULT,
    JANE,
    STRANGER,
    register,
)
from watchdog.clouds.azure import settings
from watchdog.clouds.azure.case import Case
from watchdog.clouds.azure.index import index_of
from watchdog.words import Effect

ENTRY = {"objectId": GLOBEX_PRINCIPAL, "permissions": {"keys": ["get", "wrapKey", "unwrapKey"]}}
OTHER = {"objectId": JANE, "permissions": {"keys": ["all"]}}
DENY, ALLOW = (
    {"defaultAction": "Deny", "bypass": "AzureServices"},
    {"defaultAction": "Allow", "bypass": "AzureServices"},
)
SHUT = {"defaultAction": "Deny", "bypass": "None"}


def judged(fields: dict[str, Any], vault: str = DATA_VAULT, *, is_result: bool = True) -> list[tuple[str, bool]]:
    index = index_of(register())
    container = index.containers[vault.lower()]
    found = settings.written(Case(index, None), container, settings.settings_of(fields, is_result=is_result))
    return [(signal.effect.value, signal.probe) for signal in found]


def effect(fields: dict[str, Any], vault: str = DATA_VAULT, *, is_result: bool = True) -> tuple[str, bool]:
    found = judged(fields, vault, is_result=is_result)
    assert len(set(found)) == 1
    return found[0]


WORST_FIRST: list[tuple[dict[str, Any], Effect]] = [
    ({"tenantId": STRANGER}, Effect.ACCESS_REVOKED),
    ({"enableRbacAuthorization": False}, Effect.ACCESS_REVOKED),
    ({"networkAcls": SHUT}, Effect.PATH_BLOCKED),
    ({"enablePurgeProtection": False}, Effect.PROTECTION_WEAKENED),
    ({"networkAcls": ALLOW}, Effect.PATH_OPENED),
    ({"tags": {}}, Effect.NO_EFFECT),
]


@pytest.mark.parametrize("first", range(len(WORST_FIRST)))
def test_the_first_thing_that_matches_leads(first: int) -> None:
    fields: dict[str, Any] = {}
    for written, _ in reversed(WORST_FIRST[first:]):
        fields |= written
    assert effect(fields)[0] == WORST_FIRST[first][1]


@pytest.mark.parametrize(
    ("fields", "as_result", "as_request"),
    [
        ({"enableRbacAuthorization": None}, "access_revoked", "no_effect"),
        ({"enablePurgeProtection": None}, "protection_weakened", "no_effect"),
        ({}, "no_effect", "no_effect"),
        ({"enableRbacAuthorization": False}, "access_revoked", "access_revoked"),
        ({"enableRbacAuthorization": 0}, "access_revoked", "access_revoked"),
        ({"ENABLERBACAUTHORIZATION": "false"}, "access_revoked", "access_revoked"),
        ({"enableRbacAuthorization": 1, "enablePurgeProtection": 1}, "no_effect", "no_effect"),
        ({"softDeleteRetentionInDays": 89}, "protection_weakened", "protection_weakened"),
        ({"softDeleteRetentionInDays": "90"}, "no_effect", "no_effect"),
        ({"softDeleteRetentionInDays": None}, "no_effect", "no_effect"),
        ({"tenantId": GLOBEX.upper()}, "no_effect", "no_effect"),
        ({"tenantId": None}, "no_effect", "no_effect"),
        ({"networkAcls": None, "publicNetworkAccess": None}, "no_effect", "no_effect"),
    ],
)
def test_null_counts_in_a_result_and_means_unchanged_in_a_request(
    fields: dict[str, Any], as_result: str, as_request: str
) -> None:
    assert (effect(fields)[0], effect(fields, is_result=False)[0]) == (as_result, as_request)


@pytest.mark.parametrize(
    ("fields", "where", "meant"),
    [
        ({"networkAcls": DENY}, DATA_VAULT, ("path_blocked", True)),
        ({"networkAcls": {"defaultAction": "deny"}}, DATA_VAULT, ("path_blocked", True)),
        ({"networkAcls": SHUT}, DATA_VAULT, ("path_blocked", False)),
        ({"networkAcls": {"bypass": "None"}}, DATA_VAULT, ("path_opened", False)),
        ({"publicNetworkAccess": "disabled"}, DATA_VAULT, ("path_blocked", True)),
        ({"publicNetworkAccess": "Disabled", "networkAcls": SHUT}, DATA_VAULT, ("path_blocked", False)),
        ({"publicNetworkAccess": "SecuredByPerimeter"}, DATA_VAULT, ("path_blocked", False)),
        ({"publicNetworkAccess": "Enabled"}, DATA_VAULT, ("path_opened", False)),
        # Registered there: Deny, trusted services, the vendor's address.
        ({"networkAcls": DENY}, INITECH_VAULT, ("path_opened", False)),
        ({"networkAcls": ALLOW}, INITECH_VAULT, ("path_opened", False)),
        ({"networkAcls": {"bypass": "None"}}, INITECH_VAULT, ("path_blocked", False)),
        ({"publicNetworkAccess": "Disabled"}, INITECH_VAULT, ("path_blocked", True)),
        ({"networkAcls": DENY | {"ipRules": []}}, INITECH_VAULT, ("path_blocked", True)),
        ({"networkAcls": DENY | {"ipRules": [ADDRESS]}}, INITECH_VAULT, ("path_opened", False)),
        ({"networkAcls": ALLOW | {"ipRules": []}}, INITECH_VAULT, ("path_opened", False)),
        ({"networkAcls": SHUT}, HSM, ("path_blocked", False)),
    ],
)
def test_a_network_is_blocked_only_when_it_is_tighter_than_agreed(
    fields: dict[str, Any], where: str, meant: tuple[str, bool]
) -> None:
    assert effect(fields, where) == meant


@pytest.mark.parametrize(
    ("listed", "meant"),
    [
        ([ENTRY], "access_granted"),
        ([OTHER, ENTRY], "access_granted"),
        ([OTHER], "access_revoked"),
        ([], "access_revoked"),
        ([ENTRY | {"permissions": {"keys": ["get", "wrapKey"]}}], "access_revoked"),
        ([ENTRY | {"permissions": {"keys": ["unwrapKey", "get"]}}], "access_reduced"),
        ([ENTRY | {"permissions": {"keys": ["unwrapKey", "wrapKey"]}}], "access_reduced"),
        ([ENTRY | {"permissions": {"keys": ["All"]}}], "access_granted"),
        ([ENTRY | {"permissions": {"secrets": ["all"]}}], "access_revoked"),
        ([ENTRY | {"permissions": None}], "access_changed"),
        ([{"ObjectId": GLOBEX_PRINCIPAL.upper(), "Permissions": {"Keys": ["ALL"]}}], "access_granted"),
        (None, "no_effect"),
    ],
)
def test_a_full_list_of_access_policies_is_read_for_the_vendors_entry(listed: object, meant: str) -> None:
    fields = {"accessPolicies": listed, "softDeleteRetentionInDays": 30}
    assert [one for one, _ in judged(fields, FILES_VAULT)] == [meant, meant]


def test_access_policies_count_for_nothing_in_a_vault_with_roles() -> None:
    assert effect({"accessPolicies": []})[0] == Effect.NO_EFFECT


def test_a_managed_hsm_has_no_permission_model_to_be_switched() -> None:
    assert effect({"enableRbacAuthorization": None, "softDeleteRetentionInDays": 90}, HSM)[0] == Effect.NO_EFFECT


def test_each_vault_is_compared_with_its_own_tenant() -> None:
    assert effect({"tenantId": INITECH}, INITECH_VAULT)[0] == Effect.NO_EFFECT
