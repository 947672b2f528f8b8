"""Linear heads: many targets on one feature vector, standardised, stored as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class DenseHeads:
    """y = ((x - mean) / scale) @ weights + bias; `weights` [features, targets]. Used by Eb, Tm and Em."""

    targets: tuple[str, ...]
    weights: Floats
    bias: Floats
    mean: Floats
    scale: Floats

    def predict(self, features: Floats) -> Floats:
        """float64 [n, features] -> float64 [n, targets]; in double precision so that a row does not feel
        its batch."""
        return ((features - self.mean) / self.scale) @ self.weights + self.bias

    def save(self, path: Path) -> None:
        np.savez_compressed(
            path,
            targets=np.array(self.targets),
            weights=self.weights.astype(np.float32),
            bias=self.bias,
            mean=self.mean,
            scale=self.scale,
        )

    @classmethod
    def load(cls, path: Path) -> DenseHeads:
        with np.load(path, allow_pickle=False) as data:
            return cls(
                targets=tuple(map(str, data["targets"])),
                weights=data["weights"].astype(np.float64),
                bias=data["bias"],
                mean=data["mean"],
                scale=data["scale"],
            )


@dataclass(frozen=True, kw_only=True)
class NgramHeads:
    """Heads on hashed n-grams: counts weighed by `idf`, each half (words, characters) scaled to unit
    length, then linear.

    `weights` [2^bits, targets] (stored as float16), `idf` [2^bits], `bias` [targets]. Loaded weights are
    double: scipy would make them so for every batch, a millisecond for a lone text.
    """

    targets: tuple[str, ...]
    bits: int
    idf: NDArray[np.float32]
    weights: NDArray[Any]
    bias: Floats

    def predict(self, counts: csr_matrix) -> Floats:
        """CSR [n, 2^bits] of `features.ngrams.extract` -> float64 [n, targets]."""
        return np.asarray(weigh(counts, self.idf) @ self.weights, dtype=np.float64) + self.bias

    def save(self, path: Path) -> None:
        np.savez_compressed(
            path,
            targets=np.array(self.targets),
            idf=self.idf.astype(np.float16),
            weights=self.weights.astype(np.float16),
            bias=self.bias,
        )

    @classmethod
    def load(cls, path: Path) -> NgramHeads:
        with np.load(path, allow_pickle=False) as data:
            return cls(
                targets=tuple(map(str, data["targets"])),
                bits=len(data["idf"]).bit_length() - 1,
                idf=data["idf"].astype(np.float32),
                weights=data["weights"].astype(np.float64),
                bias=data["bias"],
            )


def weigh(counts: csr_matrix, idf: NDArray[Any]) -> csr_matrix:
    """tf-idf with unit length for words and for characters apart (Salton & Buckley 1988), float64."""
    values = counts.data * idf[counts.indices]
    half = counts.shape[1] // 2
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    block = rows * 2 + (counts.indices >= half)
    norms = np.sqrt(np.bincount(block, weights=values * values, minlength=2 * counts.shape[0]))
    values = values / np.maximum(norms[block], 1e-12)
    return csr_matrix((values, counts.indices, counts.indptr), shape=counts.shape)
