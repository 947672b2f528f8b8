"""A reflection that came late, was edited or was removed: which later rows that reaches, and which can wait.

Rows up to `AT_ONCE` after a change are placed again with it; those beyond are asked for in `repairs`, so that
years of somebody's import do not hold up a live row. Each repaired row names the reflections it was for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.events.perception import Trace
from worker.events.timeline import TIMELINE_LIMIT, Timeline
from worker.store.engine import Cursor
from worker.store.timelines import microseconds

AT_ONCE = timedelta(days=90)

Affected = tuple[Trace, Timeline]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Something of `user_id` is new, other or gone at `moment`, because of the reflection `cause`; `whole`
    where nothing was placed again at once, for nobody had the version's models open."""

    user_id: str
    moment: datetime
    cause: str
    whole: bool = False

    def reaches(self, timeline: Timeline) -> bool:
        """Whether the moment lies in the window of this timeline of the same person."""
        at_s = microseconds(self.moment) / 1e6
        full = len(timeline.times) >= TIMELINE_LIMIT
        return at_s < timeline.as_of and (not full or bool(timeline.times[0] <= at_s))

    def can_wait(self, trace: Trace) -> bool:
        return self.whole or trace.created_at - self.moment > AT_ONCE


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """Rows to place again, each with the reflections that it is for, and the changes that reach others."""

    rows: Sequence[Affected]
    causes: Sequence[Sequence[str]]
    later: Sequence[Change]


def at_once(affected: Sequence[Affected], changes: Sequence[Change]) -> Due:
    """Of the rows that the changes reach, those that cannot wait."""
    return _due(affected, changes, waiting=False)


def deferred(affected: Sequence[Affected], changes: Sequence[Change]) -> Due:
    """Of the rows that the changes reach, those that `at_once` had left."""
    return _due(affected, changes, waiting=True)


def _due(affected: Sequence[Affected], changes: Sequence[Change], *, waiting: bool) -> Due:
    of_person: dict[str, list[Change]] = {}
    for change in changes:
        of_person.setdefault(change.user_id, []).append(change)
    rows, causes, later = [], [], dict[Change, None]()
    for trace, timeline in affected:
        reaching = [change for change in of_person[trace.user_id] if change.reaches(timeline)]
        far = [change for change in reaching if change.can_wait(trace)]
        if far if waiting else len(far) < len(reaching):
            rows.append((trace, timeline))
            causes.append(sorted({change.cause for change in reaching}))
        else:
            later |= dict.fromkeys(far)
    return Due(rows=rows, causes=causes, later=list(later))


def postpone(cursor: Cursor, changes: Sequence[Change], model_version: str) -> None:
    """Ask for the rows that these changes reach beyond `AT_ONCE`, inside the caller's transaction."""
    if changes:
        query = """
            INSERT INTO repairs (user_id, model_version, changed_at, cause, whole)
            SELECT a.user_id, %s, a.changed_at, a.cause, a.whole
            FROM unnest(%b::text[], %b::timestamptz[], %b::text[], %b::bool[])
              AS a (user_id, changed_at, cause, whole)
        """
        columns = (
            [c.user_id for c in changes],
            [c.moment for c in changes],
            [c.cause for c in changes],
            [c.whole for c in changes],
        )
        cursor.execute(query, (model_version, *columns))
