"""Graphs compiled on the CPU and run over texts: what they give, and how fast beside one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from worker.features.embedding import Shaped, shape

Embeddings = NDArray[np.float32]
Tokens = Sequence[Sequence[int]]

CPU = {"INFERENCE_NUM_THREADS": 2, "NUM_STREAMS": 2, "ENABLE_CPU_PINNING": False}
ROUNDS = 3
TIMED = 512
"""Texts a round of timing takes, evenly from all."""


def compiled(graph: Path, precision: str) -> ov.CompiledModel:
    """The graph on the CPU; `precision` is the arithmetic of what is not quantised."""
    return ov.Core().compile_model(graph, "CPU", {**CPU, "INFERENCE_PRECISION_HINT": precision})


def embed(model: ov.CompiledModel, tokens: Tokens) -> Embeddings:
    """f32 [n, width] in the order of `tokens`."""
    out = np.empty((len(tokens), model.output(0).get_partial_shape()[1].get_length()), dtype=np.float32)
    queue = ov.AsyncInferQueue(model, CPU["NUM_STREAMS"] + 1)

    def arrived(request: ov.InferRequest, rows: NDArray[np.intp]) -> None:
        out[rows] = request.get_output_tensor(0).data

    queue.set_callback(arrived)
    _run(queue, list(shape(tokens)))
    return out


def ratios(models: Mapping[str, ov.CompiledModel], base: str, tokens: Tokens) -> dict[str, float]:
    """Texts a second of each model as a multiple of `base`'s: the median over rounds in which all take
    turns, after one that warms them."""
    some = np.unique(np.linspace(0, len(tokens) - 1, TIMED).astype(np.intp))
    calls = list(shape([tokens[at] for at in some]))
    queues = {name: ov.AsyncInferQueue(model, CPU["NUM_STREAMS"] + 1) for name, model in models.items()}
    rounds = []
    for _ in range(ROUNDS + 1):
        seconds = {}
        for name, queue in queues.items():
            began = perf_counter()
            _run(queue, calls)
            seconds[name] = perf_counter() - began
        rounds.append({name: seconds[base] / seconds[name] for name in queues})
    return {name: round(median(one[name] for one in rounds[1:]), 2) for name in models}


def _run(queue: ov.AsyncInferQueue, calls: Sequence[Shaped]) -> None:
    for call in calls:
        queue.start_async([call.ids, call.mask], userdata=call.rows)
    queue.wait_all()
