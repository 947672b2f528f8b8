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
    """`columns` [n, bases] or [n, bases, k] (NaN: missing), `weights` [n, bases], `before` and `after`
    calibration [n] or [n, k]."""

    bases: tuple[str, ...]
    columns: Floats
    weights: Floats
    before: Floats
    after: Floats

    def provenance(self) -> list[dict[str, Any]]:
        """Per row: each base's prediction and weight (a missing base has neither), the value before and
        after calibration."""
        rows = zip(
            np.round(self.columns, 6).tolist(),
            _available(self.columns).tolist(),
            np.round(self.weights, 4).tolist(),
            np.round(self.before, 6).tolist(),
            np.round(self.after, 6).tolist(),
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
    stacked = np.stack([columns.get(base, np.full_like(like, np.nan)) for base in gate.bases], axis=1)
    weights = gate.weights(context, _available(stacked))
    before = blend(weights, stacked)
    return Blended(
        bases=gate.bases, columns=stacked, weights=weights, before=before, after=calibrator.apply(before)
    )


def _available(columns: Floats) -> NDArray[np.bool_]:
    flat = columns.reshape(*columns.shape[:2], -1)
    return np.asarray(np.isfinite(flat).all(axis=2))
