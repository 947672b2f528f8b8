"""A text as its person means it: how their self-reports have differed from what their texts said, beside
what this text says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.features.schema import HISTORY, PERSONAL, TEMPORAL

Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]

MIDDLE = 0.5


def _self(name: str) -> int:
    """The TEMPORAL column that a PERSONAL one begins with."""
    kind, _, stat = name.partition(".")
    return TEMPORAL.index(f"bias_{kind}" if stat == "bias" else f"self_{kind}.{stat.partition(' - ')[0]}")


def _text(name: str) -> int:
    """The one that is taken from it."""
    kind, _, stat = name.partition(".")
    return TEMPORAL.index(f"text_{kind}.{stat.partition(' - ')[0]}")


_REPORTED = TEMPORAL.index("log_self_count")
_NOW = [at for at, name in enumerate(PERSONAL) if name.endswith(".now")]
_SAID = [HISTORY.index(f"text_{PERSONAL[at].partition('.')[0]}") for at in _NOW]
_THEIRS = [at for at in range(len(PERSONAL)) if at not in _NOW]
_SELF = [_self(PERSONAL[at]) for at in _THEIRS]
_FROM_MIDDLE = [at for at, name in enumerate(PERSONAL) if name.endswith(" - middle")]
_FROM_TEXT = [at for at, name in enumerate(PERSONAL) if name.endswith(" - text")]
_TEXT = [_text(PERSONAL[at]) for at in _FROM_TEXT]


def readable(numbers: Floats) -> Rows:
    """Whether the person's past [n, len(TEMPORAL)] holds a self-report: without one a text can be read in no
    way that is theirs."""
    return np.asarray(numbers[:, _REPORTED] > 0)


def extract(numbers: Floats, history: Floats) -> Floats:
    """float64 [n, len(PERSONAL)] from TEMPORAL columns and the reflections' own HISTORY rows (only their
    text's valence and arousal are read). Without earlier self-reports all columns but these two are 0, so a
    linear map leaves the text as it is.
    """
    out = np.empty((len(numbers), len(PERSONAL)))
    out[:, _THEIRS] = numbers[:, _SELF]
    out[:, _FROM_MIDDLE] -= MIDDLE
    out[:, _FROM_TEXT] -= numbers[:, _TEXT]
    out[~readable(numbers)] = 0.0
    out[:, _NOW] = history[:, _SAID]
    return out
