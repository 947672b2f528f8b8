"""Fold ancestry: which rows every model of a cross-fit was really trained on and which it predicted.

`oof` writes it where it fits; the audit reads it. The masks are those that the fits were given, so the ledger
shows what happened, not what was meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import TrainerError
from trainer.splits.record import packed, unpacked

NAME = "lineage.npz"
LEVELS = ("base", "gate", "calibrator")
"""What a level is fitted on are the predictions of the one before."""
REFIT = -1
"""The number of the model that goes into the bundle: trained on all rows, it predicts none of them."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """One fitted model: `trained` and `predicted` [n] over the rows of the split. `inputs` are the
    `level/name` of the models whose predictions it was fitted on; when empty, those of its own name one level
    below, or else all of that level (a base: none, it reads the text)."""

    level: str
    name: str
    number: int
    trained: Bools
    predicted: Bools
    inputs: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.level}/{self.name}"


class Ledger:
    """Entries in the order of their fits. `rows` [k] are the places of the fitted rows among the `count` rows
    of the split's record (all of them when None)."""

    def __init__(self, count: int, rows: NDArray[np.intp] | None = None) -> None:
        self.count = count
        self.entries: list[Entry] = []
        self._rows = np.arange(count) if rows is None else rows

    def add(
        self,
        level: str,
        name: str,
        number: int,
        trained: Bools,
        predicted: Bools | None = None,
        *,
        rows: NDArray[np.intp] | None = None,
        inputs: Sequence[str] = (),
    ) -> None:
        """Write down a model. The masks are [k] over the fitted rows, or [m] with `rows` [m] telling which
        fitted row each is of (a row in several timelines was trained on when any copy was). `predicted` None:
        it predicted none of them.

        Raises `TrainerError` for an unknown level.
        """
        if level not in LEVELS:
            raise TrainerError(f"no level {level}: one of {', '.join(LEVELS)}")
        none = np.zeros(len(trained), dtype=bool)
        masks = [self._spread(mask, rows) for mask in (trained, none if predicted is None else predicted)]
        self.entries.append(
            Entry(
                level=level,
                name=name,
                number=number,
                trained=masks[0],
                predicted=masks[1],
                inputs=tuple(inputs),
            )
        )

    def below(self, entry: Entry) -> list[Entry]:
        """The models whose predictions `entry` was fitted on."""
        if entry.inputs:
            return [other for other in self.entries if other.key in entry.inputs]
        at = LEVELS.index(entry.level)
        lower = [other for other in self.entries if at and other.level == LEVELS[at - 1]]
        return [other for other in lower if other.name == entry.name] or lower

    def to_bytes(self) -> bytes:
        """The file; masks that many models share are kept once."""
        seen: dict[bytes, int] = {}

        def number(mask: Bools) -> int:
            return seen.setdefault(np.packbits(mask).tobytes(), len(seen))

        pairs = np.array(
            [[number(one.trained), number(one.predicted)] for one in self.entries], dtype=np.int64
        )
        masks = np.frombuffer(b"".join(seen), dtype=np.uint8).reshape(len(seen), (self.count + 7) // 8)
        return packed(
            {
                "count": np.array([self.count], dtype=np.int64),
                "level": np.array([LEVELS.index(one.level) for one in self.entries], dtype=np.int64),
                "name": np.array([one.name for one in self.entries], dtype=np.str_),
                "number": np.array([one.number for one in self.entries], dtype=np.int64),
                "inputs": np.array(["\n".join(one.inputs) for one in self.entries], dtype=np.str_),
                "pairs": pairs.reshape(-1, 2),
                "masks": masks,
            }
        )

    def _spread(self, mask: Bools, rows: NDArray[np.intp] | None) -> Bools:
        whole = np.zeros(self.count, dtype=bool)
        whole[self._rows[mask] if rows is None else self._rows[rows[mask]]] = True
        return whole


def read(path: Path) -> Ledger:
    """The ledger in a file. Raises `TrainerError` for one that is none."""
    held = unpacked(path)
    try:
        ledger = Ledger(int(held["count"][0]))
        masks = np.unpackbits(held["masks"], axis=1, count=ledger.count).astype(bool)
        for entry in _entries(held):
            level, name, number, inputs, trained, predicted = entry
            ledger.add(
                LEVELS[level],
                name,
                number,
                masks[trained],
                masks[predicted],
                inputs=tuple(part for part in inputs.split("\n") if part),
            )
    except (KeyError, IndexError, ValueError) as error:
        raise TrainerError(f"{path} is no lineage: {type(error).__name__}") from error
    return ledger


def _entries(held: dict[str, NDArray[Any]]) -> Iterator[tuple[int, str, int, str, int, int]]:
    columns = (held[name].tolist() for name in ("level", "name", "number", "inputs"))
    for (level, name, number, inputs), (trained, predicted) in zip(
        zip(*columns, strict=True), held["pairs"].tolist(), strict=True
    ):
        yield level, name, number, inputs, trained, predicted
