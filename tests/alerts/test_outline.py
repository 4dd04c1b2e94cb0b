import json
from dataclasses import fields, replace

import pytest

from alerts.outline import BUDGETS, fitting, outline
from alerts.text import cleaned
from tests.alerts import stories
from watchdog.notices import Facts, Reader


def plain(facts: Facts, budget: int = 0) -> dict[str, object]:
    return outline(cleaned(stories.notice(facts, Reader.ON_CALL)), BUDGETS[budget])


@pytest.mark.parametrize("story", sorted(stories.INCIDENTS))
def test_every_story_is_plain_json(story: str) -> None:
    found = plain(stories.INCIDENTS[story]())

    assert json.loads(json.dumps(found)) == found


def test_every_fact_of_an_incident_is_in_it_or_left_out_on_purpose() -> None:
    renamed = {"why": "reason", "customer_name": "customer", "instance_name": "instance"}
    # Who to call and whom to thank are words for people; the rest is the vendor's own knowledge.
    left_out = {"product", "emergency_contact", "verify_url", "purpose", "business_owner"}

    wanted = {renamed.get(field.name, field.name) for field in fields(Facts)} - left_out
    assert wanted <= plain(stories.deletion()).keys()


def test_no_address_of_a_person_or_a_machine_is_in_it() -> None:
    text = json.dumps(plain(stories.disabled()))

    assert "203.0.113.7" not in text
    assert "@acme.example" not in text


def test_a_withheld_command_is_told_apart_from_none() -> None:
    odd = replace(stories.ENABLE, command="aws\x00kms")
    facts = stories.facts(keys=(stories.key(steps=(odd, stories.PROVE_KEY)),))

    keys = plain(facts)["keys"]
    assert isinstance(keys, list)
    assert [step["command"] for step in keys[0]["steps"]] == ["", None]


def test_the_largest_that_fits_is_taken_and_else_the_smallest() -> None:
    sizes = {id(budget): size for budget, size in zip(BUDGETS, (900, 500, 300, 200, 100), strict=True)}

    assert len(fitting(lambda budget: b"x" * sizes[id(budget)], 1000)) == 900
    assert len(fitting(lambda budget: b"x" * sizes[id(budget)], 350)) == 300
    assert len(fitting(lambda budget: b"x" * sizes[id(budget)], 10)) == 100


@pytest.mark.parametrize("budget", range(1, len(BUDGETS)))
def test_a_smaller_outline_says_so_and_keeps_every_command_it_shows_whole(budget: int) -> None:
    one = stories.deletion().keys[0]
    long = replace(one, steps=tuple(replace(step, text="t" * 590, note="n" * 590) for step in one.steps))
    facts = replace(stories.deletion(), keys=(long,) * 60)
    found = plain(facts, budget)

    assert "of 60 keys" in str(found["shortened"])
    keys = found["keys"]
    assert isinstance(keys, list)
    assert len(keys) == BUDGETS[budget].keys
    assert keys[0]["steps"][0]["command"] == stories.CANCEL.command
    assert "[shortened]" in keys[0]["steps"][0]["text"]
    headline = found["headline"]
    assert isinstance(headline, dict)
    assert headline["at"] == "2026-12-08T09:00:00Z"
