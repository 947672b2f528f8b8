"""The last level, out of fold: intervals, risk scores, and when an emotion is named or a flag raised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.calibrate import maps, thresholds
from trainer.calibrate.interval import effective
from trainer.evaluate.metrics import quantile_ece
from trainer.features.targets import Targets
from trainer.oof.appraisal import Appraised
from trainer.oof.crossfit import Columns
from trainer.oof.placement import Placed
from trainer.oof.stack import bounds
from trainer.splits.folds import splits
from trainer.splits.ledger import Ledger
from worker.appraise import RISK
from worker.bundle.contents import INTERVALS
from worker.calibrate import slices
from worker.calibrate.interval import Interval
from worker.calibrate.maps import Calibrator
from worker.events.variables import FLAGS
from worker.models.hierarchy import Thresholds, softmax
from worker.risk import level

Floats = NDArray[np.float64]

MICRO_SCALE = 12.0
"""Micros have no labels: their share within a nuance is the softmax of this times the cosines to their
phrases."""
EMOTIONS = ("expressed", "invoked")


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What the bundle needs beside the stacks. `ends[name]` are cross-fitted intervals: [n, 2] for
    willingness, [m, 2] for stage B's; `coverage[name][slice]` tells share inside and effective rows;
    `risk` [n, len(FLAGS)] the cross-fitted scores, floor included."""

    intervals: dict[str, Interval]
    ends: dict[str, Floats]
    coverage: dict[str, dict[str, dict[str, float]]]
    flags: dict[str, Calibrator]
    risk: Floats
    risk_thresholds: dict[str, float]
    thresholds: dict[str, Thresholds]
    nuance_temperature: dict[str, float]


def settle(
    targets: Targets,
    columns: dict[str, Columns],
    screens: Floats,
    appraised: Appraised,
    placed: Placed,
    fold: NDArray[np.int64],
    *,
    ledger: Ledger | None = None,
) -> Decided:
    """Everything from cross-fitted values; `screens` [n, len(FLAGS)] is the lexical floor of the flags."""
    intervals, ends, coverage = _intervals(targets, appraised, placed, fold)
    flags, risk = _risk(targets, columns["risk"], screens, fold, ledger)
    weight = targets.weight["risk"]
    chosen, temperature = {}, {}
    for name in EMOTIONS:
        goal = getattr(targets, name)
        used = targets.weight[name] > 0
        logits = columns[f"{name}.nuance"]["mean"]
        temperature[name] = _temperature(
            logits, targets.nuances[name].reshape(-1, 6, 6), targets.weight[name]
        )
        chosen[name] = thresholds.emotion(
            appraised.stacks[name].after[used],
            goal[used],
            softmax(logits[used] / temperature[name]),
            targets.nuances[name][used],
        )
    return Decided(
        intervals=intervals,
        ends=ends,
        coverage=coverage,
        flags=flags,
        risk=risk,
        risk_thresholds={
            flag: thresholds.flag(risk[seen, at], targets.risk[seen, at], weight[seen])
            for at, flag in enumerate(FLAGS)
            for seen in [np.isfinite(targets.risk[:, at]) & (weight > 0)]
        },
        thresholds=chosen,
        nuance_temperature=temperature,
    )


def _intervals(
    targets: Targets, appraised: Appraised, placed: Placed, fold: NDArray[np.int64]
) -> tuple[dict[str, Interval], dict[str, Floats], dict[str, dict[str, dict[str, float]]]]:
    """Of the people whose timelines are read, not of raters who judged a stranger's sentence."""
    valence, ahead = placed.stacks["valence"].after, placed.stacks["expected_valence"].after
    alone = slices.number(appraised.static)
    intervals, ends, coverage = {}, {}, {}
    for name in INTERVALS:
        label = name.removeprefix("expected_")
        where, folds, lowest = alone[placed.row], placed.fold, 0.0
        if name == "willingness":
            where, folds = alone, fold
            value, goal, weight = appraised.stacks[name].after, targets.values[name], targets.weight[name]
        elif name == "comparator":
            value, goal, lowest = valence - ahead, placed.target["valence"] - ahead, -1.0
            weight = placed.weight["valence"] * placed.diary
        else:
            value, goal = placed.stacks[name].after, placed.target[label]
            weight = placed.weight[label] * placed.diary
        # What was expected before the text was written must not depend on the text.
        told = where if name == label else None
        intervals[name], ends[name] = bounds(value, goal, weight, folds, told, lowest=lowest)
        coverage[name] = _coverage(goal, ends[name], weight, where)
    return intervals, ends, coverage


def _coverage(
    truth: Floats, ends: Floats, weight: Floats, where: NDArray[np.intp]
) -> dict[str, dict[str, float]]:
    """Weighted share of truths inside the cross-fitted ends, overall and by slice, beside the effective rows
    it rests on and the calibration error of the ends."""
    length, language = np.divmod(where, len(slices.LANGUAGES))
    groups = {
        "all": np.ones(len(where), dtype=bool),
        **{name: length == at for at, name in enumerate(slices.LENGTHS)},
        **{name: language == at for at, name in enumerate(slices.LANGUAGES)},
    }
    inside = (truth >= ends[:, 0]) & (truth <= ends[:, 1])
    found = {}
    for name, rows in groups.items():
        rows = rows & (weight > 0)
        if rows.any():
            found[name] = {
                "coverage": float(np.average(inside[rows], weights=weight[rows])),
                "effective rows": effective(weight[rows]),
                "quantile ECE": quantile_ece(truth[rows], {0.1: ends[rows, 0], 0.9: ends[rows, 1]}),
            }
    return found


def _risk(
    targets: Targets, logits: Columns, screens: Floats, fold: NDArray[np.int64], ledger: Ledger | None
) -> tuple[dict[str, Calibrator], Floats]:
    """Platt maps of the bases' mean logit for the bundle, and cross-fitted scores with the floor [n,
    len(FLAGS)]."""
    mean = np.mean(list(logits.values()), axis=0)
    weight = targets.weight["risk"]
    scores = np.full_like(mean, np.nan)
    flags = {}
    for at, name in enumerate(RISK):
        labelled = np.isfinite(targets.risk[:, at]) & (weight > 0)
        flags[name] = maps.flag(mean[labelled, at], targets.risk[labelled, at], weight[labelled])
        for number, (train, held) in enumerate(splits(fold)):
            rows = train & labelled
            if ledger is not None:
                ledger.add("calibrator", name, number, rows, held, inputs=("base/text",))
            fitted = maps.flag(mean[rows, at], targets.risk[rows, at], weight[rows])
            scores[held, at] = fitted.apply(mean[held, at])
    return flags, level.combine(screens, scores)


def _temperature(logits: Floats, nuances: Floats, weight: Floats) -> float:
    """What divides nuance logits [n, 6, 6] so that the odds within a core fit the labels best."""
    rows, cores = np.nonzero(nuances.sum(axis=2) > 0)
    mass = nuances[rows, cores]
    odds = softmax(logits[rows, cores])
    return maps.distribution(odds, mass / mass.sum(axis=1, keepdims=True), weight[rows]).slope
