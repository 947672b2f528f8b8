"""Fits a gate of trees: LightGBM with a softmax-weighted objective, one score a base."""

from __future__ import annotations

from dataclasses import replace

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from trainer.blend import gate as gates
from trainer.blend.material import Material
from trainer.plan import Gates
from worker.blend.gate import Gate

Floats = NDArray[np.float64]

_FLOOR = 1e-3
"""Least curvature of a row and base, in units of the mean one: where all bases say the same, no weight is
better than another and the loss is flat."""


def fit(material: Material, *, plan: Gates, seed: int) -> Gate:
    """Trees on top of constant weights. Every round grows one tree a base on the loss of the blend itself.

    The curvature LightGBM divides by is an upper bound of the diagonal one, so a step never goes too far:
    w_i (1 - w_i) for cross-entropy; for squared error, with weights w, blend m and bases p,
    2 w_i^2 (p_i - m)^2 + 2 |m - y| w_i |p_i - m|. Both are doubled because all scores of a row move at once.
    One thread and `deterministic`: equal rows give equal text.
    Where nothing can be split the weights stay constant.
    """
    start = replace(gates.constant(material), kind="boosted")
    if not np.ptp(material.context, axis=0).any() or len(material.weight) < 2 * plan.least_rows:
        return start  # nothing to split by: LightGBM refuses what has no feature
    count, rows = material.available.shape
    scores = np.repeat(start.bias[:, None], rows, axis=1)
    mass = material.weight / material.weight.mean()
    unit = max(float(_derivatives(material, scores)[1][material.available].mean()), 1e-12)

    def objective(raw: Floats, _: lgb.Dataset) -> tuple[Floats, Floats]:
        # LightGBM lays scores out base by base and hands a transposed view of them.
        slope, curvature = _derivatives(material, raw.T)
        return (slope * mass / unit).T, ((curvature / unit + _FLOOR) * mass).T

    parameters = {
        "objective": objective,
        "num_class": count,
        "learning_rate": plan.learning_rate,
        "num_leaves": plan.leaves,
        "min_data_in_leaf": plan.least_rows,
        "min_sum_hessian_in_leaf": 1e-3,
        "lambda_l2": plan.tree_penalty,
        "max_bin": 63,
        "feature_pre_filter": False,
        "boost_from_average": False,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    data = lgb.Dataset(material.context, label=np.zeros(rows), init_score=scores.T)
    booster = lgb.train(parameters, data, num_boost_round=plan.rounds)
    return replace(start, trees=str(booster.model_to_string()))


def _derivatives(material: Material, scores: Floats) -> tuple[Floats, Floats]:
    """Slope and curvature bound of each row's loss by each score, both [bases, n]; 0 at a missing base."""
    weights = material.softmax(scores)
    blended = material.mix(weights)
    slope = material.slopes(weights, blended)
    if material.target.ndim == 1:
        spread = weights * np.abs(material.columns - blended)
        curvature = 2.0 * spread * (spread + np.abs(blended - material.target))
    else:
        curvature = weights * (1.0 - weights)
    return slope, 2.0 * curvature
