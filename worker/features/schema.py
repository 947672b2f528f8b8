"""Names, order and digest of every feature vector: what a bundle was fitted on and what the worker computes
must be one.

A bundle carries `DIGEST`; the worker refuses a bundle with another one.
"""

from __future__ import annotations

import hashlib
import json

from worker.events.timeline import TIMELINE_LIMIT
from worker.events.variables import CORES
from worker.features.lexical import LEXICAL

SEQUENCE_LENGTH = 10
"""Steps of the padded sequence the temporal net reads."""

HISTORY: tuple[str, ...] = (
    "text_valence", "text_arousal",  # blended, text-only estimates, 0-1
    "self_valence", "self_arousal",  # the person's own check-in, NaN when absent
    "willingness", "overlap", "log_words",
    *(f"expressed.{core}" for core in CORES),
    *(f"invoked.{core}" for core in CORES),
)  # fmt: skip
"""What a later reflection may know of an earlier one."""

STATIC: tuple[str, ...] = (
    "valence.Lx", "valence.Ng", "valence.Eb", "arousal.Lx", "arousal.Ng", "arousal.Eb",
    "congruence.overlap", "congruence.Eb",
    "log_words", "hinglish", "negation", "exclamation", "emoji", "hedge", "first_person",
    "mobile", "hour_sin", "hour_cos",
    # NaN where there is no such base:
    "valence.Tr", "arousal.Tr", "congruence.Tr", "valence.Ll", "arousal.Ll",
)  # fmt: skip
"""What stage B needs of the reflection itself: predictions of the text bases and context for the gate."""

TEXT_BASES = ("Lx", "Ng", "Eb", "Tr", "Ll")
"""The bases that read one text alone."""

TEMPORAL: tuple[str, ...] = (
    *(f"{series}.{stat}" for series in ("text_valence", "text_arousal", "self_valence", "self_arousal")
      for stat in ("last", "ema_3", "ema_7", "mean", "volatility_7d", "shift")),
    "bias_valence", "bias_arousal",  # shrunken mean of self-report minus text estimate
    "log_count", "log_self_count", "log_gap_h", "density_7d", "log_mean_gap_h",
    "hour_sin", "hour_cos", "last_willingness", "last_overlap",
)  # fmt: skip
"""Features of the timeline before `as_of`; NaN-free: an empty history gives the neutral value and count 0."""

CONTEXT: tuple[str, ...] = (
    "log_words", "hinglish", "negation", "exclamation", "emoji", "hedge", "first_person", "mobile",
    "hour_sin", "hour_cos", "log_count", "log_self_count", "log_gap_h", "shift_valence", "shift_arousal",
)  # fmt: skip
"""What the gate weighs the bases by."""

PERSONAL: tuple[str, ...] = tuple(
    f"{kind}.{stat}"
    for kind in ("valence", "arousal")
    for stat in (
        "now", "bias", "shift",
        "ema_3 - text", "ema_3 - middle", "ema_7 - text", "ema_7 - middle", "mean - text", "mean - middle",
    )
)  # fmt: skip
"""What the text says now, and how the self-reports differ from the texts and from the middle of the scale."""

DENSE: tuple[str, ...] = ("embedding", "embedding if word_list", "word_list", "log_words", "cores", "nuances")
"""The blocks of `assemble.Features.dense`, what Eb reads."""

DIGEST = hashlib.sha256(
    json.dumps(
        [LEXICAL, DENSE, HISTORY, STATIC, TEMPORAL, PERSONAL, CONTEXT, SEQUENCE_LENGTH, TIMELINE_LIMIT]
    ).encode()
).hexdigest()
