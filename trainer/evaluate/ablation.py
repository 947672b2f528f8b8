"""What each base is worth to a bundle: without it the gate's weights go to the others, row by row.

Both sides are blends before calibration, of the same run: fitted parts are not refitted, so a base that
repeats another's knowledge looks cheaper here than in a rebuild without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.evaluate.bootstrap import Estimate
from trainer.evaluate.figures import Evidence, labelled
from trainer.evaluate.judge import REPORTS, Table
from trainer.evaluate.slices import Slice
from trainer.evaluate.truth import KINDS, OTHER_SCALE

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

VARIABLES = ("valence", "arousal", "expected_valence", "expected_arousal", "congruence", "willingness",
             "expressed", "invoked")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What leaving out `base` does: `whole` and `without` are the metric with and without it, `change` the
    paired difference."""

    variable: str
    base: str
    source: str
    metric: str
    whole: Estimate
    without: Estimate
    change: Estimate


def without(table: Table, variable: str, base: str, rows: Rows) -> Floats:
    """The blend [m] or [m, k] of the other bases, their weights brought to 1; equal weights where the base
    had all of it, NaN where no other is there."""
    bases = table.bases(variable)
    keep = [at for at, name in enumerate(bases) if name != base]
    predictions = table.predictions(variable)[rows][:, keep]
    flat = predictions.reshape(*predictions.shape[:2], -1)
    there = np.isfinite(flat).all(axis=2)
    weights = np.where(there, table.weights(variable)[rows][:, keep], 0.0)
    weights = np.where(weights.sum(axis=1, keepdims=True) > 1e-9, weights, there.astype(np.float64))
    total = weights.sum(axis=1, keepdims=True)
    shares = np.divide(weights, total, out=np.full_like(weights, np.nan), where=total > 0)
    shaped = shares.reshape(shares.shape + (1,) * (predictions.ndim - 2))
    return np.asarray(np.where(np.isnan(shaped), np.nan, shaped * np.nan_to_num(predictions)).sum(axis=1))


def losses(evidence: Evidence, sources: Mapping[str, Rows]) -> list[Loss]:
    """Of every variable and base, by source with at least 30 labelled rows."""
    return [loss for name, rows in sources.items() for loss in _of_source(evidence, name, rows)]


def _of_source(evidence: Evidence, source: str, rows: Rows) -> list[Loss]:
    found = []
    for variable in VARIABLES:
        stage = evidence.judged.appraised
        table = (
            stage if variable in ("willingness", "expressed", "invoked") else evidence.judged.placed[REPORTS]
        )
        known = _rows(evidence, variable, rows)
        bases = [base for base in table.bases(variable) if table[f"{variable}.weight.{base}"][known].any()]
        if len(known) < 30 or len(bases) < 2:
            continue
        for base in bases:
            rest = without(table, variable, base, known)
            sound = np.isfinite(rest.reshape(len(known), -1)).all(axis=1)
            these = known[sound]
            if len(these) < 30:
                continue
            whole = table[f"{variable}.before"][these]
            metric, first = _score(evidence, source, variable, these, whole)
            _, second = _score(evidence, source, variable, these, rest[sound])
            found.append(
                Loss(variable=variable, base=base, source=source, metric=metric, whole=first, without=second,
                     change=second.minus(first))
            )  # fmt: skip
    return found


def _rows(evidence: Evidence, variable: str, rows: Rows) -> Rows:
    if variable in evidence.truth.mass:
        return rows[evidence.truth.mass[variable][rows].any(axis=1)]
    known = labelled(evidence.truth.values[variable.removeprefix("expected_")], rows)
    if variable.startswith("expected_"):
        known = known[evidence.before.count[known, KINDS.index(variable.removeprefix("expected_"))] > 0]
    return known


def _score(evidence: Evidence, source: str, variable: str, rows: Rows, value: Floats) -> tuple[str, Estimate]:
    sample = evidence.people.sample(rows)
    if variable in evidence.truth.mass:
        best = value.argmax(axis=1)
        chosen = np.where(best < 6, best, -1).astype(np.int64)
        return "core macro-F1, likeliest class", sample.core_f1(evidence.truth.mass[variable][rows], chosen)
    truth = evidence.truth.values[variable.removeprefix("expected_")][rows]
    if source in OTHER_SCALE or variable == "willingness":
        return "r", sample.pearson(truth, value)
    return "RMSE", sample.rmse(truth, value)


def gate_weights(evidence: Evidence, parts: list[Slice]) -> list[dict[str, object]]:
    """Mean weight of each base, by variable and slice: where the gate trusts what."""
    found: list[dict[str, object]] = []
    for part in parts:
        for variable in VARIABLES:
            stage = evidence.judged.appraised
            table = stage if f"{variable}.before" in stage else evidence.judged.placed[REPORTS]
            weights = table.weights(variable)[part.rows].mean(axis=0)
            shares = dict(zip(table.bases(variable), weights.tolist(), strict=True))
            found.append({"by": part.by, "slice": part.name, "variable": variable, "weights": shares})
    return found
