"""Backlog: how long a revocation waits behind noise, and whether the consumer's memory stays flat meanwhile."""

import os
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from watchdog import clouds
from watchdog.cloud import Cloud
from watchdog.register import Register
from workers.bench.decoding import CLOUD, bodies, read
from workers.bench.figures import Bound, Figure, NotMeasured
from workers.bench.ground import BACKLOG, START_SECONDS, Ground
from workers.bench.stamped import shared_clock
from workers.bench.workload import Sizes, document, key_arn
from workers.feeds.folder import DONE
from workers.runtime import utc_now
from workers.samples.corpus import Corpus, eventbridge

ROUNDS = 3
ALONE = 5
"""Revocations that find an empty feed, before each backlog."""

FLAT = 1.1
_LOOK_EVERY = 0.01
_LONG_AGO = 60.0  # seconds; a file that was written a moment ago is looked at twice before it is taken


@dataclass(slots=True)
class Memory:
    """Samples of a process's memory: how many files it had put away by then, and its resident bytes."""

    pid: int
    done: Path
    samples: list[tuple[int, int]] = field(default_factory=list)

    def watch(self, stop: threading.Event) -> None:
        """Take samples until `stop` is set, or the process is gone."""
        while not stop.wait(_LOOK_EVERY):
            size = resident(self.pid)
            if size is None:
                return
            self.samples.append((_count(self.done), size))

    def most(self, begin: float, end: float) -> int:
        """Return the most that was resident while the process went from one part of its work to another, in bytes.

        Raises NotMeasured without a sample in between.
        """
        first, last = (self.samples[0][0], self.samples[-1][0]) if self.samples else (0, 0)
        low, high = (first + part * (last - first) for part in (begin, end))
        within = [size for files, size in self.samples if low <= files <= high]
        if not within:
            raise NotMeasured(f"no sample of the consumer's memory between {begin:.0%} and {end:.0%}")
        return max(within)


def figures_backlog(ground: Ground, sizes: Sizes, seed: int, paths: Sequence[Path], first_key: int) -> list[Figure]:
    """Measure a revocation behind a backlog, and the memory of its consumer. Raises NotMeasured.

    Keys from `first_key` on are revoked. The backlog is the same few files again and again, under other names: noise
    leaves no trace.
    """
    cloud, register = clouds.cloud(CLOUD), Register(document(sizes.few_keys), 1)
    files = [paths[number % len(paths)] for number in range(sizes.backlog // sizes.trail_records)]
    memory = Memory(ground.run("consumer-backlog", "consume", BACKLOG), ground.backlog / DONE)
    drops = _Drops(ground, Corpus(seed + 1), first_key)
    drops.revoke()  # the process starts, and everything is used once
    stop = threading.Event()
    watcher = threading.Thread(target=memory.watch, args=(stop,), daemon=True, name="memory")
    alone: list[float] = []
    behind: list[float] = []
    triaged: list[float] = []
    worked: list[float] = []
    try:
        for turn in range(ROUNDS):
            alone += [drops.revoke() for _ in range(ALONE)]
            triaged.append(_timed_reading(cloud, register, files, sizes))
            if not turn:
                watcher.start()
            before = processor_seconds(memory.pid)
            behind.append(drops.revoke(files))
            worked.append(processor_seconds(memory.pid) - before)
    finally:
        stop.set()
        if watcher.is_alive():
            watcher.join()
    details = {
        "records": sizes.backlog,
        "files": len(files),
        "page_seconds": _rounded(behind),
        "triage_seconds": _rounded(triaged),
        "alone_seconds": _rounded(alone),
        "consumer_processor_seconds": _rounded(worked),
    }
    return [_waited(sizes, alone, behind, triaged, details), _grown(sizes, memory)]


def _rounded(seconds: Sequence[float]) -> list[float]:
    return [round(one, 3) for one in seconds]


def _timed_reading(cloud: Cloud, register: Register, files: Sequence[Path], sizes: Sizes) -> float:
    begun = shared_clock()
    total, matter = read(cloud, register, bodies(files))
    taken = shared_clock() - begun
    if (total, matter) != (len(files) * sizes.trail_records, 0):
        raise NotMeasured(f"the backlog is not what it should be: {total} records, of which {matter} matter")
    return taken


class _Drops:
    """Puts files into the feed's folder, with a revocation as the last of them, and waits for its page."""

    def __init__(self, ground: Ground, corpus: Corpus, first_key: int) -> None:
        self._ground = ground
        self._corpus = corpus
        self._key = first_key
        self._file = 0

    def revoke(self, before: Sequence[Path] = ()) -> float:
        """Return the seconds from the first file's appearance to the page."""
        ground = self._ground
        key = key_arn(self._next_key())
        record = ground.folder / "revocation"
        record.write_bytes(eventbridge(self._corpus.change("DisableKey", key, at=utc_now())))
        old = time.time() - _LONG_AGO
        os.utime(record, (old, old))
        begun = shared_clock()
        for path in before:
            os.link(path, ground.backlog / self._name())
        record.rename(ground.backlog / self._name())
        patience = START_SECONDS + len(before)
        page = ground.pager.next(patience)
        if page is None:
            raise NotMeasured(f"a revocation behind {len(before)} files caused no page.\n{ground.trouble()}")
        if key.encode() not in page.body:
            raise NotMeasured(f"a page came that is not about the revocation: {page.body[:300]!r}")
        return page.at - begun

    def _next_key(self) -> int:
        self._key += 1
        return self._key - 1

    def _name(self) -> str:
        self._file += 1
        return f"{self._file:06d}.json"


def _waited(
    sizes: Sizes,
    alone: Sequence[float],
    behind: Sequence[float],
    triaged: Sequence[float],
    details: Mapping[str, object],
) -> Figure:
    empty = statistics.median(alone)
    ratios = [waited / (once + empty) for waited, once in zip(behind, triaged, strict=True)]
    waited = statistics.median(behind)
    return Figure(
        name="backlog",
        title=f"A revocation behind {sizes.backlog} noise records, against reading the backlog once and an empty feed",
        measured=statistics.median(ratios),
        target=1.0,
        bound=Bound.AT_MOST,
        meaning=f"it is paged {waited:.2f} s after the first record of the backlog; to read and judge the backlog in "
        f"one process takes {statistics.median(triaged):.2f} s, a revocation that finds an empty feed {empty:.2f} s",
        details={**details, "ratios": _rounded(ratios)},
    )


def _grown(sizes: Sizes, memory: Memory) -> Figure:
    marks = {"10%": (0.0, 0.1), "50%": (0.4, 0.5), "100%": (0.9, 1.0)}
    sizes_at = {name: memory.most(*span) for name, span in marks.items()}
    total = ROUNDS * sizes.backlog
    return Figure(
        name="memory",
        title=f"Memory of a consumer after {total} records, against its first tenth",
        measured=sizes_at["100%"] / sizes_at["10%"],
        target=FLAT,
        bound=Bound.AT_MOST,
        meaning=f"the most that the process held resident was {sizes_at['100%'] / 1e6:.0f} MB in its last tenth, "
        f"{sizes_at['10%'] / 1e6:.0f} MB in its first",
        details={
            "records": total,
            "samples": len(memory.samples),
            "resident_megabytes": {name: round(size / 1e6, 1) for name, size in sizes_at.items()},
        },
    )


def resident(pid: int) -> int | None:
    """Return the resident bytes of a process; None when it is gone, or the system does not tell."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def processor_seconds(pid: int) -> float:
    """Return how long a process has worked so far, whatever else the machine did. Raises NotMeasured without it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError as error:
        raise NotMeasured(f"process {pid} is gone: {error}") from error
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _count(folder: Path) -> int:
    return len(os.listdir(folder)) if folder.is_dir() else 0  # noqa: PTH208 - names only, two hundred times a second
