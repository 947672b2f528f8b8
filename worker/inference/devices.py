"""The device plan as the settings give it, and how a component is opened on one device of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import openvino as ov

from worker.errors import DeviceUnfit, UsageError
from worker.inference import memory
from worker.inference.backend import PRECISIONS, Component, Model, named
from worker.inference.compiled import open_on
from worker.inference.exports import Exports

if TYPE_CHECKING:
    from worker.settings import Settings

CUDA = "CUDA"


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A device of a plan and the precision it is to compute in."""

    device: str
    precision: str

    def __str__(self) -> str:
        return self.device if self.precision == "auto" else f"{self.device}:{self.precision}"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What holds for every component's devices.

    `backends` are `module:attribute` by device name, `memory_mb` what a device may take. `timeout_s` is how
    long a call may take where another device is at work, `rest_s` how long a failed device rests before it is
    tried again. `shadow_share` of the calls that ran elsewhere are repeated on the CPU. `exports` are the
    encoder's graphs for GPU and NPU.
    """

    backends: Mapping[str, str] = field(default_factory=dict)
    memory_mb: Mapping[str, int] = field(default_factory=dict)
    timeout_s: float = 30.0
    rest_s: float = 30.0
    shadow_share: float = 0.01
    exports: Exports | None = None

    @classmethod
    def of(cls, settings: Settings) -> Policy:
        return cls(
            backends=settings.device_backends or {},
            memory_mb=settings.device_memory_mb or {},
            timeout_s=settings.device_timeout_s,
            rest_s=settings.device_rest_s,
            shadow_share=settings.shadow_share,
        )


def read_plan(plan: Sequence[str], precision: str) -> tuple[Choice, ...]:
    """`GPU:f16` asks f16 of the GPU, a plain `GPU` `precision`; raises `UsageError` for a precision that is
    none."""
    choices = []
    for entry in plan:
        device, _, asked = entry.rpartition(":")
        if device and asked in PRECISIONS:
            choices.append(Choice(device=device, precision=asked))
        elif device and asked == asked.lower():  # a device's own name, as in HETERO:NPU, is in capitals
            raise UsageError(f"device plan: {entry!r} names no precision; there are {', '.join(PRECISIONS)}")
        else:
            choices.append(Choice(device=entry, precision=precision))
    return tuple(choices)


def open_component(component: Component, choice: Choice, policy: Policy) -> Model:
    """`component` on the device chosen. Raises `DeviceUnfit` where that can never be, anything else where
    the device or its backend fails."""
    _fits(component, choice, policy)
    if policy.exports is not None and component.name == "encoder":
        component = policy.exports.over(component)
    if choice.device in policy.backends:
        return named(policy.backends[choice.device])(component, choice.precision)
    if choice.device == CUDA:
        try:
            from worker.inference import cuda  # torch, which only a machine with such a device needs
        except ImportError as error:
            raise DeviceUnfit("torch is not installed: pip install torch==2.13.0") from error
        return cuda.open_on_cuda(component, choice.precision, memory_mb=policy.memory_mb.get(CUDA))
    return open_on(choice.device, component, choice.precision)


def seen() -> dict[str, str]:
    """The devices OpenVINO finds, by name, in words."""
    core = ov.Core()
    return {
        name: f"{core.get_property(name, 'FULL_DEVICE_NAME')} "
        f"({', '.join(core.get_property(name, 'OPTIMIZATION_CAPABILITIES'))})"
        for name in core.available_devices
    }


def _fits(component: Component, choice: Choice, policy: Policy) -> None:
    limit = policy.memory_mb.get(choice.device)
    if limit is None:
        return
    graph = component.graph("GPU", "f32")  # of open shapes, on the component's own inputs
    needed = memory.need(
        graph.read(ov.Core()),
        largest=component.largest,
        requests=component.requests,
        precision=choice.precision,
    )
    if needed > limit << 20:
        raise DeviceUnfit(f"needs {-(-needed >> 20)} MB of {limit} MB allowed")
