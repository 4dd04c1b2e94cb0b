"""Calls to Cloud KMS, to the services of stores under its keys, and of what carries its records: sent and answered.

What is sent only reads: `GET`, and `POST` of nothing but `:encrypt` and `:decrypt`. Errors are read by their details
(google.rpc.ErrorInfo, PreconditionFailure), never by their texts.
"""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import grpc  # type: ignore[import-untyped]  # it ships no type information

from watchdog.clouds.gcp import uses
from watchdog.clouds.gcp.fields import mapping, mappings, text
from watchdog.clouds.gcp.index import Index
from watchdog.clouds.gcp.names import key_name, project_of
from watchdog.clouds.gcp.rules import KMS
from watchdog.probing import Answer
from watchdog.words import Cause
from workers.clouds.gcp.faults import answered, fault_of
from workers.clouds.gcp.identities import Callers, NoCaller, Session, is_safe
from workers.feeds.interface import Reason

WORDS = 300  # the most that is kept of what Google said
PAGE = 500
CONTEXT = b"byok-watchdog canary"
"""The additional authenticated data of everything that the watchdog encrypts."""
VERSION_3 = {"options.requestedPolicyVersion": "3"}  # an older one leaves conditions out

_CAUSES = {
    Cause.DISABLED: Answer.DISABLED,
    Cause.PENDING_DELETION: Answer.PENDING_DELETION,
    Cause.DESTROYED: Answer.DESTROYED,
    Cause.PENDING_IMPORT: Answer.PENDING_IMPORT,
}
_REASONS = {
    Reason.CREDENTIALS: Answer.CREDENTIALS,
    Reason.DENIED: Answer.DENIED,
    Reason.NOT_FOUND: Answer.NOT_FOUND,
    Reason.THROTTLED: Answer.THROTTLED,
    Reason.NETWORK: Answer.SERVER_FAULT,  # an answer came, so the way there is fine
    Reason.SERVER: Answer.SERVER_FAULT,
}
_STATUSES = {  # of the services that give no word of google.rpc.Code
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
}
_CONTAINER = frozenset(
    {
        "SERVICE_DISABLED", "BILLING_DISABLED", "CONSUMER_INVALID", "CONSUMER_SUSPENDED", "GCP_SUSPENDED",
        "RESOURCE_PROJECT_INVALID",
    }
)  # fmt: skip
"""Reasons (google.api.ErrorReason) by which a project does not serve: the project that is named is what matters."""
_KINDS = {
    **dict.fromkeys(
        (
            "USER_PROJECT_DENIED", "ACCESS_TOKEN_EXPIRED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "ACCOUNT_STATE_INVALID",
            "ACCESS_TOKEN_TYPE_UNSUPPORTED", "CREDENTIALS_MISSING", "USER_BLOCKED_BY_ADMIN",
        ),
        Answer.CREDENTIALS,
    ),
    **dict.fromkeys(
        (
            "SECURITY_POLICY_VIOLATED", "VPC_SERVICE_CONTROLS", "RESOURCE_USAGE_RESTRICTION_VIOLATED",
            "ORG_RESTRICTION_VIOLATION", "LOCATION_POLICY_VIOLATED",
        ),
        Answer.PATH_BLOCKED,
    ),
    **dict.fromkeys(("RATE_LIMIT_EXCEEDED", "RESOURCE_QUOTA_EXCEEDED"), Answer.THROTTLED),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long things may take, in seconds, and how many sessions are kept open."""

    deadline: float = 20.0
    connect: float = 2.0
    read: float = 5.0
    sessions: int = 256  # every one has connections of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where the services are. Raises ValueError for one without TLS that is not on loopback."""

    kms: str = "https://cloudkms.googleapis.com"
    storage: str = "https://storage.googleapis.com"
    sql: str = "https://sqladmin.googleapis.com"
    iam: str = "https://iamcredentials.googleapis.com"
    projects: str = "https://cloudresourcemanager.googleapis.com"
    logging: str = "https://logging.googleapis.com"
    pubsub: str = "https://pubsub.googleapis.com"

    def __post_init__(self) -> None:
        """Refuse what would send a token in the clear."""
        for url in (self.kms, self.storage, self.sql, self.iam, self.projects, self.logging, self.pubsub):
            if not is_safe(url):
                raise ValueError(f"{url}: must be https:// (plain http only to loopback)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one call came to: `result` when it worked, an answer in closed words in any case.

    `subject` is the container that an answer blames, `status` that of HTTP (0: there was no answer).
    """

    answer: Answer
    words: str = ""
    result: Mapping[str, Any] | None = None
    detail: Mapping[str, str] = field(default_factory=dict)
    subject: str | None = None
    status: int = 0


class Desk:
    """Where the calls of one visit are made: as one account, and only while there is time."""

    def __init__(
        self, callers: Callers, endpoints: Endpoints, limits: Limits, may_start: Callable[[], bool], index: Index,
        principal: str | None,
    ) -> None:  # fmt: skip
        self.principal = principal
        self._index = index
        self._callers = callers
        self._endpoints = endpoints
        self._limits = limits
        self._may_start = may_start

    def kms(self, name: str, what: str, params: Mapping[str, str] | None = None) -> Said:
        """Read a resource of Cloud KMS by its name."""
        return self._asked("GET", self._kms(name), what, name, params=params)

    def policy(self, name: str) -> Said:
        """Read the policy of a key or a key ring, conditions included."""
        return self.kms(f"{name}:getIamPolicy", "GetIamPolicy", VERSION_3)

    def versions(self, key: str) -> tuple[dict[str, Mapping[str, Any]], Said]:
        """List all versions of a key by their number, as far as they could be, and what the last page came to."""
        found: dict[str, Mapping[str, Any]] = {}
        page: dict[str, str] = {}
        while True:
            said = self.kms(f"{key}/cryptoKeyVersions", "ListCryptoKeyVersions", {"pageSize": str(PAGE), **page})
            for one in mappings((said.result or {}).get("cryptoKeyVersions")):
                name = key_name(text(one.get("name")))
                if name and name.version:
                    found[name.version] = one
            following = text((said.result or {}).get("nextPageToken"))
            if not following or said.answer is not Answer.OK:
                return found, said
            page = {"pageToken": following}

    def liens(self, project: str) -> tuple[list[Mapping[str, Any]], Said]:
        """List the liens of a project, as far as they could be, and what the last page came to."""
        found: list[Mapping[str, Any]] = []
        page: dict[str, str] = {}
        while True:
            params = {"parent": f"projects/{project}", "pageSize": "100", **page}
            said = self._asked("GET", f"{self._endpoints.projects}/v3/liens", "liens.list", None, params=params)
            found += mappings((said.result or {}).get("liens"))
            following = text((said.result or {}).get("nextPageToken"))
            if not following or said.answer is not Answer.OK:
                return found, said
            page = {"pageToken": following}

    def sink(self, name: str) -> Said:
        """Read a log sink by its name."""
        return self._asked("GET", f"{self._endpoints.logging}/v2/{quote(name)}", "sinks.get", None)

    def subscription(self, name: str) -> Said:
        """Read how a subscription of Pub/Sub is set up."""
        return self._asked("GET", f"{self._endpoints.pubsub}/v1/{quote(name)}", "subscriptions.get", None)

    def topic_policy(self, name: str) -> Said:
        """Read who may publish to a topic of Pub/Sub."""
        place = f"{self._endpoints.pubsub}/v1/{quote(name)}:getIamPolicy"
        return self._asked("GET", place, "topics.getIamPolicy", None, params=VERSION_3)

    def encrypt(self, name: str, plain: bytes) -> Said:
        """Encrypt with a key's primary version, or with the version that is named."""
        sealed = {"plaintext": _text_of(plain), "additionalAuthenticatedData": _text_of(CONTEXT)}
        return self._using("Encrypt", f"{name}:encrypt", sealed, "ciphertext")

    def decrypt(self, name: str, ciphertext: bytes) -> Said:
        """Decrypt with whichever version of a key the ciphertext names."""
        opened = {"ciphertext": _text_of(ciphertext), "additionalAuthenticatedData": _text_of(CONTEXT)}
        return self._using("Decrypt", f"{name}:decrypt", opened, "plaintext")

    def look_at_object(self, bucket: str, name: str) -> Said:
        """Read the metadata of an object, for which its key is not needed."""
        return self._asked("GET", self._object(bucket, name), "objects.get", None, params={"fields": "name,kmsKeyName"})

    def read_object(self, bucket: str, name: str, key: str) -> Said:
        """Read the beginning of an object, for which its key is needed."""
        return self._asked("GET", self._object(bucket, name), "objects.get alt=media", key, params={"alt": "media"})

    def database(self, name: str) -> Said:
        """Read what Cloud SQL says of an instance."""
        return self._asked("GET", f"{self._endpoints.sql}/v1/{quote(name)}", "instances.get", None)

    def _using(self, what: str, name: str, body: Mapping[str, str], sign: str) -> Said:
        said = self._asked("POST", self._kms(name), what, name, body=body)
        if said.answer is Answer.OK and sign not in (said.result or {}):
            return replace(said, answer=Answer.NOT_UNDERSTOOD, words=f"{what}: the answer has no {sign}", result=None)
        return said

    def _kms(self, name: str) -> str:
        return f"{self._endpoints.kms}/v1/{quote(name, safe='/:')}"

    def _object(self, bucket: str, name: str) -> str:
        return f"{self._endpoints.storage}/storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}"

    def _asked(
        self, method: str, url: str, what: str, resource: str | None, *, params: Mapping[str, str] | None = None,
        body: Mapping[str, str] | None = None,
    ) -> Said:  # fmt: skip
        """Make one call; with a new token once more, when the old one is not accepted any longer."""
        late = Said(answer=Answer.UNREACHABLE, words=f"{what}: no time was left to ask")
        for renewed in (False, True):
            if not self._may_start():
                return late
            try:
                session = self._callers.acting(self.principal)
            except NoCaller as none:
                return Said(answer=none.answer, words=none.words)
            if not self._may_start():
                return late
            said = self._answered(session, method, url, what, resource, params, body)
            if said.status != 401 or renewed:
                break
            self._callers.forget(self.principal)
        return said

    def _answered(
        self, session: Session, method: str, url: str, what: str, resource: str | None,
        params: Mapping[str, str] | None, body: Mapping[str, str] | None,
    ) -> Said:  # fmt: skip
        raw = (params or {}).get("alt") == "media"
        try:
            response = session.request(
                method, url, params=params, json=body, timeout=(self._limits.connect, self._limits.read),
                allow_redirects=False, stream=raw,
            )  # fmt: skip
            try:
                if raw and response.status_code == 200:
                    next(response.iter_content(1), b"")
                    return Said(answer=Answer.OK, result={}, status=200)
                content = response.content
            finally:
                response.close()
        except OSError as error:
            # Whatever the way there may be: their texts can quote a proxy's address with its password.
            return Said(answer=Answer.UNREACHABLE, words=f"{what}: {type(error).__name__}")
        return said_of(response.status_code, content, what, resource, self._index)


def _text_of(value: bytes) -> str:
    return base64.b64encode(value).decode()


# -------------------------------------------------------------------------------------------------------------- answers


def said_of(status: int, content: bytes, what: str, resource: str | None, index: Index) -> Said:
    """Put an answer of a Google API into closed words (gcp.md 4). `resource` is the key that was asked about."""
    told = _object_in(content)
    if status == 200 and told is not None and "error" not in told:
        return Said(answer=Answer.OK, result=told, status=status)
    error = mapping(told.get("error")) if told else {}
    code = text(error.get("status")) or _STATUSES.get(status) or ("INTERNAL" if status >= 500 else "")
    if not error and code != "INTERNAL" and status != 429:
        # A proxy or a guest network may say 401 and 403 too: without Google's own form it is not Google that refuses.
        return Said(answer=Answer.NOT_UNDERSTOOD, words=f"{what}: {status}: not an answer of Google Cloud")
    words = " ".join(f"{what}: {code or status}: {text(error.get('message')) or ''}".split())[:WORDS]
    for kind, named in _kinds(error):
        if kind in _CONTAINER:
            answer, subject = _container(kind, named, resource, index)
            return Said(answer=answer, words=words, subject=subject, status=status)
        answer_to_kind = _answer_to(kind)
        if answer_to_kind is not None:
            return Said(answer=answer_to_kind, words=words, status=status)
    known = grpc.StatusCode.__members__.get(code)
    fault = fault_of(answered(known, words), what) if known else None
    return Said(answer=_REASONS.get(fault.reason, _ODD) if fault else _ODD, words=words, status=status)


_ODD = Answer.NOT_UNDERSTOOD


def _object_in(content: bytes) -> Mapping[str, Any] | None:
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _kinds(error: Mapping[str, object]) -> Iterator[tuple[str, str | None]]:
    """Yield the reasons in the details of an error, with the consumer each names; what a manager says comes first."""
    found: list[tuple[str, str | None]] = []
    for detail in mappings(error.get("details")):
        consumer = text(mapping(detail.get("metadata")).get("consumer"))
        found += [(kind, consumer) for kind in [text(detail.get("reason"))] if kind]
        found += [(kind, None) for one in mappings(detail.get("violations")) if (kind := text(one.get("type")))]
    # Cloud Storage has them in a list of its own.
    found += [(kind, None) for one in mappings(error.get("errors")) if (kind := text(one.get("reason")))]
    yield from sorted(found, key=lambda one: not _is_external(one[0]))


def _is_external(kind: str) -> bool:
    """Whether a reason is one of an external key manager, which outranks the state beside it (gcp.md 4)."""
    return kind.startswith("EXTERNAL_") and kind not in uses.STATES


def _answer_to(kind: str) -> Answer | None:
    if _is_external(kind):
        return Answer.UNAVAILABLE  # refused, not known there, or silent: it is the manager that does not serve
    state = uses.STATES.get(kind.removeprefix("KEY_"))
    return _CAUSES.get(state.cause) if state else _KINDS.get(kind)


def _container(kind: str, named: str | None, resource: str | None, index: Index) -> tuple[Answer, str | None]:
    """Tell whose project does not serve: the number that is named decides (gcp.md 4), not the text."""
    own = f"projects/{project_of(resource)}" if resource else ""
    given = named if not named or named.startswith("projects/") else f"projects/{named}"
    place = index.normal(given) if given else own if kind == "RESOURCE_PROJECT_INVALID" else ""
    if place and place == own:
        what = {"SERVICE_DISABLED": f"{KMS} in {place}", "BILLING_DISABLED": f"billing of {place}"}
        return Answer.CONTAINER_LOST, what.get(kind, place)
    return (Answer.CREDENTIALS if index.is_ours(place) else _ODD), None
