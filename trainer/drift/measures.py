"""Every way in which two windows are compared: inputs, outputs, and values against self-reports, on all rows
and on each slice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainer.drift.window import REPORTED, SIDES, VALUES, Names, Window

Kind = Literal["inputs", "outputs", "calibration"]
Scale = Literal["share", "unit", "shift", "distance"]
Floats = NDArray[np.float64]

BINS = 10
TOPICS = 16
"""Main directions of the embeddings that are looked at each by itself."""
LEAST_PEOPLE = 20
"""In each window, of whom a measure needs rows."""
FLOORS: dict[Scale, float] = {"share": 0.06, "unit": 0.03, "shift": 0.2, "distance": 0.06}
"""What is smaller is no alarm however certain it is. `share`: probability moved elsewhere (total variation);
`unit`: a difference of means in the figure's own unit; `shift`: in standard deviations, over several columns
the length of their shifts; `distance`: of mean vectors, in the root of a row's total variance."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """`values` [m, k] of the rows `row` [m] of both windows, one behind the other; compared are their means
    on `scale`, `spread` being the reference's deviation where the scale wants one."""

    kind: Kind
    name: str
    slice: str
    scale: Scale
    row: NDArray[np.intp]
    values: Floats
    spread: float = 1.0


def measures(reference: Window, current: Window, kinds: tuple[Kind, ...]) -> list[Measure]:
    """What can be measured on both windows."""
    both = _Both(reference, current)
    makers: dict[Kind, Callable[[_Both], Iterator[Measure]]] = {
        "inputs": _inputs,
        "outputs": _outputs,
        "calibration": _calibration,
    }
    return [one for kind in kinds for one in makers[kind](both) if both.enough(one)]


class _Both:
    """The two windows' rows, reference first."""

    def __init__(self, reference: Window, current: Window) -> None:
        self.windows = (reference, current)
        self.first = len(reference.person)
        self.person = self.join("person")
        every = np.arange(len(self.person))
        self.slices: dict[str, NDArray[np.intp]] = {"all": every}
        for name, labels in (
            ("language", self.join("language")),
            ("length", np.concatenate([one.length() for one in self.windows])),
            ("device", self.join("device")),
        ):
            for label in np.unique(labels[labels != ""]):
                self.slices[f"{name} {label}"] = np.flatnonzero(labels == label)

    def join(self, what: str, name: str | None = None) -> NDArray[Any]:
        """A column of both windows, by its attribute and perhaps its name in there."""
        found = [getattr(one, what) for one in self.windows]
        return np.concatenate(found if name is None else [one[name] for one in found])

    def of_reference(self, row: NDArray[np.intp]) -> NDArray[np.bool_]:
        return row < self.first

    def enough(self, one: Measure) -> bool:
        old = self.of_reference(one.row)
        return all(len(np.unique(self.person[one.row[side]])) >= LEAST_PEOPLE for side in (old, ~old))


def _inputs(both: _Both) -> Iterator[Measure]:
    every = both.slices["all"]
    for name in ("language", "device"):
        marks = _marks(both.join(name))
        yield Measure(kind="inputs", name=name, slice="all", scale="share", row=every, values=marks)
    old, new = (one.texts for one in both.windows)
    if old is None or new is None:
        return
    row = np.concatenate([old.row, both.first + new.row])

    def measure(name: str, scale: Scale, values: Floats, spread: float = 1.0) -> Measure:
        return Measure(
            kind="inputs", name=name, slice="all", scale=scale, row=row, values=values, spread=spread
        )

    words = np.concatenate([old.words, new.words])
    yield measure("length", "share", _bins(words, words[: len(old.row)]))
    yield measure("vocabulary", "share", np.concatenate([old.profile, new.profile]).astype(np.float64))
    unknown = np.concatenate([old.unknown, new.unknown])[:, None]
    yield measure("unknown words", "shift", unknown, float(old.unknown.std()))
    spread = float(np.sqrt(old.embedding.var(axis=0).sum()))
    embedding = np.concatenate([old.embedding, new.embedding]).astype(np.float64)
    yield measure("embedding", "distance", embedding, spread)
    yield measure("topics", "shift", _topics(embedding))


def _outputs(both: _Both) -> Iterator[Measure]:
    columns: dict[str, tuple[Scale, Floats]] = {}
    for name in VALUES:
        values = both.join("values", name)
        columns[name] = "share", _bins(values, values[: both.first])
    for side in SIDES:
        cores = both.join("cores", side)
        columns[side] = "share", _marks(cores)
        columns[f"{side} abstains"] = "share", (cores == "")[:, None].astype(np.float64)
    columns["risk level"] = "share", _marks(both.join("level"))
    for part, row in both.slices.items():
        for name, (scale, table) in columns.items():
            yield Measure(kind="outputs", name=name, slice=part, scale=scale, row=row, values=table[row])


def _calibration(both: _Both) -> Iterator[Measure]:
    for name in REPORTED:
        told = both.join("reported", name)
        error = both.join("values", name) - told
        inside = ((both.join("low", name) <= told) & (told <= both.join("high", name))).astype(np.float64)
        found: dict[str, tuple[Scale, Floats]] = {
            "error": ("unit", np.abs(error)),
            "bias": ("unit", error),
            "coverage": ("share", inside),
        }
        for part, rows in both.slices.items():
            row = rows[np.isfinite(told[rows])]
            for what, (scale, values) in found.items():
                yield Measure(
                    kind="calibration", name=f"{name} {what}", slice=part, scale=scale, row=row,
                    values=values[row, None],
                )  # fmt: skip


def _topics(embedding: Floats) -> Floats:
    """The rows along the main directions of both windows together [m, TOPICS], each with deviation 1: in the
    mean vector language and mood, which vary most, drown what people write about."""
    along, sizes, _ = np.linalg.svd(embedding - embedding.mean(axis=0), full_matrices=False)
    root = np.sqrt(len(embedding))
    return np.asarray(along[:, :TOPICS][:, sizes[:TOPICS] > 1e-6 * root] * root)


def _marks(labels: Names) -> Floats:
    """One column a label, 1 where a row has it."""
    marks: Floats = (labels[:, None] == np.unique(labels)[None, :]).astype(np.float64)
    return marks


def _bins(values: Floats, reference: Floats) -> Floats:
    """Marks of the reference's deciles."""
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1]))
    return _marks(np.searchsorted(edges, values, side="right").astype(np.str_))
