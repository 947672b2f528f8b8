"""Paired bootstrap of two gates' out-of-fold losses over whole people: is one smaller beyond chance?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluate.metrics import Comparison

Floats = NDArray[np.float64]

RESAMPLES = 500


@lru_cache(maxsize=8)
def _counts(people: int, resamples: int, seed: int) -> Floats:
    """How often each resample takes each person: the same for every pair of gates."""
    return np.random.default_rng(seed).poisson(1.0, size=(resamples, people)).astype(np.float64)


def paired(
    first: Floats,
    second: Floats,
    weight: Floats,
    persons: Sequence[Any] | NDArray[Any],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Comparison:
    """How much greater the weighted mean of `second` is than that of `first`, all [n], each resample giving
    every person a Poisson(1) count (Hanley & MacGibbon 2006).

    A mean needs only each person's sums. Of losses, `second` is better where `high` is below 0.
    """
    _, codes = np.unique(np.asarray(persons), return_inverse=True)
    sums = np.stack(
        [np.bincount(codes, weights=part) for part in (weight * (second - first), weight)], axis=1
    )
    totals = _counts(len(sums), resamples, seed) @ sums
    held = totals[:, 1] > 0
    differences = totals[held, 0] / totals[held, 1]
    low, high = np.quantile(differences, (0.025, 0.975)) if held.any() else (np.nan, np.nan)
    return Comparison(
        difference=float(sums[:, 0].sum() / sums[:, 1].sum()),
        low=float(low),
        high=float(high),
        better=float(np.mean(differences > 0)) if held.any() else float("nan"),
    )
