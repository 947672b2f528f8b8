"""Behind the lanes: rows far after a late, edited or removed reflection are placed again, some at a time."""

from __future__ import annotations

from worker.observability.logging import logger
from worker.service.background import Periodic
from worker.service.serving import Serving
from worker.store.engine import Store
from worker.store.repairs import catch_up

INTERVAL_S = 2.0


class Repair(Periodic):
    """Looks for waiting changes of the open pipelines' versions every two seconds, in a thread of its own."""

    def __init__(self, store: Store, serving: Serving) -> None:
        super().__init__("repair", every_s=INTERVAL_S, first_s=INTERVAL_S)
        self._store = store
        self._serving = serving

    def _work(self) -> None:
        with self._serving.all_held() as open_now:
            for served in open_now:
                while not self._closing.is_set() and (
                    done := catch_up(self._store, served.pipeline.place, model_version=served.version)
                ):
                    logger.info("timelines_repaired", changes=done)
