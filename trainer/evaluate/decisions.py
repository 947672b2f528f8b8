"""Yes or no, and which: decisions on cross-fitted scores, taken at thresholds chosen on the other folds'
labels.

A row's own label never moves the threshold it is judged at. Folds are of whole people (`deal`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.calibrate import thresholds
from trainer.splits.folds import splits

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = NDArray[np.bool_]

FOLDS = 5
STEPS = 60
"""Places, evenly many rows apart, at which a value may be cut."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """The core and the nuance within it named for each row, [n] each; -1: none."""

    core: Ints
    nuance: Ints


def deal(people: Sequence[str]) -> Ints:
    """A fold [n] for every row, whole people at a time."""
    codes: Ints = np.unique(np.array(people, dtype=object), return_inverse=True)[1] % FOLDS
    return codes


def emotions(mass: Floats, target: Floats, used: Rows, odds: Floats, nuances: Floats, fold: Ints) -> Named:
    """What the bundle would name: `mass`, `target` [n, 6 or 7] cores (then none), conditional `odds`
    [n, 6, 6] and labelled `nuances` [n, 36]; thresholds are chosen on the `used` rows [n]."""
    found = Named(core=np.full(len(mass), -1), nuance=np.full(len(mass), -1))
    for train, held in splits(fold):
        known = train & used
        if not known.any():
            continue
        limits = thresholds.emotion(mass[known], target[known], odds[known], nuances[known])
        core = thresholds.named(mass[held], limits.core, limits.neutral)
        row = np.arange(len(core))
        nuance = odds[held][row, core].argmax(axis=1)
        chance = mass[held][row, core] * odds[held][row, core, nuance]
        found.core[held] = core
        found.nuance[held] = np.where((core >= 0) & (chance >= limits.nuance), nuance, -1)
    return found


def raised(score: Floats, truth: Rows, fold: Ints) -> Rows:
    """Whether each row's `score` [n] reaches the threshold of the best F1 on the other folds."""
    out = np.zeros(len(score), dtype=bool)
    for train, held in splits(fold):
        out[held] = score[held] >= threshold(score[train], truth[train])
    return out


def several(scores: Floats, truth: Rows, fold: Ints) -> Rows:
    """The classes [n, k] raised for each row, each at its own threshold; where none is, the likeliest."""
    out = np.stack([raised(scores[:, at], truth[:, at], fold) for at in range(scores.shape[1])], axis=1)
    none = np.flatnonzero(~out.any(axis=1))
    out[none, scores[none].argmax(axis=1)] = True
    return out


def threshold(score: Floats, truth: Rows) -> float:
    """The score from which raising gives the best F1; infinite where nothing is true."""
    if not truth.any():
        return float("inf")
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    hits = np.cumsum(truth[order])[ends]
    f1 = 2 * hits / (ends + 1 + truth.sum())
    return float(score[order][ends[int(f1.argmax())]])


def grades(value: Floats, truth: Ints, fold: Ints) -> Ints:
    """The grade 0, 1 or 2 [n] of each value, cut where the other folds' grades have the best macro-F1."""
    out = np.full(len(value), -1)
    for train, held in splits(fold):
        if train.any():
            out[held] = np.searchsorted(cuts(value[train], truth[train]), value[held], side="right")
    return out


def cuts(value: Floats, truth: Ints) -> tuple[float, float]:
    """The two ends of the middle grade with the best macro-F1 of `truth` (0, 1, 2)."""
    edges = np.quantile(value, np.arange(1, STEPS) / STEPS)
    place = np.searchsorted(edges, value, side="right")
    counts = np.stack([np.bincount(place[truth == grade], minlength=STEPS) for grade in range(3)])
    total, below = counts.sum(axis=1), counts.cumsum(axis=1)[:, :-1]
    low, high = below[:, :, None], below[:, None, :]
    right = (low[0], high[1] - low[1], total[2] - high[2])
    named = (low.sum(axis=0), (high - low).sum(axis=0), total.sum() - high.sum(axis=0))
    f1 = [2 * hit / np.maximum(a + b, 1) for hit, a, b in zip(right, named, total, strict=True)]
    # The lower end comes first: nothing lies below the diagonal.
    mean = np.triu((f1[0] + f1[1] + f1[2]) / 3)
    first, second = np.unravel_index(int(mean.argmax()), mean.shape)
    return float(edges[first]), float(edges[second])
