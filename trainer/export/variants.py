"""The tables of an export: which graphs are made for which devices, and in which arithmetics the CPU's own
graph is served. One more is one line more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainer.export.shapes import SHAPES
from worker.inference.exports import Shape

ENCODER, TEMPORAL = "encoder", "temporal"

RUNTIME: Mapping[str, str] = {"cpu-f32": "f32", "cpu-bf16": "bf16", "cpu-int8": "int8"}
"""Precisions of the worker's own graph on the CPU; nothing is exported for them, they are only judged."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A graph to be made of a `component`: its weights as `halves`, its products `quantised` but for
    `spared` ones, in fixed `shapes` beside the dynamic graph; `devices` that may read it."""

    name: str
    component: str
    devices: tuple[str, ...]
    halves: bool = False
    quantised: bool = False
    shapes: tuple[Shape, ...] = ()
    spared: int = 0


EXPORTED = (
    Variant(name="encoder-fp16", component=ENCODER, devices=("GPU",), halves=True),
    Variant(name="encoder-int8", component=ENCODER, devices=("NPU",), quantised=True, shapes=SHAPES),
    Variant(name="temporal-fp16", component=TEMPORAL, devices=("GPU", "NPU"), halves=True),
    # The first step of the unrolled GRU multiplies a state of zeros, which has no range to quantise by.
    Variant(name="temporal-int8", component=TEMPORAL, devices=("NPU",), quantised=True, spared=1),
)
