"""Labelled JSONL in memory: what importers, synthetic cases and an operator's own labels hand to splits and
fitting.

A line is an event of the product page with two more fields: `labels` (an object) and `source` (a corpus'
name). Labels that every step may rely on are checked here; the others (a corpus' own words) pass as they are:

- `valence`, `arousal`, `willingness`, `distress`, ...: numbers 0-1 (see `UNIT`)
- `invoked`, `expressed`: a list of taxonomy paths, empty where raters saw no emotion that the taxonomy has;
  one path may stand for itself in the file, and is a list of one here
- `risk`: flag of `worker.events.variables.FLAGS` -> 0-1
- `split`: the corpus authors' own part; `cluster`: rows that must stay in one fold
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from trainer.errors import LabelledRefused, RowRefused, TrainerError
from worker.errors import Rejected
from worker.events.reflection import Reflection, parse
from worker.events.taxonomy import taxonomy
from worker.events.variables import FLAGS

UNIT = (
    *("valence", "arousal", "dominance", "willingness", "congruence"),
    *("distress", "empathy", "stress", "polarity"),
)
PATHS = ("invoked", "expressed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """A reflection with what is known about it. `cluster`: rows of one cluster never lie on two sides of a
    split."""

    reflection: Reflection
    labels: Mapping[str, Any]
    source: str
    cluster: str | None = None


def load(paths: Iterable[Path], *, now: datetime | None = None) -> list[Labelled]:
    """All rows of the files, in order; ids are unique over all of them.

    Raises `LabelledRefused` naming every bad row by file, line and reason: training on a file that is partly
    broken would hide it. Raises `TrainerError` for a file that cannot be read.
    """
    now = now or datetime.now(UTC)
    rows: list[Labelled] = []
    problems: list[str] = []
    seen: set[str] = set()
    for path in paths:
        for number, line in _lines(path):
            try:
                row = read(line, now=now)
                if row.reflection.id in seen:
                    raise RowRefused(f"id {row.reflection.id!r} came before")
                seen.add(row.reflection.id)
                rows.append(row)
            except (RowRefused, Rejected) as error:
                problems.append(f"{path} line {number}: {error}")
    if problems:
        raise LabelledRefused(problems)
    return rows


def read(line: bytes, *, now: datetime) -> Labelled:
    """One labelled line; `Rejected` where the event breaks its contract, `RowRefused` where the labels do."""
    try:
        raw = orjson.loads(line)
    except orjson.JSONDecodeError:  # its message quotes the line: it must not become a cause
        raw = None
    if not isinstance(raw, dict):
        raise RowRefused("no JSON object")
    labels, source = raw.pop("labels", None), raw.pop("source", None)
    if not isinstance(labels, dict):
        raise RowRefused("labels: an object is required")
    if not isinstance(source, str) or not source:
        raise RowRefused("source: a name is required")
    for name in PATHS:
        if _path(labels.get(name)):
            labels[name] = [labels[name]]
    _check(labels)
    cluster = raw.pop("cluster", labels.get("cluster"))
    if cluster is not None and not isinstance(cluster, str):
        raise RowRefused("cluster is no string")
    return Labelled(reflection=parse(raw, now=now), labels=labels, source=source, cluster=cluster)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line
    except OSError as error:
        raise TrainerError(f"cannot read {path}: {error.strerror}") from error


def _check(labels: Mapping[str, Any]) -> None:
    for name in UNIT:
        if name in labels and not _unit(labels[name]):
            raise RowRefused(f"labels.{name} is no number 0-1")
    for name in PATHS:
        if name in labels and not _paths(labels[name]):
            raise RowRefused(f"labels.{name} is no list of taxonomy paths")
    risk = labels.get("risk", {})
    if not isinstance(risk, dict) or not all(flag in FLAGS and _unit(score) for flag, score in risk.items()):
        raise RowRefused("labels.risk is no object of known flags with numbers 0-1")
    if not isinstance(labels.get("split", ""), str):
        raise RowRefused("labels.split is no string")


def _unit(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _paths(value: object) -> bool:
    return isinstance(value, list) and all(_path(path) for path in value)


def _path(value: object) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(name, str) for name in value)
        and taxonomy().is_path(tuple(value))
    )
