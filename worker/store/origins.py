"""What the command line asks beside the rows: where and in which words a reflection was written, and what is
unfinished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self, cast

from worker.events.reflection import Reflection
from worker.store.engine import Cursor, Store
from worker.store.persons import Opener
from worker.store.vault import Unopenable


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """The writer's time zone (IANA name, None when the event had none) and text (None where it is not kept,
    was not asked for, or does not open: `sealed` then says why)."""

    timezone: str | None
    text: str | None = field(repr=False)
    sealed: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Published:
    """What tells an event on the queue from any other, without its text."""

    id: str
    revision: int
    user_id: str
    digest: bytes

    @classmethod
    def of(cls, reflection: Reflection) -> Self:
        return cls(
            id=reflection.id,
            revision=reflection.revision,
            user_id=reflection.user_id,
            digest=reflection.digest,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Parked:
    """A published event that ended as a dead letter; `detail` never quotes text."""

    id: str
    reason: str
    detail: str


# A row says that the event itself came to rest only when it holds the event's own content or what makes it
# stale: beside any other content the event will be parked, perhaps a moment from now. A dead delivery is
# tried again when its event is sent again, so by itself it says nothing; nor does an earlier letter, nor one
# for the contradiction to a row that is this event's own.
_UNFINISHED = """
SELECT count(*)
FROM unnest(%(ids)s::text[], %(revisions)s::int[], %(user_ids)s::text[], %(digests)s::bytea[])
  AS a (id, revision, user_id, digest)
LEFT JOIN reflections r ON r.id = a.id
LEFT JOIN deliveries d ON d.reflection_id = r.id AND d.revision = r.revision
CROSS JOIN LATERAL (SELECT coalesce(r.revision = a.revision AND r.digest = a.digest, false) AS own) row
WHERE NOT coalesce(
    r.deleted_at IS NOT NULL
    OR (row.own AND d.state = 'done')
    OR (r.revision > a.revision AND r.user_id = a.user_id AND d.state <> 'accepted'), false
  )
  AND NOT EXISTS (
    SELECT FROM dead_letters l
    WHERE l.reflection_id = a.id AND (l.revision IS NULL OR l.revision = a.revision)
      AND l.parked_at >= %(since)s
      AND NOT (row.own AND l.reason IN ('conflicting_content', 'user_changed'))
  )
"""

_PARKED = """
SELECT DISTINCT l.id, l.reflection_id, l.reason, l.detail
FROM unnest(%(ids)s::text[], %(revisions)s::int[]) AS a (id, revision)
JOIN dead_letters l ON l.reflection_id = a.id AND (l.revision IS NULL OR l.revision = a.revision)
WHERE l.parked_at >= %(since)s
ORDER BY l.id
"""


def origins_of(store: Store, user_id: str, *, with_text: bool) -> dict[str, Origin]:
    """Reflection id -> origin, for one person; without `with_text` no text leaves the database."""
    query = """
        SELECT id, revision, timezone, CASE WHEN %(asked)s THEN text END, CASE WHEN %(asked)s THEN sealed END
        FROM reflections WHERE user_id = %(user)s AND deleted_at IS NULL
    """

    def work(cursor: Cursor) -> dict[str, Origin]:
        opener = Opener(cursor, store.keyring, [user_id])
        found = {}
        for key, revision, timezone, text, sealed in cursor.execute(
            query, {"asked": with_text, "user": user_id}
        ).fetchall():
            why = None
            try:
                text = opener.text(id=key, revision=revision, user_id=user_id, text=text, sealed=sealed)
            except Unopenable as error:
                why = str(error)
            found[key] = Origin(timezone=timezone, text=text, sealed=why)
        return found

    return store.transact(work)


def clock(store: Store) -> datetime:
    """The database's own time, which stamps dead letters."""
    row = store.transact(lambda cursor: cursor.execute("SELECT clock_timestamp()").fetchone())
    assert row is not None
    return cast(datetime, row[0])


def unfinished(store: Store, events: Sequence[Published], *, since: datetime) -> int:
    """How many of the events, published at `since` (the database's clock) or later, have neither come to
    rest as a row (of the event or of a newer revision) nor as a dead letter."""
    columns = {
        "ids": [event.id for event in events],
        "revisions": [event.revision for event in events],
        "user_ids": [event.user_id for event in events],
        "digests": [event.digest for event in events],
        "since": since,
    }
    row = store.transact(lambda cursor: cursor.execute(_UNFINISHED, columns).fetchone())
    assert row is not None
    return int(row[0])


def parked(store: Store, events: Sequence[Published], *, since: datetime) -> list[Parked]:
    """The dead letters of these events from `since` (the database's clock) on, oldest first."""
    columns = {
        "ids": [event.id for event in events],
        "revisions": [event.revision for event in events],
        "since": since,
    }
    rows = store.transact(lambda cursor: cursor.execute(_PARKED, columns).fetchall())
    return [Parked(id=key, reason=reason, detail=detail) for _, key, reason, detail in rows]
