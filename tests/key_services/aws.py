"""AWS in memory, over HTTP on loopback: KMS by its documented state table (aws.md 2), with STS, RDS and S3 around it.

It exists because moto lies where it matters here (aws.md 9): it uses disabled keys, and carries dry runs out. The real
SDK is the client. A key's owner acts on it through `act`, or over HTTP with credentials of the owner's account.
"""

import base64
import contextlib
import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

import pytest

from tests.key_services.loopback import answering

T = TypeVar("T")
Document = dict[str, Any]

CRYPTO = frozenset({"Decrypt", "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "ReEncrypt"})
SHARED = CRYPTO | {"DescribeKey", "ListGrants", "CreateGrant", "RevokeGrant", "RetireGrant"}
"""What may be done from another account (aws.md 1)."""
EVERYTHING = frozenset({"*"})

REFUSED = "because no resource-based policy allows the kms:{operation} action"
"""What KMS says of a policy that was taken away, *and* of a missing permission of the caller (aws.md 0.9)."""
REFUSED_BY_IDENTITY = "because no identity-based policy allows the kms:{operation} action"
REFUSED_BY_ENDPOINT = "with an explicit deny in a VPC endpoint policy"

_PHRASES = {
    "Disabled": ("DisabledException", "is disabled."),
    "PendingDeletion": ("KMSInvalidStateException", "is pending deletion."),
    "PendingReplicaDeletion": ("KMSInvalidStateException", "is pending replica deletion."),
    "PendingImport": ("KMSInvalidStateException", "is pending import."),
    "Unavailable": ("KMSInvalidStateException", "is unavailable."),
    "Creating": ("KMSInvalidStateException", "is creating."),
}
_PENDING = ("PendingDeletion", "PendingReplicaDeletion")
# Operation -> states in which KMS refuses it (aws.md 2). What is not listed goes in every state.
_FORBIDDEN: dict[str, tuple[str, ...]] = {
    "DisableKey": (*_PENDING, "PendingImport"),
    "EnableKey": (*_PENDING, "PendingImport"),
    "ScheduleKeyDeletion": _PENDING,
    "ImportKeyMaterial": _PENDING,
    "CreateGrant": ("Disabled", *_PENDING, "PendingImport"),
}


class Refusal(Exception):  # noqa: N818  # an answer of AWS, not a failure of the double
    """An error answer."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class History(Generic[T]):
    """A value over time: what it is now, and what those still see who are behind."""

    def __init__(self, at: datetime, value: T) -> None:
        self._values = [(at, value)]

    def set(self, at: datetime, value: T) -> None:
        self._values.append((at, value))

    @property
    def now(self) -> T:
        return self._values[-1][1]

    def seen_at(self, at: datetime) -> T:
        seen = [value for since, value in self._values if since <= at]
        return seen[-1] if seen else self._values[0][1]


@dataclass(frozen=True, slots=True)
class Grant:
    id: str
    grantee: str
    operations: frozenset[str]
    issuer: str = ""


@dataclass(slots=True)
class Key:
    """One key. `policy` maps a principal (or an account id) to the operations that the key policy allows it."""

    arn: str
    state: History[str]
    policy: History[Mapping[str, frozenset[str]]]
    grants: History[tuple[Grant, ...]]
    store: str | None = None
    external: bool = False
    replicas: bool = False
    refusal: str = REFUSED
    deletion_at: datetime | None = None
    window: int | None = None
    valid_to: datetime | None = None
    backing_fault: str | None = None
    """What a custom key store answers to every use, while the state stays Enabled."""
    policy_text: str | None = None
    """What GetKeyPolicy answers; without it the text that `policy` stands for."""
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    @property
    def account(self) -> str:
        return self.arn.split(":")[4]

    @property
    def region(self) -> str:
        return self.arn.split(":")[3]


@dataclass(slots=True)
class Trouble:
    """Something that goes wrong on the way, for matching calls; `times` counts down (None: until it is ended)."""

    how: str
    service: str | None = None
    operation: str | None = None
    key: str | None = None
    times: int | None = None


_ANSWERS = {
    "throttle": Refusal("ThrottlingException", "Rate exceeded"),
    "internal": Refusal("KMSInternalException", "An internal error occurred", 500),
    "unavailable": Refusal("ServiceUnavailableException", "Try again later", 503),
    "dependency": Refusal("DependencyTimeoutException", "The system timed out", 503),
    "bad token": Refusal("UnrecognizedClientException", "The security token included in the request is invalid."),
    "may not look": Refusal(
        "AccessDenied",
        "User: arn:aws:sts::111122223333:assumed-role/byok-watchdog/byok-watchdog is not authorized to perform: "
        "rds:DescribeDBInstances because no identity-based policy allows the rds:DescribeDBInstances action",
        403,
    ),
    "may not pass": Refusal("AccessDenied", "Access Denied with an explicit deny in a VPC endpoint policy", 403),
    "expired token": Refusal("ExpiredTokenException", "The security token included in the request is expired"),
}


class Aws:
    """The accounts of everybody, as far as a watchdog of keys meets them."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.now = now
        self.url = ""
        self.lag = timedelta()
        self.dry_run_looks_at_state = False  # not documented (aws.md 10): both must be lived with
        self.keys: dict[str, Key] = {}
        self.stores: dict[str, bool] = {}
        self.identities: dict[str, frozenset[str]] = {}
        self.assumable: dict[str, frozenset[str]] = {}
        self.databases: dict[str, tuple[str, str]] = {}
        self.clusters: dict[str, tuple[str, str]] = {}
        self.trails: dict[str, Document] = {}
        """By ARN: `logging`, `multi_region` and `selectors`, as the owner has set them up."""
        self.rules: dict[str, Document] = {}
        """By ARN: `state`, `pattern` and `targets`."""
        self.objects: dict[tuple[str, str], tuple[bytes, str | None]] = {}
        self.session_seconds = 3600.0
        self.troubles: list[Trouble] = []
        self.calls: list[tuple[str, str, str]] = []
        """Every call that came in: the caller, the operation and what it named."""
        self.carried_out: list[str] = []
        """Every use of a key that was more than a dry run."""
        self.records: list[Document] = []
        """A CloudTrail record of every change that was made, as the owner's trail has it."""
        self.lock = threading.RLock()
        self.closing = threading.Event()
        self._callers: dict[str, str] = {}

    # ----------------------------------------------------------------------------------------------------- the stage

    def make_key(
        self, arn: str, policy: Mapping[str, frozenset[str]], *, store: str | None = None, external: bool = False,
        replicas: bool = False,
    ) -> Key:  # fmt: skip
        at = self.now()
        key = Key(arn, History(at, "Enabled"), History(at, dict(policy)), History(at, ()), store, external, replicas)
        self.keys[arn] = key
        if store:
            self.stores.setdefault(store, True)
        return key

    def sign_in(self, principal: str, access_key: str, *, operations: frozenset[str] = EVERYTHING) -> None:
        """Let an access key stand for a principal, whose own policies allow these operations."""
        self._callers[access_key] = principal
        self.identities[principal] = operations

    def role(self, arn: str, *, trusts: frozenset[str], operations: frozenset[str] = EVERYTHING) -> None:
        self.assumable[arn] = trusts
        self.identities[arn] = operations

    def trouble(self, how: str, **where: Any) -> Trouble:
        made = Trouble(how, **where)
        self.troubles.append(made)
        return made

    @contextlib.contextmanager
    def served(self) -> Iterator["Aws"]:
        """Answer on a free port of loopback."""
        with answering(_handler(self)) as self.url:
            try:
                yield self
            finally:
                self.closing.set()

    # -------------------------------------------------------------------------------------------------- what KMS does

    def act(self, operation: str, key: str | None = None, *, by: str | None = None, **request: Any) -> Document:
        """Do as an administrator of the key's account does. Raises Refusal as KMS would."""
        body = {"KeyId": key, **request} if key else request
        account = self.keys[key].account if key else next(iter(self.keys.values())).account
        return self.kms(operation, body, by or f"arn:aws:iam::{account}:role/KeyAdmin")

    def kms(self, operation: str, body: Document, caller: str, region: str | None = None) -> Document:
        with self.lock:
            if operation == "DescribeCustomKeyStores":
                return self._stores(body, caller)
            if "CustomKeyStore" in operation:
                return self._store_changed(operation, body, caller)
            key = self._key(body.get("KeyId") or _sealed_under(body), region)
            self._authorize(operation, key, caller)
            if operation in CRYPTO:
                return self._use(operation, key, body)
            if operation == "DescribeKey":
                return self._describe(key)
            if operation == "ListGrants":
                return self._list_grants(key, body)
            if operation in _OWNERS_READS:
                return _OWNERS_READS[operation](key, body)
            change = _CHANGES.get(operation)
            if change is None:
                raise Refusal("UnknownOperationException", operation)
            self._check_state(key, key.state.now, _FORBIDDEN.get(operation, ()))
            if body.get("DryRun"):
                raise _would_work()
            answer = change(self, key, body)
            self._record(operation, key, body, answer, caller)
            return answer

    def _key(self, arn: str | None, region: str | None) -> Key:
        key = self.keys.get(arn or "")
        if key is not None and key.deletion_at is not None and key.deletion_at <= self.now():
            del self.keys[key.arn]
            key = None
        if key is None:
            raise Refusal("NotFoundException", f"Key '{arn}' does not exist")
        if region is not None and key.region != region:
            raise Refusal("NotFoundException", f"Invalid arn {region}")
        return key

    def _authorize(self, operation: str, key: Key, caller: str) -> None:
        """Both sides must allow a call from another account; a grant does instead of the key policy."""
        account = caller.split(":")[4]
        own = self.identities.get(caller, EVERYTHING)
        permitted = operation in own or "*" in own
        if account == key.account:
            if not permitted:
                self._refuse(operation, key, caller, REFUSED_BY_IDENTITY)
            return
        seen = self.now() - self.lag
        policy = key.policy.seen_at(seen)
        by_policy = any(
            operation in policy.get(who, ()) or "*" in policy.get(who, ()) for who in (caller, account, "*")
        )
        by_grant = any(grant.grantee == caller and operation in grant.operations for grant in key.grants.seen_at(seen))
        if not (operation in SHARED and (by_policy or by_grant) and permitted):
            self._refuse(operation, key, caller, key.refusal)

    def _refuse(self, operation: str, key: Key, caller: str, why: str) -> None:
        session = caller.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + "/byok-watchdog"
        raise Refusal(
            "AccessDeniedException",
            f"User: {session} is not authorized to perform: kms:{operation} on resource: {key.arn} "
            + why.format(operation=operation),
        )

    def _use(self, operation: str, key: Key, body: Document) -> Document:
        dry = bool(body.get("DryRun"))
        if operation == "Decrypt" and not (dry and body.get("DryRunModifiers") == ["IGNORE_CIPHERTEXT"]):
            _check_ciphertext(body, key)
        if not dry or self.dry_run_looks_at_state:
            state = self._state(key, key.state.seen_at(self.now() - self.lag))
            self._check_state(key, state, tuple(_PHRASES))
        if dry:
            raise _would_work()
        self.carried_out.append(operation)
        if key.backing_fault is not None:
            raise Refusal("KMSInvalidStateException", key.backing_fault)
        answer: Document = {"KeyId": key.arn}
        if operation == "Decrypt":
            return {**answer, "Plaintext": base64.b64encode(b"plain").decode()}
        sealed = {"arn": key.arn, "context": body.get("EncryptionContext") or {}, "nonce": secrets.token_hex(8)}
        answer["CiphertextBlob"] = base64.b64encode(json.dumps(sealed).encode()).decode()
        if operation == "GenerateDataKey":
            answer["Plaintext"] = base64.b64encode(secrets.token_bytes(32)).decode()
        return answer

    def _state(self, key: Key, state: str) -> str:
        """A disconnected store makes its keys unavailable; a pending deletion is told before that (aws.md 2)."""
        away = key.store is not None and not self.stores[key.store]
        return "Unavailable" if away and state not in _PENDING else state

    def _check_state(self, key: Key, state: str, forbidden: tuple[str, ...]) -> None:
        if state in forbidden:
            code, phrase = _PHRASES[state]
            raise Refusal(code, f"{key.arn} {phrase}")

    def _describe(self, key: Key) -> Document:
        state = self._state(key, key.state.now)
        metadata: Document = {
            "AWSAccountId": key.account, "KeyId": key.arn.rpartition("/")[2], "Arn": key.arn, "KeyState": state,
            "Enabled": state == "Enabled", "KeyManager": "CUSTOMER", "KeyUsage": "ENCRYPT_DECRYPT",
            "KeySpec": "SYMMETRIC_DEFAULT", "MultiRegion": key.replicas,
            "Origin": "EXTERNAL" if key.external else "AWS_CLOUDHSM" if key.store else "AWS_KMS",
            "Description": key.description,
        }  # fmt: skip
        if state == "PendingDeletion" and key.deletion_at:
            metadata["DeletionDate"] = key.deletion_at.timestamp()
        if state == "PendingReplicaDeletion":
            metadata["PendingDeletionWindowInDays"] = key.window
        if key.valid_to:
            metadata |= {"ValidTo": key.valid_to.timestamp(), "ExpirationModel": "KEY_MATERIAL_EXPIRES"}
        if key.store:
            metadata["CustomKeyStoreId"] = key.store
        return {"KeyMetadata": metadata}

    def _list_grants(self, key: Key, body: Document) -> Document:
        start, limit = int(body.get("Marker") or 0), int(body.get("Limit") or 50)
        page = key.grants.now[start : start + limit]
        more = start + limit < len(key.grants.now)
        answer: Document = {
            "Grants": [
                {
                    "GrantId": one.id,
                    "GranteePrincipal": one.grantee,
                    "Operations": sorted(one.operations),
                    "IssuingAccount": one.issuer or f"arn:aws:iam::{key.account}:root",
                }
                for one in page
            ],
            "Truncated": more,
        }
        return {**answer, "NextMarker": str(start + limit)} if more else answer

    def _stores(self, body: Document, caller: str) -> Document:
        self._permit("DescribeCustomKeyStores", caller)
        store = body["CustomKeyStoreId"]
        owners = {key.account for key in self.keys.values() if key.store == store}
        if caller.split(":")[4] not in owners:
            raise Refusal("CustomKeyStoreNotFoundException", store)
        state = "CONNECTED" if self.stores[store] else "DISCONNECTED"
        return {"CustomKeyStores": [{"CustomKeyStoreId": store, "ConnectionState": state}], "Truncated": False}

    def _permit(self, operation: str, caller: str) -> None:
        """What has no policy of its own is up to the identities of its account."""
        own = self.identities.get(caller, EVERYTHING)
        if operation not in own and "*" not in own:
            raise Refusal(
                "AccessDeniedException",
                f"User: {caller} is not authorized to perform: {operation} "
                + REFUSED_BY_IDENTITY.format(operation=operation),
            )

    def cloudtrail(self, operation: str, body: Document, caller: str, region: str) -> Document:
        """Answer about a trail by its ARN, in its own Region and to its own account only."""
        self._permit(operation, caller)
        arn = body.get("Name") or body.get("TrailName") or ""
        trail = self.trails.get(arn)
        if trail is None or arn.split(":")[3:5] != [region, caller.split(":")[4]]:
            raise Refusal("TrailNotFoundException", f"Unknown trail: {arn}")
        if operation == "GetTrail":
            return {"Trail": {"TrailARN": arn, "IsMultiRegionTrail": trail["multi_region"]}}
        if operation == "GetTrailStatus":
            return {"IsLogging": trail["logging"]}
        return {"TrailARN": arn, **trail["selectors"]}

    def events(self, operation: str, body: Document, caller: str, region: str) -> Document:
        """Answer about a rule by its name: of the caller's account, in the Region that is asked."""
        self._permit(operation, caller)
        bus, name = body.get("EventBusName", "default"), body.get("Name") or body.get("Rule")
        place = "" if bus == "default" else f"{bus}/"
        rule = self.rules.get(f"arn:aws:events:{region}:{caller.split(':')[4]}:rule/{place}{name}")
        if rule is None:
            raise Refusal("ResourceNotFoundException", f"Rule {name} does not exist on EventBus {bus}.")
        if operation == "DescribeRule":
            return {"Name": name, "State": rule["state"], "EventPattern": rule["pattern"]}
        start = int(body.get("NextToken") or 0)  # one a page: whoever reads the first only misses the rest
        answer: Document = {
            "Targets": [{"Id": str(at), "Arn": arn} for at, arn in enumerate(rule["targets"])][start : start + 1]
        }
        return {**answer, "NextToken": str(start + 1)} if start + 1 < len(rule["targets"]) else answer

    def _store_changed(self, operation: str, body: Document, caller: str) -> Document:
        store = body["CustomKeyStoreId"]
        if store not in self.stores:
            raise Refusal("CustomKeyStoreNotFoundException", store)
        self.stores[store] = operation == "ConnectCustomKeyStore"
        self._record(operation, None, body, {}, caller)
        return {}

    def _record(self, operation: str, key: Key | None, body: Document, answer: Document, caller: str) -> None:
        request = {name[0].lower() + name[1:]: value for name, value in body.items()}
        response = {name[0].lower() + name[1:]: value for name, value in answer.items()}
        if isinstance(response.get("deletionDate"), float):
            date = datetime.fromtimestamp(response["deletionDate"], UTC)
            response["deletionDate"] = f"{date:%b} {date.day}, {date.year}, {date:%I:%M:%S %p}"
        account = caller.split(":")[4]
        self.records.append(
            {
                "eventVersion": "1.11",
                "userIdentity": {"type": "AssumedRole", "principalId": "AROAEXAMPLEADMIN:jane", "accountId": account,
                                 "arn": f"arn:aws:sts::{account}:assumed-role/{caller.rpartition('/')[2]}/jane"},
                "eventTime": f"{self.now():%Y-%m-%dT%H:%M:%SZ}",
                "eventSource": "kms.amazonaws.com", "eventName": operation,
                "awsRegion": key.region if key else "eu-west-1",
                "sourceIPAddress": "192.0.2.10", "userAgent": "aws-cli/2.31",
                "requestParameters": request,
                "responseElements": {"keyId": key.arn, **response} if key else None,
                "eventID": f"5f0c7d7a-0000-4000-8000-{len(self.records):012d}",
                "readOnly": False, "eventType": "AwsApiCall", "managementEvent": True, "eventCategory": "Management",
                "resources": [{"accountId": key.account, "type": "AWS::KMS::Key", "ARN": key.arn}] if key else None,
                "recipientAccountId": key.account if key else account,
            }
        )  # fmt: skip

    # ---------------------------------------------------------------------------------------------- the other services

    def sts(self, operation: str, form: Mapping[str, str], caller: str) -> str:
        if operation == "GetCallerIdentity":
            return f"<Arn>{escape(caller)}</Arn><Account>{caller.split(':')[4]}</Account><UserId>X</UserId>"
        role = form["RoleArn"]
        if caller not in self.assumable.get(role, ()):
            raise Refusal(
                "AccessDenied", f"User: {caller} is not authorized to perform: sts:AssumeRole on resource: {role}", 403
            )
        access_key = f"ASIA{secrets.token_hex(8).upper()}"
        self._callers[access_key] = role
        until = self.now() + timedelta(seconds=self.session_seconds)
        return (
            f"<Credentials><AccessKeyId>{access_key}</AccessKeyId><SecretAccessKey>secret-of-role</SecretAccessKey>"
            f"<SessionToken>token-of-role</SessionToken><Expiration>{until:%Y-%m-%dT%H:%M:%SZ}</Expiration>"
            "</Credentials>"
        )

    def rds(self, operation: str, form: Mapping[str, str]) -> str:
        one, many, label, held = {
            "DescribeDBInstances": ("DBInstance", "DBInstances", "DBInstanceStatus", self.databases),
            "DescribeDBClusters": ("DBCluster", "DBClusters", "Status", self.clusters),
        }[operation]
        name = form[f"{one}Identifier"].rpartition(":")[2]
        if name not in held:
            raise Refusal(f"{one}NotFound", f"{one} {name} not found.", 404)
        status, key = held[name]
        return (
            f"<{many}><{one}><{one}Identifier>{name}</{one}Identifier><{label}>{status}</{label}>"
            f"<KmsKeyId>{key}</KmsKeyId></{one}></{many}>"
        )

    def s3(self, bucket: str, name: str, caller: str) -> tuple[bytes, str | None]:
        if (bucket, name) not in self.objects:
            raise Refusal("NoSuchKey", "The specified key does not exist.", 404)
        body, arn = self.objects[bucket, name]
        if arn is not None:
            try:
                key = self._key(arn, None)
                self._authorize("Decrypt", key, caller)
                self._check_state(key, self._state(key, key.state.seen_at(self.now() - self.lag)), tuple(_PHRASES))
            except Refusal as refusal:
                if refusal.code == "AccessDeniedException":
                    raise Refusal("AccessDenied", refusal.message, 403) from refusal
                raise Refusal(f"KMS.{refusal.code}", refusal.message) from refusal
        return body, arn

    def caller(self, access_key: str) -> str:
        if access_key not in self._callers:
            raise Refusal("UnrecognizedClientException", "The security token included in the request is invalid.")
        return self._callers[access_key]

    def troubled(self, service: str, operation: str, named: str) -> str | None:
        for one in self.troubles:
            fits = one.service in {None, service} and one.operation in {None, operation}
            if fits and (one.key is None or one.key in named) and one.times != 0:
                if one.times is not None:
                    one.times -= 1
                return one.how
        return None


def _policy_of(key: Key, body: Document) -> Document:
    statements = [
        {"Effect": "Allow", "Resource": "*",
         "Principal": {"AWS": f"arn:aws:iam::{who}:root" if who.isdigit() else who},
         "Action": [f"kms:{name}" for name in sorted(names)]}
        for who, names in key.policy.now.items()
    ]  # fmt: skip
    text = key.policy_text or json.dumps({"Version": "2012-10-17", "Statement": statements})
    return {"Policy": text, "PolicyName": "default"}


_OWNERS_READS: dict[str, Callable[[Key, Document], Document]] = {
    "GetKeyPolicy": _policy_of,
    "ListResourceTags": lambda key, _: {
        "Tags": [{"TagKey": name, "TagValue": value} for name, value in key.tags.items()], "Truncated": False,
    },
    "ListAliases": lambda key, _: {
        "Aliases": [{"AliasArn": one, "AliasName": one.rpartition(":")[2]} for one in key.aliases], "Truncated": False,
    },
}  # fmt: skip
"""What only the key's own account may read (aws.md 7)."""


def _would_work() -> Refusal:
    return Refusal("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.", 412)


def _opened(body: Document) -> Document:
    try:
        sealed = json.loads(base64.b64decode(body.get("CiphertextBlob") or ""))
    except ValueError:
        return {}
    return sealed if isinstance(sealed, dict) else {}


def _sealed_under(body: Document) -> str | None:
    return _opened(body).get("arn")


def _check_ciphertext(body: Document, key: Key) -> None:
    if not body.get("CiphertextBlob"):
        raise Refusal("ValidationException", "1 validation error detected: CiphertextBlob")
    sealed = _opened(body)
    if not sealed or sealed["context"] != (body.get("EncryptionContext") or {}):
        raise Refusal("InvalidCiphertextException", "")
    if sealed["arn"] != key.arn:
        raise Refusal("IncorrectKeyException", "The key ID in the request does not identify a CMK that can decrypt.")


# ------------------------------------------------------------------------------------------------- what an owner may do


def _disable(aws: Aws, key: Key, body: Document) -> Document:
    key.state.set(aws.now(), "Disabled")
    return {}


def _enable(aws: Aws, key: Key, body: Document) -> Document:
    key.state.set(aws.now(), "Enabled")
    return {}


def _schedule(aws: Aws, key: Key, body: Document) -> Document:
    days = body.get("PendingWindowInDays", 30)
    if not 7 <= days <= 30:
        raise Refusal("ValidationException", "PendingWindowInDays must be between 7 and 30")
    key.window = days
    answer: Document = {"KeyId": key.arn, "PendingWindowInDays": days}
    if key.replicas:
        key.state.set(aws.now(), "PendingReplicaDeletion")
        return {**answer, "KeyState": "PendingReplicaDeletion"}
    key.state.set(aws.now(), "PendingDeletion")
    key.deletion_at = aws.now() + timedelta(days=days)
    return {**answer, "KeyState": "PendingDeletion", "DeletionDate": key.deletion_at.timestamp()}


def _cancel(aws: Aws, key: Key, body: Document) -> Document:
    if key.state.now not in _PENDING:
        raise Refusal("KMSInvalidStateException", f"{key.arn} is not pending deletion.")
    key.state.set(aws.now(), "Disabled")
    key.deletion_at = key.window = None
    return {"KeyId": key.arn}


def _remove_material(aws: Aws, key: Key, body: Document) -> Document:
    if not key.external:
        raise Refusal("UnsupportedOperationException", f"{key.arn} origin is AWS_KMS which is not valid.")
    if key.state.now not in _PENDING:
        key.state.set(aws.now(), "PendingImport")
    return {"KeyId": key.arn}


def _import_material(aws: Aws, key: Key, body: Document) -> Document:
    key.state.set(aws.now(), "Enabled")
    end = body.get("ValidTo")
    key.valid_to = datetime.fromtimestamp(float(end), UTC) if end else None
    return {"KeyId": key.arn}


def _put_policy(aws: Aws, key: Key, body: Document) -> Document:
    """Only what is told here is read: Allow, principals of AWS, plain actions."""
    allowed: dict[str, frozenset[str]] = {}
    for one in json.loads(body["Policy"])["Statement"]:
        principals = one["Principal"]["AWS"]
        actions = one["Action"]
        names = frozenset(name.removeprefix("kms:") for name in ([actions] if isinstance(actions, str) else actions))
        for who in [principals] if isinstance(principals, str) else principals:
            root = re.fullmatch(r"arn:aws:iam::(\d{12}):root", who)
            name = root[1] if root else who
            allowed[name] = allowed.get(name, frozenset()) | names
    key.policy.set(aws.now(), allowed)
    return {}


def _create_grant(aws: Aws, key: Key, body: Document) -> Document:
    grant = Grant(secrets.token_hex(32), body["GranteePrincipal"], frozenset(body["Operations"]))
    key.grants.set(aws.now(), (*key.grants.now, grant))
    return {"GrantId": grant.id, "GrantToken": "token"}


def _end_grant(aws: Aws, key: Key, body: Document) -> Document:
    left = tuple(one for one in key.grants.now if one.id != body["GrantId"])
    if len(left) == len(key.grants.now):
        raise Refusal("NotFoundException", f"Grant {body['GrantId']} is not found")
    key.grants.set(aws.now(), left)
    return {}


_CHANGES: dict[str, Callable[[Aws, Key, Document], Document]] = {
    "DisableKey": _disable,
    "EnableKey": _enable,
    "ScheduleKeyDeletion": _schedule,
    "CancelKeyDeletion": _cancel,
    "DeleteImportedKeyMaterial": _remove_material,
    "ImportKeyMaterial": _import_material,
    "PutKeyPolicy": _put_policy,
    "CreateGrant": _create_grant,
    "RevokeGrant": _end_grant,
    "RetireGrant": _end_grant,
}


# ---------------------------------------------------------------------------------------------------------------- HTTP

_SIGNED = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/")
_HANG_SECONDS = 30


@dataclass(slots=True)
class _Call:
    service: str = ""
    operation: str = ""
    named: str = ""
    access_key: str = ""
    region: str = ""
    body: Document = field(default_factory=dict)


def _handler(aws: Aws) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base's
            pass

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            call = self._read()
            with aws.lock:
                how = aws.troubled(call.service, call.operation, call.named)
                aws.calls.append((call.access_key, call.operation, call.named))
            if how == "hang":
                aws.closing.wait(_HANG_SECONDS)
            if how in {"hang", "cut"}:
                self.close_connection = True
                return
            if how == "html":
                self._send(200, b"<html><body>Sign in to the guest network", "text/html")
                return
            try:
                if how is not None:
                    raise _ANSWERS[how]
                self._worked(call, aws.caller(call.access_key))
            except Refusal as refusal:
                self._failed(call, refusal)

        def _read(self) -> _Call:
            signed = _SIGNED.search(self.headers.get("Authorization", ""))
            access_key, region, service = signed.groups() if signed else ("", "", "")
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            target = self.headers.get("X-Amz-Target", "")
            if target:
                body = json.loads(content)
                named = body.get("KeyId") or _sealed_under(body) or body.get("Name") or body.get("Rule") or ""
                return _Call(service, target.rpartition(".")[2], named, access_key, region, body)
            if self.command == "POST":
                form = {name: values[0] for name, values in parse_qs(content.decode()).items()}
                named = form.get("RoleArn") or ""
                return _Call(service, form["Action"], named, access_key, region, dict(form))
            bucket, _, name = unquote(self.path).lstrip("/").partition("?")[0].partition("/")
            return _Call("s3", "GetObject", f"{bucket}/{name}", access_key, region, {"bucket": bucket, "name": name})

        def _worked(self, call: _Call, caller: str) -> None:
            if call.service == "kms":
                answer = aws.kms(call.operation, call.body, caller, call.region)
                self._send(200, json.dumps(answer).encode(), "application/x-amz-json-1.1")
                return
            if call.service in {"cloudtrail", "events"}:
                with aws.lock:
                    ask = aws.cloudtrail if call.service == "cloudtrail" else aws.events
                    answer = ask(call.operation, call.body, caller, call.region)
                self._send(200, json.dumps(answer).encode(), "application/x-amz-json-1.1")
                return
            if call.service == "s3":
                body, key = aws.s3(call.body["bucket"], call.body["name"], caller)
                kms = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": key}
                self._send(
                    200, body, "application/octet-stream", {name: text for name, text in kms.items() if text and key}
                )
                return
            if call.service == "sts":
                inside = aws.sts(call.operation, call.body, caller)
            else:
                inside = aws.rds(call.operation, call.body)
            text = (
                f"<{call.operation}Response><{call.operation}Result>{inside}</{call.operation}Result>"
                "<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>"
                f"</{call.operation}Response>"
            )
            self._send(200, text.encode(), "text/xml")

        def _failed(self, call: _Call, refusal: Refusal) -> None:
            if call.service in {"kms", "cloudtrail", "events"}:
                body = json.dumps({"__type": refusal.code, "message": refusal.message}).encode()
                self._send(refusal.status, body, "application/x-amz-json-1.1")
                return
            inside = f"<Code>{refusal.code}</Code><Message>{escape(refusal.message)}</Message>"
            error = f"<Error>{inside}</Error>"
            text = error if call.service == "s3" else f"<ErrorResponse>{error}</ErrorResponse>"
            self._send(refusal.status, text.encode(), "text/xml")

        def _send(self, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Handler


def speak_to(url: str, access_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let boto3 of this process ask the service at an address, as whom the access key stands for."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
