"""Fits conformal intervals on cross-fitted calibrated values."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from worker.calibrate import slices
from worker.calibrate.interval import BEYOND, Interval

Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]

LEVEL = 0.8
BIN = 250
"""Fewest effective rows a bin of the value stands for."""
FEWEST = 300
"""Effective rows below which a slice takes the interval of a wider one."""
MOST_BINS = 10


def effective(weight: Floats) -> float:
    """How many rows of equal weight tell as much (Kish)."""
    total = float((weight**2).sum())
    return float(weight.sum()) ** 2 / total if total > 0 else 0.0


def fit(
    value: Floats,
    target: Floats,
    weight: Floats,
    where: NDArray[np.intp] | None,
    *,
    lowest: float = 0.0,
    highest: float = 1.0,
) -> Interval:
    """80 % interval from values and targets [n] and the slice of each row (None: one slice for all).

    In each bin of the value an end is the conformal quantile of how far targets lie beyond the value. A slice
    of too few rows takes the interval of its language, else of its length, else of all rows.
    """
    fitted: dict[bytes, tuple[Floats, Floats, Floats]] = {}
    parts = []
    for rows in _groups(where, weight):
        key = rows.tobytes()
        if key not in fitted:
            fitted[key] = _bins(value[rows], target[rows], weight[rows])
        parts.append(fitted[key])
    most = max(len(below) for _, below, _ in parts)
    return Interval(
        edges=np.stack([_padded(edges, most - 1, BEYOND) for edges, _, _ in parts]),
        below=np.stack([_padded(below, most, below[-1]) for _, below, _ in parts]),
        above=np.stack([_padded(above, most, above[-1]) for _, _, above in parts]),
        lowest=lowest,
        highest=highest,
    )


def _groups(where: NDArray[np.intp] | None, weight: Floats) -> Iterator[Rows]:
    """The rows each slice learns from."""
    every = np.ones(len(weight), dtype=bool)
    if where is None:
        yield every
        return
    length, language = np.divmod(where, len(slices.LANGUAGES))
    for number in range(slices.COUNT):
        at, tongue = divmod(number, len(slices.LANGUAGES))
        wider = (where == number, language == tongue, length == at)
        yield next((rows for rows in wider if effective(weight[rows]) >= FEWEST), every)


def _bins(value: Floats, target: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
    """Edges, then distances below and above, of one group of rows."""
    count = int(np.clip(effective(weight) // BIN, 1, MOST_BINS))
    order = np.argsort(value, kind="stable")
    mass = np.cumsum(weight[order]) / weight.sum()
    cuts = np.searchsorted(mass, np.arange(1, count) / count)
    edges = np.unique(value[order][cuts])
    index = np.searchsorted(edges, value, side="right")
    ends = []
    for number in range(len(edges) + 1):
        held = index == number
        if not weight[held].any():
            held = np.ones(len(value), dtype=bool)
        off = target[held] - value[held]
        ends.append([_beyond(-off, weight[held]), _beyond(off, weight[held])])
    below, above = np.array(ends).T
    return edges, below, above


def _beyond(off: Floats, weight: Floats) -> float:
    """The distance that all but (1 - LEVEL) / 2 of a next row's chances stay within, never below 0: the
    ceil((n + 1) q)-th smallest of n, n being the effective rows."""
    share = (1 + LEVEL) / 2 * (1 + 1 / effective(weight))
    order = np.argsort(off, kind="stable")
    rank = np.cumsum(weight[order]) / weight.sum()
    return max(0.0, float(off[order][min(int(np.searchsorted(rank, share)), len(order) - 1)]))


def _padded(values: Floats, length: int, filler: float) -> Floats:
    return np.concatenate([values, np.full(length - len(values), filler)])
