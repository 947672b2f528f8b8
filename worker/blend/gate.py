"""The gate: context decides how much each base counts; the blend is the weighted sum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.models.boosted import Boosted

Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]

DROPPED = -40.0
"""The bias of a base that counts only where all the others are missing: e^-40 is 0 in a sum of weights, and
finite, so JSON holds it."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Softmax gate over the bases that are there (mixture of experts, Jacobs et al. 1991).

    scores = ((context - mean) / scale) @ slopes + bias, plus the trees' sums where there are trees. `slopes`
    [context, bases], `bias` [bases]; zero slopes without trees weigh every row alike. `trees` is LightGBM's
    text, one raw score a base. `kind` names how the gate was chosen, for reports: plain, best, constant,
    linear, boosted.
    """

    bases: tuple[str, ...]
    slopes: Floats
    bias: Floats
    mean: Floats
    scale: Floats
    kind: str = "linear"
    trees: str | None = None

    @classmethod
    def constant(cls, bases: tuple[str, ...], bias: Floats, width: int, *, kind: str) -> Gate:
        """A gate that does not read the `width` columns of the context: plain average at equal biases, one
        base where all others are `DROPPED`."""
        return cls(
            bases=bases,
            slopes=np.zeros((width, len(bases))),
            bias=bias,
            mean=np.zeros(width),
            scale=np.ones(width),
            kind=kind,
        )

    @cached_property
    def _forest(self) -> Boosted | None:
        return None if self.trees is None else Boosted.parse(self.trees)

    def weights(self, context: Floats, available: Rows) -> Floats:
        """float64 [n, bases] summing to 1; a base that is not `available` [n, bases] gets 0. One base at
        least must be."""
        scores = ((context - self.mean) / self.scale) @ self.slopes + self.bias
        if self._forest is not None:
            scores = scores + self._forest.predict(context)
        return softmax_of(scores, available)

    def to_json(self) -> dict[str, Any]:
        """Everything but the trees, which are a file of their own; `trees` tells that there are some."""
        return {
            "bases": list(self.bases),
            "slopes": self.slopes.tolist(),
            "bias": self.bias.tolist(),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "kind": self.kind,
            "trees": self.trees is not None,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], trees: str | None = None) -> Gate:
        """Raises `ValueError` where `trees` are not one raw score for each base, or `data` wants some and
        there are none; a gate written before there were kinds is linear."""
        gate = cls(
            bases=tuple(data["bases"]),
            kind=data.get("kind", "linear"),
            trees=trees,
            **{name: np.array(data[name], dtype=np.float64) for name in ("slopes", "bias", "mean", "scale")},
        )
        if data.get("trees", False) != (trees is not None):
            raise ValueError("the gate's trees and its JSON do not belong together")
        if gate._forest is not None and (not gate._forest.raw or gate._forest.classes != len(gate.bases)):
            raise ValueError("the gate's trees do not give one score a base")
        return gate


def softmax_of(scores: Floats, available: Rows) -> Floats:
    """Weights float64 [n, bases] of `scores` over the bases that are `available`, both [n, bases]."""
    masked = np.where(available, scores, -np.inf)
    raised = np.exp(masked - masked.max(axis=1, keepdims=True))
    out: Floats = raised / raised.sum(axis=1, keepdims=True)
    return out


def blend(weights: Floats, predictions: Floats) -> Floats:
    """Weighted sum over the bases: weights [n, b] with predictions [n, b] -> [n], or with [n, b, k] -> [n,
    k].

    A masked base's prediction may be NaN: its weight is 0 and it is left out, not multiplied.
    """
    shaped = weights.reshape(weights.shape + (1,) * (predictions.ndim - 2))
    total: Floats = np.where(shaped > 0, shaped * predictions, 0.0).sum(axis=1)
    return total
