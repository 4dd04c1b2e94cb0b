"""Every labelled sample beside the repository means what its label says, where that folder is present."""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.samples_gcp import CUSTOMER_FACTS, KEY_FACTS, VENDOR_FACTS, register_of
from tests.watchdog.clouds.gcp.readout import ordered, told
from watchdog.clouds import gcp
from watchdog.register import Register
from watchdog.words import NOT_A_SIGNAL, Effect

SAMPLES = Path(__file__).resolve().parents[5] / "shared" / "samples"
FOLDER = SAMPLES / "gcp"
LABELS = FOLDER / "labels.jsonl"
OTHERS = ("aws", "azure")


def labels() -> list[Any]:
    if not LABELS.exists():
        absent = pytest.mark.skip(reason=f"THE LABELLED GOOGLE CLOUD SAMPLES ARE ABSENT: {LABELS} was not checked")
        return [pytest.param({}, marks=absent, id="absent")]
    lines = LABELS.read_text(encoding="utf-8").splitlines()
    return [pytest.param(label, id=label["file"]) for label in map(json.loads, lines)]


@cache
def register() -> Register:
    return Register(register_of(json.loads((FOLDER / "world.json").read_text(encoding="utf-8"))))


@pytest.mark.parametrize("label", labels())
@pytest.mark.parametrize("triage_knows", [True, False], ids=["with the register", "without it"])
def test_a_sample_means_what_its_label_says(label: dict[str, Any], *, triage_knows: bool) -> None:
    body = (FOLDER / label["file"]).read_bytes()
    assert ordered(label["expect"]) == told(body, register(), triage_knows=triage_knows)


@pytest.mark.parametrize("other", OTHERS)
def test_a_sample_of_another_cloud_never_speaks_and_never_raises(other: str) -> None:
    if not LABELS.exists():
        pytest.skip(f"THE LABELLED SAMPLES OF {other.upper()} ARE ABSENT: {SAMPLES / other} was not checked")
    for path in sorted((SAMPLES / other).rglob("*.json*")):
        body = path.read_bytes()
        for content in (body, gzip.decompress(body)) if path.suffix == ".gz" else (body,):
            for entry in gcp.unpack(content, register=register()).entries:
                effects = {signal.effect for signal in gcp.meaning(entry.raw, register())}
                assert effects <= NOT_A_SIGNAL | {Effect.NO_EFFECT}, path.name


def test_every_fact_of_the_world_has_a_place_in_the_register() -> None:
    if not LABELS.exists():
        pytest.skip(f"THE WORLD OF THE GOOGLE CLOUD SAMPLES IS ABSENT: {FOLDER} was not checked")
    world = json.loads((FOLDER / "world.json").read_text(encoding="utf-8"))
    assert set(world["vendor"]) == {*VENDOR_FACTS, "service_perimeters", "feeds"}
    for customer in world["customers"]:
        assert set(customer) <= {*CUSTOMER_FACTS, "id", "note", "vendor_instance_project", "keys"}
        for key in customer["keys"]:
            assert set(key) <= {*KEY_FACTS, "key"}
