"""Fits Lx: LightGBM on lexical features, as text models the worker reads."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from trainer.plan import Trees

Floats = NDArray[np.float64]


def fit(features: Floats, target: Floats, weight: Floats, *, plan: Trees, seed: int, classes: int = 0) -> str:
    """LightGBM's text form of a regression on `target` [n], or with `classes` of a multiclass model on
    class numbers [n].

    One thread and `deterministic`, so the same rows give the same text.
    """
    parameters = {
        "objective": "multiclass" if classes else "regression",
        "learning_rate": plan.learning_rate,
        "num_leaves": plan.leaves,
        "min_data_in_leaf": plan.least_rows,
        "feature_fraction": plan.column_share,
        "bagging_fraction": plan.row_share,
        "bagging_freq": 1,
        "lambda_l2": plan.penalty,
        "max_bin": 127,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    if classes:
        parameters["num_class"] = classes
    data = lgb.Dataset(features, label=target, weight=weight / weight.mean(), free_raw_data=False)
    rounds = plan.class_rounds if classes else plan.rounds
    booster = lgb.train(parameters, data, num_boost_round=rounds)
    return str(booster.model_to_string())
