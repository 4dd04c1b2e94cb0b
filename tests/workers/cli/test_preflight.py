"""The live `register check`, and what `register show` and `status` show of pre-flights."""

from datetime import date, timedelta
from typing import Any

import msgspec
import pytest

from tests.workers.cli.places import HOSTILE, Place, steered
from tests.workers.probers import DISABLED, FakeProber
from tests.workers.readers import RIGHTS, WINDOW, FakeReader
from tests.workers.test_probing import probed_key
from tests.worlds import ACME_KEY, GLOBEX_KEY, VENDOR_KEY, document
from watchdog.preflight import Outcome
from watchdog.register import Deviation, KeyException, Statement
from workers.preflight import readers
from workers.probes import probers

SETTINGS = '[probes]\nclouds = ["aws"]\n'
TOMORROW = date.today() + timedelta(days=2)  # noqa: DTZ011 - far enough from any midnight


@pytest.fixture
def reader(place: Place, monkeypatch: pytest.MonkeyPatch) -> FakeReader:
    """The reader of AWS in a place whose settings say that it is asked, and probed."""
    found, prober = FakeReader(), FakeProber()
    monkeypatch.setattr(readers.Readers, "made_for", staticmethod(lambda _cloud: found))
    monkeypatch.setattr(probers.Probers, "made_for", staticmethod(lambda _cloud: prober))
    monkeypatch.setenv("COLUMNS", "100")
    place.settings(monkeypatch, SETTINGS)
    exception = KeyException(
        reference="EX-7",
        deviations=[Deviation(check=WINDOW, owner="Carol Clarke", reason="an old tool", until=TOMORROW)],
        statements=[Statement(check="all.single_purpose", by="Alice", stated_on=date(2020, 3, 1), words="only this")],
    )
    place.imported(document(msgspec.structs.replace(probed_key(canary=True), exception=exception)))
    return found


def rows(place: Place, *arguments: str, code: int = 0) -> dict[str, dict[str, Any]]:
    told = place.run("register", "check", "--json", "--by", "Oscar", *arguments)
    assert code == told.code, told.err
    return {row["key"]: row for row in told.rows}


def test_every_key_is_probed_gets_its_canary_and_is_checked(place: Place, reader: FakeReader) -> None:
    found = rows(place)
    assert [ACME_KEY, GLOBEX_KEY, VENDOR_KEY] == list(found)
    assert [["m-1"]] * 3 == [row["canaries"] for row in found.values()]
    checks = {one["check"]: one for one in found[ACME_KEY]["preflight"]["checks"]}
    assert ("pass", True) == (checks["all.usable"]["outcome"], checks["all.usable"]["hard"])
    assert "pass" == checks["all.old_data_readable"]["outcome"]
    assert sorted([ACME_KEY, GLOBEX_KEY, VENDOR_KEY]) == sorted(reader.asked)
    assert [] == rows(place)[GLOBEX_KEY]["canaries"], "it has one already"
    with place.store() as store, store.read() as unit:
        assert {"Oscar"} == {"Oscar" for one in unit.evidence() if one.kind == "preflight" and "Oscar" in one.body}


def test_what_must_not_fail_and_is_not_agreed_ends_with_one(place: Place, reader: FakeReader) -> None:
    reader.says[ACME_KEY] = {WINDOW: Outcome.FAIL}
    rows(place, "--key", ACME_KEY)
    reader.says[ACME_KEY] = {RIGHTS: Outcome.FAIL}
    found = rows(place, "--key", ACME_KEY.rpartition("/")[2], "--key", GLOBEX_KEY, code=1)
    assert [RIGHTS] == found[ACME_KEY]["preflight"]["blocked_by"]
    assert [] == found[GLOBEX_KEY]["preflight"]["blocked_by"]
    assert found[ACME_KEY]["notices"], "the failure is told"


def test_a_key_that_cannot_be_used_blocks(place: Place, reader: FakeReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probers.Probers, "made_for", staticmethod(lambda _cloud: FakeProber(says={ACME_KEY: DISABLED})))
    found = rows(place, "--key", ACME_KEY, code=1)
    assert ["all.usable"] == found[ACME_KEY]["preflight"]["blocked_by"]


def test_a_person_reads_what_is_wrong_first_who_repairs_it_and_how(place: Place, reader: FakeReader) -> None:
    reader.says[ACME_KEY] = {WINDOW: Outcome.FAIL, RIGHTS: Outcome.FAIL, "aws.trail": Outcome.CANNOT_VERIFY}
    told = place.run("register", "check", "--key", ACME_KEY, "--by", "Oscar")
    assert 1 == told.code
    lines = told.out.splitlines()
    assert ["acme / Acme production", f"  {ACME_KEY}"] == lines[:2]
    assert "verify; blocked by aws.vendor_rights" in told.out
    assert "  1 canary made, of version m-1" in lines
    labels = [line[2:17].strip() for line in lines if line[2:3].isupper() and line[16:17] == " " and line[17:18] != " "]
    assert ["BLOCKS", "AGREED", "CANNOT VERIFY", "PASS"] == list(dict.fromkeys(labels))
    assert "                 fix (customer):\n                 aws kms put-key-policy --key-id KEY\n" in told.out
    assert f"agreed with Carol Clarke until {TOMORROW}: an old tool" in told.out
    flat = " ".join(told.out.split())
    assert "stated by Alice on 2020-03-01, more than a year ago: ask again: only this" in flat
    assert "1 key checked: 1 blocked, 0 with failures that are not agreed" in lines
    assert all(len(line) <= 100 for line in lines)


def test_a_cloud_that_is_not_asked_is_checked_as_far_as_it_goes(place: Place) -> None:
    found = rows(place)
    checks = {one["check"]: one for one in found[ACME_KEY]["preflight"]["checks"]}
    assert "cannot verify" == checks[WINDOW]["outcome"]
    assert "does not name aws" in checks[WINDOW]["words"]
    assert [] == found[ACME_KEY]["canaries"]


def test_what_a_provider_says_cannot_steer_the_terminal(place: Place, reader: FakeReader) -> None:
    reader.fix = f"aws {HOSTILE}"
    reader.says[GLOBEX_KEY] = {RIGHTS: Outcome.FAIL}
    assert [] == steered(place.run("register", "check", "--key", GLOBEX_KEY, "--by", "Oscar").out)


@pytest.mark.parametrize("arguments", [("--key", "nobody"), ("FILE", "--key", ACME_KEY)])
def test_what_makes_no_sense_is_refused_in_words(place: Place, arguments: tuple[str, ...]) -> None:
    told = place.run("register", "check", *(place.register() if one == "FILE" else one for one in arguments))
    assert told.code in {1, 2}
    assert "Not a registered key: nobody" in told.err or "leave FILE out" in told.err


def test_without_a_register_there_is_nothing_to_check(bare: Place, place: Place) -> None:
    place.imported(msgspec.structs.replace(document(), customers=[]))
    told = place.run("register", "check")
    assert (1, True) == (told.code, "No register has been imported" in told.err or "no key" in told.err)


# ------------------------------------------------------------------------------------------------------ what is shown


def test_the_result_is_shown_with_the_key(place: Place, reader: FakeReader) -> None:
    reader.says[ACME_KEY] = {RIGHTS: Outcome.FAIL}
    checked = rows(place, "--key", ACME_KEY, code=1)[ACME_KEY]["preflight"]
    shown = {row["key"]: row["preflight"] for row in place.run("register", "show", "--json").rows}
    assert {ACME_KEY: checked, GLOBEX_KEY: None, VENDOR_KEY: None} == shown


def test_status_has_a_line_for_each_key_and_says_what_blocks(place: Place, reader: FakeReader) -> None:
    reader.says[ACME_KEY] = {RIGHTS: Outcome.FAIL}
    checked = rows(place, code=1)
    found = {row["key"]: row for row in place.run("status", "--json").rows if row["type"] == "key"}
    for key in (ACME_KEY, GLOBEX_KEY):
        plain = {name: checked[key]["preflight"][name] for name in found[key]["preflight"]}
        assert plain == found[key]["preflight"]
    told = place.run("status", "--all").out
    assert "fail, " in told
    assert f"blocked by {RIGHTS}" in " ".join(told.split())
    assert f"1 key blocked by hard pre-flight checks: {RIGHTS} (1)" in told
