"""The numbers a model is judged by; plain functions of arrays, used by fitting, by evaluation and by
promotion.

Shapes: every array is [n], one entry a row; `persons` names each row's person. A metric of too few rows is
NaN, never 0, so that no gate can pass on nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

ECE_BINS = 15
_FLAT = 1e-18
"""Variance below which a 0-1 series is constant: rounding alone leaves some 1e-33."""

Vector = NDArray[np.float64]
Paths = Sequence[Sequence[str]]
"""The taxonomy paths of one row: several for a row with several emotions, none where there is none."""

Metric = Callable[[Vector, Vector, NDArray[Any]], float]
"""(truth, predicted, persons) -> value."""


def pearson(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Product-moment correlation; NaN for fewer than two rows or where one side is constant."""
    x, y = _pair(truth, predicted)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def spearman(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Rank correlation, ties at their mean rank."""
    x, y = _pair(truth, predicted)
    return pearson(rankdata(x), rankdata(y))


def rmse(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Root of the mean squared error, in the unit of the truth."""
    x, y = _pair(truth, predicted)
    return float(np.sqrt(np.mean((x - y) ** 2))) if len(x) else float("nan")


def auc(outcome: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half
    (Mann-Whitney)."""
    y, s = _pair(outcome, score)
    positives = int(y.sum())
    negatives = len(y) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(s)[y == 1].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(outcome: ArrayLike, score: ArrayLike) -> float:
    """Sum over thresholds of precision times the recall it adds; rows with one score are one threshold."""
    y, s = _pair(outcome, score)
    if not y.sum():
        return float("nan")
    order = np.argsort(-s, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(s[order])), len(s) - 1)
    hits = np.cumsum(y[order])[ends]
    return float(np.sum(hits / (ends + 1) * np.diff(hits, prepend=0.0)) / y.sum())


def macro_f1(truth: Sequence[str], predicted: Sequence[str], classes: Sequence[str] | None = None) -> float:
    """Unweighted mean of the classes' F1; a class that neither side names counts only if `classes` lists it
    (as 0).

    `classes` None: those that occur on either side.
    """
    names = sorted({*truth, *predicted}) if classes is None else classes
    if not len(truth) or not names:
        return float("nan")
    x, y = np.array(truth, dtype=object), np.array(predicted, dtype=object)
    scores = []
    for name in names:
        both, either = ((x == name) & (y == name)).sum(), (x == name).sum() + (y == name).sum()
        scores.append(2 * both / either if either else 0.0)
    return float(np.mean(scores))


def hierarchical_f1(truth: Sequence[Paths], predicted: Sequence[Paths]) -> float:
    """F1 over the ancestors of true and predicted paths, pooled over rows (Kiritchenko et al. 2006; Silla &
    Freitas 2011).

    A path stands for itself and all its prefixes, so a right core with a wrong nuance earns half. Abstaining
    (no path) costs recall only; on rows without any true path a predicted one costs precision.
    """
    both = named = known = 0
    for true_paths, predicted_paths in zip(truth, predicted, strict=True):
        known_nodes, named_nodes = _ancestors(true_paths), _ancestors(predicted_paths)
        both += len(known_nodes & named_nodes)
        known += len(known_nodes)
        named += len(named_nodes)
    return 2 * both / (known + named) if known + named else float("nan")


def ece(outcome: ArrayLike, probability: ArrayLike, bins: int = ECE_BINS) -> float:
    """Expected calibration error, 0-1: |mean outcome - mean probability| over equal-mass bins, weighted by
    their rows."""
    y, p = _pair(outcome, probability)
    return _binned(y, p, p, bins)


def quantile_ece(truth: ArrayLike, quantiles: Mapping[float, ArrayLike], bins: int = ECE_BINS) -> float:
    """Calibration error of a regression's quantiles (Kuleshov et al. 2018), 0-1, averaged over `quantiles`.

    `quantiles[level]` is the predicted quantile of each row; in equal-mass bins of it `level` should lie
    between the shares of truths below it and at or below it. The two differ only where truths fall on the
    quantile itself, as on coarse scales and at the ends of the range. For an 80 % interval pass {0.1: low,
    0.9: high}.
    """
    errors = []
    for level, predicted in quantiles.items():
        y, q = _pair(truth, predicted)
        below, upto = under(y, q)
        parts = [part for part in np.array_split(np.argsort(q, kind="stable"), bins) if len(part)]
        gaps = [max(below[part].mean() - level, level - upto[part].mean(), 0.0) * len(part) for part in parts]
        errors.append(float(sum(gaps) / len(y)) if len(y) else float("nan"))
    return float(np.mean(errors)) if errors else float("nan")


def under(truth: Vector, quantile: Vector) -> tuple[Vector, Vector]:
    """Whether each truth lies below its quantile, and at or below it: 0 or 1, [n] each."""
    below, upto = truth < quantile - 1e-9, truth <= quantile + 1e-9
    return below.astype(np.float64), upto.astype(np.float64)


def coverage(truth: ArrayLike, low: ArrayLike, high: ArrayLike) -> float:
    """Share of truths inside [low, high], 0-1."""
    y, lo = _pair(truth, low)
    return float(np.mean((y >= lo) & (y <= np.asarray(high, dtype=np.float64)))) if len(y) else float("nan")


def losses(predicted: Vector, truth: Vector) -> Vector:
    """Each row's loss: squared error of values [n], cross-entropy of distributions [n, k]."""
    if truth.ndim == 1:
        return np.asarray((predicted - truth) ** 2)
    return np.asarray(-(truth * np.log(np.maximum(predicted, 1e-9))).sum(axis=1))


def group_means(groups: Sequence[str] | NDArray[Any], truth: Vector) -> Vector:
    """The mean of `truth` over each row's group, [n]."""
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    return np.asarray((np.bincount(codes, weights=truth) / np.bincount(codes))[codes])


@dataclass(frozen=True, kw_only=True, slots=True)
class Composite:
    """SemEval-2026 task 2's correlation in its parts: `within` persons, `between` persons, and the `value` of
    both."""

    within: float
    between: float
    value: float


def composite(truth: ArrayLike, predicted: ArrayLike, persons: ArrayLike) -> Composite:
    """Composite r of SemEval-2026 task 2: tanh of the mean of atanh(within) and atanh(between).

    `between` is Pearson's r over the persons' means. `within` is the plain mean of each person's own Pearson
    r, over the persons whose truth varies (so at least two rows); a person for whom the prediction does not
    vary counts as 0. This reading (not the pooled r of person-centred values, nor a Fisher mean) is the one
    that reproduces the published reference figures: `python -m benchmarks.references`.
    """
    y, p = _pair(truth, predicted)
    if not len(y):
        return Composite(within=float("nan"), between=float("nan"), value=float("nan"))
    _, codes = np.unique(np.asarray(persons), return_inverse=True)
    rows = np.bincount(codes)
    means = [np.bincount(codes, weights=values) / rows for values in (y, p)]
    y_own, p_own = y - means[0][codes], p - means[1][codes]
    y_var, p_var, both = (np.bincount(codes, weights=v) for v in (y_own**2, p_own**2, y_own * p_own))
    varies = y_var > _FLAT * rows
    scale = np.sqrt(y_var * p_var)
    own = np.where(p_var > _FLAT * rows, both / np.where(scale > 0, scale, 1.0), 0.0)[varies]
    within = float(own.mean()) if len(own) else float("nan")
    between = pearson(*means)
    return Composite(
        within=within, between=between, value=float(np.tanh((_atanh(within) + _atanh(between)) / 2))
    )


def composite_r(truth: ArrayLike, predicted: ArrayLike, persons: ArrayLike) -> float:
    """`composite(...).value`, as a `Metric`."""
    return composite(truth, predicted, persons).value


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A paired bootstrap's verdict: `difference` is second minus first, with its 95 % interval [low, high].

    `better` is the share of resamples in which the second is greater.
    """

    difference: float
    low: float
    high: float
    better: float


def paired_bootstrap(
    metric: Metric,
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    persons: ArrayLike,
    rng: np.random.Generator,
    samples: int = 1000,
) -> Comparison:
    """How much greater `metric` is for `second` than for `first`, resampling whole persons with replacement.

    A person drawn twice counts as two. Resamples on which the metric is undefined are left out.
    """
    y, a = _pair(truth, first)
    b = np.asarray(second, dtype=np.float64)
    names, codes = np.unique(np.asarray(persons), return_inverse=True)
    rows = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    differences = np.empty(samples)
    for sample in range(samples):
        drawn = rng.integers(len(names), size=len(names))
        index = np.concatenate([rows[person] for person in drawn])
        who = np.repeat(np.arange(len(drawn)), [len(rows[person]) for person in drawn])
        differences[sample] = metric(y[index], b[index], who) - metric(y[index], a[index], who)
    differences = differences[~np.isnan(differences)]
    low, high = np.quantile(differences, (0.025, 0.975)) if len(differences) else (np.nan, np.nan)
    return Comparison(
        difference=metric(y, b, codes) - metric(y, a, codes),
        low=float(low),
        high=float(high),
        better=float(np.mean(differences > 0)) if len(differences) else float("nan"),
    )


def _pair(first: ArrayLike, second: ArrayLike) -> tuple[Vector, Vector]:
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"two vectors of one length are needed, not {x.shape} and {y.shape}")
    return x, y


def _atanh(r: float) -> float:
    return float(np.arctanh(np.clip(r, -1 + 1e-9, 1 - 1e-9)))


def _ancestors(paths: Paths) -> set[tuple[str, ...]]:
    return {tuple(path[:depth]) for path in paths for depth in range(1, len(path) + 1)}


def _binned(observed: Vector, expected: Vector, by: Vector, bins: int) -> float:
    """Mean over rows of |mean observed - mean expected| of their bin; bins hold equally many rows, in the
    order of `by`."""
    if not len(by):
        return float("nan")
    order = np.argsort(by, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [abs(observed[part].mean() - expected[part].mean()) * len(part) for part in parts]
    return float(sum(gaps) / len(by))
