"""Behind both lanes: rows of the version that serves for what was written under another one, until none is
missing.

Person by person in the order of time, so that a row is placed among its person's earlier ones at once.
Several workers share the persons. What is missing is asked of the rows, so whoever is killed leaves nothing
behind but work.
"""

from __future__ import annotations

import time

from worker.observability.logging import logger
from worker.service.background import Periodic
from worker.service.redo import Redo
from worker.service.serving import Served, Serving
from worker.service.stages import Stages
from worker.store import reenrichments, stored
from worker.store.engine import Store
from worker.store.reenrichments import Wish
from worker.store.stored import Wanted

INTERVAL_S = 2.0
PEOPLE = 32
"""Persons a worker claims at once."""
CHUNK = 32
"""Reflections of a person between two looks at what else is to be done."""
CLAIM_S = 5.0
"""A claim is an open transaction, so it ends soon and is made anew."""
UNCLEAR_PAUSE_S = 5.0
"""Before the next pass, while others may still write rows of another version."""


class Reenricher(Periodic):
    """Fulfils open wishes for the open pipelines' versions; with `automatic`, for everything whenever another
    version serves."""

    def __init__(self, stages: Stages, store: Store, *, automatic: bool) -> None:
        super().__init__("reenrich", every_s=INTERVAL_S, first_s=INTERVAL_S)
        self._stages = stages
        self._serving: Serving = stages.serving
        self._store = store
        self._automatic = automatic
        self._redo = Redo(store, busy=lambda: stages.busy, pause=self._closing.wait)
        self._not_before_s = 0.0

    def _work(self) -> None:
        for version in (self._serving.version, self._serving.tried):
            with self._serving.held_as(version) as served:
                if served is not None and self._wanted(served):
                    self._version(served)

    def _wanted(self, served: Served) -> bool:
        """Whether to go on: not once the worker closes, nor with a pipeline that is to leave, nor while the
        lanes cannot keep up."""
        open_now = (self._serving.version, self._serving.tried)
        return served.version in open_now and not self._closing.is_set() and not self._stages.crowded

    def _version(self, served: Served) -> None:
        version = served.version
        if version == self._serving.version:
            if self._automatic:
                reenrichments.ask_all(self._store, version)
                if served.complete and stored.unsettled(self._store, version):
                    reenrichments.reopen(self._store, version)
            served.complete = reenrichments.complete(self._store, version)
        while self._wanted(served) and (wish := reenrichments.oldest(self._store, version)) is not None:
            if time.monotonic() < self._not_before_s or not self._fulfil(served, wish):
                return
        if version == self._serving.version:
            served.complete = reenrichments.complete(self._store, version)

    def _fulfil(self, served: Served, wish: Wish) -> bool:
        """Work on a wish until nothing is missing; whether that is so."""
        rows = 0
        while self._wanted(served):
            unclear = stored.unsettled(self._store, wish.version)
            done, others = self._pass(served, wish.wanted)
            unclear |= others
            rows += done
            if not self._wanted(served):
                break
            if not done and not unclear:
                if reenrichments.finish(self._store, wish, rows):
                    logger.info("reenriched", version=wish.version, wish=wish.id, rows=rows)
                return True
            if not done:
                self._not_before_s = time.monotonic() + UNCLEAR_PAUSE_S
                break
        return False

    def _pass(self, served: Served, wanted: Wanted) -> tuple[int, bool]:
        """Once through all persons; how many rows that wrote, and whether other workers had some of them."""
        rows, after, others = 0, "", False
        while self._wanted(served):
            people = stored.people(self._store, served.version, wanted, after=after, limit=PEOPLE)
            if not people:
                break
            owed = [user for user in served.take_owed() if wanted.users is None or user in wanted.users]
            asked = list(dict.fromkeys((*owed, *people)))
            until = time.monotonic() + CLAIM_S
            got: list[str] = []

            def work(mine: list[str], got: list[str] = got, until: float = until) -> int:
                got[:] = mine
                return sum(self._person(served, user, wanted, until) for user in mine)

            done = stored.claimed(self._store, served.version, asked, work)
            others |= len(got) < len(asked)
            rows += done
            if not done or time.monotonic() < until:  # else some of them may not be finished
                after = people[-1]
        return rows, others

    def _person(self, served: Served, user: str, wanted: Wanted, until: float) -> int:
        rows = 0
        while self._wanted(served) and time.monotonic() < until:
            found = stored.of_person(self._store, user, served.version, wanted, limit=CHUNK)
            if not found:
                break
            written = self._redo.run(served.pipeline, found, purpose="reenrich")
            rows += written
            if not written:  # what is left cannot be read or breaks a stage
                break
        return rows
