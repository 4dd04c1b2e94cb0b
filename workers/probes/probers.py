"""Probers: one for each cloud whose keys are asked, made when it is first needed, closed at the end."""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from typing import Protocol, cast

from watchdog.probing import Before, Finding, Probed
from watchdog.register import Register, RegisteredKey
from workers.probes.interface import Prober


class Judge(Protocol):
    """The pure half of a cloud's probe: `watchdog.clouds.NAME.probe.judge`."""

    def __call__(
        self, findings: Sequence[Finding], key: RegisteredKey, register: Register, look_back: Before, *, at: datetime
    ) -> Probed:
        """Tell what the findings of one probe at `at` come to."""
        ...


def judge_of(cloud: str) -> Judge:
    """Return what judges the findings of a cloud's prober."""
    return cast("Judge", import_module(f"watchdog.clouds.{cloud}.probe").judge)


def make_prober(cloud: str) -> Prober:
    """Make the prober of a cloud; its SDK is imported here and not before."""
    return cast("Prober", import_module(f"workers.clouds.{cloud}.probing").prober())


class Probers:
    """The probers of one process. Safe between threads; to be made after a fork, for their clients do not live on."""

    def __init__(self, clouds: Collection[str], make: Callable[[str], Prober] | None = None) -> None:
        self.clouds = frozenset(clouds)
        self._make = make or make_prober
        self._lock = threading.Lock()
        self._made: dict[str, Prober] = {}

    @classmethod
    def given(cls, probers: Mapping[str, Prober]) -> "Probers":
        """Return these probers, made already."""
        return cls(probers, make=probers.__getitem__)

    def of(self, cloud: str) -> Prober:
        """Return the prober of a cloud. Raises KeyError for one that is not asked."""
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
        for prober in made.values():
            prober.close()
