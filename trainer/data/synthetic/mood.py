"""How a synthetic person feels when they sit down to write: a mood that is pulled back to rest, pushed
by what happens.

The felt mood of one entry is where the next starts from, so earlier entries tell something about later
ones, and what a forecast can learn is known: after `gap` days a deviation from rest has shrunk to
`inertia ** gap` of itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from trainer.data.synthetic.person import Person
from worker.events.taxonomy import taxonomy

FIRST_DAY = datetime(2026, 3, 1, tzinfo=UTC)
"""A date; its zone is replaced by the person's own. Early enough that no life reaches into the future."""
WANDER = (0.13, 0.09)
"""Standard deviation of valence and arousal around rest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Category:
    """Where the feelings of an edge case lie (0-1, closed ranges) and the level a reviewer should see."""

    valence: tuple[float, float]
    arousal: tuple[float, float]
    risk_level: str = "none"


CATEGORIES = {
    "sarcasm": Category(valence=(0.2, 0.4), arousal=(0.4, 0.6)),
    "suicidal_ideation": Category(valence=(0.0, 0.15), arousal=(0.6, 0.9), risk_level="high"),
    "self_harm": Category(valence=(0.05, 0.25), arousal=(0.5, 0.8), risk_level="high"),
    "abuse": Category(valence=(0.1, 0.3), arousal=(0.6, 0.85), risk_level="high"),
    "profanity": Category(valence=(0.25, 0.45), arousal=(0.55, 0.75)),
    "sociopathic_cues": Category(valence=(0.15, 0.35), arousal=(0.3, 0.5), risk_level="medium"),
    "financial_coercion": Category(valence=(0.1, 0.3), arousal=(0.6, 0.85), risk_level="high"),
    "harm_to_others": Category(valence=(0.05, 0.2), arousal=(0.75, 0.95), risk_level="high"),
}
"""Negation, counter-examples and everyday entries have no range: they feel what their path says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """One sitting: local time, mood on arrival (valence, arousal), and which kind of entry it becomes."""

    at: datetime
    mood: tuple[float, float]
    category: str


def pulled(category: str, mood: tuple[float, float], rng: np.random.Generator) -> tuple[float, float]:
    """The mood inside an edge case: within the category's range, higher or lower as the person arrived."""
    values = []
    for (low, high), arrived in zip(
        (CATEGORIES[category].valence, CATEGORIES[category].arousal), mood, strict=True
    ):
        position = float(np.clip(0.5 + 0.6 * (arrived - 0.5) + rng.normal(0.0, 0.18), 0.01, 0.99))
        values.append(low + position * (high - low))
    return values[0], values[1]


def settled(
    path: tuple[str, ...], mood: tuple[float, float], push: float, rng: np.random.Generator
) -> tuple[float, float]:
    """The mood of an entry named by `path`: its centroid scaled from neutral by `push`, a quarter of
    the mood on arrival.
    """
    values = [
        0.75 * (0.5 + push * (c - 0.5)) + 0.25 * m
        for c, m in zip(taxonomy().circumplex(*path), mood, strict=True)
    ]
    valence, arousal = np.clip(np.array(values) + rng.normal(0.0, 0.025, size=2), 0.01, 0.99)
    return float(valence), float(arousal)


class Life:
    """A person's moments in order; `feel` must be told what each entry felt like before the next is drawn."""

    def __init__(self, person: Person, rng: np.random.Generator) -> None:
        self.person = person
        self.rng = rng
        self.felt = person.rest

    def feel(self, felt: tuple[float, float]) -> None:
        self.felt = felt

    def moments(self) -> Iterator[Moment]:
        person, rng = self.person, self.rng
        left = dict(person.entries)
        day = float(rng.uniform(0, 75))
        last = FIRST_DAY.replace(tzinfo=ZoneInfo(person.timezone))
        while left:
            gap = max(0.1, float(rng.exponential(person.gap_days)))
            day += gap
            keep = person.inertia**gap
            event = float(rng.normal(0.0, 0.22)) if rng.random() < 0.2 else 0.0
            spread = np.sqrt(1.0 - keep**2) * rng.normal(0.0, WANDER)
            mood = (
                float(
                    np.clip(
                        person.rest[0] + keep * (self.felt[0] - person.rest[0]) + spread[0] + event,
                        0.02,
                        0.98,
                    )
                ),
                float(
                    np.clip(person.rest[1] + keep * (self.felt[1] - person.rest[1]) + spread[1], 0.02, 0.98)
                ),
            )
            category = self.choose(left, mood)
            left[category] -= 1
            left = {name: count for name, count in left.items() if count}
            last = max(self.clock(day), last + timedelta(minutes=20))
            yield Moment(at=last, mood=mood, category=category)

    def choose(self, left: dict[str, int], mood: tuple[float, float]) -> str:
        """The kind of entry this mood leads to, among those the story still holds."""

        def nearness(name: str) -> float:
            if name not in CATEGORIES:
                return 0.4
            middles = [sum(bounds) / 2 for bounds in (CATEGORIES[name].valence, CATEGORIES[name].arousal)]
            return float(np.exp(-((mood[0] - middles[0]) ** 2) / 0.05 - ((mood[1] - middles[1]) ** 2) / 0.12))

        weights = np.array([count * (nearness(name) + 1e-6) for name, count in left.items()])
        return str(self.rng.choice(list(left), p=weights / weights.sum()))

    def clock(self, day: float) -> datetime:
        """Local time of a sitting: the person's usual hour, give or take."""
        hour = float(self.person.hour + self.rng.normal(0.0, 1.2)) % 24
        moment = FIRST_DAY + timedelta(days=int(day), seconds=int(hour * 3600))
        return moment.replace(tzinfo=ZoneInfo(self.person.timezone))
