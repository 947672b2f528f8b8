"""Folds for cross-fitting: people and near-duplicate clusters are never cut in two."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


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


def assign(group: Ints, source: Sequence[str], *, folds: int, seed: int) -> Ints:
    """A fold [n] for every row: whole groups, largest first, each to the fold with the fewest rows of its
    main source.

    Groups of one size are shuffled by the seed, so two seeds give two splits.
    """
    sizes = Counter(group.tolist())
    sources: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for number, name in zip(group.tolist(), source, strict=True):
        sources[number][name] += 1
    shuffled = np.random.default_rng(seed).permutation(sorted(sizes))
    load: defaultdict[str, list[int]] = defaultdict(lambda: [0] * folds)
    fold_of: dict[int, int] = {}
    for number in sorted(shuffled.tolist(), key=lambda g: -sizes[g]):
        main = max(sorted(sources[number]), key=lambda name: sources[number][name])
        fold = min(range(folds), key=lambda k: (load[main][k], k))
        fold_of[number] = fold
        for name, rows in sources[number].items():
            load[name][fold] += rows
    return np.array([fold_of[number] for number in group.tolist()], dtype=np.int64)
