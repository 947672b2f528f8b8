"""Near-duplicate texts over everything that is trained or judged on, so that no split has copies on both
sides.

MinHash over character 5-grams with banded locality-sensitive hashing (Broder, On the resemblance and
containment of documents, 1997; Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, chapter 3), joined
by union-find. Characters rather than words, since check-ins are often three words long.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

SHINGLE = 5
HASHES = 96
BANDS = 24
"""Bands of 4 hashes: a pair of Jaccard similarity .7 shares a band with probability .998, one of .3 with
.18."""

THRESHOLD = 0.7
"""Least estimated Jaccard similarity of near-duplicates; at .7 the estimate's standard error is .047."""

CROWD = 40
"""A bucket larger than this is compared along its order and with its first text only, not pair by pair."""

CHUNK = 1 << 20
"""Characters hashed at once: 8 MB an array."""

_SEED = 20261122
_MIX = np.uint64(0x9E3779B97F4A7C15)
_BREAK = re.compile(r"[^\w\u0900-\u097f]+|_+")
"""Between words. Python counts Devanagari's vowel signs as no letters; without them words would fall
together."""


def clusters(texts: Sequence[str], threshold: float = THRESHOLD) -> NDArray[np.int64]:
    """int64 [n]: for each text the index of the first text of its cluster, its own index when it is alone.

    The result depends on the texts and their order only. Case, punctuation and spacing do not count.
    Similarity chains: a text may be in a cluster because of a neighbour of a neighbour.
    """
    first: dict[str, int] = {}
    same = np.array(
        [first.setdefault(squash(text), index) for index, text in enumerate(texts)], dtype=np.int64
    )
    unique = list(first)
    origin = np.fromiter(first.values(), dtype=np.int64, count=len(first))
    signatures = _signatures(unique)
    roots = np.arange(len(unique))
    for left, right in _candidates(signatures):
        agreement = (signatures[left] == signatures[right]).mean(axis=1)
        for a, b in zip(left[agreement >= threshold], right[agreement >= threshold], strict=True):
            a, b = _root(roots, a), _root(roots, b)
            roots[max(a, b)] = min(a, b)
    resolved = np.array([_root(roots, index) for index in range(len(unique))], dtype=np.int64)
    place = {int(index): position for position, index in enumerate(origin)}
    return np.array([origin[resolved[place[index]]] for index in same], dtype=np.int64)


def sketches(texts: Sequence[str]) -> NDArray[np.uint8]:
    """uint8 [n, HASHES]: the low byte of each minimum hash (Li & Koenig, b-bit minwise hashing, 2010), small
    enough to keep where the texts may not be kept."""
    return _signatures([squash(text) for text in texts]).astype(np.uint8)


def near(
    known: NDArray[np.uint8], asked: NDArray[np.uint8], threshold: float = THRESHOLD
) -> NDArray[np.bool_]:
    """Whether each of the sketches `asked` [m, HASHES] is of a near-duplicate of one of `known` [n, HASHES].

    Two bytes agree by chance once in 256, which is taken off the estimate.
    """
    found = np.zeros(len(asked), dtype=bool)
    if not len(known):
        return found
    least = threshold + (1 - threshold) / 256
    width = HASHES // BANDS
    for band in range(0, HASHES, width):
        keys, wanted = (
            np.ascontiguousarray(part[:, band : band + width]).view(np.uint32).ravel()
            for part in (known, asked)
        )
        order = np.argsort(keys, kind="stable")
        first = np.searchsorted(keys[order], wanted, "left")
        last = np.searchsorted(keys[order], wanted, "right")
        for at in np.flatnonzero((last > first) & ~found).tolist():
            candidates = known[order[first[at] : last[at]]]
            found[at] = bool(((candidates == asked[at]).mean(axis=1) >= least).any())
    return found


def squash(text: str) -> str:
    """What is compared: folded case, words only; a text without a word (emoji, punctuation) is compared as it
    is."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _BREAK.sub(" ", folded).strip() or folded.strip()


def _signatures(texts: Sequence[str]) -> NDArray[np.uint64]:
    """uint64 [n, HASHES]: the least of each hash over a text's shingles."""
    salts = np.random.default_rng(_SEED).integers(0, 1 << 63, size=HASHES, dtype=np.uint64)
    out = np.empty((len(texts), HASHES), dtype=np.uint64)
    for begin, end in _chunks(texts):
        shingles, starts = _shingles(texts[begin:end])
        for column, salt in enumerate(salts):
            hashed = (shingles ^ salt) * _MIX
            hashed ^= hashed >> np.uint64(32)
            hashed *= _MIX
            out[begin:end, column] = np.minimum.reduceat(hashed, starts)
    return out


def _chunks(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    begin, held = 0, 0
    for index, text in enumerate(texts):
        held += len(text) + SHINGLE
        if held >= CHUNK:
            yield begin, index + 1
            begin, held = index + 1, 0
    if begin < len(texts):
        yield begin, len(texts)


def _shingles(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The hashed 5-grams of all texts one after another, and where each text's begin (each has at least
    one)."""
    padded = [f" {text} ".ljust(SHINGLE) for text in texts]
    counts = np.array([len(text) - SHINGLE + 1 for text in padded], dtype=np.int64)
    lengths = counts + SHINGLE - 1
    codes = np.frombuffer("".join(padded).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    rolled = np.zeros(len(codes) - SHINGLE + 1, dtype=np.uint64)
    for offset in range(SHINGLE):
        rolled = (rolled ^ codes[offset : offset + len(rolled)]) * _MIX
        rolled ^= rolled >> np.uint64(29)
    # The last SHINGLE - 1 positions of a text would reach into the next one.
    begins = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    keep = np.arange(counts.sum()) + np.repeat(begins - starts, counts)
    return rolled[keep], starts


def _candidates(signatures: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of rows that agree in all hashes of a band, band by band."""
    rows = HASHES // BANDS
    for band in range(BANDS):
        key = np.zeros(len(signatures), dtype=np.uint64)
        for column in range(band * rows, (band + 1) * rows):
            key = (key ^ signatures[:, column]) * _MIX
            key ^= key >> np.uint64(31)
        order = np.argsort(key, kind="stable")
        edges = np.flatnonzero(np.diff(key[order])) + 1
        left: list[int] = []
        right: list[int] = []
        for bucket in np.split(order, edges):
            if len(bucket) < 2:
                continue
            span = len(bucket) if len(bucket) <= CROWD else 2
            for position in range(1, len(bucket)):
                near = range(max(0, position - span + 1), position)
                others = {0, *near}
                left.extend(int(bucket[other]) for other in sorted(others))
                right.extend([int(bucket[position])] * len(others))
        yield np.array(left, dtype=np.int64), np.array(right, dtype=np.int64)


def _root(roots: NDArray[np.int64], index: int) -> int:
    while roots[index] != index:
        roots[index] = roots[roots[index]]
        index = int(roots[index])
    return int(index)
