"""The device FLAKY: a backend that really computes (on the CPU) and fails on command, as hardware does.

`FELTSENSE_DEVICE_BACKENDS=FLAKY=tests.support.flaky_device:Flaky` plugs it in. What is wrong with it at the
moment is in `HARDWARE`, for all who have it open; in a process of its own it fails while the file exists that
`FLAKY_SWITCH` names.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from worker.inference.backend import Array, Component, Placed
from worker.inference.compiled import open_on


@dataclass
class Hardware:
    """`trouble` is open, submit, call, hang, nan, short or none; `on` the calls that have it (all of them
    when None). `noise` is added to every number it gives."""

    trouble: str = ""
    on: range | None = None
    noise: float = 0.0
    switch: Path | None = None
    calls: Counter[str] = field(default_factory=Counter)
    opened: Counter[str] = field(default_factory=Counter)

    def troubled(self, component: str) -> str:
        """Counts a call and says what goes wrong with it."""
        self.calls[component] += 1
        if self.switch is not None and self.switch.exists():
            return "call"
        return self.trouble if self.on is None or self.calls[component] in self.on else ""


HARDWARE = Hardware(switch=Path(os.environ["FLAKY_SWITCH"]) if "FLAKY_SWITCH" in os.environ else None)


class Flaky:
    """A component on the device. Calls that hang never end."""

    def __init__(self, component: Component, precision: str) -> None:
        HARDWARE.opened[component.name] += 1
        if HARDWARE.trouble == "open":
            raise RuntimeError("exception from src/flaky.cpp:5:\nthe device is lost")
        self._component = component.name
        self._model = open_on("CPU", component, precision)

    @property
    def placed(self) -> Placed:
        return replace(self._model.placed, actual="FLAKY")

    def submit(self, inputs: Sequence[Array]) -> Future[Array]:
        trouble = HARDWARE.troubled(self._component)
        if trouble == "submit":
            raise RuntimeError("no queue")
        changed: Future[Array] = Future()
        if trouble == "hang":
            return changed

        def arrived(done: Future[Array]) -> None:
            output = done.result()
            if trouble == "call":
                changed.set_exception(RuntimeError("lost"))
            elif trouble == "nan":
                changed.set_result(np.full_like(output, np.nan))
            elif trouble == "short":
                changed.set_result(output[:-1])
            else:
                rng = np.random.default_rng(0)
                changed.set_result(output + HARDWARE.noise * rng.normal(size=output.shape).astype(np.float32))

        self._model.submit(inputs).add_done_callback(arrived)
        return changed

    def close(self) -> None:
        self._model.close()
