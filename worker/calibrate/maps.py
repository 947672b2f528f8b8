"""Calibrators: monotone maps from a blended score to a calibrated one, fitted elsewhere on out-of-fold
values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Calibrator:
    """One fitted map. `kind` is isotonic (piecewise linear through `x`, `y`: equals scikit-learn's
    IsotonicRegression), linear (slope, intercept, clipped to `y`'s two ends), platt (sigmoid(slope * score
    + intercept), Platt 1999), temperature (distribution p^(1/slope), renormalised, Guo et al. 2017) or
    identity."""

    kind: str
    x: Floats
    y: Floats
    slope: float = 1.0
    intercept: float = 0.0

    def apply(self, score: Floats) -> Floats:
        """[n] -> [n]; temperature takes and gives [n, k] rows that sum to 1."""
        match self.kind:
            case "isotonic":
                return np.interp(score, self.x, self.y)
            case "linear":
                return np.clip(self.slope * score + self.intercept, self.y[0], self.y[1])
            case "platt":
                return 1.0 / (1.0 + np.exp(-np.clip(self.slope * score + self.intercept, -40.0, 40.0)))
            case "temperature":
                raised = np.maximum(score, 1e-12) ** (1.0 / self.slope)
                scaled: Floats = raised / raised.sum(axis=-1, keepdims=True)
                return scaled
            case "identity":
                return score
        raise ValueError(f"unknown calibrator {self.kind}")

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "x": self.x.tolist(),
            "y": self.y.tolist(),
            "slope": self.slope,
            "intercept": self.intercept,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Calibrator:
        return cls(
            kind=data["kind"],
            x=np.array(data["x"], dtype=np.float64),
            y=np.array(data["y"], dtype=np.float64),
            slope=float(data["slope"]),
            intercept=float(data["intercept"]),
        )


IDENTITY = Calibrator(kind="identity", x=np.zeros(0), y=np.zeros(0))
