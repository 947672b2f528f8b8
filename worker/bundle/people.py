"""Whose reflections a bundle was made from, as its own `splits.npz` says: what an erasure asks of it.

The file holds digests, not ids (see `trainer/splits/record.py`); a bundle without it was trained on nobody's
rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from worker.errors import BundleRefused

NAME = "splits.npz"
DIGEST = 16
"""Bytes kept of a SHA-256."""
VALIDATION = 1
"""The part whose rows shaped choices: a bundle was not fitted on them, but would be another without."""


def people_of(folder: Path) -> bytes:
    """The digests, one after the other in order, of everybody the bundle learned from or was chosen on.

    Raises `BundleRefused` when the file is there and cannot be read.
    """
    path = folder / NAME
    if not path.exists():
        return b""
    try:
        with np.load(path, allow_pickle=False) as held:
            used = held["learned"] | (held["part"] == VALIDATION)
            people = np.ascontiguousarray(held["user"][used])
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise BundleRefused(folder, f"{NAME} cannot be read: {type(error).__name__}") from error
    return b"".join(sorted(set(_digests(people.tobytes()))))


def holds(people: bytes, user_ids: Iterable[str]) -> bool:
    """Whether any of these users is among the digests of `people_of`."""
    return not {digest_of(user_id) for user_id in user_ids}.isdisjoint(_digests(people))


def digest_of(user_id: str) -> bytes:
    """The first `DIGEST` bytes of the SHA-256 of a user id."""
    return hashlib.sha256(user_id.encode()).digest()[:DIGEST]


def bundles_in(folders: Iterable[Path]) -> Iterator[Path]:
    """The bundle folders among these and one level below them, each once."""
    seen = set()
    for folder in folders:
        for place in (folder, *sorted(folder.glob("*/"))):
            if (place / "manifest.json").is_file() and place.resolve() not in seen:
                seen.add(place.resolve())
                yield place


def _digests(people: bytes) -> Iterator[bytes]:
    return (people[at : at + DIGEST] for at in range(0, len(people), DIGEST))
