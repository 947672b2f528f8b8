"""The parts of the judged rows that figures are given for beside the whole."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.labelled import Labelled
from trainer.evaluate.judge import Judged
from trainer.evaluate.truth import Truth
from trainer.splits.strata import length

FEWEST = 30
"""A slice of fewer rows is not shown."""
_WEEK_S = 7 * 86_400.0


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Rows [m] that share a property: `by` length, language, source, risk category or timeline density."""

    by: str
    name: str
    rows: NDArray[np.intp]


def whole(count: int) -> Slice:
    return Slice(by="all", name="all", rows=np.arange(count))


def cut(judged: Judged, truth: Truth) -> list[Slice]:
    """All slices with at least `FEWEST` rows, in the order in which a reader looks for them."""
    labels = {
        "source": truth.source.tolist(),
        "length": [length(row.reflection.text) for row in judged.rows],
        "language": [f"{name}" for name in judged.appraised["language"]],
        "risk category": truth.category.tolist(),
        "timeline density": densities(judged.rows),
    }
    return [
        Slice(by=by, name=name, rows=np.flatnonzero(np.array(names, dtype=object) == name))
        for by, names in labels.items()
        for name, count in sorted(Counter(names).items(), key=lambda pair: _order(pair[0]))
        if count >= FEWEST
    ]


def densities(rows: Sequence[Labelled]) -> list[str]:
    """Reflections a week over the whole of each person's timeline (at least a week long), by row; of a
    person without a second moment nothing can be said."""
    times: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        times[row.reflection.user_id].append(row.reflection.created_at.timestamp())
    named = {}
    for person, moments in times.items():
        span = max(moments) - min(moments)
        rate = len(moments) / max(span / _WEEK_S, 1.0)
        named[person] = "no timeline" if span == 0 else "< 1" if rate < 1 else "1-3" if rate <= 3 else "> 3"
    return [named[row.reflection.user_id] for row in rows]


def _order(name: str) -> tuple[int, str]:
    known = ("SHORT", "MEDIUM", "LONG", "no timeline", "< 1", "1-3", "> 3")
    return (known.index(name), "") if name in known else (len(known), name)
