"""Counts what a bundle said against what is known: every figure of a set of rows, each with its interval and
the simple references on exactly the same rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trainer.evaluate import references as simple
from trainer.evaluate.bootstrap import Estimate, Resampling, Sample
from trainer.evaluate.judge import ALONE, REGIMES, REPORTS, TEXTS, Judged
from trainer.evaluate.metrics import group_means
from trainer.evaluate.slices import Slice
from trainer.evaluate.truth import EMOTIONS, KINDS, NATIVE, OTHER_SCALE, Earlier, Truth, native
from worker.events.taxonomy import taxonomy
from worker.events.variables import CORES, FLAGS, LEVELS
from worker.risk.level import SEVERE

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

MAJORITY, LABEL_MEAN = "majority class", "label mean"
CATEGORY_MEAN, EARLIER_MEAN, EARLIER_LAST = "category mean", "the person's earlier mean", "their last value"
DISCLOSURES = ("disclosure", "emotional_disclosure", "informational_disclosure")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number of one slice. `references` are the same metric of simpler ways on the same rows;
    `against` the paired difference to them: (bundle minus reference, low, high)."""

    by: str
    slice: str
    variable: str
    metric: str
    regime: str
    estimate: Estimate
    references: dict[str, float] = field(default_factory=dict)
    against: dict[str, tuple[float, float, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything figures are counted on; all arrays have a row for each judged one. `references` by task
    (`values`: valence, arousal, willingness, congruence, disclosure, emotional_, informational_;
    `expressed`, `invoked`; `flags`) and name."""

    judged: Judged
    truth: Truth
    before: Earlier
    references: Mapping[str, Mapping[str, Floats]]
    people: Resampling
    thresholds: Mapping[str, float]


TARGETS = ("valence", "arousal", "willingness", "congruence", *DISCLOSURES)
"""Columns of the references' task `values`."""


def measure(evidence: Evidence, part: Slice) -> list[Figure]:
    """All figures of the slice; a metric on zero rows is there with NaN only where the whole is asked for."""
    rows = part.rows
    if part.by != "source":
        rows = rows[~np.isin(evidence.truth.source[rows], OTHER_SCALE)]
    return [
        *_moods(evidence, part, rows),
        *_forecasts(evidence, part, rows),
        *_disclosure(evidence, part),
        *_congruence(evidence, part),
        *_emotions(evidence, part),
        *_native(evidence, part),
        *_flags(evidence, part),
        *_levels(evidence, part),
        *_kin(evidence, part),
        *_intervals(evidence, part, rows),
    ]


def regimes(evidence: Evidence, rows: Rows) -> tuple[str, ...]:
    """The regimes that differ: rows without a past are the same in all, those without check-ins in two."""
    if not (evidence.judged.earlier[rows] > 0).any():
        return (ALONE,)
    reported = (evidence.before.count[rows] > 0).any()
    return REGIMES if reported else (ALONE, TEXTS)


def labelled(values: Floats, rows: Rows) -> Rows:
    return rows[np.isfinite(values[rows])]


Metric = Callable[[Sample, Floats], Estimate]


def _figure(
    part: Slice, variable: str, metric: str, estimate: Estimate, regime: str = ALONE,
    others: Mapping[str, Estimate] | None = None,
) -> Figure:  # fmt: skip
    beside = {name: one for name, one in (others or {}).items() if np.isfinite(one.value)}
    gaps = {name: estimate.minus(one) for name, one in beside.items()}
    return Figure(
        by=part.by, slice=part.name, variable=variable, metric=metric, regime=regime, estimate=estimate,
        references={name: one.value for name, one in beside.items()},
        against={name: (gap.value, gap.low, gap.high) for name, gap in gaps.items()},
    )  # fmt: skip


def _beside(evidence: Evidence, target: str, rows: Rows, history: bool) -> dict[str, Floats]:
    at = TARGETS.index(target)
    found = {name: values[rows, at] for name, values in evidence.references["values"].items()}
    if history and target in KINDS and simple.AVERAGE in found:
        earlier = evidence.before.mean[rows, KINDS.index(target)]
        found[simple.HISTORY] = simple.with_history(found[simple.AVERAGE], earlier)
    return {name: values for name, values in found.items() if np.isfinite(values).all()}


def _moods(evidence: Evidence, part: Slice, rows: Rows) -> Iterator[Figure]:
    own_scale = part.name not in OTHER_SCALE
    for kind in KINDS:
        known = labelled(evidence.truth.values[kind], rows)
        if not len(known):
            continue
        truth, sample = evidence.truth.values[kind][known], evidence.people.sample(known)
        several = sample.counts.shape[1] < len(known)
        for regime in regimes(evidence, known):
            value = evidence.judged.placed[regime][kind][known]
            beside = _beside(evidence, kind, known, regime == REPORTS)
            metrics = {"r": sample.pearson} | ({"composite r": sample.composite} if several else {})
            for name, metric in metrics.items():
                others = {other: metric(truth, guess) for other, guess in beside.items()}
                yield _figure(part, kind, name, metric(truth, value), regime, others)
            if own_scale:
                guesses = beside | {LABEL_MEAN: np.full(len(known), truth.mean())}
                synthetic = evidence.truth.source[known] == "synthetic"
                if synthetic.all():
                    guesses[CATEGORY_MEAN] = group_means(evidence.truth.category[known], truth)
                others = {other: sample.rmse(truth, guess) for other, guess in guesses.items()}
                yield _figure(part, kind, "RMSE", sample.rmse(truth, value), regime, others)


def _forecasts(evidence: Evidence, part: Slice, rows: Rows) -> Iterator[Figure]:
    for at, kind in enumerate(KINDS):
        known = labelled(evidence.truth.values[kind], rows)
        known = known[evidence.before.count[known, at] > 0]
        if len(known) < 2:
            continue
        truth, sample = evidence.truth.values[kind][known], evidence.people.sample(known)
        mean, last = evidence.before.mean[known, at], evidence.before.last[known, at]
        others = {EARLIER_MEAN: sample.rmse(truth, mean), EARLIER_LAST: sample.rmse(truth, last)}
        name = f"expected_{kind}"
        for regime in (TEXTS, REPORTS):
            value = evidence.judged.placed[regime][name][known]
            yield _figure(part, name, "RMSE", sample.rmse(truth, value), regime, others)
            yield _figure(part, name, "partial r given the last", sample.partial(truth, value, last), regime,
                          {EARLIER_MEAN: sample.partial(truth, mean, last)})  # fmt: skip
        if kind == "valence":
            placed = evidence.judged.placed[REPORTS]
            apart = sample.pearson(truth - mean, placed["comparator"][known])
            yield _figure(part, "comparator", "r with label minus the earlier mean", apart, REPORTS)


def _disclosure(evidence: Evidence, part: Slice) -> Iterator[Figure]:
    willingness = evidence.judged.appraised["willingness"]
    for name in DISCLOSURES:
        known = labelled(evidence.truth.values[name], part.rows)
        if len(known):
            outcome, sample = evidence.truth.values[name][known] > 0.5, evidence.people.sample(known)
            beside = _beside(evidence, name, known, False)
            others = {other: sample.auc(outcome, guess) for other, guess in beside.items()}
            yield _figure(part, "willingness", f"AUC ({name.replace('_', ' ')})",
                          sample.auc(outcome, willingness[known]), ALONE, others)  # fmt: skip
    known = labelled(evidence.truth.values["willingness"], part.rows)
    known = known[np.isnan(evidence.truth.values["disclosure"][known])]
    yield from _graded(evidence, part, "willingness", known, willingness, ALONE)


def _congruence(evidence: Evidence, part: Slice) -> Iterator[Figure]:
    known = labelled(evidence.truth.values["congruence"], part.rows)
    for regime in regimes(evidence, known):
        yield from _graded(
            evidence, part, "congruence", known, evidence.judged.placed[regime]["congruence"], regime
        )


def _graded(
    evidence: Evidence, part: Slice, name: str, known: Rows, values: Floats, regime: str
) -> Iterator[Figure]:
    if not len(known):
        return
    truth, sample = evidence.truth.values[name][known], evidence.people.sample(known)
    beside = _beside(evidence, name, known, False)
    others = {other: sample.pearson(truth, guess) for other, guess in beside.items()}
    yield _figure(part, name, "r", sample.pearson(truth, values[known]), regime, others)
    guesses = beside | {LABEL_MEAN: np.full(len(known), truth.mean())}
    others = {other: sample.rmse(truth, guess) for other, guess in guesses.items()}
    yield _figure(part, name, "RMSE", sample.rmse(truth, values[known]), regime, others)


def chosen_core(paths: Sequence[tuple[str, ...]]) -> NDArray[np.int64]:
    """The named core's place in `CORES`, -1 for an abstention."""
    return np.array([CORES.index(path[0]) if path else -1 for path in paths], dtype=np.int64)


def _emotions(evidence: Evidence, part: Slice) -> Iterator[Figure]:
    for name in EMOTIONS:
        paths = evidence.judged.appraised[f"{name}.path"]
        mass = evidence.truth.mass[name]
        known = part.rows[mass[part.rows].any(axis=1)]
        if not len(known):
            continue
        sample, chosen = evidence.people.sample(known), chosen_core(paths[known].tolist())
        guesses = _class_references(evidence, name, known)
        others = {other: sample.core_f1(mass[known], guess) for other, guess in guesses.items()}
        yield _figure(part, name, "core macro-F1", sample.core_f1(mass[known], chosen), ALONE, others)
        told = [evidence.truth.paths[name][at] for at in known]
        cores = {
            other: [[(CORES[one],)] if one >= 0 else [] for one in guess] for other, guess in guesses.items()
        }
        others = {other: sample.hierarchical_f1(told, guess) for other, guess in cores.items()}
        said = [[path] if path else [] for path in paths[known]]
        yield _figure(part, name, "hierarchy-aware F1", sample.hierarchical_f1(told, said), ALONE, others)
        valid = [not path or taxonomy().is_path(path) for path in paths[known]]
        yield _figure(part, name, "path validity", sample.share(valid))
        felt, none = known[mass[known, -1] == 0], known[mass[known, -1] > 0]
        for label, these in (("abstention rate", felt), ("abstention rate where there is none", none)):
            if len(these):
                away = [not path for path in paths[these]]
                yield _figure(part, name, label, evidence.people.sample(these).share(away))
        classes = evidence.judged.appraised[name]
        yield _figure(part, name, "ECE", sample.ece(*confidence(classes[known], mass[known])))


def _class_references(evidence: Evidence, name: str, known: Rows) -> dict[str, NDArray[np.int64]]:
    found = {}
    for other, mass in evidence.references[name].items():
        if np.isfinite(mass[known]).all():
            best = mass[known].argmax(axis=1)
            found[other] = np.where(best < len(CORES), best, -1)
    total = evidence.truth.mass[name][known].sum(axis=0)
    majority = int(total[: len(CORES)].argmax())
    return found | {MAJORITY: np.full(len(known), majority, dtype=np.int64)}


def confidence(classes: Floats, mass: Floats) -> tuple[Floats, Floats]:
    """How much of the label lies on the likeliest class, and the probability it was given; [n] each."""
    best = classes.argmax(axis=1)
    rows = np.arange(len(classes))
    return mass[rows, best], classes[rows, best]


def _native(evidence: Evidence, part: Slice) -> Iterator[Figure]:
    """Macro-F1 in a corpus' own words, where one word a row is the label."""
    name = part.name
    if part.by != "source" or name not in NATIVE:
        return
    rows = [evidence.judged.rows[at] for at in part.rows]
    if not all(isinstance(row.labels.get(name), str) for row in rows):
        return
    words, truth, found = native(
        name, rows, evidence.judged.appraised[f"{NATIVE[name]}.path"][part.rows].tolist()
    )
    estimate = evidence.people.sample(part.rows).macro_f1(truth, found, len(words))
    joined = [word for word in words if " or " in word]
    unsaid = f"; the taxonomy does not tell apart {', '.join(joined)}" if joined else ""
    yield _figure(part, NATIVE[name], f"macro-F1 of {len(words)} {name} labels{unsaid}", estimate)


def _flags(evidence: Evidence, part: Slice) -> Iterator[Figure]:
    for at, flag in enumerate(FLAGS):
        known = labelled(evidence.truth.risk[:, at], part.rows)
        outcome = evidence.truth.risk[known, at] > 0.5
        if not 0 < outcome.sum() < len(outcome):
            continue
        sample, score = evidence.people.sample(known), evidence.judged.appraised["flags"][known, at]
        guesses = {other: values[known, at] for other, values in evidence.references["flags"].items()}
        guesses = {other: guess for other, guess in guesses.items() if np.isfinite(guess).all()}
        for label, metric in (("AUC", sample.auc), ("AP", sample.average_precision)):
            others = {other: metric(outcome, guess) for other, guess in guesses.items()}
            yield _figure(part, flag, label, metric(outcome, score), ALONE, others)
        # A reference flags as many rows as are positive: its own probability has no threshold to go by.
        raised = {other: guess >= np.quantile(guess, 1 - outcome.mean()) for other, guess in guesses.items()}
        raised[MAJORITY] = np.zeros(len(known), dtype=bool)
        others = {other: sample.f1(outcome, guess) for other, guess in raised.items()}
        limit = evidence.thresholds[flag]
        yield _figure(part, flag, f"F1 at {limit:.2f}", sample.f1(outcome, score >= limit), ALONE, others)
        yield _figure(part, flag, "ECE", sample.ece(outcome.astype(np.float64), score))


def _levels(evidence: Evidence, part: Slice) -> Iterator[Figure]:
    """A row is at risk when a severe flag is labelled; without any label an alarm can only be counted."""
    severe = evidence.truth.risk[:, [FLAGS.index(flag) for flag in FLAGS if flag in SEVERE]]
    asked = np.isfinite(severe[part.rows]).any(axis=1)
    level = np.array([LEVELS.index(one) for one in evidence.judged.appraised["level"]])
    known = part.rows[asked]
    at_risk = np.asarray((np.nan_to_num(severe[known]) > 0.5).any(axis=1))
    if at_risk.any():
        for least in ("medium", "high"):
            named = level[known] >= LEVELS.index(least)
            caught = evidence.people.sample(known[at_risk]).share(named[at_risk])
            right = evidence.people.sample(known[named]).share(at_risk[named])
            yield _figure(part, "risk level", f"recall of {least} or above", caught)
            yield _figure(part, "risk level", f"precision of {least} or above", right)
    for label, these in (("not at risk", known[~at_risk]), ("not labelled", part.rows[~asked])):
        if len(these):
            called = level[these] == LEVELS.index("high")
            yield _figure(
                part, "risk level", f"called high though {label}", evidence.people.sample(these).share(called)
            )


def _kin(evidence: Evidence, part: Slice) -> Iterator[Figure]:
    """Labels of something close: distress, and the polarity of tweets."""
    placed = evidence.judged.placed[ALONE]
    for name, kind, sign in (
        ("distress", "valence", -1.0),
        ("distress", "arousal", 1.0),
        ("polarity", "valence", 1.0),
    ):
        known = labelled(evidence.truth.values[name], part.rows)
        if len(known) > 1:
            sample, truth = evidence.people.sample(known), evidence.truth.values[name][known]
            opposite = " (opposite sign)" if sign < 0 else ""
            yield _figure(
                part, kind, f"r with {name}{opposite}", sample.pearson(truth, sign * placed[kind][known])
            )
            if name == "polarity":
                cuts = np.quantile(placed[kind][known], [(truth < 0.25).mean(), (truth < 0.75).mean()])
                found = np.searchsorted(cuts, placed[kind][known], side="right")
                three = sample.macro_f1(np.rint(truth * 2).astype(np.int64), found.astype(np.int64), 3)
                yield _figure(part, kind, "macro-F1 of 3 polarities, cut at their shares", three)


def _intervals(evidence: Evidence, part: Slice, rows: Rows) -> Iterator[Figure]:
    for name, known, truth, ends in interval_rows(evidence, part.rows, rows):
        if len(known) and part.name not in OTHER_SCALE:
            sample = evidence.people.sample(known)
            inside = (truth >= ends[:, 0]) & (truth <= ends[:, 1])
            yield _figure(part, name, "coverage", sample.share(inside), REPORTS)
            yield _figure(part, name, "quantile ECE", sample.quantile_ece(truth, ends), REPORTS)


def interval_rows(
    evidence: Evidence, rows: Rows, own_scale: Rows
) -> Iterator[tuple[str, Rows, Floats, Floats]]:
    """Variable, its rows [m], truths [m] and interval ends [m, 2]; valence and arousal from `own_scale`
    rows only, each row with all of its history."""
    placed, appraised, values = (
        evidence.judged.placed[REPORTS],
        evidence.judged.appraised,
        evidence.truth.values,
    )
    for at, kind in enumerate(KINDS):
        known = labelled(values[kind], own_scale)
        yield kind, known, values[kind][known], placed[f"{kind}.interval"][known]
        later = known[evidence.before.count[known, at] > 0]
        yield f"expected_{kind}", later, values[kind][later], placed[f"expected_{kind}.interval"][later]
        if kind == "valence":
            truth = values[kind][later] - placed["expected_valence"][later]
            yield "comparator", later, truth, placed["comparator.interval"][later]
    known = labelled(values["willingness"], rows)
    yield "willingness", known, values["willingness"][known], appraised["willingness.interval"][known]
    known = labelled(values["congruence"], rows)
    yield "congruence", known, values["congruence"][known], placed["congruence.interval"][known]
