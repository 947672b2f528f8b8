"""From distributions to an emotion's path: core, then nuance within it, then micro, each only where
confident enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.events.perception import Emotion
from worker.events.taxonomy import Taxonomy
from worker.events.variables import CORES

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Least probability at which each level is named; `neutral`: most mass on 'no emotion' that still names
    a core."""

    core: float
    nuance: float
    micro: float
    neutral: float = 0.5


def descend(
    taxonomy: Taxonomy,
    classes: Floats,
    nuances: Floats,
    micros: Floats,
    thresholds: Thresholds,
    *,
    supported: bool,
) -> Emotion:
    """One row's emotion.

    `classes` [6] or [7] (cores, then 'none') sums to 1; `nuances` [6, 6] and `micros` [6, 6, 6] are
    conditional on the level above. A level's confidence is the product down to it; in an unsupported
    language nothing is named.
    """
    neutral = float(classes[len(CORES)]) if len(classes) > len(CORES) else 0.0
    mass = classes[: len(CORES)]
    cores = {name: float(p) for name, p in zip(CORES, mass / mass.sum(), strict=True)}
    core = int(mass.argmax())
    nuance = int(nuances[core].argmax())
    micro = int(micros[core, nuance].argmax())
    chances = np.cumprod([mass[core], nuances[core, nuance], micros[core, nuance, micro]])
    depth = 0
    if supported and neutral <= thresholds.neutral:
        for chance, least in zip(
            chances, (thresholds.core, thresholds.nuance, thresholds.micro), strict=True
        ):
            if chance < least:
                break
            depth += 1
    words = (CORES[core], taxonomy.nuances[CORES[core]][nuance])
    named = (*words, taxonomy.micros[words][micro])[:depth]
    return Emotion(
        path=named, confidence=tuple(float(c) for c in chances[:depth]), cores=cores, neutral=neutral
    )


def softmax(logits: Floats) -> Floats:
    """Over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    total: Floats = shifted / shifted.sum(axis=-1, keepdims=True)
    return total
