"""Dealing groups: people and near-duplicate clusters are never cut in two, whether folds or parts are
dealt."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


ROWS_PER_DEVIATION = 10.0
"""How many rows more or less weigh as much as one row that is a standard deviation off."""


def splits(fold: Ints) -> Iterator[tuple[Bools, Bools]]:
    """(train, held) masks [n], fold by fold; a fold trains on the other folds' own rows."""
    for number in range(int(fold.max()) + 1):
        held = fold == number
        yield ~held, held


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


def measures(group: Ints, balance: Floats | None, counted: Bools | None = None) -> Floats:
    """What is dealt with each group, [groups, 1 + k]: its rows in tens, and its rows' summed deviations
    `balance` [n, k]; rows that are not `counted` [n] count as no row."""
    weights = np.ones(len(group)) if counted is None else counted.astype(np.float64)
    sums = np.bincount(group, weights)[:, None] / ROWS_PER_DEVIATION
    if balance is None:
        return sums
    deviations = np.zeros((len(sums), balance.shape[1]))
    np.add.at(deviations, group, balance)
    return np.concatenate([sums, deviations], axis=1)


def by_source(group: Ints, source: Sequence[str]) -> dict[str, list[int]]:
    """The groups of every source; one that spans several belongs to the first of them by name."""
    found: dict[str, Counter[int]] = defaultdict(Counter)
    for number, name in zip(group.tolist(), source, strict=True):
        found[name][number] += 1
    taken: set[int] = set()
    owned = {}
    for name in sorted(found):
        owned[name] = sorted(found[name].keys() - taken)
        taken |= found[name].keys()
    return owned


def assign(
    group: Ints,
    source: Sequence[str],
    *,
    folds: int,
    seed: int,
    balance: Floats | None = None,
    counted: Bools | None = None,
) -> Ints:
    """A fold [n] for every row. The groups of a source are dealt in rounds, largest first, one to every
    fold; of all deals of a round the one that leaves the folds most even is taken.

    Even means equally many (`counted`) rows and, where `balance` [n, k] gives the rows' deviations from the
    mean, equal sums of them: a fold whose people are happier than the others' would be judged by models that
    expect them sadder.
    """
    dealt = measures(group, balance, counted)
    rng = np.random.default_rng(seed)
    fold_of = np.full(len(dealt), -1, dtype=np.int64)
    for owned in by_source(group, source).values():
        order = sorted(rng.permutation(owned).tolist(), key=lambda number: -dealt[number, 0])
        load = np.zeros((folds, dealt.shape[1]))
        for start in range(0, len(order), folds):
            some = order[start : start + folds]
            # The sum of (load + dealt)^2 is least where the sum of load x dealt is: an assignment problem.
            fold, place = linear_sum_assignment(load @ dealt[some].T)
            load[fold] += dealt[some][place]
            fold_of[np.asarray(some)[place]] = fold
    return fold_of[group]


def portion(
    numbers: Sequence[int], dealt: Floats, shares: Sequence[float], rng: np.random.Generator
) -> dict[int, int]:
    """Group number -> part, for parts of unequal `shares`: largest group first, each to the part where it
    adds least to the sum over parts of load^2 / share, which is least when loads are as the shares."""
    share = np.asarray(shares)
    load = np.zeros((len(share), dealt.shape[1]))
    part_of = {}
    for number in sorted(rng.permutation(list(numbers)).tolist(), key=lambda number: -dealt[number, 0]):
        one = dealt[number]
        part = int(((2.0 * (load @ one) + one @ one) / share).argmin())
        load[part] += one
        part_of[number] = part
    return part_of
