"""The contract of a reader: ask one key's cloud what the pre-flight checks need. Read-only, bounded in time."""

from collections.abc import Sequence
from typing import Protocol

from watchdog.preflight import Checked
from watchdog.register import Register, RegisteredKey


class Reader(Protocol):
    """Checks the keys of one cloud. Safe between threads. Raises nothing about a key: what fails is `cannot verify`."""

    @property
    def cloud(self) -> str:
        """Name of the cloud."""
        ...

    def check(self, key: RegisteredKey, register: Register) -> Sequence[Checked]:
        """Ask and judge, at most about 30 seconds in whole; every check of the cloud's list, always in one order.

        The checks that need no cloud, or the same on all (`all.*`), are not the reader's.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
