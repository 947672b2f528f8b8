"""Context features: what the gate weighs the bases by. For a text alone the columns of the timeline are
neutral."""

from __future__ import annotations

import math
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from worker.events.reflection import Reflection
from worker.features.schema import CONTEXT, STATIC, TEMPORAL

OF_THE_TEXT = ("log_words", "hinglish", "negation", "exclamation", "emoji", "hedge", "first_person")
"""Context columns of the text itself; what is expected before it was written must not see them."""

_zone = lru_cache(maxsize=512)(ZoneInfo)
_SHIFT = {"shift_valence": "text_valence.shift", "shift_arousal": "text_arousal.shift"}
_SOURCES = [_SHIFT.get(name, name) for name in CONTEXT]
_TO_STATIC = [at for at, source in enumerate(_SOURCES) if source in STATIC]
_FROM_STATIC = [STATIC.index(_SOURCES[at]) for at in _TO_STATIC]
_TO_TEMPORAL = [at for at, source in enumerate(_SOURCES) if source not in STATIC]
_FROM_TEMPORAL = [TEMPORAL.index(_SOURCES[at]) for at in _TO_TEMPORAL]
_BLIND = [CONTEXT.index(name) for name in OF_THE_TEXT]


def extract(static: NDArray[np.float64], temporal: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """float64 [n, len(CONTEXT)] from STATIC columns and, where a timeline is known, TEMPORAL columns (else
    0)."""
    out = np.zeros((len(static), len(CONTEXT)))
    out[:, _TO_STATIC] = static[:, _FROM_STATIC]
    if temporal is not None:
        out[:, _TO_TEMPORAL] = temporal[:, _FROM_TEMPORAL]
    return out


def ahead(around: NDArray[np.float64]) -> NDArray[np.float64]:
    """The context with the text's own columns 0: what the gates of the expectation may know."""
    blind = around.copy()
    blind[:, _BLIND] = 0.0
    return blind


def local_hour(reflection: Reflection) -> tuple[float, float]:
    """Sine and cosine of the local time of day, by the person's time zone, else by the event's own offset."""
    seconds = reflection.created_at.timestamp() + _offset_s(reflection)
    angle = 2 * math.pi * (seconds % 86_400) / 86_400
    return math.sin(angle), math.cos(angle)


def _offset_s(reflection: Reflection) -> float:
    if reflection.timezone is not None:
        offset = reflection.created_at.astimezone(_zone(reflection.timezone)).utcoffset()
        if offset is not None:
            return offset.total_seconds()
    return reflection.utc_offset_min * 60.0
