"""Every figure with its uncertainty: metrics as functions of per-person sums, for all resamples at once.

People, not rows, are drawn: each resample gives every person a Poisson(1) count (the Poisson bootstrap,
Hanley & MacGibbon 2006), the same for every figure, so that the difference of two figures is a paired
comparison. The definitions are those of `metrics.py`; row 0 of every matrix here is the sample itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainer.evaluate.metrics import ECE_BINS, Paths, under

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
_Ranked = Callable[[Floats, Floats], Floats]

RESAMPLES = 300
_FLAT = 1e-18
_CHUNK = 32
"""Resamples whose row weights are laid out at once: bounds memory at some 100 MiB for 400,000 rows."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure: `value`, its `draws` [resamples], and how many `rows` and `people` it rests on."""

    value: float
    draws: Floats
    rows: int
    people: int

    @property
    def low(self) -> float:
        return self._quantile(0.025)

    @property
    def high(self) -> float:
        """With `low` the 95 % interval."""
        return self._quantile(0.975)

    def minus(self, other: Estimate) -> Estimate:
        """The paired difference of two figures on the same rows."""
        return Estimate(
            value=self.value - other.value, draws=self.draws - other.draws, rows=self.rows, people=self.people
        )

    def _quantile(self, level: float) -> float:
        sound = self.draws[np.isfinite(self.draws)]
        return float(np.quantile(sound, level)) if len(sound) and np.isfinite(self.value) else float("nan")


class Resampling:
    """The counts of every person in every resample."""

    def __init__(self, people: Sequence[str], rng: np.random.Generator, count: int = RESAMPLES) -> None:
        names, self._codes = np.unique(np.array(people, dtype=object), return_inverse=True)
        drawn = rng.poisson(1.0, size=(count, len(names)))
        self._counts = np.concatenate([np.ones((1, len(names)), dtype=np.uint8), drawn.astype(np.uint8)])

    def sample(self, rows: Rows) -> Sample:
        """The rows [m] a figure is counted on."""
        persons, codes = np.unique(self._codes[rows], return_inverse=True)
        return Sample(counts=self._counts[:, persons], codes=codes)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """`counts` [1 + resamples, people], `codes` [m]: the person of each row. Arguments of metrics are [m]."""

    counts: NDArray[np.uint8]
    codes: NDArray[np.intp]

    def rmse(self, truth: Floats, predicted: Floats) -> Estimate:
        error, count = self._totals((truth - predicted) ** 2, np.ones(len(truth)))
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._estimate(np.sqrt(error / count))

    def share(self, held: ArrayLike) -> Estimate:
        """Mean of numbers or of yes and no: coverage, abstention, precision of what was picked."""
        values = np.asarray(held, dtype=np.float64)
        total, count = self._totals(values, np.ones(len(values)))
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._estimate(total / count)

    def pearson(self, truth: Floats, predicted: Floats) -> Estimate:
        return self._estimate(_correlation(self._moments(truth, predicted)))

    def partial(self, truth: Floats, predicted: Floats, given: Floats) -> Estimate:
        """Partial correlation of the first two given the third."""
        ab, ac, bc = (
            _correlation(self._moments(x, y))
            for x, y in ((truth, predicted), (truth, given), (predicted, given))
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._estimate((ab - ac * bc) / np.sqrt((1 - ac**2) * (1 - bc**2)))

    def composite(self, truth: Floats, predicted: Floats) -> Estimate:
        """`metrics.composite`'s value."""
        people = self.counts.shape[1]
        if not people:
            return self._estimate(np.full(len(self.counts), np.nan))
        rows = np.bincount(self.codes, minlength=people)
        means = [np.bincount(self.codes, weights=v, minlength=people) / rows for v in (truth, predicted)]
        off = [v - mean[self.codes] for v, mean in zip((truth, predicted), means, strict=True)]
        y_var, p_var, both = (
            np.bincount(self.codes, weights=a * b, minlength=people)
            for a, b in ((off[0], off[0]), (off[1], off[1]), (off[0], off[1]))
        )
        varies = y_var > _FLAT * rows
        scale = np.sqrt(y_var * p_var)
        own = np.where(varies & (p_var > _FLAT * rows), both / np.where(scale > 0, scale, 1.0), 0.0)
        counts = self.counts.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            within = (counts @ own) / (counts @ varies)
            x, y = means
            parts = [counts @ part for part in (np.ones(people), x, y, x * x, y * y, x * y)]
            between = _correlation(parts)
            return self._estimate(np.tanh((_atanh(within) + _atanh(between)) / 2))

    def core_f1(self, mass: Floats, chosen: NDArray[np.int64], classes: int = 6) -> Estimate:
        """`thresholds.core_f1`: `mass` [m, k] of the true classes, `chosen` [m] a class or -1 (abstained);
        macro over the first `classes` that occur. A row with several true classes is right with any."""
        cores = mass[:, :classes]
        rows = np.arange(len(cores))
        right = (chosen >= 0) & (cores[rows, np.maximum(chosen, 0)] > 0)
        truth = np.where(right, chosen, np.where(cores.any(axis=1), cores.argmax(axis=1), -1))
        return self.macro_f1(truth, chosen, classes)

    def macro_f1(self, truth: NDArray[np.int64], chosen: NDArray[np.int64], classes: int) -> Estimate:
        """Unweighted mean F1 over the classes of the truth; -1 on either side is none of them."""
        present = [one for one in range(classes) if (truth == one).any()]
        scores = []
        for one in present:
            known, named = truth == one, chosen == one
            both, either = self._totals((known & named) * 1.0, known * 1.0 + named)
            # A class that a resample happens to lack is left out of its mean, as in the sample itself.
            scores.append(np.divide(2 * both, either, out=np.full_like(both, np.nan), where=either > 0))
        if not scores:
            return self._estimate(np.full(len(self.counts), np.nan))
        drawn = np.isfinite(scores)
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._estimate(np.nansum(scores, axis=0) / drawn.sum(axis=0))

    def hierarchical_f1(self, truth: Sequence[Paths], predicted: Sequence[Paths]) -> Estimate:
        """`metrics.hierarchical_f1`."""
        nodes = [(_ancestors(a), _ancestors(b)) for a, b in zip(truth, predicted, strict=True)]
        both, either = self._totals(
            np.array([len(a & b) for a, b in nodes], dtype=np.float64),
            np.array([len(a) + len(b) for a, b in nodes], dtype=np.float64),
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._estimate(2 * both / either)

    def f1(self, outcome: NDArray[np.bool_], flagged: NDArray[np.bool_]) -> Estimate:
        """F1 of one class."""
        both, either = self._totals(
            (outcome & flagged).astype(np.float64), outcome.astype(np.float64) + flagged
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._estimate(2 * both / either)

    def auc(self, outcome: NDArray[np.bool_], score: Floats) -> Estimate:
        return self._ranked(outcome, score, _auc)

    def average_precision(self, outcome: NDArray[np.bool_], score: Floats) -> Estimate:
        return self._ranked(outcome, score, _average_precision)

    def ece(self, outcome: Floats, probability: Floats) -> Estimate:
        off = outcome - probability
        return self._estimate(self._binned(probability, lambda sums: np.abs(sums[0]), off, np.ones(len(off))))

    def quantile_ece(self, truth: Floats, ends: Floats) -> Estimate:
        """`metrics.quantile_ece` of 80 % intervals [m, 2]."""
        parts = []
        for at, level in enumerate((0.1, 0.9)):
            below, upto = under(truth, ends[:, at])
            gaps = below - level, level - upto, np.ones(len(truth))
            parts.append(self._binned(ends[:, at], lambda sums: np.maximum(sums[0], sums[1]), *gaps))
        return self._estimate(np.mean(parts, axis=0))

    def _binned(self, by: Floats, gap: Callable[[Floats], Floats], *parts: Floats) -> Floats:
        """Mean gap (0 where negative) over equal-mass bins in the order of `by`; `gap` takes a bin's sums of
        `parts`, of which the last counts rows."""
        total, rows = np.zeros(len(self.counts)), np.zeros(len(self.counts))
        for part in np.array_split(np.argsort(by, kind="stable"), ECE_BINS):
            if len(part):
                inside = Sample(counts=self.counts, codes=self.codes[part])
                sums = inside._totals(*(values[part] for values in parts))
                total, rows = total + np.maximum(gap(sums), 0.0), rows + sums[-1]
        with np.errstate(invalid="ignore", divide="ignore"):
            return total / rows

    def _moments(self, x: Floats, y: Floats) -> list[Floats]:
        # Centred first: the variance of values around .5 would lose digits in sums of squares.
        a, b = _centred(x), _centred(y)
        return list(self._totals(np.ones(len(a)), a, b, a * a, b * b, a * b))

    def _totals(self, *parts: Floats) -> Floats:
        """Sums over all rows of each part, [parts, 1 + resamples]."""
        people = self.counts.shape[1]
        sums = np.stack([np.bincount(self.codes, weights=part, minlength=people) for part in parts], axis=1)
        return np.asarray((self.counts.astype(np.float64) @ sums).T)

    def _ranked(self, outcome: NDArray[np.bool_], score: Floats, metric: _Ranked) -> Estimate:
        order = np.argsort(-score, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1) if len(score) else order
        hit = outcome[order].astype(np.float64)
        parts = []
        for start in range(0, len(self.counts), _CHUNK):
            weight = self.counts[start : start + _CHUNK][:, self.codes[order]].astype(np.float64)
            hits = np.cumsum(weight * hit, axis=1)[:, ends]
            seen = np.cumsum(weight, axis=1)[:, ends]
            parts.append(metric(hits, seen))
        return self._estimate(np.concatenate(parts))

    def _estimate(self, values: Floats) -> Estimate:
        return Estimate(
            value=float(values[0]), draws=values[1:], rows=len(self.codes), people=self.counts.shape[1]
        )


def _centred(values: Floats) -> Floats:
    return np.asarray(values - values.mean(), dtype=np.float64) if len(values) else values


def _auc(hits: Floats, seen: Floats) -> Floats:
    """Mann-Whitney with weights; `hits` and `seen` [resamples, thresholds] from the highest score down."""
    if not hits.shape[1]:
        return np.full(len(hits), np.nan)
    missed = seen - hits
    gained = np.diff(hits, axis=1, prepend=0.0)
    below = missed[:, -1:] - missed + np.diff(missed, axis=1, prepend=0.0) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((gained * below).sum(axis=1) / (hits[:, -1] * missed[:, -1]))


def _average_precision(hits: Floats, seen: Floats) -> Floats:
    if not hits.shape[1]:
        return np.full(len(hits), np.nan)
    precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((precision * np.diff(hits, axis=1, prepend=0.0)).sum(axis=1) / hits[:, -1])


def _correlation(moments: Sequence[Floats]) -> Floats:
    """Pearson's r of sums of (1, x, y, xx, yy, xy); NaN where a side is constant."""
    n, x, y, xx, yy, xy = moments
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.maximum(xx - x * x / n, 0.0) * np.maximum(yy - y * y / n, 0.0)
        r = (xy - x * y / n) / np.sqrt(np.where(spread > _FLAT * n * n, spread, np.nan))
    return np.clip(r, -1.0, 1.0)


def _atanh(r: Floats) -> Floats:
    return np.arctanh(np.clip(r, -1 + 1e-9, 1 - 1e-9))


def _ancestors(paths: Paths) -> set[tuple[str, ...]]:
    return {tuple(path[:depth]) for path in paths for depth in range(1, len(path) + 1)}
