"""The recipe: labelled rows in, a bundle out. Read this first; every step is a line of `fit`.

    python -m trainer.rebuild DATA... [--plan starter] [--out worker/starter]

DATA are labelled JSONL files, or a folder of raw corpora, one sub-folder each, which the importers read.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from trainer import plan as plans
from trainer.data import labelled, synthetic
from trainer.data.corpora.importer import FOLDERS, import_corpus
from trainer.data.labelled import Labelled
from trainer.errors import TrainerError
from trainer.evaluate import report
from trainer.export import card, facts, openvino
from trainer.features import build, targets
from trainer.fit import text
from trainer.oof import appraisal, crossfit, decision, placement
from trainer.plan import Plan
from trainer.settings import TrainerSettings
from trainer.splits import selection, split
from worker.bundle import writer
from worker.bundle.contents import Contents
from worker.bundle.manifest import Manifest
from worker.errors import FeltsenseError
from worker.events.taxonomy import taxonomy

STARTER = Path(__file__).parent.parent / "worker" / "starter"


def rebuild(data: Sequence[Path], plan: str | Path, out: Path, console: Console) -> Manifest:
    """Fit a bundle by `plan` (a name or a TOML file) on labelled JSONL files, write it to `out` and print
    its figures.

    Raises `TrainerError` for a bad plan, bad rows, or a source whose licence does not fit the plan.
    """
    recipe = plans.read(plan)
    manifest = fit(labelled.load(data), recipe, out, console, TrainerSettings())
    console.print(report.table(manifest.metrics))
    console.print(f"bundle {manifest.model_version} written to {out}")
    return manifest


def fit(
    labelled_rows: Sequence[Labelled], plan: Plan, out: Path, console: Console, settings: TrainerSettings
) -> Manifest:
    """The recipe itself. Everything above the bases sees out-of-fold columns only; the bases are refitted
    on all rows at the end."""
    tree = taxonomy()
    rows = selection.select(labelled_rows, plan)
    reflections = [row.reflection for row in rows]
    with _progress(console) as progress:
        step = _Steps(progress)
        step("split", 1)
        parts = split.make(rows, plan, tree, count=plan.folds, seed=plan.seed)
        fold = parts.fold
        goals = targets.extract(rows, plan, tree, parts.learned)
        if missing := goals.missing():
            raise TrainerError(
                f"no row is labelled for {', '.join(missing)}: add a source that is (`feltsense synth`)"
            )

        step("extract features", 2 * len(rows))
        features, screens = build.build(
            reflections, tree, bits=plan.ngram_bits, settings=settings, advance=step.advance
        )

        step("cross-fit the text bases", plan.folds)
        columns = crossfit.cross_fit(features, goals, fold, plan, tree, step.advance)

        step("stack what one text tells", 1)
        appraised = appraisal.settle(reflections, features, goals, columns, fold, plan, tree)

        step("cross-fit the timelines", plan.folds + 1)
        placed = placement.settle(
            reflections, appraised.static, appraised.history, goals, fold, plan, step.advance
        )

        step("decide and measure", 1)
        decided = decision.settle(goals, columns, screens, appraised, placed, fold)
        metrics = report.measure(rows, goals, columns, appraised, placed, decided)

        step("refit on all rows", 1)
        models = text.fit(features, goals, goals.learned, plan, tree)

    with tempfile.TemporaryDirectory() as scratch:
        temporal = Path(scratch) / "temporal.xml"
        openvino.export(placed.net, temporal)
        stacks = {**appraised.stacks, **placed.stacks}
        contents = Contents(
            trees=models.trees,
            ngrams=models.ngrams,
            embedding=models.embedding,
            emotion=appraised.emotion,
            forecast=placed.forecast,
            personal=placed.personal,
            temporal=temporal,
            gates={name: stacked.gate for name, stacked in stacks.items()},
            calibrators={**{name: stacked.calibrator for name, stacked in stacks.items()}, **decided.flags},
            intervals=decided.intervals,
            thresholds=decided.thresholds,
            nuance_temperature=decided.nuance_temperature,
            micro_scale=decision.MICRO_SCALE,
            risk_thresholds=decided.risk_thresholds,
        )
        known = facts.of(rows, plan, metrics=metrics, leakage=parts.certificate)
        return writer.write(out, contents, facts=known, trees=models.texts, card=card.write(known))


class _Steps:
    """The progress bar's current step."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def __call__(self, name: str, total: int) -> None:
        self.finish()
        self._task = self._progress.add_task(name, total=total)

    def advance(self, done: int) -> None:
        if self._task is not None:
            self._progress.advance(self._task, done)

    def finish(self) -> None:
        if self._task is not None:
            for task in self._progress.tasks:
                self._progress.update(task.id, completed=task.total)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of `make bundle`."""
    parser = argparse.ArgumentParser(prog="python -m trainer.rebuild", description="Rebuild a bundle.")
    parser.add_argument("data", nargs="+", type=Path, help="labelled JSONL files, or a folder of raw corpora")
    parser.add_argument("--plan", default="starter", help="a plan of trainer/plans, or a TOML file")
    parser.add_argument("--out", type=Path, default=STARTER, help="the bundle's folder")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            recipe = plans.read(options.plan)
            files = [file for path in options.data for file in _files(path, Path(scratch), recipe, console)]
            rebuild(files, options.plan, options.out, console)
    except FeltsenseError as error:
        console.print(f"[red]{error}[/red]")
        return error.exit_code
    return 0


def _files(path: Path, scratch: Path, recipe: Plan, console: Console) -> list[Path]:
    """A file as it is; of a folder of raw corpora, those the plan names, imported, and the synthetic
    people."""
    if not path.is_dir():
        return [path]
    files = []
    for name in recipe.sources:
        out = scratch / f"{name}.jsonl"
        if name == "synthetic":
            synthetic.write(out, people=recipe.synthetic_people, seed=recipe.seed)
        else:
            folder = FOLDERS[name]
            summary = import_corpus(name, path / folder, out, now=datetime.now(UTC))
            console.print(f"{name}: {summary.events} events, {len(summary.refusals)} rows refused")
        files.append(out)
    return files


if __name__ == "__main__":
    sys.exit(main())
