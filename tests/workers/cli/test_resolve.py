import json

import pytest

from tests.workers.cli.places import Place, event
from tests.worlds import ACME_KEY, ACME_SECOND_KEY, document, key
from watchdog.words import Stage


@pytest.fixture
def opened(place: Place) -> Place:
    """A place with the incident KW-1."""
    place.run("replay", place.write("a.json", event("DisableKey")))
    return place


def test_a_named_decision_closes_the_incident_and_tells_everybody_who_was_told(opened: Place) -> None:
    told = opened.run("resolve", "KW-1", "--reason", "read an old file", "--by", "Oscar")
    assert 0 == told.code
    assert told.out == (
        "KW-1 is resolved by decision of Oscar; 4 notices went out or wait in the outbox. See them: byok-watchdog "
        "status KW-1\n"
    )
    with opened.store() as store, store.read() as unit:
        (incident,) = unit.incidents(only_open=False)
        assert (Stage.RESOLVED, False) == (incident.stage, incident.is_open)
        (decided,) = [entry for entry in unit.evidence() if entry.kind == "decided"]
        notices = [stored.notice for stored in unit.notices_of("KW-1") if stored.notice.kind == "resolved"]
    assert ACME_KEY == decided.subject
    assert {"incident": "KW-1", "by": "Oscar", "reason": "read an old file"} == json.loads(decided.body)
    assert [None, "alice@acme.example", "bob@acme.example", "carol@vendor.example"] == sorted(
        (notice.recipient.email if notice.recipient else None for notice in notices), key=lambda one: one or ""
    )


def test_the_notices_on_the_console_do_not_mix_with_the_outcome(opened: Place) -> None:
    told = opened.run("resolve", "KW-1", "--reason", "read an old file", "--by", "Oscar", "--json")
    (row,) = told.rows
    assert ("KW-1", "Oscar", "read an old file", 4) == (
        row["incident"],
        row["resolved_by"],
        row["reason"],
        len(row["notices"]),
    )
    assert "resolved for on-call" in told.err.lower()


def test_what_is_closed_or_unknown_cannot_be_closed(opened: Place) -> None:
    opened.run("resolve", "KW-1", "--reason", "x", "--by", "Oscar")
    for name in ("KW-1", "KW-9", "nonsense"):
        told = opened.run("resolve", name, "--reason", "x", "--by", "Oscar")
        assert (1, "") == (told.code, told.out)
        assert f"There is no open incident {name}.\n`byok-watchdog status` lists the open ones.\n" == told.err


@pytest.mark.parametrize("reason", ["", "  \t"])
def test_a_decision_without_a_reason_is_none(opened: Place, reason: str) -> None:
    told = opened.run("resolve", "KW-1", "--reason", reason)
    assert (1, "") == (told.code, told.out)
    with opened.store() as store, store.read() as unit:
        assert 1 == len(unit.incidents(only_open=True))


def test_the_reason_cannot_be_left_out(opened: Place) -> None:
    told = opened.run("resolve", "KW-1")
    assert 2 == told.code
    assert "--reason" in told.err


def test_an_incident_of_a_key_that_has_left_the_register_can_be_closed(opened: Place) -> None:
    opened.imported(document(key(ACME_SECOND_KEY)))
    assert 0 == opened.run("resolve", "KW-1", "--reason", "the instance was moved", "--by", "Oscar").code
    assert ACME_KEY not in opened.run("status").out


def test_a_decision_is_no_proof_of_health(opened: Place) -> None:
    opened.run("resolve", "KW-1", "--reason", "read an old file", "--by", "Oscar")
    told = opened.run("status", ACME_KEY)
    assert 3 == told.code
    assert "by decision of Oscar: read an old file; no check proves it" in " ".join(told.out.split())
