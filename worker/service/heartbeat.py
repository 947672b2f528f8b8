"""Beside the stages: the worker's sign of life, for the leases in the database and for its supervisor.

No thread can end another that hangs. So a worker whose stages make no progress falls silent: its leases run
out, and its supervisor ends it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from worker.observability.logging import failure, logger
from worker.service.background import Background
from worker.store import leases
from worker.store.engine import Store

BEAT_S = leases.LEASE_S / 3
PULSE_S = 1.0
PULSE = "FELTSENSE_PULSE"
"""Environment variable with the descriptor the supervisor listens on; the supervisor sets it."""


class Heartbeat(Background):
    """Keeps the leases of `owner` for the length of the block, while `sound` says so; then gives them
    back."""

    def __init__(self, store: Store, owner: str, sound: Callable[[], bool]) -> None:
        super().__init__("heartbeat")
        self._store = store
        self._owner = owner
        self._sound = sound

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._attempt(leases.release)

    def _run(self) -> None:
        while not self._closing.wait(BEAT_S):
            if self._sound():
                self._attempt(leases.extend)
            else:
                logger.error("worker_stalled")

    def _attempt(self, act: Callable[[Store, str], int]) -> None:
        try:
            act(self._store, self._owner)
        except Exception as error:  # noqa: BLE001  the stages meet the lost database too, and wait for it
            logger.warning("heartbeat_failed", **failure(error))


class Pulse(Background):
    """A byte a second to the supervisor, while `sound` says so; nothing where none listens."""

    def __init__(self, sound: Callable[[], bool]) -> None:
        super().__init__("pulse")
        self._sound = sound
        given = os.environ.get(PULSE)
        self._descriptor = None if given is None else int(given)

    def _run(self) -> None:
        if self._descriptor is None:
            return
        os.set_blocking(self._descriptor, False)
        while True:
            if self._sound():
                with suppress(BlockingIOError):  # a stopped supervisor finds more beats than it needs
                    os.write(self._descriptor, b".")
            if self._closing.wait(PULSE_S):
                return
