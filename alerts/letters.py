"""Letters: a notice written out for its reader - subject, plain text (the master), and HTML with the same sentences.

A body template is written once, in blocks (paragraph, heading, row, step, command ...). Two layouts turn the blocks
into plain text and into HTML, so the two can never say different things. A language is a folder of templates; in it
`words.j2` has the words for every cloud, and `clouds/NAME.j2` what is called otherwise on one of them.
"""

import re
import shlex
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from alerts import views
from alerts.moments import Clock
from alerts.text import ascii_only, clean, cleaned
from watchdog.notices import Deadline, Facts, Kind, Notice, OperatorFacts, Reader

T = TypeVar("T")

TEXTS = Path(__file__).parent / "texts"
FALLBACK = "en"
WIDTH = 76
BRIEF = 8
SUBJECT_LIMIT = 78

# The blanks inside "6 d 23 h" and "2026-12-08 09:00 UTC", which a line must not break at.
_TIED = re.compile(
    r"(?<=\d) (?=(?:d|h|min|left|ago|UTC|\d{2}:\d{2})\b)|(?<=\d [dh]) (?=\d)|(?<=\bin) (?=\d)|(?<=min) (?=ago)"
)
_TIE = "\x1a"
_VENDOR = re.compile(r"\b[Tt]he vendor\b")
_DATE = re.compile(r"(?<![\w-])\d{4}-\d{2}-\d{2}(?: \d{2}:\d{2}(?::\d{2})? UTC)?(?![\w-])")

# Marks around a block of the plain text. Facts cannot hold them: they are cleaned of control characters.
_EDGE, _CLOSE_BEFORE, _CLOSE_AFTER = "\x1e", "\x1c", "\x1d"


@dataclass(frozen=True, slots=True)
class Letter:
    """A notice in words. `summary` is one line for a page; `flaw` says what failed when this is only the short form."""

    subject: str
    text: str
    html: str
    summary: str
    language: str = FALLBACK
    flaw: str = ""


def write(notice: Notice, *, html: bool = True, is_clean: bool = False) -> Letter:
    """Write a notice out. Total: when a template fails, the short form is made from the same facts.

    `html=False` leaves the HTML empty: it costs as much as all the rest, and a page needs none. `is_clean` says that
    the caller has cleaned the notice already.
    """
    neat = notice if is_clean else cleaned(notice)
    return either(lambda: _written(neat, html=html), lambda flaw: short_form(neat, flaw=flaw))


def warm_up() -> None:
    """Compile every text now, so that the first page of a process does not wait half a second for it."""
    for shape in ("text", "html"):
        shelf = _shelf(FALLBACK, shape)
        for name in shelf.list_templates(extensions=["j2"]):
            shelf.get_template(name)


def either(made: Callable[[], T], otherwise: Callable[[str], T]) -> T:
    """Return what `made` makes or, when it fails, what `otherwise` makes of the name of the fault."""
    try:
        return made()
    except Exception as error:  # noqa: BLE001 - a fault in a text must never stop a notice; it is told as its flaw
        return otherwise(f"{type(error).__name__}: {clean(str(error), 200)}")


def _written(notice: Notice, *, html: bool) -> Letter:
    facts = notice.facts
    person = notice.recipient
    wanted = person.language if person else FALLBACK
    name = template_of(notice)
    language = _language(wanted, f"{name}.j2")
    words = words_of(language, "" if isinstance(facts, OperatorFacts) else facts.cloud)
    common: dict[str, object] = {
        "n": notice,
        "f": facts,
        "c": Clock(facts.at, person.timezone if person else "UTC", words.undated),
        "words": words,
        "v": None if isinstance(facts, OperatorFacts) else views.view(facts),
    }
    plain = _shelf(language, "text").get_template(f"{name}.j2").make_module(common | {"cite": Citations()})
    subject = ascii_only(str(getattr(plain, "subject")), SUBJECT_LIMIT)  # noqa: B009 - a module's exports are dynamic
    page = _page(language, name, subject, common) if html else ""
    summary = " ".join(str(getattr(plain, "summary", subject)).split())
    return Letter(subject=subject, text=laid_out(str(plain)), html=page, summary=summary, language=language)


def _page(language: str, name: str, subject: str, common: dict[str, object]) -> str:
    shelf = _shelf(language, "html")
    body = shelf.get_template(f"{name}.j2").make_module(common | {"cite": Citations()})
    page = {"language": language, "subject": subject, "body": Markup(str(body))}  # noqa: S704 - rendered with autoescape
    return shelf.get_template("page.j2").render(common | page)


@cache
def words_of(language: str, cloud: str) -> SimpleNamespace:
    """Return the words of a language by their names, with those of one cloud laid over them, table by table."""
    shelf = _shelf(language, "text")
    words = _exports(shelf, "words.j2")
    name = f"clouds/{cloud}.j2"
    for table, own in (_exports(shelf, name) if name in shelf.list_templates() else {}).items():
        known = words.get(table)
        words[table] = {**known, **own} if isinstance(known, dict) and isinstance(own, dict) else own
    return SimpleNamespace(**words)


def _exports(shelf: Environment, name: str) -> dict[str, object]:
    found = vars(shelf.get_template(name).make_module({}))
    return {key: value for key, value in found.items() if not key.startswith("_")}


class Citations:
    """Prints a source in full where it is first named, and by its number after that: they are long, and repeat."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __call__(self, source: str) -> str:
        """Return "[1] Guide ... (text of 2025)." the first time, "[1], named above." later."""
        known = self._numbers.get(source)
        if known is not None:
            return f"[{known}], named above."
        self._numbers[source] = len(self._numbers) + 1
        return f"[{self._numbers[source]}] {ended(source)}"


def template_of(notice: Notice) -> str:
    """Return which text a notice gets: one for each reader and kind; pages are cleared, and operators read, alike."""
    if isinstance(notice.facts, OperatorFacts):
        return "operator"
    if notice.kind is Kind.CLEAR:
        return "on_call/clear"
    reader = Reader.ON_CALL if notice.reader is Reader.OPERATOR else notice.reader
    return f"{reader}/{Kind.ALARM if notice.kind is Kind.OPERATOR else notice.kind}"


def _language(wanted: str, template: str) -> str:
    """Return the first of `de-AT`, `de` and English that has the text; English has them all."""
    for name in (wanted, wanted.partition("-")[0]):
        if re.fullmatch(r"[a-z]{2,3}(-[A-Za-z]{2,4})?", name) and (TEXTS / name / template).is_file():
            return name
    return FALLBACK


@cache
def _shelf(language: str, shape: str) -> Environment:
    found = Environment(
        loader=FileSystemLoader([TEXTS / language, TEXTS]),
        autoescape=shape == "html",  # noqa: S701 - the other shape is plain text, no markup
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals.update(layout=f"{shape}.j2", block=_block, main=views.main, label=views.label)
    found.globals.update(deletion_stopped=views.deletion_stopped, log_of=views.log_of)
    found.globals.update(place=views.place, key_versions=views.versions, pieces=pieces, phrase=phrase)
    found.filters.update(
        fill=fill, tidy=_tidy, command_lines=command_lines, subject=subject_line, cap=cap, said=said, ended=ended
    )
    found.filters.update(brief=brief, named=named, quoted=shlex.quote)
    return found


# --------------------------------------------------------------------------------------------------- the plain layout


def _block(text: str, *, after: bool = False, before: bool = False) -> str:
    """Mark a block of the plain text; `before` and `after` take away the blank line on that side."""
    return f"{_EDGE}{_CLOSE_BEFORE if before else ''}{text}{_CLOSE_AFTER if after else ''}{_EDGE}"


def laid_out(marked: str) -> str:
    """Put the marked blocks under each other. Raises ValueError for text that a template left outside a block."""
    pieces = marked.split(_EDGE)
    if any(piece.strip() for piece in pieces[::2]):
        raise ValueError(f"text outside a block: {' '.join(pieces[::2]).split()[:8]}")
    blocks = [piece for piece in pieces[1::2] if piece.strip(_CLOSE_BEFORE + _CLOSE_AFTER)]
    lines = [blocks[0]] if blocks else []
    for above, below in pairwise(blocks):
        lines.append("\n" if above.endswith(_CLOSE_AFTER) or below.startswith(_CLOSE_BEFORE) else "\n\n")
        lines.append(below)
    return "".join(lines).replace(_CLOSE_BEFORE, "").replace(_CLOSE_AFTER, "") + "\n"


def fill(text: str, first: str = "", rest: str = "") -> str:
    """Break a paragraph into lines; nothing inside a word or a time is ever broken, so ids and moments stay whole."""
    neat = _TIED.sub(_TIE, " ".join(str(text).split()))
    filled = textwrap.fill(
        neat, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
    return filled.replace(_TIE, " ")


def _tidy(text: str) -> str:
    """Close up the blanks of a piece of HTML, and keep its dates whole: browsers break lines at hyphens."""
    return Markup(_DATE.sub(r'<span style="white-space:nowrap;">\g<0></span>', " ".join(text.split())))  # noqa: S704 - escaped already


def command_lines(command: str) -> str:
    """Indent a command as it is: each line whole, never wrapped, so that it can be copied."""
    return "\n".join(f"    {line}" for line in str(command).splitlines())


def cap(text: str, limit: int) -> str:
    """Cut a name that would crowd out what stands beside it."""
    return text if len(text) <= limit else text[: limit - 2].rstrip() + ".."


def phrase(by_way: Mapping[str, T], by_effect: Mapping[str, T], view: views.View) -> T:
    """Return the words for the main happening: those for the way it came about, else those for its effect."""
    assert view.main is not None, "the texts ask only where something is open"  # noqa: S101 - a fault of a template
    found = [by_way[way] for way in views.ways(view) if way in by_way]
    return found[0] if found else by_effect[view.main.effect]


def brief(version: str) -> str:
    """Return a version short enough for a sentence: Azure's have 32 digits, the first eight tell them apart."""
    return version if len(version) <= BRIEF + len("...") else f"{version[:BRIEF]}..."


def named(text: str, vendor: str) -> str:
    """Put the vendor's name for "the vendor": a key owner may not know who that is."""
    return _VENDOR.sub(lambda _: vendor, text)


def pieces(phrases: Sequence[str], known: Mapping[str, str], **more: str) -> list[str]:
    """Fill "project {name}" and the like; a phrase of which a part is not known is left out."""
    parts = {**known, **more}
    wanted = {phrase: re.findall(r"\{(\w+)\}", phrase) for phrase in phrases}
    return [phrase.format_map(parts) for phrase, names in wanted.items() if all(parts.get(name) for name in names)]


def said(text: str) -> str:
    """Make a clause of the facts a sentence: a capital at the beginning (but not of an id), a full stop at the end."""
    neat = ended(text)
    first = neat.partition(" ")[0].rstrip(":,;.")
    return neat[:1].upper() + neat[1:] if first.isalpha() and first.islower() else neat


def ended(text: str) -> str:
    """Put a full stop behind a clause of the facts, unless it ends like a sentence already."""
    neat = text.strip()
    return neat if not neat or neat[-1] in ".!?" else neat + "."


def subject_line(text: str, where: str, incident: str) -> str:
    """Return "text - where (incident)" in ASCII within the limit of a subject; the incident id always ends it."""
    tail = f" ({ascii_only(incident, 24)})" if incident else ""
    head = ascii_only(text, SUBJECT_LIMIT - len(tail))
    room = SUBJECT_LIMIT - len(tail) - len(head) - 3
    middle = f" - {ascii_only(where, room)}" if where and room >= min(len(where), 6) else ""
    return f"{head}{middle}{tail}"


# --------------------------------------------------------------------------------------------------- the short form


def flaw_hint(headers: Mapping[str, str]) -> str:
    """Return the hint for the operator when only the short form went out; empty otherwise."""
    flaw = headers.get("short-form", "")
    return f"only the short form went out, because its text failed ({flaw}): report it" if flaw else ""


def short_form(notice: Notice, *, flaw: str) -> Letter:
    """Say the least that must be said, without any template: state, deadline, command, incident id."""
    facts = notice.facts
    lines = _operator_lines(facts) if isinstance(facts, OperatorFacts) else _incident_lines(notice, facts)
    subject = subject_line(lines[0], "", notice.incident or "")
    lines += [
        "",
        "This is the short form of this message: the full text could not be made. The facts are the same.",
    ]
    text = "\n".join(lines) + "\n"
    html = f'<!DOCTYPE html><html lang="en" dir="ltr"><body><pre>{Markup.escape(text)}</pre></body></html>\n'
    return Letter(subject=subject, text=text, html=html, summary=subject, flaw=flaw)


def _operator_lines(facts: OperatorFacts) -> list[str]:
    return [facts.subject, "", facts.what, f"Where: {facts.where}", f"What to do: {facts.next}"]


def _incident_lines(notice: Notice, facts: Facts) -> list[str]:
    clock = Clock(facts.at, notice.recipient.timezone if notice.recipient else "UTC")
    drill = "DRILL - " if facts.drill else ""
    state = f"Encryption key notice: {notice.kind.value}, {facts.stage.value.replace('_', ' ')}"
    lines = [f"{drill}{state}", "", f"Incident: {facts.incident}", f"System: {facts.instance_name or facts.instance}"]
    lines += [f"Key: {key.id} ({key.verdict.value.replace('_', ' ')})" for key in facts.keys]
    lines += _deadline_lines("Point of no return", facts.headline, clock.deadline)
    lines += _deadline_lines("After that", facts.second, clock.deadline)
    lines += _deadline_lines("Next to stop", facts.next_impact, clock.deadline)
    if notice.reader is not Reader.CUSTOMER:
        lines += [f"Hold: {hold}" for hold in facts.holds]
    for key in facts.keys:
        for step in key.steps:
            lines.append(f"To do ({step.owner.value}): {step.text}")
            lines += [command_lines(step.command)] if step.command else []
    lines.append(f"Reach a person at any hour: {facts.emergency_contact or facts.vendor}")
    return lines


def _deadline_lines(label: str, deadline: Deadline | None, written: Callable[[Deadline], str]) -> list[str]:
    return [f"{label}: {written(deadline)}", f"    Source: {deadline.source}"] if deadline else []
