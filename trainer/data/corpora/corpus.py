"""What every importer shares: a corpus is a few tables in a folder and a rule that turns a row into drafts of
events.

First step of the trainer's journey: files of a corpus' authors -> labelled JSONL -> `trainer.data.labelled`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from trainer.data import mappings
from trainer.errors import RowRefused, WrongCorpus

UNDATED = datetime(2000, 1, 1, 12, tzinfo=UTC)
"""When a corpus tells no time: one instant for all its rows, so that none is history of another (ties see
neither)."""

csv.field_size_limit(1 << 24)


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """One file of a corpus: the columns its importer needs, how it is delimited, and whether the corpus is
    one without it."""

    file: str
    columns: tuple[str, ...]
    delimiter: str = ","
    quoted: bool = True
    required: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One record of a table. `number` is what a spreadsheet shows: the header is 1, the first record 2."""

    file: str
    number: int
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def scaled(self, column: str, low: float, high: float) -> float:
        """The cell on `low`..`high` brought to 0-1: (x - low) / (high - low); `RowRefused` outside or not a
        number."""
        value = self.number_of(column)
        if not low <= value <= high:
            raise RowRefused(f"column {column!r}: {value:g} is outside {low:g}..{high:g}")
        return (value - low) / (high - low)

    def number_of(self, column: str) -> float:
        try:
            return float(self.cells[column])
        except ValueError:
            raise RowRefused(f"column {column!r} is no number") from None

    def flag(self, column: str) -> int:
        """The cell as 0 or 1."""
        value = self.number_of(column)
        if value not in (0.0, 1.0):
            raise RowRefused(f"column {column!r}: {value:g} is neither 0 nor 1")
        return int(value)

    def one_of(self, column: str, names: Iterable[str]) -> str:
        value = self.cells[column].strip()
        if value not in names:
            raise RowRefused(f"column {column!r} is none of {', '.join(names)}")
        return value

    def epoch(self, column: str) -> datetime:
        """The cell as POSIX seconds."""
        try:
            return datetime.fromtimestamp(self.number_of(column), tz=UTC)
        except (OverflowError, OSError):
            raise RowRefused(f"column {column!r} is no time") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """An event in the making. `id` and `user_id` are the corpus' own; the corpus' name is put before them.

    `user_id` None: the row is a person of its own.
    """

    id: str
    text: str
    labels: Mapping[str, Any]
    user_id: str | None = None
    created_at: datetime = UNDATED
    self_report: Mapping[str, float] | None = None


Convert = Callable[[Row, Any], Iterable[Draft]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """A public corpus: the tables whose rows become events, what else has to be looked up once, and the rule
    for a row."""

    name: str
    tables: tuple[Table, ...]
    convert: Convert
    prepare: Callable[[Path], Any] | None = None

    def rows(self, folder: Path) -> list[Row]:
        """All records of all tables, in file order; `WrongCorpus` names what is missing."""
        if not folder.is_dir():
            raise WrongCorpus(f"{folder} is no folder; {self._expected()}")
        rows = [row for table in self.tables for row in read(folder, table, self._expected())]
        if not rows:
            raise WrongCorpus(f"{folder} holds no rows; {self._expected()}")
        return rows

    def _expected(self) -> str:
        files = ", ".join(table.file + ("" if table.required else " (optional)") for table in self.tables)
        return f"corpus {self.name} expects a folder with {files}"


def read(folder: Path, table: Table, expected: str) -> list[Row]:
    """The records of one table; an optional file that is absent has none. `WrongCorpus` when it is not that
    table."""
    path = folder / table.file
    if not path.is_file():
        if table.required:
            raise WrongCorpus(f"{folder} has no {table.file}; {expected}")
        return []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(
                file,
                delimiter=table.delimiter,
                quoting=csv.QUOTE_MINIMAL if table.quoted else csv.QUOTE_NONE,
                restval="",
            )
            missing = [column for column in table.columns if column not in (reader.fieldnames or ())]
            if missing:
                raise WrongCorpus(f"{path} lacks the columns {', '.join(map(repr, missing))}; {expected}")
            return [Row(file=table.file, number=number, cells=row) for number, row in enumerate(reader, 2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WrongCorpus(f"{path} cannot be read as {expected}: {type(error).__name__}") from error


_mapping = cache(mappings.load)


def paths(mapping: str, emotions: Iterable[str]) -> list[list[str]]:
    """The taxonomy paths of a corpus' own emotion words, each once, in their order; words on which to abstain
    give none."""
    found = dict.fromkeys(_mapping(mapping)[emotion] for emotion in emotions)
    return [list(path) for path in found if path is not None]
