"""Every labelled sample beside the repository means what its label says, where that folder is present."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.samples_azure import SAMPLES, register_of
from tests.watchdog.clouds.azure.readout import ordered, told
from watchdog.clouds import azure
from watchdog.clouds.azure.answers import said
from watchdog.clouds.azure.index import index_of
from watchdog.register import Register
from watchdog.words import NOT_A_SIGNAL, Effect


def skipped(what: Path) -> Any:
    absent = pytest.mark.skip(reason=f"THE LABELLED SAMPLES ARE ABSENT: {what} was not checked")
    return pytest.param({}, marks=absent, id="absent")


def labels(folder: Path) -> list[Any]:
    path = folder / "labels.jsonl"
    if not path.exists():
        return [skipped(path)]
    found = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [pytest.param(label, id=label["file"]) for label in found]


def others() -> list[Any]:
    found = [
        path
        for cloud in ("aws", "gcp")
        for path in sorted((SAMPLES.parent / cloud).glob("*.json"))
        if path.name != "world.json"
    ]
    return [pytest.param(path, id=f"{path.parent.name}-{path.stem}") for path in found] or [skipped(SAMPLES.parent)]


@cache
def world() -> Any:
    return json.loads((SAMPLES / "world.json").read_text(encoding="utf-8"))


@cache
def register() -> Register:
    return Register(register_of(world()))


@pytest.mark.parametrize("label", labels(SAMPLES))
@pytest.mark.parametrize("triage_knows", [True, False], ids=["with the register", "without it"])
def test_a_sample_means_what_its_label_says(label: dict[str, Any], *, triage_knows: bool) -> None:
    body = (SAMPLES / label["file"]).read_bytes()
    assert ordered(label["expect"]) == told(body, register(), triage_knows=triage_knows)


@pytest.mark.parametrize("label", labels(SAMPLES))
def test_a_sample_can_be_dropped_only_when_it_means_nothing(label: dict[str, Any]) -> None:
    found = azure.unpack((SAMPLES / label["file"]).read_bytes(), register=register())
    if label["expect"] == [{"effect": "no_effect"}]:
        assert (found.entries, found.broken) == ([], [])


@pytest.mark.parametrize("path", others())
def test_a_sample_of_another_cloud_means_nothing(path: Path) -> None:
    found = azure.unpack(path.read_bytes())
    effects = {signal.effect for entry in found.entries for signal in azure.meaning(entry.raw, register())}
    assert effects <= NOT_A_SIGNAL | {Effect.NO_EFFECT}
    assert azure.meaning(path.read_bytes(), register())


@pytest.mark.parametrize("label", labels(SAMPLES / "probes"))
def test_an_answer_to_a_probe_means_what_its_label_says(label: dict[str, Any]) -> None:
    answer = json.loads((SAMPLES / "probes" / label["file"]).read_text(encoding="utf-8"))
    called = answer.get("request", "")
    told_of = said(answer["status"], answer["body"], proves_use="unwrapkey" in called, with_token=bool(called))
    found = {"effect": told_of.effect, "fault": told_of.fault, "cause": told_of.cause, "probe": told_of.probe}
    assert label["expect"] == [{name: value for name, value in found.items() if value}]


def test_the_keys_that_a_grant_covers_follow_from_its_scope() -> None:
    if not SAMPLES.exists():
        pytest.skip(f"THE LABELLED SAMPLES ARE ABSENT: {SAMPLES} was not checked")
    index = index_of(register())
    for grant in world()["grants"]:
        covered = {
            key.key.id
            for key in index.by_id.values()
            for known in key.grants
            if (known.facts.id, known.facts.scope) == (grant["id"], grant["scope"])
        }
        assert covered == set(grant["covers"])


def test_the_customers_that_an_application_serves_follow_from_their_principals() -> None:
    if not SAMPLES.exists():
        pytest.skip(f"THE LABELLED SAMPLES ARE ABSENT: {SAMPLES} was not checked")
    index = index_of(register())
    for app in world()["vendor"]["apps"]:
        found = index.keys_served_by(index.apps[app["object_id"]])
        assert {key.key.customer.id for key in found} == set(app["serves"])
