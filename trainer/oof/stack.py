"""One variable's second level: gate, calibrator and interval chosen and fitted on out-of-fold columns, and
cross-fitted once more for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.blend import choose as gates
from trainer.blend import weights
from trainer.blend.material import Material
from trainer.calibrate import choose as calibrators
from trainer.calibrate import interval as intervals
from trainer.plan import Plan
from trainer.splits.folds import splits
from trainer.splits.ledger import REFIT, Ledger
from worker.blend.gate import Gate
from worker.calibrate.interval import Interval
from worker.calibrate.maps import Calibrator

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Stacked:
    """`gate` and `calibrator` are fitted on all labelled rows, for the bundle. `before` (calibration) and
    `after`, [n] or [n, k], are cross-fitted for every row: fold k's values come from a gate and a calibrator
    that were fitted on the other folds' rows. `record` tells what was compared and chosen, and the gate's
    mean weights by slice."""

    gate: Gate
    calibrator: Calibrator
    before: Floats
    after: Floats
    record: dict[str, Any]


def stack(
    bases: Sequence[str],
    columns: Mapping[str, Floats],
    target: Floats,
    weight: Floats,
    context: Floats,
    fold: NDArray[np.int64],
    *,
    persons: Sequence[Any] | NDArray[Any],
    plan: Plan,
    name: str,
    ledger: Ledger | None = None,
    row: NDArray[np.intp] | None = None,
    kinds: Sequence[str] | None = None,
    inputs: Sequence[str] = (),
) -> Stacked:
    """Stack out-of-fold `columns` against `target` [n] or [n, k]; rows of weight 0 are predicted and not
    learned from, and a base no row has takes no part.

    `persons` [n] are drawn as wholes where gates are compared. `ledger` is told the folds' gates and
    calibrators under `name`, and what the gates read where that is not the bases; `row` [n] is what labelled
    row each row is of. `kinds` are the gates to choose among; None: those of the plan.
    """
    used = weight > 0
    there = tuple(base for base in bases if np.isfinite(columns[base][used]).any())
    material = Material.of(there, columns, target, weight, context)
    chosen = gates.choose(material, fold, persons, plan, kinds)
    calibrated = calibrators.choose(chosen.before, target, weight, fold)
    if ledger is not None:
        for level, read in (("gate", inputs), ("calibrator", ())):
            for number, (train, held) in enumerate(splits(fold)):
                ledger.add(level, name, number, train & used, held, rows=row, inputs=read)
            ledger.add(level, name, REFIT, used, rows=row, inputs=read)
    return Stacked(
        gate=chosen.gate,
        calibrator=calibrated.calibrator,
        before=chosen.before,
        after=calibrated.after,
        record={
            "gate": chosen.record,
            "calibrator": calibrated.record,
            "weights": weights.by_slice(chosen.gate, material),
        },
    )


def bounds(
    value: Floats,
    target: Floats,
    weight: Floats,
    fold: NDArray[np.int64],
    slices: NDArray[np.intp] | None,
    *,
    lowest: float = 0.0,
) -> tuple[Interval, Floats]:
    """The bundle's interval, by each row's slice [n] (None: of all texts alike), and the cross-fitted ends
    [n, 2] of rows with weight (NaN elsewhere)."""

    def fit(rows: NDArray[np.bool_]) -> Interval:
        where = None if slices is None else slices[rows]
        return intervals.fit(value[rows], target[rows], weight[rows], where, lowest=lowest)

    used = weight > 0
    which = np.zeros(len(value), dtype=np.intp) if slices is None else slices
    ends = np.full((len(value), 2), np.nan)
    for train, held in splits(fold):
        rows = held & used
        ends[rows] = fit(train & used).around(value[rows], which[rows])
    return fit(used), ends
