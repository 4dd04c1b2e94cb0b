"""Pre-flight on Azure, the pure half: what was answered, line by line, to pass, fail or cannot verify with a fix."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tests.watchdog.clouds.azure.world import (
    BUILT_IN,
    DATA_GRANT,
    DATA_KEY,
    DATA_VAULT,
    FILES_KEY,
    FILES_VAULT,
    GLOBEX,
    GLOBEX_PRINCIPAL,
    GLOBEX_SUBSCRIPTION,
    HSM_KEY,
    HUB_NAMESPACE,
    INITECH_KEY,
    INITECH_PRINCIPAL,
    INITECH_VAULT,
    JANE,
    OWN_KEY,
    SETTING,
    V1,
    V2,
    at,
    document,
)
from watchdog.clouds.azure.preflight import CHECKS, READER, Reading, Version, judge
from watchdog.preflight import Checked, Outcome, Unread, is_command, listed
from watchdog.register import Document, Register
from watchdog.words import Owner

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
PASS, FAIL, UNKNOWN = Outcome.PASS, Outcome.FAIL, Outcome.CANNOT_VERIFY
GROUP = f"/subscriptions/{GLOBEX_SUBSCRIPTION}/resourceGroups/rg-data"
REFUSED = Unread(why="locks: 403 AuthorizationFailed", right=f"{READER} on {DATA_VAULT}")
SILENT = Unread(why="get key: no answer within 4 s")
OFFICER = "14b46e9e-c2b7-41b4-b07b-48a6ebf60603"
OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
READER_ROLE = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
CUSTOM = "b4010000-1111-4222-8333-000000000009"
SOON = NOW + timedelta(days=200)


def version(**facts: Any) -> Version:
    known: dict[str, Any] = {
        "enabled": True,
        "operations": frozenset({"encrypt", "wrapkey", "unwrapkey"}),
        "recovery_level": "Recoverable",
        "recoverable_days": 90,
    }
    return Version(**known | facts)


def vault(location: str = "westeurope", **properties: Any) -> dict[str, Any]:
    known = {
        "tenantId": GLOBEX,
        "enableRbacAuthorization": True,
        "enablePurgeProtection": True,
        "softDeleteRetentionInDays": 90,
        "publicNetworkAccess": "Enabled",
    }
    told = {name: value for name, value in (known | properties).items() if value is not ...}
    return {"id": DATA_VAULT, "location": location, "properties": told}


def lock(scope: str = DATA_VAULT, level: str = "CanNotDelete") -> dict[str, Any]:
    return {"id": f"{scope}/providers/Microsoft.Authorization/locks/keep", "properties": {"level": level}}


def role(principal: str, definition: str, scope: str = DATA_VAULT, **more: Any) -> dict[str, Any]:
    definitions = f"/subscriptions/{GLOBEX_SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions"
    return {
        "id": at(scope, more.pop("name", DATA_GRANT)),
        "properties": {
            "principalId": principal.upper(), "roleDefinitionId": f"{definitions}/{definition}", "scope": scope, **more
        },
    }  # fmt: skip


OUR_ROLE = role(GLOBEX_PRINCIPAL, BUILT_IN)


def setting(place: str = SETTING, *, enabled: bool = True, **destination: Any) -> dict[str, Any]:
    sends = destination or {
        "eventHubAuthorizationRuleId": f"{HUB_NAMESPACE.upper()}/authorizationrules/RootManageSharedAccessKey",
        "eventHubName": "KV-audit",
    }
    return {"id": place, "properties": {"logs": [{"category": "AuditEvent", "enabled": enabled}], **sends}}


def reading(**facts: Any) -> Reading:
    known: dict[str, Any] = {
        "versions": {V1: version(), V2: version()},
        "vault": vault(),
        "locks": {DATA_VAULT: [lock()]},
        "assignments": [OUR_ROLE],
        "diagnostics": [setting()],
    }
    return Reading(**known | facts)


def register(*stores: dict[str, Any], key: int = 0, change: Any = None, **facts: Any) -> Register:
    content = msgspec.to_builtins(document())
    entry = content["customers"][0]["instances"][key]["keys"][0]
    entry["consumers"] = list(stores) or [{"id": "acme-blobs", "store": "azure.blob", "region": "westeurope"}]
    entry["azure"] |= facts
    if change:
        change(content)
    return Register(msgspec.convert(content, Document))


def store(kind: str, region: str | None = "westeurope", name: str = "acme-db") -> dict[str, Any]:
    return {"id": name, "store": f"azure.{kind}", "region": region}


def lines(found: Reading | None = None, key: str = DATA_KEY, known: Register | None = None) -> dict[str, Checked]:
    known = known or register()
    return {one.id: one for one in judge(found or reading(), known.keys[key], known, at=NOW)}


def line(check: str, key: str = DATA_KEY, known: Register | None = None, **facts: Any) -> Checked:
    return lines(reading(**facts), key, known)[f"azure.{check}"]


# ------------------------------------------------------------------------------------------------------------- the list


def test_a_key_that_is_as_it_should_be_passes_all_that_can_be_read() -> None:
    found = lines()
    assert {name for name, one in found.items() if one.outcome is not PASS} == {
        "azure.key_backup",
        "azure.enterprise_application",
    }
    assert {one.outcome for name, one in found.items() if one.outcome is not PASS} == {UNKNOWN}


@pytest.mark.parametrize(
    "found",
    [
        reading(),
        Reading(versions={}, vault=SILENT, locks={}, assignments=SILENT, diagnostics=SILENT),
        Reading(
            versions={V1: REFUSED, V2: SILENT}, vault=REFUSED, locks={DATA_VAULT: REFUSED}, assignments=REFUSED,
            diagnostics=REFUSED,
        ),
        Reading(versions={V1: Version()}, vault={}, locks={DATA_VAULT: [{}]}, assignments=[{}], diagnostics=[{}]),
    ],
    ids=["all", "nothing", "refused", "empty"],
)  # fmt: skip
@pytest.mark.parametrize("key", [DATA_KEY, FILES_KEY, HSM_KEY, INITECH_KEY, OWN_KEY])
def test_every_check_is_there_whatever_was_answered_and_says_what_to_do(found: Reading, key: str) -> None:
    known = register()
    made = judge(found, known.keys[key], known, at=NOW)
    assert [one.id for one in made] == [one.id for one in CHECKS] == [one.id for one in listed("azure")]
    for one, check in zip(made, CHECKS, strict=True):
        assert (one.title, one.hard, one.source) == (check.title, check.hard, check.source)
        assert one.words.endswith(".")
        assert one.outcome is PASS or one.fix


def test_what_was_not_read_never_passes() -> None:
    found = lines(Reading(versions={}, vault=SILENT, locks={}, assignments=SILENT, diagnostics=SILENT))
    passing = {name for name, one in found.items() if one.outcome is PASS}
    assert passing == {"azure.same_tenant", "azure.same_region", "azure.more_than_the_topic"}  # by the register alone
    assert all(one.outcome is UNKNOWN for name, one in found.items() if name not in passing)


def test_a_key_without_a_registered_vault_cannot_be_verified_at_all() -> None:
    def forget(content: Any) -> None:
        content["customers"][0]["azure"]["containers"] = []

    found = lines(known=register(change=forget))
    assert {one.outcome for one in found.values()} == {UNKNOWN}
    assert len(found) == len(CHECKS)


def test_the_musts_of_the_document_are_hard() -> None:
    assert {one.id.removeprefix("azure.") for one in CHECKS if one.hard} == {
        "purge_protection", "retention", "vendor_role", "same_tenant", "same_region",
    }  # fmt: skip


def test_of_the_vendors_own_vault_nothing_is_the_customers_to_repair() -> None:
    found = lines(reading(versions={V1: version(recovery_level="Purgeable")}), OWN_KEY)
    assert {one.owner for one in found.values()} == {Owner.VENDOR}
    assert "acme-own-kv" in (found["azure.purge_protection"].fix or "")


def test_what_the_vendor_may_not_read_names_the_role_that_would_let_it() -> None:
    for check, facts in (
        ("lock", {"locks": {DATA_VAULT: REFUSED}}),
        ("permission_model", {"vault": REFUSED}),
        ("network", {"vault": REFUSED}),
        ("vendor_role", {"assignments": REFUSED}),
        ("break_glass", {"assignments": REFUSED}),
        ("diagnostic_setting", {"diagnostics": REFUSED}),
    ):
        found = line(check, **facts)
        assert (found.outcome, "403 AuthorizationFailed" in found.words) == (UNKNOWN, True), check
        assert found.fix == (
            f"az role assignment create --assignee-object-id {GLOBEX_PRINCIPAL} --assignee-principal-type "
            f'ServicePrincipal --role "Reader" --scope {DATA_VAULT}'
        )


# ----------------------------------------------------------------------------------------------------------- the guards


@pytest.mark.parametrize(
    ("level", "outcome"),
    [
        ("Recoverable", PASS),
        ("CustomizedRecoverable", PASS),
        ("Recoverable+ProtectedSubscription", PASS),
        ("CustomizedRecoverable+ProtectedSubscription", PASS),
        ("Recoverable+Purgeable", FAIL),
        ("CustomizedRecoverable+Purgeable", FAIL),
        ("Purgeable", FAIL),
    ],
)
def test_every_recovery_level_tells_of_purge_protection(level: str, outcome: Outcome) -> None:
    found = line("purge_protection", versions={V1: version(recovery_level=level), V2: SILENT}, vault=REFUSED)
    assert (found.outcome, level in found.words) == (outcome, True)
    if outcome is FAIL:
        assert found.fix == (
            f"az keyvault update --name glbx-data-kv --subscription {GLOBEX_SUBSCRIPTION} "
            "--enable-purge-protection true"
        )


@pytest.mark.parametrize(("told", "outcome"), [(True, PASS), (None, FAIL), (..., FAIL)])
def test_without_the_key_the_vaults_own_settings_tell(told: Any, outcome: Outcome) -> None:
    found = line("purge_protection", versions={V1: SILENT, V2: SILENT}, vault=vault(enablePurgeProtection=told))
    assert found.outcome is outcome


@pytest.mark.parametrize(
    ("facts", "outcome"),
    [
        ({}, PASS),
        ({"versions": {V1: version(recoverable_days=89)}}, FAIL),
        ({"versions": {V1: version(recoverable_days=None)}}, PASS),
        ({"versions": {V1: SILENT}, "vault": vault(softDeleteRetentionInDays=7)}, FAIL),
        ({"versions": {V1: SILENT}, "vault": vault(softDeleteRetentionInDays=...)}, UNKNOWN),
        ({"versions": {V1: SILENT}, "vault": REFUSED}, UNKNOWN),
    ],
)
def test_the_retention(facts: dict[str, Any], outcome: Outcome) -> None:
    assert line("retention", **facts).outcome is outcome


@pytest.mark.parametrize(
    ("locks", "outcome"),
    [
        ({DATA_VAULT: [lock()]}, PASS),
        ({DATA_VAULT: [lock(level="ReadOnly")]}, PASS),
        ({DATA_VAULT: [], GROUP: [lock(GROUP)]}, PASS),
        ({DATA_VAULT: REFUSED, GROUP: [lock(GROUP)]}, PASS),
        ({DATA_VAULT: [lock(level="NotSpecified")]}, FAIL),
        ({DATA_VAULT: [], GROUP: [lock(f"{GROUP}/providers/Microsoft.KeyVault/vaults/glbx-data-kv2")]}, FAIL),
        ({DATA_VAULT: [lock(f"{DATA_VAULT}/x/y")]}, FAIL),
        ({DATA_VAULT: [], GROUP: REFUSED}, UNKNOWN),
        ({DATA_VAULT: REFUSED}, UNKNOWN),
        ({}, UNKNOWN),
    ],
)
def test_a_lock_on_the_vault_or_above_it(locks: dict[str, Any], outcome: Outcome) -> None:
    assert line("lock", locks=locks).outcome is outcome


def test_where_only_what_is_above_cannot_be_read_the_fix_is_a_lock_and_no_right() -> None:
    none_of_its_own: dict[str, Any] = {DATA_VAULT: []}
    for locks in (none_of_its_own, none_of_its_own | {GROUP: REFUSED}):
        assert line("lock", locks=locks).fix == (
            "az lock create --name no-delete --lock-type CanNotDelete --resource glbx-data-kv --resource-group rg-data "
            f"--resource-type Microsoft.KeyVault/vaults --subscription {GLOBEX_SUBSCRIPTION}"
        )


@pytest.mark.parametrize(
    ("properties", "outcome"),
    [
        ({}, PASS),
        ({"networkAcls": {"defaultAction": "Deny", "bypass": "AzureServices"}}, PASS),
        ({"networkAcls": {"defaultAction": "Deny"}}, PASS),
        ({"networkAcls": {"defaultAction": "Allow", "bypass": "None"}}, PASS),
        ({"publicNetworkAccess": "Disabled"}, PASS),
        ({"networkAcls": {"defaultAction": "Deny", "bypass": "None"}}, FAIL),
        ({"publicNetworkAccess": "SecuredByPerimeter"}, FAIL),
    ],
)
def test_the_stores_get_through_the_firewall(properties: dict[str, Any], outcome: Outcome) -> None:
    assert line("network", vault=vault(**properties)).outcome is outcome


@pytest.mark.parametrize(("status", "outcome"), [("Approved", PASS), ("Pending", FAIL)])
def test_an_approved_private_endpoint_does_instead_of_the_exception(status: str, outcome: Outcome) -> None:
    endpoint = {"id": f"{DATA_VAULT}/privateEndpointConnections/pe-acme", "properties": {
        "privateLinkServiceConnectionState": {"status": status}}}  # fmt: skip
    shut = vault(networkAcls={"defaultAction": "Deny", "bypass": "None"}, privateEndpointConnections=[endpoint])
    found = line("network", vault=shut)
    assert found.outcome is outcome
    if outcome is FAIL:
        assert (found.fix or "").endswith(" --bypass AzureServices")


# --------------------------------------------------------------------------------------------------------- who may what


def test_the_model_is_switched_only_after_the_role_was_given() -> None:
    found = line("permission_model", vault=vault(enableRbacAuthorization=None))
    fix = found.fix or ""
    assert found.outcome is FAIL
    assert not is_command(fix)  # two commands with a wait between them are not one to paste
    assert fix.index("az role assignment create") < fix.index("wait") < fix.index("--enable-rbac-authorization true")
    assert line("permission_model", vault=vault(enableRbacAuthorization=...)).outcome is UNKNOWN
    assert line("permission_model", HSM_KEY, vault=REFUSED).outcome is PASS


@pytest.mark.parametrize(
    ("assignments", "outcome", "words"),
    [
        ([OUR_ROLE], PASS, "and no other."),
        ([OUR_ROLE, role(GLOBEX_PRINCIPAL, READER_ROLE)], PASS, "and no other."),
        ([OUR_ROLE, role(JANE, OFFICER)], PASS, "and no other."),
        ([role(GLOBEX_PRINCIPAL, BUILT_IN, f"{DATA_VAULT}/keys/Data-CMK")], PASS, "and no other."),
        ([role(GLOBEX_PRINCIPAL, BUILT_IN, GROUP)], PASS, "above the vault"),
        ([role(GLOBEX_PRINCIPAL, BUILT_IN, name=CUSTOM)], PASS, CUSTOM),
        ([OUR_ROLE, role(GLOBEX_PRINCIPAL, OFFICER)], FAIL, "Key Vault Crypto Officer"),
        ([OUR_ROLE, role(GLOBEX_PRINCIPAL, OWNER, GROUP)], FAIL, "Owner"),
        ([OUR_ROLE, role(GLOBEX_PRINCIPAL, CUSTOM)], FAIL, CUSTOM),
        ([], FAIL, "No role that suffices"),
        ([role(JANE, BUILT_IN)], FAIL, "No role that suffices"),
        ([role(GLOBEX_PRINCIPAL, READER_ROLE)], FAIL, "No role that suffices"),
        ([role(GLOBEX_PRINCIPAL, BUILT_IN, f"{DATA_VAULT}/keys/other")], FAIL, "No role that suffices"),
        ([role(GLOBEX_PRINCIPAL, BUILT_IN, f"{DATA_VAULT}2")], FAIL, "No role that suffices"),
        ([role(GLOBEX_PRINCIPAL, BUILT_IN, condition="@Resource[x]")], UNKNOWN, "condition"),
    ],
)
def test_the_vendors_principal_has_neither_too_much_nor_too_little(
    assignments: list[Any], outcome: Outcome, words: str
) -> None:
    found = line("vendor_role", assignments=assignments)
    assert (found.outcome, words in found.words) == (outcome, True), found.words


def test_what_is_too_much_is_taken_away_only_once_the_right_role_is_there() -> None:
    much = role(GLOBEX_PRINCIPAL, OFFICER)
    assert line("vendor_role", assignments=[OUR_ROLE, much]).fix == (
        f"az role assignment delete --ids {at(DATA_VAULT, DATA_GRANT).lower()}"
    )
    fix = line("vendor_role", assignments=[much]).fix or ""
    assert fix.index("az role assignment create") < fix.index("az role assignment delete")


POLICY = ["get", "wrapKey", "unwrapKey"]


@pytest.mark.parametrize(
    ("keys", "others", "outcome", "words"),
    [
        (POLICY, {}, PASS, "no more"),
        ([*POLICY, "list"], {"secrets": []}, PASS, "no more"),
        ([*POLICY, "purge"], {}, FAIL, "purge"),
        (["all"], {}, FAIL, "all"),
        (POLICY, {"secrets": ["get"]}, FAIL, "secret"),
        (["get", "wrapKey"], {}, FAIL, "unwrapKey"),
        (None, {}, FAIL, "no entry"),
    ],
)
def test_an_access_policy_has_neither_too_much_nor_too_little(
    keys: list[str] | None, others: dict[str, Any], outcome: Outcome, words: str
) -> None:
    entry = {"objectId": GLOBEX_PRINCIPAL.upper(), "permissions": {"keys": keys, **others}}
    told = vault(enableRbacAuthorization=False, accessPolicies=[entry] if keys else [])
    found = line("vendor_role", FILES_KEY, vault=told, assignments=SILENT)
    assert (found.outcome, words in found.words) == (outcome, True), found.words
    if outcome is FAIL:
        assert "az keyvault set-policy --name glbx-files-kv" in (found.fix or "")


def test_the_model_that_the_vault_tells_counts_not_the_registered_one() -> None:
    switched = vault(enableRbacAuthorization=True, accessPolicies=[])
    mine = role(GLOBEX_PRINCIPAL, BUILT_IN, FILES_VAULT)
    assert line("vendor_role", FILES_KEY, vault=switched, assignments=[mine]).outcome is PASS
    assert line("vendor_role", FILES_KEY, vault=REFUSED, assignments=[mine]).outcome is UNKNOWN


@pytest.mark.parametrize(
    ("assignments", "outcome", "words"),
    [
        ([OUR_ROLE], PASS, "Nobody"),
        ([OUR_ROLE, role(JANE, READER_ROLE)], PASS, "Nobody"),
        ([OUR_ROLE, role(JANE, OFFICER)], FAIL, f"{JANE} (Key Vault Crypto Officer)"),
        ([role(JANE, OFFICER, "/providers/Microsoft.Management/managementGroups/mg-far")], FAIL, "Crypto Officer"),
        ([role(JANE, OFFICER, "/")], FAIL, "Crypto Officer"),
        ([role(JANE, OWNER, f"/subscriptions/{GLOBEX_SUBSCRIPTION}")], UNKNOWN, f"{JANE} (Owner)"),
        ([role(JANE, CUSTOM)], UNKNOWN, f"{JANE} (role {CUSTOM})"),
    ],
)
def test_who_could_destroy_is_named(assignments: list[Any], outcome: Outcome, words: str) -> None:
    found = line("break_glass", assignments=assignments)
    assert (found.outcome, words in found.words) == (outcome, True), found.words


def test_an_access_policy_that_deletes_keys_is_no_break_glass() -> None:
    entry = {"objectId": JANE, "permissions": {"keys": ["get", "delete"]}}
    told = vault(enableRbacAuthorization=False, accessPolicies=[entry])
    found = line("break_glass", FILES_KEY, vault=told, assignments=[])
    assert (found.outcome, JANE in found.words) == (FAIL, True)


def test_the_local_roles_of_a_managed_hsm_are_asked_of_its_owner() -> None:
    found = line("vendor_role", HSM_KEY)
    assert (found.outcome, found.fix) == (
        UNKNOWN, f"az keyvault role assignment list --hsm-name glbxhsm --assignee-object-id {GLOBEX_PRINCIPAL}",
    )  # fmt: skip
    assert line("break_glass", HSM_KEY).fix == "az keyvault role assignment list --hsm-name glbxhsm"


# --------------------------------------------------------------------------------------------------------- the versions


@pytest.mark.parametrize(
    ("kind", "expires", "registered", "outcome", "owner"),
    [
        ("blob", None, None, PASS, Owner.CUSTOMER),
        ("mysql_flexible", None, None, PASS, Owner.CUSTOMER),
        ("mysql_flexible", SOON, SOON, FAIL, Owner.CUSTOMER),
        ("mysql_flexible", datetime(2099, 12, 31, tzinfo=UTC), None, PASS, Owner.CUSTOMER),
        ("postgres_flexible", SOON, SOON, PASS, Owner.CUSTOMER),
        ("postgres_flexible", SOON, None, FAIL, Owner.VENDOR),
        ("managed_disk", SOON, SOON + timedelta(days=1), FAIL, Owner.VENDOR),
        ("managed_disk", NOW, NOW, FAIL, Owner.CUSTOMER),
    ],
)
def test_the_expiry_against_the_stores(
    kind: str, expires: datetime | None, registered: datetime | None, outcome: Outcome, owner: Owner
) -> None:
    known = register(store(kind), versions=[{"version": V1}, {"version": V2, "expires": registered}])
    found = line("expiry", known=known, versions={V1: version(), V2: version(expires=expires)})
    assert (found.outcome, found.owner) == (outcome, owner)
    assert outcome is PASS or V2 in found.words


def test_an_expiry_is_moved_by_a_command_and_registered_by_a_sentence() -> None:
    known = register(store("mysql_flexible"))
    found = line("expiry", known=known, versions={V1: version(expires=SOON), V2: version()})
    assert found.fix == (
        f"az keyvault key set-attributes --vault-name glbx-data-kv --name data-cmk --version {V1} "
        "--expires 2099-12-31T00:00:00Z"
    )
    assert "2027-06-12T09:00:00Z" in (line("expiry", versions={V1: version(expires=SOON)}).fix or "")


def test_a_version_that_was_not_read_leaves_the_expiry_open() -> None:
    assert line("expiry", versions={V1: version(), V2: SILENT}).outcome is UNKNOWN
    assert line("expiry", versions={V1: version(expires=NOW), V2: SILENT}).outcome is FAIL


@pytest.mark.parametrize(
    ("one", "outcome", "fix"),
    [
        (version(), PASS, ""),
        (version(operations=None), PASS, ""),
        (version(enabled=False), FAIL, "--enabled true"),
        (Version(enabled=False), FAIL, "--enabled true"),
        (Version(found=False), FAIL, "az keyvault key recover"),
        (version(begins=SOON), FAIL, "--not-before"),
        (version(operations=frozenset({"wrapkey"})), FAIL, "--ops"),
        (version(enabled=None), UNKNOWN, ""),
        (SILENT, UNKNOWN, ""),
    ],
)
def test_every_registered_version_is_enabled(one: Any, outcome: Outcome, fix: str) -> None:
    found = line("versions_enabled", versions={V1: version(), V2: one})
    assert found.outcome is outcome
    assert fix in (found.fix or "")
    if fix.startswith("--"):
        assert f"--version {V2}" in (found.fix or "")


def test_a_version_that_is_missing_among_the_answers_is_not_taken_for_enabled() -> None:
    assert line("versions_enabled", versions={V1: version()}).outcome is UNKNOWN
    assert line("versions_enabled", known=register(versions=[])).outcome is UNKNOWN


# ----------------------------------------------------------------------------------------------------------- the stores


def test_mysql_flexible_needs_vault_and_server_in_one_tenant() -> None:
    known = register(store("mysql_flexible"))
    found = line("same_tenant", known=known)
    assert (found.outcome, found.owner, found.hard) == (FAIL, Owner.VENDOR, True)
    assert GLOBEX in found.words
    own = register(store("mysql_flexible"), key=6)
    assert line("same_tenant", OWN_KEY, own, vault=REFUSED).outcome is PASS
    assert line("same_tenant", known=register(store("postgres_flexible"))).outcome is PASS


def test_without_registered_stores_nothing_is_said_of_them() -> None:
    def forget(content: Any) -> None:
        content["customers"][0]["instances"][0]["keys"][0]["consumers"] = []

    known = register(change=forget)
    assert [line(name, known=known).outcome for name in ("same_tenant", "same_region")] == [UNKNOWN, UNKNOWN]


@pytest.mark.parametrize(
    ("stores", "location", "outcome"),
    [
        ([store("managed_disk")], "West Europe", PASS),
        ([store("managed_disk", "northeurope")], "westeurope", FAIL),
        ([store("managed_disk"), store("mysql_flexible", "eastus")], "westeurope", FAIL),
        ([store("managed_disk", None)], "westeurope", UNKNOWN),
        ([store("blob", "eastus")], "westeurope", PASS),
    ],
)
def test_disks_and_mysql_need_a_vault_of_their_region(stores: list[Any], location: str, outcome: Outcome) -> None:
    found = line("same_region", known=register(*stores), vault=vault(location))
    assert found.outcome is outcome


def test_a_vault_that_cannot_be_read_is_where_the_register_says() -> None:
    known = register(store("managed_disk", "northeurope"))
    assert line("same_region", known=known, vault=REFUSED).outcome is FAIL


def test_what_only_the_owner_knows_is_asked() -> None:
    assert line("key_backup").fix == (
        "az keyvault key backup --vault-name glbx-data-kv --name data-cmk --file data-cmk.backup"
    )
    assert GLOBEX_PRINCIPAL in (line("enterprise_application").fix or "")


# ------------------------------------------------------------------------------------------------------------ the feeds

CREATE = (
    f"az monitor diagnostic-settings create --name to-acme --resource {DATA_VAULT} --event-hub kv-audit "
    f"--event-hub-rule {HUB_NAMESPACE.lower()}/authorizationRules/RootManageSharedAccessKey "
    """--logs '[{"category": "AuditEvent", "enabled": true}]'"""
)


@pytest.mark.parametrize(
    ("diagnostics", "outcome", "words"),
    [
        ([setting()], PASS, "to-acme"),
        ([setting(SETTING.upper())], PASS, "to-acme"),
        ([setting(storageAccountId="/x"), setting(f"{SETTING}2")], FAIL, "elsewhere"),
        ([setting(enabled=False), setting(f"{SETTING}2")], FAIL, "does not send"),
        ([setting(f"{SETTING}2")], FAIL, "not there"),
        ([], FAIL, "not there"),
    ],
)
def test_the_registered_diagnostic_setting_sends_the_log_where_agreed(
    diagnostics: list[Any], outcome: Outcome, words: str
) -> None:
    found = line("diagnostic_setting", diagnostics=diagnostics)
    assert (found.outcome, words in found.words) == (outcome, True), found.words


def test_a_setting_that_was_narrowed_is_written_again_under_its_name() -> None:
    assert line("diagnostic_setting", diagnostics=[setting(enabled=False)]).fix == CREATE


def test_a_setting_that_nobody_registered_is_the_vendors_to_register() -> None:
    found = line("diagnostic_setting", FILES_KEY, diagnostics=[setting(f"{FILES_VAULT}/providers/x/y/z")])
    assert (found.outcome, found.owner) == (FAIL, Owner.VENDOR)
    assert line("diagnostic_setting", FILES_KEY, diagnostics=[]).owner is Owner.CUSTOMER


def test_the_vaults_event_grid_topic_alone_is_not_enough() -> None:
    assert line("more_than_the_topic").outcome is PASS
    found = line("more_than_the_topic", FILES_KEY)
    assert (found.outcome, "Event Grid" in found.words) == (FAIL, True)


# ------------------------------------------------------------------------------------------------------------- commands


def test_nothing_of_a_record_can_be_pasted_that_a_shell_would_read() -> None:
    odd = "/subscriptions/x;reboot"
    much = role(INITECH_PRINCIPAL, OFFICER, INITECH_VAULT) | {"id": odd}
    found = line("vendor_role", INITECH_KEY, assignments=[role(INITECH_PRINCIPAL, BUILT_IN, INITECH_VAULT), much])
    assert (found.outcome, ";" in (found.fix or "")) == (FAIL, False)
    unread = Unread(why="x", right=f"{READER} on {odd}")
    assert not is_command(line("diagnostic_setting", diagnostics=unread).fix or "")
