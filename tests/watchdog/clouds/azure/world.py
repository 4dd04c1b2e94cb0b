"""The world that the recorded Azure events of this project assume: Acme runs instances for Globex and Initech."""

from typing import Any

import msgspec

from watchdog.register import Document, Register

ACME = "a0000000-1111-4222-8333-00000000acde"
ACME_SUBSCRIPTION = "a5ab0000-1111-4222-8333-00000000acde"
APP = "a9900000-1111-4222-8333-000000000001"
APP_OBJECT = "a9900000-1111-4222-8333-0000000000b1"
SECOND_APP = "a9900000-1111-4222-8333-000000000002"
SECOND_APP_OBJECT = "a9900000-1111-4222-8333-0000000000b2"
IDENTITY = (
    f"/subscriptions/{ACME_SUBSCRIPTION}/resourceGroups/rg-acme/providers/"
    "Microsoft.ManagedIdentity/userAssignedIdentities/id-acme"
)
IDENTITY_PRINCIPAL = "a1d00000-1111-4222-8333-0000000000aa"
ADDRESS = "198.51.100.20"

GLOBEX = "b0000000-1111-4222-8333-000000000b01"
GLOBEX_SUBSCRIPTION = "b5ab0000-1111-4222-8333-000000000b01"
GLOBEX_PRINCIPAL = "b5900000-1111-4222-8333-000000000b01"
INITECH = "c0000000-1111-4222-8333-000000000c01"
INITECH_SUBSCRIPTION = "c5ab0000-1111-4222-8333-000000000c01"
INITECH_PRINCIPAL = "c5900000-1111-4222-8333-000000000c01"
STRANGER = "d0000000-1111-4222-8333-000000000d01"
STRANGER_SUBSCRIPTION = "d5ab0000-1111-4222-8333-000000000d01"
JANE = "e0000000-1111-4222-8333-000000000e01"

BUILT_IN = "e147488a-f6f5-4113-8e2d-b22465e65bf6"
LOCAL = "33413926-3206-4cdd-b39a-83574fe37a17"


def vault_id(subscription: str, group: str, name: str, kind: str = "vaults") -> str:
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.KeyVault/{kind}/{name}"


# Globex: a vault with roles, one with access policies, one whose grants are spread over scopes, and a managed HSM.
DATA_VAULT = vault_id(GLOBEX_SUBSCRIPTION, "rg-data", "glbx-data-kv")
FILES_VAULT = vault_id(GLOBEX_SUBSCRIPTION, "rg-files", "glbx-files-kv")
SPREAD_VAULT = vault_id(GLOBEX_SUBSCRIPTION, "rg-spread", "glbx-spread-kv")
HSM = vault_id(GLOBEX_SUBSCRIPTION, "rg-hsm", "glbxhsm", "managedHSMs")
INITECH_VAULT = vault_id(INITECH_SUBSCRIPTION, "rg-keys", "init-kv")
OWN_VAULT = vault_id(ACME_SUBSCRIPTION, "rg-own", "acme-own-kv")
UNWATCHED_VAULT = vault_id(STRANGER_SUBSCRIPTION, "rg-data", "other-data-kv")

DATA_KEY = "https://glbx-data-kv.vault.azure.net/keys/data-cmk"
FILES_KEY = "https://glbx-files-kv.vault.azure.net/keys/files-cmk"
MAIL_KEY = "https://glbx-files-kv.vault.azure.net/keys/mail-cmk"
ONE_GRANT_KEY = "https://glbx-spread-kv.vault.azure.net/keys/one-grant-cmk"
TWO_GRANTS_KEY = "https://glbx-spread-kv.vault.azure.net/keys/Two-Grants-cmk"
HSM_KEY = "https://glbxhsm.managedhsm.azure.net/keys/hsm-cmk"
INITECH_KEY = "https://init-kv.vault.azure.net/keys/init-cmk"
OWN_KEY = "https://acme-own-kv.vault.azure.net/keys/own-cmk"

V1 = "11111111111111111111111111111111"
V2 = "abcdefabcdefabcdefabcdefabcdef22"
OTHER_VERSION = "99999999999999999999999999999999"
EXPIRY = "2027-06-01T00:00:00Z"
EXPIRY_SECONDS = 1811808000

DATA_GRANT = "b6900000-1111-4222-8333-000000000001"
KEY_SCOPE_GRANT = "b6900000-1111-4222-8333-000000000002"
SUBSCRIPTION_GRANT = "b6900000-1111-4222-8333-000000000003"
LOCAL_GRANT = "b6900000-1111-4222-8333-000000000004"
INITECH_GRANT = "c6900000-1111-4222-8333-000000000001"
READER_GRANT = "b6900000-1111-4222-8333-0000000000ee"
CUSTOM_ROLE_ID = "b4010000-1111-4222-8333-000000000001"
CUSTOM_ROLE = f"/subscriptions/{GLOBEX_SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{CUSTOM_ROLE_ID}"

WATCH = f"/subscriptions/{GLOBEX_SUBSCRIPTION}/resourceGroups/rg-watch/providers"
SETTING = f"{DATA_VAULT}/providers/Microsoft.Insights/diagnosticSettings/to-acme"
HUB_NAMESPACE = f"{WATCH}/Microsoft.EventHub/namespaces/glbx-audit"
HUB = f"{HUB_NAMESPACE}/eventhubs/kv-audit"
SYSTEM_TOPIC = f"{WATCH}/Microsoft.EventGrid/systemTopics/glbx-kv-topic"
TOPIC_SUBSCRIPTION = f"{SYSTEM_TOPIC}/eventSubscriptions/to-acme-kv"
ARM_SUBSCRIPTION = f"/subscriptions/{GLOBEX_SUBSCRIPTION}/providers/Microsoft.EventGrid/eventSubscriptions/to-acme-arm"
STORAGE = f"{WATCH}/Microsoft.Storage/storageAccounts/glbxaudit"
FORWARDER = f"{WATCH}/Microsoft.Web/sites/glbx-forwarder"
FORWARDED = "acme.azure.record"
NAMESPACE = (
    f"/subscriptions/{ACME_SUBSCRIPTION}/resourceGroups/rg-intake/providers/Microsoft.EventGrid/namespaces/acme-intake"
)
NAMESPACE_TOPIC = f"{NAMESPACE}/topics/azure"
NAMESPACE_SUBSCRIPTION = f"{NAMESPACE_TOPIC}/eventSubscriptions/workers"


def at(scope: str, assignment: str) -> str:
    return f"{scope}/providers/Microsoft.Authorization/roleAssignments/{assignment}"


def key(url: str, *versions: str, **facts: Any) -> dict[str, Any]:
    return {
        "key": url,
        "cloud": "azure",
        "azure": {"versions": [{"version": one, "expires": facts.pop("expires", None)} for one in versions]},
        **facts,
    }


def _globex() -> dict[str, Any]:
    return {
        "tenant": GLOBEX,
        "subscriptions": [GLOBEX_SUBSCRIPTION],
        "management_groups": [{"name": "mg-globex", "subscriptions": [GLOBEX_SUBSCRIPTION]}],
        "service_principal": {"object_id": GLOBEX_PRINCIPAL, "app_id": APP},
        "containers": [
            {
                "id": DATA_VAULT,
                "host": "glbx-data-kv.vault.azure.net",
                "purge_protection": True,
                "location": "westeurope",
                "private_endpoint_connections": ["pe-acme"],
            },
            {
                "id": FILES_VAULT,
                "host": "glbx-files-kv.vault.azure.net",
                "permission_model": "access_policies",
                "retention_days": 30,
                "location": "westeurope",
            },
            {
                "id": SPREAD_VAULT,
                "host": "glbx-spread-kv.vault.azure.net",
                "purge_protection": True,
                "location": "westeurope",
            },
            {
                "id": HSM,
                "host": "glbxhsm.managedhsm.azure.net",
                "kind": "managed_hsm",
                "permission_model": "mhsm_local_rbac",
                "location": "northeurope",
            },
        ],
        "grants": [
            {
                "kind": "role_assignment",
                "id": at(DATA_VAULT, DATA_GRANT),
                "scope": DATA_VAULT,
                "role": BUILT_IN,
                "principal": GLOBEX_PRINCIPAL,
            },
            {
                "kind": "role_assignment",
                "id": at(f"{SPREAD_VAULT}/keys/Two-Grants-cmk", KEY_SCOPE_GRANT),
                "scope": f"{SPREAD_VAULT}/keys/Two-Grants-cmk",
                "role": BUILT_IN,
                "principal": GLOBEX_PRINCIPAL,
            },
            {
                "kind": "role_assignment",
                "id": at(f"/subscriptions/{GLOBEX_SUBSCRIPTION}/resourceGroups/rg-spread", SUBSCRIPTION_GRANT),
                "scope": f"/subscriptions/{GLOBEX_SUBSCRIPTION}/resourceGroups/rg-spread",
                "role": CUSTOM_ROLE,
                "principal": GLOBEX_PRINCIPAL,
            },
            {
                "kind": "local_role_assignment",
                "id": LOCAL_GRANT,
                "scope": "/keys/hsm-cmk",
                "role": LOCAL,
                "principal": GLOBEX_PRINCIPAL,
                "container": HSM,
            },
            {
                "kind": "access_policy",
                "scope": FILES_VAULT,
                "principal": GLOBEX_PRINCIPAL,
                "key_permissions": ["get", "wrapKey", "unwrapKey"],
            },
        ],
        "feeds": {
            "diagnostic_settings": [{"id": SETTING, "destination": HUB}],
            "system_topics": [SYSTEM_TOPIC],
            "event_subscriptions": [
                {"id": TOPIC_SUBSCRIPTION, "name": "TO-ACME-KV"},
                {"id": ARM_SUBSCRIPTION},
            ],
            "event_hubs": [HUB],
            "storage": [STORAGE],
            "forwarders": [{"id": FORWARDER, "source": FORWARDER, "type": FORWARDED}],
            "reader_grants": [at(HUB, READER_GRANT)],
        },
    }


def _initech() -> dict[str, Any]:
    return {
        "tenant": INITECH,
        "subscriptions": [INITECH_SUBSCRIPTION],
        "management_groups": [{"name": "mg-globex", "subscriptions": [INITECH_SUBSCRIPTION]}],
        "service_principal": {"object_id": INITECH_PRINCIPAL, "app_id": SECOND_APP},
        "containers": [
            {
                "id": INITECH_VAULT,
                "host": "init-kv.vault.azure.net",
                "purge_protection": True,
                "location": "eastus",
                "network": {"default_action": "Deny", "bypass": "AzureServices", "ip_rules": [ADDRESS]},
            }
        ],
        "grants": [
            {
                "kind": "role_assignment",
                "id": at(INITECH_VAULT, INITECH_GRANT),
                "scope": INITECH_VAULT,
                "role": BUILT_IN,
                "principal": INITECH_PRINCIPAL,
            }
        ],
    }


def _acme() -> dict[str, Any]:
    return {
        "tenant": ACME,
        "subscriptions": [ACME_SUBSCRIPTION],
        "service_principal": {"object_id": "a5900000-1111-4222-8333-0000000000aa", "app_id": APP},
        "containers": [{"id": OWN_VAULT, "host": "acme-own-kv.vault.azure.net", "purge_protection": True}],
        "addresses": [ADDRESS],
        "apps": [
            {
                "app_id": APP,
                "object_id": APP_OBJECT,
                "identity": IDENTITY,
                "federated_credentials": [{"name": "fic", "subject": IDENTITY_PRINCIPAL}],
            },
            {"app_id": SECOND_APP, "object_id": SECOND_APP_OBJECT},
        ],
        "identities": [{"id": IDENTITY, "principal_id": IDENTITY_PRINCIPAL}],
        "sufficient_roles": [{"id": CUSTOM_ROLE}],
        "feeds": {
            "namespaces": [{"id": NAMESPACE, "topic": "azure", "subscription": "workers"}],
            "event_subscriptions": [{"id": NAMESPACE_SUBSCRIPTION}],
            "system_topics": [NAMESPACE_TOPIC],
        },
    }


def document() -> Document:
    """The register document of this world."""
    keys = {
        "globex": [
            key(DATA_KEY, V1, V2, consumers=[{"id": "acme-db", "store": "azure.postgres_flexible"}]),
            key(FILES_KEY, V1),
            key(MAIL_KEY, V1),
            key(ONE_GRANT_KEY, V1),
            key(TWO_GRANTS_KEY, V1),
            key(HSM_KEY, V1),
            key(OWN_KEY, V1, owner="vendor"),
        ],
        "initech": [key(INITECH_KEY, V1, expires=EXPIRY)],
    }
    return msgspec.convert(
        {
            "version": 1,
            "vendor": {"name": "Acme", "azure": _acme()},
            "customers": [
                {
                    "id": customer,
                    "azure": facts,
                    "instances": [
                        {"id": f"{customer}-{number}", "keys": [one]} for number, one in enumerate(keys[customer])
                    ],
                }
                for customer, facts in (("globex", _globex()), ("initech", _initech()))
            ],
        },
        Document,
    )


def register() -> Register:
    """The register of this world."""
    return Register(document())
