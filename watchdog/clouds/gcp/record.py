"""One message, unwrapped: what form it has, from which subscription it came, and the audit record in it (gcp.md 6)."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from datetime import datetime
from enum import Enum, auto

import msgspec
from msgspec import Struct

from watchdog.clouds.gcp.dates import moment
from watchdog.clouds.gcp.fields import mapping, mappings, text, whole
from watchdog.clouds.gcp.names import FEED_IN_TEXT, KMS_SERVICE, RING_NAME, key_name, plain

DEPTH = 6  # wrappers around wrappers: more than any real delivery has
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)
ENTRY_FIELDS = ("protoPayload", "jsonPayload", "textPayload", "logName", "insertId")
PUBSUB_FIELDS = ("data", "attributes", "messageId", "message_id", "publishTime", "publish_time")


class UnreadableError(Exception):
    """A message that cannot be read; the text says why."""


class Kind(Enum):
    """The forms that a message can have."""

    AUDIT = auto()  # a LogEntry with a protoPayload
    JSON_LOG = auto()  # a LogEntry with a jsonPayload: the platform log, or any application's
    OTHER_LOG = auto()  # a LogEntry with neither
    ASSET = auto()  # a change told by a Cloud Asset feed
    EXPORT = auto()  # a line of an asset export: inventory, no change
    GREETING = auto()  # the plain text that a new asset feed sends first


class Reading(Struct, frozen=True, kw_only=True):
    """A message without its wrappers. `subscription` is None where the delivery does not name one."""

    kind: Kind
    content: Mapping[str, object]
    event_id: str
    subscription: str | None = None
    published: datetime | None = None
    greeting: str = ""

    @property
    def at(self) -> datetime | None:
        """The event's own time, else when it was received, else when it was published."""
        content = self.content
        if self.kind in (Kind.ASSET, Kind.EXPORT):
            stated = (
                mapping(content.get("asset")).get("updateTime"),
                mapping(content.get("window")).get("startTime"),
            )
        else:
            stated = (content.get("timestamp"), content.get("receiveTimestamp"))
        return next((found for found in map(moment, stated) if found), self.published)


def decoded(raw: bytes) -> object:
    """Decode JSON. Raises UnreadableError."""
    try:
        return msgspec.json.decode(raw)
    except UNDECODABLE as fault:
        raise UnreadableError(f"it is not JSON ({fault})") from fault


def read(raw: bytes) -> Reading:
    """Unwrap one message as kept by `unpack`. Raises UnreadableError."""
    return _read(raw, None, None, 0)


def sha256(raw: bytes) -> str:
    """Return the SHA-256 of some bytes in hex."""
    return hashlib.sha256(raw).hexdigest()


def _read(raw: bytes, subscription: str | None, published: datetime | None, depth: int) -> Reading:
    if depth > DEPTH:
        raise UnreadableError("it is wrapped too many times")
    try:
        content = decoded(raw)
    except UnreadableError:
        greeting = _greeting(raw)
        if greeting is None:
            raise
        return Reading(
            kind=Kind.GREETING,
            content={},
            event_id=sha256(raw),
            subscription=subscription,
            published=published,
            greeting=greeting,
        )
    if not isinstance(content, dict):
        raise UnreadableError("it is JSON, but not an object")
    if is_message(content):
        message = mapping(content["message"])
        # The outermost wrapper is the transport's; one inside it was written by whoever may publish to the topic.
        when = published or moment(message.get("publishTime")) or moment(message.get("publish_time"))
        return _read(_payload(message), subscription or text(content.get("subscription")), when, depth + 1)
    if "specversion" in content:
        return _read(_event_payload(content), subscription, moment(content.get("time")) or published, depth + 1)
    return Reading(
        kind=_kind(content),
        content=content,
        event_id=_event_id(content),
        subscription=subscription,
        published=published,
    )


def is_message(content: Mapping[str, object]) -> bool:
    """Whether an object is a Pub/Sub message in its push or pull wrapper."""
    message = content.get("message")
    return isinstance(message, dict) and any(name in message for name in PUBSUB_FIELDS)


def _payload(message: Mapping[str, object]) -> bytes:
    coded = message.get("data")
    if not isinstance(coded, str) or not coded:
        raise UnreadableError("the Pub/Sub message carries no data")
    return _unbase64(coded)


def _event_payload(content: Mapping[str, object]) -> bytes:
    coded = content.get("data_base64")
    if isinstance(coded, str):
        return _unbase64(coded)
    inner = content.get("data")
    if isinstance(inner, str):
        return inner.encode("utf-8", "surrogatepass")
    if not isinstance(inner, dict):
        raise UnreadableError("the CloudEvent carries no record")
    return msgspec.json.encode(inner)


def _unbase64(coded: str) -> bytes:
    try:
        return base64.b64decode(coded, validate=True)
    except (binascii.Error, ValueError) as fault:
        raise UnreadableError(f"its data is not base64 ({fault})") from fault


def _greeting(raw: bytes) -> str | None:
    """Return a plain text that names an asset feed: a new feed's first message (its wording is not published)."""
    try:
        told = raw[:4000].decode()
    except UnicodeDecodeError:
        return None
    return told if not told.lstrip().startswith(("{", "[", '"')) and FEED_IN_TEXT.search(told) else None


def _kind(content: Mapping[str, object]) -> Kind:
    if "protoPayload" in content:
        if not isinstance(content["protoPayload"], dict):
            raise UnreadableError("its protoPayload is not an object")
        return Kind.AUDIT
    if isinstance(content.get("jsonPayload"), dict):
        return Kind.JSON_LOG
    if any(name in content for name in ENTRY_FIELDS):
        return Kind.OTHER_LOG
    if "asset" in content or "priorAsset" in content:
        if not isinstance(content.get("asset", {}), dict):
            raise UnreadableError("its asset is not an object")
        return Kind.ASSET
    if "name" in content and ("asset_type" in content or "assetType" in content):
        return Kind.EXPORT
    raise UnreadableError("it has no form that a Google Cloud delivery has")


def _event_id(content: Mapping[str, object]) -> str:
    """Name the happening: the same entry through two sinks has the same log, time and insertId (gcp.md 6.2)."""
    insert_id = text(content.get("insertId"))
    if insert_id:
        named = [content.get("logName"), content.get("timestamp"), insert_id]
        split = mapping(content.get("split"))
        if split:  # the parts of one entry are several records
            named.append(split.get("index"))
        return sha256(msgspec.json.encode(named))
    told = {name: value for name, value in content.items() if name != "receiveTimestamp"}
    return sha256(msgspec.json.encode(told, order="deterministic"))


# -------------------------------------------------------------------------------------------------------- audit records


class Record(Struct, frozen=True, kw_only=True):
    """An AuditLog with what the entry around it says. `operation` is the last segment of the method, lower case.

    `long_operation` names the operation of which this is the first or the last record; None for a call done at once.
    """

    service: str
    method: str
    operation: str
    resource: str | None
    request: Mapping[str, object]
    response: Mapping[str, object]
    metadata: Mapping[str, object]
    service_data: Mapping[str, object]
    code: int
    message: str
    details: tuple[Mapping[str, object], ...]
    email: str | None
    subject: str | None
    address: str | None
    agent: str | None
    labels: Mapping[str, object]
    resource_type: str | None
    log: str | None
    has_request: bool
    is_split: bool
    long_operation: str | None
    is_long: bool
    is_last: bool

    @property
    def failed(self) -> bool:
        """Whether nothing happened."""
        return self.code > 0

    @property
    def settles(self) -> bool:
        """Whether a recovery counts: a long operation has to be over (gcp.md 3.0)."""
        return self.is_last or not self.is_long


def record_of(content: Mapping[str, object], payload: Mapping[str, object]) -> Record:
    """Read the audit record in a log entry. Every field may be missing or of a wrong type."""
    identity, caller = mapping(payload.get("authenticationInfo")), mapping(payload.get("requestMetadata"))
    status, resource = mapping(payload.get("status")), mapping(content.get("resource"))
    operation, split = mapping(content.get("operation")), mapping(content.get("split"))
    method = text(payload.get("methodName")) or ""
    return Record(
        service=(text(payload.get("serviceName")) or _service_of(text(payload.get("resourceName")))).lower(),
        method=method,
        operation=method.rpartition(".")[2].lower(),
        resource=text(payload.get("resourceName")),
        request=mapping(payload.get("request")),
        response=mapping(payload.get("response")),
        metadata=mapping(payload.get("metadata")),
        service_data=mapping(payload.get("serviceData")),
        code=whole(status.get("code")) or 0,
        message=text(status.get("message")) or "",
        details=tuple(mappings(status.get("details"))),
        email=text(identity.get("principalEmail")),
        subject=text(identity.get("principalSubject")),
        address=text(caller.get("callerIp")),
        agent=text(caller.get("callerSuppliedUserAgent")),
        labels=mapping(resource.get("labels")),
        resource_type=text(resource.get("type")),
        log=text(content.get("logName")),
        has_request=isinstance(payload.get("request"), dict),
        is_split=(whole(split.get("totalSplits")) or 0) > 1,
        long_operation=_long_operation(operation),
        is_long=bool(operation.get("first") or operation.get("last")),
        is_last=operation.get("last") is True,
    )


def _service_of(resource: str | None) -> str:
    """Name the service of a record that does not: resource and method are enough (gcp.md 8, 21)."""
    return KMS_SERVICE if key_name(resource) or RING_NAME.fullmatch(plain(resource or "")) else ""


def _long_operation(operation: Mapping[str, object]) -> str | None:
    """Name a long operation: only id and producer together are unique."""
    named, producer = text(operation.get("id")), text(operation.get("producer"))
    is_long = bool(operation.get("first") or operation.get("last"))
    return f"{producer or ''}/{named}" if is_long and named else None
