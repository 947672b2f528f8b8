"""What was left for later by changes of the past: the rows more than `changes.AT_ONCE` after them, placed
again."""

from __future__ import annotations

from worker.store import changes
from worker.store.changes import Change
from worker.store.engine import Cursor, Store
from worker.store.perceptions import Place, affected_by, repair
from worker.store.persons import lock_persons

AT_ONCE = 64
"""Changes a transaction: each may reach as many rows as a history is long."""

_TAKE = """
SELECT id, user_id, changed_at, cause, whole FROM repairs
WHERE model_version = %s ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
"""


def catch_up(store: Store, place: Place, *, model_version: str, limit: int = AT_ONCE) -> int:
    """Place again what the oldest `limit` waiting changes of this version reach; how many changes that were.

    Raises ServiceMissing, StoreRefused, or what `place` raises; then all of them wait on.
    """
    return store.transact(lambda cursor: _catch_up(cursor, place, model_version, limit))


def waiting(store: Store) -> int:
    """How many changes wait, of every version."""
    query = "SELECT count(*) FROM repairs"
    return int(store.transact(lambda cursor: cursor.execute(query).fetchall())[0][0])


def _catch_up(cursor: Cursor, place: Place, model_version: str, limit: int) -> int:
    # Persons first and repairs after: an erasure holds the person while it deletes theirs.
    query = "SELECT DISTINCT user_id FROM (SELECT user_id FROM repairs WHERE model_version = %s"
    oldest = cursor.execute(f"{query} ORDER BY id LIMIT %s) oldest", (model_version, limit)).fetchall()
    people = {user_id for (user_id,) in oldest}
    if not people:
        return 0
    lock_persons(cursor, people)
    taken = cursor.execute(_TAKE, (model_version, limit)).fetchall()
    mine = [row for row in taken if row[1] in people]
    found = [
        Change(user_id=user, moment=moment, cause=cause, whole=whole)
        for _, user, moment, cause, whole in mine
    ]
    affected = affected_by(cursor, [(change.user_id, change.moment) for change in found], model_version)
    due = changes.deferred(affected, found)
    if due.rows:
        repair(cursor, [trace.id for trace, _ in due.rows], place(due.rows), model_version, due.causes)
    cursor.execute("DELETE FROM repairs WHERE id = ANY(%s)", ([row[0] for row in mine],))
    return len(mine)
