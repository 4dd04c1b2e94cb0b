"""Which ways are silent at a moment, and what the watches hear of it: timelines, looked at every half minute."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worlds import T0
from watchdog.coverage import Cover, Returned, Sign, Way
from watchdog.health import Health, Mark, Origin, add, judge, settle
from watchdog.incidents import VENDOR_WATCH
from watchdog.probing import proofs
from watchdog.silence import Concerned, Feed, Look, Memory, State, look, proof, tell
from watchdog.words import Effect, Fault

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
HALF = MINUTE / 2
BOUND = 15 * MINUTE

ACME = Way(
    cover=Cover.FORWARDED, route="aws:111122223333:eu-west-1", customer="acme", beats=5 * MINUTE, lag=MINUTE,
    words="the audit records of AWS account 111122223333 in eu-west-1", expects="an event of the rule beat",
)  # fmt: skip
GLOBEX = replace(
    ACME, route="aws:444455556666:eu-west-1", customer="globex", words="the audit records of AWS account 444455556666"
)
OWN = replace(
    ACME, route="aws:999999999999:eu-west-1", customer=None, cover=Cover.SELF_OBSERVED, words="our own records"
)
STILL = replace(ACME, route="aws:777788889999:eu-west-1", customer="initech", beats=None, expects="")
QUEUE, OTHER = "acme-sqs", "second"
WATCHED = Concerned(words="Concerned: 1 key (k). It is still asked by probes", unwatched=False)
UNWATCHED = Concerned(words="nothing watches it now", unwatched=True)


@dataclass
class Watch:
    """The ways over time: signs come in, feeds are asked, and somebody looks every half minute."""

    ways: Sequence[Way] = (ACME,)
    feeds: Sequence[str] = (QUEUE,)
    keys: Concerned = WATCHED
    at: datetime = T0
    memory: Memory = field(default_factory=Memory)
    looked_at: datetime | None = None
    signs: dict[tuple[str, str], Sign] = field(default_factory=dict)
    asked: dict[str, datetime] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    customers: dict[str, frozenset[str]] = field(default_factory=dict)
    healths: dict[str, Health] = field(default_factory=dict)
    returned: list[Returned] = field(default_factory=list)
    last: Look | None = None

    def sign(self, *ways: Way, ago: timedelta = timedelta(), feed: str = QUEUE) -> None:
        for way in ways:
            self.signs[feed, way.route] = Sign(feed=feed, route=way.route, at=self.at - ago)

    def look(self) -> Look:
        """Look once, and let the watches hear of it."""
        self.asked |= {name: self.at for name in self.feeds if name not in self.away}
        feeds = [
            Feed(name=name, cloud="aws", customers=self.customers.get(name), asked_at=self.asked.get(name))
            for name in self.feeds
        ]
        found = look(
            self.memory, {way.route: way for way in self.ways}, self.signs.values(), feeds, silent_after=BOUND,
            looked_at=self.looked_at, at=self.at,
        )  # fmt: skip
        heard = tell(found, dict.fromkeys(found.silences, self.keys))
        for subject, marks in heard.marks.items():
            before = self.healths.get(subject, Health(subject=subject))
            self.healths[subject] = add(before, [*marks, *proof(before, marks, found)])
        self.memory, self.looked_at, self.last = replace(found.memory, told=heard.told), self.at, found
        self.returned += found.returned
        return found

    def go(self, time: timedelta, *beating: Way, every: timedelta = 5 * MINUTE, feed: str = QUEUE) -> Look:
        """Let time go by, looking every half minute; some ways beat meanwhile."""
        end, beat = self.at + time, self.at
        while self.at < end:
            self.at += HALF
            if self.at - beat >= every:
                beat = self.at
                self.sign(*beating, feed=feed)
            self.look()
        assert self.last is not None
        return self.last

    def open(self) -> set[tuple[str, str | None]]:
        """What is open on the watches: the subject, and what is silent there."""
        return {
            (subject, one.latest.part) for subject, found in self.healths.items() for one in judge(found).conditions
        }

    def proven(self, subject: str) -> bool:
        return judge(self.healths[subject]).proven_at is not None


def beating(**other: object) -> Watch:
    """A watch on which every way with a beat has been heard for half an hour."""
    watch = Watch(**other)  # type: ignore[arg-type]  # the fields above
    watch.sign(*(way for way in watch.ways if way.beats))
    watch.look()
    watch.go(30 * MINUTE, *(way for way in watch.ways if way.beats))
    assert watch.open() == set()
    return watch


# ---------------------------------------------------------------------------------------------------------- one way


def test_a_way_that_beats_is_proven_with_the_time_of_its_last_sign() -> None:
    watch = beating()
    watch.go(3 * MINUTE)
    standing = watch.look().standings[ACME.route]
    assert (standing.state, standing.at, standing.feed) == (State.PROVEN, watch.at - 3 * MINUTE, QUEUE)


def test_a_way_is_silent_after_its_bound_and_what_the_provider_may_be_late_not_before() -> None:
    watch = beating()
    watch.go(BOUND + ACME.lag)
    assert watch.open() == set()
    watch.go(HALF)
    assert watch.open() == {("watch:acme", ACME.route)}
    (condition,) = judge(watch.healths["watch:acme"]).conditions
    assert condition.since - (watch.at - BOUND - ACME.lag - HALF) < timedelta(milliseconds=1), (
        "blind since the last sign"
    )
    assert condition.effect is Effect.FEED_SILENT
    assert condition.fault is Fault.UNKNOWN


def test_a_silence_is_told_in_words_that_blame_nobody_and_name_what_is_expected() -> None:
    watch = beating()
    since = watch.at
    watch.go(HOUR)
    (condition,) = judge(watch.healths["watch:acme"]).conditions
    assert condition.latest.reason == (
        f"No sign of life has come from {ACME.words} since {since:%Y-%m-%d %H:%M} UTC (blind since then). "
        f"Expected: an event of the rule beat. {WATCHED.words}"
    )


def test_a_way_that_never_was_heard_is_silent_its_bound_after_it_was_expected_first() -> None:
    watch = Watch()
    assert watch.look().standings[ACME.route].state is State.NOT_YET
    watch.go(BOUND + ACME.lag)
    assert watch.open() == set()
    found = watch.go(HALF)
    assert watch.open() == {("watch:acme", ACME.route)}
    assert found.standings[ACME.route].since == T0


def test_a_way_that_no_feed_can_carry_says_so_when_it_is_silent() -> None:
    watch = Watch(customers={QUEUE: frozenset({"globex"})})
    watch.look()
    found = watch.go(HOUR)
    assert "no feed of the settings carries it" in found.silences[ACME.route].words


def test_a_way_without_an_agreed_sign_is_quiet_and_never_silent() -> None:
    watch = Watch(ways=(STILL,))
    watch.sign(STILL)
    found = watch.go(100 * HOUR, every=HOUR)
    assert (found.standings[STILL.route].state, watch.open()) == (State.QUIET, set())
    assert "says nothing" in found.standings[STILL.route].words


def test_a_slow_beat_has_a_longer_bound() -> None:
    slow = replace(ACME, beats=HOUR, lag=timedelta())
    watch = Watch(ways=(slow,))
    watch.sign(slow)
    watch.look()
    watch.go(3 * HOUR)
    assert watch.open() == set()
    watch.go(HALF)
    assert watch.open() == {("watch:acme", slow.route)}


def test_a_record_that_comes_late_does_not_look_alive_now() -> None:
    watch = beating()
    watch.go(HOUR)
    watch.sign(ACME, ago=40 * MINUTE)  # newer than the last one, and too old to prove anything now
    watch.go(MINUTE)
    assert watch.open() == {("watch:acme", ACME.route)}
    assert watch.returned == []


# -------------------------------------------------------------------------------------------------------- it comes back


def test_a_sign_ends_the_silence_proves_the_watch_and_hands_the_gap_on() -> None:
    watch = beating()
    since = watch.at
    watch.go(HOUR)
    watch.sign(ACME)
    watch.look()
    assert watch.open() == set()
    assert watch.proven("watch:acme")
    assert watch.returned == [Returned(way=ACME, feed=QUEUE, since=since, at=watch.at)]
    watch.go(HOUR, ACME)
    assert len(watch.returned) == 1


def test_a_way_that_comes_and_goes_leaves_a_handful_of_marks() -> None:
    watch = beating()
    for _ in range(20):
        watch.go(20 * MINUTE)
        assert watch.open() == {("watch:acme", ACME.route)}
        watch.sign(ACME)
        watch.go(MINUTE)
        assert watch.open() == set()
    silences = [mark for mark in watch.healths["watch:acme"].marks if mark.effect is not None]
    assert len(silences) == 2
    assert len(watch.returned) == 20


def test_looking_twice_at_the_same_tells_nothing_new() -> None:
    watch = beating()
    watch.go(HOUR)
    before = watch.healths["watch:acme"]
    memory = watch.memory
    watch.look()
    assert (watch.healths["watch:acme"], watch.memory) == (before, memory)


def test_what_was_told_and_not_remembered_is_told_again_without_effect() -> None:
    watch = beating()
    watch.go(BOUND + ACME.lag)
    memory = watch.memory
    watch.go(HALF)
    before = watch.healths["watch:acme"]
    watch.memory = memory  # the process died before it could remember
    watch.look()
    assert watch.healths["watch:acme"] == before


def tampering(at: datetime) -> Mark:
    return Mark(
        id="e:feed_tampered:", at=at, origin=Origin.EVENT, effect=Effect.FEED_TAMPERED, reason="StopLogging",
        fault=Fault.CUSTOMER,
    )  # fmt: skip


def test_a_sign_ends_no_tampering_that_a_record_has_told_of_and_proves_nothing_while_it_is_open() -> None:
    watch = beating()
    watch.go(HOUR)
    watch.healths["watch:acme"] = add(watch.healths["watch:acme"], [tampering(watch.at - 50 * MINUTE)])
    watch.sign(ACME)
    watch.look()
    assert watch.open() == {("watch:acme", None)}
    assert not watch.proven("watch:acme")


def test_a_way_that_left_the_register_is_over_and_proves_nothing_unless_another_one_is_heard() -> None:
    for others, proven in (((), False), ((replace(ACME, route="aws:111122223333:us-east-1"),), True)):
        watch = beating(ways=(ACME, *others))
        watch.go(HOUR, *others)
        assert watch.open() == {("watch:acme", ACME.route)}
        watch.ways = others
        watch.go(MINUTE, *others)
        assert (watch.open(), watch.proven("watch:acme"), watch.returned) == (set(), proven, [])


def test_a_way_that_was_expected_no_more_for_a_while_is_silent_anew_only_after_a_new_bound() -> None:
    watch = beating()
    watch.go(HOUR)
    watch.ways = ()
    watch.go(MINUTE)
    watch.ways = (ACME,)
    watch.go(BOUND)
    assert watch.open() == set()
    watch.go(2 * MINUTE)
    assert watch.open() == {("watch:acme", ACME.route)}


# ------------------------------------------------------------------------------------------------ what else watches


def test_what_is_asked_by_nobody_either_is_marked_and_that_follows_the_probes() -> None:
    watch = beating()
    watch.go(HOUR)
    (told,) = judge(watch.healths["watch:acme"]).conditions
    since = told.since
    for keys in (UNWATCHED, WATCHED, UNWATCHED):
        watch.keys = keys
        watch.look()
        (told,) = judge(watch.healths["watch:acme"]).conditions
        assert told.latest.unwatched is keys.unwatched
        assert keys.words in told.latest.reason
        assert told.since - since < timedelta(milliseconds=1)


# -------------------------------------------------------------------------------------------------- our own outage


def test_what_we_do_not_ask_ourselves_is_one_thing_of_the_vendors_and_no_customers_silence() -> None:
    watch = beating(ways=(ACME, GLOBEX, OWN))
    watch.away = {QUEUE}
    watch.go(2 * MINUTE)
    assert watch.open() == set()
    watch.go(3 * HOUR)
    assert watch.open() == {(VENDOR_WATCH, f"unasked:{QUEUE}")}
    (told,) = judge(watch.healths[VENDOR_WATCH]).conditions
    assert told.fault is Fault.VENDOR
    assert "byok-watchdog consume acme-sqs" in told.latest.reason
    assert watch.last is not None
    assert watch.last.standings[ACME.route].state is State.SILENT, "it is not shown as heard all the same"


def test_after_our_outage_the_ways_get_a_new_bound_and_the_vendors_watch_is_proven_again() -> None:
    watch = beating(ways=(ACME, GLOBEX))
    watch.away = {QUEUE}
    watch.go(3 * HOUR)
    watch.away = set()
    watch.go(MINUTE)
    assert watch.open() == set()
    assert watch.proven(VENDOR_WATCH)
    assert watch.last is not None
    assert watch.last.standings[ACME.route].state is State.NOT_YET
    watch.go(BOUND, GLOBEX)
    assert watch.open() == set()
    watch.go(2 * MINUTE, GLOBEX, every=MINUTE)
    assert watch.open() == {("watch:acme", ACME.route)}
    assert watch.returned == []


def test_a_silence_that_was_told_outlasts_our_own_outage() -> None:
    watch = beating()
    watch.go(HOUR)
    watch.away = {QUEUE}
    watch.go(HOUR)
    watch.away = set()
    watch.go(MINUTE)
    assert watch.open() == {("watch:acme", ACME.route)}, "that we listen again is no sign of life"


def test_a_watch_that_looked_away_itself_calls_nothing_silent_before_a_new_bound() -> None:
    watch = beating()
    watch.at += 5 * HOUR
    watch.go(BOUND)
    assert watch.open() == set()
    watch.go(2 * MINUTE)
    assert watch.open() == {("watch:acme", ACME.route)}


def test_a_feed_that_was_never_asked_is_told_after_a_moment_and_only_where_something_could_come_by_it() -> None:
    watch = Watch(away={QUEUE})
    watch.go(2 * MINUTE)
    assert watch.open() == set()
    watch.go(MINUTE)
    assert watch.open() == {(VENDOR_WATCH, f"unasked:{QUEUE}")}
    nothing = Watch(ways=(), away={QUEUE})
    nothing.go(HOUR)
    assert nothing.open() == set()


def test_another_feed_that_is_asked_excuses_nothing_and_one_that_left_the_settings_does_not_either() -> None:
    watch = beating(feeds=(QUEUE, OTHER))
    watch.away = {OTHER}
    watch.go(HOUR)
    assert watch.open() == {(VENDOR_WATCH, f"unasked:{OTHER}"), ("watch:acme", ACME.route)}
    watch = beating(feeds=(QUEUE, OTHER))
    watch.feeds = (OTHER,)
    watch.go(HOUR)
    assert watch.open() == {("watch:acme", ACME.route)}


def test_a_way_that_comes_by_another_feed_now_is_heard() -> None:
    watch = beating(feeds=(QUEUE, OTHER))
    watch.go(HOUR, ACME, feed=OTHER)
    watch.away = {QUEUE}
    found = watch.go(HOUR, ACME, feed=OTHER)
    assert watch.open() == {(VENDOR_WATCH, f"unasked:{QUEUE}")}
    assert (found.standings[ACME.route].state, found.standings[ACME.route].feed) == (State.PROVEN, OTHER)


# ----------------------------------------------------------------------------------------------- a feed as a whole


def test_a_feed_of_which_nothing_comes_any_more_is_one_thing_and_not_one_for_each_customer() -> None:
    watch = Watch(ways=(ACME, GLOBEX))
    watch.sign(ACME)
    watch.look()
    watch.go(3 * MINUTE)
    watch.sign(GLOBEX)  # they do not beat at one moment
    watch.go(HOUR)
    assert watch.open() == {(VENDOR_WATCH, f"feed:{QUEUE}")}
    (told,) = judge(watch.healths[VENDOR_WATCH]).conditions
    assert "all 2 ways that it carries" in told.latest.reason
    assert told.fault is Fault.UNKNOWN


def test_when_one_of_a_dead_feed_is_heard_again_the_others_are_told_by_themselves() -> None:
    watch = beating(ways=(ACME, GLOBEX))
    watch.go(HOUR)
    assert watch.open() == {(VENDOR_WATCH, f"feed:{QUEUE}")}
    watch.go(10 * MINUTE, GLOBEX, every=MINUTE)
    assert watch.open() == {("watch:acme", ACME.route)}
    assert watch.proven(VENDOR_WATCH)
    assert [one.way for one in watch.returned] == [GLOBEX]
    watch.sign(ACME)
    watch.look()
    assert watch.open() == set()
    assert [one.way for one in watch.returned] == [GLOBEX, ACME]


def test_one_customer_of_several_that_falls_silent_is_told_by_itself() -> None:
    watch = beating(ways=(ACME, GLOBEX))
    watch.go(HOUR, GLOBEX)
    assert watch.open() == {("watch:acme", ACME.route)}
    watch.go(HOUR)
    assert watch.open() == {("watch:acme", ACME.route), (VENDOR_WATCH, f"feed:{QUEUE}")}, "what was told stays told"


def test_a_feed_of_one_customer_and_of_ourselves_is_told_way_by_way() -> None:
    watch = beating(ways=(ACME, OWN))
    watch.go(HOUR)
    assert watch.open() == {("watch:acme", ACME.route), (VENDOR_WATCH, OWN.route)}


def test_a_dead_feed_outlasts_our_own_outage() -> None:
    watch = beating(ways=(ACME, GLOBEX))
    watch.go(HOUR)
    watch.away = {QUEUE}
    watch.go(HOUR)
    watch.away = set()
    watch.go(MINUTE)
    assert watch.open() == {(VENDOR_WATCH, f"feed:{QUEUE}")}


@pytest.mark.parametrize("order", [(ACME, GLOBEX, OWN), (OWN, GLOBEX, ACME)])
def test_nothing_depends_on_the_order_in_which_ways_and_signs_are_given(order: Sequence[Way]) -> None:
    watch = beating(ways=order)
    watch.go(HOUR, ACME)
    assert watch.open() == {("watch:globex", GLOBEX.route), (VENDOR_WATCH, OWN.route)}


def test_every_proof_lies_after_what_it_proves() -> None:
    watch = beating()
    watch.go(HOUR)
    watch.sign(ACME, ago=-10 * MINUTE)  # another machine's clock runs ahead
    watch.look()
    assert watch.proven("watch:acme")


def silence_mark(part: str, minute: int, *, ends: bool) -> Mark:
    effect, name = (Effect.SILENCE_ENDED, "silence-ended") if ends else (Effect.FEED_SILENT, "silence")
    at = T0 + minute * MINUTE
    return Mark(
        id=f"{name}:{part}:last", at=at, origin=Origin.PROBE, effect=effect, reason=f"{effect} {at}", subject=part,
        part=part,
    )  # fmt: skip


MARKS = st.one_of(
    st.builds(silence_mark, st.sampled_from(["a", "b"]), st.integers(0, 9), ends=st.booleans()),
    st.builds(lambda minute: tampering(T0 + minute * MINUTE), st.integers(0, 9)),
    st.builds(lambda minute: proofs(at=T0 + minute * MINUTE, reason="heard")[0], st.integers(0, 9)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(MARKS, max_size=12), st.randoms(use_true_random=False))
def test_the_order_in_which_the_watch_hears_of_it_does_not_matter(marks: list[Mark], chance: random.Random) -> None:
    shuffled = [*marks, *chance.sample(marks, k=len(marks) // 2)]
    chance.shuffle(shuffled)
    one = other = Health(subject="watch:acme")
    for mark in marks:
        one = add(one, [mark])
    for mark in shuffled:
        other = settle(add(other, [mark]))
    assert judge(one).conditions == judge(other).conditions


def test_each_look_says_how_every_way_stands() -> None:
    found: Mapping[str, object] = beating(ways=(ACME, GLOBEX, STILL)).look().standings
    assert list(found) == [ACME.route, GLOBEX.route, STILL.route]
