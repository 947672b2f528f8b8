"""One variable's stack: the bases' columns side by side, missing ones masked, gated, summed, calibrated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.blend.gate import Gate, blend
from worker.calibrate.maps import Calibrator

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Blended:
    """`columns` [n, bases] or [n, bases, k] (NaN: missing), `there` and `weights` [n, bases], `before` and
    `after` calibration [n] or [n, k]."""

    bases: tuple[str, ...]
    columns: Floats
    there: NDArray[np.bool_]
    weights: Floats
    before: Floats
    after: Floats

    def provenance(self) -> list[dict[str, Any]]:
        """Per row: each base's prediction and weight (a missing base has neither), the value before and
        after calibration."""
        rows = zip(
            self.columns.round(6).tolist(),
            self.there.tolist(),
            self.weights.round(4).tolist(),
            self.before.round(6).tolist(),
            self.after.round(6).tolist(),
            strict=True,
        )
        return [
            {
                "predictions": dict(compress(zip(self.bases, predictions, strict=True), there)),
                "weights": dict(compress(zip(self.bases, weights, strict=True), there)),
                "before": before,
                "after": after,
            }
            for predictions, there, weights, before, after in rows
        ]


def combine(gate: Gate, calibrator: Calibrator, columns: Mapping[str, Floats], context: Floats) -> Blended:
    """Blend the gate's bases; a base absent from `columns` or NaN in a row is masked there. `context` is
    [n, len(CONTEXT)]."""
    like = next(iter(columns.values()))
    stacked = np.empty((len(like), len(gate.bases), *like.shape[1:]))
    for at, base in enumerate(gate.bases):
        stacked[:, at] = columns.get(base, np.nan)
    finite = np.isfinite(stacked)
    there = finite if finite.ndim == 2 else np.asarray(finite.all(axis=2))
    weights = gate.weights(context, there)
    before = blend(weights, stacked)
    return Blended(
        bases=gate.bases,
        columns=stacked,
        there=there,
        weights=weights,
        before=before,
        after=calibrator.apply(before),
    )
