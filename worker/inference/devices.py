"""The device plan: try each device in order, keep the first that compiles, and say what really executes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino as ov
import structlog

from worker.errors import DeviceFailed

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """A compiled model and where it landed: `requested` is the plan, `actual` what OpenVINO executes on."""

    model: ov.CompiledModel
    component: str
    requested: tuple[str, ...]
    actual: str
    precision: str

    def to_json(self) -> dict[str, Any]:
        return {"requested": list(self.requested), "device": self.actual, "precision": self.precision}


def compile_on(
    core: ov.Core,
    model: ov.Model | Path,
    *,
    component: str,
    plan: Sequence[str],
    precision: str,
    cpu: Mapping[str, Any],
    cache_dir: Path | None = None,
) -> Placed:
    """Compile `model` on the first device of `plan` that takes it.

    `precision` is auto, f32 or bf16; auto asks bf16 only of a device that lists it, f16 of GPU and NPU.
    `cpu` are plugin properties for the CPU alone. Raises `DeviceFailed` naming every device with its
    reason.
    """
    network = core.read_model(model) if isinstance(model, Path) else model
    failures: list[str] = []
    for device in plan:
        try:
            capable = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
            chosen = _precision(precision, capable, device)
            properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": chosen}
            if device == "CPU":
                properties.update(cpu)
            elif cache_dir is not None:
                properties["CACHE_DIR"] = str(cache_dir)
            compiled = core.compile_model(network, device, properties)
            actual = ",".join(compiled.get_property("EXECUTION_DEVICES"))
            # A plugin may take the hint and compute in another type: record what it says it does.
            ran = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        except RuntimeError as error:
            reason = _first_line(error)
            failures.append(f"{device}: {reason}")
            log.info("device_skipped", component=component, device=device, reason=reason)
            continue
        log.info("device_chosen", component=component, device=actual, precision=ran)
        return Placed(
            model=compiled, component=component, requested=tuple(plan), actual=actual, precision=ran
        )
    raise DeviceFailed(f"no device runs the {component}: {'; '.join(failures) or 'the device plan is empty'}")


def _precision(wanted: str, capable: Sequence[str], device: str) -> str:
    if wanted != "auto":
        return wanted
    if device == "CPU":
        return "bf16" if "BF16" in capable else "f32"
    return "f16" if "FP16" in capable else "f32"


def _first_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
