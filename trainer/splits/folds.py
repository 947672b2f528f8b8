"""Folds for cross-fitting: people and near-duplicate clusters are never cut in two."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


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
    """A fold [n] for every row: whole groups, largest first, each to the fold it leaves most even.

    Even means as many rows of the group's main source as elsewhere and, where `balance` [n, k] gives the
    rows' deviations (mean 0, 0 where unknown), sums near 0: a fold whose people are happier than the
    others' would be judged by models that expect them sadder. Groups of one size are shuffled by the seed.
    """
    deviation = np.zeros((len(group), 1)) if balance is None else balance
    sizes = Counter(group.tolist())
    sources: defaultdict[int, Counter[str]] = defaultdict(Counter)
    drift = np.zeros((len(sizes), deviation.shape[1]))
    np.add.at(drift, group, deviation)
    for number, name in zip(group.tolist(), source, strict=True):
        sources[number][name] += 1
    shuffled = np.random.default_rng(seed).permutation(sorted(sizes))
    load: defaultdict[str, list[int]] = defaultdict(lambda: [0] * folds)
    tilts: defaultdict[str, Floats] = defaultdict(lambda: np.zeros((folds, deviation.shape[1])))
    fold_of: dict[int, int] = {}
    for number in sorted(shuffled.tolist(), key=lambda g: -sizes[g]):
        main = max(sorted(sources[number]), key=lambda name: sources[number][name])
        tilt = tilts[main]
        uneven = np.abs(tilt + drift[number]).sum(axis=1) - np.abs(tilt).sum(axis=1)
        fold = min(range(folds), key=lambda k: (load[main][k] + uneven[k], k))
        fold_of[number] = fold
        tilt[fold] += drift[number]
        for name, rows in sources[number].items():
            load[name][fold] += rows
    return np.array([fold_of[number] for number in group.tolist()], dtype=np.int64)
