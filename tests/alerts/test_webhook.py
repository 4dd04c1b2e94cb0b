import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as Oracle
from standardwebhooks.webhooks import WebhookVerificationError

from alerts.channels.webhook import BODY_LIMIT, Webhook, event_type, key_of, sign, subject
from alerts.interface import Outcome, Reason, Receipt
from alerts.wire import Limits
from tests.alerts import stories
from tests.fakes import Answer, HttpFake, server_context
from watchdog.notices import Facts, Notice, OperatorFacts, Reader
from watchdog.words import Stage

OLD = "whsec_b2xkLXNlY3JldC1vZi10aGUtbGFzdC1xdWFydGVy"
NEW = "whsec_bmV3LXNlY3JldC1vZi10aGlzLXZlcnktcXVhcnRlcg=="


def webhook(url: str = "http://127.0.0.1:9/", **changes: Any) -> Webhook:
    options = {
        "name": "hook",
        "url": url,
        "secrets": (OLD,),
        "type_prefix": "com.vendor.byok",
        "allow_private": True,
        "limits": Limits(connect=1, read=0.3, total=0.8),
    }
    return Webhook(**{**options, **changes})


def note(story: Facts | OperatorFacts, **changes: object) -> Notice:
    return stories.notice(story, Reader.ON_CALL if isinstance(story, Facts) else Reader.OPERATOR, **changes)


def event(notice: Notice) -> Any:
    return json.loads(webhook().render(notice).body)


def sent(notice: Notice, *script: Answer, now: datetime | None = None, **changes: Any) -> tuple[Receipt, HttpFake]:
    with HttpFake(*script) as fake:
        channel = webhook(f"{fake.url}/hook", **changes)
        return channel.send(notice, channel.render(notice), now or datetime.now(UTC)), fake


@pytest.mark.parametrize("secrets", [(OLD,), (NEW,), (OLD, NEW), (NEW, OLD)])
def test_the_reference_library_accepts_every_signature_of_a_rotation(secrets: tuple[str, ...]) -> None:
    receipt, fake = sent(note(stories.deletion()), Answer(204), secrets=secrets)

    assert receipt.outcome is Outcome.ACCEPTED
    (request,) = fake.received
    assert len(request.headers["webhook-signature"].split()) == len(secrets)
    for secret in secrets:
        assert Oracle(secret).verify(request.body, dict(request.headers))["id"] == request.headers["webhook-id"]


def test_the_reference_library_refuses_a_changed_body_and_another_secret() -> None:
    _, fake = sent(note(stories.deletion()), Answer(200))
    (request,) = fake.received

    with pytest.raises(WebhookVerificationError):
        Oracle(NEW).verify(request.body, dict(request.headers))
    with pytest.raises(WebhookVerificationError):
        Oracle(OLD).verify(request.body + b" ", dict(request.headers))


def test_the_signature_is_that_of_the_specifications_own_example() -> None:
    # From the specification's repository: secret, id, time and payload with their signature.
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signature = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_id_is_the_same_at_every_attempt_and_the_time_is_not() -> None:
    notice, began = note(stories.deletion()), datetime.now(UTC)
    channel_answers = [sent(notice, Answer(500), now=began + timedelta(seconds=5 * attempt))[1] for attempt in (0, 1)]
    first, second = (fake.received[0] for fake in channel_answers)

    assert first.headers["webhook-id"] == second.headers["webhook-id"] == notice.id
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 5
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    assert first.body == second.body


def test_the_body_is_a_cloud_event_about_the_customers_key_without_its_id_in_the_subject() -> None:
    found = event(note(stories.deletion()))

    assert found["specversion"] == "1.0"
    assert found["id"] == "KW-1042-1-alarm-on_call"
    assert found["source"] == "/byok-watchdog"
    assert found["type"] == "com.vendor.byok.incident.opened.v1"
    assert found["time"] == "2026-12-01T09:02:12Z"
    assert found["datacontenttype"] == "application/json"
    assert found["subject"].startswith("customer/acme/key/")
    assert stories.ACCOUNT not in found["subject"]
    assert len(found["subject"].rpartition("/")[2]) == 12
    data = found["data"]
    assert data["headline"]["at"] == "2026-12-08T09:00:00Z"
    assert data["headline"]["source"]
    assert data["keys"][0]["steps"][0]["command"] == stories.CANCEL.command
    assert data["keys"][0]["claimed"] != data["keys"][0]["verified"]["words"]


def test_it_goes_out_as_a_structured_cloud_event() -> None:
    _, fake = sent(note(stories.disabled()), Answer(200))

    assert fake.received[0].headers["content-type"] == "application/cloudevents+json; charset=utf-8"


@pytest.mark.parametrize(
    ("story", "kind"),
    [
        (stories.disabled(), "incident.opened"),
        (stories.last_day(), "incident.escalated"),
        (stories.half_repaired(), "incident.progress"),
        (stories.recovering(), "incident.recovering"),
        (stories.resolved(), "incident.resolved"),
        (stories.cleared(), "incident.cleared"),
        (stories.QUARANTINE, "operator"),
    ],
)
def test_the_type_says_what_has_happened_to_the_incident(story: Facts | OperatorFacts, kind: str) -> None:
    assert event_type(note(story)) == kind
    assert event(note(story))["type"] == f"com.vendor.byok.{kind}.v1"


def test_several_keys_have_one_subject_whatever_their_order() -> None:
    facts = stories.several()
    turned = replace(facts, keys=facts.keys[::-1])

    assert subject(note(facts)) == subject(note(turned))
    assert subject(note(facts)).startswith("customer/acme/keys/")


def test_a_storm_of_keys_stays_under_twenty_kilobytes_and_says_what_it_left_out() -> None:
    one = stories.deletion().keys[0]
    keys = tuple(replace(one, id=f"{one.id[:-3]}{number:03x}", name=f"key-{number}") for number in range(200))
    rendered = webhook().render(note(replace(stories.deletion(), keys=keys)))

    assert len(rendered.body) <= BODY_LIMIT
    data = json.loads(rendered.body)["data"]
    assert "of 200 keys" in data["shortened"]
    assert data["headline"]["at"] == "2026-12-08T09:00:00Z"
    assert data["keys"][0]["steps"][0]["command"] == stories.CANCEL.command


def test_nothing_is_called_shortened_when_everything_is_there() -> None:
    assert event(note(stories.several()))["data"]["shortened"] is None


@pytest.mark.parametrize(
    ("answer", "outcome", "reason"),
    [
        (Answer(200), Outcome.ACCEPTED, Reason.NONE),
        (Answer(299), Outcome.ACCEPTED, Reason.NONE),
        (Answer(302, headers={"Location": "http://169.254.169.254/"}), Outcome.PERMANENT, Reason.CLIENT_ERROR),
        (Answer(400), Outcome.PERMANENT, Reason.CLIENT_ERROR),
        (Answer(401), Outcome.PERMANENT, Reason.AUTH_ERROR),
        (Answer(410), Outcome.PERMANENT, Reason.GONE),
        (Answer(408), Outcome.RETRY, Reason.SERVER_ERROR),
        (Answer(425), Outcome.RETRY, Reason.SERVER_ERROR),
        (Answer(429), Outcome.RETRY, Reason.RATE_LIMITED),
        (Answer(504), Outcome.RETRY, Reason.SERVER_ERROR),
        (Answer(hang=True), Outcome.RETRY, Reason.TIMEOUT),
    ],
)
def test_every_answer_has_its_outcome(answer: Answer, outcome: Outcome, reason: Reason) -> None:
    receipt, fake = sent(note(stories.disabled()), answer)

    assert (receipt.outcome, receipt.reason, len(fake.received)) == (outcome, reason, 1)


def test_a_wait_is_taken_from_seconds_and_from_a_date() -> None:
    now = datetime(2026, 12, 1, 9, 3, tzinfo=UTC)
    seconds, _ = sent(note(stories.disabled()), Answer(503, headers={"Retry-After": "30"}), now=now)
    date = Answer(429, headers={"Retry-After": "Tue, 01 Dec 2026 09:08:00 GMT"})
    moment, _ = sent(note(stories.disabled()), date, now=now)

    assert seconds.retry_after == timedelta(seconds=30)
    assert moment.retry_after == timedelta(minutes=5)


def test_a_private_target_is_refused_at_the_connection_unless_it_is_allowed() -> None:
    receipt, fake = sent(note(stories.disabled()), Answer(200), allow_private=False)

    assert (receipt.outcome, receipt.reason) == (Outcome.PERMANENT, Reason.REFUSED)
    assert "allow_private" in receipt.hint
    assert fake.received == []


def test_a_metadata_address_is_refused_even_when_private_targets_are_allowed() -> None:
    channel = webhook("http://169.254.169.254/latest/", allow_private=True, allow_plain_http=True)
    receipt = channel.send(note(stories.disabled()), channel.render(note(stories.disabled())), datetime.now(UTC))

    assert (receipt.outcome, receipt.reason) == (Outcome.PERMANENT, Reason.REFUSED)


def test_a_receiver_with_its_own_authority_is_reached_with_ca_file(certificate: tuple[Path, Path]) -> None:
    notice = note(stories.disabled())
    with HttpFake(tls=server_context(*certificate)) as fake:
        trusting, strict = webhook(fake.url, ca_file=str(certificate[0])), webhook(fake.url)
        good = trusting.send(notice, trusting.render(notice), datetime.now(UTC))
        bad = strict.send(notice, strict.render(notice), datetime.now(UTC))

    assert (good.outcome, bad.outcome, bad.reason) == (Outcome.ACCEPTED, Outcome.RETRY, Reason.CONNECTION)


def test_an_odd_notice_id_becomes_one_that_can_be_signed() -> None:
    odd = note(stories.disabled(), id="a.b\r\nc")

    rendered = webhook().render(odd)
    assert re.fullmatch("[0-9a-f]{64}", rendered.headers["webhook-id"])
    assert rendered.headers["webhook-id"] == event(odd)["id"]


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_!!!", "b2xk", OLD.removeprefix("whsec_"), "whsec_" + "QUFB" * 30]
)
def test_what_is_no_secret_of_the_standard_is_none(secret: str) -> None:
    assert key_of(secret) == b""


def test_a_stage_is_told_in_the_data_not_only_in_the_type() -> None:
    assert event(note(stories.last_day()))["data"]["stage"] == Stage.IRREVERSIBLE_SOON
