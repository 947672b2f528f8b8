"""The objective of the gates: cross-fitted losses of learned gates over finished out-of-fold columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.blend import choose
from trainer.blend.material import Material
from trainer.hpo.objective import Judged
from trainer.plan import Plan

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One gate's material, with the fold [n] and the labelled row [n] of each of its rows."""

    material: Material
    fold: Ints
    row: NDArray[np.intp]


class Gates:
    """Mean over all gates of the loss of a `kind` of gate, in units of the plain average's loss, so that
    squared errors and cross-entropies count alike."""

    def __init__(self, stacks: Mapping[str, Stack], kind: str = "linear") -> None:
        self._stacks = stacks
        self._kind = kind
        self._known: dict[tuple[str, int, str], Judged] = {}

    def folds(self, plan: Plan, *, full: bool) -> Iterator[Judged]:
        """See `Objective`; gates are fitted on `plan.search.gate_rows` rows at most unless `full`."""
        for number in range(max(int(stack.fold.max()) for stack in self._stacks.values()) + 1):
            parts = [self._judged(name, number, plan, full=full) for name in self._stacks]
            yield Judged(
                rows=np.concatenate([part.rows for part in parts]),
                losses=np.concatenate([part.losses for part in parts]),
                weight=np.concatenate([part.weight for part in parts]),
            )

    def _judged(self, name: str, number: int, plan: Plan, *, full: bool) -> Judged:
        settings = f"{full} {plan.gate_penalty!r} {plan.gates.model_dump_json()}"
        if (name, number, settings) not in self._known:
            self._known[name, number, settings] = self._fitted(self._stacks[name], number, plan, full=full)
        return self._known[name, number, settings]

    def _fitted(self, stack: Stack, number: int, plan: Plan, *, full: bool) -> Judged:
        material = stack.material
        used = material.weight > 0
        train, held = np.flatnonzero(used & (stack.fold != number)), used & (stack.fold == number)
        if not full and len(train) > plan.search.gate_rows:
            train = np.random.default_rng(plan.seed).choice(train, plan.search.gate_rows, replace=False)
        fitted = np.zeros(len(used), dtype=bool)
        fitted[train] = True
        gate = choose.fit(self._kind, material.rows(fitted), plan)
        unseen = material.rows(held)
        plain = unseen.loss(unseen.blend(choose.fit("plain", unseen, plan)))
        return Judged(
            rows=stack.row[held],
            losses=unseen.losses(unseen.blend(gate)) / plain,
            weight=unseen.weight / material.weight.sum(),
        )
