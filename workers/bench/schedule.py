"""Schedule: whether the probes of many keys keep their pace on one store, with flat memory; the cloud costs nothing."""

import gc
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from watchdog.probing import Answer, Finding, Question
from watchdog.register import Register, RegisteredKey
from workers.bench.figures import Bound, Figure, NotMeasured
from workers.bench.workload import Sizes, document
from workers.probes.interface import Canary
from workers.probes.probers import Probers
from workers.probing import Probing
from workers.registering import import_document
from workers.runtime import Runtime, utc_now
from workers.settings import ProbeSettings, Settings
from workers.store import migrate
from workers.store.interface import ProbeOutcome

EVERY = timedelta(minutes=5)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
AT_ONCE = 32
WARM = 1
"""Intervals before the steady state: in the first one each key is proven for the first time, which is told."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


class InstantProber:
    """A prober to which every key is fine at once: what is measured is the schedule and the store."""

    cloud = "aws"

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    def ask(
        self, key: RegisteredKey, register: Register, questions: Sequence[Question], canaries: Sequence[Canary]
    ) -> Sequence[Finding]:
        """Answer every question well."""
        del key, register, canaries
        return [Finding(question=one, answer=Answer.OK, at=self._now()) for one in questions]

    def make_canaries(self, key: RegisteredKey, register: Register) -> tuple[Sequence[Canary], Sequence[Finding]]:
        """Make none."""
        del key, register
        return (), ()

    def close(self) -> None:
        """Nothing to close."""


@dataclass
class Pace:
    """One interval: how long the probes that fell due in each of its seconds took, and what was done."""

    seconds: list[float] = field(default_factory=list)
    probes: int = 0
    commits: int = 0
    resident: int = 0

    @property
    def took(self) -> float:
        """Seconds of this machine."""
        return sum(self.seconds)


class Bench:
    """A process that does the probes of a register by itself, on a clock that passes as quickly as they are done.

    Of each interval the first `window` seconds are played; keys with their turns in the rest are there, and rest.
    """

    def __init__(self, folder: Path, url: str, keys: int, window: int) -> None:
        settings = Settings(
            home=folder, source="bench", store_url=url, broker_url="embedded",
            probes=ProbeSettings(clouds=("aws",), at_once=AT_ONCE),
        )  # fmt: skip
        migrate(url)
        self.now = self.begin = utc_now()
        self.window = window
        self.runtime = Runtime(settings)
        self.runtime.__dict__["probers"] = Probers.given({"aws": InstantProber(lambda: self.now)})
        self.probing = Probing(self.runtime, now=lambda: self.now)
        import_document(self.runtime, document(keys), by="bench", source="bench", now=self.now)
        self.active = keys - self._rest()

    def _rest(self) -> int:
        """Let the keys rest whose turns are not played; return how many."""
        with self.runtime.store.write() as unit:
            end = self.begin + SECOND * self.window
            resting = [row.key for row in unit.all_probes() if row.due_at is None or row.due_at > end]
            taken = unit.take_probes(resting, now=self.now, length=EVERY, per_account=None)
            unit.settle_probes(
                [
                    ProbeOutcome(
                        key=one.key, fence=one.fence, at=self.now, passed=True, words="", outcome="", failures=0,
                        due_at=self.now + DAY,
                    )
                    for one in taken
                ]
            )  # fmt: skip
        return len(taken)

    def interval(self) -> Pace:
        """Let one interval pass, second by second."""
        pace = Pace()
        for second in range(1, self.window + 1):
            self.now = self.begin + SECOND * second
            begun = time.perf_counter()
            self._second(pace)
            pace.seconds.append(time.perf_counter() - begun)
        self.begin += EVERY
        gc.collect()
        pace.resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE
        return pace

    def _second(self, pace: Pace) -> None:
        taken = self.probing.take()
        pace.commits += bool(taken)
        for batch in self.probing.batches(taken):
            pace.commits += sum(1 for _ in self.probing.probe(batch))
        pace.probes += len(taken)

    def close(self) -> None:
        """Let go of store and threads."""
        self.probing.close()
        self.runtime.close()


def figures_schedule(folder: Path, store: str, url: str, sizes: Sizes) -> list[Figure]:
    """Measure on one store how much of the pace of `many_keys` keys one process keeps, and whether its memory grows."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    bench = Bench(folder, url, sizes.many_keys, sizes.probe_window)
    try:
        paces = [bench.interval() for _ in range(WARM + sizes.probe_intervals)]
    finally:
        bench.close()
    for pace in paces:
        if pace.probes != bench.active:
            raise NotMeasured(f"in one interval {pace.probes} of {bench.active} keys were probed on {store}")
    return [_pace(store, sizes, paces), _memory(store, sizes, paces)]


def _pace(store: str, sizes: Sizes, paces: Sequence[Pace]) -> Figure:
    steady = paces[WARM:]
    took, commits = sum(one.took for one in steady), sum(one.commits for one in steady)
    probes = sum(one.probes for one in steady)
    needed = sizes.many_keys / EVERY.total_seconds()
    return Figure(
        name=f"schedule_{store.lower()}",
        title=f"Probes of {sizes.many_keys} keys, each every five minutes, by one process on {store}",
        measured=probes / took / needed,
        target=1.0,
        bound=Bound.AT_LEAST,
        meaning=f"{probes / took:.0f} keys/s in {commits / took:.0f} commits/s where a cloud answers at once; "
        f"{needed:.0f} keys/s are needed",
        details={
            "keys": sizes.many_keys,
            "needed_keys_per_second": round(needed, 1),
            "keys_per_second": round(probes / took, 1),
            "commits_per_second": round(commits / took, 1),
            "keys_per_commit": round(probes / commits, 1),
            "first_interval_keys_per_second": round(paces[0].probes / paces[0].took, 1),
            "slowest_second_took": round(max(second for one in steady for second in one.seconds), 3),
            "probes": probes,
        },
    )


def _memory(store: str, sizes: Sizes, paces: Sequence[Pace]) -> Figure:
    before, after = paces[WARM - 1].resident, paces[-1].resident
    probes = sum(one.probes for one in paces[WARM:])
    return Figure(
        name=f"schedule_memory_{store.lower()}",
        title=f"Memory of the process that probes {sizes.many_keys} keys on {store}",
        measured=after / before,
        target=1.05,
        bound=Bound.AT_MOST,
        meaning=f"after {probes} further probes the process has this many times its memory",
        details={"resident_megabytes": [round(one.resident / 1e6, 1) for one in paces]},
    )
