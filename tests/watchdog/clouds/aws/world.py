"""The world that the recorded AWS events of this project assume: Acme runs instances for Globex and Initech."""

from typing import Any

import msgspec

from watchdog.register import Document, Register

VENDOR = "123456789012"
VENDOR_GOV = "123412341234"
GLOBEX = "111122223333"
GLOBEX_MANAGEMENT = "777788889999"
INITECH = "210987654321"
STRANGER = "998877665544"

ROLE = f"arn:aws:iam::{VENDOR}:role/acme-instance-1"
BACKUP_ROLE = f"arn:aws:iam::{VENDOR}:role/batch/acme-backup"
GOV_ROLE = f"arn:aws-us-gov:iam::{VENDOR_GOV}:role/acme-gov"
ROLE_ID = "AROAACMEINSTANCE10001"
BACKUP_ROLE_ID = "AROAACMEBACKUP0000002"
POLICY = f"arn:aws:iam::{VENDOR}:policy/acme-kms-use"

GRANT = "0c237476b39f8bc44e45212e08498fbe3151305030726c0590dd8d3e9f3d6a60"
SERVICE_GRANT = "abcde1237f76e4ba7987489ac329fbfba6ad343d6f7075dbd1ef191f0120514a"
STORE = "cks-1234567890abcdef0"
DATABASE = f"arn:aws:rds:eu-west-1:{VENDOR}:db:acme-db-1"
VOLUME = f"arn:aws:ec2:eu-west-1:{VENDOR}:volume/vol-0abcdef1234567890"

KEY = f"arn:aws:kms:eu-west-1:{GLOBEX}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
IMPORTED = f"arn:aws:kms:eu-west-1:{GLOBEX}:key/0987dcba-09fe-87dc-65ba-ab0987654321"
GRANTED = f"arn:aws:kms:eu-west-1:{GLOBEX}:key/44445555-aaaa-4bbb-8ccc-0123456789ab"
REPLICA = f"arn:aws:kms:eu-west-1:{GLOBEX}:key/mrk-1234abcd12ab34cd56ef1234567890ab"
PRIMARY = f"arn:aws:kms:us-east-1:{GLOBEX}:key/mrk-1234abcd12ab34cd56ef1234567890ab"
STORED = f"arn:aws:kms:eu-central-1:{INITECH}:key/aaaa1111-bb22-4c33-8d44-5555eeee6666"
OPT_IN = f"arn:aws:kms:me-south-1:{INITECH}:key/bbbb2222-cc33-4d44-8e55-6666ffff7777"
GOV = f"arn:aws-us-gov:kms:us-gov-west-1:{INITECH}:key/cccc3333-dd44-4e55-8f66-777700008888"
OWN = f"arn:aws:kms:eu-west-1:{VENDOR}:key/dddd4444-ee55-4f66-8077-888811119999"
UNWATCHED = f"arn:aws:kms:eu-west-1:{GLOBEX}:key/99998888-7777-4666-8555-444433332222"
ALIAS = f"arn:aws:kms:eu-west-1:{GLOBEX}:alias/acme-instance-1"

TRAIL = f"arn:aws:cloudtrail:eu-west-1:{GLOBEX}:trail/org-trail"
RULE = f"arn:aws:events:eu-west-1:{GLOBEX}:rule/to-acme"
BUS_RULE = f"arn:aws:events:eu-west-1:{GLOBEX}:rule/security/to-acme"
HEARTBEAT_RULE = f"arn:aws:events:eu-west-1:{GLOBEX}:rule/acme-heartbeat"
TOPIC = f"arn:aws:sns:eu-west-1:{GLOBEX}:audit-to-acme"
VENDOR_TOPIC = f"arn:aws:sns:eu-west-1:{VENDOR}:acme-intake"
BUS = f"arn:aws:events:eu-west-1:{VENDOR}:event-bus/acme-intake"
QUEUE = f"arn:aws:sqs:eu-west-1:{VENDOR}:acme-intake"
VENDOR_RULE = f"arn:aws:events:eu-west-1:{VENDOR}:rule/acme-intake/to-queue"
BUCKET = "acme-trail-drop"

USE = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:DescribeKey"]


def access(principal: str = ROLE, *, via: str = "key_policy", operations: list[str] | None = None) -> dict[str, Any]:
    return {"principal": principal, "operations": operations or USE, "via": via}


def key(arn: str, **facts: Any) -> dict[str, Any]:
    return {"key": arn, "access": facts.pop("access", [access()]), **facts}


def document(globex: list[dict[str, Any]], initech: list[dict[str, Any]]) -> Document:
    return msgspec.convert(
        {
            "version": 1,
            "vendor": {
                "name": "Acme",
                "aws": {
                    "accounts": [
                        {"id": VENDOR, "organization": "o-acme123456"},
                        {"id": VENDOR_GOV, "partition": "aws-us-gov"},
                    ],
                    "principals": [
                        {"arn": ROLE, "unique_id": ROLE_ID, "managed_policies": [POLICY]},
                        {"arn": BACKUP_ROLE, "unique_id": BACKUP_ROLE_ID},
                        {"arn": GOV_ROLE},
                    ],
                    "feeds": {
                        "event_buses": [BUS],
                        "queues": [QUEUE],
                        "rules": [VENDOR_RULE],
                        "topics": [VENDOR_TOPIC],
                        "trail_buckets": [BUCKET],
                    },
                },
            },
            "customers": [
                {
                    "id": "globex",
                    "aws": {
                        "accounts": [GLOBEX],
                        "organization": {
                            "id": "o-globex12345",
                            "management_account": GLOBEX_MANAGEMENT,
                            "root": "r-glbx",
                            "units": ["ou-glbx-prod1234"],
                        },
                        "feeds": {
                            "trails": [TRAIL],
                            "rules": [RULE, BUS_RULE],
                            "heartbeat_rules": [HEARTBEAT_RULE],
                            "topics": [TOPIC],
                        },
                    },
                    "instances": [{"id": f"globex-{number}", "keys": [one]} for number, one in enumerate(globex)],
                },
                {
                    "id": "initech",
                    "aws": {"accounts": [INITECH]},
                    "instances": [{"id": f"initech-{number}", "keys": [one]} for number, one in enumerate(initech)],
                },
            ],
        },
        Document,
    )


def register() -> Register:
    """The register of this world."""
    return Register(
        document(
            globex=[
                key(
                    KEY,
                    access=[access(), access(BACKUP_ROLE, operations=["kms:Decrypt", "kms:DescribeKey"])],
                    consumers=[{"id": DATABASE, "store": "rds"}, {"id": VOLUME, "store": "ebs"}],
                    aws={"aliases": [ALIAS], "policy_tags": ["team"], "needs_vendor_organization": True},
                ),
                key(IMPORTED, aws={"origin": "EXTERNAL"}),
                key(
                    GRANTED,
                    access=[access(via="grant")],
                    grants=[
                        {"id": GRANT, "grantee": ROLE, "operations": ["Decrypt", "DescribeKey"], "purpose": "uploads"},
                        {
                            "id": SERVICE_GRANT,
                            "grantee": "rds.eu-west-1.amazonaws.com",
                            "purpose": "database acme-db-1",
                        },
                    ],
                ),
                key(REPLICA, aws={"multi_region": {"type": "REPLICA", "primary": PRIMARY, "replicas": [REPLICA]}}),
                key(OWN, owner="vendor"),
            ],
            initech=[
                key(STORED, aws={"origin": "AWS_CLOUDHSM", "custom_key_store_id": STORE}),
                key(OPT_IN),
                key(GOV, access=[access(GOV_ROLE)]),
            ],
        )
    )
