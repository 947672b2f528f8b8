"""A few calls that ran elsewhere are computed again on the CPU in f32, to notice a device that drifts.

In the background, one at a time, and never for a call that ran on the CPU. A call that would have to wait
for the last one is let go.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from worker.inference.backend import Array, Component, Model, Placed
from worker.inference.compiled import open_on
from worker.observability import metrics
from worker.observability.logging import failure, logger

STRIKES = 3
"""Drifting calls in a row after which the device is taken out. After the first, each next call is looked
at."""


class Shadow:
    """Compares a `share` (0-1) of the calls with a reference that opens at the first of them."""

    def __init__(self, component: Component, *, share: float) -> None:
        one = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1}
        self._component = replace(component, requests=1, cpu={**component.cpu, **one})
        self._share = share
        self._owed = 0.0
        self._strikes = 0
        self._busy = False
        self._closed = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._reference: Model | None = None

    def consider(
        self, inputs: Sequence[Array], found: Array, placed: Placed, drifts: Callable[[], None]
    ) -> None:
        """Look at a call: `found` are the first rows `placed` gave for `inputs`; `drifts` is called after
        `STRIKES`."""
        if placed.actual == "CPU" or not self._share:
            return
        with self._lock:
            self._owed = min(1.0, self._owed + (1.0 if self._strikes else self._share))
            if self._owed < 1.0 or self._busy or self._closed:
                return
            self._owed, self._busy = 0.0, True
        self._thread = threading.Thread(
            target=self._compare, args=(inputs, found, placed, drifts), name="shadow", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Wait for the call under way, if there is one."""
        with self._lock:
            self._closed = True
        if self._thread is not None:
            self._thread.join()
        if self._reference is not None:
            self._reference.close()

    def _compare(
        self, inputs: Sequence[Array], found: Array, placed: Placed, drifts: Callable[[], None]
    ) -> None:
        name = self._component.name
        try:
            if self._reference is None:
                self._reference = open_on("CPU", self._component, "f32")
            exact = self._reference.submit(inputs).result()[: len(found)]
            drift = self._component.drift(found, exact)
            limit = self._component.drift_limit(placed.precision)
            outcome = "agrees" if drift <= limit else "drifts"
            if outcome == "drifts":
                logger.warning(
                    "device_drift",
                    component=name,
                    device=placed.actual,
                    precision=placed.precision,
                    drift=round(drift, 5),
                    limit=limit,
                )
                self._strikes += 1
            else:
                self._strikes = 0
            if self._strikes >= STRIKES:
                self._strikes = 0
                drifts()
        except Exception as error:  # noqa: BLE001  the call itself went well; without a shadow it still counts
            outcome = "failed"
            logger.warning("shadow_failed", component=name, **failure(error))
        metrics.SHADOW_RUNS.labels(name, placed.actual, outcome).inc()
        with self._lock:
            self._busy = False
