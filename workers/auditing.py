"""Auditing: the facts about the watchdog itself, collected from the store; what they mean is `watchdog.audit`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

import msgspec

from watchdog import evidence
from watchdog.audit import Bounds, Chain, Check, Facts, Feed, Job, Process, Synthetic
from watchdog.evidence import Sealed
from workers import synthetic
from workers.broker import PROBE, PROBE_NOW, QUEUES
from workers.runtime import Runtime
from workers.settings import Settings
from workers.store.interface import Unit

ENTRIES = 20_000
"""Most entries of evidence that one audit verifies, of the end and of the whole each: about a quarter of a second."""

WHOLE_EVERY = timedelta(days=1)

_MARGIN = timedelta(seconds=60)
_ALIVE = timedelta(seconds=60)  # six beats
_LAST, _WALK = "audit", "audit:evidence"


class Audited(msgspec.Struct, frozen=True, kw_only=True):
    """The memo of the last audit: what it found, since when it has not passed, and what became of the heartbeat.

    `error` says why the last heartbeat could not be sent (None: it was, or was held back, or goes nowhere).
    """

    at: datetime
    checks: tuple[Check, ...] = ()
    failing_since: datetime | None = None
    sent_at: datetime | None = None
    error: str | None = None


class Walk(msgspec.Struct, frozen=True, kw_only=True):
    """How far the chain was verified: its end so far, and where the walk of the whole is that goes on in pieces."""

    number: int = 0
    seal: str = evidence.GENESIS
    whole_number: int = 0
    whole_seal: str = evidence.GENESIS
    whole_began_at: datetime | None = None
    whole_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """One step of a walk: up to which entry the chain holds, whether that is the last one, and the flaw, if any."""

    number: int
    seal: str
    is_end: bool
    flaw: str | None = None


_audited = msgspec.json.Decoder(Audited)
_walk = msgspec.json.Decoder(Walk)


def last_audit(unit: Unit) -> Audited | None:
    """Return what the last audit found; None when there was none."""
    doc = unit.memo(_LAST)
    return _audited.decode(doc) if doc is not None else None


def put_audit(unit: Unit, audited: Audited) -> None:
    """Keep what an audit found."""
    unit.put_memo(_LAST, msgspec.json.encode(audited), at=audited.at)


def last_walk(unit: Unit) -> Walk:
    """Return how far the chain was verified so far."""
    doc = unit.memo(_WALK)
    return _walk.decode(doc) if doc is not None else Walk()


def put_walk(unit: Unit, walk: Walk, *, at: datetime) -> None:
    """Keep how far the chain was verified."""
    unit.put_memo(_WALK, msgspec.json.encode(walk), at=at)


def bounds_of(settings: Settings) -> Bounds:
    """Return the bounds that follow from the settings: what each part may take when one process dies in the middle."""
    return Bounds(
        # A sender that died holds its lease, then the scheduler's round picks the notice up.
        notice=settings.lease + settings.sweep_after + _MARGIN,
        unsent=timedelta(minutes=30),  # of a day that is tried; greylisting takes a quarter of an hour
        record=settings.sweep_after + _MARGIN,
        delivery=timedelta(minutes=15),
        feed=2 * _ALIVE,  # a fault that may be temporary is tried again after 30 s at the most
        process=_ALIVE,
        incident=2 * _ALIVE,
        probe=timedelta(minutes=10),  # a claim that ran out, and the back-off of an account that is asked too much
        job=_ALIVE,
        synthetic=synthetic.EVERY + timedelta(hours=1),
        # The walk begins anew after a day, and takes an audit for each piece: a million entries are 50.
        chain=2 * WHOLE_EVERY,
    )


def collect(
    runtime: Runtime, unit: Unit, chain: Chain, jobs: Mapping[str, timedelta], *, now: datetime
) -> Facts:  # fmt: skip
    """Collect the facts of one moment. `jobs` are those that one scheduler claims, with their periods."""
    settings = runtime.settings
    bounds = bounds_of(settings)
    clouds = settings.probes.clouds
    feeds = {feed.feed: feed for feed in unit.feeds()}
    due = unit.jobs()
    passages = synthetic.passages(unit, synthetic.clouds_of(runtime))
    return Facts(
        at=now,
        bounds=bounds,
        oldest_due=unit.oldest_due_notice(now),
        oldest_unsent=unit.oldest_unsent_notice(),
        waiting=unit.inbox_counts(),
        late_record=_late(unit, now - bounds.record, "record"),
        late_delivery=_late(unit, now - bounds.delivery, "delivery"),
        late_incident=bool(unit.incidents_due(now - bounds.incident, 1)),
        late_probe=bool(clouds and unit.probes_due(now - bounds.probe, 1, clouds=clouds, per_account=1)),
        probed=bool(clouds),
        quarantined=unit.quarantine_count(),
        feeds=[
            Feed(name=one.name, asked_at=seen.asked_at if seen else None, error=seen.error if seen else None)
            for one in settings.feeds
            for seen in [feeds.get(one.name)]
        ],
        processes=[
            Process(kind=one.kind, seen_at=one.seen_at, degraded=one.degraded) for one in unit.processes()
        ],
        queues=[queue for queue in QUEUES if clouds or queue not in {PROBE, PROBE_NOW}],
        jobs=[Job(name=name, every=every, due_at=due.get(name)) for name, every in jobs.items()],
        synthetic=[
            Synthetic(cloud=name, put_in_at=one.put_in_at, seen_at=one.seen_at, trouble=one.trouble)
            for name, one in passages.items()
        ],
        chain=chain,
    )  # fmt: skip


def _late(unit: Unit, before: datetime, carries: str) -> bool:
    # Records come first: one row says of them; when it is none, there is none, and a delivery may be the first.
    return any(one.value == carries for _, one in unit.arrived_due(before, 1))


# ------------------------------------------------------------------------------------------------- the chain, in pieces


def walk_on(unit: Unit, walk: Walk, *, now: datetime, limit: int = ENTRIES) -> tuple[Walk, Chain]:
    """Verify what was added since the last audit, and another piece of the whole when a day is over. In flat memory.

    Where each piece begins, the entry that was verified before is read again: one that is gone, or is another one now,
    is a flaw. A flaw stays where it was found until the chain holds there.
    """
    end = _step(unit, walk.number, walk.seal, limit)
    began = walk.whole_began_at
    if began is None and (walk.whole_at is None or now - walk.whole_at >= WHOLE_EVERY):
        walk = msgspec.structs.replace(walk, whole_number=0, whole_seal=evidence.GENESIS, whole_began_at=now)
    flaw = end.flaw
    if walk.whole_began_at is not None:
        whole = _step(unit, walk.whole_number, walk.whole_seal, limit)
        flaw = flaw or whole.flaw
        done = whole.is_end and whole.flaw is None
        walk = msgspec.structs.replace(
            walk, whole_number=whole.number, whole_seal=whole.seal,
            whole_at=walk.whole_began_at if done else walk.whole_at,
            whole_began_at=None if done else walk.whole_began_at,
        )  # fmt: skip
    walk = msgspec.structs.replace(walk, number=end.number, seal=end.seal)
    return walk, Chain(held=end.number, is_caught_up=end.is_end, whole_at=walk.whole_at, flaw=flaw)


def _step(unit: Unit, number: int, seal: str, limit: int) -> Walked:
    """Verify at most `limit` entries after entry `number`, which was verified before and carried this seal."""
    entries = unit.evidence(after=max(number - 1, 0))
    start: Sealed | None = None
    if number:
        start = next(entries, None)
        if start is None or start.number != number:
            return Walked(number=number, seal=seal, is_end=False, flaw=f"entry {number} was there, and is gone")
        if start.seal != seal or start.seal != _digest(start):
            return Walked(number=number, seal=seal, is_end=False, flaw=f"entry {number} is another one than it was")
    last = start

    def following(piece: Iterator[Sealed]) -> Iterator[Sealed]:
        nonlocal last
        for entry in piece:
            yield entry
            last = entry  # reached only when the one before it held

    held, flaw = evidence.verify(following(islice(entries, limit)), start=start)
    if flaw is not None:
        return Walked(number=number, seal=seal, is_end=False, flaw=flaw.text)
    return Walked(number=last.number if last else 0, seal=last.seal if last else evidence.GENESIS, is_end=held < limit)


def _digest(entry: Sealed) -> str:
    return evidence.digest(entry.number, entry.at, entry.kind, entry.subject, entry.body, entry.previous)
