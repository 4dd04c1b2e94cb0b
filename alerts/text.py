"""The one place where text that outsiders can influence is made harmless: cleaned once, then escaped per channel."""

import unicodedata
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar, cast

T = TypeVar("T")

LIMIT = 600
"""The longest text that a fact may bring along, in characters; what is cut is said."""

COMMAND_LIMIT = 4000
DROPPED = "\N{REPLACEMENT CHARACTER}"
SHORTENED = "... [shortened]"
WITHHELD = ""
"""Stands for a command that cannot be copied safely. The texts say so in its place."""

# Control, format (bidirectional marks, zero width, tags), surrogate, private and unassigned characters.
_NEVER_SHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
# Letters and marks by their category, yet nothing to be seen: they can hide or split a word.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
# Links that a stranger put into a name must not become links in the reader's mail program.
_DEFANGED = (("://", "[://]"), ("www.", "www[.]"))
# Fields that we or the vendor wrote, in which an address is meant to work, or that are identifiers.
_OURS = frozenset(
    {"verify_url", "emergency_contact", "email", "id", "key", "consumer", "dedup", "previous_dedup", "incident"}
)


def clean(text: str, limit: int = LIMIT) -> str:
    """Return `text` in one line, NFC, without anything invisible, at most about `limit` characters long.

    What was dropped leaves a visible mark, so that two names that look alike are not shown alike (alerting.md 4.3).
    """
    # Far longer than the limit is never read: ten megabytes of name must not cost ten megabytes of work.
    cut = text[: limit * 4]
    # Nearly every text is plain; the short way keeps an incident of a thousand keys cheap.
    shown = cut if cut.isascii() and cut.isprintable() else "".join(_shown(character) for character in cut)
    while DROPPED * 2 in shown:
        shown = shown.replace(DROPPED * 2, DROPPED)
    neat = unicodedata.normalize("NFC", " ".join(shown.split()))
    if len(neat) > limit or len(cut) < len(text):
        return neat[:limit].rstrip() + SHORTENED
    return neat


def _shown(character: str) -> str:
    if character.isspace():
        return " "
    if character in _INVISIBLE or unicodedata.category(character) in _NEVER_SHOWN:
        return DROPPED
    return character


def defang(text: str) -> str:
    """Return `text` with its web addresses broken visibly."""
    for alive, broken in _DEFANGED:
        text = text.replace(alive, broken)
    return text


def clean_command(command: str) -> str:
    """Return the command unchanged, or WITHHELD when a reader could not copy it safely.

    A command is never repaired: half a command is worse than none. Line breaks are allowed, nothing else invisible.
    """
    odd = any(_shown(character) in {DROPPED, " "} and character not in " \n" for character in command)
    return WITHHELD if odd or len(command) > COMMAND_LIMIT or not command.strip() else command


def cleaned(value: T, field: str = "") -> T:
    """Return a copy of a value of facts in which every text is clean and every moment is in UTC, all the way down."""
    done: Any = value
    if isinstance(value, Enum):
        pass
    elif isinstance(value, str):
        done = _cleaned_text(value, field)
    elif isinstance(value, datetime):
        done = _utc(value)
    elif is_dataclass(value) and not isinstance(value, type):
        done = replace(value, **{item.name: cleaned(getattr(value, item.name), item.name) for item in fields(value)})
    elif isinstance(value, tuple):
        done = tuple(cleaned(item, field) for item in value)
    elif isinstance(value, Mapping):
        done = {clean(str(name)): cleaned(item, field) for name, item in value.items()}
    return cast("T", done)


def _utc(at: datetime) -> datetime:
    """Return the moment in UTC. One that has lost its zone on the way is UTC: the house knows no other inside."""
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError:  # within hours of the end of time, where no arithmetic is left
        return at.replace(tzinfo=UTC)


def _cleaned_text(text: str, field: str) -> str:
    if field == "command":
        return clean_command(text)
    neat = clean(text)
    return neat if field in _OURS else defang(neat)


def ascii_only(text: str, limit: int) -> str:
    """Return `text` for a header: printable ASCII in one line, at most `limit` characters; accents are taken off."""
    plain = unicodedata.normalize("NFKD", clean(text, limit * 4))
    kept = "".join(
        character if " " <= character <= "~" else "?" for character in plain if not unicodedata.combining(character)
    )
    neat = " ".join(kept.split())
    return neat if len(neat) <= limit else neat[: max(limit - 2, 0)].rstrip() + ".."


def redacted(text: str, secrets: tuple[str, ...]) -> str:
    """Return `text` with every secret taken out, for what the far end answers."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[secret]")
    return text
