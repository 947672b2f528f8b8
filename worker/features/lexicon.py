"""The lexicons as one lookup table: read from `lexicons/*.tsv` once a process, asked once a token by `text`
and `lexical`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple

EMOTIONS = ("joy", "trust", "fear", "surprise", "sadness", "disgust", "anger", "anticipation")
"""Plutchik's eight, the order of every emotion vector of the lexicons."""
CUES = (
    "intensifier", "diminisher", "negation", "hedge", "politeness",
    "first_person", "second_person", "third_person", "disclosure",
    "profanity_en", "profanity_hi", "absolutist", "past", "present", "future", "social",
)  # fmt: skip
ROLES = ("", "intensifier", "diminisher", "negation", "negation_hi", "contrast")
"""What a word does to its neighbours; an entry's `role` is a position in this tuple."""


class Entry(NamedTuple):
    """What the lexicons say of a word or phrase: valence and arousal -1..1, `affect` whether they count,
    (index in EMOTIONS, weight) pairs, `role`, (index in CUES, weight) pairs, and phrases it begins, longest
    first.

    `whole` is true when the words of a phrase lose their own affect and role ("can't wait" holds no
    negation).
    """

    valence: float = 0.0
    arousal: float = 0.0
    affect: bool = False
    emotions: tuple[tuple[int, float], ...] = ()
    role: int = 0
    cues: tuple[tuple[int, float], ...] = ()
    whole: bool = False
    phrases: tuple[tuple[tuple[str, ...], Entry], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Lexicon:
    """Tables by lowercased word: `english` for texts without Hindi, `hinglish` for the rest (there `main` is
    "I").

    `emoji` gives (valence, arousal), both -1..1, by picture without variation selector and skin tone, and by
    emoticon.
    """

    english: Mapping[str, Entry]
    hinglish: Mapping[str, Entry]
    emoji: Mapping[str, tuple[float, float]]
    emoticons: tuple[str, ...]


def rows(name: str) -> Iterator[list[str]]:
    """The tab-separated fields of each line of `lexicons/<name>`, comments and blank lines left out."""
    for line in files("worker.features").joinpath("lexicons", name).read_text(encoding="utf-8").split("\n"):
        if line and not line.startswith("# "):
            yield line.split("\t")


@cache
def lexicon() -> Lexicon:
    """The lexicons shipped with this version; loaded at the first call (about 30 ms), shared and immutable
    after."""
    common = {
        word
        for language, words in rows("languages.tsv")
        if language in ("english", "homograph")
        for word in words.split()
    }
    english, hindi = _Builder(), _Builder()
    made: list[tuple[str, Entry]] = []
    for valence, arousal, emotions, words in rows("affect_en.tsv"):
        entry = _affect(float(valence), float(arousal), emotions)
        for written in words.split():
            word, _, rule = written.partition("/")
            english.add(word, entry)
            made += [(form, entry) for form in inflections(word, rule)]
    for form, entry in made:
        english.add(form, entry)
    for valence, arousal, emotions, words in rows("affect_hi.tsv"):
        for word in words.split():
            for spelling in spellings(word):
                if spelling == word or (spelling not in common and spelling not in english):
                    hindi.add(spelling, _affect(float(valence), float(arousal), emotions))
    for category, weight, words in rows("cues.tsv"):
        name = category.removesuffix("_hi")
        entry = Entry(
            role=ROLES.index(category) if category in ROLES else 0,
            cues=((CUES.index(name), float(weight)),) if name in CUES else (),
            whole=category == "none" or category in ROLES,
        )
        for word in words.split():
            (hindi if category == "first_person_hi" else english).merge(word, entry)
    for language, severity, words in rows("profanity.tsv"):
        entry = Entry(cues=((CUES.index(f"profanity_{language}"), float(severity) / 4),))
        for word in words.split():
            english.merge(word, entry)
    emoji = {
        bare(picture): ((float(p) - float(n)) / (float(n) + float(neutral) + float(p) + 3), float(arousal))
        for picture, n, neutral, p, arousal in rows("emoji.tsv")
    }
    own = [(float(v), float(a), word) for v, a, words in rows("emoji_own.tsv") for word in words.split()]
    emoji |= {bare(word).lower(): (v, a) for v, a, word in own}
    foreign_to_english = {word for word in hindi.entries if word in common}
    return Lexicon(
        english=english.over({w: e for w, e in hindi.entries.items() if w not in foreign_to_english}).table(),
        hinglish=english.over(hindi.entries).table(),
        emoji=emoji,
        emoticons=tuple(
            sorted((word.lower() for _, _, word in own if word.isascii()), key=len, reverse=True)
        ),
    )


def bare(picture: str) -> str:
    """An emoji without variation selectors and skin tones, as the emoji table spells it."""
    return re.sub("[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]", "", picture)


def inflections(word: str, rule: str) -> list[str]:
    """English forms of `word` by rule: n noun, v verb, V verb doubling its last letter, a adjective, e
    adjective with degrees."""
    soft, stem = word[-1:] == "y" and word[-2:-1] not in tuple("aeiou"), word[:-1]
    plural = stem + "ies" if soft else word + ("es" if word.endswith(("s", "x", "z", "ch", "sh")) else "s")
    if rule == "n":
        return [plural]
    if rule in ("v", "V"):
        root = word + word[-1] if rule == "V" else word.removesuffix("e")
        past = stem + "ied" if soft else root + "ed"
        return [plural, past, word + "ing" if rule == "v" and word.endswith("ee") else root + "ing"]
    if rule in ("a", "e"):
        base = stem + "i" if soft else word
        adverb = stem + "y" if word.endswith("le") else word + "ally" if word.endswith("ic") else base + "ly"
        degrees = [base.removesuffix("e") + "er", base.removesuffix("e") + "est"] if rule == "e" else []
        if rule == "e" and word in ("sad", "mad", "fit", "glad", "wet", "hot", "grim", "dim"):
            degrees = [word + word[-1] + "er", word + word[-1] + "est"]
        return [adverb, base + "ness", *degrees]
    return []


def spellings(word: str) -> set[str]:
    """`word` and the other ways Hinglish writes it: long vowels single, v for w, j for z, f for ph."""
    pairs = (("aa", "a"), ("ee", "i"), ("oo", "u"), ("w", "v"), ("z", "j"), ("ph", "f"))
    found = {word}
    for old, new in pairs:
        found |= {spelling.replace(old, new) for spelling in found}
    return found


def _affect(valence: float, arousal: float, emotions: str) -> Entry:
    pairs = [pair.split(":") for pair in emotions.split(",")] if emotions != "-" else []
    return Entry(
        valence=valence,
        arousal=arousal,
        affect=bool(valence or arousal),
        emotions=tuple((EMOTIONS.index(name), float(weight)) for name, weight in pairs),
        whole=True,
    )


def _joined(old: Entry, new: Entry) -> Entry:
    """`old` with the role and cues of `new` added; the affect stays that of `old`."""
    more = tuple(cue for cue in new.cues if cue not in old.cues)
    return old._replace(role=old.role or new.role, cues=old.cues + more, whole=old.whole or new.whole)


class _Builder:
    """Collects entries by word or `_`-joined phrase while loading."""

    def __init__(self, entries: Mapping[str, Entry] | None = None) -> None:
        self.entries: dict[str, Entry] = dict(entries or {})

    def __contains__(self, word: str) -> bool:
        return word in self.entries

    def add(self, word: str, entry: Entry) -> None:
        self.entries.setdefault(word.replace("-", "_"), entry)

    def merge(self, word: str, entry: Entry) -> None:
        self.entries[word] = _joined(self.entries.get(word, Entry()), entry)

    def over(self, other: Mapping[str, Entry]) -> _Builder:
        """These entries joined with `other`, whose affect wins."""
        joined = _Builder(self.entries)
        for word, entry in other.items():
            old = joined.entries.get(word, Entry())
            joined.entries[word] = _joined(entry, old) if entry.affect else _joined(old, entry)
        return joined

    def table(self) -> Mapping[str, Entry]:
        """Entries by first word, phrases hung under it, longest first."""
        phrases: dict[str, list[tuple[tuple[str, ...], Entry]]] = {}
        for key, entry in self.entries.items():
            first, *rest = key.split("_")
            if rest:
                phrases.setdefault(first, []).append((tuple(rest), entry))
        table = {key: entry for key, entry in self.entries.items() if "_" not in key}
        for first, found in phrases.items():
            found.sort(key=lambda phrase: -len(phrase[0]))
            table[first] = table.get(first, Entry())._replace(phrases=tuple(found))
        return table
