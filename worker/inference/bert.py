"""The encoder's layers in torch: the same arithmetic as `worker.inference.minilm` builds for OpenVINO, with
weights under the same published names. The trainer tunes them, a CUDA device serves them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from worker.inference.minilm import HEADS, HIDDEN, LAYERS

Weights = Mapping[str, NDArray[Any]]

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Attention by itself: queries, keys and values of tokens [..., 384] -> [..., 384]. It alone knows which
tokens are of one text, and how they lie; all else is done token by token."""

_EPSILON = 1e-12
_MASKED = -1e4
_PARTS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "joined": "attention.output.dense",
    "after_attention": "attention.output.LayerNorm",
    "inner": "intermediate.dense",
    "outer": "output.dense",
    "after": "output.LayerNorm",
}


class Layer(nn.Module):
    """One transformer layer (Vaswani et al. 2017; post-norm as in BERT, Devlin et al. 2019)."""

    def __init__(self, weights: Weights, number: int) -> None:
        super().__init__()
        self.number = number
        self.query, self.key, self.value, self.joined = (nn.Linear(HIDDEN, HIDDEN) for _ in range(4))
        self.inner, self.outer = nn.Linear(HIDDEN, 4 * HIDDEN), nn.Linear(4 * HIDDEN, HIDDEN)
        self.after_attention, self.after = (nn.LayerNorm(HIDDEN, _EPSILON) for _ in range(2))
        with torch.no_grad():
            for part, name in _PARTS.items():
                for kind in ("weight", "bias"):
                    tensor = np.array(weights[f"encoder.layer.{number}.{name}.{kind}"], dtype=np.float32)
                    getattr(getattr(self, part), kind).copy_(torch.from_numpy(tensor))

    def forward(self, x: Tensor, attend: Attend) -> Tensor:
        """x [..., 384] -> the same shape."""
        attended = attend(self.query(x), self.key(x), self.value(x))
        x = self.after_attention(x + self.joined(attended))
        out: Tensor = self.after(x + self.outer(functional.gelu(self.inner(x))))
        return out

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """The weights by their published names."""
        return {
            f"encoder.layer.{self.number}.{name}.{kind}": getattr(getattr(self, part), kind).detach().numpy()
            for part, name in _PARTS.items()
            for kind in ("weight", "bias")
        }


class Lower(nn.Module):
    """The embeddings and the first `depth` layers, frozen."""

    words: Tensor
    places: Tensor
    segment: Tensor

    def __init__(self, weights: Weights, depth: int) -> None:
        super().__init__()
        words, places, segments = (
            torch.from_numpy(np.array(weights[f"embeddings.{name}_embeddings.weight"], dtype=np.float32))
            for name in ("word", "position", "token_type")
        )
        for name, part in (("words", words), ("places", places), ("segment", segments[0])):
            self.register_buffer(name, part, persistent=False)
        self.norm = nn.LayerNorm(HIDDEN, _EPSILON)
        with torch.no_grad():
            for kind in ("weight", "bias"):
                tensor = np.array(weights[f"embeddings.LayerNorm.{kind}"], dtype=np.float32)
                getattr(self.norm, kind).copy_(torch.from_numpy(tensor))
        self.layers = nn.ModuleList(Layer(weights, number) for number in range(depth))
        self.requires_grad_(False)

    def forward(self, ids: Tensor, attend: Attend, places: Tensor | None = None) -> Tensor:
        """ids of one shape [B, L] -> [B, L, 384]; with `places`, each token's in its text, of any shape."""
        where = self.places[: ids.shape[1]] if places is None else functional.embedding(places, self.places)
        x = self.norm(functional.embedding(ids, self.words) + self.segment + where)
        for layer in self.layers:
            x = layer(x, attend)
        out: Tensor = x
        return out


def upper(weights: Weights, depth: int) -> nn.ModuleList:
    """The layers above the first `depth`: the published ones, or tuned."""
    return nn.ModuleList(Layer(weights, number) for number in range(depth, LAYERS))


def padded(real: Tensor, *, fused: bool = False) -> Attend:
    """Attention between the real tokens [B, L] of each row, all others being padding.

    `fused` takes torch's own, which needs ten times as long for sentences on a CPU.
    """
    size, length = real.shape
    unseen = torch.where(real, 0.0, _MASKED)[:, None, None, :]

    def heads(part: Tensor) -> Tensor:
        return part.view(size, length, HEADS, HIDDEN // HEADS).transpose(1, 2)

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        query, key, value = heads(query), heads(key), heads(value)
        if fused:
            attended = functional.scaled_dot_product_attention(query, key, value, unseen.to(query.dtype))
        else:
            scores = query @ key.transpose(2, 3) * (HIDDEN // HEADS) ** -0.5 + unseen
            attended = torch.softmax(scores, dim=-1).to(value.dtype) @ value
        return attended.transpose(1, 2).reshape(size, length, HIDDEN)

    return attend
