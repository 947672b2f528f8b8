"""Base Tr: the torch layers are the served ones, it learns, and it learns from whom the plan says."""

import numpy as np
import pytest
import torch

from trainer.data import synthetic
from trainer.data.labelled import load
from trainer.errors import TrainerError
from trainer.export import fork
from trainer.features import activations, build, reader, targets
from trainer.fit import sentence, transformer
from trainer.plan import Transformer, read
from trainer.settings import TrainerSettings
from worker.events.taxonomy import taxonomy
from worker.features import text
from worker.inference import minilm
from worker.inference.encoder import Encoder

DEPTH = 5
PLAN = Transformer(layers=1, epochs=2, batch=16, rows=None)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    path = tmp_path_factory.mktemp("tr") / "synthetic.jsonl"
    synthetic.write(path, people=6, seed=3)
    return load([path])


@pytest.fixture(scope="module")
def texts(people):
    return [text.read(row.reflection.text, row.reflection.lang).normal for row in people]


@pytest.fixture(scope="module", params=[0, 4], ids=["layers", "queries"])
def learned(people, texts, request):
    """Activations, targets, and a model tuned on all rows."""
    lower = activations.compute(texts, depth=DEPTH)
    goals = targets.extract(people, read("quick"), taxonomy())
    plan = PLAN.model_copy(update={"queries": request.param, "epochs": 8 if request.param else 2})
    return lower, goals, tuned(lower, goals, np.ones(len(people), dtype=bool), plan)


def tuned(lower, goals, rows, plan):
    sources = ["synthetic"] * len(rows)
    return transformer.fit(lower, goals, rows, sources, plan, taxonomy(), seed=5)


@pytest.fixture
def settings(tmp_path):
    return TrainerSettings(cache_dir=tmp_path, inference_threads=1, streams=1)


def test_untuned_layers_give_the_published_embedding(learned, texts, tmp_path):
    lower, _goals, model = learned
    whole = {name: np.array(part) for name, part in minilm.read_weights().items()}
    published = transformer.Tuned(
        tensors={name: part for name, part in whole.items() if f"encoder.layer.{DEPTH}." in name},
        heads=model.heads,
    )
    rows = np.arange(20)
    encoder = Encoder.open(cache_dir=tmp_path, plan=("CPU",), precision="f32", threads=1, streams=1)
    theirs = encoder.encode([texts[row] for row in rows])
    encoder.close()

    ours = transformer.pooled(published, lower, rows)

    ours /= np.linalg.norm(ours, axis=1, keepdims=True)
    assert (ours * theirs).sum(axis=1).min() > 0.999


def test_it_learns_what_it_is_shown(learned, people):
    lower, goals, model = learned
    scores = model.heads.predict(transformer.pooled(model, lower, np.arange(len(people))))
    valence = scores[:, model.heads.targets.index("valence")]
    assert np.corrcoef(valence, goals.values["valence"])[0, 1] > 0.5


def test_equal_seeds_give_equal_models(learned, people):
    lower, goals, _ = learned
    some = np.arange(len(people)) < 40
    first, second = (tuned(lower, goals, some, PLAN) for _ in range(2))
    for name, part in first.tensors.items():
        np.testing.assert_allclose(part, second.tensors[name], atol=2e-3, err_msg=name)


def test_rows_it_may_not_see_change_nothing(learned, people):
    lower, goals, _ = learned
    some = np.arange(len(people)) < 40
    first = tuned(lower, goals, some, PLAN)
    hidden = lower.start[40]
    other = activations.Activations(
        tokens=torch.cat([lower.tokens[:hidden], torch.randn_like(lower.tokens[hidden:])]),
        start=lower.start,
        depth=DEPTH,
    )
    second = tuned(other, goals, some, PLAN)
    for name, part in first.tensors.items():
        np.testing.assert_allclose(part, second.tensors[name], atol=2e-3, err_msg=name)


def test_the_fork_is_served_as_it_was_fitted(learned, texts, settings, tmp_path):
    lower, _, model = learned
    path = tmp_path / "fork.npz"

    parity = fork.export(model, path, texts, lower, settings=settings)

    assert set(parity) == {"f32", "bf16"}
    assert min(minilm.layers_of(minilm.read_fork(path))) == DEPTH
    encoder = Encoder.open(
        cache_dir=tmp_path, plan=("CPU",), precision="f32", threads=1, streams=1, fork=path
    )
    plain = Encoder.open(cache_dir=tmp_path, plan=("CPU",), precision="f32", threads=1, streams=1)
    both, alone = encoder.encode(texts[:8]), plain.encode(texts[:8])
    encoder.close()
    plain.close()
    assert both.shape == (8, 768)
    np.testing.assert_allclose(both[:, :384], alone, atol=1e-5)


def test_a_sentence_reader_is_kept_beside_it_and_changes_nothing_of_it(learned, texts, settings, tmp_path):
    lower, _goals, model = learned
    published = build.embed(texts, settings=settings, advance=lambda _: None)
    rows = np.arange(len(texts))
    taught = sentence.fit(lower, published, rows, layers=1, queries=4, epochs=8, seed=1)
    path = tmp_path / "fork.npz"

    fork.export(model, path, texts, lower, settings=settings, reader=taught)

    cosines = sentence.agreement(taught, lower, published, rows)
    assert cosines.mean() > 0.9
    encoder = Encoder.open(
        cache_dir=tmp_path, plan=("CPU",), precision="f32", threads=1, streams=1, fork=path
    )
    both = encoder.encode(texts)
    encoder.close()
    np.testing.assert_allclose((both[:, :384] * published).sum(axis=1), cosines, atol=0.01)


def test_a_reader_of_another_depth_is_refused_by_name():
    with pytest.raises(TrainerError, match=r"reads the first 3 layers: set layers = 3 under \[transformer\]"):
        reader.read(Transformer(layers=2))


def test_a_fork_that_serves_something_else_is_refused(learned, texts, settings, tmp_path):
    lower, _, model = learned
    tensors = dict(model.tensors)
    name = f"encoder.layer.{DEPTH}.output.dense.weight"
    kept = transformer.Tuned(tensors=tensors, heads=model.heads)
    broken = transformer.Tuned(tensors={**tensors, name: tensors[name] * 0.5}, heads=model.heads)

    class Wrong(transformer.Tuned):
        def save(self, path, reader):
            broken.save(path, reader)

    with pytest.raises(TrainerError, match="base Tr served in f32 differs"):
        fork.export(
            Wrong(tensors=kept.tensors, heads=kept.heads), tmp_path / "f.npz", texts, lower, settings=settings
        )
