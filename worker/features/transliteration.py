"""Devanagari to the romanised Hindi people type, so that one set of words and n-grams reads both (before
tokenising).

Scheme: Hunterian consonants without diacritics, long vowels doubled at a word's start and inside words of one
vowel (aaya, kaam, hoon), short elsewhere (accha, nahin), the inherent vowel dropped at a word's end and,
after Ohala (1983), between VC and CV (lagta, not lagata).
"""

from __future__ import annotations

import re
from functools import lru_cache

_CONSONANTS = {
    "क": "k", "ख": "kh", "ग": "g", "घ": "gh", "ङ": "n", "च": "ch", "छ": "chh", "ज": "j", "झ": "jh",
    "ञ": "n", "ट": "t", "ठ": "th", "ड": "d", "ढ": "dh", "ण": "n", "त": "t", "थ": "th", "द": "d",
    "ध": "dh", "न": "n", "प": "p", "फ": "ph", "ब": "b", "भ": "bh", "म": "m", "य": "y", "र": "r",
    "ल": "l", "ळ": "l", "व": "v", "श": "sh", "ष": "sh", "स": "s", "ह": "h", "\u0929": "n", "\u0931": "r",
    "\u0934": "l", "\u0958": "q", "\u0959": "kh", "\u095a": "g", "\u095b": "z", "\u095c": "d",
    "\u095d": "dh", "\u095e": "f", "\u095f": "y",
}  # fmt: skip
_NUKTA = {"क": "q", "ख": "kh", "ग": "g", "ज": "z", "ड": "d", "ढ": "dh", "फ": "f"}
_VOWELS = {
    "अ": "a", "आ": "aa", "इ": "i", "ई": "ee", "उ": "u", "ऊ": "oo", "ऋ": "ri", "ए": "e", "ऐ": "ai",
    "ओ": "o", "औ": "au", "ऑ": "o", "ऍ": "e",
}  # fmt: skip
_SIGNS = {
    "ा": "aa", "ि": "i", "ी": "ee", "ु": "u", "ू": "oo", "ृ": "ri", "े": "e", "ै": "ai", "ो": "o",
    "ौ": "au", "ॉ": "o", "ॅ": "e",
}  # fmt: skip
_SHORT = {"aa": "a", "ee": "i", "oo": "u"}
_DIGITS = dict(zip("०१२३४५६७८९", "0123456789", strict=True))
_COMMON = {
    "ham": "hum", "vah": "woh", "ve": "woh", "vo": "woh", "yah": "yeh", "ye": "yeh", "jyada": "zyada",
    "chahie": "chahiye", "vahan": "wahan", "kyon": "kyun", "pahle": "pehle", "bahan": "behen",
    "men": "mein", "rahna": "rehna", "kahna": "kehna",
}  # fmt: skip
"""Spellings that habit, not the scheme, decides."""
_WORD = re.compile("[\u0900-\u0963\u0966-\u097f\u200c\u200d]+")
_VIRAMA, _NUKTA_SIGN, _INHERENT = "\u094d", "\u093c", "a."


def transliterate(text: str) -> str:
    """`text` with every Devanagari word romanised and danda as full stop; everything else is left as it
    is."""
    return _WORD.sub(lambda match: _word(match.group()), text).replace("।", ".").replace("॥", ".")


@lru_cache(maxsize=8192)
def _word(word: str) -> str:
    parts = _parts(word)
    _drop_schwas(parts)
    vowels = [i for i, part in enumerate(parts) if part[0] in "aeiou"]
    for i in vowels:
        if i and (len(vowels) > 1 or i == len(parts) - 1):
            parts[i] = _SHORT.get(parts[i], parts[i])
    roman = "".join("a" if part == _INHERENT else part for part in parts)
    return _COMMON.get(roman, roman.replace("chchh", "cch").replace("shsh", "sh"))


def _parts(word: str) -> list[str]:
    """Consonants and vowels in order; an inherent vowel is `_INHERENT` until it is known whether it is
    spoken."""
    parts: list[str] = []
    for i, char in enumerate(word):
        if char in _CONSONANTS:
            parts += (
                ["gy"]
                if char == "ञ" and parts[-1:] == ["j"] and word[i - 1] == _VIRAMA
                else [_CONSONANTS[char]]
            )
            if parts[-1] == "gy":
                parts.pop(-2)
            parts.append(_INHERENT)
        elif char in _SIGNS or char == _VIRAMA:
            if parts[-1:] == [_INHERENT]:
                parts.pop()
            parts += [_SIGNS[char]] if char in _SIGNS else []
        elif char == _NUKTA_SIGN:
            if i and word[i - 1] in _NUKTA and len(parts) > 1:
                parts[-2] = _NUKTA[word[i - 1]]
        elif char in _VOWELS:
            parts.append(_VOWELS[char])
        elif char in "ंँ":
            parts.append("m" if char == "ं" and word[i + 1 : i + 2] in tuple("पफबभम") else "n")
        elif char == "ः":
            parts.append("h")
        elif char in _DIGITS:
            parts.append(_DIGITS[char])
        elif char == "ॐ":
            parts.append("om")
    return parts


def _drop_schwas(parts: list[str]) -> None:
    """Silence inherent vowels in place: the last one, then right to left those in the frame VC_CV."""

    def spoken(i: int) -> bool:
        return 0 <= i < len(parts) and parts[i][:1] in tuple("aeiou")

    if parts[-1:] == [_INHERENT] and any(spoken(i) for i in range(len(parts) - 1)):
        parts.pop()
    for i in range(len(parts) - 3, 1, -1):
        if (
            parts[i] == _INHERENT
            and spoken(i - 2)
            and not spoken(i - 1)
            and not spoken(i + 1)
            and spoken(i + 2)
        ):
            del parts[i]
