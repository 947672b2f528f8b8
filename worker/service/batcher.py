"""Dynamic batching: what many messages bring at the same time goes through a stage together.

Two lanes with a thread each, so that a live message never waits for a batch of bulk. A batch is whatever
waits when its lane comes free: batches grow with the load by themselves, and an idle lane takes what is there
at once. What comes out is handed on as the batch it is, from the lane's own thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice, takewhile
from types import TracebackType
from typing import Generic, Self, TypeVar

from worker.errors import FeltsenseError
from worker.observability import metrics, spans
from worker.observability.logging import failure, logger
from worker.store.leases import ATTEMPTS

T = TypeVar("T")
R = TypeVar("R")
Work = Callable[[Sequence[T]], Sequence[R]]
"""One result an item, in order; both lanes may call it at the same time."""
Then = Callable[[Sequence[T], Sequence[R]], None]
Fail = Callable[[T, Exception], None]

BACKOFF_FIRST_S = 0.1
BACKOFF_MOST_S = 5.0


class Closed(FeltsenseError):
    """The stage ended before the item's turn; its message goes back to the queue."""

    exit_code = 4
    retryable = True


class Batcher(Generic[T, R]):
    """Runs `work` over batches of one lane each; `then` gets the items with their results, `fail` an item
    that has none.

    When `work` raises a retryable error, the same batch is tried again, for as long as the stage is open;
    when it raises anything else, each item is tried alone, `ATTEMPTS` times, so that only the culprit fails.
    Under load bulk waits up to `max_wait_ms` for a fuller batch, live never does; `live_turn` is called
    before a live batch is made up, and may wait. What `together` tells apart never shares a batch.
    """

    def __init__(
        self, name: str, work: Work[T, R], *, then: Then[T, R], fail: Fail[T],
        max_batch_size: int, max_wait_ms: float, live_turn: Callable[[], object] | None = None,
        together: Callable[[T], object] | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self._closing = threading.Event()
        self._hurried = threading.Event()
        self._live, self._bulk = (
            _Lane(
                name, work, then, fail, live=live, closing=self._closing, hurried=self._hurried,
                max_batch_size=max_batch_size, max_wait_s=wait_ms / 1000, turn=turn,
                together=together,
            )
            for live, wait_ms, turn in ((True, 0.0, live_turn), (False, max_wait_ms, None))
        )  # fmt: skip

    def start(self) -> None:
        self._live.thread.start()
        self._bulk.thread.start()

    def hurry(self) -> None:
        """From now on, wait for no lost service: what needs one fails with its error, the rest goes on."""
        self._hurried.set()

    def close(self) -> None:
        """Finish what is queued and end the threads. Items that only a lost service holds up fail with its
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

    def put(self, items: Sequence[T], *, live: bool = False) -> None:
        """Queue the items together; never waits. Raises `Closed` once the stage is closing."""
        (self._live if live else self._bulk).put(items)


class _Lane(Generic[T, R]):
    """One lane of a stage: its queue and its thread."""

    def __init__(
        self, stage: str, work: Work[T, R], then: Then[T, R], fail: Fail[T], *, live: bool,
        closing: threading.Event, hurried: threading.Event,
        max_batch_size: int, max_wait_s: float, turn: Callable[[], object] | None,
        together: Callable[[T], object] | None,
    ) -> None:  # fmt: skip
        self._stage = stage
        self._work = work
        self._then = then
        self._fail = fail
        self._is_live = live
        self._closing = closing
        self._hurried = hurried
        self._max_batch_size = max_batch_size
        self._max_wait_s = max_wait_s
        self._turn = turn
        self._together = together
        self._waiting: deque[T] = deque()
        self._changed = threading.Condition()
        lane = "live" if live else "bulk"
        self.thread = threading.Thread(target=self._run, name=f"stage-{stage}-{lane}", daemon=True)

    def wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def put(self, items: Sequence[T]) -> None:
        with self._changed:
            if self._closing.is_set():
                raise Closed(f"stage {self._stage} is closing")
            if items:
                self._waiting.extend(items)
                self._changed.notify()

    def _run(self) -> None:
        while batch := self._take():
            self._finish(batch)

    def _take(self) -> list[T]:
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
        if self._turn is not None and self._waiting:
            self._turn()
        with self._changed:
            return [self._waiting.popleft() for _ in range(self._fitting())]

    def _fitting(self) -> int:
        """How many of those that wait longest go together. The caller holds the lock."""
        most = min(len(self._waiting), self._max_batch_size)
        if self._together is None or not most:
            return most
        first = self._together(self._waiting[0])
        alike = takewhile(lambda one: self._together(one) == first, islice(self._waiting, most))  # type: ignore[misc]
        return sum(1 for _ in alike)

    def _finish(self, batch: list[T]) -> None:
        started = spans.now()
        pause_s = BACKOFF_FIRST_S
        failures = 0
        while True:
            try:
                results = self._work(batch)
                break
            except Exception as error:  # noqa: BLE001  `fail` gets it
                retryable = getattr(error, "retryable", False)
                logger.warning(
                    "stage_failed", stage=self._stage, items=len(batch), retryable=retryable, **failure(error)
                )
                if not retryable and len(batch) > 1:
                    for one in batch:
                        self._finish([one])
                    return
                failures += not retryable
                if 0 < failures < ATTEMPTS:
                    continue
                if not retryable or self._hurried.wait(pause_s):
                    for one in batch:
                        self._fail(one, error)
                    return
                pause_s = min(2 * pause_s, BACKOFF_MOST_S)
        metrics.STAGE_SECONDS.labels(self._stage).observe(spans.now() - started)
        metrics.BATCH_SIZE.labels(self._stage).observe(len(batch))
        spans.record(self._stage, started, size=len(batch), live=self._is_live)
        self._then(batch, results)
