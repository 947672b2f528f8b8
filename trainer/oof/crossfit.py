"""Out-of-fold columns of the text bases: row i predicted by models that saw neither i, nor its person, nor
its near-duplicates."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from trainer.features.build import rows_of
from trainer.features.targets import Targets
from trainer.fit import text
from trainer.plan import Plan
from worker.appraise import bases, nuance_targets
from worker.events.taxonomy import Taxonomy
from worker.features.assemble import Features

Floats = NDArray[np.float64]
Columns = dict[str, Floats]


def splits(fold: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """(train, held) masks [n], fold by fold; a fold trains on the other folds' own rows."""
    for number in range(int(fold.max()) + 1):
        held = fold == number
        yield ~held, held


def cross_fit(
    features: Features,
    targets: Targets,
    fold: NDArray[np.int64],
    plan: Plan,
    taxonomy: Taxonomy,
    advance: Callable[[int], None],
) -> dict[str, Columns]:
    """The matrix of stage A: variable -> base -> out-of-fold predictions [n] or [n, k], as
    `worker.appraise.bases` gives them; `expressed.nuance` and `invoked.nuance` hold Eb's 36 logits."""
    whole: dict[str, Columns] = {}
    for train, held in splits(fold):
        models = text.fit(features, targets, train & targets.learned, plan, taxonomy)
        part = rows_of(features, held)
        predicted = bases(models, part)
        scores = models.embedding.predict(part.dense)
        for name in ("expressed", "invoked"):
            start = models.embedding.targets.index(nuance_targets(name, taxonomy)[0])
            predicted[f"{name}.nuance"] = {"Eb": scores[:, start : start + 36]}
        for variable, columns in predicted.items():
            for base, values in columns.items():
                into = whole.setdefault(variable, {}).setdefault(
                    base, np.full((len(fold), *values.shape[1:]), np.nan)
                )
                into[held] = values
        advance(1)
    return whole
