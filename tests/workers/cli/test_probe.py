"""The command `probe`, and what `status` shows of probes."""

from typing import Any

import pytest

from tests.workers.cli.places import Place, steered
from tests.workers.probers import BROKEN_CALLER, DISABLED, FakeProber
from tests.workers.test_probing import probed_key
from tests.worlds import ACME_KEY, GLOBEX_KEY, VENDOR_KEY, document
from workers.probes import probers

SETTINGS = '[probes]\nclouds = ["aws"]\n'


@pytest.fixture
def prober(place: Place, monkeypatch: pytest.MonkeyPatch) -> FakeProber:
    """The prober of AWS in a place whose settings say that it is asked."""
    found = FakeProber()
    monkeypatch.setattr(probers.Probers, "made_for", staticmethod(lambda _cloud: found))
    place.settings(monkeypatch, SETTINGS)
    place.imported(document(probed_key(canary=True)))
    return found


def json_of(place: Place, *arguments: str, code: int) -> dict[str, Any]:
    told = place.run("probe", "--json", "--by", "Oscar", *arguments)
    assert code == told.code
    (row,) = told.rows
    return row


def test_a_key_that_works_is_said_to_be_proven(place: Place, prober: FakeProber) -> None:
    told = place.run("probe", ACME_KEY, "--by", "Oscar")
    assert 0 == told.code
    assert told.out.startswith("PASSED       acme / acme-prod  arn:aws:kms:eu-west-1:111122223333:key/1111")
    assert "  state: ok (it says ok)\n  use: ok (it says ok)\n  control: ok (it says ok)\n" in told.out
    assert "1 canary kept, of version m-1.\n" in told.out
    assert prober.closed


def test_a_key_that_does_not_work_opens_an_incident_and_says_whose_fault_it_is(
    place: Place, prober: FakeProber
) -> None:
    prober.says[ACME_KEY] = DISABLED
    told = place.run("probe", ACME_KEY.rpartition("/")[2], "--by", "Oscar")
    assert 3 == told.code
    assert "FAILED" in told.out
    assert "             fault: customer\n" in told.out
    assert "notices went out or wait in the outbox" in told.out
    with place.store() as store, store.read() as unit:
        (incident,) = unit.incidents(only_open=True)
        assert incident.subjects == (ACME_KEY,)
        assert "Oscar" in [one.body for one in unit.evidence() if one.kind == "probe"][-1]


def test_what_cannot_be_told_is_neither_passed_nor_failed(place: Place, prober: FakeProber) -> None:
    prober.says[ACME_KEY] = BROKEN_CALLER
    row = json_of(place, ACME_KEY, code=3)
    assert (row["passed"], row["fault"]) == (None, "vendor")
    assert [("state", "denied"), ("use", "denied"), ("control", "denied")] == [
        (one["question"], one["answer"]) for one in row["findings"]
    ]


def test_a_canary_is_made_when_it_is_asked_for(place: Place, prober: FakeProber) -> None:
    row = json_of(place, ACME_KEY, "--make-canary", code=0)
    assert ["m-1"] == [one["version"] for one in row["canaries"]]
    assert [("canary", "ok")] == [(one["question"], one["answer"]) for one in row["making"]]
    assert 1 == prober.made
    assert "canary" in [one["question"] for one in json_of(place, ACME_KEY, code=0)["findings"]]


def test_what_a_provider_says_cannot_steer_the_terminal(place: Place, prober: FakeProber) -> None:
    prober.version = "m\x1b[2J"
    assert [] == steered(place.run("probe", ACME_KEY, "--by", "Oscar").out)


@pytest.mark.parametrize(("name", "words"), [("nobody", "Not a registered key: nobody")])
def test_a_key_that_nobody_knows_is_refused(place: Place, prober: FakeProber, name: str, words: str) -> None:
    told = place.run("probe", name)
    assert (1, True, []) == (told.code, words in told.err, prober.asked)


def test_a_key_that_the_register_says_never_to_ask_is_refused(place: Place, prober: FakeProber) -> None:
    place.imported(document(probed_key(off=True)))
    told = place.run("probe", ACME_KEY)
    assert (1, True, []) == (told.code, "never probed (probe.off)" in told.err, prober.asked)


def test_a_cloud_that_is_not_asked_is_told_with_its_setting(place: Place) -> None:
    told = place.run("probe", ACME_KEY)
    assert 1 == told.code
    assert "probes.clouds: does not name aws" in told.err


def rows(place: Place) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in place.run("status", "--json").rows if row["type"] == "key"}


def test_status_says_of_every_key_that_is_not_probed_that_it_is_not(place: Place) -> None:
    shown = place.run("status").out
    assert "3 keys not probed: [probes] in the settings does not name aws" in shown
    assert {"not probed: [probes] in the settings does not name aws"} == {
        row["not_probed"] for row in rows(place).values()
    }


def test_status_shows_the_last_probe_and_when_the_next_one_is(place: Place, prober: FakeProber) -> None:
    prober.says[ACME_KEY] = DISABLED
    for one in (ACME_KEY, GLOBEX_KEY):
        place.run("probe", one, "--by", "Oscar")
    found = rows(place)
    assert [False, True, None] == [
        (found[one]["verified"] or {"passed": None})["passed"] for one in (ACME_KEY, GLOBEX_KEY, VENDOR_KEY)
    ]
    assert all(row["next_probe_at"] for row in found.values())
    shown = place.run("status").out
    assert "checked" in shown
    assert "the next one in " in shown
    assert "1 healthy key not listed" in shown, "a passed check is no reason to list a key"
