import unicodedata
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.text import COMMAND_LIMIT, LIMIT, SHORTENED, WITHHELD, ascii_only, clean, clean_command, cleaned, redacted
from tests.alerts import stories
from tests.alerts.hostile import NASTY
from watchdog.repair import Step
from watchdog.words import Owner

NEVER = {"Cc", "Cf", "Cs", "Co", "Cn"}


@pytest.mark.parametrize(
    ("given_text", "shown"),
    [
        ("plain", "plain"),
        ("J\u00f6rg", "J\u00f6rg"),
        ("Jo\u0308rg", "J\u00f6rg"),  # composed
        ("a\r\n\tb", "a b"),
        ("a\u2028b", "a b"),
        ("a\x00b", "a\ufffdb"),
        ("\u202eevil", "\ufffdevil"),
        ("zero\u200bwidth", "zero\ufffdwidth"),
        ("\u200b\u200b\u200b", "\ufffd"),  # a run leaves one mark
        ("\x1b[31mred", "\ufffd[31mred"),
        ("a\ud800b", "a\ufffdb"),
        ("hidden\u3164filler", "hidden\ufffdfiller"),
        ("", ""),
    ],
)
def test_it_drops_what_cannot_be_seen_and_leaves_a_mark(given_text: str, shown: str) -> None:
    assert clean(given_text) == shown


def test_it_says_what_it_cut() -> None:
    assert clean("x" * 10_000) == "x" * LIMIT + SHORTENED
    assert clean("x" * LIMIT) == "x" * LIMIT


@given(st.text(max_size=300))
def test_what_is_clean_is_visible_and_in_one_line_and_stays_so(text: str) -> None:
    once = clean(text)

    assert not [character for character in once if unicodedata.category(character) in NEVER]
    assert once == " ".join(once.split())
    assert clean(once) == once


@given(st.text(max_size=300), st.integers(min_value=2, max_value=90))
def test_a_header_text_is_short_and_printable_ascii(text: str, limit: int) -> None:
    found = ascii_only(text, limit)

    assert len(found) <= limit
    assert all(" " <= character <= "~" for character in found)


def test_accents_are_taken_off_for_a_header() -> None:
    assert ascii_only("Jörg Müller & Söhne", 40) == "Jorg Muller & Sohne"


def test_a_command_is_never_changed() -> None:
    command = "aws  kms enable-key \\\n  --key-id 'a  b'"

    assert clean_command(command) == command


@pytest.mark.parametrize("command", ["rm\x00", "a\u202eb", "a\rb", "a\tb", "a\u00a0b", "x" * (COMMAND_LIMIT + 1), "  "])
def test_a_command_that_cannot_be_copied_safely_is_withheld_whole(command: str) -> None:
    assert clean_command(command) == WITHHELD


def test_a_withheld_command_is_told_apart_from_none() -> None:
    odd = Step(owner=Owner.CUSTOMER, text="do it", command="a\x00b")

    assert cleaned(odd).command == WITHHELD
    assert cleaned(Step(owner=Owner.CUSTOMER, text="do it")).command is None


def test_a_strangers_web_address_does_not_become_a_link_but_ours_does() -> None:
    facts = cleaned(stories.facts(customer_name="Acme http://evil.example www.evil.example"))

    assert facts.customer_name == "Acme http[://]evil.example www[.]evil.example"
    assert facts.verify_url == "https://vendor.example/verify"


@pytest.mark.parametrize("name", NASTY)
def test_clean_facts_hold_nothing_hidden(name: str) -> None:
    found = cleaned(stories.facts(customer_name=NASTY[name], told=(NASTY[name],)))

    assert found.customer_name == clean(found.customer_name)
    assert found.told == (found.customer_name,)


def test_closed_words_and_times_are_left_alone() -> None:
    before = stories.facts()

    after = cleaned(before)
    assert (after.stage, after.at, after.drill, after.turn) == (before.stage, before.at, before.drill, before.turn)
    assert type(after.stage) is type(before.stage)


def test_every_moment_is_utc_also_one_that_has_lost_its_zone() -> None:
    tokyo = datetime(2026, 12, 1, 18, 0, tzinfo=ZoneInfo("Asia/Tokyo"))
    nowhere = datetime(2026, 12, 1, 9, 0)  # noqa: DTZ001 - that is the case
    facts = cleaned(stories.facts(at=tokyo, opened_at=nowhere))

    assert facts.at.isoformat() == facts.opened_at.isoformat() == "2026-12-01T09:00:00+00:00"


def test_a_secret_is_taken_out_of_what_the_far_end_says() -> None:
    assert redacted("no such key abc123, abc123!", ("abc123", "")) == "no such key [secret], [secret]!"
