"""Cutting a delivery into messages: push and pull of Pub/Sub, bare entries, CloudEvents, lists and JSON lines."""

import msgspec
from msgspec import Raw, Struct, field

from watchdog.cloud import Broken, Dropped, Entry, Unpacked
from watchdog.clouds.gcp.index import Index, index_of
from watchdog.clouds.gcp.record import UNDECODABLE, Reading, UnreadableError, decoded, read, record_of
from watchdog.clouds.gcp.triage import why_dispensable
from watchdog.register import Register

LIST = msgspec.json.Decoder(list[Raw])
MARK = b"\xef\xbb\xbf"


class Outer(Struct):
    """The fields that tell a pull answer from a message; the rest stays raw."""

    received_messages: Raw = field(name="receivedMessages", default=Raw(b""))
    subscription: Raw = Raw(b"null")


class Pulled(Struct):
    """One message of a pull answer, as it stands there."""

    message: Raw = Raw(b"")


OUTER = msgspec.json.Decoder(Outer)
PULLED = msgspec.json.Decoder(Pulled)


def unpack(body: bytes, *, first: int = 1, detail: bool = False, register: Register | None = None) -> Unpacked:
    """Cut one delivery into entries and broken pieces; see `watchdog.cloud.Cloud.unpack`.

    An entry keeps its Pub/Sub wrapper, because the subscription in it decides whether it is believed. With a register
    at hand, triage also drops uses of keys that are not registered.
    """
    sorting = Sorting(number=first, detail=detail, index=index_of(register) if register else None)
    sorting.delivery(body.removeprefix(MARK))
    return sorting.into


class Sorting(Struct):
    """The state of cutting one delivery: what was found so far, and the number of the next message."""

    number: int
    detail: bool
    index: Index | None
    into: Unpacked = field(default_factory=Unpacked)

    def delivery(self, body: bytes) -> None:
        """Take a whole body: one JSON document, JSON lines, or one plain text."""
        if not body.strip():
            return
        lines = [line for line in body.split(b"\n") if line.strip()]
        if len(lines) > 1 and not _is_json(body) and any(_is_json(line) for line in lines):
            for line in lines:
                self.document(line)
        else:
            self.document(body)

    def document(self, body: bytes) -> None:
        """Take one JSON document: a list, a pull answer, or one message."""
        opening = body.lstrip()[:1]
        try:
            if opening == b"[":
                for raw in LIST.decode(body):
                    self.message(bytes(raw))
                return
            outer = OUTER.decode(body) if opening == b"{" else Outer()
            pulled = LIST.decode(outer.received_messages) if bytes(outer.received_messages) else None
        except UNDECODABLE:
            self.message(body)
            return
        if pulled is None:
            self.message(body)
            return
        for raw in pulled:
            self.pulled(bytes(raw), bytes(outer.subscription))

    def pulled(self, raw: bytes, subscription: bytes) -> None:
        """Take one message of a pull answer; it is kept in the form of a push, with the answer's subscription."""
        try:
            message = bytes(PULLED.decode(raw).message)
        except UNDECODABLE:
            message = b""
        if not message:
            self.broken(raw, "it is no message of a pull answer")
            return
        self.message(b'{"message":' + message + b',"subscription":' + subscription + b"}")

    def message(self, raw: bytes) -> None:
        """Keep, drop or put aside one message."""
        try:
            found = read(raw)
        except UnreadableError as fault:
            self.broken(raw, str(fault))
            return
        why = why_dispensable(found, self.index)
        if why is None:
            self.into.entries.append(Entry(number=self._next(), raw=raw, event_id=found.event_id))
        else:
            self.drop(found, why)

    def broken(self, raw: bytes, reason: str) -> None:
        """Put a piece aside that cannot be read."""
        self.into.broken.append(Broken(number=self._next(), reason=reason, raw=raw))

    def drop(self, found: Reading, reason: str) -> None:
        """Count a message that cannot matter."""
        number = self._next()
        self.into.dropped_count += 1
        if self.detail:
            payload = found.content.get("protoPayload")
            method = record_of(found.content, payload).method if isinstance(payload, dict) else None
            self.into.dropped.append(
                Dropped(number=number, reason=reason, operation=method or None, occurred_at=found.at)
            )

    def _next(self) -> int:
        number = self.number
        self.number += 1
        return number


def _is_json(body: bytes) -> bool:
    try:
        decoded(body)
    except UnreadableError:
        return False
    return True
