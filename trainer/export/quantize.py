"""Graphs in 8-bit integers by post-training quantisation, and the proof from the graph itself that they are.

NNCF passes over what it does not know without an error (a GRU with `linear_before_reset`, for one), so what
was quantised is counted in the result and an export with less than expected is refused.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from typing import Any

import openvino as ov

from trainer.errors import ExportRefused

INT8 = ("i8", "u8")
_THROUGH = ("Multiply", "Subtract", "Convert", "Reshape", "Transpose", "Unsqueeze", "Squeeze")
"""What may stand between a product and its integers, or its quantised input, without undoing them."""

Inputs = Sequence[Any]
Tell = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Count:
    """What is quantised in a graph. `products`: matrix products with fitted weights; of these `int8_weights`
    hold them in 8 bits, and `int8_inputs` get their other side through a FakeQuantize too."""

    products: int
    int8_weights: int
    int8_inputs: int
    fake_quantize: int
    int8_constants: int

    def to_json(self) -> dict[str, int]:
        return asdict(self)


def int8(graph: ov.Model, samples: Sequence[Inputs], tell: Tell) -> ov.Model:
    """`graph` with weights and activations of its products in 8 bits (SmoothQuant, then min-max ranges over
    `samples`, then bias correction); each sample is one call's inputs. `graph` itself is left alone."""
    # NNCF reports its use to its makers unless it believes to be in a CI.
    os.environ["NNCF_CI"] = "1"
    import nncf  # its import takes seconds and nothing else needs it

    nncf.set_log_level(logging.ERROR)
    # Every sample is asked for once for SmoothQuant, once for the ranges.
    total, done = 2 * len(samples), 0

    def handed(sample: Inputs) -> Inputs:
        nonlocal done
        done += 1
        tell(min(done, total), total)
        return sample

    with redirect_stdout(io.StringIO()):  # its own progress bars
        quantised = nncf.quantize(
            graph.clone(),
            nncf.Dataset(samples, handed),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(samples),
        )
    assert isinstance(quantised, ov.Model)
    return quantised


def count(graph: ov.Model) -> Count:
    """Count what a graph read back from its IR holds."""
    ops = graph.get_ordered_ops()
    kinds = [op.get_type_name() for op in ops]
    sides = [_sides(op) for op in ops if op.get_type_name() == "MatMul"]
    fitted = [pair for pair in sides if "weights" in pair or "int8 weights" in pair]
    return Count(
        products=len(fitted),
        int8_weights=sum("int8 weights" in pair for pair in fitted),
        int8_inputs=sum("int8 weights" in pair and "quantised" in pair for pair in fitted),
        fake_quantize=kinds.count("FakeQuantize"),
        int8_constants=sum(
            op.get_type_name() == "Constant" and op.get_element_type().get_type_name() in INT8 for op in ops
        ),
    )


def refuse_unquantised(name: str, found: Count, *, spared: int = 0) -> None:
    """Raise `ExportRefused` unless every product but `spared` ones is computed in 8 bits."""
    expected = found.products - spared
    held: Mapping[str, int] = {
        "products with fitted weights": found.products,
        "products with int8 weights": found.int8_weights,
        "products with int8 inputs": found.int8_inputs,
        "FakeQuantize nodes": found.fake_quantize,
        "int8 constants": found.int8_constants,
    }
    for what, number in held.items():
        least = expected if what.startswith("products with int8") else 1
        if number < least:
            raise ExportRefused(
                f"{name}: {number} {what}, at least {least} expected: the quantiser passed over some"
            )


def _sides(product: ov.Node) -> tuple[str, str]:
    first, second = (_origin(value.get_source_output().get_node()) for value in product.inputs())
    return first, second


def _origin(node: ov.Node) -> str:
    """What one side of a product comes from, behind conversions and scales."""
    while True:
        kind = node.get_type_name()
        if kind == "Constant":
            return "int8 weights" if node.get_element_type().get_type_name() in INT8 else "weights"
        if kind == "FakeQuantize":
            # Weights that were never turned into integers are a constant behind a FakeQuantize.
            behind = _origin(node.input_value(0).get_node())
            return "weights" if behind.endswith("weights") else "quantised"
        if kind not in _THROUGH:
            return "computed"
        node = node.input_value(0).get_node()
