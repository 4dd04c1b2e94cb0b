"""Corpus: CloudTrail records of documented shapes from a seed, as noise for the demo and the benchmark."""

import gzip
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from workers.samples.chance import START, Chance

CUSTOMER, VENDOR, STRANGER = "111122223333", "999988887777", "555500001111"
ROLE = "acme-prod"
ROLE_ID = "AROAEXAMPLEACME00001"
_SESSIONS = 120  # callers that a stream of records has at the same time: the same few make nearly all calls
_OTHER_KEYS = 200  # keys of an account that nobody registered: the same are used again and again

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
_USES = ("Decrypt", "GenerateDataKey", "Decrypt")
_AGENTS = (
    "aws-cli/2.17.9 md/awscrt#0.20.11 ua/2.0 os/linux#6.1 md/arch#x86_64 lang/python#3.11",
    "aws-sdk-java/2.25.11 Linux/5.10.214 OpenJDK_64-Bit_Server_VM/17.0.10+7-LTS Java/17.0.10 vendor/Amazon.com_Inc.",
    "Boto3/1.34.84 md/Botocore#1.34.84 ua/2.0 os/linux#5.15.0 md/arch#x86_64 lang/python#3.11.8 cfg/retry-mode#legacy",
    "APN/1.0 HashiCorp/1.0 Terraform/1.7.5 (+https://www.terraform.io) terraform-provider-aws/5.45.0 aws-sdk-go-v2",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How many of all records are of each kind, from 0 to 1, together at most 1; the rest are other services' calls.

    `key_uses` are uses of keys that nobody registered, `refusals` calls that failed. `watched_uses` and
    `watched_failures` are the vendor's own uses of the corpus' `keys`, and matter.
    """

    key_uses: float = 0.30
    refusals: float = 0.03
    watched_uses: float = 0.0
    watched_failures: float = 0.0

    def __post_init__(self) -> None:
        parts = (self.key_uses, self.refusals, self.watched_uses, self.watched_failures)
        if min(parts) < 0 or sum(parts) > 1:
            raise ValueError(f"shares are not negative and come to 1 at most: {self}")


@dataclass(frozen=True, slots=True)
class _Caller:
    """One session: who calls, from where, with what."""

    identity: dict[str, Any]
    address: str
    agent: str


class Corpus:
    """Makes records one after the other; the same arguments make the same records.

    `keys` are the ARNs of registered keys, which `Shares.watched_uses` and `Shares.watched_failures` are about.
    """

    def __init__(
        self, seed: int, *, start: datetime = START, shares: Shares | None = None, keys: Sequence[str] = ()
    ) -> None:
        self._chance = Chance(seed, start)
        self._shares = shares or Shares()
        self._keys = keys
        self._callers: dict[str, list[_Caller]] = {}
        self._other_keys = [f"arn:aws:kms:eu-west-1:{CUSTOMER}:key/{self._chance.uuid()}" for _ in range(_OTHER_KEYS)]
        if not keys and self._shares.watched_uses + self._shares.watched_failures > 0:
            raise ValueError("uses of registered keys need the keys")

    def records(self, count: int) -> Iterator[dict[str, Any]]:
        """Yield records in the shares of this corpus."""
        shares = self._shares
        for _ in range(count):
            drawn = self._chance.share()
            if drawn < shares.watched_uses:
                yield self.use(self._chance.one_of(self._keys))
            elif drawn < shares.watched_uses + shares.watched_failures:
                yield self.failed_use(self._chance.one_of(self._keys))
            else:
                yield self.noise()

    def noise(self) -> dict[str, Any]:
        """One record that concerns no registered key: by default three in ten are uses of other keys."""
        shares = self._shares
        drawn = self._chance.share() * (1 - shares.watched_uses - shares.watched_failures)
        if drawn < shares.key_uses:
            return self.use_of_another_key()
        source, name, read_only = self._chance.one_of(_OTHER_CALLS)
        record = self._record(source, name, read_only=read_only, account=CUSTOMER)
        record["requestParameters"] = {
            "resourceId": f"res-{self._chance.hex(17)}",
            "filterSet": {"items": [{"name": "tag:team", "valueSet": {"items": [{"value": self._chance.word()}]}}]},
        }
        if drawn < shares.key_uses + shares.refusals:
            record["errorCode"] = "AccessDenied"
            record["errorMessage"] = (
                f"User: {record['userIdentity']['arn']} is not authorized to perform: {source.partition('.')[0]}:{name}"
                " because no identity-based policy allows the action"
            )
        else:
            record["responseElements"] = None if read_only else {"requestId": self._chance.uuid(), "_return": True}
        return record

    def use_of_another_key(self) -> dict[str, Any]:
        """A successful use or reading of a key that nobody has registered."""
        name = self._chance.one_of(_KMS_READS)
        record = self._record("kms.amazonaws.com", name, read_only=True, account=CUSTOMER)
        record["requestParameters"] = self._use_of(f"arn:aws:s3:::bucket-{self._chance.word()}/{self._chance.hex(24)}")
        record["resources"] = [_key_in(self._chance.one_of(self._other_keys))]
        return record

    def use(self, key: str, at: datetime | None = None) -> dict[str, Any]:
        """A successful use of a key by the vendor's role, as the key's owner sees it (aws.md 1)."""
        account = key.split(":")[4]
        record = self._record("kms.amazonaws.com", self._chance.one_of(_USES), read_only=True, account=account, at=at)
        record["awsRegion"] = key.split(":")[3]
        session = f"i-{self._chance.hex(17)}"
        record["userIdentity"] = {"type": "AWSAccount", "principalId": f"{ROLE_ID}:{session}", "accountId": VENDOR}
        record["requestParameters"] = self._use_of(f"arn:aws:s3:::{ROLE}-files/{self._chance.hex(24)}")
        record["resources"] = [_key_in(key)]
        record["sharedEventID"] = self._chance.uuid()
        return record

    def failed_use(self, key: str, at: datetime | None = None) -> dict[str, Any]:
        """A use of a key by the vendor's role that KMS refuses because the key is disabled."""
        record = self.use(key, at)
        record["errorCode"] = "DisabledException"
        record["errorMessage"] = f"{key} is disabled."
        return record

    def change(self, name: str, key: str, *, at: datetime | None = None, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
        """A successful management call on a key by an administrator of the key's own account."""
        account = key.split(":")[4]
        record = self._record("kms.amazonaws.com", name, read_only=False, account=account, at=at)
        record["awsRegion"] = key.split(":")[3]
        record["requestParameters"] = {"keyId": key.rpartition("/")[2]}
        record["responseElements"] = {"keyId": key}
        record["resources"] = [_key_in(key)]
        for part, value in fields.items():
            record[part] = {**(record.get(part) or {}), **value} if isinstance(value, dict) else value
        return record

    def disabled(self, key: str, at: datetime | None = None) -> dict[str, Any]:
        """Somebody disables the key."""
        return self.change("DisableKey", key, at=at)

    def deletion_scheduled(self, key: str, at: datetime | None = None, *, days: int = 7) -> dict[str, Any]:
        """Somebody schedules the key for deletion in so many days, by default the fewest that KMS takes."""
        record = self.change("ScheduleKeyDeletion", key, at=at, requestParameters={"pendingWindowInDays": days})
        deleted_at = datetime.fromisoformat(record["eventTime"]) + timedelta(days=days)
        record["responseElements"] |= {
            "keyState": "PendingDeletion",
            "pendingWindowInDays": days,
            "deletionDate": f"{deleted_at:%b %-d, %Y, %-I:%M:%S %p}",
        }
        return record

    def deletion_cancelled(self, key: str, at: datetime | None = None) -> dict[str, Any]:
        """Somebody cancels the deletion; the key stays disabled."""
        return self.change("CancelKeyDeletion", key, at=at)

    def enabled(self, key: str, at: datetime | None = None) -> dict[str, Any]:
        """Somebody enables the key."""
        return self.change("EnableKey", key, at=at)

    def _record(
        self, source: str, name: str, *, read_only: bool, account: str, at: datetime | None = None
    ) -> dict[str, Any]:
        moment = self._chance.moment()
        caller = self._caller(account)
        return {
            "eventVersion": "1.11",
            "userIdentity": caller.identity,
            "eventTime": (at or moment).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "eventSource": source,
            "eventName": name,
            "awsRegion": "eu-west-1",
            "sourceIPAddress": caller.address,
            "userAgent": caller.agent,
            "requestParameters": None,
            "responseElements": None,
            "requestID": self._chance.uuid(),
            "eventID": self._chance.uuid(),
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

    def _caller(self, account: str) -> _Caller:
        known = self._callers.setdefault(account, [])
        number = self._chance.below(_SESSIONS)
        while len(known) <= number:
            known.append(self._new_caller(account))
        return known[number]

    def _new_caller(self, account: str) -> _Caller:
        person, team = self._chance.word(), f"{self._chance.word()}-team"
        role = f"AROA{self._chance.hex(17).upper()}"
        identity = {
            "type": "AssumedRole",
            "principalId": f"{role}:{person}",
            "arn": f"arn:aws:sts::{account}:assumed-role/{team}/{person}",
            "accountId": account,
            "accessKeyId": f"ASIA{self._chance.hex(16).upper()}",
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role",
                    "principalId": role,
                    "arn": f"arn:aws:iam::{account}:role/{team}",
                    "accountId": account,
                    "userName": team,
                },
                "attributes": {"creationDate": "2026-11-02T07:55:01Z", "mfaAuthenticated": "false"},
            },
        }
        return _Caller(identity, f"203.0.113.{self._chance.between(1, 254)}", self._chance.one_of(_AGENTS))

    def _use_of(self, thing: str) -> dict[str, Any]:
        return {"encryptionContext": {"aws:s3:arn": thing}, "encryptionAlgorithm": "SYMMETRIC_DEFAULT"}


def _key_in(arn: str) -> dict[str, Any]:
    return {"accountId": arn.split(":")[4], "type": "AWS::KMS::Key", "ARN": arn}


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


def json_lines(records: Iterable[dict[str, Any]]) -> bytes:
    """Write records as JSON lines."""
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)


def trail_file(records: Sequence[dict[str, Any]]) -> bytes:
    """Write records as the text of one CloudTrail file."""
    return msgspec.json.encode({"Records": records})


def trail_gzip(records: Sequence[dict[str, Any]]) -> bytes:
    """Write records as CloudTrail delivers them to a bucket: one gzip file, the same bytes each time."""
    return gzip.compress(trail_file(records), compresslevel=6, mtime=0)
