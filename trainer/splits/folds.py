"""Folds for cross-fitting: people and near-duplicate clusters are never cut in two."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


ROWS_PER_DEVIATION = 10.0
"""How many rows more or less weigh as much as one row that is a standard deviation off."""


def groups(*labels: Sequence[Hashable | None]) -> Ints:
    """Connected components [n] over any number of labellings: rows that share a label in one of them are
    one group.

    None joins nothing. Group numbers follow the first row of each group.
    """
    count = len(labels[0])
    parent = list(range(count))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for labelling in labels:
        first: dict[Hashable, int] = {}
        for row, label in enumerate(labelling):
            if label is None:
                continue
            if label in first:
                a, b = sorted((root(first[label]), root(row)))
                parent[b] = a
            else:
                first[label] = row
    return np.unique([root(row) for row in range(count)], return_inverse=True)[1].astype(np.int64)


def shared(people: Sequence[Hashable], clusters: Sequence[Hashable], marked: Sequence[bool]) -> Bools:
    """Rows [n] of clusters that hold a `marked` row and rows of several people.

    A list of three common words is written alike by strangers. Were such rows to join their writers, a few of
    them would tie a tenth of the people into one group; they are better left out of learning.
    """
    writers: defaultdict[Hashable, set[Hashable]] = defaultdict(set)
    touched = set()
    for person, cluster, mark in zip(people, clusters, marked, strict=True):
        writers[cluster].add(person)
        if mark:
            touched.add(cluster)
    return np.array([cluster in touched and len(writers[cluster]) > 1 for cluster in clusters])


def assign(
    group: Ints, source: Sequence[str], *, folds: int, seed: int, balance: Floats | None = None
) -> Ints:
    """A fold [n] for every row. The groups of a source are dealt in rounds, largest first, one to every
    fold; of all deals of a round the one that leaves the folds most even is taken.

    Even means equally many rows and, where `balance` [n, k] gives the rows' deviations from the mean, equal
    sums of them: a fold whose people are happier than the others' would be judged by models that expect
    them sadder.
    """
    deviation = np.zeros((len(group), 1)) if balance is None else balance
    count = int(group.max()) + 1
    measures = np.zeros((count, 1 + deviation.shape[1]))
    np.add.at(measures[:, 1:], group, deviation)
    measures[:, 0] = np.bincount(group, minlength=count) / ROWS_PER_DEVIATION
    rows_of: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for number, name in zip(group.tolist(), source, strict=True):
        rows_of[name][number] += 1
    deals = np.array(list(permutations(range(folds))))
    rng = np.random.default_rng(seed)
    fold_of = np.full(count, -1, dtype=np.int64)
    for name in sorted(rows_of):
        shuffled = rng.permutation(
            [number for number in sorted(rows_of[name]) if fold_of[number] < 0]
        ).tolist()
        order = sorted(shuffled, key=lambda number: -measures[number, 0])
        load = np.zeros((folds, measures.shape[1]))
        for start in range(0, len(order), folds):
            dealt = order[start : start + folds]
            added = np.zeros_like(load)
            added[: len(dealt)] = measures[dealt]
            uneven = ((load + added[deals]) ** 2).sum(axis=(1, 2))
            best = deals[int(uneven.argmin())]
            load += added[best]
            for fold, place in enumerate(best):
                if place < len(dealt):
                    fold_of[dealt[place]] = fold
    return fold_of[group]
