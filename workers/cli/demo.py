"""The command `demo`: the real processes on this machine, a key being lost and saved, and everybody who is told."""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from workers import logs
from workers.cli.context import prepare_store
from workers.cli.output import fail, remaining, safe
from workers.cli.status import show, words
from workers.cli.up import environment
from workers.observing import operator_mark, take_marks
from workers.processes import stop_on_signals
from workers.registering import import_document
from workers.runtime import Runtime, utc_now
from workers.samples import story
from workers.samples.corpus import Corpus, eventbridge, trail_file
from workers.settings import CONFIG_VARIABLE, HOME_VARIABLE, Settings, load
from workers.store.interface import NoticeState
from workers.supervisor import NoBroker, Supervisor
from workers.viewing import view

_CONFIG = """\
customer_mail = "mail"
operators = ["operators"]

[feeds.drop]
kind = "folder"
path = "{drop}"

[channels.page]
kind = "console"
[channels.mail]
kind = "console"
[channels.operators]
kind = "console"

[routes.default]
channels = ["page"]
"""

NOISE = 400
STEP_SECONDS = 45.0


@dataclass
class Stage:
    """Where the demo plays: its runtime, the folder that its feed watches, and what has happened so far."""

    runtime: Runtime
    drop: Path
    corpus: Corpus
    started_at: float
    times: list[tuple[str, float]]


@click.command()
@click.option("--stay", is_flag=True, help="Stay up afterwards, until stopped with Ctrl-C.")
@click.option(
    "--home", type=click.Path(file_okay=False), default=None, help="Keep everything here (default: a temporary folder)."
)
def demo(*, stay: bool, home: str | None) -> None:
    """Show a key being revoked and who is told, with the real processes on embedded defaults.

    Starts a broker, a scheduler, two workers and a consumer, drops CloudTrail files with noise and a few records that
    matter into a folder, and shows the page, the customer's e-mail and the verdict as they come.
    """
    logs.configure(level="error")
    folder = Path(home).absolute() if home else Path(tempfile.mkdtemp(prefix="byok-demo-"))
    try:
        _play(folder, stay=stay)
    finally:
        if home is None:
            shutil.rmtree(folder, ignore_errors=True)


def _play(folder: Path, *, stay: bool) -> None:
    found = _settings(folder)
    stop = stop_on_signals()
    prepare_store(found)
    runtime = Runtime(found)
    imported = import_document(runtime, story.document(), by="demo", source="the demo's register", now=utc_now())
    click.secho(f"byok-watchdog demo. Everything lies in {folder}", bold=True)
    _say(f"Register imported: {imported.keys} key of {imported.customers} customer, used by exception EX-17.")
    try:
        supervisor = Supervisor(
            found, environment=environment(found), log_folder=folder / "logs",
            on_start=lambda name, pid: _say(f"started {name} (process {pid})"),
        )  # fmt: skip
    except NoBroker as fault:
        fail(f"No broker: {fault}")
    keeper = threading.Thread(target=supervisor.run, args=(stop,), name="supervisor")
    keeper.start()
    try:
        _say("waiting until every process has given a sign of life")
        if not _wait(lambda: len(_kinds(runtime)) >= len(supervisor.children) - 1, stop) and not stop.is_set():
            fail("The processes did not start in time.", hint=f"Look into {folder / 'logs'}.")
        _tell_story(Stage(runtime, folder / "drop", Corpus(seed=7), time.monotonic(), []), stop)
        if stay and not stop.is_set():
            _stay(folder, stop)
    finally:
        stop.set()
        keeper.join()
        runtime.store.close()


def _kinds(runtime: Runtime) -> set[str]:
    """The kinds of process that have given a sign of life; the broker gives none."""
    with runtime.store.read() as unit:
        return {process.kind for process in unit.processes()}


def _settings(folder: Path) -> Settings:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "byok-watchdog.toml"
    config.write_text(_CONFIG.format(drop=folder / "drop"), encoding="utf-8")
    return load({HOME_VARIABLE: str(folder), CONFIG_VARIABLE: str(config)})


def _tell_story(stage: Stage, stop: threading.Event) -> None:
    now = utc_now().replace(microsecond=0)
    steps: list[tuple[str, Callable[[datetime], dict[str, object]], int]] = [
        ("a clean-up job at Acme disables the key", lambda at: story.disabled(stage.corpus, at), 3),
        (
            "the same job schedules the key for deletion in 7 days",
            lambda at: story.scheduled(stage.corpus, at, at + timedelta(days=7)),
            3,
        ),
        ("Alice cancels the deletion - but the key is still disabled", lambda at: story.cancelled(stage.corpus, at), 3),
        ("Alice enables the key", lambda at: story.enabled(stage.corpus, at), 1),
    ]
    for number, (title, make, notices) in enumerate(steps):
        if stop.is_set():
            return
        _drop(stage, number, title, make(now + timedelta(seconds=number)), notices, stop)
    if not stop.is_set():
        _resolve(stage, stop)
    _summary(stage)


def _drop(
    stage: Stage, number: int, title: str, record: dict[str, object], notices: int, stop: threading.Event
) -> None:
    _heading(f"{number + 1}. {title}")
    noise = [stage.corpus.noise() for _ in range(NOISE)]
    half = NOISE // 2
    before = _accepted(stage)
    _write(stage.drop, f"{number}-noise.json", trail_file(noise[:half]))
    at = time.monotonic()
    _write(stage.drop, f"{number}-record.json", eventbridge(record))
    _write(stage.drop, f"{number}-more-noise.json", trail_file(noise[half:]))
    _say(f"dropped one record among {NOISE} others; waiting for {notices} notices")
    if not _wait(lambda: _accepted(stage) >= before + notices, stop):
        if stop.is_set():
            return
        fail(
            f"The notices did not go out within {STEP_SECONDS:.0f} s.", hint=f"Look into {stage.drop.parent / 'logs'}."
        )
    stage.times.append((title, time.monotonic() - at))
    _verdict(stage)


def _write(folder: Path, name: str, body: bytes) -> None:
    """Put a file into the feed's folder in one step, as the feed wants it."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{name}.part"
    part.write_bytes(body)
    part.rename(folder / name)


def _accepted(stage: Stage) -> int:
    with stage.runtime.store.read() as unit:
        return sum(
            1
            for stored in unit.incidents(only_open=False)
            for notice in unit.notices_of(stored.id)
            if notice.state is NoticeState.ACCEPTED
        )


def _wait(done: Callable[[], bool], stop: threading.Event) -> bool:
    end = time.monotonic() + STEP_SECONDS
    while time.monotonic() < end:
        if done():
            return True
        if stop.wait(0.1):
            return False
    return False


def _verdict(stage: Stage) -> None:
    seen = view(stage.runtime, now=datetime.now(UTC))
    for one in seen.subjects:
        found = one.assessment
        left = found.headline.at if found.headline else None
        count = f", {remaining(left, seen.at)} left" if left else ""
        click.secho(f"   verdict: {found.verdict}{count}", fg="cyan", bold=True)
        for label, deadline in (("headline", found.headline), ("then", found.second)):
            if deadline is not None:
                click.secho(f"   {label}: {safe(words(deadline, seen.at))}", fg="cyan")
        if not found.judgement.conditions:
            click.secho(f"   {safe(found.why)}", fg="cyan")


def _resolve(stage: Stage, stop: threading.Event) -> None:
    _heading("5. the vendor's on-call proves that the database answers, and says so by name")
    with stage.runtime.store.read() as unit:
        opened = unit.incidents(only_open=True)
    before = _accepted(stage)
    now = utc_now()
    for incident in opened:
        mark = operator_mark(
            "Oscar, on-call", "connected to the database, read an old file and wrote a new one", at=now
        )
        queued = take_marks(
            stage.runtime, {subject: [mark] for subject in incident.subjects}, kind="decided",
            evidence={"incident": incident.id, "by": mark.reason}, now=now,
        )  # fmt: skip
        if not _wait(lambda: _accepted(stage) >= before + len(queued), stop) and not stop.is_set():  # noqa: B023 - one
            fail("The notices did not go out in time.", hint=f"Look into {stage.drop.parent / 'logs'}.")
    _verdict(stage)


def _summary(stage: Stage) -> None:
    _heading("Summary")
    seen = view(stage.runtime, now=datetime.now(UTC))
    for feed in seen.feeds:
        click.echo(
            f"   feed {feed.feed}: {feed.received} records received, {feed.kept} mattered, {feed.dropped} were noise"
        )
    for title, seconds in stage.times:
        click.echo(f"   {seconds:5.2f} s from the file to the last notice: {title}")
    with stage.runtime.store.read() as unit:
        entries = sum(1 for _ in unit.evidence())
    click.echo(f"   {_accepted(stage)} notices accepted, {entries} entries of evidence, each sealing the one before it")
    click.echo(f"   the whole story took {time.monotonic() - stage.started_at:.1f} s")


def _stay(folder: Path, stop: threading.Event) -> None:
    show(view(Runtime(_settings(folder)), now=datetime.now(UTC)))
    click.echo(f"\nStill running. Drop CloudTrail files into {folder / 'drop'}; in another terminal:")
    click.echo(f"   {CONFIG_VARIABLE}={folder / 'byok-watchdog.toml'} {HOME_VARIABLE}={folder} byok-watchdog status")
    click.echo("Stop with Ctrl-C.")
    while not stop.wait(1.0):
        pass


def _heading(text: str) -> None:
    click.secho(f"\n=== {text} ", fg="blue", bold=True, nl=False)
    click.secho("=" * max(3, 100 - len(text)), fg="blue", bold=True)


def _say(text: str) -> None:
    click.secho(f"   {text}", fg="bright_black")
