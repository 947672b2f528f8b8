"""Fits stage A's bases on some rows: Lx, Ng and Eb, every target each can learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from trainer.features.targets import CLASSES, Targets
from trainer.fit import boosted, linear
from trainer.plan import Linear, Plan
from worker.appraise import EXPRESSED, INVOKED, RISK, nuance_targets
from worker.events.taxonomy import Taxonomy
from worker.features.assemble import Features
from worker.inference.encoder import Encoder
from worker.models.boosted import Boosted
from worker.models.heads import DenseHeads, NgramHeads, weigh

Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]
LIST_SCALE = 0.5
"""Scale of the embedding of word lists, as a share of the embedding's own."""
Matrix: TypeAlias = NDArray[np.float32] | csr_matrix

_VALUES = ("valence", "arousal", "willingness")
TREES = (*_VALUES, "expressed")
"""What Lx is fitted on."""


@dataclass(frozen=True, kw_only=True)
class TextModels:
    """The text bases; `texts` holds LightGBM's own form of `trees`, `tuned` base Tr's heads."""

    trees: Mapping[str, Boosted]
    ngrams: NgramHeads
    embedding: DenseHeads
    texts: Mapping[str, str]
    tuned: DenseHeads | None = None


def fit(features: Features, targets: Targets, rows: Rows, plan: Plan, taxonomy: Taxonomy) -> TextModels:
    """Fit on `rows` [n] of the arrays; a row takes part in a target by its weight there."""
    texts = trees(features, targets, rows, plan)
    return TextModels(
        trees={name: Boosted.parse(text) for name, text in texts.items()},
        ngrams=ngrams(features.counts, targets, rows, plan),
        embedding=embedding(features.dense, targets, rows, plan, taxonomy),
        texts=texts,
    )


def trees(
    features: Features, targets: Targets, rows: Rows, plan: Plan, names: Sequence[str] = TREES
) -> dict[str, str]:
    """Lx: LightGBM's text form of the trees of each target."""
    texts = {}
    for name in names:
        used, weight = _used(targets, name, rows)
        classes = name == "expressed"
        goal = targets.expressed[used].argmax(axis=1) if classes else targets.values[name][used]
        texts[name] = boosted.fit(
            features.lexical[used], goal, weight,
            plan=plan.trees.of(name), seed=plan.seed, classes=len(CLASSES) if classes else 0,
        )  # fmt: skip
    return texts


def native_targets(targets: Targets) -> tuple[str, ...]:
    """The heads' targets for corpora's own classes."""
    return tuple(f"{name}.{label}" for name, native in targets.native.items() for label in native.labels)


def _used(targets: Targets, name: str, rows: Rows) -> tuple[Rows, Floats]:
    used = rows & (targets.weight[name] > 0)
    return used, targets.weight[name][used]


def vocabulary(counts: csr_matrix, plan: Plan) -> tuple[NDArray[np.intp], NDArray[np.float16]]:
    """The buckets that training rows hold often enough, and the inverse document frequency [buckets]."""
    present = np.bincount(counts.indices, minlength=counts.shape[1])
    # A bucket hardly ever seen only shrinks the others and slows the fit.
    seen = np.flatnonzero(present >= plan.ngram_rows)
    idf = np.zeros(counts.shape[1], dtype=np.float16)
    idf[seen] = np.log((1 + counts.shape[0]) / (1 + present[seen])) + 1.0
    return seen, idf


def standard(dense: Floats) -> tuple[Floats, Floats]:
    """Mean and scale [features] of training rows."""
    mean, scale = linear.standardise(dense, np.ones(len(dense)))
    width = Encoder.width
    # Few texts but check-ins are lists of words: by its own deviation that block would be all outliers.
    mean[width : 2 * width], scale[width : 2 * width] = 0.0, LIST_SCALE * scale[:width]
    return mean, scale


def ngrams(counts: csr_matrix, targets: Targets, rows: Rows, plan: Plan) -> NgramHeads:
    """Ng: linear heads of weighted n-gram counts."""
    trained = counts[rows]
    seen, idf = vocabulary(trained, plan)
    x = weigh(trained, idf.astype(np.float64))[:, seen].astype(np.float32)
    inside = Inside(targets, rows)
    penalties = plan.ngrams
    parts = [inside.value(x, name, penalties) for name in _VALUES]
    parts += [inside.classes(x, name, penalties) for name in ("expressed", "invoked")]
    parts.append(inside.flags(x, penalties))
    parts += [inside.native(x, name, penalties) for name in targets.native]
    names = (*_VALUES, *EXPRESSED, *INVOKED, *RISK, *native_targets(targets))
    weights = np.zeros((counts.shape[1], len(names)), dtype=np.float32)
    weights[seen] = np.concatenate([part.weights for part in parts], axis=1)
    return NgramHeads(
        targets=names,
        bits=plan.ngram_bits,
        idf=idf.astype(np.float32),
        weights=weights.astype(np.float16).astype(np.float32),  # as the bundle stores them
        bias=np.concatenate([part.bias for part in parts]),
    )


def embedding(dense: Floats, targets: Targets, rows: Rows, plan: Plan, taxonomy: Taxonomy) -> DenseHeads:
    """Eb: linear heads of the embedding and what stands beside it."""
    trained = dense[rows]
    mean, scale = standard(trained)
    x = ((trained - mean) / scale).astype(np.float32)
    inside = Inside(targets, rows)
    penalties = plan.embedding
    values = (*_VALUES, "congruence")
    parts = [inside.exact(x, name, penalties) for name in values]
    names = list(values)
    for name, labels in (("expressed", EXPRESSED), ("invoked", INVOKED)):
        parts += [inside.classes(x, name, penalties), inside.nuances(x, name, penalties)]
        names += [*labels, *nuance_targets(name, taxonomy)]
    parts.append(inside.flags(x, penalties))
    parts += [inside.native(x, name, penalties) for name in targets.native]
    return DenseHeads(
        targets=(*names, *RISK, *native_targets(targets)),
        weights=np.concatenate([part.weights for part in parts], axis=1),
        bias=np.concatenate([part.bias for part in parts]),
        mean=mean,
        scale=scale,
    )


class Inside:
    """The targets of the training rows, each fitted on the rows that have it; `x` holds the training rows
    only."""

    def __init__(self, targets: Targets, rows: Rows) -> None:
        self._targets = targets
        self._rows = rows

    def value(self, x: Matrix, name: str, penalties: Linear) -> linear.Heads:
        goal = self._targets.values[name][self._rows][:, None]
        return self._fit(x, goal, self._weight(name), "squared", penalties.of(name), penalties)

    def exact(self, x: Matrix, name: str, penalties: Linear) -> linear.Heads:
        weight = self._weight(name)
        used = weight > 0
        goal = self._targets.values[name][self._rows][used, None]
        return linear.ridge(x[used].astype(np.float64), goal, weight[used], penalty=penalties.of(name))

    def classes(self, x: Matrix, name: str, penalties: Linear) -> linear.Heads:
        goal = self._targets.expressed if name == "expressed" else self._targets.invoked
        return self._fit(x, goal[self._rows], self._weight(name), "softmax", penalties.of(name), penalties)

    def nuances(self, x: Matrix, name: str, penalties: Linear) -> linear.Heads:
        goal = self._targets.nuances[name][self._rows]
        weight = self._weight(name) * goal.any(axis=1)
        return self._fit(x, goal, weight, "softmax", penalties.classes, penalties)

    def native(self, x: Matrix, name: str, penalties: Linear) -> linear.Heads:
        native = self._targets.native[name]
        mass, weight = native.mass[self._rows], native.weight[self._rows]
        return self._fit(x, mass, weight, "softmax", penalties.classes, penalties)

    def flags(self, x: Matrix, penalties: Linear) -> linear.Heads:
        goal = self._targets.risk[self._rows]
        weight = np.where(np.isfinite(goal), self._weight("risk")[:, None], 0.0)
        return self._fit(x, goal, weight, "logistic", penalties.flags, penalties)

    def _weight(self, name: str) -> Floats:
        return self._targets.weight[name][self._rows]

    def _fit(
        self, x: Matrix, goal: Floats, weight: Floats, loss: linear.Loss, penalty: float, penalties: Linear
    ) -> linear.Heads:
        used = weight.reshape(len(weight), -1).any(axis=1)
        return linear.descend(
            x[used], goal[used], weight[used], loss=loss, penalty=penalty, steps=penalties.steps
        )
