"""The encoder on an NVIDIA GPU, as the device CUDA of a plan: the layers of `worker.inference.bert` in bf16.

Imported only where a plan names CUDA, for it needs torch (`pip install torch==2.13.0`, built for CUDA). As on
a CPU a call is one row of real tokens. In bf16 and f16 attention knows by offsets where a text ends; in f32,
and where torch or the card has no such kernel, it is laid out as a rectangle. A small call is a replayed
recording of a hundred kernels, for to launch them one by one takes longer than to compute them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.errors import DeviceUnfit
from worker.inference import bert, minilm, packed
from worker.inference.backend import Array, Component, Placed
from worker.inference.bert import Texts
from worker.inference.compiled import Compute, Threaded

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # a torch before 2.10
    varlen_attn = None  # type: ignore[assignment]

TYPES = {"auto": torch.bfloat16, "bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}

RECORDED = tuple(one << step for step in range(6, 12) for one in (2, 3))[:-1]
"""Sizes in tokens, 128 to 4,096, of the calls that are recorded; another is filled up to the next of them.
Beyond the last the card has enough to do, and its kernels are launched one by one."""
TOKENS_A_TEXT = 8
"""A recording holds at most one text for so many of its tokens."""


class Sentences(nn.Module):
    """What `minilm.build` computes: the embedding, and behind it the tuned layers' mean with a `fork`."""

    def __init__(self, weights: bert.Weights, fork: bert.Weights | None) -> None:
        super().__init__()
        self.lower, self.embedding, self.tuned = bert.parts(weights, fork)
        self.requires_grad_(False)

    def forward(self, ids: Tensor, places: Tensor, texts: Texts, count: int) -> Tensor:
        """`ids` and `places` (each token's in its text) i32 [T] of `count` texts -> f32 [count, 384], or
        [count, 768] with a fork's tuned layers."""
        shared = self.lower(ids, texts, places)
        embedding = functional.normalize(self.embedding(shared, texts, count), dim=1, eps=1e-12)
        if self.tuned is None:
            return embedding
        return torch.cat([embedding, self.tuned(shared, texts, count)], dim=1)


def open_on_cuda(
    component: Component, precision: str, *, device: str = "cuda", memory_mb: int | None = None
) -> Threaded:
    """The encoder on torch's `device`, of which it may take `memory_mb`; what does not fit then fails with
    `torch.OutOfMemoryError`, as does any call, and the plan's next device has it.

    Raises `DeviceUnfit` for another component, a precision it has not, and where torch sees no such device.
    """
    if component.name != "encoder":
        raise DeviceUnfit(f"CUDA runs the encoder only, not the {component.name}")
    if precision not in TYPES:
        raise DeviceUnfit(f"CUDA has no {precision} encoder; there are {', '.join(TYPES)}")
    on = torch.device(device)
    kind = TYPES[precision]
    if on.type == "cuda":
        if not torch.cuda.is_available():
            raise DeviceUnfit("torch sees no CUDA device; is it built for CUDA, and the driver loaded?")
        on = torch.device("cuda", torch.cuda.current_device())  # some of torch wants it by its number
        if kind is torch.bfloat16 and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise DeviceUnfit("this CUDA device has no bf16; say CUDA:f32")
        if memory_mb is not None:
            whole = torch.cuda.get_device_properties(on).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, (memory_mb << 20) / whole), on)
    fork = None if component.fork is None else minilm.read_fork(component.fork)
    model = Sentences(minilm.read_weights(), fork).to(on, kind).eval()
    name = "CUDA" if on.type == "cuda" else f"torch on {on.type}"
    shown = {torch.bfloat16: "bf16", torch.float16: "f16", torch.float32: "f32"}[kind]
    placed = Placed(actual=name, precision=shown)
    # As many threads as calls may be under way: each waits for its own results, and may start the next call.
    if on.type != "cuda":
        return Threaded(lambda: _plain(model), placed=placed, threads=component.requests)
    card = _Card(model, on, kind)
    return _OnCard(lambda: card.compute, placed=placed, threads=component.requests)


def _plain(model: Sentences) -> Compute:
    def compute(inputs: Sequence[Array]) -> Array:
        with torch.inference_mode():
            return _in_rectangle(model, inputs, torch.from_numpy).numpy()

    return compute


def _in_rectangle(model: Sentences, inputs: Sequence[Array], there: Callable[[Array], Tensor]) -> Tensor:
    """The model with attention in a padded rectangle; `there` brings an array to the model's device."""
    ids, places, spread, back, mask = map(there, packed.lay(inputs))
    count = len(inputs[0])
    texts = _Rectangle(spread, back, bert.Padded(mask > 0, fused=mask.is_cuda))
    return cast(Tensor, model(ids, places, texts, len(spread)))[:count]


@dataclass(frozen=True)
class _Rectangle:
    """Packed tokens [T, 384]; `spread` [B, L] lays them out for attention alone, `back` [T] undoes it."""

    spread: Tensor
    back: Tensor
    among: bert.Padded

    def attend(self, *parts: Tensor) -> Tensor:
        return self.among.attend(*(part[self.spread] for part in parts)).flatten(0, 1)[self.back]

    def ask(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return self.among.attend(query, key[self.spread], value[self.spread])

    def mean(self, x: Tensor) -> Tensor:
        return self.among.mean(x[self.spread])


@dataclass(frozen=True)
class _Offsets:
    """Packed tokens [T, 384], text after text: `offsets` i32 [B + 1] tell where one begins; none has more
    tokens than `longest`."""

    offsets: Tensor
    longest: int

    def attend(self, *parts: Tensor) -> Tensor:
        query, key, value = map(_heads, parts)
        of, most = self.offsets, self.longest
        return cast(Tensor, varlen_attn(query, key, value, of, of, most, most)).flatten(1)

    def ask(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        many = query.shape[1]
        of = torch.arange(len(self.offsets), dtype=torch.int32, device=query.device) * many
        flat, key, value = map(_heads, (query.flatten(0, 1), key, value))
        found = varlen_attn(flat, key, value, of, self.offsets, many, self.longest)
        return cast(Tensor, found).view(query.shape)

    def mean(self, x: Tensor) -> Tensor:
        # In f32 whatever the layers compute in: 256 tokens are summed. One after the other, always so.
        return torch.segment_reduce(x.float(), "mean", offsets=self.offsets, axis=0, unsafe=True)


def _heads(part: Tensor) -> Tensor:
    return part.view(len(part), minilm.HEADS, -1)


def _offsets(mask: Array) -> Array:
    return np.concatenate([[0], np.cumsum(mask.sum(axis=1))]).astype(np.int32)


class _OnCard(Threaded):
    def close(self) -> None:
        super().close()
        torch.cuda.empty_cache()  # a failed device's memory is of use to others


class _Card:
    """The model on a card: threads take turns to give it work, and wait side by side for their results.

    One stream does everything in the order it was given, so a recording's inputs and outputs are free again
    when the next call comes to them. Copies go by way of pinned memory, and nobody waits for them there.
    """

    def __init__(self, model: Sentences, on: torch.device, kind: torch.dtype) -> None:
        self._model = model
        self._on = on
        self._by_offsets = (
            varlen_attn is not None
            and kind is not torch.float32
            and torch.cuda.get_device_capability(on) >= (8, 0)
        )
        self._stream = torch.cuda.Stream(on)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()
        self._recordings: dict[int, tuple[Tensor, torch.cuda.CUDAGraph, Tensor]] = {}
        self._turn = threading.Lock()

    def compute(self, inputs: Sequence[Array]) -> Array:
        """`ids` i32 and `mask` f32 [B, L] -> f32 [B, 384 or 768]."""
        rows = len(inputs[0])
        laid = self._lay(inputs) if self._by_offsets else None
        with self._turn, torch.inference_mode(), torch.cuda.stream(self._stream):
            if laid is None:
                found = _in_rectangle(self._model, inputs, lambda part: self._there(_pinned(part)))
            else:
                found = self._by_offset(*laid)[:rows]
            out = torch.empty(found.shape, dtype=found.dtype, pin_memory=True)
            out.copy_(found, non_blocking=True)
            done = self._stream.record_event()
        done.synchronize()
        return out.numpy()

    def _lay(self, inputs: Sequence[Array]) -> tuple[Tensor, int, int | None]:
        """The call as one pinned array (ids, places, offsets), and its size in tokens: filled up to that of a
        recording, or, where there is none, as it is, with the length of its longest text."""
        ids, mask = inputs
        real = np.flatnonzero(mask)
        offsets = _offsets(mask)
        wanted = max(len(real), TOKENS_A_TEXT * len(ids))
        recorded = next((one for one in RECORDED if wanted <= one), None)
        size = recorded or len(real)
        texts = recorded // TOKENS_A_TEXT if recorded else len(ids)
        laid = torch.zeros(2 * size + texts + 1, dtype=torch.int32, pin_memory=True)
        array = laid.numpy()
        array[: len(real)] = ids.reshape(-1)[real]
        array[size : size + len(real)] = real % ids.shape[1]
        # What fills it up belongs to no text: those behind the last have no tokens.
        array[2 * size :] = offsets[-1]
        array[2 * size : 2 * size + len(offsets)] = offsets
        return laid, size, None if recorded else int(np.diff(offsets).max())

    def _by_offset(self, laid: Tensor, size: int, longest: int | None) -> Tensor:
        if longest is not None:
            return self._forward(self._there(laid), size, longest)
        if size not in self._recordings:
            self._recordings[size] = self._record(laid, size)
        given, recording, found = self._recordings[size]
        given.copy_(laid, non_blocking=True)
        recording.replay()
        return found

    def _record(self, laid: Tensor, size: int) -> tuple[Tensor, torch.cuda.CUDAGraph, Tensor]:
        given = self._there(laid)
        self._forward(given, size, minilm.MAX_TOKENS)  # libraries set themselves up outside the recording
        recording = torch.cuda.CUDAGraph()
        with torch.cuda.graph(
            recording, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            found = self._forward(given, size, minilm.MAX_TOKENS)
        return given, recording, found

    def _forward(self, given: Tensor, size: int, longest: int) -> Tensor:
        ids, places, offsets = given[:size], given[size : 2 * size], given[2 * size :]
        return cast(Tensor, self._model(ids, places, _Offsets(offsets, longest), len(offsets) - 1))

    def _there(self, part: Tensor) -> Tensor:
        return part.to(self._on, non_blocking=True)


def _pinned(part: Array) -> Tensor:
    return torch.from_numpy(part).pin_memory()
