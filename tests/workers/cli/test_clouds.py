"""The clouds as the commands offer them: all can be read, the watched ones alone can be worked."""

from pathlib import Path
from typing import Any

import pytest

from tests.watchdog.clouds.azure import world as azure
from tests.watchdog.clouds.gcp import world as gcp
from tests.workers.cli.places import Place, steered
from watchdog import clouds

RECORDED = Path(__file__).resolve().parents[2] / "recorded"
DISABLED = {
    "azure": (azure.document(), "key_update_disabled.json", "key_disabled", azure.DATA_KEY),
    "gcp": (gcp.document(), "destroy_version.json", "key_deletion_scheduled", f"{gcp.KEY}/cryptoKeyVersions/3"),
}
each_unwatched = pytest.mark.parametrize("cloud", DISABLED)


def explained(place: Place, cloud: str, *, named: str) -> tuple[str, list[dict[str, Any]]]:
    document, file, _, _ = DISABLED[cloud]
    path = place.register(document)
    told = place.run("explain", "--cloud", named, "--register", path, "--json", str(RECORDED / cloud / file))
    assert 0 == told.code
    return told.err, told.rows


@each_unwatched
def test_a_record_of_another_cloud_is_explained_and_the_register_s_faults_are_told(bare: Place, cloud: str) -> None:
    err, rows = explained(bare, cloud, named=cloud)
    assert [DISABLED[cloud][2:]] == [(row["effect"], row["key"]) for row in rows]
    assert "it could not be imported" in err


@each_unwatched
def test_the_cloud_is_never_guessed(bare: Place, cloud: str) -> None:
    _, rows = explained(bare, cloud, named="aws")
    assert [] == [row["key"] for row in rows if row["key"]]


@each_unwatched
def test_no_register_with_keys_that_nobody_would_watch_is_imported(bare: Place, cloud: str) -> None:
    told = bare.run("register", "import", bare.register(DISABLED[cloud][0]), "--by", "test")
    assert 1 == told.code
    assert f"keys of this cloud ({cloud}) can be explained but not watched yet" in told.err
    assert f"byok-watchdog explain --cloud {cloud}" in told.err
    assert not bare.home.exists()


@each_unwatched
def test_records_that_nobody_would_watch_cannot_be_replayed(place: Place, cloud: str) -> None:
    told = place.run("replay", "--cloud", cloud, str(RECORDED / cloud / DISABLED[cloud][1]))
    assert 2 == told.code
    assert f"'{cloud}' is not" in told.err


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
