"""Which graph of the encoder a device is given, and how far its vectors may lie from the exact ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from worker.errors import DeviceUnfit
from worker.features.embedding import TOKEN_BUDGET, most_texts
from worker.inference import int8, minilm, packed
from worker.inference.backend import Array, Component, Graph


def component(
    *,
    cache_dir: Path,
    fork: Path | None,
    requests: int,
    cpu: Mapping[str, Any],
    token_budget: int = TOKEN_BUDGET,
) -> Component:
    """The encoder as the device plan sees it; `fork` is a bundle's tuned upper layers."""
    rows = most_texts(token_budget)
    return Component(
        name="encoder",
        graph=lambda device, precision: graph_for(
            device, precision, cache_dir=cache_dir, fork=fork, rows=rows
        ),
        largest=((max(1, token_budget // minilm.MAX_TOKENS), minilm.MAX_TOKENS),) * 2,
        requests=requests,
        cpu=cpu,
        cache_dir=cache_dir,
        drift=drift,
        drift_limit=drift_limit,
        fork=fork,
    )


def graph_for(device: str, precision: str, *, cache_dir: Path, fork: Path | None, rows: int) -> Graph:
    """The graph for a device and a precision; `rows` are the most of a call.

    Raises `EncoderMissing`, `DeviceUnfit` where there is none.
    """
    if precision == "int8":
        if device != "CPU":
            raise DeviceUnfit(f"there is no int8 graph of the encoder for {device}")
        path = minilm.exported(cache_dir, fork, quantised=True, packed=True)
        return Graph(name=path.parent.name, model=path, properties=int8.PROPERTIES, lay=packed.lay)
    if device == "CPU":
        path = minilm.exported(cache_dir, fork, packed=True)
        return Graph(name=path.parent.name, model=path, lay=packed.lay)
    path = minilm.exported(cache_dir, fork)
    if device.partition(".")[0] != "NPU":
        return Graph(name=path.parent.name, model=path)
    bounded = ov.Core().read_model(path)
    # An NPU compiles no open shapes.
    bounds = ov.PartialShape([ov.Dimension(1, rows), ov.Dimension(1, minilm.MAX_TOKENS)])
    bounded.reshape(dict.fromkeys(bounded.inputs, bounds))
    return Graph(name=f"{path.parent.name}-bounded", model=bounded)


def drift(found: Array, exact: Array) -> float:
    """1 - the least cosine of a row's embedding, and of its tuned half where there is one: 0 (equal) to
    2."""
    halves = (len(found), -1, minilm.HIDDEN)
    ours, theirs = (np.asarray(part, dtype=np.float64).reshape(halves) for part in (found, exact))
    lengths = np.linalg.norm(ours, axis=2) * np.linalg.norm(theirs, axis=2)
    return float(1.0 - ((ours * theirs).sum(axis=2) / np.maximum(lengths, 1e-12)).min())


def drift_limit(precision: str) -> float:
    """Of `drift`: bf16 stayed under .0001 and int8 under .004 on a CPU, NNCF's under .012."""
    return 0.03 if precision.startswith("int8") else 0.002
