"""The whole way on real parts: from an event at the cloud's queue to the page and the customer's mail, and back."""

import gzip
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.moto_server import Moto
from tests.system.far_ends import BROKEN, INVALID, SILENT, TOO_MANY, WRONG_KEY, plain_text
from tests.system.parties import ACME, BUCKET, Party, now, sns
from tests.system.stage import Stage, embedded_stage, servers_stage
from watchdog.words import Stage as Step
from workers.samples.corpus import Corpus, eventbridge
from workers.store.interface import NoticeState

pytestmark = pytest.mark.servers

BUSY, INVALID_TO_PAGER, UNKNOWN_TO_PAGER, GREYLISTED, UNANSWERED = (Party(number) for number in range(1, 6))
TRAIL = (
    "AWSLogs/111122223333/CloudTrail/eu-west-1/2026/12/01/111122223333_CloudTrail_eu-west-1_20261201T0900Z_x.json.gz"
)
NOISE = 2000


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, postgresql: str, aws: Moto) -> Iterator[Stage]:
    parties = [ACME, BUSY, INVALID_TO_PAGER, UNKNOWN_TO_PAGER, GREYLISTED, UNANSWERED]
    with servers_stage(tmp_path_factory.mktemp("real"), postgresql, aws, parties) as made:
        made.pager.script(BUSY.key, TOO_MANY, BROKEN)
        made.pager.script(UNANSWERED.key, SILENT)
        made.pager.script(INVALID_TO_PAGER.key, INVALID)
        made.pager.script(UNKNOWN_TO_PAGER.key, WRONG_KEY)
        made.relay.script(GREYLISTED.contact, "451 4.7.1 Greylisted, try again later")
        made.start("consumer", "consume", "events", kept=False)
        made.start("worker", "worker", "--queues", "urgent,normal", kept=False)
        made.start("worker-bulk", "worker", "--queues", "bulk", "--concurrency", "1", kept=False)
        made.start("scheduler", "scheduler", kept=False)
        # The far ends' moods take their time: all of it passes while Acme's story is told.
        made.event(*(party.disables(1, now()) for party in parties if party is not ACME))
        yield made


def test_a_revocation_is_paged_mailed_made_worse_and_resolved(stage: Stage) -> None:
    at = now()
    stage.event(ACME.disables(1, at))
    stage.until_told(ACME, Step.IMPAIRED)
    incident = stage.incident_of(ACME)
    assert incident is not None
    (page,) = stage.pager.taken(ACME.key)
    assert (page.action, page.dedup) == ("trigger", f"byok:{incident.id}:impaired:1")
    assert page.event["routing_key"] == "0123456789abcdef0123456789abcdef"
    assert page.event["payload"]["severity"] == "critical"
    (mail,) = stage.relay.to(ACME.contact)
    assert ACME.key in plain_text(mail)
    assert "aws kms enable-key" in plain_text(mail)
    assert len(stage.relay.to(ACME.staff)) == 1

    noise = Corpus(seed=11)
    records = [noise.noise() for _ in range(NOISE)]
    records.insert(1357, ACME.schedules_deletion(2, at + timedelta(seconds=1)))
    stage.put_trail(TRAIL, records)
    stage.send(sns({"s3Bucket": BUCKET, "s3ObjectKey": [TRAIL]}))
    stage.until_told(ACME, Step.DELETION_SCHEDULED)
    stage.until("the old alert is cleared", lambda: len(stage.pager.taken(f"{incident.id}:")) == 3)
    _, worse, cleared = stage.pager.taken(f"{incident.id}:")
    assert (worse.action, worse.dedup) == ("trigger", f"byok:{incident.id}:deletion_scheduled:2")
    assert (cleared.action, cleared.dedup) == ("resolve", page.dedup)
    assert len(stage.relay.to(ACME.contact)) == 2
    assert "aws kms cancel-key-deletion" in plain_text(stage.relay.to(ACME.contact)[1])
    assert stage.verdict_of(ACME) == "doomed"

    stage.event(ACME.cancels_deletion(3, at + timedelta(seconds=2)), ACME.enables(4, at + timedelta(seconds=3)))
    stage.until_told(ACME, Step.RECOVERING)
    assert stage.incident_of(ACME) is not None, "an event that says so is no proof"
    told = stage.command("resolve", incident.id, "--reason", "read and wrote a file", "--by", "Oscar", "--json")
    assert (told.code, told.lines[0]["resolved_by"]) == (0, "Oscar")
    stage.until_told(ACME, Step.RESOLVED)

    assert stage.pager.taken(f"{incident.id}:")[-1].action == "resolve"
    assert stage.verdict_of(ACME) == "blind", "a decision is no proof that the key works"
    assert "read and wrote a file" in plain_text(stage.relay.to(ACME.contact)[-1])
    stage.until("the queue is empty", lambda: stage.queue_length() == 0)
    assert stage.command("evidence", "verify").code == 0
    assert_status(stage, feed="events")


def assert_status(stage: Stage, *, feed: str) -> None:
    """What `status --json` says at the end of Acme's story: every row that there must be, and nothing hidden."""
    told = stage.command("status", "--json")
    rows: dict[str, list[dict[str, Any]]] = {"key": [], "incident": [], "watchdog": [], "route": []}
    for line in told.lines:
        rows[line["type"]].append(line)
    (acme,) = [row for row in rows["key"] if row["key"] == ACME.key]
    assert (acme["verdict"], acme["incident"], acme["headline"], acme["claimed"]) == ("blind", None, None, [])
    assert [row for row in rows["incident"] if row["customer"] == ACME.id] == []
    (system,) = rows["watchdog"]
    assert system["inbox"] == {"record": 0, "delivery": 0}
    assert system["quarantined"] == 0
    assert [(row["feed"], row["error"]) for row in system["feeds"]] == [(feed, None)]
    assert system["feeds"][0]["dropped"] >= NOISE
    assert system["feeds"][0]["broken"] == 0
    assert all(row["alive"] and row["degraded"] is None for row in system["processes"])
    kinds = {row["kind"] for row in system["processes"]}
    assert kinds == {f"consumer {feed}", "worker urgent,normal", "worker bulk", "scheduler"}
    assert told.code == 3, "as long as no check proves a key, not everything is well"


def test_a_page_that_is_throttled_and_then_fails_is_tried_again_and_opens_one_alert(stage: Stage) -> None:
    stage.until_told(BUSY, Step.IMPAIRED, seconds=60)

    pages = stage.pager.asked(BUSY.key)
    assert [page.status for page in pages] == [429, 500, 202]
    assert len({page.dedup for page in pages}) == 1
    assert pages[1].at - pages[0].at >= 4.5, "the wait after the first failure is about five seconds"
    assert pages[2].at - pages[1].at >= 13.5, "the wait after the second failure is about fifteen seconds"
    (page,) = [one for one in stage.notices_of(BUSY) if one.notice.channel == "page"]
    with stage.store.read() as unit:
        tries = unit.attempts(page.notice.id)
    assert [(one.outcome, one.http_status) for one in tries] == [("retry", 429), ("retry", 500), ("accepted", 202)]


@pytest.mark.parametrize(("party", "status"), [(INVALID_TO_PAGER, 400), (UNKNOWN_TO_PAGER, 401)])
def test_a_page_that_is_refused_for_good_is_told_over_another_channel(stage: Stage, party: Party, status: int) -> None:
    stage.until_told(party, Step.IMPAIRED)
    (page,) = [one for one in stage.notices_of(party) if one.notice.channel == "page"]
    assert (page.state, page.attempts) == (NoticeState.FAILED, 1)
    stage.until("the operators hear of it", lambda: stage.operators.taken(page.notice.id))

    (told,) = stage.operators.taken(page.notice.id)
    assert (told.action, told.event["payload"]["severity"]) == ("trigger", "critical")
    assert str(status) in told.mentions
    assert [one.status for one in stage.pager.asked(party.key)] == [status], (
        "what is refused for good is not tried again"
    )
    assert len(stage.relay.to(party.contact)) == 1, "the mail does not wait for the page"


def test_a_page_that_is_not_answered_is_sent_again_and_the_mail_does_not_wait_for_it(stage: Stage) -> None:
    stage.until_told(UNANSWERED, Step.IMPAIRED, seconds=60)

    pages = stage.pager.asked(UNANSWERED.key)
    assert [page.status for page in pages] == [0, 202]
    assert pages[0].dedup == pages[1].dedup
    (page,) = [one for one in stage.notices_of(UNANSWERED) if one.notice.channel == "page"]
    (mail,) = [one for one in stage.notices_of(UNANSWERED) if one.notice.reader == "customer"]
    with stage.store.read() as unit:
        tries = unit.attempts(page.notice.id)
    assert [(one.outcome, one.reason) for one in tries] == [("retry", "timeout"), ("accepted", "none")]
    assert mail.accepted_at is not None
    assert mail.accepted_at < tries[0].at


def test_a_mail_that_the_relay_puts_off_is_sent_again_and_arrives_once(stage: Stage) -> None:
    stage.until_told(GREYLISTED, Step.IMPAIRED)

    assert [whom for whom, _ in stage.relay.refused] == [GREYLISTED.contact]
    assert len(stage.relay.to(GREYLISTED.contact)) == 1
    assert len(stage.pager.taken(GREYLISTED.key)) == 1, "the page does not wait for the mail"
    (mail,) = [
        one
        for one in stage.notices_of(GREYLISTED)
        if one.notice.recipient and one.notice.recipient.email == GREYLISTED.contact
    ]
    with stage.store.read() as unit:
        assert [one.outcome for one in unit.attempts(mail.notice.id)] == ["retry", "accepted"]


def test_the_same_story_on_the_embedded_set(tmp_path: Any, request: pytest.FixtureRequest) -> None:
    with embedded_stage(tmp_path, [ACME]) as embedded:
        request.node.funcargs["embedded"] = embedded
        tell_embedded(embedded)


def tell_embedded(stage: Stage) -> None:
    at = now()
    up = stage.start("up", "up", kept=False)
    stage.drop("1.json", eventbridge(ACME.disables(1, at)))
    stage.until_told(ACME, Step.IMPAIRED)
    noise = Corpus(seed=12)
    records = [noise.noise() for _ in range(NOISE)]
    records.insert(643, ACME.schedules_deletion(2, at + timedelta(seconds=1)))
    stage.drop("2.json.gz", gzip.compress(json.dumps({"Records": records}).encode()))
    stage.until_told(ACME, Step.DELETION_SCHEDULED)
    stage.drop("3.json", eventbridge(ACME.cancels_deletion(3, at + timedelta(seconds=2))))
    stage.drop("4.json", eventbridge(ACME.enables(4, at + timedelta(seconds=3))))
    stage.until_told(ACME, Step.RECOVERING)
    incident = stage.incident_of(ACME)
    assert incident is not None
    assert stage.command("resolve", incident.id, "--reason", "a file was read", "--by", "Oscar").code == 0
    stage.until_told(ACME, Step.RESOLVED)

    shown = [json.loads(line) for line in up.output.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
    pages = [one["dedup"] for one in shown if one["reader"] == "on_call"]
    assert pages[:2] == [f"{incident.id}:impaired:1", f"{incident.id}:deletion_scheduled:2"]
    mails = [one["text"] for one in shown if one["recipient"] == ACME.contact]
    assert "aws kms enable-key" in mails[0]
    assert "aws kms cancel-key-deletion" in mails[1]
    assert stage.left_in_folder() == []
    assert stage.command("evidence", "verify").code == 0
    assert stage.is_at_rest()
    assert_status(stage, feed="drop")
    assert stage.terminate("up") < 12
    assert up.process.returncode == 0
