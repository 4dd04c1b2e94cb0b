"""Idle task: a Celery worker with the product's settings and one task that only answers; the price of the broker.

`python -m workers.bench.idle_task`; the product's settings say where the broker is.
"""

import os
from functools import lru_cache
from typing import Any

from celery import Celery
from kombu import Queue
from redis import Redis

from workers import broker
from workers.settings import Settings, load

QUEUE, TASK, ANSWERS = "bench", "bench.idle", "bench-answers"


def make_app(settings: Settings) -> Celery:
    """Return the product's Celery application with a queue for the idle task."""
    app = broker.make_app(settings)
    app.conf.task_queues = [*app.conf.task_queues, Queue(QUEUE)]
    return app


def main() -> None:
    """Run a worker as the product's own is run, for the idle task alone."""
    settings = load(os.environ)
    app = make_app(settings)

    @lru_cache(maxsize=1)
    def answers(pid: int) -> Any:  # noqa: ANN401, ARG001 - redis' type has no use here; each child has its own
        return Redis.from_url(settings.celery_broker_url())

    @app.task(name=TASK)  # type: ignore[untyped-decorator]  # celery ships no types
    def idle(number: int) -> None:
        answers(os.getpid()).lpush(ANSWERS, number)

    app.worker_main(
        [
            "worker", "--loglevel=WARNING", f"--concurrency={settings.concurrency}", f"--queues={QUEUE}",
            "--without-gossip", "--without-mingle", "--without-heartbeat", "--hostname=bench@%h",
        ]
    )  # fmt: skip


if __name__ == "__main__":
    main()
