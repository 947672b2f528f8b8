"""Texts as the encoder's inputs, and those laid out without their padding."""

import numpy as np
import pytest

from worker.features.embedding import TOKEN_BUDGET, pack, shape
from worker.inference.packed import lay


@pytest.mark.parametrize(("longest", "length"), [(1, 16), (16, 16), (33, 48), (97, 128), (256, 256)])
def test_texts_are_padded_to_the_next_of_a_few_lengths(longest, length):
    ids, mask = pack([[7] * longest, [8]])

    assert ids.shape == mask.shape == (2, length)
    assert mask.sum(axis=1).tolist() == [longest, 1]
    assert ids[1, :2].tolist() == [8, 0]


def test_laid_out_every_real_token_stands_once_with_its_place_and_finds_its_way_back():
    generator = np.random.default_rng(5)
    tokens = [generator.integers(1, 30_000, size=length).tolist() for length in (3, 40, 1, 19, 2)]
    given, real = pack(tokens)

    ids, places, spread, back, mask = lay([given, real])

    flat = [one for text in tokens for one in text]
    assert ids[: len(flat)].tolist() == flat
    assert places[: len(flat)].tolist() == [at for text in tokens for at in range(len(text))]
    assert (ids[spread[:5]] * mask[:5] == given).all()
    assert (given.reshape(-1)[back[: len(flat)]] == flat).all()
    assert (mask[:5] == real).all()
    assert mask[5:].sum() == 1  # a sixth row, which divides by one token
    assert len(ids) == len(places) == len(back) == 72


@pytest.mark.parametrize("budget", [16, TOKEN_BUDGET, 1000])
def test_every_text_is_cut_into_one_call_of_at_most_the_budget_unless_it_is_alone(budget):
    tokens = [[1 + length] * length for length in np.random.default_rng(5).integers(1, 257, size=173)]

    calls = list(shape(tokens, budget))

    assert sorted(np.concatenate([call.rows for call in calls])) == list(range(len(tokens)))
    for call in calls:
        assert call.ids.size <= budget or len(call.rows) == 1
        for row, ids, mask in zip(call.rows, call.ids, call.mask, strict=True):
            assert ids[mask > 0].tolist() == tokens[row]


def test_no_text_makes_no_call():
    assert list(shape([])) == []
