"""Azure in memory, over HTTPS on loopback: Key Vault's data plane by the states of azure.md 2, Entra, Blob and ARM.

It exists because no emulator enforces firewall, roles with their delay, or tenants (azure.md 9). The real SDKs are the
clients: they reach it as their HTTPS proxy, so that hosts, challenges and certificates are those of real names. The
owner of a vault acts on the objects themselves; what the vault then answers follows from its state.
"""

import base64
import contextlib
import json
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

LOGIN = "login.microsoftonline.com"
MANAGEMENT = "management.azure.com"
READ, WRAP, UNWRAP, LIST = "read", "wrap", "unwrap", "list"
ENCRYPTION_USER = frozenset({READ, LIST, WRAP, UNWRAP})
"""What the role Key Vault Crypto Service Encryption User may do (azure.md 1); a policy of `get` cannot list."""
POLICY_OF_A_STORE = frozenset({READ, WRAP, UNWRAP})
OPERATIONS = ("encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey")
TOKEN_LIFE = timedelta(hours=1)

Document = dict[str, Any]
How = str | tuple[int, bytes]
"""What goes wrong on the way: `hang`, `cut`, or an answer of a status with a body."""


class Refusal(Exception):  # noqa: N818  # an answer of Azure, not a failure of the double
    """An error answer."""

    def __init__(self, status: int, code: str, message: str, inner: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        error: Document = {"code": code, "message": message, **({"innererror": {"code": inner}} if inner else {})}
        self.body: Document = {"error": error}
        self.headers: dict[str, str] = {}


@cache
def material(number: int) -> rsa.RSAPrivateKey:
    """One of a few RSA keys, made once: making them is what takes time."""
    del number
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(slots=True)
class Version:
    id: str
    rsa: rsa.RSAPrivateKey
    created: datetime
    enabled: bool = True
    expires: datetime | None = None
    begins: datetime | None = None
    operations: tuple[str, ...] = OPERATIONS
    kty: str = "RSA"


@dataclass(slots=True)
class Key:
    name: str
    versions: dict[str, Version] = field(default_factory=dict)

    @property
    def newest(self) -> Version:
        return list(self.versions.values())[-1]


@dataclass(frozen=True, slots=True)
class Role:
    """What a principal may do, from when until when, as the vault will see it."""

    app: str
    actions: frozenset[str]
    since: datetime
    until: datetime | None = None


@dataclass(slots=True)
class Deleted:
    key: Key
    at: datetime
    purge_at: datetime


@dataclass(slots=True)
class Vault:
    """A vault. `firewall` is the inner code of what it keeps us out with; `bypass` lets trusted services through it.

    `get_refuses_disabled` is what it says to a get of a disabled key; None when it answers with the key: public sources
    tell both (azure.md 7, step 2).
    """

    host: str
    tenant: str
    purge_protection: bool = True
    retention: int = 90
    rbac: bool = True
    keys: dict[str, Key] = field(default_factory=dict)
    deleted: dict[str, Deleted] = field(default_factory=dict)
    roles: list[Role] = field(default_factory=list)
    firewall: str | None = None
    bypass: bool = True
    get_refuses_disabled: str | None = None
    managed: "Managed | None" = None

    @property
    def recovery_level(self) -> str:
        start = "Recoverable" if self.retention == 90 else "CustomizedRecoverable"
        return start if self.purge_protection else f"{start}+Purgeable"


@dataclass(slots=True)
class Managed:
    """A vault as the resource manager knows it: by its id, with what its owner has put on it or above it.

    `settings` come on top of what follows from the vault itself; a setting of None is not told. `readers` are who
    holds the role Reader, at which scope.
    """

    id: str
    location: str = "westeurope"
    settings: Document = field(default_factory=dict)
    locks: list[Document] = field(default_factory=list)
    assignments: list[Document] = field(default_factory=list)
    diagnostics: list[Document] = field(default_factory=list)
    readers: set[tuple[str, str]] = field(default_factory=set)

    def lock(self, name: str, scope: str = "", level: str = "CanNotDelete") -> None:
        place = f"{scope or self.id}/providers/Microsoft.Authorization/locks/{name}"
        self.locks.append({"id": place, "name": name, "properties": {"level": level}})

    def assign(
        self, principal: str, role: str, scope: str = "", *, name: str = "", condition: str | None = None
    ) -> str:
        """Assign a role, and return the id of the assignment."""
        name = name or f"d0000000-1111-4222-8333-{len(self.assignments):012d}"
        place = f"{scope or self.id}/providers/Microsoft.Authorization/roleAssignments/{name}"
        properties = {
            "principalId": principal, "principalType": "ServicePrincipal", "scope": scope or self.id,
            "condition": condition,
            "roleDefinitionId": f"/{self.id.split('/')[1]}/x/providers/Microsoft.Authorization/roleDefinitions/{role}",
        }  # fmt: skip
        self.assignments.append({"id": place, "name": name, "properties": properties})
        return place

    def diagnose(self, name: str, category: str = "AuditEvent", *, enabled: bool = True, **destination: str) -> None:
        place = f"{self.id}/providers/microsoft.insights/diagnosticSettings/{name}"
        logs = [{"category": category, "categoryGroup": None, "enabled": enabled}]
        self.diagnostics.append({"id": place, "name": name, "properties": {"logs": logs, **destination}})


@dataclass(slots=True)
class Store:
    """A blob or a database. `under` is (vault, key): it works while its own platform can use that key."""

    under: tuple[str, str] | None = None
    properties: Document = field(default_factory=dict)
    refusal: tuple[int, str] | None = None


@dataclass(slots=True)
class Trouble:
    """Something that goes wrong on the way to a host; `times` counts down (None: until it is ended)."""

    how: How
    host: str = ""
    path: str = ""
    times: int | None = None
    met: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    host: str
    method: str
    path: str
    status: int
    app: str | None


class Azure:
    """Azure on loopback. Use as a context manager; `now` is its clock, `calls` everything that was asked."""

    def __init__(self, *, role_delay: timedelta = timedelta()) -> None:
        self.now = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
        self.role_delay = role_delay
        self.vaults: dict[str, Vault] = {}
        self.blobs: dict[str, Store] = {}
        self.databases: dict[str, Store] = {}
        self.apps: dict[tuple[str, str], str] = {}  # (tenant, client id) -> "" or the code that Entra refuses with
        self.secrets: dict[str, str] = {}
        self.login_code: str | None = None
        self.troubles: list[Trouble] = []
        self.challenges: dict[str, str] = {}
        self.calls: list[Call] = []
        self.refused_tokens: set[str] = set()
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._folder = tempfile.TemporaryDirectory()

    def __enter__(self) -> Self:
        self.ca, self._tls = certified(Path(self._folder.name))
        self._servers = [_served(self, direct=False), _served(self, direct=True)]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._folder.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead the SDKs here; those of the identity are not among them."""
        return {
            "HTTPS_PROXY": f"http://127.0.0.1:{self.port}", "https_proxy": f"http://127.0.0.1:{self.port}",
            "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost",
            "REQUESTS_CA_BUNDLE": str(self.ca), "CURL_CA_BUNDLE": "",
        }  # fmt: skip

    @property
    def port(self) -> int:
        return int(self._servers[0].server_address[1])

    @property
    def direct(self) -> str:
        """Address at which the same Azure answers without a proxy, under the host names of loopback."""
        return f"https://127.0.0.1:{self._servers[1].server_address[1]}"

    @property
    def tls(self) -> ssl.SSLContext:
        return self._tls

    def waited(self, seconds: float) -> bool:
        return self._over.wait(seconds)

    # ------------------------------------------------------------------------------------------------- what owners do

    def vault(self, host: str, tenant: str, **facts: Any) -> Vault:
        self.vaults[host] = Vault(host, tenant, **facts)
        return self.vaults[host]

    def key(self, vault: Vault, name: str, *versions: str) -> Key:
        key = Key(name)
        for number, version in enumerate(versions):
            key.versions[version] = Version(version, material(number), self.now - timedelta(days=30))
        vault.keys[name] = key
        return key

    def grant(self, vault: Vault, app: str, actions: frozenset[str] = ENCRYPTION_USER) -> None:
        vault.roles.append(Role(app, actions, self.now + self.role_delay))

    def revoke(self, vault: Vault, app: str) -> None:
        ends = self.now + self.role_delay
        vault.roles = [
            Role(one.app, one.actions, one.since, ends) if one.app == app and one.until is None else one
            for one in vault.roles
        ]

    def delete(self, vault: Vault, name: str) -> None:
        vault.deleted[name] = Deleted(vault.keys.pop(name), self.now, self.now + timedelta(days=vault.retention))

    def recover(self, vault: Vault, name: str) -> None:
        vault.keys[name] = vault.deleted.pop(name).key

    def purge(self, vault: Vault, name: str) -> None:
        if vault.purge_protection:
            raise Refusal(409, "Conflict", "Purge protection is on.")
        del vault.deleted[name]

    def trouble(
        self, how: str | tuple[int, bytes], host: str = "", path: str = "", times: int | None = None
    ) -> Trouble:
        """Begin a trouble for the hosts and paths that contain these texts."""
        self.troubles.append(Trouble(how, host, path, times))
        return self.troubles[-1]

    # ------------------------------------------------------------------------------------------------------- answers

    def hurt_by(self, host: str, path: str) -> Trouble | None:
        with self._lock:
            for one in self.troubles:
                if one.host in host and one.path in path and one.times != 0:
                    one.times = None if one.times is None else one.times - 1
                    one.met += 1
                    return one
        return None

    def answer(
        self, host: str, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Answer one request, and keep it in `calls`."""
        app = None
        answered: Mapping[str, str] = {}
        with self._lock:
            self._purge_by_the_clock()
            try:
                app = self._bearer(headers).get("app")
                status, found = self._answered(host, method, urlsplit(target), headers, body)
            except Refusal as refusal:
                status, found, answered = refusal.status, refusal.body, refusal.headers
            self.calls.append(Call(host, method, urlsplit(target).path, status, app))
        content = found if isinstance(found, bytes) else json.dumps(found).encode()
        return status, {"Content-Type": "application/json; charset=utf-8", **answered}, content

    def _answered(
        self, host: str, method: str, url: Any, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Document | bytes]:
        if host == LOGIN or url.path.endswith(("/token", "/openid-configuration", "/discovery/instance")):
            return self._entra(host, method, url.path, body)
        if host == MANAGEMENT:
            return self._arm(url, headers)
        if ".blob." in host:
            return self._blob(f"https://{host}{url.path}", headers)
        vault = self.vaults.get(host)
        if vault is None:
            raise Refusal(404, "VaultNotFound", "no such vault")
        return self._vault(vault, method, url, headers, body)

    # -------------------------------------------------------------------------------------------------------- the vault

    def _vault(
        self, vault: Vault, method: str, url: Any, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Document]:
        app = self._let_in(vault, headers)
        if vault.firewall == "ForbiddenByFirewall":
            said = (
                "Client address is not authorized and caller is not a trusted service.\r\nClient address: 198.51.100.7"
            )
            raise Refusal(403, "Forbidden", said, vault.firewall)
        if vault.firewall:
            raise Refusal(403, "Forbidden", "Public network access is disabled.", vault.firewall)
        parts = [part for part in url.path.split("/") if part]
        match [method, *parts]:
            case ["GET", "deletedkeys", name]:
                self._may(vault, app, "deleted", "read deleted")
                return self._shown_deleted(vault, name)
            case ["GET", "keys", name, "versions"]:
                self._may(vault, app, LIST, "list")
                return 200, self._listed(vault, vault.keys.get(name), url)
            case ["GET", "keys", name, *rest]:
                self._may(vault, app, READ, "get")
                version = self._version(vault, name, rest[0] if rest else None)
                if vault.get_refuses_disabled is not None and not version.enabled:
                    raise Refusal(403, "Forbidden", vault.get_refuses_disabled)
                return 200, self._bundle(vault, name, version)
            case ["POST", "keys", name, asked, "unwrapkey"]:
                self._may(vault, app, UNWRAP, "unwrapKey")
                return 200, self._unwrapped(vault, name, self._version(vault, name, asked), json.loads(body))
        raise Refusal(405, "MethodNotAllowed", f"{method} {url.path}")

    def _let_in(self, vault: Vault, headers: Mapping[str, str]) -> str:
        token = self._bearer(headers)
        if token and token["tid"] == vault.tenant and token["aud"].startswith("https://vault.azure.net"):
            return str(token["app"])
        refusal = Refusal(401, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.")
        authority = f'Bearer authorization="https://{LOGIN}/{vault.tenant}", resource="https://vault.azure.net"'
        refusal.headers = {"WWW-Authenticate": authority}
        raise refusal

    def _may(self, vault: Vault, app: str, action: str, operation: str) -> None:
        held = {
            action
            for role in vault.roles
            if role.app == app and role.since <= self.now and (role.until is None or self.now < role.until)
            for action in role.actions
        }
        if action in held:
            return
        if vault.rbac:
            said = (
                "Caller is not authorized to perform action on resource.\r\nIf role assignments were changed recently"
            )
            raise Refusal(403, "Forbidden", said, "ForbiddenByRbac")
        said = f"The application 'appid={app}' does not have keys {operation} permission on key vault '{vault.host}'."
        raise Refusal(403, "Forbidden", said, "AccessDenied")

    def _version(self, vault: Vault, name: str, version: str | None) -> Version:
        key = vault.keys.get(name)
        found = key and (key.versions.get(version) if version else key.newest)
        if not found:
            said = f"A key with (name/id) {name} was not found in this key vault. If you recently deleted this key ..."
            raise Refusal(404, "KeyNotFound", said)
        return found

    def _unwrapped(self, vault: Vault, name: str, version: Version, asked: Document) -> Document:
        if not version.enabled:
            raise Refusal(403, "Forbidden", "Operation unwrapKey is not allowed on a disabled key.", "KeyDisabled")
        if "unwrapKey" not in version.operations:
            raise Refusal(
                403, "Forbidden", "Operation unwrapKey is not permitted on this key.", "KeyOperationForbidden"
            )
        try:
            value = version.rsa.decrypt(
                unbased(asked["value"]),
                padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None),
            )
        except ValueError:
            raise Refusal(400, "BadParameter", "The parameter is incorrect.") from None
        return {"kid": f"https://{vault.host}/keys/{name}/{version.id}", "value": based(value)}

    def _bundle(self, vault: Vault, name: str, version: Version) -> Document:
        numbers = version.rsa.public_key().public_numbers()
        return {
            "key": {
                "kid": f"https://{vault.host}/keys/{name}/{version.id}",
                "kty": version.kty,
                "key_ops": list(version.operations),
                "n": based(numbers.n.to_bytes(256, "big")),
                "e": based(b"\x01\x00\x01"),
            },
            "attributes": self._attributes(vault, version),
        }

    def _attributes(self, vault: Vault, version: Version) -> Document:
        return {
            "enabled": version.enabled,
            "created": int(version.created.timestamp()),
            "updated": int(self.now.timestamp()),
            "recoveryLevel": vault.recovery_level,
            "recoverableDays": vault.retention,
            **({"exp": int(version.expires.timestamp())} if version.expires else {}),
            **({"nbf": int(version.begins.timestamp())} if version.begins else {}),
        }

    def _listed(self, vault: Vault, key: Key | None, url: Any) -> Document:
        """One version on a page: a client that does not turn it sees less."""
        versions = list(key.versions.values()) if key else []
        skip = int(parse_qs(url.query).get("$skiptoken", ["0"])[0])
        shown = versions[skip : skip + 1]
        more = f"https://{vault.host}{url.path}?api-version=2025-07-01&$skiptoken={skip + 1}"
        return {
            "value": [
                {
                    "kid": f"https://{vault.host}/keys/{key.name if key else ''}/{one.id}",
                    "attributes": self._attributes(vault, one),
                }
                for one in shown
            ],
            "nextLink": more if skip + 1 < len(versions) else None,
        }

    def _shown_deleted(self, vault: Vault, name: str) -> tuple[int, Document]:
        deleted = vault.deleted.get(name)
        if deleted is None:
            raise Refusal(404, "KeyNotFound", f"A deleted key with (name/id) {name} was not found.")
        return 200, {
            **self._bundle(vault, name, deleted.key.newest),
            "recoveryId": f"https://{vault.host}/deletedkeys/{name}",
            "deletedDate": int(deleted.at.timestamp()),
            "scheduledPurgeDate": int(deleted.purge_at.timestamp()),
        }

    def _purge_by_the_clock(self) -> None:
        for vault in self.vaults.values():
            for name in [name for name, one in vault.deleted.items() if one.purge_at <= self.now]:
                del vault.deleted[name]

    # ------------------------------------------------------------------------------------------------------------ Entra

    def _entra(self, host: str, method: str, path: str, body: bytes) -> tuple[int, Document]:
        tenant = path.split("/")[1]
        base = self.direct if host != LOGIN else f"https://{LOGIN}"
        if path.endswith("/discovery/instance"):
            alias = {"preferred_network": LOGIN, "preferred_cache": "login.windows.net", "aliases": [LOGIN]}
            where = f"https://{LOGIN}/{tenant}/v2.0/.well-known/openid-configuration"
            return 200, {"tenant_discovery_endpoint": where, "api-version": "1.1", "metadata": [alias]}
        if not any(tenant == known for known, _ in self.apps):
            return refused_token("invalid_tenant", "AADSTS90002", f"Tenant '{tenant}' not found.")
        if method == "GET":
            return 200, {
                "issuer": f"{base}/{tenant}/v2.0",
                "authorization_endpoint": f"{base}/{tenant}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/{tenant}/oauth2/v2.0/token",
            }
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        app = form.get("client_id", "")
        code = self.login_code or self.apps.get((tenant, app), "AADSTS700016")
        if not code and form.get("client_secret", form.get("client_assertion")) != self.secrets.get(app):
            return refused_token("invalid_client", "AADSTS7000215", "Invalid client secret provided.")
        if code:
            return refused_token(_ERRORS.get(code, "unauthorized_client"), code, f"Application '{app}' is refused.")
        audience = form["scope"].removesuffix("/.default")
        token = {"tid": tenant, "app": app, "aud": audience, "at": self.now.timestamp(), "n": len(self.calls)}
        issued = f"token.{based(json.dumps(token).encode())}"
        return 200, {"token_type": "Bearer", "expires_in": int(TOKEN_LIFE.total_seconds()), "access_token": issued}

    def _bearer(self, headers: Mapping[str, str]) -> Document:
        """Return what stands in the token of a request; nothing when there is none, or none that counts."""
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind != "Bearer" or not token.startswith("token.") or token in self.refused_tokens:
            return {}
        found: Document = json.loads(unbased(token.removeprefix("token.")))
        lives = self.now.timestamp() - found["at"] < TOKEN_LIFE.total_seconds()
        return found if lives else {}

    def refuse_issued(self) -> None:
        """Stop to accept every token that was handed out so far."""
        self.refused_tokens = _All(len(self.calls))

    def managed_identity(self, target: str) -> Document:
        """What the machine's own endpoint gives: the assertion that applications trust."""
        resource = parse_qs(urlsplit(target).query).get("resource", [""])[0]
        self.calls.append(Call("machine", "GET", resource, 200, None))
        expires = int(datetime.now(UTC).timestamp()) + 3600  # the SDK compares it with the real time
        return {
            "access_token": "machine-token",
            "expires_on": str(expires),
            "resource": resource,
            "token_type": "Bearer",
        }

    # ------------------------------------------------------------------------------------------------------- the stores

    def _blob(self, url: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        self._for(headers, "https://storage.azure.com")
        store = self.blobs.get(url)
        if store is None:
            raise _storage(404, "BlobNotFound")
        if store.refusal:
            raise _storage(*store.refusal)
        cut = self._cut_off(store)
        if cut:
            raise _storage(403, cut)
        return (206, b"x") if headers.get("range") == "bytes=0-0" else (200, b"x" * 1_000_000)

    def _arm(self, url: Any, headers: Mapping[str, str]) -> tuple[int, Document]:
        self._for(headers, "https://management.azure.com")
        path = url.path
        for vault in self.vaults.values():
            if vault.managed and (found := self._managed(vault, vault.managed, url, headers)) is not None:
                return 200, found
        store = self.databases.get(path)
        if store is None:
            raise Refusal(404, "ResourceNotFound", "The Resource was not found.")
        if store.refusal:
            raise Refusal(store.refusal[0], store.refusal[1], "refused")
        cut = self._cut_off(store)
        return 200, {"id": path, "properties": {**store.properties, **({"state": "Inaccessible"} if cut else {})}}

    def _managed(self, vault: Vault, managed: Managed, url: Any, headers: Mapping[str, str]) -> Document | None:
        """Answer about a vault, its group or its subscription, to who may read there; None for something else."""
        asked, around, kind = url.path.partition("/providers/Microsoft.Authorization/")
        asked, insights, _ = (asked, "", "") if around else url.path.partition("/providers/Microsoft.Insights/")
        scope = asked.removesuffix(f"/keys/{asked.rpartition('/')[2]}").lower()
        if scope != managed.id.lower() and not (around and managed.id.lower().startswith(f"{scope}/")):
            return None
        token = self._bearer(headers)
        reads = {place for app, place in managed.readers if app == token["app"]}
        if token["tid"] != vault.tenant:
            raise Refusal(401, "InvalidAuthenticationTokenTenant", "The token is of another tenant.")
        if not any(scope == place.lower() or scope.startswith(f"{place.lower()}/") for place in reads):
            raise Refusal(403, "AuthorizationFailed", f"The client does not have authorization over scope '{asked}'.")
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if insights:
            return {"value": managed.diagnostics}
        if kind == "locks":
            return {"value": [one for one in managed.locks if one["id"].lower().startswith(scope)]}
        if around and query.get("$filter") == "atScope()":
            return self._paged(url, managed.assignments, query)
        return None if around else self._described(vault, managed)

    def _paged(self, url: Any, found: list[Document], query: Mapping[str, str]) -> Document:
        """One on a page: a client that does not turn it sees less."""
        at = int(query.get("$skiptoken", "0"))
        more = f"https://{MANAGEMENT}{url.path}?api-version=x&$filter=atScope()&$skiptoken={at + 1}"
        return {"value": found[at : at + 1], "nextLink": more if at + 1 < len(found) else None}

    def _described(self, vault: Vault, managed: Managed) -> Document:
        """Return a vault's settings; what is off by default is left out, as the resource manager does."""
        properties = {
            "tenantId": vault.tenant,
            "enableSoftDelete": True,
            "softDeleteRetentionInDays": vault.retention,
            "enableRbacAuthorization": vault.rbac,
            "enablePurgeProtection": vault.purge_protection or None,
            "accessPolicies": [],
            "publicNetworkAccess": "Enabled",
            **managed.settings,
        }
        told = {name: value for name, value in properties.items() if value is not None}
        return {"id": managed.id, "location": managed.location, "properties": told}

    def _for(self, headers: Mapping[str, str], audience: str) -> None:
        if self._bearer(headers).get("aud") != audience:
            raise Refusal(401, "InvalidAuthenticationToken", "the token is for somebody else")

    def _cut_off(self, store: Store) -> str | None:
        """Why the store's platform cannot use its key. It passes the firewall where it is trusted (azure.md 0.9)."""
        if store.under is None:
            return None
        vault = self.vaults.get(store.under[0])
        if vault is None or (vault.firewall and not vault.bypass):
            return "KeyVaultVaultNotFound"
        key = vault.keys.get(store.under[1])
        if key is None or not key.newest.enabled:
            return "KeyVaultEncryptionKeyNotFound"
        held = any(role.since <= self.now and (role.until is None or self.now < role.until) for role in vault.roles)
        return None if held else "KeyVaultAccessTokenCannotBeAcquired"


class _All(set[str]):
    """Holds every token that was made before so many calls."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self._calls = calls

    def __contains__(self, token: object) -> bool:
        found = json.loads(unbased(str(token).removeprefix("token.")))
        return bool(found["n"] < self._calls)


_ERRORS = {"AADSTS7000222": "invalid_client", "AADSTS53003": "access_denied", "AADSTS700213": "invalid_client"}


def _storage(status: int, code: str) -> Refusal:
    refusal = Refusal(status, code, code)
    refusal.headers = {"x-ms-error-code": code}
    return refusal


def refused_token(error: str, code: str, message: str) -> tuple[int, Document]:
    """A refusal of Entra: 401 where the client is not who it says, 400 otherwise."""
    status = 401 if error == "invalid_client" else 400
    number = int(code.removeprefix("AADSTS"))
    return status, {"error": error, "error_description": f"{code}: {message} Trace ID: 0", "error_codes": [number]}


def based(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def unbased(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))


# ---------------------------------------------------------------------------------------------------------- the server


def certified(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Make an authority of our own and a certificate of Azure's names; return its file and the server's side."""
    names = ["*.vault.azure.net", "*.managedhsm.azure.net", LOGIN, MANAGEMENT, "*.blob.core.windows.net", "localhost"]
    authority, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    begin, end = datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(days=2)

    def made(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(end)
        return builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False
        )

    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    root = (
        made("test authority", authority)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority.public_key()), critical=False)
        .sign(authority, hashes.SHA256())
    )
    alternative = [*(x509.DNSName(name) for name in names), x509.IPAddress(ip_address("127.0.0.1"))]
    server = (
        made("azure", leaf)
        .add_extension(x509.SubjectAlternativeName(alternative), critical=False)
        .sign(authority, hashes.SHA256())
    )
    ca, chain = folder / "ca.pem", folder / "server.pem"
    pem = serialization.Encoding.PEM
    ca.write_bytes(root.public_bytes(pem))
    private = leaf.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain.write_bytes(private + server.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return ca, context


def _served(azure: Azure, *, direct: bool) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        host = ""

        def do_CONNECT(self) -> None:
            """Be the proxy: the host that is asked for is played from here on, under its own certificate."""
            self.host = self.path.partition(":")[0]
            self.send_response(200, "Connection established")
            self.end_headers()
            self._secure()
            self.close_connection = False

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if not direct and not self.host:  # plain, to this machine itself: the managed identity's endpoint
                self._give(200, {}, json.dumps(azure.managed_identity(self.path)).encode())
                return
            host = self.host or self.headers.get("host", "")
            trouble = azure.hurt_by(host, self.path)
            if trouble is not None:
                self._suffer(trouble.how)
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._give(*azure.answer(host, self.command, self.path, headers, body))

        def do_POST(self) -> None:
            self.do_GET()

        def _secure(self) -> None:
            self.connection = azure.tls.wrap_socket(self.connection, server_side=True)
            self.rfile = self.connection.makefile("rb", -1)
            self.wfile = self.connection.makefile("wb", 0)

        def setup(self) -> None:
            super().setup()
            if direct:
                self._secure()

        def _suffer(self, how: How) -> None:
            if isinstance(how, tuple):
                headers = {"Content-Type": "application/json", "Retry-After": "10"}
                challenge = azure.challenges.get(self.host)
                self._give(how[0], {**headers, **({"WWW-Authenticate": challenge} if challenge else {})}, how[1])
                return
            self.close_connection = True
            if how == "hang":
                azure.waited(30)
                return
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

        def _give(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def finish(self) -> None:
            with contextlib.suppress(OSError, ValueError):  # the client may have hung up
                super().finish()
            with contextlib.suppress(OSError):
                self.connection.close()

        def log_message(self, format: str, *_args: Any) -> None:  # noqa: A002 - the name is the base class's
            """Say nothing: a test's output is for its own words."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, _request: Any, _client_address: Any) -> None:
            """Say nothing: clients that break off are part of the tests."""

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server
