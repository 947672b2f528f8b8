"""Conformal intervals: how far off the calibrated value has been, out of fold, for values like this one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BEYOND = 9.0
"""Fills `edges` of slices with fewer bins: no value reaches it."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Split-conformal 80 % interval (Vovk et al. 2005), Mondrian over slices of the text
    (`worker.calibrate.slices`) and bins of the value itself.

    `edges` [slices, bins - 1] cut the calibrated value; `below` and `above` [slices, bins] are the distances
    to either end (>= 0); `lowest` and `highest` are the variable's range. One slice stands for every text.
    """

    edges: Floats
    below: Floats
    above: Floats
    lowest: float
    highest: float

    def around(self, value: Floats, slices: NDArray[np.intp]) -> Floats:
        """[n] and each row's slice [n] -> [n, 2], lo <= value <= hi."""
        row = slices if len(self.edges) > 1 else np.zeros(len(value), dtype=np.intp)
        column = (value[:, None] >= self.edges[row]).sum(axis=1)
        ends = np.stack([value - self.below[row, column], value + self.above[row, column]], axis=1)
        clipped: Floats = np.clip(ends, self.lowest, self.highest)
        return clipped

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
        """An interval written before there were slices has one."""
        parts = {name: np.array(data[name], dtype=np.float64) for name in ("edges", "below", "above")}
        return cls(
            **{name: part.reshape(1, -1) if part.ndim == 1 else part for name, part in parts.items()},
            lowest=float(data["lowest"]),
            highest=float(data["highest"]),
        )
