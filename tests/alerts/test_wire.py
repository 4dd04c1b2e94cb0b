import logging
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alerts.interface import Outcome, Reason
from alerts.wire import ANSWER_LIMIT, Guard, Limits, NoAnswer, Wire, is_loopback, retry_after, trust, url_fault
from alerts.wire import Answer as Heard
from tests.fakes import Answer, HttpFake, server_context

NOW = datetime(2026, 12, 1, 9, 3, tzinfo=UTC)
QUICK = Limits(connect=1.0, read=0.3, total=0.8)


def wire(**changes: object) -> Wire:
    return Wire(**{"limits": QUICK, **changes})  # type: ignore[arg-type]  # a test may change any field


def heard(answer: Heard | NoAnswer) -> Heard:
    assert isinstance(answer, Heard)
    return answer


def unheard(answer: Heard | NoAnswer) -> NoAnswer:
    assert isinstance(answer, NoAnswer)
    return answer


def test_it_posts_once_and_returns_what_was_said() -> None:
    with HttpFake(Answer(202, b"thanks", {"X-Id": "7"})) as fake:
        answer = heard(wire().post(f"{fake.url}/a/b?c=d", b"hello", {"Content-Type": "text/plain"}))

    assert (answer.status, answer.body, answer.headers["x-id"]) == (202, b"thanks", "7")
    (request,) = fake.received
    assert (request.method, request.path, request.body) == ("POST", "/a/b?c=d", b"hello")
    assert request.headers["content-type"] == "text/plain"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_never_followed(status: int) -> None:
    with HttpFake(Answer(status, b"", {"Location": "http://169.254.169.254/latest/meta-data/"})) as fake:
        assert heard(wire().post(fake.url, b"x", {})).status == status

    assert len(fake.received) == 1


@pytest.mark.parametrize("status", [500, 503, 429, 413])
def test_nothing_is_tried_again_here(status: int) -> None:
    with HttpFake(Answer(status, b"", {"Retry-After": "1"}), Answer(202)) as fake:
        assert heard(wire().post(fake.url, b"x", {})).status == status

    assert len(fake.received) == 1


def test_silence_ends_after_the_read_time_out() -> None:
    with HttpFake(Answer(hang=True)) as fake:
        began = time.monotonic()
        answer = unheard(wire().post(fake.url, b"x", {}))

    assert answer.reason is Reason.TIMEOUT
    assert time.monotonic() - began < 2


def test_a_reset_is_a_broken_connection() -> None:
    with HttpFake(Answer(reset=True)) as fake:
        assert unheard(wire().post(fake.url, b"x", {})).reason is Reason.CONNECTION


def test_a_body_that_drips_cannot_hold_a_worker_and_the_status_counts() -> None:
    # Each byte comes well within the read time-out; only the whole attempt's limit ends it.
    with HttpFake(Answer(202, b"x" * 1000, drip=0.1)) as fake:
        began = time.monotonic()
        answer = heard(wire().post(fake.url, b"x", {}))

    assert answer.status == 202
    assert 1 <= len(answer.body) < 20
    assert time.monotonic() - began < 2


def test_a_body_of_a_megabyte_is_read_only_at_its_beginning() -> None:
    with HttpFake(Answer(400, b"y" * 1_000_000)) as fake:
        answer = heard(wire().post(fake.url, b"x", {}))

    assert answer.body == b"y" * ANSWER_LIMIT
    assert len(answer.excerpt()) < 250


def test_a_packed_body_is_not_unpacked() -> None:
    with HttpFake(Answer(400, b"\x1f\x8b rubbish", {"Content-Encoding": "gzip"})) as fake:
        assert heard(wire().post(fake.url, b"x", {})).body == b"\x1f\x8b rubbish"


def test_nobody_there_is_said_in_our_own_words() -> None:
    with HttpFake() as fake:
        url = fake.url
    answer = unheard(wire().post(f"{url}/secret-path", b"x", {}))

    assert (answer.reason, answer.permanent) == (Reason.CONNECTION, False)
    assert "secret-path" not in answer.words


def test_a_name_that_nobody_knows_may_be_known_later() -> None:
    answer = unheard(wire().post("https://nobody.invalid/", b"x", {}))

    assert (answer.reason, answer.permanent) == (Reason.CONNECTION, False)


def test_neither_path_nor_header_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with HttpFake() as fake, caplog.at_level(logging.DEBUG):
        wire().post(f"{fake.url}/secret-path", b"secret-body", {"X": "secret-header"})

    assert "secret" not in caplog.text


def test_no_thread_is_left_behind() -> None:
    with HttpFake(Answer(hang=True), Answer(202)) as fake:
        wire().post(fake.url, b"x", {})
        wire().post(fake.url, b"x", {})

    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


# ------------------------------------------------------------------------------ TLS


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: tuple[Path, Path]) -> None:
    with HttpFake(tls=server_context(*certificate)) as fake:
        answer = unheard(wire().post(fake.url, b"x", {}))

    assert (answer.reason, fake.received) == (Reason.CONNECTION, [])
    assert "certificate" in answer.words


def test_a_certificate_of_the_named_authority_is_taken(certificate: tuple[Path, Path]) -> None:
    with HttpFake(tls=server_context(*certificate)) as fake:
        assert heard(wire(context=trust(str(certificate[0]))).post(fake.url, b"x", {})).status == 202


def test_a_certificate_for_another_name_is_refused(stranger: tuple[Path, Path]) -> None:
    with HttpFake(tls=server_context(*stranger)) as fake:
        assert isinstance(wire(context=trust(str(stranger[0]))).post(fake.url, b"x", {}), NoAnswer)

    assert fake.received == []


def test_what_is_trusted_is_checked_by_name_and_chain() -> None:
    context = trust()

    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


# ------------------------------------------------------------------------------ addresses

ALWAYS = [
    "169.254.169.254",
    "169.254.1.1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "fd20:ce::254",
    "168.63.129.16",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "0.0.0.0",
    "::",
    "224.0.0.1",
]
PRIVATE = ["127.0.0.1", "::1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd12::1", "::ffff:10.0.0.1"]


@pytest.mark.parametrize("address", ALWAYS)
def test_some_addresses_are_refused_whatever_is_allowed(address: str) -> None:
    assert Guard(allow_private=True, allow_plain=True).objection(address, plain=False)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_need_permission(address: str) -> None:
    assert "private" in Guard(allow_private=False).objection(address, plain=False)
    assert Guard(allow_private=True).objection(address, plain=False) == ""


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1"])
def test_public_addresses_are_fine_with_tls_and_only_with_permission_without(address: str) -> None:
    assert Guard(allow_private=False).objection(address, plain=False) == ""
    assert Guard(allow_private=False).objection(address, plain=True)
    assert Guard(allow_private=False, allow_plain=True).objection(address, plain=True) == ""


def test_the_address_is_judged_where_the_connection_is_made() -> None:
    with HttpFake() as fake:
        port = fake.url.rpartition(":")[2]
        answer = unheard(wire(guard=Guard(allow_private=False)).post(f"http://localhost:{port}/", b"x", {}))

    assert (answer.reason, answer.permanent) == (Reason.REFUSED, True)
    assert fake.received == []
    assert answer.receipt("a hint").outcome is Outcome.PERMANENT


# ------------------------------------------------------------------------------ answers


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("Tue, 01 Dec 2026 09:05:00 GMT", 120),
        ("Tue, 01 Dec 2026 08:00:00 GMT", 0),
        ("Tue, 01 Dec 2026 09:05:00 -0000", 120),
        ("99999999999999999999", 86400),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 86400),
    ],
)
def test_a_far_end_may_say_when_to_come_back(text: str, seconds: int) -> None:
    assert retry_after({"retry-after": text}, NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "-5", "1.5", "\u0661\u0662", "Tue, 99 Foo 2026", "12 12 12"])
def test_what_is_no_time_is_no_time(text: str) -> None:
    assert retry_after({"retry-after": text}, NOW) is None
    assert retry_after({}, NOW) is None


@pytest.mark.parametrize(
    ("status", "outcome", "reason"),
    [
        (400, Outcome.PERMANENT, Reason.CLIENT_ERROR),
        (401, Outcome.PERMANENT, Reason.AUTH_ERROR),
        (403, Outcome.PERMANENT, Reason.AUTH_ERROR),
        (404, Outcome.PERMANENT, Reason.CLIENT_ERROR),
        (410, Outcome.PERMANENT, Reason.GONE),
        (302, Outcome.PERMANENT, Reason.CLIENT_ERROR),
        (408, Outcome.RETRY, Reason.SERVER_ERROR),
        (425, Outcome.RETRY, Reason.SERVER_ERROR),
        (429, Outcome.RETRY, Reason.RATE_LIMITED),
        (500, Outcome.RETRY, Reason.SERVER_ERROR),
        (502, Outcome.RETRY, Reason.SERVER_ERROR),
        (503, Outcome.RETRY, Reason.SERVER_ERROR),
        (504, Outcome.RETRY, Reason.SERVER_ERROR),
    ],
)
def test_a_status_says_whether_to_try_again(status: int, outcome: Outcome, reason: Reason) -> None:
    receipt = Heard(status, {"retry-after": "60"}, b"words").failure(NOW, {0: "a hint"})

    assert (receipt.outcome, receipt.reason, receipt.http_status) == (outcome, reason, status)
    again = outcome is Outcome.RETRY
    assert receipt.retry_after == (timedelta(seconds=60) if again else None)
    assert receipt.hint == ("" if again else "a hint")
    assert receipt.excerpt == "words"


def test_an_answer_is_shown_clean() -> None:
    assert Heard(500, {}, b"\x1b[2Jno\r\nkey abc \xff").excerpt(("abc",)) == "\ufffd[2Jno key [secret] \ufffd"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://hooks.vendor.example/x", ""),
        ("http://127.0.0.1:8080", ""),
        ("http://localhost/x", ""),
        ("http://[::1]:80/", ""),
        ("http://vendor.example", "plain http only to loopback"),
        ("http://127.0.0.1.vendor.example", "plain http only to loopback"),
        ("file:///etc/passwd", "https"),
        ("https:///x", "https"),
        ("vendor.example", "https"),
        ("https://vendor.example:99999/", "https"),
        ("https://[::1", "https"),
    ],
)
def test_a_url_of_the_settings_is_judged_early(url: str, words: str) -> None:
    fault = url_fault(url, allow_plain=False)

    assert (words in fault) if words else fault == ""


def test_loopback_is_known_by_name_and_number() -> None:
    assert [host for host in ("localhost", "127.9.9.9", "::1", "10.0.0.1", "vendor.example") if is_loopback(host)] == [
        "localhost",
        "127.9.9.9",
        "::1",
    ]
