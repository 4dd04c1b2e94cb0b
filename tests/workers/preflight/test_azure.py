"""The reader of Azure: the real SDK against Azure in memory over HTTPS, with the rights that a vendor has, and more."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tests.key_services.azure import ENCRYPTION_USER, POLICY_OF_A_STORE, Azure, Key, Managed, Vault
from watchdog.clouds.azure.preflight import CHECKS, Version
from watchdog.preflight import Checked, Outcome, Unread
from watchdog.register import Document, Register, RegisteredKey
from workers.clouds.azure.identities import Limits
from workers.clouds.azure.preflight import AzureReader, reader
from workers.preflight.interface import Reader

APP = "a9900000-1111-4222-8333-000000000001"
PRINCIPAL = "b5900000-1111-4222-8333-000000000b01"
ACME = "a0000000-1111-4222-8333-00000000acde"
GLOBEX = "b0000000-1111-4222-8333-000000000b01"
SUBSCRIPTION = "/subscriptions/b5ab0000-1111-4222-8333-000000000b01"
GROUP = f"{SUBSCRIPTION}/resourceGroups/rg-data"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/glbx-data-kv"
HSM = f"{GROUP}/providers/Microsoft.KeyVault/managedHSMs/glbxhsm"
HUBS = f"{SUBSCRIPTION}/resourceGroups/rg-watch/providers/Microsoft.EventHub/namespaces/glbx-audit"
SETTING = f"{VAULT}/providers/Microsoft.Insights/diagnosticSettings/to-acme"
HOST, HSM_HOST = "glbx-data-kv.vault.azure.net", "glbxhsm.managedhsm.azure.net"
MANAGEMENT = "management.azure.com"
V1, V2 = "1" * 32, "abcdef" * 5 + "22"
CRYPTO_USER = "e147488a-f6f5-4113-8e2d-b22465e65bf6"
OFFICER = "14b46e9e-c2b7-41b4-b07b-48a6ebf60603"
JANE = "e0000000-1111-4222-8333-000000000e01"
PASS, FAIL, UNKNOWN = Outcome.PASS, Outcome.FAIL, Outcome.CANNOT_VERIFY
BY_KEY = {"azure.purge_protection", "azure.retention", "azure.expiry", "azure.versions_enabled"}
BY_REGISTER = {"azure.same_tenant", "azure.same_region", "azure.more_than_the_topic"}
ASKED = {"azure.key_backup", "azure.enterprise_application"}


def register(*, is_hsm: bool = False, versions: Sequence[str] = (V1, V2), **facts: Any) -> Register:
    host, place = (HSM_HOST, HSM) if is_hsm else (HOST, VAULT)
    kind = {"kind": "managed_hsm", "permission_model": "mhsm_local_rbac"} if is_hsm else {}
    entry = {
        "key": f"https://{host}/keys/data-cmk",
        "cloud": "azure",
        "azure": {"versions": [{"version": one} for one in versions], **facts},
        "consumers": [{"id": "blobs", "store": "azure.blob", "region": "westeurope"}],
    }
    customer = {
        "id": "globex",
        "azure": {
            "tenant": GLOBEX,
            "subscriptions": [SUBSCRIPTION.rpartition("/")[2]],
            "service_principal": {"object_id": PRINCIPAL, "app_id": APP},
            "containers": [{"id": place, "host": host, **kind}],
            "feeds": {"diagnostic_settings": [{"id": SETTING, "destination": f"{HUBS}/eventhubs/kv-audit"}]},
        },
        "instances": [{"id": "globex-1", "keys": [entry]}],
    }
    vendor = {"name": "Acme", "azure": {"tenant": ACME}}
    return Register(msgspec.convert({"version": 1, "vendor": vendor, "customers": [customer]}, Document))


@dataclass
class World:
    """Azure with a customer's vault as it should be, and readers that are led there."""

    azure: Azure
    vault: Vault
    managed: Managed
    key: Key
    readers: list[AzureReader] = field(default_factory=list)

    def reader(self, limits: Limits | None = None, **environment: str) -> AzureReader:
        made = AzureReader(
            limits, environment={"AZURE_CLIENT_SECRET": "the secret", **environment}, now=lambda: self.azure.now
        )
        self.readers.append(made)
        return made

    def checked(self, known: Register | None = None, limits: Limits | None = None) -> dict[str, Checked]:
        known = known or register()
        return {one.id: one for one in self.reader(limits).check(the_key(known), known)}

    def of(self, outcome: Outcome, known: Register | None = None) -> set[str]:
        return {name for name, one in self.checked(known).items() if one.outcome is outcome}


def the_key(known: Register) -> RegisteredKey:
    return next(iter(known.keys.values()))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with Azure() as azure:
        for name, value in azure.environment.items():
            monkeypatch.setenv(name, value)
        vault = azure.vault(HOST, GLOBEX)
        managed = Managed(VAULT)
        managed.readers.add((APP, SUBSCRIPTION))
        managed.lock("no-delete")
        managed.assign(PRINCIPAL, CRYPTO_USER)
        rule = f"{HUBS}/authorizationRules/RootManageSharedAccessKey"
        managed.diagnose("to-acme", eventHubAuthorizationRuleId=rule, eventHubName="kv-audit")
        vault.managed = managed
        key = azure.key(vault, "data-cmk", V1, V2)
        azure.grant(vault, APP, ENCRYPTION_USER)
        azure.apps[GLOBEX, APP] = ""
        azure.secrets[APP] = "the secret"
        made = World(azure, vault, managed, key)
        yield made
        for one in made.readers:
            one.close()


# --------------------------------------------------------------------------------------------------------- what is read


def test_a_reader_keeps_the_contract(world: World) -> None:
    made: Reader = world.reader()
    assert "azure" == made.cloud == reader().cloud


def test_a_vault_as_it_should_be_passes_whatever_can_be_read(world: World) -> None:
    assert world.of(UNKNOWN) == ASKED
    assert world.of(FAIL) == set()


def test_nothing_is_asked_but_what_is_read(world: World) -> None:
    world.checked()
    asked = [(one.method, one.host, one.path) for one in world.azure.calls if one.app]
    assert {method for method, _, _ in asked} == {"GET"}
    assert {(host, path) for _, host, path in asked} == {
        (HOST, f"/keys/data-cmk/{V1}"),
        (HOST, f"/keys/data-cmk/{V2}"),
        (MANAGEMENT, VAULT),
        *((MANAGEMENT, f"{scope}/providers/Microsoft.Authorization/locks") for scope in (VAULT, GROUP, SUBSCRIPTION)),
        (MANAGEMENT, f"{VAULT}/keys/data-cmk/providers/Microsoft.Authorization/roleAssignments"),
        (MANAGEMENT, f"{VAULT}/providers/Microsoft.Insights/diagnosticSettings"),
    }


def test_everything_is_asked_in_the_tenant_of_the_vault(world: World) -> None:
    world.checked()
    tenants = {one.path.split("/")[1] for one in world.azure.calls if one.path.endswith("/token")}
    assert tenants == {GLOBEX}


def test_the_encryption_role_alone_reads_the_key_and_the_rest_names_the_role_that_is_missing(world: World) -> None:
    world.managed.readers.clear()
    found = world.checked()
    assert {name for name, one in found.items() if one.outcome is PASS} == BY_KEY | BY_REGISTER
    assert all(one.outcome is UNKNOWN for name, one in found.items() if name not in BY_KEY | BY_REGISTER)
    for name in set(found) - BY_KEY - BY_REGISTER - ASKED:
        assert "403 AuthorizationFailed" in found[name].words
        assert found[name].fix == (
            f"az role assignment create --assignee-object-id {PRINCIPAL} --assignee-principal-type ServicePrincipal "
            f'--role "Reader" --scope {VAULT}'
        )


def test_the_role_on_the_vault_alone_reads_all_but_the_locks_above(world: World) -> None:
    world.managed.readers = {(APP, VAULT)}
    assert world.of(UNKNOWN) == ASKED
    world.managed.locks.clear()
    found = world.checked()["azure.lock"]
    assert (found.outcome, "none of its own" in found.words) == (UNKNOWN, True)
    assert (found.fix or "").startswith("az lock create")


def test_an_access_policy_without_list_is_enough(world: World) -> None:
    world.azure.revoke(world.vault, APP)
    world.azure.grant(world.vault, APP, POLICY_OF_A_STORE)
    assert BY_KEY <= world.of(PASS)


# ------------------------------------------------------------------------------------------------------ what is found


def test_each_fault_of_a_vault_fails_its_own_line(world: World) -> None:
    world.vault.purge_protection, world.vault.retention = False, 30
    world.vault.rbac = True
    world.managed.locks.clear()
    world.managed.settings |= {"networkAcls": {"defaultAction": "Deny", "bypass": "None"}}
    world.managed.assign(JANE, OFFICER, SUBSCRIPTION)
    world.managed.assign(PRINCIPAL, OFFICER)
    world.managed.diagnostics.clear()
    world.managed.diagnose("to-others", workspaceId="/x")
    world.key.versions[V1].enabled = False
    world.key.versions[V2].expires = world.azure.now + timedelta(days=90)
    found = world.checked()
    assert {name for name, one in found.items() if one.outcome is FAIL} == (
        {one.id for one in CHECKS} - ASKED - BY_REGISTER - {"azure.permission_model"}
    )
    assert JANE in found["azure.break_glass"].words  # who stands on the second page
    assert all(one.fix for one in found.values() if one.outcome is FAIL)


def test_the_model_is_the_vaults_own(world: World) -> None:
    world.vault.rbac = False
    entry = {"objectId": PRINCIPAL, "permissions": {"keys": ["Get", "WrapKey", "UnwrapKey"], "secrets": []}}
    world.managed.settings |= {"accessPolicies": [entry]}
    found = world.checked()
    assert (found["azure.permission_model"].outcome, found["azure.vendor_role"].outcome) == (FAIL, PASS)


def test_a_lock_of_the_group_is_seen(world: World) -> None:
    world.managed.locks.clear()
    world.managed.lock("all-of-it", GROUP)
    assert "all-of-it" in world.checked()["azure.lock"].words


@pytest.mark.parametrize("refusal", [None, "Operation get is not allowed on a disabled key."])
def test_a_disabled_version_is_found_whether_or_not_it_can_be_got(world: World, refusal: str | None) -> None:
    world.key.versions[V2].enabled = False
    world.vault.get_refuses_disabled = refusal
    found = world.checked()["azure.versions_enabled"]
    assert (found.outcome, V2 in found.words) == (FAIL, True)


def test_a_deleted_key_and_a_version_that_never_was(world: World) -> None:
    assert world.checked(register(versions=(V1, "9" * 32)))["azure.versions_enabled"].outcome is FAIL
    world.azure.delete(world.vault, "data-cmk")
    found = world.checked()
    assert found["azure.versions_enabled"].outcome is FAIL
    assert found["azure.purge_protection"].outcome is PASS  # the vault itself still tells


def test_stores_that_follow_the_newest_version_have_it_read_too(world: World) -> None:
    known = register(versions=(V1,), follows_latest=True)
    found = world.reader().read(the_key(known), known)
    assert list(found.versions) == [V1, V2]
    assert all(isinstance(one, Version) and one.recoverable_days == 90 for one in found.versions.values())


def test_of_a_managed_hsm_local_roles_are_not_asked(world: World) -> None:
    hsm = world.azure.vault(HSM_HOST, GLOBEX)
    hsm.managed = Managed(HSM)
    hsm.managed.readers.add((APP, SUBSCRIPTION))
    world.azure.key(hsm, "data-cmk", V1, V2)
    world.azure.grant(hsm, APP, ENCRYPTION_USER)
    found = world.checked(register(is_hsm=True))
    assert not [one for one in world.azure.calls if "roleAssignments" in one.path]
    assert found["azure.vendor_role"].fix == (
        f"az keyvault role assignment list --hsm-name glbxhsm --assignee-object-id {PRINCIPAL}"
    )
    assert (found["azure.purge_protection"].outcome, found["azure.lock"].outcome) == (PASS, FAIL)


# --------------------------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("how", "host"),
    [
        ((503, b"{}"), ""),
        ((429, b"{}"), ""),
        ("cut", ""),
        ((200, b"no JSON"), MANAGEMENT),
        ((200, b"[1]"), MANAGEMENT),
        ((200, b"{}"), MANAGEMENT),
        ((404, b'{"error": {"code": "ResourceNotFound"}}'), MANAGEMENT),
    ],
)
def test_what_fails_cannot_be_verified_and_never_raises(world: World, how: Any, host: str) -> None:
    world.azure.trouble(how, host=host)
    found = world.checked()
    assert [one.id for one in CHECKS] == list(found)
    passing = {name for name, one in found.items() if one.outcome is PASS}
    assert passing == (BY_REGISTER | BY_KEY if host else BY_REGISTER), found
    assert {one.outcome for name, one in found.items() if name not in passing} == {UNKNOWN}


def test_a_firewall_that_keeps_us_out_is_no_fault_of_the_key(world: World) -> None:
    world.vault.firewall = "ForbiddenByFirewall"
    found = world.checked()
    assert found["azure.versions_enabled"].outcome is UNKNOWN
    assert (found["azure.purge_protection"].outcome, found["azure.retention"].outcome) == (PASS, PASS)
    assert len([one for one in world.azure.calls if one.host == HOST and one.app]) == 1


def test_a_silent_cloud_costs_no_more_than_the_time_that_a_check_has(world: World) -> None:
    world.azure.trouble("hang")
    begun = time.monotonic()
    found = world.checked(limits=Limits(deadline=2.0, connect=0.5, read=0.5))
    assert time.monotonic() - begun < 4
    assert {name for name, one in found.items() if one.outcome is PASS} == BY_REGISTER


def test_an_application_that_the_tenant_refuses_is_said_so_on_every_line(world: World) -> None:
    world.azure.apps[GLOBEX, APP] = "AADSTS700016"
    found = world.checked()
    assert {name for name, one in found.items() if one.outcome is PASS} == BY_REGISTER
    assert "AADSTS700016" in found["azure.versions_enabled"].words
    assert "AADSTS700016" in found["azure.lock"].words


def test_a_next_page_on_another_host_is_not_asked_for(world: World) -> None:
    body = b'{"value": [], "nextLink": "https://elsewhere.example/next"}'
    world.azure.trouble((200, body), host=MANAGEMENT, path="roleAssignments")
    known = register()
    found = world.reader().read(the_key(known), known).assignments
    assert isinstance(found, Unread)
    assert "elsewhere" in found.why
    assert not [one for one in world.azure.calls if one.host == "elsewhere.example"]


def test_pages_without_end_end(world: World) -> None:
    following = f"https://{MANAGEMENT}{VAULT}/keys/data-cmk/providers/Microsoft.Authorization/roleAssignments?x=1"
    trouble = world.azure.trouble(
        (200, f'{{"value": [], "nextLink": "{following}"}}'.encode()), host=MANAGEMENT, path="roleAssignments"
    )
    assert world.checked()["azure.vendor_role"].outcome is UNKNOWN
    assert trouble.met < 30


def test_a_key_whose_vault_is_not_registered_is_not_asked_for(world: World) -> None:
    facts = msgspec.to_builtins(register().document)
    facts["customers"][0]["azure"]["containers"] = []
    found = world.checked(Register(msgspec.convert(facts, Document)))
    assert {one.outcome for one in found.values()} == {UNKNOWN}
    assert world.azure.calls == []
