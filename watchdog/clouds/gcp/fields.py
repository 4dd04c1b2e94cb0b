"""Fields as Google Cloud writes them, on top of the tolerant reading that all clouds share: either spelling is read."""

from collections.abc import Mapping

from watchdog.reading import items, mapping, mappings, text, texts, whole

__all__ = [
    "camel",
    "covers",
    "either",
    "items",
    "mapping",
    "mappings",
    "mask",
    "text",
    "texts",
    "whole",
]


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
