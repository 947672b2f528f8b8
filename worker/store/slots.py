"""Scheduled times in Postgres: each is run once, whoever announces it, and however often.

A row is the right to run: it is inserted by the worker that begins, never by a beat. A beat that dies, a
message that is lost or comes twice change nothing in that. An owner that falls silent loses its slot to the
next one who asks; after `ATTEMPTS` such ends the slot has failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson

from worker.store.engine import Cursor, Store

State = Literal["running", "done", "skipped", "failed"]
HEARTBEAT_S = 10.0
LOST_S = 45.0
"""An owner that has not been heard of for this long is dead."""
ATTEMPTS = 3
"""Beginnings of a slot; one more would only kill one more worker."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """One scheduled time `at` of the task `name`, in the hands of `owner` for the `attempt`th time since
    `began`."""

    name: str
    at: datetime
    owner: str
    attempt: int
    began: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A slot as it stands; `progress` and `detail` hold names and figures, never a text."""

    name: str
    at: datetime
    state: State
    attempts: int
    progress: Mapping[str, Any]
    detail: Mapping[str, Any]
    began: datetime
    finished: datetime | None


_CLAIM = """
INSERT INTO slots (name, slot, owner, state, began_at)
SELECT %(name)s, %(at)s, %(owner)s, 'running', clock_timestamp()
WHERE %(fresh)s OR EXISTS (SELECT FROM slots WHERE name = %(name)s AND slot = %(at)s)
ON CONFLICT (name, slot) DO UPDATE SET
    owner = %(owner)s, heartbeat = clock_timestamp(), attempts = slots.attempts + 1
WHERE slots.state = 'running' AND slots.attempts < %(attempts)s
  AND slots.heartbeat < clock_timestamp() - make_interval(secs => %(lost)s)
RETURNING attempts, began_at
"""
_OURS = "name = %(name)s AND slot = %(at)s AND owner = %(owner)s AND state = 'running'"
_RENEW = (
    "UPDATE slots SET heartbeat = clock_timestamp(), progress = %(progress)s::text::jsonb"  # noqa: S608 - ours
    f" WHERE {_OURS}"
)
_FINISH = (
    "UPDATE slots SET state = %(state)s, detail = %(detail)s::text::jsonb,"  # noqa: S608 - ours
    f" finished_at = clock_timestamp() WHERE {_OURS}"
)
_RELEASE = f"UPDATE slots SET heartbeat = '-infinity', attempts = attempts - %(unused)s WHERE {_OURS}"  # noqa: S608
_BEGIN = """
INSERT INTO slots (name, slot, state, detail, finished_at)
SELECT n, s, 'skipped', '{"reason": "before the first beat"}', now()
FROM unnest(%b::text[], %b::timestamptz[]) AS a (n, s)
WHERE NOT EXISTS (SELECT FROM slots o WHERE o.name = a.n)
ON CONFLICT DO NOTHING
"""
_UNBEGUN = """
SELECT n, s FROM unnest(%b::text[], %b::timestamptz[]) AS a (n, s)
WHERE NOT EXISTS (SELECT FROM slots o WHERE o.name = a.n AND o.slot >= a.s)
"""
_GIVE_UP = """
UPDATE slots SET state = 'failed', finished_at = clock_timestamp(),
    detail = '{"reason": "each attempt ended with its worker"}'
WHERE state = 'running' AND attempts >= %(attempts)s AND name = ANY(%(names)s)
  AND heartbeat < clock_timestamp() - make_interval(secs => %(lost)s)
"""
_LOST = """
SELECT name, slot FROM slots
WHERE state = 'running' AND name = ANY(%(names)s)
  AND heartbeat < clock_timestamp() - make_interval(secs => %(lost)s)
ORDER BY slot
"""


def claim(store: Store, name: str, at: datetime, owner: str, *, fresh: bool) -> Slot | None:
    """The slot, if it is now ours to run: nobody had begun it (asked only where `fresh`), or who had fell
    silent."""
    wanted = {
        "name": name, "at": at, "owner": owner, "fresh": fresh, "attempts": ATTEMPTS, "lost": LOST_S,
    }  # fmt: skip
    found = store.transact(lambda cursor: cursor.execute(_CLAIM, wanted).fetchone())
    if found is None:
        return None
    return Slot(name=name, at=at, owner=owner, attempt=found[0], began=found[1])


def renew(store: Store, slot: Slot, progress: Mapping[str, Any]) -> bool:
    """A sign of life of the owner, and how far it is; False when the slot is not its own any more."""
    return _change(store, _RENEW, slot, progress=orjson.dumps(dict(progress)).decode())


def finish(store: Store, slot: Slot, state: State, detail: Mapping[str, Any]) -> bool:
    """The end of a slot; False when it is another's meanwhile."""
    return _change(store, _FINISH, slot, state=state, detail=orjson.dumps(dict(detail)).decode())


def release(store: Store, slot: Slot, *, counts: bool) -> bool:
    """Give a slot back for another worker to go on with; `counts` says whether this was an attempt."""
    return _change(store, _RELEASE, slot, unused=0 if counts else 1)


def begin(store: Store, latest: Mapping[str, datetime]) -> None:
    """A task that this database has never seen starts with its next slot: the one just past is skipped."""
    names, times = list(latest), list(latest.values())
    store.transact(lambda cursor: cursor.execute(_BEGIN, (names, times)))


def unbegun(store: Store, latest: Mapping[str, datetime]) -> dict[str, datetime]:
    """Those of the `latest` slots that nobody has begun, nor a later one of the same task."""
    names, times = list(latest), list(latest.values())
    return dict(store.transact(lambda cursor: cursor.execute(_UNBEGUN, (names, times)).fetchall()))


def lost(store: Store, names: Iterable[str]) -> list[tuple[str, datetime]]:
    """Begun slots of these tasks whose owner fell silent, oldest first; those that ended so too often have
    failed."""
    wanted = {"names": list(names), "attempts": ATTEMPTS, "lost": LOST_S}

    def work(cursor: Cursor) -> list[tuple[str, datetime]]:
        cursor.execute(_GIVE_UP, wanted)
        found: list[tuple[str, datetime]] = cursor.execute(_LOST, wanted).fetchall()
        return found

    return store.transact(work)


def recent(store: Store, *, limit: int = 100) -> list[Entry]:
    """The slots begun last, newest first."""
    query = (
        "SELECT name, slot, state, attempts, progress, detail, began_at, finished_at FROM slots"
        " ORDER BY began_at DESC LIMIT %s"
    )
    names = ("name", "at", "state", "attempts", "progress", "detail", "began", "finished")
    rows = store.transact(lambda cursor: cursor.execute(query, (limit,)).fetchall())
    return [Entry(**dict(zip(names, row, strict=True))) for row in rows]


def prune(store: Store, *, days: int) -> int:
    """Forget ended slots that are older, but of each task the latest; how many."""
    query = (
        "DELETE FROM slots s WHERE s.state <> 'running' AND s.slot < now() - make_interval(days => %s)"
        " AND EXISTS (SELECT FROM slots l WHERE l.name = s.name AND l.slot > s.slot)"
    )
    return store.transact(lambda cursor: cursor.execute(query, (days,)).rowcount)


def _change(store: Store, statement: str, slot: Slot, **values: object) -> bool:
    given = {"name": slot.name, "at": slot.at, "owner": slot.owner, **values}
    return store.transact(lambda cursor: cursor.execute(statement, given).rowcount == 1)
