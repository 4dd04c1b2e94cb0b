"""The clouds as the commands offer them: registers of each are imported, its records explained and replayed."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.watchdog.clouds.azure import world as azure
from tests.watchdog.clouds.gcp import world as gcp
from tests.workers.cli.places import Place, steered
from tests.worlds import agreed
from watchdog import clouds
from watchdog.words import Effect
from workers.store.interface import NoticeState

RECORDED = Path(__file__).resolve().parents[2] / "recorded"
WORLDS = {"azure": agreed(azure.document()), "gcp": agreed(gcp.document())}
LOST = {
    "azure": ("key_update_disabled.json", "key_disabled", azure.DATA_KEY),
    "gcp": ("destroy_version.json", "key_deletion_scheduled", gcp.KEY),
}
each_cloud = pytest.mark.parametrize("cloud", LOST)


def recorded(cloud: str) -> str:
    return str(RECORDED / cloud / LOST[cloud][0])


def expected(cloud: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((RECORDED / cloud / "expected.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def watched(bare: Place, cloud: str) -> Place:
    """A home with the register of one cloud."""
    bare.imported(WORLDS[cloud])
    return bare


def explained(place: Place, cloud: str, *, named: str) -> list[dict[str, Any]]:
    path = place.register(WORLDS[cloud])
    told = place.run("explain", "--cloud", named, "--register", path, "--json", recorded(cloud))
    assert (0, "") == (told.code, told.err)
    return told.rows


@each_cloud
def test_a_record_of_any_cloud_is_explained(bare: Place, cloud: str) -> None:
    _, effect, key = LOST[cloud]
    [row] = explained(bare, cloud, named=cloud)
    assert effect == row["effect"]
    assert row["key"].startswith(key)


@each_cloud
def test_the_cloud_is_never_guessed(bare: Place, cloud: str) -> None:
    assert [] == [row["key"] for row in explained(bare, cloud, named="aws") if row["key"]]


@each_cloud
def test_a_sound_register_is_checked_imported_and_shown(bare: Place, cloud: str) -> None:
    path = bare.register(WORLDS[cloud])
    assert f"{path}: no fault; 2 customers," in bare.run("register", "check", path).out
    assert "imported as revision 1" in bare.run("register", "import", path, "--by", "test").out
    assert LOST[cloud][2] in [row["key"] for row in bare.run("register", "show", "--json").rows]


@each_cloud
def test_nothing_is_imported_from_a_register_with_a_fault(bare: Place, cloud: str) -> None:
    text = Path(bare.register(WORLDS[cloud])).read_text(encoding="utf-8")
    spoilt = text.replace(azure.BUILT_IN, azure.JANE, 1).replace(gcp.SELF, gcp.SUBSCRIPTION, 1)
    told = bare.run("register", "import", bare.write("spoilt.yaml", spoilt), "--by", "test")
    assert 1 == told.code
    assert "spoilt.yaml: 1 fault; nothing was changed." in told.err
    assert not bare.home.exists()


@pytest.mark.parametrize("cloud", ["azure"])
def test_another_spelling_of_a_registered_key_is_refused_so_that_its_history_is_not_left_behind(
    watched: Place, cloud: str
) -> None:
    text = Path(watched.register(WORLDS[cloud])).read_text(encoding="utf-8")
    spelt = azure.DATA_KEY.replace("data-cmk", "Data-CMK")
    path = watched.write("spelt.yaml", text.replace(azure.DATA_KEY, spelt))
    assert "no fault" in watched.run("register", "check", path).out
    told = watched.run("register", "import", path, "--by", "test")
    assert 1 == told.code
    assert f"{spelt}\n    is registered as {azure.DATA_KEY}" in told.err
    keys = {row["key"]: row["revision"] for row in watched.run("register", "show", "--json").rows}
    assert (1, None) == (keys[azure.DATA_KEY], keys.get(spelt))


@each_cloud
def test_a_replayed_loss_becomes_an_incident_and_is_told(watched: Place, cloud: str) -> None:
    told = watched.run("replay", "--cloud", cloud, recorded(cloud))
    assert (0, True) == (told.code, told.out.startswith("1 record: 1 worked, 0 known already"))
    with watched.store() as store, store.read() as unit:
        [incident] = unit.incidents(only_open=True)
        counts = unit.outbox_counts()
        subjects = {one.subject for one in unit.all_health()}
    assert ("globex", (LOST[cloud][2],)) == (incident.customer, incident.subjects)
    assert LOST[cloud][2] in subjects
    assert 0 < counts[NoticeState.ACCEPTED] == sum(counts.values())
    assert "kim@globex.example" in told.err
    assert "initech" not in told.err


@each_cloud
def test_the_same_record_in_another_file_and_form_is_known(watched: Place, cloud: str) -> None:
    watched.run("replay", "--cloud", cloud, recorded(cloud))
    content = json.loads(Path(recorded(cloud)).read_text(encoding="utf-8"))
    lines = json.dumps(content).encode() + b"\n"
    told = watched.run("replay", "--cloud", cloud, watched.write("again.jsonl.gz", gzip.compress(lines)))
    assert told.out.startswith("1 record: 0 worked, 1 known already")
    with watched.store() as store, store.read() as unit:
        assert 1 == len(unit.incidents(only_open=False))


def of_its_own(name: str, text: str) -> str:
    """The recorded Google Cloud entries are variations of a few, under the same id: give each its own."""
    return re.sub(r'"insertId": *"[^"]*"', f'"insertId": "{name}"', text)


@each_cloud
def test_everything_that_was_recorded_can_be_replayed_and_twice_is_as_once(watched: Place, cloud: str) -> None:
    names = sorted({entry["file"] for entry in expected(cloud)})
    files = [
        watched.write(f"in/{name}", of_its_own(name, (RECORDED / cloud / name).read_text("utf-8"))) for name in names
    ]
    first = watched.run("replay", "--cloud", cloud, "--json", str(Path(files[0]).parent))
    assert 0 == first.code
    [counts] = first.rows
    assert counts["kept"] > 100
    unreadable = any(label["effect"] == Effect.UNREADABLE for entry in expected(cloud) for label in entry["expect"])
    assert unreadable == (counts["unreadable"] > 0)

    def state() -> object:
        with watched.store() as store, store.read() as unit:
            return (
                sorted((one.subject, one.doc) for one in unit.all_health()),
                [(one.id, one.doc) for one in unit.incidents(only_open=False)],
                unit.outbox_counts(),
                unit.quarantine_count(),
            )

    before = state()
    [again] = watched.run("replay", "--cloud", cloud, "--json", str(Path(files[0]).parent)).rows
    assert (0, counts["kept"] + counts["known"]) == (again["kept"], again["known"])
    assert before == state()


@pytest.mark.parametrize("cloud", clouds.CLOUDS)
def test_every_cloud_has_a_catalogue_with_filters(bare: Place, cloud: str) -> None:
    told = bare.run("catalogue", "--cloud", cloud)
    rows = clouds.cloud(cloud).catalogue()
    assert 0 == told.code
    assert f"{len(rows)} rows. Filters to install: byok-watchdog catalogue --cloud {cloud} --for list" in told.out
    assert [] == steered(told.out)
    names = bare.run("catalogue", "--cloud", cloud, "--for", "list").out.split("\n")[:-1]
    assert list(clouds.cloud(cloud).filters()) == names
    assert names
