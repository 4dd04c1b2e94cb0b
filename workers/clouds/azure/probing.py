"""The prober of Azure keys: each version in use read and unwrapped remotely, by azure-keyvault-keys and azure-identity.

Wrapping proves nothing: the SDK does it on this machine, with a disabled or revoked key too (azure.md 0.10).
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError, ServiceResponseError
from azure.core.rest import HttpRequest, HttpResponse
from azure.keyvault.keys import DeletedKey, JsonWebKey, KeyProperties, KeyVaultKey
from azure.keyvault.keys.crypto import CryptographyClient, KeyWrapAlgorithm

from alerts.wire import is_loopback
from watchdog.clouds.azure.failures import of_answer
from watchdog.clouds.azure.fields import mapping, pick, text
from watchdog.clouds.azure.ids import canonical, place
from watchdog.clouds.azure.index import Index, index_of
from watchdog.clouds.azure.probe import DELETED, LOST, OTHERS, PERMITTED, RECOVERY_LEVEL, UNRESOLVED, Lost
from watchdog.probing import Answer, Finding, Question
from watchdog.register import Register, RegisteredKey
from watchdog.register_probe import ConsumerProbe
from watchdog.words import Cause
from workers.clouds.azure.clients import RESOURCE, Desk, Vault, body_of
from workers.clouds.azure.identities import Clock, Limits, NoCaller, Said, silent
from workers.probes.interface import Canary

WORDS = 300  # the most that is kept of what Azure said
MOST_BYTES = 256 * 1024  # of an answer about a database
ALGORITHM = KeyWrapAlgorithm.rsa_oaep_256

_KEY = re.compile(r"(https://[^/?#@\\]+)/keys/([A-Za-z0-9-]+)(?:/([0-9A-Fa-f]{32}))?/?")
_BLOB = re.compile(r"https://[^/?#@\\]+/[^?#\\]+")
_STORAGE = (".blob.core.windows.net", ".blob.core.usgovcloudapi.net", ".blob.core.chinacloudapi.cn")
_STORAGE_SCOPE = "https://storage.azure.com/.default"
# What the SDK raises for an answer that it cannot read, or a challenge that is not the vault's, is no error of its own.
ERRORS = (AzureError, ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError)

_CAUSES = {
    Cause.THROTTLED: Answer.THROTTLED,
    Cause.TRANSIENT: Answer.SERVER_FAULT,
    Cause.UNAVAILABLE: Answer.UNAVAILABLE,
    Cause.NOT_FOUND: Answer.NOT_FOUND,
    Cause.DISABLED: Answer.DISABLED,
    Cause.EXPIRED: Answer.EXPIRED,
    Cause.PATH_BLOCKED: Answer.PATH_BLOCKED,
    Cause.ACCESS_DENIED: Answer.DENIED,
}
_KEY_FAULTS = frozenset(
    {"KeyVaultEncryptionKeyNotFound", "KeyVaultAccessTokenCannotBeAcquired", "KeyVaultVaultNotFound"}
)
"""With these codes Blob storage says that it cannot use the key (azure.md 4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """How one kind of database is asked: the API version, the names of its state, and those that are well."""

    version: str
    states: tuple[str, ...] = ("state",)
    well: frozenset[str] = frozenset({"ready", "updating"})


DATABASES: Mapping[str, Database] = {
    "microsoft.dbformysql/flexibleservers": Database(version="2023-12-30"),
    "microsoft.dbforpostgresql/flexibleservers": Database(version="2024-08-01"),
    "microsoft.sql/servers/databases": Database(
        version="2021-11-01", states=("status",), well=frozenset({"online", "scaling"})
    ),
}
"""By resource type. `Inaccessible` is what all of them say of a lost key (azure.md 5)."""


def prober() -> "AzureProber":
    """Return the prober of Azure keys. Identity and authority are read from the standard AZURE_... variables."""
    return AzureProber()


class AzureProber:
    """Asks Key Vault and managed HSM about keys. Safe between threads; clients are kept by application and vault.

    The SDKs' retries are off: a probe that gets no answer says so, and the schedule asks again.
    """

    cloud = "azure"

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        environment: Mapping[str, str] = os.environ,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = Clock(limits or Limits(), monotonic)
        self._now = now
        self._desk = Desk(self._clock, environment, monotonic)

    def ask(
        self, key: RegisteredKey, register: Register, questions: Sequence[Question], canaries: Sequence[Canary]
    ) -> Sequence[Finding]:
        """Put the questions to the key, about 20 seconds at most in whole; at least one finding for each."""
        self._clock.start()
        visit = _Visit(key, index_of(register), self._desk, self._now, canaries)
        ways: dict[Question, Callable[[], list[Finding]]] = {
            Question.STATE: visit.state,
            Question.USE: visit.use,
            Question.CONTROL: visit.control,
            Question.CANARY: visit.canary,
            Question.GRANTS: visit.grants,
            Question.CONSUMER: visit.consumers,
        }
        return [finding for question, way in ways.items() if question in questions for finding in way()]

    def make_canaries(self, key: RegisteredKey, register: Register) -> tuple[Sequence[Canary], Sequence[Finding]]:
        """Wrap a random value under each version in use, here, and keep what the vault then unwraps."""
        self._clock.start()
        return _Visit(key, index_of(register), self._desk, self._now, ()).make_canaries()

    def close(self) -> None:
        """Let go of connections."""
        self._desk.close()


# ---------------------------------------------------------------------------------------------------------- one visit


class _Visit:
    """One key asked once, in one thread."""

    def __init__(
        self, key: RegisteredKey, index: Index, desk: Desk, now: Callable[[], datetime], canaries: Iterable[Canary]
    ) -> None:
        self._key = key
        self._index = index
        self._desk = desk
        self._now = now
        watched = index.by_id.get(key.id)
        self._versions = list(watched.versions) if watched else []
        self._follows = bool(key.entry.azure and key.entry.azure.follows_latest)
        self._probe = key.entry.probe
        self._target = self._targeted(key.id)
        self._canaries = {one.version.lower(): one for one in sorted(canaries, key=_made_at) if one.key == key.id}
        self._unwrapped: dict[str, Said] = {}

    # ------------------------------------------------------------------------------------------------------- questions

    def state(self) -> list[Finding]:
        found = []
        for version in self._in_use():
            read = self._read(version)
            found.append(
                self._finding(
                    Question.STATE, read.said, version=version, deadline=read.deadline, deadline_source=read.source
                )
            )
        return [*found, *self._replaced()]

    def _replaced(self) -> list[Finding]:
        """Tell of a version that once was the newest, and that the key does not have any more.

        A key loses no version but with all the others: it was purged, and what bears its name now is another key, which
        is enabled and opens nothing (azure.md 3.2, row 11b). Registered versions show that by themselves.
        """
        if self._versions:
            return []
        return [
            self._finding(
                Question.STATE, replace(read.said, detail={**read.said.detail, OTHERS: "yes"}), version=version
            )
            for version in self._canaries.keys() - set(self._in_use())
            if self._described(self._target, None).key is not None
            for read in [self._described(self._target, version)]
            if read.said.answer is Answer.NOT_FOUND
        ]

    def use(self) -> list[Finding]:
        return [
            self._finding(Question.USE, self._used(version), version=version, subject="unwrap")
            for version in self._in_use()
        ]

    def canary(self) -> list[Finding]:
        found = [
            self._finding(Question.CANARY, self._unwrapped_by(canary), version=version, subject="canary")
            for version, canary in self._canaries.items()
            if version in self._in_use()
        ]
        return found or [self._not_asked(Question.CANARY, "no canary is stored for a version in use")]

    def control(self) -> list[Finding]:
        control = self._probe.control if self._probe else None
        if control is None:
            return [self._not_asked(Question.CONTROL, "no control key is declared")]
        target = self._targeted(control)
        read = self._described(target, target.version)
        # Whoever is told the dates of a key has been let in, and an old key still unwraps.
        in_time = read.said.answer in {Answer.EXPIRED, Answer.NOT_YET_VALID}
        said = replace(read.said, answer=Answer.OK) if in_time else read.said
        findings = [self._finding(Question.CONTROL, said, subject="get")]
        if said.answer is Answer.OK and read.key is not None:
            used = self._fresh(target, read.key)
            findings.append(self._finding(Question.CONTROL, used, subject="unwrap"))
        return findings

    def grants(self) -> list[Finding]:
        return [self._not_asked(Question.GRANTS, "Key Vault tells nobody but its owner who holds what")]

    def consumers(self) -> list[Finding]:
        ways = {"blob": self._blob, "azure_database_state": self._database}
        declared = self._probe.consumers if self._probe else []
        found = [
            self._finding(
                Question.CONSUMER,
                ways[one.kind](one) if one.kind in ways else Said(answer=Answer.NOT_UNDERSTOOD, words=_OTHER_CLOUD),
                subject=one.consumer,
            )
            for one in declared
        ]
        return found or [self._not_asked(Question.CONSUMER, "no store is declared to be asked")]

    def make_canaries(self) -> tuple[list[Canary], list[Finding]]:
        canaries: list[Canary] = []
        findings: list[Finding] = []
        for version in self._in_use():
            made, said = self._made(version)
            canaries += [made] if made else []
            findings.append(self._finding(Question.CANARY, said, version=version, subject="canary"))
        return canaries, findings

    # ----------------------------------------------------------------------------------------------------- the versions

    def _in_use(self) -> list[str | None]:
        """Return the versions that are asked: those of the register, and the newest where stores follow it.

        A key without registered versions is asked for its newest one. None stands for one that is not known.
        """
        wanted: list[str | None] = [*self._versions]
        if self._follows or not wanted:
            newest = self._described(self._target, None)
            version = newest.key.properties.version if newest.key else None
            if version and version.lower() not in wanted:
                wanted.append(version.lower())
        return wanted or [None]

    def _read(self, version: str | None) -> "_Read":
        """Read a version; look around it when it is not found, or when reading it is refused."""
        read = self._described(self._target, version)
        if read.said.answer is Answer.NOT_FOUND:
            return self._missing(read, version)
        if read.said.answer in _UNREAD and version:
            # Public sources disagree whether a disabled key can be got; it can be listed (azure.md 7, step 2).
            listed = self._listed()
            return listed.get(version, read) if listed else read
        return read

    def _missing(self, read: "_Read", version: str | None) -> "_Read":
        listed = self._listed()
        if version and listed and version not in listed:
            return replace(read, said=replace(read.said, detail={**read.said.detail, OTHERS: "yes"}))
        deleted = self._target.deleted or self._deleted()
        self._target.deleted = deleted
        if deleted.said.answer is Answer.PENDING_DELETION:
            return deleted
        known = {Answer.NOT_FOUND: "no"}.get(deleted.said.answer, "unknown")
        return replace(read, said=replace(read.said, detail={**read.said.detail, DELETED: known}))

    def _described(self, target: "_Target", version: str | None) -> "_Read":
        if version not in target.read:
            got: list[_Read] = []

            def reading(vault: Vault) -> None:
                got.append(_attributes(vault.client.get_key(target.name, version or ""), version, self._now()))

            said = self._call(target, "get key", reading)
            target.read[version] = got[0] if got else _Read(said=said)
        return target.read[version]

    def _listed(self) -> Mapping[str, "_Read"]:
        """Return what the list of versions tells of each; nothing where it is refused."""
        target = self._target
        if target.listed is None:
            found: dict[str, _Read] = {}

            def listing(vault: Vault) -> None:
                for one in vault.client.list_properties_of_key_versions(target.name):
                    if one.version:
                        found[one.version.lower()] = _stated(one, self._now())

            said = self._call(target, "list versions", listing)
            target.listed = found if said.answer is Answer.OK else {}
        return target.listed

    def _deleted(self) -> "_Read":
        target = self._target
        got: list[_Read] = []
        said = self._call(
            target, "get deleted key", lambda vault: got.append(_buried(vault.client.get_deleted_key(target.name)))
        )
        return got[0] if got else _Read(said=said)

    # ---------------------------------------------------------------------------------------------------- their use

    def _used(self, version: str | None) -> Said:
        """Unwrap under a version: its canary, else a value wrapped here a moment ago.

        Where the key cannot be read, what is no ciphertext is sent: to be refused for it takes the right to unwrap.
        """
        canary = self._canaries.get(version or "")
        if canary is not None:
            return self._unwrapped_by(canary)
        read = self._described(self._target, version)
        if read.key is not None:
            return self._fresh(self._target, read.key)
        if read.said.answer not in _UNREAD or version is None:
            return replace(read.said, detail={})
        said = self._unwrap(self._target, version, os.urandom(256), ALGORITHM)
        if said.answer is Answer.NOT_UNDERSTOOD:
            words = "unwrapping is permitted, but there is neither a canary nor a key to make one with"
            return Said(answer=Answer.NOT_UNDERSTOOD, words=words)
        return said

    def _unwrapped_by(self, canary: Canary) -> Said:
        version = canary.version.lower()
        if version not in self._unwrapped:
            try:
                algorithm = KeyWrapAlgorithm(canary.algorithm)
            except ValueError:
                words = f"a canary of the algorithm {canary.algorithm[:40]}"
                return Said(answer=Answer.NOT_UNDERSTOOD, words=words)
            self._unwrapped[version] = self._unwrap(self._target, version, canary.ciphertext, algorithm)
        return self._unwrapped[version]

    def _fresh(self, target: "_Target", key: KeyVaultKey) -> Said:
        wrapped = _wrapped(key)
        if isinstance(wrapped, Said):
            return wrapped
        return self._unwrap(target, (key.properties.version or "").lower(), wrapped, ALGORITHM)

    def _unwrap(self, target: "_Target", version: str, wrapped: bytes, algorithm: KeyWrapAlgorithm) -> Said:
        got: list[bytes] = []
        said = self._call(
            target,
            "unwrap",
            lambda vault: got.append(vault.crypto(target.name, version).unwrap_key(algorithm, wrapped).key),
        )
        if got and not _is_ours(got[0]):
            return Said(answer=Answer.NOT_UNDERSTOOD, words="unwrap: the answer is not what was wrapped")
        return said

    def _made(self, version: str | None) -> tuple[Canary | None, Said]:
        read = self._read(version)
        if read.key is None:
            return None, read.said
        wrapped = _wrapped(read.key)
        if isinstance(wrapped, Said):
            return None, wrapped
        named = (read.key.properties.version or "").lower()
        said = self._unwrap(self._target, named, wrapped, ALGORITHM)
        if said.answer is not Answer.OK:
            return None, said
        canary = Canary(
            key=self._key.id, version=named, ciphertext=wrapped, algorithm=ALGORITHM.value, made_at=self._now()
        )
        return canary, said

    # ----------------------------------------------------------------------------------------------------------- stores

    def _blob(self, probe: ConsumerProbe) -> Said:
        host = urlsplit(probe.target).hostname or ""
        if not _BLOB.fullmatch(probe.target) or not (host.endswith(_STORAGE) or is_loopback(host)):
            return Said(answer=Answer.NOT_UNDERSTOOD, words="the target is not the address of a blob")
        headers = {"x-ms-version": "2021-12-02", "Range": "bytes=0-0"}
        request = HttpRequest("GET", probe.target, headers=headers)
        return self._store(_STORAGE_SCOPE, request, "read blob", _blob_read)

    def _database(self, probe: ConsumerProbe) -> Said:
        resource = canonical(probe.target) or ""
        kind = _kind_of(resource)
        if kind not in DATABASES or not RESOURCE.fullmatch(probe.target):
            return Said(answer=Answer.NOT_UNDERSTOOD, words="the target is not the id of a database that can be asked")
        database, management = DATABASES[kind], self._desk.management
        request = HttpRequest(
            "GET",
            f"{management}{probe.target}",
            params={"api-version": database.version},
            headers={"Accept": "application/json"},
        )
        return self._store(
            f"{management}/.default", request, "get database", lambda body: _database_read(body, database, self._key.id)
        )

    def _store(self, scope: str, request: HttpRequest, what: str, read: Callable[[bytes], Said]) -> Said:
        """Ask a store of the vendor's, in the vendor's own tenant: whatever is refused there is not the key's owner."""
        vendor = self._index.vendor
        if vendor is None:
            return Said(answer=Answer.NOT_UNDERSTOOD, words="the vendor's own tenant is not registered")
        try:
            with self._desk.web(vendor.tenant, self._application(), scope) as client:
                response = client.send_request(request, stream=True)
                body = body_of(response, MOST_BYTES)
        except NoCaller as none:
            refused = none.said.answer is Answer.IDENTITY_REFUSED
            return replace(none.said, answer=Answer.CREDENTIALS) if refused else none.said
        except ERRORS as error:
            return said_of(error, what)
        if response.status_code >= 300:
            return _store_refusal(response, body, what)
        return read(body)

    # ------------------------------------------------------------------------------------------------------------ calls

    def _call(self, target: "_Target", what: str, call: Callable[[Vault], object]) -> Said:
        """Ask the vault; nothing more once it is clear that it answers nothing. A refused token is made anew once."""
        if target.silent is not None:
            return Said(answer=target.silent.answer, words=target.silent.words, detail=target.silent.detail)
        said = self._tried(target, what, call)
        if said.detail.get(LOST) == Lost.TENANT and said.answer is Answer.IDENTITY_REFUSED:
            self._desk.forget(target.tenant, target.app)
            said = self._tried(target, what, call)
        if said.answer in _FINAL:
            target.silent = said
        return said

    def _tried(self, target: "_Target", what: str, call: Callable[[Vault], object]) -> Said:
        if target.fault:
            return Said(answer=Answer.NOT_UNDERSTOOD, words=target.fault)
        try:
            with self._desk.vault(target.tenant, target.app, target.vault) as vault:
                call(vault)
        except NoCaller as none:
            self._desk.forget(target.tenant, target.app)
            return none.said
        except ERRORS as error:
            return said_of(error, what)
        return Said(answer=Answer.OK)

    def _targeted(self, url: str) -> "_Target":
        found, where = _KEY.fullmatch(url), place(url)
        if found is None or where is None:
            return _Target(fault="it is not the https:// id of an Azure key")
        container = self._index.by_host.get(where.host)
        own = self._index.vendor.tenant if self._index.vendor and url != self._key.id else None
        customer = self._key.customer.azure
        tenant = container.tenant if container else own or (customer.tenant.lower() if customer else "")
        app = self._application()
        fault = "" if tenant else "the tenant of its vault is not registered"
        if app is None and tenant != (self._index.vendor.tenant if self._index.vendor else None):
            # A managed identity by itself has tokens of its own tenant only: it would look like the customer's refusal.
            fault = fault or "no application is registered that could ask in the tenant of its vault"
        version = found[3].lower() if found[3] else None
        return _Target(vault=found[1], name=found[2], version=version, tenant=tenant, app=app, fault=fault)

    def _application(self) -> str | None:
        """Return the client id that everything is asked as: the probe's own, the registered one, or the process'."""
        if self._probe and self._probe.principal:
            return self._probe.principal
        watched = self._index.by_id.get(self._key.id)
        return (watched.container.estate.app if watched else None) or self._desk.application

    # --------------------------------------------------------------------------------------------------------- findings

    def _finding(
        self, question: Question, said: Said, *, version: str | None = None, subject: str | None = None,
        deadline: datetime | None = None, deadline_source: str | None = None,
    ) -> Finding:  # fmt: skip
        return Finding(
            question=question, answer=said.answer, at=self._now(), words=said.words, version=version, subject=subject,
            deadline=deadline, deadline_source=deadline_source, detail=said.detail,
        )  # fmt: skip

    def _not_asked(self, question: Question, words: str) -> Finding:
        return self._finding(question, Said(answer=Answer.NOT_ASKED, words=words))


_UNREAD = frozenset({Answer.DENIED, Answer.NOT_UNDERSTOOD})
_FINAL = frozenset(
    {
        Answer.UNREACHABLE,
        Answer.THROTTLED,
        Answer.CREDENTIALS,
        Answer.IDENTITY_REFUSED,
        Answer.PATH_BLOCKED,
    }
)
_OTHER_CLOUD = "a store of this kind is not asked on Azure"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What is known of one version: the answer, the key as it was got, and a date in it."""

    said: Said
    key: KeyVaultKey | None = None
    deadline: datetime | None = None
    source: str | None = None


@dataclass(slots=True, kw_only=True)
class _Target:
    """A key to be asked, in its vault, with what this visit has heard; `fault` says why it cannot be."""

    vault: str = ""
    name: str = ""
    version: str | None = None
    tenant: str = ""
    app: str | None = None
    fault: str = ""
    read: dict[str | None, _Read] = field(default_factory=dict)
    listed: Mapping[str, _Read] | None = None
    deleted: _Read | None = None
    silent: Said | None = None


def _made_at(canary: Canary) -> datetime:
    return canary.made_at


# ------------------------------------------------------------------------------------------------------- reading a key


def _attributes(key: KeyVaultKey, asked: str | None, now: datetime) -> _Read:
    found = (key.properties.version or "").lower()
    if asked and found != asked:
        words = f"get key: the answer is about version {found[:40]}"
        return _Read(said=Said(answer=Answer.NOT_UNDERSTOOD, words=words))
    read = _stated(key.properties, now)
    permitted = " ".join(str(getattr(one, "value", one)) for one in key.key_operations or ())
    kind = str(getattr(key.key_type, "value", key.key_type) or "")
    detail = {**read.said.detail, "key_type": kind, **({PERMITTED: permitted} if permitted else {})}
    return replace(read, said=replace(read.said, detail=detail), key=key)


def _stated(properties: KeyProperties, now: datetime) -> _Read:
    """Judge the attributes of a version: a disabled one can do nothing, an expired one still unwraps (azure.md 2)."""
    ends, begins = properties.expires_on, properties.not_before
    detail = _posture(properties)
    answer, words = Answer.OK, "enabled"
    if properties.enabled is None:
        answer, words = Answer.NOT_UNDERSTOOD, "the answer does not say whether it is enabled"
    elif not properties.enabled:
        answer, words = Answer.DISABLED, f"enabled: false, changed on {_day(properties.updated_on)}"
    elif ends and ends <= now:
        answer, words = Answer.EXPIRED, f"expired on {_day(ends)}"
    elif begins and begins > now:
        answer, words = Answer.NOT_YET_VALID, f"not valid before {_day(begins)}"
    source = "exp of the key version" if ends else None
    return _Read(said=Said(answer=answer, words=words, detail=detail), deadline=ends, source=source)


def _buried(key: DeletedKey) -> _Read:
    until = key.scheduled_purge_date
    words = f"deleted on {_day(key.deleted_date)}, to be purged on {_day(until)}"
    said = Said(answer=Answer.PENDING_DELETION, words=words, detail=_posture(key.properties))
    return _Read(said=said, deadline=until, source="scheduledPurgeDate of the deleted key" if until else None)


def _posture(properties: KeyProperties) -> dict[str, str]:
    """Return what pre-flight looks at, by name."""
    told = {
        RECOVERY_LEVEL: properties.recovery_level,
        "recoverable_days": properties.recoverable_days,
        "created_at": properties.created_on.isoformat() if properties.created_on else None,
        "updated_at": properties.updated_on.isoformat() if properties.updated_on else None,
    }
    return {name: str(getattr(value, "value", value)) for name, value in told.items() if value is not None}


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "a day that is not told"


def _wrapped(key: KeyVaultKey) -> bytes | Said:
    """Wrap a random value with the public part of a key. It tells what it is: half of it is a hash of the other.

    The operations that the key permits are left out: by them the SDK would refuse, here, to wrap with one that may only
    unwrap, and what the vault itself says of such a key would never be heard.
    """
    try:
        public = JsonWebKey(**{**vars(key.key), "key_ops": ["wrapKey"]})
        local = CryptographyClient.from_jwk(public)
        return local.wrap_key(ALGORITHM, _value(os.urandom(16))).encrypted_key
    except (AzureError, ValueError, TypeError, AttributeError, NotImplementedError, OverflowError) as error:
        kind = str(getattr(key.key_type, "value", key.key_type))[:20]
        words = f"nothing can be wrapped with the public part of a key of type {kind} ({type(error).__name__})"
        return Said(answer=Answer.NOT_UNDERSTOOD, words=words)


def _value(half: bytes) -> bytes:
    return half + hashlib.sha256(b"byok-watchdog canary" + half).digest()[:16]


def _is_ours(value: bytes) -> bool:
    return len(value) == 32 and _value(value[:16]) == value


# ------------------------------------------------------------------------------------------------------------- answers


def said_of(error: Exception, what: str) -> Said:
    """Put an error of the SDKs into closed words (azure.md 4), with no more of its text than the answer's message."""
    if isinstance(error, ServiceRequestError | ServiceResponseError):
        said = silent(error, what)
        lost = {UNRESOLVED: "yes"} if _NO_NAME in said.words else {}
        return replace(said, detail=lost)
    status = getattr(error, "status_code", None)
    if not isinstance(error, HttpResponseError) or error.response is None or status is None or status < 300:
        return Said(answer=Answer.NOT_UNDERSTOOD, words=f"{what}: the answer cannot be read ({type(error).__name__})")
    said = _refusal(status, _json(error.response.text().encode()), what)
    trusted = _TRUSTED.search(getattr(error.response, "headers", {}).get("WWW-Authenticate", ""))
    return replace(said, words=f"{said.words}; the vault trusts tenant {trusted[1]}") if trusted else said


_TRUSTED = re.compile(r'authorization="https://[^/"]+/([0-9A-Fa-f-]{36})"')
_NO_NAME = "its name cannot be resolved"  # the words of `faults` for it


def _refusal(status: int, body: object, what: str) -> Said:
    told = mapping(pick(mapping(body), "error"))
    inner = text(pick(mapping(pick(told, "innererror")), "code")) or ""
    code = inner or text(pick(told, "code")) or ""
    message = " ".join((text(pick(told, "message")) or "").split())
    words = f"{what}: {' '.join(part for part in (str(status), code, message) if part)}"[:WORDS]
    if status == 401:  # with a token that was made a moment ago: the vault trusts another tenant
        return Said(answer=Answer.IDENTITY_REFUSED, words=words, detail={LOST: Lost.TENANT})
    if status == 408:
        return Said(answer=Answer.SERVER_FAULT, words=words)
    if inner == "KeyOperationForbidden":
        return Said(answer=Answer.DENIED, words=words, detail={LOST: Lost.OPERATION})
    return Said(answer=_CAUSES.get(of_answer(status, body).cause, Answer.NOT_UNDERSTOOD), words=words)


def _json(body: bytes) -> object:
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found


def _store_refusal(response: HttpResponse, body: bytes, what: str) -> Said:
    """Read what a store refuses with. Only its own words for a lost key count: we may have no right to look."""
    status = response.status_code
    told = mapping(pick(mapping(_json(body)), "error"))
    code = response.headers.get("x-ms-error-code") or text(pick(told, "code")) or ""
    words = f"{what}: {status} {code}".strip()[:WORDS]
    if code in _KEY_FAULTS:
        return Said(answer=Answer.UNAVAILABLE, words=words)
    if status == 429 or code == "ServerBusy":
        return Said(answer=Answer.THROTTLED, words=words)
    if status >= 500:
        return Said(answer=Answer.SERVER_FAULT, words=words)
    words = f"{words}; let the probe's application read it, or correct the target"
    return Said(answer=Answer.NOT_UNDERSTOOD, words=words)


def _blob_read(body: bytes) -> Said:
    del body  # that it could be read is the answer
    return Said(answer=Answer.OK, words="its blob can be read")


def _database_read(body: bytes, database: Database, key: str) -> Said:
    properties = mapping(pick(mapping(_json(body)), "properties"))
    state = next((found for name in database.states if (found := text(pick(properties, name)))), "")
    encryption = mapping(pick(properties, "dataEncryption"))
    named, status = text(pick(encryption, "primaryKeyURI")), text(pick(encryption, "primaryEncryptionKeyStatus"))
    words = f"state {state[:40] or 'not told'}" + (f", key status {status[:40]}" if status else "")
    detail = {"state": state[:40]}
    if encryption and not _is_same(named, key):
        words = f"the database is not encrypted under this key but under {(named or 'none')[:200]}"
        return Said(answer=Answer.NOT_UNDERSTOOD, words=words, detail=detail)
    if state.lower() == "inaccessible" or (status or "").lower() == "invalid":
        return Said(answer=Answer.UNAVAILABLE, words=words, detail=detail)
    if state.lower() in database.well:
        return Said(answer=Answer.OK, words=words, detail=detail)
    words = f"{words}: it does not show whether its key works"
    return Said(answer=Answer.NOT_UNDERSTOOD, words=words, detail=detail)


def _is_same(named: str | None, key: str) -> bool:
    one, other = place(named), place(key)
    return bool(one and other and (one.host, one.key) == (other.host, other.key))


def _kind_of(resource: str) -> str:
    """Return the type of a canonical resource id: the provider, then every second segment."""
    _, found, rest = resource.partition("/providers/")
    parts = rest.split("/")
    return "/".join((parts[0], *parts[1::2])) if found and len(parts) % 2 else ""
