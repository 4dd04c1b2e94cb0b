"""The contract of a channel: one suite over every channel that there is. A new channel is tested by its line here."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from io import StringIO
from pathlib import Path

import pytest

from alerts.channels import CHANNELS, OptionError, build, options_of
from alerts.channels.console import Console
from alerts.channels.pagerduty import PagerDuty
from alerts.channels.smtp import Smtp
from alerts.channels.webhook import Webhook
from alerts.interface import Channel, Outcome, Rendered
from tests.alerts import stories
from tests.alerts.hostile import hostile_facts, hostile_operator, odd_facts
from tests.fakes import Answer, HttpFake, MailFake, mail_server, server_context
from watchdog.notices import Facts, Kind, Notice, OperatorFacts, Reader

NOW = datetime(2026, 12, 1, 9, 3, tzinfo=UTC)
ROUTING_KEY = "0123456789abcdef0123456789abcdef"
SECRET = "whsec_c2VjcmV0LXRoYXQtbm9ib2R5LW1heS1zZWU="
PASSWORD = "correct-horse-battery"
PATH_SECRET = "t0psecret-path"
SECRETS = (ROUTING_KEY, SECRET, SECRET.removeprefix("whsec_"), PASSWORD, PATH_SECRET)

MAIL: Mapping[str, object] = {"sender": "Example Vendor <key-alerts@vendor.example>", "domain": "alerts.vendor.example"}
OPTIONS: Mapping[str, Mapping[str, object]] = {
    "pagerduty": {"routing_key": ROUTING_KEY, "base_url": "http://127.0.0.1:9"},
    "smtp": {**MAIL, "host": "127.0.0.1", "port": 9, "tls": "none", "username": "relay", "password": PASSWORD},
    "webhook": {
        "url": f"http://127.0.0.1:9/{PATH_SECRET}",
        "secrets": [SECRET],
        "type_prefix": "com.vendor.byok",
        "allow_private": True,
    },
    "console": {},
}
NAMES = sorted(CHANNELS)


def channel(name: str) -> Channel:
    return build(name, f"the {name}", OPTIONS[name])


def text_of(name: str, rendered: Rendered) -> str:
    """The words that a reader of this channel gets."""
    if name == "smtp":
        part = message_from_bytes(rendered.body, policy=policy.default).get_body(("plain",))
        assert part is not None
        return str(part.get_content())
    if name == "console":
        return rendered.body.decode()
    return json.dumps(json.loads(rendered.body), ensure_ascii=False)


def test_every_channel_is_in_this_suite() -> None:
    assert OPTIONS.keys() == CHANNELS.keys()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reader", [Reader.ON_CALL, Reader.CUSTOMER, Reader.ACCOUNT, Reader.OPERATOR])
@pytest.mark.parametrize("story", sorted(stories.INCIDENTS))
def test_every_story_renders_for_every_reader_and_twice_the_same(name: str, reader: Reader, story: str) -> None:
    notice = stories.notice(stories.INCIDENTS[story](), reader)

    once = channel(name).render(notice)
    assert once.body
    assert "short-form" not in once.headers
    assert channel(name).render(notice) == once


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("label", "facts"), [*hostile_facts(), *odd_facts()])
def test_hostile_facts_render_and_still_say_when_and_which(name: str, label: str, facts: Facts) -> None:
    rendered = channel(name).render(stories.notice(facts, Reader.CUSTOMER))
    text = text_of(name, rendered)

    assert "KW-1042" in text, label
    if facts.headline is not None and facts.kind is not Kind.RESOLVED and facts.headline.at is not None:
        at = facts.headline.at if facts.headline.at.tzinfo is None else facts.headline.at.astimezone(UTC)
        assert f"{at:%Y-%m-%d %H:%M}" in text or f"{at:%Y-%m-%dT%H:%M}" in text
        commands = {step.command for key in facts.keys[:1] for step in key.steps if step.command}
        assert {
            command for command in commands if json.dumps(command)[1:-1] not in text and command not in text
        } == set()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("label", "facts"), list(hostile_operator()))
def test_hostile_operator_facts_render(name: str, label: str, facts: OperatorFacts) -> None:
    rendered = channel(name).render(stories.notice(facts, Reader.OPERATOR, id=f"op {label}\r\nX-Evil: y"))

    assert rendered.body
    assert "\n" not in rendered.subject
    assert b"X-Evil" not in rendered.body.partition(b"\r\n\r\n")[0] or name != "smtp"
    assert not [value for value in rendered.headers.values() if "\n" in value]


@pytest.mark.parametrize("name", NAMES)
def test_a_text_that_fails_leaves_as_its_short_form_and_says_so(name: str) -> None:
    facts = stories.deletion()
    broken = replace(facts, keys=tuple(replace(key, claimed=None) for key in facts.keys))  # type: ignore[arg-type]  # breaks the promise on purpose
    if name in {"pagerduty", "webhook"}:
        broken = replace(facts, holds=(None, *facts.holds))  # type: ignore[arg-type]  # the same
    rendered = channel(name).render(stories.notice(broken, Reader.ON_CALL))

    assert "KW-1042" in text_of(name, rendered)


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_is_in_what_is_rendered_or_in_the_channels_own_words(name: str) -> None:
    made = channel(name)
    rendered = made.render(stories.notice(stories.deletion(), Reader.CUSTOMER))

    seen = rendered.body.decode() + repr(rendered) + repr(made) + str(made)
    assert [secret for secret in SECRETS if secret in seen] == []


@pytest.mark.parametrize("name", ["pagerduty", "smtp", "webhook"])
def test_no_secret_is_in_a_receipt_or_a_log_when_nobody_answers(name: str, caplog: pytest.LogCaptureFixture) -> None:
    made = channel(name)
    notice = stories.notice(stories.deletion(), Reader.CUSTOMER)
    with caplog.at_level(logging.DEBUG):
        receipt = made.send(notice, made.render(notice), NOW)

    assert receipt.outcome is Outcome.RETRY
    assert receipt.hint
    assert [secret for secret in SECRETS if secret in repr(receipt) + caplog.text] == []


@contextmanager
def parrot(certificate: tuple[Path, Path]) -> Iterator[dict[str, Channel]]:
    """Far ends that say back whatever secret they were told."""
    echo = " ".join(SECRETS).encode()
    script = (Answer(400, echo), Answer(500, echo), Answer(401, echo), Answer(202, echo))
    relay = MailFake(on_data=f"554 no {PASSWORD}")
    tls = server_context(*certificate)
    with HttpFake(*script) as fake, mail_server(relay, tls=tls, login=("relay", PASSWORD)):
        secure = {"port": relay.port, "tls": "starttls", "ca_file": str(certificate[0])}
        yield {
            "pagerduty": build("pagerduty", "p", {**OPTIONS["pagerduty"], "base_url": fake.url}),
            "webhook": build("webhook", "w", {**OPTIONS["webhook"], "url": f"{fake.url}/{PATH_SECRET}"}),
            "smtp": build("smtp", "s", {**OPTIONS["smtp"], **secure}),
        }


@pytest.mark.parametrize("name", ["pagerduty", "smtp", "webhook"])
def test_a_far_end_that_repeats_our_own_secret_does_not_get_it_into_receipt_or_log(
    name: str, caplog: pytest.LogCaptureFixture, certificate: tuple[Path, Path]
) -> None:
    own = {"pagerduty": (ROUTING_KEY,), "webhook": (SECRET, f"/{PATH_SECRET}"), "smtp": (PASSWORD,)}[name]
    with parrot(certificate) as channels, caplog.at_level(logging.DEBUG):
        made = channels[name]
        notice = stories.notice(stories.deletion(), Reader.CUSTOMER)
        receipts = [made.send(notice, made.render(notice), NOW) for _ in range(4)]

    assert [secret for secret in own if secret in repr(receipts)] == []
    # The mail server logs in this very process; only what our own side and its libraries say counts.
    ours = "".join(record.getMessage() for record in caplog.records if not record.name.startswith("mail."))
    assert [secret for secret in own if secret in ours] == []


def test_a_closing_of_a_page_is_never_mailed() -> None:
    made = channel("smtp")
    notice = stories.notice(stories.cleared(), Reader.ACCOUNT)

    receipt = made.send(notice, made.render(notice), NOW)
    assert (receipt.outcome, bool(receipt.excerpt)) == (Outcome.SUPPRESSED, True)


# ------------------------------------------------------------------------------------------------------------- building


def test_every_fault_of_the_options_is_told_at_once_with_what_is_valid() -> None:
    with pytest.raises(OptionError) as caught:
        build("smtp", "customer-mail", {"hots": "x", "port": "25", "tls": True, "password": PASSWORD})

    said = str(caught.value)
    for part in ('"customer-mail"', 'unknown option "hots"', '"host" is missing', '"sender" is missing'):
        assert part in said
    assert '"port" must be a whole number' in said
    assert '"tls" must be a text' in said
    assert "host (required), sender (required), port, tls" in said
    assert PASSWORD not in said


def test_true_is_not_a_number() -> None:
    with pytest.raises(OptionError, match='"port" must be a whole number'):
        build("smtp", "x", {**OPTIONS["smtp"], "port": True})


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("pigeon", {}, "the kinds are pagerduty, smtp, webhook, console"),
        ("pagerduty", {"routing_key": "not a key!"}, "routing_key must be"),
        ("pagerduty", {"routing_key": "a", "base_url": "http://events.vendor.example"}, "base_url must be https"),
        ("pagerduty", {"routing_key": "a", "base_url": "ftp://x"}, "base_url must be an https"),
        ("webhook", {**OPTIONS["webhook"], "url": "https://u:p@x.example/"}, "must not carry a user name"),
        ("webhook", {**OPTIONS["webhook"], "url": "https://"}, "url must be an https"),
        ("webhook", {**OPTIONS["webhook"], "secrets": []}, "secrets must be"),
        ("webhook", {**OPTIONS["webhook"], "secrets": ["whsec_c2hvcnQ="]}, "24 to 64 bytes"),
        ("webhook", {**OPTIONS["webhook"], "secrets": [1]}, "must be a list of texts"),
        ("webhook", {**OPTIONS["webhook"], "type_prefix": "Byok"}, "type_prefix must be"),
        ("smtp", {**OPTIONS["smtp"], "host": "relay.vendor.example"}, "for loopback only"),
        ("smtp", {**OPTIONS["smtp"], "tls": "ssl"}, "tls must be"),
        ("smtp", {**OPTIONS["smtp"], "sender": "nobody"}, "sender must be"),
        ("smtp", {**OPTIONS["smtp"], "sender": "A <a@x.example>\r\nBcc: b@x.example"}, "sender must be"),
        ("smtp", {**OPTIONS["smtp"], "reply_to": "a@x.example\r\nBcc: b@x.example"}, "reply_to must be"),
        ("smtp", {**OPTIONS["smtp"], "domain": "x y"}, "domain must be"),
        ("console", {"json": "yes"}, "must be true or false"),
        ("console", {"stream": "x"}, "unknown option"),
    ],
)
def test_a_bad_option_is_refused_with_words_for_a_person(kind: str, options: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match="channel") as caught:
        build(kind, "mine", options)

    assert words in str(caught.value)
    assert not [secret for secret in SECRETS if secret in str(caught.value)]


@pytest.mark.parametrize("made", [PagerDuty, Smtp, Webhook, Console])
def test_every_option_has_a_type_that_can_be_checked(made: type) -> None:
    for option, field in options_of(made).items():
        assert field.type in {str, int, bool, tuple[str, ...]}, option


def test_options_are_given_as_a_settings_file_gives_them() -> None:
    made = build("webhook", "hook", {**OPTIONS["webhook"], "secrets": [SECRET, SECRET]})

    assert isinstance(made, Webhook)
    assert made.secrets == (SECRET, SECRET)
    assert made.name == "hook"


def notice(reader: Reader = Reader.ON_CALL) -> Notice:
    return stories.notice(stories.deletion(), reader)


def test_the_console_takes_a_stream() -> None:
    stream = StringIO()
    console = Console(name="here", stream=stream)

    assert console.send(notice(), console.render(notice()), NOW).outcome is Outcome.ACCEPTED
    assert "KW-1042" in stream.getvalue()


def test_naming_the_channels_loads_none_of_what_they_need() -> None:
    heavy = ("jinja2", "urllib3", "smtplib", "rich")
    code = f"import sys, alerts.channels; print([name for name in {heavy!r} if name in sys.modules])"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
