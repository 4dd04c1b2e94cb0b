"""Stopping under load: every process ends within ten seconds, with nothing half done and nothing lost."""

from collections.abc import Iterator

import pytest

from tests.moto_server import Moto
from tests.system.far_ends import BROKEN
from tests.system.parties import BUCKET, Party, now, sns
from tests.system.stage import HURRIED, Stage, servers_stage
from watchdog.words import Stage as Step
from workers.samples.corpus import Corpus
from workers.store.interface import NoticeState

pytestmark = pytest.mark.servers

SECONDS = 10.0
EACH = 12
NAMES = ("consumer", "worker", "scheduler")
CROWDS = {name: [Party(10 + EACH * place + number) for number in range(EACH)] for place, name in enumerate(NAMES)}
HUNG = {"worker": Party(0), "scheduler": Party(1)}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, postgresql: str, aws: Moto) -> Iterator[Stage]:
    parties = [*HUNG.values(), *(party for crowd in CROWDS.values() for party in crowd)]
    with servers_stage(tmp_path_factory.mktemp("stop"), postgresql, aws, parties, worker=HURRIED) as made:
        made.pager.pace = 0.3
        made.start("consumer", "consume", "events", kept=False)
        made.start("worker", "worker", kept=False)
        made.start("scheduler", "scheduler", kept=False)
        yield made


@pytest.mark.parametrize("name", NAMES)
def test_a_process_that_is_asked_to_stop_under_load_ends_in_time_and_loses_nothing(stage: Stage, name: str) -> None:
    crowd = CROWDS[name]
    corpus = Corpus(seed=4)
    files = [f"{name}/{number}.json.gz" for number in range(4)]
    for file in files:
        stage.put_trail(file, [corpus.noise() for _ in range(1500)])
    pointers = [sns({"s3Bucket": BUCKET, "s3ObjectKey": [file]}) for file in files]
    stage.event(*(party.disables(1, now()) for party in crowd))
    stage.send(*pointers)
    stage.until("the work has begun", lambda: any(stage.pager.taken(party.key) for party in crowd))

    took = stage.terminate(name)
    assert took < SECONDS
    assert stage.running[name].process.returncode == 0
    if name == "worker":
        # Far sooner than a lease runs out: what the worker had begun it has also finished.
        stage.until("no notice is half sent", lambda: leased(stage) == 0, seconds=5)
    stage.again(name)
    for party in crowd:
        stage.until_told(party, Step.IMPAIRED, seconds=60)
    stage.until("nothing waits any more", stage.is_at_rest)

    for party in crowd:
        assert len(stage.pager.taken(party.key)) == 1
        assert len(stage.relay.to(party.contact)) == 1
        assert len(stage.relay.to(party.staff)) == 1


def leased(stage: Stage) -> int:
    with stage.store.read() as unit:
        return unit.outbox_counts()[NoticeState.LEASED]


@pytest.mark.parametrize("name", ["worker", "scheduler"])
def test_a_process_that_is_asked_to_stop_does_not_wait_for_a_far_end_that_hangs(stage: Stage, name: str) -> None:
    party = HUNG[name]
    if name == "scheduler":
        stage.pager.script(party.key, BROKEN)  # what failed once is sent again by the scheduler
        stage.event(party.disables(1, now()))
        stage.until("the first try has failed", lambda: stage.pager.asked(party.key))
    with stage.pager.holding(party.key) as waiting:
        if name == "worker":
            stage.event(party.disables(1, now()))
        assert waiting.wait(30)
        took = stage.terminate(name)
        code = stage.running[name].process.returncode
    stage.again(name)

    assert took < SECONDS
    assert code == 0
    stage.until_told(party, Step.IMPAIRED, seconds=90)
    assert 1 <= len(stage.pager.taken(party.key)) <= 2
