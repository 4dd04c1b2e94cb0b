"""Synthetic records: once a day a made-up loss goes the whole way of each cloud, and must come out as one.

A feed that answers proves only that somebody listens. This proves that what comes in is read, worked and judged: a
record of the demo's story is taken in like any other, handed to the workers, decoded and judged against a register of
its own, in which the demo's keys are registered. That register is never the real one: no health, no incident and no
notice comes of it, only a memo of when it came out, and whether rightly. What it does not prove: that the cloud still
delivers (the feeds' own checks do), that a notice leaves (the outbox does), or that the broker handed the row on (if
not, the sweep works it).
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, cast

import msgspec

from watchdog import clouds
from watchdog.observation import Changes, Known, World, observe
from watchdog.register import Register
from watchdog.signals import Signal
from watchdog.words import LOSS
from workers.feeds.interface import Received
from workers.intake import InCommit, Intake
from workers.registry import Registry
from workers.runtime import Runtime
from workers.settings import SYNTHETIC
from workers.store.interface import Arrived, Carries, Unit

if TYPE_CHECKING:
    from workers.samples.story import Chapter

EVERY = timedelta(days=1)
AGAIN = timedelta(minutes=10)
"""After which another one is put in, when the last has not come out, or not rightly."""


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """The memo of one cloud: when a record was last put in, when one last came out right, and what is wrong since."""

    put_in_at: datetime | None = None
    seen_at: datetime | None = None
    trouble: str | None = None


_passage = msgspec.json.Decoder(Passage)


class Reserved(Registry):
    """The register of the synthetic keys: always the same, whatever is imported."""

    def current(self, unit: Unit) -> Register:
        """Return the register of the synthetic keys."""
        del unit
        return register()

    def known(self) -> Register:
        """Return the register of the synthetic keys."""
        return register()


@lru_cache(maxsize=1)
def register() -> Register:
    """The demo's register: one customer on each cloud, with one key."""
    return Register(_story().document(), 1)


def _story() -> ModuleType:
    """Return the demo's story; only a process that puts a record in, or sees one come out, pays for the import."""
    return import_module("workers.samples.story")


def _chapter(cloud: str, seed: int) -> "Chapter":
    (found,) = [one for one in _story().chapters(seed) if one.cloud == cloud]
    return cast("Chapter", found)


def passages(unit: Unit, names: Sequence[str]) -> dict[str, Passage]:
    """Return the memo of each of these clouds, an empty one where there is none."""
    return {name: _read(unit, name) for name in names}


def _read(unit: Unit, cloud: str) -> Passage:
    doc = unit.memo(_memo(cloud))
    return _passage.decode(doc) if doc is not None else Passage()


def _memo(cloud: str) -> str:
    return f"synthetic:{cloud}"


def clouds_of(runtime: Runtime) -> list[str]:
    """The clouds whose records can come in by the feeds of the settings."""
    return sorted({feed.cloud for feed in runtime.settings.feeds})


# ------------------------------------------------------------------------------------------------------------- way in


def put_in(runtime: Runtime, on_quarantine: InCommit, *, now: datetime) -> list[tuple[int, Carries]]:
    """Put a record in for each cloud that is due one; return the rows, to be handed on. Raises StoreUnavailable."""
    with runtime.store.read() as unit:
        due = [name for name, passage in passages(unit, clouds_of(runtime)).items() if _is_due(passage, now)]
    return [row for cloud in due for row in _put_in(runtime, cloud, on_quarantine, now)]


def _is_due(passage: Passage, now: datetime) -> bool:
    # Times far ahead were noted by a clock that went wrong: they are not believed.
    if passage.put_in_at is not None and abs(now - passage.put_in_at) < AGAIN:
        return False
    return passage.trouble is not None or passage.seen_at is None or abs(now - passage.seen_at) >= EVERY


def _put_in(runtime: Runtime, cloud: str, on_quarantine: InCommit, now: datetime) -> list[tuple[int, Carries]]:
    at = now.replace(microsecond=0)
    # The ids of a seed are its own: this happening is another one than yesterday's.
    chapter = _chapter(cloud, int(at.timestamp()))
    _note(runtime, cloud, lambda passage: msgspec.structs.replace(passage, put_in_at=at), now)
    intake = Intake(
        runtime.store, Reserved(runtime.store), clouds.cloud, on_quarantine=on_quarantine, live=False, now=lambda: now
    )
    messages = [
        Received(id=f"{SYNTHETIC}:{cloud}:{at.isoformat()}:{number}", body=body, received_at=at, receipt=None)
        for number, body in enumerate(chapter.steps[0].tells(at))
    ]
    taken = intake.take(SYNTHETIC, cloud, messages)
    if taken.counts.broken or not taken.ids:
        text = "could not be read" if taken.counts.broken else "was thrown away as if it meant nothing"
        text = f"the record that was put in {text}"
        _note(runtime, cloud, lambda passage: msgspec.structs.replace(passage, trouble=text), now)
        runtime.log.error("synthetic.lost", cloud=cloud, text=text)
    return taken.ids


def _note(runtime: Runtime, cloud: str, change: Callable[[Passage], Passage], now: datetime) -> None:
    with runtime.store.write() as unit:
        _write(unit, cloud, change(_read(unit, cloud)), now)


def _write(unit: Unit, cloud: str, passage: Passage, now: datetime) -> None:
    unit.put_memo(_memo(cloud), msgspec.json.encode(passage), at=now)


# ------------------------------------------------------------------------------------------------------------ way out


def come_out(runtime: Runtime, unit: Unit, arrived: Arrived, *, now: datetime) -> tuple[str, ...]:
    """Judge a synthetic record like any other, note whether it came out right, and end its row; return its effects.

    What follows from it is thrown away here: nothing is written but the memo.
    """
    reserved = register()
    signals = clouds.cloud(arrived.cloud).meaning(arrived.body, reserved, received_at=arrived.received_at)
    world = runtime.world(unit, reserved)
    alone = World(
        register=reserved, table=world.table, routing=world.routing, steps=world.steps, number=lambda: 0
    )  # its incident takes no number away
    changes = observe(signals, Known(healths={}), alone, received_at=arrived.received_at, now=now)
    trouble = _trouble(_chapter(arrived.cloud, 0), signals, changes, arrived.received_at)
    before = _read(unit, arrived.cloud)
    seen_at = now if trouble is None else before.seen_at
    _write(unit, arrived.cloud, msgspec.structs.replace(before, seen_at=seen_at, trouble=trouble), now)
    effects = tuple(str(signal.effect) for signal in signals)
    unit.arrival_done(arrived.id, at=now, outcome=",".join(sorted(set(effects))))
    if trouble is not None:
        runtime.log.error("synthetic.wrong", cloud=arrived.cloud, text=trouble)
    return effects


def _trouble(chapter: "Chapter", signals: Sequence[Signal], changes: Changes, at: datetime) -> str | None:
    """Say in what a synthetic record came out wrong; None when all of it is as it must be."""
    lost = [signal for signal in signals if signal.effect in LOSS]
    if [signal.key for signal in lost] != [chapter.key]:
        return "the record came out, but not as the loss of the synthetic key"
    if lost[0].occurred_at != at:
        return "the record came out with another time than it was put in with"
    if not changes.incidents or changes.healths.keys() != {chapter.key}:
        return "the record came out as a loss, but no incident would have begun"
    return None
