"""Base Ll as a base: its answers are stacked, the bundle names who gave them, and another's are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.endpoint import GOOD, serving
from trainer import rebuild
from trainer.data import labelled, synthetic
from trainer.plan import Linear, Net, Plan, Source, Trees
from trainer.settings import TrainerSettings
from worker.bundle import reader
from worker.errors import UsageError
from worker.pipeline import Pipeline
from worker.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LINEAR = Linear(value=0.5, classes=0.01, flags=0.01, steps=4)
PLAN = Plan(
    name="asked",
    folds=3,
    holdout=False,
    ngram_bits=12,
    trees=Trees(rounds=3, class_rounds=2, least_rows=10),
    ngrams=LINEAR,
    embedding=LINEAR,
    net=Net(hidden=4, epochs=1),
    sources={"synthetic": Source()},
)


def test_answers_are_stacked_and_another_model_is_refused(tmp_path: Path) -> None:
    people = tmp_path / "synthetic.jsonl"
    synthetic.write(people, people=20, seed=11)
    rows = labelled.load([people])
    answer = json.dumps({**GOOD, "valence": 0.25})
    with serving(lambda _text, _tries: (200, answer)) as endpoint:
        asking = {"cache_dir": tmp_path, "llm_url": endpoint.url, "llm_model": "tiny"}
        rebuild.fit(rows, PLAN, tmp_path / "bundle", Console(quiet=True), TrainerSettings(**asking))
        facts = reader.load(tmp_path / "bundle").manifest
        served = Settings(**asking, device_plan=("CPU",), temporal_device_plan=("CPU",), llm_timeout_s=60.0)
        with Pipeline.open(tmp_path / "bundle", served) as pipeline:
            one = pipeline.perceive([rows[0].reflection])[0].to_json()
        silent = Settings(cache_dir=tmp_path, device_plan=("CPU",), temporal_device_plan=("CPU",))
        with Pipeline.open(tmp_path / "bundle", silent) as pipeline:
            other = pipeline.perceive([rows[0].reflection])[0].to_json()
        with pytest.raises(UsageError, match="was fitted on answers of 'tiny prompt"):
            Pipeline.open(tmp_path / "bundle", served.model_copy(update={"llm_model": "large"}))

    assert facts.asked is not None
    assert facts.asked.startswith("tiny prompt")
    assert "Ll" in facts.metrics["stacks"]["text_valence"]["weights"]["all"]
    assert one["provenance"]["willingness"]["predictions"]["Ll"] == pytest.approx(0.5)
    assert "Ll" not in other["provenance"]["willingness"]["predictions"]
