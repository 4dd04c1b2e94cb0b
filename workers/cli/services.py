"""The commands of the always-on processes: `consume`, `worker`, `scheduler`."""

import threading

import click
from celery.signals import worker_ready, worker_shutting_down

from workers import logs, processes
from workers.broker import BULK, QUEUES
from workers.cli.context import prepare_store, settings
from workers.cli.output import fail
from workers.runtime import Runtime
from workers.scheduler import Scheduler
from workers.settings import FeedSettings, Settings, SettingsFaults
from workers.tasks import make_worker_app


@click.command()
@click.argument("feeds", nargs=-1)
def consume(feeds: tuple[str, ...]) -> None:
    """Receive audit records from FEEDS (default: every configured feed) until stopped."""
    found = settings(with_channels=True)
    chosen = [_feed(found, name) for name in feeds] or list(found.feeds)
    runtime, stop = _begin(found)
    if not processes.wait_for_store(runtime, lambda: prepare_store(found), stop):
        return
    consumers = [processes.make_consumer(Runtime(found), feed) for feed in chosen]
    threads = [threading.Thread(target=one.run, args=(stop,), name="consumer") for one in consumers]
    for thread in threads:
        thread.start()
    runtime.log.info("consumer.started", feeds=[feed.name for feed in chosen])
    for thread in threads:
        thread.join()
    runtime.log.info("consumer.stopped")


def _feed(found: Settings, name: str) -> FeedSettings:
    try:
        return found.feed(name)
    except SettingsFaults as faults:
        fail(str(faults), hint="Name a feed of the settings, or none to run them all.")


@click.command()
@click.option(
    "--queues", default=",".join(QUEUES), show_default=True,
    help=f"Which queues, most urgent first. Run one worker without '{BULK}' so that no page waits behind a backfill.",
)  # fmt: skip
@click.option("--concurrency", type=click.IntRange(1, 256), default=None, help="Processes of this worker.")
def worker(queues: str, concurrency: int | None) -> None:
    """Work on what was received, and send the notices, until stopped."""
    found = settings(with_channels=True)
    unknown = [name for name in queues.split(",") if name not in QUEUES]
    if unknown:
        raise click.BadParameter(f"unknown queues {', '.join(unknown)}; there are: {', '.join(QUEUES)}")
    runtime, stop = _begin(found)
    if not processes.wait_for_store(runtime, lambda: prepare_store(found), stop):
        return
    presence = processes.Presence(Runtime(found), f"worker {queues}")
    beating = threading.Thread(target=_keep_beating, args=(presence, stop), daemon=True, name="beat")

    @worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]  # celery ships no types
    def begin_to_beat(**_: object) -> None:
        """Only a worker that takes tasks is alive."""
        beating.start()

    @worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]  # celery ships no types
    def leave(**_: object) -> None:
        """Celery itself would wait for a task for as long as it takes."""
        processes.leave_in_time()

    app = make_worker_app(found)
    arguments = [
        "--quiet",
        "worker", "--loglevel=WARNING", f"--concurrency={concurrency or found.concurrency}", f"--queues={queues}",
        "--without-gossip", "--without-mingle", "--without-heartbeat", f"--hostname={runtime.name}-{queues}@%h",
    ]  # fmt: skip
    runtime.log.info("worker.started", queues=queues)
    app.worker_main(arguments)
    stop.set()


def _keep_beating(presence: processes.Presence, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            presence.beat()
        except Exception as error:  # noqa: BLE001 - as below
            # Protects the worker: without the beat the status shows it as gone, which is the truth about the store.
            presence.runtime.log.warning("beat.failed", error=repr(error))
        stop.wait(processes.BEAT_EVERY.total_seconds())


@click.command()
def scheduler() -> None:
    """Start what is due: sweeps, deadlines that come near, signs of life. Any number may run."""
    found = settings(with_channels=True)
    runtime, stop = _begin(found)
    if not processes.wait_for_store(runtime, lambda: prepare_store(found), stop):
        return
    runtime.log.info("scheduler.started")
    Scheduler(runtime, processes.make_work(runtime)).run(stop)
    runtime.log.info("scheduler.stopped")


def _begin(found: Settings) -> tuple[Runtime, threading.Event]:
    logs.configure()
    return Runtime(found), processes.stop_on_signals(in_time=True)
