"""The one place where a worker process is wired: Celery's settings from ours. `celery -A
worker.service.celery_app worker`.

Threads, because OpenVINO and numpy leave the interpreter's lock alone, one loaded bundle serves all, and
stages batch what many messages bring at once; forked processes would each load it and batch less.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import Celery
from kombu.entity import Exchange, Queue

from worker.events.message import BULK, LIVE
from worker.service import lifecycle, tasks
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.service.lifecycle import Service

VISIBILITY_TIMEOUT_S = 60
"""A message that a killed worker held comes back after this long. One held longer (a lost database) may come
twice, which costs a look-up."""
RESTORE_INTERVAL_S = 5
BLOCKED_HEALTH_CHECK_S = 25


class App(Celery):
    """The Celery application, and the service its tasks call once the worker has started it."""

    service: Service | None = None


def create(settings: Settings) -> App:
    """A Celery application for `settings`; starts nothing."""
    app = App("feltsense", broker=settings.broker_url, backend=None, set_as_current=False)
    app.conf.update(
        task_queues=[_lane(LIVE), _lane(BULK)],
        task_default_queue=LIVE,
        task_serializer="json",
        accept_content=["json", "msgpack"],
        task_acks_late=True,
        task_ignore_result=True,
        worker_consumer="worker.service.intake:Intake",
        worker_pool="threads",
        worker_concurrency=settings.concurrency,
        # What a worker holds beyond its threads only waits, and a live message could have passed it in the
        # queue.
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            "unacked_restore_interval": RESTORE_INTERVAL_S,
            "unacked_restore_throttle": 1,
            "queue_order_strategy": "priority",  # of `task_queues`: live first
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": BLOCKED_HEALTH_CHECK_S,
        },
    )
    tasks.register(app)
    lifecycle.connect(app, settings)
    return app


def _lane(name: str) -> Queue:
    # As a bare client's `send_task(queue=name)` declares it.
    return Queue(name, Exchange(name), routing_key=name)  # type: ignore[no-untyped-call]


app = create(Settings())
