"""A trainer process, wired: what its beat announces, what its slots run, where it opens and closes its
database.

Its broker is another database than the events': what holds a long task must not be what reflections wait for.
Threads, as in the worker, so that a killed trainer leaves no child behind that goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from celery import Celery, signals

from trainer.service import crew, schedule
from trainer.service.schedule import CALIBRATION, DRIFT, EARLY, PARTS, QUEUE, REBUILD
from trainer.settings import TrainerSettings
from worker.courtesy import give_way
from worker.errors import FeltsenseError, UsageError
from worker.observability import logging, metrics
from worker.observability.logging import failure, logger
from worker.service import slots, transport
from worker.service.beat import Rota, database
from worker.service.slots import Body, Facts, Place, Turn
from worker.service.timetable import Clock, Entry
from worker.settings import Settings
from worker.store.engine import Store

if TYPE_CHECKING:
    from trainer.drift.measures import Kind

RESULTS_DAYS = 7
CONSUMER_TTL_S = 30


class App(Celery):
    """The Celery application, what its beat announces, and where its slots are run once it has opened it."""

    rota: Rota
    place: Place | None = None


def create(
    settings: Settings,
    trainer: TrainerSettings,
    *,
    entries: Sequence[Entry] | None = None,
    bodies: Mapping[str, Body] | None = None,
) -> App:
    """A Celery application for the settings, with the trainer's own `entries` and `bodies` or with others;
    starts nothing."""
    transport.install()
    broker = trainer.broker_url or beside(settings.broker_url)
    app = App("feltsense.trainer", broker=broker, backend=broker, set_as_current=False)
    app.conf.update(
        task_queues=[transport.queue(QUEUE), transport.queue(PARTS)],
        task_default_queue=QUEUE,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_track_started=True,
        result_expires=RESULTS_DAYS * 86_400,
        worker_pool="threads",
        worker_concurrency=trainer.concurrency,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        beat_scheduler="worker.service.beat:SlotScheduler",
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "consumer_ttl": CONSUMER_TTL_S,
            "unacked_restore_interval": CONSUMER_TTL_S / 3,
            "most_held": {PARTS: 1},
            **transport.PATIENCE,
        },
    )
    clock = Clock.of(settings.clock)
    entries = schedule.entries(trainer) if entries is None else entries
    app.rota = Rota(entries=entries, clock=clock, open=lambda: database(settings))

    def place() -> Place:
        assert app.place is not None, "the trainer opens its database before it consumes"
        return app.place

    slots.register(app, dict.fromkeys(entries, True), clock, place)
    crew.register(app, trainer)
    _connect(app, settings, trainer, bodies_of(app, settings, trainer) if bodies is None else bodies)
    return app


def beside(broker_url: str | None) -> str | None:
    """The next database of the same server."""
    if broker_url is None:
        return None
    parts = urlsplit(broker_url)
    number = parts.path.strip("/") or "0"
    if not number.isdigit():
        raise UsageError("FELTSENSE_BROKER_URL ends in no database number: set FELTSENSE_TRAINER_BROKER_URL")
    return parts._replace(path=f"/{int(number) + 1}").geturl()


def bodies_of(app: App, settings: Settings, trainer: TrainerSettings) -> dict[str, Body]:
    """What each slot runs; what fits and judges is imported by the first that does."""

    def rebuild(turn: Turn) -> Facts:
        from trainer.service import rebuilding

        others = crew.QueueCrew(app, trainer, turn.check) if trainer.distributed else None
        return rebuilding.rebuild(settings, trainer, turn, crew=others)

    def rebuild_early() -> None:
        slot = schedule.early(app.rota.clock.now())
        app.send_task(EARLY, args=[slot.isoformat()], queue=QUEUE)

    def check(*kinds: Kind) -> Body:
        def body(turn: Turn) -> Facts:
            from trainer.service import drift

            return drift.check(trainer, kinds, rebuild_early, app.rota.clock.now, turn)

        return body

    return {
        REBUILD: rebuild,
        EARLY: rebuild,
        DRIFT: check("inputs", "outputs"),
        CALIBRATION: check("calibration"),
    }


def _connect(app: App, settings: Settings, trainer: TrainerSettings, bodies: Mapping[str, Body]) -> None:
    held = ExitStack()

    @signals.setup_logging.connect(weak=False)
    def set_up_logging(**_: Any) -> None:
        logging.configure(settings.log_level)

    @signals.worker_init.connect(weak=False)
    def start(**_: Any) -> None:
        logging.configure(settings.log_level)
        if trainer.gives_way:
            give_way()
        try:
            if app.conf.broker_url is None:
                raise UsageError("FELTSENSE_BROKER_URL is not set; `feltsense up` sets it")
            if settings.database_url is None:
                raise UsageError("FELTSENSE_DATABASE_URL is not set; `feltsense up` sets it")
            store = held.enter_context(Store.open(settings.database_url, text_keys=settings.text_keys))
            store.ping()
            app.place = Place(store, bodies)
            held.enter_context(metrics.served(0, "trainer", settings.run_dir, host=settings.metrics_host))
        except FeltsenseError as error:
            # Celery logs what a signal's receiver raises and goes on.
            logger.error("trainer_refused", error=type(error).__name__, detail=str(error))
            raise SystemExit(error.exit_code) from error
        except Exception as error:
            logger.error("trainer_failed", **failure(error))
            raise SystemExit(1) from error

    @signals.worker_ready.connect(weak=False)
    def ready(**_: Any) -> None:
        logger.info("trainer_ready")

    @signals.worker_shutting_down.connect(weak=False)
    def hurry(**_: Any) -> None:
        if app.place is not None:
            app.place.stopping.set()

    @signals.worker_shutdown.connect(weak=False)
    def stop(**_: Any) -> None:
        held.close()
        logger.info("trainer_closed")
