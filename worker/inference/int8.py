"""Dense layers in dynamic int8: how a matrix is kept, and how its input is scaled so that eight bits do.

Weights are int8 in groups of 128 inputs with a scale each; OpenVINO quantises the activations of every token
in the same groups while it runs (AVX512-VNNI or AVX2-VNNI). A layer norm's output has a few channels twenty
times as wide as the rest; what makes them narrower and their weights wider by the same factor is folded into
the norm and the matrix, and costs nothing (SmoothQuant, Xiao et al. 2023, with alpha = 1/2).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from openvino import opset15 as op

Floats = NDArray[np.float32]

GROUP = 128
PROPERTIES = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP}
"""What the CPU plugin must be told besides the graph; else the weights are widened and nothing is gained."""
RANGES = Path(__file__).parent / "ranges.npz"


def ranges(encoder: str) -> Floats:
    """f32 [13, 384]: how far each channel of the 13 layer norms' outputs goes, before gain and bias (99.9 %
    of absolute values); written by `python -m trainer.export.ranges` from texts, of which nothing else
    remains.

    Raises `ValueError` when they were taken from another encoder than the one of this digest.
    """
    with np.load(RANGES, allow_pickle=False) as data:
        if str(data["encoder"]) != encoder:
            raise ValueError(f"{RANGES.name} belongs to another encoder: run python -m trainer.export.ranges")
        reach: Floats = data["ranges"].astype(np.float32)
        return reach


def matrix(weight: Floats) -> Any:
    """A node of the matrix [outputs, inputs], kept as int8 with a scale for each 128 inputs."""
    outputs, inputs = weight.shape
    groups = weight.reshape(outputs, inputs // GROUP, GROUP)
    scale = np.maximum(np.abs(groups).max(axis=2, keepdims=True), 1e-12) / 127
    whole = op.convert(op.constant(np.round(groups / scale).astype(np.int8)), "f32")
    widened = op.multiply(whole, op.constant(scale.astype(np.float32)))
    return op.reshape(widened, op.constant(np.array([outputs, inputs], dtype=np.int64)), False)


def smoothing(gain: Floats, weights: Sequence[Floats], reach: Floats) -> Floats:
    """What each channel [inputs] of a layer norm is multiplied by, in place of its `gain`, before `weights`
    read it: the geometric mean of what would make all channels equally wide and what would make all columns
    of the matrices equally long."""
    column = np.sqrt(np.mean([np.square(weight).mean(axis=0) for weight in weights], axis=0))
    factor: Floats = np.sqrt(np.maximum(np.abs(gain) * column / np.maximum(reach, 1e-6), 1e-12))
    return factor.astype(np.float32)
