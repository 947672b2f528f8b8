"""Embeddings by the text's digest, so that a second rebuild does not encode again. No text is kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from trainer.errors import TrainerError

Vectors = NDArray[np.float32]


class EmbeddingCache:
    """One file per encoder: sorted 16-byte digests and their vectors."""

    def __init__(self, path: Path, known: dict[bytes, Vectors], width: int) -> None:
        self._path = path
        self._known = known
        self._width = width

    @classmethod
    def open(cls, folder: Path, *, encoder: str, width: int) -> EmbeddingCache:
        """The cache of the encoder with weights digest `encoder`; empty when there is none yet."""
        path = folder / f"embeddings-{encoder[:16]}.npz"
        known: dict[bytes, Vectors] = {}
        if path.is_file():
            try:
                with np.load(path, allow_pickle=False) as data:
                    digests, vectors = data["digests"], data["vectors"]
            except (OSError, ValueError, KeyError, BadZipFile) as error:
                raise TrainerError(f"{path} is damaged: delete it") from error
            known = {digest.tobytes(): vector for digest, vector in zip(digests, vectors, strict=True)}
        return cls(path, known, width)

    def missing(self, texts: Sequence[str]) -> list[str]:
        """The distinct texts it lacks, in order, so that a second look-up order never matters."""
        return [text for text in dict.fromkeys(texts) if _digest(text) not in self._known]

    def add(self, texts: Sequence[str], vectors: Vectors) -> None:
        self._known.update(zip(map(_digest, texts), vectors, strict=True))

    def get(self, texts: Sequence[str]) -> Vectors:
        """f32 [n, width]; every text must be known."""
        out = np.empty((len(texts), self._width), dtype=np.float32)
        for row, text in enumerate(texts):
            out[row] = self._known[_digest(text)]
        return out

    def save(self) -> None:
        """Write whole or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_name(f".{self._path.stem}.part-{os.getpid()}.npz")
        order = sorted(self._known)
        digests = np.frombuffer(b"".join(order), dtype=np.uint8).reshape(len(order), -1)
        np.savez(part, digests=digests, vectors=np.stack([self._known[digest] for digest in order]))
        part.replace(self._path)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]
