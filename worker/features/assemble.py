"""All features of a batch of texts: what every base of stage A is fitted on and predicts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from worker.events.reflection import Reflection
from worker.features import context
from worker.features.lexical import LEXICAL
from worker.features.schema import STATIC

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """The taxonomy's phrases in the encoder's own space: `cores` [6, d], `nuances` [36, d], `micros` [216,
    d], unit length.

    Encoded by the model that encodes the reflections: two embedding spaces are never compared.
    """

    cores: Floats
    nuances: Floats
    micros: Floats

    @classmethod
    def of(cls, embeddings: NDArray[np.float32]) -> Anchors:
        """From the embeddings of the 258 phrases of `Taxonomy.anchors()`, in that order."""
        double = embeddings.astype(np.float64)
        return cls(cores=double[:6], nuances=double[6:42], micros=double[42:258])


@dataclass(frozen=True, kw_only=True)
class Features:
    """One row a text: `lexical` [n, len(LEXICAL)], `counts` CSR [n, 2^bits], `dense` [n, 2 d + 44], `micros`
    [n, 6, 6, 6] (cosine to micro anchors).

    `dense` is laid out as `schema.DENSE`: the embedding, the embedding again times LEXICAL's `word_list`
    ("tired, calm" is embedded elsewhere than a sentence that says it, and means its words more plainly),
    `word_list` and `log_words`, then the cosines to core and nuance anchors.
    """

    lexical: Floats
    counts: csr_matrix
    dense: Floats
    micros: Floats
    tuned: Floats | None = None
    asked: Mapping[str, Floats] | None = None


def assemble(
    lexical: Floats, counts: csr_matrix, embeddings: NDArray[np.float32], anchors: Anchors
) -> Features:
    """Join what the three feature families gave for the same texts, in the same order; `embeddings` [n, d],
    or [n, 2 d] with the tuned layers' means behind."""
    width = anchors.cores.shape[1]
    double = embeddings[:, :width].astype(np.float64)
    tuned = embeddings[:, width:].astype(np.float64) if embeddings.shape[1] > width else None
    form = lexical[:, _FORM]
    near = [double @ anchors.cores.T, double @ anchors.nuances.T]
    dense = np.concatenate([double, double * form[:, :1], form, *near], axis=1)
    micros = (double @ anchors.micros.T).reshape(-1, 6, 6, 6)
    return Features(lexical=lexical, counts=counts, dense=dense, micros=micros, tuned=tuned)


_OF_THE_TEXT = ("log_words", "hinglish", "negation", "exclamation", "emoji", "hedge", "first_person")
_FROM_LEXICAL = [LEXICAL.index(name) for name in _OF_THE_TEXT]
_TO_STATIC = [STATIC.index(name) for name in _OF_THE_TEXT]
_FORM = [LEXICAL.index("word_list"), LEXICAL.index("log_words")]
_OTHERS = [STATIC.index(name) for name in ("mobile", "hour_sin", "hour_cos")]


def static_context(reflections: Sequence[Reflection], lexical: Floats) -> Floats:
    """float64 [n, len(STATIC)] with the context columns filled and the prediction columns NaN."""
    out = np.full((len(reflections), len(STATIC)), np.nan)
    out[:, _TO_STATIC] = lexical[:, _FROM_LEXICAL]
    others = [(one.device == "mobile", *context.local_hour(one)) for one in reflections]
    out[:, _OTHERS] = np.reshape(others, (-1, len(_OTHERS)))
    return out
