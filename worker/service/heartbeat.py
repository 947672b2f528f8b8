"""Beside the stages: the worker's sign of life, for the leases in the database and for its supervisor.

No thread can end another that hangs. So a worker whose stages make no progress lets its leases run out, and
tells its supervisor, who ends it.
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
from worker.store.leases import Lease

PULSE_S = 1.0
WELL, HUNG = b".", b"!"
PULSE = "FELTSENSE_PULSE"
"""Environment variable with the descriptor the supervisor listens on; the supervisor sets it."""


class Heartbeat(Background):
    """Renews the lease for the length of the block, while `sound` says so; then gives back what it covers."""

    def __init__(self, store: Store, lease: Lease, sound: Callable[[], bool]) -> None:
        super().__init__("heartbeat")
        self._store = store
        self._lease = lease
        self._sound = sound

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._attempt(leases.release)

    def _run(self) -> None:
        while not self._closing.wait(self._lease.seconds / 3):
            if self._sound():
                self._attempt(leases.extend)
            else:
                logger.error("worker_stalled")

    def _attempt(self, act: Callable[[Store, Lease], int]) -> None:
        try:
            act(self._store, self._lease)
        except Exception as error:  # noqa: BLE001  the stages meet the lost database too, and wait for it
            logger.warning("heartbeat_failed", **failure(error))


class Pulse(Background):
    """A byte a second to the supervisor, `WELL` while `sound` says so and else `HUNG`; nothing where none
    listens."""

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
            with suppress(BlockingIOError):  # a stopped supervisor finds more beats than it needs
                os.write(self._descriptor, WELL if self._sound() else HUNG)
            if self._closing.wait(PULSE_S):
                return
