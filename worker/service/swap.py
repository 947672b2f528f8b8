"""Which bundle the worker serves, from its start on: the one that the database says, as soon as it can be
opened here.

Once a second the worker looks which version serves. Another one than its own is opened beside it from where
the registry says it lies, its first text is read, and then new arrivals begin with it (`Serving`). A version
that cannot be opened leaves the old one serving and raises the alarm; it is tried again when something about
it changes, and else with growing pauses. The same goes for a worker that has no pipeline at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType

from worker.errors import ServiceMissing
from worker.events.reflection import Reflection
from worker.features.schema import SEQUENCE_LENGTH
from worker.observability import metrics
from worker.observability.logging import logger
from worker.pipeline import Pipeline
from worker.service.background import Periodic
from worker.service.bundles import CLOSED_TO_MODELS, alarm, first, opened, why
from worker.service.redo import Redo
from worker.service.stages import Stages
from worker.service.warmup import Warmup
from worker.settings import Settings
from worker.store import models, stored
from worker.store.engine import Store
from worker.store.models import Registered

INTERVAL_S = 1.0
PAUSE_FIRST_S, PAUSE_MOST_S = 1.0, 60.0
"""Between two attempts at what could not be opened; doubled each time."""
PREPARE_S = 60.0
LATELY, PEOPLE = 2_000, 16
"""Last reflections whose persons are prepared for a swap, and persons at once."""
SERVING, TRIED = "serving", "tried"


def rehearse(pipeline: Pipeline) -> None:
    """Reads one made-up text with it: whatever is loaded late is loaded now, and what is broken shows. A full
    live lane does not keep it waiting."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    made_up = Reflection(id="-", user_id="-", text="So far, so good.", created_at=moment, utc_offset_min=0)
    pipeline.perceive([made_up], live=True)


class Swapper(Periodic):
    """Keeps the stages at the version that serves, in a thread of its own."""

    def __init__(self, stages: Stages, store: Store, settings: Settings) -> None:
        super().__init__("swap", every_s=INTERVAL_S, first_s=INTERVAL_S)
        self._stages = stages
        self._serving = stages.serving
        self._store = store
        self._settings = settings
        self._worker = stages.lease.owner[:12]
        self._redo = Redo(store, busy=lambda: stages.busy, pause=self._closing.wait, modesty=1.0)
        self._warmup: Warmup | None = None
        self._troubles: dict[str, _Trouble] = {}

    def begin(self) -> None:
        """Open the first pipeline, before the thread starts; where that cannot be now, the thread goes on
        trying. Raises `UsageError`, `ServiceMissing`."""
        try:
            self._open_first()
        except CLOSED_TO_MODELS as error:
            self._without(error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._end_warmup()

    def _work(self) -> None:
        for version in self._serving.retire():
            logger.info("bundle_closed", version=version)
        if self._serving.version is None:
            self._try_first()
            return
        wanted = models.serving(self._store)
        if wanted is not None and wanted.version != self._serving.version:
            self._attempt(SERVING, wanted, self._swap)
            return
        self._troubles.pop(SERVING, None)
        tried = models.challenger(self._store) if self._settings.shadow_traffic else None
        if tried is None:
            self._serving.withdraw()
        elif tried.version != self._serving.tried:
            self._attempt(TRIED, tried, self._try_beside)

    def _attempt(self, role: str, wanted: Registered, act: Callable[[Registered], None]) -> None:
        trouble = self._troubles.get(role)
        if trouble is not None and trouble.rests(wanted):
            return
        if wanted.version != self._serving.tried:
            self._serving.withdraw()
            if self._serving.full:  # until what left is closed
                return
        try:
            act(wanted)
        except ServiceMissing:
            raise  # not the bundle's fault
        except Exception as error:  # noqa: BLE001  whatever a bundle does, the old one goes on serving
            if trouble is None or trouble.about != wanted:
                trouble = self._troubles[role] = _Trouble(wanted)
                alarm(self._store, wanted, error)
            trouble.again()
            logger.warning("swap_failed", version=wanted.version, next_s=trouble.pause_s, **why(error))
        else:
            self._troubles.pop(role, None)

    def _swap(self, wanted: Registered) -> None:
        started = time.perf_counter()
        current = self._serving.peek()
        assert current is not None, "nothing is exchanged before there is a first"
        before = current.version
        if self._serving.tried != wanted.version:
            self._try_beside(wanted)
        tried = self._serving.peek_tried()
        assert tried is not None, "just opened, or tried before"
        loaded = time.perf_counter()
        self._prepare(tried.pipeline)
        prepared = time.perf_counter()
        self._serving.promote()
        self._took_over(tried.pipeline)
        facts = {
            "worker": self._worker,
            "before": before,
            "loaded_ms": round(1000 * (loaded - started), 1),
            "prepared_ms": round(1000 * (prepared - loaded), 1),
            "switch_ms": round(1000 * (time.perf_counter() - prepared), 1),
        }
        logger.info("bundle_swapped", version=wanted.version, **facts)
        metrics.SWAPS.labels("swapped").inc()
        self._store.transact(lambda cursor: models.record(cursor, wanted.version, "swapped", facts))

    def _try_beside(self, wanted: Registered) -> None:
        """Open a version beside the serving one, warm enough to take over."""
        current = self._serving.peek()
        pipeline = opened(wanted, self._settings, current.pipeline if current is not None else None)
        with _closed_on_error(pipeline):
            self._warm(pipeline, current.pipeline if current is not None else None)
            self._serving.attempt(pipeline)
        logger.info("bundle_opened", **pipeline.facts())

    def _prepare(self, pipeline: Pipeline) -> None:
        """Those who wrote last find their history done with it, as far as that goes in `PREPARE_S`."""
        until = time.monotonic() + PREPARE_S
        moment = datetime.now(UTC) + timedelta(days=2)  # an event may be dated ahead
        users = stored.lately(self._store, LATELY)
        for start in range(0, len(users), PEOPLE):
            while self._stages.crowded and time.monotonic() < until and not self._closing.wait(0.1):
                pass
            if time.monotonic() > until or self._closing.is_set():
                return
            stored.claimed(
                self._store,
                pipeline.model_version,
                users[start : start + PEOPLE],
                lambda mine: self._do_last(pipeline, [(user, moment) for user in mine]),
            )

    def _do_last(self, pipeline: Pipeline, moments: Sequence[tuple[str, datetime]]) -> int:
        found = stored.earlier(self._store, moments, pipeline.model_version, last=SEQUENCE_LENGTH)
        return self._redo.run(pipeline, found[::-1], purpose="prepare")

    def _open_first(self) -> None:
        pipeline = first(self._store, self._settings)
        with _closed_on_error(pipeline):
            self._warm(pipeline, None)
            self._serving.switch(pipeline)
        self._took_over(pipeline)

    def _try_first(self) -> None:
        trouble = self._troubles.get(SERVING)
        if trouble is not None and trouble.rests(None):
            return
        try:
            self._open_first()
        except ServiceMissing:
            raise
        except Exception as error:  # noqa: BLE001  arrivals are screened, and wait
            self._without(error)
        else:
            self._troubles.pop(SERVING, None)
            metrics.WITHOUT_MODELS.set(0)
            logger.info("worker_has_models", version=self._serving.version)

    def _without(self, error: Exception) -> None:
        trouble = self._troubles.setdefault(SERVING, _Trouble(None))
        trouble.again()
        told = why(error)
        self._serving.trouble = told.get("reason", type(error).__name__)
        metrics.WITHOUT_MODELS.set(1)
        logger.error("worker_without_models", next_s=trouble.pause_s, **told)

    def _warm(self, pipeline: Pipeline, beside: Pipeline | None) -> None:
        """Warm enough to begin; the rest follows in a thread."""
        if beside is None or beside.fork != pipeline.fork:
            self._end_warmup()
            self._warmup = Warmup(pipeline.warm())
            self._warmup.begin()
        rehearse(pipeline)
        if self._warmup is not None and not self._warmup.begun:
            self._warmup.__enter__()

    def _end_warmup(self) -> None:
        warmup, self._warmup = self._warmup, None
        if warmup is not None and warmup.begun:
            warmup.__exit__(None, None, None)

    def _took_over(self, pipeline: Pipeline) -> None:
        metrics.serving(pipeline.model_version, time.time())


@contextmanager
def _closed_on_error(pipeline: Pipeline) -> Iterator[None]:
    try:
        yield
    except BaseException:
        pipeline.close()
        raise


class _Trouble:
    """What could not be opened, and when it is tried again."""

    def __init__(self, about: Registered | None) -> None:
        self.about = about
        self.pause_s = 0.0
        self._until = 0.0

    def again(self) -> None:
        self.pause_s = min(2 * self.pause_s or PAUSE_FIRST_S, PAUSE_MOST_S)
        self._until = time.monotonic() + self.pause_s

    def rests(self, wanted: Registered | None) -> bool:
        return wanted == self.about and time.monotonic() < self._until
