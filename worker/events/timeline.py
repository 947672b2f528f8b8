"""A person's history as a later step may see it: only what lies strictly before `as_of`."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

TIMELINE_LIMIT = 64
"""A row sees at most this many earlier reflections, so a late arrival changes at most as many later rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """One earlier reflection of a person: when, and the numbers the temporal features read.

    `history` is float64 [len(schema.HISTORY)]; NaN where the person gave no self-report.
    """

    id: str
    created_at: datetime
    history: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """The last `TIMELINE_LIMIT` moments strictly before `as_of`, ordered by (created_at, id).

    `times` is float64 [n], POSIX seconds UTC; `history` is float64 [n, len(schema.HISTORY)]; `as_of` POSIX
    seconds UTC.
    """

    as_of: float
    times: NDArray[np.float64]
    history: NDArray[np.float64]

    @classmethod
    def cut(cls, moments: Sequence[Moment], as_of: datetime, width: int) -> Timeline:
        """The timeline of `moments` (any order, one person) seen from `as_of`; `width` is
        len(schema.HISTORY)."""
        earlier = sorted((m for m in moments if m.created_at < as_of), key=lambda m: (m.created_at, m.id))
        last = earlier[-TIMELINE_LIMIT:]
        return cls(
            as_of=as_of.timestamp(),
            times=np.array([m.created_at.timestamp() for m in last], dtype=np.float64),
            history=np.array([m.history for m in last], dtype=np.float64).reshape(len(last), width),
        )


def timelines(
    people: Sequence[str], moments: Sequence[Moment], width: int, of: Sequence[int] | None = None
) -> list[Timeline]:
    """The timeline that each of the moments `of` (all when None) has before it, made of its own person's
    earlier moments; `people[i]` is whose `moments[i]` is, in any order."""
    known: defaultdict[str, list[Moment]] = defaultdict(list)
    for at in sorted(range(len(moments)), key=lambda at: (moments[at].created_at, moments[at].id)):
        known[people[at]].append(moments[at])
    cuts = []
    for at in range(len(moments)) if of is None else of:
        now, own = moments[at].created_at, known[people[at]]
        before = bisect_left(own, now, key=lambda moment: moment.created_at)
        cuts.append(Timeline.cut(own[max(0, before - TIMELINE_LIMIT) : before], now, width))
    return cuts
