"""The worker's side of a slot: ask for it, do what it stands for with a sign of life, write down its end.

The message is acknowledged when it arrives, for what protects the work is the row and not the message: a slot
whose worker died is announced again by a beat and taken over from its row.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from datetime import datetime
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from celery import Celery, Task

from worker.errors import FeltsenseError
from worker.observability import training
from worker.observability.logging import failure, logger
from worker.service.background import Periodic
from worker.service.timetable import Clock, Entry
from worker.store import slots
from worker.store.engine import Store

if TYPE_CHECKING:
    from worker.store.slots import Slot

SHOW_S = 1.0
"""Between two reports of progress to the result backend."""
Facts = Mapping[str, Any]
"""Names and figures of an outcome, never a text."""


class SlotFailed(Exception):
    """A slot whose body failed; only the name of the cause is in it, for Celery prints it."""


class Interrupted(FeltsenseError):
    """The worker stops, or another has taken the slot over: the body ends, and another goes on from what it
    has kept."""


class Turn:
    """One run of a slot, as its body sees it."""

    def __init__(self, slot: Slot, store: Store, show: Callable[[Facts], None], stopping: Event) -> None:
        self.slot = slot
        self.store = store
        self.progress: Facts = {}
        self.lost = False
        self._shown = -SHOW_S
        self._show = show
        self._stopping = stopping

    def tell(self, **progress: Any) -> None:
        """How far the body is. Raises `Interrupted` when it shall end here."""
        self.progress = progress
        if monotonic() - self._shown >= SHOW_S:
            self._shown = monotonic()
            self._show(progress)
        self.check()

    def check(self) -> None:
        """Raises `Interrupted` when the body shall end here."""
        if self.lost or self._stopping.is_set():
            raise Interrupted(f"{self.slot.name} was interrupted; it goes on from what it has kept")


Body = Callable[[Turn], Facts]
"""What a slot stands for."""


class Place:
    """Where an application's slots are run: its database, the bodies by task, and whether it stops."""

    def __init__(self, store: Store, bodies: Mapping[str, Body]) -> None:
        self.store = store
        self.bodies = bodies
        self.stopping = Event()


class SlotTask(Task):
    """Runs the slot it is called with, if that is nobody else's."""

    abstract = True
    acks_late = False
    entry: Entry
    clock: Clock
    place: Callable[[], Place]

    def run(self, at: str) -> dict[str, Any]:
        place = self.place()
        slot = self._claim(place.store, datetime.fromisoformat(at))
        if slot is None:
            training.SLOTS.labels(self.name, "skipped").inc()
            return {"state": "not ours"}
        training.SLOTS.labels(self.name, "taken").inc()
        turn = Turn(slot, place.store, self._show, place.stopping)
        logger.info("slot_begun", task=slot.name, slot=at, attempt=slot.attempt)
        try:
            with _Life(turn):
                facts = dict(place.bodies[self.name](turn))
        except Exception as error:  # noqa: BLE001  it is written down, and told Celery without its words
            failed = self._failed(turn, error)
        else:
            state: slots.State = "skipped" if facts.keys() == {"skipped"} else "done"
            slots.finish(place.store, slot, state, facts)
            training.run_ended(self.name, failed=False)
            logger.info("slot_done", task=slot.name, slot=at, state=state)
            return {"state": state, **facts}
        raise failed  # outside the handler: a chained error would carry its words into Celery's traceback

    def _claim(self, store: Store, at: datetime) -> Slot | None:
        # What waited in the queue while a later slot fell due is made up for by that one.
        last = self.entry.last(self.clock.now())
        owner = f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"
        return slots.claim(store, self.name, at, owner, fresh=last is None or at >= last)

    def _failed(self, turn: Turn, error: Exception) -> SlotFailed:
        told = {"reason": str(error) if isinstance(error, FeltsenseError) else type(error).__name__}
        if isinstance(error, Interrupted):
            logger.info("slot_interrupted", task=turn.slot.name)
            slots.release(turn.store, turn.slot, counts=False)
        else:
            logger.error("slot_failed", task=turn.slot.name, **failure(error))
            if getattr(error, "retryable", False) and turn.slot.attempt < slots.ATTEMPTS:
                slots.release(turn.store, turn.slot, counts=True)
            else:
                slots.finish(turn.store, turn.slot, "failed", told)
                training.run_ended(self.name, failed=True)
        return SlotFailed(type(error).__name__)

    def _show(self, progress: Facts) -> None:
        if not self.ignore_result and self.request.id is not None:
            self.update_state(state="PROGRESS", meta=dict(progress))


class _Life(Periodic):
    """Renews a turn's slot in a thread of its own, and notices when it has become another's."""

    def __init__(self, turn: Turn) -> None:
        super().__init__("slot", every_s=slots.HEARTBEAT_S, first_s=slots.HEARTBEAT_S)
        self._turn = turn

    def _work(self) -> None:
        if not slots.renew(self._turn.store, self._turn.slot, self._turn.progress):
            self._turn.lost = True


def register(app: Celery, entries: Mapping[Entry, bool], clock: Clock, place: Callable[[], Place]) -> None:
    """Gives the application a task for each entry; True keeps its results and progress in the result
    backend."""
    for entry, shown in entries.items():
        task = type("SlotTask", (SlotTask,), {"name": entry.task, "ignore_result": not shown})()
        task.entry, task.clock, task.place = entry, clock, place
        app.register_task(task)
