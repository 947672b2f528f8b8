"""Base Ll's answers about all labelled rows; nothing of it is fitted, so nothing has to be cross-fitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.progress import Steps
from trainer.settings import TrainerSettings

Columns = dict[str, NDArray[np.float64]]

CHUNK = 64
"""Texts asked at once; the settings' time is for one chunk."""


def ask(
    normal: Callable[[], Sequence[str]], *, settings: TrainerSettings, step: Steps
) -> tuple[Columns | None, str | None]:
    """The columns of `normal()` texts and who answered; None twice where the settings name no endpoint."""
    if settings.llm_url is None:
        return None, None
    from worker.inference.llm import Asker  # its HTTP client is not imported where nobody asks

    asker = Asker.open(settings, rest_s=0.0)
    assert asker is not None
    texts = normal()
    step("ask the language model", len(texts))
    parts: list[Columns] = []
    with asker:
        for start in range(0, len(texts), CHUNK):
            parts.append(asker.ask(texts[start : start + CHUNK]).columns())
            step.advance(len(texts[start : start + CHUNK]))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, asker.identity
