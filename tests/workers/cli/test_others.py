"""The commands that start processes, as far as they can be seen without starting any, and the catalogue."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.workers.cli.places import Place, steered
from watchdog import clouds
from watchdog.clouds import CLOUDS
from workers.cli import demo
from workers.cli.demo import _settings
from workers.cli.up import environment
from workers.runtime import build_channels, impact_table
from workers.samples import story
from workers.settings import CONFIG_VARIABLE, HOME_VARIABLE, load
from workers.supervisor import NoBroker, Supervisor

ROOT = Path(__file__).resolve().parents[3]
FAULTY = """
customer_mail = "post"
[channels.page]
kind = "pagerduty"
routing_key = "env:TEST_MISSING"
"""

# ------------------------------------------------------------------------------------------------------------ services


@pytest.mark.parametrize("command", [("consume",), ("worker",), ("scheduler",), ("up",)])
def test_a_service_does_not_start_with_faults_in_its_settings_and_tells_all_of_them(
    bare: Place, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    bare.settings(monkeypatch, FAULTY)
    told = bare.run(*command)
    assert (1, "") == (told.code, told.out)
    assert "The settings have 2 faults:\n" in told.err
    assert "  customer_mail: no channel is called 'post'; there are: 'page'\n" in told.err
    assert "  channels.page.routing_key: the environment variable TEST_MISSING is not set, or empty\n" in told.err
    assert "deploy/byok-watchdog.toml.example" in told.err
    assert not bare.home.exists()


def test_a_feed_that_does_not_exist_is_answered_with_those_that_do(bare: Place) -> None:
    told = bare.run("consume", "dorp")
    assert 1 == told.code
    assert "feeds.dorp: there is no such feed; configured: drop" in told.err


def test_a_queue_that_does_not_exist_is_answered_with_those_that_do(bare: Place) -> None:
    told = bare.run("worker", "--queues", "urgent,fast")
    assert 2 == told.code
    assert "unknown queues fast; there are: urgent, normal, probe-now, probe, bulk" in told.err


def test_without_a_broker_for_this_machine_up_says_what_to_install(
    bare: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise NoBroker("there is no redis-server on the PATH: install the package redis-server")

    monkeypatch.setattr("workers.cli.up.Supervisor", missing)
    monkeypatch.setattr("workers.cli.up.stop_on_signals", lambda: None)
    told = bare.run("up")
    assert 1 == told.code
    assert "No broker: there is no redis-server on the PATH: install the package redis-server" in told.err


def test_the_children_of_up_find_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_SECRET_OF_A_CHANNEL", "s")
    config = tmp_path / "settings.toml"
    config.write_text(f'home = "{tmp_path / "elsewhere"}"\n', encoding="utf-8")
    found = load({CONFIG_VARIABLE: str(config)})
    given = environment(found)
    assert (str(tmp_path / "elsewhere"), str(config), "s") == (
        given[HOME_VARIABLE],
        given[CONFIG_VARIABLE],
        given["TEST_SECRET_OF_A_CHANNEL"],
    )
    assert load(given) == found
    assert CONFIG_VARIABLE not in environment(load({HOME_VARIABLE: str(tmp_path)}))


def test_a_scheduler_starts_on_nothing_leaves_a_sign_of_life_and_stops_in_time(bare: Place) -> None:
    given = {name: value for name, value in os.environ.items() if name != CONFIG_VARIABLE}
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.cli.entry", "scheduler"], cwd=ROOT, env={**given, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert _until_seen(bare, process), "no sign of life"
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, logged = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert time.monotonic() - began < 10
    assert 0 == process.returncode
    assert b'"scheduler.started"' in logged
    assert b'"scheduler.stopped"' in logged


def _until_seen(place: Place, process: "subprocess.Popen[bytes]") -> bool:
    end = time.monotonic() + 15
    while time.monotonic() < end and process.poll() is None:
        if place.database.exists() and "processes: scheduler" in place.run("status").out:
            return True
        time.sleep(0.1)
    return False


# ----------------------------------------------------------------------------------------------------------- catalogue


def test_the_catalogue_says_of_every_operation_through_what_it_is_seen(bare: Place) -> None:
    told = bare.run("catalogue")
    assert 0 == told.code
    rows = clouds.cloud("aws").catalogue()
    shown = " ".join(told.out.split())
    assert [] == [row.operation for row in rows if " ".join(f"{row.operation} ({row.service})".split()) not in shown]
    assert "No record: only a probe can tell" in told.out.splitlines()
    assert f"{len(rows)} rows. Filters to install: byok-watchdog catalogue --cloud aws --for list" in told.out
    assert [] == steered(told.out)


def test_the_catalogue_for_machines_is_an_operation_a_line(bare: Place) -> None:
    rows = bare.run("catalogue", "--json").rows
    assert len(clouds.cloud("aws").catalogue()) == len(rows)
    assert {"operation", "service", "effect", "seen_through", "note", "source"} == rows[0].keys()


def test_each_filter_can_be_printed_to_be_pasted_and_an_unknown_one_is_answered_with_those_there_are(
    bare: Place,
) -> None:
    names = bare.run("catalogue", "--for", "list").out.split()
    assert list(clouds.cloud("aws").filters()) == names
    assert clouds.cloud("aws").filters()[names[0]] + "\n" == bare.run("catalogue", "--for", names[0]).out
    told = bare.run("catalogue", "--for", "nothing")
    assert 1 == told.code
    assert f"There are: {', '.join(names)}." in told.err


# ---------------------------------------------------------------------------------------------------------------- demo


def test_the_settings_of_the_demo_are_sound_and_tell_three_readers_apart(tmp_path: Path) -> None:
    found = _settings(tmp_path)
    assert {"page", "mail", "operators"} == build_channels(found).keys()
    assert ("mail", ("operators",), {"default": ("page",)}) == (found.customer_mail, found.operators, found.routes)
    assert CLOUDS == tuple(feed.cloud for feed in found.feeds)
    assert len({str(feed.options["path"]) for feed in found.feeds}) == len(CLOUDS)


def test_the_register_of_the_demo_is_sound(bare: Place) -> None:
    assert 0 == bare.run("register", "check", bare.register(story.document())).code
    assert {"aws.rds", "aws.s3"} <= impact_table().topologies().keys()


def test_without_a_broker_for_this_machine_the_demo_says_what_to_install(
    bare: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> Supervisor:
        raise NoBroker("there is no redis-server on the PATH: install the package redis-server")

    monkeypatch.setattr(demo, "Supervisor", missing)
    monkeypatch.setattr(demo, "stop_on_signals", lambda: None)
    told = bare.run("demo", "--home", str(bare.home))
    assert 1 == told.code
    assert "No broker: there is no redis-server on the PATH" in told.err
