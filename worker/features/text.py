"""The first look at a reflection: its text normalised, tokenised, counted, and its language told. Everything
after reads this."""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass
from functools import cache

from worker.features.language import Language, Scripts, detect
from worker.features.lexicon import Lexicon, bare, lexicon
from worker.features.transliteration import transliterate

URL, USER, MAIL = "[url]", "@user", "[mail]"
"""What stands in `Text.normal` for addresses and names of accounts."""

_MOJIBAKE = re.compile("[ÃÂ][\u0080-\u00bf\u2018-\u203a€™œžšŸ¡-¿]|â[€\u0080-\u009f]|ð[\u0178\u009f]|à[¤¥]")
_FANCY = re.compile("[\uff01-\uff5e\U0001d400-\U0001d7ff]")
_STRAIGHT = {
    **dict.fromkeys(map(ord, "‘’‛′`´ʼ"), "'"), **dict.fromkeys(map(ord, "“”„‟″«»"), '"'), ord("…"): "...",
    **dict.fromkeys(map(ord, "‐‑‒–—―−"), "-"), **dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad"), None),
    **dict.fromkeys([*range(0x200E, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], None),
    **dict.fromkeys([*range(9), *range(14, 28), *range(0x7F, 0x85), *range(0x86, 0xA0)], " "),
}  # fmt: skip
_URL = re.compile(r"(?:https?://|\bwww\.)\S+", re.I)
_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,64}\.[\w.-]{1,64}")
_USER = re.compile(r"(?<!\w)@\w+")
_APOSTROPHE = re.compile(r"(?<=[a-z]) ?' (?=(?:s|t|m|d|ve|re|ll)\b)", re.I)
_NOT = re.compile(r"(?<=[a-z]) n't\b", re.I)
_SPACED = re.compile(r" (?=[,.!?;:](?:[\s,.!?;:]|$))")
_SMILE = re.compile(r"(?<!\S): (?=[)(](?:\s|$))")
_LONG = re.compile(r"([^\W\d_])\1{2,}", re.I)
_RUN = re.compile(r"([^\w\s])\1{3,}")
_ELLIPSIS = re.compile(r"\.{2,}")
_CAPS = re.compile(r"\b[A-Z]{2,}\b")
_LONGEST_WORD = 40
"""Beyond it nothing is looked up letter by letter, so that time stays linear in the text."""
_STOP = frozenset(".!?\n")


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A text as every later step reads it.

    `normal` keeps case, punctuation and emoji, for n-grams and the encoder; Devanagari is romanised in it.
    `tokens` are lowercased words, punctuation, emoji and newlines in order, `words` the words among them,
    `emoji` the pictures and emoticons as the lexicon spells them. Counts are of the text as written: `caps`
    words of two or more capitals, `elongations` words like "soooo", `ellipses` runs of dots, `numbers` tokens
    of digits, `sentences` at least 1.
    """

    normal: str
    tokens: tuple[str, ...]
    words: tuple[str, ...]
    emoji: tuple[str, ...]
    exclamations: int
    questions: int
    ellipses: int
    caps: int
    elongations: int
    numbers: int
    sentences: int
    language: Language

    @property
    def emoji_names(self) -> tuple[str, ...]:
        """English names of the pictures in order, "loudly crying face"; emoticons and unnamed pictures stand
        for themselves."""
        return tuple(
            unicodedata.name(picture[0], picture).lower() if picture[0] > "\u2000" else picture
            for picture in self.emoji
        )


def read(text: str, lang: str | None = None) -> Text:
    """Read one text of any length and script (NFC, no surrogates); `lang` is the event's hint. Never raises
    on such a string."""
    known = lexicon()
    exclamations, questions = text.count("!"), text.count("?")
    straight = _straight(text)
    scripts = Scripts.of(straight)
    if scripts.devanagari:
        straight = transliterate(straight)
    normal, elongations = _normal(straight)
    tokens: list[str] = _token().findall(normal.lower())
    words: list[str] = []
    emoji: list[str] = []
    numbers = stops = 0
    stopped = True
    for i, token in enumerate(tokens):
        first = token[0]
        if first.isalpha() and token not in known.emoji:
            if elongations and token not in known.hinglish:
                tokens[i] = token = _shortened(token, known)
            words.append(token)
            stopped = False
        elif first in _STOP:
            stops += not stopped
            stopped = True
        elif first.isdigit():
            numbers += 1
            stopped = False
        elif len(token) > 1 or first > "\u203b":
            picture = token if token in known.emoji else bare(token)
            picture = picture if picture in known.emoji else picture[:1]
            if picture in known.emoji or (first > "\u203b" and unicodedata.category(first) == "So"):
                tokens[i] = picture
                emoji.append(picture)
    return Text(
        normal=normal,
        tokens=tuple(tokens),
        words=tuple(words),
        emoji=tuple(emoji),
        exclamations=exclamations,
        questions=questions,
        ellipses=len(_ELLIPSIS.findall(straight)) if ".." in straight else 0,
        caps=0 if normal.islower() else len(_CAPS.findall(normal)),
        elongations=elongations,
        numbers=numbers,
        sentences=max(1, stops + (not stopped)),
        language=detect(words, scripts, lang),
    )


@cache
def _token() -> re.Pattern[str]:
    """Placeholders, emoticons, words, numbers, emoji with their joiners, runs of punctuation; anything else
    by character."""
    smileys = "|".join(
        (r"(?<!\w)" if word[0].isalpha() else "")
        + re.escape(word)
        + (r"(?!\w)" if word[-1].isalnum() else "")
        for word in lexicon().emoticons
    )
    picture = "[\u203c-\u3299\U0001f000-\U0001faff]"
    return re.compile(
        rf"\[url\]|\[mail\]|@user|{smileys}|[^\W\d_]+(?:'[^\W\d_]+)*|\d+(?:[.,:]\d+)*"
        rf"|{picture}[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]*(?:\u200d{picture}[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]*)*"
        r"|[!?]+|\.+|\n|[^\w\s]"
    )


def _straight(text: str) -> str:
    """Characters repaired and made plain: mojibake, HTML entities, curly quotes, styled letters, control
    characters."""
    if "&" in text:
        text = html.unescape(text)
    if text.isascii():
        return text if text.isprintable() else text.translate(_STRAIGHT)
    if _MOJIBAKE.search(text):
        from ftfy import fix_encoding  # slow to import and rarely needed

        text = fix_encoding(text)
    if _FANCY.search(text):
        text = _FANCY.sub(lambda match: unicodedata.normalize("NFKC", match.group()), text)
    return text.translate(_STRAIGHT)


def _normal(text: str) -> tuple[str, int]:
    """The text with whitespace, addresses, split apostrophes and runs of one character in order, and how many
    words were drawn out."""
    if "\n" in text or "\r" in text:
        text = "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))
    else:
        text = " ".join(text.split())
    if "@" in text:
        text = _USER.sub(USER, _MAIL.sub(MAIL, text))
    if "://" in text or "www." in text:
        text = _URL.sub(URL, text)
    if "' " in text:
        text = _APOSTROPHE.sub("'", text)
    if " n't" in text:
        text = _NOT.sub("n't", text)
    text = _SMILE.sub(":", text)
    text = _SPACED.sub("", text)
    text, elongations = _LONG.subn(r"\1\1", text)
    return _RUN.sub(r"\1\1\1", text), elongations


def _shortened(word: str, known: Lexicon) -> str:
    """A drawn-out word in its dictionary form where one is known: "happyy" is "happy", "soo" is "so"."""
    if len(word) > _LONGEST_WORD:
        return word
    pairs = [i for i in range(1, len(word)) if word[i] == word[i - 1]]
    every = "".join(char for i, char in enumerate(word) if i not in pairs)
    single = [word[:i] + word[i + 1 :] for i in reversed(pairs)]
    return next((form for form in (*single, every) if form in known.hinglish), word)
