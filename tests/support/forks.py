"""Upper layers that are not the published ones, as a bundle keeps them."""

from pathlib import Path

import numpy as np

from worker.inference import minilm


def write_fork(path: Path, *, queries: int, depth: int = 4, reader: bool = False) -> Path:
    """The published layers from `depth` on, disturbed, with so many queries to go through them (0: all tokens
    do); with a sentence `reader`, the last of them once more, with four queries of its own."""
    rng = np.random.default_rng(3)
    tensors = {
        name: (part * rng.normal(1, 0.1, part.shape)).astype(np.float16)
        for name, part in minilm.read_weights().items()
        if name.startswith("encoder.layer.") and int(name.split(".")[2]) >= depth
    }
    if queries:
        tensors[minilm.QUERIES] = rng.normal(0, 0.5, (queries, minilm.HIDDEN)).astype(np.float16)
    if reader:
        tensors |= {
            f"{minilm.SENTENCE}{name}": (part * rng.normal(1, 0.1, part.shape)).astype(np.float16)
            for name, part in minilm.read_weights().items()
            if name.startswith(f"encoder.layer.{minilm.LAYERS - 1}.")
        }
        own = rng.normal(0, 0.5, (4, minilm.HIDDEN))
        tensors[f"{minilm.SENTENCE}{minilm.QUERIES}"] = own.astype(np.float16)
    np.savez(path, **tensors)  # type: ignore[arg-type]
    return path
