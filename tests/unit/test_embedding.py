"""Cutting texts into encoder calls: every row once, padded by its own length only."""

import numpy as np
import pytest

from worker.features.embedding import BUCKETS, TOKEN_BUDGET, bucket_of, shape, sizes


@pytest.mark.parametrize(("length", "bucket"), [(1, 8), (8, 8), (9, 12), (33, 40), (129, 160), (256, 256)])
def test_a_text_is_padded_to_the_smallest_bucket_that_holds_it(length, bucket):
    assert bucket_of(length) == bucket


def test_a_text_beyond_the_last_bucket_is_an_error():
    with pytest.raises(ValueError, match="257"):
        bucket_of(BUCKETS[-1] + 1)


def test_every_text_is_in_exactly_one_call_with_its_own_tokens():
    generator = np.random.default_rng(5)
    tokens = [list(range(1, 1 + length)) for length in generator.integers(1, 257, size=173)]

    calls = list(shape(tokens))

    assert sorted(np.concatenate([call.rows for call in calls])) == list(range(len(tokens)))
    for call in calls:
        assert len(call.rows) in sizes(call.ids.shape[1], TOKEN_BUDGET)
        for row, ids, mask in zip(call.rows, call.ids, call.mask, strict=True):
            count = len(tokens[row])
            assert ids[:count].tolist() == tokens[row]
            assert not ids[count:].any()
            assert mask.sum() == count
            assert len(ids) == bucket_of(count)


def test_no_text_makes_no_call():
    assert list(shape([])) == []


@pytest.mark.parametrize("budget", [16, 256, 1000, 4096])
def test_no_call_has_more_padded_tokens_than_the_budget_unless_it_is_one_text(budget):
    tokens = [[1] * length for length in range(1, 257)] * 17

    calls = list(shape(tokens, budget))

    assert sum(len(call.rows) for call in calls) == len(tokens)
    assert all(call.ids.size <= budget or len(call.rows) == 1 for call in calls)
    assert all(len(call.rows) in sizes(call.ids.shape[1], budget) for call in calls)
