"""The perception variables and the emotion cores: the vocabulary every later step shares."""

from __future__ import annotations

VARIABLES = ("valence", "arousal", "invoked", "expressed", "willingness", "congruence", "comparator")
CORES = ("Happy", "Strong", "Peaceful", "Sad", "Angry", "Fearful")
"""Order of every core distribution in the product."""

FLAGS = (
    "suicidal_ideation", "self_harm", "harm_to_others", "abuse",
    "financial_coercion", "sociopathic_cues", "sarcasm", "profanity",
)  # fmt: skip
LEVELS = ("none", "low", "medium", "high")
EVIDENCE = ("measured", "proxy", "synthetic")
