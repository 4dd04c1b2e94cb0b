"""The reader of Azure: what makes a key hard to lose, asked of its vault and of the resource manager.

The vendor's principal reads attributes of the key with the role that its stores use. Whatever else belongs to the vault
(settings, locks, role assignments, diagnostic settings) takes the role Reader on it, which its owner may give or not.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from azure.core.rest import HttpRequest
from azure.keyvault.keys import KeyVaultKey

from watchdog.clouds.azure.fields import mapping, pick, text
from watchdog.clouds.azure.ids import prefixes
from watchdog.clouds.azure.index import WatchedKey, index_of
from watchdog.clouds.azure.preflight import READER, Reading, Version, judge
from watchdog.preflight import Checked, Unread
from watchdog.probing import Answer
from watchdog.register import Register, RegisteredKey
from watchdog.register_azure import ENCRYPTION_ROLES
from workers.clouds.azure.clients import RESOURCE, Desk, Vault, body_of
from workers.clouds.azure.identities import Clock, Limits, NoCaller, Said
from workers.clouds.azure.probing import ERRORS, said_of

DEADLINE = 25.0
MOST_BYTES = 4 * 1024 * 1024  # of a page; one of role assignments of a large subscription has some hundred kilobytes
PAGES = 20

VAULTS = "2026-02-01"
LOCKS = "2020-05-01"
ASSIGNMENTS = "2022-04-01"
DIAGNOSTICS = "2021-05-01-preview"
"""API versions; older ones of the vaults retire in 2027 (azure.md 7)."""

Document = Mapping[str, object]

_NOT_REGISTERED = Unread(why="its vault is not registered")
_HSM = Unread(why="local roles of a managed HSM are told to its own administrators only")
_DEAF = frozenset(
    {Answer.UNREACHABLE, Answer.THROTTLED, Answer.CREDENTIALS, Answer.IDENTITY_REFUSED, Answer.PATH_BLOCKED}
)
"""Answers after which the other questions would be answered alike."""


def reader() -> "AzureReader":
    """Return the reader of Azure keys. Identity and authority are read from the standard AZURE_... variables."""
    return AzureReader()


class AzureReader:
    """Reads and judges the keys of Azure. Safe between threads; clients are lent as those of probes are."""

    cloud = "azure"

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        environment: Mapping[str, str] = os.environ,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = Clock(limits or Limits(deadline=DEADLINE), monotonic)
        self._desk = Desk(self._clock, environment, monotonic)
        self._now = now

    def check(self, key: RegisteredKey, register: Register) -> Sequence[Checked]:
        """Ask and judge, about 25 seconds at most in whole; every check of the list, always in its order."""
        return judge(self.read(key, register), key, register, at=self._now())

    def read(self, key: RegisteredKey, register: Register) -> Reading:
        """Ask all that the checks look at; what is not answered stands as `Unread` in its place."""
        self._clock.start()
        watched = index_of(register).by_id.get(key.id)
        if watched is None:
            nothing = _NOT_REGISTERED
            return Reading(versions={}, vault=nothing, locks={}, assignments=nothing, diagnostics=nothing)
        return _Visit(key, watched, self._desk).reading()

    def close(self) -> None:
        """Let go of connections."""
        self._desk.close()


class _Visit:
    """One key read once, in one thread."""

    def __init__(self, key: RegisteredKey, watched: WatchedKey, desk: Desk) -> None:
        self._key = key
        self._watched = watched
        self._desk = desk
        self._tenant = watched.container.tenant
        principal = key.entry.probe.principal if key.entry.probe else None
        self._app = principal or watched.container.estate.app or desk.application
        self._id = watched.container.facts.id
        self._deaf: Unread | None = None

    def reading(self) -> Reading:
        return Reading(
            versions=self._versions(),
            vault=self._got(self._id, VAULTS),
            locks={scope: self._listed(scope, _LOCKS, LOCKS) for scope in _scopes(self._id)},
            assignments=_HSM if self._watched.container.is_hsm else self._assignments(),
            diagnostics=self._listed(self._id, _DIAGNOSTICS, DIAGNOSTICS),
        )

    # ----------------------------------------------------------------------------------------------------- the versions

    def _versions(self) -> dict[str, Version | Unread]:
        wanted: list[str] = [*self._watched.versions]
        facts = self._key.entry.azure
        found: dict[str, Version | Unread] = {}
        if not wanted or (facts is not None and facts.follows_latest):
            wanted.append("")
        deaf: Unread | None = None
        for version in wanted:
            name, said = (version, deaf) if deaf else self._version(version)
            found.setdefault(name or "the newest", said)
            deaf = said if isinstance(said, Unread) and not said.right else None
        return found

    def _version(self, version: str) -> tuple[str, Version | Unread]:
        """Read one version, "" for the newest; return its name with what is known of it."""
        got: list[KeyVaultKey] = []
        said = self._asked(lambda vault: got.append(vault.client.get_key(self._watched.name, version)))
        match said.answer:
            case Answer.OK:
                return (got[0].properties.version or version).lower(), _attributes(got[0])
            case Answer.NOT_FOUND:
                return version, Version(found=False)
            case Answer.DISABLED:  # public sources disagree whether a disabled key can be got (azure.md 7, step 2)
                return version, Version(enabled=False)
            case Answer.DENIED:
                return version, Unread(why=said.words, right=f"{ENCRYPTION_ROLES[0].name} on {self._id}")
            case _:
                return version, Unread(why=said.words)

    def _asked(self, call: Callable[[Vault], object]) -> Said:
        origin = self._key.id.partition("/keys/")[0]
        if not origin.startswith("https://"):
            return Said(answer=Answer.NOT_UNDERSTOOD, words="it is not the https:// id of an Azure key")
        try:
            with self._desk.vault(self._tenant, self._app, origin) as vault:
                call(vault)
        except NoCaller as none:
            self._desk.forget(self._tenant, self._app)
            return none.said
        except ERRORS as error:
            return said_of(error, "get key")
        return Said(answer=Answer.OK)

    # --------------------------------------------------------------------------------------------- the resource manager

    def _assignments(self) -> Sequence[Document] | Unread:
        """List the role assignments on the key itself and above; who may read the vault may read these."""
        found = self._listed(
            f"{self._id}/keys/{self._watched.name}", _ASSIGNMENTS, ASSIGNMENTS, {"$filter": "atScope()"}
        )
        return Unread(why=found.why, right=_right(self._id)) if isinstance(found, Unread) and found.right else found

    def _listed(
        self, scope: str, kind: str, version: str, params: Mapping[str, str] | None = None
    ) -> Sequence[Document] | Unread:
        """List what is of a kind at a scope, page by page."""
        found: list[Document] = []
        page = self._got(scope, version, kind, params)
        for _ in range(PAGES):
            if isinstance(page, Unread):
                return page
            listed = pick(page, "value")
            if not isinstance(listed, list):
                return Unread(why=f"{_WORDS[kind]}: the answer lists nothing")
            found += [mapping(one) for one in listed]
            following = text(pick(page, "nextLink"))
            if following is None:
                return found
            if not following.startswith(f"{self._desk.management}/"):
                return Unread(why=f"{_WORDS[kind]}: the next page is said to be elsewhere")
            page = self._sent(HttpRequest("GET", following, headers=_JSON), scope, kind)
        return Unread(why=f"{_WORDS[kind]}: there are more than {PAGES} pages of them")

    def _got(
        self, scope: str, version: str, kind: str = "", params: Mapping[str, str] | None = None
    ) -> Document | Unread:
        """Get a resource, or the first page of what is of a kind at it."""
        path = f"{scope}{kind}"
        if not RESOURCE.fullmatch(path):
            return Unread(why=f"{_WORDS[kind]}: the id cannot stand in an address")
        wanted = {"api-version": version, **(params or {})}
        request = HttpRequest("GET", f"{self._desk.management}{path}", params=wanted, headers=_JSON)
        return self._sent(request, scope, kind)

    def _sent(self, request: HttpRequest, scope: str, kind: str) -> Document | Unread:
        if self._deaf is not None:
            return self._deaf
        try:
            with self._desk.web(self._tenant, self._app, f"{self._desk.management}/.default") as client:
                response = client.send_request(request, stream=True)
                body = body_of(response, MOST_BYTES)
        except NoCaller as none:
            self._desk.forget(self._tenant, self._app)
            return self._deafened(none.said)
        except ERRORS as error:
            return self._deafened(said_of(error, _WORDS[kind]))
        if response.status_code != 200:
            return _refused(response.status_code, body, scope, kind)
        found = _document(body)
        return Unread(why=f"{_WORDS[kind]}: the answer cannot be read") if found is None else found

    def _deafened(self, said: Said) -> Unread:
        unread = Unread(why=said.words)
        if said.answer in _DEAF:
            self._deaf = unread
        return unread


_JSON = {"Accept": "application/json"}
_LOCKS = "/providers/Microsoft.Authorization/locks"
_ASSIGNMENTS = "/providers/Microsoft.Authorization/roleAssignments"
_DIAGNOSTICS = "/providers/Microsoft.Insights/diagnosticSettings"
_WORDS = {
    "": "settings of the vault", _LOCKS: "locks", _ASSIGNMENTS: "role assignments", _DIAGNOSTICS: "diagnostic settings"
}  # fmt: skip


def _scopes(vault: str) -> Iterator[str]:
    """Yield where a lock can be that covers a vault: itself, its group, its subscription."""
    yield vault
    lowered = vault.lower()
    for above in prefixes(lowered):
        if above.rpartition("/")[0].endswith(("/resourcegroups", "/subscriptions")):
            yield vault[: len(above)]


def _attributes(key: KeyVaultKey) -> Version:
    found, permitted = key.properties, key.key_operations or ()
    return Version(
        enabled=found.enabled,
        expires=found.expires_on,
        begins=found.not_before,
        operations=frozenset(str(getattr(one, "value", one)).lower() for one in permitted) or None,
        recovery_level=str(getattr(found.recovery_level, "value", found.recovery_level) or ""),
        recoverable_days=found.recoverable_days,
    )


def _refused(status: int, body: bytes, scope: str, kind: str) -> Unread:
    code = text(pick(mapping(pick(_document(body) or {}, "error")), "code")) or ""
    why = f"{_WORDS[kind]}: {status} {code[:80]}".strip()
    return Unread(why=why, right=_right(scope) if status == 403 else "")


def _right(scope: str) -> str:
    return f"{READER} on {scope}"


def _document(body: bytes) -> Document | None:
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
