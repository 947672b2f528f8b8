"""A population sits down to write: person by person, mood by mood, page by page, each entry with the
labels that caused it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from trainer.data.synthetic.expression import Page, Writer
from trainer.data.synthetic.grammar import Line, grammar, pick
from trainer.data.synthetic.hand import typed
from trainer.data.synthetic.mood import CATEGORIES, Life, Moment, pulled, settled
from trainer.data.synthetic.person import Person, draw
from worker.events.taxonomy import taxonomy
from worker.events.variables import FLAGS

LENGTHS = {"short": 0.55, "medium": 0.35, "long": 0.1}
PUSH = {"low": 0.7, "mid": 0.95, "high": 1.15}
"""How far from neutral an entry's adverbs push its centroid."""
RETRIES = 12


def people(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Labelled events of `count` people, person by person in order of time; equal seeds give equal events.

    Each is the wire event plus `labels`, `source` ("synthetic") and `cluster`, `category/language/...`,
    one per template.
    """
    seen: set[str] = set()
    for index in range(count):
        yield from entries(
            draw(seed, index), np.random.default_rng([seed, index, 3]), seen, f"syn-{seed}-{index:04d}"
        )


def entries(
    person: Person, rng: np.random.Generator, seen: set[str], prefix: str
) -> Iterator[dict[str, Any]]:
    """One person's events; `seen` holds the texts that exist already, so that repetitions stay rare."""
    life = Life(person, rng)
    for number, moment in enumerate(life.moments()):
        for _ in range(RETRIES):
            text, page, felt, lang = entry(person, moment, rng)
            if text not in seen:
                break
        seen.add(text)
        life.feel(felt)
        yield event(person, moment, f"{prefix}-{number:02d}", text, lang, page, felt, rng)


def entry(
    person: Person, moment: Moment, rng: np.random.Generator
) -> tuple[str, Page, tuple[float, float], str]:
    """Text, page, felt (valence, arousal) and language of one sitting."""
    lang = person.lang if person.lang == "en" or rng.random() < 0.88 else "en"
    words = grammar(lang)
    mixed = grammar("en") if lang == "hi" and rng.random() < 0.3 else None
    writer = Writer(words, person.pool, rng, mixed)
    length = str(rng.choice(list(LENGTHS), p=list(LENGTHS.values())))
    habit = person.habit if rng.random() < 0.78 else "plain"
    intensity = pick(rng, tuple(PUSH))
    if moment.category == "everyday":
        line = feeling(person, moment.mood, writer, rng)
        intensity = loudness(line.path, moment.mood, rng)
        if rng.random() < 0.04:
            line = pick(rng, words.section("wordlist", person.pool))
            page, intensity = writer.words(line), "mid"
        else:
            page = writer.everyday(line, habit, intensity, length)
    else:
        page = writer.edge(moment.category, habit, length)
    if moment.category in CATEGORIES:
        felt = pulled(moment.category, moment.mood, rng)
    else:
        felt = settled(page.invoked, moment.mood, PUSH[intensity], rng)
    shown = page.expressed or page.invoked
    pleasant = taxonomy().circumplex(*shown)[0] >= 0.5
    text = typed(page.sentences, person, words, rng, pleasant=pleasant, intensity=intensity)
    return text, page, felt, lang


def feeling(person: Person, mood: tuple[float, float], writer: Writer, rng: np.random.Generator) -> Line:
    """A line of the person's pool whose nuance lies near the mood on the circumplex."""
    tree = taxonomy()
    nuances = tree.paths(2)
    centroids = np.array([tree.circumplex(*path) for path in nuances])
    distance = ((centroids - np.array(mood)) ** 2 / np.array([0.03, 0.05])).sum(axis=1)
    weights = np.exp(-distance) + 0.02
    core, nuance = nuances[int(rng.choice(len(nuances), p=weights / weights.sum()))]
    return pick(rng, writer.grammar.feeling(core, nuance, person.pool))


def loudness(path: tuple[str, ...], mood: tuple[float, float], rng: np.random.Generator) -> str:
    """low, mid or high: how much further from neutral the mood is than the nuance's centroid, with some
    chance.
    """
    valence, _ = taxonomy().circumplex(*path)
    further = abs(mood[0] - 0.5) - abs(valence - 0.5) + float(rng.normal(0.1, 0.12))
    return "high" if further > 0.06 else "mid" if further > -0.08 else "low"


def event(
    person: Person, moment: Moment,
    id_: str, text: str, lang: str, page: Page,
    felt: tuple[float, float], rng: np.random.Generator,
) -> dict[str, Any]:  # fmt: skip
    """The wire event with its labels."""
    level = CATEGORIES[moment.category].risk_level if moment.category in CATEGORIES else "none"
    report: dict[str, Any] | None = None
    if rng.random() < person.reports:
        valence, arousal = (round(float(np.clip(x + rng.normal(0.0, 0.07), 0.0, 1.0)), 2) for x in felt)
        report = {"valence": valence, "arousal": arousal}
        if rng.random() < 0.6:
            report["emotion"] = list(page.invoked[: int(rng.integers(1, 4))])
    code = {"en": "en", "hi": "hi-Latn"}[lang]
    return {
        "schema": 1,
        "id": id_,
        "user_id": person.user_id,
        "text": text,
        "created_at": moment.at.isoformat(),
        "lang": code if rng.random() < 0.75 else None,
        "device": person.device,
        "timezone": person.timezone,
        "self_report": report,
        "consent": {"training": person.consents},
        "revision": 1,
        "labels": {
            "valence": round(felt[0], 3),
            "arousal": round(felt[1], 3),
            "invoked": list(page.invoked),
            "expressed": list(page.expressed),
            "willingness": round(page.willingness, 3),
            "congruence": round(page.congruence, 3),
            "risk": {flag: int(flag == moment.category) for flag in FLAGS},
            "risk_level": level,
        },
        "source": "synthetic",
        "cluster": page.cluster,
    }
