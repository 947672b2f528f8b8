"""Fits a gate: the softmax weights over the bases that make the blend's own loss smallest on out-of-fold
columns."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from worker.blend.gate import Gate

Floats = NDArray[np.float64]


def fit(
    bases: tuple[str, ...],
    columns: Mapping[str, Floats],
    target: Floats,
    weight: Floats,
    context: Floats,
    *,
    penalty: float,
) -> Gate:
    """Gate over `bases` for columns and `target` [n] (squared error) or [n, k] (distributions,
    cross-entropy).

    NaN columns are masked. `penalty` is on the slopes, per unit of total row weight; zero slopes are a
    constant weighting.
    """
    stacked = np.stack([columns[base] for base in bases], axis=1)
    available = np.isfinite(stacked.reshape(*stacked.shape[:2], -1)).all(axis=2)
    filled = np.nan_to_num(stacked)
    share = weight / weight.sum()
    mean = share @ context
    scale = np.sqrt(share @ (context - mean) ** 2)
    scale = np.where(scale > 1e-9, scale, 1.0)
    standard = (context - mean) / scale
    count = len(bases)

    def objective(flat: Floats) -> tuple[float, Floats]:
        slopes, bias = flat[:-count].reshape(-1, count), flat[-count:]
        scores = np.where(available, standard @ slopes + bias, -np.inf)
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights = raised / raised.sum(axis=1, keepdims=True)
        if target.ndim == 1:
            off = (weights * filled).sum(axis=1) - target
            value, pull = off**2, 2.0 * off[:, None] * filled
        else:
            mixed = np.maximum((weights[:, :, None] * filled).sum(axis=1), 1e-9)
            value = -(target * np.log(mixed)).sum(axis=1)
            pull = -((target / mixed)[:, None, :] * filled).sum(axis=2)
        slope = share[:, None] * weights * (pull - (weights * pull).sum(axis=1, keepdims=True))
        gradient = np.concatenate(
            [(standard.T @ slope + penalty * slopes).ravel(), slope.sum(axis=0) + 1e-6 * bias]
        )
        return float(share @ value + 0.5 * penalty * (slopes**2).sum() + 0.5e-6 * (bias**2).sum()), gradient

    start = np.zeros((standard.shape[1] + 1) * count)
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 150, "ftol": 1e-9})
    return Gate(
        bases=bases, slopes=found.x[:-count].reshape(-1, count), bias=found.x[-count:], mean=mean, scale=scale
    )
