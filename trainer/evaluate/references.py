"""The simple references beside every number: what a few lines of scikit-learn reach on the same rows.

Ridge (values) and logistic regression (classes, flags) on TF-IDF of words 1-2 and characters 2-5 and on the
sentence embedding, their average, and for valence and arousal the average plus half of the person's earlier
mean self-report. Predictions are out of fold by person *within the evaluated rows*: the references have
seen the corpus' own labels and scale, which a bundle trained elsewhere has not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold

from trainer.evaluate.truth import MIDDLE
from trainer.fit import linear
from worker.models.hierarchy import softmax

Floats = NDArray[np.float64]
Advance = Callable[[int], None]

FOLDS = 5
FEWEST = 60
"""Labelled rows below which no reference is fitted."""
TFIDF, MINILM, AVERAGE, HISTORY = "TF-IDF", "MiniLM", "their average", "average + half the earlier mean"
_SMOOTH = 0.2
"""Logistic penalty times rows: scikit-learn's C = 5."""


def folds(people: Sequence[str], count: int = FOLDS) -> NDArray[np.int64]:
    """A fold [n] for every row, whole people at a time; -1 everywhere when there are too few people."""
    found = np.full(len(people), -1, dtype=np.int64)
    if len(set(people)) >= count:
        groups = np.unique(np.array(people, dtype=object), return_inverse=True)[1]
        for number, (_, held) in enumerate(GroupKFold(count).split(groups, groups=groups)):
            found[held] = number
    return found


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to predict: `truth` [n, k] are values (NaN: unlabelled), classes (distributions, rows of zeros
    where unlabelled) or flags (0 or 1, NaN: unlabelled)."""

    kind: Literal["values", "classes", "flags"]
    truth: Floats


def out_of_fold(
    texts: Sequence[str],
    vectors: Floats,
    fold: NDArray[np.int64],
    tasks: Mapping[str, Task],
    advance: Advance | None = None,
) -> dict[str, dict[str, Floats]]:
    """Task -> reference -> predictions [n, k]; NaN where fewer than `FEWEST` rows could be learned from."""
    found = {
        name: {kind: np.full_like(task.truth, np.nan) for kind in (TFIDF, MINILM)}
        for name, task in tasks.items()
    }
    for number in range(int(fold.max(initial=-1)) + 1):
        train, held = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if len(train) >= FEWEST:
            x, z = tfidf([texts[row] for row in train.tolist()], [texts[row] for row in held.tolist()])
            for name, task in tasks.items():
                goal = task.truth[train]
                found[name][TFIDF][held] = _FITS[task.kind](x, goal, z, 2.0)
                found[name][MINILM][held] = _FITS[task.kind](vectors[train], goal, vectors[held], 3.0)
        if advance:
            advance(1)
    return {name: {**both, AVERAGE: (both[TFIDF] + both[MINILM]) / 2} for name, both in found.items()}


def with_history(average: Floats, earlier_mean: Floats) -> Floats:
    """The average plus half of how far the person's earlier mean lies off the middle."""
    return np.asarray(average + 0.5 * (earlier_mean - MIDDLE))


def tfidf(train: Sequence[str], held: Sequence[str]) -> tuple[csr_matrix, csr_matrix]:
    """TF-IDF features of words 1-2 and characters 2-5, fitted on `train`."""
    parts = [
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2),
    ]
    x = [part.fit_transform(train) for part in parts]
    return hstack(x).tocsr(), hstack([part.transform(held) for part in parts]).tocsr()


def _values(x: Any, y: Floats, z: Any, penalty: float) -> Floats:
    out = np.full((z.shape[0], y.shape[1]), np.nan)
    for column in range(y.shape[1]):
        known = np.flatnonzero(np.isfinite(y[:, column]))
        if len(known) >= FEWEST:
            out[:, column] = Ridge(penalty).fit(x[known], y[known, column]).predict(z)
    return out


def _classes(x: Any, y: Floats, z: Any, _: float) -> Floats:
    known = np.flatnonzero(y.any(axis=1))
    if len(known) < FEWEST:
        return np.full((z.shape[0], y.shape[1]), np.nan)
    weight = np.ones(len(known))
    heads = linear.descend(x[known], y[known], weight, loss="softmax", penalty=_SMOOTH / len(known), steps=60)
    return softmax(heads(z))


def _flags(x: Any, y: Floats, z: Any, _: float) -> Floats:
    out = np.full((z.shape[0], y.shape[1]), np.nan)
    for column in range(y.shape[1]):
        known = np.flatnonzero(np.isfinite(y[:, column]))
        told = (y[known, column] > 0.5).astype(np.float64)[:, None]
        if len(known) >= FEWEST and 0 < told.sum() < len(told):
            weight, penalty = np.ones(len(known)), _SMOOTH / len(known)
            heads = linear.descend(x[known], told, weight, loss="logistic", penalty=penalty, steps=60)
            out[:, column] = 1.0 / (1.0 + np.exp(-np.clip(heads(z)[:, 0], -40.0, 40.0)))
    return out


_FITS: dict[str, Callable[[Any, Floats, Any, float], Floats]] = {
    "values": _values,
    "classes": _classes,
    "flags": _flags,
}
