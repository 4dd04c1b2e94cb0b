"""The Celery worker: thin tasks around the functions that every process can call."""

import os
from functools import lru_cache

import structlog
from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown

from workers import broker
from workers.broker import Hand
from workers.processes import make_intake
from workers.runtime import Runtime
from workers.settings import Settings
from workers.working import Work


def make_worker_app(settings: Settings) -> Celery:
    """Return the Celery application with its tasks. Each worker process opens its own store, after the fork."""
    app = broker.make_app(settings)

    @lru_cache(maxsize=1)
    def work_of(pid: int) -> Work:  # the argument makes a forked child build its own
        structlog.contextvars.bind_contextvars(pid=pid)
        runtime = Runtime(settings)
        return Work(runtime, make_intake(runtime), Hand(app))

    def work() -> Work:
        return work_of(os.getpid())

    @app.task(name=broker.OBSERVE)  # type: ignore[untyped-decorator]  # celery ships no types
    def observe(inbox_id: int) -> None:
        work().observe(inbox_id)

    @app.task(name=broker.READ_DELIVERY)  # type: ignore[untyped-decorator]  # celery ships no types
    def read_delivery(inbox_id: int) -> None:
        work().read_delivery(inbox_id)

    @app.task(name=broker.DELIVER)  # type: ignore[untyped-decorator]  # celery ships no types
    def deliver(notice_id: str) -> None:
        work().deliver(notice_id)

    @app.task(name=broker.ASK)  # type: ignore[untyped-decorator]  # celery ships no types
    def ask(claims: dict[str, int]) -> None:
        work().probe(claims)

    @app.task(name=broker.CHECK)  # type: ignore[untyped-decorator]  # celery ships no types
    def check(claims: dict[str, int]) -> None:
        work().preflight(claims)

    @worker_process_init.connect(weak=False)  # type: ignore[untyped-decorator]  # celery ships no types
    def warm_up(**_: object) -> None:
        """Open and read everything now: the first page must not wait for imports."""
        work().warm_up()

    @worker_process_shutdown.connect(weak=False)  # type: ignore[untyped-decorator]  # celery ships no types
    def clear_up(**_: object) -> None:
        """Let go of what this process has opened: clients of clouds among it."""
        if work_of.cache_info().currsize:
            work().close()

    return app
