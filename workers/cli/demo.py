"""The command `demo`: the real processes on this machine, keys being lost and saved, and everybody who is told."""

import contextlib
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import msgspec

from watchdog.assessment import Assessment
from watchdog.incidents import Incident
from watchdog.notices import Facts, Kind, Reader
from watchdog.words import Owner, Severity, Verdict
from workers import logs
from workers.broker import BrokerAway, Hand, make_app
from workers.cli.context import prepare_store
from workers.cli.output import count, fail, filled, remaining, safe
from workers.cli.status import show, words
from workers.cli.up import environment
from workers.observing import operator_mark, take_marks
from workers.processes import stop_on_signals
from workers.registering import import_document
from workers.runtime import Runtime, utc_now
from workers.samples import story
from workers.samples.story import Chapter, Step
from workers.settings import CONFIG_VARIABLE, HOME_VARIABLE, Settings, load
from workers.store.interface import NoticeState, StoredNotice
from workers.supervisor import NoBroker, Supervisor
from workers.viewing import view

_CONFIG = """\
customer_mail = "mail"
operators = ["operators"]

[feeds.aws]
kind = "folder"
cloud = "aws"
path = "{drop}/aws"
[feeds.azure]
kind = "folder"
cloud = "azure"
path = "{drop}/azure"
[feeds.gcp]
kind = "folder"
cloud = "gcp"
path = "{drop}/gcp"

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
_INDENT = " " * 11
_SHORT = 70  # what fits beside a verdict
_COLOURS = {
    Severity.CRITICAL: "red", Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "green",
}  # fmt: skip
_incident = msgspec.json.Decoder(Incident)


@dataclass(slots=True)
class Stage:
    """Where the demo plays: its runtime, its folder, what was shown so far, and the seconds that each step took.

    With `full` the processes write every notice themselves, whole; else the demo shows what matters of each.
    """

    runtime: Runtime
    hand: Hand
    folder: Path
    full: bool
    happened_at: datetime
    shown: set[str] = field(default_factory=set)
    seconds: list[float] = field(default_factory=list)
    files: int = 0
    has_outlined: bool = False


@click.command()
@click.option("--stay", is_flag=True, help="Stay up afterwards, until stopped with Ctrl-C.")
@click.option("--full", is_flag=True, help="Show every notice whole, as it is sent.")
@click.option(
    "--home", type=click.Path(file_okay=False), default=None, help="Keep everything here (default: a temporary folder)."
)
def demo(*, stay: bool, full: bool, home: str | None) -> None:
    """Show keys being lost and saved on three clouds, and who is told, with the real processes.

    Starts a broker, a scheduler, two workers and a consumer for each cloud, drops audit records into their folders, a
    few that matter among many that do not, and shows the page, the customer's e-mail and the verdict as they come.
    """
    logs.configure(level="error")
    folder = Path(home).absolute() if home else Path(tempfile.mkdtemp(prefix="byok-demo-"))
    _play(folder, stay=stay, full=full)
    if home is None:  # after a failure it stays: people are pointed to the logs in it
        shutil.rmtree(folder, ignore_errors=True)


# ---------------------------------------------------------------------------------------------------------- the frame


def _play(folder: Path, *, stay: bool, full: bool) -> None:
    found = _settings(folder)
    stop = stop_on_signals()
    prepare_store(found)
    runtime = Runtime(found)
    with contextlib.closing(runtime):
        _play_on(runtime, folder, stop, stay=stay, full=full)


def _play_on(runtime: Runtime, folder: Path, stop: threading.Event, *, stay: bool, full: bool) -> None:
    found = runtime.settings
    click.secho("byok-watchdog demo: three customers, three clouds, a key of their own each", bold=True)
    _say(f"everything lies in {folder}")
    imported = import_document(runtime, story.document(), by="demo", source="the demo's register", now=utc_now())
    _say(f"register imported: {count(imported.keys, 'key')} of {count(imported.customers, 'customer')}")
    try:
        supervisor = Supervisor(
            found, environment=environment(found), log_folder=folder / "logs",
            console=None if full else folder / "notices.txt",
        )  # fmt: skip
    except NoBroker as fault:
        fail(f"No broker: {fault}")
    began = utc_now()
    keeper = threading.Thread(target=supervisor.run, args=(stop,), name="supervisor")
    keeper.start()
    try:
        _say(f"starting {', '.join(child.name for child in supervisor.children)}")
        if not _wait(lambda: _alive(runtime, began) >= len(supervisor.children) - 1, stop) and not stop.is_set():
            fail("The processes did not start in time.", hint=f"Look into {folder / 'logs'}.")
        stage = Stage(runtime, Hand(make_app(found)), folder, full, began.replace(microsecond=0))
        stage.shown |= {one.notice.id for one in _accepted(stage)}  # by an earlier demo in the same folder
        _tell(stage, stop)
        if stay and not stop.is_set():
            _stay(folder, stop)
    finally:
        stop.set()
        keeper.join()


def _alive(runtime: Runtime, since: datetime) -> int:
    """Count the processes that have given a sign of life; the broker gives none."""
    with runtime.store.read() as unit:
        return sum(1 for process in unit.processes() if process.seen_at >= since)


def _settings(folder: Path) -> Settings:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "byok-watchdog.toml"
    config.write_text(_CONFIG.format(drop=folder / "drop"), encoding="utf-8")
    return load({HOME_VARIABLE: str(folder), CONFIG_VARIABLE: str(config)})


def _stay(folder: Path, stop: threading.Event) -> None:
    show(view(Runtime(_settings(folder)), now=datetime.now(UTC)))
    click.echo(f"\nStill running. Drop audit records into {folder / 'drop'}/aws, azure or gcp; in another terminal:")
    click.echo(f"   {CONFIG_VARIABLE}={folder / 'byok-watchdog.toml'} {HOME_VARIABLE}={folder} byok-watchdog status")
    click.echo("Stop with Ctrl-C.")
    while not stop.wait(1.0):
        pass


# ----------------------------------------------------------------------------------------------------------- the story


def _tell(stage: Stage, stop: threading.Event) -> None:
    began = time.monotonic()
    # Another seed each time: the records of an earlier demo in the same folder are known already.
    chapters = story.chapters(seed=time.time_ns())
    _begin(stage, chapters, stop)
    for chapter in chapters:
        if stop.is_set():
            return
        _heading(chapter.title)
        _say(chapter.setting)
        for number, step in enumerate(chapter.steps, start=1):
            _happen(stage, chapter, number, step, stop)
        _decide(stage, chapter, len(chapter.steps) + 1, stop)
    if not stop.is_set():
        _summary(stage, time.monotonic() - began)


def _begin(stage: Stage, chapters: Sequence[Chapter], stop: threading.Event) -> None:
    """Show the keys in use: a use that works is the proof by which a key is called healthy."""
    _heading("An ordinary day")
    _say("the vendor's systems use the three keys, and the customers' audit logs say so")
    for chapter in chapters:
        _drop(stage, chapter, chapter.used(stage.happened_at))
    if not _wait(lambda: all(_settled(stage, chapter) for chapter in chapters), stop):
        _give_up(stage, stop)
        return
    for chapter in chapters:
        _verdict(stage, chapter, head=f"{chapter.title}: ")


def _happen(stage: Stage, chapter: Chapter, number: int, step: Step, stop: threading.Event) -> None:
    """Drop the records of one step among noise, and show what comes of them."""
    if stop.is_set():
        return
    _title(number, step.title)
    began = utc_now()
    bodies = step.tells(_next_moment(stage))
    _drop(stage, chapter, bodies)
    _say(f"{began:%H:%M:%S}  {count(len(bodies), 'record')} among {NOISE} others dropped into the feed {chapter.cloud}")
    if _follow(stage, chapter, began, stop):
        stage.seconds.append((utc_now() - began).total_seconds())
        _verdict(stage, chapter)


def _next_moment(stage: Stage) -> datetime:
    """Return when the next thing happens: CloudTrail's times are whole seconds, and their order is what counts."""
    stage.happened_at = max(stage.happened_at + timedelta(seconds=1), utc_now().replace(microsecond=0))
    return stage.happened_at


def _decide(stage: Stage, chapter: Chapter, number: int, stop: threading.Event) -> None:
    """Close the customer's incidents by a named decision: without a check of the key nothing else may."""
    if stop.is_set():
        return
    _title(number, "the vendor's on-call makes sure that everything works again, and says so by name")
    began = utc_now()
    mark = operator_mark("Oscar, on-call", chapter.proof, at=began)
    for incident in _incidents(stage, chapter):
        queued = take_marks(
            stage.runtime, {subject: [mark] for subject in incident.subjects}, kind="decided",
            evidence={"incident": incident.id, "by": mark.reason}, now=began,
        )  # fmt: skip
        with contextlib.suppress(BrokerAway):  # they are in the store: the scheduler sends what nobody was handed
            stage.hand.notices(queued)
    _say(f"{began:%H:%M:%S}  decided by {mark.reason}")
    if not _follow(stage, chapter, began, stop):
        return
    _drop(stage, chapter, chapter.used(_next_moment(stage)))
    _say(f"{utc_now():%H:%M:%S}  and the vendor's systems use the key again")
    if not _wait(lambda: _settled(stage, chapter), stop):
        _give_up(stage, stop)
        return
    _verdict(stage, chapter)


def _drop(stage: Stage, chapter: Chapter, bodies: Sequence[bytes]) -> None:
    """Put files into a feed's folder, with noise before and after them; each in one step, as the feed wants it."""
    folder = _folder(stage, chapter)
    folder.mkdir(parents=True, exist_ok=True)
    for body in (chapter.noise(NOISE // 2), *bodies, chapter.noise(NOISE // 2)):
        stage.files += 1
        part = folder / f".{stage.files:04}.part"
        part.write_bytes(body)
        part.rename(folder / f"{time.time_ns()}-{stage.files:04}.json")


def _folder(stage: Stage, chapter: Chapter) -> Path:
    return stage.folder / "drop" / chapter.cloud


def _follow(stage: Stage, chapter: Chapter, began: datetime, stop: threading.Event) -> bool:
    """Show notices as they are accepted, until all that was dropped is worked; False when stopped before."""
    before = len(stage.shown)

    def done() -> bool:
        settled = _settled(stage, chapter)
        _show_new(stage, began)
        return settled and len(stage.shown) > before

    if not _wait(done, stop):
        _give_up(stage, stop)
        return False
    return True


def _give_up(stage: Stage, stop: threading.Event) -> None:
    """End the demo with a fault, unless somebody has stopped it."""
    if not stop.is_set():
        fail(f"It was not all worked and told within {STEP_SECONDS:.0f} s.", hint=f"Look into {stage.folder / 'logs'}.")


def _settled(stage: Stage, chapter: Chapter) -> bool:
    """Whether every file is put away, every row worked, and every notice sent."""
    if any(one.is_file() for one in _folder(stage, chapter).iterdir()):
        return False
    with stage.runtime.store.read() as unit:
        leased = unit.outbox_counts()[NoticeState.LEASED]
        return not any(unit.inbox_counts().values()) and not leased and unit.oldest_due_notice(utc_now()) is None


def _accepted(stage: Stage) -> list[StoredNotice]:
    """Return every notice that has gone out, in the order in which it went."""
    with stage.runtime.store.read() as unit:
        stored = [one for incident in unit.incidents(only_open=False) for one in unit.notices_of(incident.id)]
    gone = [one for one in stored if one.state is NoticeState.ACCEPTED]
    return sorted(gone, key=lambda one: (one.accepted_at or one.due_at, one.notice.id))


def _incidents(stage: Stage, chapter: Chapter) -> list[Incident]:
    with stage.runtime.store.read() as unit:
        found = [_incident.decode(one.doc) for one in unit.incidents(only_open=True)]
    return [one for one in found if chapter.key in one.subjects]


def _wait(done: Callable[[], bool], stop: threading.Event) -> bool:
    end = time.monotonic() + STEP_SECONDS
    while time.monotonic() < end:
        if done():
            return True
        if stop.wait(0.05):
            return False
    return False


# -------------------------------------------------------------------------------------------------------- what is shown


def _show_new(stage: Stage, began: datetime) -> None:
    """Show what has gone out since the last look."""
    for one in (one for one in _accepted(stage) if one.notice.id not in stage.shown):
        stage.shown.add(one.notice.id)
        if stage.full:
            continue
        with stage.runtime.store.read() as unit:
            body = unit.rendered(one.notice.id)
        _show(stage, one, (body or b"").decode(), began)


def _show(stage: Stage, one: StoredNotice, text: str, began: datetime) -> None:
    """Show one notice: after how long, to whom, its subject; of the customer's mail also how it begins, and what to do.

    `text` is what went out: a rule, a head line, the subject, a rule, an empty line, and the letter.
    """
    notice = one.notice
    _, _, subject, _, _, *letter = text.split("\n")
    after = ((one.accepted_at or began) - began).total_seconds()
    head = f"PAGE {notice.severity}" if notice.recipient is None else f"MAIL {notice.reader}"
    whom = notice.recipient.email if notice.recipient else notice.reader.replace("_", "-")
    click.secho(f"{f'+{after:.1f} s':>10} ", fg="bright_black", nl=False)
    click.secho(f"{head:14}", fg=_COLOURS[notice.severity], bold=True, nl=False)
    click.secho(f" {safe(whom):21} ", bold=True, nl=False)
    click.echo(safe(subject.partition("] ")[2] or subject))
    if notice.reader is Reader.CUSTOMER and isinstance(notice.facts, Facts):
        _show_letter(letter, notice.facts)
        if not stage.has_outlined:
            stage.has_outlined = True
            sections = [line.lower() for line in letter if line.isupper() and line[0].isalpha() and "-" not in line]
            _bar(f"... and goes on: {'; '.join(sections)} (whole: --full)", dim=True)


def _show_letter(letter: list[str], facts: Facts) -> None:
    _bar(" ".join(letter[: letter.index("")]))
    if facts.kind not in {Kind.ALARM, Kind.PROGRESS}:
        return
    done = [(one.recorded_at or one.since, one) for key in facts.keys for one in key.happenings if one.actor]
    for _, happening in sorted(done, key=lambda pair: pair[0])[-1:]:
        tool = (happening.actor_agent or "").partition(" ")[0]
        _bar(f"{happening.operation} by {happening.actor}{f', with {tool}' if tool else ''}", dim=True)
    for step in (step for key in facts.keys for step in key.steps):
        if step.owner is Owner.CUSTOMER and step.command:
            click.secho(f"{_INDENT}|   {safe(step.command)}", fg="cyan")


def _bar(text: str, *, dim: bool = False) -> None:
    """Print a paragraph of a letter beside a bar."""
    lines = filled("", text, indent=f"{_INDENT}| ")
    click.secho(lines, fg="bright_black" if dim else None)


def _verdict(stage: Stage, chapter: Chapter, *, head: str = "verdict: ") -> None:
    """Show what is thought of the customer's key now, with the countdown."""
    seen = view(stage.runtime, now=datetime.now(UTC))
    for one in (one for one in seen.subjects if one.subject == chapter.key):
        found = one.assessment
        left = found.headline.at if found.headline else None
        countdown = f", {remaining(left, seen.at)} left" if left else ""
        stage_words = f" ({found.stage.replace('_', ' ')})" if found.stage else ""
        why = f" - {safe(found.why)}" if found.headline is None and len(found.why) < _SHORT else ""
        click.secho(f"   {head}{found.verdict}{stage_words}{countdown}{why}", fg=_colour(found), bold=True)
        for label, deadline in (("", found.headline), ("then ", found.second)):
            if deadline is not None:
                click.echo(filled("", f"{label}{words(deadline, seen.at)}", indent=_INDENT))
        if found.headline is None and not why:
            click.echo(filled("", found.why, indent=_INDENT))


def _colour(found: Assessment) -> str:
    if found.stage is not None:
        return _COLOURS[found.severity]
    return "green" if found.verdict is Verdict.HEALTHY else "yellow"


def _summary(stage: Stage, seconds: float) -> None:
    _heading("Summary")
    seen = view(stage.runtime, now=datetime.now(UTC))
    for feed in seen.feeds:
        _say(f"feed {feed.feed:6} {feed.received:5} records received, {feed.kept} mattered, {feed.dropped} were noise")
    with stage.runtime.store.read() as unit:
        entries = sum(1 for _ in unit.evidence())
    middle = statistics.median(stage.seconds)
    _say(f"{len(stage.shown)} notices accepted, {entries} entries of evidence, each sealing the one before it")
    _say(f"from a file to the last notice about it: {middle:.1f} s as a rule, {max(stage.seconds):.1f} s at most")
    _say(f"the whole story took {seconds:.0f} s; --full shows every notice whole, --stay keeps all of it running")


def _heading(text: str) -> None:
    click.secho(f"\n=== {text} {'=' * max(3, 96 - len(text))}", fg="blue", bold=True)


def _title(number: int, text: str) -> None:
    click.secho(f"\n{number}. {text}", bold=True)


def _say(text: str) -> None:
    click.secho(f"   {safe(text)}", fg="bright_black")
