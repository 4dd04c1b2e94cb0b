"""Corpus: CloudTrail records of documented shapes from a seed, as noise for the demo and the benchmark."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

CUSTOMER, VENDOR, STRANGER = "111122223333", "999988887777", "555500001111"
ROLE = "acme-prod"
_START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)

_OTHER_CALLS = (
    ("s3.amazonaws.com", "GetBucketAcl", True),
    ("ec2.amazonaws.com", "DescribeInstances", True),
    ("ec2.amazonaws.com", "CreateTags", False),
    ("sts.amazonaws.com", "AssumeRole", True),
    ("logs.amazonaws.com", "CreateLogStream", False),
    ("monitoring.amazonaws.com", "PutMetricAlarm", False),
    ("rds.amazonaws.com", "DescribeDBInstances", True),
    ("ecs.amazonaws.com", "SubmitTaskStateChange", False),
    ("iam.amazonaws.com", "GetRole", True),
    ("ssm.amazonaws.com", "UpdateInstanceInformation", False),
    ("autoscaling.amazonaws.com", "DescribeScalingActivities", True),
    ("lambda.amazonaws.com", "GetFunctionConfiguration", True),
)
_KMS_READS = ("Decrypt", "GenerateDataKey", "Decrypt", "Decrypt", "DescribeKey", "GenerateDataKeyWithoutPlaintext")


class Corpus:
    """Makes records one after the other; the same seed makes the same records."""

    def __init__(self, seed: int, *, start: datetime = _START) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - made-up traffic
        self._at = start

    def noise(self) -> dict[str, Any]:
        """One record that concerns no registered key: three in ten are uses of other keys."""
        if self._chance.random() < 0.3:
            return self.use_of_another_key()
        source, name, read_only = self._chance.choice(_OTHER_CALLS)
        record = self._record(source, name, read_only=read_only, account=CUSTOMER)
        record["requestParameters"] = {
            "resourceId": f"res-{self._hex(17)}",
            "filterSet": {"items": [{"name": "tag:team", "valueSet": {"items": [{"value": self._word()}]}}]},
        }
        record["responseElements"] = None if read_only else {"requestId": self._uuid(), "_return": True}
        return record

    def use_of_another_key(self) -> dict[str, Any]:
        """A successful use or reading of a key that nobody has registered."""
        name = self._chance.choice(_KMS_READS)
        record = self._record("kms.amazonaws.com", name, read_only=True, account=CUSTOMER)
        arn = f"arn:aws:kms:eu-west-1:{CUSTOMER}:key/{self._uuid()}"
        record["requestParameters"] = {
            "encryptionContext": {"aws:s3:arn": f"arn:aws:s3:::bucket-{self._word()}/{self._hex(24)}"},
            "encryptionAlgorithm": "SYMMETRIC_DEFAULT",
        }
        record["responseElements"] = None
        record["resources"] = [{"accountId": CUSTOMER, "type": "AWS::KMS::Key", "ARN": arn}]
        return record

    def change(self, name: str, key: str, *, at: datetime | None = None, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
        """A successful management call on a key by an administrator of the key's own account."""
        account = key.split(":")[4]
        record = self._record("kms.amazonaws.com", name, read_only=False, account=account, at=at)
        record["awsRegion"] = key.split(":")[3]
        record["requestParameters"] = {"keyId": key.rpartition("/")[2]}
        record["responseElements"] = {"keyId": key}
        record["resources"] = [{"accountId": account, "type": "AWS::KMS::Key", "ARN": key}]
        for part, value in fields.items():
            record[part] = {**(record.get(part) or {}), **value} if isinstance(value, dict) else value
        return record

    def _record(
        self, source: str, name: str, *, read_only: bool, account: str, at: datetime | None = None
    ) -> dict[str, Any]:
        self._at += timedelta(milliseconds=self._chance.randint(1, 400))
        person = self._word()
        return {
            "eventVersion": "1.11",
            "userIdentity": {
                "type": "AssumedRole",
                "principalId": f"AROA{self._hex(17).upper()}:{person}",
                "arn": f"arn:aws:sts::{account}:assumed-role/{self._word()}-team/{person}",
                "accountId": account,
                "accessKeyId": f"ASIA{self._hex(16).upper()}",
                "sessionContext": {
                    "sessionIssuer": {
                        "type": "Role",
                        "principalId": f"AROA{self._hex(17).upper()}",
                        "arn": f"arn:aws:iam::{account}:role/{self._word()}-team",
                        "accountId": account,
                        "userName": f"{self._word()}-team",
                    },
                    "attributes": {"creationDate": "2026-11-02T07:55:01Z", "mfaAuthenticated": "false"},
                },
            },
            "eventTime": (at or self._at).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "eventSource": source,
            "eventName": name,
            "awsRegion": "eu-west-1",
            "sourceIPAddress": f"203.0.113.{self._chance.randint(1, 254)}",
            "userAgent": "aws-cli/2.17.9 md/awscrt#0.20.11 ua/2.0 os/linux#6.1 md/arch#x86_64 lang/python#3.11",
            "requestParameters": None,
            "responseElements": None,
            "requestID": self._uuid(),
            "eventID": self._uuid(),
            "readOnly": read_only,
            "eventType": "AwsApiCall",
            "managementEvent": True,
            "recipientAccountId": account,
            "eventCategory": "Management",
            "tlsDetails": {
                "tlsVersion": "TLSv1.3",
                "cipherSuite": "TLS_AES_128_GCM_SHA256",
                "clientProvidedHostHeader": f"{source.split('.', maxsplit=1)[0]}.eu-west-1.amazonaws.com",
            },
        }

    def _hex(self, length: int) -> str:
        return f"{self._chance.getrandbits(length * 4):0{length}x}"

    def _uuid(self) -> str:
        text = self._hex(32)
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def _word(self) -> str:
        return self._chance.choice(("data", "build", "audit", "ledger", "search", "billing", "media", "edge"))


def eventbridge(record: dict[str, Any], *, detail_type: str = "AWS API Call via CloudTrail") -> bytes:
    """Wrap a record as EventBridge hands it to a queue."""
    return msgspec.json.encode(
        {
            "version": "0",
            "id": record["eventID"],
            "detail-type": detail_type,
            "source": f"aws.{record['eventSource'].split('.')[0]}",
            "account": record["recipientAccountId"],
            "time": record["eventTime"],
            "region": record["awsRegion"],
            "resources": [],
            "detail": record,
        }
    )


def json_lines(records: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> bytes:
    """Write records as JSON lines."""
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)


def trail_file(records: list[dict[str, Any]]) -> bytes:
    """Write records as the text of one CloudTrail file."""
    return msgspec.json.encode({"Records": records})
