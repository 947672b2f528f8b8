"""Behind the lanes: rows far after a late, edited or removed reflection are placed again, some at a time."""

from __future__ import annotations

from worker.observability.logging import logger
from worker.pipeline import Pipeline
from worker.service.background import Periodic
from worker.store.engine import Store
from worker.store.repairs import catch_up

INTERVAL_S = 2.0


class Repair(Periodic):
    """Looks for waiting changes of its pipeline's version every two seconds, in a thread of its own."""

    def __init__(self, store: Store, pipeline: Pipeline) -> None:
        super().__init__("repair", every_s=INTERVAL_S, first_s=INTERVAL_S)
        self._store = store
        self._pipeline = pipeline

    def _work(self) -> None:
        while not self._closing.is_set() and (
            done := catch_up(self._store, self._pipeline.place, model_version=self._pipeline.model_version)
        ):
            logger.info("timelines_repaired", changes=done)
