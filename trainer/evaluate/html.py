"""The report as people and programs read it: one self-contained HTML file, and JSON with the same figures."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.box import SIMPLE_HEAD
from rich.table import Table

from trainer.errors import TrainerError
from trainer.evaluate.bootstrap import Estimate
from trainer.evaluate.evaluation import Evaluation
from trainer.evaluate.figures import Figure
from trainer.evaluate.gates import NO_ROWS, Gate
from trainer.evaluate.judge import ALONE, REGIMES, REPORTS
from trainer.evaluate.reliability import forest, picture

TEMPLATE = "report.html.j2"
HEADLINES = ("composite r", "core macro-F1", "AUC", "AUC (disclosure)", "r")
MATRIX = (
    ("valence", "r"), ("valence", "RMSE"), ("valence", "coverage"), ("arousal", "r"), ("arousal", "RMSE"),
    ("arousal", "coverage"), ("expected_valence", "RMSE"), ("expected_arousal", "RMSE"),
    ("expressed", "core macro-F1"), ("invoked", "core macro-F1"), ("willingness", "AUC (disclosure)"),
    ("congruence", "RMSE"), ("suicidal_ideation", "AUC"), ("sarcasm", "AUC"),
)  # fmt: skip
"""Figures of the table of slices; the JSON holds all."""


def write(evaluation: Evaluation, folder: Path) -> tuple[Path, Path]:
    """`report.html` and `report.json` in `folder`, made when missing. Raises `TrainerError` when it cannot
    be written."""
    page, data = folder / "report.html", folder / "report.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        data.write_bytes(orjson.dumps(document(evaluation), option=orjson.OPT_INDENT_2))
        page.write_text(render(evaluation), encoding="utf-8")
    except OSError as error:
        raise TrainerError(f"cannot write the report to {folder}: {error.strerror}") from error
    return page, data


def document(evaluation: Evaluation) -> dict[str, Any]:
    """Everything, numbers as they are; null where there are no rows."""
    facts = evaluation.manifest
    return {
        "bundle": {
            "name": facts.name, "model_version": facts.model_version, "digest": facts.digest,
            "created_at": facts.created_at, "evidence": facts.evidence,
            "may_ship": all(source.may_ship for source in facts.data),
            "data": [source.model_dump() for source in facts.data],
        },
        "passed": evaluation.passed,
        "gates": [
            {"gate": one.name, "asked": one.asked, "value": _null(one.value),
             "interval": _ends(one.low, one.high), "rows": one.rows, "passed": one.passed,
             "verdict": one.verdict}
            for one in evaluation.gates
        ],
        "leakage": evaluation.membership.to_json(),
        "coverage": evaluation.coverage,
        "canaries": [
            {"canary": one.name, "detail": one.detail, "passed": one.passed} for one in evaluation.canaries
        ],
        "figures": [_figure(one) for one in evaluation.figures],
        "ablation": [
            {"variable": one.variable, "base": one.base, "source": one.source, "metric": one.metric,
             "whole": one.whole.value, "without": one.without.value, "change": one.change.value,
             "interval": _ends(one.change.low, one.change.high), "rows": one.change.rows}
            for one in evaluation.losses
        ],
        "gate_weights": evaluation.weights,
        "reliability": [one.to_json() for one in evaluation.diagrams],
    }  # fmt: skip


def render(evaluation: Evaluation) -> str:
    """The HTML; everything from the data is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "interval": interval, "thousands": lambda value: f"{value:,}"}
    sources = _grouped([one for one in evaluation.figures if one.by == "source"])
    bases = _bases(evaluation.weights)
    return environment.get_template(TEMPLATE).render(
        facts=evaluation.manifest,
        evaluation=evaluation,
        headline=forest(headlines(evaluation.figures)) if headlines(evaluation.figures) else None,
        pictures={kind: picture(chosen) for kind, chosen in _kinds(evaluation.diagrams).items()},
        sources=sources,
        everything=_grouped([one for one in evaluation.figures if one.by == "all"]).get("all", []),
        matrix=MATRIX,
        slices=_matrix(evaluation.figures),
        weights=bases,
        no_rows=NO_ROWS,
        share=max,
    )


def headlines(figures: Sequence[Figure]) -> list[Figure]:
    """The figures of the first picture: correlations, F1 and AUC by source, with and without history."""
    chosen = [one for one in figures if one.by == "source" and one.metric in HEADLINES]
    composite = {(one.slice, one.variable) for one in chosen if one.metric == "composite r"}
    return [
        one
        for one in chosen
        if math.isfinite(one.estimate.value)
        and one.regime in (ALONE, REPORTS)
        and not (one.metric == "r" and (one.slice, one.variable) in composite)
    ]


def table(evaluation: Evaluation) -> Table:
    """The gates, for a terminal."""
    shown = Table("gate", "asked", "value", "rows", "", box=SIMPLE_HEAD, padding=(0, 1))
    for one in evaluation.gates:
        colour = "green" if one.passed else "red"
        shown.add_row(one.name, one.asked, _told(one), f"{one.rows:,}", f"[{colour}]{one.verdict}[/{colour}]")
    return shown


def _told(gate: Gate) -> str:
    ends = f" [{gate.low:.3f}, {gate.high:.3f}]".replace("[", "\\[") if math.isfinite(gate.low) else ""
    return f"{number(gate.value)}{ends}"


def number(value: float | None) -> str:
    """Three digits after the point, or that there are no rows."""
    return NO_ROWS if value is None or not math.isfinite(value) else f"{value:.3f}"


def interval(estimate: Estimate) -> str:
    """The 95 % interval, empty where there is none."""
    return f"[{estimate.low:.3f}, {estimate.high:.3f}]" if math.isfinite(estimate.low) else ""


def _figure(one: Figure) -> dict[str, Any]:
    estimate = one.estimate
    return {
        "by": one.by, "slice": one.slice, "variable": one.variable, "metric": one.metric,
        "regime": one.regime, "rows": estimate.rows, "people": estimate.people,
        "value": _null(estimate.value), "interval": _ends(estimate.low, estimate.high),
        "references": one.references,
        "against": {
            name: {"difference": gap[0], "interval": _ends(*gap[1:])} for name, gap in one.against.items()
        },
    }  # fmt: skip


def _null(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _ends(low: float, high: float) -> list[float] | None:
    return [low, high] if math.isfinite(low) and math.isfinite(high) else None


def _grouped(figures: Iterable[Figure]) -> dict[str, list[Figure]]:
    found: defaultdict[str, list[Figure]] = defaultdict(list)
    for one in figures:
        found[one.slice].append(one)
    return dict(found)


def _kinds(diagrams: Sequence[Any]) -> dict[str, list[Any]]:
    found: defaultdict[str, list[Any]] = defaultdict(list)
    for one in diagrams:
        found[one.kind].append(one)
    return dict(found)


def _matrix(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """A line a slice: the figures of `MATRIX`, each in the regime with the most history."""
    lines: dict[tuple[str, str], dict[tuple[str, str], Figure]] = {}
    for one in sorted(figures, key=lambda figure: REGIMES.index(figure.regime)):
        lines.setdefault((one.by, one.slice), {})[one.variable, one.metric] = one
    return [
        {"by": by, "slice": name, "cells": [cells.get(key) for key in MATRIX]}
        for (by, name), cells in lines.items()
        if any(key in cells for key in MATRIX)
    ]


def _bases(weights: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One table a variable: its bases, and a line of mean weights for each slice."""
    found: dict[str, dict[str, Any]] = {}
    for one in weights:
        held = found.setdefault(one["variable"], {"variable": one["variable"], "bases": [], "lines": []})
        held["bases"] = list(dict.fromkeys([*held["bases"], *one["weights"]]))
        held["lines"].append(one)
    return [held for held in found.values() if len(held["bases"]) > 1]
