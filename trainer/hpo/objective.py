"""What a trial costs: the loss of one variable's bases on rows they have not seen, fold by fold.

Between features and cross-fitting. Only the bases of the searched variable are fitted, as `trainer.fit.text`
would, and their plain average is judged; a column whose settings recur is not fitted again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from operator import add
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from trainer.evaluate.metrics import losses
from trainer.features.targets import Targets
from trainer.fit import boosted, linear, text
from trainer.hpo.ridge import Moments, Ridges
from trainer.plan import DISTRIBUTIONS, Plan, Trees
from worker.features.assemble import Features
from worker.models.boosted import Boosted
from worker.models.heads import weigh
from worker.models.hierarchy import softmax

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Numbers = NDArray[np.intp]

BASES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("valence", "arousal", "willingness", "expressed"), ("Lx", "Ng", "Eb")),
    "invoked": ("Ng", "Eb"),
    "congruence": ("Eb",),
}


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Held-out rows of one fold: their numbers, losses and weights, each [m]."""

    rows: Numbers
    losses: Floats
    weight: Floats


class Objective(Protocol):
    """What a study makes small."""

    def folds(self, plan: Plan, *, full: bool) -> Iterator[Judged]:
        """Fold after fold, always in the same order; `full` fits on all rows where trials make do with
        some."""
        ...


class Fold:
    """One fold's training rows and what every variable's fits on them share."""

    def __init__(self, features: Features, targets: Targets, train: Numbers, held: Numbers) -> None:
        self.train, self.held = train, held
        self._features = features
        self._learned = train[targets.learned[train]]

    @cached_property
    def standard(self) -> tuple[Floats, Floats]:
        return text.standard(self._features.dense[self._learned])

    def terms(self, plan: Plan) -> tuple[NDArray[np.intp], Floats]:
        """The n-gram buckets in use, and their inverse document frequency."""
        if self._terms is None:
            seen, idf = text.vocabulary(self._features.counts[self._learned], plan)
            self._terms = seen, idf.astype(np.float64)
        return self._terms

    _terms: tuple[NDArray[np.intp], Floats] | None = None


def folds_of(
    features: Features, targets: Targets, fold: Ints, tested: Sequence[int] | None = None
) -> list[Fold]:
    """One `Fold` for each number in `tested` (all from 0 on when None), trained on all others; rows with a
    negative number have no part in it."""
    numbers = range(int(fold.max()) + 1) if tested is None else tested
    return [
        Fold(
            features, targets, np.flatnonzero((fold >= 0) & (fold != number)), np.flatnonzero(fold == number)
        )
        for number in numbers
    ]


class Texts:
    """The objective of a variable that texts tell. `beside` [n] or [n, k] by base: finished columns that join
    the average; `threads`: most fits at once."""

    def __init__(
        self,
        variable: str,
        features: Features,
        targets: Targets,
        folds: Sequence[Fold],
        *,
        beside: Mapping[str, Floats] | None = None,
        threads: int | None = None,
    ) -> None:
        self._variable = variable
        self._features = features
        self._folds = folds
        self._beside = beside or {}
        self._threads = threads
        self._classes = variable in DISTRIBUTIONS
        self._goal = getattr(targets, variable) if self._classes else targets.values[variable]
        self._weight = targets.weight[variable]
        self._spaces: dict[tuple[str, int], tuple[NDArray[np.float32] | csr_matrix, ...]] = {}
        self._ridges: list[Ridges] | None = None
        self._columns: dict[tuple[str, int, str], Floats] = {}

    def folds(self, plan: Plan, *, full: bool) -> Iterator[Judged]:
        """See `Objective`; trees are fitted on `plan.search.tree_rows` rows at most unless `full`."""
        for number, fold in enumerate(self._folds):
            held = fold.held[self._weight[fold.held] > 0]
            fits = [
                partial(self._column, base, number, held, plan, full=full) for base in BASES[self._variable]
            ]
            with ThreadPoolExecutor(min(len(fits), self._threads or len(fits))) as pool:
                columns = [done.result() for done in [pool.submit(one) for one in fits]]
            columns += [column[held] for column in self._beside.values()]
            blended, goal = np.mean(columns, axis=0), self._goal[held]
            yield Judged(rows=held, losses=losses(blended, goal), weight=self._weight[held])

    def _column(self, base: str, number: int, held: Numbers, plan: Plan, *, full: bool) -> Floats:
        fold = self._folds[number]
        train = fold.train[self._weight[fold.train] > 0]
        make: Callable[[], Floats]
        if base == "Lx":
            trees = plan.trees.of(self._variable)
            few = train if full else self._few(train, plan)
            settings = f"{len(few)} {trees.model_dump_json(exclude={'targets'})}"
            make = lambda: self._lexical(few, len(train), held, trees, plan.seed)  # noqa: E731  a table of fits
        else:
            heads = plan.ngrams if base == "Ng" else plan.embedding
            settings = f"{heads.of(self._variable)!r} {heads.steps}"
            if base == "Eb" and not self._classes:
                make = lambda: self._ridge(number, held, heads.of(self._variable))  # noqa: E731
            else:
                make = lambda: self._descend(base, number, train, held, plan)  # noqa: E731
        known = base, number, settings
        if known not in self._columns:
            self._columns[known] = make()
        return self._columns[known]

    def _few(self, train: Numbers, plan: Plan) -> Numbers:
        count = min(plan.search.tree_rows, len(train))
        return np.sort(np.random.default_rng(plan.seed).choice(train, size=count, replace=False))

    def _lexical(self, train: Numbers, whole: int, held: Numbers, trees: Trees, seed: int) -> Floats:
        share = len(train) / whole
        # Fewer rows: leaves of as large a share of them, shrunk as much.
        fitting = {"least_rows": max(1, round(trees.least_rows * share)), "penalty": trees.penalty * share}
        goal = self._goal[train]
        model = Boosted.parse(
            boosted.fit(
                self._features.lexical[train],
                goal.argmax(axis=1) if self._classes else goal,
                self._weight[train],
                plan=trees.model_copy(update=fitting),
                seed=seed,
                classes=goal.shape[1] if self._classes else 0,
            )
        )
        predicted = model.predict(self._features.lexical[held])
        return predicted if self._classes else np.clip(predicted, 0.0, 1.0)

    def _ridge(self, number: int, held: Numbers, penalty: float) -> Floats:
        if self._ridges is None:
            self._ridges = self._decomposed()
        heads = self._ridges[number].heads(penalty)
        return np.clip(heads(self._features.dense[held])[:, 0], 0.0, 1.0)

    def _decomposed(self) -> list[Ridges]:
        """Sums over the training rows of each fold, from sums over blocks that folds share."""
        kinds = np.stack([np.isin(np.arange(len(self._weight)), fold.train) for fold in self._folds], axis=1)
        used = np.flatnonzero((self._weight > 0) & kinds.any(axis=1))
        patterns, block = np.unique(kinds[used], axis=0, return_inverse=True)
        parts = []
        for at in range(len(patterns)):
            rows = used[block.ravel() == at]
            parts.append(Moments.of(self._features.dense[rows], self._goal[rows], self._weight[rows]))
        return [
            Ridges(
                reduce(add, [part for part, pattern in zip(parts, patterns, strict=True) if pattern[number]]),
                fold.standard[1],
            )
            for number, fold in enumerate(self._folds)
        ]

    def _descend(self, base: str, number: int, train: Numbers, held: Numbers, plan: Plan) -> Floats:
        if (base, number) not in self._spaces:
            space = self._terms if base == "Ng" else self._dense
            self._spaces[base, number] = (space(number, train, plan), space(number, held, plan))
        x, unseen = self._spaces[base, number]
        heads = plan.ngrams if base == "Ng" else plan.embedding
        goal = self._goal[train] if self._classes else self._goal[train, None]
        found = linear.descend(
            x,
            goal,
            self._weight[train],
            loss="softmax" if self._classes else "squared",
            penalty=heads.of(self._variable),
            steps=heads.steps,
        )
        scores = found(unseen)
        return softmax(scores) if self._classes else np.clip(scores[:, 0], 0.0, 1.0)

    def _terms(self, number: int, rows: Numbers, plan: Plan) -> csr_matrix:
        seen, idf = self._folds[number].terms(plan)
        return weigh(self._features.counts[rows], idf)[:, seen].astype(np.float32)

    def _dense(self, number: int, rows: Numbers, plan: Plan) -> NDArray[np.float32]:  # noqa: ARG002  as _terms
        mean, scale = self._folds[number].standard
        return ((self._features.dense[rows] - mean) / scale).astype(np.float32)
