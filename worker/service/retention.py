"""Beside the stages: once an hour, what is older than the settings allow is forgotten."""

from __future__ import annotations

from worker.observability.logging import logger
from worker.service.background import Periodic
from worker.store.engine import Store
from worker.store.retention import forget

INTERVAL_S = 3600.0
FIRST_S = 60.0
"""A worker that starts has better things to do."""


class Retention(Periodic):
    """Forgets what is older than `text_days` and `days` (None keeps), in a thread of its own."""

    def __init__(self, store: Store, *, text_days: int | None, days: int | None) -> None:
        super().__init__("retention", every_s=INTERVAL_S, first_s=FIRST_S)
        self._store = store
        self._text_days = text_days
        self._days = days

    def _work(self) -> None:
        if gone := forget(self._store, text_days=self._text_days, days=self._days):
            logger.info(
                "forgotten",
                texts=gone.texts,
                payloads=gone.payloads,
                reflections=gone.reflections,
                letters=gone.letters,
            )
