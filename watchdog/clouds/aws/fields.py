"""Tolerant reading of JSON fields: null or a wrong type never raises, the field is just not there."""

from collections.abc import Mapping

TRUTHS = {"true": True, "false": False}


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


def truth(value: object) -> bool | None:
    """Read a boolean that may be written as text ("false"); None when it is neither (aws.md 3.0)."""
    if isinstance(value, bool):
        return value
    return TRUTHS.get(value.lower()) if isinstance(value, str) else None


def whole(value: object) -> int | None:
    """Read a whole number that may be written as text or with a fraction of zero; None when it is neither."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    stripped = value.strip() if isinstance(value, str) else ""
    return int(stripped) if stripped.isascii() and stripped.isdigit() and len(stripped) <= 18 else None


def account(value: object) -> str | None:
    """Read an account id, which some producers write as a number and so without its leading zeros."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12:
        return f"{value:012d}"
    return text(value)
