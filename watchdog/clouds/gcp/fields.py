"""Tolerant reading of JSON fields: a wrong type never raises, the field is just not there; either spelling is read."""

from collections.abc import Mapping


def text(value: object) -> str | None:
    """Return the value when it is a text that says something, else None."""
    return value if isinstance(value, str) and value else None


def mapping(value: object) -> Mapping[str, object]:
    """Return the value when it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[object]:
    """Return the value when it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def texts(value: object) -> list[str]:
    """Return the texts in a list, or the one text that stands in place of a list."""
    if isinstance(value, str):
        return [value]
    return [item for item in items(value) if isinstance(item, str)]


def mappings(value: object) -> list[Mapping[str, object]]:
    """Return the objects in a list."""
    return [item for item in items(value) if isinstance(item, dict)]


def whole(value: object) -> int:
    """Read a status code: a number, or one written as text; 0 for anything else, as in an absent field."""
    if isinstance(value, bool):
        return 0
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10 else 0


def camel(name: str) -> str:
    """Turn snake_case into camelCase; what is camelCase already stays."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def either(fields: Mapping[str, object], name: str) -> object:
    """Return a field by its camelCase name or by the same name in snake_case; None when neither is there."""
    if name in fields:
        return fields[name]
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    return fields.get(snake)


def mask(request: Mapping[str, object]) -> list[str] | None:
    """Return the paths of a request's update mask in camelCase; None when it has none (gcp.md 6.1).

    It is one text with commas; older records have an object with `paths`.
    """
    found = either(request, "updateMask")
    if isinstance(found, dict):
        found = found.get("paths")
    if not isinstance(found, str | list):
        return None
    paths = [path.strip() for one in texts(found) for path in one.split(",")]
    return [camel(path) for path in paths if path]


def covers(paths: list[str] | None, name: str) -> bool:
    """Whether a mask names a field, something inside it, or everything."""
    return any(path in (name, "*") or path.startswith(f"{name}.") for path in paths or ())
