"""The temporal nets as OpenVINO IR, with a proof that it computes what torch did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import torch

from trainer.errors import TrainerError
from trainer.fit.sequence import Forecasters, predict
from worker.features.schema import SEQUENCE_LENGTH
from worker.features.sequence import NOW, STEPS, Sequences
from worker.inference.temporal_net import BATCH

TOLERANCE = 1e-5


def export(net: Forecasters, path: Path) -> None:
    """Write `path` (.xml, with its .bin beside it); raises `TrainerError` where IR and torch differ by more
    than `TOLERANCE`."""
    rng = np.random.default_rng(0)
    sample = Sequences(
        steps=rng.normal(size=(BATCH, SEQUENCE_LENGTH, len(STEPS))).astype(np.float32),
        mask=(rng.random((BATCH, SEQUENCE_LENGTH)) < 0.7).astype(np.float32),
        now=rng.normal(size=(BATCH, len(NOW))).astype(np.float32),
    )
    inputs = [sample.steps, sample.mask, sample.now]
    model = ov.convert_model(net, example_input=tuple(torch.from_numpy(part) for part in inputs))
    for port, name, part in zip(model.inputs, ("steps", "mask", "now"), inputs, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(name)
        port.get_node().set_partial_shape(ov.PartialShape([-1, *part.shape[1:]]))
    model.validate_nodes_and_infer_types()
    # The converter numbers its layers by everything the process has converted before.
    model.set_friendly_name("temporal")
    for number, layer in enumerate(model.get_ordered_ops()):
        if layer.get_type_name() != "Parameter":
            layer.set_friendly_name(f"{layer.get_type_name()}-{number}")
    ov.save_model(model, path, compress_to_fp16=False)
    compiled = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    gap = float(np.abs(compiled(inputs)[0] - predict(net, sample)).max())
    if not gap <= TOLERANCE:
        raise TrainerError(f"the exported temporal nets differ from the fitted one by {gap:.1e}")
