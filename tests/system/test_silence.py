"""Every kind of feed is cut silently, and comes back with what happened meanwhile: told in time, lost and doubled none.

The provider is as late with each beat as the way allows, so that only the bound of the settings is waited for.
"""

import contextlib
import json
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from tests.moto_server import REGION, Moto
from tests.system.far_ends import Page
from tests.system.parties import Party, document, now
from tests.system.stage import Stage, clouds_stage
from tests.system.ways import CLOUDS, QUEUE, Ways, far_ends
from watchdog.clouds.azure.forwarder import HEARTBEAT as AZURE_HEARTBEAT
from watchdog.clouds.gcp.names import HEARTBEAT as GCP_HEARTBEAT
from watchdog.coverage import Way
from watchdog.incidents import Incident
from watchdog.register import Document, Register
from watchdog.silence import Listened, Memory
from watchdog.ways import ways_of
from watchdog.words import Fault, Verdict
from watchdog.words import Stage as Step
from workers.samples.azure import event_batch, queue_text
from workers.samples.corpus import eventbridge

pytestmark = [pytest.mark.servers, pytest.mark.slow]

FOLDER, SQS = "folder", "sqs"
PARTIES = {
    FOLDER: Party(1), SQS: Party(2),
    **{name: Party(70 + number, cloud) for number, (name, cloud) in enumerate(CLOUDS.items())},
}  # fmt: skip
"""One customer on each feed."""

SILENT_AFTER = 10
"""Seconds; a busy machine may be late with a beat, too."""

PATIENCE = 60

SETTINGS = f"""
[watch]
silent_after_seconds = {SILENT_AFTER}

[feeds.events]
kind = "sqs"
url = "{{queue}}"
region = "{REGION}"
visibility_seconds = 30
"""

_incident = msgspec.json.Decoder(Incident)
each_feed = pytest.mark.parametrize("name", PARTIES)


def registered() -> Document:
    """The register, with everybody's sign of life agreed."""
    plain: dict[str, Any] = msgspec.to_builtins(document(PARTIES.values()))
    for customer in plain["customers"]:
        party = next(one for one in PARTIES.values() if one.id == customer["id"])
        if party.cloud == "aws":
            customer["aws"]["feeds"] = {"heartbeat_rules": [rule(party)]}
        if party.cloud == "gcp":
            for project in customer["gcp"]["projects"]:
                project["heartbeat"] = True
    return msgspec.convert(plain, Document)


def rule(party: Party) -> str:
    return f"arn:aws:events:eu-west-1:{party.account}:rule/beat"


def beat(party: Party, at: datetime) -> dict[str, Any]:
    """One sign of life, as it comes from the party's side."""
    when = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    if party.cloud == "aws":
        return {
            "version": "0", "id": str(uuid.uuid4()), "detail-type": "Scheduled Event", "source": "aws.events",
            "account": party.account, "time": when, "region": "eu-west-1", "resources": [rule(party)], "detail": {},
        }  # fmt: skip
    if party.cloud == "azure":
        return {
            "specversion": "1.0", "id": str(uuid.uuid4()), "source": party.vault.forwarder, "type": AZURE_HEARTBEAT,
            "time": when, "data": {"beat": when},
        }  # fmt: skip
    return {
        "insertId": uuid.uuid4().hex, "logName": f"projects/{party.project.id}/logs/{GCP_HEARTBEAT}",
        "timestamp": when, "receiveTimestamp": when, "severity": "INFO", "textPayload": "byok-watchdog heartbeat",
        "resource": {"type": "global", "labels": {"project_id": party.project.id}},
    }  # fmt: skip


@dataclass
class Cast:
    """All feeds, and what each customer's side puts into its own."""

    stage: Stage
    ways: Ways
    routes: Mapping[str, Way]
    alive: set[str] = field(default_factory=set)
    files: int = 0
    since: dict[str, datetime] = field(default_factory=dict)
    """The time of the last beat of each feed."""

    def here(self, name: str) -> bool:
        return name != QUEUE or self.ways.queue is not None

    def put(self, name: str, event: dict[str, Any]) -> None:
        """Put one event of the party's side into its feed as it is."""
        party, body = PARTIES[name], json.dumps(event).encode()
        match name:
            case "folder":
                self.files += 1
                self.stage.drop(f"{self.files:06}.json", body)
            case "sqs":
                self.stage.send(body)
            case "namespace":
                self.ways.namespace.server.publish(event)
            case "webhook":
                self.ways.webhook.courier.carry(event_batch([event]), self.ways.webhook.headers(party))
            case "queue":
                assert self.ways.queue is not None
                self.ways.queue.queue.send_message(queue_text(event))
            case _:
                self.ways.way(name).bring(party, event)

    def beat(self, name: str) -> None:
        """Let the party's side beat; the record comes as late as its way allows."""
        at = (now() - self.routes[name].lag).replace(microsecond=0)
        self.put(name, beat(PARTIES[name], at))
        self.since[name] = at

    def disable(self, name: str, number: int) -> None:
        """Let the party's key be disabled."""
        party = PARTIES[name]
        record = party.disables(number, now())
        if party.cloud == "aws":
            self.put(name, json.loads(eventbridge(record)))
        else:
            self.ways.way(name).bring(party, record)

    def left(self, name: str) -> int:
        """How much of a feed has not been given up yet."""
        if name == FOLDER:
            return len(self.stage.left_in_folder())
        # A beat is always on its way.
        return max((self.stage.queue_length() if name == SQS else self.ways.way(name).left()) - 2, 0)

    def incidents(self, subject: str) -> list[Incident]:
        with self.stage.store.read() as unit:
            found = [_incident.decode(one.doc) for one in unit.incidents(only_open=False)]
        return [one for one in found if one.subjects == (subject,)]

    def told(self, name: str) -> list[Page]:
        """The pages on the watch of the party of a feed."""
        return [page for page in self.stage.pager.taken(f"watch:{PARTIES[name].id}") if page.action == "trigger"]


@contextlib.contextmanager
def beating(cast: Cast) -> Iterator[None]:
    """Let the feeds that are alive beat every second meanwhile."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(1.0):
            for name in sorted(cast.alive):
                cast.beat(name)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory, postgresql: str, aws: Moto) -> Iterator[Cast]:
    home = tmp_path_factory.mktemp("silence")
    queue = aws.queue(f"silence-{uuid.uuid4().hex[:8]}")
    parties = {name: [PARTIES[name]] for name in CLOUDS}
    with far_ends(tmp_path_factory.mktemp("far-ends"), parties, lock=10, visibility=10, hurry=3) as ways:
        environment = {**ways.environment, **aws.environment}
        here = list(ways.here().values())
        settings = SETTINGS.format(queue=queue)
        with clouds_stage(home, postgresql, here, PARTIES.values(), environment, worker=settings) as stage:
            stage.aws, stage.queue = aws, queue
            file = home / "agreed.yaml"
            file.write_bytes(msgspec.json.encode(registered()))
            told = stage.command("register", "import", str(file), "--by", "test")
            assert told.code == 0, told.errors
            made = Cast(stage, ways, routes())
            made.alive |= {name for name in PARTIES if made.here(name)}
            with beating(made):
                ways.start(stage, kept=False)
                stage.start("drop", "consume", "drop", "events", kept=False)
                stage.start("worker", "worker", kept=False)
                _expect_for_long(made)
                stage.start("scheduler", "scheduler", kept=False)
                yield made


def routes() -> dict[str, Way]:
    """The way of each feed by which its sign of life is due."""
    register = Register(registered(), 1)
    found = ways_of(register)
    return {
        name: next(
            way for way in found.by_key[party.key] if way.customer == party.id and way.beats and not way.by_probe
        )
        for name, party in PARTIES.items()
    }


def _expect_for_long(cast: Cast) -> None:
    """Wait until every feed is asked; then let it be so that the signs are expected since long ago."""
    long_ago = now() - timedelta(days=1)
    feeds = ["drop", "events", *(feed for way in cast.ways.here().values() for feed in way.feeds)]

    def asked() -> bool:
        with cast.stage.store.read() as unit:
            return {one.feed for one in unit.feeds() if one.asked_at} >= set(feeds)

    cast.stage.until("every feed is asked", asked)
    cast.stage.until("every sign is kept", lambda: len(signs(cast)) >= sum(map(cast.here, PARTIES)))
    memory = Memory(
        expected={way.route: long_ago for name, way in cast.routes.items() if cast.here(name)},
        feeds={feed: Listened(known_at=long_ago) for feed in feeds},
    )
    with cast.stage.store.write() as unit:
        unit.put_memo("coverage", msgspec.json.encode(memory), at=now())
        unit.put_memo("coverage:looked", msgspec.json.encode(now()), at=now())


def signs(cast: Cast) -> set[str]:
    with cast.stage.store.read() as unit:
        return {one.route for one in unit.signs()} & {way.route for way in cast.routes.values()}


@pytest.fixture(scope="module")
def silenced(cast: Cast) -> Cast:
    """All feeds have beaten for longer than any may be silent; then nothing comes any more."""
    begun = now()

    def looked() -> bool:
        with cast.stage.store.read() as unit:
            at = msgspec.json.decode(unit.memo("coverage:looked") or b"null", type=datetime | None)
        return at is not None and at > begun + timedelta(seconds=2 * SILENT_AFTER)

    cast.stage.until("it was looked for long enough", looked, seconds=PATIENCE)
    assert not [name for name in PARTIES if cast.told(name)], "all of them were alive"
    cast.alive.clear()
    return cast


@each_feed
def test_a_feed_that_is_cut_silently_is_told_in_time_and_comes_back_with_its_gap_once(
    silenced: Cast, name: str
) -> None:
    if not silenced.here(name):
        pytest.skip(f"no Azurite: {silenced.ways.lacking}")
    stage, party = silenced.stage, PARTIES[name]
    subject = f"watch:{party.id}"

    stage.until("the on-call is paged", lambda: silenced.told(name), seconds=PATIENCE)
    (incident,) = silenced.incidents(subject)
    late = incident.opened_at - silenced.since[name] - silenced.routes[name].lag
    assert timedelta(seconds=SILENT_AFTER) < late < timedelta(seconds=SILENT_AFTER + 15), late
    assert (incident.stage, incident.fault) == (Step.AT_RISK, Fault.UNKNOWN)
    with stage.store.read() as unit:
        assert unit.healths([subject])[subject].verdict == Verdict.BLIND
    (page,) = silenced.told(name)
    assert "No sign of life has come from" in page.mentions
    assert not stage.relay.to(party.contact), "the customer is not told of it"

    for _ in range(3):  # what comes again is the same happening
        silenced.disable(name, 1)
    silenced.alive.add(name)
    stage.until("the loss is told", lambda: stage.relay.to(party.contact), seconds=PATIENCE)
    stage.until("the silence is over", lambda: _stages(silenced, subject) == [Step.RESOLVED], seconds=PATIENCE)
    stage.until("its page is closed", lambda: stage.pager.taken(f"{incident.id}:", "resolve"), seconds=PATIENCE)
    stage.until("nothing is left", lambda: silenced.left(name) == 0, seconds=PATIENCE)
    (loss,) = silenced.incidents(party.key)
    assert loss.stage is Step.IMPAIRED
    assert len([one for one in stage.pager.taken(party.key, "trigger") if f"{loss.id}:" in one.dedup]) == 1
    assert len(stage.relay.to(party.contact)) == 1
    assert _stages(silenced, subject) == [Step.RESOLVED]
    assert silenced.incidents(subject)[0].resolved_by is None


def _stages(cast: Cast, subject: str) -> list[str]:
    return [one.stage for one in cast.incidents(subject)]
