"""Fields as AWS writes them, on top of the tolerant reading that all clouds share."""

from watchdog.reading import items, mapping, text, texts, whole

__all__ = ["account", "items", "mapping", "text", "texts", "truth", "whole"]

TRUTHS = {"true": True, "false": False}


def truth(value: object) -> bool | None:
    """Read a boolean that may be written as text ("false"); None when it is neither (aws.md 3.0)."""
    if isinstance(value, bool):
        return value
    return TRUTHS.get(value.lower()) if isinstance(value, str) else None


def account(value: object) -> str | None:
    """Read an account id, which some producers write as a number and so without its leading zeros."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12:
        return f"{value:012d}"
    return text(value)
