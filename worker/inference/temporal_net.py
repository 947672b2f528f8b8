"""The temporal nets: the last ten moments in, forecasts of now out; one small IR of the bundle on its own
device plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from worker.features.sequence import Sequences
from worker.inference.compiled import AsyncModel
from worker.inference.devices import Placed, compile_on

BATCH = 32
"""Every call has this many rows (the last ones padding): NPUs want static shapes, and a row's result cannot
feel its batch."""


class TemporalNet:
    """Forecasts valence, arousal and congruence (0-1 before calibration) from `Sequences`."""

    def __init__(self, model: AsyncModel) -> None:
        self._model = model

    @classmethod
    def open(cls, ir: Path, *, plan: Sequence[str], cache_dir: Path) -> TemporalNet:
        """Compile the bundle's IR with static shapes; always f32, the net is tiny. Raises `DeviceFailed`."""
        core = ov.Core()
        network = core.read_model(ir)
        network.reshape(
            {part: ov.PartialShape([BATCH, *list(part.get_partial_shape())[1:]]) for part in network.inputs}
        )
        cpu = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
        placed = compile_on(
            core, network, component="temporal", plan=plan, precision="f32", cpu=cpu, cache_dir=cache_dir
        )
        return cls(AsyncModel(placed, requests=2))

    @property
    def placed(self) -> Placed:
        return self._model.placed

    def run(self, sequences: Sequences) -> NDArray[np.float64]:
        """float64 [n, 3 a net]: valence, arousal, congruence."""
        parts = (sequences.steps, sequences.mask, sequences.now)
        count = len(sequences.steps)
        futures = []
        for start in range(0, count, BATCH):
            inputs = [np.zeros((BATCH, *part.shape[1:]), dtype=np.float32) for part in parts]
            for target, part in zip(inputs, parts, strict=True):
                rows = part[start : start + BATCH]
                target[: len(rows)] = rows
            futures.append(self._model.submit(inputs))
        if not futures:
            return np.zeros((0, self.placed.model.output(0).get_partial_shape()[1].get_length()))
        return np.concatenate([future.result() for future in futures])[:count].astype(np.float64)

    def close(self) -> None:
        self._model.close()
