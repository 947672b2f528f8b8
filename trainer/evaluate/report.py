"""The figures of a rebuild, all from cross-fitted values: nothing counted here was seen by what predicted
it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from trainer.data.labelled import Labelled
from trainer.evaluate import floors
from trainer.evaluate import metrics as m
from trainer.evaluate.corpora_figures import SOURCES
from trainer.evaluate.figures import confidence
from trainer.evaluate.predicted import Figures, Predicted
from trainer.features.targets import Targets
from trainer.oof.appraisal import Appraised
from trainer.oof.crossfit import Columns
from trainer.oof.decision import EMOTIONS, Decided
from trainer.oof.placement import Placed
from worker.events.variables import FLAGS


def measure(
    rows: Sequence[Labelled],
    targets: Targets,
    columns: Mapping[str, Columns],
    appraised: Appraised,
    placed: Placed,
    decided: Decided,
) -> dict[str, Any]:
    """Figures by group, and the floors' `[value, floor]`. A source that is not among the rows has no group,
    and a figure that its rows do not define is left out."""
    got = Predicted.of(rows, targets, columns, appraised, placed, decided)
    source = np.array([row.source for row in rows])
    found = {name: figures(got, source == name) for name, figures in SOURCES.items() if name in source}
    found |= {"calibration": _calibration(got), "intervals": _coverage(decided)}
    whole: dict[str, Any] = {
        group: {name: value for name, value in figures.items() if math.isfinite(value)}
        for group, figures in found.items()
    }
    return whole | {floors.GROUP: floors.record(floors.judge(whole))}


def _calibration(got: Predicted) -> Figures:
    """Expected calibration error of each variable over all rows that count for it, each once: of the
    likeliest class, of each flag's score, of the ends of an interval."""
    found: Figures = {}
    for name in EMOTIONS:
        used = got.targets.weight[name] > 0
        found[f"{name} ECE"] = m.ece(
            *confidence(got.appraised.stacks[name].after[used], getattr(got.targets, name)[used])
        )
    for at, flag in enumerate(FLAGS):
        used = np.isfinite(got.targets.risk[:, at]) & (got.targets.weight["risk"] > 0)
        found[f"{flag} ECE"] = m.ece(got.targets.risk[used, at], got.decided.risk[used, at])
    for name, slices in got.decided.coverage.items():
        if "all" in slices:
            found[f"{name} quantile ECE"] = slices["all"]["quantile ECE"]
    return found


def _coverage(decided: Decided) -> Figures:
    """Weighted share of labels inside the 80 % intervals, overall and by slice."""
    return {
        f"{name} coverage" if where == "all" else f"{name} coverage, {where}": told["coverage"]
        for name, slices in decided.coverage.items()
        for where, told in slices.items()
    }


def plain(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Group, name and value of every figure of a group that is one number; what is nested deeper (gates,
    coverage by slice, floors) has tables of its own."""
    for group, figures in metrics.items():
        if isinstance(figures, Mapping):
            for name, value in figures.items():
                if isinstance(value, float):
                    yield group, name, value


def table(metrics: Mapping[str, Any]) -> Table:
    """The figures for a terminal."""
    shown = Table(title="cross-fitted figures", title_justify="left")
    shown.add_column("on")
    shown.add_column("figure")
    shown.add_column("value", justify="right")
    for group, name, value in plain(metrics):
        shown.add_row(group, name, f"{value:.3f}")
    return shown
