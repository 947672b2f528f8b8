"""Between the two stages: the history of a whole batch of persons in one indexed query.

A change at a time `t` (a trace put there, altered there, or taken away) can reach only the rows that have
fewer than `TIMELINE_LIMIT` others between `t` and themselves. So for each changed time the query takes the
limit's rows on either side, ties included, and merges overlapping spans, so that no trace is sent twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from worker.events.perception import Trace
from worker.events.timeline import TIMELINE_LIMIT, Timeline
from worker.store.engine import Cursor

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POSTGRES_EPOCH_US = 946_684_800_000_000  # 2000-01-01, from which timestamptz_send counts
MICROSECOND = timedelta(microseconds=1)

# The time on either side is sent as eight bytes instead of an object. OFFSET 0 and the aggregate in the last
# LATERAL keep the planner from joining a person's whole history first and asking for the span afterwards.
STRETCHES = f"""
WITH changed AS (
    SELECT * FROM unnest(%(users)b::text[], %(times)b::timestamptz[]) AS a (user_id, created_at)
), spans AS (
    SELECT c.user_id, min(c.created_at) AS first, range_agg(tstzrange(
        coalesce(before.created_at, c.created_at), coalesce(after.created_at, c.created_at), '[]')) AS ranges
    FROM changed c
    CROSS JOIN LATERAL (
        SELECT min(nearest.created_at) AS created_at FROM (
            SELECT t.created_at FROM traces t
            WHERE t.user_id = c.user_id AND t.model_version = %(version)s AND t.created_at < c.created_at
            ORDER BY t.created_at DESC, t.reflection_id DESC LIMIT {TIMELINE_LIMIT}
        ) nearest
    ) before
    CROSS JOIN LATERAL (
        SELECT max(nearest.created_at) AS created_at FROM (
            SELECT t.created_at FROM traces t
            WHERE t.user_id = c.user_id AND t.model_version = %(version)s AND t.created_at > c.created_at
            ORDER BY t.created_at, t.reflection_id LIMIT {TIMELINE_LIMIT}
        ) nearest
    ) after
    GROUP BY c.user_id
)
SELECT s.user_id, timestamptz_send(s.low) || timestamptz_send(s.high), found.*
FROM (
    SELECT spans.user_id, spans.first, lower(u.span) AS low, upper(u.span) AS high
    FROM spans CROSS JOIN LATERAL unnest(spans.ranges) AS u (span) OFFSET 0
) s
CROSS JOIN LATERAL (
    SELECT string_agg(timestamptz_send(t.created_at), ''::bytea) AS times,
           string_agg(t.history, ''::bytea),
           array_agg(t.reflection_id) FILTER (WHERE t.created_at > s.first),
           string_agg(t.static, ''::bytea) FILTER (WHERE t.created_at > s.first)
    FROM (
        SELECT t.created_at, t.history, t.reflection_id, t.static FROM traces t
        WHERE t.user_id = s.user_id AND t.model_version = %(version)s
          AND t.created_at BETWEEN s.low AND s.high
        ORDER BY t.created_at, t.reflection_id
    ) t
) found
WHERE found.times IS NOT NULL
"""  # noqa: S608 - a constant of ours, no value


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """A gapless part of one person's traces, ordered by (created_at, id), as it is now.

    `span_us` is the closed span of time it covers; `times_us` int64 [n], microseconds since 1970 UTC;
    `history` float64 [n, h]. `ids` and `static` (float64 [m, s]) belong to the last m traces, those after the
    person's first changed time.
    """

    user_id: str
    span_us: tuple[int, int]
    times_us: NDArray[np.int64]
    history: NDArray[np.float64]
    ids: Sequence[str]
    static: NDArray[np.float64]

    def timeline(self, at_us: int) -> Timeline:
        """What a reflection of `at_us` may know: the last `TIMELINE_LIMIT` traces strictly before it."""
        end = int(np.searchsorted(self.times_us, at_us, side="left"))
        window = slice(max(0, end - TIMELINE_LIMIT), end)
        return Timeline(as_of=at_us / 1e6, times=self.times_us[window] / 1e6, history=self.history[window])

    def affected(self, changed_us: Sequence[int]) -> Iterator[tuple[Trace, Timeline]]:
        """The traces whose window reaches back to one of the `changed_us`, each with its timeline."""
        low, high = self.span_us
        at = np.array(sorted(t for t in changed_us if low <= t <= high), dtype=np.int64)
        first = len(self.times_us) - len(self.ids)
        own = self.times_us[first:]
        ends = np.searchsorted(self.times_us, own, side="left")
        # A window that is not full goes back to the person's beginning, so it holds every earlier change.
        full = ends >= TIMELINE_LIMIT
        starts = np.where(full, self.times_us[np.maximum(ends - TIMELINE_LIMIT, 0)], np.iinfo(np.int64).min)
        reached = np.searchsorted(at, own, side="left") > np.searchsorted(at, starts, side="left")
        for index in np.flatnonzero(reached):
            at_us = int(own[index])
            trace = Trace(
                id=self.ids[int(index)],
                user_id=self.user_id,
                created_at=EPOCH + at_us * MICROSECOND,
                static=self.static[index],
                history=self.history[first + index],
            )
            yield trace, self.timeline(at_us)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 UTC, exact."""
    return (moment - EPOCH) // MICROSECOND


def stretches(
    cursor: Cursor, changes: Sequence[tuple[str, datetime]], model_version: str
) -> Mapping[str, Sequence[Stretch]]:
    """By user: the stretches of traces around the `changes` (user, time), wide enough for every window a
    change can reach.

    Reads `traces` as they are now in the transaction: write first, then ask.
    """
    unique = sorted(set(changes))
    given = {
        "users": [user for user, _ in unique],
        "times": [time for _, time in unique],
        "version": model_version,
    }
    found: dict[str, list[Stretch]] = {}
    for user_id, span, times, history, ids, static in cursor.execute(
        STRETCHES, given, prepare=True
    ).fetchall():
        low, high = _times(span)
        times_us = _times(times)
        later = ids or []
        found.setdefault(user_id, []).append(
            Stretch(
                user_id=user_id,
                span_us=(int(low), int(high)),
                times_us=times_us,
                history=_vectors(history, len(times_us)),
                ids=later,
                static=_vectors(static or b"", len(later)),
            )
        )
    return found


def covering(candidates: Sequence[Stretch], at_us: int) -> Stretch:
    """The stretch that holds the time `at_us`. Raises StopIteration if none was asked for around it."""
    return next(part for part in candidates if part.span_us[0] <= at_us <= part.span_us[1])


def _times(sent: bytes) -> NDArray[np.int64]:
    return np.frombuffer(sent, dtype=">i8").astype(np.int64) + _POSTGRES_EPOCH_US


def _vectors(joined: bytes, rows: int) -> NDArray[np.float64]:
    flat = np.frombuffer(joined, dtype="<f8").astype(np.float64, copy=False)
    return flat.reshape(rows, flat.size // rows if rows else 0)
