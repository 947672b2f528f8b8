"""The phrases synthetic people write with: read from `grammar/*.txt`, dealt out to pools, filled with a
draw of their slots.

Every line belongs to one of `POOLS` pools and every person to one, and people only use lines of their
pool. So folds grouped by person and by template cluster at once have `POOLS` independent groups to work
with, and none shares a telling phrase with another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from worker.events.taxonomy import taxonomy

FOLDER = Path(__file__).with_name("grammar")
POOLS = 10
SHARED = ("slots", "opener", "closer", "detail", "emoji_good", "emoji_bad")
"""Sections that say nothing about any label, and emoji, of which there are no private ones."""

Item = TypeVar("Item")
SLOT = re.compile(r"\{(\w+)\}")


def pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    """One of `items`, uniformly."""
    return items[int(rng.integers(len(items)))]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A template; `path` is the emotion it stands for (empty: none), `cluster` its stable name, e.g.
    `sarcasm/en/3`.
    """

    text: str
    path: tuple[str, ...] = ()
    cluster: str = ""


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """All templates of one language: `sections` by name, `feelings` by (core, nuance), `slots` by name,
    `words` that name the feeling of a path.
    """

    lang: str
    sections: Mapping[str, tuple[Line, ...]]
    feelings: Mapping[tuple[str, str], tuple[Line, ...]]
    slots: Mapping[str, tuple[str, ...]]
    words: Mapping[tuple[str, ...], tuple[str, ...]]

    def section(self, name: str, pool: int | None) -> tuple[Line, ...]:
        """The lines of a section that `pool` may use; KeyError for an unknown section."""
        return self.sections[name] if name in SHARED else dealt(self.sections[name], pool)

    def feeling(self, core: str, nuance: str, pool: int | None) -> tuple[Line, ...]:
        """The pool's lines for a nuance, each with its micro."""
        return dealt(self.feelings[core, nuance], pool)

    def fill(self, text: str, rng: np.random.Generator, intensity: str = "mid") -> str:
        """`text` with every slot drawn anew; `intensity` (low, mid, high) chooses the adverb in `{very}`."""

        def value(match: re.Match[str]) -> str:
            name = f"very_{intensity}" if match[1] == "very" else match[1]
            return self.fill(pick(rng, self.slots[name]), rng, intensity)

        return SLOT.sub(value, text)


def dealt(lines: tuple[Line, ...], pool: int | None) -> tuple[Line, ...]:
    """Every `POOLS`-th line from `pool` on; all of them without a pool."""
    return lines if pool is None else lines[pool::POOLS]


def read_sections(source: Path) -> dict[str, list[str]]:
    """Heading -> its lines; blank lines and lines starting with # are skipped."""
    sections: dict[str, list[str]] = {}
    for line in source.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            current = sections.setdefault(line[1:-1], [])
        elif line.strip() and not line.startswith("#"):
            current.append(line)
    return sections


def path_of(words: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in words.split(">"))


@lru_cache(maxsize=2)
def grammar(lang: str) -> Grammar:
    """The grammar of `en` or `hi`, read once."""
    sections: dict[str, tuple[Line, ...]] = {}
    for name in ("frames", "edge"):
        for heading, rows in read_sections(FOLDER / f"{name}_{lang}.txt").items():
            split = [row.partition(" => ") for row in rows]
            sections[heading] = tuple(
                Line(text=text, path=path_of(path) if path else (), cluster=f"{heading}/{lang}/{i}")
                for i, (text, _, path) in enumerate(split)
            )
    feelings: dict[tuple[str, str], tuple[Line, ...]] = {}
    for heading, rows in read_sections(FOLDER / f"feelings_{lang}.txt").items():
        core, nuance = path_of(heading)
        phrases = [
            (row.partition(":")[0], phrase) for row in rows for phrase in row.partition(":")[2].split("|")
        ]
        feelings[core, nuance] = tuple(
            Line(
                text=phrase.strip(),
                path=(core, nuance, micro),
                cluster=f"everyday/{lang}/{core}.{nuance}/{i}",
            )
            for i, (micro, phrase) in enumerate(phrases)
        )
    slots = {
        row.partition(":")[0]: tuple(value.strip() for value in row.partition(":")[2].split("|"))
        for row in read_sections(FOLDER / f"slots_{lang}.txt")["slots"]
    }
    return Grammar(lang=lang, sections=sections, feelings=feelings, slots=slots, words=naming_words(lang))


def naming_words(lang: str) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Micro path -> the words that name it: of its core and nuance, the more frequent ones, and its micro."""
    own = {
        row.partition(":")[0]: tuple(word.strip() for word in row.partition(":")[2].split("|"))
        for row in read_sections(FOLDER / f"words_{lang}.txt")["words"]
    }
    return {
        path: (*own[path[0]], *own.get(path[1], (path[1].lower(),) * 2), path[2].lower())
        for path in taxonomy().paths(3)
    }
