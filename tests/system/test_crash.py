"""Kill -9 at every stop of the walk: everybody is told, at most twice, and the truth is as if nothing had been."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from tests.moto_server import Moto
from tests.system.outcomes import outcome, told
from tests.system.parties import BUCKET, Party, now, sns
from tests.system.stage import HURRIED, ROOT, Stage, servers_stage
from watchdog.evidence import verify
from watchdog.words import Stage as Step

pytestmark = [pytest.mark.servers, pytest.mark.slow]

SOURCES = sorted((ROOT / "workers").rglob("*.py"))
NAMED = {stop for path in SOURCES for stop in re.findall(r'stop_at\("([a-z_.]+)"\)', path.read_text("utf-8"))}
# No record passes the stops of probes and backfills: tests/workers/test_probing.py and test_backfill.py stop there.
STOPS = sorted(stop for stop in NAMED if not stop.startswith(("probe.", "preflight.", "backfill.")))
AT = now()
EVENT, TRAIL = "event", "trail"
CLAIMED = "delivery.claimed"
"""A delivery whose reader has died is begun again after a minute: this case begins first, and the others pass in it."""

PARTIES = [Party(number) for number in range(60)]
PATIENT = Party(99)
AWAY = 2.5
"""Seconds that a killed broker stays away."""


@dataclass
class Scene:
    """The running system, with what a walk without a crash comes to."""

    stage: Stage
    numbers: Iterator[int] = field(default_factory=count)
    walked: list[Party] = field(default_factory=list)
    references: dict[str, Any] = field(default_factory=dict)
    patient: Party = PATIENT

    def party(self) -> Party:
        """A customer to whom nothing has happened yet."""
        return PARTIES[next(self.numbers)]

    def walk(self, party: Party, by: str) -> None:
        """Let the party's key be disabled, and the record of it come by one of the two ways."""
        self.walked.append(party)
        record = party.disables(1, AT)
        if by == EVENT:
            self.stage.event(record)
        else:
            name = f"AWSLogs/{party.account}/x.json.gz"
            self.stage.put_trail(name, [record])
            self.stage.send(sns({"s3Bucket": BUCKET, "s3ObjectKey": [name]}))

    def crash(self, party: Party, stop: str) -> None:
        """Walk, with a crash at a stop."""
        self.stage.crash_at(stop)
        self.walk(party, _way(stop))
        self.stage.until(f"the crash at {stop}", self.stage.has_crashed)

    def wait(self, party: Party) -> None:
        self.stage.until_told(party, Step.IMPAIRED, seconds=90)
        self.stage.until("its messages are given up", lambda: self.stage.queue_length() == 0)

    def reference(self, by: str) -> Any:
        """What a walk without a crash comes to."""
        if by not in self.references:
            party = self.party()
            self.walk(party, by)
            self.wait(party)
            assert told(self.stage, party) == {"page": 1, "customer": 1, "staff": 1}
            self.references[by] = outcome(self.stage, party)
        return self.references[by]

    def check(self, party: Party, by: str) -> None:
        """Everybody is told once or twice, and all else is as without the crash."""
        self.wait(party)
        counts = told(self.stage, party)
        assert all(1 <= number <= 2 for number in counts.values()), counts
        assert self.reference(by) == outcome(self.stage, party)
        assert verify(self.stage.evidence())[1] is None


def _way(stop: str) -> str:
    return TRAIL if stop.startswith("delivery.") else EVENT


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, postgresql: str, aws: Moto) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("crash")
    with servers_stage(home, postgresql, aws, [*PARTIES, PATIENT], worker=HURRIED, visibility=5) as made:
        made.start("consumer", "consume", "events")
        made.start("worker", "worker")
        made.start("scheduler", "scheduler")
        yield made


@pytest.fixture(scope="module")
def scene(stage: Stage) -> Iterator[Scene]:
    made = Scene(stage)
    made.reference(EVENT)
    made.reference(TRAIL)
    made.crash(made.patient, CLAIMED)
    yield made
    made.check(made.patient, TRAIL)
    stage.until("nothing waits any more", stage.is_at_rest)
    counts = {party.id: told(stage, party) for party in made.walked}
    assert all(1 <= number <= 2 for found in counts.values() for number in found.values()), counts


# -------------------------------------------------------------------------------------------------------- the stops


def test_there_are_at_least_ten_stops_and_each_part_of_the_walk_has_some() -> None:
    assert len(STOPS) >= 10
    assert {"consumer", "delivery", "observe", "deliver"} == {stop.partition(".")[0] for stop in STOPS}


@pytest.mark.parametrize("stop", [stop for stop in STOPS if stop != CLAIMED])
def test_a_process_that_is_killed_at_a_stop_of_the_walk_loses_nothing(scene: Scene, stop: str) -> None:
    party = scene.party()

    scene.crash(party, stop)

    scene.check(party, _way(stop))


# ------------------------------------------------------------------------------------------------------- the broker


def test_a_broker_that_dies_before_anything_is_queued_loses_nothing(scene: Scene) -> None:
    stage, party = scene.stage, scene.party()
    stage.kill_broker()

    scene.walk(party, EVENT)
    stage.until("the consumer works by itself", lambda: stage.incident_of(party))
    time.sleep(AWAY)
    stage.start_broker()

    scene.check(party, EVENT)


@pytest.mark.parametrize("by", [EVENT, TRAIL])
def test_a_broker_that_dies_with_the_task_in_it_loses_nothing(scene: Scene, by: str) -> None:
    stage, party = scene.stage, scene.party()
    stage.kill("worker", again=False)
    stage.kill("scheduler", again=False)
    scene.walk(party, by)
    stage.until("the task is queued", stage.queued)

    stage.kill_broker()
    time.sleep(AWAY)
    stage.start_broker()
    assert stage.queued() == 0, "the broker keeps nothing: the task is lost"
    stage.again("worker")
    stage.again("scheduler")

    scene.check(party, by)


def test_a_broker_that_dies_while_a_page_is_being_sent_loses_nothing(scene: Scene) -> None:
    stage, party = scene.stage, scene.party()
    with stage.pager.holding(party.key) as waiting:
        scene.walk(party, EVENT)
        assert waiting.wait(30)
        stage.kill_broker()
    time.sleep(AWAY)
    stage.start_broker()

    scene.check(party, EVENT)


# ----------------------------------------------------------------------------------------- the worker and its pool


def test_a_worker_that_is_killed_while_its_child_sends_a_page_loses_nothing(scene: Scene) -> None:
    stage, party = scene.stage, scene.party()
    with stage.pager.holding(party.key) as waiting:
        scene.walk(party, EVENT)
        assert waiting.wait(30)
        stage.kill("worker")

    scene.check(party, EVENT)


def test_a_child_of_the_pool_that_is_killed_while_it_sends_a_page_loses_nothing(scene: Scene) -> None:
    stage, party = scene.stage, scene.party()
    with stage.pager.holding(party.key) as waiting:
        scene.walk(party, EVENT)
        assert waiting.wait(30)
        assert stage.kill_children("worker") > 0

    scene.check(party, EVENT)


def test_a_scheduler_that_is_killed_when_only_it_knows_of_a_row_loses_nothing(scene: Scene) -> None:
    stage, party = scene.stage, scene.party()
    scene.crash(party, "consumer.acknowledged")
    stage.kill("scheduler")

    scene.check(party, EVENT)


@pytest.mark.parametrize("stop", ["consumer.committed", "consumer.acknowledged", "consumer.handed_on"])
def test_operators_hear_of_unreadable_input_whose_consumer_was_killed(stop: str, scene: Scene) -> None:
    stage = scene.stage
    stage.crash_at(stop)
    stage.send(f"no audit record: {stop}".encode())
    stage.until(f"the crash at {stop}", stage.has_crashed)

    # One notice an hour for each feed: the first of these cases is told, the others have the evidence only.
    stage.until("the operators hear of it", lambda: stage.operators.taken("unreadable:events"))
    stage.until("its message is given up", lambda: stage.queue_length() == 0)
    assert all(number <= 2 for number in pages_of(stage, "unreadable:events").values())
    with stage.store.read() as unit:
        (number,) = [number for number, piece in unit.quarantined(100) if stop.encode() in piece.body]
    proofs = [json.loads(entry.body) for entry in stage.evidence() if entry.kind == "quarantined"]
    assert sum(number in proof["ids"] for proof in proofs) == 1


def pages_of(stage: Stage, topic: str) -> Counter[str]:
    """How often the operators were paged about something, by alert."""
    return Counter(page.dedup for page in stage.operators.taken(topic))
