"""The encoder's inputs for a CPU: texts one behind the other, without their padding.

Nine tenths of the encoder's work is done token by token. There a call is one long row of real tokens,
whatever the lengths of its texts; only attention, between the tokens of a text, is laid out as a rectangle.
What stands in the padding, and how much of it there is, changes no bit of a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from worker.inference.backend import Array

STEP = 8
"""Tokens of a call are padded to a multiple of it: a device prepares itself for every number anew."""
ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Rows a rectangle is padded to, for the same reason; beyond them every multiple of the last."""


def lay(inputs: Sequence[Array]) -> list[Array]:
    """`ids` i32 and `mask` f32 [batch, length] as `ids` and `places` (the token's position in its text) i32
    [tokens], `spread` i32 [rows, length] (which token stands there), `back` i32 [tokens] (where in the
    flattened rectangle the token stands) and `mask` [rows, length]: the first `batch` rows are the texts."""
    ids, given = inputs
    batch, length = given.shape
    rows = next((one for one in ROWS if batch <= one), -(-batch // ROWS[-1]) * ROWS[-1])
    mask = np.zeros((rows, length), dtype=np.float32)
    mask[batch:, 0] = 1.0  # a row of padding alone would divide by nothing
    mask[:batch] = given
    real = np.flatnonzero(given)
    # What fills the last step repeats the first token; nothing reads it.
    back = np.zeros(-(-len(real) // STEP) * STEP, dtype=np.int32)
    back[: len(real)] = real
    spread = np.zeros((rows, length), dtype=np.int32)
    spread.reshape(-1)[real] = np.arange(len(real), dtype=np.int32)
    return [ids.reshape(-1)[back], back % np.int32(length), spread, back, mask]
