"""What undoes a loss, with exact commands; and nothing of an outsider's text ever stands in one."""

import re
from typing import Any

import pytest
from msgspec.structs import replace

from tests.watchdog.clouds.azure.test_recorded import EXPECTED, RECORDED
from tests.watchdog.clouds.azure.world import (
    ADDRESS,
    APP,
    CUSTOM_ROLE,
    DATA_KEY,
    DATA_VAULT,
    FILES_KEY,
    GLOBEX,
    GLOBEX_PRINCIPAL,
    GLOBEX_SUBSCRIPTION,
    HSM_KEY,
    HUB,
    INITECH_KEY,
    INITECH_SUBSCRIPTION,
    NAMESPACE,
    ONE_GRANT_KEY,
    SPREAD_VAULT,
    TWO_GRANTS_KEY,
    V1,
    V2,
    document,
    register,
)
from watchdog.clouds import azure
from watchdog.clouds.azure import repair, settings
from watchdog.register import Register
from watchdog.register_azure import AzureKey
from watchdog.repair import Step
from watchdog.words import LOSS, RISK, Cause, Effect, Means, Owner

REGISTER = register()
SET = "az keyvault key set-attributes --vault-name glbx-data-kv --name data-cmk"
SUB = f"--subscription {GLOBEX_SUBSCRIPTION}"
ROLE = "Key Vault Crypto Service Encryption User"
ASSIGN = (
    f"az role assignment create --assignee-object-id {GLOBEX_PRINCIPAL} "
    f'--assignee-principal-type ServicePrincipal --role "{ROLE}" --scope {DATA_VAULT}'
)
POLICY = (
    f"az keyvault set-policy --name glbx-files-kv --object-id {GLOBEX_PRINCIPAL} "
    f"--key-permissions get wrapKey unwrapKey {SUB}"
)
LOCAL = (
    'az keyvault role assignment create --hsm-name glbxhsm --role "Managed HSM Crypto Service Encryption User" '
    f"--assignee-object-id {GLOBEX_PRINCIPAL} --scope /keys/hsm-cmk"
)


def steps(effect: Effect, key: str = DATA_KEY, of: Register = REGISTER, **said: Any) -> list[Step]:
    return list(azure.steps(effect, of.keys[key], of, **said))


def commands(effect: Effect, key: str = DATA_KEY, of: Register = REGISTER, **said: Any) -> list[str]:
    return [step.command for step in steps(effect, key, of, **said) if step.command]


@pytest.mark.parametrize(
    ("effect", "key", "said", "expected"),
    [
        (
            Effect.KEY_DISABLED,
            DATA_KEY,
            {"subject": V2},
            [f"az keyvault key set-attributes --vault-name glbx-data-kv --name data-cmk --version {V2} --enabled true"],
        ),
        (
            Effect.KEY_DISABLED,
            DATA_KEY,
            {},
            [f"{SET} --version {one} --enabled true" for one in (V1, V2)],
        ),
        (
            Effect.KEY_DISABLED,
            HSM_KEY,
            {"subject": V1},
            [f"az keyvault key set-attributes --hsm-name glbxhsm --name hsm-cmk --version {V1} --enabled true"],
        ),
        (
            Effect.ACCESS_REVOKED,
            INITECH_KEY,
            {"means": Means.KEY_OPERATIONS, "subject": V1},
            [
                (
                    f"az keyvault key set-attributes --vault-name init-kv --name init-cmk --version {V1} "
                    "--ops encrypt decrypt wrapKey unwrapKey"
                )
            ],
        ),
        (
            Effect.ACCESS_REDUCED,
            INITECH_KEY,
            {"means": Means.CONDITION, "subject": V1},
            [
                (
                    f"az keyvault key set-attributes --vault-name init-kv --name init-cmk --version {V1} "
                    "--not-before 2020-01-01T00:00:00Z"
                )
            ],
        ),
        (
            Effect.KEY_EXPIRED,
            INITECH_KEY,
            {"subject": V1},
            [
                (
                    f"az keyvault key set-attributes --vault-name init-kv --name init-cmk --version {V1} "
                    "--expires 2099-12-31T00:00:00Z"
                )
            ],
        ),
        (
            Effect.KEY_DELETION_SCHEDULED,
            INITECH_KEY,
            {},
            [
                "az keyvault key recover --vault-name init-kv --name init-cmk",
                (
                    "az keyvault key show-deleted --vault-name init-kv --name init-cmk "
                    '--query "{d:deletedDate,p:scheduledPurgeDate}"'
                ),
                f"az keyvault key set-attributes --vault-name init-kv --name init-cmk --version {V1} --enabled true",
            ],
        ),
        (Effect.KEY_DESTROYED, DATA_KEY, {}, ["az keyvault key restore --vault-name glbx-data-kv --file key.backup"]),
        (Effect.KEY_DESTROYED, DATA_KEY, {"subject": DATA_VAULT.lower()}, []),
        (
            Effect.CONTAINER_LOST,
            DATA_KEY,
            {"subject": DATA_VAULT.lower()},
            [
                f"az group create --name rg-data --location westeurope {SUB}",
                f"az keyvault recover --name glbx-data-kv {SUB}",
                f"az keyvault list-deleted --resource-type vault {SUB}",
                ASSIGN,
            ],
        ),
        (
            Effect.CONTAINER_LOST,
            HSM_KEY,
            {},
            [
                f"az group create --name rg-hsm --location northeurope {SUB}",
                f"az keyvault recover --hsm-name glbxhsm --location northeurope {SUB}",
                f"az keyvault list-deleted --resource-type hsm {SUB}",
                LOCAL,
            ],
        ),
        (
            Effect.CONTAINER_LOST,
            INITECH_KEY,
            {"subject": f"/subscriptions/{INITECH_SUBSCRIPTION}"},
            ['az account list --all --query "[].{n:name,s:state}"'],
        ),
        (Effect.CONTAINER_RESTORED, DATA_KEY, {}, [ASSIGN]),
        (Effect.ACCESS_REVOKED, DATA_KEY, {"means": Means.IAM_BINDING}, [ASSIGN]),
        (Effect.ACCESS_REVOKED, FILES_KEY, {"means": Means.KEY_POLICY, "subject": settings.POLICY}, [POLICY]),
        (Effect.ACCESS_REVOKED, HSM_KEY, {"means": Means.IAM_BINDING}, [LOCAL]),
        (
            Effect.ACCESS_REVOKED,
            ONE_GRANT_KEY,
            {"means": Means.IAM_BINDING},
            [
                (
                    f"az role assignment create --assignee-object-id {GLOBEX_PRINCIPAL} "
                    f'--assignee-principal-type ServicePrincipal --role "{CUSTOM_ROLE}" '
                    f"--scope /subscriptions/{GLOBEX_SUBSCRIPTION}/resourceGroups/rg-spread"
                )
            ],
        ),
        (
            Effect.ACCESS_CHANGED,
            TWO_GRANTS_KEY,
            {"means": Means.IAM_BINDING, "subject": "role assignment b6900000-1111-4222-8333-000000000002"},
            [
                (
                    f"az role assignment create --assignee-object-id {GLOBEX_PRINCIPAL} "
                    f'--assignee-principal-type ServicePrincipal --role "{ROLE}" '
                    f"--scope {SPREAD_VAULT}/keys/Two-Grants-cmk"
                )
            ],
        ),
        (
            Effect.ACCESS_REVOKED,
            DATA_KEY,
            {"means": Means.ROLE_OR_POLICY, "subject": settings.MODEL},
            [f"az keyvault update --name glbx-data-kv {SUB} --enable-rbac-authorization true"],
        ),
        (
            Effect.ACCESS_REVOKED,
            FILES_KEY,
            {"means": Means.ROLE_OR_POLICY, "subject": settings.MODEL},
            [f"az keyvault update --name glbx-files-kv {SUB} --enable-rbac-authorization false", POLICY],
        ),
        (
            Effect.ACCESS_REVOKED,
            DATA_KEY,
            {"means": Means.IDENTITY, "subject": settings.TENANT},
            [f"az keyvault update --name glbx-data-kv {SUB} --set properties.tenantId={GLOBEX}", ASSIGN],
        ),
        (
            Effect.ACCESS_REVOKED,
            DATA_KEY,
            {"means": Means.IDENTITY, "subject": f"service principal {GLOBEX_PRINCIPAL}"},
            [
                (
                    "az rest --method POST --url "
                    f"https://graph.microsoft.com/v1.0/directory/deletedItems/{GLOBEX_PRINCIPAL}/restore"
                ),
                f"az ad sp create --id {APP}",
            ],
        ),
        (
            Effect.ACCESS_REVOKED,
            DATA_KEY,
            {"means": Means.IDENTITY, "subject": f"sign-in of service principal {GLOBEX_PRINCIPAL}"},
            [f"az ad sp update --id {APP} --set accountEnabled=true"],
        ),
        (
            Effect.PATH_BLOCKED,
            DATA_KEY,
            {"subject": settings.DEFAULT_ACTION},
            [f"az keyvault update --name glbx-data-kv {SUB} --default-action Allow"],
        ),
        (
            Effect.PATH_BLOCKED,
            DATA_KEY,
            {"subject": settings.BYPASS},
            [f"az keyvault update --name glbx-data-kv {SUB} --default-action Allow --bypass AzureServices"],
        ),
        (
            Effect.PATH_BLOCKED,
            HSM_KEY,
            {"subject": settings.PUBLIC_ACCESS},
            [
                (
                    f"az keyvault update-hsm --hsm-name glbxhsm --resource-group rg-hsm {SUB} "
                    "--public-network-access Enabled"
                )
            ],
        ),
        (
            Effect.PATH_BLOCKED,
            INITECH_KEY,
            {"subject": settings.ADDRESSES},
            [
                (
                    f"az keyvault network-rule add --name init-kv --ip-address {ADDRESS} "
                    f"--subscription {INITECH_SUBSCRIPTION}"
                )
            ],
        ),
        (
            Effect.PATH_BLOCKED,
            DATA_KEY,
            {"subject": "private endpoint connection pe-acme"},
            [f"az keyvault private-endpoint-connection approve --id {DATA_VAULT}/privateEndpointConnections/pe-acme"],
        ),
        (
            Effect.PROTECTION_WEAKENED,
            DATA_KEY,
            {"subject": settings.PURGE_PROTECTION},
            [f"az keyvault update --name glbx-data-kv {SUB} --enable-purge-protection true"],
        ),
        (
            Effect.PROTECTION_WEAKENED,
            DATA_KEY,
            {"subject": "lock keep"},
            [
                (
                    "az lock create --name no-delete --lock-type CanNotDelete --resource glbx-data-kv "
                    f"--resource-group rg-data --resource-type Microsoft.KeyVault/vaults {SUB}"
                )
            ],
        ),
        (Effect.PROTECTION_WEAKENED, DATA_KEY, {"subject": settings.RETENTION}, []),
        (
            Effect.USE_FAILED,
            HSM_KEY,
            {"cause": Cause.UNAVAILABLE},
            ["az keyvault ekm-connection check --hsm-name glbxhsm"],
        ),
        (Effect.USE_FAILED, DATA_KEY, {"cause": Cause.ACCESS_DENIED}, [ASSIGN]),
        (Effect.USE_FAILED, DATA_KEY, {"cause": Cause.THROTTLED}, []),
        (Effect.KEY_ENABLED, DATA_KEY, {}, []),
    ],
)
def test_a_loss_has_the_exact_commands_that_undo_it(
    effect: Effect, key: str, said: dict[str, Any], expected: list[str]
) -> None:
    assert expected == commands(effect, key, **said)


@pytest.mark.parametrize("effect", sorted(LOSS | RISK | {Effect.FEED_TAMPERED}))
def test_every_loss_and_risk_that_azure_knows_has_a_step(effect: Effect) -> None:
    if effect is Effect.KEY_MATERIAL_REMOVED:
        assert steps(effect) == []
    else:
        assert steps(effect)


@pytest.mark.parametrize("cause", sorted(Cause))
def test_every_cause_of_a_failed_use_has_a_step(cause: Cause) -> None:
    found = steps(Effect.USE_FAILED, cause=cause)
    assert found or cause is Cause.PENDING_IMPORT


def test_a_loss_by_the_vendor_itself_asks_nothing_of_the_customer() -> None:
    for subject in ("managed identity /x", "application y", "federated credential z", f"service principal {APP}"):
        found = steps(Effect.ACCESS_REVOKED, means=Means.IDENTITY, subject=subject)
        assert {step.owner for step in found} == {Owner.VENDOR}


def test_a_feed_is_made_again_by_its_owner() -> None:
    assert [step.owner for step in steps(Effect.FEED_TAMPERED, subject=HUB.lower())] == [Owner.CUSTOMER]
    assert [step.owner for step in steps(Effect.FEED_TAMPERED, subject=NAMESPACE.lower())] == [Owner.VENDOR]


def test_a_new_principal_needs_every_grant_and_is_no_business_of_the_old_commands() -> None:
    found = steps(Effect.ACCESS_CHANGED, means=Means.IDENTITY, subject="new service principal 0000")
    assert [step.command for step in found] == [None, None]
    assert "registered" in found[0].text


def test_without_purge_protection_the_step_says_that_it_is_urgent() -> None:
    urgent = "can be purged at any moment"
    assert urgent in str(steps(Effect.KEY_DELETION_SCHEDULED, FILES_KEY)[0].note)
    assert urgent not in str(steps(Effect.KEY_DELETION_SCHEDULED, DATA_KEY)[0].note)


def test_a_command_says_which_role_may_run_it() -> None:
    assert "Key Vault Crypto Officer" in str(steps(Effect.KEY_DISABLED)[0].note)
    assert "User Access Administrator" in str(steps(Effect.ACCESS_REVOKED)[0].note)


HOSTILE = ["x; rm -rf /", "$(id)", "`id`", '" --name other', "a\nb", "--help", V1 + ";id", f"role assignment $({APP})"]


@pytest.mark.parametrize("subject", HOSTILE)
@pytest.mark.parametrize("effect", sorted({*repair.PLANS, Effect.USE_FAILED}))
@pytest.mark.parametrize(
    "prefix", ["", "lock ", "service principal ", "private endpoint connection ", "role definition "]
)
def test_nothing_of_an_outsiders_text_stands_in_a_command(subject: str, effect: Effect, prefix: str) -> None:
    for means in (None, *Means):
        for command in commands(effect, means=means, subject=prefix + subject):
            assert subject not in command
            assert re.fullmatch(r"az [0-9A-Za-z /._:=,(){}\[\]\"-]+", command), command


def test_names_that_a_shell_would_read_are_left_to_words() -> None:
    facts = document()
    side = facts.customers[0].azure
    assert side is not None
    odd = DATA_VAULT.replace("rg-data", "rg(1)")
    side.containers[0] = replace(side.containers[0], id=odd, location="West Europe")
    side.grants[0] = replace(side.grants[0], scope=odd, role='x" --scope /')
    changed = Register(facts)
    for effect in repair.PLANS:
        for command in commands(effect, DATA_KEY, changed, subject="lock x"):
            assert "(" not in command
            assert "West" not in command
    assert [step.command for step in steps(Effect.ACCESS_REVOKED, DATA_KEY, changed)] == [None]


def test_a_key_without_its_vault_gets_words_only() -> None:
    facts = document()
    side = facts.customers[0].azure
    assert side is not None
    side.containers.clear()
    found = steps(Effect.KEY_DISABLED, DATA_KEY, Register(facts))
    assert [step.command for step in found] == [None]


def test_every_recorded_loss_has_a_step() -> None:
    for entry in EXPECTED:
        for kept in azure.unpack((RECORDED / entry["file"]).read_bytes()).entries:
            for signal in azure.meaning(kept.raw, REGISTER):
                if signal.key and signal.effect in LOSS | RISK | {Effect.USE_FAILED}:
                    found = steps(
                        signal.effect, signal.key, means=signal.means, subject=signal.subject, cause=signal.cause
                    )
                    assert found, entry["file"]


def test_a_moved_vault_is_never_given_a_command_with_its_old_id() -> None:
    found = steps(Effect.ACCESS_CHANGED, means=Means.IAM_BINDING, subject="moved vault")
    assert [step.owner for step in found] == [Owner.VENDOR, Owner.CUSTOMER]
    assert "new id" in found[1].text
    assert not any(DATA_VAULT in (step.command or "") for step in found)
    # what stands above the vault holds wherever the vault lies
    assert (
        "/resourceGroups/rg-spread " in f"{commands(Effect.ACCESS_CHANGED, ONE_GRANT_KEY, subject='moved vault')[0]} "
    )


def test_a_recovered_vault_lacks_its_role_assignments_and_subscriptions_and_nothing_else() -> None:
    assert commands(Effect.CONTAINER_RESTORED) == [ASSIGN]
    assert commands(Effect.CONTAINER_RESTORED, FILES_KEY) == []
    for key in (DATA_KEY, FILES_KEY, HSM_KEY):
        assert "event subscriptions" in steps(Effect.CONTAINER_RESTORED, key)[-1].text
    assert commands(Effect.CONTAINER_RESTORED, HSM_KEY) == [LOCAL]
    # the engine keeps what is left of it as access that was lost with the vault
    assert steps(Effect.ACCESS_REVOKED, subject=DATA_VAULT.lower()) == steps(Effect.CONTAINER_RESTORED)


def test_a_version_that_nobody_registered_is_looked_at_and_enabled_if_a_store_still_uses_it() -> None:
    other = "9" * 32
    assert commands(Effect.KEY_CHANGED, subject=other) == [
        f"az keyvault key show --vault-name glbx-data-kv --name data-cmk --version {other}",
        f"{SET} --version {other} --enabled true",
    ]
    assert len(commands(Effect.KEY_CHANGED, subject=V1)) == 1


def test_each_step_names_the_version_that_it_is_for() -> None:
    assert [step.text for step in steps(Effect.KEY_DISABLED)] == [
        f"Enable version {V1} of the key.",
        f"Enable version {V2} of the key.",
    ]


def test_without_a_registered_version_the_versions_are_listed() -> None:
    bare = document()
    for customer in bare.customers:
        for instance in customer.instances:
            instance.keys[:] = [replace(entry, azure=AzureKey()) for entry in instance.keys]
    found = steps(Effect.KEY_DISABLED, of=Register(bare))
    assert [step.command for step in found] == [
        "az keyvault key list-versions --vault-name glbx-data-kv --name data-cmk"
    ]
    assert "every version" in found[0].text


def test_a_managed_hsm_has_roles_of_its_own() -> None:
    recover, _, enable = steps(Effect.KEY_DELETION_SCHEDULED, HSM_KEY)
    assert "Managed HSM Crypto Officer" in (recover.note or "")
    assert "Managed HSM Crypto User" in (enable.note or "")
    assert "Managed HSM Policy Administrator" in (steps(Effect.ACCESS_REVOKED, HSM_KEY)[0].note or "")


def test_a_way_that_is_blocked_by_something_unknown_is_set_back_as_agreed() -> None:
    assert commands(Effect.USE_FAILED, INITECH_KEY, cause=Cause.PATH_BLOCKED) == [
        (
            f"az keyvault update --name init-kv --subscription {INITECH_SUBSCRIPTION} --default-action Deny "
            "--bypass AzureServices --public-network-access Enabled"
        )
    ]
