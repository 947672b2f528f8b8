"""Small animals that fall over first: signs that a bundle, or this evaluation of it, is broken.

Features that never move, a model that does as well with somebody else's text, an error no smaller than the
label's own spread, a comparator that is not the difference it is defined as.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.evaluate.bootstrap import Estimate
from trainer.evaluate.figures import Evidence, labelled
from trainer.evaluate.judge import ALONE, PLACED, REPORTS
from trainer.evaluate.truth import EMOTIONS, KINDS, OTHER_SCALE, VALUES
from worker.features.lexical import LEXICAL

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

FEWEST = 100
"""Labelled rows of a source below which shuffling proves nothing."""


@dataclass(frozen=True, kw_only=True)
class Canary:
    """One check. `passed` None: no rows to check on. `text` marks those that show the text counts."""

    name: str
    detail: str
    passed: bool | None
    text: bool = False


def check(evidence: Evidence, sources: Mapping[str, Rows]) -> list[Canary]:
    return [
        *_features(evidence),
        _identity(evidence),
        *(one for name, rows in sources.items() for one in _source(evidence, name, rows)),
    ]


def _features(evidence: Evidence) -> Iterator[Canary]:
    table = evidence.judged.appraised
    if len(table) < FEWEST:
        yield Canary(name="features are not constant", detail=f"no more than {len(table)} rows", passed=None)
        return
    flat = [
        name for name, spread in zip(LEXICAL, np.ptp(table["lexical"], axis=0), strict=True) if spread == 0
    ]
    dead = int((np.ptp(table["vectors"], axis=0) == 0).sum())
    named = f" ({', '.join(flat)})" if flat else ""
    yield Canary(
        name="features are not constant",
        detail=f"{len(flat)} of {len(LEXICAL)} lexical features{named} and {dead} of the embedding's "
        f"{table['vectors'].shape[1]} numbers never vary; at most a third of the lexical may",
        passed=dead == 0 and 3 * len(flat) <= len(LEXICAL),
    )
    for stage, names in ((table, ("willingness", *EMOTIONS)), (evidence.judged.placed[REPORTS], PLACED)):
        for name in names:
            still = [
                base
                for base in stage.bases(name)
                if np.nanmax(np.nan_to_num(np.ptp(np.nan_to_num(stage[f"{name}.of.{base}"]), axis=0))) == 0
            ]
            if still:
                detail = f"{name}: {', '.join(still)} says the same of every row"
                yield Canary(name="bases are not constant", detail=detail, passed=False)


def _identity(evidence: Evidence) -> Canary:
    placed = evidence.judged.placed[REPORTS]
    off = np.abs(placed["comparator"] - (placed["valence"] - placed["expected_valence"]))
    worst = float(off.max(initial=0.0))
    return Canary(
        name="comparator is valence minus expected valence",
        detail=f"largest difference {worst:.1e}",
        passed=worst <= 1e-12 if len(off) else None,
    )


def _source(evidence: Evidence, source: str, rows: Rows) -> Iterator[Canary]:
    judged, truth = evidence.judged, evidence.truth
    for name in VALUES:
        known = labelled(truth.values[name], rows)
        if len(known) < FEWEST or np.ptp(truth.values[name][known]) == 0:
            continue
        goal, sample = truth.values[name][known], evidence.people.sample(known)
        for regime in (ALONE, REPORTS) if (judged.earlier[known] > 0).any() else (ALONE,):
            own = judged.appraised[name] if name == "willingness" else judged.placed[regime][name]
            other = judged.shuffled[name] if name == "willingness" else judged.placed_shuffled[regime][name]
            if source in OTHER_SCALE or name == "willingness":
                gain = sample.pearson(goal, own[known]).minus(sample.pearson(goal, other[known]))
                yield _text(source, f"{name}, {regime}", "r", gain)
            else:
                error = sample.rmse(goal, own[known])
                yield _text(source, f"{name}, {regime}", "RMSE", sample.rmse(goal, other[known]).minus(error))
            if name == "willingness":
                break
        if source not in OTHER_SCALE and name in KINDS:
            fit = sample.rmse(goal, judged.placed[REPORTS][name][known])
            spread = float(goal.std())
            yield Canary(
                name="RMSE is below the label's SD",
                detail=f"{source} {name}: {fit.value:.3f} against {spread:.3f} ({fit.rows:,} rows)",
                passed=fit.value < spread,
            )
    for name in EMOTIONS:
        known = rows[truth.mass[name][rows].any(axis=1)]
        if len(known) < FEWEST:
            continue
        sample, mass = evidence.people.sample(known), truth.mass[name][known]
        felt, guessed = (
            sample.share((mass * np.log(np.maximum(table[name][known], 1e-6))).sum(axis=1))
            for table in (judged.appraised, judged.shuffled)
        )
        yield _text(source, name, "log-likelihood", felt.minus(guessed))


def _text(source: str, what: str, metric: str, gain: Estimate) -> Canary:
    return Canary(
        name="shuffled texts score worse",
        detail=f"{source} {what}: {metric} {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] better with "
        f"the own text ({gain.rows:,} rows)",
        passed=bool(gain.low > 0),
        text=True,
    )
