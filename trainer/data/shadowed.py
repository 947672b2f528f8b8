"""What champion and challenger said of the same live reflections, out of Postgres, of those whose writers
consented to training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from worker.events.variables import LEVELS
from worker.store.engine import Cursor, Store

MOST = 50_000
"""Newest pairs that are looked at."""

_PAIRS = """
SELECT a.user_id, a.valence, b.valence, a.arousal, b.arousal, a.invoked[1], b.invoked[1], a.expressed[1],
       b.expressed[1], a.risk_level, b.risk_level, a.self_valence
FROM consented_perceptions b
JOIN consented_perceptions a ON a.reflection_id = b.reflection_id AND a.model_version = %s
    AND a.revision = b.revision
WHERE b.model_version = %s AND b.received_at >= %s
ORDER BY b.received_at DESC, b.reflection_id LIMIT %s
"""


@dataclass(frozen=True, kw_only=True)
class Said:
    """One side: `valence`, `arousal` [n], `invoked`, `expressed` [n] cores ('' where it abstained), `level`
    [n] numbers `LEVELS`."""

    valence: NDArray[np.float64]
    arousal: NDArray[np.float64]
    invoked: NDArray[np.str_]
    expressed: NDArray[np.str_]
    level: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Row i is one reflection of `people[i]`; `reported` [n] is the valence its writer checked in with, NaN
    without."""

    people: Sequence[str]
    champion: Said
    challenger: Said
    reported: NDArray[np.float64]


def pairs(store: Store, *, champion: str, challenger: str, since: datetime) -> Pairs:
    """The reflections received since then that both versions have perceived."""

    def work(cursor: Cursor) -> list[tuple[object, ...]]:
        # By time of arrival: the index there is a BRIN, which only a bitmap reads.
        cursor.execute("SET LOCAL enable_bitmapscan = on")
        return cursor.execute(_PAIRS, (champion, challenger, since, MOST)).fetchall()

    found = store.transact(work)
    columns = list(zip(*found, strict=True)) if found else [()] * 12

    def said(side: int) -> Said:
        names = [np.array([name or "" for name in columns[at + side]], dtype=np.str_) for at in (5, 7)]
        return Said(
            valence=np.array(columns[1 + side], dtype=np.float64),
            arousal=np.array(columns[3 + side], dtype=np.float64),
            invoked=names[0],
            expressed=names[1],
            level=np.array([LEVELS.index(str(one)) for one in columns[9 + side]], dtype=np.int64),
        )

    return Pairs(
        people=[str(one) for one in columns[0]],
        champion=said(0),
        challenger=said(1),
        reported=np.array([np.nan if one is None else one for one in columns[11]], dtype=np.float64),
    )
