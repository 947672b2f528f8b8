"""From scores to the one word a reviewer sorts by, after the floor and the model have been put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from worker.events.variables import FLAGS

Level = Literal["none", "low", "medium", "high"]

THRESHOLDS: Mapping[str, float] = {
    "suicidal_ideation": 0.5,
    "self_harm": 0.5,
    "harm_to_others": 0.55,
    "abuse": 0.5,
    "financial_coercion": 0.5,
    "sociopathic_cues": 0.6,
    "sarcasm": 0.5,
    "profanity": 0.5,
}
"""Scores from which a flag counts. Where someone may be in danger one clear phrase reaches it: a needless
look costs less than a miss. `harm_to_others` asks a little more, for angry figures of speech are common;
`sociopathic_cues` too, for they rest on style."""

SEVERE = frozenset({"suicidal_ideation", "self_harm", "harm_to_others", "abuse", "financial_coercion"})
"""One of these at its threshold is `high`, `sociopathic_cues` at its own `medium`; `sarcasm` and `profanity`
never lead beyond `low`."""
NEAR, FAINT = 0.7, 0.4
"""Shares of its threshold from which a severe flag is already `medium`, or `low`."""
_LEAST: tuple[tuple[Level, Mapping[str, float]], ...] = (
    ("high", dict.fromkeys(SEVERE, 1.0)),
    ("medium", {**dict.fromkeys(SEVERE, NEAR), "sociopathic_cues": 1.0}),
    ("low", {**dict.fromkeys(SEVERE, FAINT), "sarcasm": 1.0, "profanity": 1.0}),
)
"""For each level, the share of its threshold with which a flag reaches it by itself."""


def combine(screen_scores: ArrayLike, model_scores: ArrayLike) -> NDArray[np.float64]:
    """The larger of floor and model for each flag, float64 of the inputs' common shape.

    A model's NaN (no base for the flag) leaves the floor.
    """
    floor, model = np.asarray(screen_scores, dtype=np.float64), np.asarray(model_scores, dtype=np.float64)
    return np.fmax(floor, model)


def uncalibrated(screen_scores: ArrayLike, logits: ArrayLike) -> NDArray[np.float64]:
    """What the risk queue is ordered by, 0-1 for each flag: floor and model as two witnesses, either of whom
    may be right, `1 - (1 - screen) (1 - sigmoid(logit))`.

    Both raise it, so it keeps apart what the larger of a floor and a calibrated score makes equal.
    """
    floor, model = np.asarray(screen_scores, dtype=np.float64), np.asarray(logits, dtype=np.float64)
    mixed: NDArray[np.float64] = 1.0 - (1.0 - floor) / (1.0 + np.exp(np.clip(model, -500.0, 500.0)))
    return mixed


def leading(flags: Mapping[str, float], thresholds: Mapping[str, float]) -> frozenset[str]:
    """The flags that make the level, each by itself; all severe ones where there is none."""
    return _judged(flags, thresholds)[1]


def level(scores: ArrayLike, thresholds: Mapping[str, float] = THRESHOLDS) -> Level:
    """The level of one reflection from `scores` 0-1 in the order of FLAGS [len(FLAGS)].

    `thresholds` names every flag, each above 0.
    """
    values = np.asarray(scores, dtype=np.float64).tolist()
    return _judged(dict(zip(FLAGS, values, strict=True)), thresholds)[0]


def _judged(flags: Mapping[str, float], thresholds: Mapping[str, float]) -> tuple[Level, frozenset[str]]:
    for reached, least in _LEAST:
        found = [flag for flag, share in least.items() if flags[flag] / thresholds[flag] >= share]
        if found:
            return reached, frozenset(found)
    return "none", SEVERE
