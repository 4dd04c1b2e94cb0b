import io
import json
from datetime import UTC, datetime

import pytest

from alerts.channels.console import Console
from alerts.interface import Outcome, Reason
from tests.alerts import stories
from tests.alerts.hostile import NASTY, poisoned
from watchdog.notices import Notice, Reader

NOW = datetime(2026, 12, 1, 9, 3, tzinfo=UTC)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(notice: Notice, stream: io.StringIO | None = None, *, as_json: bool = False) -> str:
    stream = stream if stream is not None else io.StringIO()
    console = Console(name="console", json=as_json, stream=stream)
    receipt = console.send(notice, console.render(notice), NOW)
    assert receipt.outcome is Outcome.ACCEPTED
    return stream.getvalue()


@pytest.mark.parametrize("reader", [Reader.ON_CALL, Reader.CUSTOMER, Reader.ACCOUNT])
def test_it_shows_page_and_mail_in_full(reader: Reader) -> None:
    from alerts import letters  # noqa: PLC0415 - the oracle of this one test

    notice = stories.notice(stories.deletion(), reader)

    assert letters.write(notice).text in shown(notice)
    assert letters.write(notice).subject in shown(notice)


def test_it_says_for_whom_the_notice_is() -> None:
    mail = shown(stories.notice(stories.deletion(), Reader.CUSTOMER)).splitlines()
    page = shown(stories.notice(stories.deletion(), Reader.ON_CALL)).splitlines()

    assert mail[1] == "CRITICAL alarm for customer to alice@acme.example"
    assert page[1] == "CRITICAL alarm for on-call"


def test_a_file_gets_no_colours_and_a_terminal_does() -> None:
    notice = stories.notice(stories.deletion(), Reader.ON_CALL)

    assert "\x1b" not in shown(notice)
    assert "\x1b[" in shown(notice, Terminal())


def test_colours_can_be_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    assert "\x1b" not in shown(stories.notice(stories.deletion(), Reader.ON_CALL), Terminal())


def test_a_terminal_shows_the_same_words_as_a_file() -> None:
    import re  # noqa: PLC0415 - used here only

    notice = stories.notice(stories.deletion(), Reader.CUSTOMER)

    assert re.sub(r"\x1b\[[0-9;]*m", "", shown(notice, Terminal())) == shown(notice)


@pytest.mark.parametrize("name", sorted(NASTY))
def test_no_escape_sequence_of_an_outsider_reaches_the_terminal(name: str) -> None:
    notice = stories.notice(poisoned(stories.deletion(), NASTY[name]), Reader.ON_CALL)

    for text in (shown(notice), shown(notice, as_json=True)):
        assert not [character for character in text if ord(character) < 32 and character != "\n"]
        assert "\x9b" not in text
        assert "\u202e" not in text


def test_a_name_in_brackets_is_no_markup_of_the_terminal() -> None:
    notice = stories.notice(stories.facts(customer_name="[red]Acme[/red] [link=x]y"), Reader.ON_CALL)

    assert "[red]Acme[/red] [link=x]y" in shown(notice, Terminal())


def test_json_is_one_line_with_the_facts_and_the_text() -> None:
    notice = stories.notice(stories.deletion(), Reader.CUSTOMER)
    line = shown(notice, as_json=True)

    assert line.count("\n") == 1
    found = json.loads(line)
    assert found["notice"] == notice.id
    assert found["recipient"] == "alice@acme.example"
    assert found["outline"]["headline"]["at"] == "2026-12-08T09:00:00Z"
    assert "aws kms cancel-key-deletion" in found["text"]


def test_a_stream_that_knows_only_ascii_still_shows_the_notice() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    notice = stories.notice(stories.facts(customer_name="Müller"), Reader.ON_CALL)
    console = Console(name="console", stream=stream)

    assert console.send(notice, console.render(notice), NOW).outcome is Outcome.ACCEPTED
    assert rb"M\xfcller" in raw.getvalue()


def test_a_closed_stream_is_a_failure_that_is_told() -> None:
    stream = io.StringIO()
    stream.close()
    notice = stories.notice(stories.deletion(), Reader.ON_CALL)
    console = Console(name="console", stream=stream)

    receipt = console.send(notice, console.render(notice), NOW)
    assert (receipt.outcome, receipt.reason) == (Outcome.RETRY, Reason.CONNECTION)
