"""The broker: Celery's settings, the queues, and handing work on. The broker is a hint; the store is the truth."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from workers.observing import Queued
from workers.settings import Settings
from workers.store.interface import Carries

URGENT, NORMAL, PROBE_NOW, PROBE, BULK = "urgent", "normal", "probe-now", "probe", "bulk"
QUEUES = (URGENT, NORMAL, PROBE_NOW, PROBE, BULK)
"""In the order in which a worker asks them: a page never waits behind a backfill.

Nor behind a cloud that does not answer: probes, the wanted ones first, have a worker of their own.
"""

TASK_SECONDS = 50
"""Hard limit of one task. Below the visibility time-out, so that no task is handed out twice while it still runs."""

AWAY_SECONDS = 5.0
"""For how long a broker that could not be reached is not asked again: each try may cost a connection time-out."""

OBSERVE, READ_DELIVERY, DELIVER, ASK = "byok.observe", "byok.read_delivery", "byok.deliver", "byok.ask"
CHECK = "byok.check"


class BrokerAway(Exception):  # noqa: N818 - a state of the world, not a fault of the caller
    """The broker could not be reached; the caller works the rows itself."""


def make_app(settings: Settings) -> Celery:
    """Return a Celery application for these settings, without tasks (`workers.tasks` adds them)."""
    app = Celery("byok-watchdog", broker=settings.celery_broker_url(), set_as_current=False)
    app.conf.update(
        # Each with an exchange of its own: bound to the default one, every queue would get every task.
        task_queues=[Queue(name, Exchange(name, type="direct"), routing_key=name) for name in QUEUES],
        task_default_queue=NORMAL,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        result_backend=None,
        task_time_limit=TASK_SECONDS,
        task_serializer="json",
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=_transport_options(settings),
        # Losing the connection must not kill a task that has already sent something.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,  # the console channel writes there
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        enable_utc=True,
        timezone="UTC",
    )
    return app


def _transport_options(settings: Settings) -> dict[str, Any]:
    url = settings.celery_broker_url()
    # Without it kombu itself tries again for six seconds before a publisher hears that the broker is away. The worker's
    # own connection does not read it: it comes back by `broker_connection_max_retries`.
    options: dict[str, Any] = {"max_retries": 0}
    if not url.startswith(("redis", "sentinel")):
        return options
    options |= {
        "visibility_timeout": TASK_SECONDS + 10,
        "unacked_restore_interval": 5,
        "queue_order_strategy": "priority",
        "socket_timeout": 5,
        "socket_connect_timeout": 3,
        "health_check_interval": 5,
    }
    if not url.startswith("redis+socket"):
        options["socket_keepalive"] = True
    return options


class Hand:
    """Hands work on to the workers, without ever blocking the path of a record for long."""

    def __init__(self, app: Celery, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._monotonic = monotonic
        self._away: BrokerAway | None = None
        self._ask_at = 0.0

    def rows(self, rows: Iterable[tuple[int, Carries]]) -> None:
        """Queue inbox rows. Raises BrokerAway; what was not queued is still in the store."""
        for inbox_id, carries in rows:
            if carries is Carries.DELIVERY:
                self._send(READ_DELIVERY, inbox_id, BULK)
            else:
                self._send(OBSERVE, inbox_id, URGENT)

    def notices(self, notices: Iterable[Queued]) -> None:
        """Queue notices. Raises BrokerAway; what was not queued is still in the store."""
        for notice in notices:
            self._send(DELIVER, notice.id, URGENT if notice.urgent else NORMAL)

    def probes(self, claims: Mapping[str, int], *, wanted: bool) -> None:
        """Queue one batch of taken keys, each with its fence. Raises BrokerAway; their claims run out by themselves."""
        self._send(ASK, dict(claims), PROBE_NOW if wanted else PROBE)

    def preflights(self, claims: Mapping[str, int]) -> None:
        """Queue one batch of keys taken for their pre-flight. Raises BrokerAway; their claims run out by themselves."""
        self._send(CHECK, dict(claims), PROBE)

    def _send(self, task: str, argument: int | str | dict[str, int], queue: str) -> None:
        if self._away is not None and self._monotonic() < self._ask_at:
            raise BrokerAway(str(self._away))
        try:
            self._app.send_task(task, args=(argument,), queue=queue, retry=False)
        except (OperationalError, RedisError, OSError) as error:
            self._away = BrokerAway(str(error) or type(error).__name__)
            self._ask_at = self._monotonic() + AWAY_SECONDS
            raise self._away from error
        self._away = None
