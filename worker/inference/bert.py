"""The encoder's layers in torch: the same arithmetic as `worker.inference.minilm` builds for OpenVINO, with
weights under the same published names. The trainer tunes them, a CUDA device serves them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from worker.inference import minilm
from worker.inference.minilm import HEADS, HIDDEN, LAYERS, QUERIES

Weights = Mapping[str, NDArray[Any]]

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


class Texts(Protocol):
    """How the tokens [..., 384] of a call's texts lie; all else is done token by token."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """What the tokens of each text see of each other [..., 384]."""

    def ask(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """What queries [B, m, 384] see of the tokens of their texts [B, m, 384]."""

    def mean(self, x: Tensor) -> Tensor:
        """The mean of each text's tokens, f32 [B, 384]."""


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

    def forward(self, x: Tensor, texts: Texts) -> Tensor:
        """Tokens x [..., 384] -> the same shape."""
        return self._behind(x, texts.attend(self.query(x), self.key(x), self.value(x)))

    def read(self, x: Tensor, tokens: Tensor, texts: Texts) -> Tensor:
        """Queries x [B, m, 384] that attend to `tokens` -> the same shape."""
        return self._behind(x, texts.ask(self.query(x), self.key(tokens), self.value(tokens)))

    def _behind(self, x: Tensor, attended: Tensor) -> Tensor:
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

    def forward(self, ids: Tensor, texts: Texts, places: Tensor | None = None) -> Tensor:
        """ids of one shape [B, L] -> [B, L, 384]; with `places`, each token's in its text, of any shape."""
        where = self.places[: ids.shape[1]] if places is None else functional.embedding(places, self.places)
        x = self.norm(functional.embedding(ids, self.words) + self.segment + where)
        for layer in self.layers:
            x = layer(x, texts)
        out: Tensor = x
        return out


class Upper(nn.Module):
    """The layers from the one of number `first` up, published or tuned, and the mean behind them: of the
    tokens, or of learned queries that read the tokens below (pooling by multihead attention, Lee et al.
    2019)."""

    def __init__(self, weights: Weights, first: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(weights, number) for number in range(first, LAYERS))
        learned = weights.get(QUERIES)
        self.queries = (
            None if learned is None else nn.Parameter(torch.from_numpy(np.array(learned, dtype=np.float32)))
        )

    def forward(self, x: Tensor, texts: Texts, count: int) -> Tensor:
        """Tokens of `count` texts as the layers below give them -> f32 [count, 384]."""
        if self.queries is None:
            for layer in self.layers:
                x = layer(x, texts)
            return texts.mean(x)
        tokens, x = x, self.queries.to(x.dtype).expand(count, -1, -1)
        for layer in self.layers:
            x = layer.read(x, tokens, texts)  # type: ignore[operator]
        return x.float().mean(dim=1)

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """The weights by their published names, and the queries."""
        named = {name: part for layer in self.layers for name, part in layer.tensors().items()}  # type: ignore[operator]
        return named if self.queries is None else {**named, QUERIES: self.queries.detach().numpy()}


def parts(weights: Weights, fork: Weights | None) -> tuple[Lower, Upper, Upper | None]:
    """What the encoder is made of: the shared lower layers, what gives the embedding behind them, and base
    Tr's tuned layers where there is a fork."""
    tuned, sentence = minilm.parts_of(fork or {})
    depth = LAYERS if fork is None else minilm.depth_of(fork)
    return (
        Lower(weights, depth),
        Upper(sentence, minilm.layers_of(sentence)[0]) if sentence else Upper(weights, depth),
        Upper(tuned, minilm.layers_of(tuned)[0]) if tuned else None,
    )


class Padded:
    """Texts as rows [B, L], `real` where a token is."""

    def __init__(self, real: Tensor, *, fused: bool = False) -> None:
        """`fused` takes torch's own attention, which needs ten times as long for sentences on a CPU."""
        self._real = real
        self._fused = fused
        self._unseen = torch.where(real, 0.0, _MASKED)[:, None, None, :]

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """[B, L, 384], or [B, m, 384] of queries -> the queries' shape."""
        query, key, value = (
            part.view(*part.shape[:2], HEADS, HIDDEN // HEADS).transpose(1, 2) for part in (query, key, value)
        )
        if self._fused:
            unseen = self._unseen.to(query.dtype)
            attended = functional.scaled_dot_product_attention(query, key, value, unseen)
        else:
            scores = query @ key.transpose(2, 3) * (HIDDEN // HEADS) ** -0.5 + self._unseen
            attended = torch.softmax(scores, dim=-1).to(value.dtype) @ value
        return attended.transpose(1, 2).flatten(2)

    ask = attend

    def mean(self, x: Tensor) -> Tensor:
        """[B, L, 384] -> f32 [B, 384], in f32 whatever the layers compute in: 256 tokens are summed."""
        mask = self._real[:, :, None].float()
        return (x.float() * mask).sum(dim=1) / mask.sum(dim=1)
