"""The figures of a rebuild, all from cross-fitted values: nothing counted here was seen by what predicted
it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from trainer.calibrate import thresholds
from trainer.data.labelled import Labelled
from trainer.evaluate import metrics as m
from trainer.features.targets import Targets
from trainer.oof.appraisal import Appraised
from trainer.oof.crossfit import Columns
from trainer.oof.decision import Decided
from trainer.oof.placement import Placed
from worker.events.variables import FLAGS
from worker.features.schema import TEMPORAL

Floats = NDArray[np.float64]
KINDS = ("valence", "arousal")


def measure(
    rows: Sequence[Labelled],
    targets: Targets,
    columns: Mapping[str, Columns],
    appraised: Appraised,
    placed: Placed,
    decided: Decided,
) -> dict[str, Any]:
    """Figures by group; a source that is not among the rows has no figures."""
    source = np.array([row.source for row in rows])
    person = np.array([row.reflection.user_id for row in rows])
    found: dict[str, Any] = {}
    if (source == "semeval2026").any():
        found["semeval2026"] = _people(source == "semeval2026", person, targets, columns, appraised, placed)
    if (source == "emobank").any():
        here = source == "emobank"
        found["emobank"] = {
            f"{kind} r": m.pearson(targets.values[kind][here], appraised.stacks[f"text_{kind}"].after[here])
            for kind in KINDS
        }
    if (source == "goemotions").any():
        found["goemotions"] = {
            "expressed core macro-F1": _f1("expressed", source == "goemotions", targets, appraised, decided)
        }
    if (source == "offmychest").any():
        here = source == "offmychest"
        score = appraised.stacks["willingness"].after[here]
        found["offmychest"] = {
            f"{mark} AUC": m.auc([row.labels[mark] for row in rows if row.source == "offmychest"], score)
            for mark in ("emotional_disclosure", "informational_disclosure")
        }
        found["offmychest"]["disclosure AUC"] = m.auc(targets.values["willingness"][here] > 0, score)
    if (source == "isarcasm").any():
        here = source == "isarcasm"
        at = FLAGS.index("sarcasm")
        found["isarcasm"] = {"sarcasm AUC": m.auc(targets.risk[here, at], decided.risk[here, at])}
    if (source == "synthetic").any():
        found["synthetic"] = _synthetic(source == "synthetic", targets, appraised, placed, decided)
    found["intervals"] = _coverage(targets, placed, decided)
    return found


def _people(
    here: NDArray[np.bool_], person: NDArray[np.str_], targets: Targets, columns: Mapping[str, Columns],
    appraised: Appraised, placed: Placed,
) -> dict[str, Any]:  # fmt: skip
    found: dict[str, Any] = {}
    for kind in KINDS:
        truth = targets.values[kind][here]
        for base, values in columns[kind].items():
            found[f"{kind} {base} r"] = m.composite_r(truth, values[here], person[here])
        text = appraised.stacks[f"text_{kind}"].after[here]
        found[f"{kind} text r"] = m.composite_r(truth, text, person[here])
        for copy, reported in (("with self-reports", True), ("without self-reports", False)):
            rows = here[placed.row] & (placed.reported == reported)
            goal, value = placed.target[kind][rows], placed.stacks[kind].after[rows]
            found[f"{kind} {copy} r"] = m.composite_r(goal, value, person[placed.row[rows]])
            found[f"{kind} {copy} RMSE"] = m.rmse(goal, value)
            later = rows & placed.known
            ahead = placed.stacks[f"expected_{kind}"].after[later]
            found[f"expected {kind} {copy} RMSE"] = m.rmse(placed.target[kind][later], ahead)
        later = here[placed.row] & placed.reported & placed.known
        for stat in ("mean", "last"):
            before = placed.numbers[later, TEMPORAL.index(f"self_{kind}.{stat}")]
            found[f"reference: {kind} as the earlier self-reports' {stat} RMSE"] = m.rmse(
                placed.target[kind][later], before
            )
    return found


def _f1(
    name: str, here: NDArray[np.bool_], targets: Targets, appraised: Appraised, decided: Decided
) -> float:
    limits = decided.thresholds[name]
    chosen = thresholds.named(appraised.stacks[name].after[here], limits.core, limits.neutral)
    return thresholds.core_f1(getattr(targets, name)[here], chosen)


def _synthetic(
    here: NDArray[np.bool_], targets: Targets, appraised: Appraised, placed: Placed, decided: Decided
) -> dict[str, Any]:
    rows = here[placed.row] & placed.reported
    found: dict[str, Any] = {
        f"{name} RMSE": m.rmse(placed.target[name][rows], placed.stacks[name].after[rows])
        for name in (*KINDS, "congruence")
    }
    found |= {
        f"{name} core macro-F1": _f1(name, here, targets, appraised, decided)
        for name in ("expressed", "invoked")
    }
    for at, flag in enumerate(FLAGS):
        truth = targets.risk[here, at] > 0.5
        if truth.any():
            found[f"{flag} AUC"] = m.auc(truth, decided.risk[here, at])
    return found


def _coverage(targets: Targets, placed: Placed, decided: Decided) -> dict[str, float]:
    """Weighted share of labels inside the 80 % intervals, over the rows that count for the variable."""
    found = {}
    for name, ends in decided.ends.items():
        if name == "willingness":
            truth, weight = targets.values[name], targets.weight[name]
        elif name == "comparator":
            truth = placed.target["valence"] - placed.stacks["expected_valence"].after
            weight = placed.weight["valence"]
        else:
            label = name.removeprefix("expected_")
            truth, weight = placed.target[label], placed.weight[label]
        rows = np.isfinite(ends[:, 0])
        inside = (truth >= ends[:, 0]) & (truth <= ends[:, 1])
        found[f"{name} coverage"] = float(np.average(inside[rows], weights=weight[rows]))
    return found


def table(metrics: Mapping[str, Mapping[str, float]]) -> Table:
    """The figures for a terminal."""
    shown = Table(title="cross-fitted figures", title_justify="left")
    shown.add_column("on")
    shown.add_column("figure")
    shown.add_column("value", justify="right")
    for group, figures in metrics.items():
        for name, value in figures.items():
            shown.add_row(group, name, f"{value:.3f}")
    return shown
