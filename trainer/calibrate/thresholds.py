"""Chooses, on cross-fitted probabilities, when an emotion is named and when a risk flag is raised."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.events.variables import CORES
from worker.models.hierarchy import Thresholds

Floats = NDArray[np.float64]

NUANCE_PRECISION = 0.5
"""Least share of right nuances among the named ones."""


def named(mass: Floats, core: float, neutral: float) -> NDArray[np.int64]:
    """The core named for each row of `mass` [n, 6 or 7], or -1: `worker.models.hierarchy.descend`'s first
    step."""
    cores = mass[:, : len(CORES)]
    none = mass[:, len(CORES)] if mass.shape[1] > len(CORES) else np.zeros(len(mass))
    best = cores.argmax(axis=1)
    sure = (cores.max(axis=1) >= core) & (none <= neutral)
    return np.where(sure, best, -1)


def core_f1(target: Floats, chosen: NDArray[np.int64]) -> float:
    """Macro-F1 over the six cores; a row with several true cores is right with any of them (the chosen one
    counts as its truth)."""
    cores = target[:, : len(CORES)]
    rows = np.arange(len(cores))
    right = (chosen >= 0) & (cores[rows, np.maximum(chosen, 0)] > 0)
    truth = np.where(right, chosen, np.where(cores.any(axis=1), cores.argmax(axis=1), -1))
    scores = []
    for core in range(len(CORES)):
        if not (truth == core).any():
            continue
        both = ((truth == core) & (chosen == core)).sum()
        scores.append(2 * both / ((truth == core).sum() + (chosen == core).sum()))
    return float(np.mean(scores)) if scores else float("nan")


def emotion(mass: Floats, target: Floats, odds: Floats, nuances: Floats) -> Thresholds:
    """Thresholds of the best core macro-F1 on labelled rows: `mass`, `target` [n, k]; then the least nuance
    chance with `NUANCE_PRECISION`, from conditional `odds` [n, 6, 6] and `nuances` [n, 36] (zero rows:
    unlabelled).

    Micros have no labels anywhere: theirs is half of the nuance's.
    """
    with_none = mass.shape[1] > len(CORES)
    grid = [
        (c, n)
        for c in np.arange(0.10, 0.55, 0.05)
        for n in (np.arange(0.3, 0.85, 0.05) if with_none else (1.0,))
    ]
    core, neutral = max(grid, key=lambda pair: core_f1(target, named(mass, *pair)))
    chosen = named(mass, core, neutral)
    rows = np.flatnonzero((chosen >= 0) & nuances.any(axis=1))
    best = odds[rows, chosen[rows]].argmax(axis=1)
    chance = mass[rows, chosen[rows]] * odds[rows, chosen[rows], best]
    right = nuances[rows, chosen[rows] * 6 + best] > 0
    order = np.argsort(-chance, kind="stable")
    precision = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(precision >= NUANCE_PRECISION)
    nuance = float(chance[order][enough[-1]]) if len(enough) else 0.5
    nuance = min(max(nuance, 0.12), 0.5)
    return Thresholds(core=float(core), nuance=nuance, micro=nuance / 2, neutral=float(neutral))


def flag(score: Floats, target: Floats, weight: Floats) -> float:
    """The score at which a flag is raised, .1-.9: best weighted F1."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum((weight * target)[order])
    raised = np.cumsum(weight[order])
    f1 = 2 * hits / (raised + (weight * target).sum())
    return float(np.clip(score[order][int(f1.argmax())], 0.1, 0.9))
