"""Fits stage A's bases on some rows: Lx, Ng and Eb, every target each can learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from trainer.features.targets import CLASSES, Targets
from trainer.fit import boosted, linear
from trainer.plan import Linear, Plan
from worker.appraise import EXPRESSED, INVOKED, RISK, nuance_targets
from worker.events.taxonomy import Taxonomy
from worker.events.variables import FLAGS
from worker.features.assemble import Features
from worker.models.boosted import Boosted
from worker.models.heads import DenseHeads, NgramHeads, weigh

Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]

_VALUES = ("valence", "arousal", "willingness")


@dataclass(frozen=True, kw_only=True)
class TextModels:
    """The three text bases; `texts` holds LightGBM's own form of `trees`."""

    trees: Mapping[str, Boosted]
    ngrams: NgramHeads
    embedding: DenseHeads
    texts: Mapping[str, str]


def fit(features: Features, targets: Targets, rows: Rows, plan: Plan, taxonomy: Taxonomy) -> TextModels:
    """Fit on `rows` [n] of the arrays; a row takes part in a target by its weight there."""
    texts = {
        name: boosted.fit(
            features.lexical[used], targets.values[name][used], weight, plan=plan.trees, seed=plan.seed
        )
        for name, used, weight in ((name, *_used(targets, name, rows)) for name in _VALUES)
    }
    used, weight = _used(targets, "expressed", rows)
    texts["expressed"] = boosted.fit(
        features.lexical[used], targets.expressed[used].argmax(axis=1), weight,
        plan=plan.trees, seed=plan.seed, classes=len(CLASSES),
    )  # fmt: skip
    return TextModels(
        trees={name: Boosted(lgb.Booster(model_str=text)) for name, text in texts.items()},
        ngrams=_ngrams(features.counts, targets, rows, plan),
        embedding=_embedding(features.dense, targets, rows, plan, taxonomy),
        texts=texts,
    )


def _used(targets: Targets, name: str, rows: Rows) -> tuple[Rows, Floats]:
    used = rows & (targets.weight[name] > 0)
    return used, targets.weight[name][used]


def _ngrams(counts: csr_matrix, targets: Targets, rows: Rows, plan: Plan) -> NgramHeads:
    trained = counts[rows]
    present = np.bincount(trained.indices, minlength=counts.shape[1])
    idf = (np.log((1 + trained.shape[0]) / (1 + present)) + 1.0).astype(np.float32)
    idf[present == 0] = 0.0  # an n-gram never seen would only shrink the ones that were
    weighed = weigh(
        counts, idf.astype(np.float16).astype(np.float64)
    )  # stored as float16: fit what will be read
    parts = []
    names: list[str] = []
    for name in _VALUES:
        used, weight = _used(targets, name, rows)
        parts.append(
            linear.descend(
                weighed[used], targets.values[name][used][:, None], weight,
                loss="squared", penalty=plan.ngrams.of(name), steps=plan.ngrams.steps,
            )
        )  # fmt: skip
        names.append(name)
    for labels, mass, name in (
        (EXPRESSED, targets.expressed, "expressed"),
        (INVOKED, targets.invoked, "invoked"),
    ):
        used, weight = _used(targets, name, rows)
        parts.append(
            linear.descend(
                weighed[used],
                mass[used],
                weight,
                loss="softmax",
                penalty=plan.ngrams.classes,
                steps=plan.ngrams.steps,
            )
        )
        names += labels
    parts += _flags(weighed, targets, rows, plan.ngrams)
    names += RISK
    return NgramHeads(
        targets=tuple(names),
        bits=plan.ngram_bits,
        idf=idf,
        weights=np.concatenate([part.weights for part in parts], axis=1).astype(np.float32),
        bias=np.concatenate([part.bias for part in parts]),
    )


def _embedding(dense: Floats, targets: Targets, rows: Rows, plan: Plan, taxonomy: Taxonomy) -> DenseHeads:
    mean, scale = linear.standardise(dense[rows], np.ones(int(rows.sum())))
    x = (dense - mean) / scale
    penalties = plan.embedding
    parts = []
    names: list[str] = []
    for name in (*_VALUES, "congruence"):
        used, weight = _used(targets, name, rows)
        parts.append(
            linear.ridge(x[used], targets.values[name][used][:, None], weight, penalty=penalties.of(name))
        )
        names.append(name)
    for labels, mass, name in (
        (EXPRESSED, targets.expressed, "expressed"),
        (INVOKED, targets.invoked, "invoked"),
    ):
        used, weight = _used(targets, name, rows)
        parts.append(
            linear.descend(
                x[used], mass[used], weight, loss="softmax", penalty=penalties.classes, steps=penalties.steps
            )
        )
        names += labels
        nuances = targets.nuances[name]
        used, weight = _used(targets, name, rows & nuances.any(axis=1))
        parts.append(
            linear.descend(
                x[used],
                nuances[used],
                weight,
                loss="softmax",
                penalty=penalties.classes,
                steps=penalties.steps,
            )
        )
        names += nuance_targets(name, taxonomy)
    parts += _flags(x, targets, rows, penalties)
    names += RISK
    return DenseHeads(
        targets=tuple(names),
        weights=np.concatenate([part.weights for part in parts], axis=1),
        bias=np.concatenate([part.bias for part in parts]),
        mean=mean,
        scale=scale,
    )


def _flags(x: Floats | csr_matrix, targets: Targets, rows: Rows, penalties: Linear) -> list[linear.Heads]:
    parts = []
    for at in range(len(FLAGS)):
        used = rows & np.isfinite(targets.risk[:, at]) & (targets.weight["risk"] > 0)
        parts.append(
            linear.descend(
                x[used], targets.risk[used, at : at + 1], targets.weight["risk"][used],
                loss="logistic", penalty=penalties.flags, steps=penalties.steps,
            )
        )  # fmt: skip
    return parts
