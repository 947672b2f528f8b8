"""A split as a file in the bundle: who was where, in digests, so that reports and erasures can ask it later.

`splits.npz` holds neither ids nor texts. A digest of a short id or text can be guessed by trying; it keeps
names out of files, it is no encryption.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from trainer.data import duplicates
from trainer.data.labelled import Labelled
from trainer.errors import TrainerError
from trainer.splits.holdout import PARTS, TRAIN, VALIDATION

NAME = "splits.npz"
DIGEST = 16
"""Bytes kept of a SHA-256."""

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Array = NDArray[Any]

_COLUMNS = ("id", "user", "text", "names", "source", "created_at", "part", "fold", "cluster", "group")


@dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    """`id`, `user`, `text` uint8 [n, DIGEST] (`text` of the normalised text); `source` [n] numbers `names`;
    `created_at` [n] microseconds since 1970; `part` [n] numbers `PARTS`, -1 in none; `fold` [n], -1 in none;
    `cluster` [n] of near-duplicates, -1 in none; `group` [n]; `shared` [n] whether strangers wrote the text
    alike, so that nobody may learn from it; `learned` [n] whether anything was fitted on the row. `sketch`
    [m, HASHES] are the distinct texts that were learned from or chosen on."""

    id: Bytes
    user: Bytes
    text: Bytes
    names: NDArray[np.str_]
    source: Ints
    created_at: Ints
    part: Ints
    fold: Ints
    cluster: Ints
    group: Ints
    shared: Bools
    learned: Bools
    sketch: Bytes

    @property
    def sources(self) -> NDArray[np.str_]:
        """The name of every row's source [n]."""
        return self.names[self.source]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over person, part, fold and `learned` of every row."""
        columns = (self.user, self.part, self.fold, self.learned.astype(np.int64))
        digest = hashlib.sha256()
        for column in columns:
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()

    def holds(self, user_id: str) -> bool:
        """Whether any row of the person is in the split, whatever its part."""
        return digest_of(user_id) in self._people

    def part_of(self, rows: Sequence[Labelled]) -> list[str | None]:
        """Each row's part by its id; None for a row that is not of this split or was in no part."""
        where = dict(zip(_keys(self.id), self.part.tolist(), strict=True))
        found = [where.get(digest_of(row.reflection.id), -1) for row in rows]
        return [PARTS[part] if part >= 0 else None for part in found]

    def latest(self, source: str) -> float:
        """When the newest row of the source that anything was fitted or chosen on was written, in
        microseconds since 1970; minus infinity where there is none."""
        used = self.learned | (self.part == TRAIN) | (self.part == VALIDATION)
        own = self.created_at[used & (self.sources == source)]
        return float(own.max()) if len(own) else -float("inf")

    def unseen(self, rows: Sequence[Labelled], *, chosen_on: bool = False, strangers: bool = True) -> Bools:
        """Which of the rows [k] no fitted part of the bundle has seen: nobody learned from their person, from
        an equal text or from a near-duplicate.

        Rows of the validation part have shaped choices (trials, stopping) and count as seen, unless
        `chosen_on` lets them pass. Without `strangers` a known person's row may pass.
        """
        used = (self.part == TRAIN) | self.learned
        if not chosen_on:
            used = used | (self.part == VALIDATION)
        people, texts = set(_keys(self.user[used])), set(_keys(self.text[used & self._taught]))
        fresh = np.array(
            [
                not (strangers and digest_of(row.reflection.user_id) in people)
                and digest_of(duplicates.squash(row.reflection.text)) not in texts
                for row in rows
            ],
            dtype=bool,
        )
        left = np.flatnonzero(fresh).tolist()
        # A held-out row of this very split was compared when the split was made; so was every copy of it.
        known = set(_keys(self.text[~used]))
        asked = [at for at in left if digest_of(duplicates.squash(rows[at].reflection.text)) not in known]
        sketches = duplicates.sketches([rows[at].reflection.text for at in asked])
        fresh[asked] = ~duplicates.near(self.sketch, sketches)
        return fresh

    def to_bytes(self) -> bytes:
        """The file: equal records give equal bytes."""
        return packed({name: getattr(self, name) for name in (*_COLUMNS, "shared", "learned", "sketch")})

    @cached_property
    def _people(self) -> set[bytes]:
        return set(_keys(self.user))

    @cached_property
    def _taught(self) -> Bools:
        """Rows whose text was learned from or chosen on."""
        return np.asarray(self.learned | (self.part == VALIDATION) & ~self.shared)


def of(
    rows: Sequence[Labelled],
    *,
    part: Ints,
    fold: Ints,
    cluster: Ints,
    group: Ints,
    shared: Bools,
    learned: Bools,
) -> Record:
    """The record of a split; all arrays are [n]."""
    reflections = [row.reflection for row in rows]
    names, source = np.unique([row.source for row in rows], return_inverse=True)
    texts = [duplicates.squash(one.text) for one in reflections]
    taught = {texts[row] for row in np.flatnonzero(learned | (part == VALIDATION) & ~shared)}
    return Record(
        id=digests(one.id for one in reflections),
        user=digests(one.user_id for one in reflections),
        text=digests(texts),
        names=names,
        source=source.astype(np.int64),
        created_at=times(one.created_at.timestamp() for one in reflections),
        part=part,
        fold=fold,
        cluster=cluster,
        group=group,
        shared=shared,
        learned=learned,
        sketch=duplicates.sketches(sorted(taught)),
    )


def read(path: Path) -> Record:
    """The record in a file. Raises `TrainerError` for one that is none."""
    held = unpacked(path)
    whole = ("source", "created_at", "part", "fold", "cluster", "group")
    try:
        columns = {name: held[name] for name in (*_COLUMNS, "shared", "learned", "sketch")}
    except KeyError as error:
        raise TrainerError(f"{path} is no record of a split: it has no {error}") from None
    return Record(**columns | {name: columns[name].astype(np.int64) for name in whole})


def digest_of(value: str) -> bytes:
    """The first `DIGEST` bytes of the SHA-256 of a string."""
    return hashlib.sha256(value.encode()).digest()[:DIGEST]


def digests(values: Iterable[str]) -> Bytes:
    """uint8 [n, DIGEST]."""
    joined = b"".join(digest_of(value) for value in values)
    return np.frombuffer(joined, dtype=np.uint8).reshape(-1, DIGEST)


def codes(digests: NDArray[np.uint8]) -> Ints:
    """Equal digests [n, k] as equal numbers [n], in the order of their first rows."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(one.tobytes(), len(first)) for one in digests], dtype=np.int64)


def times(seconds: Iterable[float]) -> Ints:
    """Microseconds since 1970 [n]."""
    return np.array([round(second * 1e6) for second in seconds], dtype=np.int64)


def packed(arrays: dict[str, Array]) -> bytes:
    """Arrays as a compressed npz, whole numbers in as few bytes as hold them; zip entries carry no time."""
    narrow = {
        name: array.astype(_narrowest(array)) if array.dtype == np.int64 and array.size else array
        for name, array in arrays.items()
    }
    out = io.BytesIO()
    np.savez_compressed(out, **narrow)  # type: ignore[arg-type]  # numpy's stub takes the arrays for a flag
    return out.getvalue()


def unpacked(path: Path) -> dict[str, Array]:
    """The arrays of an npz. Raises `TrainerError` for a file that is none; nothing in it is executed."""
    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except (OSError, ValueError, BadZipFile, AttributeError, EOFError) as error:
        raise TrainerError(f"{path} cannot be read as npz: {type(error).__name__}") from error


def _narrowest(array: Array) -> np.dtype[Any]:
    least, most = np.min_scalar_type(array.min()), np.min_scalar_type(array.max())
    found = np.promote_types(least, most)
    return found if found.kind in "iu" else array.dtype


def _keys(digests: Bytes) -> list[bytes]:
    whole = np.ascontiguousarray(digests).tobytes()
    return [whole[start : start + DIGEST] for start in range(0, len(whole), DIGEST)]
