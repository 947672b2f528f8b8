"""`feltsense export` proves what it hands on: the integers are counted, shapes run, changes judged, digests
kept."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset15 as op

from trainer.data import synthetic
from trainer.data.labelled import load
from trainer.errors import ExportRefused, TrainerError
from trainer.evaluate.bootstrap import Estimate
from trainer.evaluate.figures import Figure
from trainer.export import delivery, parity, quantize, reference, runs, shapes
from trainer.export.effect import Effect
from trainer.export.parity import Limits
from trainer.export.variants import EXPORTED, Variant
from worker.bundle import reader
from worker.errors import DeviceUnfit, ExportsRefused
from worker.inference import minilm
from worker.inference.backend import Component, Graph
from worker.inference.exports import MANIFEST, PARITY, Exports, best

TEXTS = ["I feel calm today.", "No.", "My manager shouted at me in front of everybody and I walked home."]
LOOSE = Limits(variable=1.0, metric=2.0, rows=1)


def silent(stage, done, total):
    pass


@pytest.fixture(scope="module")
def bundle():
    return reader.load(None)


@pytest.fixture(scope="module")
def graph(bundle):
    return minilm.build(minilm.read_weights(), minilm.read_fork(bundle.contents.fork))


@pytest.fixture(scope="module")
def tokens():
    return [encoding.ids for encoding in minilm.tokenizer().encode_batch_fast(TEXTS)]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "synthetic.jsonl"
    synthetic.write(path, people=2, seed=3)
    return load([path])[:16]


HALVES = tuple(one for one in EXPORTED if one.halves)
BELOW, READ = 3, 4
"""Layers of the starter's encoder that tokens go through, and that queries do: one for the embedding, three
tuned ones."""
PRODUCTS = 6 * (BELOW + READ)


@pytest.fixture(scope="module")
def exported(rows, tmp_path_factory):
    """An export of the half-precision graphs, within loose limits."""
    out = tmp_path_factory.mktemp("exports") / "mine"
    done = delivery.export(None, rows, out, limits=LOOSE, exported=HALVES, runtime={}, tell=silent)
    return out, done


@pytest.fixture
def copied(exported, tmp_path):
    out = tmp_path / "exports"
    out.mkdir()
    for path in exported[0].iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    return out


def opened(folder, bundle, weights=None):
    parts = bundle.contents
    return Exports.open(
        folder, weights=weights or minilm.weights_digest(), fork=parts.fork, temporal=parts.temporal
    )


def test_torch_and_the_graph_agree(graph, tokens, bundle):
    fork = minilm.read_fork(bundle.contents.fork)
    torch = reference.embed(tokens, minilm.read_weights(), fork)
    halves = reference.embed(tokens, minilm.read_weights(), fork, halves=True)

    served = runs.embed(ov.Core().compile_model(graph, "CPU", shapes.F32), tokens)

    np.testing.assert_allclose(served, torch, atol=1e-4)
    assert 0 < np.abs(halves - torch).max() < 0.02


def test_what_passes_is_written_with_its_digests_and_taken_by_the_worker(exported, bundle):
    out, done = exported
    assert {one["verdict"] for one in done.report["graphs"].values()} == {"exact"}
    found = opened(out, bundle).graph("GPU.0", "auto")
    assert found.model == out / "encoder-fp16.xml"
    assert ov.Core().read_model(found.model).inputs[0].get_any_name() == "ids"
    assert opened(out, bundle).graph("CPU", "auto") is None
    assert opened(out, bundle).graph("GPU", "f32") is None
    assert "encoder-fp16" in (out / delivery.TABLE).read_text()
    facts = json.loads((out / MANIFEST).read_bytes())
    assert set(facts["files"]) == {path.name for path in out.iterdir()} - {MANIFEST}
    assert facts["made_from"]["encoder"] == minilm.weights_digest()
    assert not [path for path in out.parent.iterdir() if path != out]


def test_an_equal_export_changes_nothing(exported, rows):
    out, _ = exported
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}

    again = delivery.export(None, rows, out, limits=LOOSE, exported=HALVES, runtime={}, tell=silent)

    assert not again.anew
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_what_changes_a_variable_too_much_is_named_and_not_left_there(rows, tmp_path):
    strict = Limits(variable=1e-9, metric=2.0, rows=1)

    done = delivery.export(
        None, rows, tmp_path / "out", limits=strict, exported=HALVES[:1], runtime={}, tell=silent
    )

    assert any(
        "encoder-fp16: the largest change of valence is" in why and "1e-09 at most" in why
        for why in done.refused
    )
    assert done.report["graphs"]["encoder-fp16"]["verdict"] == "refused"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {MANIFEST, PARITY, delivery.TABLE}
    with pytest.raises(DeviceUnfit, match="no encoder-fp16 in it, refused"):
        opened(tmp_path / "out", reader.load(None)).graph("GPU", "auto")


def test_a_loss_that_was_allowed_is_marked_as_a_trade(rows, tmp_path, bundle):
    strict = Limits(variable=1e-9, metric=2.0, rows=1)

    done = delivery.export(
        None,
        rows,
        tmp_path / "out",
        limits=strict,
        allow_loss=True,
        exported=HALVES[:1],
        runtime={},
        tell=silent,
    )

    assert not done.refused
    told = json.loads((tmp_path / "out" / PARITY).read_bytes())["graphs"]["encoder-fp16"]
    assert told["verdict"] == "trade"
    assert told["breaches"][0]["limit"] == 1e-9
    assert opened(tmp_path / "out", bundle).graph("GPU", "auto") is not None


def test_an_interrupted_export_leaves_the_older_one(copied, rows, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    monkeypatch.setattr(delivery.report, "markdown", stop)
    with pytest.raises(KeyboardInterrupt):
        delivery.export(None, rows[:8], copied, limits=LOOSE, exported=HALVES[1:], runtime={}, tell=silent)
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before
    assert [path.name for path in copied.parent.iterdir()] == [copied.name]


def test_a_folder_that_is_no_export_is_not_replaced(rows, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(TrainerError, match="no export"):
        delivery.export(None, rows, tmp_path, tell=silent)
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("encoder-fp16.bin", "digest of encoder-fp16.bin differs"),
        ("encoder-fp16.xml", "digest of encoder-fp16.xml differs"),
        (PARITY, "digest of parity.json differs"),
        (MANIFEST, "manifest.json cannot be read"),
    ],
)
def test_a_damaged_file_is_refused(copied, bundle, name, why):
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (copied / name).write_bytes(bytes(content))
    with pytest.raises(ExportsRefused, match=why):
        opened(copied, bundle)


def test_a_missing_file_and_an_empty_folder_are_refused(copied, bundle, tmp_path):
    (copied / "encoder-fp16.bin").unlink()
    with pytest.raises(ExportsRefused, match=r"file missing: encoder-fp16\.bin"):
        opened(copied, bundle)
    with pytest.raises(ExportsRefused, match="no manifest"):
        opened(tmp_path, bundle)


def test_graphs_of_another_encoder_or_bundle_are_refused(copied, bundle):
    with pytest.raises(ExportsRefused, match="another encoder than the bundle's"):
        opened(copied, bundle, weights="0" * 64)
    other = replace(bundle, contents=replace(bundle.contents, fork=None))
    with pytest.raises(ExportsRefused, match="another fork than the bundle's"):
        opened(copied, other)


def product(*, int8, quantised_input):
    """One matrix product of [1, 4] with fitted weights."""
    given = op.parameter([1, 4], ov.Type.f32)
    weights = np.ones((4, 4), dtype=np.int8 if int8 else np.float32)
    side = op.constant(weights)
    if int8:
        side = op.multiply(op.convert(side, "f32"), op.constant(np.float32(0.1)))
    x = given
    if quantised_input:
        ends = [op.constant(np.float32(end)) for end in (-1, 1, -1, 1)]
        x = op.fake_quantize(given, *ends, 256)
    return ov.Model([op.matmul(x, side, False, True)], [given], "product")


@pytest.mark.parametrize(
    ("int8", "quantised_input", "why"),
    [
        (True, True, None),
        (False, True, "0 products with int8 weights, at least 1 expected"),
        (True, False, "0 products with int8 inputs, at least 1 expected"),
        (False, False, "0 products with int8 weights"),
    ],
)
def test_a_product_that_was_passed_over_is_refused(int8, quantised_input, why):
    found = quantize.count(product(int8=int8, quantised_input=quantised_input))
    assert found.products == 1
    if why is None:
        quantize.refuse_unquantised("net", found)
    else:
        with pytest.raises(ExportRefused, match=f"net: {why}"):
            quantize.refuse_unquantised("net", found)


def test_the_untouched_encoder_counts_as_nothing_quantised(graph):
    found = quantize.count(graph)
    assert found.products == PRODUCTS
    with pytest.raises(ExportRefused, match=f"0 products with int8 weights, at least {PRODUCTS} expected"):
        quantize.refuse_unquantised("encoder", found)


FEW = ((1, 16), (2, 8))


@pytest.fixture(scope="module")
def shaped(graph, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    shapes.save(graph, folder, "encoder", halves=True, shapes=FEW)
    return folder


def test_fixed_shapes_share_the_weights_and_compute_the_same(shaped, tokens):
    assert {path.name for path in shaped.iterdir()} == {
        "encoder.xml", "encoder.bin", "encoder-1x16.xml", "encoder-2x8.xml"
    }  # fmt: skip
    assert shapes.check(shaped, "encoder", FEW, tokens) < 1e-5


def test_a_shape_that_computes_something_else_is_refused(shaped, tokens, tmp_path):
    for path in shaped.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    described = (tmp_path / "encoder-1x16.xml").read_text()
    (tmp_path / "encoder-1x16.xml").write_text(re.sub(r'eps="[^"]*"', 'eps="1"', described))
    with pytest.raises(ExportRefused, match=r"encoder at 1x16 lies .* from the dynamic graph"):
        shapes.check(tmp_path, "encoder", FEW, tokens)


@pytest.mark.parametrize(
    ("texts", "length", "shape"), [(1, 5, (1, 16)), (2, 8, (2, 8)), (5, 7, (2, 8)), (2, 9, (1, 16))]
)
def test_a_call_goes_to_the_shape_that_wastes_least(texts, length, shape):
    assert best(FEW, texts, length) == shape


def test_a_text_longer_than_every_shape_is_an_error():
    with pytest.raises(ValueError, match="no fixed shape holds 17"):
        best(FEW, 1, 17)


def test_the_worker_runs_a_graph_in_fixed_shapes(shaped, graph, tokens, tmp_path):
    """Through the very call that opens an NPU; the CPU stands for it."""
    from worker.inference.compiled import open_on

    path = shaped / "encoder.xml"
    weights = path.with_suffix(".bin")
    fixed = {
        one: Graph(name=f"f{one}", model=shaped / f"encoder-{one[0]}x{one[1]}.xml", weights=weights)
        for one in FEW
    }
    component = Component(
        name="encoder",
        graph=lambda device, precision: Graph(name="g", model=path, quantised=True, fixed=fixed),
        largest=((16, 256),) * 2,
        requests=2,
        cpu={"INFERENCE_NUM_THREADS": 1},
        cache_dir=tmp_path,
        drift=lambda found, exact: 0.0,
        drift_limit=lambda precision: 1.0,
    )
    model = open_on("CPU", component, "f32")
    try:
        ids = np.zeros((3, 12), dtype=np.int32)
        mask = np.zeros((3, 12), dtype=np.float32)
        for line, own in enumerate(tokens):
            ids[line, : len(own[:12])], mask[line, : len(own[:12])] = own[:12], 1.0
        found = model.submit([ids, mask]).result()
    finally:
        model.close()
    exact = ov.Core().compile_model(path, "CPU", shapes.F32)([ids, mask])[0]
    np.testing.assert_allclose(found, exact, atol=1e-4)
    assert model.placed.precision == "int8+f32"


def effect_of(valence, r, *, rows=2000):
    figure = Figure(
        by="all", slice="all", variable="valence", metric="r", regime="text alone",
        estimate=Estimate(value=r, draws=np.array([r]), rows=rows, people=9),
    )  # fmt: skip
    return Effect(
        variables={"valence": np.array(valence)}, paths={"invoked": [(), ("Sad",)]}, figures=[figure]
    )


BEFORE = effect_of([0.5, 0.5], 0.7)


@pytest.mark.parametrize(
    ("after", "figures"),
    [
        (effect_of([0.505, 0.5], 0.7015), []),
        (effect_of([0.52, 0.5], 0.7), ["the largest change of valence"]),
        (effect_of([0.5, 0.5], 0.69), ["the change of valence r (all, text alone)"]),
        (effect_of([0.5, float("nan")], 0.7), ["the largest change of valence"]),
        (effect_of([0.5, 0.5], float("nan")), ["the change of valence r (all, text alone)"]),
        (replace(BEFORE, figures=[]), ["the change of valence r (all, text alone)"]),
    ],
)
def test_a_change_is_held_against_its_limit(after, figures):
    found = parity.compare("net", BEFORE, after, {}, Limits())
    assert [one.figure for one in found.breaches] == figures
    assert found.verdict(allow_loss=False) == ("refused" if figures else "exact")
    assert found.verdict(allow_loss=True) == ("trade" if figures else "exact")


def test_nothing_judged_is_nothing_proven():
    few = effect_of([0.5, 0.5], 0.7, rows=10)
    found = parity.compare("net", few, few, {}, Limits())
    assert [one.figure for one in found.breaches] == [
        "no metric rests on 1000 labelled rows, the most is 10: the shortfall"
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_quantised_nets_are_counted_run_in_their_shapes_and_judged(rows, tmp_path, bundle):
    variants = (
        Variant(name="encoder-int8", component="encoder", devices=("NPU",), quantised=True, shapes=FEW),
        next(one for one in EXPORTED if one.name == "temporal-int8"),
    )
    told = count()
    done = delivery.export(
        None, rows, tmp_path / "out", limits=LOOSE, exported=variants, runtime={"cpu-bf16": "bf16"},
        tell=lambda stage, at, of: next(told),
    )  # fmt: skip

    assert not done.refused
    graphs = done.report["graphs"]
    # All but those of the queries with the keys' matrix, one in each layer they go through.
    assert graphs["encoder-int8"]["quantised"]["int8_inputs"] == PRODUCTS - READ
    assert graphs["temporal-int8"]["quantised"]["int8_weights"] >= 15
    assert graphs["encoder-int8"]["speed beside bf16"] > 0
    found = opened(tmp_path / "out", bundle).graph("NPU", "auto")
    assert set(found.fixed) == set(FEW)
    assert all(Path(one.model).is_file() for one in found.fixed.values())
    assert next(told) > 10
