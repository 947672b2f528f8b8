"""How much memory a component takes of a device, from its graph, before the device is asked for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import openvino as ov

_BYTES = {"f32": 4, "auto": 4, "bf16": 2, "f16": 2, "int8": 2}
"""Of a real number; what int8 leaves unquantised is in bf16 or f16, and auto counts as its worst."""


def need(model: ov.Model, *, largest: Sequence[tuple[int, ...]], requests: int, precision: str) -> int:
    """Bytes: weights + requests x activations.

    Weights are the graph's constants. Activations are the most that is alive at once when the operations run
    one by one in the graph's order on inputs of the `largest` shapes, each tensor from the operation that
    makes it to the last that reads it; attention also holds its scores [batch, heads, length, length], which
    a fused kernel saves. Reals count with the bytes of `precision`, all else with its own. Not counted: the
    runtime's own code and buffers.
    """
    fixed = model.clone()
    fixed.reshape(dict(zip(fixed.inputs, (ov.PartialShape(list(shape)) for shape in largest), strict=True)))
    weights = 0
    alive, peak = 0, 0
    waiting: dict[tuple[str, int], int] = {}
    for node in fixed.get_ordered_ops():
        sizes = [_size(port, precision) for port in node.outputs()]
        if node.get_type_name() == "Constant":
            weights += sum(sizes)
            continue
        for port, size in zip(node.outputs(), sizes, strict=True):
            waiting[node.get_friendly_name(), port.get_index()] = len(port.get_target_inputs())
            alive += size
        scratch = 0
        if node.get_type_name() == "ScaledDotProductAttention":
            query, key = (port.get_shape() for port in (node.input(0), node.input(1)))
            scratch = int(np.prod([*query[:-1], key[-2]])) * _BYTES[precision]
        peak = max(peak, alive + scratch)
        for read in node.input_values():
            source = (read.get_node().get_friendly_name(), read.get_index())
            if source in waiting:
                waiting[source] -= 1
                if not waiting[source]:
                    alive -= _size(read, precision)
    return weights + requests * peak


def _size(port: ov.Output, precision: str) -> int:
    kind = port.get_element_type()
    width = _BYTES[precision] if kind.is_real() else kind.size
    return int(np.prod(port.get_shape(), dtype=np.int64)) * width
