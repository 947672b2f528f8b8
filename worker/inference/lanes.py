"""Whose turn it is before the encoder's device: two queues of texts, the live one first.

No more calls are under way than the device has requests, so a text waits here, where one that matters more
can pass it, and not in the device's own queue. The last request is kept for the live lane: a live text waits
for a running call to end, never for one that has not begun. Bulk texts wait by padded length until a call is
full, whatever batches they came in; a live one never waits for company, but where many wait, those of the
commonest length go first, together.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from worker.features.embedding import bucket_of, pack, sizes
from worker.inference.backend import Placed
from worker.inference.failover import Ran
from worker.observability import spans

PATIENCE = 512
"""How many bulk texts may be sent past one that waits for its call to fill."""
LIVE_PATIENCE = 8
"""The same among live texts: a bound of some calls, for the sake of more of them in a call."""

Inputs = Sequence[NDArray[Any]]
Tokens = Sequence[Sequence[int]]


class Model(Protocol):
    def submit(self, inputs: Inputs, *, rows: int) -> Future[Ran]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """Texts as vectors f32 [n, width, or twice that with a fork]; `placed[i]` is what computed row i."""

    vectors: NDArray[np.float32]
    placed: Sequence[Placed]


class Submission:
    """Texts that came together: the rows of their calls are gathered here, in the caller's order.

    `future` is done when all have come; an error of any of their calls is its error.
    """

    def __init__(self, tokens: Tokens, width: int) -> None:
        self.tokens = tokens
        self.future: Future[Encoded] = Future()
        self._vectors = np.empty((len(tokens), width), dtype=np.float32)
        self._placed: list[Any] = [None] * len(tokens)
        self._left = len(tokens)
        self._lock = threading.Lock()
        if not tokens:
            self._done()

    def arrived(self, row: int, vector: NDArray[Any], placed: Placed) -> None:
        self._vectors[row] = vector
        self._placed[row] = placed
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:  # then no call failed: the texts of one that did never arrive
            self._done()

    def _done(self) -> None:
        self.future.set_result(Encoded(vectors=self._vectors, placed=self._placed))

    def failed(self, error: BaseException) -> None:
        with self._lock:
            if not self.future.done():
                self.future.set_exception(error)


@dataclass(eq=False, slots=True)
class _Waiting:
    submission: Submission
    row: int
    order: int
    since: int


class _Queue:
    """A lane's texts by padded length; a `hasty` one has no hope of full calls. The caller holds the lock."""

    def __init__(self, token_budget: int, *, patience: int, hasty: bool) -> None:
        self._token_budget = token_budget
        self._patience = patience
        self._hasty = hasty
        self._buckets: dict[int, deque[_Waiting]] = {}
        self._came = 0
        self._sent = 0

    def put(self, submission: Submission) -> None:
        """All of its texts, longest first so that stragglers are short."""
        lengths = [bucket_of(len(one)) for one in submission.tokens]
        for row in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
            waiting = _Waiting(submission, row, self._came, self._sent)
            self._buckets.setdefault(lengths[row], deque()).append(waiting)
            self._came += 1

    def take(self) -> tuple[int, list[_Waiting]] | None:
        """The texts of the next call with their padded length: the oldest full call, else the largest of a
        hasty lane, else the oldest text's, which is sent in any case once its patience is over."""
        if not self._buckets:
            return None

        def age(bucket: int) -> int:
            return self._buckets[bucket][0].order

        oldest = min(self._buckets, key=age)
        if self._sent - self._buckets[oldest][0].since < self._patience:
            full = [
                bucket
                for bucket, waiting in self._buckets.items()
                if len(waiting) >= sizes(bucket, self._token_budget)[0]
            ]
            if full:
                oldest = min(full, key=age)
            elif self._hasty:
                oldest = max(self._buckets, key=lambda bucket: len(self._buckets[bucket]))
        waiting = self._buckets[oldest]
        size = next(size for size in sizes(oldest, self._token_budget) if size <= len(waiting))
        taken = [waiting.popleft() for _ in range(size)]
        if not waiting:
            del self._buckets[oldest]
        self._sent += size
        return oldest, taken


@dataclass(eq=False, slots=True)
class _Call:
    bucket: int
    texts: list[_Waiting]
    live: bool
    slot: int
    started: float


class Lanes:
    """The calls of `model`, at most `requests` at once and of at most `token_budget` padded tokens."""

    def __init__(self, model: Model, *, requests: int, token_budget: int, patience: int = PATIENCE) -> None:
        self._model = model
        self._live: _Queue = _Queue(token_budget, patience=LIVE_PATIENCE, hasty=True)
        self._bulk: _Queue = _Queue(token_budget, patience=patience, hasty=False)
        self._free = list(range(requests, 0, -1))
        self._kept = 1 if requests > 1 else 0
        self._lock = threading.Lock()

    def submit(self, submission: Submission, *, live: bool) -> None:
        """Queue its texts; never waits for the device."""
        with self._lock:
            (self._live if live else self._bulk).put(submission)
        self._start()

    def _start(self) -> None:
        while (call := self._next()) is not None:
            try:
                inputs = pack(call.bucket, [one.submission.tokens[one.row] for one in call.texts])
                part = self._model.submit(inputs, rows=len(call.texts))
            except Exception as error:  # noqa: BLE001 - it is handed to those who wait, not swallowed
                self._release(call)
                _all_fail(call, error)
            else:
                part.add_done_callback(partial(self._arrived, call))

    def _next(self) -> _Call | None:
        with self._lock:
            live = bool(self._free)
            taken = self._live.take() if live else None
            if taken is None:
                live = False
                taken = self._bulk.take() if len(self._free) > self._kept else None
            if taken is None:
                return None
            return _Call(*taken, live, self._free.pop(), spans.now())

    def _release(self, call: _Call) -> None:
        with self._lock:
            self._free.append(call.slot)
            self._free.sort(reverse=True)

    def _arrived(self, call: _Call, part: Future[Ran]) -> None:
        spans.record(f"encoder {call.slot}", call.started, size=len(call.texts), live=call.live)
        self._release(call)
        self._start()  # before anybody wakes: the device must not wait for them
        error = part.exception()
        if error is not None:
            _all_fail(call, error)
            return
        ran = part.result()
        for one, vector in zip(call.texts, ran.output, strict=True):
            one.submission.arrived(one.row, vector, ran.placed)


def _all_fail(call: _Call, error: BaseException) -> None:
    for one in call.texts:
        one.submission.failed(error)
