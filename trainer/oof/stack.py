"""One variable's second level: gate, calibrator and interval fitted on out-of-fold columns, and
cross-fitted once more for the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.blend import gate as gates
from trainer.calibrate import interval as intervals
from trainer.calibrate import maps
from trainer.oof.crossfit import splits
from worker.blend.gate import Gate
from worker.blend.stack import combine
from worker.calibrate.interval import Interval
from worker.calibrate.maps import IDENTITY, Calibrator

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Stacked:
    """`gate` and `calibrator` are fitted on all labelled rows, for the bundle. `after` [n] or [n, k] is
    cross-fitted for every row: fold k's values come from a gate and a calibrator that saw neither its
    labels nor its values."""

    gate: Gate
    calibrator: Calibrator
    before: Floats
    after: Floats


def stack(
    bases: tuple[str, ...],
    columns: Mapping[str, Floats],
    target: Floats,
    weight: Floats,
    context: Floats,
    fold: NDArray[np.int64],
    *,
    penalty: float,
) -> Stacked:
    """Stack out-of-fold `columns` against `target` [n] or [n, k]; rows of weight 0 are predicted and not
    learned from."""
    used = weight > 0
    chosen = {base: columns[base] for base in bases}

    def gate_of(rows: NDArray[np.bool_]) -> Gate:
        part = {base: values[rows] for base, values in chosen.items()}
        return gates.fit(bases, part, target[rows], weight[rows], context[rows], penalty=penalty)

    def blend(gate: Gate, rows: NDArray[np.bool_]) -> Floats:
        part = {base: values[rows] for base, values in chosen.items()}
        return combine(gate, IDENTITY, part, context[rows]).before

    calibrate = maps.value if target.ndim == 1 else maps.distribution
    before = np.full_like(target, np.nan)
    for train, held in splits(fold):
        before[held] = blend(gate_of(train & used), held)
    after = np.full_like(target, np.nan)
    for train, held in splits(fold):
        rows = train & used
        after[held] = calibrate(before[rows], target[rows], weight[rows]).apply(before[held])
    return Stacked(
        gate=gate_of(used),
        calibrator=calibrate(before[used], target[used], weight[used]),
        before=before,
        after=after,
    )


def bounds(
    value: Floats, target: Floats, weight: Floats, fold: NDArray[np.int64], *, lowest: float = 0.0
) -> tuple[Interval, Floats]:
    """The bundle's interval and the cross-fitted ends [n, 2] of rows with weight (NaN elsewhere)."""
    used = weight > 0
    ends = np.full((len(value), 2), np.nan)
    for train, held in splits(fold):
        rows = train & used
        fitted = intervals.fit(value[rows], target[rows], weight[rows], lowest=lowest)
        ends[held & used] = fitted.around(value[held & used])
    return intervals.fit(value[used], target[used], weight[used], lowest=lowest), ends
