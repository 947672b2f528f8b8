"""What the parts and folds of a split should have equally much of: cores, languages, lengths, and how common
the emotions are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.data.duplicates import squash
from trainer.data.labelled import Labelled
from worker.features.language import Scripts, detect

LENGTHS = (("SHORT", 12), ("MEDIUM", 120))
"""Most words of a bucket; what is longer is LONG."""

TIERS = (("A", 0.8), ("B", 0.95))
"""A path is of tier A while the paths more common than it hold less than this share of all labels, then B,
then C (the ABC rule of Pareto analysis)."""

WEIGHT = 0.2
"""What all strata together weigh beside valence: more makes a source of few large groups uneven in rows."""

NAMES = ("core", "language", "length", "tier")

Stratum = str | None


def of(rows: Sequence[Labelled]) -> dict[str, list[Stratum]]:
    """Each row's stratum by the names of `NAMES`; None where its labels do not tell. `core` is that of its
    first path (expressed, else invoked), 'none' where raters saw no emotion; `tier` that of its rarest
    path."""
    paths = [_paths(row) for row in rows]
    tier = tiers([path for some in paths for path in some or ()])
    return {
        "core": [None if some is None else some[0][0] if some else "none" for some in paths],
        "language": [language(row) for row in rows],
        "length": [length(row.reflection.text) for row in rows],
        "tier": [max((tier[path] for path in some), default=None) if some else None for some in paths],
    }


def columns(strata: dict[str, list[Stratum]]) -> NDArray[np.float64]:
    """Membership in every stratum as deviations [n, k]: 0 on the mean, of variance 1 over the rows that have
    one, 0 for the others; divided by sqrt(k) and times `WEIGHT`."""
    found = []
    for labels in strata.values():
        known = np.array([label is not None for label in labels])
        for label in sorted({label for label in labels if label is not None}):
            member = np.array([other == label for other in labels], dtype=np.float64)
            share = member[known].mean()
            if share < 1.0:
                found.append(np.where(known, (member - share) / np.sqrt(share * (1.0 - share)), 0.0))
    if not found:
        return np.zeros((len(next(iter(strata.values()))), 0))
    return np.asarray(np.stack(found, axis=1) * (WEIGHT / np.sqrt(len(found))))


def length(text: str) -> str:
    """The length bucket of a text by its words between blanks."""
    words = len(text.split())
    return next((name for name, most in LENGTHS if words <= most), "LONG")


def language(row: Labelled) -> str:
    """The code that the worker's own detection gives to the words of the row."""
    text = row.reflection.text
    return detect(squash(text).split(), Scripts.of(text), row.reflection.lang).code


def tiers(paths: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """Path -> A, B or C by `TIERS`; equally common paths are ordered by name."""
    counts = Counter(paths)
    before, tier = 0, {}
    for path, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
        tier[path] = next((name for name, share in TIERS if before < share * len(paths)), "C")
        before += count
    return tier


def unevenness(side: NDArray[np.int64], labels: Sequence[Hashable | None]) -> float:
    """How far the sides' shares of a stratum are apart: the largest difference between any side's share of a
    stratum and the whole's, 0-1."""
    known = np.array([label is not None for label in labels])
    if not known.any():
        return 0.0
    kinds, codes = np.unique([str(label) for label in labels if label is not None], return_inverse=True)
    table = np.zeros((int(side.max()) + 1, len(kinds)))
    np.add.at(table, (side[known], codes), 1.0)
    table = table[table.sum(axis=1) > 0]
    shares = table / table.sum(axis=1, keepdims=True)
    return float(np.abs(shares - table.sum(axis=0) / table.sum()).max())


def _paths(row: Labelled) -> list[tuple[str, ...]] | None:
    """The paths of the row's label, empty where raters saw no emotion, None without a label."""
    for name in ("expressed", "invoked"):
        if name in row.labels:
            return [tuple(path) for path in row.labels[name]]
    return None
