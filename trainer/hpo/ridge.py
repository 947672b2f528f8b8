"""Ridge for every penalty at once: one decomposition a fold, then a trial costs two small products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.fit.linear import Heads

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Weighted sums over rows: of 1, x [d], y, x x' [d, d] and x y [d]; those of parts add up to those of
    the whole."""

    mass: float
    x: Floats
    y: float
    xx: Floats
    xy: Floats

    @classmethod
    def of(cls, features: Floats, target: Floats, weight: Floats) -> Moments:
        """Of rows [m]."""
        root = features * np.sqrt(weight)[:, None]
        loaded = weight * target
        return cls(
            mass=float(weight.sum()),
            x=weight @ features,
            y=float(loaded.sum()),
            xx=root.T @ root,
            xy=loaded @ features,
        )

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            mass=self.mass + other.mass,
            x=self.x + other.x,
            y=self.y + other.y,
            xx=self.xx + other.xx,
            xy=self.xy + other.xy,
        )


class Ridges:
    """`linear.ridge` on features divided by `scale` [d], for any penalty."""

    def __init__(self, moments: Moments, scale: Floats) -> None:
        self._centre, self._middle = moments.x / moments.mass, moments.y / moments.mass
        gram = (moments.xx / moments.mass - np.outer(self._centre, self._centre)) / np.outer(scale, scale)
        self._values, self._axes = np.linalg.eigh(gram)
        self._pull = self._axes.T @ ((moments.xy / moments.mass - self._centre * self._middle) / scale)
        self._scale = scale

    def heads(self, penalty: float) -> Heads:
        """One head on the features as they are, before any scaling."""
        weights = (self._axes @ (self._pull / (np.maximum(self._values, 0.0) + penalty))) / self._scale
        return Heads(weights=weights[:, None], bias=np.array([self._middle - self._centre @ weights]))
