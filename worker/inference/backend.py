"""What computes a component of the pipeline: the narrow interface through which every device is reached.

OpenVINO's devices and CUDA stand behind it, and whatever `FELTSENSE_DEVICE_BACKENDS` names. How a plan of
several devices is worked through is told in `worker.inference.failover`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import openvino as ov
from numpy.typing import NDArray

from worker.errors import UsageError

Array = NDArray[Any]

PRECISIONS = ("auto", "f32", "bf16", "f16", "int8")
"""auto: bf16 on a CPU that has it and on CUDA, f32 on a GPU, f16 on an NPU, which has nothing else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """Where something is, or was, computed: `requested` is the plan, `actual` the device that executes,
    `precision` the arithmetic it says it does."""

    actual: str
    precision: str
    requested: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"requested": list(self.requested), "device": self.actual, "precision": self.precision}


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What OpenVINO is given: a model (or its .xml, and `weights` that lie elsewhere than beside it), a
    `name` no other graph has, and plugin `properties` this graph needs.

    `quantised` says that its products are 8-bit integers; `lay` makes of the component's inputs those of
    this graph, if they differ; rows it adds come last. A device that wants `fixed` shapes is given those, by
    [batch, length], in the open graph's stead.
    """

    name: str
    model: ov.Model | Path
    properties: Mapping[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    quantised: bool = False
    lay: Callable[[Sequence[Array]], Sequence[Array]] = list
    fixed: Mapping[tuple[int, int], Graph] = field(default_factory=dict)

    def read(self, core: ov.Core) -> ov.Model:
        if not isinstance(self.model, Path):
            return self.model
        return core.read_model(self.model, self.weights or self.model.with_suffix(".bin"))


@dataclass(frozen=True, kw_only=True)
class Component:
    """A part of the pipeline that runs on a device.

    `graph` gives what (device, precision) is to compute; `largest` the inputs' largest shapes; `requests`
    how many calls run at once; `cpu` are OpenVINO's properties for the CPU alone. `drift` says how far rows
    lie from the reference (0 is equal), `drift_limit` how far a precision may; `fork` is a bundle's tuned
    layers.
    """

    name: str
    graph: Callable[[str, str], Graph]
    largest: Sequence[tuple[int, ...]]
    requests: int
    cpu: Mapping[str, Any]
    cache_dir: Path
    drift: Callable[[Array, Array], float]
    drift_limit: Callable[[str], float]
    fork: Path | None = None


class Model(Protocol):
    """A component that is open on one device. Called from several threads at once."""

    @property
    def placed(self) -> Placed: ...

    def submit(self, inputs: Sequence[Array]) -> Future[Array]:
        """Start one call; the future gives the first output, an array of its own. May wait while the device
        is busy, and raise."""
        ...

    def close(self) -> None:
        """Wait for what is under way and let go of the device; calls that still wait for a turn fail."""
        ...


class Backend(Protocol):
    """Opens components on the devices of one name."""

    def __call__(self, component: Component, precision: str) -> Model:
        """Raises `DeviceUnfit` where trying again is useless, anything else where it may not be."""
        ...


def named(reference: str) -> Backend:
    """The backend at `module:attribute`; raises `UsageError` when there is none."""
    module, _, attribute = reference.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"FELTSENSE_DEVICE_BACKENDS: there is no {reference!r} (module:attribute)"
        ) from error
    if not callable(found):
        raise UsageError(f"FELTSENSE_DEVICE_BACKENDS: {reference!r} is no backend, it cannot be called")
    return cast(Backend, found)
