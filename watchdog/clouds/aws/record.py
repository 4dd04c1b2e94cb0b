"""The decoded AWS record: one CloudTrail record or native event, with the envelope in which it came."""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from enum import Enum, auto
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct, field

from watchdog.clouds.aws.dates import moment
from watchdog.clouds.aws.fields import account, items, mapping, text, truth

T = TypeVar("T")

VIA_CLOUDTRAIL = " via CloudTrail"
UNDECODABLE = (msgspec.MsgspecError, ValueError, RecursionError)
NOTHING = Raw(b"")
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class UnreadableError(Exception):
    """A piece of a delivery cannot be read; the text says why, for the operator."""


# ---------------------------------------------------------------------------------------------------------- on the wire


class Outer(Struct, gc=False, rename="camel"):
    """The outermost object of a delivery or of a piece: the fields that tell the forms apart, none of them required."""

    event_source: object = None
    event_name: object = None
    event_category: object = None
    event_type: object = None
    event_version: object = None
    event_id: object = field(default=None, name="eventID")
    event_time: object = None
    user_identity: Raw = NOTHING

    detail_type: object = field(default=None, name="detail-type")
    detail: Raw = NOTHING
    source: object = None
    account: object = None
    id: object = None
    time: object = None
    region: object = None
    resources: Raw = NOTHING

    records: Raw = field(default=NOTHING, name="Records")
    messages: Raw = field(default=NOTHING, name="Messages")
    events: Raw = field(default=NOTHING, name="Events")
    cloud_trail_event: Raw = field(default=NOTHING, name="CloudTrailEvent")
    lookup_time: object = field(default=None, name="EventTime")
    message_body: Raw = field(default=NOTHING, name="Body")
    body: Raw = NOTHING
    sns: Raw = field(default=NOTHING, name="Sns")
    s3: Raw = NOTHING
    aws_region: object = None

    sns_type: object = field(default=None, name="Type")
    topic_arn: object = field(default=None, name="TopicArn")
    sns_message: Raw = field(default=NOTHING, name="Message")
    sns_time: object = field(default=None, name="Timestamp")

    s3_bucket: object = None
    s3_object_key: object = None
    s3_event: object = field(default=None, name="Event")
    digest_s3_object: object = None
    digest_start_time: object = None
    response_metadata: Raw = field(default=NOTHING, name="ResponseMetadata")


class Fields(Struct, gc=False, rename="camel"):
    """A CloudTrail record with every field that any rule reads; types are judged later, one by one."""

    event_version: object = None
    event_source: object = None
    event_name: object = None
    event_type: object = None
    event_category: object = None
    event_time: object = None
    event_id: object = field(default=None, name="eventID")
    aws_region: object = None
    recipient_account_id: object = None
    source_ip_address: object = field(default=None, name="sourceIPAddress")
    user_agent: object = None
    user_identity: object = None
    error_code: object = None
    error_message: object = None
    read_only: object = None
    request_parameters: object = None
    response_elements: object = None
    additional_event_data: object = None
    service_event_details: object = None
    resources: object = None
    vpc_endpoint_account_id: object = None


OUTER = msgspec.json.Decoder(Outer)
FIELDS = msgspec.json.Decoder(Fields)
TEXT = msgspec.json.Decoder(str)
LIST = msgspec.json.Decoder(list[Raw])
ANYTHING = msgspec.json.Decoder(object)


def decoded(decoder: "msgspec.json.Decoder[T]", raw: bytes | Raw | memoryview) -> T:
    """Decode a piece; raises UnreadableError with a reason in words.

    The strict decoder refuses half of a surrogate pair, which AWS can pass on from a name that somebody chose: the
    lenient reader of the standard library then takes the piece, and the half becomes a question mark.
    """
    try:
        return decoder.decode(raw)
    except UNDECODABLE as fault:
        strict = fault
    whole = bytes(raw)
    if not SURROGATE.search(whole):
        raise UnreadableError(why_unreadable(whole, strict)) from strict
    try:
        return decoder.decode(json.dumps(json.loads(whole), ensure_ascii=False).encode("utf-8", "replace"))
    except UNDECODABLE as fault:
        raise UnreadableError(why_unreadable(whole, fault)) from fault


def why_unreadable(raw: bytes, fault: Exception) -> str:
    """Say in one sentence why bytes could not be decoded."""
    if isinstance(fault, RecursionError):
        return "the JSON is nested too deeply to be read"
    if isinstance(fault, UnicodeDecodeError):
        return f"the text is not valid UTF-8: {fault.reason} at byte {fault.start} of a text"
    if isinstance(fault, msgspec.ValidationError):
        return f"the JSON has another shape than a record: {fault}"
    if not raw.strip():
        return "it is empty"
    if raw.lstrip()[:1] not in b'{["':
        return "it is not JSON"
    return f"it is not valid JSON: {fault}"


def present(raw: Raw) -> bool:
    """Whether a field was there and not null."""
    return bytes(raw) not in (b"", b"null")


def content(raw: bytes | Raw) -> bytes:
    """Return the JSON inside a field: an object stands bare, or as JSON text (aws.md 8, trap 12)."""
    inner = bytes(raw)
    return decoded(TEXT, inner).encode() if inner.lstrip()[:1] == b'"' else inner


# ----------------------------------------------------------------------------------------------------------- the record


class Identity(Struct, frozen=True, kw_only=True):
    """Who acted, as the record has it. Service events have neither type nor ARN, the owner's copies no ARN."""

    type: str | None = None
    arn: str | None = None
    account: str | None = None
    principal_id: str | None = None
    user_name: str | None = None
    issuer: str | None = None
    invoked_by: str | None = None


class Envelope(Struct, frozen=True, kw_only=True):
    """An EventBridge envelope. EventBridge sets `account`: the account whose bus received the event first."""

    id: str | None
    detail_type: str
    source: str
    account: str | None
    region: str | None
    time: datetime | None
    resources: tuple[str, ...]
    detail: Mapping[str, object]

    @property
    def carries_cloudtrail(self) -> bool:
        """Whether `detail` is a CloudTrail record; everything else is a service's native event."""
        return self.detail_type.endswith(VIA_CLOUDTRAIL) or {"eventName", "eventSource"} <= self.detail.keys()


class Record(Struct, frozen=True, kw_only=True):
    """One CloudTrail record, every field of the right type or absent."""

    source: str
    name: str
    type: str = ""
    category: str = ""
    version: str = ""
    at: datetime | None = None
    event_id: str | None = None
    region: str | None = None
    recipient: str | None = None
    identity: Identity = field(default_factory=Identity)
    address: str | None = None
    agent: str | None = None
    error: str | None = None
    message: str = ""
    read_only: bool | None = None
    request: Mapping[str, object] = field(default_factory=dict)
    response: Mapping[str, object] = field(default_factory=dict)
    extra: Mapping[str, object] = field(default_factory=dict)
    service: Mapping[str, object] = field(default_factory=dict)
    resources: tuple[str, ...] = ()
    endpoint_account: str | None = None

    @property
    def is_network_twin(self) -> bool:
        """Whether this is the VPC endpoint's view of a call that has a record of its own."""
        return self.type == "AwsVpceEvent" or self.category == "NetworkActivity"

    @property
    def known_version(self) -> bool:
        """Whether the major version of the format is the one that the rules were written for."""
        return not self.version or self.version.partition(".")[0].strip() == "1"


class Kind(Enum):
    """What an entry is, once its wrappers are off."""

    RECORD = auto()
    NATIVE = auto()
    STATISTICS = auto()
    TOPIC_CONFIRMATION = auto()
    NOTICE = auto()


class Reading(Struct, frozen=True, kw_only=True):
    """One entry, read: what it is, how it came, and its id. `record` is there for records only.

    `sent` is the time of the outermost wrapper, if it has one.
    """

    kind: Kind
    event_id: str
    topic: str | None = None
    envelope: Envelope | None = None
    record: Record | None = None
    sent: datetime | None = None

    @property
    def at(self) -> datetime | None:
        """When it happened; where the record does not say it, the time of its envelope stands in (aws.md 3.0)."""
        stated = self.record.at if self.record else None
        return stated or (self.envelope.time if self.envelope else None) or self.sent


def read(raw: bytes, outer: Outer | None = None) -> Reading:
    """Read one entry: a bare record, an EventBridge event, or either of them in an SNS wrapper. Raises UnreadableError.

    An event of a LookupEvents answer is read too: it is kept whole where only it has the time.
    `outer` is the outermost object, for a caller that has decoded it already.
    """
    outer = outer or decoded(OUTER, raw)
    if is_looked_up(outer):
        inner = content(outer.cloud_trail_event)
        found = _unwrapped(inner, decoded(OUTER, inner), sha256(raw), topic=None)
        return msgspec.structs.replace(found, sent=moment(outer.lookup_time))
    if not is_wrapper(outer):
        return _unwrapped(raw, outer, sha256(raw), topic=None)
    topic = text(outer.topic_arn) or ""
    if outer.sns_type != "Notification":
        return Reading(kind=Kind.TOPIC_CONFIRMATION, event_id=sha256(raw), topic=topic)
    inner = content(outer.sns_message)
    found = _unwrapped(inner, decoded(OUTER, inner), sha256(raw), topic=topic)
    return msgspec.structs.replace(found, sent=moment(outer.sns_time))


def is_wrapper(outer: Outer) -> bool:
    """Whether this is an SNS message."""
    return outer.sns_type in ("Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation") and (
        outer.topic_arn is not None
    )


def is_event(outer: Outer) -> bool:
    """Whether this is an EventBridge envelope."""
    return isinstance(outer.detail_type, str) or (present(outer.detail) and isinstance(outer.source, str))


def is_looked_up(outer: Outer) -> bool:
    """Whether this is an event of a LookupEvents answer, with its time, around a record."""
    others = is_wrapper(outer) or is_event(outer) or outer.event_name is not None
    return present(outer.cloud_trail_event) and outer.lookup_time is not None and not others


def is_statistics(outer: Outer) -> bool:
    """Whether this is a CloudTrail Insight, which has no event name of its own."""
    return outer.event_category == "Insight" or outer.event_type == "AwsCloudTrailInsight"


def is_notice(outer: Outer) -> bool:
    """Whether this only tells of an object in a bucket, or is the digest of such objects."""
    return (
        (outer.s3_bucket is not None and outer.s3_object_key is not None)
        or outer.s3_event == "s3:TestEvent"
        or outer.digest_s3_object is not None
        or present(outer.records)
    )


def sha256(raw: bytes) -> str:
    """Return the name of an entry that has no id of its own."""
    return hashlib.sha256(raw).hexdigest()


def _unwrapped(raw: bytes, outer: Outer, name: str, topic: str | None) -> Reading:
    if is_event(outer):
        return _event(outer, name, topic)
    if is_statistics(outer):
        return Reading(kind=Kind.STATISTICS, event_id=text(outer.event_id) or name, topic=topic)
    if is_notice(outer):
        return Reading(kind=Kind.NOTICE, event_id=name, topic=topic)
    record = record_of(decoded(FIELDS, raw))
    return Reading(kind=Kind.RECORD, event_id=record.event_id or name, topic=topic, record=record)


def _event(outer: Outer, name: str, topic: str | None) -> Reading:
    if not present(outer.detail):
        raise UnreadableError("the EventBridge event has no detail")
    inner = content(outer.detail)
    envelope = envelope_of(outer, inner)
    if not envelope.carries_cloudtrail:
        return Reading(kind=Kind.NATIVE, event_id=envelope.id or name, topic=topic, envelope=envelope)
    fields = decoded(FIELDS, inner)
    if fields.event_category == "Insight" or fields.event_type == "AwsCloudTrailInsight":
        return Reading(kind=Kind.STATISTICS, event_id=envelope.id or name, topic=topic, envelope=envelope)
    record = record_of(fields)
    return Reading(
        kind=Kind.RECORD,
        event_id=record.event_id or envelope.id or name,
        topic=topic,
        envelope=envelope,
        record=record,
    )


def envelope_of(outer: Outer, detail: bytes) -> Envelope:
    """Read an envelope around a detail. Raises UnreadableError when the detail is not an object."""
    inner = decoded(ANYTHING, detail)
    if not isinstance(inner, dict):
        raise UnreadableError("the detail of the EventBridge event is not an object")
    resources = decoded(ANYTHING, outer.resources) if present(outer.resources) else []
    return Envelope(
        id=text(outer.id),
        detail_type=text(outer.detail_type) or "",
        source=text(outer.source) or "",
        account=account(outer.account),
        region=text(outer.region),
        time=moment(outer.time),
        resources=tuple(item for item in items(resources) if isinstance(item, str)),
        detail=inner,
    )


def record_of(fields: Fields) -> Record:
    """Give every field its type. Raises UnreadableError when nothing says what happened where (aws.md 3.0)."""
    source, name = text(fields.event_source), text(fields.event_name)
    if source is None or name is None:
        missing = " and ".join(word for word, value in (("eventName", name), ("eventSource", source)) if value is None)
        raise UnreadableError(f"{missing} missing or not a text")
    return Record(
        source=source,
        name=name,
        type=text(fields.event_type) or "",
        category=text(fields.event_category) or "",
        version=_version(fields.event_version),
        at=moment(fields.event_time),
        event_id=text(fields.event_id),
        region=text(fields.aws_region),
        recipient=account(fields.recipient_account_id),
        identity=_identity(mapping(fields.user_identity)),
        address=text(fields.source_ip_address),
        agent=text(fields.user_agent),
        error=_error(fields.error_code),
        message=text(fields.error_message) or "",
        read_only=truth(fields.read_only),
        request=mapping(fields.request_parameters),
        response=mapping(fields.response_elements),
        extra=mapping(fields.additional_event_data),
        service=mapping(fields.service_event_details),
        resources=tuple(_named(item) for item in items(fields.resources)),
        endpoint_account=account(fields.vpc_endpoint_account_id),
    )


def _version(value: object) -> str:
    """Read the version of the format; anything but a text or a number is an unknown version, not none."""
    if value is None:
        return ""
    return str(value) if isinstance(value, str | int | float) else "unreadable"


def _error(value: object) -> str | None:
    """Read an error code. One that is not a text still means that nothing changed (aws.md 0, fact 3)."""
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else "unreadable error code"


def _named(resource: object) -> str:
    fields = mapping(resource)
    return text(fields.get("ARN")) or text(fields.get("arn")) or ""


def _identity(fields: Mapping[str, object]) -> Identity:
    issuer = mapping(mapping(fields.get("sessionContext")).get("sessionIssuer"))
    return Identity(
        type=text(fields.get("type")),
        arn=text(fields.get("arn")),
        account=account(fields.get("accountId")),
        principal_id=text(fields.get("principalId")),
        user_name=text(fields.get("userName")),
        issuer=text(issuer.get("arn")),
        invoked_by=text(fields.get("invokedBy")),
    )
