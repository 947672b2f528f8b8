"""Which language a text is in, told by script and frequent words: part of reading, before any model sees the
text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from worker.features.lexicon import lexicon, rows, spellings

_MIXED, _MOSTLY_HINDI = 0.15, 0.6
"""Shares of Hindi words from which a text is `mixed`, then `hi-Latn`."""
_HINDI_HINTS = ("hi", "hi-Latn")
_ENGLISH, _HINDI, _HOMOGRAPH, _ENGLISH_HOMOGRAPH = 1, 2, 3, 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Language:
    """`code` as judged from the text; `hinglish` is the share of Hindi among the words known to be Hindi or
    English, 0-1; `supported` is false where the product promises no emotions (any language but English, Hindi
    and their mix)."""

    code: Literal["en", "hi-Latn", "mixed", "hi", "other"]
    hinglish: float
    supported: bool


_OTHER = Language(code="other", hinglish=0.0, supported=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scripts:
    """Letters of a text by script (of an ASCII text, `latin` is simply its length)."""

    latin: int
    devanagari: int
    other: int

    @classmethod
    def of(cls, text: str) -> Scripts:
        if text.isascii():
            return cls(latin=len(text), devanagari=0, other=0)
        letters = [char for char in text if char.isalpha()]
        latin = sum(char < "\u0250" or "\u1e00" <= char < "\u1f00" for char in letters)
        devanagari = sum("\u0900" <= char <= "\u097f" for char in letters)
        return cls(latin=latin, devanagari=devanagari, other=len(letters) - latin - devanagari)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Vocabulary:
    kinds: Mapping[str, int]
    foreign: Mapping[str, frozenset[str]]


@cache
def _vocabulary() -> _Vocabulary:
    words: dict[str, set[str]] = {}
    for language, entries in rows("languages.tsv"):
        words.setdefault(language, set()).update(word for word in entries.split() if "_" not in word)
    known, hinglish = lexicon().english, lexicon().hinglish
    kinds = {word: _ENGLISH for word, entry in known.items() if entry.affect and len(word) > 1}
    felt_in_hindi = {word for row in rows("affect_hi.tsv") for word in row[3].split() if "_" not in word}
    kinds = {form: _HINDI for word in words["hindi"] for form in spellings(word)} | kinds
    kinds |= dict.fromkeys(words["hindi"] | felt_in_hindi & hinglish.keys(), _HINDI)
    kinds |= dict.fromkeys(words["english"], _ENGLISH)
    kinds |= {
        word: _ENGLISH_HOMOGRAPH if word in words["english"] else _HOMOGRAPH for word in words["homograph"]
    }
    foreign = {
        name: frozenset(entries)
        for name, entries in words.items()
        if name not in ("english", "hindi", "homograph")
    }
    return _Vocabulary(kinds=kinds, foreign=foreign)


def detect(words: Sequence[str], scripts: Scripts, hint: str | None = None) -> Language:
    """The language of a text from its lowercased `words` (Devanagari already romanised) and its letters by
    `scripts`.

    `hint` is what the event claims; it decides doubtful words and nothing that the text itself says clearly.
    Emoji, numbers and texts too short to tell count as supported English.
    """
    if scripts.other > scripts.latin + scripts.devanagari:
        return _OTHER
    vocabulary, total = _vocabulary(), len(words)
    kinds = [vocabulary.kinds.get(word, 0) for word in words]
    _settle(kinds, hint)
    hindi, english = kinds.count(_HINDI), kinds.count(_ENGLISH)
    if scripts.devanagari > scripts.latin:
        return (
            Language(code="hi", hinglish=1.0, supported=True)
            if hindi >= _foreign(words, vocabulary)
            else _OTHER
        )
    if hindi + english < total and 2 * english <= total:
        foreign = _foreign(words, vocabulary)
        stranger = total >= 8 and hindi + english < 0.1 * total
        if stranger or (foreign >= 2 and foreign > hindi + english and foreign >= 0.2 * total):
            return _OTHER
    if hindi + english == 0:
        code: Literal["en", "hi-Latn"] = "hi-Latn" if hint in _HINDI_HINTS and total else "en"
        return Language(code=code, hinglish=float(code == "hi-Latn"), supported=True)
    share = hindi / (hindi + english)
    # One Hindi word among English ones is as likely a name or a slip.
    if share < _MIXED or (hindi == 1 and english > 0 and hint not in _HINDI_HINTS):
        return Language(code="en", hinglish=share, supported=True)
    return Language(code="mixed" if share < _MOSTLY_HINDI else "hi-Latn", hinglish=share, supported=True)


def _settle(kinds: list[int], hint: str | None) -> None:
    """Decide homographs in place: Hindi beside Hindi; one that is also frequent English only between Hindi
    words, or last."""
    last = len(kinds) - 1
    hinted = hint in _HINDI_HINTS and _ENGLISH not in kinds and _HOMOGRAPH in kinds
    for i, kind in enumerate(kinds):
        if kind < _HOMOGRAPH:
            continue
        before, after = i > 0 and kinds[i - 1] == _HINDI, i < last and kinds[i + 1] == _HINDI
        if kind == _HOMOGRAPH:
            kinds[i] = _HINDI if before or after or hinted else 0
        else:
            kinds[i] = _HINDI if hinted or (before and (after or i == last)) else _ENGLISH


def _foreign(words: Sequence[str], vocabulary: _Vocabulary) -> int:
    """Words in the best-fitting unsupported language; 0 unless two different ones occur."""
    different = set(words)
    best = max(vocabulary.foreign.values(), key=lambda known: len(different & known))
    return sum(word in best for word in words) if len(different & best) >= 2 else 0
