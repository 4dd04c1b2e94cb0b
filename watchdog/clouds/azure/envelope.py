"""Cutting a delivery into entries: hub messages, log files, requests, pull answers, queue messages (azure.md 6)."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime

import msgspec
from msgspec import Raw, Struct, field

from watchdog.cloud import Broken, Dropped, Entry, Unpacked
from watchdog.clouds.azure.fields import (
    UNDECODABLE,
    UnreadableError,
    decoded,
    embedded,
    mapping,
    mended,
    text,
    unbased,
    why_unreadable,
)
from watchdog.clouds.azure.index import Index, index_of
from watchdog.clouds.azure.meaning import judged
from watchdog.clouds.azure.record import (
    OF_A_SUBSCRIPTION,
    SUBSCRIPTION_HEADER,
    content_of,
    is_event,
    is_record,
    is_request,
    read,
)
from watchdog.clouds.azure.routes import is_heartbeat
from watchdog.clouds.azure.triage import Narrow, why_dropped
from watchdog.register import Register
from watchdog.words import Effect

DEPTH = 6  # queue message, request, pull answer, forwarder, records: more wrappers than any real delivery has
MOST_BROKEN = 1000  # pieces of one damaged delivery that are put aside one by one; the rest goes aside as one piece

NARROW = msgspec.json.Decoder(Narrow)
LIST = msgspec.json.Decoder(list[Raw])
OBJECT = msgspec.json.Decoder(dict[str, Raw])
LENIENT = json.JSONDecoder()

RECORDS_HEAD = re.compile(r'\s*\{\s*"records"\s*:\s*\[')
LIST_HEAD = re.compile(r"\s*\[")
NEXT = re.compile(r"[,\[]\s*\{")


def unpack(body: bytes, *, first: int = 1, detail: bool = False, register: Register | None = None) -> Unpacked:
    """Cut one delivery into entries and broken pieces; see `watchdog.cloud.Cloud.unpack`.

    With a register at hand, triage also drops what means nothing for this very register.
    """
    sorting = Sorting(number=first, detail=detail, index=index_of(register) if register else None)
    sorting.delivery(body)
    return sorting.into


class Sorting(Struct):
    """The state of cutting one delivery: what was found so far, and the number of the next record."""

    number: int
    detail: bool
    index: Index | None
    into: Unpacked = field(default_factory=Unpacked)
    seen: dict[str, int] = field(default_factory=dict)

    # ------------------------------------------------------------------------------------------------- whole deliveries

    def delivery(self, body: bytes) -> None:
        """Take a whole body: a JSON document, JSON lines, or base64 of either."""
        refused = _encoding(body)
        if refused:
            self.broken(body, refused)
            return
        body = body.removeprefix(b"\xef\xbb\xbf")
        if not body.strip():
            return
        if body.lstrip()[:1] not in b'{["':
            inner = unbased(body)
            if inner is None or inner.lstrip()[:1] not in (b"{", b"["):
                self.broken(body, "it is neither JSON nor base64 of JSON")
                return
            body = inner
        self.text(body, 0)

    def text(self, body: bytes, depth: int) -> None:
        """Take a text: one JSON document, or JSON lines, of which a broken one costs nobody else."""
        if _is_complete(body):
            self.document(body, depth)
            return
        lines = [line for line in body.splitlines() if line.strip()]
        if len(lines) > 1 and any(_is_object(line) for line in lines):
            for count, line in enumerate(lines):
                if len(self.into.broken) >= MOST_BROKEN:
                    self.broken(b"\n".join(lines[count:]), "the rest of a delivery with too many broken lines")
                    return
                self.document(line, depth)
        else:
            self.damaged(body, depth)

    def damaged(self, body: bytes, depth: int) -> None:
        """Take what is whole out of a document that is not; what lies between goes aside."""
        lenient = body.decode("utf-8", "replace")
        head = RECORDS_HEAD.match(lenient) or LIST_HEAD.match(lenient)
        if head is None:
            self.document(body, depth)
            return
        for piece, whole in _pieces(lenient, head.end()):
            raw = piece.encode("utf-8", "replace")
            if whole:
                self.document(raw, depth)
            else:
                self.broken(raw, "a piece of a damaged document that is not valid JSON")

    def document(self, raw: bytes, depth: int) -> None:
        """Take one JSON document; what cannot be read goes to the broken ones with its reason."""
        try:
            self.piece(raw, depth)
        except UnreadableError as fault:
            self.broken(raw, str(fault))

    # ------------------------------------------------------------------------------------------------------------ forms

    def piece(self, raw: bytes, depth: int) -> None:
        """Tell the form of a piece and take it accordingly. Raises UnreadableError for none that is known."""
        if depth > DEPTH:
            raise UnreadableError("it is wrapped too many times")
        opening = raw.lstrip()[:1]
        if opening == b"[":
            self.several(_listed(raw), depth)
        elif opening == b"{":
            self.entry(raw, depth)
        else:
            decoded(raw)
            raise UnreadableError("it is JSON, but neither an object nor an array")

    def several(self, pieces: list[bytes], depth: int) -> None:
        """Take the elements of a list one by one: only objects can be entries."""
        for piece in pieces:
            if piece.lstrip()[:1] == b"{":
                self.document(piece, depth + 1)
            else:
                self.broken(piece, "an element of a list of records that is not an object")

    def entry(self, raw: bytes, depth: int) -> None:
        """Take an object: something that holds entries, or an entry."""
        fields = _object(raw)
        if not fields:
            raise UnreadableError("it is an empty object")
        if not self.holder(fields, raw, depth):
            self.sort(raw)

    def holder(self, fields: Mapping[str, bytes], raw: bytes, depth: int) -> bool:
        """Take something that holds entries; False when it is none."""
        if "headers" in fields and is_request(told := mapping(decoded(raw))):
            self.request(told, depth)
        elif _is_list(fields.get("records")):
            self.several(_listed(fields["records"]), depth)
        elif _is_list(fields.get("value")) and "operationName" not in fields:
            self.several([_event_of(one) for one in _listed(fields["value"])], depth)
        elif "brokerProperties" in fields and "event" in fields:
            self.document(fields["event"], depth + 1)
        elif "messageText" in fields:
            self.message(fields["messageText"], depth)
        elif "text" in fields and ("container" in fields or "name" in fields):
            self.text((text(decoded(fields["text"])) or "").encode(), depth + 1)
        else:
            foreign = not fields.get("type", b'"Microsoft.').startswith(b'"Microsoft.')
            return foreign and self.forwarded(mapping(decoded(raw)))
        return True

    def request(self, told: Mapping[str, object], depth: int) -> None:
        """Take a request to the webhook: its events; what is about the subscription itself keeps its headers."""
        name = _header(told, SUBSCRIPTION_HEADER)
        kept = {SUBSCRIPTION_HEADER: name} if name else {}
        if (text(told.get("method")) or "").upper() == "OPTIONS":
            self.sort(_json({"method": "OPTIONS", "headers": kept}))
            return
        events = embedded(told.get("body"))
        if isinstance(events, dict):
            events = [events]
        if not isinstance(events, list):
            raise UnreadableError("the body of the request is neither an object nor an array")
        for event in events:
            kind = (text(mapping(event).get("eventType")) or text(mapping(event).get("type")) or "").lower()
            if kind in OF_A_SUBSCRIPTION:
                self.sort(_json({"method": "POST", "headers": kept, "body": [event]}))
            else:
                self.several([_json(event)], depth + 1)

    def message(self, raw: bytes, depth: int) -> None:
        """Take the text of a queue message: base64 of JSON, or JSON as it is."""
        inner = (text(decoded(raw)) or "").encode()
        if inner.lstrip()[:1] not in (b"{", b"["):
            inner = unbased(inner) or b""
        if inner.lstrip()[:1] not in (b"{", b"["):
            raise UnreadableError("the text of the queue message is neither JSON nor base64 of JSON")
        self.piece(inner, depth + 1)

    def forwarded(self, told: Mapping[str, object]) -> bool:
        """Take several log records that a forwarder put into one event: each keeps the forwarder's envelope."""
        held = content_of(told)
        inner = mapping(held).get("records")
        listed = inner if isinstance(inner, list) else held
        if not is_event(told) or not isinstance(listed, list):
            return False
        envelope = {name: value for name, value in told.items() if name not in ("data", "data_base64")}
        for record in listed:
            if isinstance(record, dict) and is_record(record):
                self.sort(_json({**envelope, "data": record}))
            else:
                self.broken(_json(record), "an element of a list of records that is not a log record")
        return True

    # ----------------------------------------------------------------------------------------------------- what is kept

    def sort(self, raw: bytes) -> None:
        """Keep an entry, or drop it when nothing registered can be concerned. Raises UnreadableError."""
        row = _narrow(raw)
        why = why_dropped(row) if row else None
        if why:
            self.drop(why, text(row.operation_name) if row else None)
            return
        reading = read(raw)
        if self.index is not None:
            found = judged(reading, self.index, None)
            if all(signal.effect is Effect.NO_EFFECT for signal in found) and not is_heartbeat(reading.what):
                self.drop(found[0].reason, found[0].operation, found[0].occurred_at)
                return
        self.keep(raw, reading.event_id)

    def keep(self, raw: bytes, event_id: str) -> None:
        """Keep an entry; a second one with the same id in the same delivery is counted, not kept."""
        earlier = self.seen.get(event_id)
        if earlier is not None:
            self.drop(f"same event id as record {earlier}")
            return
        self.seen[event_id] = self.number
        self.into.entries.append(Entry(number=self.number, raw=raw, event_id=event_id))
        self.number += 1

    def broken(self, raw: bytes, reason: str) -> None:
        """Put a piece that cannot be read aside."""
        self.into.broken.append(Broken(number=self.number, reason=reason, raw=raw))
        self.number += 1

    def drop(self, reason: str, operation: str | None = None, at: datetime | None = None) -> None:
        """Count one entry that cannot matter, and list it when asked to."""
        if self.detail:
            self.into.dropped.append(Dropped(number=self.number, reason=reason, operation=operation, occurred_at=at))
        self.into.dropped_count += 1
        self.number += 1


# ---------------------------------------------------------------------------------------------------------------- forms


def _encoding(body: bytes) -> str | None:
    """Say why a body cannot be UTF-8 text at all."""
    if not body:
        return "it is empty"
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in body[:4]:
        return "the text is UTF-16 or UTF-32, only UTF-8 can be read"
    return "it is still compressed (gzip)" if body.startswith(b"\x1f\x8b") else None


def _is_complete(raw: bytes) -> bool:
    try:
        decoded(raw)
    except UnreadableError:
        return False
    return True


def _is_object(raw: bytes) -> bool:
    return raw.lstrip()[:1] == b"{" and _is_complete(raw)


def _is_list(raw: bytes | None) -> bool:
    return raw is not None and raw.lstrip()[:1] == b"["


def _raw(decoder: "msgspec.json.Decoder[list[Raw]]", raw: bytes) -> list[bytes]:
    return [bytes(one) for one in decoder.decode(raw)]


def _listed(raw: bytes) -> list[bytes]:
    """Cut a list into its elements. Raises UnreadableError."""
    try:
        return _raw(LIST, raw)
    except UNDECODABLE:
        try:
            return _raw(LIST, mended(raw))
        except UNDECODABLE as fault:
            raise UnreadableError(why_unreadable(raw, fault)) from fault


def _object(raw: bytes) -> dict[str, bytes]:
    """Cut an object into its fields. Raises UnreadableError."""
    try:
        return {name: bytes(value) for name, value in OBJECT.decode(raw).items()}
    except UNDECODABLE:
        try:
            return {name: bytes(value) for name, value in OBJECT.decode(mended(raw)).items()}
        except UNDECODABLE as fault:
            raise UnreadableError(why_unreadable(raw, fault)) from fault


def _narrow(raw: bytes) -> Narrow | None:
    """Read the few fields of triage; None where they have other types, which only the rules can judge."""
    try:
        return NARROW.decode(raw)
    except UNDECODABLE:
        return None


def _event_of(raw: bytes) -> bytes:
    """Return the event of one element of a pull answer; any other element is as it is (Activity Log, REST shape)."""
    if raw.lstrip()[:1] != b"{":
        return raw
    fields = _object(raw)
    return fields["event"] if "event" in fields and "operationName" not in fields else raw


def _header(told: Mapping[str, object], name: str) -> str | None:
    headers = {key.lower(): value for key, value in mapping(told.get("headers")).items()}
    return text(headers.get(name))


def _json(content: object) -> bytes:
    return msgspec.json.encode(content)


def _pieces(body: str, at: int) -> Iterator[tuple[str, bool]]:
    """Yield the elements of a damaged list: whole ones, and what lies between them."""
    for _ in range(MOST_BROKEN):
        while at < len(body) and body[at] in ", \t\r\n":
            at += 1
        if at >= len(body) or body[at] == "]":
            return
        try:
            _, end = LENIENT.raw_decode(body, at)
        except (ValueError, RecursionError):
            found = NEXT.search(body, at + 1)
            end = found.end() - 1 if found else len(body)
            yield body[at:end], False
        else:
            yield body[at:end], True
        at = end
    if at < len(body):
        yield body[at:], False
