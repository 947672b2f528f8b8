"""Gradient-boosted trees, read from LightGBM's own text format and evaluated for a whole batch at once.

LightGBM fits them (trainer); serving needs no more than comparisons and sums, so the worker carries neither
its library nor the OpenMP runtime that library wants from the system. `tests/unit/test_boosted.py` holds
both to the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.errors import FeltsenseError
from worker.models.hierarchy import softmax

Floats = NDArray[np.float64]

MOST_LEAVES = 64
_CATEGORICAL = 1
_ZERO_IS_MISSING = 1 << 2


class TreesUnreadable(FeltsenseError):
    """The text is not a LightGBM model of the kind the trainer writes."""


@dataclass(frozen=True, kw_only=True)
class Boosted:
    """One target's trees as QuickScorer keeps them (Lucchese et al. 2015).

    A tree's leaves are numbered from left to right, a bit each. Every split whose test fails (feature >
    threshold) clears the leaves of its left branch with its `mask`; the lowest bit left of a tree is its
    leaf. `feature`, `threshold`, `mask` are [splits], `first` [trees] the first split of each tree, `value`
    [trees, MOST_LEAVES]; every tree has one split at least. `classes` is 1 for a value. `raw` scores are a
    gate's, which masks bases before it takes the softmax.
    """

    feature: NDArray[np.intp]
    threshold: Floats
    mask: NDArray[np.uint64]
    first: NDArray[np.intp]
    value: Floats
    classes: int
    raw: bool = False

    @classmethod
    def load(cls, path: Path) -> Boosted:
        """Raises `TreesUnreadable` naming the file."""
        try:
            return cls.parse(path.read_text())
        except (KeyError, ValueError, IndexError, RecursionError, TreesUnreadable) as error:
            raise TreesUnreadable(
                f"{path.name}: not a LightGBM text model this worker reads: {error}"
            ) from error

    @classmethod
    def parse(cls, text: str) -> Boosted:
        """From the text of `Booster.model_to_string`: numerical splits, at most 64 leaves a tree, objective
        regression, multiclass, or none (fitted with an objective of our own)."""
        head, *blocks = text.partition("\nend of trees")[0].split("\nTree=")
        header = _fields(head)
        objective = header.get("objective", "custom").split()[0]
        if objective not in {"regression", "multiclass", "custom"}:
            raise TreesUnreadable(f"objective {objective}")
        trees = [_tree(_fields(block)) for block in blocks]
        return cls(
            feature=np.array([split[0] for splits, _ in trees for split in splits], dtype=np.intp),
            threshold=np.array([split[1] for splits, _ in trees for split in splits]),
            mask=np.array([split[2] for splits, _ in trees for split in splits], dtype=np.uint64),
            first=np.cumsum([0, *(len(splits) for splits, _ in trees[:-1])]).astype(np.intp),
            value=np.array([leaves + [0.0] * (MOST_LEAVES - len(leaves)) for _, leaves in trees]),
            classes=int(header["num_class"]),
            raw=objective == "custom",
        )

    def predict(self, features: Floats) -> Floats:
        """float64 [n, features], finite -> float64 [n], or [n, classes] probabilities if multiclass, sums of
        leaves if `raw`."""
        failed = features[:, self.feature] > self.threshold
        left = np.bitwise_and.reduceat(np.where(failed, self.mask, ~np.uint64(0)), self.first, axis=1)
        lowest = left & (~left + np.uint64(1))
        leaf = np.frexp(lowest.astype(np.float64))[1] - 1
        sums: Floats = (
            self.value[np.arange(len(self.first)), leaf].reshape(len(features), -1, self.classes).sum(axis=1)
        )
        if self.raw:
            return sums
        return softmax(sums) if self.classes > 1 else sums[:, 0]


Split = tuple[int, float, int]
"""Feature, threshold, mask."""


def _tree(fields: dict[str, str]) -> tuple[list[Split], list[float]]:
    """Splits, and leaf values from left to right."""
    values = [float(value) for value in fields["leaf_value"].split()]
    if len(values) == 1:
        return [(0, np.inf, 0)], values
    if len(values) > MOST_LEAVES:
        raise TreesUnreadable(f"{len(values)} leaves in a tree, {MOST_LEAVES} at most")
    if any(int(kind) & (_CATEGORICAL | _ZERO_IS_MISSING) for kind in fields["decision_type"].split()):
        raise TreesUnreadable("categorical splits or zero as missing")
    feature, threshold = fields["split_feature"].split(), fields["threshold"].split()
    branches = [[int(child) for child in fields[name].split()] for name in ("left_child", "right_child")]
    splits: list[Split] = []
    leaves: list[float] = []

    def walk(node: int) -> None:
        if node < 0:  # the complement of a leaf's number
            leaves.append(values[~node])
            return
        start = len(leaves)
        walk(branches[0][node])
        cleared = (1 << len(leaves)) - (1 << start)
        splits.append((int(feature[node]), float(threshold[node]), ~cleared & (2**64 - 1)))
        walk(branches[1][node])

    walk(0)
    if len(leaves) != len(values) or len(splits) != len(values) - 1:
        raise TreesUnreadable("a tree whose splits do not lead to each leaf once")
    return splits, leaves


def _fields(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
