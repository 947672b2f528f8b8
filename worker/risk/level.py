"""From scores to the one word a reviewer sorts by, after the floor and the model have been put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from worker.events.variables import FLAGS

Level = Literal["none", "low", "medium", "high"]

THRESHOLDS: Mapping[str, float] = {
    "suicidal_ideation": 0.5, "self_harm": 0.5, "harm_to_others": 0.55, "abuse": 0.5, "financial_coercion": 0.5,
    "sociopathic_cues": 0.6, "sarcasm": 0.5, "profanity": 0.5,
}  # fmt: skip
"""Scores from which a flag counts. Someone may be in danger: reached by one clear phrase, so that a miss is rarer than a needless look.
`harm_to_others` asks a little more because angry figures of speech are common; `sociopathic_cues` because they rest on style."""

SEVERE = frozenset({"suicidal_ideation", "self_harm", "harm_to_others", "abuse", "financial_coercion"})
"""One of these at its threshold is `high`; `sociopathic_cues` at its own is `medium`; `sarcasm` and `profanity` never exceed `low`."""
NEAR, FAINT = 0.7, 0.4
"""Shares of its threshold from which a severe flag is already `medium`, or `low`; a denied phrase ends below both or at `low`."""


def combine(screen_scores: ArrayLike, model_scores: ArrayLike) -> NDArray[np.float64]:
    """The larger of floor and model for each flag, float64 of the inputs' shape; a model's NaN (no base) leaves the floor."""
    floor, model = np.asarray(screen_scores, dtype=np.float64), np.asarray(model_scores, dtype=np.float64)
    return np.fmax(floor, model)


def level(scores: ArrayLike, thresholds: Mapping[str, float] = THRESHOLDS) -> Level:
    """The level of one reflection: `scores` 0-1 in the order of FLAGS [len(FLAGS)], `thresholds` for every flag in (0, 1]."""
    by_flag = dict(zip(FLAGS, np.asarray(scores, dtype=np.float64).tolist(), strict=True))
    share = {flag: score / thresholds[flag] for flag, score in by_flag.items()}
    severe = max(share[flag] for flag in SEVERE)
    if severe >= 1:
        return "high"
    if severe >= NEAR or share["sociopathic_cues"] >= 1:
        return "medium"
    if severe >= FAINT or max(share["sociopathic_cues"], share["sarcasm"], share["profanity"]) >= 1:
        return "low"
    return "none"
