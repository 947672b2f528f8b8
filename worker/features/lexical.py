"""Lexical features of a text: the first numbers of stage A, read by Lx, by the gate's context and by the
trace."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.features.lexicon import CUES, EMOTIONS, ROLES, Entry, lexicon
from worker.features.text import Text

LEXICAL: tuple[str, ...] = (
    "joy", "trust", "fear", "surprise", "sadness", "disgust", "anger", "anticipation",
    "valence_sum", "valence_mean", "valence_min", "valence_max", "valence_last",
    "arousal_mean", "arousal_max",
    "positive", "negative", "intensifier", "diminisher", "negation", "negated_valence",
    "hedge", "politeness", "first_person", "second_person", "third_person", "disclosure",
    "profanity_en", "profanity_hi", "exclamation", "question", "ellipsis", "caps", "elongation",
    "emoji", "emoji_valence", "emoji_arousal", "log_words", "words_per_sentence", "type_token", "hinglish",
    "word_list", "numbers", "absolutist", "past", "present", "future", "social",
)  # fmt: skip
"""Names and order of the columns of `extract`."""

_FORWARD, _BACKWARD, _STRESS = 4, 3, 2
"""Words a negation reaches ahead, a Hindi negation reaches back, and an intensifier or diminisher reaches
ahead."""
_FLIP, _CALM = -0.5, 0.5
"""Negated valence turns over at half strength ("not bad" is not "great"); negated arousal halves."""
_BOOST = {ROLES.index("intensifier"): 1.3, ROLES.index("diminisher"): 0.6}
_NEGATION_HI, _CONTRAST = ROLES.index("negation_hi"), ROLES.index("contrast")
_NOWHERE = -1_000
"""A position no scope reaches from."""
_BREAKS = frozenset(",;:.!?\n")
_OPPOSITE = {
    EMOTIONS.index(one): EMOTIONS.index(other)
    for one, other in (("joy", "sadness"), ("sadness", "joy"), ("trust", "fear"), ("fear", "trust"))
}
_HINDI_SHARE = 0.15
"""From here on words that English and Hindi share are looked up as Hindi first."""


def extract(texts: Sequence[Text]) -> NDArray[np.float64]:
    """The features of `texts`, float64 [n, len(LEXICAL)], finite, each row a function of its own text alone.

    Emotions: summed weights of felt words over the root of the word count. Valence and arousal: -1..1 after
    negation and intensity; `valence_sum` is s / sqrt(s^2 + 4). Cues (negation, hedge, ...) and `positive`,
    `negative`: share of the words. Punctuation and emoji: log(1 + count). `word_list`: share of the parts
    between commas or lines that are of one or two words.
    """
    rows = [_row(text) for text in texts]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(LEXICAL))


def _row(text: Text) -> list[float]:
    known = lexicon()
    felt, cues = _scan(
        text.tokens, known.hinglish if text.language.hinglish >= _HINDI_SHARE else known.english
    )
    count = len(text.words)
    words, root = max(count, 1), math.sqrt(max(count, 1))
    emotions = [0.0] * len(EMOTIONS)
    valences: list[float] = []
    arousals: list[float] = []
    turned = 0.0
    for entry, strength, negated in felt:
        valence, arousal = entry.valence * strength, entry.arousal * strength
        if negated:
            valence, arousal = valence * _FLIP, arousal * _CALM
            turned += valence
        valences.append(max(-1.0, min(1.0, valence)))
        arousals.append(max(-1.0, min(1.0, arousal)))
        for emotion, weight in entry.emotions:
            if not negated:
                emotions[emotion] += weight * strength
            elif emotion in _OPPOSITE:
                emotions[_OPPOSITE[emotion]] += weight * strength * -_FLIP
    pictures = [known.emoji.get(picture, (0.0, 0.0)) for picture in text.emoji]
    valences += [valence for valence, _ in pictures]
    arousals += [arousal for _, arousal in pictures]
    total = sum(valences)
    by_cue = {name: min(cues[i] / words, 1.0) for i, name in enumerate(CUES)}
    shown = len(pictures)
    return [
        *(weight / root for weight in emotions),
        total / math.sqrt(total * total + 4),
        total / len(valences) if valences else 0.0,
        min(valences, default=0.0),
        max(valences, default=0.0),
        valences[-1] if valences else 0.0,
        sum(arousals) / len(arousals) if arousals else 0.0,
        max(arousals, default=0.0),
        sum(valence > 0 for valence in valences) / max(words, len(valences)),
        sum(valence < 0 for valence in valences) / max(words, len(valences)),
        by_cue["intensifier"],
        by_cue["diminisher"],
        by_cue["negation"],
        turned / math.sqrt(turned * turned + 4),
        by_cue["hedge"],
        by_cue["politeness"],
        by_cue["first_person"],
        by_cue["second_person"],
        by_cue["third_person"],
        by_cue["disclosure"],
        by_cue["profanity_en"],
        by_cue["profanity_hi"],
        math.log1p(text.exclamations),
        math.log1p(text.questions),
        math.log1p(text.ellipses),
        min(text.caps / words, 1.0),
        math.log1p(text.elongations),
        math.log1p(len(text.emoji)),
        sum(valence for valence, _ in pictures) / shown if shown else 0.0,
        sum(arousal for _, arousal in pictures) / shown if shown else 0.0,
        math.log1p(count),
        count / text.sentences,
        len(set(text.words)) / words,
        text.language.hinglish,
        _word_list(text.tokens),
        math.log1p(text.numbers),
        by_cue["absolutist"],
        by_cue["past"],
        by_cue["present"],
        by_cue["future"],
        by_cue["social"],
    ]


def _word_list(tokens: Sequence[str]) -> float:
    parts, short, length = 0, 0, 0
    for token in (*tokens, ","):
        if token[0].isalpha():
            length += 1
        elif token[0] in _BREAKS and length:
            parts += 1
            short += length <= 2
            length = 0
    return short / parts if parts else 0.0


def _scan(
    tokens: Sequence[str], table: Mapping[str, Entry]
) -> tuple[list[tuple[Entry, float, bool]], list[float]]:
    """One pass: the felt words as (entry, strength, negated) in order, and the summed weight of each cue.

    Scopes end at punctuation and contrast. A Hindi negation turns over the felt word before it ("khush nahi
    hoon"), else it works forwards like an English one; whole phrases hide the roles and affect of their
    words, not their cues.
    """
    felt: list[tuple[Entry, float, bool]] = []
    cues = [0.0] * len(CUES)
    whole_until = 0
    negated_until = stressed_until = last_felt = _NOWHERE
    boost = 1.0
    for position, token in enumerate(tokens):
        entry = table.get(token)
        if entry is None:
            if token[0] in _BREAKS:
                negated_until = stressed_until = last_felt = _NOWHERE
            continue
        if position < whole_until:
            for cue, weight in entry.cues:
                cues[cue] += weight
            continue
        for rest, phrase in entry.phrases:
            if tuple(tokens[position + 1 : position + 1 + len(rest)]) == rest:
                if phrase.whole:
                    entry, whole_until = phrase, position + 1 + len(rest)
                    break
                for cue, weight in phrase.cues:
                    cues[cue] += weight
        for cue, weight in entry.cues:
            cues[cue] += weight
        if entry.role in _BOOST:
            boost, stressed_until = _BOOST[entry.role], position + _STRESS
        elif entry.role == _CONTRAST:
            negated_until = stressed_until = last_felt = _NOWHERE
        elif entry.role == _NEGATION_HI and position - last_felt <= _BACKWARD:
            felt[-1] = (*felt[-1][:2], not felt[-1][2])
        elif entry.role:
            negated_until = position + _FORWARD
        if entry.affect:
            strength = boost if position <= stressed_until else 1.0
            felt.append((entry, strength, position <= negated_until))
            last_felt, stressed_until = max(position, whole_until - 1), _NOWHERE
    return felt, cues
