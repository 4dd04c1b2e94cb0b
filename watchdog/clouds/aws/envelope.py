"""Cutting a delivery into records: files, lines, queue answers, EventBridge, SNS, LookupEvents, notices (aws.md 6)."""

import re
from collections.abc import Callable
from datetime import datetime
from functools import partial

import msgspec
from msgspec import Raw, Struct, field

from watchdog.cloud import Broken, Dropped, Entry, Pointer, Unpacked
from watchdog.clouds.aws.dates import moment
from watchdog.clouds.aws.fields import mapping, text, texts
from watchdog.clouds.aws.index import Index, index_of
from watchdog.clouds.aws.record import (
    ANYTHING,
    LIST,
    OUTER,
    UNDECODABLE,
    Kind,
    Outer,
    Reading,
    UnreadableError,
    content,
    decoded,
    is_event,
    is_looked_up,
    is_statistics,
    is_wrapper,
    present,
    read,
)
from watchdog.clouds.aws.triage import (
    LOOK_AT,
    WRAPPED,
    Narrow,
    may_matter,
    native_may_matter,
    record_may_matter,
    why_dropped,
)
from watchdog.clouds.aws.trust import Origin, origin_of
from watchdog.register import Register

CHUNK = 64 * 1024  # bytes decoded at a time: small enough that cutting one record out of its chunk costs little
DEPTH = 6  # queue answer, topic, envelope, file: more wrappers than any real delivery has

NARROW = msgspec.json.Decoder(Narrow)
NARROWS = msgspec.json.Decoder(list[Narrow])
RAW = msgspec.json.Decoder(Raw)

SOMETHING = re.compile(rb"\S")
FILE_HEAD = re.compile(rb'\s*\{\s*"Records"\s*:\s*\[')
FILE_TAIL = re.compile(rb"\]\s*\}\s*\Z")
ARRAY_HEAD = re.compile(rb"\s*\[")
ARRAY_TAIL = re.compile(rb"\]\s*\Z")
NEXT_RECORD = b'},{"eventVersion":'
RECORD_START = re.compile(rb'\{\s*"eventVersion"\s*:')
ANY_START = re.compile(rb'(?<=[,\[])\s*\{\s*"')
MOST_BROKEN = 1000  # pieces of one damaged file that are put aside one by one; the rest goes aside as one piece
ESCAPED = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
UNWANTED = ("/CloudTrail-Digest/", "/CloudTrail-Insight/")


def unpack(body: bytes, *, first: int = 1, detail: bool = False, register: Register | None = None) -> Unpacked:
    """Cut one delivery into entries, broken pieces and pointers; see `watchdog.cloud.Cloud.unpack`.

    With a register at hand, triage also drops uses of keys that are not registered, and noise of strangers.
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
    known: dict[bytes, bool] = field(default_factory=dict)

    # ------------------------------------------------------------------------------------------------- whole deliveries

    def delivery(self, body: bytes) -> None:
        """Take a whole body: one JSON document, or JSON lines."""
        refused = _encoding(body)
        if refused:
            self.broken(body, refused)
            return
        body = body.removeprefix(b"\xef\xbb\xbf")
        start = SOMETHING.search(body)
        if start is None:
            return
        newline = body.find(b"\n", start.start())
        if newline < 0 or SOMETHING.search(body, newline) is None:
            self.document(body)
        elif _is_complete(body[start.start() : newline]):
            self.lines(body)
        else:
            self.document_or_lines(body)

    def document_or_lines(self, body: bytes) -> None:
        """Take a body whose first line is not complete: a document over several lines, or lines with a broken one."""
        if _is_complete(body):
            self.document(body)
        elif FILE_HEAD.match(body) is None and any(_is_object(line) for line in body.splitlines()):
            self.each_line(body)
        else:
            self.document(body)

    def document(self, body: bytes) -> None:
        """Take one JSON document."""
        if FILE_HEAD.match(body):
            self.elements(body, FILE_HEAD, FILE_TAIL)
        elif ARRAY_HEAD.match(body):
            self.elements(body, ARRAY_HEAD, ARRAY_TAIL)
        else:
            self.piece(body)

    def lines(self, body: bytes) -> None:
        """Take JSON lines, a chunk at a time; a chunk that cannot be decoded at once is taken line by line."""
        view = memoryview(body)
        at = 0
        while at < len(body):
            end = body.find(b"\n", at + CHUNK) + 1 or len(body)
            chunk = view[at:end]
            try:
                rows = NARROW.decode_lines(chunk)
            except UNDECODABLE:
                self.each_line(bytes(chunk))
            else:
                self.rows(rows, partial(RAW.decode_lines, chunk))
            at = end

    def each_line(self, chunk: bytes) -> None:
        """Take lines one by one, so that a broken one costs nobody else."""
        for line in chunk.split(b"\n"):
            if line.strip():
                self.piece(line)

    def elements(self, body: bytes, head: re.Pattern[bytes], tail: re.Pattern[bytes]) -> None:
        """Take the records of a file or an array, a chunk at a time.

        A cut in front of `{"eventVersion":` is safe: what stands before it decodes only if all brackets are closed.
        """
        start, end = head.match(body), tail.search(body, max(0, len(body) - 64))
        at, stop = start.end() if start else 0, end.start() if end else len(body)
        taken, view = 0, memoryview(body)
        while at < stop:
            cut = body.find(NEXT_RECORD, at + CHUNK, stop)
            upto = cut + 1 if cut >= 0 else stop
            chunk = b"".join((b"[", view[at:upto], b"]"))
            try:
                rows = NARROWS.decode(chunk)
            except UNDECODABLE:
                raws = _list(chunk) if end else None
                if raws is None:
                    self.rest(body, at, taken)
                    return
                self.pieces(raws)
                taken += len(raws)
            else:
                self.rows(rows, partial(LIST.decode, chunk))
                taken += len(rows)
            at = upto + 1
        if end is None:
            self.broken(body[-64:], "the file ends before its list of records is closed")

    def rest(self, body: bytes, at: int, taken: int) -> None:
        """Take what is left of a file that is not a plain list: one with more fields, or one that is damaged."""
        try:
            raws = decoded(LIST, body if ARRAY_HEAD.match(body) else decoded(OUTER, body).records)
        except UnreadableError as fault:
            self.salvage(body[at:], str(fault))
        else:
            self.pieces(raws[taken:])

    def salvage(self, damaged: bytes, why: str) -> None:
        """Take the records that can still be told apart in damaged text; what lies between them is broken."""
        begin = RECORD_START if RECORD_START.search(damaged) else ANY_START
        starts = [found.start() for found in begin.finditer(damaged)]
        broken = 0
        for start, end in zip([0, *starts], [*starts, len(damaged)], strict=True):
            part = damaged[start:end].strip(b" \t\r\n,")
            whole = next((form for form in (part, FILE_TAIL.sub(b"", part)) if _is_object(form)), None)
            if whole is not None:
                self.piece(whole)
            elif part.strip(b"]} \t\r\n,"):
                broken += 1
                if broken > MOST_BROKEN:
                    self.broken(damaged[start:], f"the file is damaged from here on: {why}")
                    return
                self.broken(part, f"the file is damaged here: {why}")

    def rows(self, rows: list[Narrow], cut: Callable[[], list[Raw]]) -> None:
        """Pick the records that may matter out of one decoded chunk; only then is the chunk cut into raw records."""
        if self.detail:
            self.pieces(cut())
            return
        tokens, known = self.index.tokens if self.index else None, self.known
        picked = [
            place
            for place, row in enumerate(rows)
            if not row.event_name
            or (
                (row.event_source in LOOK_AT or row.error_code is not None)
                and (row.event_source in WRAPPED or may_matter(row, tokens, known))
            )
        ]
        done = 0
        if picked:
            raws = cut()
            for place in picked:
                self.skip(place - done)
                self.piece(bytes(raws[place]))
                done = place + 1
        self.skip(len(rows) - done)

    # ----------------------------------------------------------------------------------------------------------- pieces

    def pieces(self, raws: list[Raw], depth: int = 0) -> None:
        """Take the elements of a list one by one."""
        for raw in raws:
            self.piece(bytes(raw), depth)

    def piece(self, raw: bytes, depth: int = 0) -> None:
        """Take one piece of any form, unwrapping it as far as needed."""
        if depth > DEPTH:
            self.broken(raw, "it is wrapped too many times")
            return
        try:
            self.form(raw, depth)
        except UnreadableError as fault:
            self.broken(raw, str(fault))

    def form(self, raw: bytes, depth: int) -> None:
        """Tell the form of a piece and take it accordingly. Raises UnreadableError for none that is known."""
        opening = raw.lstrip()[:1]
        if opening == b'"':
            self.piece(content(raw), depth + 1)
            return
        if opening == b"[":
            several = decoded(LIST, raw)
            if not several:
                raise UnreadableError("an empty list where a record should be")
            self.pieces(several, depth + 1)
            return
        outer = decoded(OUTER, raw)
        if is_wrapper(outer):
            self.notification(raw, outer, depth)
        elif is_event(outer) or _is_record(outer) or _has_the_only_time(outer):
            self.sort(read(raw, outer), raw)
        elif not self.holder(outer, depth) and not self.notice(outer):
            raise UnreadableError("it has no form that an AWS delivery has")

    def holder(self, outer: Outer, depth: int) -> bool:
        """Take something that holds pieces: a file, a queue answer or message, a LookupEvents answer."""
        for several in (outer.records, outer.messages, outer.events):
            if present(several):
                self.pieces(decoded(LIST, several), depth + 1)
                return True
        for one in (outer.message_body, outer.body, outer.sns, outer.cloud_trail_event):
            if present(one):
                self.piece(content(one), depth + 1)
                return True
        # ReceiveMessage and LookupEvents answer without the list when there is nothing.
        return present(outer.response_metadata) or b"null" in (bytes(outer.messages), bytes(outer.events))

    def notice(self, outer: Outer) -> bool:
        """Take a notice about objects in a bucket; False when it is none."""
        if outer.s3_bucket is not None and outer.s3_object_key is not None:
            self.point(text(outer.s3_bucket), texts(outer.s3_object_key), None)
        elif present(outer.s3):
            self.stored(outer)
        elif outer.s3_event == "s3:TestEvent":
            self.drop("the test message of an S3 notification")
        elif outer.digest_s3_object is not None or outer.digest_start_time is not None:
            self.drop("a digest, which only seals the files of the trail")
        else:
            return False
        return True

    def stored(self, outer: Outer) -> None:
        """Take one record of an S3 notification; names are URL-encoded there, with `+` for a space."""
        stored = mapping(decoded(ANYTHING, outer.s3))
        bucket, name = mapping(stored.get("bucket")), mapping(stored.get("object"))
        happened = text(outer.event_name) or ""
        if happened.startswith("ObjectCreated:"):
            names = [_unquoted(key) for key in texts(name.get("key"))]
            self.point(text(bucket.get("name")), names, text(outer.aws_region))
        else:
            self.drop("not about a new object", happened)

    def notification(self, raw: bytes, outer: Outer, depth: int) -> None:
        """Take an SNS message. What it carries keeps the wrapper, because the topic decides whether it is believed."""
        reading = read(raw, outer)
        trusted = self.index is None or reading.topic in self.index.topics
        if reading.kind is Kind.NOTICE and trusted:
            within = decoded(OUTER, content(outer.sns_message))
            records = decoded(LIST, within.records) if present(within.records) else []
            if not (records or self.notice(within)):
                self.drop("an empty file")
            for record in records:
                self.announced(raw, bytes(record), depth)
        elif reading.kind is Kind.TOPIC_CONFIRMATION and trusted and self.index:
            self.drop("a confirmation message of the topic; its link is not followed")
        else:
            self.sort(reading, raw)

    def announced(self, wrapper: bytes, record: bytes, depth: int) -> None:
        """Take one of several records inside an SNS message: about an object in a bucket, or a record of its own."""
        within = decoded(OUTER, record)
        if present(within.s3):
            self.stored(within)
        else:
            self.piece(_wrapped(wrapper, record), depth + 1)

    # ----------------------------------------------------------------------------------------------------- what is kept

    def sort(self, reading: Reading, raw: bytes) -> None:
        """Keep an entry, or drop it when nothing registered can be concerned."""
        why = self.dispensable(reading, raw)
        record = reading.record
        if why is None:
            self.keep(raw, reading.event_id)
        else:
            self.drop(why, record.name if record else None, reading.at)

    def dispensable(self, reading: Reading, raw: bytes) -> str | None:
        """Say why an entry cannot matter; None when it may, or when whether to believe it must be judged."""
        origin = self.origin(reading, raw)
        record, envelope = reading.record, reading.envelope
        if origin is Origin.FORGED:
            return None
        if origin is Origin.STRANGER:
            return "an event of an account that is not registered, about nothing registered"
        if record:
            return None if record_may_matter(record, self.index) else why_dropped(record.source, record.name)
        if reading.kind is Kind.STATISTICS:
            return "statistics about calls"
        if envelope and not native_may_matter(envelope, self.index):
            return "a native event that cannot concern a key"
        return None

    def origin(self, reading: Reading, raw: bytes) -> Origin:
        """Judge the wrappers; without a register, what does not agree with itself is left for later."""
        if self.index:
            return origin_of(reading, raw, self.index).origin
        envelope, record = reading.envelope, reading.record
        if envelope is None:
            return Origin.GENUINE if reading.topic is None else Origin.FORGED
        source = f"aws.{record.source.partition('.')[0]}" if record else envelope.source
        agrees = source.startswith("aws.") and source == envelope.source
        account = record.recipient if record else None
        return Origin.GENUINE if agrees and account in (None, envelope.account) else Origin.FORGED

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
        """Count one record that cannot matter, and list it when asked to."""
        if self.detail:
            self.into.dropped.append(Dropped(number=self.number, reason=reason, operation=operation, occurred_at=at))
        self.skip(1)

    def skip(self, count: int) -> None:
        """Count records that cannot matter."""
        self.into.dropped_count += count
        self.number += count

    def point(self, bucket: str | None, names: list[str], region: str | None) -> None:
        """Note objects to fetch; digests and statistics share the bucket and are not fetched."""
        if bucket is None or not names:
            raise UnreadableError("a notice about an object names no bucket or no object")
        wanted = [name for name in names if not any(part in f"/{name}" for part in UNWANTED)]
        if not wanted:
            self.drop("a notice about objects that hold no records")
            return
        self.into.pointers += [Pointer(bucket=bucket, name=name, region=region) for name in wanted]
        self.number += 1


# ---------------------------------------------------------------------------------------------------------------- forms


def _encoding(body: bytes) -> str | None:
    """Say why a body cannot be UTF-8 text at all."""
    if not body:
        return "it is empty"
    if body.startswith(b"\x1f\x8b"):
        return "it is still compressed (gzip)"
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in body[:4]:
        return "the text is UTF-16 or UTF-32, only UTF-8 can be read"
    return None


def _is_complete(raw: bytes) -> bool:
    """Whether bytes are one complete JSON value."""
    try:
        decoded(RAW, raw)
    except UnreadableError:
        return False
    return True


def _is_object(raw: bytes) -> bool:
    """Whether bytes are one complete JSON object that says something."""
    return raw.lstrip()[:1] == b"{" and len(raw) > 2 and _is_complete(raw)


def _is_record(outer: Outer) -> bool:
    """Whether this is meant as a bare CloudTrail record, complete or not."""
    if present(outer.s3) or present(outer.body):
        return False
    named = (outer.event_source, outer.event_name, outer.event_version, outer.event_type)
    return any(value is not None for value in named) or present(outer.user_identity) or is_statistics(outer)


def _has_the_only_time(outer: Outer) -> bool:
    """Whether this is an event of a LookupEvents answer that says when, around a record that does not."""
    if not is_looked_up(outer):
        return False
    inner = decoded(OUTER, content(outer.cloud_trail_event))
    return _is_record(inner) and moment(inner.event_time) is None


def _list(chunk: bytes) -> list[Raw] | None:
    try:
        return LIST.decode(chunk)
    except UNDECODABLE:
        return None


def _unquoted(name: str) -> str:
    return ESCAPED.sub(_bytes_of, name.replace("+", " "))


def _bytes_of(found: re.Match[str]) -> str:
    return bytes.fromhex(found[0].replace("%", "")).decode("utf-8", "replace")


def _wrapped(wrapper: bytes, record: bytes) -> bytes:
    """Put one record of several into a wrapper of its own."""
    fields = dict(mapping(decoded(ANYTHING, wrapper)))
    fields["Message"] = record.decode("utf-8", "replace")
    return msgspec.json.encode(fields)
