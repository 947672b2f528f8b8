"""EmoBank: sentences rated 1-5 for valence, arousal and dominance, together and apart by perspective.

The weighted mean of both perspectives is `valence`, `arousal`, `dominance`; the readers' and the writers'
raters are extra labels with a prefix. Most of the distance between the two is rater noise, so it is no label
of congruence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.data.corpora.corpus import Corpus, Draft, Row, Table, read

COLUMNS = {"valence": "V", "arousal": "A", "dominance": "D"}
SPLITS = ("train", "dev")

Perspectives = Mapping[str, Sequence[Row]]


def _ratings(row: Row, prefix: str = "") -> dict[str, float]:
    return {prefix + name: row.scaled(column, 1.0, 5.0) for name, column in COLUMNS.items()}


def _perspectives(folder: Path) -> Perspectives:
    """id -> its rows in the optional files of readers and writers."""
    ratings: dict[str, list[Row]] = {}
    for perspective in ("reader", "writer"):
        table = Table(file=f"{perspective}.csv", columns=("id", *COLUMNS.values()), required=False)
        for row in read(folder, table, "a table of corpus emobank"):
            ratings.setdefault(row["id"], []).append(row)
    return ratings


def _convert(row: Row, perspectives: Perspectives) -> Iterable[Draft]:
    if row["split"] == "test":  # reserved: never trained on, never looked at
        return
    labels: dict[str, Any] = {**_ratings(row), "split": row.one_of("split", SPLITS)}
    for side in perspectives.get(row["id"], ()):
        labels |= _ratings(side, side.file.removesuffix("csv").replace(".", "_"))
    yield Draft(id=row["id"], text=row["text"], labels=labels)


CORPUS = Corpus(
    name="emobank",
    tables=(Table(file="emobank.csv", columns=("id", "split", *COLUMNS.values(), "text")),),
    prepare=_perspectives,
    convert=_convert,
)
