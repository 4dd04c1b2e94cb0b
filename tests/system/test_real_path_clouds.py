"""The whole way on Azure and Google Cloud, for each way in: from the provider to page and mail, and back."""

import base64
import contextlib
import json
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import urllib3

from tests.system.far_ends import plain_text
from tests.system.outcomes import state
from tests.system.parties import Party, now
from tests.system.stage import Stage, clouds_stage
from tests.system.ways import (
    CLOUDS,
    NAMESPACE,
    PUSH,
    QUEUE,
    SUBSCRIPTIONS,
    WEBHOOK,
    Ways,
    far_ends,
)
from watchdog.incidents import Incident
from watchdog.words import Effect, Verdict
from watchdog.words import Stage as Step
from workers.samples.azure import FORWARDED, AzureCorpus, event_batch, forwarded
from workers.samples.gcp import GcpCorpus, message

pytestmark = [pytest.mark.servers, pytest.mark.slow]


@dataclass(frozen=True)
class Cast:
    """The parties of one way in, each with a part to play."""

    name: str
    number: int

    def _party(self, part: int) -> Party:
        return Party(10 * self.number + part, CLOUDS[self.name])

    @property
    def teller(self) -> Party:
        """Whose story is told from beginning to end."""
        return self._party(0)

    @property
    def orderly(self) -> Party:
        """Whose records come in their order."""
        return self._party(1)

    @property
    def shuffled(self) -> Party:
        """Whose records come in any order, some twice."""
        return self._party(2)

    @property
    def late(self) -> Party:
        """Whose record is on its way while the consumer is asked to stop."""
        return self._party(3)

    @property
    def neighbour(self) -> Party:
        """Whose record comes amidst bad input."""
        return self._party(4)

    @property
    def all(self) -> list[Party]:
        return [self._party(part) for part in range(5)]


CASTS = {name: Cast(name, number) for number, name in enumerate(CLOUDS, 1)}
GRANTED = Party(90, "azure")
"""Whose events come in Event Grid's own schema, by the webhook."""

BATCHED = Party(92, "azure")
"""Whose record comes by the webhook in one batch with events that are malformed."""

STRANGERS = {"azure": Party(91, "azure"), "gcp": Party(91, "gcp")}
"""Registered, but no way in is set up for them."""

UNDONE_BY = {
    "azure": ("az keyvault key set-attributes", "az keyvault key recover"),
    "gcp": ("gcloud kms keys versions enable", "gcloud kms keys versions restore"),
}
"""What undoes a disabling, and a deletion."""

DELETED = {"azure": Step.IRREVERSIBLE_SOON, "gcp": Step.DELETION_SCHEDULED}
"""Where nothing protects a deleted key from being purged, that can happen at any moment."""

NOISE = 40
SECONDS = 10.0
MOST_MEMORY = 500
"""MB that a consumer may have had at most, whatever came."""

each_way = pytest.mark.parametrize("name", CLOUDS)


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    parties = {name: cast.all for name, cast in CASTS.items()}
    parties[WEBHOOK] = [GRANTED, BATCHED, *parties[WEBHOOK]]
    # On a busy machine an answer may come too late, and what it was about comes again: then not a minute later.
    with far_ends(tmp_path_factory.mktemp("far-ends"), parties, lock=10, visibility=10, hurry=3) as made:
        yield made


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, postgresql: str, ways: Ways) -> Iterator[Stage]:
    here = list(ways.here().values())
    parties = [*(party for way in here for party in way.parties), *STRANGERS.values()]
    with clouds_stage(tmp_path_factory.mktemp("clouds"), postgresql, here, parties, ways.environment) as made:
        ways.start(made, kept=False)
        made.start("worker", "worker", kept=False)
        made.start("scheduler", "scheduler", kept=False)
        yield made


def noise(party: Party, count: int) -> list[dict[str, Any]]:
    if party.cloud == "gcp":
        return list(GcpCorpus(5, around=party.project).records(count))
    return list(AzureCorpus(5, around=party.vault).records(count))


# ------------------------------------------------------------------------------------------------------------ the way


@dataclass
class Told:
    """What has come of the tellers' stories: their incidents, and what `status --json` said at the end."""

    incidents: Mapping[str, Incident]
    rows: Sequence[dict[str, Any]]
    code: int


@pytest.fixture(scope="module")
def told(stage: Stage, ways: Ways) -> Told:
    """The stories of all ways, told side by side."""
    tellers = {name: CASTS[name].teller for name in ways.here()}
    at = now()

    def act(happening: str, number: int, step: Step | Mapping[str, Step]) -> None:
        for name, party in tellers.items():
            record = getattr(party, happening)(number, at + timedelta(seconds=number))
            ways.way(name).bring(party, record)
        for party in tellers.values():
            stage.until_told(party, step if isinstance(step, Step) else step[party.cloud])

    for name, party in tellers.items():
        ways.way(name).bring(party, *noise(party, NOISE))
    act("disables", 1, Step.IMPAIRED)
    act("schedules_deletion", 2, DELETED)
    act("cancels_deletion", 3, Step.IMPAIRED)
    act("enables", 4, Step.RECOVERING)
    found = {name: stage.incident_of(party) for name, party in tellers.items()}
    incidents = {name: incident for name, incident in found.items() if incident is not None}
    with ThreadPoolExecutor() as threads:
        done = threads.map(
            lambda incident: stage.command("resolve", incident.id, "--reason", "a file was read", "--by", "Oscar"),
            incidents.values(),
        )
    assert [one.code for one in done] == [0] * len(tellers)
    for party in tellers.values():
        stage.until_told(party, Step.RESOLVED)
    stage.until("nothing waits any more", stage.is_at_rest)
    stage.until("what was dropped is counted", lambda: dropped(stage) >= NOISE * len(tellers))
    status = stage.command("status", "--json")
    return Told(incidents, status.lines, status.code)


def dropped(stage: Stage) -> int:
    with stage.store.read() as unit:
        return sum(feed.dropped for feed in unit.feeds())


@each_way
def test_what_is_done_to_a_key_is_paged_mailed_made_worse_and_resolved(
    stage: Stage, ways: Ways, told: Told, name: str
) -> None:
    assert ways.way(name).left() == 0
    party, incident = CASTS[name].teller, told.incidents[name]
    enabling, recovering = UNDONE_BY[party.cloud]
    topic = f"byok:{incident.id}"
    pages = [(page.action, page.dedup.removeprefix(topic)) for page in stage.pager.taken(f"{topic}:")]
    worse = f":{DELETED[party.cloud]}:2"
    assert [dedup for action, dedup in pages if action == "trigger"] == [":impaired:1", worse, ":impaired:3"]
    assert [dedup for action, dedup in pages if action == "resolve"] == [":impaired:1", worse, ":impaired:3"]
    for reader in (party.contact, party.staff):
        disabled, deleted, restored, *_, resolved = map(plain_text, stage.relay.to(reader))
        assert party.key in disabled
        assert enabling in disabled
        assert recovering not in disabled
        assert recovering in deleted
        assert enabling in restored, "a restored key is still disabled"
        assert recovering not in restored
        assert "a file was read" in resolved
    assert stage.verdict_of(party) == Verdict.BLIND, "a decision is no proof that the key works"


def test_the_evidence_of_it_all_verifies(stage: Stage, told: Told) -> None:
    assert told.incidents
    assert stage.command("evidence", "verify").code == 0


def test_status_shows_every_feed_and_what_it_dropped(ways: Ways, told: Told) -> None:
    rows: dict[str, list[dict[str, Any]]] = {"key": [], "incident": [], "watchdog": [], "route": []}
    for row in told.rows:
        rows[row["type"]].append(row)
    (system,) = rows["watchdog"]
    tellers = {CASTS[name].teller.key for name in ways.here()}
    shown = {row["key"]: (row["verdict"], row["incident"], row["claimed"]) for row in rows["key"]}
    assert {key: shown[key] for key in tellers} == dict.fromkeys(tellers, ("blind", None, []))
    assert {row["customer"] for row in rows["incident"]}.isdisjoint(CASTS[name].teller.id for name in CASTS)
    assert system["inbox"] == {"record": 0, "delivery": 0}
    counts = {row["feed"]: row for row in system["feeds"]}
    assert counts.keys() == {feed for way in ways.here().values() for feed in way.feeds}
    for way in ways.here().values():
        assert sum(counts[feed]["dropped"] for feed in way.feeds) >= NOISE
        assert sum(counts[feed]["kept"] for feed in way.feeds) >= 4
    assert all(row["asked_at"] and row["error"] is None for row in counts.values())
    assert all(row["alive"] for row in system["processes"])
    kinds = {row["kind"] for row in system["processes"]}
    assert {f"consumer {feed}" for feed in counts} < kinds
    assert told.code == 3, "as long as no check proves a key, not everything is well"


# -------------------------------------------------------------------------------------------------------- the webhook


def test_an_event_in_event_grids_own_schema_is_told(stage: Stage, ways: Ways) -> None:
    corpus = AzureCorpus(6, around=GRANTED.vault)
    ways.webhook.bring_events(GRANTED, corpus.noise_event(), corpus.grant_deleted(GRANTED.vault, at=now()))
    stage.until_told(GRANTED, Step.IMPAIRED)

    (page,) = stage.pager.taken(GRANTED.key)
    assert page.action == "trigger"
    (mail,) = stage.relay.to(GRANTED.contact)
    assert "az role assignment create" in plain_text(mail)
    stage.until("the delivery is accepted", lambda: ways.webhook.left() == 0)


def test_the_handshakes_are_answered_for_a_registered_event_subscription_only(stage: Stage, ways: Ways) -> None:
    webhook = ways.webhook
    stage.until("somebody listens", lambda: listens(ways, WEBHOOK))
    validation = {
        "id": "2d1781af-3a4c-4d7c-bd0c-e34b19da4e66", "topic": "/subscriptions/x", "subject": "", "dataVersion": "1",
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "eventTime": "2026-11-02T08:00:00Z",
        "data": {"validationCode": "512d38b6-c7b8-40c8-89fe-f46f9e9622b6"},
    }  # fmt: skip
    own, other = webhook.headers(GRANTED), {**webhook.headers(GRANTED), "aeg-subscription-name": "SOMEBODY-ELSES"}
    origin = {"WebHook-Request-Origin": "eventgrid.azure.net"}

    echo = webhook.courier.send(event_batch([validation]), own)
    assert (echo.status, echo.json()) == (200, {"validationResponse": "512d38b6-c7b8-40c8-89fe-f46f9e9622b6"})
    allowed = webhook.courier.send(b"", own | origin, "OPTIONS")
    assert (allowed.status, allowed.headers["WebHook-Allowed-Origin"]) == (200, "eventgrid.azure.net")
    assert webhook.courier.send(event_batch([{**validation, "id": "other"}]), other).status == 403
    assert webhook.courier.send(b"", other | origin, "OPTIONS").status == 403
    stage.until("the operators hear of it", lambda: stage.operators.taken(f"untrusted:{WEBHOOK}:"))


def listens(ways: Ways, name: str) -> bool:
    port = ways.webhook.port if name == WEBHOOK else ways.push.port
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# ------------------------------------------------------------------------------------------------------------- trust


@each_way
def test_a_record_of_another_customer_is_not_believed_and_the_operators_are_told(
    stage: Stage, ways: Ways, name: str
) -> None:
    way, stranger = ways.way(name), STRANGERS[CLOUDS[name]]
    before = untrusted(stage, way.feeds[-1])
    way.bring(stranger, stranger.disables(10 + CASTS[name].number, now()))

    stage.until("it is not believed", lambda: untrusted(stage, way.feeds[-1]) == before + 1)
    stage.until("the operators hear of it", lambda: stage.operators.taken(f"untrusted:{way.feeds[-1]}:"))
    stage.until("it is given up", lambda: way.left() == 0)
    assert stage.incident_of(stranger) is None
    assert stage.verdict_of(stranger) is None


@pytest.mark.parametrize("name", [SUBSCRIPTIONS, PUSH])
def test_what_is_published_cannot_say_by_which_subscription_it_came(stage: Stage, ways: Ways, name: str) -> None:
    """Whoever may publish to one customer's topic imitates the wrapper of another customer's subscription."""
    way, victim, true = ways.way(name), CASTS[name].orderly, CASTS[name].neighbour
    imitated = message(victim.disables(99, now()), victim.project.subscription)
    before = untrusted(stage, way.feeds[-1])
    way.put(msgspec.json.encode(imitated if name == SUBSCRIPTIONS else message_of(imitated, true)))

    stage.until("it is not believed", lambda: untrusted(stage, way.feeds[-1]) == before + 1)


def message_of(content: dict[str, Any], by: Party) -> dict[str, Any]:
    """What Pub/Sub pushes of a message with this content."""
    coded = base64.b64encode(msgspec.json.encode(content)).decode()
    return {"message": {"data": coded, "messageId": "99"}, "subscription": by.project.subscription}


def untrusted(stage: Stage, feed: str) -> int:
    """How many records of a feed were not believed."""
    proofs = [json.loads(entry.body) for entry in stage.evidence() if entry.kind == "record"]
    return sum(
        proof["feed"] == feed and any(signal["effect"] == Effect.UNTRUSTED for signal in proof["signals"])
        for proof in proofs
    )


# ------------------------------------------------------------------------------------------------------------- order


@each_way
def test_a_story_that_comes_shuffled_and_twice_ends_like_the_one_that_comes_in_order(
    stage: Stage, ways: Ways, name: str
) -> None:
    way, orderly, shuffled = ways.way(name), CASTS[name].orderly, CASTS[name].shuffled
    at = now() - timedelta(minutes=5)
    story = ["disables", "schedules_deletion", "cancels_deletion", "enables"]
    for place in range(len(SHUFFLED)):
        for party, order in ((orderly, IN_ORDER), (shuffled, SHUFFLED)):
            number = order[place]
            way.bring(party, getattr(party, story[number])(number, at + timedelta(seconds=number)))
        # One after the other: what comes together is worked in any order anyhow.
        stage.until("it is worked", stage.is_at_rest)

    assert state(stage, shuffled) == state(stage, orderly)
    assert stage.is_told(orderly, Step.RECOVERING)


IN_ORDER = (0, 1, 2, 3, 3, 3, 3)
SHUFFLED = (1, 3, 1, 0, 3, 2, 0)
"""Which of the four happenings comes when. The first comes again at the end."""


# --------------------------------------------------------------------------------------------------------- bad input


DEEP = b"[" * 40_000 + b"]" * 40_000
WELCOME = b"Welcome! You have been subscribed to somebody's events."


def event(number: int, **fields: object) -> bytes:
    """Write a CloudEvent of a registered forwarder, which somebody has spoilt."""
    made = {"specversion": "1.0", "id": f"bad-{number}", "source": CASTS[NAMESPACE].neighbour.vault.forwarder, **fields}
    return json.dumps(made).encode()


def wrapped(name: str, data: str) -> bytes:
    """Write a Pub/Sub message as it is pushed, its data as it stands here."""
    subscription = CASTS[name].neighbour.project.subscription
    return json.dumps({"message": {"data": data, "messageId": "1"}, "subscription": subscription}).encode()


def coded(body: bytes) -> str:
    return base64.b64encode(body).decode()


def bad_event(number: int) -> list[bytes]:
    """Events that cannot be read: without a type, with data that is no base64, nested without end, malformed."""
    return [
        event(number),
        event(number + 1, type=FORWARDED, data_base64="@not-base64@"),
        b'{"id":"bad","source":"x","specversion":"1.0","type":"t","data":' + DEEP + b"}",
        b'{"id":"bad","source":"x","specversion":"1.0","type":}',
        json.dumps(WELCOME.decode()).encode(),
    ]


BAD: dict[str, list[bytes]] = {
    NAMESPACE: [*bad_event(10), b'"' + b"x" * 5_000_000 + b'"'],
    WEBHOOK: [*bad_event(20), b'{"id":', b"x" * 900_000],
    QUEUE: [
        *(coded(body).encode() for body in bad_event(30) if len(body) < 48_000),
        WELCOME, b"@not-base64@", b'{"id":', coded(b'{"type":').encode(), coded(b"[" * 40_000).encode(),
    ],
    SUBSCRIPTIONS: [
        WELCOME, b'{"protoPayload":', b'{"protoPayload":1}', DEEP, b"x" * 5_000_000, b"\xff\xfe\x00",
        wrapped(SUBSCRIPTIONS, "@not-base64@"),
    ],
    PUSH: [
        wrapped(PUSH, coded(WELCOME)), wrapped(PUSH, "@not-base64@"), wrapped(PUSH, coded(DEEP)), WELCOME,
        b'{"message":', b'{"message":{"data":"e30=","messageId":"1"}}', wrapped(PUSH, coded(b"x" * 5_000_000)),
    ],
}  # fmt: skip


@each_way
def test_bad_input_is_told_and_costs_nobody_anything(stage: Stage, ways: Ways, told: Told, name: str) -> None:
    assert told.incidents, "the stories are over: what they say of quarantine stays true"
    way, neighbour, bodies = ways.way(name), CASTS[name].neighbour, BAD[name]
    before = len(quarantined(stage, way.feeds[-1]))
    for number, body in enumerate(bodies):
        way.put(body)
        if number == len(bodies) // 2:
            way.bring(neighbour, neighbour.disables(1, now()))
    stage.until_told(neighbour, Step.IMPAIRED)
    stage.until("all is given up", lambda: way.left() == 0)
    stage.until("all is told", lambda: len(quarantined(stage, way.feeds[-1])) >= before + len(bodies))

    found = quarantined(stage, way.feeds[-1])
    pieces = found[: len(found) - before]
    assert len(pieces) == len(bodies), pieces
    assert all(place and len(reason) > 10 for place, reason in pieces)
    topic = f"unreadable:{way.feeds[-1]}:"
    stage.until("the operators hear of it", lambda: stage.operators.taken(topic))
    assert set(Counter(page.dedup for page in stage.operators.taken(topic)).values()) == {1}
    consumer = stage.running[name]
    assert consumer.process.poll() is None
    assert stage.peak_memory(consumer.pid) <= MOST_MEMORY


def quarantined(stage: Stage, feed: str) -> list[tuple[str, str]]:
    with stage.store.read() as unit:
        return [(piece.place, piece.reason) for _, piece in unit.quarantined(1000) if piece.feed == feed]


def test_malformed_events_of_a_pushed_batch_cost_their_neighbours_nothing(stage: Stage, ways: Ways, told: Told) -> None:
    assert told.incidents
    good = msgspec.json.encode(forwarded(BATCHED.disables(1, now()), BATCHED.vault))
    before = len(quarantined(stage, WEBHOOK))
    ways.webhook.put(b"[" + b",".join([event(40), b'{"id":"bad-41","type":}', good, b'{"id":tru}']) + b"]")

    stage.until_told(BATCHED, Step.IMPAIRED)
    stage.until("the three are put aside", lambda: len(quarantined(stage, WEBHOOK)) == before + 3)
    stage.until("the delivery is accepted", lambda: ways.webhook.left() == 0)


@pytest.mark.parametrize(("name", "size"), [(WEBHOOK, 5 << 20), (PUSH, 17 << 20)])
def test_a_body_that_no_provider_could_send_is_refused_and_told(stage: Stage, ways: Ways, name: str, size: int) -> None:
    stage.until("somebody listens", lambda: listens(ways, name))
    if name == WEBHOOK:
        courier, headers = ways.webhook.courier, ways.webhook.headers(GRANTED)
    else:
        courier, headers = ways.push.courier, ways.push.headers()
    # The answer comes before the end of the body, and the connection is cut: whether it is seen is chance.
    with contextlib.suppress(urllib3.exceptions.HTTPError):
        assert courier.send(b"x" * size, headers).status == 413

    stage.until("the operators hear of it", lambda: told_of_size(stage, f"consumer {name}"))


def told_of_size(stage: Stage, process: str) -> bool:
    pages = stage.operators.taken("larger than the provider can send")
    return any(process in page.mentions for page in pages)


# -------------------------------------------------------------------------------------------------------------- stop


def test_every_consumer_that_is_asked_to_stop_under_load_ends_in_time_and_loses_nothing(
    stage: Stage, ways: Ways
) -> None:  # fmt: skip
    names = list(ways.here())
    for name in names:
        party = CASTS[name].late
        ways.way(name).bring(party, *noise(party, NOISE))
        ways.way(name).bring(party, party.disables(1, now()))

    took = stage.terminate(*names)
    assert took < SECONDS
    assert [stage.running[name].process.returncode for name in names] == [0] * len(names)
    for name in names:
        stage.again(name)
    for name in names:
        party = CASTS[name].late
        stage.until_told(party, Step.IMPAIRED, seconds=60)
        assert len(stage.pager.taken(party.key)) == 1
        assert len(stage.relay.to(party.contact)) == 1
        assert len(stage.relay.to(party.staff)) == 1
    stage.until("nothing waits any more", stage.is_at_rest, seconds=60)
