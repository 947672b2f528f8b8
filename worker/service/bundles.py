"""Which bundle a worker begins with, where a registered one lies, and the alarm when it cannot be opened."""

from __future__ import annotations

from pathlib import Path

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
)
from worker.observability import metrics
from worker.observability.logging import failure, logger
from worker.pipeline import Pipeline
from worker.settings import Settings
from worker.store import models
from worker.store.engine import Store
from worker.store.models import Registered

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
    logger.error("bundle_unavailable", version=wanted.version, location=wanted.location, **why(error))
    metrics.SWAPS.labels("refused").inc()
    store.transact(lambda cursor: models.record(cursor, wanted.version, "swap_failed", why(error)))


def why(error: Exception) -> dict[str, str]:
    """The words of our own errors, which hold no text; of others what may be told."""
    if isinstance(error, FeltsenseError):
        return {"error": type(error).__name__, "reason": str(error)}
    return {key: str(value) for key, value in failure(error).items()}
