"""What torch makes of texts with the bundle's weights: the reference that every exported graph is held
against, and the same network with half-precision numbers, which is how a GPU computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from worker.inference import bert, minilm

Embeddings = NDArray[np.float32]
Weights = Mapping[str, NDArray[Any]]
Tokens = Sequence[Sequence[int]]

BATCH = 32


def embed(tokens: Tokens, weights: Weights, fork: Weights | None, *, halves: bool = False) -> Embeddings:
    """Token ids (1-256 a text) -> f32 [n, 384], unit length, and the tuned layers' mean behind it where there
    is a fork: what `minilm.build` computes.

    With `halves` the weights and what every layer and product hands on are rounded to float16, sums inside a
    product stay f32, as on a GPU; it is not a GPU.
    """
    lower, *uppers = bert.parts(weights, fork)
    stacks = [upper for upper in uppers if upper is not None]
    if halves:
        lower.words, lower.places, lower.segment = map(_half, (lower.words, lower.places, lower.segment))
        for part in (lower, *stacks):
            _halve(part)
    out = np.empty((len(tokens), len(stacks) * minilm.HIDDEN), dtype=np.float32)
    order = np.argsort([len(ids) for ids in tokens], kind="stable")
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            longest = max(len(tokens[row]) for row in rows)
            ids = torch.zeros((len(rows), longest), dtype=torch.int64)
            real = torch.zeros((len(rows), longest), dtype=torch.bool)
            for line, row in enumerate(rows):
                ids[line, : len(tokens[row])] = torch.tensor(tokens[row])
                real[line, : len(tokens[row])] = True
            laid = bert.Padded(real)
            below = lower(ids, laid)
            pooled = [stack(below, laid, len(rows)) for stack in stacks]
            pooled[0] = torch.nn.functional.normalize(pooled[0], dim=1)
            out[rows] = torch.cat(pooled, dim=1).numpy()
    return out


def _half(x: Tensor) -> Tensor:
    return x.half().float()


def _halve(part: nn.Module) -> None:
    with torch.no_grad():
        for weight in part.parameters():
            weight.copy_(_half(weight))
    for module in part.modules():
        if isinstance(module, nn.Linear | nn.LayerNorm | bert.Layer):
            module.register_forward_hook(lambda _module, _given, out: _half(out))
