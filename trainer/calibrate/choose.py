"""Chooses each variable's calibrator on cross-fitted losses: isotonic or a map of two parameters, or none
where no map helps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.calibrate import maps
from trainer.evaluate import metrics
from trainer.splits.folds import splits
from worker.calibrate.maps import IDENTITY, Calibrator

Floats = NDArray[np.float64]

KINDS = {1: ("identity", "linear", "isotonic"), 2: ("identity", "temperature")}
"""By the target's dimensions, in the order of their freedom."""


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """`calibrator` is chosen and fitted on all rows with weight, for the bundle; `after` [n] or [n, k] comes
    from maps, their kind included, that were chosen and fitted on the other folds' rows. `record` tells each
    kind's loss and, of distributions, the calibration error of the likeliest class."""

    calibrator: Calibrator
    after: Floats
    record: dict[str, Any]


def choose(before: Floats, target: Floats, weight: Floats, fold: NDArray[np.int64]) -> Calibrated:
    """The map of least cross-fitted loss (squared error of [n], cross-entropy of distributions [n, k]);
    `before` are out-of-fold blends."""
    used = weight > 0
    after = np.full_like(before, np.nan)
    for train, held in splits(fold):
        rows = used & train
        kind, _ = _least(before[rows], target[rows], weight[rows], fold[rows])
        after[held] = fit(kind, before[rows], target[rows], weight[rows]).apply(before[held])
    kind, losses = _least(before[used], target[used], weight[used], fold[used])
    calibrator = fit(kind, before[used], target[used], weight[used])
    record: dict[str, Any] = {"kind": calibrator.kind, "loss": losses}
    if target.ndim == 2:
        record["ece"] = {
            name: _ece(mass[used], target[used]) for name, mass in (("before", before), ("after", after))
        }
    return Calibrated(calibrator=calibrator, after=after, record=record)


def _least(
    before: Floats, target: Floats, weight: Floats, fold: NDArray[np.int64]
) -> tuple[str, dict[str, float]]:
    """The kind of least loss, cross-fitted over the folds that are there, and all losses."""
    loss = {}
    for kind in KINDS[target.ndim]:
        after = np.full_like(before, np.nan)
        for number in np.unique(fold):
            held = fold == number
            fitted = fit(kind, before[~held], target[~held], weight[~held])
            after[held] = fitted.apply(before[held])
        loss[kind] = float(np.average(metrics.losses(after, target), weights=weight))
    return min(loss, key=lambda kind: loss[kind]), loss


def fit(kind: str, before: Floats, target: Floats, weight: Floats) -> Calibrator:
    """The calibrator of a kind; isotonic gives way to the linear map where rows are few."""
    match kind:
        case "identity":
            return IDENTITY
        case "linear":
            return maps.line(before, target, weight)
        case "isotonic":
            return maps.value(before, target, weight)
        case "temperature":
            return maps.distribution(before, target, weight)
    raise ValueError(f"unknown calibrator {kind}")


def _ece(mass: Floats, target: Floats) -> float:
    rows, likeliest = np.arange(len(mass)), mass.argmax(axis=1)
    return metrics.ece(target[rows, likeliest], mass[rows, likeliest])
