"""Evidence: an append-only chain in which every entry seals the one before it."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """One entry of the chain. `body` is canonical JSON text; `seal` covers every other field and the entry before."""

    number: int
    at: datetime
    kind: str
    subject: str
    body: str
    previous: str
    seal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """The first place where the chain does not hold."""

    number: int
    text: str


def seal(previous: Sealed | None, kind: str, subject: str, body: Mapping[str, object], *, at: datetime) -> Sealed:
    """Make the entry that follows `previous` (None: the first). Raises ValueError for a naive time."""
    if at.tzinfo is None:
        msg = "evidence needs an aware time"
        raise ValueError(msg)
    number = previous.number + 1 if previous else 1
    before = previous.seal if previous else GENESIS
    text = msgspec.json.encode(body, order="deterministic").decode()
    return Sealed(
        number=number,
        at=at,
        kind=kind,
        subject=subject,
        body=text,
        previous=before,
        seal=digest(number, at, kind, subject, text, before),
    )


def digest(number: int, at: datetime, kind: str, subject: str, body: str, previous: str) -> str:
    """Return the SHA-256, in hex, that an entry with these fields must carry."""
    # A JSON array is an unambiguous concatenation: no field can flow over into its neighbour.
    fields = [number, at.isoformat(timespec="microseconds"), kind, subject, body, previous]
    return hashlib.sha256(msgspec.json.encode(fields)).hexdigest()


def verify(entries: Iterable[Sealed], *, start: Sealed | None = None) -> tuple[int, Flaw | None]:
    """Check a chain in order; return how many entries hold and the first flaw (None: all hold)."""
    held = 0
    last = start
    for entry in entries:
        flaw = _flaw(last, entry)
        if flaw is not None:
            return held, flaw
        held += 1
        last = entry
    return held, None


def _flaw(last: Sealed | None, entry: Sealed) -> Flaw | None:
    expected = last.number + 1 if last else 1
    if entry.number != expected:
        return Flaw(number=expected, text=f"entry {expected} is missing, entry {entry.number} stands in its place")
    if entry.previous != (last.seal if last else GENESIS):
        return Flaw(number=entry.number, text=f"entry {entry.number} does not follow the entry before it")
    if entry.seal != digest(entry.number, entry.at, entry.kind, entry.subject, entry.body, entry.previous):
        return Flaw(number=entry.number, text=f"entry {entry.number} was changed after it was sealed")
    return None
