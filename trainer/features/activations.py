"""What the encoder's frozen lower layers make of every token: computed once, read by every fit of base Tr."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.inference import bert, minilm

Rows = NDArray[np.intp]

BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Activations:
    """`tokens` bfloat16 [sum of lengths, 384], text after text; `start` int64 [n + 1] cuts them; `depth` is
    how many layers have been applied."""

    tokens: Tensor
    start: NDArray[np.int64]
    depth: int

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.start)

    def arrays(self) -> dict[str, Any]:
        """All of it as arrays, for another machine."""
        return {"tokens": self.tokens.view(torch.int16).numpy(), "start": self.start, "depth": self.depth}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Any]) -> Activations:
        """What `arrays` gave."""
        tokens = torch.from_numpy(arrays["tokens"]).view(torch.bfloat16)
        return cls(tokens=tokens, start=arrays["start"], depth=arrays["depth"])

    def of(self, rows: Rows, longest: int | None = None) -> tuple[Tensor, Tensor]:
        """The rows padded to the longest, of each `longest` tokens at most: bfloat16 [b, length, 384] and
        bool [b, length], True for real."""
        lengths = self.lengths[rows] if longest is None else np.minimum(self.lengths[rows], longest)
        at = np.arange(int(lengths.max()))
        real = torch.from_numpy(at < lengths[:, None])
        padded = torch.zeros((*real.shape, self.tokens.shape[1]), dtype=self.tokens.dtype)
        picked = torch.from_numpy((self.start[rows][:, None] + at)[real.numpy()])
        padded[real] = self.tokens[picked]
        return padded, real

    def batches(self, rows: Rows, size: int, generator: np.random.Generator | None = None) -> Iterator[Rows]:
        """`rows` in batches of like length, so that little is padding; with a generator in random order."""
        order = rows if generator is None else generator.permutation(rows)
        pool = len(order) if generator is None else size * 24
        cut = []
        for begin in range(0, len(order), max(pool, 1)):
            part = order[begin : begin + pool]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            cut += [part[at : at + size] for at in range(0, len(part), size)]
        shuffled = range(len(cut)) if generator is None else generator.permutation(len(cut))
        return (cut[number] for number in shuffled)


def compute(texts: Sequence[str], *, depth: int) -> Activations:
    """Activations of normalised texts behind `depth` layers."""
    ids = [encoding.ids for encoding in minilm.tokenizer().encode_batch_fast(list(texts))]
    start = np.concatenate([[0], np.cumsum([len(one) for one in ids])]).astype(np.int64)
    lengths = np.diff(start)
    lower = bert.Lower(minilm.read_weights(), depth)
    tokens = torch.empty((int(start[-1]), minilm.HIDDEN), dtype=torch.bfloat16)
    order = np.argsort(lengths, kind="stable")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for begin in range(0, len(order), BATCH):
            rows = order[begin : begin + BATCH]
            at = np.arange(int(lengths[rows].max()))
            real = at < lengths[rows][:, None]
            padded = np.zeros(real.shape, dtype=np.int64)
            padded[real] = np.concatenate([ids[row] for row in rows])
            out = lower(torch.from_numpy(padded), bert.Padded(torch.from_numpy(real)))
            places = (start[rows][:, None] + at)[real]
            tokens[torch.from_numpy(places)] = out[torch.from_numpy(real)].to(torch.bfloat16)
    return Activations(tokens=tokens, start=start, depth=depth)
