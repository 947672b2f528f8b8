"""Hashed n-grams and the linear heads on them: own text only, known counts, and what survives storage."""

import numpy as np
import pytest

from worker.features import ngrams, text
from worker.models.heads import DenseHeads, NgramHeads, weigh
from worker.models.hierarchy import Thresholds, descend, softmax

TEXTS = [
    "I am so tired of this",
    "bas ab aur nahi hota yaar",
    "😊",
    "ok",
    "tired tired tired",
    "a much longer text " * 40,
]


def read(texts):
    return [text.read(one, None) for one in texts]


def test_a_row_does_not_depend_on_its_batch():
    together = ngrams.extract(read(TEXTS), 12)
    alone = [ngrams.extract(read([one]), 12) for one in TEXTS]
    for row, one in enumerate(alone):
        assert (together[row] != one).nnz == 0


def test_words_and_characters_live_in_their_own_halves():
    counts = ngrams.extract(read(["ab"]), 20)
    words = counts.indices < 1 << 19
    assert words.sum() == 1  # one word, no pair
    assert (~words).sum() == 3  # ' ab', 'ab ', ' ab '


def test_a_repeated_word_counts_sublinearly():
    once, thrice = ngrams.extract(read(["tired", "tired tired tired"]), 20)
    bucket = once.indices[once.indices < 1 << 19][0]
    assert thrice[0, bucket] == pytest.approx(1 + np.log(3))


def test_no_window_spans_two_texts():
    both = set(ngrams.extract(read(["abc", "def"]), 20).indices)
    apart = set(ngrams.extract(read(["abc"]), 20).indices) | set(ngrams.extract(read(["def"]), 20).indices)
    assert both == apart


def test_each_half_has_unit_length_after_weighing():
    weighed = weigh(ngrams.extract(read(TEXTS), 12), np.ones(1 << 12))
    for half in (weighed[:, : 1 << 11], weighed[:, 1 << 11 :]):
        lengths = np.sqrt((half.toarray() ** 2).sum(axis=1))
        assert np.allclose(lengths[lengths > 0], 1.0)


def test_heads_survive_storage(tmp_path):
    generator = np.random.default_rng(1)
    dense = DenseHeads(
        targets=("valence", "arousal"),
        weights=generator.normal(size=(5, 2)).astype(np.float32).astype(np.float64),
        bias=np.array([0.5, 0.4]),
        mean=np.zeros(5),
        scale=np.full(5, 2.0),
    )
    sparse = NgramHeads(
        targets=("valence",),
        bits=12,
        idf=np.ones(1 << 12, dtype=np.float32),
        weights=generator.normal(size=(1 << 12, 1)).astype(np.float16).astype(np.float32),
        bias=np.array([0.5]),
    )
    dense.save(tmp_path / "dense.npz")
    sparse.save(tmp_path / "sparse.npz")
    rows, counts = generator.normal(size=(3, 5)), ngrams.extract(read(TEXTS), 12)

    assert np.array_equal(DenseHeads.load(tmp_path / "dense.npz").predict(rows), dense.predict(rows))
    loaded = NgramHeads.load(tmp_path / "sparse.npz")
    assert loaded.bits == 12
    assert np.array_equal(loaded.predict(counts), sparse.predict(counts))


EVEN = np.full((6, 6), 1 / 6), np.full((6, 6, 6), 1 / 6)
ALL = Thresholds(core=0.5, nuance=0.3, micro=0.2)


def sure(core, nuance, micro, *, core_p=0.9, nuance_p=0.9, micro_p=0.9):
    classes = np.full(7, (1 - core_p) / 6)
    nuances, micros = (part.copy() for part in EVEN)
    classes[core] = core_p
    nuances[core] = (1 - nuance_p) / 5
    nuances[core, nuance] = nuance_p
    micros[core, nuance] = (1 - micro_p) / 5
    micros[core, nuance, micro] = micro_p
    return classes, nuances, micros


@pytest.mark.parametrize(
    ("chances", "depth"),
    [({}, 3), ({"micro_p": 0.2}, 2), ({"nuance_p": 0.2}, 1), ({"core_p": 0.4}, 0)],
)
def test_the_path_stops_where_confidence_ends(taxonomy_tree, chances, depth):
    emotion = descend(taxonomy_tree, *sure(3, 2, 1, **chances), ALL, supported=True)
    assert len(emotion.path) == len(emotion.confidence) == depth
    assert depth == 0 or taxonomy_tree.is_path(emotion.path)
    assert sum(emotion.cores.values()) == pytest.approx(1.0)


def test_confidence_is_the_product_down_the_path(taxonomy_tree):
    emotion = descend(taxonomy_tree, *sure(0, 5, 5), ALL, supported=True)
    assert emotion.confidence == pytest.approx((0.9, 0.81, 0.729))


def test_an_unsupported_language_names_no_emotion(taxonomy_tree):
    assert descend(taxonomy_tree, *sure(0, 0, 0), ALL, supported=False).path == ()


def test_much_neutral_mass_names_no_emotion(taxonomy_tree):
    classes = np.array([0.3, 0.02, 0.02, 0.02, 0.02, 0.02, 0.6])
    emotion = descend(
        taxonomy_tree, classes, *EVEN, Thresholds(core=0.1, nuance=0.1, micro=0.1), supported=True
    )
    assert emotion.path == ()
    assert emotion.neutral == pytest.approx(0.6)


def test_softmax_survives_large_logits():
    assert softmax(np.array([1000.0, 1000.0])).tolist() == [0.5, 0.5]


@pytest.fixture(scope="module")
def taxonomy_tree():
    from worker.events.taxonomy import taxonomy

    return taxonomy()
