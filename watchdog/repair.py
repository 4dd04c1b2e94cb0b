"""Repair: ordered steps that bring a key and its consumers back, each with an owner."""

from dataclasses import dataclass

from watchdog.words import Owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do. `command` is exact and complete, or None where only words can say it (`text` then suffices)."""

    owner: Owner
    text: str
    command: str | None = None
    note: str | None = None
