import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alerts.channels.pagerduty import DEDUP_LIMIT, PagerDuty, dedup_key
from alerts.interface import Outcome, Reason, Receipt
from alerts.wire import Limits
from tests.alerts import stories
from tests.fakes import Answer, HttpFake
from watchdog.notices import Facts, Kind, Notice, OperatorFacts, Reader

NOW = datetime(2026, 12, 1, 9, 3, tzinfo=UTC)
KEY = "0123456789abcdef0123456789abcdef"
PROCESSED = Answer(202, b'{"status":"success","message":"Event processed","dedup_key":"byok:KW-1042:x"}')


def pagerduty(url: str = "http://127.0.0.1:9", **changes: Any) -> PagerDuty:
    options = {
        "name": "on-call",
        "routing_key": KEY,
        "base_url": url,
        "runbook_base": "https://runbooks.vendor.example/keys/",
        "status_url": "https://status.vendor.example/",
        "limits": Limits(connect=1, read=0.3, total=0.8),
    }
    return PagerDuty(**{**options, **changes})


def page(story: Facts | OperatorFacts, **changes: object) -> Notice:
    reader = Reader.ON_CALL if isinstance(story, Facts) else Reader.OPERATOR
    return stories.notice(story, reader, **changes)


def event(notice: Notice) -> Any:
    return json.loads(pagerduty().render(notice).body)


def sent(notice: Notice, *script: Answer) -> tuple[Receipt, HttpFake]:
    with HttpFake(*script) as fake:
        channel = pagerduty(fake.url)
        return channel.send(notice, channel.render(notice), NOW), fake


def test_a_loss_triggers_an_alert_of_its_own_stage() -> None:
    receipt, fake = sent(page(stories.deletion()), PROCESSED)

    assert (receipt.outcome, receipt.http_status) == (Outcome.ACCEPTED, 202)
    assert receipt.provider_id == "byok:KW-1042:deletion_scheduled:1"
    (request,) = fake.received
    assert (request.path, request.headers["content-type"]) == ("/v2/enqueue", "application/json")
    body = json.loads(request.body)
    assert body["routing_key"] == KEY
    assert body["event_action"] == "trigger"
    assert body["dedup_key"] == "byok:KW-1042:deletion_scheduled:1"
    assert body["client"] == "byok-watchdog"
    assert body["payload"]["severity"] == "critical"
    assert body["payload"]["source"] == "acme/acme-prod"
    assert body["payload"]["timestamp"] == "2026-12-01T09:02:12Z"
    assert body["links"] == [
        {"href": "https://runbooks.vendor.example/keys/alarm/deletion_scheduled", "text": "Runbook"},
        {"href": "https://status.vendor.example/", "text": "Status page"},
    ]


def test_what_is_kept_is_what_was_sent_but_for_the_routing_key() -> None:
    notice = page(stories.deletion())
    _, fake = sent(notice, PROCESSED)

    on_the_wire = json.loads(fake.received[0].body)
    assert on_the_wire.pop("routing_key") == KEY
    assert on_the_wire == event(notice)
    assert KEY.encode() not in pagerduty().render(notice).body


@pytest.mark.parametrize("story", [stories.resolved, stories.cleared])
def test_a_way_out_resolves_exactly_the_alert_that_the_notice_names(story: Any) -> None:
    found = event(page(story(), dedup="KW-1042:impaired:1"))

    assert found == {"event_action": "resolve", "dedup_key": "byok:KW-1042:impaired:1"}


def test_a_recovery_that_is_not_proven_pages_nobody() -> None:
    receipt, fake = sent(page(stories.recovering()), PROCESSED)

    assert receipt.outcome is Outcome.ACCEPTED
    (request,) = fake.received
    assert request.path == "/v2/change/enqueue"
    body = json.loads(request.body)
    assert set(body) == {"routing_key", "payload", "links"}
    assert set(body["payload"]) == {"summary", "source", "timestamp", "custom_details"}


def test_half_a_repair_and_an_operators_notice_page_too() -> None:
    assert event(page(stories.half_repaired()))["event_action"] == "trigger"
    operator = event(page(stories.QUARANTINE))
    assert operator["event_action"] == "trigger"
    assert operator["payload"]["severity"] == "error"
    assert operator["payload"]["custom_details"]["WHAT TO DO"] == stories.QUARANTINE.next
    assert operator["links"][0]["href"] == "https://runbooks.vendor.example/keys/operator"


def test_holds_come_first_and_nothing_that_on_call_needs_is_missing() -> None:
    details = event(page(stories.deletion()))["payload"]["custom_details"]

    assert next(iter(details)) == min(details) == "HOLDS FIRST"
    assert details["HOLDS FIRST"] == list(stories.HOLDS)
    assert "2026-12-08 09:00 UTC" in details["final deadline"]
    assert "source: the event's deletionDate" in details["final deadline"]
    assert "2026-12-08 11:00 UTC" in details["second deadline"]
    assert details["fault"] == "customer"
    name = f"acme-prod-data ({stories.KEY})"
    assert details["claimed by events"] == {name: "ScheduleKeyDeletion succeeded (since 2026-12-01 09:00 UTC)"}
    assert details["verified by us"][name].startswith("failed at 2026-12-01 09:01 UTC")
    assert str(stories.CANCEL.command) in "".join(details["steps of the customer"])
    assert str(stories.START.command) in "".join(details["steps that follow"])
    assert details["customer notice"][0].startswith("customer: e-mail to 2 contacts")
    assert any("not before 2026-12-01 11:00 UTC" in line for line in details["stores"])


def test_links_are_left_out_where_none_are_set() -> None:
    channel = pagerduty(runbook_base="", status_url="")
    found = json.loads(channel.render(page(stories.disabled())).body)

    assert found["links"] == []
    assert "client_url" not in found


def test_a_long_name_never_costs_the_deadline_or_the_incident() -> None:
    facts = replace(stories.deletion(), customer_name="n" * 5000, instance="i" * 5000)
    summary = event(page(facts))["payload"]["summary"]

    assert len(summary) <= 1024
    assert "2026-12-08 09:00 UTC" in summary
    assert "KW-1042" in summary


def test_a_storm_of_keys_is_shortened_visibly_and_keeps_deadline_and_command() -> None:
    one = stories.deletion().keys[0]
    keys = tuple(
        replace(one, id=f"{one.id[:-4]}{number:04x}", name=f"key-{number} " + "n" * 500, claimed="c" * 590)
        for number in range(2000)
    )
    rendered = pagerduty().render(page(replace(stories.deletion(), keys=keys)))

    assert len(rendered.body) + 50 < 512_000
    details = json.loads(rendered.body)["payload"]["custom_details"]
    assert "of 2000 keys" in details["shortened"]
    assert "2026-12-08 09:00 UTC" in details["final deadline"]
    assert str(stories.CANCEL.command) in "".join(details["steps of the customer"])


def test_a_dedup_key_that_is_too_long_stays_one_of_its_own() -> None:
    long, other = (page(stories.disabled(), dedup="d" * 400 + end) for end in "ab")

    assert len(dedup_key(long)) <= DEDUP_LIMIT
    assert dedup_key(long) != dedup_key(other)
    assert dedup_key(long).startswith("byok:ddd")


@pytest.mark.parametrize(
    ("answer", "outcome", "reason"),
    [
        (Answer(400, b'{"status":"invalid event"}'), Outcome.PERMANENT, Reason.CLIENT_ERROR),
        (Answer(401), Outcome.PERMANENT, Reason.AUTH_ERROR),
        (Answer(403), Outcome.PERMANENT, Reason.AUTH_ERROR),
        (Answer(404), Outcome.PERMANENT, Reason.CLIENT_ERROR),
        (Answer(410), Outcome.PERMANENT, Reason.GONE),
        (Answer(200), Outcome.PERMANENT, Reason.CLIENT_ERROR),  # not PagerDuty: a proxy's page that says "OK"
        (Answer(302, headers={"Location": "https://x.example"}), Outcome.PERMANENT, Reason.CLIENT_ERROR),
        (Answer(429), Outcome.RETRY, Reason.RATE_LIMITED),
        (Answer(500), Outcome.RETRY, Reason.SERVER_ERROR),
        (Answer(503), Outcome.RETRY, Reason.SERVER_ERROR),
        (Answer(hang=True), Outcome.RETRY, Reason.TIMEOUT),
        (Answer(reset=True), Outcome.RETRY, Reason.CONNECTION),
    ],
)
def test_every_answer_has_its_outcome_and_a_permanent_one_its_hint(
    answer: Answer, outcome: Outcome, reason: Reason
) -> None:
    receipt, fake = sent(page(stories.disabled()), answer)

    assert (receipt.outcome, receipt.reason) == (outcome, reason)
    assert len(fake.received) == 1
    assert receipt.hint or outcome is Outcome.RETRY


def test_a_wait_that_pagerduty_asks_for_is_passed_on() -> None:
    receipt, _ = sent(page(stories.disabled()), Answer(429, headers={"Retry-After": "42"}))

    assert receipt.retry_after == timedelta(seconds=42)


def test_a_failing_text_still_pages_and_tells_the_operator() -> None:
    facts = stories.deletion()
    broken = replace(facts, keys=tuple(replace(key, exception=5) for key in facts.keys))  # type: ignore[arg-type]  # breaks the promise on purpose
    notice = replace(page(broken), kind=Kind.ALARM)
    receipt, fake = sent(notice, PROCESSED)

    assert receipt.outcome is Outcome.ACCEPTED
    assert "2026-12-08 09:00 UTC" in fake.received[0].body.decode()
