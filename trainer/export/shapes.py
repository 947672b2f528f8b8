"""Graphs on disk: one file of weights, and a description for the dynamic graph and for every fixed shape an
NPU is to run; read back, compiled and run before anybody believes them."""

from __future__ import annotations

from collections.abc import Sequence
from filecmp import cmp
from pathlib import Path

import numpy as np
import openvino as ov

from trainer.errors import ExportRefused
from worker.inference.encoder_graph import drift
from worker.inference.exports import Fixed, Shape, stem

SHAPES: tuple[Shape, ...] = ((1, 32), (1, 64), (1, 128), (1, 256), (8, 32), (8, 64))
"""[batch, tokens] an NPU is compiled for: one reflection of any length, and many of the usual ones."""
TOLERANCE = 1e-3
"""Largest distance (1 - cosine) of a fixed shape's vector from the dynamic graph's on the same inputs."""

F32 = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2, "ENABLE_CPU_PINNING": False}


def save(graph: ov.Model, folder: Path, name: str, *, halves: bool, shapes: Sequence[Shape] = ()) -> None:
    """Write `name`.xml and .bin, and `name`-BxL.xml for every shape, which read the same .bin."""
    ov.save_model(graph, folder / f"{name}.xml", compress_to_fp16=halves)
    for one in shapes:
        fixed = graph.clone()
        fixed.reshape({port: list(one) for port in fixed.inputs})
        path = folder / f"{stem(name, one)}.xml"
        ov.save_model(fixed, path, compress_to_fp16=halves)
        own = path.with_suffix(".bin")
        if not cmp(own, folder / f"{name}.bin", shallow=False):
            raise ExportRefused(f"{name}: a shape of its own changes the weights, so they cannot be shared")
        own.unlink()


def check(folder: Path, name: str, shapes: Sequence[Shape], tokens: Sequence[Sequence[int]]) -> float:
    """Compile every fixed shape on the CPU, run `tokens` through it, and return the largest distance
    from the dynamic graph. Raises `ExportRefused` where it exceeds `TOLERANCE`."""
    core = ov.Core()
    fixed = Fixed.compiled(core, folder, name, shapes, "CPU", F32)
    dynamic = core.compile_model(folder / f"{name}.xml", "CPU", F32)
    worst = 0.0
    for batch, length in shapes:
        # The texts nearest its length, as many as it takes to fill a batch and begin another.
        near = sorted(tokens, key=lambda ids: abs(len(ids) - length))[: batch + 1]
        for call in fixed.cut([ids[:length] for ids in near], (batch, length)):
            found, exact = (np.array(model(call)[0]) for model in (fixed.models[batch, length], dynamic))
            apart = drift(found, exact)
            if not apart <= TOLERANCE:
                raise ExportRefused(
                    f"{name} at {batch}x{length} lies {apart:.1e} from the dynamic graph, "
                    f"{TOLERANCE:.0e} at most"
                )
            worst = max(worst, apart)
    return worst
