"""The slices an interval is told apart by: how long the text is, and in which language; part of reading a
calibrated value."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.features.schema import STATIC

LENGTHS = ("short", "medium", "long")
LANGUAGES = ("English", "Hindi or mixed")
COUNT = len(LENGTHS) * len(LANGUAGES)

_ENDS = np.log1p([12.5, 120.5])
"""Between 12 and 13 words, and between 120 and 121, as `log_words` tells them."""
_HINDI = 0.15
"""Share of Hindi words from which a text is no longer English (`worker.features.language`)."""
_WORDS, _SHARE = STATIC.index("log_words"), STATIC.index("hinglish")


def length(log_words: NDArray[np.float64]) -> NDArray[np.intp]:
    """Index into `LENGTHS` [n]: up to 12 words, up to 120, more."""
    return np.searchsorted(_ENDS, log_words)


def language(hinglish: NDArray[np.float64]) -> NDArray[np.intp]:
    """Index into `LANGUAGES` [n]; a language that is neither counts as English: its share of Hindi is 0."""
    return (hinglish >= _HINDI).astype(np.intp)


def number(static: NDArray[np.float64]) -> NDArray[np.intp]:
    """Slice [n], 0 to COUNT - 1, of STATIC columns [n, len(STATIC)]: length * 2 + language."""
    return length(static[:, _WORDS]) * len(LANGUAGES) + language(static[:, _SHARE])


def name(slice_number: int) -> str:
    """The slice in words."""
    at, tongue = divmod(slice_number, len(LANGUAGES))
    return f"{LENGTHS[at]}, {LANGUAGES[tongue]}"
