"""Forgetting by age: texts first, then whole reflections with all that was made of them.

Age counts from the arrival. What is not finished is left alone, and later rows stay as they are: forgetting
is no correction, and what once was history was rightly seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from worker.store.engine import Cursor, Store

AT_ONCE = 1000

_OLD = """
    SELECT r.id FROM reflections r
    WHERE r.received_at < now() - make_interval(days => %(days)s) AND NOT EXISTS (
        SELECT FROM deliveries d WHERE d.reflection_id = r.id AND d.state = 'accepted'
    )
"""
_OLD_LETTERS = """
    SELECT l.id FROM dead_letters l WHERE l.parked_at < now() - make_interval(days => %(days)s)
"""
_CHOSEN = {
    "reflections": _OLD,
    "letters": _OLD_LETTERS,
    "texts": f"{_OLD} AND num_nonnulls(r.text, r.sealed) > 0",
    "payloads": f"{_OLD_LETTERS} AND l.payload IS NOT NULL",
}
_DROP = {
    "reflections": "DELETE FROM reflections",
    "letters": "DELETE FROM dead_letters",
    "texts": "UPDATE reflections SET text = NULL, sealed = NULL",
    "payloads": "UPDATE dead_letters SET payload = NULL, sealed = false",
}

_WITH_NOTES = """
WITH dropped AS ({} RETURNING id), notes AS (
    UPDATE reviews v SET note = NULL, sealed = NULL FROM dropped d
    WHERE v.reflection_id = d.id AND num_nonnulls(v.note, v.sealed) > 0
)
SELECT id FROM dropped
"""
"""A reviewer's note may quote the text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forgotten:
    """How many texts and payloads were dropped, and how many reflections and dead letters went whole."""

    texts: int = 0
    payloads: int = 0
    reflections: int = 0
    letters: int = 0

    def __bool__(self) -> bool:
        return bool(self.texts or self.payloads or self.reflections or self.letters)


def forget(store: Store, *, text_days: int | None, days: int | None, at_once: int = AT_ONCE) -> Forgotten:
    """Drop what is older, `at_once` rows a transaction; None keeps. Several may run at a time.

    Raises ServiceMissing, StoreRefused; what was committed stays done.
    """
    limits = {"reflections": days, "letters": days, "texts": text_days, "payloads": text_days}
    counts = dict.fromkeys(limits, 0)
    for kind, limit in limits.items():
        if limit is None:
            continue
        while count := store.transact(partial(_drop, kind=kind, days=limit, at_once=at_once)):
            counts[kind] += count
    return Forgotten(**counts)


def count(store: Store, *, text_days: int | None, days: int | None) -> Forgotten:
    """What is older than that now; a text of a reflection that would go whole is counted twice."""
    limits = {"reflections": days, "letters": days, "texts": text_days, "payloads": text_days}

    def work(cursor: Cursor) -> Forgotten:
        allow_scans(cursor)
        counts = dict.fromkeys(limits, 0)
        for kind, limit in limits.items():
            if limit is not None:
                query = f"SELECT count(*) FROM ({_CHOSEN[kind]}) old"  # noqa: S608 - our own statement
                counts[kind] = cursor.execute(query, {"days": limit}).fetchall()[0][0]
        return Forgotten(**counts)

    return store.transact(work)


def overdue(cursor: Cursor, *, text_days: int | None, days: int | None, most: int) -> dict[str, int]:
    """What is older than that now, by kind, each counted to `most` at most."""
    limits = {"reflections": days, "letters": days, "texts": text_days, "payloads": text_days}
    query = "SELECT count(*) FROM ({} LIMIT %(most)s) old"
    return {
        kind: cursor.execute(query.format(_CHOSEN[kind]), {"days": limit, "most": most}).fetchall()[0][0]
        for kind, limit in limits.items()
        if limit is not None
    }


def _drop(cursor: Cursor, *, kind: str, days: int, at_once: int) -> int:
    allow_scans(cursor)
    query = f"{_DROP[kind]} WHERE id IN ({_CHOSEN[kind]} LIMIT %(at_once)s FOR UPDATE SKIP LOCKED)"
    if kind == "texts":
        query = _WITH_NOTES.format(query)
    return cursor.execute(query, {"days": days, "at_once": at_once}).rowcount


def allow_scans(cursor: Cursor) -> None:
    """These read by age, not by key: a scan of the block ranges that are old enough is the right plan."""
    cursor.execute("SET LOCAL enable_bitmapscan = on")
    cursor.execute("SET LOCAL enable_seqscan = on")
