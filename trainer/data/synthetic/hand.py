"""How a synthetic person types: sentences become a text with their capitals, typos, emoji,
abbreviations and spelling.
"""

from __future__ import annotations

import re

import numpy as np

from trainer.data.synthetic.grammar import Grammar, pick
from trainer.data.synthetic.person import Person

SHORTHAND = {
    "en": {
        "you": "u",
        "because": "cuz",
        "please": "pls",
        "people": "ppl",
        "really": "rly",
        "though": "tho",
        "with": "w",
        "going to": "gonna",
        "tomorrow": "tmrw",
        "I do not": "I don't",
        "cannot": "can't",
        "do not": "don't",
        "did not": "didn't",
        "could not": "couldn't",
        "I am": "I'm",
        "it is": "it's",
        "everyone": "every1",
    },
    "hi": {
        "nahi": "nhi",
        "hai": "h",
        "bahut": "bht",
        "main": "mai",
        "mein": "me",
        "kya": "kia",
        "raha": "rha",
        "rahi": "rhi",
        "hoon": "hu",
        "accha": "acha",
        "acche": "ache",
        "theek": "thik",
        "kuch": "kuchh",
        "aur": "or",
        "phir": "fir",
        "sab": "sb",
        "yaar": "yr",
        "zyada": "jyada",
        "khatam": "khtm",
    },
}
"""Everyday contractions and the spellings romanised Hindi really comes in."""


def mistyped(word: str, rng: np.random.Generator) -> str:
    """`word` with one slip: a swap, a dropped or a doubled letter. Words under five letters stay."""
    if len(word) < 5 or not word.isalpha():
        return word
    at = int(rng.integers(1, len(word) - 2))
    return pick(
        rng,
        (
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + word[at + 1 :],
            word[:at] + word[at : at + 1] + word[at:],
        ),
    )


def elongated(text: str, rng: np.random.Generator) -> str:
    """The first intensifier of `text` drawn out: so -> sooo, really -> reeeally, bahut -> bahuuut."""
    extra = int(rng.integers(2, 5))
    return re.sub(
        r"\b(s(?=o\b)|r(?=e)|bah)(o|e|u)(|ally|t)\b", lambda m: m[1] + m[2] * extra + m[3], text, count=1
    )


def typed(
    sentences: tuple[str, ...],
    person: Person,
    grammar: Grammar,
    rng: np.random.Generator,
    *,
    pleasant: bool,
    intensity: str,
) -> str:
    """The text of an entry. `pleasant` chooses the emoji a reader should see, `intensity` (low, mid,
    high) how loud it gets.
    """
    loud = intensity == "high"
    parts = []
    for sentence in sentences:
        if rng.random() < 0.4:
            for full, short in SHORTHAND[grammar.lang].items():
                if rng.random() < 0.35:
                    sentence = re.sub(rf"\b{full}\b", short, sentence)
        if person.typos and rng.random() < person.typos:
            words = sentence.split(" ")
            at = int(rng.integers(len(words)))
            words[at] = mistyped(words[at], rng)
            sentence = " ".join(words)
        if loud and rng.random() < 0.3:
            sentence = elongated(sentence, rng)
        end = (
            pick(rng, ("!", "!!", "...", "!!!"))
            if loud and rng.random() < 0.3
            else pick(rng, (".", ".", ".", "...", ","))
        )
        parts.append(
            (sentence[0].upper() + sentence[1:] if not person.lower else sentence)
            + (end if person.punctuates else pick(rng, ("", ",", "\n")))
        )
    text = " ".join(parts).rstrip(" ,\n").replace("\n ", "\n")
    text = text.lower() if person.lower else text
    if loud and rng.random() < 0.06:
        text = text.upper()
    if rng.random() < person.emoji:
        lines = grammar.section("emoji_good" if pleasant else "emoji_bad", person.pool)
        text += " " + pick(rng, lines).text * (int(rng.integers(1, 4)) if loud else 1)
    return text
