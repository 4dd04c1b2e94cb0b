"""Google Cloud in memory, over HTTP on loopback: Cloud KMS by its state table (gcp.md 2), with tokens, impersonation,
the bits of Cloud Storage and Cloud SQL that use its keys, and what a pre-flight reads round a key: liens, sinks,
topics, subscriptions, key stores.

There is no emulator of Cloud KMS. google-auth's session is the client; a key's owner acts on it through `act`, or over
REST as an account that its policies name as administrator.
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
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.key_services.aws import History
from tests.key_services.loopback import answering

Document = dict[str, Any]
Policy = tuple[tuple[str, str, str], ...]
"""Bindings: role, member, condition (empty for none)."""

VIEWER = "roles/cloudkms.viewer"
REVIEWER = "roles/iam.securityReviewer"
USER = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
ADMIN = "roles/cloudkms.admin"
_USES = frozenset({"cryptoKeyVersions.useToEncrypt", "cryptoKeyVersions.useToDecrypt"})
_READS = frozenset({"cryptoKeys.get", "cryptoKeyVersions.get", "cryptoKeyVersions.list"})
_GIVES = {
    VIEWER: _READS,
    REVIEWER: frozenset({"cryptoKeys.getIamPolicy", "keyRings.getIamPolicy"}),
    USER: _USES,
    "roles/cloudkms.cryptoKeyEncrypter": frozenset({"cryptoKeyVersions.useToEncrypt"}),
    "roles/cloudkms.cryptoKeyDecrypter": frozenset({"cryptoKeyVersions.useToDecrypt"}),
    ADMIN: _READS | {"cryptoKeyVersions.update", "cryptoKeyVersions.destroy"},
}
_LIMIT = re.compile(r'request\.time < timestamp\("([^"]+)"\)')
_KEY = re.compile(r"(projects/([^/]+)/locations/[^/]+/keyRings/[^/]+)/cryptoKeys/[^/:]+")


class Refusal(Exception):  # noqa: N818  # an answer of Google Cloud, not a failure of the double
    """An error answer."""

    def __init__(self, status: int, code: str, message: str, *details: Document) -> None:
        super().__init__(message)
        self.status = status
        self.body: Document = {"error": {"code": status, "message": message, "status": code}}
        if details:
            self.body["error"]["details"] = list(details)


def info(reason: str, domain: str = "googleapis.com", **metadata: str) -> Document:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": domain,
            "metadata": metadata}  # fmt: skip


def violation(*kinds: str, subject: str = "") -> Document:
    violations = [{"type": kind, "subject": subject, "description": kind.lower()} for kind in kinds]
    return {"@type": "type.googleapis.com/google.rpc.PreconditionFailure", "violations": violations}


def denied(permission: str, resource: str, service: str = "cloudkms") -> Refusal:
    """Say what IAM says of a right that is missing, *and* of what does not exist (gcp.md 4)."""
    named = f"{service}.{permission}"
    text = f"Permission '{named}' denied on resource '{resource}' (or it may not exist)."
    detail = info("IAM_PERMISSION_DENIED", "iam.googleapis.com", permission=named, resource=resource)
    return Refusal(403, "PERMISSION_DENIED", text, detail)


@dataclass(slots=True)
class Project:
    """A project: its switches, and who is let through the perimeter round it (None: there is none)."""

    number: str
    api: bool = True
    billing: bool = True
    deleted: bool = False
    let_in: frozenset[str] | None = None


@dataclass(slots=True)
class Version:
    """One version. `state` is what the control plane says; what uses still see may be older."""

    name: str
    state: History[str]
    imported: bool = False
    destroy_at: datetime | None = None
    destroyed_at: datetime | None = None


@dataclass(slots=True)
class Key:
    """One key. `reasons` None: no access reasons are asked for; they are enforced on `enrolled` keys only."""

    name: str
    ring: str
    project: str
    primary: History[str]
    policy: History[Policy]
    versions: dict[str, Version] = field(default_factory=dict)
    window: timedelta = timedelta(days=30)
    level: str = "SOFTWARE"
    next_rotation: str | None = None
    reasons: list[str] | None = None
    enrolled: bool = True
    backing_fault: str | None = None
    """What an external key manager answers to every use (a violation type), while the state stays ENABLED."""
    denies: frozenset[str] = frozenset()
    """Who is denied every use by a deny policy above the key, whatever the grants say."""


@dataclass(slots=True)
class Trouble:
    """Something that goes wrong on the way, for matching calls but the first `after` of them.

    `times` counts down (None: until it is ended).
    """

    how: str
    operation: str | None = None
    named: str | None = None
    times: int | None = None
    after: int = 0


_ANSWERS = {
    "throttle": Refusal(429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric", info("RATE_LIMIT_EXCEEDED")),
    "internal": Refusal(500, "INTERNAL", "Internal error encountered."),
    "unavailable": Refusal(503, "UNAVAILABLE", "The service is currently unavailable."),
    "deadline": Refusal(504, "DEADLINE_EXCEEDED", "The request timed out."),
    "bad token": Refusal(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
    "account disabled": Refusal(
        401, "UNAUTHENTICATED", "The account is disabled.", info("ACCOUNT_STATE_INVALID", email="x")
    ),
}  # fmt: skip


class Gcp:
    """The projects of everybody, as far as a watchdog of keys meets them."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.now = now
        self.url = ""
        self.lag = timedelta()
        """How long uses go on as before a disable, or a change of the primary (gcp.md 2); enabling works at once."""
        self.iam_lag = timedelta()
        self.projects: dict[str, Project] = {}
        self.keys: dict[str, Key] = {}
        self.rings: dict[str, History[Policy]] = {}
        self.accounts: dict[str, bool] = {}
        self.impersonable: dict[str, frozenset[str]] = {}
        self.objects: dict[tuple[str, str], tuple[bytes, str | None, str]] = {}
        """Bucket and name: the content, the key version that it is encrypted under, the agent that uses it."""
        self.readers: frozenset[str] = frozenset()
        self.databases: dict[str, Document] = {}
        self.liens: dict[str, list[Document]] = {}
        """By the name of the project."""
        self.round_keys: dict[str, Document] = {}
        """What a pre-flight reads by its name: sinks, subscriptions, policies of topics, connections, HSM instances."""
        self.may: set[tuple[str, str]] = set()
        """Who holds which right on all of that: the account and the permission, as in `logging.sinks.get`."""
        self.token_seconds = 3600
        self.page = 500
        self.troubles: list[Trouble] = []
        self.calls: list[tuple[str, str, str]] = []
        """Every call that came in: the caller, the operation and what it named."""
        self.lock = threading.RLock()
        self.closing = threading.Event()
        self._tokens: dict[str, tuple[str, datetime]] = {}

    # ------------------------------------------------------------------------------------------------------- the stage

    def make_key(self, name: str, policy: Policy, *, versions: int = 1, imported: bool = False) -> Key:
        at = self.now()
        found = _KEY.fullmatch(name)
        assert found
        key = Key(name, found[1], found[2], History(at, str(versions)), History(at, policy))
        for number in range(1, versions + 1):
            version = f"{name}/cryptoKeyVersions/{number}"
            key.versions[str(number)] = Version(version, History(at, "ENABLED"), imported)
        self.keys[name] = key
        self.rings.setdefault(found[1], History(at, ()))
        return key

    def account(self, email: str) -> Document:
        """Let an account sign in; return its key file as google-auth reads it."""
        self.accounts[email] = True
        private = _private_key()
        return {
            "type": "service_account", "client_email": email, "private_key": private, "private_key_id": "k1",
            "project_id": "p", "token_uri": f"{self.url}/token", "client_id": "1", "universe_domain": "googleapis.com",
        }  # fmt: skip

    def trouble(self, how: str, **where: Any) -> Trouble:
        made = Trouble(how, **where)
        self.troubles.append(made)
        return made

    @contextlib.contextmanager
    def served(self) -> Iterator["Gcp"]:
        """Answer on a free port of loopback."""
        with answering(_handler(self)) as self.url:
            try:
                yield self
            finally:
                self.closing.set()

    # ------------------------------------------------------------------------------------------------- what owners do

    def act(self, operation: str, key: str, version: str | None = None) -> None:
        """Do to a version (default: the primary) what an administrator may. Raises Refusal as Cloud KMS would."""
        found = self.keys[key]
        one = found.versions[version or found.primary.now]
        _ACTS[operation](self, found, one)

    def grant(self, key: str, *policy: tuple[str, str, str]) -> None:
        self.keys[key].policy.set(self.now(), policy)

    def rotate(self, key: str) -> str:
        found = self.keys[key]
        number = str(len(found.versions) + 1)
        version = Version(f"{key}/cryptoKeyVersions/{number}", History(self.now(), "ENABLED"))
        found.versions[number] = version
        found.primary.set(self.now(), number)
        return number

    def state_of(self, version: Version) -> str:
        """Return the state now: a scheduled destruction comes to pass by the clock alone."""
        if version.destroy_at is not None and version.destroy_at <= self.now():
            version.destroyed_at, version.destroy_at = version.destroy_at, None
            version.state.set(version.destroyed_at, "DESTROYED")
        return version.state.now

    def _seen(self, version: Version) -> str:
        """Return the state that uses see: a disable takes a while, everything else is at once."""
        state = self.state_of(version)
        return version.state.seen_at(self.now() - self.lag) if state == "DISABLED" else state

    # ---------------------------------------------------------------------------------------------------- what KMS does

    def kms(self, operation: str, name: str, body: Document, caller: str, query: Mapping[str, str]) -> Document:
        with self.lock:
            self._serves(name, caller)
            if operation == "GetIamPolicy":
                return self._policy(name, caller)
            found = _KEY.match(name)
            key = self.keys.get(found[0]) if found else None
            if operation in {"Encrypt", "Decrypt"}:
                return self.use(operation, name, body, caller)
            self._permit(_PERMISSIONS[operation], name, key, caller)
            if key is None:
                raise Refusal(404, "NOT_FOUND", f"{name} not found.")
            if operation == "ListCryptoKeyVersions":
                return self._list(key, query)
            if operation == "GetCryptoKey":
                return self._described(key)
            number = name.rpartition("/")[2]
            version = key.versions.get(number)
            if version is None:
                raise Refusal(404, "NOT_FOUND", f"CryptoKeyVersion {name} not found.")
            if operation != "GetCryptoKeyVersion":
                _ACTS[operation](self, key, version)
            return self._version(version, key.level)

    def _serves(self, name: str, caller: str) -> None:
        """Both projects must have the API switched on, the key's must be alive, and its perimeter let the caller in."""
        own = self.projects.get(caller.partition("@")[2].partition(".")[0])
        if own is not None and not own.api:
            raise _switched_off("SERVICE_DISABLED", own)
        project = self.projects[name.split("/")[1]]
        if project.deleted:
            raise _switched_off("CONSUMER_INVALID", project)
        if not project.api:
            raise _switched_off("SERVICE_DISABLED", project)
        if not project.billing:
            raise _switched_off("BILLING_DISABLED", project)
        if project.let_in is not None and caller not in project.let_in:
            raise Refusal(
                403, "PERMISSION_DENIED",
                "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: abc",
                violation("VPC_SERVICE_CONTROLS"),
                info("SECURITY_POLICY_VIOLATED", uid="abc", service="cloudkms.googleapis.com"),
            )  # fmt: skip

    def _permit(self, permission: str, name: str, key: Key | None, caller: str) -> None:
        found = _KEY.match(name)
        ring = self.rings.get(found[1] if found else name)
        seen = self.now() - self.iam_lag
        policies = [*([key.policy] if key else []), *([ring] if ring else [])]
        bindings = [one for policy in policies for one in policy.seen_at(seen)]
        allowed = any(
            permission in _GIVES.get(role, frozenset())
            and member == f"serviceAccount:{caller}"
            and self._holds(condition)
            for role, member, condition in bindings
        )
        if not allowed or (key is not None and permission in _USES and caller in key.denies):
            raise denied(permission, name)

    def _holds(self, condition: str) -> bool:
        limit = _LIMIT.fullmatch(condition)
        return not condition or (limit is not None and self.now() < datetime.fromisoformat(limit[1]))

    def use(self, operation: str, name: str, body: Document, caller: str) -> Document:
        """Encrypt or decrypt, as the watchdog or as the agent of a store."""
        found = _KEY.match(name)
        key = self.keys.get(found[0]) if found else None
        self._permit(f"cryptoKeyVersions.useTo{operation}", name, key, caller)
        if key is None:
            raise Refusal(404, "NOT_FOUND", f"{name} not found.")
        if key.enrolled and key.reasons is not None and "CUSTOMER_INITIATED_ACCESS" not in key.reasons:
            raise Refusal(403, "PERMISSION_DENIED", "The access reason is not allowed by the key's policy.")
        aad = body.get("additionalAuthenticatedData", "")
        if operation == "Encrypt":
            named = re.search(r"/cryptoKeyVersions/(\d+)$", name)
            number = named[1] if named else key.primary.seen_at(self.now() - self.lag)
            self._usable(key, key.versions[number])
            sealed = {"version": key.versions[number].name, "plain": body["plaintext"], "aad": aad}
            return {"name": key.versions[number].name, "ciphertext": _encoded(json.dumps(sealed).encode())}
        try:
            sealed = json.loads(base64.b64decode(body["ciphertext"]))
            version = key.versions[sealed["version"].rpartition("/")[2]]
        except (ValueError, KeyError, TypeError):
            raise Refusal(400, "INVALID_ARGUMENT", "Decryption failed: the ciphertext is invalid.") from None
        if sealed["aad"] != aad or not sealed["version"].startswith(f"{key.name}/"):
            raise Refusal(400, "INVALID_ARGUMENT", "Decryption failed: verify that 'name' refers to the right key.")
        self._usable(key, version)
        return {"plaintext": sealed["plain"], "usedPrimary": version.name.endswith(f"/{key.primary.now}")}

    def _usable(self, key: Key, version: Version) -> None:
        state = self._seen(version)
        if key.backing_fault is not None:
            text = f"{version.name}: the external key manager failed."
            details = violation(f"KEY_{state}", key.backing_fault, subject=version.name)
            raise Refusal(400, "FAILED_PRECONDITION", text, details)
        if state != "ENABLED":
            text = f"{version.name} is not enabled, current state is: {state}."
            raise Refusal(400, "FAILED_PRECONDITION", text, violation(f"KEY_{state}", subject=version.name))

    def _policy(self, name: str, caller: str) -> Document:
        key = self.keys.get(name)
        kind = "keyRings" if "/cryptoKeys/" not in name else "cryptoKeys"
        self._permit(f"{kind}.getIamPolicy", name, key, caller)
        held = key.policy if key else self.rings[name]
        bindings = [
            {"role": role, "members": [member], **({"condition": {"expression": condition}} if condition else {})}
            for role, member, condition in held.now
        ]
        return {"version": 3, "etag": "BwX=", "bindings": bindings} if bindings else {"etag": "ACAB"}

    def _described(self, key: Key) -> Document:
        answer: Document = {
            "name": key.name, "purpose": "ENCRYPT_DECRYPT", "createTime": "2026-01-01T00:00:00Z",
            "destroyScheduledDuration": f"{int(key.window.total_seconds())}s",
            "versionTemplate": {"protectionLevel": key.level, "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION"},
        }  # fmt: skip
        if key.next_rotation:
            answer["nextRotationTime"] = key.next_rotation
        if key.primary.now in key.versions:
            answer["primary"] = self._version(key.versions[key.primary.now], key.level)
        if key.reasons is not None:
            answer["keyAccessJustificationsPolicy"] = {"allowedAccessReasons": key.reasons} if key.reasons else {}
        return answer

    def _list(self, key: Key, query: Mapping[str, str]) -> Document:
        start, limit = int(query.get("pageToken") or 0), min(int(query.get("pageSize") or 100), self.page)
        every = list(key.versions.values())
        answer: Document = {"totalSize": len(every)}
        if every[start : start + limit]:
            answer["cryptoKeyVersions"] = [self._version(one, key.level) for one in every[start : start + limit]]
        return {**answer, "nextPageToken": str(start + limit)} if start + limit < len(every) else answer

    def _version(self, version: Version, level: str) -> Document:
        state = self.state_of(version)
        answer: Document = {
            "name": version.name, "state": state, "protectionLevel": level,
            "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION",
        }  # fmt: skip
        if version.destroy_at:
            answer["destroyTime"] = f"{version.destroy_at:%Y-%m-%dT%H:%M:%S}.123456789Z"
        if version.destroyed_at and state == "DESTROYED":
            answer["destroyEventTime"] = f"{version.destroyed_at:%Y-%m-%dT%H:%M:%SZ}"
            if version.imported:
                answer["reimportEligible"] = True
        return answer

    # --------------------------------------------------------------------------------------------- the other services

    def token(self, form: Mapping[str, str]) -> Document:
        """Give a token for the assertion of an account; its signature is not what is tested here."""
        claims = json.loads(base64.urlsafe_b64decode(form["assertion"].split(".")[1] + "=="))
        if not self.accounts.get(claims["iss"]):
            refusal = Refusal(400, "", "")
            refusal.body = {"error": "invalid_grant", "error_description": "Invalid grant: account not found"}
            raise refusal
        return {"access_token": self._issued(claims["iss"]), "expires_in": self.token_seconds, "token_type": "Bearer"}

    def impersonate(self, email: str, caller: str) -> Document:
        if not self.accounts.get(email) or caller not in self.impersonable.get(email, ()):
            raise Refusal(
                403, "PERMISSION_DENIED",
                "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).",
                info("IAM_PERMISSION_DENIED", "iam.googleapis.com", permission="iam.serviceAccounts.getAccessToken"),
            )  # fmt: skip
        # Its life is that of the machine's clock, by which google-auth decides.
        until = datetime.now(UTC) + timedelta(seconds=self.token_seconds)
        return {"accessToken": self._issued(email), "expireTime": f"{until:%Y-%m-%dT%H:%M:%SZ}"}

    def _issued(self, email: str) -> str:
        token = f"ya29.{secrets.token_hex(16)}"
        self._tokens[token] = (email, self.now() + timedelta(seconds=self.token_seconds))
        return token

    def revoke_tokens(self) -> None:
        self._tokens.clear()

    def caller(self, token: str) -> str:
        email, until = self._tokens.get(token, ("", self.now()))
        if not email or until <= self.now():
            raise Refusal(
                401, "UNAUTHENTICATED", "Request had invalid authentication credentials.",
                info("ACCESS_TOKEN_EXPIRED", service="cloudkms.googleapis.com"),
            )  # fmt: skip
        return email

    def storage(self, bucket: str, name: str, caller: str, *, media: bool) -> bytes | Document:
        if (bucket, name) not in self.objects:
            raise _of_storage(404, "notFound", f"No such object: {bucket}/{name}")
        body, under, agent = self.objects[bucket, name]
        if caller not in self.readers:
            raise _of_storage(403, "forbidden", f"{caller} does not have storage.objects.get access to the object.")
        if not media:
            return {"kind": "storage#object", "name": name, **({"kmsKeyName": under} if under else {})}
        if under:
            self._unseal(under, agent)
        return body

    def _unseal(self, under: str, agent: str) -> None:
        for name, project in self.projects.items():
            under = under.replace(f"projects/{project.number}/", f"projects/{name}/")
        sealed = _encoded(json.dumps({"version": under, "plain": "", "aad": ""}).encode())
        try:
            self._serves(under, agent)
            self.use("Decrypt", under.partition("/cryptoKeyVersions/")[0], {"ciphertext": sealed}, agent)
        except Refusal as refusal:
            if refusal.status == 403:
                text = (
                    "Permission denied on Cloud KMS key. Please ensure that your Cloud Storage service account has "
                    "been authorized to use this key."
                )
                raise _of_storage(403, "forbidden", text) from refusal
            text = "Cloud KMS key is disabled, destroyed, or scheduled to be destroyed."
            refused = _of_storage(400, "invalid", text)
            refused.body["error"]["details"] = refusal.body["error"].get("details", [])
            raise refused from refusal

    def sql(self, name: str, caller: str) -> Document:
        if caller not in self.readers:
            raise _of_storage(403, "notAuthorized", "The client is not authorized to make this request.")
        if name not in self.databases:
            raise _of_storage(404, "instanceDoesNotExist", "The Cloud SQL instance does not exist.")
        return self.databases[name]

    def around(self, operation: str, name: str, caller: str, query: Mapping[str, str]) -> Document:
        """What a pre-flight reads round a key; what is missing is told from a missing right (unlike at Cloud KMS)."""
        permission = _AROUND[operation]
        if (caller, permission) not in self.may:
            service, _, right = permission.partition(".")
            raise denied(right, name, service)
        if operation == "liens.list":
            every = self.liens.get(name.removeprefix("projects/"), [])
            start, limit = int(query.get("pageToken") or 0), min(int(query.get("pageSize") or 100), self.page)
            page: Document = {"liens": every[start : start + limit]} if every else {}
            return {**page, "nextPageToken": str(start + limit)} if start + limit < len(every) else page
        if name not in self.round_keys:
            raise Refusal(404, "NOT_FOUND", f"Resource not found (resource={name}).")
        return self.round_keys[name]

    def troubled(self, operation: str, named: str) -> str | None:
        for one in self.troubles:
            if one.operation in {None, operation} and (one.named is None or one.named in named) and one.times != 0:
                if one.after:
                    one.after -= 1
                    continue
                if one.times is not None:
                    one.times -= 1
                return one.how
        return None


def _switched_off(reason: str, project: Project) -> Refusal:
    text = f"Cloud Key Management Service (KMS) API has not been used in project {project.number} before."
    detail = info(reason, consumer=f"projects/{project.number}", service="cloudkms.googleapis.com")
    return Refusal(403, "PERMISSION_DENIED", text, detail)


def _of_storage(status: int, reason: str, text: str) -> Refusal:
    refusal = Refusal(status, "", text)
    refusal.body = {
        "error": {"code": status, "message": text, "errors": [{"message": text, "domain": "global", "reason": reason}]}
    }
    return refusal


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


_made: list[str] = []


def _private_key() -> str:
    """Return one key for all accounts: making one takes a moment, and nobody checks signatures here."""
    if not _made:
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _made.append(pem.decode())
    return _made[0]


# ------------------------------------------------------------------------------------------------- what an owner may do


def _set(state: str, *allowed: str) -> Callable[[Gcp, Key, Version], None]:
    def act(gcp: Gcp, _key: Key, version: Version) -> None:
        _must_be(gcp, version, *allowed)
        version.state.set(gcp.now(), state)

    return act


def _destroy(gcp: Gcp, key: Key, version: Version) -> None:
    _must_be(gcp, version, "ENABLED", "DISABLED")
    version.state.set(gcp.now(), "DESTROY_SCHEDULED")
    version.destroy_at = gcp.now() + key.window


def _restore(gcp: Gcp, _key: Key, version: Version) -> None:
    _must_be(gcp, version, "DESTROY_SCHEDULED")
    version.destroy_at = None
    version.state.set(gcp.now(), "DISABLED")


def _begin_import(gcp: Gcp, _key: Key, version: Version) -> None:
    _must_be(gcp, version, "DESTROYED")
    if not version.imported:
        raise Refusal(400, "FAILED_PRECONDITION", f"{version.name} cannot be imported again.")
    version.state.set(gcp.now(), "PENDING_IMPORT")


def _delete(gcp: Gcp, key: Key, version: Version) -> None:
    _must_be(gcp, version, "DESTROYED", "IMPORT_FAILED", "GENERATION_FAILED")
    del key.versions[version.name.rpartition("/")[2]]


def _must_be(gcp: Gcp, version: Version, *states: str) -> None:
    state = gcp.state_of(version)
    if state not in states:
        text = f"{version.name} has state {state}, which does not allow this."
        raise Refusal(400, "FAILED_PRECONDITION", text, violation(f"KEY_{state}", subject=version.name))


_ACTS: dict[str, Callable[[Gcp, Key, Version], None]] = {
    "DisableCryptoKeyVersion": _set("DISABLED", "ENABLED", "DISABLED"),
    "EnableCryptoKeyVersion": _set("ENABLED", "ENABLED", "DISABLED"),
    "DestroyCryptoKeyVersion": _destroy,
    "RestoreCryptoKeyVersion": _restore,
    "ImportCryptoKeyVersion": _begin_import,
    "FinishImport": _set("ENABLED", "PENDING_IMPORT"),
    "FailImport": _set("IMPORT_FAILED", "PENDING_IMPORT"),
    "DeleteCryptoKeyVersion": _delete,
}
_AROUND = {
    "liens.list": "resourcemanager.projects.get",
    "sinks.get": "logging.sinks.get",
    "subscriptions.get": "pubsub.subscriptions.get",
    "topics.getIamPolicy": "pubsub.topics.getIamPolicy",
    "ekmConnections.get": "cloudkms.ekmConnections.get",
    "singleTenantHsmInstances.get": "cloudkms.singleTenantHsmInstances.get",
}
"""What is read round a key, and the right that it takes."""
_PERMISSIONS = {
    "GetCryptoKey": "cryptoKeys.get",
    "GetCryptoKeyVersion": "cryptoKeyVersions.get",
    "ListCryptoKeyVersions": "cryptoKeyVersions.list",
    "DisableCryptoKeyVersion": "cryptoKeyVersions.update",
    "EnableCryptoKeyVersion": "cryptoKeyVersions.update",
    "DestroyCryptoKeyVersion": "cryptoKeyVersions.destroy",
    "RestoreCryptoKeyVersion": "cryptoKeyVersions.update",
}


# ---------------------------------------------------------------------------------------------------------------- HTTP

_HANG_SECONDS = 30


def _operation(method: str, name: str, body: Document) -> tuple[str, str]:
    """Return the operation that a request to Cloud KMS is, and the name of what it is about."""
    name, _, verb = name.partition(":")
    if method == "PATCH":
        return ("DisableCryptoKeyVersion" if body.get("state") == "DISABLED" else "EnableCryptoKeyVersion"), name
    if verb:
        version = "CryptoKeyVersion" if verb in {"destroy", "restore"} else ""
        return f"{verb[:1].upper()}{verb[1:]}{version}", name
    if name.endswith("/cryptoKeyVersions"):
        return "ListCryptoKeyVersions", name.removesuffix("/cryptoKeyVersions")
    return ("GetCryptoKeyVersion" if "/cryptoKeyVersions/" in name else "GetCryptoKey"), name


def _handler(gcp: Gcp) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base's
            pass

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def do_PATCH(self) -> None:
            self._answer()

        def _answer(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            operation, named = self._what(parts.path, query, content)
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            with gcp.lock:
                how = gcp.troubled(operation, named)
                caller = gcp._tokens.get(token, ("", None))[0]
                gcp.calls.append((caller, operation, named))
            if how == "hang":
                gcp.closing.wait(_HANG_SECONDS)
            if how in {"hang", "cut"}:
                self.close_connection = True
                return
            if how in {"html", "proxy", "redirect"}:
                self._send(
                    {"html": 200, "proxy": 403, "redirect": 302}[how],
                    b"<html>Sign in to the guest network",
                    "text/html",
                )
                return
            try:
                if how is not None:
                    raise _ANSWERS[how]
                answer = self._worked(operation, named, token, query, content)
            except Refusal as refusal:
                self._send(refusal.status, json.dumps(refusal.body).encode())
                return
            if isinstance(answer, bytes):
                self._send(200, answer, "application/octet-stream")
            else:
                self._send(200, json.dumps(answer).encode())

        def _what(self, path: str, query: Mapping[str, str], content: bytes) -> tuple[str, str]:
            if path == "/token":
                return "token", ""
            if path.startswith("/storage/v1/b/"):
                bucket, _, name = path.removeprefix("/storage/v1/b/").partition("/o/")
                operation = "objects.get media" if query.get("alt") == "media" else "objects.get"
                return operation, f"{unquote(bucket)}/{unquote(name)}"
            named = unquote(path).removeprefix("/v1/")
            if named.endswith(":generateAccessToken"):
                return "generateAccessToken", named.rpartition("/")[2].partition(":")[0]
            if "/instances/" in named:
                return "instances.get", named
            if path == "/v3/liens":
                return "liens.list", query.get("parent", "")
            if "/topics/" in named:
                return "topics.getIamPolicy", named.removesuffix(":getIamPolicy")
            for kind in ("sinks", "subscriptions", "ekmConnections", "singleTenantHsmInstances"):
                if f"/{kind}/" in named:
                    return f"{kind}.get", named.removeprefix("/v2/")
            body = json.loads(content) if self.command == "PATCH" else {}
            return _operation(self.command, named, body)

        def _worked(
            self, operation: str, named: str, token: str, query: Mapping[str, str], content: bytes
        ) -> Document | bytes:
            if operation == "token":
                return gcp.token({name: values[0] for name, values in parse_qs(content.decode()).items()})
            caller = gcp.caller(token)
            if operation == "generateAccessToken":
                return gcp.impersonate(named, caller)
            if operation.startswith("objects.get"):
                bucket, _, name = named.partition("/")
                return gcp.storage(bucket, name, caller, media=operation.endswith("media"))
            if operation == "instances.get":
                return gcp.sql(named, caller)
            if operation in _AROUND:
                return gcp.around(operation, named, caller, query)
            return gcp.kms(operation, named, json.loads(content or b"{}"), caller, query)

        def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if status == 302:
                self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(body)

    return Handler


def speak_to(gcp: Gcp, own: str, become: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let google-auth of this process sign in at a service as `own`, which may become another account."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    file = folder / "account.json"
    file.write_text(json.dumps(gcp.account(own)))
    gcp.account(become)
    gcp.impersonable[become] = frozenset({own})
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
