"""An accelerator that this machine has not: it costs what the real encoder was measured to cost, and no CPU.

`FELTSENSE_DEVICE_BACKENDS=SIMULATED=benchmarks.simulated:open_simulated` plugs it in where a real device
would be; `FELTSENSE_SIMULATED` names the file that `calibrate` wrote. What it gives are vectors the real
encoder once gave, chosen by the text's tokens: the same text has the same one, whatever it is computed with.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from worker.bundle.reader import load
from worker.features.embedding import pack
from worker.inference import encoder_graph
from worker.inference.backend import Array, Component, Model, Placed
from worker.inference.compiled import Threaded, open_on
from worker.inference.encoder import Encoder
from worker.settings import Settings

DEVICE = "SIMULATED"
BACKEND = f"{DEVICE}=benchmarks.simulated:open_simulated"
COSTS = "FELTSENSE_SIMULATED"
TOKENS = (8, 24, 48, 96, 192, 256)
"""Calls of so many tokens are measured; between them cost is a straight line (`worker.inference.packed`)."""
TEXT = 24
"""Tokens of a text in a call of several."""
CALLS = 5
"""Calls of a size that are measured; the median counts."""
STEP = np.uint64(0x9E3779B97F4A7C15)
"""Of Fibonacci hashing (Knuth 6.4): tokens to a row of the vectors."""


def calibrate(settings: Settings, texts: Sequence[str], out: Path) -> dict[str, float]:
    """Measure calls of several sizes on this CPU, and write costs and vectors to `out`.

    A call's cost is the CPU time of this process, so that others on the machine do not count; the CPU
    computes `streams` calls at once with a thread each, and so does the simulated device. Gives the costs by
    tokens in ms, for people.
    """
    fork = load(settings.bundle, keys=settings.bundle_keys).contents.fork
    encoder = Encoder.open(
        cache_dir=settings.cache_dir, plan=("CPU",), precision=settings.precision,
        threads=settings.streams, streams=settings.streams, token_budget=settings.token_budget, fork=fork,
    )  # fmt: skip
    vectors = encoder.encode(texts)
    encoder.close()
    component = encoder_graph.component(
        cache_dir=settings.cache_dir, fork=fork, requests=1, token_budget=settings.token_budget,
        cpu={"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False},
    )  # fmt: skip
    model = open_on("CPU", component, settings.precision)
    sizes = sorted({*TOKENS, settings.token_budget})
    costs = [_cost(model, size) for size in sizes]
    model.close()
    with out.open("wb") as file:
        np.savez(file, vectors=vectors, sizes=sizes, costs=costs, streams=settings.streams)
    return {str(size): round(1000 * cost, 2) for size, cost in zip(sizes, costs, strict=True)}


def open_simulated(component: Component, _precision: str) -> Model:
    """The backend: a component whose calls wait their turn for one of the device's streams."""
    with np.load(os.environ[COSTS], allow_pickle=False) as known:
        vectors, streams = known["vectors"], int(known["streams"])
        sizes, costs = known["sizes"], known["costs"]
    free = threading.BoundedSemaphore(streams)

    def compute(inputs: Sequence[Array]) -> Array:
        ids, mask = inputs
        with free:
            time.sleep(float(np.interp(mask.sum(), sizes, costs)))
        return np.asarray(vectors[rows_of(ids, len(vectors))])

    placed = Placed(actual=DEVICE, precision="f32")
    return Threaded(lambda: compute, placed=placed, threads=component.requests)


def rows_of(ids: Array, rows: int) -> Array:
    """Which of `rows` each text is given: by its tokens alone, so that its batch does not matter."""
    weights = STEP * np.arange(1, ids.shape[1] + 1, dtype=np.uint64)
    return (ids.astype(np.uint64) * weights).sum(axis=1) % np.uint64(rows)


def _cost(model: Model, tokens: int) -> float:
    texts = [TEXT] * (tokens // TEXT) + [tokens % TEXT] * (tokens % TEXT > 0)
    inputs = pack([[0] * length for length in texts])
    spent = []
    for _ in range(CALLS + 1):  # the first compiles the shape
        began = time.process_time()
        model.submit(inputs).result()
        spent.append(time.process_time() - began)
    return float(np.median(spent[1:]))
