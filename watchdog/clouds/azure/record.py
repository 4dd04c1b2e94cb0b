"""The decoded Azure record: an event, an audit record, a change of a resource, a directory record (azure.md 6.1)."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from datetime import datetime
from enum import Enum, auto

from msgspec import Struct

from watchdog.clouds.azure.dates import moment
from watchdog.clouds.azure.fields import (
    UnreadableError,
    decoded,
    embedded,
    items,
    mapping,
    pick,
    text,
    texts,
    whole,
)
from watchdog.clouds.azure.ids import Place, canonical, place, subscription_of
from watchdog.signals import Actor

TOPIC_PREFIX = "Microsoft.KeyVault."
RESOURCE_PREFIX = "Microsoft.Resources."
NOTIFICATION_PREFIX = "Microsoft.ResourceNotifications."
PREFIXES = (TOPIC_PREFIX, RESOURCE_PREFIX, f"{NOTIFICATION_PREFIX}Resources.", "Microsoft.EventGrid.", "Microsoft.")
VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"
DELETION = "Microsoft.EventGrid.SubscriptionDeletedEvent"
OF_A_SUBSCRIPTION = frozenset({VALIDATION.lower(), DELETION.lower()})
SUBSCRIPTION_HEADER = "aeg-subscription-name"

AUDIT = "auditevent"
DIRECTORY = "auditlogs"
ADMINISTRATIVE = frozenset({"administrative", "write", "delete", "action"})

CLAIM_ENDINGS = {"objectidentifier": "oid", "upn": "upn", "name": "name", "tenantid": "tid"}


class Outcome(Enum):
    """Whether what a record tells of happened (azure.md 3.3)."""

    DONE = auto()
    REFUSED = auto()
    BEGUN = auto()
    UNKNOWN = auto()


class Claims(Struct, frozen=True):
    """Who called, as the token said it; ids in lower case."""

    oid: str | None = None
    app: str | None = None
    tenant: str | None = None
    upn: str | None = None
    name: str | None = None
    address: str | None = None


NOBODY = Claims()


class Event(Struct, frozen=True, kw_only=True):
    """An event of Event Grid in either schema. `subscription` is the name in the header of its delivery, if it came."""

    type: str
    id: str | None
    source: str | None
    subject: str | None
    at: datetime | None
    data: object
    subscription: str | None = None


class Handshake(Struct, frozen=True):
    """A request to prove that this endpoint wants the deliveries of a subscription (its name if headers came)."""

    subscription: str | None


class Audit(Struct, frozen=True, kw_only=True):
    """A record of a vault's or managed HSM's own log; `vault` is its canonical id, `named` and `called` are URLs."""

    operation: str | None
    at: datetime | None
    vault: str | None
    named: Place | None
    called: Place | None
    status: int | None
    signature: str | None
    description: str
    claims: Claims
    address: str | None
    agent: str | None
    properties: Mapping[str, object]

    @property
    def outcome(self) -> Outcome:
        """Whether it worked: the status decides, without it the signature, never `resultType` (azure.md 3.3)."""
        if self.status is not None:
            return Outcome.DONE if 200 <= self.status < 300 else Outcome.REFUSED
        if self.signature is None:
            return Outcome.UNKNOWN
        worked = self.signature.strip().lower() in ("ok", "created", "accepted", "no content", "nocontent")
        return Outcome.DONE if worked else Outcome.REFUSED

    @property
    def place(self) -> Place | None:
        """What it is about: the id, else the URL that was called."""
        return self.named or self.called


class Change(Struct, frozen=True, kw_only=True):
    """A write, action or delete of the resource-manager plane, from an event or from the Activity Log.

    `topic` is the canonical source of an event, None for a log record, which has none. An event whose data cannot be
    used has no operation.
    """

    operation: str | None
    at: datetime | None
    target: str | None
    outcome: Outcome
    tenant: str | None
    actor: Actor | None
    claims: Claims
    is_event: bool
    topic: str | None = None
    request: Mapping[str, object] | None = None
    response: Mapping[str, object] | None = None

    @property
    def name(self) -> str:
        """The operation in lower case."""
        return (self.operation or "").lower()


class Notification(Struct, frozen=True, kw_only=True):
    """A resource notification: what a resource looks like after a change, or that it is gone.

    `is_told` is False when it carries no data about the resource.
    """

    operation: str
    at: datetime | None
    topic: str | None
    target: str | None
    is_told: bool
    deleted: bool
    properties: Mapping[str, object] | None


class Modified(Struct, frozen=True):
    """One property that a directory record says was changed; the values are JSON in text."""

    name: str
    old: object
    new: object


class Directory(Struct, frozen=True, kw_only=True):
    """A record of an Entra tenant's audit log. `targets` are object ids in lower case, each with what was modified."""

    operation: str | None
    at: datetime | None
    tenants: frozenset[str]
    succeeded: bool
    result: str
    kind: str
    actor: Actor | None
    targets: tuple[tuple[str, str, tuple[Modified, ...]], ...]


class Other(Struct, frozen=True):
    """Something genuine that cannot concern a key."""

    why: str
    operation: str | None = None
    at: datetime | None = None


What = Event | Handshake | Audit | Change | Notification | Directory | Other


class Reading(Struct, frozen=True, kw_only=True):
    """One entry, read. `event_id` is equal for one happening; `forwarder` is the source that republished it."""

    what: What
    event_id: str
    forwarder: str | None = None


# -------------------------------------------------------------------------------------------------------------- reading


def read(raw: bytes) -> Reading:
    """Read one entry, as `unpack` cuts them. Raises UnreadableError when it cannot be told what it says."""
    fields = decoded(raw)
    if not isinstance(fields, dict) or not fields:
        raise UnreadableError("it is not a JSON object with content")
    name = sha256(raw)
    if is_request(fields):
        return _request(fields, name)
    if is_event(fields):
        return _event(fields, name)
    if is_record(fields):
        return _record(fields, name)
    raise UnreadableError("it has no form that an Azure record has")


def is_request(fields: Mapping[str, object]) -> bool:
    """Whether this is a request to the webhook, with its headers."""
    return isinstance(fields.get("headers"), dict) and ("method" in fields or "body" in fields)


def is_event(fields: Mapping[str, object]) -> bool:
    """Whether this is meant as an event, in either schema, complete or not."""
    if "eventType" in fields or "specversion" in fields or "metadataVersion" in fields:
        return True
    if "operationName" in fields or "resourceId" in fields:
        return False
    return ("topic" in fields or "source" in fields) and ("id" in fields or "subject" in fields or "type" in fields)


def is_record(fields: Mapping[str, object]) -> bool:
    """Whether this is meant as a log record, complete or not."""
    return any(name in fields for name in ("operationName", "category", "resourceId", "metricName", "eventTimestamp"))


def sha256(raw: bytes) -> str:
    """Return the name of an entry that has no id of its own."""
    return hashlib.sha256(raw).hexdigest()


def _request(fields: Mapping[str, object], name: str) -> Reading:
    headers = {key.lower(): value for key, value in mapping(fields["headers"]).items()}
    subscription = text(headers.get(SUBSCRIPTION_HEADER))
    if (text(fields.get("method")) or "").upper() == "OPTIONS":
        return Reading(what=Handshake(subscription), event_id=name)
    events = items(embedded(fields.get("body")))
    if len(events) != 1 or not isinstance(events[0], dict):
        raise UnreadableError("the request carries no single event")
    return _event(events[0], name, subscription)


def _event(fields: Mapping[str, object], name: str, subscription: str | None = None) -> Reading:
    kind, other = text(fields.get("eventType")), text(fields.get("type"))
    if kind and other and kind.lower() != other.lower():
        raise UnreadableError("it is written in both schemas, and they disagree about the type")
    kind = spelled(kind or other)
    if kind is None:
        raise UnreadableError("the event has no type")
    if "data" in fields and "data_base64" in fields:
        raise UnreadableError("the event has data twice")
    source = text(fields.get("topic")) or text(fields.get("source"))
    event_id = text(fields.get("id"))
    known = sha256(f"{(source or '').lower()}\n{event_id}".encode("utf-8", "replace")) if event_id else name
    event = Event(
        type=kind,
        id=event_id,
        source=source,
        subject=text(fields.get("subject")),
        at=moment(fields.get("eventTime")) or moment(fields.get("time")),
        data=content_of(fields),
        subscription=subscription,
    )
    if kind.lower() == VALIDATION.lower():
        return Reading(what=Handshake(subscription), event_id=known)
    if kind.startswith(RESOURCE_PREFIX):
        return Reading(what=_change_of_event(event), event_id=known)
    if kind.startswith(f"{NOTIFICATION_PREFIX}Resources."):
        return Reading(what=_notification(event), event_id=known)
    record = carried(event)
    if record is not None:
        inner = _record(record, known)
        return Reading(what=inner.what, event_id=inner.event_id, forwarder=source or "")
    return Reading(what=event, event_id=known)


def spelled(kind: str | None) -> str | None:
    """Write a type as Azure documents it, however it came: names of Azure compare without case (azure.md 8, 4)."""
    lowered = (kind or "").lower()
    known = next((prefix for prefix in PREFIXES if lowered.startswith(prefix.lower())), "")
    return known + kind[len(known) :] if kind else None


def content_of(fields: Mapping[str, object]) -> object:
    """Return the data of an event, from text or base64 where it stands so; None when there is none to be used."""
    encoded = fields.get("data_base64")
    if encoded is None:
        return embedded(fields.get("data"))
    try:
        return embedded(base64.b64decode(text(encoded) or "", validate=True).decode("utf-8", "replace"))
    except (binascii.Error, ValueError):
        return None


def carried(event: Event) -> Mapping[str, object] | None:
    """Return the one log record that a forwarder put into an event; None when it carries none."""
    if event.type.startswith("Microsoft."):
        return None
    inner = mapping(event.data).get("records")
    held = [one for one in items(inner if isinstance(inner, list) else event.data) if isinstance(one, dict)]
    return held[0] if len(held) == 1 and is_record(held[0]) else None


# ------------------------------------------------------------------------------------------- the resource-manager plane


def _change_of_event(event: Event) -> What:
    data = mapping(event.data)
    authorization = mapping(data.get("authorization"))
    operation = text(data.get("operationName")) or text(authorization.get("action"))
    target = canonical(data.get("resourceUri")) or canonical(event.subject) or canonical(authorization.get("scope"))
    claims = _claims(data.get("claims"))
    address = text(mapping(data.get("httpRequest")).get("clientIpAddress")) or claims.address
    return Change(
        operation=operation,
        at=event.at,
        target=target,
        outcome=_outcome_of(event.type),
        tenant=(text(data.get("tenantId")) or "").lower() or claims.tenant,
        actor=_actor(claims, address, None),
        claims=claims,
        is_event=True,
        topic=canonical(event.source),
        request=_body(data, "requestbody"),
        response=_body(data, "responsebody"),
    )


def _outcome_of(event_type: str) -> Outcome:
    ending = event_type.lower()
    if ending.endswith("success"):
        return Outcome.DONE
    return Outcome.REFUSED if ending.endswith(("failure", "cancel")) else Outcome.UNKNOWN


def _notification(event: Event) -> Notification:
    data = mapping(event.data)
    resource = mapping(pick(data, "resourceInfo"))
    properties = pick(resource, "properties")
    happened = mapping(pick(data, "operationalInfo"))
    return Notification(
        operation=event.type,
        at=moment(pick(happened, "resourceEventTime")) or event.at,
        topic=canonical(event.source),
        target=canonical(pick(resource, "id")) or canonical(event.subject),
        is_told=bool(resource),
        deleted=event.type.lower().endswith(".deleted"),
        properties=properties if isinstance(properties, dict) and properties else None,
    )


def _activity(fields: Mapping[str, object], operation: str, target: str | None) -> Change:
    identity = mapping(embedded(fields.get("identity")))
    claims = _claims(fields.get("claims") or identity.get("claims"))
    address = text(fields.get("callerIpAddress")) or text(mapping(fields.get("httpRequest")).get("clientIpAddress"))
    properties = mapping(embedded(fields.get("properties")))
    return Change(
        operation=operation,
        at=moment(fields.get("time")) or moment(fields.get("eventTimestamp")),
        target=target or canonical(pick(properties, "entity")) or canonical(_authorization(fields).get("scope")),
        outcome=_outcome_word(_value(fields.get("resultType")) or _value(fields.get("status"))),
        tenant=(text(fields.get("tenantId")) or "").lower() or claims.tenant,
        actor=_actor(claims, address or claims.address, None, fallback=text(fields.get("caller"))),
        claims=claims,
        is_event=False,
        request=_body(properties, "requestbody"),
        response=_body(properties, "responsebody"),
    )


def _authorization(fields: Mapping[str, object]) -> Mapping[str, object]:
    """Return what was asked for, and where: it says once more what the operation and its target are."""
    return mapping(fields.get("authorization")) or mapping(
        mapping(embedded(fields.get("identity"))).get("authorization")
    )


def _outcome_word(word: str | None) -> Outcome:
    match (word or "").lower():
        case "start" | "started" | "accept" | "accepted":
            return Outcome.BEGUN
        case "success" | "succeeded":
            return Outcome.DONE
        case "failure" | "failed" | "canceled" | "cancelled" | "cancel":
            return Outcome.REFUSED
        case _:
            return Outcome.UNKNOWN


def _body(fields: Mapping[str, object], name: str) -> Mapping[str, object] | None:
    """Return a body, JSON in text, names in either case. What was cut off is as good as none (azure.md 6.1)."""
    body = embedded(pick(fields, name))
    return body if isinstance(body, dict) and body else None


def _value(value: object) -> str | None:
    """Return a text that may stand in an object as `value` (REST shape)."""
    return text(value) or text(pick(mapping(value), "value"))


# ---------------------------------------------------------------------------------------------------------- log records


def _record(fields: Mapping[str, object], name: str) -> Reading:
    operation = _value(fields.get("operationName")) or text(_authorization(fields).get("action"))
    category = (_value(fields.get("category")) or "").lower()
    target = canonical(_value(fields.get("resourceId")))
    at = moment(fields.get("time")) or moment(fields.get("eventTimestamp"))
    if "metricName" in fields or category == "allmetrics":
        return Reading(what=Other("a metric", at=at), event_id=name)
    known = _record_id(fields, operation, name)
    if category == DIRECTORY or (target or "").endswith("/providers/microsoft.aadiam"):
        return Reading(what=_directory(fields, operation, target), event_id=known)
    if category == AUDIT or (not category and operation is not None and "/" not in operation):
        return Reading(what=_audit(fields, operation, target), event_id=known)
    if operation is not None and "/" in operation:
        is_activity = category in ADMINISTRATIVE or not category
        why = f"the Activity Log's category {category} does not carry changes"
        what = _activity(fields, operation, target) if is_activity else Other(why, operation, at)
        return Reading(what=what, event_id=known)
    if operation is None:  # whose vault it is must decide whether that matters
        return Reading(what=_audit(fields, None, target), event_id=known)
    return Reading(what=Other(f"a record of the category {category}", operation, at), event_id=known)


def _record_id(fields: Mapping[str, object], operation: str | None, name: str) -> str:
    """Name a happening by what stays the same when it is delivered twice (azure.md 6.3)."""
    properties = mapping(fields.get("properties"))
    correlation = text(fields.get("correlationId")) or text(properties.get("correlationId"))
    at = text(fields.get("time")) or text(fields.get("eventTimestamp"))
    if correlation is None or at is None:
        return name
    about = text(properties.get("id")) or text(fields.get("requestUri")) or text(properties.get("requestUri")) or ""
    target = _value(fields.get("resourceId")) or text(properties.get("entity")) or ""
    outcome = _value(fields.get("resultType")) or _value(fields.get("status")) or ""
    parts = (at, target, operation or "", correlation, about, outcome)
    return sha256("\n".join(parts).lower().encode("utf-8", "replace"))


def _audit(fields: Mapping[str, object], operation: str | None, vault: str | None) -> Audit:
    properties = mapping(embedded(fields.get("properties")))
    identity = mapping(embedded(fields.get("identity")))
    claims = _claims(identity.get("claim") or identity.get("claims"))
    called = place(properties.get("requestUri")) or place(fields.get("requestUri"))
    if called and called.parts[:1] == ("subscriptions",):
        called = None  # a call of the management plane, whose host says nothing about the vault
    status = whole(properties.get("httpStatusCode"))
    if status is None:
        status = whole(fields.get("httpStatusCode"))
    signature = text(fields.get("resultSignature"))
    if status is None and signature:
        status = whole(signature)
    return Audit(
        operation=operation,
        at=moment(fields.get("time")),
        vault=vault,
        named=place(properties.get("id")),
        called=called,
        status=status,
        signature=signature,
        description=text(fields.get("resultDescription")) or "",
        claims=claims,
        address=text(fields.get("callerIpAddress")),
        agent=text(properties.get("clientInfo")) or text(fields.get("clientInfo")),
        properties=properties,
    )


def _directory(fields: Mapping[str, object], operation: str | None, target: str | None) -> What:
    properties = mapping(embedded(fields.get("properties")))
    at = moment(fields.get("time")) or moment(properties.get("activityDateTime"))
    parts = (target or "").split("/")
    of_resource = parts[2] if parts[1:2] == ["tenants"] and len(parts) > 2 else ""
    tenants = {(text(fields.get("tenantId")) or "").lower(), of_resource} - {""}
    result = text(properties.get("result")) or ""
    return Directory(
        operation=operation or text(properties.get("activityDisplayName")),
        at=at,
        tenants=frozenset(tenants),
        succeeded=result.lower() == "success",
        result=result,
        kind=(text(properties.get("operationType")) or "").lower(),
        actor=_initiator(mapping(properties.get("initiatedBy")), text(fields.get("callerIpAddress")), tenants),
        targets=tuple(_target(mapping(one)) for one in items(properties.get("targetResources"))),
    )


def _target(fields: Mapping[str, object]) -> tuple[str, str, tuple[Modified, ...]]:
    modified = [mapping(one) for one in items(fields.get("modifiedProperties"))]
    return (
        (text(fields.get("id")) or "").lower(),
        (text(fields.get("type")) or "").lower(),
        tuple(
            Modified(text(one.get("displayName")) or "", one.get("oldValue"), one.get("newValue")) for one in modified
        ),
    )


# --------------------------------------------------------------------------------------------------------------- actors


def _claims(value: object) -> Claims:
    """Read the few claims that are needed, whatever the style of their names; the rest is personal (azure.md 6.1)."""
    claims = mapping(embedded(value))
    found: dict[str, str] = {}
    for key, held in claims.items():
        short = key.lower().rpartition("/")[2] if "/" in key else key.lower()
        if isinstance(held, dict):  # a managed HSM nests: http_schemas_microsoft_com_identity.claims.objectidentifier
            for inner, value_of in mapping(pick(held, "claims")).items():
                _note(found, CLAIM_ENDINGS.get(inner.lower(), inner.lower()), value_of)
        else:
            _note(found, CLAIM_ENDINGS.get(short, short), held)
    issuer = place(found.get("iss"))
    return Claims(
        oid=found.get("oid", "").lower() or None,
        app=(found.get("appid") or found.get("azp") or "").lower() or None,
        tenant=(found.get("tid") or (issuer.parts[0] if issuer and issuer.parts else "")).lower() or None,
        upn=found.get("upn") or found.get("unique_name"),
        name=found.get("name"),
        address=found.get("ipaddr"),
    )


def _note(found: dict[str, str], name: str, value: object) -> None:
    for one in texts(value)[:1]:
        found.setdefault(name, one)


def _actor(claims: Claims, address: str | None, agent: str | None, *, fallback: str | None = None) -> Actor | None:
    """Name the caller as the log does: by user name, else by application and object id."""
    ids = [f"application {claims.app}" if claims.app else "", f"object {claims.oid}" if claims.oid else ""]
    name = claims.upn or fallback or ", ".join(one for one in ids if one)
    return Actor(name=name, account=claims.tenant, address=address, agent=agent) if name else None


def actor_of(audit: Audit) -> Actor | None:
    """Return who made a call to a vault; None when the record names nobody."""
    return _actor(audit.claims, audit.address or audit.claims.address, audit.agent)


def _initiator(fields: Mapping[str, object], address: str | None, tenants: set[str]) -> Actor | None:
    user, app = mapping(fields.get("user")), mapping(fields.get("app"))
    name = text(user.get("userPrincipalName")) or text(app.get("displayName")) or text(user.get("displayName"))
    name = name or text(user.get("id")) or text(app.get("servicePrincipalId"))
    if name is None:
        return None
    return Actor(name=name, account=min(tenants, default=None), address=address or text(user.get("ipAddress")))


def topic_subscription(change: Change | Notification) -> str | None:
    """Return the subscription that an event says it came from."""
    return subscription_of(change.topic)
