"""Stored reflections once more, under the version of an open pipeline: read, appraised, placed and written as
in the stages, but behind them and some at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from worker.events.reflection import Reflection
from worker.observability import metrics
from worker.observability.logging import failure, logger
from worker.pipeline import Pipeline
from worker.store import perceptions
from worker.store.engine import Store

AT_ONCE, AT_ONCE_BUSY = 16, 4
"""Reflections of a part while the lanes rest, and while they have work: a live one may find the encoder and
the interpreter busy with as many."""
MODESTY = 4.0
"""While the lanes have work, a pause is so many times as long as what was done before it."""


class Redo:
    """Does reflections again. While `busy` says that the lanes have work, it makes a `pause` (seconds, true
    when it is over for good) after each part."""

    def __init__(
        self,
        store: Store,
        *,
        busy: Callable[[], bool],
        pause: Callable[[float], bool],
        modesty: float = MODESTY,
    ) -> None:
        self._store = store
        self._busy = busy
        self._pause = pause
        self._modesty = modesty

    def run(self, pipeline: Pipeline, reflections: Sequence[Reflection], *, purpose: str) -> int:
        """Write these reflections' rows of the pipeline's version, in this order; how many that were.

        One that a stage breaks on is left out, which is logged and counted. Raises ServiceMissing, and what
        is `retryable` of devices.
        """
        written = 0
        done, busy = 0, self._busy()
        while done < len(reflections):
            began = time.monotonic()
            part = reflections[done : done + (AT_ONCE_BUSY if busy else AT_ONCE)]
            written += self._part(pipeline, part, purpose)
            metrics.REDONE.labels(purpose, "written").inc(len(part))
            done += len(part)
            busy = self._busy()
            if self._pause(self._modesty * (time.monotonic() - began) if busy else 0):
                break
        return written

    def _part(self, pipeline: Pipeline, part: Sequence[Reflection], purpose: str) -> int:
        try:
            return again(self._store, pipeline, part)
        except Exception as error:
            if getattr(error, "retryable", False):
                raise
            if len(part) == 1:
                logger.warning("redo_failed", purpose=purpose, reflection=part[0].id, **failure(error))
                metrics.REDONE.labels(purpose, "failed").inc()
                return 0
        return sum(self._part(pipeline, [one], purpose) for one in part)


def again(store: Store, pipeline: Pipeline, reflections: Sequence[Reflection]) -> int:
    """Write rows of the pipeline's version for reflections that are at rest; how many that were."""
    started = time.perf_counter()
    readings = pipeline.read(reflections)
    appraisals = pipeline.appraise(readings, pipeline.encode(readings).result())
    timings = {"redo": (time.perf_counter() - started) / len(reflections)}
    settled = perceptions.settle(
        store,
        appraisals,
        pipeline.place,
        model_version=pipeline.model_version,
        timings=[timings] * len(appraisals),
        again=True,
    )
    return len(settled.written)
