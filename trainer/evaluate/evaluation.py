"""`feltsense evaluate`: a bundle and labelled rows in, everything that can be said of it out.

The order is that of the report: membership, perceptions, references, figures by slice, canaries, gates,
ablation, reliability. Test rows are opened here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.labelled import Labelled
from trainer.evaluate import ablation, canaries, figures, gates, membership, reliability, slices
from trainer.evaluate import judge as judging
from trainer.evaluate import references as simple
from trainer.evaluate.ablation import Loss
from trainer.evaluate.bootstrap import Resampling
from trainer.evaluate.canaries import Canary
from trainer.evaluate.figures import TARGETS, Evidence, Figure
from trainer.evaluate.gates import Gate
from trainer.evaluate.judge import Judged, Progress
from trainer.evaluate.membership import Membership
from trainer.evaluate.reliability import Diagram
from trainer.evaluate.slices import Slice
from trainer.evaluate.truth import EMOTIONS, Truth, earlier
from worker.bundle import reader
from worker.bundle.manifest import Manifest
from worker.events.variables import FLAGS
from worker.pipeline import Pipeline
from worker.settings import Settings

Floats = NDArray[np.float64]
SEED = 7


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything a report shows."""

    manifest: Manifest
    membership: Membership
    coverage: dict[str, Any]
    figures: list[Figure]
    gates: list[Gate]
    canaries: list[Canary]
    losses: list[Loss]
    weights: list[dict[str, Any]]
    diagrams: list[Diagram]

    @property
    def passed(self) -> bool:
        """Whether every gate is."""
        return all(gate.passed for gate in self.gates)


def evaluate(bundle: Path, rows: Sequence[Labelled], *, settings: Settings, tell: Progress) -> Evaluation:
    """Judge the bundle in the folder on `rows`.

    Raises `BundleRefused`, `EncoderMissing`, `DeviceFailed`; `TrainerError` when no row is left to judge on.
    """
    loaded = reader.load(bundle)
    known = membership.examine(bundle, loaded.manifest, rows)
    with Pipeline.open(bundle, settings) as pipeline:
        judged = judging.judge(pipeline, rows, known.unseen, seed=SEED, tell=tell)
    evidence = weigh(judged, loaded.contents.risk_thresholds, tell)
    parts = [slices.whole(len(judged.rows)), *slices.cut(judged, evidence.truth)]
    found = []
    for number, part in enumerate(parts, 1):
        found += figures.measure(evidence, part)
        tell("count", number, len(parts))
    sources = by_source(evidence)
    checks = canaries.check(evidence, sources)
    return Evaluation(
        manifest=loaded.manifest,
        membership=known,
        coverage=coverage(evidence, parts),
        figures=found,
        gates=gates.judge(found, checks),
        canaries=checks,
        losses=ablation.losses(evidence, sources),
        weights=ablation.gate_weights(evidence, parts),
        diagrams=reliability.diagrams(evidence),
    )


def weigh(judged: Judged, thresholds: Mapping[str, float], tell: Progress) -> Evidence:
    """The judged rows with their truth, what came before them, and the references."""
    truth = Truth.of(judged.rows)
    return Evidence(
        judged=judged,
        truth=truth,
        before=earlier(judged.rows, truth.reports),
        references=_references(judged, truth, tell),
        people=Resampling([row.reflection.user_id for row in judged.rows], np.random.default_rng(SEED)),
        thresholds=thresholds,
    )


def by_source(evidence: Evidence) -> dict[str, NDArray[np.intp]]:
    names = dict.fromkeys(evidence.truth.source.tolist())
    return {str(name): np.flatnonzero(evidence.truth.source == name) for name in names}


def _references(judged: Judged, truth: Truth, tell: Progress) -> dict[str, dict[str, Floats]]:
    """Out-of-fold predictions of the simple references, source by source: each corpus has its own scale."""
    whole = {
        "values": simple.Task(
            kind="values", truth=np.stack([truth.values[name] for name in TARGETS], axis=1)
        ),
        **{name: simple.Task(kind="classes", truth=truth.mass[name]) for name in EMOTIONS},
        "flags": simple.Task(kind="flags", truth=truth.risk),
    }
    found: dict[str, dict[str, Floats]] = {
        name: {
            other: np.full_like(task.truth, np.nan) for other in (simple.TFIDF, simple.MINILM, simple.AVERAGE)
        }
        for name, task in whole.items()
    }
    sources = list(dict.fromkeys(truth.source.tolist()))
    for number, source in enumerate(sources, 1):
        rows = np.flatnonzero(truth.source == source)
        fold = simple.folds([judged.rows[at].reflection.user_id for at in rows.tolist()])
        tasks = {
            name: simple.Task(kind=task.kind, truth=task.truth[rows])
            for name, task in whole.items()
            if (np.isfinite(task.truth[rows]) & (task.truth[rows] != 0)).any()
        }
        texts = [judged.rows[at].reflection.text for at in rows.tolist()]
        vectors = judged.appraised["vectors"][rows].astype(np.float64)
        for name, predicted in simple.out_of_fold(texts, vectors, fold, tasks).items():
            for other, values in predicted.items():
                found[name][other][rows] = values
        tell("fit the references", number, len(sources))
    return found


def coverage(evidence: Evidence, parts: Sequence[Slice]) -> dict[str, Any]:
    """What the data can tell: rows and people by slice, labels by source, languages the bundle does not
    know."""
    truth, judged = evidence.truth, evidence.judged
    labels: dict[str, NDArray[np.bool_]] = {
        **{name: np.isfinite(values) for name, values in truth.values.items()},
        **{name: np.asarray(truth.mass[name].any(axis=1)) for name in EMOTIONS},
        **{flag: np.isfinite(truth.risk[:, at]) for at, flag in enumerate(FLAGS)},
        "earlier reflections": judged.earlier > 0,
        "earlier self-reports": evidence.before.count[:, 0] > 0,
    }
    people = np.array([row.reflection.user_id for row in judged.rows], dtype=object)
    return {
        "rows": len(judged.rows),
        "people": len(set(people)),
        "unsupported_language": int((~judged.appraised["supported"].astype(bool)).sum()),
        "slices": [
            {"by": part.by, "slice": part.name, "rows": len(part.rows), "people": len(set(people[part.rows]))}
            for part in parts
        ],
        "labels": {
            source: {name: int(there[rows].sum()) for name, there in labels.items() if there[rows].any()}
            for source, rows in by_source(evidence).items()
        },
        "unlabelled": sorted(name for name, there in labels.items() if not there.any()),
    }
