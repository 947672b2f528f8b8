"""What a rebuild's cross-fitted values are worth on the sources whose people have timelines: SemEval-2026's
and the synthetic ones."""

from __future__ import annotations

import numpy as np

from trainer.evaluate import metrics as m
from trainer.evaluate.bootstrap import Resampling
from trainer.evaluate.predicted import Figures, Predicted, Rows
from worker.events.taxonomy import taxonomy
from worker.events.variables import CORES, FLAGS
from worker.features.schema import TEMPORAL

KINDS = ("valence", "arousal")


def semeval2026(got: Predicted, here: Rows) -> Figures:
    placed, person = got.placed, got.person
    found: Figures = {}
    past = placed.numbers[:, TEMPORAL.index("log_self_count")] > 0
    for kind in KINDS:
        truth = got.targets.values[kind][here]
        for base, values in got.columns[kind].items():
            found[f"{kind} {base} r"] = m.composite_r(truth, values[here], person[here])
        found[f"{kind} text r"] = m.composite_r(truth, got.text(kind, here), person[here])
        for copy, reported in (("with self-reports", True), ("without self-reports", False)):
            rows = here[placed.row] & (placed.reported == reported)
            goal, value = placed.target[kind][rows], placed.stacks[kind].after[rows]
            found[f"{kind} {copy} r"] = m.composite_r(goal, value, person[placed.row[rows]])
            found[f"{kind} {copy} RMSE"] = m.rmse(goal, value)
            later = rows & placed.known
            ahead = placed.stacks[f"expected_{kind}"].after[later]
            found[f"expected {kind} {copy} RMSE"] = m.rmse(placed.target[kind][later], ahead)
        later = here[placed.row] & placed.reported & placed.known & past & np.isfinite(placed.target[kind])
        if later.any():
            found |= _forecast(got, kind, later)
    return found


def _forecast(got: Predicted, kind: str, later: Rows) -> Figures:
    """The expectation beside two that need no model, drawn by whole persons, in pairs."""
    placed = got.placed
    found: Figures = {}
    people = Resampling(got.person[placed.row[later]].tolist(), np.random.default_rng(0), 1000)
    sample = people.sample(np.arange(int(later.sum())))
    truth = placed.target[kind][later]
    error = sample.rmse(truth, placed.stacks[f"expected_{kind}"].after[later])
    for stat in ("mean", "last"):
        simple = sample.rmse(truth, placed.numbers[later, TEMPORAL.index(f"self_{kind}.{stat}")])
        gap = error.minus(simple)
        found[f"reference: {kind} as the earlier self-reports' {stat} RMSE"] = simple.value
        found[f"{kind} forecast's RMSE less the earlier {stat}'s"] = gap.value
        found[f"{kind} forecast's RMSE less the earlier {stat}'s, upper end of 95 %"] = gap.high
    return found


def synthetic(got: Predicted, here: Rows) -> Figures:
    placed = got.placed
    rows = here[placed.row] & placed.reported
    found = {
        f"{name} RMSE": m.rmse(placed.target[name][rows], placed.stacks[name].after[rows])
        for name in (*KINDS, "congruence")
    }
    category = [(got.rows[at].cluster or "").split("/")[0] for at in placed.row[rows]]
    found["reference: valence as its category's mean RMSE"] = m.rmse(
        placed.target["valence"][rows], m.group_means(category, placed.target["valence"][rows])
    )
    for name in ("expressed", "invoked"):
        found[f"{name} core macro-F1"] = got.core_f1(name, here)
        found[f"{name} hierarchy-aware F1 of core and nuance"] = _hierarchy(got, name, here)
    for flag in FLAGS:
        found[f"{flag} AUC"] = m.auc(*got.flag(flag, here))
    return found


def _hierarchy(got: Predicted, name: str, here: Rows) -> float:
    """Micros are left out: no base tells them, the encoder does when a reflection is read."""
    here = here & getattr(got.targets, name).any(axis=1)
    told = [[tuple(path[:2]) for path in paths] for paths in got.label(name, here)]
    core, nuance = got.named[name].core[here], got.named[name].nuance[here]
    nuances = taxonomy().nuances
    said = [
        [] if one < 0 else [(CORES[one],) if deeper < 0 else (CORES[one], nuances[CORES[one]][deeper])]
        for one, deeper in zip(core.tolist(), nuance.tolist(), strict=True)
    ]
    return m.hierarchical_f1(told, said)
