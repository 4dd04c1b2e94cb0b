"""Pieces: cut a file or an object of any size into parts that can be unpacked one by one in bounded memory."""

import codecs
import hashlib
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

READ_BYTES = 1 << 20
KEPT_BYTES = 1 << 20
MOST_SAVED = 1_000_000  # records of a broken document that are looked for one by one
_GZIP = b"\x1f\x8b"
# A run of blank lines inside a piece; the common file has none and is searched at memchr speed.
_BLANK = re.compile(rb"\n[ \t\r]*(?=\n)")
# The shapes whose whole records can be saved when the end is missing: a bare list, or a list in an object.
_LIST = re.compile(r'\s*(?P<object>\{\s*"(?:Records|Events|Messages)"\s*:\s*)?\[')
_BETWEEN = re.compile(r"[\s,]*")


class Form(StrEnum):
    """How the records of a piece are written."""

    DOCUMENT = "document"
    LINES = "lines"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds, in bytes of text after inflation.

    JSON lines come in pieces of about `piece`; a document, or a single line, is read up to `document`. Inflated text
    beyond `document` that grew more than `ratio` times is taken for a bomb (CloudTrail files grow 10 to 30 times).
    """

    piece: int = 4 << 20
    document: int = 256 << 20
    ratio: int = 250


LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a file. With `error` it is a part that cannot be read, and `body` what could be kept of it."""

    name: str
    form: Form
    body: bytes
    first: int = 1
    error: str | None = None


class Readable(Protocol):
    """Whatever bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, none at the end."""
        ...


class _BreakError(Exception):
    """The bytes cannot be followed any further; everything before has been handed out."""


def cut(stream: Readable, name: str, limits: Limits = LIMITS) -> Iterator[Piece]:
    """Cut a stream into pieces: JSON lines at line ends, everything else whole.

    Gzip is seen by its first bytes, UTF-16 and UTF-32 are turned into UTF-8. What cannot be read comes as a piece with
    an error that says where; everything before it is used. There is at least one piece. Raises only what the stream
    raises, but for OSError, which ends the file as an error piece.
    """
    text = _Text(_utf8(_plain(_read(stream), limits)))
    if text.is_one_line(limits.piece):
        # The common large document, as CloudTrail writes it: it is joined once, from all its chunks.
        head, lines = text.take(limits.document), False
        if text.over and text.broken is None:
            yield _small(head, name, lines=False)
        else:
            yield from _document(head, text, name, limits)
        return
    head = text.take(limits.piece)
    # A break within the head is treated like one further on: by the form of what could be read.
    lines = _looks_like_lines(head)
    if text.over and text.broken is None:
        yield _small(head, name, lines=lines)
    elif lines:
        yield from _lines(head, text, name, limits)
    else:
        yield from _document(head, text, name, limits)


def sealed(body: bytes, kept: int = KEPT_BYTES) -> bytes:
    """Return the bytes themselves when they are few, else their head with a line that tells length and SHA-256."""
    if len(body) <= kept:
        return body
    seal = hashlib.sha256(body).hexdigest()
    return body[:kept] + b"\n... cut here: %d bytes in whole, SHA-256 %s\n" % (len(body), seal.encode())


def records_in(lines: bytes) -> int:
    """Count the records of a piece of JSON lines: its lines that are not blank."""
    if lines[:1] in b"\n\r\t " or _BLANK.search(lines):
        return sum(1 for line in lines.split(b"\n") if line.strip())
    return lines.count(b"\n") + bool(lines[lines.rfind(b"\n") + 1 :].strip())


# ------------------------------------------------------------------------------------------------------------ bytes


def _read(stream: Readable) -> Iterator[bytes]:
    place = 0
    while True:
        try:
            chunk = stream.read(READ_BYTES)
        except OSError as error:
            raise _BreakError(f"reading stopped at byte {place}: {error.strerror or error}") from error
        if not chunk:
            return
        place += len(chunk)
        yield chunk


def _plain(chunks: Iterator[bytes], limits: Limits) -> Iterator[bytes]:
    first = next(chunks, b"")
    if len(first) == 1:
        first += next(chunks, b"")
    joined = _chain(first, chunks)
    yield from _inflated(joined, limits) if first.startswith(_GZIP) else joined


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _inflated(chunks: Iterator[bytes], limits: Limits) -> Iterator[bytes]:
    inflater = zlib.decompressobj(31)
    fed = grown = 0
    inside = True
    for chunk in chunks:
        fed += len(chunk)
        rest = chunk
        while rest:
            if not inside:  # after a member: another one, or the zero bytes that some writers fill up with
                rest = rest.lstrip(b"\0")
                if not rest:
                    break
                inflater, inside = zlib.decompressobj(31), True
            for text in _inflate(inflater, rest, fed):
                grown += len(text)
                if grown > limits.document and grown > limits.ratio * fed:
                    raise _BreakError(
                        f"the gzip data grows more than {limits.ratio} times ({fed} bytes into {grown} and more): "
                        "it looks like a gzip bomb and is not read further"
                    )
                yield text
            inside, rest = not inflater.eof, inflater.unused_data
    if inside:
        raise _BreakError(f"the gzip data is cut off at byte {fed}")


def _inflate(inflater: "zlib._Decompress", data: bytes, fed: int) -> Iterator[bytes]:
    rest = data
    while True:
        try:
            text = inflater.decompress(rest, READ_BYTES)
        except zlib.error as error:
            at = fed - len(inflater.unconsumed_tail or rest)
            raise _BreakError(f"the gzip data is damaged after byte {at} ({error})") from error
        if text:
            yield text
        rest = inflater.unconsumed_tail
        if inflater.eof or (not rest and len(text) < READ_BYTES):
            return


def _utf8(chunks: Iterator[bytes]) -> Iterator[bytes]:
    first = b""
    for chunk in chunks:
        first += chunk
        if len(first) >= 4:
            break
    encoding = json.detect_encoding(first)
    if encoding == "utf-8":
        yield from _chain(first, chunks)
    elif encoding == "utf-8-sig":
        yield from _chain(first[3:], chunks)
    else:
        yield from _transcoded(_chain(first, chunks), encoding)


def _transcoded(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    place = kept = 0
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
            place += len(chunk)
            kept = len(decoder.getstate()[0])  # the beginning of a character whose rest is to come
        yield decoder.decode(b"", final=True).encode()
    except UnicodeDecodeError as error:
        raise _BreakError(f"not valid {encoding} after byte {place - kept + error.start}: {error.reason}") from error


class _Text:
    """The text of the stream, taken in portions; remembers that it is over, and why if it broke.

    What was read and is not taken yet is held in its chunks: large texts are joined once.
    """

    __slots__ = ("_chunks", "_fault", "_held", "_length", "_spent")

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held: list[bytes] = []
        self._length = 0
        self._spent = False
        self._fault: str | None = None

    @property
    def over(self) -> bool:
        """Whether everything is taken."""
        return self._spent and not self._held

    @property
    def broken(self) -> str | None:
        """Why the text ended before its end; None as long as something is left to take."""
        return self._fault if self.over else None

    def is_one_line(self, size: int) -> bool:
        """Whether no line ends in the first `size` bytes. Nothing is taken; says no when in doubt."""
        self._look(size)
        return not any(b"\n" in chunk for chunk in self._held)

    def take(self, size: int) -> bytes:
        """Return `size` bytes, or all that is left."""
        self._look(size)
        parts, left = [], size
        while left > 0 and self._held:
            chunk = self._held.pop(0)
            if len(chunk) > left:
                self._held.insert(0, chunk[left:])
                chunk = chunk[:left]
            parts.append(chunk)
            left -= len(chunk)
        self._length -= size - left
        self._look(1)  # so that a text of just the asked size is known to be over
        return b"".join(parts)

    def _look(self, size: int) -> None:
        while self._length < size and not self._spent:
            try:
                chunk = next(self._chunks, None)
            except _BreakError as error:
                chunk, self._fault = None, str(error)
            if chunk is None:
                self._spent = True
            elif chunk:
                self._held.append(chunk)
                self._length += len(chunk)


# ------------------------------------------------------------------------------------------------------------- form


def _looks_like_lines(head: bytes) -> bool:
    """Whether a text is JSON lines: its first line stands alone, or (if that is broken) two later ones do.

    Lines that are indented belong to a document that is printed over several lines.
    """
    lines = [line for line in head.split(b"\n", 64)[:64] if line.strip()]
    if len(lines) < 2:
        return False
    if _is_object(lines[0]):
        return True
    return sum(1 for line in lines[1:] if line[:1] == b"{" and _is_object(line)) > 1


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _small(body: bytes, name: str, *, lines: bool) -> Piece:
    form = Form.LINES if lines else Form.DOCUMENT
    if not body.strip():
        return _fault(name, form, 1, "the file is empty" if not body else "the file holds only blanks", b"")
    return Piece(name=name, form=form, body=body)


def _fault(name: str, form: Form, first: int, reason: str, rest: bytes) -> Piece:
    # Quarantine knows a piece again by its bytes: two files of which nothing is left must not look the same.
    body = sealed(rest) if rest.strip() else f"{name}: {reason}".encode()
    return Piece(name=name, form=form, body=body, first=first, error=reason)


# ------------------------------------------------------------------------------------------------------- JSON lines


def _lines(head: bytes, text: _Text, name: str, limits: Limits) -> Iterator[Piece]:
    number, pending = 1, head
    while True:
        end = pending.rfind(b"\n") + 1
        if text.over and text.broken is None:
            end = len(pending)
        elif text.over and _is_object(pending[end:]):
            end = len(pending)  # the break came just after a whole record
        body, rest = pending[:end], pending[end:]
        if body.strip():
            yield Piece(name=name, form=Form.LINES, body=body, first=number)
            number += records_in(body)
        if text.over:
            if text.broken is not None:
                yield _fault(name, Form.LINES, number, f"{text.broken}; everything before is used", rest)
            return
        if len(rest) > limits.document:
            reason = f"record {number} is longer than {limits.document} bytes"
            yield _fault(name, Form.LINES, number, reason, rest)
            number += 1
            rest = _after_line_end(text, limits)
        # A line that is longer than a piece doubles what is read next, so that it is not copied over and over.
        wanted = max(limits.piece - len(rest), len(rest))
        pending = rest + text.take(min(wanted, limits.document - len(rest) + 1))


def _after_line_end(text: _Text, limits: Limits) -> bytes:
    """Skip to the end of the line; return what follows of the portion in which it ended."""
    while not text.over:
        portion = text.take(limits.piece)
        _, found, rest = portion.partition(b"\n")
        if found:
            return rest
    return b""


# -------------------------------------------------------------------------------------------------------- documents


def _document(head: bytes, text: _Text, name: str, limits: Limits) -> Iterator[Piece]:
    body = head
    if not text.over:
        body += text.take(max(0, limits.document - len(head)))
    if text.over and (text.broken is None or _is_object(body)):
        yield Piece(name=name, form=Form.DOCUMENT, body=body)
        if text.broken is not None:  # it came just after the end of the document
            yield _fault(name, Form.DOCUMENT, 2, f"{text.broken}; everything before is used", b"")
        return
    reason = text.broken or f"the document is longer than {limits.document} bytes"
    whole, count, end = _whole_records(body)
    if count:
        yield Piece(name=name, form=Form.DOCUMENT, body=whole)
        reason += f"; the {count} whole records before are used"
    yield _fault(name, Form.DOCUMENT, count + 1, reason, body[end:])


def _whole_records(body: bytes) -> tuple[bytes, int, int]:
    """Close a document after its last whole record: the closed text, how many records it has, where it was cut.

    Only lists of records can be closed; other documents give no record.
    """
    # Latin-1 keeps one character for each byte, so that places in the text are places in the bytes; what JSON is made
    # of is ASCII, and no byte of a longer UTF-8 character looks like it.
    text = body.decode("latin-1")
    opened = _LIST.match(text)
    if not opened:
        return b"", 0, 0
    decoder = json.JSONDecoder(strict=False)
    end, count = opened.end(), 0
    place = _after_blanks(text, end)
    while place < len(text) and count < MOST_SAVED:
        try:
            _, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            break
        if place == len(text) and text[-1] not in '}]"':
            break  # a number or a word at the very end may be cut itself
        end, count = place, count + 1
        place = _after_blanks(text, end)
    return body[:end] + (b"]}" if opened["object"] else b"]"), count, end


def _after_blanks(text: str, place: int) -> int:
    found = _BETWEEN.match(text, place)
    return found.end() if found else place
