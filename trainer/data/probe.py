"""How well a label can be read from its texts: one quick ridge, cross-fitted by person, against permuted
labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROWS = 4_000
"""Most rows looked at; more would only tell the same more precisely."""
FOLDS = 3
PERMUTED = 30
PENALTY = 0.3
"""Per row, on standardised features."""
OFTEN = 4
"""Rows of a person from which they are compared with themselves."""
FEWEST_WITHIN = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """`r`: correlation of the labels with what the other folds' people predict, over all columns at once;
    `deviation`: that of permuted labels. `within`: the same after each person's own mean is taken off, None
    where fewer than `FEWEST_WITHIN` rows are of people with several."""

    r: float
    deviation: float
    within: float | None = None
    within_deviation: float = 0.0


def read(features: Floats, labels: Floats, person: NDArray[np.intp], *, seed: int) -> Evidence:
    """Evidence for `labels` [n, k] in `features` [n, d]; `person` [n] groups the folds."""
    random = np.random.default_rng(seed)
    taken = np.sort(random.permutation(len(labels))[:ROWS])
    person = np.unique(person[taken], return_inverse=True)[1]
    count, width = len(taken), labels.shape[1]
    scaled = (features[taken] - features[taken].mean(axis=0)) / np.maximum(features[taken].std(axis=0), 1e-6)
    own = labels[taken]
    # One factorisation serves the labels and all their permutations.
    every = np.concatenate([own, *(own[random.permutation(count)] for _ in range(PERMUTED))], axis=1)
    fold = random.permutation(person.max() + 1)[person] % FOLDS
    predicted = np.zeros_like(every)
    for number in range(FOLDS):
        train = fold != number
        seen, middle = scaled[train], every[train].mean(axis=0)
        gram = seen.T @ seen + PENALTY * len(seen) * np.eye(seen.shape[1])
        predicted[~train] = scaled[~train] @ np.linalg.solve(gram, seen.T @ (every[train] - middle))
    all_r = _correlations(every - every.mean(axis=0), predicted - predicted.mean(axis=0), width)
    often = np.bincount(person)[person] >= OFTEN
    if np.count_nonzero(often) < FEWEST_WITHIN:
        return Evidence(r=float(all_r[0]), deviation=float(all_r[1:].std()))
    owner = np.unique(person[often], return_inverse=True)[1]
    within = _correlations(_off_mean(every[often], owner), _off_mean(predicted[often], owner), width)
    return Evidence(
        r=float(all_r[0]),
        deviation=float(all_r[1:].std()),
        within=float(within[0]),
        within_deviation=float(within[1:].std()),
    )


def _correlations(truth: Floats, predicted: Floats, width: int) -> Floats:
    """Of centred columns, `width` at a time."""
    shape = (len(truth), -1, width)
    product = (truth * predicted).reshape(shape).sum(axis=(0, 2))
    sizes = [(part**2).reshape(shape).sum(axis=(0, 2)) for part in (truth, predicted)]
    found: Floats = product / np.maximum(np.sqrt(sizes[0] * sizes[1]), 1e-12)
    return found


def _off_mean(columns: Floats, person: NDArray[np.intp]) -> Floats:
    sums = np.zeros((person.max() + 1, columns.shape[1]))
    np.add.at(sums, person, columns)
    centred: Floats = columns - (sums / np.bincount(person)[:, None])[person]
    return centred
