"""Fits the linear heads (Ng, Eb, Tm, Em): ridge for values, softmax for distributions, logistic for flags.

Penalties are per row of total weight 1: the same plan means the same shrinkage whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix, issparse

Floats = NDArray[np.float64]
CONSTANT = 1e-6
"""A column that deviates by less is constant."""
Loss = Literal["squared", "softmax", "logistic"]


@dataclass(frozen=True, kw_only=True)
class Heads:
    """`weights` [features, targets] and `bias` [targets] of score = x @ weights + bias."""

    weights: Floats
    bias: Floats

    def __call__(self, features: Any) -> Floats:
        return np.asarray(features @ self.weights) + self.bias


def standardise(features: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Weighted mean and standard deviation [features] of the rows; a constant column gets scale 1.

    One dimension of the encoder varies by 1e-8 only: standardised, it would carry nothing but the rounding
    of the arithmetic it was computed in, and f16 flattens it.
    """
    share = weight / weight.sum()
    mean = share @ features
    scale = np.sqrt(share @ (features - mean) ** 2)
    return mean, np.where(scale > CONSTANT, scale, 1.0)


def ridge(features: Floats, targets: Floats, weight: Floats, *, penalty: float) -> Heads:
    """Exact weighted ridge on dense standardised features [n, d], targets [n, t]; the bias is not
    penalised."""
    share = weight / weight.sum()
    centre, middle = share @ features, share @ targets
    x, y = features - centre, targets - middle
    gram = (x * share[:, None]).T @ x
    gram[np.diag_indices_from(gram)] += penalty
    weights = np.linalg.solve(gram, (x * share[:, None]).T @ y)
    return Heads(weights=weights, bias=middle - centre @ weights)


def descend(
    features: NDArray[Any] | csr_matrix,
    targets: Floats,
    weight: Floats,
    *,
    loss: Loss,
    penalty: float,
    steps: int = 100,
) -> Heads:
    """Heads by L-BFGS: mean loss over rows (weights normalised) + penalty / 2 * |weights|^2.

    `targets` [n, t]: values (squared), distributions that sum to 1 (softmax) or 0-1 (logistic). `weight` is
    [n], or [n, t] where targets are known in different rows (weight 0: unlabelled; not for softmax).
    Float32 features are multiplied in float32, which is twice as fast.
    """
    share = weight.reshape(len(targets), -1) / np.maximum(weight.sum(axis=0), 1e-12)
    known = np.nan_to_num(targets)
    width, count = features.shape[1], targets.shape[1]
    kind = features.dtype
    transposed: Any = csr_matrix(features.T) if issparse(features) else features.T
    start = np.zeros((width + 1, count))
    start[-1] = _STARTS[loss]((share * known).sum(axis=0))

    def objective(flat: Floats) -> tuple[float, Floats]:
        both = flat.reshape(width + 1, count)
        scores = np.asarray(features @ both[:-1].astype(kind), dtype=np.float64) + both[-1]
        value, gradient = _LOSSES[loss](scores, known)
        gradient *= share
        slope = np.empty_like(both)
        slope[:-1] = np.asarray(transposed @ gradient.astype(kind)) + penalty * both[:-1]
        slope[-1] = gradient.sum(axis=0)
        return float((share * value).sum() + 0.5 * penalty * np.vdot(both[:-1], both[:-1])), slope.ravel()

    found = minimize(
        objective,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": steps, "ftol": 1e-6, "maxcor": 6},
    )
    both = found.x.reshape(width + 1, count)
    return Heads(weights=both[:-1], bias=both[-1])


def _squared(scores: Floats, targets: Floats) -> tuple[Floats, Floats]:
    off = scores - targets
    return 0.5 * off**2, off


def _softmax(scores: Floats, targets: Floats) -> tuple[Floats, Floats]:
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_total = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    log_share = shifted - log_total
    return -(targets * log_share).sum(axis=1, keepdims=True), np.exp(log_share) - targets


def _logistic(scores: Floats, targets: Floats) -> tuple[Floats, Floats]:
    value = np.logaddexp(0.0, scores) - targets * scores
    return value, 1.0 / (1.0 + np.exp(-np.clip(scores, -40.0, 40.0))) - targets


_LOSSES: dict[Loss, Callable[[Floats, Floats], tuple[Floats, Floats]]] = {
    "squared": _squared,
    "softmax": _softmax,
    "logistic": _logistic,
}
_STARTS: dict[Loss, Callable[[Floats], Floats]] = {
    "squared": lambda mean: mean,
    "softmax": lambda mean: np.log(np.maximum(mean, 1e-6)),
    "logistic": lambda mean: np.log(np.clip(mean, 1e-4, 1 - 1e-4) / (1 - np.clip(mean, 1e-4, 1 - 1e-4))),
}
