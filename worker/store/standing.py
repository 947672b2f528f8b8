"""How things stand in the database, for the exporter and `feltsense status`: counts, ages and codes, each by
a query that is bounded in rows and in time. Never an id, a person or a text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from worker.store import retention
from worker.store.engine import Cursor, Store

T = TypeVar("T")

PATIENCE_MS = 2_000
"""A query that takes longer is given up: looking on must not cost what it looks at."""
MOST = 10_000
"""Rows counted at most: a backlog this long needs no exact number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """How many wait (`MOST` means at least so many), and for how long the oldest has, in seconds."""

    count: int
    oldest_s: float


NOTHING = Waiting(count=0, oldest_s=0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """The last minute of a lane: rows written, and the seconds from acceptance to row of half and of 99 % of
    them."""

    rows: int
    p50_s: float
    p99_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """The model version whose rows readers get."""

    version: str
    since: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuild:
    """The newest run of a state (running, done, failed)."""

    started_at: datetime
    finished_at: datetime | None


_OPEN = """
SELECT lane, count(*), coalesce(extract(epoch FROM clock_timestamp() - min(accepted_at)), 0)::float8
FROM (SELECT lane, accepted_at FROM deliveries WHERE state = 'accepted' ORDER BY accepted_at LIMIT %s) o
GROUP BY lane
"""
_UNOWNED = """
SELECT count(*) FROM (
    SELECT FROM deliveries WHERE state = 'accepted' AND lease_until < clock_timestamp() LIMIT %s
) u
"""
_LETTERS = """
SELECT reason, count(*) FROM (
    SELECT reason FROM dead_letters WHERE retried_at IS NULL ORDER BY id DESC LIMIT %s
) l GROUP BY reason
"""
_RISKS = """
SELECT level, count(*), extract(epoch FROM clock_timestamp() - min(received_at))::float8
FROM (
    SELECT q.level, r.received_at FROM risk_queue q JOIN reflections r ON r.id = q.reflection_id
    WHERE NOT q.reviewed LIMIT %s
) w GROUP BY level
"""
_REPAIRS = """
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(requested_at)), 0)::float8
FROM (SELECT requested_at FROM repairs ORDER BY id LIMIT %s) w
"""
_PACE = """
SELECT d.lane, count(*), percentile_cont(ARRAY[.5, .99]) WITHIN GROUP (
    ORDER BY extract(epoch FROM d.finished_at - d.accepted_at)::float8
)
FROM reflections r JOIN deliveries d ON d.reflection_id = r.id AND d.revision = r.revision
WHERE r.received_at > now() - interval '2 minutes' AND d.state = 'done'
  AND d.finished_at > now() - interval '1 minute'
GROUP BY d.lane
"""
"""By the block ranges of what arrived lately: rows that took longer than a minute are not of it."""
_RUNS = """
SELECT DISTINCT ON (state) state, started_at, finished_at FROM training_runs ORDER BY state, id DESC
"""

_SLOTS = """
SELECT DISTINCT ON (name, state) name, state, coalesce(finished_at, began_at)
FROM slots ORDER BY name, state, slot DESC
"""


def unfinished(store: Store) -> dict[str, Waiting]:
    """Accepted events without a row yet, by lane."""
    return _waiting(_rows(store, _OPEN, MOST))


def unowned(store: Store) -> int:
    """Accepted events whose worker fell silent, and that no other has taken yet."""
    return int(_rows(store, _UNOWNED, MOST)[0][0])


def letters(store: Store) -> dict[str, int]:
    """Dead letters that nobody has sent again, by reason, of the newest `MOST`."""
    return dict(_rows(store, _LETTERS, MOST))


def risks(store: Store) -> dict[str, Waiting]:
    """Reflections that wait for a reviewer, by level."""
    return _waiting(_rows(store, _RISKS, MOST))


def repairs(store: Store) -> Waiting:
    """Changes of somebody's past whose far rows are still to be placed again."""
    [(count, oldest_s)] = _rows(store, _REPAIRS, MOST)
    return Waiting(count=count, oldest_s=oldest_s)


def overdue(store: Store, *, text_days: int | None, days: int | None) -> dict[str, int]:
    """What retention should have forgotten by now, by kind; each to `MOST` at most."""
    return _bounded(
        store, lambda cursor: retention.overdue(cursor, text_days=text_days, days=days, most=MOST)
    )


def pace(store: Store) -> dict[str, Pace]:
    """The last minute by lane; a lane without rows is absent."""
    return {
        lane: Pace(rows=rows, p50_s=p50_s, p99_s=p99_s) for lane, rows, (p50_s, p99_s) in _rows(store, _PACE)
    }


def serving(store: Store) -> Serving | None:
    """None before the first activation."""
    query = "SELECT version, activated_at FROM model_versions WHERE active"
    return next((Serving(version=version, since=since) for version, since in _rows(store, query)), None)


def rebuilds(store: Store) -> dict[str, Rebuild]:
    """The newest training run of each state."""
    return {
        state: Rebuild(started_at=started, finished_at=finished)
        for state, started, finished in _rows(store, _RUNS)
    }


def slots(store: Store) -> dict[tuple[str, str], datetime]:
    """When the newest scheduled time of each task and state ended (running: began); none where the schema has
    no schedule."""
    if _rows(store, "SELECT to_regclass('slots')::text")[0][0] is None:
        return {}
    return {(task, state): at for task, state, at in _rows(store, _SLOTS)}


def size(store: Store) -> int:
    """Bytes of the database on its disk."""
    return int(_rows(store, "SELECT pg_database_size(current_database())")[0][0])


def _waiting(rows: list[tuple[Any, ...]]) -> dict[str, Waiting]:
    return {name: Waiting(count=count, oldest_s=oldest_s) for name, count, oldest_s in rows}


def _rows(store: Store, query: str, *values: object) -> list[tuple[Any, ...]]:
    return _bounded(store, lambda cursor: cursor.execute(query, values).fetchall())


def _bounded(store: Store, work: Callable[[Cursor], T]) -> T:
    def within(cursor: Cursor) -> T:
        cursor.execute(f"SET LOCAL statement_timeout = {PATIENCE_MS}")
        retention.allow_scans(cursor)
        return work(cursor)

    return store.transact(within)
