"""The stage of the system tests: real servers, the real commands in their processes, and how to wait for them."""

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import msgspec
from redis import Redis

from tests.moto_server import REGION, Moto
from tests.servers import RedisServer, database, start_redis
from tests.system.far_ends import Pager, Relay, relay
from tests.system.parties import BUCKET, Party, document
from watchdog.evidence import Sealed
from watchdog.incidents import Incident
from workers import stops
from workers.broker import QUEUES
from workers.samples.corpus import eventbridge
from workers.settings import CONFIG_VARIABLE, HOME_VARIABLE, Settings, load
from workers.store import migrate, open_store
from workers.store.interface import NoticeState, ProcessSeen, Store, StoredNotice, StoreUnavailable

ROOT = Path(__file__).resolve().parents[2]
POLL = 0.1
PATIENCE = 60.0
"""Seconds; several files of tests run side by side."""
TAIL = 30
"""Lines of every log that a failure shows."""

_BASE = """\
operators = ["operators", "second"]
customer_mail = "mail"

[store]
url = "{store}"

[broker]
url = "{broker}"

[routes.default]
channels = ["page"]
"""

ENTRY = "workers.cli.entry"

HURRIED = """
[worker]
lease_seconds = 3
sweep_after_seconds = 2
"""
"""What a crash leaves behind is taken up sooner than in real use, so that many crashes fit into a test."""

_FAR_CHANNELS = """
[channels.page]
kind = "pagerduty"
routing_key = "0123456789abcdef0123456789abcdef"
base_url = "{pager}"

[channels.mail]
kind = "smtp"
host = "127.0.0.1"
port = {smtp}
tls = "none"
sender = "Key watch <key-watch@vendor.example>"

[channels.operators]
kind = "pagerduty"
routing_key = "fedcba9876543210fedcba9876543210"
base_url = "{operators}"

[channels.second]
kind = "console"
json = true
"""

_CONSOLES = """
[channels.page]
kind = "console"
json = true

[channels.mail]
kind = "console"
json = true

[channels.operators]
kind = "console"
json = true

[channels.second]
kind = "console"
json = true
"""

_SQS_FEED = """
[feeds.events]
kind = "sqs"
url = "{queue}"
region = "{region}"
visibility_seconds = {visibility}
"""

_FOLDER_FEED = """
[feeds.drop]
kind = "folder"
path = "{drop}"
"""

_incident = msgspec.json.Decoder(Incident)


@dataclass(slots=True)
class Running:
    """One process of ours. While `kept`, it is started again when it ends, as a supervisor would."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes]
    kept: bool
    starts: int = 1

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> Path:
        """What it wrote to standard output: the console channel."""
        return self.log.with_suffix(".out")


@dataclass(frozen=True, slots=True)
class Told:
    """What a command printed and how it ended."""

    code: int
    output: str
    errors: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its output, one JSON object a line."""
        return [json.loads(line) for line in self.output.splitlines()]


class Way(Protocol):
    """A way in on Azure or Google Cloud, with the far end that plays its provider. One process reads its feeds."""

    @property
    def name(self) -> str:
        """Name of the way, and of the process."""
        ...

    @property
    def feeds(self) -> Sequence[str]:
        """Names of its feeds."""
        ...

    @property
    def parties(self) -> Sequence[Party]:
        """Those for whom it is set up."""
        ...

    @property
    def settings(self) -> str:
        """Its feeds in the settings."""
        ...

    def bring(self, party: Party, *records: dict[str, Any]) -> None:
        """Let audit records of a party come this way, each wrapped as its provider does it."""
        ...

    def put(self, body: bytes) -> None:
        """Let one message of this content come this way, whatever it is."""
        ...

    def left(self) -> int:
        """How many messages the provider has not been told to give up, those in work included."""
        ...


@dataclass
class Stage:
    """One installation of the product with all that it talks to. Everything it starts it stops, each by its pid."""

    home: Path
    store_url: str
    pager: Pager
    operators: Pager
    relay: Relay
    environment: dict[str, str]
    aws: Moto | None = None
    queue: str = ""
    redis: RedisServer | None = None
    ways: Sequence[Way] = ()
    running: dict[str, Running] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._lock = threading.RLock()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._keeper.start()

    @cached_property
    def settings(self) -> Settings:
        """The settings as the processes read them."""
        return load(self.environment)

    # ------------------------------------------------------------------------------------------------------- processes

    def start(
        self, name: str, *arguments: str, kept: bool = True, alone: bool = False, entry: str = ENTRY
    ) -> Running:  # fmt: skip
        """Start `byok-watchdog ARGUMENTS` under a name; its log lies in the home folder.

        One that is `alone` crashes at its own orders only; `entry` is the module that is run as the command.
        """
        command = [sys.executable, "-m", entry, *arguments]
        environment = self.environment | ({stops.VARIABLE: str(self.crash_order(name))} if alone else {})
        log = self.home / f"{name}.log"
        with self._lock:
            process = self._spawn(command, environment, log)
            self.running[name] = Running(name, command, environment, log, process, kept)
            return self.running[name]

    def _spawn(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as errors, log.with_suffix(".out").open("ab") as output:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )

    def _keep(self) -> None:
        while not self._over.wait(POLL):
            with self._lock:
                for one in self.running.values():
                    if one.kept and one.process.poll() is not None:
                        self.ended.append(f"{one.name} ended with {one.process.returncode}")
                        one.process = self._spawn(one.command, one.environment, one.log)
                        one.starts += 1

    def kill(self, name: str, *, again: bool = True) -> None:
        """`kill -9` of a process (not of its children); the keeper starts it again, unless told not to."""
        with self._lock:
            one = self.running[name]
            one.kept = again
            one.process.kill()
            one.process.wait(PATIENCE)

    def again(self, name: str) -> None:
        """Start a process again that was killed for good, or has ended."""
        with self._lock:
            one = self.running[name]
            one.process.wait(PATIENCE)
            one.process = self._spawn(one.command, one.environment, one.log)
            one.starts += 1
            one.kept = True

    def terminate(self, *names: str) -> float:
        """Ask processes to stop (SIGTERM) and return the seconds it took; fails when it takes more than a minute."""
        with self._lock:
            leaving = [self.running[name] for name in names]
            begin = time.monotonic()
            for one in leaving:
                one.kept = False
                one.process.terminate()
        for one in leaving:
            one.process.wait(60)
        return time.monotonic() - begin

    def children(self, name: str) -> list[int]:
        """The pids of the children of a process: for a worker its pool."""
        pid = self.running[name].pid
        try:
            text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return [int(word) for word in text.split()]

    def kill_children(self, name: str) -> int:
        """`kill -9` of the children of a process; returns how many there were."""
        children = self.children(name)
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        return len(children)

    def peak_memory(self, pid: int) -> int:
        """The most memory that a process has had so far, in MB."""
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) // 1024

    def starts(self) -> dict[str, int]:
        """How often each process was started."""
        return {name: one.starts for name, one in self.running.items()}

    def close(self) -> None:
        """End every process of this stage that still runs, by its pid. Ending in good order has a test of its own."""
        self._over.set()
        self._keeper.join()
        while found := living(self.home):
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        for one in self.running.values():
            one.process.wait(10)
        if "store" in self.__dict__:
            self.store.close()

    # --------------------------------------------------------------------------------------------------------- waiting

    def until(self, what: str, condition: Callable[[], object], *, seconds: float = PATIENCE) -> None:
        """Wait until something holds; fail with what is known when it does not in time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds:.0f} s: {what}")
            time.sleep(POLL)

    def until_told(self, party: Party, stage: str, *, seconds: float = PATIENCE) -> None:
        """Wait until everybody has been told that the party's incident is at a stage."""
        self.until(f"all are told that {party.id} is {stage}", lambda: self.is_told(party, stage), seconds=seconds)

    def trouble(self) -> str:
        """What became of the processes, what is in quarantine, and the ends of all logs; for a failure."""
        parts = [*self.ended]
        try:
            with self.store.read() as unit:
                parts += [f"quarantined {piece.place}: {piece.reason}" for _, piece in unit.quarantined(TAIL)]
        except StoreUnavailable as away:  # the stage is over already: the logs must do
            parts.append(str(away))
        for path in sorted(self.home.rglob("*.log")):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            parts.append(f"--- {path.relative_to(self.home)} ({len(lines)} lines)")
            parts += [line[:600] for line in lines[-TAIL:]]
        return "\n".join(parts)

    # ---------------------------------------------------------------------------------------------------------- asking

    def command(self, *arguments: str) -> Told:
        """Run a command of the product to its end."""
        command = [sys.executable, "-m", "workers.cli.entry", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, timeout=60, check=False, text=True
        )
        return Told(done.returncode, done.stdout, done.stderr)

    @cached_property
    def store(self) -> Store:
        return open_store(self.store_url)

    def incident_of(self, party: Party) -> Incident | None:
        """The newest incident of a party."""
        with self.store.read() as unit:
            found = [_incident.decode(stored.doc) for stored in unit.incidents(only_open=False)]
        return next((one for one in found if one.customer == party.id), None)

    def notices_of(self, party: Party) -> list[StoredNotice]:
        incident = self.incident_of(party)
        if incident is None:
            return []
        with self.store.read() as unit:
            return list(unit.notices_of(incident.id))

    def is_told(self, party: Party, stage: str) -> bool:
        """Whether the party's incident is at a stage and every notice of it has been accepted or needs no sending."""
        incident, notices = self.incident_of(party), self.notices_of(party)
        ends = {NoticeState.ACCEPTED, NoticeState.SUPPRESSED, NoticeState.FAILED}
        return incident is not None and incident.stage == stage and all(one.state in ends for one in notices)

    def verdict_of(self, party: Party) -> str | None:
        with self.store.read() as unit:
            found = unit.healths([party.key]).get(party.key)
        return found.verdict if found else None

    def evidence(self) -> list[Sealed]:
        with self.store.read() as unit:
            return list(unit.evidence())

    def processes(self) -> list[ProcessSeen]:
        """The signs of life of the processes."""
        with self.store.read() as unit:
            return list(unit.processes())

    def is_at_rest(self) -> bool:
        """Whether nothing waits any more: not at a provider, not in the inbox, not in the outbox."""
        with self.store.read() as unit:
            inbox, outbox = unit.inbox_counts(), unit.outbox_counts()
        waiting = outbox[NoticeState.QUEUED] + outbox[NoticeState.LEASED]
        return not any(inbox.values()) and not waiting and self.queue_length() == 0 and not self.left()

    def left(self) -> int:
        """How many messages the providers have not been told to give up."""
        return sum(way.left() for way in self.ways)

    # --------------------------------------------------------------------------------------------------------- feeding

    def send(self, *bodies: bytes) -> None:
        """Put messages on the queue."""
        assert self.aws is not None
        for start in range(0, len(bodies), 10):
            entries = [
                {"Id": str(number), "MessageBody": body.decode()}
                for number, body in enumerate(bodies[start : start + 10])
            ]
            answer = self.aws.client("sqs").send_message_batch(QueueUrl=self.queue, Entries=entries)
            assert not answer.get("Failed")

    def event(self, *records: dict[str, Any]) -> None:
        """Put records on the queue as EventBridge does."""
        self.send(*(eventbridge(record) for record in records))

    def put(self, name: str, body: bytes) -> None:
        """Put an object into the bucket of the trail."""
        assert self.aws is not None
        self.aws.client("s3").put_object(Bucket=BUCKET, Key=name, Body=body)

    def put_trail(self, name: str, records: Sequence[dict[str, Any]]) -> None:
        """Put a CloudTrail file into the bucket of the trail."""
        self.put(name, gzip.compress(json.dumps({"Records": list(records)}).encode(), 1))

    def queue_length(self) -> int:
        """How many messages the queue has, those in work included."""
        if self.aws is None:
            return 0
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.aws.client("sqs").get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)
        return sum(int(number) for number in answer["Attributes"].values())

    def drop(self, name: str, body: bytes) -> None:
        """Put a file into the folder feed, whole."""
        folder = self.home / "drop"
        part = folder / f".{name}.part"
        part.write_bytes(body)
        part.rename(folder / name)

    def left_in_folder(self) -> list[str]:
        """The files of the folder feed that have not been put away."""
        return sorted(path.name for path in (self.home / "drop").iterdir() if path.is_file())

    # ---------------------------------------------------------------------------------------------------------- broker

    def kill_broker(self) -> None:
        """`kill -9` of the broker, which keeps nothing on disk: whatever was queued is lost."""
        assert self.redis is not None
        self.redis.kill()

    def stop_broker(self) -> None:
        """End the broker in good order."""
        assert self.redis is not None
        self.redis.stop()

    def start_broker(self) -> None:
        """Start the broker again on its port."""
        assert self.redis is not None
        self.redis = start_redis(self.home, port=self.redis.port)

    def queued(self) -> int:
        """How many tasks wait at the broker."""
        assert self.redis is not None
        client: Any = Redis.from_url(self.redis.url)
        with contextlib.closing(client):
            return sum(int(client.llen(name)) for name in QUEUES)

    # ----------------------------------------------------------------------------------------------------------- crash

    def crash_order(self, alone: str = "") -> Path:
        """The file with the order to crash: of one process that was started `alone`, or of all others."""
        return self.home / f"crash-{alone}" if alone else Path(self.environment[stops.VARIABLE])

    def crash_at(self, stop: str, alone: str = "") -> None:
        """Let the next process that comes to a stop of the walk kill itself there."""
        part = self.home / "crash.part"
        part.write_text(stop, encoding="utf-8")
        part.rename(self.crash_order(alone))

    def has_crashed(self, alone: str = "") -> bool:
        """Whether the last order to crash was carried out."""
        return not self.crash_order(alone).exists()


def living(home: Path) -> list[int]:
    """The pids of the processes that have a home folder in their environment: ours, and the children of ours."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            if process.name.isdigit() and f"={home}\0".encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


@contextlib.contextmanager
def servers_stage(
    home: Path, postgresql: str, aws: Moto, parties: Iterable[Party], *, worker: str = "", visibility: int = 30
) -> Iterator[Stage]:
    """A stage on PostgreSQL, Redis, SQS, S3 and a folder, its register imported by the command; no process runs yet."""
    with contextlib.ExitStack() as stack:
        name = _name(home)
        queue = aws.queue(name[-70:].replace("[", "").replace("]", ""))
        s3 = aws.client("s3")
        with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou):
            s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        feeds = _SQS_FEED.format(queue=queue, region=REGION, visibility=visibility)
        made = _on_servers(stack, home, postgresql, feeds + worker, aws.environment)
        made.aws, made.queue = aws, queue
        _import(made, parties)
        yield made


@contextlib.contextmanager
def clouds_stage(
    home: Path, postgresql: str, ways: Sequence[Way], parties: Iterable[Party], environment: Mapping[str, str], *,
    worker: str = "",
) -> Iterator[Stage]:  # fmt: skip
    """A stage on PostgreSQL, Redis and the feeds of these ways, its register imported; no process runs yet.

    `environment` is what the settings and the processes of the feeds need.
    """
    with contextlib.ExitStack() as stack:
        feeds = "".join(way.settings for way in ways)
        made = _on_servers(stack, home, postgresql, feeds + worker, environment)
        made.ways = ways
        _import(made, parties)
        yield made


@contextlib.contextmanager
def embedded_stage(home: Path, parties: Iterable[Party]) -> Iterator[Stage]:
    """A stage on SQLite, the embedded broker and a folder feed, its register imported; `up` is not started yet."""
    with contextlib.ExitStack() as stack:
        store = f"sqlite:///{home / 'watchdog.db'}"
        made = _set(stack, home, _Config(store, "embedded", "", _CONSOLES), {})
        _import(made, parties)
        stack.callback(made.close)
        yield made


@dataclass(frozen=True, slots=True)
class _Config:
    store: str
    broker: str
    more: str
    channels: str


def _name(home: Path) -> str:
    return f"stage_{home.name}_{os.urandom(3).hex()}"


def _on_servers(
    stack: contextlib.ExitStack, home: Path, postgresql: str, more: str, environment: Mapping[str, str]
) -> Stage:
    """Set a stage on PostgreSQL and Redis, its tables made."""
    store = stack.enter_context(database(postgresql, _name(home).lower().replace("-", "_")[:60]))
    broker = start_redis(home)
    made = _set(stack, home, _Config(store, broker.url, more, _FAR_CHANNELS), environment)
    made.redis = broker
    stack.callback(made.stop_broker)
    migrate(store)
    stack.callback(made.close)
    return made


def _set(stack: contextlib.ExitStack, home: Path, wanted: _Config, environment: Mapping[str, str]) -> Stage:
    pager, operators = stack.enter_context(Pager()), stack.enter_context(Pager())
    mail = stack.enter_context(relay())
    config = home / "byok-watchdog.toml"
    base = _BASE.format(store=wanted.store, broker=wanted.broker) + _FOLDER_FEED.format(drop=home / "drop")
    channels = wanted.channels.format(pager=pager.url, operators=operators.url, smtp=mail.port)
    config.write_text(base + wanted.more + channels, encoding="utf-8")
    (home / "drop").mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BYOK_"))}
    variables = {
        HOME_VARIABLE: str(home), CONFIG_VARIABLE: str(config), stops.VARIABLE: str(home / "crash"),
    }  # fmt: skip
    return Stage(home, wanted.store, pager, operators, mail, {**inherited, **environment, **variables})


def _import(stage: Stage, parties: Iterable[Party]) -> None:
    file = stage.home / "register.yaml"  # JSON is YAML
    file.write_bytes(msgspec.json.encode(document(parties)))
    told = stage.command("register", "import", str(file), "--by", "test")
    assert told.code == 0, told.errors
