"""The dynamically quantised graph: close to the exact one, blind to its batch, and of the right encoder."""

import numpy as np
import openvino as ov
import pytest

from trainer.export.ranges import measure
from worker.inference import int8, minilm
from worker.inference.encoder import Encoder

TEXTS = [
    "I feel calm today.",
    "Aaj bahut thak gaya hoon yaar, kuch samajh nahi aa raha",
    "No.",
    "Work was long, but then I walked home through the park and called my sister and we laughed a lot.",
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("encoder")


def opened(cache, precision):
    return Encoder.open(cache_dir=cache, plan=("CPU",), precision=precision, threads=1, streams=1)


def test_the_quantised_graph_stays_close_to_the_exact_one_and_says_what_it_is(cache):
    exact, quantised = opened(cache, "f32"), opened(cache, "int8")

    cosines = (exact.encode(TEXTS) * quantised.encode(TEXTS)).sum(axis=1)

    assert quantised.placed.precision.startswith("int8")
    assert 0.995 < cosines.min() < 0.999999, "equal vectors would mean that nothing is quantised"


def test_a_quantised_row_does_not_depend_on_its_batch(cache):
    encoder = opened(cache, "int8")
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])

    together = encoder.encode([*TEXTS, *reversed(TEXTS), TEXTS[0]])

    assert np.array_equal(alone, together[: len(TEXTS)])


def test_every_dense_layer_is_quantised(cache):
    graph = ov.Core().read_model(minilm.exported(cache, quantised=True))
    eight = [
        node.get_shape()
        for node in graph.get_ordered_ops()
        if node.get_type_name() == "Constant" and node.get_output_element_type(0) == ov.Type.i8
    ]
    assert len(eight) == 6 * minilm.LAYERS
    assert all(shape[2] == int8.GROUP for shape in eight)


def test_smoothing_changes_nothing_before_rounding():
    rng = np.random.default_rng(0)
    gain, plain = rng.normal(size=256), rng.normal(size=(5, 256))
    weight = rng.normal(size=(4, 256))
    factor = int8.smoothing(gain, [weight], np.abs(plain).max(axis=0))

    smoothed = (plain * factor) @ (weight * (gain / factor)).T

    assert np.allclose(smoothed, (plain * gain) @ weight.T)


def test_the_shipped_ranges_are_those_of_this_encoder():
    shipped = int8.ranges(minilm.weights_digest())
    here = measure([encoding.ids for encoding in minilm.tokenizer().encode_batch_fast(TEXTS)])

    assert shipped.shape == here.shape == (2 * minilm.LAYERS + 1, minilm.HIDDEN)
    # Four texts reach less far than four thousand, in the same channels.
    assert np.median(here / shipped) < 1
    assert all(np.corrcoef(a, b)[0, 1] > 0.5 for a, b in zip(here, shipped, strict=True))


def test_ranges_of_another_encoder_are_refused():
    with pytest.raises(ValueError, match="another encoder"):
        int8.ranges("0" * 64)
