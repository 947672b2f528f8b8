"""What is to be done again under another version: by whose wish, of whom, since when, and whether it is done.

Which rows are missing is asked of the rows themselves (`stored`); here stands only that somebody wants them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from worker.store import models
from worker.store.engine import Cursor, Store
from worker.store.stored import Wanted


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """An open wish for rows of `version`."""

    id: int
    version: str
    wanted: Wanted


_AUTOMATIC = """
INSERT INTO reenrichments (version)
SELECT m.version FROM (SELECT * FROM model_versions WHERE version = %(version)s AND active FOR UPDATE) m
WHERE NOT EXISTS (
    SELECT FROM reenrichments e
    WHERE e.version = m.version AND e.users IS NULL AND e.since IS NULL AND e.requested_at >= m.activated_at
)
"""
"""Locked, so that workers that swap at the same moment ask once."""


def ask(store: Store, version: str, wanted: Wanted) -> int:
    """Wish for rows of a registered version; the wish's id, that of an open one for the same if there is."""
    given = {"version": version, "since": wanted.since, "users": _listed(wanted)}
    same = """
        SELECT id FROM reenrichments WHERE version = %(version)s AND finished_at IS NULL
        AND since IS NOT DISTINCT FROM %(since)s AND users IS NOT DISTINCT FROM %(users)s::text[]
    """
    new = """
        INSERT INTO reenrichments (version, since, users) VALUES (%(version)s, %(since)s, %(users)s)
        RETURNING id
    """

    def work(cursor: Cursor) -> int:
        row = cursor.execute(same, given).fetchone() or cursor.execute(new, given).fetchone()
        assert row is not None
        return int(row[0])

    return store.transact(work)


def ask_all(store: Store, version: str) -> None:
    """Wish for everything, once for each time that `version` became the one that serves."""
    store.transact(lambda cursor: cursor.execute(_AUTOMATIC, {"version": version}))


def oldest(store: Store, version: str) -> Wish | None:
    """The oldest open wish for this version."""
    query = """
        SELECT id, since, users FROM reenrichments WHERE version = %s AND finished_at IS NULL
        ORDER BY id LIMIT 1
    """
    row = store.transact(lambda cursor: cursor.execute(query, (version,)).fetchone())
    if row is None:
        return None
    users = tuple(row[2]) if row[2] is not None else None
    return Wish(id=row[0], version=version, wanted=Wanted(since=row[1], users=users))


def finish(store: Store, wish: Wish, rows: int) -> bool:
    """Nothing of it is missing any more; whether it was still open. The history of the version says so."""
    query = "UPDATE reenrichments SET finished_at = clock_timestamp() WHERE id = %s AND finished_at IS NULL"

    def work(cursor: Cursor) -> bool:
        done = cursor.execute(query, (wish.id,)).rowcount == 1
        if done:
            models.record(cursor, wish.version, "reenriched", {"wish": wish.id, "rows": rows})
        return done

    return store.transact(work)


def finished(store: Store, wish: int) -> bool:
    """Whether it is; also when it is gone."""
    query = "SELECT EXISTS (SELECT FROM reenrichments WHERE id = %s AND finished_at IS NULL)"
    row = store.transact(lambda cursor: cursor.execute(query, (wish,)).fetchone())
    return row is None or not row[0]


def reopen(store: Store, version: str) -> None:
    """Others wrote rows of another version since: look again."""
    query = """
        UPDATE reenrichments SET finished_at = NULL
        WHERE id = (SELECT max(id) FROM reenrichments
                    WHERE version = %s AND users IS NULL AND since IS NULL)
    """
    store.transact(lambda cursor: cursor.execute(query, (version,)))


def complete(store: Store, version: str) -> bool:
    """Whether all rows of the version that serves were there since it does."""
    query = """
        SELECT EXISTS (
            SELECT FROM reenrichments e JOIN model_versions m ON m.version = e.version AND m.active
            WHERE e.version = %(version)s AND e.users IS NULL AND e.since IS NULL
              AND e.finished_at >= m.activated_at
        ) AND NOT EXISTS (SELECT FROM reenrichments WHERE version = %(version)s AND finished_at IS NULL)
    """
    row = store.transact(lambda cursor: cursor.execute(query, {"version": version}).fetchone())
    return row is not None and bool(row[0])


def forget(cursor: Cursor, user_ids: Iterable[str]) -> None:
    """Take these persons out of every wish, inside the caller's transaction."""
    query = """
        UPDATE reenrichments SET
            users = ARRAY(SELECT u FROM unnest(users) AS a (u) WHERE NOT u = ANY(%(users)s::text[])),
            finished_at = CASE WHEN users <@ %(users)s::text[] THEN coalesce(finished_at, clock_timestamp())
                          ELSE finished_at END
        WHERE users && %(users)s::text[]
    """
    cursor.execute(query, {"users": list(user_ids)})


def _listed(wanted: Wanted) -> list[str] | None:
    return sorted(set(wanted.users)) if wanted.users is not None else None
