"""The rows that `benchmarks.steps` times a step on: a sample, split and with its features, as a rebuild has
them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from trainer import plan as plans
from trainer.data.labelled import Labelled
from trainer.features import targets
from trainer.fit import linear, text
from trainer.oof import crossfit
from trainer.plan import Plan
from trainer.splits import split
from worker.events.taxonomy import taxonomy
from worker.features.assemble import Features
from worker.models.boosted import Boosted
from worker.models.heads import DenseHeads

Rows = NDArray[np.bool_]


def sample(rows: Sequence[Labelled], count: int, seed: int) -> list[Labelled]:
    """About `count` of `rows` in their order: whole people, of every source the same share. A smaller sample
    is part of a larger one."""
    people: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        people[row.source][row.reflection.user_id] += 1
    taken: set[tuple[str, str]] = set()
    for source, sizes in sorted(people.items()):
        left = min(1.0, count / len(rows)) * sum(sizes.values())
        for person in np.random.default_rng(seed).permutation(sorted(sizes)).tolist():
            if left <= 0:
                break
            taken.add((source, person))
            left -= sizes[person]
    return [row for row in rows if (row.source, row.reflection.user_id) in taken]


class Sampled:
    """The rows of a split's train part with all a fold's fits take; `train` [n] are those fold 0 learns
    from."""

    def __init__(
        self, rows: Sequence[Labelled], plan: Plan, features: Callable[[Sequence[Labelled]], Features]
    ) -> None:
        parts = split.make(rows, plan, taxonomy(), count=plan.folds, seed=plan.seed)
        self.plan = plan
        self.rows = [row for row, inside in zip(rows, parts.inside, strict=True) if inside]
        self.reflections = [row.reflection for row in self.rows]
        self.fold = parts.fold[parts.inside]
        self.goals = targets.extract(self.rows, plan, taxonomy(), parts.learned[parts.inside])
        self.features = features(self.rows)
        self.train: Rows = (self.fold != 0) & self.goals.learned

    def columns(self) -> dict[str, crossfit.Columns]:
        return crossfit.cross_fit(self.features, self.goals, self.fold, self.plan, taxonomy(), lambda _: None)

    def variable(self, name: str) -> None:
        """Lx and Eb of one variable; standardising, which a rebuild does once a fold, is counted whole."""
        held, dense, used = self.fold == 0, self.features.dense, self.train
        if name in text.TREES:
            grown = text.trees(self.features, self.goals, used, self.plan, (name,))[name]
            Boosted.parse(grown).predict(self.features.lexical[held])
        trained = dense[used]
        mean, scale = text.standard(trained)
        x = ((trained - mean) / scale).astype(np.float32)
        for head in self._heads(name, x):
            shape = tuple(str(at) for at in range(head.weights.shape[1]))
            DenseHeads(targets=shape, weights=head.weights, bias=head.bias, mean=mean, scale=scale).predict(
                dense[held]
            )

    def _heads(self, name: str, x: NDArray[np.float32]) -> list[linear.Heads]:
        inside, penalties = text.Inside(self.goals, self.train), self.plan.embedding
        if name == "risk":
            return [inside.flags(x, penalties)]
        if name in plans.DISTRIBUTIONS:
            return [inside.classes(x, name, penalties), inside.nuances(x, name, penalties)]
        return [inside.exact(x, name, penalties)]
