"""The safety net behind the queue: what was accepted but whose message never came back is enriched from its
stored row.

The broker redelivers what a killed worker held. This is for what the broker itself lost (its disk, its last
second), so it takes only what no worker has had in hand for a while.
"""

from __future__ import annotations

from worker.service.stages import Stages
from worker.store import leases, unfinished
from worker.store.engine import Store

GRACE_S = 60
"""After a lease has run out: until then the message itself may still come."""
BATCH = 256


def sweep(stages: Stages, store: Store, *, grace_s: float = GRACE_S) -> int:
    """Enriches up to `BATCH` unfinished deliveries; how many it found.

    Raises what the stages raise, and `ServiceMissing` or `StoreRefused`.
    """
    with stages.serving.held() as served:
        if served is None:
            return 0
        late = unfinished.take(
            store, stages.lease, model_version=served.version, grace_s=grace_s, limit=BATCH
        )
        if late:
            try:
                stages.resume(late, served)
            except Exception:
                revisions = [(one.reflection.id, one.reflection.revision) for one in late]
                leases.give_back(store, revisions, stages.lease)
                raise
        return len(late)
