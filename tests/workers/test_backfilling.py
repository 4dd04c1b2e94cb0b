"""Backfills: page and cursor are one commit, what breaks goes on where it stopped, what arrived is not doubled."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.workers.runtimes import make_runtime
from tests.worlds import ACME_KEY, GLOBEX_KEY, T0
from watchdog.coverage import Cover, Returned, Way
from watchdog.notices import OperatorFacts
from workers import backfilling
from workers.backfill.interface import Archive, Page
from workers.backfilling import LAG, MOST_OWN, STUCK, Backfilling, after_silence, begin, resume, shown
from workers.feeds.interface import FeedFault, Reason, Received
from workers.intake import Intake
from workers.observing import observe_row
from workers.processes import make_intake
from workers.runtime import Runtime
from workers.samples.corpus import Corpus, eventbridge
from workers.settings import ArchiveSettings
from workers.store.interface import BackfillState, Carries, StoredBackfill, StoreFault, StoreUnavailable

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
CLAIM = 3 * MINUTE  # three leases
START, END = T0, T0 + HOUR
ARCHIVE = ArchiveSettings(name="history", kind="cloudtrail_lookup", feed="drop", cloud="aws", options={})


@dataclass
class Clock:
    at: datetime = T0 + 3 * HOUR
    ticks: float = 0.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.ticks


@dataclass
class FakeArchive:
    """Pages of bodies; the cursor is the number of pages that were read. `troubles` are raised before these pages."""

    bodies: Sequence[Sequence[bytes]]
    troubles: dict[int, Exception] = field(default_factory=dict)
    on_page: Callable[[int], None] = lambda _number: None
    asked: list[tuple[datetime, datetime, str | None]] = field(default_factory=list)
    closed: int = 0

    def pages(self, start: datetime, end: datetime, cursor: str | None) -> Iterator[Page]:
        self.asked.append((start, end, cursor))
        for number in range(int(cursor or 0), len(self.bodies)):
            if number in self.troubles:
                raise self.troubles[number]
            self.on_page(number)
            last = number + 1 == len(self.bodies)
            yield Page(
                messages=tuple(message(body) for body in self.bodies[number]),
                cursor=None if last else str(number + 1),
                until=start + (number + 1) * MINUTE,
            )

    def close(self) -> None:
        self.closed += 1


def message(body: bytes) -> Received:
    return Received(id=str(hash(body)), body=body, received_at=T0 + 3 * HOUR, receipt=None, place="page")


def looked_up(*records: dict[str, Any]) -> bytes:
    """Records as LookupEvents answers."""
    return json.dumps(
        {"Events": [{"EventId": one["eventID"], "CloudTrailEvent": json.dumps(one)} for one in records]}
    ).encode()


@dataclass
class Room:
    """One process that works backfills, and what it handed on."""

    runtime: Runtime
    archive: FakeArchive
    clock: Clock = field(default_factory=Clock)
    handed: list[tuple[int, Carries]] = field(default_factory=list)
    intake: Intake | None = None

    def backfilling(self) -> Backfilling:
        def make(chosen: ArchiveSettings) -> Archive:
            assert chosen == ARCHIVE
            return self.archive

        return Backfilling(
            self.runtime, self.intake or make_intake(self.runtime), self.handed.extend, make=make, now=self.clock.now,
            monotonic=self.clock.monotonic,
        )  # fmt: skip

    def begin(self, **other: Any) -> StoredBackfill:
        with self.runtime.store.write() as unit:
            more = {"by": "alice", "why": "a test", "at": self.clock.at, **other}
            return begin(unit, ARCHIVE, START, END, **more)[0]

    def step(self, **more: Any) -> StoredBackfill:
        row = self.backfilling().step(**more)
        assert row is not None
        with self.runtime.store.read() as unit:
            assert unit.backfill(row.id) == row, "what is returned is what is stored"
        return row

    def observe(self) -> None:
        for number, carries in self.handed:
            assert carries is Carries.RECORD
            observe_row(self.runtime, number, now=self.clock.at)

    def sealed(self) -> list[str]:
        with self.runtime.store.read() as unit:
            return [json.loads(one.body)["what"] for one in unit.evidence() if one.kind == "backfill"]


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    found = make_runtime(tmp_path)
    found.settings = replace(found.settings, archives=(ARCHIVE,))
    return found


@pytest.fixture
def corpus() -> Corpus:
    return Corpus(seed=5)


def room(runtime: Runtime, *pages: Sequence[bytes], **other: Any) -> Room:
    return Room(runtime, FakeArchive(pages), **other)


def told(runtime: Runtime) -> list[OperatorFacts]:
    with runtime.store.read() as unit:
        waiting = [unit.notice(name) for name, _ in unit.notices_due(T0 + 99 * HOUR, 100, channel="operators")]
    return [one.notice.facts for one in waiting if one and isinstance(one.notice.facts, OperatorFacts)]


# ------------------------------------------------------------------------------------------------------------- reading


def test_a_gap_is_read_to_its_end_and_what_matters_is_handed_on(runtime: Runtime, corpus: Corpus) -> None:
    noise = [corpus.noise() for _ in range(3)]
    found = room(
        runtime,
        [looked_up(*noise), looked_up(corpus.disabled(ACME_KEY, START + MINUTE))],
        [b"{broken"],
        [looked_up(corpus.enabled(ACME_KEY, START + 2 * MINUTE), corpus.noise())],
    )
    found.begin()
    row = found.step()

    assert found.archive.asked == [(START, END, None)]
    assert found.archive.closed == 1
    assert (row.state, row.claimed, row.due_at, row.until) == (BackfillState.DONE, False, None, END)
    assert (row.received, row.kept, row.known, row.dropped, row.unreadable) == (7, 2, 0, 4, 1)
    assert len(found.handed) == 2
    assert found.sealed() == ["begun", "done"]
    with runtime.store.read() as unit:
        arrived = [unit.arrived(number) for number, _ in found.handed]
        assert {one.feed for one in arrived if one} == {"drop"}
        assert unit.feeds() == [], "an archive is no sign of life of the feed"
        assert unit.signs() == []
    assert [one.where for one in told(runtime)] == ["page, record 1"]
    assert found.backfilling().step() is None


def test_what_the_feed_has_delivered_is_known_and_not_worked_again(runtime: Runtime, corpus: Corpus) -> None:
    record = corpus.disabled(ACME_KEY, START + MINUTE)
    make_intake(runtime).take("drop", "aws", [message(eventbridge(record))])
    found = room(runtime, [looked_up(record)])
    found.begin()
    row = found.step()

    assert (row.received, row.kept, row.known) == (1, 0, 1)
    assert found.handed == []


def test_a_step_takes_its_time_only_and_the_next_one_goes_on_there(runtime: Runtime, corpus: Corpus) -> None:
    found = room(runtime, *([looked_up(corpus.disabled(ACME_KEY, START + n * MINUTE))] for n in range(3)))

    def pass_time(number: int) -> None:
        found.clock.ticks += 21 if number == 1 else 1

    found.archive.on_page = pass_time
    found.begin()
    row = found.step()
    assert (row.state, row.claimed, row.cursor, row.received) == (BackfillState.RUNNING, False, "2", 2)
    assert row.until == START + 2 * MINUTE
    assert row.due_at == found.clock.at, "due again at once, behind the others"

    row = found.step()
    assert [cursor for _, _, cursor in found.archive.asked] == [None, "2"]
    assert (row.state, row.received, row.kept) == (BackfillState.DONE, 3, 3)


def test_others_have_their_turn_between_the_steps(runtime: Runtime) -> None:
    found = room(runtime, [b"{}"], [b"{}"])
    first = found.begin()
    found.clock.at += MINUTE
    with runtime.store.write() as unit:
        second, _ = begin(unit, ARCHIVE, START, END - MINUTE, by="bob", why="x", at=found.clock.at)
    found.clock.at += MINUTE
    assert found.step(stop=lambda: True).id == first.id
    assert found.step(stop=lambda: True).id == second.id


def test_an_archive_that_has_nothing_is_done(runtime: Runtime) -> None:
    found = room(runtime)
    found.begin()
    row = found.step()
    assert (row.state, row.received, row.until) == (BackfillState.DONE, 0, END)


def test_only_those_that_are_asked_for_are_worked(runtime: Runtime) -> None:
    found = room(runtime, [b"{}"])
    row = found.begin()
    assert found.backfilling().step(only=[row.id + 1]) is None
    assert found.step(only=[row.id]).state is BackfillState.DONE


# ------------------------------------------------------------------------------------------------------ what breaks it


def test_the_page_and_its_cursor_are_one_commit(runtime: Runtime, corpus: Corpus) -> None:
    """The store goes away in the middle: neither rows nor cursor are there, and then both once."""
    found = room(runtime, [looked_up(corpus.disabled(ACME_KEY, START))], [looked_up(corpus.enabled(ACME_KEY, END))])
    intake = make_intake(runtime)
    take_page = intake.take_page

    def broken(*arguments: Any, also: Callable[..., None], **more: Any) -> Any:
        def then_away(unit: Any, taken: Any) -> None:
            also(unit, taken)
            raise StoreUnavailable(StoreFault.LOST, "away")

        return take_page(*arguments, also=then_away, **more)

    intake.take_page = broken  # type: ignore[method-assign]  # a store that goes away just before the commit
    found.intake = intake
    number = found.begin().id
    with pytest.raises(StoreUnavailable):
        found.backfilling().step()
    with runtime.store.read() as unit:
        row = unit.backfill(number)
        assert row is not None
        assert (row.cursor, row.received, row.claimed) == (None, 0, True)
        assert unit.inbox_counts() == {"record": 0, "delivery": 0}
    assert found.backfilling().step() is None, "its claim has not run out"

    found.intake = None
    found.clock.at += CLAIM
    done = found.step()
    assert (done.state, done.received, done.kept) == (BackfillState.DONE, 2, 2)


def test_who_was_too_slow_commits_nothing_and_the_other_one_goes_on(runtime: Runtime, corpus: Corpus) -> None:
    found = room(runtime, [looked_up(corpus.disabled(ACME_KEY, START))])
    number = found.begin().id
    with runtime.store.write() as unit:
        assert unit.claim_backfill(number, now=found.clock.at, length=CLAIM)

    def steal(_number: int) -> None:
        with runtime.store.write() as unit:
            assert unit.claim_backfill(number, now=found.clock.at + 2 * CLAIM, length=CLAIM)

    found.clock.at += CLAIM
    found.archive.on_page = steal
    assert found.backfilling().step() is not None
    with runtime.store.read() as unit:
        row = unit.backfill(number)
        assert row is not None
        assert (row.received, row.failures) == (0, 2)
        assert unit.inbox_counts()["record"] == 0
    assert found.handed == []


def test_what_may_pass_is_tried_again_later_and_later(runtime: Runtime) -> None:
    found = room(runtime, [b"{}"], [b"{}"])
    found.archive.troubles[1] = FeedFault(Reason.THROTTLED, "too many")
    found.begin()
    delays = []
    for _ in range(9):
        row = found.step()
        assert row.due_at is not None
        delays.append((row.due_at - found.clock.at).total_seconds())
        found.clock.at = row.due_at
    assert delays == [15, 30, 60, 120, 240, 480, 900, 900, 900]
    assert (row.state, row.cursor, row.failures) == (BackfillState.RUNNING, "1", 9)
    assert row.error == "too many (the provider asks to slow down; it is tried again by itself)"

    found.archive.troubles.clear()
    row = found.step()
    assert (row.state, row.failures, row.error) == (BackfillState.DONE, 0, None)


def test_without_progress_for_an_hour_the_operators_hear_of_it_once_a_day(runtime: Runtime) -> None:
    found = room(runtime, [b"{}"])
    found.archive.troubles[0] = FeedFault(Reason.NETWORK, "no way to there")
    found.begin()
    found.step()
    found.clock.at += STUCK
    found.step()
    assert told(runtime) == [], "an hour is not over"
    for _ in range(3):
        found.clock.at += HOUR
        found.step()
    (facts,) = told(runtime)
    assert facts.subject == "Backfill 1 from history makes no progress since 12:00 UTC"
    assert "no way to there" in facts.what


def test_what_a_person_must_mend_is_told_with_the_remedy_and_goes_on_where_it_stopped(runtime: Runtime) -> None:
    found = room(runtime, [b"{}"], [b"{}"])
    found.archive.troubles[1] = FeedFault(Reason.DENIED, "LookupEvents: denied", hint="let the role look up events")
    number = found.begin().id
    row = found.step()
    assert (row.state, row.cursor, row.due_at, row.claimed) == (BackfillState.FAILED, "1", None, False)
    facts = next(one for one in told(runtime) if one.subject == "Backfill 1 from history has failed")
    assert facts.next == (
        "Let the role look up events. Then let it go on where it stopped: byok-watchdog replay --resume 1"
    )
    assert "LookupEvents: denied" in facts.what
    assert "up to 2026-12-01 09:01 UTC" in facts.what

    found.archive.troubles.clear()
    assert found.backfilling().step() is None
    with runtime.store.write() as unit:
        assert not resume(unit, number + 1, by="bob", at=found.clock.at)
        assert resume(unit, number, by="bob", at=found.clock.at)
        assert not resume(unit, number, by="bob", at=found.clock.at)
    assert found.step().state is BackfillState.DONE
    assert [cursor for _, _, cursor in found.archive.asked] == [None, "1"]
    assert found.sealed() == ["begun", "failed", "resumed", "done"]


def test_a_fault_of_our_own_code_holds_up_no_other_and_is_left_to_a_person_in_the_end(runtime: Runtime) -> None:
    found = room(runtime, [b"{}"])
    found.archive.troubles[0] = KeyError("ours")
    found.begin()
    for number in range(1, MOST_OWN + 1):
        row = found.step()
        assert row.failures == number
        found.clock.at = row.due_at or found.clock.at
    assert row.state is BackfillState.FAILED
    assert row.error == "our own code failed on it: KeyError: 'ours' (report it)"


def test_an_archive_that_is_not_in_the_settings_any_more_is_told(runtime: Runtime) -> None:
    found = room(runtime, [b"{}"])
    found.begin()
    runtime.settings = replace(runtime.settings, archives=())
    row = found.step()
    assert row.state is BackfillState.FAILED
    assert row.error is not None
    assert row.error.startswith("archives.history: there is no such archive; configured: none")


def test_a_broken_off_command_gives_it_back_at_once(runtime: Runtime) -> None:
    found = room(runtime, [b"{}"], [b"{}"])

    def break_off(number: int) -> None:
        if number == 1:
            raise KeyboardInterrupt

    found.archive.on_page = break_off
    number = found.begin().id
    with pytest.raises(KeyboardInterrupt):
        found.backfilling().step()
    with runtime.store.read() as unit:
        row = unit.backfill(number)
    assert row is not None
    assert (row.claimed, row.cursor, row.due_at) == (False, "1", found.clock.at)


# ------------------------------------------------------------------------------------------------- what old records do


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_loss_that_was_repaired_in_the_gap_is_nobodys_open_incident(
    runtime: Runtime, corpus: Corpus, *, newest_first: bool
) -> None:
    """The event history tells the newest first: then nobody is even paged. A trail's files tell it as it happened."""
    pages = [
        [looked_up(corpus.enabled(ACME_KEY, START + 5 * MINUTE))],
        [looked_up(corpus.disabled(ACME_KEY, START + MINUTE))],
    ]
    found = room(runtime, *(pages if newest_first else pages[::-1]))
    found.begin()
    found.step()
    found.observe()
    with runtime.store.read() as unit:
        incidents = unit.incidents(only_open=False)
        told = [one.notice for incident in incidents for one in unit.notices_of(incident.id)]
    assert {incident.stage for incident in incidents} <= {"recovering"}
    pages_sent = [one for one in told if one.channel == "pager" and one.kind == "alarm"]
    assert bool(pages_sent) is not newest_first, "at most what the feed itself would have said"


def test_a_loss_that_is_over_by_what_is_known_cannot_be_brought_back_by_an_old_record(
    runtime: Runtime, corpus: Corpus
) -> None:
    intake = make_intake(runtime)
    back = intake.take("drop", "aws", [message(eventbridge(corpus.enabled(ACME_KEY, END)))])
    found = room(runtime, [looked_up(corpus.disabled(ACME_KEY, START + MINUTE))])
    for number, _ in back.ids:
        observe_row(runtime, number, now=found.clock.at)
    found.begin()
    found.step()
    found.observe()
    with runtime.store.read() as unit:
        assert [] == [one.stage for one in unit.incidents(only_open=True) if one.stage != "recovering"]


def test_a_loss_that_still_holds_is_told_as_the_feed_would_have(runtime: Runtime, corpus: Corpus) -> None:
    found = room(runtime, [looked_up(corpus.disabled(ACME_KEY, START + MINUTE))])
    found.begin()
    found.step()
    found.observe()
    with runtime.store.read() as unit:
        (incident,) = unit.incidents(only_open=True)
    assert (incident.customer, incident.subjects) == ("acme", (ACME_KEY,))
    assert incident.stage not in {"recovering", "resolved"}


def test_an_archive_of_one_customer_says_nothing_about_another(runtime: Runtime, corpus: Corpus) -> None:
    only = replace(ARCHIVE, customers=("acme",))
    found = room(runtime, [looked_up(corpus.disabled(ACME_KEY, START), corpus.disabled(GLOBEX_KEY, START))])
    with runtime.store.write() as unit:
        begin(unit, only, START, END, by="x", why="x", at=found.clock.at)
    row = found.step()
    assert (row.kept, row.unreadable) == (1, 1)
    with runtime.store.read() as unit:
        ((_, piece),) = unit.quarantined(10)
    assert piece.reason == "it speaks of others than acme, whose archive it comes from"
    assert GLOBEX_KEY.encode() in piece.body


# ----------------------------------------------------------------------------------------------------------- beginning


def test_an_equal_request_that_is_open_is_not_added_but_an_overlapping_one_is(runtime: Runtime) -> None:
    found = room(runtime, [b"{}"])
    first = found.begin()
    assert found.begin(by="bob") == first
    with runtime.store.write() as unit:
        other, is_new = begin(unit, ARCHIVE, START + MINUTE, END, by="x", why="x", at=found.clock.at)
    assert is_new
    assert other.id != first.id
    found.step(only=[first.id])
    assert found.begin().id not in {first.id, other.id}, "that one is done"


def returned(**other: Any) -> Returned:
    way = Way(cover=Cover.FORWARDED, route="aws:1:eu-west-1", words="the records of Acme", customer="acme")
    return Returned(**{"way": way, "feed": "drop", "since": T0 + 7 * MINUTE, "at": T0 + 3 * HOUR, **other})


def after(runtime: Runtime, archives: Sequence[ArchiveSettings], now: datetime, **other: Any) -> list[StoredBackfill]:
    with runtime.store.write() as unit:
        return after_silence(unit, archives, returned(**other), at=now)


def test_what_a_silent_way_has_missed_is_read_at_once_and_its_end_again_later(runtime: Runtime) -> None:
    at = T0 + 3 * HOUR + MINUTE
    gap, late = after(runtime, [ARCHIVE], at)
    assert (gap.plan.start, gap.plan.end, gap.due_at) == (T0, T0 + 3 * HOUR, at)
    assert (late.plan.start, late.plan.end) == (T0 + 2 * HOUR + 30 * MINUTE, T0 + 3 * HOUR)
    assert late.due_at == T0 + 3 * HOUR + LAG
    assert gap.plan.why == "no sign of life of the records of Acme"
    assert gap.plan.asked_by == "watchdog"


def test_a_short_gap_is_read_at_once_and_again_later(runtime: Runtime) -> None:
    at = T0 + 3 * HOUR
    gap, late = after(runtime, [ARCHIVE], at, since=at - 20 * MINUTE)
    assert (gap.plan.start, gap.plan.end) == (late.plan.start, late.plan.end) == (at - 30 * MINUTE, at)
    assert (gap.due_at, late.due_at) == (at, at + LAG)
    assert [] == after(runtime, [ARCHIVE], at, since=at - 20 * MINUTE)


def test_ways_that_come_back_together_are_read_once(runtime: Runtime) -> None:
    at = T0 + 3 * HOUR + MINUTE
    assert 2 == len(after(runtime, [ARCHIVE], at))
    assert [] == after(runtime, [ARCHIVE], at, since=T0 + 8 * MINUTE, at=T0 + 3 * HOUR - MINUTE)
    assert [] == after(runtime, [ARCHIVE], at), "and to hear of it twice is harmless"


def test_a_gap_is_not_left_to_the_later_reading_of_one_that_failed(runtime: Runtime) -> None:
    found = room(runtime)
    found.archive.troubles[0] = FeedFault(Reason.DENIED, "denied")
    found.archive.bodies = [[b"{}"]]
    found.clock.at += MINUTE
    after(runtime, [ARCHIVE], found.clock.at)
    assert found.step().state is BackfillState.FAILED
    (row,) = after(runtime, [ARCHIVE], found.clock.at, since=T0 + 2 * HOUR + 40 * MINUTE)
    assert row.due_at == found.clock.at, "the later reading covers it, but half an hour later"


def test_only_archives_of_that_feed_and_customer_are_read_and_no_seek_by_itself(runtime: Runtime) -> None:
    archives = [
        replace(ARCHIVE, name="other feed", feed="other"),
        replace(ARCHIVE, name="other customer", customers=("globex",)),
        replace(ARCHIVE, name="seek", kind="pubsub_seek"),
        replace(ARCHIVE, name="ours", customers=("acme",)),
        replace(ARCHIVE, name="everybody's"),
    ]
    at = T0 + 3 * HOUR
    assert {row.plan.archive for row in after(runtime, archives, at)} == {"ours", "everybody's"}
    vendors = Way(cover=Cover.SELF_OBSERVED, route="aws:2:eu-west-1", words="the vendor's records", customer=None)
    rows = after(runtime, archives, at, way=vendors, since=T0 - 9 * HOUR)
    assert "other customer" in {row.plan.archive for row in rows}


def test_ways_that_are_heard_again_are_filled(runtime: Runtime) -> None:
    backfilling.fill(runtime, [returned(), returned()], at=T0 + 3 * HOUR)
    with runtime.store.read() as unit:
        assert 2 == len(unit.backfills([BackfillState.WAITING]))


def test_a_failed_one_is_shown_until_a_later_one_has_made_it_good(runtime: Runtime) -> None:
    found = room(runtime, [b"{}"])
    found.archive.troubles[0] = FeedFault(Reason.DENIED, "denied")
    failed = found.begin()
    found.step()

    def seen() -> list[int]:
        with runtime.store.read() as unit:
            return [row.id for row in shown(unit, now=found.clock.at)]

    assert seen() == [failed.id]
    found.archive.troubles.clear()
    again = found.begin()
    assert seen() == [again.id, failed.id]
    found.step()
    assert seen() == []
