"""Lexical features of a text: the first numbers of stage A, read by Lx, the gate's context and the trace."""

from __future__ import annotations

LEXICAL: tuple[str, ...] = (
    "joy", "trust", "fear", "surprise", "sadness", "disgust", "anger", "anticipation",
    "valence_sum", "valence_mean", "valence_min", "valence_max", "valence_last", "arousal_mean", "arousal_max",
    "positive", "negative", "intensifier", "diminisher", "negation", "negated_valence",
    "hedge", "politeness", "first_person", "second_person", "third_person", "disclosure",
    "profanity_en", "profanity_hi", "exclamation", "question", "ellipsis", "caps", "elongation",
    "emoji", "emoji_valence", "emoji_arousal", "log_words", "words_per_sentence", "type_token", "hinglish",
    "word_list", "numbers", "absolutist", "past", "present", "future", "social",
)  # fmt: skip
