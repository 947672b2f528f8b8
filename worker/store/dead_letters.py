"""Where the journey ends for what cannot be enriched: parked once, with its reason, able to be sent again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import TypeVar

from psycopg import sql

from worker.store import persons
from worker.store.engine import Cursor, Store
from worker.store.persons import lock_persons
from worker.store.vault import Keyring, Unopenable, place_of_payload

WHOLE_MESSAGE = -1
"""`position` of a dead letter that stands for a message no event could be told apart in."""

_LONGEST = 512
"""Characters kept of a foreign identifier or field name, which may be anything before validation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """One event (or message) that was refused. `payload`: the event as JSON bytes; `parked_at` is set when
    read back.

    `attempts` counts how often its message was delivered. `detail` never quotes text. `sealed`: no key at
    hand opens the payload, which is as it is stored.
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
    sealed: bool = False


L = TypeVar("L", bound=DeadLetter)

_PARK = """
INSERT INTO dead_letters AS d
    (message_id, position, reflection_id, revision, user_id, reason, field, detail, payload, sealed, attempts)
SELECT *
FROM unnest(%b::text[], %b::int[], %b::text[], %b::int[], %b::text[], %b::text[], %b::text[], %b::text[],
            %b::bytea[], %b::bool[], %b::int[])
  AS a (message_id, position, reflection_id, revision, user_id, reason, field, detail, payload, sealed,
        attempts)
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
        store.transact(
            lambda cursor: give_up(cursor, letters, keep_payload=store.keep_text, keyring=store.keyring)
        )


def give_up(
    cursor: Cursor, letters: Sequence[DeadLetter], *, keep_payload: bool, keyring: Keyring | None
) -> None:
    """`park`, inside the caller's transaction. An event that has its row meanwhile gets no letter."""
    named = [letter for letter in letters if letter.reflection_id is not None and letter.revision is not None]
    finished: set[tuple[str | None, int | None]] = set()
    if named:
        keys = ([letter.reflection_id for letter in named], [letter.revision for letter in named])
        lock_persons(cursor, (letter.user_id for letter in named if letter.user_id is not None))
        finished.update(cursor.execute(_FINISHED, keys, prepare=True).fetchall())
        cursor.execute(_GIVE_UP, keys, prepare=True)
    due = [letter for letter in letters if (letter.reflection_id, letter.revision) not in finished]
    write(cursor, due, keep_payload=keep_payload, keyring=keyring)


def write(
    cursor: Cursor, letters: Sequence[DeadLetter], *, keep_payload: bool, keyring: Keyring | None
) -> None:
    """Insert the letters inside the caller's transaction, leaving deliveries alone; with a `keyring` their
    payloads are sealed. A letter of somebody who was erased and has not come back keeps neither the person
    nor the payload."""
    unique = list({(_storable(letter.message_id), letter.position): letter for letter in letters}.values())
    if not unique:
        return
    users = [_storable(letter.user_id) or persons.NOBODY for letter in unique]
    people = persons.meet(cursor, users, keyring if keep_payload else None)
    gone = _gone(cursor, [user for user in people if people[user].erased_at is not None])

    def payload(letter: DeadLetter, user: str) -> bytes | None:
        if letter.payload is None or user in gone or not keep_payload or keyring is None:
            return letter.payload if keep_payload and user not in gone else None
        place = place_of_payload(_storable(letter.message_id) or "", letter.position)
        return keyring.seal(people[user].locker, letter.payload, place)

    payloads = [payload(letter, user) for letter, user in zip(unique, users, strict=True)]
    columns = (
        [_storable(letter.message_id) for letter in unique],
        [letter.position for letter in unique],
        [_storable(letter.reflection_id) for letter in unique],
        [letter.revision for letter in unique],
        [None if user in gone or user == persons.NOBODY else user for user in users],
        [letter.reason for letter in unique],
        [_storable(letter.field) for letter in unique],
        [_storable(letter.detail) for letter in unique],
        payloads,
        [kept is not None and keyring is not None for kept in payloads],
        [letter.attempts for letter in unique],
    )
    cursor.execute(_PARK, columns, prepare=True)


def rejected(store: Store, limit: int = 20) -> list[DeadLetter]:
    """The newest `limit` dead letters, newest first."""
    columns = [field.name for field in fields(DeadLetter)]
    query = sql.SQL("SELECT {} FROM dead_letters ORDER BY id DESC LIMIT %s").format(
        sql.SQL(", ").join(map(sql.Identifier, columns))
    )

    def work(cursor: Cursor) -> list[DeadLetter]:
        rows = cursor.execute(query, (limit,)).fetchall()
        letters = [DeadLetter(**dict(zip(columns, row, strict=True))) for row in rows]
        return opened(cursor, letters, store.keyring)

    return store.transact(work)


def opened(cursor: Cursor, letters: Sequence[L], keyring: Keyring | None) -> list[L]:
    """The letters as read from the table, their payloads opened where a key at hand does."""
    opener = persons.Opener(cursor, keyring, {letter.user_id or persons.NOBODY for letter in letters})

    def one(letter: L) -> L:
        try:
            plain = opener.payload(
                message_id=letter.message_id,
                position=letter.position,
                user_id=letter.user_id,
                payload=letter.payload,
                sealed=letter.sealed,
            )
        except Unopenable:
            return letter  # it says so itself
        return replace(letter, payload=plain, sealed=False)

    return [one(letter) for letter in letters]


def count(store: Store) -> Counter[str]:
    """How many dead letters there are by reason."""
    query = "SELECT reason, count(*) FROM dead_letters GROUP BY reason"
    return Counter(dict(store.transact(lambda cursor: cursor.execute(query).fetchall())))


def _gone(cursor: Cursor, erased: Sequence[str]) -> set[str]:
    """Who of the erased has no reflection here again."""
    if not erased:
        return set()
    query = "SELECT DISTINCT user_id FROM reflections WHERE user_id = ANY(%s)"
    return set(erased) - {user_id for (user_id,) in cursor.execute(query, (list(erased),)).fetchall()}


def _storable(value: str | None) -> str | None:
    """Postgres text holds neither NUL nor lone surrogates; a rejected event may."""
    if value is None:
        return None
    return value[:_LONGEST].encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
