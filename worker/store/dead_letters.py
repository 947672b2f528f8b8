"""Where the journey ends for what cannot be enriched: parked once, with its reason, able to be sent again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from psycopg import sql

from worker.store.engine import Cursor, Store
from worker.store.persons import lock_persons

WHOLE_MESSAGE = -1
"""`position` of a dead letter that stands for a message no event could be told apart in."""

_LONGEST = 512
"""Characters kept of a foreign identifier or field name, which may be anything before validation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """One event (or message) that was refused. `payload`: the event as JSON bytes; `parked_at` is set when
    read back.

    `attempts` counts how often its message was delivered. `detail` never quotes text.
    """

    message_id: str
    position: int
    reason: str
    detail: str
    reflection_id: str | None = None
    revision: int | None = None
    user_id: str | None = None
    field: str | None = None
    payload: bytes | None = None
    attempts: int = 1
    parked_at: datetime | None = None


_PARK = """
INSERT INTO dead_letters AS d
    (message_id, position, reflection_id, revision, user_id, reason, field, detail, payload, attempts)
SELECT *
FROM unnest(%b::text[], %b::int[], %b::text[], %b::int[], %b::text[], %b::text[], %b::text[], %b::text[],
            %b::bytea[], %b::int[])
  AS a (message_id, position, reflection_id, revision, user_id, reason, field, detail, payload, attempts)
ORDER BY a.message_id COLLATE "C", a.position
ON CONFLICT (message_id, position) DO UPDATE SET
    attempts = d.attempts + 1, reason = excluded.reason, field = excluded.field, detail = excluded.detail
"""

_FINISHED = """
SELECT d.reflection_id, d.revision
FROM unnest(%b::text[], %b::int[]) AS a (id, revision)
JOIN deliveries d ON d.reflection_id = a.id AND d.revision = a.revision AND d.state = 'done'
"""

_GIVE_UP = """
UPDATE deliveries d SET state = 'dead', finished_at = clock_timestamp(), owner = NULL, lease_until = NULL
FROM (
    SELECT o.reflection_id, o.revision
    FROM unnest(%b::text[], %b::int[]) AS a (id, revision)
    JOIN deliveries o ON o.reflection_id = a.id AND o.revision = a.revision AND o.state = 'accepted'
    ORDER BY o.reflection_id, o.revision FOR UPDATE OF o
) given_up
WHERE d.reflection_id = given_up.reflection_id AND d.revision = given_up.revision
"""


def park(store: Store, letters: Sequence[DeadLetter]) -> None:
    """Write the letters; one that is there already (same message and position) counts an attempt more.

    The delivery of a letter that names `reflection_id` and `revision` becomes `dead`: use it for an accepted
    event which a later stage could not enrich.
    """
    if letters:
        store.transact(lambda cursor: give_up(cursor, letters, keep_payload=store.keep_text))


def give_up(cursor: Cursor, letters: Sequence[DeadLetter], *, keep_payload: bool) -> None:
    """`park`, inside the caller's transaction. An event that has its row meanwhile gets no letter."""
    named = [letter for letter in letters if letter.reflection_id is not None and letter.revision is not None]
    finished: set[tuple[str | None, int | None]] = set()
    if named:
        keys = ([letter.reflection_id for letter in named], [letter.revision for letter in named])
        lock_persons(cursor, (letter.user_id for letter in named if letter.user_id is not None))
        finished.update(cursor.execute(_FINISHED, keys, prepare=True).fetchall())
        cursor.execute(_GIVE_UP, keys, prepare=True)
    due = [letter for letter in letters if (letter.reflection_id, letter.revision) not in finished]
    write(cursor, due, keep_payload=keep_payload)


def write(cursor: Cursor, letters: Sequence[DeadLetter], *, keep_payload: bool) -> None:
    """Insert the letters inside the caller's transaction, leaving deliveries alone."""
    unique = list({(_storable(letter.message_id), letter.position): letter for letter in letters}.values())
    if not unique:
        return
    columns = (
        [_storable(letter.message_id) for letter in unique],
        [letter.position for letter in unique],
        [_storable(letter.reflection_id) for letter in unique],
        [letter.revision for letter in unique],
        [_storable(letter.user_id) for letter in unique],
        [letter.reason for letter in unique],
        [_storable(letter.field) for letter in unique],
        [_storable(letter.detail) for letter in unique],
        [letter.payload if keep_payload else None for letter in unique],
        [letter.attempts for letter in unique],
    )
    cursor.execute(_PARK, columns, prepare=True)


def rejected(store: Store, limit: int = 20) -> list[DeadLetter]:
    """The newest `limit` dead letters, newest first."""
    columns = [field.name for field in fields(DeadLetter)]
    query = sql.SQL("SELECT {} FROM dead_letters ORDER BY id DESC LIMIT %s").format(
        sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    rows = store.transact(lambda cursor: cursor.execute(query, (limit,)).fetchall())
    return [DeadLetter(**dict(zip(columns, row, strict=True))) for row in rows]


def count(store: Store) -> Counter[str]:
    """How many dead letters there are by reason."""
    query = "SELECT reason, count(*) FROM dead_letters GROUP BY reason"
    return Counter(dict(store.transact(lambda cursor: cursor.execute(query).fetchall())))


def _storable(value: str | None) -> str | None:
    """Postgres text holds neither NUL nor lone surrogates; a rejected event may."""
    if value is None:
        return None
    return value[:_LONGEST].encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
