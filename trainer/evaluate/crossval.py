"""Person-wise cross-validation of the whole recipe, beside the simple references on the same folds.

python -m trainer.evaluate.crossval --data semeval.jsonl [more.jsonl ...] [--plan starter] [--folds 5]

Nothing is shared with the held-out people: for each fold a bundle is rebuilt from everybody else's rows
(with its own inner cross-fitting, gates and calibrators), written, opened by the worker's own pipeline, and
the held-out people are perceived by it three times: each text as a stranger's only one, with the person's
earlier texts, and with the earlier self-reports as well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from trainer import plan as plans
from trainer import rebuild
from trainer.data import labelled
from trainer.data.labelled import Labelled
from trainer.evaluate import references as simple
from trainer.evaluate.judge import REGIMES
from trainer.evaluate.metrics import Composite, composite, rmse
from trainer.evaluate.truth import KINDS, earlier
from trainer.features.build import embed
from trainer.plan import Plan
from trainer.settings import TrainerSettings
from trainer.splits import selection, split
from worker.errors import FeltsenseError
from worker.events.perception import Perception
from worker.events.reflection import Reflection
from worker.events.taxonomy import taxonomy
from worker.pipeline import Pipeline
from worker.settings import Settings

Floats = NDArray[np.float64]


def cross_validate(
    rows: Sequence[Labelled],
    plan: Plan,
    *,
    source: str,
    count: int,
    console: Console,
    settings: TrainerSettings,
) -> tuple[list[Labelled], dict[str, Floats]]:
    """The judged rows (those of `source` with both labels), and for every way of predicting them [n, 2]:
    valence, arousal."""
    plan = plan.model_copy(update={"holdout": False})  # the outer folds hold people out
    taken = selection.select(rows, plan)
    parts = split.make(taken, plan, taxonomy(), count=count, seed=plan.seed + 1)
    mine = [at for at, row in enumerate(taken) if row.source == source and set(KINDS) <= row.labels.keys()]
    judged = [taken[at] for at in mine]
    fold_of = parts.fold[mine]
    found = {name: np.full((len(judged), 2), np.nan) for name in REGIMES}
    for number in range(count):
        console.print(f"outer fold {number + 1} of {count}")
        held = np.flatnonzero(fold_of == number)
        with tempfile.TemporaryDirectory() as scratch:
            bundle = Path(scratch) / "bundle"
            outside = (parts.fold != number) & parts.learned
            train = [row for row, used in zip(taken, outside, strict=True) if used]
            rebuild.fit(train, plan, bundle, Console(quiet=True), settings)
            worker = Settings(
                cache_dir=settings.cache_dir, device_plan=("CPU",), temporal_device_plan=("CPU",)
            )
            with Pipeline.open(bundle, worker) as pipeline:
                for name, values in _perceive(pipeline, [judged[row].reflection for row in held]).items():
                    found[name][held] = values
    return judged, found | references(judged, fold_of, settings)


def _perceive(pipeline: Pipeline, held: Sequence[Reflection]) -> dict[str, Floats]:
    silent = [replace(one, self_report=None) for one in held]
    strangers = [replace(one, user_id=f"{number}") for number, one in enumerate(silent)]
    regimes = dict(zip(REGIMES, (strangers, silent, held), strict=True))
    return {name: _values(pipeline.perceive(part), part) for name, part in regimes.items()}


def _values(perceptions: Sequence[Perception], order: Sequence[Reflection]) -> Floats:
    by_id = {one.appraisal.reflection.id: one.placement for one in perceptions}
    return np.array([[by_id[one.id].valence, by_id[one.id].arousal] for one in order])


def references(
    judged: Sequence[Labelled], fold: NDArray[np.int64], settings: TrainerSettings
) -> dict[str, Floats]:
    """The simple references of `trainer.evaluate.references` on the same folds, [n, 2] each."""
    texts = [row.reflection.text for row in judged]
    truth = np.array([[row.labels[kind] for kind in KINDS] for row in judged])
    vectors = embed(texts, settings=settings, advance=lambda _: None).astype(np.float64)
    found = simple.out_of_fold(texts, vectors, fold, {"": simple.Task(kind="values", truth=truth)})[""]
    before = earlier(judged, truth).mean
    found[simple.HISTORY] = simple.with_history(found[simple.AVERAGE], before)
    return {f"reference: {name}": values for name, values in found.items()}


def score(
    judged: Sequence[Labelled], found: Mapping[str, Floats]
) -> dict[str, dict[str, tuple[Composite, float]]]:
    """Way of predicting -> kind -> (composite r with its parts, RMSE)."""
    people = [row.reflection.user_id for row in judged]
    truth = {kind: np.array([row.labels[kind] for row in judged]) for kind in KINDS}
    return {
        name: {
            kind: (composite(truth[kind], values[:, at], people), rmse(truth[kind], values[:, at]))
            for at, kind in enumerate(KINDS)
        }
        for name, values in found.items()
    }


def table(scores: Mapping[str, Mapping[str, tuple[Composite, float]]], rows: int, people: int) -> Table:
    shown = Table(title=f"person-wise cross-validation: {rows} rows of {people} people", title_justify="left")
    shown.add_column("predicted by")
    for kind in KINDS:
        for part in ("composite r", "within", "between", "RMSE"):
            shown.add_column(f"{kind} {part}" if part == "composite r" else part, justify="right")
    for name, kinds in scores.items():
        cells = []
        for kind in KINDS:
            r, error = kinds[kind]
            cells += [f"{value:.3f}" for value in (r.value, r.within, r.between, error)]
        shown.add_row(name, *cells)
    return shown


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer.evaluate.crossval", description="Judge the recipe."
    )
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="labelled JSONL files")
    parser.add_argument("--plan", default="starter", help="a plan of trainer/plans, or a TOML file")
    parser.add_argument("--source", default="semeval2026", help="the source whose people are judged")
    parser.add_argument("--folds", type=int, default=5, help="outer folds")
    options = parser.parse_args(arguments)
    console = Console(width=150)
    try:
        judged, found = cross_validate(
            labelled.load(options.data),
            plans.read(options.plan),
            source=options.source,
            count=options.folds,
            console=console,
            settings=TrainerSettings(),
        )
    except FeltsenseError as error:
        console.print(f"[red]{error}[/red]")
        return error.exit_code
    console.print(table(score(judged, found), len(judged), len({row.reflection.user_id for row in judged})))
    return 0


if __name__ == "__main__":
    sys.exit(main())
