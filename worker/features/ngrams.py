"""Hashed n-grams: words 1-2 and characters 3-5 of the normalised text, counted into 2^bits buckets for a
whole batch at once.

The lower half of the buckets belongs to words, the upper half to characters, so the two can be weighed
apart. Hashing is Rabin's polynomial over code points (mod 2^64) with the finaliser of MurmurHash3 (Appleby
2011); no vocabulary is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from worker.features.text import Text

_BASE = np.uint64(0x9E3779B97F4A7C15)
_CHARACTERS = (3, 4, 5)


def extract(texts: Sequence[Text], bits: int) -> csr_matrix:
    """Sublinear counts 1 + ln(tf) as CSR float64 [len(texts), 2^bits]; a row depends on its own text only."""
    half = np.uint64(1 << (bits - 1))
    word_rows, word_hashes = _words(texts)
    char_rows, char_hashes = _characters(texts)
    buckets = np.concatenate([word_hashes % half, char_hashes % half + half]).astype(np.int64)
    rows = np.concatenate([word_rows, char_rows])
    keys, counts = np.unique((rows << bits) | buckets, return_counts=True)
    indptr = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(np.bincount(keys >> bits, minlength=len(texts)), out=indptr[1:])
    return csr_matrix((1.0 + np.log(counts), keys & ((1 << bits) - 1), indptr), shape=(len(texts), 1 << bits))


def _words(texts: Sequence[Text]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    lengths = np.array([len(text.words) for text in texts], dtype=np.int64)
    single = np.array([crc32(word.encode()) for text in texts for word in text.words], dtype=np.uint64)
    rows = np.repeat(np.arange(len(texts), dtype=np.int64), lengths)
    same = rows[1:] == rows[:-1]
    double = (single[:-1] * _BASE + single[1:] + np.uint64(1))[same]
    return np.concatenate([rows, rows[1:][same]]), _mixed(np.concatenate([single, double]))


def _characters(texts: Sequence[Text]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    # A space at both ends marks the text's boundary; a code point's row tells where windows stop.
    padded = [f" {text.normal.lower()} " for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    rows = np.repeat(np.arange(len(texts), dtype=np.int64), [len(text) for text in padded])
    all_rows, all_hashes = [], []
    hashes = codes
    for size in range(2, _CHARACTERS[-1] + 1):
        hashes = hashes[:-1] * _BASE + codes[size - 1 :]
        if size in _CHARACTERS and len(hashes) > 0:
            inside = rows[size - 1 :] == rows[: len(hashes)]
            all_rows.append(rows[: len(hashes)][inside])
            all_hashes.append(_mixed(hashes[inside] + np.uint64(size)))
    return np.concatenate(all_rows), np.concatenate(all_hashes)


def _mixed(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    h = hashes ^ (hashes >> np.uint64(33))
    h = h * np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h = h * np.uint64(0xC4CEB9FE1A85EC53)
    out: NDArray[np.uint64] = h ^ (h >> np.uint64(33))
    return out
