"""Dynamic batching: what many messages bring at the same time goes through a stage together.

One thread, a future per item, and two lanes. A batch is whatever waits when the stage comes free, so batches
grow with the load by themselves; an idle stage takes what is there at once.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Generic, Self, TypeVar

from worker.errors import FeltsenseError
from worker.observability import metrics
from worker.observability.logging import failure, logger

T = TypeVar("T")
R = TypeVar("R")

BACKOFF_FIRST_S = 0.1
BACKOFF_MOST_S = 5.0


class Closed(FeltsenseError):
    """The stage ended before the item's turn; its message goes back to the queue."""

    exit_code = 4
    retryable = True


class Batcher(Generic[T, R]):
    """Runs `work` over batches in one thread. `work` returns one result an item, in order.

    When it raises a retryable error, the same batch is tried again, for as long as the stage is open; when it
    raises anything else, each item is tried alone, so that only the culprit's future holds the error.
    """

    def __init__(
        self, name: str, work: Callable[[Sequence[T]], Sequence[R]],
        *, max_batch_size: int, max_wait_ms: float, capacity: int = 8192,
    ) -> None:  # fmt: skip
        self.name = name
        self._work = work
        self._max_batch_size = max_batch_size
        self._max_wait_s = max_wait_ms / 1000
        self._capacity = capacity
        self._lanes: tuple[deque[tuple[T, Future[R]]], deque[tuple[T, Future[R]]]] = (deque(), deque())
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._hurried = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"stage-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hurry(self) -> None:
        """From now on, wait for no lost service: what needs one fails with its error, the rest goes on."""
        self._hurried.set()

    def close(self) -> None:
        """Finish what is queued and end the thread. Items that only a lost service holds up fail with their
        error."""
        self._closing.set()
        self._hurried.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, items: Sequence[T], *, live: bool = False) -> list[Future[R]]:
        """Queue the items together, a future for each; waits while the queue is full. Raises `Closed` at
        shutdown."""
        futures: list[Future[R]] = [Future() for _ in items]
        with self._changed:
            self._changed.wait_for(lambda: self._closing.is_set() or self._waiting() < self._capacity)
            if self._closing.is_set():
                raise Closed(f"stage {self.name} is closing")
            self._lanes[0 if live else 1].extend(zip(items, futures, strict=True))
            self._changed.notify_all()
        return futures

    def _waiting(self) -> int:
        return len(self._lanes[0]) + len(self._lanes[1])

    def _run(self) -> None:
        while batch := self._take():
            self._finish(batch)

    def _take(self) -> list[tuple[T, Future[R]]]:
        """The next batch, of one lane, the live one first; empty when the stage is closed and nothing is
        left."""
        with self._changed:
            if not self._waiting():
                self._changed.wait_for(lambda: self._waiting() or self._closing.is_set())
            elif self._waiting() < self._max_batch_size:
                # Something came while the stage was busy: under load, a short wait makes a fuller batch.
                self._changed.wait_for(
                    lambda: self._waiting() >= self._max_batch_size or self._closing.is_set(),
                    self._max_wait_s,
                )
            lane = self._lanes[0] or self._lanes[1]
            batch = [lane.popleft() for _ in range(min(len(lane), self._max_batch_size))]
            self._changed.notify_all()
        return batch

    def _finish(self, batch: list[tuple[T, Future[R]]]) -> None:
        started = time.perf_counter()
        pause_s = BACKOFF_FIRST_S
        while True:
            try:
                results = self._work([item for item, _ in batch])
                break
            except Exception as error:  # noqa: BLE001  the items' futures carry it
                retryable = getattr(error, "retryable", False)
                logger.warning(
                    "stage_failed", stage=self.name, items=len(batch), retryable=retryable, **failure(error)
                )
                if not retryable or self._hurried.wait(pause_s):
                    self._blame(batch, error, alone=not retryable and len(batch) > 1)
                    return
                pause_s = min(2 * pause_s, BACKOFF_MOST_S)
        metrics.STAGE_SECONDS.labels(self.name).observe(time.perf_counter() - started)
        metrics.BATCH_SIZE.labels(self.name).observe(len(batch))
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)

    def _blame(self, batch: list[tuple[T, Future[R]]], error: Exception, *, alone: bool) -> None:
        if alone:
            for one in batch:
                self._finish([one])
        else:
            for _, future in batch:
                future.set_exception(error)
