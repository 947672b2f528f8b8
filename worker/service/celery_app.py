"""The one place where a worker process is wired: `celery --app worker.service.celery_app worker`.

Threads, because OpenVINO and numpy leave the interpreter's lock alone, one loaded bundle serves all, and
stages batch what many messages bring at once; forked processes would each load it and batch less.
"""

from __future__ import annotations

import atexit
import os
import threading
from contextlib import ExitStack
from math import ceil
from typing import TYPE_CHECKING, Any

from celery import Celery, signals

from worker.errors import FeltsenseError, UsageError
from worker.events.message import BULK, LIVE
from worker.observability import logging, metrics
from worker.observability.logging import failure, logger
from worker.service import beat, heap, slots, tasks, transport, upkeep
from worker.service import control as _control  # noqa: F401 - what it registers
from worker.service.beat import Rota
from worker.service.heartbeat import Pulse
from worker.service.progress import Consumption
from worker.service.slots import Place
from worker.service.timetable import Clock
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.service.lifecycle import Service

VISIBILITY_TIMEOUT_S = 60
"""For what a worker older than `transport` holds; what one of these holds comes back when it is dead."""


class App(Celery):
    """The Celery application, the service its tasks call once the worker has opened it, and what its beat
    announces."""

    rota: Rota
    service: Service | None = None
    place: Place | None = None


def create(settings: Settings) -> App:
    """A Celery application for `settings`; starts nothing."""
    transport.install()
    consumption = Consumption(settings.broker_url or "")
    app = App("feltsense", broker=settings.broker_url, backend=None, set_as_current=False)
    app.conf.update(
        task_queues=[transport.queue(LIVE), transport.queue(upkeep.QUEUE), transport.queue(BULK)],
        task_default_queue=LIVE,
        task_serializer="json",
        accept_content=["json", "msgpack"],
        task_acks_late=True,
        task_ignore_result=True,
        worker_consumer="worker.service.intake:Intake",
        worker_pool="threads",
        worker_concurrency=settings.concurrency,
        # What a worker holds beyond its threads only waits; in the queue a live message could pass it.
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        beat_scheduler="worker.service.beat:SlotScheduler",
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            # Longer than the lease: what comes back before its lease has run out would go to the end.
            "consumer_ttl": ceil(4 / 3 * settings.lease_s),
            "unacked_restore_interval": settings.lease_s / 3,
            "unacked_restore_throttle": 1,
            "queue_order_strategy": "priority",  # of the queues as listed: live first
            # The rest is kept for live messages, which would wait for bulk ones to end.
            # And one place is no live message's, so that upkeep is not put off by a backlog.
            "most_held": {LIVE: max(1, settings.concurrency - 1), BULK: (settings.concurrency + 1) // 2},
            "sign": consumption,
            **transport.PATIENCE,
        },
    )
    tasks.register(app)
    clock = Clock.of(settings.clock)
    entries = upkeep.entries(settings)
    app.rota = Rota(entries=entries, clock=clock, open=lambda: beat.database(settings))

    def place() -> Place:
        assert app.place is not None, "the worker opens its service before it consumes"
        return app.place

    slots.register(app, dict.fromkeys(entries, False), clock, place)
    _connect(app, settings, consumption)
    return app


def thread_died(died: threading.ExceptHookArgs) -> None:
    """A thread that ends of a defect ends the worker: what is left of one keeps its leases and finishes
    nothing. Python's own hook would also print the error's words."""
    if died.exc_value is None or isinstance(died.exc_value, SystemExit):
        return
    name = died.thread.name if died.thread is not None else None
    logger.critical("thread_died", thread=name, **failure(died.exc_value))
    os._exit(1)


def _connect(app: App, settings: Settings, consumption: Consumption) -> None:
    """Ties a service to the worker's life: open before it consumes, drained after it stopped.

    `worker_process_init` does not fire on the threads pool; `worker_init` does, where the work is.
    """
    held = ExitStack()

    @signals.setup_logging.connect(weak=False)
    def set_up_logging(**_: Any) -> None:
        logging.configure(settings.log_level)

    @signals.worker_init.connect(weak=False)
    def start(**_: Any) -> None:
        logging.configure(settings.log_level)
        threading.excepthook = thread_died
        heap.limit()
        logger.info("worker_starting")
        try:
            # Beat, Flower and clients import this module too, and need no model.
            from worker.service.lifecycle import Service

            logger.info("worker_imported")
            if settings.broker_url is None:
                raise UsageError("FELTSENSE_BROKER_URL is not set; `feltsense up` sets it")
            service = app.service = held.enter_context(Service.open(settings))
            app.place = upkeep.place(service.store, service.stages, settings)
            heap.keep()
            consumption.sign()
            held.enter_context(Pulse(lambda: not (service.stages.progress.stalled() or consumption.ended())))
        except FeltsenseError as error:
            # Celery logs what a signal's receiver raises and goes on; a worker without its bundle must end.
            logger.error("worker_refused", error=type(error).__name__, detail=str(error))
            raise SystemExit(error.exit_code) from error
        except Exception as error:
            logger.error("worker_failed", **failure(error))
            raise SystemExit(1) from error

    @signals.beat_init.connect(weak=False)
    def serve_numbers(**_: Any) -> None:
        # Nothing tells of a beat's end, and while the interpreter ends the server's thread is gone already.
        atexit.register(held.close)
        held.enter_context(metrics.served(0, "beat", settings.run_dir, host=settings.metrics_host))

    @signals.before_task_publish.connect(weak=False)
    def count_scheduled(sender: str = "", **_: Any) -> None:
        metrics.SCHEDULED.labels(sender).inc()

    @signals.worker_ready.connect(weak=False)
    def ready(**_: Any) -> None:
        logger.info("worker_ready")

    @signals.worker_shutting_down.connect(weak=False)
    def hurry(**_: Any) -> None:
        # Celery waits for the task threads before it says worker_shutdown; none may wait for a lost database.
        if app.service is not None:
            app.service.stages.hurry()
        if app.place is not None:
            app.place.stopping.set()

    @signals.worker_shutdown.connect(weak=False)
    def stop(**_: Any) -> None:
        held.close()
        app.service = app.place = None
        logger.info("worker_closed")


app = create(Settings())
