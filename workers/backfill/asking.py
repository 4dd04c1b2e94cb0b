"""What archives that are asked by HTTP have in common: pages cut into records, waits that were asked for, cursors."""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from watchdog.probing import Answer
from workers.feeds.interface import FeedFault, Reason, Received

MOST_BYTES = 64 * 1024 * 1024
"""The longest answer that is read. A page of 1,000 audit records has about five million."""

_TRIES = 3
_LONGEST_WAIT = 15.0  # seconds that are waited in here; who is asked for more gives the reading up for now
_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)
_FIELDS = msgspec.json.Decoder(dict[str, Raw])
_LIST = msgspec.json.Decoder(list[Raw])
_REASONS: Mapping[Answer, Reason] = {
    Answer.UNREACHABLE: Reason.NETWORK,
    Answer.THROTTLED: Reason.THROTTLED,
    Answer.SERVER_FAULT: Reason.SERVER,
    Answer.CREDENTIALS: Reason.CREDENTIALS,
    Answer.IDENTITY_REFUSED: Reason.DENIED,
    Answer.DENIED: Reason.DENIED,
}
T = TypeVar("T")


class AskedToWait(FeedFault):
    """The far end does not serve now, and says after how many seconds to come again."""

    def __init__(self, fault: FeedFault, seconds: float) -> None:
        super().__init__(fault.reason, f"{fault}; it asks to wait for {seconds:.0f} seconds", hint=fault.hint())
        self.seconds = seconds


def waiting(fault: FeedFault, retry_after: str | None) -> FeedFault:
    """Return a fault together with what the header Retry-After says; a date in it is not read."""
    passing = fault.reason in (Reason.THROTTLED, Reason.SERVER)
    seconds = int(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
    return AskedToWait(fault, seconds) if passing and seconds is not None else fault


def patiently(ask: Callable[[], T], sleep: Callable[[float], None]) -> T:
    """Ask, and wait as told before asking again, a few times and not for long. Raises FeedFault."""
    for _ in range(_TRIES - 1):
        try:
            return ask()
        except AskedToWait as busy:
            if busy.seconds > _LONGEST_WAIT:
                raise
            sleep(busy.seconds)
    return ask()


def without_token(answer: Answer, words: str, what: str) -> FeedFault:
    """Return the fault that it is not to have a token to ask with."""
    # A token service that is not understood is most often a guest network or a proxy that answers in its stead.
    return FeedFault(_REASONS.get(answer, Reason.NETWORK), f"{what}: {words}")


def page(body: bytes, name: str, *, required: bool) -> tuple[list[bytes], Mapping[str, Any]]:
    """Cut an answer into the elements of the list `name` and its other fields. Raises ValueError when it is no page.

    An element may hold what no strict decoder takes, such as half a surrogate pair: it must not cost its neighbours.
    An empty list may be left out unless it is `required`.
    """
    try:
        fields = _FIELDS.decode(body)
        listed = [bytes(one) for one in _LIST.decode(fields.pop(name))] if name in fields else None
        rest = {key: msgspec.json.decode(value) for key, value in fields.items()}
    except _UNDECODABLE:
        listed, rest = _leniently(body, name)
    if listed is None and (required or "error" in rest):
        raise ValueError(f"it is no object with a list {name}")
    return listed or [], rest


def _leniently(body: bytes, name: str) -> tuple[list[bytes] | None, dict[str, Any]]:
    try:
        told = json.loads(body.decode("utf-8", "replace"), strict=False)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    listed = told.pop(name, None) if isinstance(told, dict) else ()
    if not isinstance(listed, list | None):
        raise ValueError(f"it is no object with a list {name}")  # noqa: TRY004 - what is wrong is the answer
    return None if listed is None else [json.dumps(one).encode() for one in listed], told


def message(raw: bytes, place: str, now: datetime) -> Received:
    """Return one element of a page as a delivery of its own; what is no record stays readable to people."""
    is_object = raw.lstrip()[:1] == b"{"
    return Received(
        id=hashlib.sha256(raw).hexdigest(),
        body=raw,
        received_at=now,
        receipt=None,
        place=place,
        fault=None if is_object else "an element of the archive's answer that is not an object",
    )


def written(cursor: Mapping[str, str | None]) -> str:
    """Write a cursor as text."""
    return json.dumps(cursor, sort_keys=True)


def read(cursor: str | None) -> Mapping[str, str]:
    """Read a cursor; nothing when there is none, or it was written by something else: then all is read again."""
    try:
        told = json.loads(cursor) if cursor else {}
    except ValueError:
        return {}
    return {str(k): v for k, v in told.items() if isinstance(v, str)} if isinstance(told, dict) else {}
