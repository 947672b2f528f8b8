"""A compiled model behind futures: many threads submit, an `AsyncInferQueue` keeps the device busy."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from worker.inference.devices import Placed

Array = NDArray[Any]


class AsyncModel:
    """Runs one compiled model; `submit` returns at once unless all requests are busy, then it waits for one.

    Output arrays are copies, valid for ever; an error in a request surfaces in its own future only.
    """

    def __init__(self, placed: Placed, *, requests: int) -> None:
        self.placed = placed
        self._queue = ov.AsyncInferQueue(placed.model, requests)
        self._queue.set_callback(self._done)
        # start_async is not thread-safe: it picks an idle request and starts it in two steps.
        self._submitting = threading.Lock()

    def submit(self, inputs: Sequence[Array]) -> Future[Array]:
        """Infer on `inputs` (in the model's order); the future gives a copy of its first output."""
        future: Future[Array] = Future()
        with self._submitting:
            self._queue.start_async(list(inputs), userdata=future)
        return future

    def close(self) -> None:
        """Wait for what is in flight."""
        self._queue.wait_all()

    @staticmethod
    def _done(request: ov.InferRequest, future: Future[Array]) -> None:
        try:
            # The request's buffer is reused by the next inference: copy inside the callback.
            future.set_result(np.array(request.get_output_tensor(0).data, copy=True))
        except Exception as error:  # noqa: BLE001 - it is handed to the one who waits, not swallowed
            future.set_exception(error)
