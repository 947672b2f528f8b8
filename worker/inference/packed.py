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


def lay(inputs: Sequence[Array]) -> list[Array]:
    """`ids` i32 and `mask` f32 [batch, length] as `ids` and `places` (the token's position in its text) i32
    [tokens], `spread` i32 [batch, length] (which token stands there), `back` i32 [tokens] (where in the
    flattened rectangle the token stands) and the mask itself."""
    ids, mask = inputs
    real = np.flatnonzero(mask)
    # What fills the last step repeats the first token; nothing reads it.
    back = np.zeros(-(-len(real) // STEP) * STEP, dtype=np.int32)
    back[: len(real)] = real
    spread = np.zeros(mask.shape, dtype=np.int32)
    spread.reshape(-1)[real] = np.arange(len(real), dtype=np.int32)
    return [ids.reshape(-1)[back], back % np.int32(mask.shape[1]), spread, back, mask]
