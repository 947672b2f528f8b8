"""The way back: reflections or whole persons leave, and what their history had touched is placed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from worker.events.envelope import Seal
from worker.store import changes, mentions, models, persons, reenrichments
from worker.store.changes import Change
from worker.store.engine import Cursor, Store
from worker.store.perceptions import Place, affected_by, repair
from worker.store.persons import lock_persons
from worker.store.vault import Keyring, Unopenable, place_of_payload


@dataclass(frozen=True, kw_only=True, slots=True)
class Deleted:
    """Ids that were there, ids of later rows placed again at once, and model versions whose later rows show
    the deleted ones' influence until somebody opens their models, because no `place` for them was given."""

    ids: tuple[str, ...]
    repaired: tuple[str, ...]
    unrepaired_versions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Erased:
    """How many reflections, dead letters and labels left; the letters of whole messages that lost events or
    their payload (`cleared`), and those nobody could look into (`closed`), by id; and the model versions that
    were trained on these persons."""

    reflections: int
    labels: int
    letters: int
    cleared: tuple[int, ...]
    closed: tuple[int, ...]
    trained_versions: tuple[str, ...]


_BURY = """
UPDATE reflections r SET
    deleted_at = now(), text = NULL, digest = '', lang = NULL, device = NULL, timezone = NULL,
    self_valence = NULL, self_arousal = NULL, self_emotion = NULL, consent_training = false,
    screen = '{}', screen_level = 'none', screen_score = 0, sealed = NULL
FROM (SELECT id FROM reflections WHERE id = ANY(%s) AND deleted_at IS NULL ORDER BY id FOR UPDATE) found
WHERE r.id = found.id
RETURNING r.id
"""

_FINISH = """
UPDATE deliveries SET state = 'done', finished_at = clock_timestamp()
WHERE reflection_id = ANY(%s) AND state <> 'done'
"""

_ERASE = """
DELETE FROM reflections r
USING (SELECT id FROM reflections WHERE user_id = ANY(%s) ORDER BY id FOR UPDATE) found
WHERE r.id = found.id
RETURNING r.id
"""


def delete(store: Store, ids: Sequence[str], places: Mapping[str, Place]) -> Deleted:
    """Remove these reflections in every model version and repair the later rows; `places` by model version.

    A tombstone without content stays, so that a redelivery does not bring them back; unknown ids are ignored.
    Raises ServiceMissing, StoreRefused, or what a `place` raises; then nothing is removed.
    """
    return store.transact(lambda cursor: _delete(cursor, list(ids), places))


def _delete(cursor: Cursor, ids: list[str], places: Mapping[str, Place]) -> Deleted:
    query = "SELECT DISTINCT user_id FROM reflections WHERE id = ANY(%s)"
    lock_persons(cursor, (user_id for (user_id,) in cursor.execute(query, (ids,)).fetchall()))
    gone = sorted(key for (key,) in cursor.execute(_BURY, (ids,)).fetchall())
    made: dict[str, list[Change]] = {}
    removed = """
        DELETE FROM traces WHERE reflection_id = ANY(%s)
        RETURNING model_version, user_id, created_at, reflection_id
    """
    for version, user_id, created_at, key in cursor.execute(removed, (gone,)).fetchall():
        made.setdefault(version, []).append(Change(user_id=user_id, moment=created_at, cause=key))
    cursor.execute("DELETE FROM perceptions WHERE reflection_id = ANY(%s)", (gone,))
    cursor.execute("DELETE FROM labels WHERE reflection_id = ANY(%s)", (gone,))
    cursor.execute("DELETE FROM reviews WHERE reflection_id = ANY(%s)", (gone,))
    cursor.execute("DELETE FROM dead_letters WHERE reflection_id = ANY(%s)", (gone,))
    cursor.execute(_FINISH, (gone,))
    repaired: set[str] = set()
    unrepaired: set[str] = set()
    for version, changed in made.items():
        affected = affected_by(cursor, [(c.user_id, c.moment) for c in changed], version)
        if not affected:
            continue
        if version in places:
            due = changes.at_once(affected, changed)
            touched = [trace.id for trace, _ in due.rows]
            if touched:
                repair(cursor, touched, places[version](due.rows), version, due.causes)
            changes.postpone(cursor, due.later, version)
            repaired.update(touched)
        else:
            changes.postpone(cursor, [replace(change, whole=True) for change in changed], version)
            unrepaired.add(version)
    return Deleted(
        ids=tuple(gone), repaired=tuple(sorted(repaired)), unrepaired_versions=tuple(sorted(unrepaired))
    )


_UNTOLD = """
SELECT id, message_id, position, payload, sealed FROM dead_letters
WHERE id > %s AND user_id IS NULL AND payload IS NOT NULL ORDER BY id LIMIT 64 FOR UPDATE
"""

_CLEAR = """
UPDATE dead_letters SET payload = %s, sealed = %s,
    detail = detail || CASE WHEN %s THEN '' ELSE '; an erasure took the payload' END
WHERE id = %s
"""


def erase(
    store: Store, user_ids: Sequence[str], *, seal: Seal | None = None, dry_run: bool = False
) -> Erased:
    """Remove everything of these persons: reflections, history, perceptions, labels, reviews, dead letters,
    data keys, and their events in messages parked whole (`seal` opens those sealed on the wire).

    Nobody else's rows depend on theirs. What is still queued of them is refused when it comes
    (`person_erased`), if it was written before now. `dry_run` only counts.
    Raises ServiceMissing, StoreRefused; then nothing is removed.
    """
    done = _DryRun()

    def work(cursor: Cursor) -> Erased:
        erased = _erase(cursor, sorted(set(user_ids)), store.keyring, seal)
        if dry_run:
            done.erased = erased
            raise done  # takes the transaction back
        return erased

    try:
        return store.transact(work)
    except _DryRun:
        return done.erased


class _DryRun(Exception):
    erased: Erased


def _erase(cursor: Cursor, user_ids: list[str], keyring: Keyring | None, seal: Seal | None) -> Erased:
    lock_persons(cursor, user_ids)
    persons.erase(cursor, user_ids)
    cursor.execute("DELETE FROM repairs WHERE user_id = ANY(%s)", (user_ids,))
    reenrichments.forget(cursor, user_ids)
    labels = cursor.execute("DELETE FROM labels WHERE user_id = ANY(%s)", (user_ids,)).rowcount
    # What hangs on a reflection goes with it (ON DELETE CASCADE), so nothing of theirs can be forgotten here.
    gone = [key for (key,) in cursor.execute(_ERASE, (user_ids,)).fetchall()]
    letters = cursor.execute(
        "DELETE FROM dead_letters WHERE user_id = ANY(%s) OR reflection_id = ANY(%s)", (user_ids, gone)
    ).rowcount
    cleared, closed = _clear(cursor, set(user_ids), keyring, seal)
    return Erased(
        reflections=len(gone),
        labels=labels,
        letters=letters,
        cleared=tuple(cleared),
        closed=tuple(closed),
        trained_versions=tuple(models.trained_on(cursor, user_ids)),
    )


def _clear(
    cursor: Cursor, user_ids: set[str], keyring: Keyring | None, seal: Seal | None
) -> tuple[list[int], list[int]]:
    """Takes the persons' events out of letters that name nobody; ids of those changed and those closed."""
    cleared: list[int] = []
    closed: list[int] = []
    opener = persons.Opener(cursor, keyring, ())
    after = 0
    while rows := cursor.execute(_UNTOLD, (after,)).fetchall():
        for key, message_id, position, payload, sealed in rows:
            after = key
            try:
                plain = opener.payload(
                    message_id=message_id, position=position, user_id=None, payload=payload, sealed=sealed
                )
            except Unopenable:
                closed.append(key)
                continue
            assert plain is not None  # the query asks for payloads only
            found = mentions.clear(bytes(plain), user_ids, seal=seal)
            if found.closed and found.payload is not None:
                closed.append(key)
            if found.payload == plain:
                continue
            cleared.append(key)
            kept = found.payload
            if kept is not None and sealed and keyring is not None:
                nobody = persons.meet(cursor, [persons.NOBODY], keyring)[persons.NOBODY]
                kept = keyring.seal(nobody.locker, kept, place_of_payload(message_id, position))
            cursor.execute(_CLEAR, (kept, sealed and kept is not None, kept is not None, key))
    return cleared, closed
