"""Chance: ids, words and a clock that runs on, all made up from one seed, for the makers of sample records."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

T = TypeVar("T")

START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
"""When the made-up traffic begins, unless a maker is told otherwise."""

_WORDS = ("data", "build", "audit", "ledger", "search", "billing", "media", "edge")
_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Chance:
    """One stream of made-up values: equal seeds give equal values in equal order."""

    def __init__(self, seed: int, start: datetime = START) -> None:
        self._random = random.Random(seed)  # noqa: S311 - made-up traffic
        self._at = start

    def moment(self) -> datetime:
        """Return the time of the next record: up to 0.4 s after the one before, aware UTC."""
        self._at += timedelta(milliseconds=self.between(1, 400))
        return self._at.astimezone(UTC)

    def share(self) -> float:
        """Return a number from 0 to below 1."""
        return self._random.random()

    def between(self, low: int, high: int) -> int:
        """Return a whole number, both ends included."""
        return self._random.randint(low, high)

    def below(self, bound: int) -> int:
        """Return a whole number from 0 to below `bound`."""
        return self._random.randrange(bound)

    def one_of(self, things: Sequence[T]) -> T:
        """Return one of the things, each as likely as any other."""
        return self._random.choice(things)

    def hex(self, length: int) -> str:
        """Return so many hex digits in lower case."""
        return f"{self._random.getrandbits(length * 4):0{length}x}"

    def letters(self, length: int) -> str:
        """Return so many lower-case letters and digits."""
        return "".join(self._random.choices(_LETTERS, k=length))

    def uuid(self) -> str:
        """Return 128 bits in the form of a UUID: never the same twice, as far as anybody will see."""
        text = self.hex(32)
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def word(self) -> str:
        """Return a word by which teams call their things."""
        return self.one_of(_WORDS)
