"""Token ids in, sentence embeddings out: the cutting of texts into the few shapes the encoder is warmed for.

A text is always padded to the same length bucket, a function of its own token count, so its embedding is
bitwise the same alone, in any batch and in any order; only the batch size varies, and rows of a batch do
not touch each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BUCKETS = (8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256)
"""Padded lengths in tokens; fine where most reflections are, coarse where padding costs little."""

BATCHES = (16, 8, 4, 2, 1)
"""Batch sizes below a full call: what is left over is cut greedily, so no row is computed for nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shaped:
    """One encoder call: `rows` index the caller's texts; `ids` i32 and `mask` f32 are [len(rows), bucket]."""

    rows: NDArray[np.intp]
    ids: NDArray[np.int32]
    mask: NDArray[np.float32]


def bucket_of(length: int) -> int:
    """The padded length for a text of `length` tokens; raises `ValueError` beyond the last bucket."""
    for bucket in BUCKETS:
        if length <= bucket:
            return bucket
    raise ValueError(f"{length} tokens exceed the last bucket {BUCKETS[-1]}: truncate first")


TOKEN_BUDGET = 256
"""Most padded tokens of a call where nothing else is said: what a text of the other lane may have to wait
for. A longer text is a call of its own in any case."""


def sizes(bucket: int, token_budget: int) -> tuple[int, ...]:
    """Batch sizes ever sent of a padded length, largest first: what fills the budget, then `BATCHES`."""
    full = max(1, token_budget // bucket)
    return (full, *(batch for batch in BATCHES if batch < full))


def pack(bucket: int, tokens: Sequence[Sequence[int]]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Texts of one padded length as the encoder's inputs: `ids` i32 and `mask` f32 [len(tokens), bucket]."""
    ids = np.zeros((len(tokens), bucket), dtype=np.int32)
    mask = np.zeros((len(tokens), bucket), dtype=np.float32)
    for line, one in enumerate(tokens):
        ids[line, : len(one)] = one
        mask[line, : len(one)] = 1.0
    return ids, mask


def shape(tokens: Sequence[Sequence[int]], token_budget: int = TOKEN_BUDGET) -> Iterator[Shaped]:
    """Cut texts (token ids, 1-256 each) into encoder calls of at most `token_budget` padded tokens, longest
    bucket first so that stragglers are short."""
    groups: dict[int, list[int]] = {}
    for row, one in enumerate(tokens):
        groups.setdefault(bucket_of(len(one)), []).append(row)
    for bucket in sorted(groups, reverse=True):
        rows = groups[bucket]
        allowed = sizes(bucket, token_budget)
        start = 0
        while start < len(rows):
            size = next(batch for batch in allowed if batch <= len(rows) - start)
            part = rows[start : start + size]
            start += size
            ids, mask = pack(bucket, [tokens[row] for row in part])
            yield Shaped(rows=np.array(part, dtype=np.intp), ids=ids, mask=mask)
