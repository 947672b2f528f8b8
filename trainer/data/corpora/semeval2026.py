"""SemEval-2026 task 2: check-ins of the same people over years, the closest public data to the product's
users.

The person's own valence (-2..2) and arousal (0..2) are both the row's label and its `self_report`: history
for their later rows, never an input to their own. Changes (subtasks 2a, 2b) are on the scale of a difference
of 0-1 values, -1..1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trainer.data.corpora.corpus import Corpus, Draft, Row, Table, read
from trainer.errors import RowRefused

RANGES = {"valence": (-2.0, 2.0), "arousal": (0.0, 2.0)}
CHANGES = {
    "train_subtask2a.csv": ("state_change_valence", "state_change_arousal"),
    "train_subtask2b.csv": ("disposition_change_valence", "disposition_change_arousal"),
}

Changes = Mapping[str, Sequence[Row]]


def _changes(folder: Path) -> Changes:
    """text_id -> its rows in the optional files."""
    changes: dict[str, list[Row]] = {}
    for file, columns in CHANGES.items():
        table = Table(file=file, columns=("text_id", *columns), required=False)
        for row in read(folder, table, "a table of corpus semeval2026"):
            changes.setdefault(row["text_id"], []).append(row)
    return changes


def _change(row: Row, column: str) -> float:
    low, high = RANGES[column.rpartition("_")[2]]
    return 2 * row.scaled(column, low - high, high - low) - 1


def _convert(row: Row, changes: Changes) -> Iterable[Draft]:
    try:
        when = datetime.fromisoformat(row["timestamp"])
    except ValueError:
        raise RowRefused("column 'timestamp' is no time") from None
    report = {name: row.scaled(name, low, high) for name, (low, high) in RANGES.items() if row[name].strip()}
    labels: dict[str, Any] = {
        **report,
        "is_words": row.one_of("is_words", ("True", "False")) == "True",
        **{
            column: _change(side, column)
            for side in changes.get(row["text_id"], ())
            for column in CHANGES[side.file]
            if side[column].strip()  # a person's last row has no next state
        },
    }
    yield Draft(
        id=row["text_id"],
        user_id=row["user_id"],
        text=row["text"],
        created_at=when if when.tzinfo else when.replace(tzinfo=UTC),
        labels=labels,
        self_report=report or None,
    )


CORPUS = Corpus(
    name="semeval2026",
    tables=(
        Table(
            file="train_subtask1.csv",
            columns=("user_id", "text_id", "text", "timestamp", "is_words", "valence", "arousal"),
        ),
    ),
    prepare=_changes,
    convert=_convert,
)
