"""Stage A's second level, out of fold: blends of the text bases, willingness from the emotions, and the
traces they leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.features.targets import Targets
from trainer.fit import linear
from trainer.oof.crossfit import Columns
from trainer.oof.stack import Stacked, stack
from trainer.plan import Plan
from trainer.splits.folds import splits
from trainer.splits.ledger import Ledger
from worker.appraise import emotion_features, history_of
from worker.events.reflection import Reflection
from worker.events.taxonomy import Taxonomy
from worker.events.variables import CORES
from worker.features import context
from worker.features.assemble import Features, static_context
from worker.features.schema import STATIC
from worker.models.heads import DenseHeads

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Appraised:
    """`static` [n, len(STATIC)] and `history` [n, len(HISTORY)] of every row, all cross-fitted; `stacks` by
    the name of their gate; `emotion` is base Em for the bundle."""

    static: Floats
    history: Floats
    stacks: dict[str, Stacked]
    emotion: DenseHeads


def alone(reflections: Sequence[Reflection], features: Features) -> Floats:
    """What the gates of stage A weigh the bases by: float64 [n, len(CONTEXT)]."""
    return context.extract(static_context(reflections, features.lexical))


def settle(
    reflections: Sequence[Reflection],
    features: Features,
    targets: Targets,
    columns: dict[str, Columns],
    fold: NDArray[np.int64],
    plan: Plan,
    taxonomy: Taxonomy,
    *,
    ledger: Ledger | None = None,
) -> Appraised:
    """Stack the out-of-fold `columns` of `crossfit.cross_fit`; the steps are those of
    `worker.appraise.appraise`. `ledger` is told what the gates and calibrators were fitted on."""
    static = static_context(reflections, features.lexical)
    persons = [reflection.user_id for reflection in reflections]
    around = alone(reflections, features)
    stacks: dict[str, Stacked] = {}

    def add(name: str, variable: str, target: Floats) -> Floats:
        stacks[name] = stack(
            tuple(columns[variable]), columns[variable], target, targets.weight[variable], around, fold,
            persons=persons, plan=plan, name=name, ledger=ledger,
        )  # fmt: skip
        return stacks[name].after

    for kind in ("valence", "arousal"):
        add(f"text_{kind}", kind, targets.values[kind])
    text = {kind: stacks[f"text_{kind}"] for kind in ("valence", "arousal")}
    expressed = add("expressed", "expressed", targets.expressed)
    invoked = add("invoked", "invoked", targets.invoked)
    inputs = emotion_features(expressed, invoked)
    emotion, columns["willingness"]["Em"] = _emotion(inputs, targets, fold, ledger)
    willingness = add("willingness", "willingness", targets.values["willingness"])
    shown = expressed[:, : len(CORES)]
    overlap = taxonomy.overlap(invoked, shown / shown.sum(axis=1, keepdims=True))
    for kind in ("valence", "arousal"):
        for base, column in columns[kind].items():
            static[:, STATIC.index(f"{kind}.{base}")] = column
    static[:, STATIC.index("congruence.overlap")] = overlap
    for base, column in columns["congruence"].items():
        static[:, STATIC.index(f"congruence.{base}")] = column
    return Appraised(
        static=static,
        history=history_of(reflections, static, text, willingness, overlap, shown, invoked),
        stacks=stacks,
        emotion=emotion,
    )


def _emotion(
    inputs: Floats, targets: Targets, fold: NDArray[np.int64], ledger: Ledger | None
) -> tuple[DenseHeads, Floats]:
    """Em fitted on all rows, and its cross-fitted column [n]."""
    weight = targets.weight["willingness"]
    goal = targets.values["willingness"][:, None]

    def fit(rows: NDArray[np.bool_]) -> DenseHeads:
        mean, scale = linear.standardise(inputs[rows], weight[rows])
        heads = linear.ridge((inputs[rows] - mean) / scale, goal[rows], weight[rows], penalty=0.01)
        return DenseHeads(
            targets=("willingness",), weights=heads.weights, bias=heads.bias, mean=mean, scale=scale
        )

    column = np.full(len(inputs), np.nan)
    for number, (train, held) in enumerate(splits(fold)):
        used = train & (weight > 0)
        column[held] = np.clip(fit(used).predict(inputs[held])[:, 0], 0.0, 1.0)
        if ledger is not None:
            read = ("calibrator/expressed", "calibrator/invoked")
            ledger.add("base", "Em", number, used, held, inputs=read)
    return fit(weight > 0), column
