"""The broker is a hint: it may vanish and come back, and any number of processes may share it."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.moto_server import Moto
from tests.system.parties import ACME, Party, now
from tests.system.stage import Stage, servers_stage
from watchdog.words import Stage as Step
from workers.broker import Hand, make_app
from workers.runtime import utc_now
from workers.samples.corpus import eventbridge
from workers.store.interface import Arrival, Carries

pytestmark = pytest.mark.servers

CROWD = [Party(number) for number in range(1, 25)]


@pytest.fixture
def stage(tmp_path: Path, postgresql: str, aws: Moto) -> Iterator[Stage]:
    with servers_stage(tmp_path, postgresql, aws, [ACME, *CROWD]) as made:
        yield made


def test_a_worker_lives_through_a_killed_broker_and_works_what_is_queued_afterwards(stage: Stage) -> None:
    """Guards the decision for Celery 5.6: the 5.7 worker exits when its broker restarts. Nobody helps it here."""
    worker = stage.start("worker", "worker", kept=False)
    parties = CROWD[:3]
    queue(stage, parties[0])
    stage.until_told(parties[0], Step.IMPAIRED)
    pool = stage.children("worker")

    for party in parties[1:]:
        stage.kill_broker()
        stage.start_broker()
        queue(stage, party)
        stage.until_told(party, Step.IMPAIRED)

    assert [len(stage.pager.taken(party.key)) for party in parties] == [1, 1, 1]
    assert worker.process.poll() is None
    assert stage.children("worker") == pool, "not even the pool was started anew"


def queue(stage: Stage, party: Party) -> None:
    """Do what a consumer does with the event of a disabled key: commit it, then queue a task."""
    record = party.disables(1, now())
    arrival = Arrival(
        feed="events", event_id=party.event_id(1), cloud="aws", body=eventbridge(record), received_at=utc_now()
    )
    with stage.store.write() as unit:
        (row,) = unit.receive([arrival])
    Hand(make_app(stage.settings)).rows([(row, Carries.RECORD)])


def test_without_a_broker_the_consumer_works_by_itself_and_the_operators_are_told_once(stage: Stage) -> None:
    stage.kill_broker()
    stage.start("consumer", "consume", "events", kept=False)
    parties = CROWD[:4]
    for party in parties:
        stage.event(party.disables(1, now()))
        stage.until_told(party, Step.IMPAIRED)
    stage.until("nothing waits any more", stage.is_at_rest)

    assert [len(stage.pager.taken(party.key)) for party in parties] == [1, 1, 1, 1]
    assert [len(stage.relay.to(party.contact)) for party in parties] == [1, 1, 1, 1]
    stage.until("the operators hear of it", lambda: stage.operators.taken("the broker is away"))
    (system,) = [line for line in stage.command("status", "--json").lines if line["type"] == "watchdog"]
    assert ["the broker is away" in row["degraded"] for row in system["processes"]] == [True]

    stage.start_broker()
    stage.until("it is whole again", lambda: [one.degraded for one in stage.processes()] == [None])
    assert len(stage.operators.taken("the broker is away")) == 1, "once, however often it was missed"


def test_two_of_every_process_tell_everybody_exactly_once(stage: Stage) -> None:
    for number in (1, 2):
        stage.start(f"consumer-{number}", "consume", "events", kept=False)
        stage.start(f"worker-{number}", "worker", kept=False)
        stage.start(f"scheduler-{number}", "scheduler", kept=False)
    at = now()
    # Each key's event comes three times, as the cloud may deliver it.
    stage.event(*[party.disables(1, at) for party in CROWD for _ in range(3)])
    stage.until("all are told", lambda: all(stage.is_told(party, Step.IMPAIRED) for party in CROWD), seconds=60)
    stage.until("nothing waits any more", stage.is_at_rest)

    pages = Counter(page.dedup for page in stage.pager.asked("trigger"))
    assert len(pages) == len(CROWD)
    assert set(pages.values()) == {1}
    mails = Counter(recipient for recipient, _ in stage.relay.taken)
    assert {address: 1 for party in CROWD for address in (party.contact, party.staff)} == mails
    records = Counter(entry.subject for entry in stage.evidence() if entry.kind == "record")
    assert {party.event_id(1): 1 for party in CROWD} == records
    assert stage.operators.asked("") == []
