"""The recipe: labelled rows in, a bundle out. Read this first; every step is a line of `fit`.

    python -m trainer.rebuild DATA... [--plan starter] [--out worker/starter]

DATA are labelled JSONL files, or a folder of raw corpora, one sub-folder each, which the importers read.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from trainer import checkpoint, progress
from trainer import plan as plans
from trainer.data import labelled, plausible, synthetic
from trainer.data.corpora.importer import FOLDERS, import_corpus
from trainer.data.labelled import Labelled
from trainer.errors import TrainerError
from trainer.evaluate import floors, report
from trainer.export import card, facts, openvino
from trainer.export import fork as forking
from trainer.features import activations, build, targets
from trainer.features import asked as asking
from trainer.features import reader as sentences
from trainer.fit import text, transformer
from trainer.hpo import study
from trainer.hpo.search import Searcher
from trainer.oof import appraisal, crossfit, decision, placement, timelines
from trainer.parts import Crew
from trainer.plan import Plan
from trainer.settings import TrainerSettings
from trainer.splits import ledger as lineage
from trainer.splits import record, selection, split
from trainer.splits.ancestry import ancestry
from trainer.splits.check import refuse
from trainer.splits.holdout import VALIDATION
from trainer.splits.leakage import to_json
from trainer.splits.ledger import REFIT
from worker.bundle import writer
from worker.bundle.contents import Contents
from worker.bundle.manifest import Manifest
from worker.errors import FeltsenseError
from worker.events.taxonomy import taxonomy
from worker.inference.encoder import Encoder

STARTER = Path(__file__).parent.parent / "worker" / "starter"


def rebuild(
    data: Sequence[Path], plan: str | Path, out: Path, console: Console, *, crew: Crew | None = None
) -> Manifest:
    """Fit a bundle by `plan` (a name or a TOML file) on labelled JSONL files, write it to `out` and print
    its figures; a `crew` computes folds and trials.

    Raises `TrainerError` for a bad plan, bad rows, or a source whose licence does not fit the plan.
    """
    recipe = plans.read(plan)
    manifest = fit(labelled.load(data), recipe, out, console, TrainerSettings(), crew=crew)
    console.print(report.table(manifest.metrics))
    console.print(floors.table(floors.judge(manifest.metrics)))
    console.print(f"bundle {manifest.model_version} written to {out}")
    return manifest


def fit(
    labelled_rows: Sequence[Labelled],
    plan: Plan,
    out: Path,
    console: Console,
    settings: TrainerSettings,
    *,
    tell: progress.Tell | None = None,
    crew: Crew | None = None,
) -> Manifest:
    """The recipe itself. Everything above the bases sees out-of-fold columns only; the bases are refitted
    on all rows of the train part at the end. Stopped at any point, the same call goes on from what it had
    computed. `tell` hears how far it is, and ends it by raising; a `crew` computes folds
    and trials on other trainers."""
    tree = taxonomy()
    key = checkpoint.key_of(plan, labelled_rows)
    with (
        checkpoint.opened(out, key=key, say=partial(console.print, markup=False, soft_wrap=True)) as kept,
        study.storage(settings.study_address, kept.folder) as store,
        progress.steps(console, plan, len(labelled_rows), tell) as step,
    ):
        step("split", 1)
        taken = selection.select(labelled_rows, plan)
        parts = split.make(taken, plan, tree, count=plan.folds, seed=plan.seed)
        ledger = parts.ledger()
        rows, aside = _of(taken, parts.inside), _of(taken, parts.part == VALIDATION)
        fold, reflections = parts.fold[parts.inside], [row.reflection for row in rows]
        goals = targets.extract(rows, plan, tree, parts.learned[parts.inside])
        if missing := goals.missing():
            raise TrainerError(
                f"no row is labelled for {', '.join(missing)}: add a source that is (`feltsense synth`)"
            )

        # Validation rows have features for the search's verdict alone: nothing is fitted on them.
        step("extract features", 2 * len(rows) + 2 * len(aside))
        reader = sentences.read(plan.transformer) if plan.sentence else None
        every, screened = kept.keep(
            "features",
            lambda: build.build(
                [*reflections, *(row.reflection for row in aside)],
                tree, bits=plan.ngram_bits, settings=settings, advance=step.advance,
                reader=sentences.READER if plan.sentence else None,
            ),
        )  # fmt: skip
        features, screens = build.rows_of(every, np.arange(len(rows))), screened[: len(rows)]
        plausible.check(rows, features.lexical, features.dense[:, : Encoder.width], seed=plan.seed)

        people = [row.reflection.user_id for row in (*rows, *aside)]
        search = Searcher(
            store=store,
            key=key,
            people=people,
            step=step,
            keep=kept.keep,
            crew=crew if settings.study_address is not None else None,
        )
        judged = np.concatenate([goals.learned, ~parts.record.shared[parts.part == VALIDATION]])
        plan = search.texts(plan, every, targets.extract([*rows, *aside], plan, tree, judged), fold)

        normal = cache(lambda: build.normalised(reflections))
        answers, asked = asking.ask(normal, settings=settings, step=step)
        features = replace(features, asked=answers)
        lower = cache(lambda: activations.compute(normal(), depth=plan.depth))

        step("cross-fit the text bases", plan.folds)
        sources = [row.source for row in rows]
        columns = crossfit.cross_fit(
            features, goals, fold, plan, tree, step.advance,
            sources=sources, activations=lower, ledger=ledger, keep=kept.keep, crew=crew,
        )  # fmt: skip

        plan = search.gates(plan, columns, goals, appraisal.alone(reflections, features), fold)
        step("stack what one text tells", 1)
        appraised = appraisal.settle(reflections, features, goals, columns, fold, plan, tree, ledger=ledger)

        laid = timelines.lay(reflections, appraised.static, appraised.history, goals, fold)
        plan = search.timelines(plan, laid)
        step("cross-fit the timelines", plan.folds + 1)
        placed = placement.settle(
            laid, appraised.static, people, plan, step.advance, ledger=ledger, keep=kept.keep
        )

        step("decide and measure", 1)
        decided = decision.settle(goals, columns, screens, appraised, placed, fold, ledger=ledger)
        stacks = {**appraised.stacks, **placed.stacks}
        metrics = report.measure(rows, goals, columns, appraised, placed, decided)
        metrics["stacks"] = {name: stacked.record for name, stacked in stacks.items()}
        metrics["coverage by slice"] = decided.coverage

        step("refit on all rows", 2)
        models = kept.keep("refit", lambda: text.fit(features, goals, goals.learned, plan, tree))
        ledger.add("base", "text", REFIT, goals.learned)
        step.advance(1)
        tuned = None
        if plan.transformer is not None:
            recipe = plan.transformer
            tuned = kept.keep(
                "refit-transformer",
                lambda: transformer.fit(lower(), goals, goals.learned, sources, recipe, tree, seed=plan.seed),
            )

        step("prove and write", 1)
        checks = ancestry(parts.record, ledger)
        refuse(checks)
        temporal, fork = kept.folder / "temporal.xml", kept.folder / "fork.npz"
        openvino.export(placed.net, temporal)
        if tuned is not None:
            metrics["parity of base Tr"] = forking.export(
                tuned, fork, normal(), lower(), settings=settings, reader=reader
            )
        elif reader is not None:
            np.savez(fork, **reader)  # type: ignore[arg-type]
        contents = Contents(
            trees=models.trees,
            ngrams=models.ngrams,
            embedding=models.embedding,
            emotion=appraised.emotion,
            forecast=placed.forecast,
            personal=placed.personal,
            fork=fork if tuned is not None or reader is not None else None,
            tuned=tuned.heads if tuned is not None else None,
            temporal=temporal,
            gates={name: stacked.gate for name, stacked in stacks.items()},
            calibrators={**{name: stacked.calibrator for name, stacked in stacks.items()}, **decided.flags},
            intervals=decided.intervals,
            thresholds=decided.thresholds,
            nuance_temperature=decided.nuance_temperature,
            micro_scale=decision.MICRO_SCALE,
            risk_thresholds=decided.risk_thresholds,
        )
        certificate = {**parts.certificate, "ancestry": to_json(checks)}
        known = facts.of(rows, plan, metrics=metrics, leakage=certificate)
        return writer.write(
            out,
            contents,
            facts={**known, "tuning": search.tuning, "asked": asked},
            trees=models.texts,
            card=card.write(known),
            attachments={record.NAME: parts.record.to_bytes(), lineage.NAME: ledger.to_bytes()},
        )


def _of(rows: Sequence[Labelled], mask: NDArray[np.bool_]) -> list[Labelled]:
    return [row for row, chosen in zip(rows, mask, strict=True) if chosen]


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
            files = [
                file for path in options.data for file in labelled_files(path, Path(scratch), recipe, console)
            ]
            rebuild(files, options.plan, options.out, console)
    except FeltsenseError as error:
        console.print(str(error), style="red", markup=False)
        return error.exit_code
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on from here")
        return 130
    return 0


def labelled_files(path: Path, scratch: Path, recipe: Plan, console: Console) -> list[Path]:
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
