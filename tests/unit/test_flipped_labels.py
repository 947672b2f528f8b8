"""One person who lies about a hundredth of all labels moves no figure beyond what is stated here."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from trainer import plan as plans
from trainer import rebuild
from trainer.data import labelled, synthetic
from trainer.data.labelled import Labelled
from trainer.evaluate import metrics
from trainer.features import targets
from trainer.plan import Source
from trainer.settings import TrainerSettings
from worker.events.taxonomy import taxonomy
from worker.events.variables import FLAGS
from worker.pipeline import Pipeline
from worker.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PLAN = plans.read("quick").model_copy(update={"sources": {"synthetic": Source(person_power=0.5)}})
TOLERANCE = 0.03
"""Of every figure on honest people, from a thousand training rows; on whole corpora it moves less."""
OF_CONGRUENCE = 0.1
"""Nearly everybody has congruence 1, so a lie of 0 weighs most there."""
ENOUGH = 20
OPPOSITE = {
    "Happy": "Sad", "Peaceful": "Angry", "Strong": "Fearful",
    "Sad": "Happy", "Angry": "Peaceful", "Fearful": "Strong",
}  # fmt: skip


def flip(labels: dict[str, Any]) -> dict[str, Any]:
    """The worst that one can say instead: every value at the other side, every emotion its opposite."""
    turned = {
        name: 1 - labels[name]
        for name in ("valence", "arousal", "willingness", "congruence")
        if name in labels
    }
    for name in ("invoked", "expressed"):
        if name in labels:
            turned[name] = [[OPPOSITE[path[0]]] for path in labels[name]]
    if "risk" in labels:
        turned["risk"] = {flag: 1 - score for flag, score in labels["risk"].items()}
    return {**labels, **turned}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> list[Labelled]:
    path = tmp_path_factory.mktemp("people") / "synthetic.jsonl"
    synthetic.write(path, people=80, seed=11)
    return labelled.load([path])


@pytest.fixture(scope="module")
def poisoned(clean: list[Labelled]) -> list[Labelled]:
    """A hundredth of the rows, all of the person who wrote most."""
    liar = Counter(row.reflection.user_id for row in clean).most_common(1)[0][0]
    theirs = [at for at, row in enumerate(clean) if row.reflection.user_id == liar]
    share = max(1, round(len(clean) / 100))
    assert len(theirs) >= share
    lies = set(theirs[:share])
    return [
        dataclasses.replace(row, labels=flip(dict(row.labels))) if at in lies else row
        for at, row in enumerate(clean)
    ]


def test_their_weight_is_bounded_whatever_they_write(clean: list[Labelled]) -> None:
    busy = clean[0].reflection.user_id
    many = [
        dataclasses.replace(
            row, reflection=dataclasses.replace(row.reflection, id=f"{n}-{row.reflection.id}")
        )
        for n in range(20)
        for row in clean
        if row.reflection.user_id == busy
    ]
    rows = [*clean, *many]
    goals = targets.extract(rows, PLAN, taxonomy())
    theirs = np.array([row.reflection.user_id == busy for row in rows])
    for name, weight in goals.weight.items():
        people = len({row.reflection.user_id for row, one in zip(rows, weight, strict=True) if one > 0})
        assert weight[theirs].sum() <= (max(0.02, 2 / people) + 1e-9) * weight.sum(), name


def judged(bundle: Path, cache: Path, others: list[Labelled], flags: list[str]) -> dict[str, float]:
    """Figures of a bundle on honest people it never saw, higher is better."""
    settings = Settings(cache_dir=cache, device_plan=("CPU",), temporal_device_plan=("CPU",))
    with Pipeline.open(bundle, settings) as pipeline:
        told = {
            one.to_json()["id"]: one.to_json() for one in pipeline.perceive([r.reflection for r in others])
        }
    lines = [told[row.reflection.id] for row in others]
    found: dict[str, float] = {}
    for name in ("valence", "arousal", "willingness", "congruence"):
        truth = np.array([row.labels[name] for row in others])
        found[f"{name} r"] = float(np.corrcoef(truth, [line[name] for line in lines])[0, 1])
    for name in ("invoked", "expressed"):
        cores = [max(line[name]["cores"].items(), key=lambda item: item[1])[0] for line in lines]
        right = [
            row.labels[name][0][0] == core
            for row, core in zip(others, cores, strict=True)
            if row.labels[name]
        ]
        found[f"{name} core"] = float(np.mean(right))
    for flag in FLAGS:
        truth = np.array([row.labels["risk"][flag] for row in others])
        if flag in flags:
            found[f"{flag} AUC"] = metrics.auc(
                truth, np.array([line["risk"]["flags"][flag] for line in lines])
            )
    return found


@pytest.mark.slow
def test_a_hundredth_of_labels_flipped_by_one_person_changes_no_figure_beyond_the_tolerance(
    clean: list[Labelled], poisoned: list[Labelled], tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    path = tmp_path_factory.mktemp("others") / "others.jsonl"
    synthetic.write(path, people=25, seed=12)
    others = labelled.load([path])
    # Of a rarer flag there are hardly more true cases here than lies: no weight can tell which are which.
    flags = [flag for flag in FLAGS if sum(row.labels["risk"][flag] for row in clean) >= ENOUGH]
    assert flags
    figures = []
    for name, rows in (("clean", clean), ("poisoned", poisoned)):
        out = tmp_path_factory.mktemp("bundles") / name
        rebuild.fit(rows, PLAN, out, Console(quiet=True), TrainerSettings(cache_dir=cache))
        figures.append(judged(out, cache, others, flags))
    honest, moved = figures
    assert len(honest) >= 8
    beyond = {
        name: (round(honest[name], 3), round(moved[name], 3))
        for name in honest
        if not abs(honest[name] - moved[name]) <= (OF_CONGRUENCE if name == "congruence r" else TOLERANCE)
    }
    assert beyond == {}
