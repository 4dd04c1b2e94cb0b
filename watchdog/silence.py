"""Silence: which ways of audit records have fallen silent, since when, and what the watch has to be told of it.

Nobody is blamed here: that nothing has come does not tell why. What we did not listen to ourselves is never called a
customer's silence: it is one thing of its own on the vendor's watch, and so is a feed of which nothing comes at all.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from watchdog.assessment import WATCH
from watchdog.coverage import Returned, Sign, Way
from watchdog.health import Health, Mark, Origin, add, judge
from watchdog.incidents import VENDOR_WATCH
from watchdog.probing import STEP, proofs
from watchdog.words import Effect, Fault

UNASKED = timedelta(minutes=2)
"""After which a feed counts as not asked; also after which our own looking away counts as an outage of ours."""

USUAL_BEAT = timedelta(minutes=5)
"""The beat that the bound of the settings is meant for: with 15 minutes three may be missed (responsibility.md 7)."""


class State(StrEnum):
    """How a way, or a cover of a key, stands at a moment."""

    PROVEN = "proven"
    SILENT = "silent"
    NOT_YET = "not proven yet"
    QUIET = "quiet"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A feed of the settings: whose records it may carry (None: everybody's), and when it last asked its source."""

    name: str
    cloud: str
    customers: frozenset[str] | None = None
    asked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listened:
    """What is remembered of a feed: since when it is known, whether nobody asks it, since when it is asked again."""

    known_at: datetime
    away: bool = False
    resumed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The silence of one way, since its last sign over `feed`, or (no `feed`) since one was first expected."""

    since: datetime
    feed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One thing that the watch of `subject` has been told, how often it was told anew, and what was told last."""

    subject: str
    since: datetime
    times: int = 1
    unwatched: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What has to be known at the next look: by route, by feed, and by the part of the watch that was told."""

    expected: Mapping[str, datetime] = field(default_factory=dict)
    feeds: Mapping[str, Listened] = field(default_factory=dict)
    silent: Mapping[str, Gap] = field(default_factory=dict)
    told: Mapping[str, Told] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one way stands: `at` is its last sign, `since` when it is blind, `words` say it with the next thing to do."""

    way: Way
    state: State
    words: str
    feed: str | None = None
    at: datetime | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """One thing that the watch of `subject` is blind by now, as long as it lasts: what it is, and of which routes."""

    part: str
    subject: str
    since: datetime
    words: str
    routes: tuple[str, ...]
    fault: Fault = Fault.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The end of a silence: `at` when, `heard` whether a sign ended it (else nothing is expected any more)."""

    part: str
    at: datetime
    words: str
    heard: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look has found. `memory` is that of the next look, but for `told`."""

    at: datetime
    memory: Memory
    standings: Mapping[str, Standing]
    silences: Mapping[str, Silence]
    ended: tuple[Ended, ...]
    returned: tuple[Returned, ...]


def bound(way: Way, silent_after: timedelta) -> timedelta:
    """Return how long a way may be silent: the time of the settings, more for a slow beat, and the provider's delay."""
    return silent_after * max(1.0, (way.beats or USUAL_BEAT) / USUAL_BEAT) + way.lag


def look(
    memory: Memory, ways: Mapping[str, Way], signs: Iterable[Sign], feeds: Sequence[Feed], *, silent_after: timedelta,
    looked_at: datetime | None, at: datetime,
) -> Look:  # fmt: skip
    """Tell which of the ways (by route) are silent at `at`. Pure; looking twice at the same changes nothing.

    `looked_at` is the last look before: whoever has not looked for UNASKED cannot tell a silence from his own outage.
    """
    view = _View(memory, ways, signs, feeds, silent_after, looked_at, at)
    groups = tuple(view.groups())
    dead = {one.part for one in groups}
    silences = {one.part: one for one in (*view.unasked(), *groups, *view.alone(dead))}
    return Look(
        at=at,
        memory=Memory(expected=view.expected, feeds=view.listened, silent=view.silent, told=memory.told),
        standings={route: view.standing(way) for route, way in ways.items()},
        silences=silences,
        ended=tuple(view.ended(part) for part in memory.told if part not in silences),
        returned=tuple(view.returned),
    )


class _View:
    """One look: what is asked again and again is reckoned once."""

    def __init__(
        self, memory: Memory, ways: Mapping[str, Way], signs: Iterable[Sign], feeds: Sequence[Feed],
        silent_after: timedelta, looked_at: datetime | None, at: datetime,
    ) -> None:  # fmt: skip
        self.memory, self.ways, self.at = memory, ways, at
        self.silent_after = silent_after
        self.feeds = {feed.name: feed for feed in feeds}
        self.by_cloud: dict[str, list[Feed]] = {}
        for feed in feeds:
            self.by_cloud.setdefault(feed.cloud, []).append(feed)
        self.newest: dict[str, Sign] = {}
        for sign in signs:
            known = self.newest.get(sign.route)
            if sign.route in ways and (known is None or known.at < sign.at):
                self.newest[sign.route] = sign
        looked_away = looked_at is None or at - looked_at > UNASKED
        self.listened = {feed.name: self._listened(feed, looked_away=looked_away) for feed in feeds}
        self.expected = {route: memory.expected.get(route, at) for route, way in ways.items() if way.beats is not None}
        self.silent: dict[str, Gap] = {}
        self.returned: list[Returned] = []
        for route in self.expected:
            self._weigh(ways[route])
        self.carried: dict[str, list[Way]] = {}
        for route in self.expected:
            if route in self.newest:
                self.carried.setdefault(self.newest[route].feed, []).append(ways[route])

    def _listened(self, feed: Feed, *, looked_away: bool) -> Listened:
        known = self.memory.feeds.get(feed.name, Listened(known_at=self.at))
        away = self.at - max(feed.asked_at or known.known_at, known.known_at) > UNASKED
        resumed = looked_away or (known.away and not away)
        return replace(known, away=away, resumed_at=self.at if resumed else known.resumed_at)

    def _weigh(self, way: Way) -> None:
        """Tell whether a way is silent, or heard again."""
        route, newest = way.route, self.newest.get(way.route)
        gap = self.memory.silent.get(route)
        if gap is not None and newest is not None and newest.at > gap.since and self._is_fresh(newest, way):
            self.returned.append(Returned(way=way, feed=newest.feed, since=gap.since, at=newest.at))
        elif gap is not None:
            self.silent[route] = gap
        elif self._is_older(way, bound(way, self.silent_after)) and not self._is_ours(way):
            since, expected = (newest.at if newest else self.expected[route]), self.expected[route]
            self.silent[route] = Gap(since=max(since, expected), feed=newest.feed if newest else None)

    def _is_fresh(self, sign: Sign, way: Way) -> bool:
        return self.at - sign.at <= bound(way, self.silent_after)

    def _is_older(self, way: Way, age: timedelta) -> bool:
        """Whether the last sign is older than this, counted from when one could be expected, and be heard by us."""
        newest = self.newest.get(way.route)
        times = [self.expected[way.route], *([newest.at] if newest else [])]
        times += [heard.resumed_at for heard in self._by(way) if heard.resumed_at is not None]
        return self.at - max(times) > age

    def _is_ours(self, way: Way) -> bool:
        """Whether we do not listen ourselves: to the feed of the last sign, or to any that could bring the first."""
        found = self._by(way)
        return bool(found) and all(heard.away for heard in found)

    def _by(self, way: Way) -> list[Listened]:
        newest = self.newest.get(way.route)
        if newest is not None and newest.feed in self.feeds:
            return [self.listened[newest.feed]]
        return [self.listened[feed.name] for feed in self._possible(way)]

    def _possible(self, way: Way) -> list[Feed]:
        """Return the feeds by which a way could come: those of its cloud, as far as they may speak of its customer."""
        found = self.by_cloud.get(way.route.partition(":")[0], ())
        return [feed for feed in found if feed.customers is None or way.customer in feed.customers]

    # ------------------------------------------------------------------------------------------------ what is told

    def unasked(self) -> Iterable[Silence]:
        """Yield the feeds that nobody asks, as far as anything that is registered could come by them."""
        clouds = {route.partition(":")[0] for route in self.ways}
        for name, heard in self.listened.items():
            feed = self.feeds[name]
            if not heard.away or feed.cloud not in clouds:
                continue
            since = max(feed.asked_at or heard.known_at, heard.known_at)
            words = (
                f"The feed {name} is not asked since {moment(since)}: nobody listens, and nothing that it carries is "
                f"seen. This says nothing of the customers. Start `byok-watchdog consume {name}` (or `up`); "
                "`byok-watchdog doctor` says what it lacks"
            )
            routes = tuple(route for route, way in self.ways.items() if feed in self._likely(way))
            yield Silence(
                part=f"unasked:{name}", subject=VENDOR_WATCH, since=since, words=words, routes=routes,
                fault=Fault.VENDOR,
            )  # fmt: skip

    def _likely(self, way: Way) -> Sequence[Feed]:
        newest = self.newest.get(way.route)
        if newest is not None and newest.feed in self.feeds:
            return [self.feeds[newest.feed]]
        return self._possible(way)

    def groups(self) -> Iterable[Silence]:
        """Yield the feeds by which nothing comes at all any more, though several customers' records came by them."""
        for name, carried in self.carried.items():
            part = f"feed:{name}"
            known = self.memory.told.get(part)
            if not self._is_dead(name, carried, known):
                continue
            last = max(self.newest[way.route].at for way in carried)
            customers = {way.customer for way in carried}
            words = (
                f"No sign of life has come over the feed {name} since {moment(last)}: all {len(carried)} ways that it "
                f"carries, of {len(customers)} parties, are silent at once. So the cause is presumed not to lie with a "
                f"customer: look at what the feed {name} reads from, at what writes into that, and at the provider's "
                "status page; say nothing to the customers about a cause"
            )
            yield Silence(
                part=part, subject=VENDOR_WATCH, since=known.since if known else last, words=words,
                routes=tuple(way.route for way in carried),
            )  # fmt: skip

    def _is_dead(self, name: str, carried: Sequence[Way], known: Told | None) -> bool:
        newest = [self.newest[way.route] for way in carried]
        if known is not None:  # as long as nothing comes, whatever else happens
            heard = (
                self._is_fresh(sign, way) for sign, way in zip(newest, carried, strict=True) if sign.at > known.since
            )
            return not any(heard)
        if name not in self.feeds or len({way.customer for way in carried} - {None}) < 2:
            return False
        # Their signs do not come at one moment: when the first is overdue, the others may be within a beat of it.
        return any(way.route in self.silent for way in carried) and all(
            way.route in self.silent or self._is_older(way, self._nearly(way)) for way in carried
        )

    def _nearly(self, way: Way) -> timedelta:
        whole = bound(way, self.silent_after)
        return max(whole - (way.beats or timedelta()), whole / 2)

    def alone(self, dead: Collection[str]) -> Iterable[Silence]:
        """Yield each silent way by itself, but for those of a feed that is told as a whole (`dead`, by part)."""
        for route, gap in self.silent.items():
            if route in self.memory.told or f"feed:{gap.feed}" not in dead:
                way = self.ways[route]
                words = self._silent_words(way, gap)
                yield Silence(part=route, subject=_subject(way), since=gap.since, words=words, routes=(route,))

    def _silent_words(self, way: Way, gap: Gap) -> str:
        last = self.newest.get(way.route)
        if last is None:
            words = f"No sign of life has ever come from {way.words}, though one is expected since {moment(gap.since)}"
            if not self._possible(way):
                words += "; no feed of the settings carries it"
        else:
            words = f"No sign of life has come from {way.words} since {moment(last.at)} (blind since then)"
        return f"{words}. Expected: {way.expects.rstrip('.')}" if way.expects else words

    # -------------------------------------------------------------------------------------------- how it stands, ended

    def standing(self, way: Way) -> Standing:
        """Say how one way stands."""
        newest = self.newest.get(way.route)
        last, feed = (newest.at, newest.feed) if newest else (None, None)
        if way.beats is None:
            said = f"the last record came {moment(last)}" if last else "no record has come yet"
            words = f"no sign of life is agreed for {way.words}, so its silence says nothing; {said}"
            return Standing(way=way, state=State.QUIET, words=words, feed=feed, at=last)
        gap = self.silent.get(way.route)
        if gap is not None:
            words = self._silent_words(way, gap)
            return Standing(way=way, state=State.SILENT, words=words, feed=feed, at=last, since=gap.since)
        if newest is not None and self._is_fresh(newest, way):
            words = f"{way.words}: the last sign of life is of {moment(last)}"
            return Standing(way=way, state=State.PROVEN, words=words, feed=feed, at=last)
        if self._is_ours(way):
            names = ", ".join(one.name for one in self._likely(way))
            words = f"{way.words}: we do not listen ourselves; start `byok-watchdog consume` for {names}"
            since = last or self.expected[way.route]
            return Standing(way=way, state=State.SILENT, words=words, feed=feed, at=last, since=since)
        said = f"the last sign of life is of {moment(last)}, before we listened again" if last else "none has come yet"
        words = f"{way.words}: {said}; it is called silent after {_minutes(bound(way, self.silent_after))}"
        return Standing(way=way, state=State.NOT_YET, words=words, feed=feed, at=last)

    def ended(self, part: str) -> Ended:
        """Say how what was told has ended."""
        kind, _, name = part.partition(":")
        if part in self.expected and part not in self.silent:
            sign = self.newest[part]
            words = f"A sign of life has come again from {self.ways[part].words} ({moment(sign.at)})"
            return Ended(part=part, at=sign.at, words=words, heard=True)
        if kind == "unasked" and name in self.feeds:
            asked_at = self.feeds[name].asked_at
            words = f"The feed {name} is asked again"
            return Ended(part=part, at=asked_at or self.at, words=words, heard=asked_at is not None)
        if kind == "feed" and self.carried.get(name):
            last = max(self.newest[way.route].at for way in self.carried[name])
            return Ended(part=part, at=last, words=f"Signs of life come over the feed {name} again", heard=True)
        words = f"By the register and the settings nothing is expected any more of {part}"
        return Ended(part=part, at=self.at, words=words, heard=False)


def moment(at: datetime | None) -> str:
    """Write a moment for people; "never" for none."""
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else "never"


def _minutes(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    return f"{seconds // 60} minutes" if seconds >= 120 else f"{seconds} seconds"


# ------------------------------------------------------------------------------------------------- what the watch hears


@dataclass(frozen=True, slots=True, kw_only=True)
class Concerned:
    """The keys of a silence, in words, and whether some of them are not asked either."""

    words: str
    unwatched: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """What the watches have to be told now, by subject, and what is told then."""

    marks: Mapping[str, Sequence[Mark]]
    told: Mapping[str, Told]


def tell(found: Look, concerned: Mapping[str, Concerned]) -> Hearing:
    """Return the marks of what has fallen silent, has become worse or milder, or has ended. `concerned` is by part.

    Of each part two marks stay, the newest silence and the newest end, however often it comes and goes.
    """
    marks: dict[str, list[Mark]] = {}
    told: dict[str, Told] = {}
    for part, silence in found.silences.items():
        known, keys = found.memory.told.get(part), concerned[part]
        if known is not None and known.unwatched == keys.unwatched:
            told[part] = known
            continue
        told[part] = new = Told(
            subject=silence.subject, since=known.since if known else silence.since,
            times=known.times + 1 if known else 1, unwatched=keys.unwatched,
        )  # fmt: skip
        marks.setdefault(new.subject, []).append(_silent(silence, new, keys))
    for end in found.ended:
        was = found.memory.told[end.part]
        # Never before what it ends: the clocks of two machines may differ.
        at = max(end.at, _at(was) + STEP)
        marks.setdefault(was.subject, []).append(
            Mark(
                id=f"silence-ended:{end.part}:last", at=at, origin=Origin.PROBE, effect=Effect.SILENCE_ENDED,
                reason=end.words, subject=end.part, part=end.part,
            )
        )  # fmt: skip
    return Hearing(marks=marks, told=told)


def _silent(silence: Silence, told: Told, keys: Concerned) -> Mark:
    return Mark(
        id=f"silence:{silence.part}:last", at=_at(told), origin=Origin.PROBE, effect=Effect.FEED_SILENT,
        reason=f"{silence.words}. {keys.words}", subject=silence.part, part=silence.part, unwatched=keys.unwatched,
        fault=None if silence.fault is Fault.UNKNOWN else silence.fault,
    )  # fmt: skip


def _at(told: Told) -> datetime:
    """Return the time of a silence's newest mark: just after its last sign, which is when the watch became blind."""
    return told.since + told.times * STEP


def proof(watch: Health, marks: Sequence[Mark], found: Look) -> tuple[Mark, ...]:
    """Return the proof that goes with the end of a silence: none while anything else is open on that watch.

    What is no longer expected proves nothing by itself; another way of the same watch that is heard does.
    """
    ends = [mark for mark in marks if mark.effect is Effect.SILENCE_ENDED]
    if not ends or judge(add(watch, marks)).conditions:
        return ()
    heard = {end.part for end in found.ended if end.heard}
    proven = any(
        standing.state is State.PROVEN and _subject(standing.way) == watch.subject
        for standing in found.standings.values()
    )
    if not proven and not any(mark.part in heard for mark in ends):
        return ()
    at = max(found.at, *(mark.at + STEP for mark in marks))
    return proofs(at=at, reason=f"{ends[-1].reason}; every way that is expected is heard, or within its bound.")


def _subject(way: Way) -> str:
    return f"{WATCH}{way.customer}" if way.customer is not None else VENDOR_WATCH
