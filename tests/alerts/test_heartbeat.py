import json
from typing import Any

import pytest

from alerts.heartbeat import BODY_LIMIT, KINDS, OPTIONS, Healthchecks, PagerDuty, Url, build
from alerts.interface import Outcome, Reason
from alerts.wire import Limits
from tests.fakes import Answer, HttpFake
from tests.worlds import MINUTE, T0

QUICK = Limits(connect=1, read=0.3, total=0.8)
KEY = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_url_is_asked_by_its_method_and_a_failing_audit_is_told_by_silence(method: str) -> None:
    with HttpFake(Answer(204)) as fake:
        beat = Url(url=f"{fake.url}/beat?id=7", method=method)
        if method != "HEAD":  # the double answers GET and POST
            assert beat.passed("9 checks passed", T0).outcome is Outcome.ACCEPTED
            (request,) = fake.received
            assert (request.method, request.path) == (method, "/beat?id=7")
            assert request.body == (b"9 checks passed" if method == "POST" else b"")
        assert beat.failed(["outbox: late"], T0) is None


def test_healthchecks_gets_a_ping_and_on_failure_the_reasons_at_its_own_end() -> None:
    with HttpFake(Answer(200, body=b"OK"), Answer(200, body=b"OK")) as fake:
        beat = Healthchecks(url=f"{fake.url}/0b6e5c1e-uuid/")
        assert beat.passed("9 checks passed", T0).outcome is Outcome.ACCEPTED
        failed = beat.failed(["outbox: late", "feed trail: last asked\nlong ago"], T0)

    assert failed is not None
    assert failed.outcome is Outcome.ACCEPTED
    assert [(one.method, one.path) for one in fake.received] == [
        ("POST", "/0b6e5c1e-uuid"), ("POST", "/0b6e5c1e-uuid/fail"),
    ]  # fmt: skip
    assert fake.received[1].body == b"outbox: late\nfeed trail: last asked long ago"


@pytest.mark.parametrize("said", [b"OK (not found)", b"OK (rate limited)"])
def test_a_ping_that_healthchecks_did_not_record_is_no_success_although_it_answers_200(said: bytes) -> None:
    with HttpFake(Answer(200, body=said)) as fake:
        receipt = Healthchecks(url=f"{fake.url}/uuid").passed("fine", T0)

    assert receipt.outcome is Outcome.RETRY
    assert said.decode() in receipt.excerpt
    assert "ping URL" in receipt.hint


def test_a_body_is_bounded_and_stays_whole_text() -> None:
    with HttpFake(Answer(200)) as fake:
        Healthchecks(url=f"{fake.url}/uuid").failed(["\N{KEY}" * 500] * 100, T0)

    assert len(fake.received[0].body) <= BODY_LIMIT
    assert fake.received[0].body.decode().endswith(" ...")


def test_pagerduty_gets_a_trigger_of_its_own_for_each_beat_and_silence_for_a_failure() -> None:
    with HttpFake(Answer(202), Answer(202)) as fake:
        beat = PagerDuty(routing_key=KEY, base_url=fake.url)
        assert [Outcome.ACCEPTED] * 2 == [beat.passed("9 checks passed", at).outcome for at in (T0, T0 + MINUTE)]
        assert beat.failed(["outbox: late"], T0) is None

    events: list[Any] = [json.loads(one.body) for one in fake.received]
    assert [one.path for one in fake.received] == ["/v2/enqueue"] * 2
    assert {(event["routing_key"], event["event_action"]) for event in events} == {(KEY, "trigger")}
    assert len({event["dedup_key"] for event in events}) == 2, "the orchestration resolves the one before by its key"
    assert events[0]["payload"]["class"] == "heartbeat"
    assert "2026-12-01 09:00:00 UTC" in events[0]["payload"]["summary"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(404, body=b"nothing here"), Reason.CLIENT_ERROR),
        (Answer(500), Reason.SERVER_ERROR),
        (Answer(302, headers={"Location": "https://elsewhere.example/"}), Reason.CLIENT_ERROR),
        (Answer(200, hang=True), Reason.TIMEOUT),
        (Answer(200, reset=True), Reason.CONNECTION),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_far_end_does_is_a_receipt_and_shows_no_secret(kind: str, answer: Answer, reason: Reason) -> None:
    with HttpFake(answer) as fake:
        place = {"routing_key": KEY, "base_url": fake.url} if kind == "pagerduty" else {"url": f"{fake.url}/{KEY}"}
        receipt = KINDS[kind](limits=QUICK, **place).passed("fine", T0)

    assert receipt.outcome is not Outcome.ACCEPTED
    assert receipt.reason is reason
    assert receipt.hint or answer.status == 500, "the far end is ill by itself"
    assert KEY not in repr(receipt)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("url", {}, "url is missing"),
        ("url", {"url": "http://status.example/x"}, "must be https"),
        ("url", {"url": "https://s.example/x", "method": "DELETE"}, "GET, HEAD, POST"),
        ("url", {"url": "https://s.example/x", "routing_key": "x"}, "routing_key is unknown"),
        ("url", {"url": 7}, "url must be a text"),
        ("healthchecks", {"url": "https://hc.example/uuid/fail"}, "plain ping URL"),
        ("pagerduty", {"routing_key": "not one"}, "letters and digits"),
        ("pagerduty", {"routing_key": KEY, "base_url": "http://events.example"}, "must be https"),
    ],
)
def test_wrong_options_are_refused_in_words(kind: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(kind, options)


def test_every_kind_knows_its_options_and_hides_its_secret() -> None:
    assert KINDS.keys() == OPTIONS.keys()
    assert KEY not in repr(build("pagerduty", {"routing_key": KEY}))
    assert KEY not in repr(build("healthchecks", {"url": f"https://hc.example/{KEY}"}))
    assert KEY not in repr(build("url", {"url": f"https://hc.example/{KEY}"}))
