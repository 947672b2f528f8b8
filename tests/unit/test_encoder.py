"""The own OpenVINO graph against the published architecture in torch, and its independence of the batch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.support.forks import write_fork
from worker.errors import DeviceFailed
from worker.inference import minilm
from worker.inference.encoder import Encoder

ROOT = Path(__file__).parents[2]
TEXTS = [
    "I feel calm today.",
    "Aaj bahut thak gaya hoon yaar, kuch samajh nahi aa raha",
    "No.",
    "Work was long and my manager shouted at me in front of everybody, but then I walked home through the "
    "park "
    "and called my sister and we laughed about the summer when the tent flew away over the lake.",
    "😊😊",
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("encoder")


@pytest.fixture(scope="module")
def exact(cache):
    encoder = Encoder.open(cache_dir=cache, plan=("CPU",), precision="f32", threads=1, streams=1)
    yield encoder
    encoder.close()


def reference(token_ids):
    """BERT (Devlin et al. 2019) with mean pooling for one unpadded text, in torch float32."""
    weights = {name: torch.tensor(np.array(value)) for name, value in minilm.read_weights().items()}

    def norm(x, name):
        return functional.layer_norm(x, (384,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-12)

    def dense(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    x = weights["embeddings.word_embeddings.weight"][token_ids]
    x = x + weights["embeddings.position_embeddings.weight"][: len(token_ids)]
    x = norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(6):
        name = f"encoder.layer.{layer}"
        query, key, value = (
            dense(x, f"{name}.attention.self.{part}").reshape(-1, 12, 32).transpose(0, 1)
            for part in ("query", "key", "value")
        )
        attention = torch.softmax(query @ key.transpose(1, 2) / 32**0.5, dim=-1) @ value
        joined = attention.transpose(0, 1).reshape(-1, 384)
        x = norm(x + dense(joined, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
        inner = functional.gelu(dense(x, f"{name}.intermediate.dense"))
        x = norm(x + dense(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")
    return functional.normalize(x.mean(dim=0), dim=0).numpy()


def test_the_graph_computes_the_published_model(exact):
    for text, ours in zip(TEXTS, exact.encode(TEXTS), strict=True):
        theirs = reference(exact.tokenise([text])[0])
        assert np.abs(ours - theirs).max() < 1e-5


FORKS = {
    "published": None,
    "layers": {"queries": 0},
    "two": {"queries": 2},
    "four": {"queries": 4},
    "read": {"queries": 4, "depth": 3, "reader": True},
}


@pytest.mark.parametrize("kind", FORKS)
@pytest.mark.parametrize("precision", ["auto", "f32", "int8"])
def test_an_embedding_does_not_depend_on_its_batch(cache, precision, kind):
    made = FORKS[kind]
    fork = None if made is None else write_fork(cache / f"fork-{kind}.npz", **made)
    encoder = Encoder.open(
        cache_dir=cache, plan=("GPU", "NPU", "CPU"), precision=precision, threads=2, streams=2, fork=fork
    )
    texts = [f"{text} {'again and ' * (n % 7) ** 2}again" for n, text in enumerate(TEXTS * 4)]
    alone = np.concatenate([encoder.encode([text]) for text in texts])

    together = encoder.encode(texts)
    backwards = encoder.encode(texts[::-1])[::-1]
    encoder.close()

    assert np.array_equal(alone, together)
    assert np.array_equal(alone, backwards)


def test_the_chosen_precision_stays_close_to_float32(cache, exact):
    encoder = Encoder.open(cache_dir=cache, plan=("CPU",))
    cosine = (encoder.encode(TEXTS) * exact.encode(TEXTS)).sum(axis=1)
    encoder.close()
    assert cosine.min() > 0.999


@pytest.mark.parametrize("packed", [True, False])
def test_a_sentence_reader_gives_the_embedding_and_spares_the_layers_above(cache, packed):
    fork = minilm.read_fork(write_fork(cache / "fork-read.npz", **FORKS["read"]))
    graph = minilm.build(minilm.read_weights(), fork, packed=packed)
    named = {name: np.array(part, dtype=np.float32) for name, part in minilm.read_weights().items()}
    # Layers that are not computed cannot be missed.
    upper = {name for name in named if name.startswith(tuple(f"encoder.layer.{n}." for n in (3, 4, 5)))}
    without = minilm.build({name: named[name] for name in named.keys() - upper}, fork, packed=packed)
    assert len(graph.get_ops()) == len(without.get_ops())


def test_a_reader_without_tuned_layers_gives_the_embedding_alone(cache):
    whole = write_fork(cache / "fork-read.npz", **FORKS["read"])
    with np.load(whole) as data:
        own = {name: data[name] for name in data.files if name.startswith(minilm.SENTENCE)}
    path = cache / "reader.npz"
    np.savez(path, **own, **{minilm.DEPTH: np.array(3, dtype=np.float16)})

    def encoded(fork):
        encoder = Encoder.open(
            cache_dir=cache, plan=("CPU",), precision="f32", threads=1, streams=1, fork=fork
        )
        try:
            return encoder.encode(TEXTS)
        finally:
            encoder.close()

    alone, both = encoded(path), encoded(whole)
    assert (alone.shape, both.shape) == ((len(TEXTS), 384), (len(TEXTS), 768))
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(alone, both[:, :384])


def test_long_texts_keep_their_first_256_tokens(exact):
    assert [len(ids) for ids in exact.tokenise(["word " * 5000, "word"])] == [256, 3]


def test_no_text_gives_no_row(exact):
    assert exact.encode([]).shape == (0, 384)


def test_a_plan_without_a_working_device_names_each_with_its_reason(cache):
    with pytest.raises(DeviceFailed, match=r"encoder: GPU: .+; NPU: "):
        Encoder.open(cache_dir=cache, plan=("GPU", "NPU"))


def test_the_fallback_records_what_really_executes(cache):
    encoder = Encoder.open(cache_dir=cache, plan=("NPU", "CPU"))
    placed = encoder.placed.to_json()
    encoder.close()
    assert placed["requested"] == ["NPU", "CPU"]
    assert placed["device"] == "CPU"


def test_workers_that_start_on_an_empty_cache_together_all_find_the_graph_whole(tmp_path):
    code = "import sys; from pathlib import Path; from worker.inference import minilm; "
    code += (
        "import openvino as ov; sys.stdin.read(); ov.Core().read_model(minilm.exported(Path(sys.argv[1])))"
    )
    starters = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE)
        for _ in range(3)
    ]
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.close()
    assert [starter.wait(60) for starter in starters] == [0, 0, 0]
    (folder,) = tmp_path.iterdir()
    assert {path.name for path in folder.iterdir()} == {"encoder.bin", "encoder.xml"}
