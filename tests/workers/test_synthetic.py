"""The synthetic record: it goes the whole way of each cloud, proves it, and leaves nothing else behind."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.workers.runtimes import make_runtime
from tests.workers.test_working import FakeHand, work
from tests.worlds import T0
from watchdog import clouds
from watchdog.cloud import Unpacked
from watchdog.register import Register
from watchdog.signals import Signal
from watchdog.words import Effect
from workers import synthetic
from workers.observing import observe_row
from workers.runtime import Runtime
from workers.settings import SYNTHETIC, FeedSettings
from workers.store.interface import Carries, Unreadable
from workers.synthetic import AGAIN, EVERY, Passage, passages, put_in
from workers.viewing import view

SECOND = timedelta(seconds=1)
CLOUDS = ("aws", "azure", "gcp")


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    made = make_runtime(tmp_path)
    feeds = [
        FeedSettings(name=f"drop-{cloud}", kind="folder", cloud=cloud, options={"path": str(tmp_path)})
        for cloud in CLOUDS
    ]
    made.settings = replace(made.settings, feeds=tuple(feeds))
    return made


def told(runtime: Runtime, quarantined: list[Unreadable] | None = None, *, now: datetime = T0) -> list[int]:
    def keep(_unit: object, _feed: str, pieces: Any) -> None:
        if quarantined is not None:
            quarantined.extend(piece for _, piece in pieces)

    rows = put_in(runtime, keep, now=now)
    assert {carries for _, carries in rows} <= {Carries.RECORD}
    return [row for row, _ in rows]


def memos(runtime: Runtime) -> dict[str, Passage]:
    with runtime.store.read() as unit:
        return passages(unit, CLOUDS)


def test_a_record_of_each_cloud_goes_in_and_comes_out_as_a_loss(runtime: Runtime) -> None:
    rows = told(runtime)

    assert len(rows) == 3
    assert all(one == Passage(put_in_at=T0) for one in memos(runtime).values()), "nothing is proven yet"
    effects = [found.effects for row in rows if (found := observe_row(runtime, row, now=T0 + SECOND))]
    assert sorted(effects) == [
        (Effect.KEY_DELETION_SCHEDULED,), (Effect.KEY_DELETION_SCHEDULED,), (Effect.KEY_DISABLED,),
    ]  # fmt: skip
    assert all(one == Passage(put_in_at=T0, seen_at=T0 + SECOND) for one in memos(runtime).values())


def test_it_changes_no_health_opens_no_incident_tells_nobody_and_leaves_no_evidence(runtime: Runtime) -> None:
    with runtime.store.read() as unit:
        before = [entry.number for entry in unit.evidence()]
    for row in told(runtime):
        observe_row(runtime, row, now=T0)

    with runtime.store.read() as unit:
        assert list(unit.all_health()) == []
        assert unit.incidents(only_open=False) == []
        assert not any(unit.outbox_counts().values())
        assert [entry.number for entry in unit.evidence()] == before
        assert not any(unit.inbox_counts().values())
        assert {probe.wanted_at for probe in unit.all_probes()} == {None}
    with runtime.store.write() as unit:
        assert unit.incident_number() == 1, "its incident takes no number away"
    assert SYNTHETIC not in [feed.feed for feed in view(runtime, now=T0).feeds]


def test_the_workers_work_it_like_any_other_row(runtime: Runtime) -> None:
    for row in told(runtime):
        work(runtime, FakeHand()).observe(row)

    assert {one.seen_at is not None for one in memos(runtime).values()} == {True}


def test_one_is_put_in_a_day_and_again_soon_only_when_it_did_not_come_out(runtime: Runtime) -> None:
    (aws, *_) = told(runtime)
    observe_row(runtime, aws, now=T0)
    assert told(runtime, now=T0 + AGAIN - SECOND) == []
    assert len(told(runtime, now=T0 + AGAIN)) == 2, "the two that have not come out"
    assert len(told(runtime, now=T0 + EVERY)) == 3


def test_a_repeat_changes_nothing(runtime: Runtime) -> None:
    (row, *_) = told(runtime)
    observe_row(runtime, row, now=T0 + SECOND)
    before = memos(runtime)

    assert observe_row(runtime, row, now=T0 + 9 * SECOND) is None
    assert memos(runtime) == before


class Broken:
    """A decoder with one fault of its own."""

    def __init__(self, name: str, **faults: Any) -> None:
        self._real, self._faults = clouds.cloud(name), faults

    def __getattr__(self, name: str) -> Any:
        return self._faults.get(name) or getattr(self._real, name)


def broken(monkeypatch: pytest.MonkeyPatch, **faults: Any) -> None:
    wrong: dict[str, Broken] = {name: Broken(name, **faults) for name in CLOUDS}
    monkeypatch.setattr("watchdog.clouds.cloud", wrong.__getitem__)


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"effect": Effect.NO_EFFECT}, "not as the loss"),
        ({"key": "another key"}, "not as the loss"),
        ({"occurred_at": T0 - SECOND}, "another time"),
    ],
)
def test_a_decoder_that_makes_something_else_of_it_is_found_out(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, cloud: str, wrong: dict[str, Any], words: str
) -> None:
    feeds = tuple(one for one in runtime.settings.feeds if one.cloud == cloud)
    runtime.settings = replace(runtime.settings, feeds=feeds)
    right = clouds.cloud(cloud)
    (row,) = told(runtime)

    def meaning(raw: bytes, register: Register, *, received_at: datetime) -> list[Signal]:
        return [replace(one, **wrong) for one in right.meaning(raw, register, received_at=received_at)]

    broken(monkeypatch, meaning=meaning)
    observe_row(runtime, row, now=T0)

    passage = memos(runtime)[cloud]
    assert words in (passage.trouble or "")
    assert passage.seen_at is None


@pytest.mark.parametrize(
    ("unpack", "words", "is_told"),
    [
        (lambda *_args, **_more: 1 / 0, "could not be read", True),
        (lambda *_args, **_more: Unpacked(dropped_count=1), "thrown away", False),
    ],
)
def test_a_record_that_does_not_even_reach_the_inbox_is_trouble_at_once(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, *, unpack: Any, words: str, is_told: bool
) -> None:
    broken(monkeypatch, unpack=unpack)
    quarantined: list[Unreadable] = []

    assert told(runtime, quarantined) == []

    assert bool(quarantined) is is_told, "what cannot be read goes to quarantine, which is told"
    assert all(words in (one.trouble or "") for one in memos(runtime).values())


def test_trouble_is_over_when_one_comes_out_right(runtime: Runtime) -> None:
    with runtime.store.write() as unit:
        unit.put_memo("synthetic:aws", b'{"trouble": "it was broken"}', at=T0)
    for row in told(runtime):
        observe_row(runtime, row, now=T0)

    assert memos(runtime)["aws"].trouble is None


def test_the_synthetic_keys_are_never_those_of_the_register(runtime: Runtime) -> None:
    with runtime.store.read() as unit:
        registered = runtime.registry.current(unit).keys

    assert registered.keys().isdisjoint(synthetic.register().keys)
