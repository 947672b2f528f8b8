"""Any split as plain lines, for `feltsense leakage SPLITS`: of another program, of a notebook, or by hand.

One JSON object a line. A row:

    {"id", "user_id", "created_at", "source", "part", "fold", "cluster", "text"?}

`part` is train, validation, test, history (a held-out person's rows before their block: neither learned from
nor judged), embargo (dropped) or null; `fold` a number from 0 or null; `cluster` any name shared by
near-duplicates, or null. With `text`, near-duplicates are compared anew. Optional are `learned` (whether
anything was fitted on the row; by default those of the train part, or of none, that are not `shared`) and
`shared` (strangers wrote the text alike, nobody learns from it).

A model of a cross-fit, for the ancestry of folds, gates and calibrators, after the rows:

    {"level", "name", "number", "trained": [id, ...], "predicted": [id, ...], "inputs"?: ["level/name", ...]}

`level` is base, gate or calibrator; what `trainer.splits.ledger` says of the masks holds for the lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from trainer.data import duplicates
from trainer.errors import TrainerError
from trainer.splits import folds, record
from trainer.splits.holdout import PARTS, TRAIN
from trainer.splits.ledger import LEVELS, Ledger
from trainer.splits.record import Record

Bools = NDArray[np.bool_]


class Row(BaseModel):
    """One line of a split."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    id: str
    user_id: str
    created_at: AwareDatetime
    source: str
    part: str | None = Field(pattern=f"^({'|'.join(PARTS)})$")
    fold: int | None = Field(ge=0)
    cluster: str | int | None
    text: str | None = None
    shared: bool = False
    learned: bool | None = None


class Model(BaseModel):
    """One line of a lineage."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    level: str = Field(pattern=f"^({'|'.join(LEVELS)})$")
    name: str
    number: int
    trained: list[str]
    predicted: list[str]
    inputs: list[str] = Field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A split read from lines; `texts` [n] as far as they were given, `ledger` None without model lines."""

    record: Record
    texts: list[str | None]
    ledger: Ledger | None


def read(path: Path) -> Listing:
    """Raises `TrainerError` naming the line that is not as above, never quoting it."""
    rows: list[Row] = []
    models: list[Model] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    raw = _object(line, path, number)
                    try:
                        if "level" in raw:
                            models.append(Model.model_validate(raw))
                        else:
                            rows.append(Row.model_validate(raw))
                    except ValidationError as error:
                        first = error.errors(include_input=False)[0]
                        where = ".".join(map(str, first["loc"]))
                        raise TrainerError(f"{path} line {number}: {where}: {first['msg']}") from None
    except OSError as error:
        raise TrainerError(f"cannot read {path}: {error.strerror}") from error
    if not rows:
        raise TrainerError(f"{path} holds no row of a split")
    return Listing(record=_record(rows), texts=[row.text for row in rows], ledger=_ledger(path, rows, models))


def _object(line: bytes, path: Path, number: int) -> Mapping[str, Any]:
    try:
        raw = orjson.loads(line)
    except orjson.JSONDecodeError:  # its message quotes the line: it must not become a cause
        raw = None
    if not isinstance(raw, dict):
        raise TrainerError(f"{path} line {number}: no JSON object")
    return raw


def _record(rows: Sequence[Row]) -> Record:
    part = np.array([-1 if row.part is None else PARTS.index(row.part) for row in rows], dtype=np.int64)
    shared = np.array([row.shared for row in rows])
    given = [row.learned for row in rows]
    learned = np.where(
        [one is None for one in given], (part <= TRAIN) & ~shared, [bool(one) for one in given]
    )
    people = [row.user_id for row in rows]
    joining = [None if row.shared else row.cluster for row in rows]
    names, source = np.unique([row.source for row in rows], return_inverse=True)
    # A row without a text has no copies: its id stands for it.
    words = [f"\0{row.id}" if row.text is None else duplicates.squash(row.text) for row in rows]
    numbers: dict[str | int, int] = {}
    return Record(
        id=record.digests(row.id for row in rows),
        user=record.digests(people),
        text=record.digests(words),
        names=names,
        source=source.astype(np.int64),
        created_at=record.times(row.created_at.timestamp() for row in rows),
        part=part,
        fold=np.array([-1 if row.fold is None else row.fold for row in rows], dtype=np.int64),
        cluster=np.array(
            [-1 if row.cluster is None else numbers.setdefault(row.cluster, len(numbers)) for row in rows],
            dtype=np.int64,
        ),
        group=folds.groups(people, joining),
        shared=shared,
        learned=learned,
        sketch=np.zeros((0, duplicates.HASHES), dtype=np.uint8),
    )


def _ledger(path: Path, rows: Sequence[Row], models: Sequence[Model]) -> Ledger | None:
    if not models:
        return None
    place = {row.id: at for at, row in enumerate(rows)}
    ledger = Ledger(len(rows))

    def mask(ids: Sequence[str]) -> Bools:
        whole = np.zeros(len(rows), dtype=bool)
        for one in ids:
            if one not in place:
                raise TrainerError(f"{path}: a model names row {one!r}, which is not in the split")
            whole[place[one]] = True
        return whole

    for one in models:
        ledger.add(one.level, one.name, one.number, mask(one.trained), mask(one.predicted), inputs=one.inputs)
    return ledger
