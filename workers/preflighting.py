"""Pre-flights: the due keys are taken, checked side by side, and what came of it is committed with what follows."""

import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

import msgspec

from watchdog import operators
from watchdog.health import Health, Mark, Slot, judge
from watchdog.notices import Notice, OperatorFacts
from watchdog.observation import advance
from watchdog.preflight import Checked, Outcome, Preflight, Summary, drift, listed, preflight, unverified
from watchdog.preflight_common import Facts, Feed, LastProbe, common_checks
from watchdog.register import Register, RegisteredKey
from watchdog.silence import Look, Standing, State
from watchdog.ways import Ways
from watchdog.words import Severity
from workers.broker import TASK_SECONDS
from workers.covering import look_now
from workers.logs import in_words
from workers.observing import Queued, add_new, apply, healths, known, queued
from workers.probes.interface import Canary
from workers.probes.schedule import probe_of, turn_after
from workers.probing import fault_told
from workers.runtime import Runtime, utc_now
from workers.stops import stop_at
from workers.store.interface import PreflightOutcome, StoredPreflight, StoredProbe, StoreUnavailable, Unit

DAY = timedelta(days=1)
"""Every key has its turn once a day; the turns spread over it by themselves."""

AGAIN = timedelta(hours=1)
"""How soon a key has another turn while people wait for a protection to be put back, or for its first probe."""

AFTER_PROBE = timedelta(minutes=1)
"""How long after the first probe of a key its pre-flight is done again: only then can be told whether it works."""

LONG_DUE = timedelta(minutes=5)
"""After which a first probe that is due is not waited for from minute to minute any more."""

AT_ONCE = 8
"""How many keys one process reads at the same time: a reading takes a dozen calls, and nobody waits for it."""

OUTSTANDING = 4 * AT_ONCE
"""How many keys may be taken at a time: they share a queue with the probes, which must not wait for long."""

ASKING = TASK_SECONDS - 8.0
"""Seconds in which a batch is read; what has not answered by then is due again when its claim runs out."""

CLAIM = timedelta(minutes=2)
"""How long a taken key is its taker's: what a batch may wait at the broker, and be read."""

WAYS_KEPT = timedelta(minutes=1)
"""How long it is not read again how the ways of audit records stand."""

AT_LEAST = timedelta(days=7)
"""A pre-flight is evidence when it comes to something else than the one before, and at least so often."""

_preflight = msgspec.json.Decoder(Preflight)
_summary = msgspec.json.Decoder(Summary)


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What the cloud of one key has let be read, judged. `fault` is a fault of our own code, in words."""

    key: str
    fence: int
    at: datetime
    checks: tuple[Checked, ...]
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What was committed together: the pre-flight of each key that was still ours, and the notices that now wait."""

    done: Mapping[str, Preflight] = field(default_factory=dict)
    queued: tuple[Queued, ...] = ()


def turns(keys: Iterable[str], *, after: datetime) -> dict[str, datetime]:
    """Return the next turn of each key: together they are an even load over the day."""
    return {key: turn_after(key, DAY, after) for key in keys}


def last_preflight(unit: Unit, key: str) -> Preflight | None:
    """Return the last pre-flight of a key in full, None when there was none."""
    doc = unit.preflight_docs([key]).get(key)
    return _unpacked(doc) if doc is not None else None


def all_preflights(unit: Unit) -> dict[str, Preflight]:
    """Return the last pre-flights of all keys that had one, in full."""
    docs = unit.preflight_docs([row.key for row in unit.all_preflights()])
    return {key: _unpacked(doc) for key, doc in docs.items()}


def _packed(found: Preflight) -> bytes:
    """Write a pre-flight down, at an eighth of its size: most of its text is the same for all keys."""
    return zlib.compress(msgspec.json.encode(found))


def _unpacked(doc: bytes) -> Preflight:
    return _preflight.decode(zlib.decompress(doc))


def summary_of(row: StoredPreflight | None) -> Summary | None:
    """Return the last pre-flight in a line, None when there was none."""
    return _summary.decode(row.summary) if row is not None and row.summary is not None else None


class Preflighting:
    """The pre-flights of one process. Every piece may be lost or done twice without harm, as with probes."""

    def __init__(
        self, runtime: Runtime, now: Callable[[], datetime] = utc_now, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._runtime = runtime
        self._now = now
        self._monotonic = monotonic
        self._pool: ThreadPoolExecutor | None = None
        self._ways: tuple[Register, Ways, Look] | None = None

    # ----------------------------------------------------------------------------------------------------- the schedule

    def plan(self) -> int:
        """Bring the rows in line with the register; return how many were changed. An import does it by itself."""
        store, registry = self._runtime.store, self._runtime.registry
        with store.read() as unit:
            if registry.current(unit).keys.keys() == {row.key for row in unit.all_preflights()}:
                return 0
        with store.write() as unit:
            return unit.plan_preflights(turns(registry.current(unit).keys, after=self._now()))

    def take(self) -> dict[str, int]:
        """Take what is due, as far as what is under way allows; return the fences."""
        now = self._now()
        with self._runtime.store.read() as unit:
            limit = OUTSTANDING - unit.preflights_claimed(now)
            keys = unit.preflights_due(now, limit) if limit > 0 else []
        if not keys:
            return {}
        with self._runtime.store.write() as unit:
            return unit.take_preflights(keys, now=now, length=CLAIM)

    def batches(self, taken: Mapping[str, int]) -> Iterator[dict[str, int]]:
        """Yield the taken keys with their fences, as many together as are read at once."""
        rest = iter(taken.items())
        while batch := dict(islice(rest, AT_ONCE)):
            yield batch

    # --------------------------------------------------------------------------------------------------------- the work

    def check(self, claims: Mapping[str, int]) -> tuple[Queued, ...]:
        """Check taken keys and commit what comes of it together; return the notices that now wait."""
        with self._runtime.store.read() as unit:
            register = self._runtime.registry.current(unit)
            rows = unit.preflights(claims)
        ours = {key: fence for key, fence in claims.items() if key in rows and _is_held(rows[key], fence)}
        stop_at("preflight.claimed")
        read = self._read_all({key: fence for key, fence in ours.items() if key in register.keys}, register)
        stop_at("preflight.read")
        return self.settle(read).queued

    def check_now(self, key: str, *, by: str) -> tuple[Preflight | None, tuple[Queued, ...]]:
        """Check one key because a person wants it, from whoever may just have it; None when somebody took it over.

        Raises KeyError for one that is not registered.
        """
        now = self._now()
        with self._runtime.store.write() as unit:
            register = self._runtime.registry.current(unit)
            if key not in register.keys:
                raise KeyError(key)
            if key not in unit.preflights([key]):
                unit.plan_preflights(turns(register.keys, after=now))
            fence = unit.take_preflights([key], now=now, length=CLAIM, due_only=False)[key]
        settled = self.settle([self._read(register.keys[key], register, fence)], by=by)
        return settled.done.get(key), settled.queued

    def close(self) -> None:
        """Let the threads end by themselves."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    # ---------------------------------------------------------------------------------------------------------- reading

    def _read_all(self, claims: Mapping[str, int], register: Register) -> list[Read]:
        """Read side by side. What does not come back in time is told in the log, and left."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="preflight")
        pending: set[Future[Read]] = {
            self._pool.submit(self._read, register.keys[key], register, fence) for key, fence in claims.items()
        }
        done, late = wait(pending, timeout=ASKING)
        if late:
            # A thread cannot be ended; the next batch gets others.
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
            self._runtime.log.error("preflight.stuck", keys=len(late), seconds=ASKING)
        return [one.result() for one in done]

    def _read(self, key: RegisteredKey, register: Register, fence: int) -> Read:
        at = self._now()
        refused = self._not_asked(key)
        if refused is not None:
            return Read(key=key.id, fence=fence, at=at, checks=tuple(unverified(listed(key.cloud), *refused)))
        try:
            checks = tuple(self._runtime.readers.of(key.cloud).check(key, register))
        except Exception as error:
            # Protects the batch: whatever a key's answers do to our code, the other keys must be checked. It is told.
            self._runtime.log.error("preflight.failed", key=key.id, exc_info=error)
            return _failed(key, fence, at, error)
        return Read(key=key.id, fence=fence, at=at, checks=checks)

    def _not_asked(self, key: RegisteredKey) -> tuple[str, str] | None:
        """Say why the cloud of a key is not asked, and what would change that; None when it is."""
        if probe_of(key).off:
            return "The register says that this key is never asked (probe.off).", "Take it out there, and import it."
        if key.cloud in self._runtime.readers.clouds:
            return None
        words = f"Not asked: [probes] clouds in the settings does not name {key.cloud}."
        return words, f"Give this installation credentials for {key.cloud}, and name it there."

    # --------------------------------------------------------------------------------------------------------- settling

    def settle(self, read: Sequence[Read], *, by: str | None = None) -> Settled:
        """Put the checks together and write all that follows, in one commit. `by`: the person who wanted it."""
        try:
            return self._settle(read, by)
        except StoreUnavailable:
            raise  # says nothing about the keys: their claims run out
        except Exception as error:
            # Protects the other keys of the batch: each is settled by itself, and the one that fails is told.
            if len(read) == 1:
                return self._put_aside(read[0], error)
            self._runtime.log.error("preflight.failed", keys=len(read), exc_info=error)
        done = [self.settle([one], by=by) for one in read]
        return Settled(
            done={key: found for one in done for key, found in one.done.items()},
            queued=tuple(notice for one in done for notice in one.queued),
        )

    def _settle(self, read: Sequence[Read], by: str | None) -> Settled:
        now = self._now()
        with self._runtime.store.write() as unit:
            register = self._runtime.registry.current(unit)
            rows = unit.preflights(one.key for one in read)
            ours = [
                one for one in read
                if one.key in rows and one.key in register.keys and _is_held(rows[one.key], one.fence)
            ]  # fmt: skip
            names = [one.key for one in ours]
            world = _World(self._runtime, unit, register, rows, names, *self._ways_now(unit, register, now))
            done = {one.key: world.preflight(one) for one in ours}
            marks = {key: found for key in names if (found := world.drift(done[key]))}
            notices = self._change(unit, register, marks, now)
            opened = world.open_after(marks)
            outcomes = []
            for one in ours:
                is_told = by is not None or world.is_told(done[one.key], now)
                if is_told:
                    unit.append_evidence("preflight", one.key, _evidence(done[one.key], by), at=now)
                if one.fault is not None:
                    notices += self._trouble(unit, one.key, register.keys[one.key].cloud, one.fault, now)
                due_at = world.due_after(one, is_open=one.key in opened)
                outcomes.append(_outcome(one, done[one.key], due_at, told_at=now if is_told else None))
            unit.settle_preflights(outcomes)
        return Settled(done=done, queued=queued(notices))

    def _ways_now(self, unit: Unit, register: Register, now: datetime) -> tuple[Ways, Look]:
        """Return how the ways of all audit records stand: there may be as many as keys, so it is not read each time."""
        known = self._ways
        if known is None or known[0] is not register or not timedelta() <= now - known[2].at < WAYS_KEPT:
            known = self._ways = (register, *look_now(self._runtime, unit, register, now=now))
        return known[1], known[2]

    def _change(
        self, unit: Unit, register: Register, marks: Mapping[str, Sequence[Mark]], now: datetime
    ) -> list[Notice]:
        """Take the drift down the same path as a record; what has changed needs a proof by a probe."""
        if not marks:
            return []
        changes = advance(marks, known(unit, marks), self._runtime.world(unit, register), now=now)
        notices = apply(unit, changes, register, now=now)
        unit.want_probes(marks, at=now)
        for key, found in marks.items():
            self._runtime.log.info("preflight.drift", key=key, marks=[one.reason for one in found])
        return notices

    def _put_aside(self, read: Read, error: Exception) -> Settled:
        """Leave a key that our own code fails on to its next turn, and tell the operators."""
        self._runtime.log.error("preflight.failed", key=read.key, exc_info=error)
        now = self._now()
        with self._runtime.store.write() as unit:
            row = unit.preflights([read.key]).get(read.key)
            if row is None or not _is_held(row, read.fence):
                return Settled()
            cloud = self._runtime.registry.current(unit).keys[read.key].cloud
            notices = self._trouble(unit, read.key, cloud, in_words(error), now)
        return Settled(queued=queued(notices))  # its claim runs out: it is tried again then

    def _trouble(self, unit: Unit, key: str, cloud: str, fault: str, now: datetime) -> list[Notice]:
        """Tell the operators that a pre-flight failed by our own doing, once an hour for each cloud."""
        facts = OperatorFacts(
            subject=f"Pre-flight of {cloud}: our own code fails",
            what=f"The protections of a key could not be checked, by a fault of the watchdog: {fault}. Whether it has "
            "become easier to lose is not known while this lasts. Other keys may be concerned.",
            where=key,
            next="Look at the log for `preflight.failed`, and report it. Until it is mended, check the key by hand.",
            at=now,
            severity=Severity.ERROR,
        )
        notices = operators.tell(f"preflight-failed:{cloud}:{now:%Y-%m-%dT%H}", facts, self._runtime.routing, at=now)
        return add_new(unit, notices)


class _World:
    """What is known of some keys beside what was just read, loaded once for all of them."""

    def __init__(
        self, runtime: Runtime, unit: Unit, register: Register, rows: Mapping[str, StoredPreflight],
        keys: Sequence[str], ways: Ways, look: Look,
    ) -> None:  # fmt: skip
        self._asked = runtime.probers.clouds
        self._unit = unit
        self._register = register
        self._healths: Mapping[str, Health] = healths(unit, keys)
        self._probes = unit.probes(keys)
        self._canaries = unit.canaries(keys)
        self._rows = rows
        self._before = {key: _unpacked(doc) for key, doc in unit.preflight_docs(keys).items()}
        self._ways = ways
        self._look = look

    def preflight(self, read: Read) -> Preflight:
        """Put what was read together with what is known."""
        key = self._register.keys[read.key]
        row = self._probes.get(read.key)
        facts = Facts(
            at=read.at,
            probe=_last_probe(key, row, self._canaries.get(read.key, ())),
            not_probed=_not_probed(key, self._asked),
            feeds=tuple(_feed(self._look.standings[way.route]) for way in self._ways.by_key.get(key.id, ())),
        )
        checks = [*common_checks(key, self._register, facts), *read.checks]
        return preflight(key, checks, self._before.get(read.key), at=read.at)

    def drift(self, found: Preflight) -> tuple[Mark, ...]:
        """Return the marks that follow for the health of the key."""
        conditions = judge(self._healths[found.key]).conditions
        return drift(found, self._before.get(found.key), self._register.keys[found.key], conditions)

    def is_told(self, found: Preflight, now: datetime) -> bool:
        """Whether a pre-flight belongs into the evidence."""
        told_at, before = self._rows[found.key].told_at, self._before.get(found.key)
        return told_at is None or before is None or before.comes_to() != found.comes_to() or now - told_at >= AT_LEAST

    def open_after(self, marks: Mapping[str, Sequence[Mark]]) -> frozenset[str]:
        """Return the keys of which a protection is told to be gone, after these marks were taken."""
        now = {**self._healths, **healths(self._unit, marks)} if marks else self._healths
        return frozenset(key for key, found in now.items() if has_open_protection(found))

    def due_after(self, read: Read, *, is_open: bool) -> datetime:
        """Return when a key has its next turn."""
        turn = turn_after(read.key, DAY, read.at + DAY / 2)
        row = self._probes.get(read.key)
        if is_open:
            return min(turn, read.at + AGAIN)
        if row is not None and row.last_at is None and row.due_at is not None and row.cloud in self._asked:
            # One that should have been asked long ago is not asked at all: no reason to look every minute.
            wait = AGAIN if read.at - row.due_at > LONG_DUE else AFTER_PROBE
            return min(turn, max(row.due_at, read.at) + wait)
        return turn


def has_open_protection(found: Health) -> bool:
    """Whether a protection of a key is told to be gone."""
    return any(one.slot is Slot.PROTECTION for one in judge(found).conditions)


# ------------------------------------------------------------------------------------------------------------ the facts


def _last_probe(key: RegisteredKey, row: StoredProbe | None, canaries: Sequence[Canary]) -> LastProbe | None:
    if row is None or row.last_at is None:
        return None
    probe = probe_of(key)
    stores = {one.id: one.name or one.id for one in key.entry.consumers}
    return LastProbe(
        at=row.last_at,
        passed=row.last_passed,
        words=row.last_words,
        fault=fault_told(row),
        principal=probe.principal,
        canary_at=row.slow_at if probe.canary and canaries else None,
        stores=tuple(stores.get(one.consumer, one.consumer) for one in probe.consumers),
    )


def _not_probed(key: RegisteredKey, asked: frozenset[str]) -> str:
    if probe_of(key).off:
        return "The register says that this key is never probed (probe.off)."
    if key.cloud not in asked:
        return f"Not probed: [probes] clouds in the settings does not name {key.cloud}."
    return ""


def _feed(standing: Standing) -> Feed:
    alive = {State.PROVEN: True, State.SILENT: False}.get(standing.state)
    return Feed(words=standing.words, alive=alive, fix=standing.way.expects or None)


# ----------------------------------------------------------------------------------------------------- what is written


def _failed(key: RegisteredKey, fence: int, at: datetime, error: Exception) -> Read:
    fault = in_words(error)
    words = f"The check failed by a fault of the watchdog itself ({fault})."
    checks = tuple(unverified(listed(key.cloud), words, "Nothing is yours to do: the operators are told."))
    return Read(key=key.id, fence=fence, at=at, checks=checks, fault=fault)


def _outcome(read: Read, found: Preflight, due_at: datetime, *, told_at: datetime | None) -> PreflightOutcome:
    return PreflightOutcome(
        key=read.key, fence=read.fence, at=read.at, due_at=due_at, summary=msgspec.json.encode(found.summary),
        doc=_packed(found), told_at=told_at,
    )  # fmt: skip


def _evidence(found: Preflight, by: str | None) -> Mapping[str, object]:
    """Return what the evidence keeps: every outcome, and the words of what did not pass as agreed."""
    failing = [line for line in found.lines if line.checked.outcome is Outcome.FAIL]
    return {
        "by": by,
        "at": found.at,
        "checks": {line.checked.id: line.checked.outcome for line in found.lines},
        "failing": {line.checked.id: line.checked.words for line in failing},
        "agreed": {line.checked.id: msgspec.to_builtins(line.deviation) for line in failing if line.is_agreed},
        "blocked_by": found.summary.blocked_by,
    }


def _is_held(row: StoredPreflight, fence: int) -> bool:
    return row.claimed and row.fence == fence
