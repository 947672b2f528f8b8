"""The temporal nets: the last ten moments in, forecasts of now out; one small IR of the bundle on its own
device plan."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from worker.errors import BundleRefused, DeviceUnfit
from worker.features.sequence import Sequences
from worker.inference.backend import Array, Component, Graph, Placed
from worker.inference.devices import Policy
from worker.inference.failover import Failover

BATCH = 32
"""Every call has this many rows (the last ones padding): NPUs want static shapes, and a row's result cannot
feel its batch."""


DRIFT_LIMIT = 0.01
"""Of a forecast (0-1), from the exact one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecasts:
    """`values` float64 [n, 3 a net]: valence, arousal, congruence; `placed[i]` is what computed row i."""

    values: NDArray[np.float64]
    placed: Sequence[Placed]


class TemporalNet:
    """Forecasts valence, arousal and congruence (0-1 before calibration) from `Sequences`."""

    def __init__(self, model: Failover, *, outputs: int) -> None:
        self._model = model
        self._outputs = outputs

    @classmethod
    def open(
        cls, ir: Path, *, plan: Sequence[str], cache_dir: Path, policy: Policy | None = None
    ) -> TemporalNet:
        """Compile the bundle's IR with static shapes on the first device of `plan` that works; in f32 where
        the plan says nothing, the net is tiny. Raises `BundleRefused`, `DeviceFailed`, `UsageError` for
        a plan that is none.
        """
        try:
            network = ov.Core().read_model(ir)
            network.reshape(
                {
                    part: ov.PartialShape([BATCH, *list(part.get_partial_shape())[1:]])
                    for part in network.inputs
                }
            )
        except (RuntimeError, ValueError) as error:
            raise BundleRefused(ir.parent, f"{ir.name} is no graph that OpenVINO reads") from error
        digest = hashlib.sha256(ir.read_bytes() + ir.with_suffix(".bin").read_bytes()).hexdigest()
        component = Component(
            name="temporal",
            graph=lambda device, precision: graph_for(device, precision, network, digest),
            largest=[tuple(part.get_shape()) for part in network.inputs],
            requests=2,
            cpu={"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False},
            cache_dir=cache_dir,
            drift=lambda found, exact: float(np.abs(found - exact).max()),
            drift_limit=lambda _: DRIFT_LIMIT,
        )
        outputs = network.output(0).get_partial_shape()[1].get_length()
        return cls(Failover.open(component, plan, precision="f32", policy=policy), outputs=outputs)

    @property
    def placed(self) -> Placed:
        """Where it is computed at present."""
        return self._model.placed

    def skipped(self) -> dict[str, str]:
        """Devices of the plan that are left out at present, with the reason."""
        return self._model.skipped()

    def run(self, sequences: Sequences) -> Forecasts:
        """The forecasts of n sequences."""
        parts = (sequences.steps, sequences.mask, sequences.now)
        count = len(sequences.steps)
        calls = []
        for start in range(0, count, BATCH):
            inputs: list[Array] = [np.zeros((BATCH, *part.shape[1:]), dtype=np.float32) for part in parts]
            rows = min(BATCH, count - start)
            for target, part in zip(inputs, parts, strict=True):
                target[:rows] = part[start : start + rows]
            calls.append((rows, self._model.submit(inputs, rows=rows)))
        ran = [(rows, call.result()) for rows, call in calls]
        return Forecasts(
            values=np.concatenate([np.zeros((0, self._outputs)), *(one.output[:rows] for rows, one in ran)]),
            placed=[one.placed for rows, one in ran for _ in range(rows)],
        )

    def close(self) -> None:
        self._model.close()


def graph_for(device: str, precision: str, network: ov.Model, digest: str) -> Graph:
    """The graph for a device and a precision. Raises `DeviceUnfit` where there is none."""
    if precision == "int8":
        raise DeviceUnfit(f"there is no int8 graph of the temporal nets for {device}")
    return Graph(name=f"temporal-{digest}", model=network)
