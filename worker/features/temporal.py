"""Numbers a person's earlier reflections give about now: what `Tm`, the forecast and the gate read.

All timelines of a batch are padded to [n, TIMELINE_LIMIT], the latest moment in the last column, and
computed at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.events.timeline import TIMELINE_LIMIT, Timeline
from worker.features.schema import HISTORY, STATIC, TEMPORAL

Floats = NDArray[np.float64]

NEUTRAL = 0.5
"""Valence or arousal of somebody of whom nothing is known."""
SHRINKAGE = 2.0
"""Pseudo-count that pulls a person's mean to `NEUTRAL` while there are few moments."""
_DAY_S = 86_400.0
_HALF_LIFE_S = 3 * _DAY_S
_NEVER_H = 24.0 * 365
_SERIES = ("text_valence", "text_arousal", "self_valence", "self_arousal")
_FROM_HISTORY = [HISTORY.index(name) for name in _SERIES]
_HOUR = [STATIC.index(name) for name in ("hour_sin", "hour_cos")]
_LAST = [HISTORY.index(name) for name in ("willingness", "overlap")]


def pad(timelines: Sequence[Timeline]) -> tuple[Floats, Floats]:
    """Right-aligned `history` [n, TIMELINE_LIMIT, len(HISTORY)] and `ages` [n, TIMELINE_LIMIT] in seconds;
    NaN where empty."""
    history = np.full((len(timelines), TIMELINE_LIMIT, len(HISTORY)), np.nan)
    ages = np.full((len(timelines), TIMELINE_LIMIT), np.nan)
    for row, timeline in enumerate(timelines):
        if count := len(timeline.times):
            history[row, -count:] = timeline.history
            ages[row, -count:] = timeline.as_of - timeline.times
    return history, ages


def extract(history: Floats, ages: Floats, static: Floats) -> Floats:
    """Temporal features float64 [n, len(TEMPORAL)] of `pad`'s arrays; `static` [n, len(STATIC)] gives the
    local hour of now.

    EMA weights of k valid values, newest first, are a(1-a)^i, the oldest taking the rest; `volatility_7d`
    is the standard deviation over 7 days; `shift` is the mean weighted by 2^(-age / 3 days) minus the plain
    mean; `mean` is shrunken by `SHRINKAGE` pseudo-observations of `NEUTRAL`.
    """
    present = np.isfinite(ages)
    values = np.ascontiguousarray(np.moveaxis(history[:, :, _FROM_HISTORY], 2, 0))
    valid = np.isfinite(values)
    far = np.where(present, ages, np.inf)
    columns = _series(values, valid, far, present)
    gap = values[2:] - values[:2]
    both = valid[2:] & valid[:2]
    bias = np.where(both, gap, 0.0).sum(axis=2) / (both.sum(axis=2) + SHRINKAGE)
    columns["bias_valence"], columns["bias_arousal"] = bias
    count = present.sum(axis=1)
    known = count > 0
    latest = np.where(known, np.where(present[:, -1], ages[:, -1], 0.0) / 3600.0, _NEVER_H)
    oldest = np.where(known, np.where(present, ages, 0.0).max(axis=1) / 3600.0, _NEVER_H)
    columns["log_count"] = np.log1p(count)
    columns["log_self_count"] = np.log1p(valid[2].sum(axis=1))
    columns["log_gap_h"] = np.log1p(np.minimum(latest, _NEVER_H))
    columns["density_7d"] = (far <= 7 * _DAY_S).sum(axis=1) / 7.0
    columns["log_mean_gap_h"] = np.log1p(np.minimum(oldest / np.maximum(count, 1), _NEVER_H))
    columns["hour_sin"], columns["hour_cos"] = static[:, _HOUR].T
    last = np.where(known[:, None], np.nan_to_num(history[:, -1, _LAST]), NEUTRAL)
    columns["last_willingness"], columns["last_overlap"] = last.T
    out = np.empty((len(ages), len(TEMPORAL)))
    for at, name in enumerate(TEMPORAL):
        out[:, at] = columns[name]
    return out


def _series(
    values: Floats, valid: NDArray[np.bool_], ages: Floats, present: NDArray[np.bool_]
) -> dict[str, Floats]:
    """The statistics of all `_SERIES` at once, `values` and where they are `valid` [series, n,
    TIMELINE_LIMIT]; `ages` are infinite where nothing is `present`."""
    filled = np.where(valid, values, 0.0)
    count = valid.sum(axis=2)
    some = count > 0
    rank = valid[:, :, ::-1].cumsum(axis=2)[:, :, ::-1] - 1  # 0 for the newest valid value
    oldest = valid & (rank == (count - 1)[:, :, None])

    def weighted(weights: Floats) -> Floats:
        total = weights.sum(axis=2)
        mean = (weights * filled).sum(axis=2) / np.where(total > 0, total, 1.0)
        return np.where(some, mean, NEUTRAL)

    found = {"last": weighted((valid & (rank == 0)).astype(np.float64))}
    for label, alpha in (("ema_3", 0.3), ("ema_7", 0.7)):
        decay = np.where(valid, (1 - alpha) ** rank, 0.0)
        found[label] = weighted(np.where(oldest, decay, alpha * decay))
    total = filled.sum(axis=2)
    found["mean"] = (total + SHRINKAGE * NEUTRAL) / (count + SHRINKAGE)
    week = valid & (ages <= 7 * _DAY_S)
    inside = week.sum(axis=2)
    centre = np.where(week, filled, 0.0).sum(axis=2) / np.maximum(inside, 1)
    spread = (np.where(week, filled - centre[:, :, None], 0.0) ** 2).sum(axis=2) / np.maximum(inside - 1, 1)
    found["volatility_7d"] = np.sqrt(spread)
    fading = np.exp2(-np.where(present, ages, 0.0) / _HALF_LIFE_S) + 1e-12
    recent = weighted(np.where(valid, fading, 0.0))
    found["shift"] = np.where(some, recent - total / np.maximum(count, 1), 0.0)
    return {
        f"{name}.{stat}": column
        for stat, of in found.items()
        for name, column in zip(_SERIES, of, strict=True)
    }
