"""By what a key is watched: a table of the three covers, and the words on the keys that a silence concerns."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.worlds import T0
from watchdog.coverage import Cover, Way
from watchdog.covers import Covering, ProbeFacts, concerned, covers, probed
from watchdog.silence import Standing, State

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
EVERY = 5 * MINUTE

WAY = Way(cover=Cover.FORWARDED, route="aws:1", words="the records of 1", customer="acme")
SECOND = replace(WAY, route="aws:2", words="the records of 2")
OWN = replace(WAY, route="aws:9", customer=None, cover=Cover.SELF_OBSERVED, words="our own records")


def standing(way: Way, state: State, *, ago: timedelta | None = None, blind: timedelta | None = None) -> Standing:
    return Standing(
        way=way, state=state, words=f"{way.words}: {state}", at=T0 - ago if ago is not None else None,
        since=T0 - blind if blind is not None else None,
    )  # fmt: skip


def found(*standings: Standing, probe: ProbeFacts = ProbeFacts(every=EVERY)) -> tuple[Covering, ...]:  # noqa: B008 -- frozen
    return covers([one.way for one in standings], {one.way.route: one for one in standings}, probe, at=T0)


def test_a_key_of_which_nothing_comes_has_three_covers_that_say_what_to_do() -> None:
    forwarded, own, asked = found(probe=ProbeFacts(every=EVERY, never="never probed: the register says so"))
    assert [one.cover for one in (forwarded, own, asked)] == list(Cover)
    assert {one.state for one in (forwarded, own, asked)} == {State.NONE}
    assert "register what carries them" in forwarded.words
    assert asked.words == "never probed: the register says so"


@pytest.mark.parametrize(
    ("one", "other", "whole"),
    [
        (State.PROVEN, State.PROVEN, State.PROVEN),
        (State.PROVEN, State.SILENT, State.SILENT),
        (State.NOT_YET, State.SILENT, State.SILENT),
        (State.PROVEN, State.NOT_YET, State.NOT_YET),
        (State.PROVEN, State.QUIET, State.QUIET),
        (State.QUIET, State.NOT_YET, State.NOT_YET),
    ],
)
def test_a_cover_is_no_better_than_its_worst_way(one: State, other: State, whole: State) -> None:
    for first, second in ((one, other), (other, one)):
        forwarded, own, _ = found(standing(WAY, first), standing(SECOND, second), standing(OWN, State.PROVEN))
        assert (forwarded.state, own.state) == (whole, State.PROVEN)
        assert ("the records of 2" in forwarded.words) == (second is whole)


def test_a_cover_is_proven_as_of_the_oldest_of_its_last_signs() -> None:
    forwarded, own, _ = found(
        standing(WAY, State.PROVEN, ago=MINUTE), standing(SECOND, State.PROVEN, ago=3 * MINUTE),
        standing(OWN, State.PROVEN, ago=9 * MINUTE),
    )  # fmt: skip
    assert (forwarded.at, own.at) == (T0 - 3 * MINUTE, T0 - 9 * MINUTE)


def test_a_silent_cover_says_since_when_it_is_blind() -> None:
    forwarded, _, _ = found(
        standing(WAY, State.SILENT, ago=HOUR, blind=HOUR), standing(SECOND, State.SILENT, blind=2 * HOUR),
        standing(OWN, State.PROVEN, ago=MINUTE),
    )  # fmt: skip
    assert (forwarded.at, forwarded.since) == (None, T0 - 2 * HOUR)


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (ProbeFacts(every=EVERY), State.NOT_YET),
        (ProbeFacts(every=EVERY, failures=2), State.NOT_YET),
        (ProbeFacts(every=EVERY, failures=3), State.SILENT),
        (ProbeFacts(every=EVERY, answered_at=T0 - 20 * MINUTE, failures=9), State.PROVEN),
        (ProbeFacts(every=EVERY, answered_at=T0 - 21 * MINUTE), State.SILENT),
        (ProbeFacts(every=HOUR, answered_at=T0 - 3 * HOUR), State.PROVEN),
        (ProbeFacts(every=HOUR, answered_at=T0 - 3 * HOUR - MINUTE), State.SILENT),
        (ProbeFacts(every=EVERY, answered_at=T0, never="off"), State.NONE),
    ],
)
def test_the_probed_cover_lives_as_long_as_a_proof_or_three_of_its_intervals(facts: ProbeFacts, state: State) -> None:
    assert probed(facts, at=T0).state is state


def test_a_probed_cover_is_dated_by_the_last_answer_whatever_came_of_it_since() -> None:
    for ago in (MINUTE, HOUR):
        assert probed(ProbeFacts(every=EVERY, answered_at=T0 - ago, failures=2), at=T0).at == T0 - ago


# -------------------------------------------------------------------------------------------------- whom it concerns

ASKED = probed(ProbeFacts(every=EVERY, answered_at=T0), at=T0)
NEVER = probed(ProbeFacts(every=EVERY, never="off"), at=T0)


SOME_BLIND = (
    "Concerned: 3 keys (a, b, c). Of these, 1 key (b) is not probed either (off): nothing watches it now, so check by "
    "hand. The other 2 are still asked by probes."
)
ALL_BLIND = (
    "Concerned: 2 keys (a, b). None of them is probed either (a: off): nothing watches them now, so check by hand."
)


@pytest.mark.parametrize(
    ("keys", "words", "unwatched"),
    [
        ([], "No registered key is known to come this way", False),
        ([("a", ASKED)], "Concerned: 1 key (a). It is still asked by probes", False),
        ([("a", ASKED), ("b", ASKED)], "Concerned: 2 keys (a, b). They are still asked by probes", False),
        (
            [("a", NEVER)],
            "Concerned: 1 key (a). It is not probed either (off): nothing watches it now, so check it by hand",
            True,
        ),
        ([("a", ASKED), ("b", NEVER), ("c", ASKED)], SOME_BLIND, True),
        ([("a", NEVER), ("b", NEVER)], ALL_BLIND, True),
    ],
)
def test_a_silence_says_which_keys_it_concerns_and_by_what_they_are_still_watched(
    keys: list[tuple[str, Covering]], words: str, *, unwatched: bool
) -> None:
    said = concerned(keys)
    assert (said.words, said.unwatched) == (words, unwatched)


def test_of_thousands_of_keys_a_handful_is_named() -> None:
    said = concerned((f"key-{number}", ASKED) for number in range(50_000))
    assert "50000 keys (key-0, key-1, key-2, key-3, key-4 and 49995 more)" in said.words
    assert len(said.words) < 200
