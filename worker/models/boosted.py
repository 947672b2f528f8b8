"""Gradient-boosted trees (LightGBM) on dense features, read from LightGBM's own text format."""

from __future__ import annotations

from pathlib import Path

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from worker.errors import FeltsenseError

Floats = NDArray[np.float64]


class Boosted:
    """One target's trees. Trees are summed row by row on one thread, so a row does not feel its batch."""

    def __init__(self, booster: lgb.Booster) -> None:
        self._booster = booster

    @classmethod
    def load(cls, path: Path) -> Boosted:
        try:
            return cls(lgb.Booster(model_str=path.read_text()))
        except lgb.basic.LightGBMError as error:
            raise FeltsenseError(f"not a LightGBM text model: {path.name}") from error

    def predict(self, features: Floats) -> Floats:
        """float64 [n, features] -> float64 [n], or [n, classes] for a multiclass model."""
        return np.asarray(self._booster.predict(features, num_threads=1), dtype=np.float64)
