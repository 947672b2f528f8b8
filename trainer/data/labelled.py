"""Labelled JSONL in memory: what importers, synthetic cases and an operator's own labels hand to splits and
fitting.

A line is an event of the product page with two more fields: `labels` (an object) and `source` (a corpus'
name). Labels that every step may rely on are checked here; the others (a corpus' own words) pass as they are:

- `valence`, `arousal`, `willingness`, `distress`, ...: numbers 0-1 (see `UNIT`); marks 0 or 1 (`MARKS`);
  changes -1..1 (`CHANGES`)
- `invoked`, `expressed`: a list of taxonomy paths, empty where raters saw no emotion that the taxonomy has;
  one path may stand for itself in the file, and is a list of one here
- `risk`: flag of `worker.events.variables.FLAGS` -> 0-1
- a corpus' own classes (`NATIVE`), for figures on the scale its authors used
- `split`: the corpus authors' own part; `cluster`: rows that must stay in one fold
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from trainer.data import mappings
from trainer.errors import LabelledRefused, RowRefused, TrainerError
from worker.errors import Rejected
from worker.events.reflection import Reflection, parse
from worker.events.taxonomy import taxonomy
from worker.events.variables import FLAGS

_SIDES = tuple(
    f"{side}_{name}" for side in ("reader", "writer") for name in ("valence", "arousal", "dominance")
)

UNIT = (
    *("valence", "arousal", "dominance", "willingness", "congruence"),
    *("distress", "empathy", "stress", "polarity", "agreement"),
    *_SIDES,
)
MARKS = ("emotional_disclosure", "informational_disclosure")
CHANGES = tuple(
    f"{kind}_change_{name}" for kind in ("state", "disposition") for name in ("valence", "arousal")
)
PATHS = ("invoked", "expressed")
NATIVE = ("goemotions", "isear", "masac")
"""Labels in a mapping's own words: a name, or a list of names."""
TRUTHS = ("is_words", "rephrase")
NAMES = ("split", "language", "subreddit", "risk_level", "cssrs", "sentiment", "article")
OPERATOR = "operator"
"""The source of an operator's own rows out of Postgres: nobody's without their consent."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SHORT = 256
"""Longest name of a class or cluster: more would be a text in the wrong place."""


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
    if not isinstance(source, str) or not _NAME.fullmatch(source):
        raise RowRefused("source: a name is required, of letters, digits, '.', '_' and '-'")
    for name in PATHS:
        if _path(labels.get(name)):
            labels[name] = [labels[name]]
    _check(labels)
    cluster = _cluster(raw, labels)
    reflection = parse(raw, now=now)
    if source == OPERATOR and not reflection.consent_training:
        raise RowRefused("consent.training is not given, and the row is a person's own")
    return Labelled(reflection=reflection, labels=labels, source=source, cluster=cluster)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line
    except OSError as error:
        raise TrainerError(f"cannot read {path}: {error.strerror}") from error


def _check(labels: Mapping[str, Any]) -> None:
    for names, holds, what in (
        (UNIT, _unit, "is no number 0-1"),
        (MARKS, lambda value: _unit(value) and value in (0, 1), "is neither 0 nor 1"),
        (CHANGES, lambda value: _number(value) and -1 <= value <= 1, "is no number -1..1"),
        (PATHS, _paths, "is no list of taxonomy paths"),
        (TRUTHS, lambda value: isinstance(value, bool), "is neither true nor false"),
        (NAMES, _short, "is no string of a name's length"),
    ):
        for name in names:
            if name in labels and not holds(labels[name]):
                raise RowRefused(f"labels.{name} {what}")
    for name in NATIVE:
        value = labels.get(name, [])
        if not _known(name, value if isinstance(value, list) else [value]):
            raise RowRefused(f"labels.{name} holds a word that mapping {name} does not know")
    risk = labels.get("risk", {})
    if not isinstance(risk, dict) or not all(flag in FLAGS and _unit(score) for flag, score in risk.items()):
        raise RowRefused("labels.risk is no object of known flags with numbers 0-1")


def _cluster(raw: dict[str, Any], labels: Mapping[str, Any]) -> str | None:
    """The row's cluster, which stands beside the labels or, failing that, among them."""
    cluster: str | None = raw.pop("cluster", labels.get("cluster"))
    if cluster is None or _short(cluster):
        return cluster
    raise RowRefused("cluster is no string of a name's length")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _unit(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _short(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _SHORT


@cache
def _words(mapping: str) -> frozenset[str]:
    return frozenset(mappings.load(mapping))


def _known(mapping: str, words: list[Any]) -> bool:
    return all(isinstance(word, str) and word in _words(mapping) for word in words)


def _paths(value: object) -> bool:
    return isinstance(value, list) and all(_path(path) for path in value)


def _path(value: object) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(name, str) for name in value)
        and taxonomy().is_path(tuple(value))
    )
