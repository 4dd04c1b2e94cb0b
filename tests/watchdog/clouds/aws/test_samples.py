"""Every labelled sample beside the repository means what its label says, where that folder is present."""

import gzip
import json
from functools import cache
from typing import Any

import pytest

from tests.samples import SAMPLES, register_of
from tests.watchdog.clouds.aws.readout import ordered, told
from watchdog.clouds import aws
from watchdog.register import Register

FOLDER = SAMPLES / "aws"
LABELS = FOLDER / "labels.jsonl"


def labels() -> list[Any]:
    if not LABELS.exists():
        absent = pytest.mark.skip(reason=f"THE LABELLED AWS SAMPLES ARE ABSENT: {LABELS} was not checked")
        return [pytest.param({}, marks=absent, id="absent")]
    lines = LABELS.read_text(encoding="utf-8").splitlines()
    return [pytest.param(label, id=label["file"]) for label in map(json.loads, lines)]


@cache
def register() -> Register:
    return Register(register_of(json.loads((FOLDER / "world.json").read_text(encoding="utf-8"))))


def body_of(label: dict[str, Any]) -> bytes:
    content = (FOLDER / label["file"]).read_bytes()
    return gzip.decompress(content) if label["file"].endswith(".gz") else content


@pytest.mark.parametrize("label", labels())
@pytest.mark.parametrize("triage_knows", [True, False], ids=["with the register", "without it"])
def test_a_sample_means_what_its_label_says(label: dict[str, Any], *, triage_knows: bool) -> None:
    means = any("means" in one for one in label["expect"])
    assert ordered(label["expect"]) == told(body_of(label), register(), triage_knows=triage_knows, means=means)


@pytest.mark.parametrize("label", labels())
def test_a_sample_asks_to_fetch_what_its_label_says(label: dict[str, Any]) -> None:
    pointers = aws.unpack(body_of(label), register=register()).pointers
    assert label.get("fetch", []) == [{"bucket": one.bucket, "key": one.name} for one in pointers]
