"""The way back: reflections or whole persons leave, and what their history had touched is placed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from worker.store import models
from worker.store.engine import Cursor, Store
from worker.store.perceptions import Place, affected_by, repair
from worker.store.persons import lock_persons


@dataclass(frozen=True, kw_only=True, slots=True)
class Deleted:
    """Ids that were there, ids of later rows placed again, and model versions whose later rows still show the
    deleted ones' influence because no `place` for them was given."""

    ids: tuple[str, ...]
    repaired: tuple[str, ...]
    unrepaired_versions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Erased:
    """How many reflections left, and the model versions that were trained on these persons."""

    reflections: int
    trained_versions: tuple[str, ...]


_BURY = """
UPDATE reflections r SET
    deleted_at = now(), text = NULL, digest = '', lang = NULL, device = NULL, timezone = NULL,
    self_valence = NULL, self_arousal = NULL, self_emotion = NULL, consent_training = false,
    screen = '{}', screen_level = 'none', screen_score = 0
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
    changes: dict[str, list[tuple[str, datetime]]] = {}
    removed = "DELETE FROM traces WHERE reflection_id = ANY(%s) RETURNING model_version, user_id, created_at"
    for version, user_id, created_at in cursor.execute(removed, (gone,)).fetchall():
        changes.setdefault(version, []).append((user_id, created_at))
    cursor.execute("DELETE FROM perceptions WHERE reflection_id = ANY(%s)", (gone,))
    cursor.execute("DELETE FROM labels WHERE reflection_id = ANY(%s)", (gone,))
    cursor.execute("DELETE FROM reviews WHERE reflection_id = ANY(%s)", (gone,))
    cursor.execute("DELETE FROM dead_letters WHERE reflection_id = ANY(%s)", (gone,))
    cursor.execute(_FINISH, (gone,))
    repaired: set[str] = set()
    unrepaired: set[str] = set()
    for version, changed in changes.items():
        affected = affected_by(cursor, changed, version)
        if not affected:
            continue
        if version in places:
            touched = [trace.id for trace, _ in affected]
            repair(cursor, touched, places[version](affected), version)
            repaired.update(touched)
        else:
            unrepaired.add(version)
    return Deleted(
        ids=tuple(gone), repaired=tuple(sorted(repaired)), unrepaired_versions=tuple(sorted(unrepaired))
    )


def erase(store: Store, user_ids: Sequence[str]) -> Erased:
    """Remove everything of these persons: reflections, history, perceptions, labels, reviews, dead letters.

    Nobody else's rows depend on theirs. What is still queued of them would come in as new.
    Raises ServiceMissing, StoreRefused; then nothing is removed.
    """
    return store.transact(lambda cursor: _erase(cursor, list(user_ids)))


def _erase(cursor: Cursor, user_ids: list[str]) -> Erased:
    lock_persons(cursor, user_ids)
    # What hangs on a reflection goes with it (ON DELETE CASCADE), so nothing of theirs can be forgotten here.
    gone = [key for (key,) in cursor.execute(_ERASE, (user_ids,)).fetchall()]
    cursor.execute(
        "DELETE FROM dead_letters WHERE user_id = ANY(%s) OR reflection_id = ANY(%s)", (user_ids, gone)
    )
    return Erased(reflections=len(gone), trained_versions=tuple(models.trained_on(cursor, user_ids)))
