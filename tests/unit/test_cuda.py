"""The encoder of a CUDA device, run on torch's CPU device, against the OpenVINO encoder; and how a plan
leaves CUDA out where it is not."""

import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from tests.support.forks import write_fork
from worker.errors import DeviceUnfit
from worker.inference import bert, cuda, encoder_graph
from worker.inference.devices import Policy
from worker.inference.encoder import Encoder

CPU = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cuda")


@pytest.fixture(scope="module", params=["layers", "queries", "read"])
def fork(cache, request):
    made = {"queries": 0 if request.param == "layers" else 4}
    if request.param == "read":
        made |= {"depth": 3, "reader": True}
    return write_fork(cache / f"fork-{request.param}.npz", **made)


def component(cache, fork=None):
    return encoder_graph.component(cache_dir=cache, fork=fork, requests=1, cpu=CPU)


def inputs(rows=5, length=24):
    rng = np.random.default_rng(2)
    ids = rng.integers(1000, 20_000, (rows, length)).astype(np.int32)
    real = rng.integers(3, length + 1, rows)
    mask = (np.arange(length) < real[:, None]).astype(np.float32)
    return [np.where(mask > 0, ids, 0).astype(np.int32), mask]


@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize(("precision", "shown", "limit"), [("f32", "f32", 1e-5), ("auto", "bf16", None)])
def test_it_computes_what_the_openvino_encoder_does(cache, fork, tuned, precision, shown, limit):
    of = component(cache, fork if tuned else None)
    exact = Encoder.open(cache_dir=cache, plan=("CPU",), precision="f32", threads=1, streams=1, fork=of.fork)
    ids, mask = inputs()
    theirs = exact.submit([row[: int(real)].tolist() for row, real in zip(ids, mask.sum(1), strict=True)])

    model = cuda.open_on_cuda(of, precision, device="cpu")
    ours = model.submit([ids, mask]).result(60)

    expected = theirs.result(60).vectors
    assert ours.shape == expected.shape == (5, 768 if tuned else 384)
    assert ours.dtype == np.float32
    assert model.placed.precision == shown
    if limit is not None:
        np.testing.assert_allclose(ours, expected, atol=limit * max(1.0, np.abs(expected).max()))
    else:
        assert encoder_graph.drift(ours, expected) < 0.001
    model.close()
    exact.close()


def test_torchs_own_attention_gives_the_same(cache):
    rng = np.random.default_rng(4)
    parts = torch.from_numpy(rng.normal(size=(3, 5, 24, 384)).astype(np.float32))
    real = torch.from_numpy(inputs()[1]) > 0
    own, torchs = (bert.Padded(real, fused=fused).attend(*parts) for fused in (False, True))
    torch.testing.assert_close(own[real], torchs[real], atol=1e-5, rtol=0)


on_torchs_cpu = partial(cuda.open_on_cuda, device="cpu")


def test_calls_one_behind_the_other_do_not_wait_for_each_other_for_ever(cache):
    policy = Policy(backends={"TORCH": f"{__name__}:on_torchs_cpu"})
    encoder = Encoder.open(
        cache_dir=cache, plan=("TORCH:f32",), threads=1, streams=2, policy=policy, token_budget=16
    )
    texts = [f"A {'very ' * count}good day." for count in range(10)] * 3
    many = [encoder.submit(encoder.tokenise(texts)) for _ in range(4)]
    first = many[0].result(60).vectors
    for one in many[1:]:
        np.testing.assert_allclose(one.result(60).vectors, first, atol=1e-5)
    encoder.close()


@pytest.mark.parametrize(
    ("name", "precision", "reason"), [("encoder", "int8", "no int8"), ("temporal", "f32", "encoder only")]
)
def test_what_it_cannot_run_is_said(cache, name, precision, reason):
    with pytest.raises(DeviceUnfit, match=reason):
        cuda.open_on_cuda(replace(component(cache), name=name), precision, device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_plan_leaves_cuda_out_where_there_is_none(cache):
    encoder = Encoder.open(cache_dir=cache, plan=("CUDA", "CPU"), threads=1, streams=1)
    assert encoder.placed.actual == "CPU"
    assert encoder.placed.requested == ("CUDA", "CPU")
    assert encoder.skipped()["CUDA"].startswith("torch sees no CUDA device")
    encoder.close()


def test_a_plan_leaves_cuda_out_where_torch_is_not_installed(cache, monkeypatch):
    monkeypatch.delitem(sys.modules, "worker.inference.cuda")
    monkeypatch.delattr("worker.inference.cuda")
    monkeypatch.setitem(sys.modules, "torch", None)
    encoder = Encoder.open(cache_dir=cache, plan=("CUDA", "CPU"), threads=1, streams=1, policy=Policy())
    assert encoder.skipped() == {"CUDA": "torch is not installed: pip install torch==2.13.0"}
    encoder.close()


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@needs_cuda
@pytest.mark.parametrize("precision", ["bf16", "f16", "f32"])
def test_calls_of_every_size_recorded_or_not_stay_close_to_the_cpu(cache, fork, precision):
    of = replace(component(cache, fork), requests=3)
    exact = cuda.open_on_cuda(of, "f32", device="cpu")
    ours = cuda.open_on_cuda(of, precision)
    shapes = [(1, 3), (1, 256), (5, 24), (40, 3), (12, 64), (30, 200), (60, 256), (1024, 3)]
    given = [inputs(rows, length) for rows, length in shapes] * 2  # again: replayed, many under way
    expected = [exact.submit(one).result(100) for one in given[: len(shapes)]] * 2
    found = [ours.submit(one) for one in given]
    for one, other in zip(found, expected, strict=True):
        assert encoder_graph.drift(one.result(100), other) < (1e-5 if precision == "f32" else 0.001)
    ours.close()
    exact.close()


@needs_cuda
def test_a_call_that_does_not_fit_fails_alone_and_the_device_goes_on(cache):
    model = cuda.open_on_cuda(component(cache), "bf16", memory_mb=1000)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            model.submit([np.full((6000, 256), 2000, np.int32), np.ones((6000, 256), np.float32)]).result(60)
        assert np.isfinite(model.submit(inputs()).result(60)).all()
    finally:
        model.close()
        torch.cuda.set_per_process_memory_fraction(1.0)


@needs_cuda
def test_on_a_cuda_device_it_stays_close_to_the_cpu(cache):
    encoder = Encoder.open(cache_dir=cache, plan=("CUDA",), threads=1, streams=1)
    exact = Encoder.open(cache_dir=cache, plan=("CPU",), precision="f32", threads=1, streams=1)
    texts = ["I feel calm today.", "No.", "Aaj bahut thak gaya hoon yaar " * 12]
    assert encoder.placed.to_json() == {"requested": ["CUDA"], "device": "CUDA", "precision": "bf16"}
    assert encoder_graph.drift(encoder.encode(texts), exact.encode(texts)) < 0.001
    encoder.close()
    exact.close()
