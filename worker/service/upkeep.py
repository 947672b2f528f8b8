"""The slots of the worker: what was accepted and lost is taken up again, what is old is forgotten."""

from __future__ import annotations

from functools import partial

from worker.observability.logging import logger
from worker.service import reconcile
from worker.service.slots import Body, Facts, Place, Turn
from worker.service.stages import Stages
from worker.service.timetable import Entry
from worker.settings import Settings
from worker.store import slots
from worker.store.engine import Store
from worker.store.retention import forget

QUEUE = "feltsense.upkeep"
"""Of its own: behind a backlog of reflections a slot would come too late, every time."""
RECONCILE = "feltsense.reconcile"
RETENTION = "feltsense.retention"
SLOTS_DAYS = 90
"""How long ended slots are remembered."""


def entries(settings: Settings) -> tuple[Entry, ...]:
    """What the worker's beat announces."""
    return (
        Entry(task=RECONCILE, cron=settings.reconcile_schedule, queue=QUEUE),
        Entry(task=RETENTION, cron=settings.retention_schedule, queue=QUEUE),
    )


def place(store: Store, stages: Stages, settings: Settings) -> Place:
    """Where the worker's slots are run."""
    bodies: dict[str, Body] = {
        RECONCILE: partial(_reconcile, stages),
        RETENTION: partial(_forget, settings),
    }
    return Place(store, bodies)


def _reconcile(stages: Stages, turn: Turn) -> Facts:
    found = 0
    while more := reconcile.sweep(stages, turn.store):
        found += more
        logger.info("deliveries_resumed", found=more)
        turn.tell(resumed=found)
    return {"resumed": found}


def _forget(settings: Settings, turn: Turn) -> Facts:
    gone = forget(turn.store, text_days=settings.retention_text_days, days=settings.retention_days)
    facts = {
        "texts": gone.texts,
        "payloads": gone.payloads,
        "reflections": gone.reflections,
        "letters": gone.letters,
        "slots": slots.prune(turn.store, days=SLOTS_DAYS),
    }
    if gone:
        logger.info("forgotten", **facts)
    return facts
