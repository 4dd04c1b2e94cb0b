"""Covering: by which ways each key is watched now; what falls silent is told, what comes back is handed on."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from watchdog import clouds, covers, silence
from watchdog.cloud import Cloud
from watchdog.coverage import Returned, Way
from watchdog.covers import Covering, ProbeFacts
from watchdog.register import Register, RegisteredKey
from watchdog.silence import Concerned, Feed, Hearing, Look, Memory, Silence
from watchdog.ways import Ways, ways_of
from workers.observing import Queued, healths, take_marks
from workers.probes.schedule import probe_of
from workers.runtime import Runtime
from workers.settings import Settings
from workers.store.interface import StoredProbe, Unit

EVERY = timedelta(seconds=30)
"""How often the watch looks at its ways at least: a silence is told so much after its bound at the latest."""


def every(settings: Settings) -> timedelta:
    """Return how often to look: the thirtieth part of what may be silent, but no more than once a second."""
    return min(EVERY, max(timedelta(seconds=1), settings.silent_after / 30))


OnReturn = Callable[[Sequence[Returned]], None]
"""Hears of ways that are heard again. It may hear of one twice, when the process dies right after."""

_MEMORY, _LOOKED = "coverage", "coverage:looked"
_memory = msgspec.json.Decoder(Memory)
_moment = msgspec.json.Decoder(datetime)


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """What one look came to: what is newly told to be silent, what came back, and the notices that now wait."""

    fell: tuple[Silence, ...] = ()
    returned: tuple[Returned, ...] = ()
    queued: tuple[Queued, ...] = ()


def nothing(returned: Sequence[Returned]) -> None:
    """Do nothing about ways that are heard again."""
    del returned


def cover(
    runtime: Runtime, *, now: datetime, on_return: OnReturn = nothing, cloud: Callable[[str], Cloud] = clouds.cloud
) -> Covered:
    """Look at every way once, and tell the watches what has fallen silent, or is heard again. Raises StoreUnavailable.

    Every part of it may be done twice without harm: what was told is remembered last.
    """
    with runtime.store.read() as unit:
        register = runtime.registry.current(unit)
        ways = ways_of(register, cloud)
        known, looked_at = _known(unit)
        found = _look(runtime, unit, ways, known, looked_at=looked_at, at=now)
        heard = silence.tell(found, _concerned(runtime, unit, register, ways, found, now))
        watches = healths(unit, heard.marks.keys())
    queued: list[Queued] = []
    for subject, marks in heard.marks.items():
        proven = silence.proof(watches[subject], marks, found)
        queued += take_marks(
            runtime, {subject: [*marks, *proven]}, kind="coverage", evidence=_evidence(subject, found, heard), now=now
        )
    if found.returned:
        on_return(found.returned)
    _remember(runtime, known, replace(found.memory, told=heard.told), now)
    fell = tuple(one for part, one in found.silences.items() if part not in known.told)
    for one in fell:
        runtime.log.warning("silent", part=one.part, since=one.since.isoformat(), watch=one.subject)
    for back in found.returned:
        runtime.log.info("heard_again", route=back.way.route, feed=back.feed, since=back.since.isoformat())
    return Covered(fell=fell, returned=found.returned, queued=tuple(queued))


def look_now(
    runtime: Runtime, unit: Unit, register: Register, *, now: datetime, cloud: Callable[[str], Cloud] = clouds.cloud
) -> tuple[Ways, Look]:
    """Return how every way stands at `now`, for people. Nothing is told or remembered."""
    ways = ways_of(register, cloud)
    known, _ = _known(unit)
    # Whoever looks here is no scheduler: that nobody has looked for a while makes nothing of this better.
    return ways, _look(runtime, unit, ways, known, looked_at=now, at=now)


def covers_of(
    key: RegisteredKey, ways: Ways, found: Look, row: StoredProbe | None, asked: Collection[str]
) -> tuple[Covering, ...]:
    """Return the three covers of a key; `asked` are the clouds whose keys are probed."""
    return covers.covers(ways.by_key.get(key.id, ()), found.standings, probe_facts(key, row, asked), at=found.at)


def covers_of_all(runtime: Runtime, unit: Unit, *, now: datetime) -> dict[str, tuple[Covering, ...]]:
    """Return the three covers of every registered key."""
    register = runtime.registry.current(unit)
    ways, found = look_now(runtime, unit, register, now=now)
    rows = {row.key: row for row in unit.all_probes()}
    asked = runtime.settings.probes.clouds
    return {key.id: covers_of(key, ways, found, rows.get(key.id), asked) for key in register.keys.values()}


def why_never(key: RegisteredKey, row: StoredProbe | None, asked: Collection[str]) -> str | None:
    """Say why nobody probes a key; None when it is probed. `asked` are the clouds whose keys are."""
    if probe_of(key).off:
        return "never probed: the register says so (probe.off)"
    if key.cloud not in asked:
        return f"not probed: [probes] in the settings does not name {key.cloud}"
    if row is None or row.due_at is None:
        return "not probed yet: the scheduler has made no plan for it"
    return None


def probe_facts(key: RegisteredKey, row: StoredProbe | None, asked: Collection[str]) -> ProbeFacts:
    """Return what is known of the probing of a key."""
    never = why_never(key, row, asked)
    if never is not None or row is None:
        return ProbeFacts(every=timedelta(seconds=probe_of(key).every_seconds), never=never)
    # A row of an older version of this program knows its last probe only.
    answered_at = row.answered_at or (row.last_at if row.last_passed is not None else None)
    return ProbeFacts(every=row.every, answered_at=answered_at, failures=row.failures)


def _known(unit: Unit) -> tuple[Memory, datetime | None]:
    memory, looked = unit.memo(_MEMORY), unit.memo(_LOOKED)
    return (
        _memory.decode(memory) if memory is not None else Memory(),
        _moment.decode(looked) if looked is not None else None,
    )


def _look(
    runtime: Runtime, unit: Unit, ways: Ways, known: Memory, *, looked_at: datetime | None, at: datetime
) -> Look:  # fmt: skip
    seen = {one.feed: one.asked_at for one in unit.feeds()}
    feeds = [
        Feed(
            name=one.name, cloud=one.cloud, asked_at=seen.get(one.name),
            customers=None if one.customers is None else frozenset(one.customers),
        )
        for one in runtime.settings.feeds
    ]  # fmt: skip
    agreed = _agreed(ways.by_route, runtime.settings.probes.clouds)
    return silence.look(
        known, agreed, unit.signs(), feeds, silent_after=runtime.settings.silent_after, looked_at=looked_at, at=at
    )


def _agreed(ways: Mapping[str, Way], asked: Collection[str]) -> Mapping[str, Way]:
    """Return the ways with the signs that are due: where nobody probes, no record of a probe is."""
    idle = {
        route: replace(way, beats=None)
        for route, way in ways.items()
        if way.by_probe and route.partition(":")[0] not in asked
    }
    return {**ways, **idle} if idle else ways


def _remember(runtime: Runtime, before: Memory, after: Memory, now: datetime) -> None:
    with runtime.store.write() as unit:
        if after != before:  # with many ways it is long
            unit.put_memo(_MEMORY, msgspec.json.encode(after), at=now)
        unit.put_memo(_LOOKED, msgspec.json.encode(now), at=now)


def _concerned(
    runtime: Runtime, unit: Unit, register: Register, ways: Ways, found: Look, now: datetime
) -> Mapping[str, Concerned]:
    """Return of each silence whose keys it concerns, and by what they are still watched."""
    of = {part: _keys(one.routes, ways) for part, one in found.silences.items()}
    rows = unit.probes({key for keys in of.values() for key in keys})
    asked = runtime.settings.probes.clouds

    def probed(key: str) -> Covering:
        return covers.probed(probe_facts(register.keys[key], rows.get(key), asked), at=now)

    return {part: covers.concerned((key, probed(key)) for key in keys) for part, keys in of.items()}


def _keys(routes: Iterable[str], ways: Ways) -> list[str]:
    return sorted({key for route in routes for key in ways.keys.get(route, ())})


def _evidence(subject: str, found: Look, heard: Hearing) -> Mapping[str, object]:
    """Return what the evidence keeps of what one watch is told."""
    return {
        "silent": [
            {"part": mark.part, "at": mark.at, "words": mark.reason, "unwatched": mark.unwatched}
            for mark in heard.marks[subject]
            if mark.part in found.silences
        ],
        "ended": [
            {"part": mark.part, "at": mark.at, "words": mark.reason}
            for mark in heard.marks[subject]
            if mark.part not in found.silences
        ],
    }
