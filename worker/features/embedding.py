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
"""Batch sizes ever sent: a group is cut greedily, so no row is computed for nothing and few shapes exist."""


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
    """The `BATCHES` of a padded length whose calls keep to the budget, largest first; at least 1."""
    return tuple(batch for batch in BATCHES if batch == 1 or batch * bucket <= token_budget)


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
            ids = np.zeros((size, bucket), dtype=np.int32)
            mask = np.zeros((size, bucket), dtype=np.float32)
            for line, row in enumerate(part):
                count = len(tokens[row])
                ids[line, :count] = tokens[row]
                mask[line, :count] = 1.0
            yield Shaped(rows=np.array(part, dtype=np.intp), ids=ids, mask=mask)
