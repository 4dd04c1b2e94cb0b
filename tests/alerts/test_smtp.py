from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts.channels.smtp import Smtp
from alerts.envelope import mailbox, word
from alerts.interface import Outcome, Reason, Receipt
from alerts.wire import Limits
from tests.alerts import stories
from tests.fakes import Answer, HttpFake, MailFake, mail_server, server_context
from watchdog.notices import Facts, Notice, OperatorFacts, Person, Reader

NOW = datetime(2026, 12, 1, 9, 3, tzinfo=UTC)
READERS = (Reader.CUSTOMER, Reader.ACCOUNT)


def smtp(port: int = 9, **changes: Any) -> Smtp:
    options = {
        "name": "customer-mail",
        "host": "127.0.0.1",
        "port": port,
        "tls": "none",
        "sender": "Example Vendor Key Alerts <key-alerts@vendor.example>",
        "reply_to": "key-alerts+{incident}@vendor.example",
        "envelope_from": "bounces@vendor.example",
        "domain": "alerts.vendor.example",
        "limits": Limits(connect=1, read=1, total=3),
    }
    return Smtp(**{**options, **changes})


def mail(story: Facts | OperatorFacts, reader: Reader = Reader.CUSTOMER, **changes: object) -> Notice:
    return stories.notice(story, reader, **changes)


def message(notice: Notice, **changes: Any) -> EmailMessage:
    found = message_from_bytes(smtp(**changes).render(notice).body, policy=policy.default)
    assert isinstance(found, EmailMessage)
    assert found.defects == []
    return found


def part(found: EmailMessage, kind: str) -> str:
    body = found.get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def sent(notice: Notice, relay: MailFake, **changes: Any) -> Receipt:
    with mail_server(relay):
        channel = smtp(relay.port, **changes)
        return channel.send(notice, channel.render(notice), NOW)


# ------------------------------------------------------------------------------ what is written


def test_the_headers_are_those_of_a_mail_that_a_machine_wrote_about_an_incident() -> None:
    found = message(mail(stories.deletion()))

    expected = {
        "From": "Example Vendor Key Alerts <key-alerts@vendor.example>",
        "To": "Alice Owner <alice@acme.example>",
        "Reply-To": "key-alerts+KW-1042@vendor.example",
        "Subject": "[Action required] Encryption key scheduled for deletion - acme-prod (KW-1042)",
        "Date": "Tue, 01 Dec 2026 09:02:12 +0000",
        "Message-ID": "<kw-1042-1-alarm-customer@alerts.vendor.example>",
        "In-Reply-To": "<kw-1042@alerts.vendor.example>",
        "References": "<kw-1042@alerts.vendor.example>",
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "X-Byok-Incident": "KW-1042",
        "X-Byok-Stage": "deletion_scheduled",
        "X-Byok-Notice": "KW-1042-1-alarm-customer",
        "Content-Language": "en",
        "MIME-Version": "1.0",
    }
    assert {name: str(value) for name, value in found.items() if name != "Content-Type"} == expected
    assert found.get_content_type() == "multipart/alternative"


def test_plain_text_comes_first_and_html_last() -> None:
    kinds = [piece.get_content_type() for piece in message(mail(stories.deletion())).iter_parts()]

    assert kinds == ["text/plain", "text/html"]


def test_all_mails_of_an_incident_hang_on_one_root_and_each_has_its_own_id() -> None:
    first, second = message(mail(stories.deletion())), message(mail(stories.last_day()))

    assert first["References"] == second["References"]
    assert first["Message-ID"] != second["Message-ID"]
    assert first["Message-ID"] != first["References"]


@pytest.mark.parametrize("story", sorted(stories.INCIDENTS))
def test_only_the_last_day_is_of_high_importance(story: str) -> None:
    urgent = story in {"last_day", "destroyed", "undocumented"}

    assert (message(mail(stories.INCIDENTS[story]()))["Importance"] == "high") is urgent


def test_a_drill_can_be_told_by_a_machine() -> None:
    assert message(mail(stories.drill()))["X-Byok-Drill"] == "yes"
    assert message(mail(stories.disabled()))["X-Byok-Drill"] is None


def test_an_operators_notice_belongs_to_no_incident() -> None:
    operator = Person(name="Ops", email="ops@vendor.example", role="operator")
    found = message(mail(stories.QUARANTINE, Reader.OPERATOR, recipient=operator))

    assert found["References"] is None
    assert found["X-Byok-Incident"] is None
    assert found["Subject"] == "[Key watch] 3 records could not be read"
    assert found["Reply-To"] == "key-alerts+operator@vendor.example"


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("story", sorted(stories.INCIDENTS))
def test_the_bytes_are_ascii_with_short_lines_and_the_same_every_time(story: str, reader: Reader) -> None:
    notice = mail(stories.INCIDENTS[story](), reader)
    body = smtp().render(notice).body

    assert body == smtp().render(notice).body
    assert body.isascii()
    lines = body.split(b"\r\n")
    assert max(map(len, lines)) <= 200
    assert b"\r" not in b"".join(lines)
    assert b"\n" not in b"".join(lines)


def test_what_is_read_back_is_what_was_written() -> None:
    from alerts import letters  # noqa: PLC0415 - the oracle of this one test

    facts = stories.facts(customer_name="Müller & Söhne 株式会社", purpose="From here to there.\nFrom us.")
    notice = mail(facts)
    written, found = letters.write(notice), message(notice)

    assert part(found, "plain") == written.text
    assert part(found, "html") == written.html


def test_a_line_that_begins_with_from_arrives_as_it_was_kept() -> None:
    purpose = "From " * 60
    notice = mail(stories.facts(purpose=purpose))
    body = smtp().render(notice).body

    assert any(line.startswith("From ") for line in part(message(notice), "plain").splitlines())
    assert b"\nFrom " not in body


_SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_SETTINGS
@given(st.text(max_size=120), st.text(max_size=60), st.text(max_size=40))
def test_no_name_can_break_or_add_a_header(person: str, instance: str, notice_id: str) -> None:
    facts = stories.facts(instance=instance, instance_name=instance, customer_name=person)
    someone = Person(name=person, email="alice@acme.example", role="key_owner")
    notice = mail(facts, recipient=someone, id=notice_id or "x")
    found = message(notice)

    usual = {name.lower() for name in message(mail(stories.facts()))}
    assert {name.lower() for name in found} == usual
    subject = str(found["Subject"])
    assert subject.isascii()
    assert subject.isprintable()
    assert len(subject) <= 78
    assert subject.endswith("(KW-1042)")
    assert [address.addr_spec for address in found["To"].addresses] == ["alice@acme.example"]
    assert part(found, "plain")


@pytest.mark.parametrize(
    ("name", "address", "written"),
    [
        ("Alice", "a@x.example", "Alice <a@x.example>"),
        ("Müller, Jörg", "a@x.example", "=?utf-8?b?TcO8bGxlciwgSsO2cmc=?= <a@x.example>"),
        ('A "B" <c@d>', "a@x.example", '"A \\"B\\" <c@d>" <a@x.example>'),
        ("長" * 60, "a@x.example", "a@x.example"),
        ("", "a@x.example", "a@x.example"),
    ],
)
def test_a_name_is_written_so_that_no_line_ever_folds(name: str, address: str, written: str) -> None:
    assert mailbox(name, address) == written


def test_an_odd_id_becomes_one_that_a_header_may_carry() -> None:
    assert word("KW-1042") == "KW-1042"
    assert word("a b\r\n") != word("a b\r")
    assert word("a b\r\n").isalnum()


# ------------------------------------------------------------------------------ how it is sent


def test_the_relays_own_answer_is_kept_as_proof() -> None:
    relay = MailFake()
    receipt = sent(mail(stories.deletion()), relay)

    assert receipt.outcome is Outcome.ACCEPTED
    assert receipt.provider_id == "2.0.0 Ok: queued as 0001"
    assert relay.sender == "bounces@vendor.example"
    assert relay.recipients == ("alice@acme.example",)


def test_the_bytes_that_arrive_are_the_bytes_that_are_kept() -> None:
    relay = MailFake()
    dots = ("." * 3, ".", "..leading")
    notice = mail(stories.facts(holds=dots, told=dots, purpose=".\n.\n."))
    sent(notice, relay)

    (arrived,) = relay.mails
    assert arrived == smtp().render(notice).body


@pytest.mark.parametrize(
    ("answers", "outcome", "reason"),
    [
        ({"on_mail": "451 4.3.0 try later"}, Outcome.RETRY, Reason.SERVER_ERROR),
        ({"on_mail": "550 5.7.1 not you"}, Outcome.PERMANENT, Reason.CLIENT_ERROR),
        ({"on_rcpt": "450 4.2.1 greylisted"}, Outcome.RETRY, Reason.SERVER_ERROR),
        ({"on_rcpt": "550 5.1.1 no such user"}, Outcome.PERMANENT, Reason.REFUSED),
        ({"on_data": "452 4.3.1 no room"}, Outcome.RETRY, Reason.SERVER_ERROR),
        ({"on_data": "554 5.6.0 looks like spam"}, Outcome.PERMANENT, Reason.CLIENT_ERROR),
    ],
)
def test_four_hundreds_are_tried_again_and_five_hundreds_are_for_a_person(
    answers: dict[str, Any], outcome: Outcome, reason: Reason
) -> None:
    receipt = sent(mail(stories.disabled()), MailFake(**answers))

    assert (receipt.outcome, receipt.reason) == (outcome, reason)
    assert next(iter(answers.values())) in receipt.excerpt
    assert receipt.hint


def test_a_mail_that_is_too_large_is_for_a_person() -> None:
    huge = stories.facts(told=tuple(f"{number} " + "x" * 580 for number in range(1200)))
    receipt = sent(mail(huge, Reader.ACCOUNT), MailFake())

    assert receipt.outcome is Outcome.PERMANENT
    assert receipt.excerpt.startswith("552")


def test_nobody_there_is_tried_again() -> None:
    channel = smtp(9)
    receipt = channel.send(mail(stories.disabled()), channel.render(mail(stories.disabled())), NOW)

    assert (receipt.outcome, receipt.reason) == (Outcome.RETRY, Reason.CONNECTION)
    assert receipt.hint


def test_a_relay_that_is_silent_is_tried_again_within_the_time_out() -> None:
    with HttpFake(Answer(hang=True)) as fake:  # a server that waits for us to speak first, as no relay does
        channel = smtp(int(fake.url.rpartition(":")[2]), limits=Limits(connect=1, read=0.2, total=0.5))
        receipt = channel.send(mail(stories.disabled()), channel.render(mail(stories.disabled())), NOW)

    assert (receipt.outcome, receipt.reason) == (Outcome.RETRY, Reason.TIMEOUT)


@pytest.mark.parametrize(
    "email", ["", "no-at", "a@x.example\r\nRCPT TO:<b@x.example>", "jörg@acme.example", "a b@x.example"]
)
def test_an_address_that_plain_mail_cannot_carry_is_for_a_person(email: str) -> None:
    relay = MailFake()
    someone = Person(name="A", email=email, role="key_owner")
    receipt = sent(mail(stories.disabled(), recipient=someone), relay)

    assert (receipt.outcome, relay.mails) == (Outcome.PERMANENT, [])
    assert "register" in receipt.hint


# ------------------------------------------------------------------------------ security


def secured(relay: MailFake, certificate: tuple[Path, Path], *, implicit: bool, **changes: Any) -> Receipt:
    with mail_server(relay, tls=server_context(*certificate), implicit=implicit):
        channel = smtp(relay.port, tls="implicit" if implicit else "starttls", **changes)
        return channel.send(mail(stories.disabled()), channel.render(mail(stories.disabled())), NOW)


@pytest.mark.parametrize("implicit", [False, True])
def test_tls_is_spoken_and_verified(implicit: bool, certificate: tuple[Path, Path]) -> None:
    relay = MailFake()
    receipt = secured(relay, certificate, implicit=implicit, ca_file=str(certificate[0]))

    assert (receipt.outcome, len(relay.mails)) == (Outcome.ACCEPTED, 1)


@pytest.mark.parametrize("implicit", [False, True])
def test_a_relay_that_nobody_vouches_for_gets_no_mail(implicit: bool, certificate: tuple[Path, Path]) -> None:
    relay = MailFake()
    receipt = secured(relay, certificate, implicit=implicit)

    assert (receipt.outcome, receipt.reason, relay.mails) == (Outcome.RETRY, Reason.CONNECTION, [])
    assert "ca_file" in receipt.hint


def test_a_relay_without_starttls_gets_no_mail_in_the_clear() -> None:
    relay = MailFake()
    receipt = sent(mail(stories.disabled()), relay, tls="starttls")

    assert (receipt.outcome, relay.mails) == (Outcome.PERMANENT, [])


def test_a_login_is_made_where_one_is_set(certificate: tuple[Path, Path]) -> None:
    relay = MailFake()
    options = {"tls": "starttls", "ca_file": str(certificate[0]), "username": "relay"}
    with mail_server(relay, tls=server_context(*certificate), login=("relay", "right")):
        good, bad = (smtp(relay.port, password=password, **options) for password in ("right", "wrong"))
        notice = mail(stories.disabled())
        accepted = good.send(notice, good.render(notice), NOW)
        refused = bad.send(notice, bad.render(notice), NOW)

    assert (accepted.outcome, len(relay.mails)) == (Outcome.ACCEPTED, 1)
    assert (refused.outcome, refused.reason) == (Outcome.PERMANENT, Reason.AUTH_ERROR)
    assert "password" in refused.hint
    assert "wrong" not in repr(refused)


def test_a_relay_elsewhere_is_never_spoken_to_in_the_clear_by_accident() -> None:
    with pytest.raises(ValueError, match="loopback"):
        smtp(host="relay.vendor.example")

    assert smtp(host="relay.vendor.example", allow_plain=True).tls == "none"
