"""Dead letters as an operator handles them: found by what they are, sent again once, or thrown away.

Beside `dead_letters.py`, where the journey parks them. A letter that was sent again is marked and stays until
somebody drops it; only that of an event that had been accepted goes when the event is accepted again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any

from psycopg import sql

from worker.store import dead_letters
from worker.store.dead_letters import DeadLetter
from worker.store.engine import Cursor, Store
from worker.store.vault import Keyring

PAGE = 1000
"""Numbers asked for at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Letter(DeadLetter):
    """A parked event or message with its number; `retried_at`: when it was sent again, if it was.

    `payload` may hold what a person wrote.
    """

    id: int
    retried_at: datetime | None = None
    payload: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which letters: those that every given part holds for. `older` and `newer` are ages (of `parked_at`)."""

    ids: Sequence[int] | None = None
    reasons: Sequence[str] | None = None
    user_id: str | None = None
    older: timedelta | None = None
    newer: timedelta | None = None
    retried: bool = False  # also those that were sent again


class Outcome(StrEnum):
    """What became of a letter that was to be sent again."""

    SENT = "sent"
    REOPENED = "reopened"  # the reconciler enriches it from its stored row
    EMPTY = "empty"  # neither the letter nor the row has the text
    CLOSED = "closed"  # sealed, and no key at hand opens it
    SKIPPED = "skipped"  # sent before, being sent by somebody else, or gone


_NAMES = tuple(one.name for one in fields(Letter))
_COLUMNS = sql.SQL(", ").join(map(sql.Identifier, _NAMES))
_LISTED = sql.SQL(", ").join(
    sql.SQL("NULL") if name == "payload" else sql.Identifier(name) for name in _NAMES
)

_CHOSEN = sql.SQL("""
    (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s::bigint[]))
    AND (%(reasons)s::text[] IS NULL OR reason = ANY(%(reasons)s::text[]))
    AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s::text)
    AND (%(older)s::interval IS NULL OR parked_at <= now() - %(older)s::interval)
    AND (%(newer)s::interval IS NULL OR parked_at >= now() - %(newer)s::interval)
    AND (%(retried)s::bool OR retried_at IS NULL)
""")

_PAGE = sql.SQL("""
    SELECT {columns} FROM dead_letters
    WHERE {chosen} AND (%(before)s::bigint IS NULL OR id < %(before)s::bigint)
    ORDER BY id DESC LIMIT %(limit)s
""").format(columns=_LISTED, chosen=_CHOSEN)

_NUMBERS = sql.SQL("""
    SELECT id FROM dead_letters WHERE {chosen} AND id > %(after)s AND id <= %(last)s
    ORDER BY id LIMIT %(limit)s
""").format(chosen=_CHOSEN)

_ONE = sql.SQL("SELECT {} FROM dead_letters WHERE id = %s").format(_COLUMNS)
_LOCKED = _ONE + sql.SQL(" FOR UPDATE SKIP LOCKED")

_REOPEN = """
UPDATE deliveries d
SET state = 'accepted', attempts = 0, begun = false, finished_at = NULL, owner = NULL, lease_until = NULL
FROM reflections r
WHERE d.reflection_id = %s AND d.revision = %s AND d.state = 'dead'
  AND r.id = d.reflection_id AND r.revision = d.revision AND r.deleted_at IS NULL
  AND num_nonnulls(r.text, r.sealed) > 0
"""


def page(store: Store, choice: Choice, *, limit: int, before: int | None = None) -> list[Letter]:
    """The newest `limit` letters of the choice, newest first, of those numbered below `before`; without what
    they hold."""
    asked = _asked(choice) | {"limit": limit, "before": before}
    rows = store.transact(lambda cursor: cursor.execute(_PAGE, asked).fetchall())
    return [_letter(row) for row in rows]


def one(store: Store, number: int) -> Letter | None:
    """The letter with all it holds, opened where a key at hand does."""
    return store.transact(lambda cursor: _read(cursor, _ONE, number, store.keyring))


def count(store: Store, choice: Choice) -> Counter[str]:
    """How many letters the choice holds, by reason."""
    query = sql.SQL("SELECT reason, count(*) FROM dead_letters WHERE {} GROUP BY reason").format(_CHOSEN)
    return Counter(dict(store.transact(lambda cursor: cursor.execute(query, _asked(choice)).fetchall())))


def pages(store: Store, choice: Choice) -> Iterator[list[int]]:
    """The numbers of the choice in parts, oldest first; what is parked after the first was asked for is not
    of it."""
    query = "SELECT coalesce(max(id), 0) FROM dead_letters"
    ((last,),) = store.transact(lambda cursor: cursor.execute(query).fetchall())
    after = 0
    while True:
        asked = _asked(choice) | {"after": after, "last": last, "limit": PAGE}
        found = store.transact(partial(_found, asked))
        if not found:
            return
        yield [int(number) for (number,) in found]
        after = found[-1][0]


def send_again(store: Store, number: int, send: Callable[[Letter], None], *, again: bool = False) -> Outcome:
    """Sends the letter's event through `send` and marks it, while nobody else can; what became of it.

    A letter that holds nothing, of an accepted reflection whose text is stored, goes instead, and the
    reconciler has the reflection again. What `send` raises leaves the letter unmarked.
    When the database is lost between sending and marking, a later call sends the event a second time, which
    has no effect on its row.
    """

    def work(cursor: Cursor) -> Outcome:
        letter = _read(cursor, _LOCKED, number, store.keyring)
        if letter is None or (letter.retried_at is not None and not again):
            return Outcome.SKIPPED
        if letter.payload is None:
            if cursor.execute(_REOPEN, (letter.reflection_id, letter.revision)).rowcount != 1:
                return Outcome.EMPTY
            cursor.execute("DELETE FROM dead_letters WHERE id = %s", (number,))
            return Outcome.REOPENED
        if letter.sealed:
            return Outcome.CLOSED
        send(letter)
        cursor.execute("UPDATE dead_letters SET retried_at = clock_timestamp() WHERE id = %s", (number,))
        return Outcome.SENT

    return store.transact(work)


def drop(store: Store, ids: Sequence[int]) -> int:
    """Deletes these letters with what they hold; how many were there."""
    query = "DELETE FROM dead_letters WHERE id = ANY(%s)"
    return store.transact(lambda cursor: cursor.execute(query, (list(ids),)).rowcount)


def _found(asked: Mapping[str, Any], cursor: Cursor) -> list[tuple[Any, ...]]:
    return cursor.execute(_NUMBERS, asked).fetchall()


def _asked(choice: Choice) -> dict[str, Any]:
    return {
        "ids": None if choice.ids is None else list(choice.ids),
        "reasons": None if choice.reasons is None else list(choice.reasons),
        "user_id": choice.user_id,
        "older": choice.older,
        "newer": choice.newer,
        "retried": choice.retried,
    }


def _read(cursor: Cursor, query: sql.Composed, number: int, keyring: Keyring | None) -> Letter | None:
    rows = cursor.execute(query, (number,)).fetchall()
    opened = dead_letters.opened(cursor, [_letter(row) for row in rows], keyring)
    return opened[0] if opened else None


def _letter(row: Sequence[Any]) -> Letter:
    return Letter(**dict(zip(_NAMES, row, strict=True)))
