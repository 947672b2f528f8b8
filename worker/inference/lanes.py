"""Whose turn it is before the encoder's device: two queues of calls, the live one first.

No more calls are under way than the device has requests, so a call waits here, where one that matters more
can pass it, and not in the device's own queue. The last request is kept for the live lane: a live call waits
for a running one to end, never for one that has not begun.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from numpy.typing import NDArray

from worker.observability import spans

Ran = TypeVar("Ran")
Inputs = Sequence[NDArray[Any]]


class Model(Protocol[Ran]):
    def submit(self, inputs: Inputs, *, rows: int) -> Future[Ran]: ...


@dataclass(eq=False, slots=True)
class _Call(Generic[Ran]):
    inputs: Inputs
    rows: int
    live: bool
    future: Future[Ran] = field(default_factory=Future)
    slot: int = 0
    started: float = 0.0


class Lanes(Generic[Ran]):
    """The calls of `model`, at most `requests` at once. Within a lane they begin in the order they came."""

    def __init__(self, model: Model[Ran], *, requests: int) -> None:
        self._model = model
        self._waiting: tuple[deque[_Call[Ran]], deque[_Call[Ran]]] = (deque(), deque())
        self._free = list(range(requests, 0, -1))
        self._kept = 1 if requests > 1 else 0
        self._lock = threading.Lock()

    def submit(self, inputs: Inputs, *, rows: int, live: bool) -> Future[Ran]:
        """What the model gives for `inputs`, of which `rows` rows are real; never waits for the device."""
        call: _Call[Ran] = _Call(inputs, rows, live)
        with self._lock:
            self._waiting[0 if live else 1].append(call)
        self._start()
        return call.future

    def _start(self) -> None:
        while (call := self._next()) is not None:
            try:
                part = self._model.submit(call.inputs, rows=call.rows)
            except Exception as error:  # noqa: BLE001 - it is handed to the one who waits, not swallowed
                self._release(call)
                call.future.set_exception(error)
            else:
                part.add_done_callback(partial(self._arrived, call))

    def _next(self) -> _Call[Ran] | None:
        with self._lock:
            live, bulk = self._waiting
            if live and self._free:
                call = live.popleft()
            elif bulk and len(self._free) > self._kept:
                call = bulk.popleft()
            else:
                return None
            call.slot = self._free.pop()
        call.started = spans.now()
        return call

    def _release(self, call: _Call[Ran]) -> None:
        with self._lock:
            self._free.append(call.slot)
            self._free.sort(reverse=True)

    def _arrived(self, call: _Call[Ran], part: Future[Ran]) -> None:
        spans.record(f"encoder {call.slot}", call.started, size=call.rows, live=call.live)
        self._release(call)
        self._start()  # before anybody wakes: the device must not wait for them
        error = part.exception()
        if error is None:
            call.future.set_result(part.result())
        else:
            call.future.set_exception(error)
