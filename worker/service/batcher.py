"""Dynamic batching: what many messages bring at the same time goes through a stage together.

A future per item, and two lanes with a thread each, so that a live message never waits for a batch of bulk.
A batch is whatever waits when its lane comes free: batches grow with the load by themselves, and an idle lane
takes what is there at once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Generic, Self, TypeVar

from worker.errors import FeltsenseError
from worker.observability import metrics, spans
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
    """Runs `work` over batches of one lane each. `work` returns one result an item, in order; both lanes may
    call it at the same time.

    When it raises a retryable error, the same batch is tried again, for as long as the stage is open; when it
    raises anything else, each item is tried alone, so that only the culprit's future holds the error. Under
    load bulk waits up to `max_wait_ms` for a fuller batch, live never does.
    """

    def __init__(
        self, name: str, work: Callable[[Sequence[T]], Sequence[R]],
        *, max_batch_size: int, max_wait_ms: float, capacity: int = 8192,
    ) -> None:  # fmt: skip
        self.name = name
        self._closing = threading.Event()
        self._hurried = threading.Event()
        self._live, self._bulk = (
            _Lane(
                name, work, live=live, closing=self._closing, hurried=self._hurried,
                max_batch_size=max_batch_size, max_wait_s=wait_ms / 1000, capacity=capacity,
            )
            for live, wait_ms in ((True, 0.0), (False, max_wait_ms))
        )  # fmt: skip

    def start(self) -> None:
        self._live.thread.start()
        self._bulk.thread.start()

    def hurry(self) -> None:
        """From now on, wait for no lost service: what needs one fails with its error, the rest goes on."""
        self._hurried.set()

    def close(self) -> None:
        """Finish what is queued and end the threads. Items that only a lost service holds up fail with their
        error."""
        self._closing.set()
        self._hurried.set()
        for lane in (self._live, self._bulk):
            lane.wake()
        for lane in (self._live, self._bulk):
            if lane.thread.ident is not None:
                lane.thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, items: Sequence[T], *, live: bool = False) -> list[Future[R]]:
        """Queue the items together, a future for each; waits while their lane is full. Raises `Closed` at
        shutdown."""
        return (self._live if live else self._bulk).submit(items)


class _Lane(Generic[T, R]):
    """One lane of a stage: its queue and its thread."""

    def __init__(
        self, stage: str, work: Callable[[Sequence[T]], Sequence[R]], *, live: bool,
        closing: threading.Event, hurried: threading.Event,
        max_batch_size: int, max_wait_s: float, capacity: int,
    ) -> None:  # fmt: skip
        self._stage = stage
        self._work = work
        self._is_live = live
        self._closing = closing
        self._hurried = hurried
        self._max_batch_size = max_batch_size
        self._max_wait_s = max_wait_s
        self._capacity = capacity
        self._waiting: deque[tuple[T, Future[R]]] = deque()
        self._changed = threading.Condition()
        lane = "live" if live else "bulk"
        self.thread = threading.Thread(target=self._run, name=f"stage-{stage}-{lane}", daemon=True)

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def submit(self, items: Sequence[T]) -> list[Future[R]]:
        futures: list[Future[R]] = [Future() for _ in items]
        with self._changed:
            self._changed.wait_for(lambda: self._closing.is_set() or len(self._waiting) < self._capacity)
            if self._closing.is_set():
                raise Closed(f"stage {self._stage} is closing")
            self._waiting.extend(zip(items, futures, strict=True))
            self._changed.notify_all()
        return futures

    def _run(self) -> None:
        while batch := self._take():
            self._finish(batch)

    def _take(self) -> list[tuple[T, Future[R]]]:
        """The next batch; empty when the stage is closed and nothing is left."""
        with self._changed:
            if not self._waiting:
                self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
            elif self._max_wait_s and len(self._waiting) < self._max_batch_size:
                # Something came while the lane was busy: under load, a short wait makes a fuller batch.
                self._changed.wait_for(
                    lambda: len(self._waiting) >= self._max_batch_size or self._closing.is_set(),
                    self._max_wait_s,
                )
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._max_batch_size))]
            self._changed.notify_all()
        return batch

    def _finish(self, batch: list[tuple[T, Future[R]]]) -> None:
        started = spans.now()
        pause_s = BACKOFF_FIRST_S
        while True:
            try:
                results = self._work([item for item, _ in batch])
                break
            except Exception as error:  # noqa: BLE001  the items' futures carry it
                retryable = getattr(error, "retryable", False)
                logger.warning(
                    "stage_failed", stage=self._stage, items=len(batch), retryable=retryable, **failure(error)
                )
                if not retryable or self._hurried.wait(pause_s):
                    self._blame(batch, error, alone=not retryable and len(batch) > 1)
                    return
                pause_s = min(2 * pause_s, BACKOFF_MOST_S)
        metrics.STAGE_SECONDS.labels(self._stage).observe(spans.now() - started)
        metrics.BATCH_SIZE.labels(self._stage).observe(len(batch))
        spans.record(self._stage, started, size=len(batch), live=self._is_live)
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)

    def _blame(self, batch: list[tuple[T, Future[R]]], error: Exception, *, alone: bool) -> None:
        if alone:
            for one in batch:
                self._finish([one])
        else:
            for _, future in batch:
                future.set_exception(error)
