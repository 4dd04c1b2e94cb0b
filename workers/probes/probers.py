"""Probers: one for each cloud whose keys are asked, and what judges their findings."""

from collections.abc import Sequence
from datetime import datetime
from importlib import import_module
from typing import Protocol, cast

from watchdog.probing import Before, Finding, Probed
from watchdog.register import Register, RegisteredKey
from workers.clouds.one_each import OneEach
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


class Probers(OneEach[Prober]):
    """The probers of one process."""

    @staticmethod
    def made_for(cloud: str) -> Prober:
        """Make the prober of a cloud; its SDK is imported here and not before."""
        return cast("Prober", import_module(f"workers.clouds.{cloud}.probing").prober())
