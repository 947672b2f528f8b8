"""The whole recipe on a few synthetic people: a bundle the worker opens, and the same one every time."""

import dataclasses

import numpy as np
import pytest
from rich.console import Console

from trainer import rebuild
from trainer.data import labelled, synthetic
from trainer.errors import TrainerError
from trainer.evaluate import membership
from trainer.features import reader as shipped
from trainer.fit import text
from trainer.hpo.spaces import Search
from trainer.plan import Linear, Net, Plan, Source, Transformer, Trees
from trainer.settings import TrainerSettings
from trainer.splits import leakage
from trainer.splits import record as records
from worker.bundle import reader
from worker.pipeline import Pipeline
from worker.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LINEAR = Linear(value=0.5, classes=0.01, flags=0.01, steps=8)
PLAN = Plan(
    name="few",
    folds=3,
    ngram_bits=12,
    trees=Trees(rounds=5, class_rounds=3, least_rows=10),
    ngrams=LINEAR,
    embedding=LINEAR,
    net=Net(hidden=4, epochs=1),
    transformer=Transformer(layers=1, epochs=1, rows=40),
    search=Search.model_validate(
        {
            "trials": {"valence": 2, "gate": 2, "comparator": 2},
            "spaces": {
                "valence": {"embedding.penalty": {"low": 0.1, "high": 10.0, "log": True}},
                "gate": {"gate_penalty": {"low": 0.001, "high": 1.0, "log": True}},
                "comparator": {"forecast_penalty": {"low": 0.001, "high": 1.0, "log": True}},
            },
        }
    ),
    sources={"synthetic": Source(person_power=0.5)},
)
QUICKER = PLAN.model_copy(update={"transformer": None, "search": Search()})


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

    part = records.read(bundle / records.NAME).part_of(rows)
    assert {"train", "validation", "test"} <= set(part)
    assert [(one.name, one.rows, one.licence, one.may_ship) for one in facts.data] == [
        ("synthetic", part.count("train"), "Apache-2.0", True)
    ]
    assert facts.tuning.keys() == {"valence", "gate", "comparator"}
    assert "Tr" in facts.metrics["stacks"]["text_valence"]["weights"]["all"]
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
    # Thirty people need not show that base Tm reads better than the text; the forecast reads them always.
    later = [(a.placement, b.placement) for a, b in zip(with_reports, without, strict=True)][1:]
    assert any(a.expected_valence != b.expected_valence for a, b in later)
    for one in with_reports:
        values = (one.placement.valence, one.placement.arousal, one.placement.congruence)
        assert np.isfinite(values).all()
        assert min(values) >= 0
        assert max(values) <= 1


def test_the_embedding_is_read_from_the_lower_layers_also_without_base_tr(rows, cache, tmp_path):
    settings = Settings(cache_dir=cache, device_plan=("CPU",), temporal_device_plan=("CPU",))
    plan = QUICKER.model_copy(update={"sentence": True})

    facts = rebuild.fit(rows, plan, tmp_path / "read", Console(quiet=True), TrainerSettings(cache_dir=cache))

    assert "fork.npz" in facts.files
    assert "tuned.npz" not in facts.files
    with np.load(tmp_path / "read" / "fork.npz") as fork, np.load(shipped.READER) as given:
        assert set(fork.files) == set(given.files)
    with Pipeline.open(tmp_path / "read", settings) as pipeline:
        (one,) = pipeline.perceive([rows[0].reflection])
    assert "Eb" in one.provenance["willingness"]["predictions"]
    assert "Tr" not in one.provenance["willingness"]["predictions"]


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


def test_its_own_files_prove_that_no_model_judged_rows_it_had_learned_from(bundle, rows):
    checks = leakage.inspect(bundle, rows)

    assert not [check.name for check in checks if check.violations]
    looked = {check.name: check.looked for check in checks}
    for level in ("base", "gate", "calibrator"):
        assert looked[f"{level} predictions in fold"] > 0


def test_it_knows_whom_it_has_seen(bundle, rows):
    facts = reader.load(bundle).manifest

    known = membership.examine(bundle, facts, rows)

    part = records.read(bundle / records.NAME).part_of(rows)
    assert [rows[at].reflection.id for at in np.flatnonzero(known.unseen)] == [
        row.reflection.id for row, name in zip(rows, part, strict=True) if name in ("test", "history")
    ]


def test_the_same_rows_plan_and_seed_give_the_same_bundle_also_after_a_stop(
    rows, cache, tmp_path, monkeypatch
):
    settings = TrainerSettings(cache_dir=cache)
    whole = rebuild.fit(rows, QUICKER, tmp_path / "whole", Console(quiet=True), settings)
    fitted = []
    kept = text.fit
    monkeypatch.setattr(text, "fit", lambda *given: fitted.append(1) or kept(*given))

    for step in ("appraisal", "placement", "decision", "openvino", "writer"):
        module = getattr(rebuild, step)
        name = {"openvino": "export", "writer": "write"}.get(step, "settle")
        with monkeypatch.context() as patched:
            patched.setattr(module, name, _stop)
            with pytest.raises(KeyboardInterrupt):
                rebuild.fit(rows, QUICKER, tmp_path / "again", Console(quiet=True), settings)
    again = rebuild.fit(rows, QUICKER, tmp_path / "again", Console(quiet=True), settings)

    assert len(fitted) == QUICKER.folds + 1  # each fold once, and the refit
    assert {name for name in whole.files if whole.files[name] != again.files[name]} == set()
    assert whole.model_version == again.model_version


def _stop(*_given, **_named):
    raise KeyboardInterrupt


def test_a_source_without_the_labels_a_bundle_needs_is_refused_by_name(rows, tmp_path, cache):
    bare = [dataclasses.replace(row, labels={"valence": 0.5, "arousal": 0.5}) for row in rows[:60]]

    with pytest.raises(TrainerError, match="willingness"):
        rebuild.fit(bare, QUICKER, tmp_path / "none", Console(quiet=True), TrainerSettings(cache_dir=cache))
