"""What the plausibility check says of honest and of shuffled corpora: `python -m benchmarks.poison DATA...`

DATA are labelled JSONL files; for each source and label: rows, the cross-validated correlation with the text,
that of permuted labels, and in how many of the trials a shuffled copy was refused.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainer.data import labelled, plausible
from trainer.data.labelled import Labelled
from trainer.errors import ImplausibleData
from trainer.features import build
from trainer.settings import TrainerSettings
from worker.features import lexical, text


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.poison")
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--rows", type=int, default=4000, help="most rows a file")
    parser.add_argument("--trials", type=int, default=10)
    options = parser.parse_args()
    print(f"{'source, label':<40}{'rows':>7}{'r':>8}{'permuted':>10}{'within':>8}  shuffled refused")
    for path in options.data:
        rows = labelled.load([path])
        chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[: options.rows])
        _report([rows[at] for at in chosen], options.trials)


def _report(rows: Sequence[Labelled], trials: int) -> None:
    read = [text.read(row.reflection.text, row.reflection.lang) for row in rows]
    words = lexical.extract(read)
    vectors = build.embed([one.normal for one in read], settings=TrainerSettings(), advance=lambda _: None)
    refused: Counter[str] = Counter()
    for trial in range(trials):
        order = np.random.default_rng(trial).permutation(len(rows))
        mixed = [
            dataclasses.replace(row, labels=rows[at].labels) for row, at in zip(rows, order, strict=True)
        ]
        try:
            plausible.check(mixed, words, vectors, seed=trial)
        except ImplausibleData as error:
            refused.update(problem.partition(" (")[0] for problem in error.problems)
    for finding in plausible.check(rows, words, vectors):
        name = f"source {finding.source}, {finding.label}"
        told = f"{name.removeprefix('source '):<40}{finding.rows:>7}"
        if finding.evidence is not None:
            seen = finding.evidence
            within = "" if seen.within is None else f"{seen.within:.2f}"
            told += f"{seen.r:>8.2f}{seen.deviation:>10.3f}{within:>8}  {refused[name]} of {trials}"
        print(told, flush=True)


if __name__ == "__main__":
    main()
