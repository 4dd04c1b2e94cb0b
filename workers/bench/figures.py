"""Figures: what was measured, against which target, and whether it was met; medians of repeats that took turns."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Bound(StrEnum):
    """On which side of its target a figure should be."""

    AT_LEAST = "at least"
    AT_MOST = "at most"


class Verdict(StrEnum):
    """What a figure says about its target."""

    MET = "met"
    MISSED = "missed"


class NotMeasured(Exception):  # noqa: N818 - a state of this machine, told in words
    """Something that must be there to measure a figure is missing, or what was measured did not do its work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number to hold: a ratio without a unit, and the numbers behind it in `details`, by names with their units."""

    name: str
    title: str
    measured: float
    target: float
    bound: Bound
    meaning: str
    details: Mapping[str, object] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """Whether the target is met. A figure on the very target meets it."""
        is_met = self.measured >= self.target if self.bound is Bound.AT_LEAST else self.measured <= self.target
        return Verdict.MET if is_met else Verdict.MISSED


@dataclass(frozen=True, slots=True)
class Gap:
    """A part that could not be measured, and why."""

    part: str
    reason: str


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of the repeats of one thing, in the order in which they were taken."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """How far the repeats lie apart, as a part of the median: the distance between the quartiles."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return (high - low) / self.median

    def shown(self) -> dict[str, object]:
        """Return the numbers for the report."""
        return {
            "median_seconds": round(self.median, 6),
            "spread": round(self.spread, 4),
            "seconds": [round(one, 6) for one in self.seconds],
        }


def in_turn(things: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Times]:
    """Time several things in turn, A B B A, so that a machine that becomes slower or faster is the same to all.

    In seconds of processor time of this process, so that others on the machine do not count. One untimed turn comes
    first. The garbage collector works as it does in the product.
    """
    found: dict[str, list[float]] = {name: [] for name in things}
    names = list(things)
    gc.collect()
    for turn in range(repeats + 1):
        for name in names if turn % 2 else reversed(names):
            begun = time.process_time()
            things[name]()
            taken = time.process_time() - begun
            if turn:
                found[name].append(taken)
    return {name: Times(tuple(seconds)) for name, seconds in found.items()}


def ratio(upper: Times, lower: Times) -> Times:
    """Return the ratios of two things turn by turn: what disturbed both at once cancels."""
    return Times(tuple(one / other for one, other in zip(upper.seconds, lower.seconds, strict=True)))


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that `percent` of all values do not exceed (nearest rank). Raises ValueError without values."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]


def in_milliseconds(values: Sequence[float]) -> dict[str, float]:
    """Return what a distribution of seconds looks like, in milliseconds."""
    return {
        "p50_ms": round(percentile(values, 50) * 1000, 2),
        "p90_ms": round(percentile(values, 90) * 1000, 2),
        "p99_ms": round(percentile(values, 99) * 1000, 2),
        "most_ms": round(max(values) * 1000, 2),
    }
