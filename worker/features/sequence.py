"""The last ten moments as padded steps with a mask: what the temporal net reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.features.schema import HISTORY, SEQUENCE_LENGTH, STATIC

STEPS: tuple[str, ...] = (*HISTORY, "has_self", "log_gap_h")
NOW: tuple[str, ...] = ("hour_sin", "hour_cos", "log_gap_h", "log_count")
_CENTRED = np.array([0.0 if name == "log_words" else 0.5 for name in HISTORY])


@dataclass(frozen=True, kw_only=True, slots=True)
class Sequences:
    """`steps` f32 [n, SEQUENCE_LENGTH, len(STEPS)] (newest last, zero padded), `mask` f32 [n,
    SEQUENCE_LENGTH], `now` f32 [n, len(NOW)]."""

    steps: NDArray[np.float32]
    mask: NDArray[np.float32]
    now: NDArray[np.float32]

    def rows(self, some: NDArray[np.intp] | NDArray[np.bool_]) -> Sequences:
        """Those of some rows."""
        return Sequences(steps=self.steps[some], mask=self.mask[some], now=self.now[some])


def extract(
    history: NDArray[np.float64], ages: NDArray[np.float64], static: NDArray[np.float64]
) -> Sequences:
    """From `temporal.pad`'s arrays and `static` [n, len(STATIC)]; 0-1 values are centred, a missing
    self-report is 0 and flagged."""
    last = history[:, -SEQUENCE_LENGTH:]
    age = ages[:, -SEQUENCE_LENGTH:]
    mask = np.isfinite(age)
    gaps = np.log1p(np.nan_to_num(age) / 3600.0) / 5.0
    has_self = np.isfinite(last[:, :, HISTORY.index("self_valence")])
    steps = np.concatenate(
        [
            np.nan_to_num(last - _CENTRED, nan=0.0),
            has_self[:, :, None],
            np.where(mask, gaps, 0.0)[:, :, None],
        ],
        axis=2,
    )
    now = np.stack(
        [static[:, STATIC.index("hour_sin")], static[:, STATIC.index("hour_cos")],
         np.where(mask[:, -1], gaps[:, -1], 0.0),
         np.log1p(np.isfinite(ages).sum(axis=1)) / 4.0], axis=1,
    )  # fmt: skip
    return Sequences(steps=steps.astype(np.float32), mask=mask.astype(np.float32), now=now.astype(np.float32))
