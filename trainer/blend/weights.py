"""How much each base counts, and where: the gate's mean weights by slice, for the manifest and the report."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.blend.material import Material
from worker.blend.gate import Gate
from worker.calibrate import slices as named
from worker.features.schema import CONTEXT

Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]

FEWEST = 30
"""Rows below which a slice has no mean worth telling."""


def slices(context: Floats) -> dict[str, Rows]:
    """Rows [n] of each slice by the context columns [n, len(CONTEXT)]; `all` first."""
    words, hindi, past, told = (
        context[:, CONTEXT.index(name)] for name in ("log_words", "hinglish", "log_count", "log_self_count")
    )
    length, language = named.length(words), named.language(hindi)
    return {
        "all": np.ones(len(context), dtype=bool),
        **{name: length == at for at, name in enumerate(named.LENGTHS)},
        **{name: language == at for at, name in enumerate(named.LANGUAGES)},
        "no history": past <= 0,
        "history of texts": (past > 0) & (told <= 0),
        "history of self-reports": told > 0,
    }


def by_slice(gate: Gate, material: Material) -> dict[str, dict[str, float]]:
    """Weighted mean of the gate's weights by slice and base, over rows with weight; slices of fewer than
    `FEWEST` such rows are left out."""
    weights = gate.weights(material.context, material.available.T)
    found = {}
    for name, rows in slices(material.context).items():
        if rows.all() and name != "all":
            continue  # this gate does not see what the slice is told by
        rows = rows & (material.weight > 0)
        if rows.sum() >= FEWEST:
            mean = np.average(weights[rows], axis=0, weights=material.weight[rows])
            found[name] = dict(zip(gate.bases, np.round(mean, 4).tolist(), strict=True))
    return found
