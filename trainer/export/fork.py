"""Base Tr as the bundle keeps it, with a proof that what serves it computes what was fitted."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import TrainerError
from trainer.features.activations import Activations
from trainer.fit import transformer
from trainer.fit.transformer import Tuned
from trainer.settings import TrainerSettings
from worker.inference.encoder import Encoder

SAMPLE = 256
"""Texts the proof takes."""
TOLERANCE = {"f32": 0.01, "bf16": 0.03}
"""Largest mean difference of the heads' scores from torch's, in units of a score's deviation over texts."""


def export(
    tuned: Tuned,
    path: Path,
    texts: Sequence[str],
    activations: Activations,
    *,
    settings: TrainerSettings,
    reader: Mapping[str, NDArray[Any]] | None = None,
) -> dict[str, Any]:
    """Write `path` (fork.npz), with a sentence `reader` where the bundle has one; returns the parity of each
    precision. `texts` [n] are those of `activations`.

    Raises `TrainerError` where the served scores differ from torch's by more than `TOLERANCE`.
    """
    tuned.save(path, reader or {})
    rows = np.unique(np.linspace(0, len(texts) - 1, SAMPLE).astype(np.intp))
    fitted = tuned.heads.predict(transformer.pooled(tuned, activations, rows))
    spread = np.maximum(fitted.std(axis=0), 1e-6)
    parity = {}
    for precision, limit in TOLERANCE.items():
        served = tuned.heads.predict(_served(path, [texts[row] for row in rows], precision, settings))
        gap = float((np.abs(served - fitted) / spread).mean())
        parity[precision] = {"mean_difference": round(gap, 5), "limit": limit, "texts": len(rows)}
        if not gap <= limit:
            raise TrainerError(
                f"base Tr served in {precision} differs from the fitted one by {gap:.3f} deviations of a "
                f"score on average, {limit} at most"
            )
    return parity


def _served(
    fork: Path, texts: Sequence[str], precision: str, settings: TrainerSettings
) -> NDArray[np.float64]:
    with tempfile.TemporaryDirectory() as scratch:
        encoder = Encoder.open(
            cache_dir=Path(scratch),
            plan=("CPU",),
            precision=precision,
            threads=settings.inference_threads,
            streams=settings.streams,
            fork=fork,
        )
        try:
            return encoder.encode(texts)[:, Encoder.width :].astype(np.float64)
        finally:
            encoder.close()
