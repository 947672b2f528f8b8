"""The encoder on an NVIDIA GPU, as the device CUDA of a plan: the layers of `worker.inference.bert` in bf16.

Imported only where a plan names CUDA, for it needs torch (`pip install torch==2.13.0`, built for CUDA). What
is specific to CUDA (its stream, pinned copies, a GPU's arithmetic) was never run: no NVIDIA GPU was at hand.
Everything else was, on torch's CPU device, against the OpenVINO encoder (tests/unit/test_cuda.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.errors import DeviceUnfit
from worker.inference import bert, minilm
from worker.inference.backend import Array, Component, Placed
from worker.inference.compiled import Compute, Threaded

TYPES = {"auto": torch.bfloat16, "bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}


class Sentences(nn.Module):
    """What `minilm.build` computes: the embedding, and behind it the tuned layers' mean with a `fork`."""

    def __init__(self, weights: bert.Weights, fork: bert.Weights | None, *, fused: bool) -> None:
        super().__init__()
        depth = minilm.LAYERS if fork is None else minilm.fork_from(fork)
        self.lower = bert.Lower(weights, depth, fused=fused)
        self.frozen = bert.upper(weights, depth, fused=fused)
        self.tuned = None if fork is None else bert.upper(fork, depth, fused=fused)
        self.requires_grad_(False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids int64 and mask f32 [B, L] -> f32 [B, 384], or [B, 768] with a fork."""
        unseen = bert.bias(mask > 0)
        shared = self.lower(ids, unseen)

        def mean(layers: nn.ModuleList) -> Tensor:
            x = shared
            for layer in layers:
                x = layer(x, unseen)
            # In f32 whatever the layers compute in: 256 tokens are summed.
            summed: Tensor = (x.float() * mask[:, :, None]).sum(dim=1)
            return summed / mask.sum(dim=1, keepdim=True)

        embedding = functional.normalize(mean(self.frozen), dim=1, eps=1e-12)
        return embedding if self.tuned is None else torch.cat([embedding, mean(self.tuned)], dim=1)


def open_on_cuda(component: Component, precision: str, *, device: str = "cuda") -> Threaded:
    """The encoder on torch's `device`; one thread gives it its calls, on a stream of its own.

    Raises `DeviceUnfit` for another component, a precision it has not, and where torch sees no such device.
    """
    if component.name != "encoder":
        raise DeviceUnfit(f"CUDA runs the encoder only, not the {component.name}")
    if precision not in TYPES:
        raise DeviceUnfit(f"CUDA has no {precision} encoder; there are {', '.join(TYPES)}")
    on = torch.device(device)
    if on.type == "cuda" and not torch.cuda.is_available():
        raise DeviceUnfit("torch sees no CUDA device; is it built for CUDA, and the driver loaded?")
    kind = TYPES[precision]
    fork = None if component.fork is None else minilm.read_fork(component.fork)
    # Attention written out is the faster one on a CPU only.
    model = Sentences(minilm.read_weights(), fork, fused=on.type == "cuda").to(on, kind).eval()
    name = "CUDA" if on.type == "cuda" else f"torch on {on.type}"
    shown = {torch.bfloat16: "bf16", torch.float16: "f16", torch.float32: "f32"}[kind]
    return Threaded(lambda: _compute(model, on), placed=Placed(actual=name, precision=shown), threads=1)


def _compute(model: Sentences, on: torch.device) -> Compute:
    own = torch.cuda.Stream(on) if on.type == "cuda" else None  # type: ignore[no-untyped-call]

    def there(part: Array) -> Tensor:
        tensor = torch.from_numpy(part)
        return tensor if own is None else tensor.pin_memory().to(on, non_blocking=True)

    def compute(inputs: Sequence[Array]) -> Array:
        ids, mask = inputs
        with torch.inference_mode(), nullcontext() if own is None else torch.cuda.stream(own):
            # The copy back waits for the stream.
            found = model(there(ids.astype(np.int64)), there(mask)).cpu().numpy()
        return cast(Array, found)

    return compute
