"""Readers: one for each cloud whose keys are asked, made when it is first needed, closed at the end."""

import threading
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import cast

from workers.preflight.interface import Reader


def make_reader(cloud: str) -> Reader:
    """Make the reader of a cloud; its SDK is imported here and not before."""
    return cast("Reader", import_module(f"workers.clouds.{cloud}.preflight").reader())


class Readers:
    """The readers of one process. Safe between threads; to be made after a fork, for their clients do not live on."""

    def __init__(self, clouds: Collection[str], make: Callable[[str], Reader] | None = None) -> None:
        self.clouds = frozenset(clouds)
        self._make = make or make_reader
        self._lock = threading.Lock()
        self._made: dict[str, Reader] = {}

    @classmethod
    def given(cls, readers: Mapping[str, Reader]) -> "Readers":
        """Return these readers, made already."""
        return cls(readers, make=readers.__getitem__)

    def of(self, cloud: str) -> Reader:
        """Return the reader of a cloud. Raises KeyError for one that is not asked."""
        if cloud not in self.clouds:
            raise KeyError(cloud)
        with self._lock:
            if cloud not in self._made:
                self._made[cloud] = self._make(cloud)
            return self._made[cloud]

    def close(self) -> None:
        """Close those that were made."""
        with self._lock:
            made, self._made = self._made, {}
        for reader in made.values():
            reader.close()
