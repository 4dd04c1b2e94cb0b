"""Tolerant reading of JSON fields: null or a wrong type never raises, the field is just not there."""

from collections.abc import Mapping

_MOST_DIGITS = 18


def text(value: object) -> str | None:
    """Return the value when it is a text that says something, else None."""
    return value if isinstance(value, str) and value else None


def mapping(value: object) -> Mapping[str, object]:
    """Return the value when it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[object]:
    """Return a list as it is, nothing for null, and any other value as a list of one."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def texts(value: object) -> list[str]:
    """Return the texts in a list, or the one text that stands in place of a list."""
    return [item for item in items(value) if isinstance(item, str)]


def mappings(value: object) -> list[Mapping[str, object]]:
    """Return the objects in a list, or the one object that stands in place of a list."""
    return [item for item in items(value) if isinstance(item, dict)]


def whole(value: object) -> int | None:
    """Read a whole number that may be written as text or with a fraction of zero; None when it is neither."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    stripped = value.strip() if isinstance(value, str) else ""
    return int(stripped) if stripped.isascii() and stripped.isdigit() and len(stripped) <= _MOST_DIGITS else None
