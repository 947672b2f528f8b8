"""The device plan under a device that fails in every way: no value changes, nothing is lost, every row says
what computed it, and the device comes back."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from prometheus_client import REGISTRY

from tests.support import bundles, flaky_device
from tests.support.flaky_device import Hardware
from worker.errors import DeviceFailed, DeviceUnfit, UsageError
from worker.features.sequence import Sequences
from worker.inference import compiled, compiled_cache, encoder_graph, memory, minilm
from worker.inference.compiled import open_on
from worker.inference.devices import Choice, Policy, read_plan
from worker.inference.encoder import Encoder
from worker.inference.temporal_net import TemporalNet
from worker.settings import Settings

TEXTS = [f"Today was {word}, that is {'all of ' * (n % 4)}it." for n, word in enumerate("abcdefghijkl")]
BACKENDS = {"FLAKY": "tests.support.flaky_device:Flaky"}
CPU = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("devices")


@pytest.fixture(scope="module")
def undisturbed(cache):
    encoder = Encoder.open(cache_dir=cache, plan=("CPU:f32",), threads=1, streams=1)
    yield encoder.encode(TEXTS)
    encoder.close()


@pytest.fixture
def hardware(monkeypatch):
    monkeypatch.setattr(flaky_device, "HARDWARE", Hardware())
    return flaky_device.HARDWARE


@pytest.fixture
def opened(cache, hardware):
    """Opens encoders that end with the test."""
    made = []

    def open_encoder(plan=("FLAKY", "CPU"), **policy):
        policy = Policy(**{"backends": BACKENDS, "shadow_share": 0.0, "rest_s": 60.0, **policy})
        made.append(
            Encoder.open(
                cache_dir=cache,
                plan=plan,
                precision="f32",
                threads=1,
                streams=1,
                policy=policy,
                token_budget=16,  # several calls for a few texts
            )
        )
        return made[-1]

    yield open_encoder
    for encoder in made:
        encoder.close()


def encoded(encoder, texts=TEXTS):
    return encoder.submit(encoder.tokenise(texts)).result(60)


def computed_by(encoded):
    return [placed.actual for placed in encoded.placed]


def counted(name, **labels):
    return REGISTRY.get_sample_value(f"feltsense_{name}_total", labels) or 0.0


def eventually(true, seconds=20.0):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("trouble", ["submit", "call", "hang", "nan", "short"])
def test_a_call_that_fails_is_computed_by_the_next_device(opened, hardware, undisturbed, trouble):
    failures = {
        "component": "encoder", "device": "FLAKY", "kind": "late" if trouble == "hang" else "call"
    }  # fmt: skip
    before = counted("device_failures", **failures)
    hardware.trouble, hardware.on = trouble, range(3, 5)
    encoder = opened(timeout_s=2.0)

    rows = encoded(encoder)
    later = encoded(encoder, TEXTS[:1])

    np.testing.assert_array_equal(rows.vectors, undisturbed)
    np.testing.assert_array_equal(later.vectors, undisturbed[:1])
    assert set(computed_by(rows)) == {"FLAKY", "CPU"}
    assert computed_by(later) == ["CPU"]
    assert later.placed[0].to_json() == {
        "requested": ["FLAKY:f32", "CPU:f32"], "device": "CPU", "precision": "f32"
    }  # fmt: skip
    assert encoder.skipped().keys() == {"FLAKY:f32"}
    assert counted("device_failures", **failures) == before + 1


def test_a_device_that_does_not_open_is_left_out_with_its_reason(opened, hardware, undisturbed):
    hardware.trouble = "open"
    encoder = opened()
    assert encoder.skipped() == {"FLAKY:f32": "the device is lost"}
    np.testing.assert_array_equal(encoded(encoder).vectors, undisturbed)


@pytest.mark.parametrize("trouble", ["open", "call"])
def test_a_failed_device_rests_and_comes_back_when_it_works_again(opened, hardware, undisturbed, trouble):
    hardware.trouble = trouble
    encoder = opened(rest_s=0.05)
    assert computed_by(encoded(encoder, TEXTS[:1])) == ["CPU"]
    hardware.trouble = ""

    def is_back():
        return computed_by(encoded(encoder, TEXTS[:1])) == ["FLAKY"]

    eventually(is_back)
    assert encoder.skipped() == {}
    np.testing.assert_array_equal(encoded(encoder).vectors, undisturbed)


def test_each_rest_of_a_device_that_stays_broken_is_twice_the_last(opened, hardware):
    hardware.trouble = "call"
    encoder = opened(rest_s=0.2)
    started = time.monotonic()
    while time.monotonic() < started + 2.0:
        assert computed_by(encoded(encoder, TEXTS[:1])) == ["CPU"]
        time.sleep(0.01)
    # At 0, .2, .6 and 1.4 s, if the machine is quick; never more often.
    assert 2 <= hardware.opened["encoder"] <= 4


def test_a_device_that_gives_other_vectors_than_the_one_at_work_does_not_come_back(opened, hardware):
    hardware.trouble, hardware.on = "call", range(1, 2)
    encoder = opened(rest_s=0.05)
    encoded(encoder, TEXTS[:1])
    hardware.noise = 0.02
    eventually(lambda: (encoded(encoder, TEXTS[:1]), hardware.opened["encoder"] > 2)[1])
    eventually(lambda: "drifts" in encoder.skipped().get("FLAKY:f32", ""))
    assert computed_by(encoded(encoder, TEXTS[:1])) == ["CPU"]


def test_many_threads_lose_nothing_when_a_device_fails_under_them(opened, hardware, undisturbed):
    hardware.trouble, hardware.on = "call", range(9, 14)
    encoder = opened(rest_s=0.05)
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda _: encoded(encoder).vectors, range(12)))
    for vectors in found:
        np.testing.assert_array_equal(vectors, undisturbed)


def test_the_only_device_is_asked_again_at_once(opened, hardware, undisturbed):
    hardware.trouble, hardware.on = "call", range(1, 2)
    encoder = opened(plan=("FLAKY",))
    with pytest.raises(DeviceFailed, match="encoder failed on every device of FLAKY:f32"):
        encoded(encoder, TEXTS[:1])
    np.testing.assert_array_equal(encoded(encoder).vectors, undisturbed)


def test_the_temporal_net_fails_over_too(cache, hardware, tmp_path):
    bundles.write(tmp_path / "tiny")
    ir = next((tmp_path / "tiny").rglob("temporal.xml"))
    steps, mask, now = (tuple(part.get_partial_shape())[1:] for part in ov.Core().read_model(ir).inputs)
    rng = np.random.default_rng(1)
    parts = {"steps": steps, "mask": mask, "now": now}
    sequences = Sequences(
        **{
            name: rng.random((70, *(one.get_length() for one in of)), dtype=np.float32)
            for name, of in parts.items()
        }
    )
    hardware.trouble, hardware.on = "call", range(2, 3)
    policy = Policy(backends=BACKENDS, rest_s=60.0, shadow_share=0.0)
    exact = TemporalNet.open(ir, plan=("CPU",), cache_dir=cache)
    flaky = TemporalNet.open(ir, plan=("FLAKY", "CPU"), cache_dir=cache, policy=policy)
    ours, theirs = flaky.run(sequences), exact.run(sequences)
    flaky.close()
    exact.close()
    np.testing.assert_array_equal(ours.values, theirs.values)
    by = [one.actual for one in ours.placed]
    assert by[:64] == ["FLAKY"] * 32 + ["CPU"] * 32
    assert len(by) == 70


@pytest.mark.parametrize(("noise", "outcome"), [(0.01, "drifts"), (0.0, "agrees")])
def test_the_cpu_repeats_a_share_and_a_device_that_drifts_is_taken_out(opened, hardware, noise, outcome):
    labels = {"component": "encoder", "device": "FLAKY"}
    before = {kind: counted("shadow_runs", **labels, outcome=kind) for kind in ("agrees", "drifts", "failed")}
    hardware.noise = noise
    encoder = opened(shadow_share=0.5)

    def looked_at():
        encoded(encoder, TEXTS[:2])
        return counted("shadow_runs", **labels, outcome=outcome) >= before[outcome] + 3

    eventually(looked_at)
    if noise:
        eventually(lambda: computed_by(encoded(encoder, TEXTS[:1])) == ["CPU"])
        assert "reference" in encoder.skipped()["FLAKY:f32"]
    else:
        assert computed_by(encoded(encoder, TEXTS[:1])) == ["FLAKY"]
    for kind in before.keys() - {outcome}:
        assert counted("shadow_runs", **labels, outcome=kind) == before[kind]


def test_what_ran_on_the_cpu_is_not_repeated(opened):
    labels = {"component": "encoder", "device": "CPU"}
    encoder = opened(plan=("CPU",), shadow_share=1.0)
    encoded(encoder)
    encoder.close()
    assert not any(counted("shadow_runs", **labels, outcome=kind) for kind in ("agrees", "drifts", "failed"))


def test_a_device_whose_memory_limit_is_too_small_is_skipped(opened):
    encoder = opened(memory_mb={"FLAKY": 50, "CPU": 10_000})
    assert encoder.skipped()["FLAKY:f32"].startswith("needs ")
    assert encoder.skipped()["FLAKY:f32"].endswith("MB of 50 MB allowed")
    assert encoder.placed.actual == "CPU"


def test_the_memory_needed_is_weights_and_live_activations(cache):
    graph = ov.Core().read_model(minilm.exported(cache))
    weights = sum(part.nbytes for name, part in minilm.read_weights().items() if not name.endswith("ids"))

    def need(batch, requests, precision="f32"):
        return memory.need(graph, largest=[(batch, 256)] * 2, requests=requests, precision=precision)

    # The pooler of the published weights is not in the graph.
    assert weights - 4 * 384 * 386 <= need(1, 0) <= weights
    one = need(1, 1) - need(1, 0)
    scores, wide = 4 * 12 * 256 * 256, 4 * 256 * 4 * 384
    assert max(scores, 2 * wide) <= one <= scores + 4 * wide
    assert need(16, 3) == need(1, 0) + 48 * one
    assert need(16, 3, "bf16") < 0.51 * need(16, 3)


@pytest.mark.parametrize(
    ("plan", "choices"),
    [
        (["GPU", "CPU"], [("GPU", "auto"), ("CPU", "auto")]),
        (["GPU:f16", "CUDA:bf16", "CPU"], [("GPU", "f16"), ("CUDA", "bf16"), ("CPU", "auto")]),
        (["GPU.1:f32"], [("GPU.1", "f32")]),
        (["AUTO:GPU"], [("AUTO:GPU", "auto")]),
        (["HETERO:NPU:f16"], [("HETERO:NPU", "f16")]),
    ],
)
def test_a_plan_names_devices_and_may_name_precisions(plan, choices):
    assert read_plan(plan, "auto") == tuple(Choice(device=d, precision=p) for d, p in choices)


def test_what_is_wrong_in_the_settings_is_said_at_once(cache):
    with pytest.raises(UsageError, match="'GPU:f17' names no precision"):
        Encoder.open(cache_dir=cache, plan=("GPU:f17", "CPU"))
    for reference in ("tests.support.flaky_device:Nothing", "tests.nowhere:Flaky", "no module"):
        policy = Policy(backends={"MINE": reference})
        with pytest.raises(UsageError, match="FELTSENSE_DEVICE_BACKENDS: there is no"):
            Encoder.open(cache_dir=cache, plan=("CPU", "MINE"), policy=policy)


def test_settings_by_device_are_pairs(monkeypatch):
    monkeypatch.setenv("FELTSENSE_DEVICE_MEMORY_MB", "GPU=2048, NPU=512")
    monkeypatch.setenv("FELTSENSE_DEVICE_BACKENDS", "FLAKY=tests.support.flaky_device:Flaky")
    policy = Policy.of(Settings())
    assert policy.memory_mb == {"GPU": 2048, "NPU": 512}
    assert policy.backends == BACKENDS


def test_a_failed_openvino_request_surfaces_in_its_own_future(cache):
    padded = encoder_graph.graph_for("GPU", "f32", cache_dir=cache, fork=None, rows=16)
    component = encoder_graph.component(cache_dir=cache, fork=None, requests=2, cpu=CPU)
    model = open_on("CPU", replace(component, graph=lambda *_: padded), "f32")
    ids, mask = np.full((2, 8), 1012, dtype=np.int32), np.ones((2, 8), dtype=np.float32)
    bad, good = model.submit([ids, mask[:, :5]]), model.submit([ids, mask])
    with pytest.raises(RuntimeError):
        bad.result(30)
    assert good.result(30).shape == (2, 384)
    model.close()
    with pytest.raises(DeviceFailed, match="closed"):
        model.submit([ids, mask])


def test_the_npus_bounded_graph_computes_the_same(cache, undisturbed, opened):
    tokens = opened(plan=("CPU",)).tokenise(TEXTS[:1])
    bounded = encoder_graph.graph_for("NPU", "f16", cache_dir=cache, fork=None, rows=16)
    model = ov.Core().compile_model(bounded.model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    length = max(8, len(tokens[0]))
    ids, mask = np.zeros((1, length), dtype=np.int32), np.zeros((1, length), dtype=np.float32)
    ids[0, : len(tokens[0])], mask[0, : len(tokens[0])] = tokens[0], 1.0
    np.testing.assert_allclose(model([ids, mask])[0], undisturbed[:1], atol=1e-5)
    assert all(one.is_dynamic and one.max_length in (16, 256) for one in model.input(0).get_partial_shape())


def test_there_is_no_device_that_is_not_there(cache):
    with pytest.raises(DeviceUnfit, match=r"OpenVINO sees no GPU\.7, only "):
        open_on("GPU.7", encoder_graph.component(cache_dir=cache, fork=None, requests=1, cpu=CPU), "auto")


def folders(cache):
    return sorted(path.parent for path in cache.rglob(compiled_cache.DIGESTS))


def test_a_warm_start_loads_the_compiled_model_and_a_damaged_one_is_made_anew(tmp_path):
    core = ov.Core()
    graph = encoder_graph.graph_for("GPU", "f32", cache_dir=tmp_path, fork=None, rows=16)

    def compiled(**properties):
        return compiled_cache.compile_model(core, graph, "CPU", {**CPU, **properties}, tmp_path)

    ids, mask = np.full((1, 8), 1012, dtype=np.int32), np.ones((1, 8), dtype=np.float32)
    cold = compiled()
    assert not cold.get_property("LOADED_FROM_CACHE")
    expected = cold([ids, mask])[0]
    warm = compiled()
    assert warm.get_property("LOADED_FROM_CACHE")
    np.testing.assert_array_equal(warm([ids, mask])[0], expected)
    assert not compiled(NUM_STREAMS=2).get_property("LOADED_FROM_CACHE")

    for folder in folders(tmp_path):
        for blob in folder.glob("*.blob"):
            blob.chmod(0o600)
            with blob.open("r+b") as file:
                file.seek(blob.stat().st_size // 2)
                file.write(b"\x7f" * 4096)
    again = compiled()
    assert not again.get_property("LOADED_FROM_CACHE")
    np.testing.assert_array_equal(again([ids, mask])[0], expected)
    assert compiled().get_property("LOADED_FROM_CACHE")
    assert not list(tmp_path.rglob("compiled/*/*/.*"))


def test_compiled_models_of_other_versions_are_deleted(tmp_path, monkeypatch):
    core = ov.Core()
    graph = encoder_graph.graph_for("CPU", "f32", cache_dir=tmp_path, fork=None, rows=16)

    def kept():
        compiled_cache.compile_model(core, graph, "CPU", CPU, tmp_path)
        return folders(tmp_path)

    first = kept()
    monkeypatch.setattr(compiled_cache.ov, "__version__", "2031.1")
    second = kept()
    assert len(first) == len(second) == 1
    assert first != second
    assert Path(second[0]).exists()
    assert not Path(first[0]).parent.exists()


@pytest.mark.parametrize(
    ("asked", "device", "capable", "hint"),
    [
        ("auto", "CPU", ["FP32", "BF16"], "bf16"),
        ("auto", "CPU", ["FP32"], "f32"),
        ("auto", "GPU.1", ["FP32", "FP16"], "f32"),
        ("auto", "NPU", ["FP16", "INT8"], "f16"),
        ("f16", "GPU", ["FP32", "FP16"], "f16"),
        ("int8", "CPU", ["FP32", "BF16"], "bf16"),
    ],
)
def test_the_arithmetic_asked_of_a_plugin(asked, device, capable, hint):
    assert compiled._hint(asked, capable, device) == hint
