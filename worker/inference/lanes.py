"""Whose turn it is before the encoder's device: two queues of texts, the live one first.

No more calls are under way than the device has requests, so a text waits here, where one that matters more
can pass it, and not in the device's own queue. The last request is kept for the live lane: a live text waits
for a running call to end, never for one that has not begun. A call takes the texts that have waited longest,
whatever their lengths and the batches they came in, up to a budget of tokens; where few live texts wait,
requests that are free share them.
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

from worker.features.embedding import most_texts, pack
from worker.inference.backend import Placed
from worker.inference.failover import Ran
from worker.observability import spans

LEAST_SHARED = 64
"""Tokens below which a live call is not split further: each pays for all the weights once."""

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


_Text = tuple[Submission, int]
"""A submission and the row in it."""


class _Queue:
    """A lane's texts in their order, and how many tokens they have. The caller holds the lock."""

    def __init__(self, most_texts: int) -> None:
        self._most_texts = most_texts
        self._waiting: deque[_Text] = deque()
        self.tokens = 0

    def put(self, submission: Submission) -> None:
        """All of its texts, longest first: neighbours are of one length, and stragglers short."""
        lengths = [len(one) for one in submission.tokens]
        for row in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
            self._waiting.append((submission, row))
        self.tokens += sum(lengths)

    def take(self, budget: int) -> list[_Text]:
        """The texts of the next call: of `budget` tokens at most, unless it is one text."""
        taken: list[_Text] = []
        while self._waiting and len(taken) < self._most_texts:
            submission, row = self._waiting[0]
            length = len(submission.tokens[row])
            if taken and length > budget:
                break
            budget -= length
            self.tokens -= length
            taken.append(self._waiting.popleft())
        return taken


@dataclass(eq=False, slots=True)
class _Call:
    texts: list[_Text]
    live: bool
    slot: int
    started: float


class Lanes:
    """The calls of `model`, at most `requests` at once and of at most `token_budget` tokens."""

    def __init__(self, model: Model, *, requests: int, token_budget: int) -> None:
        self._model = model
        self._token_budget = token_budget
        self._live = _Queue(most_texts(token_budget))
        self._bulk = _Queue(most_texts(token_budget))
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
                inputs = pack([submission.tokens[row] for submission, row in call.texts])
                part = self._model.submit(inputs, rows=len(call.texts))
            except Exception as error:  # noqa: BLE001 - it is handed to those who wait, not swallowed
                self._release(call)
                _all_fail(call, error)
            else:
                part.add_done_callback(partial(self._arrived, call))

    def _next(self) -> _Call | None:
        with self._lock:
            spare = len(self._free) - self._kept
            taken: list[_Text] = []
            if live := bool(self._free and self._live.tokens):
                share = max(LEAST_SHARED, -(-self._live.tokens // max(1, spare)))
                taken = self._live.take(min(share, self._token_budget))
            elif spare > 0:
                taken = self._bulk.take(self._token_budget)
            return _Call(taken, live, self._free.pop(), spans.now()) if taken else None

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
        for (submission, row), vector in zip(call.texts, ran.output, strict=True):
            submission.arrived(row, vector, ran.placed)


def _all_fail(call: _Call, error: BaseException) -> None:
    for submission, _ in call.texts:
        submission.failed(error)
