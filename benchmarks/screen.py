"""What the lexical risk screen finds by itself, before any model: precision and recall where labels are,
and how often it calls an everyday text high.

`python -m benchmarks.screen FOLDER` takes a folder of raw public corpora.
"""

from __future__ import annotations

import argparse
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from trainer.data import labelled
from trainer.data.corpora.importer import FOLDERS, import_corpus
from trainer.data.labelled import Labelled
from worker.events.variables import FLAGS
from worker.features import text
from worker.risk.level import THRESHOLDS, level
from worker.risk.screen import screen

FLAG = "suicidal_ideation"
LABELLED = "cssrs"
EVERYDAY = ("semeval2026", "emobank", "goemotions", "offmychest")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="a sub-folder for each corpus")
    folder = parser.parse_args().folder
    rows = [row for row in _rows(LABELLED, folder) if FLAG in row.labels.get("risk", {})]
    truth = np.array([row.labels["risk"][FLAG] >= 0.5 for row in rows])
    found = _scores(rows)[:, FLAGS.index(FLAG)] >= THRESHOLDS[FLAG]
    hits = int((truth & found).sum())
    print(
        f"{LABELLED}: {FLAG} in {truth.mean():.1%} of {len(rows)}:"
        f" precision {hits / max(found.sum(), 1):.2f}, recall {hits / max(truth.sum(), 1):.2f}"
    )
    for name in EVERYDAY:
        scores = _scores(_rows(name, folder))
        high = np.mean([level(row) == "high" for row in scores])
        print(f"{name}: {high:.2%} of {len(scores)} called high")


def _rows(name: str, folder: Path) -> list[Labelled]:
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / f"{name}.jsonl"
        import_corpus(name, folder / FOLDERS[name], out, now=datetime.now(UTC))
        return labelled.load([out])


def _scores(rows: list[Labelled]) -> np.ndarray:
    return np.stack([screen(text.read(row.reflection.text)) for row in rows])


if __name__ == "__main__":
    main()
