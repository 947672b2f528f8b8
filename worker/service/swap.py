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
from pathlib import Path
from types import TracebackType

from worker.bundle import fetch, manifest
from worker.bundle.manifest import Manifest
from worker.bundle.people import people_of
from worker.bundle.reader import STARTER
from worker.errors import (
    BundleRefused,
    BundlesAway,
    DeviceFailed,
    EncoderMissing,
    ExportsRefused,
    FeltsenseError,
    ServiceMissing,
)
from worker.events.reflection import Reflection
from worker.features.schema import SEQUENCE_LENGTH
from worker.observability import metrics
from worker.observability.logging import failure, logger
from worker.pipeline import Pipeline
from worker.service.background import Periodic
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
PREPARE_S = 10.0
LATELY, PEOPLE = 2_000, 16
"""Last reflections whose persons are prepared for a swap, and persons at once."""
SERVING, TRIED = "serving", "tried"
CLOSED_TO_MODELS = (
    BundleRefused, ExportsRefused, EncoderMissing, DeviceFailed, BundlesAway, OSError, MemoryError,
)  # fmt: skip
"""What keeps a worker from opening a pipeline and may pass. A wrong setting is not among it."""


def activates(own: str, *, fresh: bool, explicit: bool, serving: str | None) -> bool:
    """Whether a starting worker makes its own bundle, of version `own`, the one that serves.

    It does where none serves yet, or where somebody named a bundle (FELTSENSE_BUNDLE: `explicit`) that this
    database has never seen (`fresh`). Any other change of what serves is a promotion.
    """
    return own != serving and (serving is None or (fresh and explicit))


def first(store: Store, settings: Settings) -> Pipeline:
    """The pipeline a worker begins with: its own bundle where that serves or now does (`activates`), else
    the version that serves, and where that cannot be opened its own after all, with the alarm raised.

    Raises what opening the last of these raises, `ServiceMissing`.
    """
    folder = settings.bundle or STARTER
    serving = models.serving(store)
    own: Manifest | None = None
    try:
        own = manifest.read(folder)
    except BundleRefused as error:
        if serving is None:
            raise
        logger.error("bundle_refused", detail=str(error))
    if own is not None:
        explicit, active = settings.bundle is not None, serving.version if serving is not None else None
        fresh = models.find(store, own.model_version) is None
        if activates(own.model_version, fresh=fresh, explicit=explicit, serving=active):
            pipeline = Pipeline.open(folder, settings)
            announce(store, pipeline)
            return pipeline
        register(store, folder, own)
        if own.model_version == active:
            return Pipeline.open(folder, settings)
    assert serving is not None, "without one, the own bundle was opened or refused"
    try:
        return opened(serving, settings)
    except CLOSED_TO_MODELS as error:
        alarm(store, serving, error)
        if own is None:
            raise
    return Pipeline.open(folder, settings)


def opened(wanted: Registered, settings: Settings, beside: Pipeline | None = None) -> Pipeline:
    """A registered version's pipeline, fetched from where it lies. Raises what `Pipeline.open` and
    `fetch.fetched` raise."""
    if wanted.location is None:
        raise BundleRefused(wanted.version, "the registry does not say where it lies")
    folder = fetch.fetched(wanted.location, settings.cache_dir, version=wanted.version)
    return Pipeline.open(folder, settings, beside=beside)


def register(store: Store, folder: Path, facts: Manifest) -> str:
    """Names the bundle in `model_versions`; its version."""
    known = models.find(store, facts.model_version)
    # A place that all machines reach is not exchanged for a folder of this one.
    kept = known is not None and known.location is not None and "://" in known.location
    models.register(
        store,
        facts.model_version,
        digest=facts.digest,
        manifest=facts.model_dump(mode="json"),
        people=people_of(folder),
        location=None if kept else str(folder.absolute()),
    )
    return facts.model_version


def announce(store: Store, pipeline: Pipeline) -> None:
    """Names the bundle in `model_versions` and makes it the one whose rows readers get."""
    models.activate(store, register(store, pipeline.folder, pipeline.manifest))


def alarm(store: Store, wanted: Registered, error: Exception) -> None:
    """Says wherever somebody may look that a version which should serve cannot."""
    logger.error("bundle_unavailable", version=wanted.version, location=wanted.location, **_why(error))
    metrics.MODEL_SWAPS.labels("failed").inc()
    store.transact(lambda cursor: models.record(cursor, wanted.version, "swap_failed", _why(error)))


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
            logger.warning("swap_failed", version=wanted.version, next_s=trouble.pause_s, **_why(error))
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
        metrics.MODEL_SWAPS.labels("swapped").inc()
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
        why = _why(error)
        self._serving.trouble = why.get("reason", type(error).__name__)
        metrics.WITHOUT_MODELS.set(1)
        logger.error("worker_without_models", next_s=trouble.pause_s, **why)

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
        metrics.MODEL_SERVING.clear()
        metrics.MODEL_SERVING.labels(pipeline.model_version).set(1)


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


def _why(error: Exception) -> dict[str, str]:
    """The words of our own errors, which hold no text; of others what may be told."""
    if isinstance(error, FeltsenseError):
        return {"error": type(error).__name__, "reason": str(error)}
    return {key: str(value) for key, value in failure(error).items()}
