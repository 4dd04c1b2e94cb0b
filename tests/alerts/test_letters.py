import ast
import html as entities
import inspect
import re
import textwrap
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import StrictUndefined

from alerts import letters, views
from alerts.letters import FALLBACK, SUBJECT_LIMIT, TEXTS, subject_line
from tests.alerts import stories
from tests.alerts.hostile import hostile_facts, hostile_operator, odd_facts
from watchdog import incidents
from watchdog.clouds import CLOUDS
from watchdog.notices import Deadline, Facts, Kind, Notice, OperatorFacts, Person, Reader
from watchdog.words import LOSS, RISK, Effect, Fault, Stage, Verdict

NEXT = re.compile(r"what to do|do now|nothing else for you to do|what to change|please", re.IGNORECASE)
READERS = (Reader.ON_CALL, Reader.CUSTOMER, Reader.ACCOUNT)
ALL = [(name, reader) for name in stories.INCIDENTS for reader in READERS]


def letter(story: str, reader: Reader, **changes: object) -> letters.Letter:
    return letters.write(stories.notice(stories.INCIDENTS[story](), reader, **changes))


class Reading(HTMLParser):
    """The words of a page as a reader meets them, and its tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._skipped = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._skipped += tag in {"style", "title"}

    def handle_endtag(self, tag: str) -> None:
        self._skipped -= tag in {"style", "title"}

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.words.append(data)


def bare(text: str) -> str:
    """Text without blanks, bullets, rules and case: headings are capitals in the plain text."""
    return re.sub(r"[\s\u2022-]", "", text).casefold()


def sources(facts: Facts) -> set[str]:
    return {
        deadline.source
        for deadline in (facts.headline, facts.second, facts.next_impact)
        if deadline is not None and (deadline is not facts.next_impact or (deadline.at and deadline.at > facts.at))
    }


def flat(text: str) -> str:
    return " ".join(text.split())


# ------------------------------------------------------------------------------------------------- what every text says


@pytest.mark.parametrize(("story", "reader"), ALL)
def test_html_carries_the_same_sentences_as_the_plain_text(story: str, reader: Reader) -> None:
    found = letter(story, reader)

    assert bare("".join(Reading(found.html).words)) == bare(found.text)


@pytest.mark.parametrize(("story", "reader"), ALL)
def test_every_text_names_the_incident_and_says_what_to_do_next(story: str, reader: Reader) -> None:
    found = letter(story, reader)

    assert "KW-1042" in found.subject
    assert "KW-1042" in found.text
    assert NEXT.search(found.text)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("story", ["disabled", "deletion", "last_day", "half_repaired", "undocumented", "several"])
def test_every_deadline_is_printed_with_its_source(story: str, reader: Reader) -> None:
    facts = stories.INCIDENTS[story]()
    found = letter(story, reader)

    assert sources(facts)
    for source in sources(facts):
        assert source.casefold() in flat(found.text).casefold()
    assert flat(found.text).count("Source:") >= len(sources(facts))


@pytest.mark.parametrize("reader", [Reader.CUSTOMER, Reader.ON_CALL, Reader.ACCOUNT])
@pytest.mark.parametrize("story", ["disabled", "deletion", "half_repaired", "split", "expiry", "several"])
def test_every_command_stands_whole_in_a_line_of_its_own(story: str, reader: Reader) -> None:
    facts = stories.INCIDENTS[story]()
    found = letter(story, reader)
    commands = {step.command for key in facts.keys for step in key.steps if step.command}

    assert commands
    lines = set(found.text.splitlines())
    assert {f"    {command}" for command in commands} <= lines
    pre = re.findall(r"<pre[^>]*>(.*?)</pre>", found.html, re.DOTALL)
    assert commands <= {entities.unescape(command) for command in pre}


def test_the_state_stands_in_the_first_line_and_the_customer_can_act_without_any_link() -> None:
    found = letter("deletion", Reader.CUSTOMER)

    first = flat(found.text.split("\n\n")[0])
    assert first.startswith('ACTION REQUIRED: the encryption key "acme-prod-data" in your AWS account 444455556666')
    assert "was scheduled for deletion on 2026-12-01 09:00 UTC" in first
    assert "<a " not in found.html
    assert "aws kms cancel-key-deletion" in found.text


def test_the_customers_mail_keeps_the_order_of_its_parts() -> None:
    text = flat(letter("deletion", Reader.CUSTOMER).text)
    parts = [
        "ACTION REQUIRED",
        "WHAT THIS KEY IS FOR",
        "Dana Contract, Research Platform",
        "HOW MUCH TIME THERE IS",
        "WHAT HAS STOPPED AND WHAT WILL STOP",
        "WHO DID IT",
        "WHAT TO DO",
        "After you have done your part",
        "WHAT WE DO MEANWHILE",
        "IF THIS WAS INTENDED",
        "RESPONSIBILITY",
        "version 2.1, accepted on 2025-03-14 by Carol Director",
        "HOW TO REACH US",
        "We never ask for passwords",
        "You receive this because",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.parametrize("story", stories.INCIDENTS)
def test_nobody_is_blamed(story: str) -> None:
    for reader in READERS:
        text = flat(letter(story, reader).text).casefold()
        for phrase in ("you deleted", "you disabled", "you revoked", "your mistake", "your fault", "you have deleted"):
            assert phrase not in text


@pytest.mark.parametrize("fault", [Fault.VENDOR, Fault.PROVIDER, Fault.UNKNOWN])
@pytest.mark.parametrize("story", ["disabled", "deletion", "half_repaired", "split", "vendor_fault", "cannot_tell"])
def test_a_fault_that_is_not_shown_to_be_the_customers_is_never_laid_at_its_door(story: str, fault: Fault) -> None:
    facts = replace(stories.INCIDENTS[story](), fault=fault)
    found = letters.write(stories.notice(facts, Reader.CUSTOMER))

    assert found.flaw == ""
    text = flat(found.text)
    for phrase in ("audit log", "RESPONSIBILITY", "IF THIS WAS INTENDED", "ACTION REQUIRED", stories.ROLE, "terms"):
        assert phrase not in text
    assert "[Action required]" not in found.subject
    page = flat(letters.write(stories.notice(facts, Reader.ON_CALL)).text)
    assert "customer's audit log" not in page
    assert "do not tell the customer otherwise" in page or "do not say so" in page


@pytest.mark.parametrize("reader", READERS)
def test_what_events_claim_and_what_we_verified_are_kept_apart(reader: Reader) -> None:
    facts = stories.disabled()
    claimed = replace(
        facts,
        keys=tuple(replace(key, verified=replace(key.verified, passed=True)) for key in facts.keys if key.verified),
    )
    text = flat(letters.write(stories.notice(claimed, reader)).text)

    assert "DisableKey" in text
    assert "Our own check on 2026-12-01 09:01 UTC" in text
    assert ": passed (" in text


def test_an_unchecked_key_is_said_to_be_unchecked() -> None:
    facts = stories.disabled()
    unchecked = replace(facts, keys=tuple(replace(key, verified=None) for key in facts.keys))

    for reader in READERS:
        assert "not checked this key ourselves yet" in flat(letters.write(stories.notice(unchecked, reader)).text)


def test_addresses_of_people_and_machines_are_in_no_text() -> None:
    for reader in READERS:
        found = letter("disabled", reader)
        assert "203.0.113.7" not in found.text + found.html


def test_holds_come_before_everything_else_that_on_call_reads() -> None:
    text = letter("deletion", Reader.ON_CALL).text

    assert text.index("HOLDS FIRST") < text.index("DO NOW") < text.index("At a glance")
    assert text.splitlines()[2] == "HOLDS FIRST"


def test_the_title_of_a_page_says_who_what_next_final_and_which_incident() -> None:
    summary = letter("deletion", Reader.ON_CALL).summary

    pieces = ["Acme GmbH, acme-prod", "scheduled for deletion", "Next:", "Final:", "2026-12-08 09:00 UTC", "KW-1042"]
    places = [summary.index(piece) for piece in pieces]
    assert places == sorted(places)


def test_latent_and_split_are_said_in_plain_words() -> None:
    text = flat(letter("split", Reader.CUSTOMER).text)

    assert "Still running: the loss is there, and does not show yet." in text
    assert "It shows at the next restore or create or snapshot copy." in text
    assert "Only part of the system is lost" in text


def test_a_half_repair_asks_for_exactly_the_missing_command() -> None:
    text = letter("half_repaired", Reader.CUSTOMER).text

    assert text.startswith("STILL NEEDED: the deletion")
    assert "aws kms enable-key" in text
    assert "cancel-key-deletion" not in text


def test_a_drill_says_so_in_subject_first_and_last_line() -> None:
    for reader in READERS:
        found = letter("drill", reader)
        lines = found.text.strip().splitlines()
        assert found.subject.startswith("[DRILL] ")
        assert "DRILL" in lines[0]
        assert "DRILL" in " ".join(lines[-4:])
        assert reader is not Reader.ON_CALL or found.summary.startswith("DRILL: ")


def test_a_real_alarm_never_says_drill() -> None:
    assert "DRILL" not in letter("disabled", Reader.CUSTOMER).text


def test_less_than_a_day_stands_in_the_subject() -> None:
    assert letter("last_day", Reader.CUSTOMER).subject.startswith("[10 h 57 min left] ")


def test_the_subject_carries_no_key_account_or_person() -> None:
    for story, reader in ALL:
        subject = letter(story, reader).subject
        for private in (stories.ACCOUNT, "arn:", "90ab", "acme-prod-data", "Alice", "Dana", "CostCleanup"):
            assert private not in subject


# ------------------------------------------------------------------------------------------------------------- the page


@pytest.mark.parametrize(("story", "reader"), ALL)
def test_html_needs_nothing_from_elsewhere_and_runs_nothing(story: str, reader: Reader) -> None:
    page = letter(story, reader).html
    tags = Reading(page).tags

    allowed = {"html", "head", "meta", "title", "style", "body", "div", "p", "h2", "table", "tr", "th", "td", "pre"}
    assert {tag for tag, _ in tags} <= allowed | {"strong", "span", "hr"}
    assert not [attributes for _, attributes in tags if {"src", "href", "background", "onerror"} & attributes.keys()]
    assert "url(" not in page
    assert "@import" not in page
    root = next(attributes for tag, attributes in tags if tag == "html")
    assert root == {"lang": "en", "dir": "ltr"}
    assert '<meta name="color-scheme" content="light dark">' in page
    assert "prefers-color-scheme: dark" in page
    assert "max-width:600px" in page


# ------------------------------------------------------------------------------ always a text


@pytest.mark.parametrize(("name", "facts"), [*hostile_facts(), *odd_facts()])
@pytest.mark.parametrize("reader", READERS)
def test_hostile_and_odd_facts_still_become_the_full_text(name: str, facts: Facts, reader: Reader) -> None:
    found = letters.write(stories.notice(facts, reader))

    assert found.flaw == "", name
    assert "KW-1042" in found.text
    assert found.subject.endswith("(KW-1042)")
    assert len(found.subject) <= SUBJECT_LIMIT
    if facts.headline is not None and facts.headline.at is not None:
        assert f"{facts.headline.at:%Y-%m-%d %H:%M}" in found.text or name == "other zone"
    for key in facts.keys:
        for step in key.steps:
            assert not step.command or f"    {step.command}" in found.text.splitlines()
    Reading(found.html)
    assert "<script" not in found.html
    assert "<img" not in found.html
    assert "49" not in found.summary or name != "template"
    hidden = [character for character in found.text if ord(character) < 32 and character != "\n"]
    assert hidden == []


@pytest.mark.parametrize(("name", "facts"), list(hostile_operator()))
def test_hostile_operator_facts_still_become_a_text(name: str, facts: OperatorFacts) -> None:
    found = letters.write(stories.notice(facts, Reader.OPERATOR))

    assert found.flaw == "", name
    assert "What to do next".upper() in found.text


def test_the_same_notice_gives_the_same_letter() -> None:
    assert letter("deletion", Reader.CUSTOMER) == letter("deletion", Reader.CUSTOMER)


@pytest.fixture
def broken() -> Notice:
    """A notice whose facts no template can take: a word that is not in the closed vocabulary."""
    facts = stories.deletion()
    return stories.notice(replace(facts, headline=replace(facts.headline, source=None)), Reader.CUSTOMER)  # type: ignore[type-var]  # breaks the promise on purpose


def test_when_a_template_fails_the_short_form_still_says_what_matters(broken: Notice) -> None:
    found = letters.write(broken)

    assert found.flaw
    assert "short form" in found.text
    assert "KW-1042" in found.text
    assert "not before 2026-12-08 09:00 UTC (10:00 Europe/Berlin" in found.text
    assert "    aws kms cancel-key-deletion" in found.text
    assert found.subject.endswith("(KW-1042)")
    assert "+1 555 0100" in found.text
    assert bare("".join(Reading(found.html).words)) == bare(found.text)


def test_the_short_form_is_the_same_every_time(broken: Notice) -> None:
    assert letters.write(broken) == letters.write(broken)


# ------------------------------------------------------------------------------ subjects


@given(st.text(max_size=120), st.text(max_size=80), st.from_regex(r"KW-[0-9]{1,9}", fullmatch=True))
def test_a_subject_is_short_ascii_and_ends_with_the_incident(text: str, where: str, incident: str) -> None:
    subject = subject_line(text, where, incident)

    assert len(subject) <= SUBJECT_LIMIT
    assert all(" " <= character <= "~" for character in subject)
    assert subject.endswith(f"({incident})")


@given(st.text(max_size=200), st.sampled_from(sorted(stories.INCIDENTS)), st.sampled_from(READERS))
def test_whatever_an_instance_is_called_the_subject_holds(name: str, story: str, reader: Reader) -> None:
    facts = replace(stories.INCIDENTS[story](), instance=name, instance_name=name, customer=name, customer_name=name)
    subject = letters.write(stories.notice(facts, reader)).subject

    assert len(subject) <= SUBJECT_LIMIT
    assert subject.isascii()
    assert subject.isprintable()
    assert subject.endswith("(KW-1042)")


# ------------------------------------------------------------------------------ languages, completeness


@pytest.mark.parametrize("language", ["en", "de", "de-AT", "xx", "../en", "", "EN", "en/../en", "a" * 400])
def test_a_language_without_texts_gets_english(language: str) -> None:
    person = Person(name="A", email="a@acme.example", role="key_owner", language=language)
    found = letter("disabled", Reader.CUSTOMER, recipient=person)

    assert found.language == FALLBACK
    assert found.flaw == ""


def test_every_kind_and_reader_has_its_text() -> None:
    for reader in READERS:
        for kind in (Kind.ALARM, Kind.PROGRESS, Kind.RECOVERING, Kind.RESOLVED):
            assert (TEXTS / FALLBACK / reader / f"{kind}.j2").is_file()


@pytest.mark.parametrize("effect", sorted((LOSS | RISK | {Effect.USE_FAILED, Effect.FEED_TAMPERED}), key=str))
def test_every_effect_that_can_be_open_has_its_words_for_every_reader(effect: Effect) -> None:
    one = replace(stories.happening(effect), fault=Fault.CUSTOMER)
    facts = stories.facts(keys=(stories.key(happenings=(one,)),))
    two = replace(facts, keys=(facts.keys[0], replace(facts.keys[0], id=stories.KEY.replace("90ab", "90ac"))))

    for reader in READERS:
        for kind in (Kind.ALARM, Kind.PROGRESS):
            for version in (facts, two):
                found = letters.write(stories.notice(replace(version, kind=kind), reader))
                assert found.flaw == ""
                assert "{vendor}" not in found.text + found.summary + found.subject
    assert effect in views.GRAVITY


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("verdict", Verdict)
def test_every_stage_and_verdict_has_its_words(stage: Stage, verdict: Verdict) -> None:
    facts = stories.facts(stage=stage, previous_stage=stage, keys=(stories.key(verdict=verdict),))

    for reader in READERS:
        assert letters.write(stories.notice(facts, reader)).flaw == ""


def test_every_store_of_the_impact_table_has_a_name_for_people() -> None:
    known = letters._shelf(FALLBACK, "text").get_template("words.j2").make_module({})
    table = (TEXTS.parents[1] / "watchdog" / "data" / "store_impact.yaml").read_text(encoding="utf-8")

    stores = set(re.findall(r"^\s+store: ([a-z_.]+)\s*(?:#.*)?$", table, re.MULTILINE))
    assert len(stores) > 20
    assert sorted(stores - set(known.stores)) == []  # type: ignore[attr-defined]  # a template's module


def test_an_undefined_name_is_a_fault_and_never_blank() -> None:
    assert letters._shelf(FALLBACK, "text").undefined is StrictUndefined
    assert letters._shelf(FALLBACK, "html").autoescape is True


def test_text_outside_a_block_is_a_fault_of_the_template() -> None:
    with pytest.raises(ValueError, match="outside a block"):
        letters.laid_out("stray \x1eblock\x1e")


def test_a_deadline_without_a_date_prints_its_words_and_no_date() -> None:
    text = flat(letter("undocumented", Reader.CUSTOMER).text)

    headline = text[text.index("Point of no return") : text.index("WHAT HAS STOPPED")]
    assert "No grace period is documented: act now." in headline
    assert not re.search(r"\d{4}-\d{2}-\d{2}", headline)


def test_nothing_is_broken_inside_an_id_a_command_or_a_moment() -> None:
    long = "arn:aws:sts::444455556666:assumed-role/" + "x" * 90 + "/last-word"
    facts = stories.facts(keys=(stories.key(happenings=(stories.happening(Effect.KEY_DISABLED, actor=long),)),))
    text = letters.write(stories.notice(facts, Reader.CUSTOMER)).text

    assert long in text
    assert "2026-12-08 11:00 UTC" in text
    assert not re.search(r"\d\n +(?:h|d|min|UTC)\b", text)


def test_a_command_is_shown_as_it_is_and_never_becomes_markup() -> None:
    command = """aws kms put-key-policy --policy '{"x":"<b>&amp;</pre>"}' | tee {{ 7 }}"""
    facts = stories.facts(keys=(stories.key(steps=(replace(stories.ENABLE, command=command),)),))
    found = letters.write(stories.notice(facts, Reader.CUSTOMER))

    assert f"    {command}" in found.text.splitlines()
    assert command in Reading(found.html).words
    assert "<b>" not in found.html


def test_a_moved_clock_moves_only_what_is_left() -> None:
    facts = stories.deletion()
    later = replace(facts, at=facts.at + timedelta(hours=1))
    before, after = (flat(letters.write(stories.notice(one, Reader.CUSTOMER)).text) for one in (facts, later))

    assert "in 6 d 23 h" in before
    assert "in 6 d 22 h" in after
    assert "Not before 2026-12-08 09:00 UTC" in before
    assert "Not before 2026-12-08 09:00 UTC" in after


def test_a_source_is_named_in_full_once_and_by_its_number_after_that() -> None:
    cite = letters.Citations()

    assert cite("A guide (text of 2026)") == "[1] A guide (text of 2026)."
    assert cite("Another") == "[2] Another."
    assert cite("A guide (text of 2026)") == "[1], named above."


def test_every_command_of_ours_that_a_text_names_exists() -> None:
    from workers.cli.commands import COMMANDS  # noqa: PLC0415 - what this one test compares with

    texts = "".join(path.read_text(encoding="utf-8") for path in TEXTS.rglob("*.j2"))

    named = set(re.findall(r"byok-watchdog ([a-z-]+)", texts))
    assert named
    assert sorted(named - COMMANDS.keys()) == []


def test_what_is_closed_by_a_decision_is_not_called_proven() -> None:
    for reader in READERS:
        found = letter("decided", reader)
        assert "decision of Erin Operator: the system was moved to another key" in flat(found.text)
        assert "proven" not in (found.summary + found.subject + found.text).casefold()
        assert "works again" not in found.text + found.subject


def test_a_deadline_of_each_bound_is_worded_so_in_the_mail() -> None:
    base = stories.disabled().headline
    assert base is not None
    for bound, words in (("at_most", "by 2026-12-08"), ("about", "about 2026-12-08"), ("exact", "at 2026-12-08")):
        headline: Deadline = replace(base, bound=bound)
        facts = stories.facts(headline=headline)
        assert words in flat(letters.write(stories.notice(facts, Reader.CUSTOMER)).text).casefold()


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_reason_to_tell_of_a_step_has_words(cloud: str) -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(incidents.reason_to_tell)))
    constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    told = {constant for constant in constants if isinstance(constant, str)}
    ways_out = {"decided", "proven", "recovered, unproven"}
    (docstring,) = [text for text in told if text.startswith("Say by name")]
    assert ways_out < told
    assert told - ways_out - {docstring} == set(letters.words_of("en", cloud).reasons)
