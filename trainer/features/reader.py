"""The sentence reader that comes with the trainer: what gives a text's embedding from the encoder's lower
layers. `trainer.fit.sentence` teaches it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import TrainerError
from trainer.plan import Transformer
from worker.inference.minilm import LAYERS, depth_of

READER = Path(__file__).with_name("reader.npz")


def read(transformer: Transformer | None) -> Mapping[str, NDArray[Any]]:
    """What `READER` holds, as a fork keeps it.

    Raises `TrainerError` where base Tr stands on other layers than it reads.
    """
    with np.load(READER, allow_pickle=False) as data:
        tensors = {name: data[name] for name in data.files}
    if transformer is not None and transformer.layers != LAYERS - depth_of(tensors):
        raise TrainerError(
            f"{READER.name} reads the first {depth_of(tensors)} layers: set layers = "
            f"{LAYERS - depth_of(tensors)} under [transformer], or run python -m trainer.fit.sentence"
        )
    return tensors
