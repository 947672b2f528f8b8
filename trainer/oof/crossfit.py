"""Out-of-fold columns of the text bases: row i predicted by models that saw neither i, nor its person, nor
its near-duplicates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from trainer.features.activations import Activations
from trainer.features.build import rows_of
from trainer.features.targets import Targets
from trainer.fit import text, transformer
from trainer.parts import Crew, plain
from trainer.plan import Plan
from trainer.splits.folds import splits
from trainer.splits.ledger import Ledger
from worker.appraise import bases, nuance_logits, scores_of
from worker.events.taxonomy import Taxonomy
from worker.features.assemble import Features
from worker.models.hierarchy import softmax

Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]
Columns = dict[str, Floats]
T = TypeVar("T")


class Keep(Protocol):
    """A memory of what was computed before: `Checkpoint.keep`."""

    def __call__(self, name: str, make: Callable[[], T]) -> T: ...


def computed(name: str, make: Callable[[], T]) -> T:  # noqa: ARG001  the port's shape
    """No memory: compute it."""
    return make()


def cross_fit(
    features: Features,
    targets: Targets,
    fold: NDArray[np.int64],
    plan: Plan,
    taxonomy: Taxonomy,
    advance: Callable[[int], None],
    *,
    sources: Sequence[str] = (),
    activations: Callable[[], Activations] | None = None,
    ledger: Ledger | None = None,
    keep: Keep = computed,
    crew: Crew | None = None,
) -> dict[str, Columns]:
    """The matrix of stage A: variable -> base -> out-of-fold predictions [n] or [n, k], as
    `worker.appraise.bases` gives them; `expressed.nuance` and `invoked.nuance` hold logits [n, 6, 6], and a
    corpus' own classes have its name. Base Tr takes part where the plan has it: then `activations` and every
    row's source are wanted. `ledger` is told what each fold's models were trained on and predicted; `keep`
    may know a fold's columns from before. A `crew` computes the folds.
    """
    whole: dict[str, Columns] = {}
    found: list[dict[str, Columns]] = []
    if crew is not None:

        def shared() -> list[dict[str, Columns]]:
            lower = activations().arrays() if activations is not None and plan.transformer else None
            inputs = plain(
                plan, features=features, targets=targets, fold=fold, sources=list(sources), activations=lower
            )
            return crew.compute("fold", inputs, range(int(fold.max()) + 1), lambda _: None)

        found = keep("texts", shared)
    for number, (train, held) in enumerate(splits(fold)):
        used = train & targets.learned

        def fitted(used: Rows = used, held: Rows = held) -> dict[str, Columns]:
            return predicted(features, targets, used, held, plan, taxonomy, sources, activations)

        columns_of = found[number] if found else keep(f"texts-{number}", fitted)
        for variable, columns in columns_of.items():
            for base, values in columns.items():
                into = whole.setdefault(variable, {}).setdefault(
                    base, np.full((len(fold), *values.shape[1:]), np.nan)
                )
                into[held] = values
        if ledger is not None:
            ledger.add("base", "text", number, used, held)
        advance(1)
    return whole


def predicted(
    features: Features,
    targets: Targets,
    used: Rows,
    held: Rows,
    plan: Plan,
    taxonomy: Taxonomy,
    sources: Sequence[str],
    activations: Callable[[], Activations] | None,
) -> dict[str, Columns]:
    """What models of the `used` rows say of the `held` ones."""
    models = text.fit(features, targets, used, plan, taxonomy)
    part = rows_of(features, held)
    if activations is not None and plan.transformer is not None:
        lower = activations()
        net = transformer.fit(lower, targets, used, sources, plan.transformer, taxonomy, seed=plan.seed)
        models = replace(models, tuned=net.heads)
        part = replace(part, tuned=transformer.pooled(net, lower, np.flatnonzero(held)))
    scores = scores_of(models, part)
    columns = bases(models, part, scores)
    for name, native in targets.native.items():
        wanted = tuple(f"{name}.{label}" for label in native.labels)
        columns[name] = {base: softmax(said.of(wanted)) for base, said in scores.items()}
    for name in ("expressed", "invoked"):
        columns[f"{name}.nuance"] = {"mean": nuance_logits(scores, part, name, taxonomy)}
    return columns
