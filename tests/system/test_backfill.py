"""A gap is read again on real parts: killed in the middle it goes on where it stopped; nothing is lost or doubled."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.moto_server import REGION
from tests.system.parties import Party, now
from tests.system.stage import HURRIED, Stage, embedded_stage
from tests.workers.backfill.event_history import EventHistory
from watchdog.evidence import verify
from workers.samples.corpus import eventbridge
from workers.store.interface import BackfillState, StoredBackfill

pytestmark = [pytest.mark.servers, pytest.mark.slow]

PARTIES = [Party(number) for number in range(24)]
"""Each lost its key in the gap; the feed has brought the record of the first one only."""

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
AT = now()
ARCHIVE = f"""
[archives.history]
kind = "cloudtrail_lookup"
feed = "drop"
regions = ["{REGION}"]
"""


@pytest.fixture
def history() -> Iterator[EventHistory]:
    made = EventHistory(page=2)
    for number, party in enumerate(PARTIES):
        made.add(REGION, party.disables(1, AT - 2 * HOUR + number * MINUTE))
    with made.served():
        yield made


@pytest.fixture
def stage(tmp_path_factory: pytest.TempPathFactory, history: EventHistory) -> Iterator[Stage]:
    with embedded_stage(tmp_path_factory.mktemp("backfill"), PARTIES) as made:
        made.environment.update(history.environment)
        config = made.home / "byok-watchdog.toml"
        config.write_text(config.read_text(encoding="utf-8") + ARCHIVE + HURRIED, encoding="utf-8")
        live = made.home / "live.json"
        live.write_bytes(eventbridge(PARTIES[0].disables(1, AT - 2 * HOUR)))
        assert made.command("replay", "--feed", "drop", str(live)).code == 0
        yield made


def backfill(stage: Stage) -> StoredBackfill:
    with stage.store.read() as unit:
        (row,) = unit.backfills([*BackfillState])
    return row


def begin(stage: Stage) -> None:
    told = stage.command("replay", "--from", f"{AT - 3 * HOUR:%Y-%m-%dT%H:%MZ}", "--no-wait", "--by", "alice")
    assert told.code == 0, told.errors


def is_whole(stage: Stage, history: EventHistory) -> None:
    """Every loss is told once, the counts are those of a run without a crash, and the evidence holds."""
    row = backfill(stage)
    assert (row.received, row.kept, row.known, row.unreadable) == (24, 23, 1, 0)
    stage.until("every record is worked", stage.is_at_rest)
    for party in PARTIES:
        alarms = [one for one in stage.notices_of(party) if one.notice.kind == "alarm"]
        assert sorted(one.notice.channel for one in alarms if one.notice.channel == "page") == ["page"]
    evidence = stage.evidence()
    assert verify(evidence) == (len(evidence), None)
    assert 1 == sum(one.kind == "backfill" and '"done"' in one.body for one in evidence)


@pytest.mark.parametrize("stop", ["backfill.read", "backfill.committed"])
def test_a_crash_at_either_side_of_the_commit_changes_nothing(stage: Stage, history: EventHistory, stop: str) -> None:
    stage.crash_at(stop)
    begin(stage)
    stage.start("scheduler", "scheduler")
    stage.until("the crash", stage.has_crashed)
    stage.until("the end", lambda: backfill(stage).state is BackfillState.DONE)
    is_whole(stage, history)


def test_a_scheduler_that_is_killed_in_the_middle_is_followed_by_one_that_goes_on(
    stage: Stage, history: EventHistory
) -> None:
    begin(stage)
    stage.start("scheduler", "scheduler")
    stage.until("the middle", lambda: backfill(stage).received >= 6)
    stage.kill("scheduler", again=False)
    reached, asked = backfill(stage), len(history.asked)
    assert reached.state is BackfillState.RUNNING
    assert reached.received < 24
    stage.again("scheduler")
    stage.until("the end", lambda: backfill(stage).state is BackfillState.DONE)

    onward = history.asked[asked:]
    assert onward[0].get("NextToken"), "it goes on where it stopped"
    assert len(history.asked) <= 12 + 2 + 1, "a page is asked for again at most, and each Region's window once"
    is_whole(stage, history)


def test_a_command_that_is_killed_is_taken_over_by_a_scheduler(stage: Stage, history: EventHistory) -> None:
    stage.start("replay", "replay", "--from", f"{AT - 3 * HOUR:%Y-%m-%dT%H:%MZ}", "--by", "alice", kept=False)
    stage.until("the middle", lambda: history.asked and backfill(stage).received >= 6)
    stage.kill("replay", again=False)
    assert backfill(stage).state is BackfillState.RUNNING
    stage.start("scheduler", "scheduler")
    stage.until("the end", lambda: backfill(stage).state is BackfillState.DONE)
    is_whole(stage, history)
