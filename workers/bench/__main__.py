"""Bench: measures the numbers to hold, all in one run on this machine, and prints each against its target.

`make bench`, or `python -m workers.bench --help`. A missed target is a finding, not a failure: the exit code is 1 only
when something could not be measured.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from subprocess import SubprocessError
from typing import Any, TextIO

import psycopg
from redis.exceptions import RedisError

from workers.allocation import keep_large_blocks
from workers.bench.backlog import figures_backlog
from workers.bench.decoding import figure_gzip, figure_lines, figures_register
from workers.bench.figures import Figure, Gap, NotMeasured, Verdict
from workers.bench.ground import durable_store, ground
from workers.bench.latency import WARM_UP, figure_latency
from workers.bench.schedule import figures_schedule
from workers.bench.workload import FULL, QUICK, WATCHED, Sizes, document, lines, records, trail_files
from workers.feeds.pieces import LIMITS
from workers.release import VERSION
from workers.samples.corpus import Shares
from workers.store.interface import StoreUnavailable

SEED = 20261102
JSON_FILE = "bench.json"
PARTS = ("lines", "gzip", "register", "schedule", "latency", "backlog")
"""What can be chosen; `backlog` measures the memory too."""

_SPARE_KEYS = 100  # for the revocations behind the backlog
_PACKAGES = ("msgspec", "celery", "kombu", "redis", "sqlalchemy", "psycopg", "boto3")


@dataclass
class Work:
    """What the parts have in common, each made when it is first needed."""

    sizes: Sizes
    seed: int
    folder: Path

    @cached_property
    def noise(self) -> list[bytes]:
        """JSON lines that concern no registered key, in pieces."""
        return lines(records(self.seed, self.sizes.records), LIMITS.piece)

    @cached_property
    def mixed(self) -> list[bytes]:
        """JSON lines of which some are uses of registered keys, in pieces."""
        made = records(self.seed, self.sizes.records, watched_keys=self.sizes.few_keys)
        return lines(made, LIMITS.piece)

    @cached_property
    def trail(self) -> list[Path]:
        """The same noise as CloudTrail files."""
        return trail_files(self.folder / "trail", records(self.seed, self.sizes.records), self.sizes.trail_records)


def measure(work: Work, parts: Sequence[str]) -> Iterator[Figure | Gap]:
    """Measure the chosen parts one after the other; one that cannot be measured is told, and does not stop the rest."""
    if "lines" in parts:
        yield from _told("lines", lambda: [figure_lines(work.sizes, work.noise)])
    if "gzip" in parts:
        yield from _told("gzip", lambda: [figure_gzip(work.sizes, work.trail)])
    if "register" in parts:
        yield from _told("register", lambda: figures_register(work.sizes, work.noise, work.mixed))
    if "schedule" in parts:
        yield from _told("schedule", lambda: _on_stores(work))
    if {"latency", "backlog"} & set(parts):
        yield from _told("servers", lambda: _on_servers(work, parts))


def _on_stores(work: Work) -> Iterator[Figure | Gap]:
    for name in ("SQLite", "PostgreSQL"):
        yield from _told(f"schedule on {name}", lambda name=name: _on_store(work, name))  # type: ignore[misc]  # bound


def _on_store(work: Work, name: str) -> Iterator[Figure | Gap]:
    folder = work.folder / f"schedule-{name.lower()}"
    folder.mkdir()
    if name == "SQLite":
        yield from figures_schedule(folder, name, f"sqlite:///{folder / 'bench.db'}", work.sizes)
        return
    with durable_store(folder) as (url, words):
        if not url.startswith("postgresql"):
            raise NotMeasured(words)
        yield from figures_schedule(folder, name, url, work.sizes)


def _on_servers(work: Work, parts: Sequence[str]) -> Iterator[Figure | Gap]:
    sizes = work.sizes
    keys = WARM_UP + sizes.events + _SPARE_KEYS
    with ground(work.folder / "ground", document(keys)) as found:
        if "latency" in parts:
            yield from _told("latency", lambda: [figure_latency(found, sizes, work.seed)])
        if "backlog" in parts:
            first_key = WARM_UP + sizes.events
            yield from _told("backlog", lambda: figures_backlog(found, sizes, work.seed, work.trail, first_key))


def _told(part: str, take: Callable[[], Iterable[Figure | Gap]]) -> Iterator[Figure | Gap]:
    try:
        yield from take()
    except (NotMeasured, StoreUnavailable, RedisError, psycopg.Error, OSError, SubprocessError) as fault:
        yield Gap(part, f"{type(fault).__name__}: {fault}")


# ------------------------------------------------------------------------------------------------------------- telling


def machine() -> dict[str, Any]:
    """Return what the numbers depend on beside the code."""
    return {
        "python": sys.version.split()[0],
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)),
        "load_average": [round(one, 2) for one in os.getloadavg()],
        "versions": {"byok-watchdog": VERSION} | {name: version(name) for name in _PACKAGES},
    }


def show(found: Figure | Gap, stream: TextIO) -> None:
    """Print one figure in three lines."""
    if isinstance(found, Gap):
        stream.write(f"{found.part}: NOT MEASURED\n    {found.reason}\n\n")
    else:
        stream.write(f"{found.name}: {found.measured:.2f}, target {found.bound} {found.target:g}: {found.verdict}\n")
        stream.write(f"    {found.title}\n    {found.meaning}\n\n")
    stream.flush()


def report(work: Work, before: dict[str, Any], found: Sequence[Figure | Gap], seconds: float) -> dict[str, Any]:
    """Return everything as plain values, for the JSON file."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "machine": before | {"load_average_after": [round(one, 2) for one in os.getloadavg()]},
        "corpus": {"seed": work.seed, **asdict(work.sizes), "noise": asdict(Shares()), "mixed": asdict(WATCHED)},
        "figures": [
            {"measured": round(one.measured, 4), "verdict": one.verdict, **_but(asdict(one), "measured")}
            for one in found
            if isinstance(one, Figure)
        ],
        "not_measured": [asdict(one) for one in found if isinstance(one, Gap)],
    }


def _but(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


def main(arguments: Sequence[str] | None = None, *, sizes: Sizes | None = None, stream: TextIO | None = None) -> int:
    """Run the bench; return its exit code. `sizes` and `stream` are for tests."""
    options = _parser().parse_args(arguments)
    chosen = sizes or (FULL if options.full else QUICK)
    parts = options.only or PARTS
    out = stream or sys.stdout
    before = machine()
    keep_large_blocks()  # as the consumer does, which is what is measured
    out.write(
        f"byok-watchdog bench, {chosen.mode}: {chosen.records} records (seed {options.seed}), {chosen.events} events, "
        f"a backlog of {chosen.backlog}.\n"
        f"Python {before['python']} on {before['cpus']} processors, load {before['load_average'][0]}.\n\n"
    )
    out.flush()
    found: list[Figure | Gap] = []
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="byok-bench-", ignore_cleanup_errors=True) as folder:
        work = Work(chosen, options.seed, Path(folder))
        for one in measure(work, parts):
            found.append(one)
            show(one, out)
    path = Path(options.json)
    path.write_text(
        json.dumps(report(work, before, found, time.monotonic() - begun), indent=2) + "\n", encoding="utf-8"
    )
    out.write(f"{_sum(found)} {time.monotonic() - begun:.0f} s. Everything behind it: {path}\n")
    return 1 if any(isinstance(one, Gap) for one in found) else 0


def _sum(found: Sequence[Figure | Gap]) -> str:
    figures = [one for one in found if isinstance(one, Figure)]
    met = sum(one.verdict is Verdict.MET for one in figures)
    gaps = len(found) - len(figures)
    return f"{met} of {len(figures)} targets met." + (f" {gaps} could not be measured." if gaps else "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.bench", description=__doc__)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", action="store_true", help="less than three minutes on two processors (the default)")
    mode.add_argument("--full", action="store_true", help="a backlog of a million records, and more repeats")
    parser.add_argument("--json", metavar="FILE", default=JSON_FILE, help="where all numbers go (%(default)s)")
    parser.add_argument("--only", metavar="PART", nargs="+", choices=PARTS, help=f"only these: {', '.join(PARTS)}")
    parser.add_argument("--seed", type=int, default=SEED, help="of the generated records (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
