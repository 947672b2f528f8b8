"""What the command line asks beside the rows: where and in which words a reflection was written, and what is
unfinished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.store.engine import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """The writer's time zone (IANA name, None when the event had none) and text (None where it is not
    kept)."""

    timezone: str | None
    text: str | None = field(repr=False)


_UNFINISHED = """
SELECT count(*)
FROM unnest(%s::text[], %s::int[]) AS a (id, revision)
WHERE NOT EXISTS (SELECT FROM dead_letters l WHERE l.reflection_id = a.id AND l.revision = a.revision)
  AND NOT EXISTS (
    SELECT FROM reflections r
    WHERE r.id = a.id AND r.revision >= a.revision
      AND NOT EXISTS (
        SELECT FROM deliveries d
        WHERE d.reflection_id = r.id AND d.revision = r.revision AND d.state = 'accepted'
      )
  )
"""


def origins_of(store: Store, user_id: str, *, with_text: bool) -> dict[str, Origin]:
    """Reflection id -> origin, for one person; without `with_text` no text leaves the database."""
    query = """
        SELECT id, timezone, CASE WHEN %s THEN text END FROM reflections
        WHERE user_id = %s AND deleted_at IS NULL
    """
    rows = store.transact(lambda cursor: cursor.execute(query, (with_text, user_id)).fetchall())
    return {key: Origin(timezone=timezone, text=text) for key, timezone, text in rows}


def unfinished(store: Store, keys: Sequence[tuple[str, int]]) -> int:
    """How many of the published (id, revision) have neither come to rest as a row (of it or of a newer
    revision) nor as a dead letter."""
    columns = ([key for key, _ in keys], [revision for _, revision in keys])
    row = store.transact(lambda cursor: cursor.execute(_UNFINISHED, columns).fetchone())
    assert row is not None
    return int(row[0])
