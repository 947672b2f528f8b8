"""Who writes: a synthetic person's temperament, habit of expression, hand and story, all drawn once
from the seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trainer.data.synthetic.grammar import POOLS, pick

BLOCK = 40
"""The stories below repeat every 40 people, so the mixture of categories does not depend on chance."""

HABITS = {"plain": 0.3, "masking": 0.34, "venting": 0.18, "hedging": 0.18}
ZONES = {
    "en": ("Europe/London", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Sydney"),
    "hi": ("Asia/Kolkata",),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """`people` of a block of 40 live this story; `entries` counts their edge cases, `rest` is their
    usual (valence, arousal).
    """

    people: int
    rest: tuple[float, float]
    entries: Mapping[str, int]


STORIES = (
    Story(people=6, rest=(0.3, 0.5), entries={"suicidal_ideation": 5, "self_harm": 1}),
    Story(people=4, rest=(0.34, 0.52), entries={"self_harm": 4, "suicidal_ideation": 1}),
    Story(people=6, rest=(0.38, 0.55), entries={"abuse": 6, "financial_coercion": 2}),
    Story(people=5, rest=(0.42, 0.52), entries={"financial_coercion": 4, "abuse": 2}),
    Story(
        people=4,
        rest=(0.48, 0.42),
        entries={"sociopathic_cues": 6, "sarcasm": 2, "harm_to_others": 1, "profanity": 1},
    ),
    Story(people=7, rest=(0.5, 0.6), entries={"profanity": 6, "sarcasm": 2, "harm_to_others": 2}),
    Story(people=5, rest=(0.52, 0.46), entries={"sarcasm": 7, "profanity": 3}),
    Story(people=3, rest=(0.64, 0.44), entries={"sarcasm": 3}),
)
ALWAYS = {"negation": 1, "counter": 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """`rest` is the mood (valence, arousal) they return to, keeping `inertia` of a deviation per day;
    shares are 0-1.
    """

    user_id: str
    pool: int | None
    lang: str
    habit: str
    openness: float
    rest: tuple[float, float]
    inertia: float
    timezone: str
    hour: float
    gap_days: float
    device: str | None
    reports: float
    consents: bool
    lower: bool
    typos: float
    emoji: float
    punctuates: bool
    entries: Mapping[str, int]


def draw(seed: int, index: int) -> Person:
    """Person `index` of the population `seed`; independent of how many people are drawn."""
    block = np.random.default_rng([seed, index // BLOCK, 1])
    stories = [story for story in STORIES for _ in range(story.people)]
    story = stories[int(block.permutation(BLOCK)[index % BLOCK])]
    rng = np.random.default_rng([seed, index, 2])
    lang = "hi" if rng.random() < 0.33 else "en"
    edge = {**story.entries, **ALWAYS}
    return Person(
        user_id=f"syn-u-{seed}-{index:04d}",
        pool=int(rng.integers(POOLS)),
        lang=lang,
        habit=str(rng.choice(list(HABITS), p=list(HABITS.values()))),
        openness=float(rng.normal(0.0, 0.05)),
        rest=(
            float(np.clip(story.rest[0] + rng.normal(0.08, 0.12), 0.1, 0.9)),
            float(np.clip(story.rest[1] + rng.normal(0.0, 0.08), 0.15, 0.85)),
        ),
        inertia=float(rng.uniform(0.6, 0.92)),
        timezone=pick(rng, ZONES[lang]),
        hour=float(pick(rng, (7.5, 13.0, 21.0, 22.5)) + rng.normal(0.0, 0.5)),
        gap_days=float(rng.uniform(0.6, 4.0)),
        device=pick(rng, ("mobile", "mobile", "web", None)),
        reports=float(pick(rng, (0.0, 0.3, 0.8))),
        consents=bool(rng.random() < 0.5),
        lower=bool(rng.random() < 0.35),
        typos=float(rng.choice([0.0, 0.1, 0.3])),
        emoji=float(rng.choice([0.0, 0.15, 0.45])),
        punctuates=bool(rng.random() < 0.7),
        entries={**edge, "everyday": max(4, int(rng.integers(11, 18)) - sum(edge.values()))},
    )
