"""What the risk flags find: precision and recall at each threshold, of the lexical screen alone and of the
whole bundle, where labels are; how well the risk queue's order puts the labelled first; and how often an
everyday text is called high.

`python -m benchmarks.screen FOLDER` takes a folder of raw public corpora. These are development figures: the
screen's rules were corrected after reading some of these corpora's errors.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from benchmarks.command import run
from trainer.data import labelled
from trainer.data.corpora.importer import FOLDERS, import_corpus
from trainer.data.labelled import Labelled
from worker.events.perception import Risk
from worker.events.variables import FLAGS, LEVELS
from worker.features import text
from worker.pipeline import Pipeline
from worker.risk.level import level
from worker.risk.screen import screen
from worker.store.deliveries import risk_score

FLAG = "suicidal_ideation"
LABELLED = ("cssrs", "sdcnl")
EVERYDAY = ("semeval2026", "emobank", "goemotions", "offmychest")
SWEPT = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
AT_ONCE = 128


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="a sub-folder for each corpus")
    parser.add_argument("--bundle", type=Path, help="the starter bundle when left out")
    parser.add_argument("--everyday", action="store_true", help="also the corpora of everyday texts")
    given = parser.parse_args()
    pipeline = Pipeline.open(given.bundle)
    for name in LABELLED:
        _report(name, _rows(name, given.folder), pipeline)
    for name in EVERYDAY if given.everyday else ():
        scores = _screened(_rows(name, given.folder))
        high = np.mean([level(row) == "high" for row in scores])
        print(f"{name}: {high:.2%} of {len(scores)} called high by the screen alone")


def _report(name: str, rows: Sequence[Labelled], pipeline: Pipeline) -> None:
    rows = [row for row in rows if FLAG in row.labels.get("risk", {})]
    truth = np.array([row.labels["risk"][FLAG] >= 0.5 for row in rows])
    at = FLAGS.index(FLAG)
    screened, risks = _screened(rows), _perceived(rows, pipeline)
    whole = np.array([risk.flags[FLAG] for risk in risks])
    shipped = risks[0].thresholds[FLAG]
    print(f"\n{name}: {FLAG} in {truth.mean():.1%} of {len(rows)} posts")
    print("| threshold | screen: precision | recall | bundle: precision | recall | flagged |")
    print("|---|---|---|---|---|---|")
    for threshold in sorted({*SWEPT, shipped}):
        alone, both = screened[:, at] >= threshold, whole >= threshold
        mark = " (shipped)" if threshold == shipped else ""
        figures = (*_figures(truth, alone), *_figures(truth, both), f"{both.mean():.1%}")
        print(f"| {threshold:.2f}{mark} | {' | '.join(figures)} |")
    for lowest in ("high", "medium"):
        called = np.array([LEVELS.index(risk.level) >= LEVELS.index(lowest) for risk in risks])
        precision, recall = _figures(truth, called)
        print(
            f"level {lowest} or above: precision {precision}, recall {recall}, {called.mean():.1%} called so"
        )
    orders = {
        "level, then uncalibrated score (the risk queue)": np.array(
            [LEVELS.index(risk.level) + risk_score(risk) for risk in risks]
        ),
        "level, then the highest calibrated flag (before)": np.array(
            [LEVELS.index(risk.level) + max(risk.flags.values()) for risk in risks]
        ),
        "uncalibrated score alone": np.array([risk_score(risk) for risk in risks]),
        "highest calibrated flag alone": np.array([max(risk.flags.values()) for risk in risks]),
    }
    for what, order in orders.items():
        tied = 1 - len(np.unique(order)) / len(order)
        print(
            f"order by {what}: average precision {average_precision_score(truth, order):.3f}, {tied:.0%} tied"
        )


def _figures(truth: NDArray[np.bool_], called: NDArray[np.bool_]) -> tuple[str, str]:
    """Precision (none without a call) and recall."""
    hits = int((truth & called).sum())
    precision = f"{hits / called.sum():.2f}" if called.any() else "-"
    return precision, f"{hits / max(truth.sum(), 1):.2f}"


def _rows(name: str, folder: Path) -> list[Labelled]:
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / f"{name}.jsonl"
        import_corpus(name, folder / FOLDERS[name], out, now=datetime.now(UTC))
        return labelled.load([out])


def _screened(rows: Sequence[Labelled]) -> NDArray[np.float64]:
    return np.stack([screen(text.read(row.reflection.text)) for row in rows])


def _perceived(rows: Sequence[Labelled], pipeline: Pipeline) -> list[Risk]:
    """Of each row by itself, in their order; what the person wrote before says nothing of the flags."""
    risks: dict[str, Risk] = {}
    for start in range(0, len(rows), AT_ONCE):
        part = [row.reflection for row in rows[start : start + AT_ONCE]]
        risks.update({p.appraisal.reflection.id: p.appraisal.risk for p in pipeline.perceive(part)})
    return [risks[row.reflection.id] for row in rows]


if __name__ == "__main__":
    run(main)
