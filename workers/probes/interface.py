"""The contract of a prober: ask one key the questions that its register entry calls for. Read-only, bounded in time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from watchdog.probing import Finding, Question
from watchdog.register import Register, RegisteredKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A ciphertext that was made under one version of a key, to be decrypted later. It protects nothing secret."""

    key: str
    version: str
    ciphertext: bytes
    algorithm: str
    made_at: datetime


class Prober(Protocol):
    """Asks the keys of one cloud. Safe between threads. It raises nothing about the key: every failure is a finding."""

    @property
    def cloud(self) -> str:
        """Name of the cloud."""
        ...

    def ask(
        self, key: RegisteredKey, register: Register, questions: Sequence[Question], canaries: Sequence[Canary]
    ) -> Sequence[Finding]:
        """Put the questions to the key, at most about 20 seconds in whole; at least one finding for each question.

        The control question is put to the register entry's control key with the same credentials.
        """
        ...

    def make_canaries(self, key: RegisteredKey, register: Register) -> tuple[Sequence[Canary], Sequence[Finding]]:
        """Encrypt a random value under each version in use; what could not be made is a finding."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
