"""One row a person, met before anything of theirs is stored: their data keys, and whether they were erased.

Whoever stores something of a person holds that row shared until the commit; whoever erases the person waits
for it. So what came in during an erasure is either erased with the rest or sees that it came too late.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worker.store.acquaintances import Acquaintances
from worker.store.engine import Cursor, Store
from worker.store.vault import (
    Keyring,
    Locker,
    Unopenable,
    person_digest,
    place_of_note,
    place_of_payload,
    place_of_text,
)

NOBODY = ""
"""Whose key seals what names no person. No user id is empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """What stands in a person's row. `erased_at`: when they were last erased, by the database's clock."""

    locker: Locker
    erased_at: datetime | None


HOLDS = """
JOIN persons p ON p.person = a.person AND (p.erased_at IS NULL OR p.erased_at < a.created_at)
 AND (a.wrapped IS NULL OR a.wrapped = ANY (p.wrapped))
"""
"""For a statement that stores rows `a` of persons as they were recalled: keeps those that still hold, and
must end with `FOR SHARE OF p`, so that an erasure waits for it or is seen by it."""

_NEW = """
INSERT INTO persons AS p (person, kids, wrapped)
SELECT a.person, array_remove(ARRAY[a.kid], NULL), array_remove(ARRAY[a.wrapped], NULL)
FROM unnest(%(people)b::bytea[], %(kids)b::text[], %(wrapped)b::bytea[]) AS a (person, kid, wrapped)
ORDER BY a.person
"""

# Locked in one order, and only where it is usable as it is: a share that had to become an exclusive lock
# would deadlock with another worker's share.
_MEET = f"""
WITH made AS ({_NEW} ON CONFLICT (person) DO NOTHING RETURNING person, erased_at, kids, wrapped), found AS (
    SELECT person, erased_at, kids, wrapped FROM persons
    WHERE person = ANY(%(people)b::bytea[]) AND (%(ours)b::text[] IS NULL OR kids && %(ours)b::text[])
    ORDER BY person FOR SHARE
)
SELECT * FROM made UNION ALL SELECT * FROM found
"""  # noqa: S608 - constants of ours, no value

_ADD_KEYS = f"""
{_NEW}
ON CONFLICT (person) DO UPDATE SET kids = p.kids || excluded.kids, wrapped = p.wrapped || excluded.wrapped
WHERE NOT p.kids && %(ours)b::text[]
"""

_LOCK = "SELECT pg_advisory_xact_lock(a.key) FROM unnest(%b::int8[]) AS a (key)"

_REWRAP = """
SELECT person, kids, wrapped FROM persons WHERE person > %s AND kids <> '{}' AND NOT %s::text = ALL(kids)
ORDER BY person LIMIT %s FOR UPDATE
"""


def meet(cursor: Cursor, user_ids: Iterable[str], keyring: Keyring | None) -> dict[str, Person]:
    """The persons' rows by user id, held shared until the transaction ends; new ones are made. With a
    `keyring`, each has a data key that it opens."""
    people = {person_digest(user_id): user_id for user_id in user_ids}
    met: dict[str, Person] = {}
    missing = list(people)
    while missing:
        offered = _offered(missing, keyring)
        for person, erased_at, kids, wrapped in cursor.execute(_MEET, offered, prepare=True).fetchall():
            locker = Locker(person=person, kids=kids, wrapped=wrapped)
            met[people[person]] = Person(locker=locker, erased_at=erased_at)
        missing = [person for person, user_id in people.items() if user_id not in met]
        if missing and keyring is not None:  # those without a key that opens; or somebody made them just now
            cursor.execute(_ADD_KEYS, _offered(missing, keyring), prepare=True)
    return met


def lock_persons(cursor: Cursor, user_ids: Iterable[str]) -> None:
    """Wait for, then hold, these persons' timelines until the transaction ends; in one order for everybody.

    The next statement sees what the former holder committed.
    """
    keys = sorted({_lock_key(user_id) for user_id in user_ids})
    cursor.execute(_LOCK, (keys,), prepare=True)


def _offered(people: Sequence[bytes], keyring: Keyring | None) -> dict[str, Any]:
    """New rows for these persons, and the keys of which one would do."""
    if keyring is None:
        nothing = [None] * len(people)
        return {"people": people, "kids": nothing, "wrapped": nothing, "ours": None}
    return {
        "people": people,
        "kids": [keyring.kid] * len(people),
        "wrapped": [keyring.fresh(person) for person in people],
        "ours": keyring.kids,
    }


def locker_of(cursor: Cursor, user_id: str) -> Locker:
    """The person's data keys as they are stored, none for somebody unknown; locks nothing."""
    person = person_digest(user_id)
    query = "SELECT kids, wrapped FROM persons WHERE person = %s"
    row = cursor.execute(query, (person,)).fetchone()
    return Locker(person=person, kids=row[0], wrapped=row[1]) if row else Locker(person=person)


def recall(
    cursor: Cursor, user_ids: Iterable[str], keyring: Keyring | None, known: Acquaintances
) -> dict[str, Locker]:
    """Lockers by user id without a look at those who are `known`; what is stored with them must be checked
    (`HOLDS`). The others are met."""
    remembered = {user_id: known.find(person_digest(user_id)) for user_id in user_ids}
    lockers = {
        user_id: locker
        for user_id, locker in remembered.items()
        if locker is not None and (keyring is None or keyring.opens(locker))
    }
    for user_id, person in meet(cursor, remembered.keys() - lockers.keys(), keyring).items():
        known.remember(person.locker)
        lockers[user_id] = person.locker
    return lockers


def erase(cursor: Cursor, user_ids: Iterable[str]) -> None:
    """Shred the persons' data keys, and mark that nothing they wrote until now is taken again."""
    query = """
        INSERT INTO persons (person, erased_at) SELECT a.person, clock_timestamp()
        FROM unnest(%b::bytea[]) AS a (person) ORDER BY a.person
        ON CONFLICT (person) DO UPDATE SET erased_at = clock_timestamp(), kids = '{}', wrapped = '{}'
    """
    cursor.execute(query, (sorted({person_digest(user_id) for user_id in user_ids}),))


class Opener:
    """Opens what is stored of these persons, inside the caller's transaction; locks nothing."""

    def __init__(self, cursor: Cursor, keyring: Keyring | None, user_ids: Iterable[str]) -> None:
        self._keyring = keyring
        self._lockers: Mapping[bytes, Locker] = {}
        if keyring is not None:
            query = "SELECT person, kids, wrapped FROM persons WHERE person = ANY(%b::bytea[])"
            people = list({person_digest(user_id) for user_id in (*user_ids, NOBODY)})
            self._lockers = {
                person: Locker(person=person, kids=kids, wrapped=wrapped)
                for person, kids, wrapped in cursor.execute(query, (people,)).fetchall()
            }

    def text(
        self,
        *,
        id: str,  # noqa: A002 - the column's name
        revision: int,
        user_id: str,
        text: str | None,
        sealed: bytes | None,
    ) -> str | None:
        """The text of a row of `reflections`; None where none is kept. Raises `Unopenable`."""
        if sealed is None:
            return text
        return self._open(user_id, sealed, place_of_text(id, revision)).decode()

    def payload(
        self, *, message_id: str, position: int, user_id: str | None, payload: bytes | None, sealed: bool
    ) -> bytes | None:
        """The payload of a row of `dead_letters`; None where none is kept. Raises `Unopenable`."""
        if payload is None or not sealed:
            return payload
        return self._open(user_id or NOBODY, payload, place_of_payload(message_id, position))

    def note(
        self,
        reviewer: str,
        note: str | None,
        sealed: bytes | None,
        *,
        id: str,  # noqa: A002 - as above
        revision: int,
        user_id: str,
    ) -> str | None:
        """A reviewer's note on a row of `reflections`; None where there is none. Raises `Unopenable`."""
        if sealed is None:
            return note
        return self._open(user_id, sealed, place_of_note(id, revision, reviewer)).decode()

    def _open(self, user_id: str, sealed: bytes, place: bytes) -> bytes:
        person = person_digest(user_id)
        if self._keyring is None:
            raise Unopenable("sealed, and FELTSENSE_TEXT_KEYS is not set")
        return self._keyring.open(self._lockers.get(person, Locker(person=person)), sealed, place)


def rewrap(store: Store, keyring: Keyring, *, at_once: int = 1000) -> tuple[int, dict[str, int]]:
    """Wrap every person's data keys under the first key of the ring. How many persons that changed, and how
    many hold a data key under a key that is not at hand, by its id."""
    after, changed, lost = b"", 0, dict[str, int]()

    def work(cursor: Cursor) -> tuple[bytes | None, int, list[str]]:
        rows = cursor.execute(_REWRAP, (after, keyring.kid, at_once)).fetchall()
        before = [Locker(person=person, kids=kids, wrapped=wrapped) for person, kids, wrapped in rows]
        both = [(old, keyring.rewrapped(old)) for old in before]
        new: list[tuple[Any, ...]] = [
            (list(to.kids), list(to.wrapped), to.person) for old, to in both if to.kids != old.kids
        ]
        cursor.executemany("UPDATE persons SET kids = %s, wrapped = %s WHERE person = %s", new)
        foreign = [kid for _, to in both for kid in to.kids if kid != keyring.kid]
        return (rows[-1][0] if rows else None), len(new), foreign

    while True:
        last, count, foreign = store.transact(work)
        for kid in foreign:
            lost[kid] = lost.get(kid, 0) + 1
        changed += count
        if last is None:
            return changed, lost
        after = last


def _lock_key(user_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(user_id.encode(), digest_size=8).digest(), "big", signed=True)
