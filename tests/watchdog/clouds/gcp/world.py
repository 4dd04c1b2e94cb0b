"""The world that the recorded Google Cloud events assume: Acme runs instances for Globex and Initech."""

from typing import Any

import msgspec

from watchdog.register import Document, Register

VENDOR_ORG = "organizations/910000000001"
WATCH, WATCH_NUMBER = "acme-watch", "910000000101"
INSTANCE, INSTANCE_NUMBER = "acme-globex", "910000000111"
INSTANCE_2, INSTANCE_2_NUMBER = "acme-initech", "910000000112"

GLOBEX_ORG = "organizations/920000000001"
GLOBEX_FOLDER = "folders/920000000011"
GLOBEX, GLOBEX_NUMBER = "globex-keys", "920000000101"
GLOBEX_BILLING = "billingAccounts/0A1B2C-3D4E5F-6A7B8C"
INITECH_ORG = "organizations/930000000001"
INITECH_FOLDER = "folders/930000000011"
INITECH, INITECH_NUMBER = "initech-vault", "930000000101"
INITECH_BILLING = "billingAccounts/1A1B2C-3D4E5F-6A7B8C"

RING = f"projects/{GLOBEX}/locations/europe-west3/keyRings/acme"
KEY = f"{RING}/cryptoKeys/payroll"
IMPORTS = f"projects/{GLOBEX}/locations/europe-west3/keyRings/imports"
IMPORTED = f"{IMPORTS}/cryptoKeys/archive"
EXTERNAL = f"projects/{INITECH}/locations/europe-west4/keyRings/ext/cryptoKeys/ledger"
TENANT = f"projects/{INITECH}/locations/europe-west4/keyRings/hsm/cryptoKeys/vaulted"
OWN = f"projects/{INSTANCE}/locations/europe-west3/keyRings/own/cryptoKeys/spare"
EKM = f"projects/{INITECH}/locations/europe-west4/ekmConnections/ekm1"
HSM = f"projects/{INITECH}/locations/europe-west4/singleTenantHsmInstances/h1"
ROLE = f"projects/{INITECH}/roles/keyUse"
ENCRYPTER_DECRYPTER = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
PERIMETER = "accessPolicies/7001/servicePerimeters/vault"
VENDOR_PERIMETER = "accessPolicies/9001/servicePerimeters/acme"

STORAGE = f"service-{INSTANCE_NUMBER}@gs-project-accounts.iam.gserviceaccount.com"
DATABASE = f"service-{INSTANCE_NUMBER}@gcp-sa-cloud-sql.iam.gserviceaccount.com"
APP = f"app@{INSTANCE}.iam.gserviceaccount.com"
APP_ID = "109988776655443322111"
STORAGE_2 = f"service-{INSTANCE_2_NUMBER}@gs-project-accounts.iam.gserviceaccount.com"
APP_2 = f"app@{INSTANCE_2}.iam.gserviceaccount.com"
APP_2_ID = "109988776655443322112"

TOPIC = f"projects/{WATCH}/topics/audit-globex"
SUBSCRIPTION = f"projects/{WATCH}/subscriptions/audit-globex"
ASSETS = f"projects/{WATCH}/subscriptions/assets-globex"
SUBSCRIPTION_2 = f"projects/{WATCH}/subscriptions/audit-initech"
SELF = f"projects/{WATCH}/subscriptions/audit-self"
SINK = f"{GLOBEX_ORG}/sinks/to-acme"
FILTER = 'logName:"cloudaudit.googleapis.com" AND protoPayload.serviceName="cloudkms.googleapis.com"'
WRITER = "serviceAccount:service-org-920000000001@gcp-sa-logging.iam.gserviceaccount.com"
ASSET_FEED = f"projects/{GLOBEX_NUMBER}/feeds/keywatch"


def account(email: str) -> str:
    return f"serviceAccount:{email}"


def key(name: str, level: str, role: str, members: list[str], **facts: Any) -> dict[str, Any]:
    versions = facts.pop("versions", [{"version": "1"}])
    gcp = {"versions": versions, "primary": versions[-1]["version"]} | facts.pop("gcp", {})
    gcp["grants"] = [{"level": level, "role": role, "members": [account(email) for email in members]}]
    access = [{"principal": email, "operations": ["encrypt", "decrypt"]} for email in members]
    return {"key": name, "cloud": "gcp", "access": access, "gcp": gcp, **facts}


def document() -> Document:
    """The register of this world as a document."""
    globex = [STORAGE, DATABASE, APP]
    initech = [STORAGE_2, APP_2]
    return msgspec.convert(
        {
            "version": 1,
            "vendor": {
                "name": "Acme",
                "gcp": {
                    "organization": VENDOR_ORG,
                    "domains": ["acme.example"],
                    "projects": [
                        {"id": WATCH, "number": WATCH_NUMBER},
                        {"id": INSTANCE, "number": INSTANCE_NUMBER},
                        {"id": INSTANCE_2, "number": INSTANCE_2_NUMBER},
                    ],
                    "watchdog_principal": f"watchdog@{WATCH}.iam.gserviceaccount.com",
                    "service_perimeters": [VENDOR_PERIMETER],
                    "feeds": [{"topic": f"projects/{WATCH}/topics/audit-self", "subscription": SELF}],
                },
            },
            "customers": [
                {
                    "id": "globex",
                    "gcp": {
                        "domain": "globex.example",
                        "organization": GLOBEX_ORG,
                        "folders": [GLOBEX_FOLDER],
                        "billing_accounts": [GLOBEX_BILLING],
                        "projects": [
                            {
                                "id": GLOBEX,
                                "number": GLOBEX_NUMBER,
                                "ancestors": [GLOBEX_FOLDER, GLOBEX_ORG],
                                "billing_account": GLOBEX_BILLING,
                                "heartbeat": True,
                            }
                        ],
                        "sinks": [
                            {
                                "name": SINK,
                                "scope": GLOBEX_ORG,
                                "destination": f"pubsub.googleapis.com/{TOPIC}",
                                "filter": FILTER,
                                "writer_identity": WRITER,
                                "include_children": True,
                            }
                        ],
                        "asset_feeds": [ASSET_FEED],
                        "feeds": [
                            {"topic": TOPIC, "subscription": SUBSCRIPTION},
                            {
                                "topic": f"projects/{WATCH}/topics/assets-globex",
                                "subscription": ASSETS,
                                "kind": "assets",
                            },
                        ],
                        "vendor_project": INSTANCE,
                        "principals": [
                            {"email": STORAGE, "product": "object storage"},
                            {"email": DATABASE, "product": "database"},
                            {"email": APP, "unique_id": APP_ID},
                        ],
                    },
                    "instances": [
                        {
                            "id": "globex-1",
                            "keys": [
                                key(
                                    KEY,
                                    KEY,
                                    ENCRYPTER_DECRYPTER,
                                    globex,
                                    versions=[
                                        {"version": "1", "in_use": False, "state": "DISABLED"},
                                        {"version": "2"},
                                        {"version": "3"},
                                    ],
                                )
                            ],
                        },
                        {
                            "id": "globex-2",
                            "keys": [
                                key(
                                    IMPORTED,
                                    IMPORTS,
                                    ENCRYPTER_DECRYPTER,
                                    [STORAGE],
                                    gcp={"imported": True, "protection_level": "HSM"},
                                )
                            ],
                        },
                        {
                            "id": "globex-3",
                            "keys": [key(OWN, OWN, ENCRYPTER_DECRYPTER, [STORAGE], owner="vendor")],
                        },
                    ],
                },
                {
                    "id": "initech",
                    "gcp": {
                        "domain": "initech.example",
                        "organization": INITECH_ORG,
                        "folders": [INITECH_FOLDER],
                        "billing_accounts": [INITECH_BILLING],
                        "projects": [
                            {
                                "id": INITECH,
                                "number": INITECH_NUMBER,
                                "ancestors": [INITECH_FOLDER, INITECH_ORG],
                                "billing_account": INITECH_BILLING,
                            }
                        ],
                        "service_perimeters": [
                            {
                                "name": PERIMETER,
                                "restricts_cloudkms": True,
                                "projects": [f"projects/{INITECH_NUMBER}"],
                            }
                        ],
                        "ekm_connections": [EKM],
                        "single_tenant_hsm_instances": [HSM],
                        "custom_roles": [
                            {
                                "name": ROLE,
                                "permissions": [
                                    "cloudkms.cryptoKeyVersions.useToDecrypt",
                                    "cloudkms.cryptoKeyVersions.useToEncrypt",
                                ],
                            }
                        ],
                        "feeds": [
                            {"topic": f"projects/{WATCH}/topics/audit-initech", "subscription": SUBSCRIPTION_2},
                        ],
                        "vendor_project": INSTANCE_2,
                        "principals": [{"email": STORAGE_2}, {"email": APP_2, "unique_id": APP_2_ID}],
                    },
                    "instances": [
                        {
                            "id": "initech-1",
                            "keys": [
                                key(
                                    EXTERNAL,
                                    f"projects/{INITECH}",
                                    ROLE,
                                    initech,
                                    gcp={"protection_level": "EXTERNAL_VPC", "backend": EKM},
                                )
                            ],
                        },
                        {
                            "id": "initech-2",
                            "keys": [
                                key(
                                    TENANT,
                                    INITECH_FOLDER,
                                    ENCRYPTER_DECRYPTER,
                                    initech,
                                    gcp={"protection_level": "HSM_SINGLE_TENANT", "backend": HSM},
                                )
                            ],
                        },
                    ],
                },
            ],
        },
        Document,
    )


def register() -> Register:
    """The register of this world."""
    return Register(document())
