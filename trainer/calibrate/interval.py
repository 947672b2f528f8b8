"""Fits conformal intervals on cross-fitted calibrated values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.calibrate.interval import Interval

Floats = NDArray[np.float64]

LEVEL = 0.8
BIN = 250
"""Fewest rows a bin of the value stands for."""


def fit(
    value: Floats, target: Floats, weight: Floats, *, lowest: float = 0.0, highest: float = 1.0
) -> Interval:
    """80 % interval: in each bin of the value the 10 % and 90 % weighted quantiles of `target - value`,
    both [n]."""
    bins = int(np.clip(len(value) // BIN, 1, 10))
    edges = np.unique(np.quantile(value, np.linspace(0, 1, bins + 1)[1:-1]))
    index = np.searchsorted(edges, value, side="right")
    below, above = np.zeros(len(edges) + 1), np.zeros(len(edges) + 1)
    for number in range(len(edges) + 1):
        held = index == number
        if not held.any():
            held = np.ones(len(value), dtype=bool)
        off = target[held] - value[held]
        below[number] = max(0.0, -_quantile(off, weight[held], (1 - LEVEL) / 2))
        above[number] = max(0.0, _quantile(off, weight[held], (1 + LEVEL) / 2))
    return Interval(edges=edges, below=below, above=above, lowest=lowest, highest=highest)


def _quantile(values: Floats, weight: Floats, level: float) -> float:
    order = np.argsort(values, kind="stable")
    rank = np.cumsum(weight[order]) / weight.sum()
    return float(values[order][min(int(np.searchsorted(rank, level)), len(order) - 1)])
