"""The way back for another version: reflections that have come to rest and have no row of it, from their
stored texts.

That a row is missing is all that says so: whatever was killed on the way, what it had not written is found
again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worker.events.reflection import Reflection
from worker.store.engine import Cursor, Store
from worker.store.persons import Opener
from worker.store.unfinished import reflection_of
from worker.store.vault import Unopenable

_MISSING = """
    r.deleted_at IS NULL AND num_nonnulls(r.text, r.sealed) > 0
    AND EXISTS (
        SELECT FROM deliveries d
        WHERE d.reflection_id = r.id AND d.revision = r.revision AND d.state = 'done'
    )
    AND NOT EXISTS (
        SELECT FROM perceptions p
        WHERE p.reflection_id = r.id AND p.model_version = %(version)s AND p.revision = r.revision
    )
"""

_COLUMNS = """
    r.id, r.user_id, r.text, r.sealed, r.created_at, r.utc_offset_min, r.lang, r.device, r.timezone,
    r.self_valence, r.self_arousal, r.self_emotion, r.consent_training, r.revision, r.digest
"""

_EARLIER = f"""
SELECT {_COLUMNS}
FROM (
    SELECT DISTINCT near.id
    FROM unnest(%(users)b::text[], %(times)b::timestamptz[]) AS a (user_id, created_at)
    CROSS JOIN LATERAL (
        SELECT n.id FROM reflections n
        WHERE n.user_id = a.user_id AND n.created_at < a.created_at AND n.deleted_at IS NULL
        ORDER BY n.created_at DESC LIMIT %(last)s
    ) near
) found
JOIN reflections r ON r.id = found.id
WHERE {_MISSING}
ORDER BY r.created_at DESC, r.id
"""  # noqa: S608 - constants of ours, no value

_PEOPLE = f"""
SELECT DISTINCT r.user_id FROM reflections r
WHERE r.user_id > %(after)s AND (%(since)s::timestamptz IS NULL OR r.created_at >= %(since)s)
  AND (%(users)b::text[] IS NULL OR r.user_id = ANY(%(users)b)) AND {_MISSING}
ORDER BY r.user_id LIMIT %(limit)s
"""  # noqa: S608 - constants of ours, no value

_OF_PERSON = f"""
SELECT {_COLUMNS}
FROM reflections r
WHERE r.user_id = %(user)s AND (%(since)s::timestamptz IS NULL OR r.created_at >= %(since)s) AND {_MISSING}
ORDER BY r.created_at, r.id LIMIT %(limit)s
"""  # noqa: S608 - constants of ours, no value

_COUNT = f"""
SELECT count(*) FROM reflections r
WHERE (%(since)s::timestamptz IS NULL OR r.created_at >= %(since)s)
  AND (%(users)b::text[] IS NULL OR r.user_id = ANY(%(users)b)) AND {_MISSING}
"""  # noqa: S608 - constants of ours, no value

_RECEIVED = f"""
SELECT {_COLUMNS} FROM reflections r
WHERE r.received_at > %(after)s AND r.received_at <= %(until)s
  AND ('x' || substr(md5(r.user_id), 1, 8))::bit(32)::bigint < %(share)s::float8 * 4294967296 AND {_MISSING}
ORDER BY r.created_at, r.id
"""  # noqa: S608 - constants of ours, no value

_UNTIL = """
SELECT max(came.received_at) FROM (
    SELECT received_at FROM reflections
    WHERE received_at > %(after)s AND received_at < clock_timestamp() - interval '2 s'
    ORDER BY received_at LIMIT %(limit)s
) came
"""
"""The two seconds are for rows that are just being written."""

_LATELY = """
SELECT came.user_id FROM (
    SELECT user_id, received_at FROM reflections WHERE deleted_at IS NULL ORDER BY received_at DESC LIMIT %s
) came
GROUP BY came.user_id ORDER BY max(came.received_at) DESC
"""

_CLAIM = """
SELECT a.user_id FROM unnest(%b::text[]) AS a (user_id)
WHERE pg_try_advisory_xact_lock(hashtext('reenrich ' || %s), hashtext(a.user_id))
"""
"""Locks in two halves, which those of `persons`, in one piece, never meet."""
UNPINNED = "none"
"""Stands for the version of what was accepted while its worker had no pipeline open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which reflections: those of `users` (None: of all) created at `since` or later (None: ever)."""

    since: datetime | None = None
    users: tuple[str, ...] | None = None


def earlier(
    store: Store, moments: Sequence[tuple[str, datetime]], version: str, *, last: int
) -> list[Reflection]:
    """Of the `last` reflections of each (user, time) before it, those that have no row of `version`; newest
    first, without those whose text no key opens."""
    given = {
        "users": [user for user, _ in moments],
        "times": [time for _, time in moments],
        "version": version,
        "last": last,
    }
    return store.transact(
        lambda cursor: _opened(cursor, store, cursor.execute(_EARLIER, given, prepare=True).fetchall())
    )


def received(
    store: Store, version: str, *, after: datetime, share: float, limit: int
) -> tuple[datetime, list[Reflection]]:
    """Of the next `limit` reflections received after `after`, those of a `share` of the persons (always the
    same) that have no row of `version`, in order of time; and when the last of the `limit` was received."""
    given = {"version": version, "after": after, "share": share, "limit": limit}

    def work(cursor: Cursor) -> tuple[datetime, list[Reflection]]:
        row = cursor.execute(_UNTIL, given).fetchone()
        until = row[0] if row is not None and row[0] is not None else after
        return until, _opened(cursor, store, cursor.execute(_RECEIVED, given | {"until": until}).fetchall())

    return store.transact(work)


def lately(store: Store, reflections: int) -> list[str]:
    """Who wrote the last so many `reflections`, the latest first."""
    return [user for (user,) in store.transact(lambda c: c.execute(_LATELY, (reflections,)).fetchall())]


def claimed(store: Store, version: str, users: Sequence[str], work: Callable[[list[str]], int]) -> int:
    """What `work` gives for those of the persons whom nobody else does again for `version` meanwhile."""

    def held(cursor: Cursor) -> int:
        return work([user for (user,) in cursor.execute(_CLAIM, (list(users), version)).fetchall()])

    return store.transact(held)


def people(store: Store, version: str, wanted: Wanted, *, after: str, limit: int) -> list[str]:
    """The next `limit` persons behind `after` (by user id) who have wanted reflections without a row of
    `version`."""
    given = _given(version, wanted) | {"after": after, "limit": limit}
    return [user for (user,) in store.transact(lambda cursor: cursor.execute(_PEOPLE, given).fetchall())]


def of_person(store: Store, user_id: str, version: str, wanted: Wanted, *, limit: int) -> list[Reflection]:
    """The person's first `limit` wanted reflections, in order of time, that have no row of `version`."""
    given = {"user": user_id, "since": wanted.since, "version": version, "limit": limit}
    return store.transact(lambda cursor: _opened(cursor, store, cursor.execute(_OF_PERSON, given).fetchall()))


def count(store: Store, version: str, wanted: Wanted) -> int:
    """How many wanted reflections have no row of `version`."""
    row = store.transact(lambda cursor: cursor.execute(_COUNT, _given(version, wanted)).fetchone())
    assert row is not None
    return int(row[0])


def unsettled(store: Store, version: str) -> bool:
    """Whether events get rows of another version than `version` still: some are under way, or it serves
    since a moment ago and not every worker knows."""
    query = """
        SELECT EXISTS (
            SELECT FROM deliveries WHERE state = 'accepted' AND model_version <> ALL(%(versions)s)
        ) OR EXISTS (
            SELECT FROM model_versions
            WHERE version = %(version)s AND active AND activated_at > clock_timestamp() - interval '10 s'
        )
    """
    given = {"versions": [version, UNPINNED], "version": version}
    row = store.transact(lambda cursor: cursor.execute(query, given).fetchone())
    assert row is not None
    return bool(row[0])


def _given(version: str, wanted: Wanted) -> dict[str, Any]:
    users = list(wanted.users) if wanted.users is not None else None
    return {"version": version, "since": wanted.since, "users": users}


def _opened(cursor: Cursor, store: Store, rows: Sequence[tuple[Any, ...]]) -> list[Reflection]:
    opener = Opener(cursor, store.keyring, {row[1] for row in rows})
    found = []
    for key, user_id, text, sealed, *rest in rows:
        try:
            plain = opener.text(id=key, revision=rest[-2], user_id=user_id, text=text, sealed=sealed)
        except Unopenable:
            continue  # `feltsense reseal` and the worker's own letters tell of the key
        found.append(reflection_of((key, user_id, plain, *rest)))
    return found
