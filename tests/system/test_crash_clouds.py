"""Kill -9 of each consumer of Azure and Google Cloud at each stop of its walk: everybody is told, nothing is lost."""

import json
from collections.abc import Iterator, Mapping, Sequence

import pytest

from tests.system.outcomes import outcome, told, unwrapped
from tests.system.parties import Party, now
from tests.system.stage import HURRIED, Stage, clouds_stage
from tests.system.test_crash import STOPS as ALL_STOPS
from tests.system.ways import CLOUDS, NAMESPACE, QUEUE, SUBSCRIPTIONS, Ways, far_ends
from watchdog.evidence import verify
from watchdog.words import Stage as Step

pytestmark = [pytest.mark.servers, pytest.mark.slow]

AT = now()
STOPS = [f"consumer.{stop}" for stop in ("received", "committed", "acknowledged", "handed_on")]
SMOOTH = "no crash"
PARTIES: Mapping[str, Mapping[str, Party]] = {
    name: {case: Party(10 * number + place, cloud) for place, case in enumerate([SMOOTH, *STOPS])}
    for number, (name, cloud) in enumerate(CLOUDS.items(), 1)
}
PULLED = [NAMESPACE, QUEUE, SUBSCRIPTIONS]
QUARANTINED = [stop for stop in STOPS if stop != "consumer.received"]
"""What has been committed is that something cannot be read: those stops must not lose that people hear of it."""

LOCK, VISIBILITY, HURRY = 3.0, 5, 10.0
"""What a killed consumer had comes again after three to five seconds."""


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    parties = {name: list(cases.values()) for name, cases in PARTIES.items()}
    tmp = tmp_path_factory.mktemp("far-ends")
    with far_ends(tmp, parties, lock=LOCK, visibility=VISIBILITY, hurry=HURRY) as made:
        yield made


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, postgresql: str, ways: Ways) -> Iterator[Stage]:
    here = list(ways.here().values())
    parties = [party for way in here for party in way.parties]
    home = tmp_path_factory.mktemp("crash-clouds")
    with clouds_stage(home, postgresql, here, parties, ways.environment, worker=HURRIED) as made:
        ways.start(made, kept=True)
        made.start("worker", "worker")
        made.start("scheduler", "scheduler")
        yield made


@pytest.fixture(scope="module")
def walked(stage: Stage, ways: Ways) -> Stage:
    """The stage after a walk by every way without a crash, and one with a crash at each stop: all ways side by side."""
    for case in [SMOOTH, *STOPS]:
        if case != SMOOTH:
            order(stage, case, list(ways.here()))
        for name, way in ways.here().items():
            party = PARTIES[name][case]
            way.bring(party, party.disables(1, AT))
        settle(stage, case, ways, list(ways.here()))
    for name in ways.here():
        for party in PARTIES[name].values():
            stage.until_told(party, Step.IMPAIRED)
    stage.until("nothing waits any more", stage.is_at_rest)
    return stage


@pytest.fixture(scope="module")
def unread(stage: Stage, ways: Ways) -> Stage:
    """The stage after something that cannot be read came by each way that is pulled, with a crash at each stop."""
    pulled = [name for name in PULLED if name in ways.here()]
    for stop in QUARANTINED:
        order(stage, stop, pulled)
        for name in pulled:
            ways.way(name).put(no_record(stop))
        settle(stage, stop, ways, pulled)
    stage.until("nothing waits any more", stage.is_at_rest)
    return stage


def order(stage: Stage, stop: str, names: Sequence[str]) -> None:
    for name in names:
        stage.crash_at(stop, alone=name)


def settle(stage: Stage, case: str, ways: Ways, names: Sequence[str]) -> None:
    """Wait until all have crashed, and what they had has come again and is given up."""
    stage.until(f"the crashes at {case}", lambda: all(stage.has_crashed(name) for name in names))
    stage.until(f"{case}: all is given up", lambda: not any(ways.way(name).left() for name in names), seconds=60)


def no_record(stop: str) -> bytes:
    return json.dumps(f"no audit record: {stop}").encode()


def test_these_are_all_the_stops_of_a_consumer() -> None:
    assert set(STOPS) == {stop for stop in ALL_STOPS if stop.startswith("consumer.")}


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("name", CLOUDS)
def test_a_consumer_that_is_killed_at_a_stop_of_the_walk_loses_nothing(
    walked: Stage, ways: Ways, name: str, stop: str
) -> None:
    assert ways.way(name).left() == 0
    smooth, party = PARTIES[name][SMOOTH], PARTIES[name][stop]
    counts = told(walked, party)
    assert all(1 <= number <= 2 for number in counts.values()), counts
    assert told(walked, smooth) == {"page": 1, "customer": 1, "staff": 1}
    assert outcome(walked, party) == outcome(walked, smooth)


def test_every_consumer_was_killed_and_came_back(walked: Stage, ways: Ways) -> None:
    starts = walked.starts()
    assert all(starts[name] >= 1 + len(STOPS) for name in ways.here()), starts
    assert (starts["worker"], starts["scheduler"]) == (1, 1)
    assert verify(walked.evidence())[1] is None


@pytest.mark.parametrize("stop", QUARANTINED)
@pytest.mark.parametrize("name", PULLED)
def test_operators_hear_of_unreadable_input_whose_consumer_was_killed(
    unread: Stage, ways: Ways, name: str, stop: str
) -> None:
    feed = ways.way(name).feeds[-1]
    with unread.store.read() as unit:
        pieces = [(number, piece.body) for number, piece in unit.quarantined(1000) if piece.feed == feed]
    (number,) = [number for number, body in pieces if stop in unwrapped(body)]
    proofs = [json.loads(entry.body) for entry in unread.evidence() if entry.kind == "quarantined"]
    assert sum(number in proof["ids"] for proof in proofs) == 1
    # One notice an hour for each feed: the first of these cases is told, the others have the evidence only.
    unread.until("the operators hear of it", lambda: unread.operators.taken(f"unreadable:{feed}:"))
    assert len(unread.operators.taken(f"unreadable:{feed}:")) <= 2
