"""`replay --from`: what the archives keep is read again, with progress, by whoever is there to do it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.moto_server import REGION
from tests.workers.backfill.event_history import EventHistory
from tests.workers.cli.places import Place
from tests.worlds import ACME_KEY
from workers.cli.context import runtime
from workers.cli.following import follow
from workers.samples.corpus import Corpus, eventbridge
from workers.store.interface import BackfillState, ProcessSeen

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
FROM, TO = f"{NOW - 5 * HOUR:%Y-%m-%dT%H:%MZ}", f"{NOW - HOUR:%Y-%m-%dT%H:%MZ}"

SETTINGS = f"""
[feeds.events]
kind = "folder"
path = "events"

[feeds.others]
kind = "folder"
path = "others"

[archives.history]
kind = "cloudtrail_lookup"
feed = "events"
regions = ["{REGION}"]

[archives.theirs]
kind = "cloudtrail_lookup"
feed = "others"
customers = ["globex"]
regions = ["us-east-2"]
"""


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> Iterator[EventHistory]:
    with EventHistory().served() as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def filled(place: Place, history: EventHistory, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place whose archive holds a loss that its feed has never brought, and one that it has."""
    corpus = Corpus(seed=11)
    lost, known = corpus.disabled(ACME_KEY, NOW - 3 * HOUR), corpus.enabled(ACME_KEY, NOW - 4 * HOUR)
    history.add(REGION, lost, known)
    place.settings(monkeypatch, SETTINGS)
    assert place.run("replay", "--feed", "events", place.write("known.json", eventbridge(known))).code == 0
    return place


def states(place: Place) -> list[tuple[str, BackfillState]]:
    with place.store() as store, store.read() as unit:
        return [(row.plan.archive, row.state) for row in unit.backfills([*BackfillState])]


def test_a_gap_is_read_again_here_and_what_was_missed_is_told(filled: Place) -> None:
    told = filled.run("replay", "--from", FROM, "--to", TO, "--archive", "history", "--by", "alice", "--json")
    (row,) = told.rows
    assert (told.code, row["state"], row["share"]) == (0, "done", 1.0)
    assert (row["received"], row["kept"], row["known"], row["feed"]) == (2, 1, 1, "events")
    assert (row["asked_by"], row["from"], row["to"]) == ("alice", FROM.replace("Z", ":00Z"), TO.replace("Z", ":00Z"))
    assert "alarm for on-call" in told.err, "the records were worked and their notices sent"
    with filled.store() as store, store.read() as unit:
        assert 1 == len(unit.incidents(only_open=True))
        assert 0 == sum(unit.inbox_counts().values())


def test_the_same_again_changes_nothing(filled: Place) -> None:
    filled.run("replay", "--from", FROM, "--to", TO)
    told = filled.run("replay", "--from", FROM, "--to", TO, "--archive", "history")
    assert "2 records: 0 kept, 2 known already" in told.out
    assert "alarm" not in told.err


def test_all_archives_are_meant_or_those_of_a_feed(filled: Place) -> None:
    filled.run("replay", "--from", FROM, "--to", TO, "--feed", "others", "--no-wait")
    assert states(filled) == [("theirs", BackfillState.WAITING)]
    filled.run("replay", "--from", FROM, "--to", TO, "--no-wait")
    assert sorted(name for name, _ in states(filled)) == ["history", "theirs"], "the equal request is not added"


def test_it_can_be_left_to_the_scheduler_and_the_status_shows_it(filled: Place) -> None:
    told = filled.run("replay", "--from", FROM, "--to", TO, "--archive", "history", "--no-wait")
    assert told.code == 0
    assert "Left to the scheduler" in told.err
    status = filled.run("status")
    line = f"backfill 1 from history: {FROM[:10]} {FROM[11:16]} to {TO[:10]} {TO[11:16]} UTC, waits"
    assert line in status.out
    (system,) = [row for row in filled.run("status", "--json").rows if row["type"] == "watchdog"]
    assert [(row["backfill"], row["state"], row["share"]) for row in system["backfills"]] == [(1, "waiting", 0.0)]


def alive(place: Place) -> None:
    with place.store() as store, store.write() as unit:
        at = datetime.now(UTC)
        unit.process_beat(ProcessSeen(name="s", kind="scheduler", seen_at=at, started_at=at, degraded=None))


class EnoughError(Exception):
    """The test has seen enough."""


def test_while_a_scheduler_is_alive_it_is_only_watched(filled: Place, history: EventHistory) -> None:
    filled.run("replay", "--from", FROM, "--to", TO, "--archive", "history", "--no-wait")
    alive(filled)
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise EnoughError

    with runtime() as found, pytest.raises(EnoughError):
        follow(found, [1], quiet=True, sleep=sleep)
    assert history.asked == []
    assert states(filled) == [("history", BackfillState.WAITING)]


def test_ctrl_c_leaves_it_to_the_scheduler_and_says_so(filled: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("workers.cli.replay.follow", broken_off)
    told = filled.run("replay", "--from", FROM, "--to", TO, "--archive", "history")
    assert told.code == 0
    assert "Left to the scheduler. How far it is: byok-watchdog status" in told.err
    assert states(filled) == [("history", BackfillState.WAITING)]


def test_what_is_not_allowed_is_told_with_the_remedy_and_resumed(filled: Place, history: EventHistory) -> None:
    history.refusals = ["AccessDeniedException"]
    told = filled.run("replay", "--from", FROM, "--to", TO, "--archive", "history")
    assert told.code == 1
    assert "failed at 0%" in told.out
    assert "cloudtrail:LookupEvents" in told.out
    assert "byok-watchdog replay --resume 1" in told.out
    assert "Backfill 1 from history has failed" in told.err, "and the operators hear of it"
    assert "failed at 0%" in filled.run("status").out

    resumed = filled.run("replay", "--resume", "1", "--by", "bob")
    assert (resumed.code, "1 kept, 1 known already" in resumed.out) == (0, True)
    assert "backfill" not in filled.run("status").out.replace("byok-watchdog", "")
    with filled.store() as store, store.read() as unit:
        bodies = [json.loads(one.body) for one in unit.evidence() if one.kind == "backfill"]
    assert [(one["what"], one.get("by")) for one in bodies if one["what"] in {"begun", "resumed"}] == [
        ("begun", bodies[0]["by"]), ("resumed", "bob"),
    ]  # fmt: skip


def test_that_an_archive_may_be_late_is_said(filled: Place) -> None:
    late = filled.run("replay", "--from", FROM, "--archive", "history", "--no-wait")
    assert "in the last 30 minutes may not be in them yet" in late.err
    early = filled.run("replay", "--from", FROM, "--to", TO, "--archive", "history", "--no-wait")
    assert "in the last 30 minutes" not in early.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Give either PATHS, or --from TIME, or --resume NUMBER."),
        (("--from", FROM, "x.json"), "Give either PATHS"),
        (("--to", TO, "x.json"), "belong to --from"),
        (("--from", "yesterday"), "'yesterday' is no time such as"),
        (("--from", "2026-11-24T08:30"), "names no zone: write 2026-11-24T08:30Z"),
        (("--from", TO, "--to", FROM), "--from must lie before --to"),
        (("--from", FROM, "--archive", "none"), "there is no such archive; configured: history, theirs"),
        (("--from", FROM, "--feed", "none"), "there is no such feed"),
        (("--resume", "7"), "No backfill 7 has failed."),
    ],
)
def test_what_is_asked_wrongly_is_said_before_anything_is_done(
    filled: Place, arguments: tuple[str, ...], words: str
) -> None:
    told = filled.run("replay", *arguments)
    assert told.code != 0
    assert words in " ".join(told.err.split())
    assert states(filled) == []


def test_without_archives_it_says_how_to_have_one(place: Place) -> None:
    told = place.run("replay", "--from", FROM)
    assert (told.code, "No archive is configured" in told.err, "[archives.NAME]" in told.err) == (1, True, True)
