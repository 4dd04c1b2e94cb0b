"""Latency: from an event in the feed's hand to the page at the far end, against what broker and disk alone take.

The way is the product's: its SQS feed, its consumer, worker and scheduler as processes of their own, Redis,
PostgreSQL, and the PagerDuty channel. Only the two ends are played: the feed's messages come through a named pipe
instead of SQS, so that neither AWS nor a simulation of it is measured, and the page goes to an HTTP server on loopback.
Each event is about another customer's key and also causes a mail, which is written but only printed. One event is on
its way at a time; after each follow one idle Celery task and one commit, so that all three see the same machine.
"""

import contextlib
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
from redis import Redis

from workers.bench import idle_task
from workers.bench.figures import Bound, Figure, NotMeasured, in_milliseconds, percentile
from workers.bench.ground import START_SECONDS, Ground
from workers.bench.stamped import Stamp, StampReader, shared_clock
from workers.bench.workload import Sizes, key_arn
from workers.runtime import utc_now
from workers.samples.corpus import Corpus, eventbridge

WARM_UP = 20
"""Events before the counting: connections are made, templates are compiled."""

HOW = (
    "one event at a time, each about another key: named pipe -> SQS feed and consumer process -> store -> broker -> "
    "worker process -> HTTP server on loopback; received: the feed has the message, page: its last byte has arrived; "
    "round trip: an idle task to a worker with the same settings, answered by one LPUSH; commit: INSERT of 1,400 bytes"
)
TARGET = 3.0
_PATIENCE = 20.0
_QUIET = 0.015  # seconds without a stamp after which an event is over: a stop of the walk takes a few milliseconds
_ROW = b"x" * 1400  # as long as a record

RECEIVED, OBSERVED = "consumer.received", "observe.committed"
STAGES = (
    ("committed", "consumer.committed", "read, judged, and in the inbox"),
    ("acknowledged", "consumer.acknowledged", "given up at the feed"),
    ("queued", "consumer.handed_on", "handed to the broker"),
    ("taken", "observe.taken", "through the broker, and the row read under the writers' lock"),
    ("observed", OBSERVED, "health, incident, notices, evidence and the lease of the page committed"),
    ("rendered", "deliver.rendered", "written"),
    ("page", "", "sent, and arrived at the far end"),
)
"""The walk of one record: each stage, the stop that ends it (the last one ends at the far end), and what happens."""


@dataclass(slots=True)
class Samples:
    """What was measured, in seconds. `stages` hold the time of each stage of each event."""

    pages: list[float] = field(default_factory=list)
    round_trips: list[float] = field(default_factory=list)
    commits: list[float] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name, _, _ in STAGES})


class Stamps:
    """The stamps of all processes, and whether all that was begun has come to its end."""

    def __init__(self, reader: StampReader) -> None:
        self._reader = reader
        self._passed: Counter[str] = Counter()

    def until_quiet(self, patience: float) -> list[Stamp]:
        """Return the new stamps, once every record is worked, every leased notice settled, and nothing more happens.

        Raises NotMeasured when that takes longer than `patience` seconds.
        """
        found: list[Stamp] = []
        end = time.monotonic() + patience
        while time.monotonic() < end:
            fresh = self._reader.fresh()
            found += fresh
            self._passed.update(stamp.stop for stamp in fresh)
            if found and not fresh and self._is_settled():
                return found
            time.sleep(_QUIET)
        raise NotMeasured(f"what one event caused does not end within {patience:.0f} s: {dict(self._passed)}")

    def _is_settled(self) -> bool:
        passed = self._passed
        return passed[RECEIVED] == passed["observe.handed_on"] and passed["deliver.leased"] == passed["deliver.settled"]

    def close(self) -> None:
        """Close the file of stamps."""
        self._reader.close()


def figure_latency(ground: Ground, sizes: Sizes, seed: int) -> Figure:
    """Measure the latency of pages on running servers. Raises NotMeasured."""
    ground.start("worker-idle", "workers.bench.idle_task")
    reader = Stamps(StampReader(ground.stamps))
    with contextlib.closing(reader), _committer(ground) as commit, _round_trips(ground) as round_trip:
        corpus = Corpus(seed)
        found = Samples()
        for number in range(WARM_UP + sizes.events):
            into = found if number >= WARM_UP else Samples()
            _event(ground, reader, corpus, number, into)
            into.round_trips.append(round_trip(number))
            into.commits.append(commit())
    return _figure(ground, found)


def _figure(ground: Ground, found: Samples) -> Figure:
    def over(percent: float) -> float:
        least = percentile(found.round_trips, percent) + percentile(found.commits, percent)
        return percentile(found.pages, percent) / least

    middle = percentile(found.pages, 50)
    return Figure(
        name="latency",
        title=f"Received to page sent, p99 of {len(found.pages)} events, against one empty Celery round trip and one "
        f"durable commit ({ground.store_words})",
        measured=over(99),
        target=TARGET,
        bound=Bound.AT_MOST,
        meaning=f"the slowest page in a hundred takes {percentile(found.pages, 99) * 1000:.0f} ms, the middle one "
        f"{middle * 1000:.0f} ms ({over(50):.1f} times the middle round trip and commit)",
        details={
            "store": ground.store_words,
            "broker": ground.broker_words,
            "events": len(found.pages),
            "how": HOW,
            "ratio_p50": round(over(50), 3),
            "page": in_milliseconds(found.pages),
            "round_trip": in_milliseconds(found.round_trips),
            "commit": in_milliseconds(found.commits),
            "stages": {
                name: in_milliseconds(found.stages[name]) | {"what": what}
                for name, _, what in STAGES
                if found.stages[name]
            },
        },
    )


# ------------------------------------------------------------------------------------------------------------- events


def _event(ground: Ground, reader: Stamps, corpus: Corpus, number: int, into: Samples) -> None:
    """Send one event, wait for its page and until all that it caused is settled."""
    key = key_arn(number)
    patience = _PATIENCE if number else START_SECONDS
    sent = shared_clock()
    ground.send(eventbridge(corpus.change("DisableKey", key, at=utc_now())))
    page = ground.pager.next(patience)
    if page is None:
        raise NotMeasured(f"event {number} caused no page within {patience:.0f} s.\n{ground.trouble()}")
    if key.encode() not in page.body:
        raise NotMeasured(f"a page came that is not about event {number}: {page.body[:300]!r}")
    stamps = [stamp for stamp in reader.until_quiet(patience) if stamp.at >= sent]
    times = walk(stamps, page.at)
    into.pages.append(page.at - times[0])
    for (name, _, _), (begun, ended) in zip(STAGES, pairwise(times), strict=True):
        into.stages[name].append(ended - begun)


def walk(stamps: Sequence[Stamp], page_at: float) -> list[float]:
    """Return when the event was received and when each stage ended. Raises NotMeasured when a stop was not passed."""
    observer = next((one for one in stamps if one.stop == OBSERVED), None)
    passed: dict[str, float] = {}
    for one in sorted(stamps, key=lambda one: one.at):
        # Others deliver too: the page is the first notice that the process sends which has observed the event.
        if not one.stop.startswith("deliver.") or (observer and one.pid == observer.pid and one.at >= observer.at):
            passed.setdefault(one.stop, one.at)
    stops = (RECEIVED, *(stop for _, stop, _ in STAGES if stop))
    missing = [stop for stop in stops if stop not in passed]
    if missing:
        raise NotMeasured(f"the event did not pass {', '.join(missing)}; it passed {', '.join(passed) or 'nothing'}")
    return [*(passed[stop] for stop in stops), page_at]


# --------------------------------------------------------------------------------------------- what it is held against


@contextlib.contextmanager
def _round_trips(ground: Ground) -> Iterator[Callable[[int], float]]:
    """Yield a function that sends the idle task through the broker and waits for its answer."""
    app = idle_task.make_app(ground.settings)
    client: Any = Redis.from_url(ground.settings.celery_broker_url())

    def once(number: int) -> float:
        begun = shared_clock()
        app.send_task(idle_task.TASK, args=(number,), queue=idle_task.QUEUE, retry=False)
        answer = client.blpop(idle_task.ANSWERS, timeout=START_SECONDS)
        taken = shared_clock() - begun
        if answer is None or int(answer[1]) != number:
            raise NotMeasured(f"the idle task {number} was answered with {answer}.\n{ground.trouble()}")
        return taken

    with contextlib.closing(client):
        yield once


@contextlib.contextmanager
def _committer(ground: Ground) -> Iterator[Callable[[], float]]:
    """Yield a function that adds one row to the same kind of store and commits it durably."""
    if not ground.on_postgres:
        with contextlib.closing(sqlite3.connect(Path(ground.folder) / "commits.db", isolation_level=None)) as file:
            file.execute("PRAGMA journal_mode = WAL")
            file.execute("PRAGMA synchronous = FULL")
            file.execute("CREATE TABLE commits (body BLOB)")
            yield lambda: _timed(lambda: file.execute("INSERT INTO commits VALUES (?)", (_ROW,)))
        return
    url = ground.settings.store_url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(url) as connection:
        durable = [connection.execute(f"SHOW {name}").fetchone() for name in ("fsync", "synchronous_commit")]
        if durable != [("on",), ("on",)]:
            raise NotMeasured(f"this PostgreSQL does not commit durably: fsync, synchronous_commit are {durable}")
        connection.execute("CREATE TABLE bench_commits (body bytea)")
        connection.commit()

        def once() -> None:
            connection.execute("INSERT INTO bench_commits VALUES (%s)", (_ROW,))
            connection.commit()

        yield lambda: _timed(once)


def _timed(action: Callable[[], object]) -> float:
    begun = shared_clock()
    action()
    return shared_clock() - begun
