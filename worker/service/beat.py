"""The beat: announces the slots that are due. It decides nothing, so any number of them may run.

A message is only a hint that a slot could be run; the worker that takes it asks Postgres for the slot
(`worker.store.slots`). So a beat may die between any two of its steps, two may say the same, and what is lost
on the way is said again. Of slots that passed while nobody was up, the latest of each task is announced, the
others are not: one retention, one rebuild makes up for all that were missed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any

from celery import Celery
from celery.beat import Scheduler

from worker.errors import UsageError
from worker.observability.logging import failure, logger
from worker.service.timetable import Clock, Entry
from worker.settings import Settings
from worker.store import slots
from worker.store.engine import Store

TICK_S = 1.0
AGAIN_S = 60.0
"""Real seconds until a slot that nobody has begun is announced again, and lost ones are looked for."""


@dataclass(frozen=True, kw_only=True)
class Rota:
    """What a beat of this application announces, by which clock; `open` is its database."""

    entries: Sequence[Entry]
    clock: Clock
    open: Callable[[], Store]


def database(settings: Settings) -> Store:
    """A beat's door to Postgres. Raises `UsageError` where the settings name none."""
    if settings.database_url is None:
        raise UsageError("FELTSENSE_DATABASE_URL is not set; `feltsense up` sets it")
    return Store.open(settings.database_url, pool_size=1)


class SlotScheduler(Scheduler):
    """Celery's beat with slots in the place of its own memory: nothing is kept in a file."""

    def __init__(self, app: Celery, **kwargs: Any) -> None:
        self._rota: Rota = app.rota
        self._store: Store | None = None
        self._begun = False
        self._announced: dict[tuple[str, datetime], float] = {}
        self._looked = -AGAIN_S
        super().__init__(app, **kwargs)

    def setup_schedule(self) -> None:
        """A bad cron line ends the beat before it begins."""
        for entry in self._rota.entries:
            entry.last(self._rota.clock.now())
        logger.info("beat_started", tasks={entry.task: entry.cron for entry in self._rota.entries})

    def tick(self, *_: Any, **__: Any) -> float:
        try:
            self._tick()
        except Exception as error:  # noqa: BLE001  database or broker are away: a beat waits for both
            logger.warning("beat_failed", **failure(error))
            return TICK_S
        return self._rota.clock.pause(TICK_S)

    def _tick(self) -> None:
        store = self._store = self._store or self._rota.open()
        now, clock_s = self._rota.clock.now(), monotonic()
        latest = {one.task: at for one in self._rota.entries if (at := one.last(now)) is not None}
        if not self._begun:
            slots.begin(store, latest)
            self._begun = True
        due = [(task, at) for task, at in latest.items() if self._silent_on(task, at, clock_s)]
        if due:
            wanted = slots.unbegun(store, dict(due))
            for task, at in due:
                if task in wanted:
                    self._announce(task, at)
                self._announced[task, at] = clock_s
        if clock_s - self._looked >= AGAIN_S:
            for task, at in slots.lost(store, [entry.task for entry in self._rota.entries]):
                self._announce(task, at)
            self._looked = clock_s
            self._announced = {
                one: said for one, said in self._announced.items() if clock_s - said < 2 * AGAIN_S
            }

    def _silent_on(self, task: str, at: datetime, clock_s: float) -> bool:
        return clock_s - self._announced.get((task, at), -AGAIN_S) >= AGAIN_S

    def _announce(self, task: str, at: datetime) -> None:
        (queue,) = {entry.queue for entry in self._rota.entries if entry.task == task}
        self.app.send_task(task, args=[at.isoformat()], queue=queue)
        logger.info("slot_announced", task=task, slot=at.isoformat())

    def close(self) -> None:
        if self._store is not None:
            self._store.close()

    def sync(self) -> None:
        """Nothing is kept."""
