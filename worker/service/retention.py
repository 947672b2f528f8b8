"""Beside the stages: once an hour, what is older than the settings allow is forgotten."""

from __future__ import annotations

from worker.observability.logging import failure, logger
from worker.service.background import Background
from worker.store.engine import Store
from worker.store.retention import forget

INTERVAL_S = 3600.0
FIRST_S = 60.0
"""A worker that starts has better things to do."""


class Retention(Background):
    """Forgets what is older than `text_days` and `days` (None keeps), in a thread of its own."""

    def __init__(self, store: Store, *, text_days: int | None, days: int | None) -> None:
        super().__init__("retention")
        self._store = store
        self._text_days = text_days
        self._days = days

    def _run(self) -> None:
        pause_s = FIRST_S
        while not self._closing.wait(pause_s):
            pause_s = INTERVAL_S
            try:
                gone = forget(self._store, text_days=self._text_days, days=self._days)
            except Exception as error:  # noqa: BLE001  this thread must outlive any
                logger.warning("retention_failed", **failure(error))
            else:
                if gone:
                    logger.info(
                        "forgotten",
                        texts=gone.texts,
                        payloads=gone.payloads,
                        reflections=gone.reflections,
                        letters=gone.letters,
                    )
