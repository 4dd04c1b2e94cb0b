import getpass
import json
from pathlib import Path

import pytest
from msgspec import structs

from tests.workers.cli.places import Place
from tests.worlds import ACME_KEY, ACME_SECOND_KEY, GLOBEX_KEY, VENDOR_KEY, document, key, stores
from watchdog.register import Consumer
from workers.store.interface import Unit

FAULTY = """
version: 1
vendor:
  name: Example Vendor
customers:
  - id: acme
    naem: Acme
    contacts:
      - name: Alice
        email: not-an-address
"""


def revision(place: Place) -> int:
    with place.store() as store, store.read() as unit:
        return unit.register_revision()


def evidence(unit: Unit) -> list[str]:
    return [entry.subject for entry in unit.evidence() if entry.kind == "register"]


# --------------------------------------------------------------------------------------------------------------- check


def test_a_sound_file_is_said_to_be_sound_and_nothing_is_made(bare: Place) -> None:
    path = bare.register()
    told = bare.run("register", "check", path)
    assert (0, f"{path}: no fault; 3 customers, 3 keys.\n") == (told.code, told.out)
    assert [{"file": path, "faults": 0, "customers": 3, "keys": 3}] == bare.run(
        "register", "check", "--json", path
    ).rows
    assert not bare.home.exists()


@pytest.mark.parametrize("command", ["check", "import"])
def test_every_fault_is_told_with_its_line_and_its_mending_and_nothing_is_changed(bare: Place, command: str) -> None:
    path = bare.write("faulty.yaml", FAULTY)
    told = bare.run("register", command, path)
    assert (1, "") == (told.code, told.out)
    assert f"{path}:7: customers[0].naem: unknown field 'naem'\n    did you mean 'name'?" in told.err
    assert f"{path}:10: customers[0].contacts[0].email:" in told.err
    assert f"{path}: 2 faults; nothing was changed." in told.err
    assert not bare.home.exists()


def test_an_import_with_faults_leaves_the_register_that_counts(place: Place) -> None:
    told = place.run("register", "import", place.write("faulty.yaml", FAULTY))
    assert (1, 1) == (told.code, revision(place))


def test_faults_for_machines_come_one_a_line(bare: Place) -> None:
    path = bare.write("faulty.yaml", FAULTY)
    told = bare.run("register", "check", "--json", path)
    assert 1 == told.code
    assert [("customers[0].naem", 7), ("customers[0].contacts[0].email", 10)] == [
        (row["place"], row["line"]) for row in told.rows
    ]
    assert all({"file", "line", "place", "fault", "fix"} == row.keys() for row in told.rows)


@pytest.mark.parametrize(
    ("consumer", "words"),
    [
        (Consumer(id="db", store="aws.rdss"), "aws.rdss"),
        (Consumer(id="db", store="aws.rds", topology={"replicas": True}), "replicas"),
    ],
)
def test_a_store_that_no_row_knows_is_a_fault_for_its_deadlines_would_be_missing(
    bare: Place, consumer: Consumer, words: str
) -> None:
    told = bare.run("register", "check", bare.register(document(key(ACME_KEY, consumer))))
    assert 1 == told.code
    assert words in told.err


def test_a_fault_cannot_steer_the_terminal(bare: Place) -> None:
    path = bare.write("odd.yaml", 'version: 1\nvendor: {name: x, "\\e[31mred": 1}\n')
    assert "\x1b" not in bare.run("register", "check", path).err


@pytest.mark.parametrize("command", ["check", "import"])
def test_a_file_that_is_not_there_is_a_mistake_in_the_call(bare: Place, command: str) -> None:
    assert 2 == bare.run("register", command, "not-there.yaml").code


# -------------------------------------------------------------------------------------------------------------- import


def test_the_first_import_makes_the_store_and_names_the_new_keys(bare: Place) -> None:
    path = bare.register()
    told = bare.run("register", "import", path, "--by", "alice")
    assert 0 == told.code
    assert f"{path}: imported as revision 1; 3 keys of 3 customers." in told.out
    assert [f"  new      {one}" for one in sorted([ACME_KEY, GLOBEX_KEY, VENDOR_KEY])] == told.out.splitlines()[1:]
    with bare.store() as store, store.read() as unit:
        (entry,) = [entry for entry in unit.evidence() if entry.kind == "register"]
    assert ("alice", "register.yaml") == (json.loads(entry.body)["by"], json.loads(entry.body)["source"])


def test_the_same_file_again_changes_nothing(place: Place) -> None:
    told = place.run("register", "import", place.register())
    assert 0 == told.code
    assert "the same as revision 1, which counts already; nothing was changed." in told.out
    with place.store() as store, store.read() as unit:
        assert ["revision 1"] == evidence(unit)


def test_keys_that_are_gone_and_changed_are_named_with_what_follows(place: Place) -> None:
    path = place.register(document(key(ACME_SECOND_KEY)))
    told = place.run("register", "import", path)
    assert [f"  new      {ACME_SECOND_KEY}", f"  gone     {ACME_KEY}"] == told.out.splitlines()[1:3]
    assert "no longer watched. An open incident about one stays open" in told.out
    told = place.run("register", "import", place.register(document(key(ACME_SECOND_KEY, *stores()))))
    assert f"  changed  {ACME_SECOND_KEY}" in told.out


def test_an_import_for_machines_is_one_object(bare: Place) -> None:
    (row,) = bare.run("register", "import", "--json", bare.register()).rows
    assert {"revision": 1, "changed": True, "customers": 3, "keys": 3, "removed": [], "altered": []} == {
        name: value for name, value in row.items() if name != "added"
    }
    assert 3 == len(row["added"])


def test_a_user_without_a_name_is_asked_for_one(bare: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nobody)
    told = bare.run("register", "import", bare.register())
    assert 1 == told.code
    assert "--by NAME" in told.err
    assert 0 == bare.run("register", "import", bare.register(), "--by", "alice").code


# ---------------------------------------------------------------------------------------------------------------- show


def test_the_register_that_counts_is_shown(place: Place) -> None:
    told = place.run("register", "show")
    assert 0 == told.code
    assert "Revision 1" == told.out.splitlines()[0]
    (acme,) = [line.split() for line in told.out.splitlines() if ACME_KEY in line]
    assert [ACME_KEY, "customer", "acme", "acme-prod", "2", "quiet", "quiet", "none"] == acme


def test_the_register_for_machines_is_a_key_a_line(place: Place) -> None:
    rows = {row["key"]: row for row in place.run("register", "show", "--json").rows}
    assert {ACME_KEY, GLOBEX_KEY, VENDOR_KEY} == rows.keys()
    covers = {one["cover"]: one["state"] for one in rows[ACME_KEY].pop("coverage")}
    assert {"forwarded": "quiet", "self_observed": "quiet", "probed": "none"} == covers
    assert {
        "key": ACME_KEY, "owner": "customer", "customer": "acme", "instance": "acme-prod", "exception": "EX-7",
        "stores": ["aws.rds", "aws.s3"], "revision": 1, "preflight": None,
    } == rows[ACME_KEY]  # fmt: skip
    assert ("vendor", None) == (rows[VENDOR_KEY]["owner"], rows[VENDOR_KEY]["exception"])


def test_a_key_without_stores_has_none(place: Place) -> None:
    rows = {row["key"]: row for row in place.run("register", "show", "--json").rows}
    assert [] == rows[GLOBEX_KEY]["stores"]


def test_without_a_store_it_says_where_it_looked_and_makes_none(bare: Place) -> None:
    told = bare.run("register", "show")
    assert 1 == told.code
    assert f"There is no store at {bare.database}." in told.err
    assert "BYOK_WATCHDOG_HOME" in told.err
    assert not bare.home.exists()


def test_the_schema_that_is_printed_is_the_published_one(bare: Place) -> None:
    published = Path(__file__).resolve().parents[3] / "deploy" / "register.schema.json"
    assert json.loads(published.read_text(encoding="utf-8")) == json.loads(bare.run("register", "schema").out)


def test_a_register_for_a_name_that_yaml_could_misread_survives_the_way(bare: Place) -> None:
    plain = document()
    named = structs.replace(plain, customers=[structs.replace(plain.customers[0], name="0123"), *plain.customers[1:]])
    bare.imported(named)
    assert 0 == bare.run("register", "show").code
