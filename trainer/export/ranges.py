"""How far the encoder's layer norms go: what `worker.inference.int8` scales its activations by.

`python -m trainer.export.ranges FILE... [--rows 4000]` reads texts (labelled JSONL), runs the encoder in f32
and writes `worker/inference/ranges.npz`: 13 x 384 numbers, from which no text can be read. Needed again only
for another encoder.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from trainer.data import labelled
from worker.features import text
from worker.features.embedding import shape
from worker.inference import int8, minilm

QUANTILE = 0.999
"""Of a channel's absolute values: a scale set by the one largest would be set by chance."""


def measure(tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """f32 [13, 384]: the reach of each layer norm's channels, before gain and bias, over the real tokens."""
    graph = minilm.build(minilm.read_weights())
    norms = [node.output(0) for node in graph.get_ordered_ops() if node.get_type_name() == "MVN"]
    graph.add_outputs(norms)
    model = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    seen: list[list[NDArray[np.float16]]] = [[] for _ in norms]
    for call in shape(tokens):
        outputs = model([call.ids, call.mask])
        for at, kept in enumerate(seen, start=1):
            kept.append(np.abs(outputs[at][call.mask > 0]).astype(np.float16))
    reach = [np.quantile(np.concatenate(kept), QUANTILE, axis=0) for kept in seen]
    return np.stack(reach).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="+", help="labelled lines (JSONL) that may ship")
    parser.add_argument("--rows", type=int, default=4000, help="texts read, spread over the files")
    call = parser.parse_args()
    rows = labelled.load(call.data)
    chosen = rows[:: max(1, len(rows) // call.rows)]
    texts = [text.read(one.reflection.text, one.reflection.lang).normal for one in chosen]
    tokens = [one.ids for one in minilm.tokenizer().encode_batch_fast(texts)]
    np.savez_compressed(int8.RANGES, ranges=measure(tokens), encoder=np.array(minilm.weights_digest()))
    print(f"{int8.RANGES}: from {len(texts)} texts")  # noqa: T201 - a command's answer


if __name__ == "__main__":
    main()
