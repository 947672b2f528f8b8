"""Which bundles this database has seen, and the one whose rows readers get."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from worker.errors import BundleRefused, UsageError
from worker.store.engine import Cursor, Store
from worker.store.vault import person_digest

DIGEST = 16
"""Bytes of one digest in `people`; `worker.bundle.people` makes them."""


def register(
    store: Store, version: str, *, digest: str, manifest: Mapping[str, Any], people: bytes = b""
) -> None:
    """Remember a bundle; once is enough, again is harmless.

    `people`: digests of the users it was trained on, end to end, so that an erasure can name the bundle.
    Raises BundleRefused when `version` is known with another digest.
    """
    row = (version, digest, orjson.dumps(manifest).decode(), people)

    def work(cursor: Cursor) -> str:
        cursor.execute(
            "INSERT INTO model_versions (version, digest, manifest, people)"
            " VALUES (%s, %s, %s::text::jsonb, %s) ON CONFLICT (version) DO UPDATE"
            " SET people = excluded.people WHERE model_versions.people <> excluded.people"
            " AND model_versions.digest = excluded.digest",
            row,
        )
        found = cursor.execute("SELECT digest FROM model_versions WHERE version = %s", (version,)).fetchone()
        assert found is not None
        return str(found[0])

    if store.transact(work) != digest:
        raise BundleRefused(version, "this version is registered with another digest")


def activate(store: Store, version: str) -> None:
    """Make `version` the one `current_perceptions` prefers. Raises UsageError if it is unknown."""

    def work(cursor: Cursor) -> int:
        cursor.execute("LOCK TABLE model_versions IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute("UPDATE model_versions SET active = false WHERE active AND version <> %s", (version,))
        cursor.execute(
            "UPDATE model_versions SET active = true,"
            " activated_at = CASE WHEN active THEN activated_at ELSE now() END WHERE version = %s",
            (version,),
        )
        if cursor.rowcount == 0:
            raise UsageError(f"model version {version} is not registered")
        return cursor.rowcount

    store.transact(work)


def active(store: Store) -> str | None:
    """The active version, None before the first activation."""
    query = "SELECT version FROM model_versions WHERE active"
    found = store.transact(lambda cursor: cursor.execute(query).fetchone())
    return None if found is None else str(found[0])


def trained_on(cursor: Cursor, user_ids: Iterable[str]) -> list[str]:
    """The registered versions trained on any of these users, sorted."""
    wanted = {person_digest(user_id)[:DIGEST] for user_id in user_ids}
    query = "SELECT version, people FROM model_versions ORDER BY version"
    return [
        version
        for version, people in cursor.execute(query).fetchall()
        if any(people[at : at + DIGEST] in wanted for at in range(0, len(people), DIGEST))
    ]
