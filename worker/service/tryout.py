"""Behind both lanes: a share of what comes in, scored also by the version that is tried beside the serving
one, so that both can be compared on the same reflections.

The share is of persons, so that those who are scored have their whole history. Readers go on getting the rows
of the version that serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from worker.events.reflection import Reflection
from worker.events.timeline import TIMELINE_LIMIT
from worker.service.background import Periodic
from worker.service.redo import Redo
from worker.service.serving import Served
from worker.service.stages import Stages
from worker.store import models, stored
from worker.store.engine import Store

INTERVAL_S = 1.0
BEFORE = timedelta(hours=1)
"""What came so long before a version began to be tried is scored too."""
BATCH = 32
"""Arrivals looked at in one step; of these the share is scored, with what it needs as history. A step holds
its persons by an open transaction, so it is short."""


class Tryout(Periodic):
    """Scores with the version that is tried beside, in a thread of its own, while one is."""

    def __init__(self, stages: Stages, store: Store, *, share: float) -> None:
        super().__init__("tryout", every_s=INTERVAL_S, first_s=INTERVAL_S)
        self._stages = stages
        self._serving = stages.serving
        self._store = store
        self._share = share
        self._redo = Redo(store, busy=lambda: stages.busy, pause=self._closing.wait)
        self._at: tuple[str, datetime] | None = None
        """Which version, and until when arrivals were looked at."""

    def _work(self) -> None:
        with self._serving.held_as(self._serving.tried) as served:
            while served is not None and self._wanted(served) and self._step(served):
                pass

    def _wanted(self, served: Served) -> bool:
        going = served.version == self._serving.tried and not self._closing.is_set()
        return going and not self._stages.crowded

    def _step(self, served: Served) -> bool:
        """Score what came next; whether anything came."""
        if self._at is None or self._at[0] != served.version:
            known = models.challenger(self._store)
            if known is None or known.version != served.version or known.since is None:
                return False
            self._at = served.version, known.since - BEFORE
        until, found = stored.received(
            self._store, served.version, after=self._at[1], share=self._share, limit=BATCH
        )
        if until == self._at[1]:
            return False
        if found:
            moments = {one.user_id: one.created_at for one in found}  # the last of each
            stored.claimed(
                self._store, served.version, list(moments), lambda mine: self._score(served, found, mine)
            )
        self._at = served.version, until
        return True

    def _score(self, served: Served, found: Sequence[Reflection], mine: Sequence[str]) -> int:
        chosen = {one.id: one for one in found if one.user_id in mine}
        moments = [(one.user_id, one.created_at) for one in chosen.values()]
        history = stored.earlier(self._store, moments, served.version, last=TIMELINE_LIMIT)
        together = {one.id: one for one in history} | chosen
        ordered = sorted(together.values(), key=lambda one: (one.created_at, one.id))
        return self._redo.run(served.pipeline, ordered, purpose="tryout")
