"""Facts as an attacker, or bad luck, might write them: each must still leave as a notice that says what matters."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any
from zoneinfo import ZoneInfo

from tests.alerts import stories
from watchdog.notices import Facts, OperatorFacts

NASTY = {
    "bidirectional": "\u202eevil\u2066gnp.exe\u2069",
    "nul": "a\x00b",
    "line breaks": "x\r\nBcc: everybody@acme.example\r\n\r\nHello",
    "odd line breaks": "a\u2028b\u2029c\x85d\x0be",
    "long": "x" * 10_000,
    "slack": "<!channel> @here <@U123>",
    "markdown": "](http://evil.example/x) [click](http://evil.example)",
    "shell": "$(rm -rf /) `id` ; reboot",
    "template": "{{ 7 * 7 }} {% raw %} {# x #} ${7*7} %(x)s {0}",
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>&amp;\"'",
    "terminal": "\x1b[2J\x1b]0;owned\x07\x9b31m",
    "surrogate": "a\ud800b",
    "combining": "e\u0301" * 50 + "\u0300" * 400,
    "invisible": "\u200b\u200d\ufeff\u3164\U000e0041",
    "empty": "",
    "blank": " \t ",
    "mime": "=?utf-8?b?QmNjOiB4?= --byok-2bb56f05067ff0f677c82291eb142300",
    "dots": "line\n.\nQUIT\r\n.\r\n",
}

# Fields whose form the engine itself guarantees, or that say what happens by a closed word.
_OURS = frozenset({"kind", "bound", "store", "cloud", "row", "language", "email", "command"})


def poisoned(value: Any, text: str) -> Any:
    """Return a copy of facts in which every free text is `text`."""
    if isinstance(value, Enum):
        return value
    if isinstance(value, tuple):
        return tuple(poisoned(item, text) for item in value)
    if isinstance(value, str):
        return text
    if is_dataclass(value) and not isinstance(value, type):
        changes = {
            field.name: poisoned(getattr(value, field.name), text)
            for field in fields(value)
            if field.name not in _OURS and getattr(value, field.name) is not None
        }
        return replace(value, **changes)
    return value


def hostile_facts() -> Iterator[tuple[str, Facts]]:
    """Yield every nasty text in every field, but with the incident id and the commands that must come through."""
    for name, text in NASTY.items():
        for story in ("deletion", "split", "half_repaired", "resolved"):
            facts: Facts = poisoned(stories.INCIDENTS[story](), text)
            yield f"{name}, {story}", replace(facts, incident="KW-1042")


def odd_facts() -> Iterator[tuple[str, Facts]]:
    """Yield facts that are possible but rare: nothing known, times at the ends of time, times without a zone."""
    usual = stories.deletion()
    assert usual.headline is not None
    yield "no keys", replace(usual, keys=())
    yield "bare", replace(stories.resolved(), keys=(), told=(), business_owner="", emergency_contact="", verify_url="")
    yield "end of time", replace(usual, headline=replace(usual.headline, at=datetime.max.replace(tzinfo=UTC)))
    yield "no zone", replace(usual, headline=replace(usual.headline, at=datetime(2026, 12, 8, 9, 0)))  # noqa: DTZ001
    yield "other zone", replace(usual, at=usual.at.astimezone(ZoneInfo("Asia/Tokyo")))
    yield "past", replace(usual, at=usual.at + timedelta(days=400))
    yield "no conditions", replace(usual, keys=tuple(replace(key, happenings=()) for key in usual.keys))
    yield "unknown cloud", replace(usual, cloud="moon")
    yield (
        "unknown store",
        replace(
            usual,
            keys=tuple(
                replace(key, consumers=tuple(replace(one, store="moon.cheese") for one in key.consumers))
                for key in usual.keys
            ),
        ),
    )
    many = stories.several().keys * 70
    yield (
        "210 keys",
        replace(
            stories.several(),
            keys=tuple(
                replace(key, id=f"{key.id[:-3]}{number:03x}", name=f"key-{number}") for number, key in enumerate(many)
            ),
        ),
    )


def hostile_operator() -> Iterator[tuple[str, OperatorFacts]]:
    """Yield operator's facts with every nasty text in every field."""
    for name, text in NASTY.items():
        facts: OperatorFacts = poisoned(stories.QUARANTINE, text)
        yield name, facts
