"""Parts of a rebuild on the queue: whoever rebuilds leaves the inputs with the artefacts, any trainer
computes an item and leaves its result there.

A part's message is acknowledged when its result is there, so a killed trainer's goes to another (after
`CONSUMER_TTL_S`); computed twice, a part gives the same. Messages hold names and numbers only.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any
from uuid import uuid4

from celery import Celery, Task
from celery.result import AsyncResult

from trainer import checkpoint
from trainer.artefacts import Artefacts
from trainer.errors import TrainerError
from trainer.parts import TABLE, Inputs
from trainer.service.schedule import PART, PARTS
from trainer.settings import TrainerSettings
from worker.observability.logging import failure, logger
from worker.service.readiness import workers

LOOK_S = 0.1
PING_S = 2.0


class PartFailed(Exception):
    """A part whose function failed; only the name of the cause is in it, for Celery prints it."""


class Parts(Task):
    """Computes one item of a part. One at a time in a process: fits use all its threads, and some a common
    source of randomness."""

    name = PART
    acks_late = True
    reject_on_worker_lost = True
    settings: TrainerSettings

    def __init__(self) -> None:
        self._one = Lock()
        self._known: tuple[str, Inputs, dict[str, Any]] | None = None

    def run(self, part: str, inputs: str, item: int, result: str) -> dict[str, Any]:
        try:
            with self._one:
                return self._computed(part, inputs, item, result)
        except Exception as error:  # noqa: BLE001  told without its words
            logger.error("part_failed", part=part, item=item, **failure(error))
            failed = PartFailed(type(error).__name__)
        raise failed  # outside the handler: a chained error would carry its words into Celery's traceback

    def _computed(self, part: str, inputs: str, item: int, result: str) -> dict[str, Any]:
        function = TABLE.get(part)
        if function is None:
            raise TrainerError(f"no part is called {part!r}")
        kept = Artefacts(self.settings.artefacts)
        if kept.has(result):
            return {"part": part, "item": item, "seconds": 0.0}
        if self._known is None or self._known[0] != inputs:
            self._known = None  # what was known may fill half the memory
            self._known = (inputs, kept.read(inputs), {})
        started = time.monotonic()
        kept.write(result, checkpoint.packed(function(self._known[1], item, self._known[2], self.settings)))
        return {"part": part, "item": item, "seconds": round(time.monotonic() - started, 2)}


class QueueCrew:
    """The trainers that consume the queue of `app`. See `trainer.parts.Crew`; `alive` is called while it
    waits, and may end it by raising."""

    def __init__(self, app: Celery, settings: TrainerSettings, alive: Callable[[], None]) -> None:
        self._app = app
        self._settings = settings
        self._alive = alive

    def compute(
        self, part: str, inputs: Inputs, items: Sequence[int], advance: Callable[[int], None]
    ) -> list[Any]:
        """Raises `TrainerError` when a part fails or no trainer runs."""
        kept = Artefacts(self._settings.artefacts)
        packed = checkpoint.packed(dict(inputs))
        name = hashlib.sha256(packed).hexdigest()[:24]
        if not kept.has(name):
            kept.write(name, packed)
        del packed
        run = uuid4().hex[:8]  # what an earlier run left may be another code's
        results = {item: f"{name}-{run}-{item}" for item in items}
        try:
            self._wait(part, name, results, kept, advance)
            return [kept.read(results[item]) for item in items]
        finally:
            kept.remove(name, *results.values())

    def _wait(
        self,
        part: str,
        name: str,
        results: dict[int, str],
        kept: Artefacts,
        advance: Callable[[int], None],
    ) -> None:
        if not workers(str(self._app.conf.broker_url), PING_S):
            raise TrainerError("no trainer runs: start `feltsense trainer`, or train without --distributed")
        sent: dict[int, AsyncResult] = {
            item: self._app.send_task(PART, args=[part, name, item, result], queue=PARTS)
            for item, result in results.items()
        }
        while sent:
            self._alive()
            for item, message in list(sent.items()):
                if message.state == "FAILURE":
                    raise TrainerError(f"{part} {item} failed on a trainer: {message.result}")
                if message.state == "SUCCESS" or kept.has(results[item]):
                    del sent[item]
                    advance(1)
            time.sleep(LOOK_S)


def register(app: Celery, settings: TrainerSettings) -> None:
    """Gives the application the task of the parts."""
    task = Parts()
    task.settings = settings
    app.register_task(task)
