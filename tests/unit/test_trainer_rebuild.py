"""The whole recipe on a few synthetic people: a bundle the worker opens, and the same one every time."""

import dataclasses

import numpy as np
import pytest
from rich.console import Console

from trainer import rebuild
from trainer.data import labelled, synthetic
from trainer.errors import TrainerError
from trainer.plan import Linear, Net, Plan, Source, Trees
from trainer.settings import TrainerSettings
from worker.bundle import reader
from worker.pipeline import Pipeline
from worker.settings import Settings

LINEAR = Linear(value=0.5, classes=0.01, flags=0.01, steps=8)
PLAN = Plan(
    name="few",
    folds=3,
    ngram_bits=12,
    trees=Trees(rounds=5, class_rounds=3, least_rows=10),
    ngrams=LINEAR,
    embedding=LINEAR,
    net=Net(hidden=4, epochs=1),
    sources={"synthetic": Source(person_power=0.5)},
)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("people") / "synthetic.jsonl"
    synthetic.write(path, people=30, seed=11)
    return labelled.load([path])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def bundle(rows, cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "few"
    rebuild.fit(rows, PLAN, folder, Console(quiet=True), TrainerSettings(cache_dir=cache))
    return folder


def test_the_bundle_names_its_data_its_licences_its_split_and_its_evidence(bundle, rows):
    facts = reader.load(bundle).manifest

    assert [(one.name, one.rows, one.licence, one.may_ship) for one in facts.data] == [
        ("synthetic", len(rows), "Apache-2.0", True)
    ]
    assert set(facts.leakage["violations"].values()) == {0}
    assert facts.evidence["valence"] == "synthetic"
    assert "## Limits" in (bundle / "model_card.md").read_text()


def test_the_worker_perceives_with_it_and_self_reports_count_only_for_later_rows(bundle, rows, cache):
    settings = Settings(cache_dir=cache, device_plan=("CPU",), temporal_device_plan=("CPU",))
    person = rows[0].reflection.user_id
    own = [row.reflection for row in rows if row.reflection.user_id == person]
    silent = [dataclasses.replace(one, self_report=None) for one in own]
    with Pipeline.open(bundle, settings) as pipeline:
        with_reports, without = pipeline.perceive(own), pipeline.perceive(silent)

    assert with_reports[0].placement == without[0].placement
    assert any(a.placement.valence != b.placement.valence for a, b in zip(with_reports, without, strict=True))
    for one in with_reports:
        values = (one.placement.valence, one.placement.arousal, one.placement.congruence)
        assert np.isfinite(values).all()
        assert min(values) >= 0
        assert max(values) <= 1


def test_the_expectation_does_not_see_the_text(bundle, rows, cache):
    settings = Settings(cache_dir=cache, device_plan=("CPU",), temporal_device_plan=("CPU",))
    person = rows[0].reflection.user_id
    own = sorted(
        (row.reflection for row in rows if row.reflection.user_id == person), key=lambda one: one.created_at
    )
    other = [*own[:-1], dataclasses.replace(own[-1], text="I HATE this!!! not again, everything is awful")]
    with Pipeline.open(bundle, settings) as pipeline:
        first, second = pipeline.perceive(own)[-1].placement, pipeline.perceive(other)[-1].placement

    assert first.expected_valence == second.expected_valence
    assert first.expected_arousal == second.expected_arousal
    assert first.valence != second.valence


def test_the_same_rows_plan_and_seed_give_the_same_bundle(bundle, rows, cache, tmp_path):
    rebuild.fit(rows, PLAN, tmp_path / "again", Console(quiet=True), TrainerSettings(cache_dir=cache))

    first, again = reader.load(bundle).manifest, reader.load(tmp_path / "again").manifest
    assert {name for name in first.files if first.files[name] != again.files[name]} == set()


def test_a_source_without_the_labels_a_bundle_needs_is_refused_by_name(rows, tmp_path, cache):
    bare = [dataclasses.replace(row, labels={"valence": 0.5, "arousal": 0.5}) for row in rows[:60]]

    with pytest.raises(TrainerError, match="willingness"):
        rebuild.fit(bare, PLAN, tmp_path / "none", Console(quiet=True), TrainerSettings(cache_dir=cache))
