"""Fits calibrators on out-of-fold blends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression

from trainer.calibrate.interval import effective
from trainer.fit import linear
from worker.calibrate.maps import Calibrator

Floats = NDArray[np.float64]

FEWEST = 300
"""Rows below which a map of two parameters takes the place of isotonic regression."""
BIN = 200
"""Effective rows a knot stands for: isotonic regression on means of few bins keeps the order within them,
where plain PAV would flatten it and follow the noise."""


def value(score: Floats, target: Floats, weight: Floats) -> Calibrator:
    """Isotonic map of scores [n] to `target` 0-1 [n]; linear where rows are few."""
    rows = effective(weight)
    if rows < FEWEST:
        return line(score, target, weight)
    order = np.argsort(score, kind="stable")
    mass = np.cumsum(weight[order])
    count = int(np.clip(rows // BIN, 5, 12))
    parts = np.split(order, np.searchsorted(mass, np.linspace(0, mass[-1], count + 1)[1:-1]))
    bins = [(score[part], target[part], weight[part]) for part in parts if weight[part].sum() > 0]
    middle = np.array([np.average(x, weights=w) for x, _, w in bins])
    total = np.array([w.sum() for _, _, w in bins])
    fitted = IsotonicRegression().fit_transform(
        middle, [np.average(y, weights=w) for _, y, w in bins], sample_weight=total
    )
    # The ends go on along the overall slope, so that the most extreme rows are not tied.
    slope = max(float(np.polyfit(middle, fitted, 1, w=np.sqrt(total))[0]), 0.0)
    low, high = min(score.min(), middle[0]), max(score.max(), middle[-1])
    x = np.array([low, *middle, high])
    y = np.array([fitted[0] - slope * (middle[0] - low), *fitted, fitted[-1] + slope * (high - middle[-1])])
    keep = np.concatenate([[True], np.diff(x) > 1e-9])
    return Calibrator(kind="isotonic", x=x[keep], y=np.clip(y, 0.0, 1.0)[keep])


def line(score: Floats, target: Floats, weight: Floats) -> Calibrator:
    """Straight map of scores [n] to `target` [n], clipped to 0-1."""
    heads = linear.ridge(score[:, None], target[:, None], weight, penalty=1e-4)
    return Calibrator(
        kind="linear",
        x=np.zeros(0),
        y=np.array([0.0, 1.0]),
        slope=float(heads.weights[0, 0]),
        intercept=float(heads.bias[0]),
    )


def distribution(mass: Floats, target: Floats, weight: Floats) -> Calibrator:
    """Temperature for distributions [n, k] against `target` [n, k]."""
    logs = np.log(np.maximum(mass, 1e-12))
    found = minimize_scalar(
        lambda log_t: _nll(logs / np.exp(log_t), target, weight), bounds=(-2.0, 2.0), method="bounded"
    )
    return Calibrator(kind="temperature", x=np.zeros(0), y=np.zeros(0), slope=float(np.exp(found.x)))


def flag(logit: Floats, target: Floats, weight: Floats) -> Calibrator:
    """Platt map of a logit [n]; targets are pulled in as Platt (1999) does."""
    positives, negatives = target.sum(), (1 - target).sum()
    pulled = target * (positives + 1) / (positives + 2) + (1 - target) / (negatives + 2)
    heads = linear.descend(logit[:, None], pulled[:, None], weight, loss="logistic", penalty=1e-4)
    return Calibrator(
        kind="platt",
        x=np.zeros(0),
        y=np.zeros(0),
        slope=float(heads.weights[0, 0]),
        intercept=float(heads.bias[0]),
    )


def _nll(logits: Floats, target: Floats, weight: Floats) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_share = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-np.average((target * log_share).sum(axis=1), weights=weight))
