"""Fields as Azure writes them, on top of the tolerant reading that all clouds share."""

import base64
import binascii
import json
import re
from collections.abc import Mapping

import msgspec

from watchdog.reading import items, mapping, text, texts, whole

__all__ = [
    "ANYTHING",
    "UnreadableError",
    "decoded",
    "embedded",
    "items",
    "mapping",
    "mended",
    "pick",
    "stated",
    "text",
    "texts",
    "truth",
    "unbased",
    "whole",
    "why_unreadable",
]

UNDECODABLE = (msgspec.MsgspecError, ValueError, RecursionError)
TRUTHS: dict[object, bool] = {"true": True, "false": False, "1": True, "0": False, 1: True, 0: False}
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
BASE64 = re.compile(rb"[A-Za-z0-9+/\s]+={0,2}\s*")
ANYTHING = msgspec.json.Decoder(object)


class UnreadableError(Exception):
    """A piece of a delivery cannot be read; the text says why, for the operator."""


def pick(fields: Mapping[str, object], name: str) -> object:
    """Return a field whatever the case of its name: bodies and event data come in either (azure.md 3.9, 6.1)."""
    if name in fields:
        return fields[name]
    lowered = name.lower()
    return next((value for key, value in fields.items() if key.lower() == lowered), None)


def stated(fields: Mapping[str, object], name: str) -> bool:
    """Whether a field is there at all, be it null, whatever the case of its name."""
    return name in fields or name.lower() in (key.lower() for key in fields)


def truth(value: object) -> bool | None:
    """Read a boolean that may be written 0 or 1, or as text (azure.md 3.1); None when it is neither."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return TRUTHS.get(value.strip().lower())
    return TRUTHS.get(value) if isinstance(value, int | float) else None


def decoded(raw: bytes) -> object:
    """Decode JSON. Raises UnreadableError with a reason in words.

    The strict decoder refuses half of a surrogate pair, which can come from a name that somebody chose: the lenient
    reader of the standard library then takes the piece, and the half becomes a question mark.
    """
    try:
        return ANYTHING.decode(raw)
    except UNDECODABLE as fault:
        strict = fault
    if not SURROGATE.search(raw):
        raise UnreadableError(why_unreadable(raw, strict)) from strict
    try:
        return ANYTHING.decode(mended(raw))
    except UNDECODABLE as fault:
        raise UnreadableError(why_unreadable(raw, fault)) from fault


def mended(raw: bytes) -> bytes:
    """Write JSON anew without halves of surrogate pairs. Raises ValueError or RecursionError when it is none."""
    return json.dumps(json.loads(raw), ensure_ascii=False).encode("utf-8", "replace")


def why_unreadable(raw: bytes, fault: Exception) -> str:
    """Say in one sentence why bytes could not be decoded."""
    if isinstance(fault, RecursionError):
        return "the JSON is nested too deeply to be read"
    if isinstance(fault, UnicodeDecodeError):
        return f"the text is not valid UTF-8: {fault.reason} at byte {fault.start} of a text"
    if not raw.strip():
        return "it is empty"
    return f"it is not valid JSON: {fault}" if raw.lstrip()[:1] in b'{["' else "it is neither JSON nor base64 of JSON"


def embedded(value: object) -> object:
    """Return what stands in a field as it is, or as JSON inside text; None when the text cannot be read.

    A body that was cut off is as good as none (azure.md 6.1).
    """
    if not isinstance(value, str):
        return value
    try:
        return decoded(value.encode("utf-8", "replace"))
    except UnreadableError:
        return None


def unbased(raw: bytes) -> bytes | None:
    """Decode base64 text; None when it is none."""
    if not BASE64.fullmatch(raw):
        return None
    try:
        return base64.b64decode(b"".join(raw.split()), validate=True)
    except binascii.Error:
        return None
