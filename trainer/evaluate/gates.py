"""The product page's gates on a bundle: value, threshold, verdict. Zero rows are a failure and say so."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from trainer.evaluate.canaries import Canary
from trainer.evaluate.figures import CATEGORY_MEAN, EARLIER_LAST, EARLIER_MEAN, Figure
from trainer.evaluate.judge import ALONE, REPORTS
from worker.bundle.contents import INTERVALS

NO_ROWS = "no rows"
EFFECTIVE = 700
"""Rows from which a slice's coverage is held to the gate."""
COVERED, TOLERANCE = 0.80, 0.03
CALIBRATED = 0.05


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One line of the table. `value` NaN: no rows, and failed."""

    name: str
    asked: str
    value: float
    low: float
    high: float
    rows: int
    passed: bool

    @property
    def verdict(self) -> str:
        return "passed" if self.passed else "failed" if self.rows else f"failed: {NO_ROWS}"


def judge(figures: Sequence[Figure], canaries: Sequence[Canary]) -> list[Gate]:
    """Every gate of section 7, in its order."""
    known = {(one.by, one.slice, one.variable, one.metric, one.regime): one for one in figures}

    def source(name: str, variable: str, metric: str, regime: str = ALONE) -> Figure | None:
        return known.get(("source", name, variable, metric, regime))

    synthetic = source("synthetic", "valence", "RMSE", REPORTS) or source("synthetic", "valence", "RMSE")
    limit = 0.7 * synthetic.references.get(CATEGORY_MEAN, math.nan) if synthetic else math.nan
    disclosure = next(
        (one for one in figures if one.slice == "offmychest" and one.metric == "AUC (disclosure)"), None
    )
    congruence = source("synthetic", "congruence", "RMSE", REPORTS) or source(
        "synthetic", "congruence", "RMSE"
    )
    gates = [
        _gate(
            "valence RMSE on synthetic",
            f"<= {limit:.3f}, 30 % below the category mean" if synthetic else "30 % below the category mean",
            synthetic,
            lambda value: value <= limit,
        ),
        _gate(
            "valence composite r on SemEval-2026, with history",
            ">= 0.70",
            source("semeval2026", "valence", "composite r", REPORTS),
            lambda value: value >= 0.70,
        ),
        _gate(
            "arousal composite r on SemEval-2026, with history",
            ">= 0.60",
            source("semeval2026", "arousal", "composite r", REPORTS),
            lambda value: value >= 0.60,
        ),
    ]
    for name in ("invoked", "expressed"):
        f1 = source("synthetic", name, "core macro-F1")
        gates.append(_gate(f"{name} core macro-F1 on synthetic", ">= 0.75", f1, lambda value: value >= 0.75))
        valid = known.get(("all", "all", name, "path validity", ALONE))
        gates.append(_gate(f"{name} path validity", "100 %", valid, lambda value: value == 1.0))
    gates.append(_gate("willingness AUC on OffMyChest", ">= 0.76", disclosure, lambda value: value >= 0.76))
    gates.append(_gate("congruence RMSE on synthetic", "<= 0.12", congruence, lambda value: value <= 0.12))
    gates += _forecast(source)
    gates += _calibration(figures)
    gates += _coverage(figures)
    gates += _text(canaries)
    return gates


def _gate(name: str, asked: str, figure: Figure | None, holds: Callable[[float], bool]) -> Gate:
    if figure is None:
        return Gate(name=name, asked=asked, value=math.nan, low=math.nan, high=math.nan, rows=0, passed=False)
    one = figure.estimate
    return Gate(
        name=name, asked=asked, value=one.value, low=one.low, high=one.high, rows=one.rows,
        passed=math.isfinite(one.value) and bool(holds(one.value)),
    )  # fmt: skip


def _forecast(source: Callable[..., Figure | None]) -> Iterator[Gate]:
    for kind in ("valence", "arousal"):
        figure = source("semeval2026", f"expected_{kind}", "RMSE", REPORTS)
        for other in (EARLIER_MEAN, EARLIER_LAST):
            gap = figure.against.get(other) if figure else None
            yield Gate(
                name=f"{kind} forecast's RMSE minus that of {other}, SemEval-2026",
                asked="< 0, the whole interval",
                value=gap[0] if gap else math.nan,
                low=gap[1] if gap else math.nan,
                high=gap[2] if gap else math.nan,
                rows=figure.estimate.rows if figure and gap else 0,
                passed=bool(gap and gap[2] < 0),
            )
        partial = source("semeval2026", f"expected_{kind}", "partial r given the last", REPORTS)
        yield _gate(
            f"{kind} forecast's partial r given the last value", "> 0", partial, lambda value: value > 0
        )


def _calibration(figures: Sequence[Figure]) -> Iterator[Gate]:
    whole = [one for one in figures if one.by == "all" and one.metric in ("ECE", "quantile ECE")]
    for name in ("expressed", "invoked", *INTERVALS):
        metric = "quantile ECE" if name in INTERVALS else "ECE"
        figure = next((one for one in whole if one.variable == name and one.metric == metric), None)
        yield _gate(f"{name} {metric}", f"<= {CALIBRATED}", figure, lambda value: value <= CALIBRATED)
    for figure in whole:
        if figure.variable not in ("expressed", "invoked", *INTERVALS):
            yield _gate(
                f"{figure.variable} ECE", f"<= {CALIBRATED}", figure, lambda value: value <= CALIBRATED
            )


def _coverage(figures: Sequence[Figure]) -> Iterator[Gate]:
    covered = [one for one in figures if one.metric == "coverage"]
    asked = "80 % +- 3"
    for name in INTERVALS:
        figure = next((one for one in covered if one.variable == name and one.by == "all"), None)
        yield _gate(f"{name} coverage", asked, figure, _near)
    for one in covered:
        if one.by != "all" and one.estimate.rows >= EFFECTIVE:
            yield _gate(f"{one.variable} coverage, {one.by} {one.slice}", asked, one, _near)


def _near(value: float) -> bool:
    return abs(value - COVERED) <= TOLERANCE + 1e-9


def _text(canaries: Sequence[Canary]) -> Iterator[Gate]:
    """A model no better with the text than with shuffled text fails, on every source it can be seen on."""
    for name, chosen in (
        ("better with the text than with shuffled text", [one for one in canaries if one.text]),
        ("canaries", [one for one in canaries if not one.text]),
    ):
        asked = [one for one in chosen if one.passed is not None]
        held = sum(bool(one.passed) for one in asked)
        share = held / len(asked) if asked else math.nan
        yield Gate(
            name=name, asked=f"all {len(asked)} checks", value=share, low=math.nan, high=math.nan,
            rows=len(asked), passed=bool(asked) and held == len(asked),
        )  # fmt: skip
