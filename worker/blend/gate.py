"""The gate: context decides how much each base counts; the blend is the weighted sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Linear softmax gate. weights = softmax(((context - mean) / scale) @ slopes + bias) over the bases
    that are there.

    `slopes` [context, bases], `bias` [bases]; a mixture-of-experts gate (Jacobs et al. 1991).
    """

    bases: tuple[str, ...]
    slopes: Floats
    bias: Floats
    mean: Floats
    scale: Floats

    def weights(self, context: Floats, available: NDArray[np.bool_]) -> Floats:
        """float64 [n, bases] summing to 1; a base that is not `available` [n, bases] gets 0. One base at
        least must be."""
        scores = ((context - self.mean) / self.scale) @ self.slopes + self.bias
        scores = np.where(available, scores, -np.inf)
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        out: Floats = raised / raised.sum(axis=1, keepdims=True)
        return out

    def to_json(self) -> dict[str, Any]:
        return {
            "bases": list(self.bases),
            "slopes": self.slopes.tolist(),
            "bias": self.bias.tolist(),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Gate:
        return cls(
            bases=tuple(data["bases"]),
            **{name: np.array(data[name], dtype=np.float64) for name in ("slopes", "bias", "mean", "scale")},
        )


def blend(weights: Floats, predictions: Floats) -> Floats:
    """Weighted sum over the bases: weights [n, b] with predictions [n, b] -> [n], or with [n, b, k] -> [n,
    k].

    A masked base's prediction may be NaN: its weight is 0 and it is left out, not multiplied.
    """
    shaped = weights.reshape(weights.shape + (1,) * (predictions.ndim - 2))
    total: Floats = np.where(shaped > 0, shaped * predictions, 0.0).sum(axis=1)
    return total
