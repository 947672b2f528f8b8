"""Behind the lanes: rows far after a late, edited or removed reflection are placed again, some at a time."""

from __future__ import annotations

from worker.observability.logging import failure, logger
from worker.pipeline import Pipeline
from worker.service.background import Background
from worker.store.engine import Store
from worker.store.repairs import catch_up

INTERVAL_S = 2.0


class Repair(Background):
    """Looks for waiting changes of its pipeline's version every two seconds, in a thread of its own."""

    def __init__(self, store: Store, pipeline: Pipeline) -> None:
        super().__init__("repair")
        self._store = store
        self._pipeline = pipeline

    def _run(self) -> None:
        while not self._closing.wait(INTERVAL_S):
            try:
                while not self._closing.is_set() and (
                    done := catch_up(
                        self._store, self._pipeline.place, model_version=self._pipeline.model_version
                    )
                ):
                    logger.info("timelines_repaired", changes=done)
            except Exception as error:  # noqa: BLE001  this thread must outlive any
                logger.warning("repair_failed", **failure(error))
