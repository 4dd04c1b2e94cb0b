"""A half-done cloud fails here: a half, a feed, a recorded event, a text or a repair step that is missing."""

import json
import re
import shlex
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from alerts import letters
from tests.alerts import stories
from watchdog.cloud import Cloud
from watchdog.clouds import CLOUDS, cloud
from watchdog.notices import Kind, Reader
from watchdog.register import Register
from watchdog.repair import Step
from watchdog.signals import Signal
from watchdog.words import LOSS, RISK, Effect, Owner
from workers.feeds.kinds import KINDS

ROOT = Path(__file__).resolve().parents[3]
RECORDED = ROOT / "tests" / "recorded"
TOLD = LOSS | RISK | {Effect.USE_FAILED, Effect.FEED_TAMPERED}
"""The effects that can stand open, so that somebody is told of them and something is to be done."""

WORDS_ONLY: dict[str, tuple[str, ...]] = {
    "aws": (
        # a person has to decide, write or wait: the commands stand in the steps around it
        r"Wrap the material on your own machine",
        r"Put the statement for .* back into p\.json",
        r"Store the key policy again, naming the new role",
        r"In the management account: detach the policy",
        r"Say what was changed",
        r"Put the tag back on the key",
        r"Make sure that somebody in the account may still change the key policy",
        r"Find out what the grant was for",
        # nobody can, or only AWS Support
        r"A destroyed key cannot be restored",
        r"Ask AWS Support to reopen the account",
    ),
    "azure": (
        # a person has to decide or write (azure.md 3.2: 19, 23, 24, 26b, 32)
        r"Remove the deny assignment",
        r"Put the data actions back into the role",
        r"Tell the vendor the object id of the new service principal",
        r"Give the new service principal every grant that the old one had",
        r"If the subscription itself was moved to another tenant",
        r"with the vault's new id as its scope",
        r"Run the onboarding template again",
        # fixed when the vault is made; a purged vault is gone
        r"The retention of a vault cannot be changed",
        r"A purged vault cannot be brought back",
    ),
    "gcp": (
        # a person has to decide or write (gcp.md 3.2 to 3.5: B8b, B10, B11, C3, D1, D5, audit configuration)
        r"Find out which policy of the organisation",
        r"Let the vendor's accounts through the service perimeter",
        r"Put the organisation policy back",
        r"Open the billing account again",
        r"Enable the single-tenant HSM by a proposal",
        r"Say what was changed on the key or its key store",
        r"Switch the audit logs and the feed to the watchdog on again",
        # nobody can
        r"A destroyed version cannot be restored by anybody",
    ),
}
"""The customer's steps that have no command, because the documents give none."""

PLACEHOLDERS = frozenset(
    {"V", "K", "VER", "H", "SP", "APPID", "VAULT_ID", "P", "R", "L", "RG", "T", "A", "J", "N", "ID"}
)
"""What the domain documents write for names; none of it may be left in a command."""

UNFILLED = re.compile(r"<[^>]*>|(?<!condition=)(?<!--bypass )\bNone\b|\{\w*\}")
"""What a value that is not there leaves in a text; two options have the value None."""

HOSTILE = (
    "$(reboot)",
    "`id`",
    "x; reboot",
    "x && reboot",
    "x' y '",
    'x" y "',
    "x | sh",
    "x\nreboot",
    "--yes",
    "\u202ex",
)


@lru_cache(maxsize=len(CLOUDS))
def world(name: str) -> Register:
    """The register that the recorded events of a cloud assume."""
    found: Register = import_module(f"tests.watchdog.clouds.{name}.world").register()
    return found


@lru_cache(maxsize=len(CLOUDS))
def expected(name: str) -> list[dict[str, Any]]:
    """The index of a cloud's recorded events."""
    found: list[dict[str, Any]] = json.loads((RECORDED / name / "expected.json").read_text(encoding="utf-8"))
    return found


@lru_cache(maxsize=len(CLOUDS))
def recorded(name: str) -> list[Signal]:
    """Every signal of every recorded event of a cloud."""
    half = cloud(name)
    found = []
    for entry in expected(name):
        for kept in half.unpack((RECORDED / name / entry["file"]).read_bytes()).entries:
            found += half.meaning(kept.raw, world(name))
    return found


def effects(name: str) -> set[Effect]:
    """Every effect that a cloud's records can have: as its catalogue says, and as its recorded events show."""
    said = {
        word for row in cloud(name).catalogue() for word in re.findall(r"[a-z_]+", row.effect.partition(":")[0])
    }  # behind the colon stands the cause of a failed use
    return {effect for effect in Effect if effect in said} | {signal.effect for signal in recorded(name)}


Plans = list[tuple[str, tuple[Step, ...]]]


@lru_cache(maxsize=len(CLOUDS))
def after_records(name: str) -> Plans:
    """The repair plan after each recorded signal that leaves something to do."""
    return [
        (f"{signal.effect} by {signal.operation} ({signal.subject})", steps_after(name, signal, signal.subject))
        for signal in recorded(name)
        if signal.effect in TOLD
    ]


@lru_cache(maxsize=len(CLOUDS))
def plans(name: str) -> Plans:
    """Every repair plan: after each record, and for each key after what only a probe tells of it."""
    found: Plans = list(after_records(name))
    register, half = world(name), cloud(name)
    for key in register.keys.values():
        for effect in sorted(effects(name) & TOLD - {Effect.USE_FAILED}):
            found.append((f"{effect} of {key.id}", tuple(half.steps(effect, key, register))))
        for cause in sorted({signal.cause for signal in recorded(name) if signal.cause is not None}):
            steps = half.steps(Effect.USE_FAILED, key, register, cause=cause)
            found.append((f"use_failed: {cause} of {key.id}", tuple(steps)))
    return found


def steps_after(name: str, signal: Signal, subject: str | None) -> tuple[Step, ...]:
    register, half = world(name), cloud(name)
    keys = [key for key in register.keys.values() if (signal.key or "").startswith(key.id)] or [
        # the watch of a customer has no key of its own: any of the customer's will do
        key
        for key in register.keys.values()
        if signal.customer in {None, key.customer.id}
    ]
    return tuple(half.steps(signal.effect, keys[0], register, means=signal.means, subject=subject, cause=signal.cause))


# ----------------------------------------------------------------------------------------------------- halves and feeds


def folders(package: str) -> set[str]:
    return {path.parent.name for path in (ROOT / package / "clouds").glob("*/__init__.py")}


def test_every_cloud_has_both_halves() -> None:
    """Fails as long as only one of `watchdog/clouds/NAME` and `workers/clouds/NAME` is there."""
    assert folders("watchdog") == set(CLOUDS)
    assert folders("workers") == set(CLOUDS)


@pytest.mark.parametrize("name", CLOUDS)
def test_every_cloud_has_a_feed_of_its_own(name: str) -> None:
    """The folder feed carries every cloud's files; a cloud's own records arrive by a service of that cloud."""
    own = [kind for kind in KINDS.values() if list(kind.clouds) == [name]]

    assert own, f"no kind in workers/feeds/kinds.py carries {name} alone"
    missing = [kind.module for kind in own if find_spec(kind.module) is None]
    assert missing == []


@pytest.mark.parametrize("name", CLOUDS)
def test_a_pure_half_offers_all_that_the_engine_asks_of_it(name: str) -> None:
    half = cloud(name)

    assert half.NAME == name
    wanted = [word for word in vars(Cloud) if not word.startswith("_")]
    assert [word for word in wanted if not callable(getattr(half, word, None))] == []
    assert half.catalogue()
    assert half.filters()


# ------------------------------------------------------------------------------------------------------ recorded events


@pytest.mark.parametrize("name", CLOUDS)
def test_every_catalogue_row_that_can_be_seen_has_a_recorded_event(name: str) -> None:
    nothing = import_module(f"watchdog.clouds.{name}.rules").Seen.NOTHING
    rows = {f"{row.service} {row.operation}" for row in cloud(name).catalogue() if row.seen_through != nothing}

    assert rows - {entry["row"] for entry in expected(name)} == set()


@pytest.mark.parametrize("name", CLOUDS)
def test_every_recorded_row_is_in_the_catalogue(name: str) -> None:
    known = {f"{row.service} {row.operation}" for row in cloud(name).catalogue()}

    assert {entry["row"] for entry in expected(name)} - {None} <= known


@pytest.mark.parametrize("name", CLOUDS)
def test_every_recorded_file_is_in_the_index(name: str) -> None:
    files = {path.name for path in (RECORDED / name).glob("*.json")} - {"expected.json"}

    assert files == {entry["file"] for entry in expected(name)}


# ---------------------------------------------------------------------------------------------------------------- texts


@pytest.mark.parametrize("kind", [Kind.ALARM, Kind.PROGRESS])
@pytest.mark.parametrize("reader", [Reader.ON_CALL, Reader.CUSTOMER, Reader.ACCOUNT])
@pytest.mark.parametrize("name", CLOUDS)
def test_every_effect_that_a_cloud_can_produce_has_its_text(name: str, reader: Reader, kind: Kind) -> None:
    key = next(iter(world(name).keys))
    for effect in sorted(effects(name) & TOLD):
        one = stories.key(id=key, happenings=(stories.happening(effect, key=key),))
        found = letters.write(stories.notice(stories.facts(cloud=name, kind=kind, keys=(one,)), reader))
        assert found.flaw == "", effect


@pytest.mark.parametrize("name", CLOUDS)
def test_a_cloud_has_its_own_words(name: str) -> None:
    assert (letters.TEXTS / letters.FALLBACK / "clouds" / f"{name}.j2").is_file()


# --------------------------------------------------------------------------------------------------------------- repair


@pytest.mark.parametrize("name", CLOUDS)
def test_every_effect_that_can_stand_open_was_recorded_and_has_a_step(name: str) -> None:
    assert effects(name) & TOLD - {signal.effect for signal in recorded(name)} == set()
    assert [what for what, steps in plans(name) if not steps] == []


@pytest.mark.parametrize("name", CLOUDS)
def test_every_step_has_an_owner_and_says_what_to_do(name: str) -> None:
    for what, steps in plans(name):
        for step in steps:
            assert isinstance(step.owner, Owner), what
            assert step.text.strip(), what
            assert not UNFILLED.search(f"{step.text} {step.note or ''}"), step


@pytest.mark.parametrize("name", CLOUDS)
def test_a_customers_step_has_a_command_where_the_documents_give_one(name: str) -> None:
    wordless = re.compile("|".join(WORDS_ONLY[name]))
    without = {
        step.text
        for _, steps in after_records(name)
        for step in steps
        if step.owner is Owner.CUSTOMER and step.command is None and not wordless.search(step.text)
    }

    assert without == set()


@pytest.mark.parametrize("name", CLOUDS)
def test_no_excuse_is_kept_for_a_step_that_is_gone(name: str) -> None:
    texts = {step.text for _, steps in plans(name) for step in steps if step.command is None}

    unused = [words for words in WORDS_ONLY[name] if not any(re.search(words, text) for text in texts)]
    assert unused == []


def whole(command: str) -> list[str]:
    """Split a command as a shell does; AssertionError where a shell would read more than words in it."""
    words = shlex.split(command)
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    assert words == list(lexer), f"a shell would act on {command!r}"
    unquoted = re.sub(r"'[^']*'", "", command)
    assert not re.search(r"[$`\\!*\n]", unquoted), f"a shell would expand {command!r}"
    return words


@pytest.mark.parametrize("name", CLOUDS)
def test_every_command_can_be_pasted_as_it_stands(name: str) -> None:
    tool = {"aws": "aws", "azure": "az", "gcp": "gcloud"}[name]
    commands = {step.command for _, steps in plans(name) for step in steps if step.command}

    assert len(commands) > 10
    for command in commands:
        first, *rest = whole(command)
        assert first == tool
        values = [part for word in rest for part in re.split(r"[=,]", word)]
        assert PLACEHOLDERS.isdisjoint(values), command
        assert "" not in rest, command
        assert not UNFILLED.search(command), command


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("name", CLOUDS)
def test_nothing_of_a_hostile_record_gets_into_a_command(name: str, hostile: str) -> None:
    for signal in (signal for signal in recorded(name) if signal.effect in TOLD):
        for subject in (hostile, f"{signal.subject}{hostile}", f"{hostile}{signal.subject}"):
            for step in steps_after(name, signal, subject):
                if step.command is not None:
                    assert hostile not in whole(step.command)
