"""What a gate is fitted on: out-of-fold columns side by side, their target, and the loss of a blend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.evaluate import metrics
from worker.blend.gate import Gate

Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Material:
    """`columns` [bases, n] or [bases, n, k], 0 where a base is not `available` [bases, n]; `target` [n]
    (loss: squared error) or [n, k] (distributions, loss: cross-entropy); `weight` [n]; `context` [n, c].

    Bases come first because a fit sums over these few again and again.
    """

    bases: tuple[str, ...]
    columns: Floats
    available: Rows
    target: Floats
    weight: Floats
    context: Floats

    @classmethod
    def of(
        cls,
        bases: tuple[str, ...],
        columns: Mapping[str, Floats],
        target: Floats,
        weight: Floats,
        context: Floats,
    ) -> Material:
        """From one column a base, NaN where it is missing; a target may be NaN where `weight` is 0."""
        stacked = np.stack([columns[base] for base in bases])
        return cls(
            bases=bases,
            columns=np.nan_to_num(stacked),
            available=np.asarray(np.isfinite(stacked.reshape(*stacked.shape[:2], -1)).all(axis=2)),
            target=target,
            weight=weight,
            context=context,
        )

    def rows(self, some: Rows) -> Material:
        """The material of some rows."""
        return Material(
            bases=self.bases,
            columns=self.columns[:, some],
            available=self.available[:, some],
            target=self.target[some],
            weight=self.weight[some],
            context=self.context[some],
        )

    def softmax(self, scores: Floats) -> Floats:
        """Weights [bases, n] of `scores` [bases, n] over the bases that are there."""
        masked = np.where(self.available, scores, -np.inf)
        raised = np.exp(masked - masked.max(axis=0))
        return np.asarray(raised / raised.sum(axis=0))

    def blend(self, gate: Gate) -> Floats:
        """The gate's weighted sum, [n] or [n, k]."""
        return self.mix(gate.weights(self.context, self.available.T).T)

    def mix(self, weights: Floats) -> Floats:
        """The sum with `weights` [bases, n], [n] or [n, k]."""
        shaped = weights if self.target.ndim == 1 else weights[:, :, None]
        return np.asarray((shaped * self.columns).sum(axis=0))

    def losses(self, blended: Floats) -> Floats:
        """Each row's loss [n]."""
        return metrics.losses(blended, self.target)

    def loss(self, blended: Floats) -> float:
        """The weighted mean loss of the rows with weight."""
        used = self.weight > 0
        return float(np.average(self.losses(blended)[used], weights=self.weight[used]))

    def slopes(self, weights: Floats, blended: Floats) -> Floats:
        """The loss's derivative by each base's score, [bases, n], 0 at a missing one: with weights w, blend m
        and loss L it is w_i (L' . p_i - L' . m)."""
        if self.target.ndim == 1:
            return np.asarray(2.0 * (blended - self.target) * weights * (self.columns - blended))
        share = self.target / np.maximum(blended, 1e-9)
        return np.asarray(weights * (self.target.sum(axis=1) - np.einsum("nk,bnk->bn", share, self.columns)))
