"""Teaches a few queries to give a sentence's embedding from the encoder's lower layers, so that serving need
not compute the upper ones: knowledge distillation (Hinton et al. 2015) of the published encoder into its own
lower half, by cosine, from texts without labels.

`python -m trainer.fit.sentence FILE... [--depth 3] [--layers 1]` reads texts (labelled JSONL that may ship)
and writes `trainer/features/reader.npz`, which plans with `sentence = true` take. Needed again only for
another encoder, or to read at another depth: bundles carry their reader with them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from trainer.data import labelled
from trainer.features import activations, build
from trainer.features.activations import Activations, Rows
from trainer.features.reader import READER
from trainer.fit import transformer
from trainer.settings import TrainerSettings
from worker.events.taxonomy import taxonomy
from worker.inference import bert, minilm
from worker.inference.minilm import DEPTH, LAYERS, SENTENCE

Tensors = Mapping[str, NDArray[np.float16]]

BATCH = 64
LEARNING_RATE = 1e-3
WARM_UP = 0.05
HELD_OUT = 2000


def fit(
    lower: Activations,
    embeddings: NDArray[np.float32],
    rows: Rows,
    *,
    layers: int,
    queries: int,
    epochs: int,
    seed: int,
    advance: Callable[[], object] = lambda: None,
) -> Tensors:
    """Teach `queries` through the uppermost `layers` to give `embeddings` f32 [n, 384] of the texts `rows`
    from their tokens in `lower`; `advance` is called after each batch (`steps` of them an epoch)."""
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    reader = bert.Upper(transformer.published(queries, generator), LAYERS - layers)
    goal = torch.from_numpy(embeddings)
    total = epochs * steps(len(rows))
    optimiser = torch.optim.AdamW(reader.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    schedule = transformer.warmed(optimiser, total, WARM_UP)
    for _ in range(epochs):
        for batch in lower.batches(rows, BATCH, generator):
            with torch.autocast("cpu", torch.bfloat16):
                found = transformer.mean_of(reader, *lower.of(batch))
            loss = (1.0 - functional.cosine_similarity(found, goal[torch.from_numpy(batch)])).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            advance()
    kept = {f"{SENTENCE}{name}": part.astype(np.float16) for name, part in reader.tensors().items()}
    return {**kept, DEPTH: np.array(lower.depth, dtype=np.float16)}


def steps(rows: int) -> int:
    """Batches of an epoch over so many rows."""
    return -(-rows // BATCH)


def agreement(
    reader: Tensors, lower: Activations, embeddings: NDArray[np.float32], rows: Rows
) -> NDArray[np.float64]:
    """Cosines [len(rows)] of what the reader gives for `rows` to their embeddings."""
    _, own = minilm.parts_of(reader)
    given = transformer.means(own, lower, rows)
    cosines = (given * embeddings[rows]).sum(axis=1) / np.linalg.norm(given, axis=1)  # those are unit length
    return np.asarray(cosines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    from rich.progress import track  # of the command alone

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="+", help="labelled lines (JSONL) that may ship")
    parser.add_argument("--depth", type=int, default=3, help="published layers that are read (default: 3)")
    parser.add_argument("--layers", type=int, default=1, help="uppermost layers the queries go through")
    parser.add_argument("--queries", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=READER)
    call = parser.parse_args(arguments)
    settings = TrainerSettings()
    reflections = [row.reflection for row in labelled.load(call.data)]
    texts = list(dict.fromkeys(build.normalised(reflections)))
    # The anchors are embedded as texts are: a reader that has not met them could be far off there.
    texts += [phrase for _, phrase in taxonomy().anchors()]
    embeddings = build.embed(texts, settings=settings, advance=lambda _: None)
    lower = activations.compute(texts, depth=call.depth)
    order = np.random.default_rng(call.seed).permutation(len(texts) - len(taxonomy().anchors()))
    held, anchors = order[:HELD_OUT], np.arange(len(order), len(texts))
    rows = np.concatenate([order[HELD_OUT:], anchors])
    bar = iter(track(range(call.epochs * steps(len(rows))), description="teach the reader"))
    reader = fit(
        lower, embeddings, rows, layers=call.layers, queries=call.queries, epochs=call.epochs, seed=call.seed,
        advance=lambda: next(bar, None),
    )  # fmt: skip
    np.savez(call.out, **reader)  # type: ignore[arg-type]
    cosines = agreement(reader, lower, embeddings, held)
    least = np.quantile(cosines, 0.01)
    print(  # noqa: T201 - a command's answer
        f"{call.out}: from {len(rows)} texts; cosine to the published embedding on {len(held)} others "
        f"{cosines.mean():.4f} in the mean, {least:.3f} at 1 %"
    )


if __name__ == "__main__":
    main()
