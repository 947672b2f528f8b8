"""The encoder by itself: the ceiling (OpenVINO's plain run of the unmodified graph), and our own path.

Texts are tokenised outside the clock on all sides, and every turn has seen its shapes before. Each side keeps
every embedding, so that `agreement` can tell fast from wrong.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from benchmarks.context import Event
from benchmarks.rounds import Run
from worker.inference import minilm
from worker.inference.encoder import Encoder

BATCH = 32
Embeddings = NDArray[np.float32]


class Ceiling:
    """`minilm.build` without a fork, THROUGHPUT hint, an `AsyncInferQueue`, texts sorted by length in batches
    of 32 padded to the longest; bf16 where the CPU has it, else f32."""

    name = "(a) OpenVINO plain"

    def __init__(self) -> None:
        core = ov.Core()
        bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = "bf16" if bf16 else "f32"
        self.compiled = core.compile_model(
            minilm.build(minilm.read_weights()),
            "CPU",
            {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": self.precision},
        )
        self._tokenizer = minilm.tokenizer()

    def run(self, events: Sequence[Event], tag: str) -> Run:  # noqa: ARG002  leaves no rows to tell apart
        tokens = [one.ids for one in self._tokenizer.encode_batch_fast([event["text"] for event in events])]
        started, used = time.perf_counter(), time.process_time()
        self.encode(tokens)
        return _run(events, started, used)

    def encode(self, tokens: Sequence[Sequence[int]]) -> Embeddings:
        """f32 [len(tokens), 384], rows in the caller's order."""
        out = np.empty((len(tokens), minilm.HIDDEN), dtype=np.float32)
        queue = ov.AsyncInferQueue(self.compiled)

        def keep(request: ov.InferRequest, rows: list[int]) -> None:
            out[rows] = request.get_output_tensor(0).data

        queue.set_callback(keep)
        by_length = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
        for start in range(0, len(by_length), BATCH):
            rows = by_length[start : start + BATCH]
            ids = np.zeros((len(rows), len(tokens[rows[-1]])), dtype=np.int32)
            mask = np.zeros(ids.shape, dtype=np.float32)
            for line, row in enumerate(rows):
                ids[line, : len(tokens[row])] = tokens[row]
                mask[line, : len(tokens[row])] = 1.0
            queue.start_async([ids, mask], userdata=rows)
        queue.wait_all()
        return out

    @property
    def facts(self) -> dict[str, object]:
        """What OpenVINO made of the hints."""
        return {
            "precision": self.compiled.get_property("INFERENCE_PRECISION_HINT").to_string(),
            "streams": self.compiled.get_property("NUM_STREAMS"),
            "requests": self.compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"),
            "threads": self.compiled.get_property("INFERENCE_NUM_THREADS"),
        }


class Own:
    """The product's encoder, opened as the worker opens it; `block` texts a call, or all of them at once."""

    def __init__(self, name: str, encoder: Encoder, block: int | None) -> None:
        self.name = name
        self._encoder = encoder
        self._block = block

    def run(self, events: Sequence[Event], tag: str) -> Run:  # noqa: ARG002  leaves no rows to tell apart
        tokens = self._encoder.tokenise([event["text"] for event in events])
        block = self._block or len(tokens)
        started, used = time.perf_counter(), time.process_time()
        waiting = [
            self._encoder.submit(tokens[start : start + block]) for start in range(0, len(tokens), block)
        ]
        for one in waiting:
            one.result()
        return _run(events, started, used)


def _run(events: Sequence[Event], started: float, used: float) -> Run:
    seconds = time.perf_counter() - started
    return Run(events=len(events), seconds=seconds, cpu_s={"worker": time.process_time() - used})


def agreement(ceiling: Ceiling, own: Encoder, texts: Sequence[str]) -> dict[str, float]:
    """Cosines of the two sides' embeddings of the same texts."""
    first = ceiling.encode(own.tokenise(texts))
    second = own.encode(texts)[:, : minilm.HIDDEN]
    cosines = np.sum(first * second, axis=1) / (
        np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    )
    return {"mean": round(float(cosines.mean()), 6), "min": round(float(cosines.min()), 6)}
