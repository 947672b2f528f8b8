"""The safety net behind the queue: what was accepted but whose message never came back is enriched from its
stored row.

The broker redelivers what a killed worker held. This is for what the broker itself lost (its disk, its last
second), so it takes only what no worker has had in hand for a while.
"""

from __future__ import annotations

from worker.observability.logging import logger
from worker.service.background import Periodic
from worker.service.stages import Stages
from worker.store import leases, unfinished
from worker.store.engine import Store

GRACE_S = 60
"""After a lease has run out: until then the message itself may still come."""
INTERVAL_S = 60.0
BATCH = 256


class Reconciler(Periodic):
    """Looks for unfinished deliveries when the worker starts and every minute after, in a thread of its
    own."""

    def __init__(self, stages: Stages, store: Store, *, grace_s: float = GRACE_S) -> None:
        super().__init__("reconcile", every_s=INTERVAL_S, first_s=0)
        self._stages = stages
        self._store = store
        self._grace_s = grace_s

    def _work(self) -> None:
        while found := self.sweep():
            logger.info("deliveries_resumed", found=found)

    def sweep(self) -> int:
        """Enriches up to `BATCH` unfinished deliveries; how many it found.

        Raises what the stages raise, and `ServiceMissing` or `StoreRefused`.
        """
        with self._stages.serving.held() as served:
            if served is None:
                return 0
            late = unfinished.take(
                self._store, self._stages.lease, model_version=served.version,
                grace_s=self._grace_s, limit=BATCH,
            )  # fmt: skip
            if late:
                try:
                    self._stages.resume(late, served)
                except Exception:
                    revisions = [(one.reflection.id, one.reflection.revision) for one in late]
                    leases.give_back(self._store, revisions, self._stages.lease)
                    raise
            return len(late)
