"""Conformal intervals: how far off the calibrated value has been, out of fold, for values like this one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Split-conformal 80 % interval (Vovk et al. 2005), Mondrian over bins of the value itself.

    `edges` [bins - 1] cut the calibrated value; `below` and `above` [bins] are the distances to either end
    (>= 0); `lowest` and `highest` are the variable's range.
    """

    edges: Floats
    below: Floats
    above: Floats
    lowest: float
    highest: float

    def around(self, value: Floats) -> Floats:
        """[n] -> [n, 2], lo <= value <= hi."""
        bins = np.searchsorted(self.edges, value, side="right")
        ends = np.stack([value - self.below[bins], value + self.above[bins]], axis=1)
        return np.clip(ends, self.lowest, self.highest)

    def to_json(self) -> dict[str, Any]:
        return {
            "edges": self.edges.tolist(),
            "below": self.below.tolist(),
            "above": self.above.tolist(),
            "lowest": self.lowest,
            "highest": self.highest,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Interval:
        return cls(
            edges=np.array(data["edges"], dtype=np.float64),
            below=np.array(data["below"], dtype=np.float64),
            above=np.array(data["above"], dtype=np.float64),
            lowest=float(data["lowest"]),
            highest=float(data["highest"]),
        )
