"""Texts as the encoder's inputs: a call may hold texts of any lengths. On the CPU a text's embedding is
bitwise the same alone, in any batch and in any order (`worker.inference.packed`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LENGTHS = (16, 32, 48, 64, 96, 128, 192, 256)
"""Padded lengths. Few, since a device prepares itself for every shape anew; multiples of 16, or the CPU's
sums over a text's tokens would feel its padding."""

TOKEN_BUDGET = 256
"""Most tokens of a call where nothing else is said: what a text of the other lane may have to wait for. A
longer text is a call of its own in any case."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shaped:
    """One encoder call: `rows` index the caller's texts; `ids` i32 and `mask` f32 are [len(rows), length]."""

    rows: NDArray[np.intp]
    ids: NDArray[np.int32]
    mask: NDArray[np.float32]


def most_texts(token_budget: int) -> int:
    """The most texts of a call, however short they are."""
    return max(1, token_budget // 8)


def pack(tokens: Sequence[Sequence[int]]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Token ids of some texts as `ids` i32 and `mask` f32 (1 real, 0 padding), both [len(tokens), length]."""
    length = _padded(max(map(len, tokens)))
    ids = np.zeros((len(tokens), length), dtype=np.int32)
    mask = np.zeros((len(tokens), length), dtype=np.float32)
    for line, one in enumerate(tokens):
        ids[line, : len(one)] = one
        mask[line, : len(one)] = 1.0
    return ids, mask


def shape(tokens: Sequence[Sequence[int]], token_budget: int = TOKEN_BUDGET) -> Iterator[Shaped]:
    """Cut texts (token ids) into encoder calls of at most `token_budget` padded tokens, longest first."""
    order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]), reverse=True)
    while order:
        count = max(1, token_budget // _padded(len(tokens[order[0]])))
        rows, order = order[:count], order[count:]
        ids, mask = pack([tokens[row] for row in rows])
        yield Shaped(rows=np.array(rows, dtype=np.intp), ids=ids, mask=mask)


def _padded(length: int) -> int:
    return next(one for one in LENGTHS if length <= one)
