"""A text as its person means it: how their self-reports have differed from what their texts said, beside
what this text says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.features.schema import HISTORY, PERSONAL, TEMPORAL

Floats = NDArray[np.float64]

MIDDLE = 0.5


def extract(numbers: Floats, history: Floats) -> Floats:
    """float64 [n, len(PERSONAL)] from TEMPORAL columns and the reflections' own HISTORY rows (only their
    text's valence and arousal are read). Without earlier self-reports all columns but these two are 0, so a
    linear map leaves the text as it is.
    """
    reported = numbers[:, TEMPORAL.index("log_self_count")] > 0
    columns = []
    for name in PERSONAL:
        kind, _, stat = name.partition(".")
        if stat == "now":
            column = history[:, HISTORY.index(f"text_{kind}")]
        elif stat in ("bias", "shift"):
            column = numbers[:, TEMPORAL.index(f"bias_{kind}" if stat == "bias" else f"self_{kind}.shift")]
        else:
            base, _, against = stat.partition(" - ")
            origin = MIDDLE if against == "middle" else numbers[:, TEMPORAL.index(f"text_{kind}.{base}")]
            column = numbers[:, TEMPORAL.index(f"self_{kind}.{base}")] - origin
        columns.append(column if stat == "now" else np.where(reported, column, 0.0))
    return np.stack(columns, axis=1)
