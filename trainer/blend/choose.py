"""Chooses each variable's gate on out-of-fold losses: a learned one has to beat the plain average and the
best base, or it is not kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.blend import boosted
from trainer.blend import gate as gates
from trainer.blend.material import Material
from trainer.blend.paired import paired
from trainer.plan import Plan
from trainer.splits.folds import splits
from worker.blend.gate import Gate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SIMPLE = ("plain", "best")
"""What every learned gate is compared with; from here on, `KINDS` in the order of their freedom."""
KINDS = (*SIMPLE, "constant", "linear", "boosted")
SURE = 0.95


@dataclass(frozen=True, kw_only=True)
class Choice:
    """`gate` is chosen and fitted on all rows with weight, for the bundle. `before` [n] or [n, k] are blends
    whose gate, its kind included, was chosen and fitted on the other folds' rows. `record` tells the losses,
    comparisons and verdict on all rows, and the kind that each fold's blends came from."""

    gate: Gate
    before: Floats
    record: dict[str, Any]


def fit(kind: str, material: Material, plan: Plan) -> Gate:
    """The gate of a kind; every row of the material must have weight."""
    match kind:
        case "plain":
            return gates.plain(material)
        case "best":
            return gates.best(material)
        case "constant":
            return gates.constant(material)
        case "linear":
            return gates.linear(material, penalty=plan.gate_penalty)
        case "boosted":
            return boosted.fit(material, plan=plan.gates, seed=plan.seed)
    raise ValueError(f"unknown gate {kind}")


def cross_fit(kind: str, material: Material, fold: Ints, plan: Plan) -> Floats:
    """Blends of every row, [n] or [n, k], by gates fitted on the other folds' rows with weight."""
    used = material.weight > 0
    out = np.full(material.target.shape, np.nan)
    for train, held in splits(fold):
        out[held] = material.rows(held).blend(fit(kind, material.rows(used & train), plan))
    return out


def choose(
    material: Material,
    fold: Ints,
    persons: Sequence[Any] | NDArray[Any],
    plan: Plan,
    kinds: Sequence[str] | None = None,
) -> Choice:
    """Of the gates that beat both the plain average and the best base, the simplest that no other of them
    beats; where none does, the plain average or the best base, whichever loses less.

    One beats another whose cross-fitted loss is greater in at least `SURE` of the paired resamples of whole
    persons. `fold` [n] and `persons` [n] name each row's fold and person. `kinds` are those compared, some
    of `SIMPLE` first; None: both, and what the plan has learned.
    """
    kinds = kinds or (*SIMPLE, *plan.gates.learned)
    kinds = kinds if len(material.bases) > 1 else ("plain",)
    used, people = material.weight > 0, np.asarray(persons)
    blends = {kind: cross_fit(kind, material, fold, plan) for kind in kinds}
    nested = {kind: _nested(kind, material, fold, plan) for kind in kinds}
    before = np.full(material.target.shape, np.nan)
    by_fold = []
    for number, (train, held) in enumerate(splits(fold)):
        inside = {kind: blended[number] for kind, blended in nested.items()}
        by_fold.append(_verdict(inside, material, used & train, people, plan.seed)["kind"])
        before[held] = blends[by_fold[-1]][held]
    verdict = _verdict(blends, material, used, people, plan.seed)
    return Choice(
        gate=fit(verdict["kind"], material.rows(used), plan),
        before=before,
        record={**verdict, "kind by fold": by_fold, "loss of a base alone": _alone(material)},
    )


def _nested(kind: str, material: Material, fold: Ints, plan: Plan) -> list[Floats]:
    """For every fold the blends of all other rows, by gates that saw neither that fold nor the row's own."""
    used = material.weight > 0
    out = [np.full(material.target.shape, np.nan) for _ in range(int(fold.max()) + 1)]
    for first, second in combinations(range(len(out)), 2):
        gate = fit(kind, material.rows(used & (fold != first) & (fold != second)), plan)
        out[first][fold == second] = material.rows(fold == second).blend(gate)
        out[second][fold == first] = material.rows(fold == first).blend(gate)
    return out


def _verdict(
    blends: dict[str, Floats], material: Material, rows: NDArray[np.bool_], people: NDArray[Any], seed: int
) -> dict[str, Any]:
    """The chosen kind and why, by the losses of some rows."""
    part, weight = material.rows(rows), material.weight[rows]
    losses = {kind: part.losses(blended[rows]) for kind, blended in blends.items()}
    comparisons: dict[str, dict[str, float]] = {}

    def beats(kind: str, other: str) -> bool:
        found = paired(losses[other], losses[kind], weight, people[rows], seed=seed)
        comparisons[f"{kind} - {other}"] = asdict(found)
        return found.better <= 1 - SURE

    mean = {kind: float(np.average(values, weights=weight)) for kind, values in losses.items()}
    simple = [kind for kind in blends if kind in SIMPLE]
    won = {kind: [beats(kind, other) for other in simple] for kind in blends if kind not in SIMPLE}
    accepted = [kind for kind, both in won.items() if all(both)]
    unbeaten = (kind for kind in accepted if not any(beats(it, kind) for it in accepted if it != kind))
    return {
        "kind": next(unbeaten, min(simple, key=lambda kind: mean[kind])),
        "accepted": accepted,
        "loss": mean,
        "difference of losses": comparisons,
        "rows": int(rows.sum()),
        "people": len(np.unique(people[rows])),
    }


def _alone(material: Material) -> dict[str, float]:
    """Each base's loss on the rows that have it."""
    found = {}
    for at, base in enumerate(material.bases):
        some = material.rows(material.available[at] & (material.weight > 0))
        found[base] = some.loss(some.columns[at])
    return found
