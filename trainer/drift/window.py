"""What drift is looked for in: the reflections of a stretch of time as numbers and names, without their
texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.features import ngrams
from worker.features.lexicon import lexicon
from worker.features.text import Text

Floats = NDArray[np.float64]
Names = NDArray[np.str_]
BITS = 9
"""Of the hashed word profile."""
VALUES = ("valence", "arousal", "willingness", "congruence", "comparator")
REPORTED = ("valence", "arousal")
SIDES = ("expressed", "invoked")


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What the texts of the rows `row` [m] tell: `words` [m] their number, `unknown` [m] the share of them in
    no lexicon, `profile` [m, 2^BITS / 2] hashed words and word pairs (shares), `embedding` [m, width]."""

    row: NDArray[np.intp]
    words: Floats
    unknown: Floats
    profile: NDArray[np.float32]
    embedding: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Window:
    """Row i is one reflection of `person[i]`. `values` and `reported` [n] by name (NaN: not told), `low` and
    `high` the intervals of `REPORTED`, `cores` by side ('' where it abstained), `level` of risk."""

    person: Names
    language: Names
    device: Names
    values: Mapping[str, Floats]
    low: Mapping[str, Floats]
    high: Mapping[str, Floats]
    reported: Mapping[str, Floats]
    cores: Mapping[str, Names]
    level: Names
    texts: Texts | None

    @property
    def people(self) -> int:
        return len(np.unique(self.person))

    def length(self) -> Names:
        """The length band of each row, '' where its text was not read."""
        bands = np.full(len(self.person), "", dtype="<U6")
        if self.texts is not None:
            words = self.texts.words
            bands[self.texts.row] = np.select([words <= 12, words <= 120], ["short", "medium"], "long")
        return bands


def read(texts: Sequence[Text], row: NDArray[np.intp], embedding: NDArray[np.float32]) -> Texts:
    """What these texts tell, for the rows they belong to."""
    half = (1 << BITS) // 2
    counts = ngrams.extract(texts, BITS)[:, :half].toarray().astype(np.float32)
    known = lexicon()
    return Texts(
        row=row,
        words=np.array([len(text.words) for text in texts], dtype=np.float64),
        unknown=np.array([_unknown(text, known.hinglish) for text in texts], dtype=np.float64),
        profile=counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0),
        embedding=embedding,
    )


def _unknown(text: Text, known: Mapping[str, Any]) -> float:
    return sum(word not in known for word in text.words) / max(1, len(text.words))
