"""After a key was set or changed: every data key goes under the first key, and what is still plain is
sealed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from worker.errors import UsageError
from worker.store import persons
from worker.store.engine import Cursor, Store
from worker.store.vault import Keyring, place_of_payload, place_of_text

AT_ONCE = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Resealed:
    """How many persons' keys were wrapped anew, how many texts and payloads were sealed, and how many data
    keys stay under a key that is not at hand, by its id."""

    persons: int
    texts: int
    payloads: int
    lost: Mapping[str, int]


# Old copies of a row go with the next VACUUM; until then the disk holds them.
_TEXTS = """
SELECT id, revision, user_id, text FROM reflections
WHERE id > %s COLLATE "C" AND text IS NOT NULL ORDER BY id LIMIT %s FOR UPDATE
"""
_SEAL_TEXT = "UPDATE reflections SET text = NULL, sealed = %s WHERE id = %s"

_PAYLOADS = """
SELECT id, message_id, position, user_id, payload FROM dead_letters
WHERE id > %s AND payload IS NOT NULL AND NOT sealed ORDER BY id LIMIT %s FOR UPDATE
"""
_SEAL_PAYLOAD = "UPDATE dead_letters SET payload = %s, sealed = true WHERE id = %s"


def reseal(store: Store, *, at_once: int = AT_ONCE) -> Resealed:
    """Do it, `at_once` rows a transaction; safe beside running workers, and again after an interruption.

    Raises UsageError without a key, ServiceMissing, StoreRefused.
    """
    keyring = store.keyring
    if keyring is None:
        raise UsageError("set FELTSENSE_TEXT_KEYS: there is no key to seal with")
    texts = payloads = 0
    id_: str | None = ""
    while id_ is not None:
        id_, count = store.transact(partial(_texts, keyring=keyring, after=id_, at_once=at_once))
        texts += count
    number: int | None = 0
    while number is not None:
        number, count = store.transact(partial(_payloads, keyring=keyring, after=number, at_once=at_once))
        payloads += count
    changed, lost = persons.rewrap(store, keyring)
    return Resealed(persons=changed, texts=texts, payloads=payloads, lost=lost)


def _texts(cursor: Cursor, keyring: Keyring, after: str, at_once: int) -> tuple[str | None, int]:
    # Whose persons these are is read before their rows are locked: arrivals meet the person first, too.
    peek = cursor.execute(_TEXTS.replace(" FOR UPDATE", ""), (after, at_once)).fetchall()
    people = persons.meet(cursor, {user_id for _, _, user_id, _ in peek}, keyring)
    rows = cursor.execute(_TEXTS, (after, at_once)).fetchall()
    known = [row for row in rows if row[2] in people]
    cursor.executemany(
        _SEAL_TEXT,
        [
            (keyring.seal(people[user_id].locker, text.encode(), place_of_text(key, revision)), key)
            for key, revision, user_id, text in known
        ],
    )
    return (peek[-1][0] if peek else None), len(known)


def _payloads(cursor: Cursor, keyring: Keyring, after: int, at_once: int) -> tuple[int | None, int]:
    rows = cursor.execute(_PAYLOADS, (after, at_once)).fetchall()
    people = persons.meet(cursor, {row[3] or persons.NOBODY for row in rows}, keyring)
    cursor.executemany(
        _SEAL_PAYLOAD,
        [
            (
                keyring.seal(
                    people[user_id or persons.NOBODY].locker,
                    bytes(payload),
                    place_of_payload(message_id, position),
                ),
                key,
            )
            for key, message_id, position, user_id, payload in rows
        ],
    )
    return (rows[-1][0] if rows else None), len(rows)
