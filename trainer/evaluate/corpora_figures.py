"""What a rebuild's cross-fitted values are worth on each source, in the words and on the scale its authors
labelled it with.

A source that is not among the rows has no figures; one whose labels allow none (all of one class) gives NaN,
which the report leaves out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trainer.evaluate import decisions, people_figures
from trainer.evaluate import metrics as m
from trainer.evaluate.predicted import Figures, Floats, Predicted, Rows
from worker.events.variables import CORES, FLAGS

KINDS = ("valence", "arousal")


def _emobank(got: Predicted, here: Rows) -> Figures:
    found = {}
    for where, rows in (("dev", got.dev(here)), ("all", here)):
        for kind in KINDS:
            found[f"{kind} r, {where}"] = m.pearson(got.label(kind, rows), got.text(kind, rows))
    return found


def _vreg(got: Predicted, here: Rows) -> Figures:
    return {"valence r": m.pearson(got.label("valence", here), got.text("valence", here))}


def _empathic(got: Predicted, here: Rows) -> Figures:
    distress = np.array(got.label("distress", here), dtype=np.float64)
    return {
        "valence r with distress (opposite sign)": m.pearson(distress, -got.text("valence", here)),
        "arousal r with distress": m.pearson(distress, got.text("arousal", here)),
    }


def _goemotions(got: Predicted, here: Rows) -> Figures:
    dev = got.dev(here)
    found = {
        "expressed core macro-F1, dev": got.core_f1("expressed", dev),
        "expressed macro-F1 of cores and none, dev": _with_none(got, dev),
        "expressed core macro-F1": got.core_f1("expressed", here),
    }
    if native := _native(got, "goemotions", here):
        labels, scores = native
        truth = np.array([[one in told for one in labels] for told in got.label("goemotions", here)])
        part = dev[here]
        raised = decisions.several(scores, truth, got.fold[here])[part]
        found[f"macro-F1 of {len(labels)} labels, dev"] = _mean_f1(truth[part], raised)
    return found


def _with_none(got: Predicted, here: Rows) -> float:
    """Abstaining is a class of its own here; of several true cores any is right."""
    truth, chosen = got.targets.expressed[here], got.named["expressed"].core[here]
    place = np.where(chosen >= 0, chosen, len(CORES))
    right = truth[np.arange(len(truth)), place] > 0
    told = np.where(right, place, truth.argmax(axis=1))
    return m.macro_f1([f"{one}" for one in told], [f"{one}" for one in place])


def _masac(got: Predicted, here: Rows) -> Figures:
    found = {"expressed core macro-F1": got.core_f1("expressed", here)}
    return found | _own_words(got, "masac", here)


def _isear(got: Predicted, here: Rows) -> Figures:
    return {"invoked core macro-F1": got.core_f1("invoked", here)} | _own_words(got, "isear", here)


def _own_words(got: Predicted, name: str, here: Rows) -> Figures:
    """Macro-F1 of the one label each row has, in the corpus' words."""
    if not (native := _native(got, name, here)):
        return {}
    labels, scores = native
    named = [labels[at] for at in scores.argmax(axis=1)]
    return {f"macro-F1 of {len(labels)} labels": m.macro_f1(got.label(name, here), named, labels)}


def _native(got: Predicted, name: str, here: Rows) -> tuple[tuple[str, ...], Floats] | None:
    """The corpus' own labels and their mean distribution over the bases [rows, labels], if they were
    learned."""
    if name not in got.columns or name not in got.targets.native:
        return None
    scores: Floats = np.mean([values[here] for values in got.columns[name].values()], axis=0)
    return got.targets.native[name].labels, scores


def _offmychest(got: Predicted, here: Rows) -> Figures:
    score = got.appraised.stacks["willingness"].after[here]
    marks = ("emotional_disclosure", "informational_disclosure")
    told = [np.array(got.label(mark, here)) > 0.5 for mark in marks]
    found = {
        f"{mark.replace('_', ' ')} AUC": m.auc(one, score) for mark, one in zip(marks, told, strict=True)
    }
    return found | {"disclosure AUC": m.auc(told[0] | told[1], score)}


def _sentimix(got: Predicted, here: Rows) -> Figures:
    value, dev = got.text("valence", here), got.dev(here)[here]
    polarity = np.array(got.label("polarity", here), dtype=np.float64)
    grade = np.rint(2 * polarity).astype(np.int64)
    named = decisions.grades(value, grade, got.fold[here])
    found = {}
    for where, rows in (("dev", dev), ("all", np.ones(len(value), dtype=bool))):
        found[f"valence r with polarity, {where}"] = m.pearson(polarity[rows], value[rows])
        found[f"macro-F1 of 3 polarities, {where}"] = _mean_f1(
            grade[rows, None] == np.arange(3), named[rows, None] == np.arange(3)
        )
    return found


def _isarcasm(got: Predicted, here: Rows) -> Figures:
    """Task A is asked of the tweets; the rephrases are the same authors' sincere words."""
    plain = np.array([bool(row.labels.get("rephrase")) for row in got.rows])
    found = {}
    for where, rows in (("tweets", here & ~plain), ("tweets and rephrases", here)):
        truth, score = got.flag("sarcasm", rows)
        known = rows & np.isfinite(got.targets.risk[:, FLAGS.index("sarcasm")])
        named = decisions.raised(score, truth, got.fold[known])
        found[f"sarcasm F1, {where}"] = _mean_f1(truth[:, None], named[:, None])
        found[f"sarcasm AUC, {where}"] = m.auc(truth, score)
    return found


def _suicidal(got: Predicted, here: Rows) -> Figures:
    truth, score = got.flag("suicidal_ideation", here)
    return {
        "suicidal ideation AUC": m.auc(truth, score),
        "suicidal ideation AP": m.average_precision(truth, score) if truth.any() else float("nan"),
    }


def _dreaddit(got: Predicted, here: Rows) -> Figures:
    stressed = np.array(got.label("stress", here), dtype=np.float64) > 0.5
    return {
        "abuse AUC": m.auc(*got.flag("abuse", here)),
        "stress AUC of low valence": m.auc(stressed, -got.text("valence", here)),
        "stress AUC of arousal": m.auc(stressed, got.text("arousal", here)),
    }


def _mean_f1(truth: NDArray[np.bool_], named: NDArray[np.bool_]) -> float:
    """Mean over the columns [n, k] that are true anywhere; NaN where none is."""
    some = truth.any(axis=0)
    both, either = (truth & named).sum(axis=0)[some], (truth.sum(axis=0) + named.sum(axis=0))[some]
    return float(np.mean(2 * both / either)) if some.any() else float("nan")


SOURCES: dict[str, Callable[[Predicted, Rows], Figures]] = {
    "semeval2026": people_figures.semeval2026,
    "emobank": _emobank,
    "vreg": _vreg,
    "empathic": _empathic,
    "goemotions": _goemotions,
    "masac": _masac,
    "isear": _isear,
    "offmychest": _offmychest,
    "sentimix": _sentimix,
    "isarcasm": _isarcasm,
    "cssrs": _suicidal,
    "sdcnl": _suicidal,
    "dreaddit": _dreaddit,
    "synthetic": people_figures.synthetic,
}
