"""Which bundles this database has seen: the one that serves, the one tried beside it, what served when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson

from worker.errors import BundleRefused, UsageError
from worker.store.engine import Cursor, Store
from worker.store.vault import person_digest

DIGEST = 16
"""Bytes of one digest in `people`; `worker.bundle.people` makes them."""

Kind = Literal[
    "registered", "shadowed", "refused", "promoted", "rolled_back", "swapped", "swap_failed", "reenriched"
]
SERVES: tuple[Kind, ...] = ("promoted", "rolled_back")
"""Events after which their version serves, until the next of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """A known bundle: `location` is the folder or URL it is read from, None where nobody said; `since` when
    it began to serve, or to be tried."""

    version: str
    digest: str
    location: str | None
    since: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that happened to a version; `detail` holds reasons and figures, never a text."""

    version: str
    kind: Kind
    at: datetime
    detail: Mapping[str, Any]


def register(
    store: Store,
    version: str,
    *,
    digest: str,
    manifest: Mapping[str, Any],
    people: bytes = b"",
    location: str | None = None,
) -> bool:
    """Remember a bundle; whether it is new. Again is harmless, and tells a new `location`.

    `people`: digests of the users it was trained on, end to end, so that an erasure can name the bundle.
    Raises BundleRefused when `version` is known with another digest.
    """
    row = (version, digest, orjson.dumps(manifest).decode(), people, location)

    def work(cursor: Cursor) -> bool:
        cursor.execute(
            "INSERT INTO model_versions (version, digest, manifest, people, location)"
            " VALUES (%s, %s, %s::text::jsonb, %s, %s) ON CONFLICT (version) DO NOTHING",
            row,
        )
        fresh = cursor.rowcount == 1
        if fresh:
            record(cursor, version, "registered", {"location": location})
        else:
            cursor.execute(
                "UPDATE model_versions SET people = %(people)s, location = coalesce(%(location)s, location)"
                " WHERE version = %(version)s AND digest = %(digest)s"
                " AND (people <> %(people)s OR location IS DISTINCT FROM coalesce(%(location)s, location))",
                {"version": version, "digest": digest, "people": people, "location": location},
            )
        found = cursor.execute("SELECT digest FROM model_versions WHERE version = %s", (version,)).fetchone()
        assert found is not None
        if found[0] != digest:
            raise BundleRefused(version, "this version is registered with another digest")
        return fresh

    return store.transact(work)


def activate(
    store: Store,
    version: str,
    *,
    kind: Kind = "promoted",
    detail: Mapping[str, Any] | None = None,
    over: str | None = None,
) -> bool:
    """Make `version` the one that serves and that `current_perceptions` prefers; whether it was another
    before. It is tried beside none any more. Raises UsageError if it is unknown or, with `over`, when another
    than that one serves by now."""

    def work(cursor: Cursor) -> bool:
        cursor.execute("LOCK TABLE model_versions IN SHARE ROW EXCLUSIVE MODE")
        found = cursor.execute("SELECT active FROM model_versions WHERE version = %s", (version,)).fetchone()
        if found is None:
            raise UsageError(f"model version {version} is not registered")
        if found[0]:
            return False
        replaced = cursor.execute("SELECT version FROM model_versions WHERE active").fetchone()
        if over is not None and replaced != (over,):
            raise UsageError(f"version {over} does not serve any more: compare {version} with what does")
        cursor.execute("UPDATE model_versions SET active = false WHERE active")
        cursor.execute(
            "UPDATE model_versions SET active = true, activated_at = clock_timestamp(), shadow_since = NULL"
            " WHERE version = %s",
            (version,),
        )
        record(cursor, version, kind, detail)
        return True

    return store.transact(work)


def shadow(store: Store, version: str | None, *, detail: Mapping[str, Any] | None = None) -> None:
    """Try `version` beside the serving one, in the place of any other; None tries none. Raises UsageError if
    it is unknown or serves already."""

    def work(cursor: Cursor) -> None:
        cursor.execute("LOCK TABLE model_versions IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute(
            "UPDATE model_versions SET shadow_since = NULL"
            " WHERE shadow_since IS NOT NULL AND version IS DISTINCT FROM %s",
            (version,),
        )
        if version is None:
            return
        found = cursor.execute(
            "SELECT active, shadow_since FROM model_versions WHERE version = %s", (version,)
        ).fetchone()
        if found is None:
            raise UsageError(f"model version {version} is not registered")
        if found[0]:
            raise UsageError(f"model version {version} serves: it cannot be tried beside itself")
        if found[1] is None:
            cursor.execute(
                "UPDATE model_versions SET shadow_since = clock_timestamp() WHERE version = %s", (version,)
            )
        if found[1] is None or detail is not None:
            record(cursor, version, "shadowed", detail)

    store.transact(work)


def serving(store: Store) -> Registered | None:
    """The version that serves, None before the first activation."""
    return _one(store, "active", "activated_at")


def challenger(store: Store) -> Registered | None:
    """The version that is tried beside the serving one, if any is."""
    return _one(store, "shadow_since IS NOT NULL", "shadow_since")


def find(store: Store, version: str) -> Registered | None:
    """A version by its name, None when it was never registered."""
    return _one(store, "version = %s", "activated_at", version)


def active(store: Store) -> str | None:
    """The name of the version that serves, None before the first activation."""
    found = serving(store)
    return None if found is None else found.version


def record(cursor: Cursor, version: str, kind: Kind, detail: Mapping[str, Any] | None) -> None:
    """Write an event into the history, in the caller's transaction."""
    cursor.execute(
        "INSERT INTO model_events (version, kind, at, detail)"
        " VALUES (%s, %s, clock_timestamp(), %s::text::jsonb)",
        (version, kind, orjson.dumps(dict(detail or {})).decode()),
    )


def history(store: Store, *, limit: int = 1_000) -> list[Event]:
    """What happened to all versions, newest first."""
    query = "SELECT version, kind, at, detail FROM model_events ORDER BY id DESC LIMIT %s"
    return [
        Event(version=version, kind=kind, at=at, detail=detail)
        for version, kind, at, detail in store.transact(
            lambda cursor: cursor.execute(query, (limit,)).fetchall()
        )
    ]


def previous(store: Store) -> Registered | None:
    """The version that a rollback leads to: the one before the present one, of those that were promoted and
    not rolled back since. None if there was none."""
    query = "SELECT version, kind FROM model_events WHERE kind = ANY(%s) ORDER BY id"
    events = store.transact(lambda cursor: cursor.execute(query, (list(SERVES),)).fetchall())
    standing: list[str] = []
    for version, kind in events:
        if kind == "promoted":
            standing.append(version)
        else:  # what served after the version it went back to is left behind for good
            kept = standing.index(version) if version in standing else len(standing) - 1
            standing = [*standing[: max(kept, 0)], version]
    present = active(store)
    earlier = [version for version in standing if version != present]
    return find(store, earlier[-1]) if earlier else None


def trained_on(cursor: Cursor, user_ids: Iterable[str]) -> list[str]:
    """The registered versions trained on any of these users, sorted."""
    wanted = {person_digest(user_id)[:DIGEST] for user_id in user_ids}
    query = "SELECT version, people FROM model_versions ORDER BY version"
    return [
        version
        for version, people in cursor.execute(query).fetchall()
        if any(people[at : at + DIGEST] in wanted for at in range(0, len(people), DIGEST))
    ]


def _one(store: Store, where: str, since: str, *values: object) -> Registered | None:
    query = f"SELECT version, digest, location, {since} FROM model_versions WHERE {where}"  # noqa: S608 - ours
    found = store.transact(lambda cursor: cursor.execute(query, values).fetchone())
    if found is None:
        return None
    version, digest, location, moment = found
    return Registered(version=version, digest=digest, location=location, since=moment)
