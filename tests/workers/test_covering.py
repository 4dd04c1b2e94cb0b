"""Looking at every way, from the signs in the store to what the on-call is told: on the store in memory."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.workers.fakes import FakeCloud
from tests.workers.runtimes import make_runtime
from tests.worlds import ACME_KEY, ACME_SECOND_KEY, GLOBEX_KEY, T0, VENDOR_KEY, document, key
from watchdog.coverage import Cover, Returned, Sign, Way
from watchdog.incidents import VENDOR_WATCH, Incident
from watchdog.notices import Facts, Kind, Notice, Reader
from watchdog.silence import UNASKED, State
from watchdog.words import Fault, Severity, Stage, Verdict
from workers.covering import EVERY, Covered, cover, covers_of, every, look_now
from workers.observing import Queued, operator_mark, take_marks
from workers.runtime import Runtime
from workers.settings import ProbeSettings
from workers.store.interface import ProbeOutcome

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
BOUND = 15 * MINUTE

ACME = Way(
    cover=Cover.FORWARDED, route="aws:111122223333:eu-west-1", customer="acme", beats=5 * MINUTE,
    words="the audit records of AWS account 111122223333 in eu-west-1", expects="an event of the rule beat",
)  # fmt: skip
SECOND = replace(ACME, route="aws:111122223333:us-east-1", words="the audit records of its account in us-east-1")
GLOBEX = replace(ACME, route="aws:444455556677:us-east-2", customer="globex", words="the audit records of Globex")
OWN = replace(ACME, route="aws:999988887777:eu-west-1", customer=None, cover=Cover.SELF_OBSERVED, words="our own")
GOING = {ACME_KEY: (ACME, OWN), ACME_SECOND_KEY: (ACME, SECOND), GLOBEX_KEY: (GLOBEX,), VENDOR_KEY: (OWN,)}


@dataclass
class Stand:
    """A watch on a clock that moves only when told to; every feed is asked all the time unless it is away."""

    runtime: Runtime
    cloud: FakeCloud
    at: datetime = T0
    away: bool = False
    queued: list[Queued] = field(default_factory=list)
    returned: list[Returned] = field(default_factory=list)

    def sign(self, *ways: Way, ago: timedelta = timedelta()) -> None:
        with self.runtime.store.write() as unit:
            unit.note_signs(Sign(feed="drop", route=way.route, at=self.at - ago) for way in ways)

    def look(self) -> Covered:
        if not self.away:
            with self.runtime.store.write() as unit:
                unit.feed_seen("drop", asked_at=self.at)
        found = cover(self.runtime, now=self.at, on_return=self.hear, cloud=lambda _: self.cloud)
        self.queued += found.queued
        return found

    def hear(self, returned: Sequence[Returned]) -> None:
        self.returned += returned

    def go(self, time: timedelta, *beating: Way) -> None:
        """Let time go by, looking every half minute; some ways beat every minute."""
        end = self.at + time
        while self.at < end:
            self.at += EVERY
            self.sign(*beating)
            self.look()

    def probed(self, *keys: str) -> None:
        """Let these keys answer a probe now."""
        with self.runtime.store.write() as unit:
            for taken in unit.take_probes(keys, now=self.at, length=MINUTE, per_account=None):
                outcome = ProbeOutcome(
                    key=taken.key, fence=taken.fence, at=self.at, passed=True, words="", outcome="", failures=0,
                    due_at=self.at + 5 * MINUTE,
                )  # fmt: skip
                assert unit.settle_probes([outcome])

    def incidents(self) -> list[Incident]:
        with self.runtime.store.read() as unit:
            found = unit.incidents(only_open=False)
        return [msgspec.json.decode(one.doc, type=Incident) for one in reversed(found)]

    def verdict(self, subject: str) -> str:
        with self.runtime.store.read() as unit:
            return unit.healths([subject])[subject].verdict

    def notices(self) -> list[Notice]:
        with self.runtime.store.read() as unit:
            stored = [unit.notice(one.id) for one in self.queued]
        return [one.notice for one in stored if one is not None]

    def evidence(self) -> list[Mapping[str, Any]]:
        with self.runtime.store.read() as unit:
            return [json.loads(one.body) | {"of": one.subject} for one in unit.evidence() if one.kind == "coverage"]


def stand(tmp: Path, *, asks: bool = True, going: Mapping[str, Sequence[Way]] = GOING) -> Stand:
    runtime = make_runtime(tmp, register=document(key(ACME_KEY), key(ACME_SECOND_KEY)))
    clouds = ("aws",) if asks else ()
    runtime.settings = replace(runtime.settings, probes=ProbeSettings(clouds=clouds))
    found = Stand(runtime, FakeCloud(going))
    found.sign(ACME, SECOND, GLOBEX, OWN)
    found.look()
    found.go(5 * MINUTE, ACME, SECOND, GLOBEX, OWN)
    assert (found.incidents(), found.queued) == ([], [])
    return found


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Stand]:
    found = stand(tmp_path)
    yield found
    found.runtime.close()


def texts(notices: Sequence[Notice]) -> list[tuple[Reader, Kind, str]]:
    return [(one.reader, one.kind, one.channel) for one in notices]


def test_a_silent_way_is_an_incident_of_its_customers_watch_and_pages_the_vendor_alone(watch: Stand) -> None:
    watch.probed(ACME_KEY, ACME_SECOND_KEY)
    since = watch.at
    watch.go(BOUND, SECOND, GLOBEX, OWN)
    assert watch.incidents() == []
    watch.go(MINUTE, SECOND, GLOBEX, OWN)

    (incident,) = watch.incidents()
    assert (incident.customer, incident.subjects) == ("acme", ("watch:acme",))
    assert (incident.stage, incident.severity, incident.fault) == (Stage.AT_RISK, Severity.ERROR, Fault.UNKNOWN)
    assert watch.verdict("watch:acme") == Verdict.BLIND
    told = watch.notices()
    assert {one.reader for one in told} == {Reader.ON_CALL, Reader.ACCOUNT}
    assert {one.channel for one in told if one.reader is Reader.ON_CALL} == {"pager", "hook"}
    facts = told[0].facts
    assert isinstance(facts, Facts)
    (happening,) = facts.keys[0].happenings
    assert f"since {since:%Y-%m-%d %H:%M} UTC" in happening.reason
    assert f"2 keys ({ACME_KEY}, {ACME_SECOND_KEY}). They are still asked by probes" in happening.reason


def test_the_sign_that_comes_back_resolves_the_incident_by_itself_and_hands_the_gap_on(watch: Stand) -> None:
    since = watch.at
    watch.go(HOUR, SECOND, GLOBEX, OWN)
    watch.sign(ACME)
    found = watch.look()

    (incident,) = watch.incidents()
    assert (incident.stage, incident.resolved_by) == (Stage.RESOLVED, None)
    assert watch.notices()[-1].kind is Kind.RESOLVED
    assert watch.returned == list(found.returned) == [Returned(way=ACME, feed="drop", since=since, at=watch.at)]


def test_a_second_way_that_falls_silent_is_told_too_and_both_must_come_back(watch: Stand) -> None:
    watch.go(20 * MINUTE, SECOND, GLOBEX, OWN)
    watch.go(20 * MINUTE, GLOBEX, OWN)
    (incident,) = watch.incidents()
    assert [turn.why for turn in incident.turns] == ["opened", "more ways"]
    facts = watch.notices()[-1].facts
    assert isinstance(facts, Facts)
    assert len(facts.keys[0].happenings) == 2
    watch.go(5 * MINUTE, ACME, GLOBEX, OWN)
    assert watch.incidents()[0].is_open
    watch.go(5 * MINUTE, ACME, SECOND, GLOBEX, OWN)
    assert [one.stage for one in watch.incidents()] == [Stage.RESOLVED]


def test_a_silent_way_of_keys_that_nobody_asks_is_critical(tmp_path: Path) -> None:
    watch = stand(tmp_path, asks=False)
    watch.go(20 * MINUTE, SECOND, GLOBEX, OWN)
    (incident,) = watch.incidents()
    assert incident.severity is Severity.CRITICAL
    facts = watch.notices()[0].facts
    assert isinstance(facts, Facts)
    assert "nothing watches them now" in facts.keys[0].happenings[0].reason


def test_probes_that_fall_silent_as_well_page_again_and_louder(watch: Stand) -> None:
    watch.probed(ACME_KEY, ACME_SECOND_KEY)
    watch.go(17 * MINUTE, SECOND, GLOBEX, OWN)
    assert [one.severity for one in watch.incidents()] == [Severity.ERROR]
    with watch.runtime.store.write() as unit:
        (taken,) = unit.take_probes([ACME_KEY], now=watch.at, length=MINUTE, per_account=None)
        assert taken.key == ACME_KEY
    watch.go(5 * MINUTE, SECOND, GLOBEX, OWN)
    (incident,) = watch.incidents()
    assert (incident.severity, [turn.why for turn in incident.turns]) == (Severity.CRITICAL, ["opened", "more urgent"])


def test_what_we_do_not_ask_is_told_once_on_the_vendors_watch_and_resolves_by_itself(watch: Stand) -> None:
    watch.away = True
    watch.go(HOUR)
    (incident,) = watch.incidents()
    assert (incident.subjects, incident.fault) == ((VENDOR_WATCH,), Fault.VENDOR)
    assert {one.reader for one in watch.notices()} == {Reader.ON_CALL}
    watch.away = False
    watch.go(BOUND - 2 * MINUTE)
    assert [one.stage for one in watch.incidents()] == [Stage.RESOLVED]
    assert watch.returned == []


def test_a_feed_of_which_nothing_comes_is_one_incident_and_its_end_hands_on_every_gap(watch: Stand) -> None:
    watch.go(HOUR)
    (incident,) = watch.incidents()
    assert (incident.subjects, incident.fault) == ((VENDOR_WATCH,), Fault.UNKNOWN)
    assert watch.verdict(VENDOR_WATCH) == Verdict.BLIND
    watch.go(5 * MINUTE, ACME, SECOND, GLOBEX, OWN)
    assert [one.stage for one in watch.incidents()] == [Stage.RESOLVED]
    assert [one.way for one in watch.returned] == [ACME, OWN, SECOND, GLOBEX]


def test_a_second_scheduler_or_a_death_in_the_middle_tells_nothing_twice(watch: Stand) -> None:
    watch.go(20 * MINUTE, SECOND, GLOBEX, OWN)
    told, evidence = len(watch.notices()), len(watch.evidence())
    with watch.runtime.store.read() as unit:
        memory = msgspec.json.decode(unit.memo("coverage") or b"")
    memory["told"] = {}  # told, and not remembered
    with watch.runtime.store.write() as unit:
        unit.put_memo("coverage", msgspec.json.encode(memory), at=watch.at)
    watch.look()
    watch.look()
    assert len(watch.notices()) == told
    assert len(watch.evidence()) == evidence + 1
    assert len(watch.incidents()) == 1


def test_what_is_told_of_the_watch_is_evidence(watch: Stand) -> None:
    watch.go(20 * MINUTE, SECOND, GLOBEX, OWN)
    watch.sign(ACME)
    watch.look()
    fell, back = watch.evidence()
    assert fell["of"] == back["of"] == "watch:acme"
    assert [one["part"] for one in fell["silent"]] == [one["part"] for one in back["ended"]] == [ACME.route]
    assert (fell["ended"], back["silent"]) == ([], [])


def test_an_operators_decision_ends_the_incident_and_the_way_stays_shown_as_silent(watch: Stand) -> None:
    watch.go(20 * MINUTE, SECOND, GLOBEX, OWN)
    mark = operator_mark("alice", "the account is being closed", at=watch.at)
    take_marks(watch.runtime, {"watch:acme": [mark]}, kind="resolved", evidence={}, now=watch.at)
    watch.go(HOUR, SECOND, GLOBEX, OWN)
    (incident,) = watch.incidents()
    assert incident.resolved_by is not None
    assert covers(watch)[ACME_KEY][Cover.FORWARDED] is State.SILENT


def covers(watch: Stand) -> dict[str, dict[Cover, State]]:
    with watch.runtime.store.read() as unit:
        register = watch.runtime.registry.current(unit)
        ways, found = look_now(watch.runtime, unit, register, now=watch.at, cloud=lambda _: watch.cloud)
        rows = {row.key: row for row in unit.all_probes()}
        return {
            one.id: {
                cover.cover: cover.state for cover in covers_of(one, ways, found, rows.get(one.id), ["aws"])
            }
            for one in register.keys.values()
        }  # fmt: skip


def test_each_key_has_its_three_covers(watch: Stand) -> None:
    watch.go(20 * MINUTE, ACME, GLOBEX, OWN)
    watch.probed(GLOBEX_KEY)
    assert covers(watch) == {
        ACME_KEY: {Cover.FORWARDED: State.PROVEN, Cover.SELF_OBSERVED: State.PROVEN, Cover.PROBED: State.NOT_YET},
        ACME_SECOND_KEY: {Cover.FORWARDED: State.SILENT, Cover.SELF_OBSERVED: State.NONE, Cover.PROBED: State.NOT_YET},
        GLOBEX_KEY: {Cover.FORWARDED: State.PROVEN, Cover.SELF_OBSERVED: State.NONE, Cover.PROBED: State.PROVEN},
        VENDOR_KEY: {Cover.FORWARDED: State.NONE, Cover.SELF_OBSERVED: State.PROVEN, Cover.PROBED: State.NOT_YET},
    }


def test_what_is_shown_does_not_look_better_because_no_scheduler_has_looked_for_long(watch: Stand) -> None:
    watch.at += HOUR
    with watch.runtime.store.write() as unit:
        unit.feed_seen("drop", asked_at=watch.at)
    assert covers(watch)[ACME_KEY][Cover.FORWARDED] is State.SILENT


def test_it_looks_a_thirtieth_of_the_bound_but_never_more_than_once_a_second_or_less_than_twice_a_minute(
    watch: Stand,
) -> None:
    found = {
        seconds: every(replace(watch.runtime.settings, silent_after=timedelta(seconds=seconds)))
        for seconds in (1, 90, 900, 9000)
    }
    assert found == {1: MINUTE / 60, 90: MINUTE / 20, 900: EVERY, 9000: EVERY}
    assert EVERY < UNASKED


def test_a_way_whose_sign_is_our_own_probe_is_quiet_where_nobody_probes(tmp_path: Path) -> None:
    for asks, state in ((False, State.QUIET), (True, State.SILENT)):
        (tmp_path / str(asks)).mkdir()
        going = {ACME_KEY: [replace(ACME, by_probe=True)], GLOBEX_KEY: [GLOBEX]}
        watch = stand(tmp_path / str(asks), asks=asks, going=going)
        watch.go(HOUR, GLOBEX)
        assert covers(watch)[ACME_KEY][Cover.FORWARDED] is state
        assert len(watch.incidents()) == (state is State.SILENT)
