"""Between the two commits: who has an accepted event in hand, kept alive by that worker's heartbeat.

An attempt that ends with its worker shows as a lease that ran out after the work had begun. Nothing else
counts as one: not that a broker delivers a message again, not that a worker gave back what it held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker.store.engine import Store

LEASE_S = 12.0
"""A worker that has not been heard of for this long has lost what it had in hand."""
ATTEMPTS = 3
"""Attempts of an event that may end badly; the last of them parks it."""
CRASHED = "enrichment_crashed"
"""The reason of its dead letter when they ended with their workers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """Whose work it is (a name no two worker processes share), and for how long without a heartbeat."""

    owner: str
    seconds: float = LEASE_S


_EXTEND = """
UPDATE deliveries d SET lease_until = clock_timestamp() + make_interval(secs => %s)
FROM (
    SELECT o.reflection_id, o.revision FROM deliveries o
    WHERE o.state = 'accepted' AND o.owner = %s
    ORDER BY o.reflection_id, o.revision FOR UPDATE SKIP LOCKED
) held
WHERE d.reflection_id = held.reflection_id AND d.revision = held.revision
"""
"""Skips what is being finished at this moment."""

_BEGIN = """
UPDATE deliveries d SET begun = true, lease_until = clock_timestamp() + make_interval(secs => %s)
FROM unnest(%b::text[], %b::int[]) AS a (id, revision)
WHERE d.reflection_id = a.id AND d.revision = a.revision AND d.state = 'accepted' AND d.owner = %s
"""

_PIN = """
UPDATE deliveries d SET model_version = %s, begun = d.begun OR d.attempts = 0
FROM unnest(%b::text[], %b::int[]) AS a (id, revision)
WHERE d.reflection_id = a.id AND d.revision = a.revision AND d.state = 'accepted' AND d.owner = %s
"""

_RELEASE = "UPDATE deliveries SET owner = NULL, lease_until = NULL WHERE state = 'accepted' AND owner = %s"

_GIVE_BACK = """
UPDATE deliveries d SET owner = NULL, lease_until = NULL
FROM unnest(%b::text[], %b::int[]) AS a (id, revision)
WHERE d.reflection_id = a.id AND d.revision = a.revision AND d.state = 'accepted' AND d.owner = %s
"""


def extend(store: Store, lease: Lease) -> int:
    """Renew the lease on everything its owner has in hand; how many deliveries that is."""
    return store.transact(lambda cursor: cursor.execute(_EXTEND, (lease.seconds, lease.owner)).rowcount)


def begin(store: Store, revisions: Sequence[tuple[str, int]], lease: Lease) -> None:
    """From now on the end of the owner counts as an attempt of these (reflection id, revision)."""
    given = (lease.seconds, *_columns(revisions), lease.owner)
    store.transact(lambda cursor: cursor.execute(_BEGIN, given))


def pin(store: Store, revisions: Sequence[tuple[str, int]], lease: Lease, *, model_version: str) -> None:
    """Pin these (reflection id, revision), accepted while no model was there, to what serves now; the work
    on those that no attempt was lost of has begun."""
    given = (model_version, *_columns(revisions), lease.owner)
    store.transact(lambda cursor: cursor.execute(_PIN, given))


def give_back(store: Store, revisions: Sequence[tuple[str, int]], lease: Lease) -> None:
    """Let others have these (reflection id, revision), with no attempt counted."""
    store.transact(lambda cursor: cursor.execute(_GIVE_BACK, (*_columns(revisions), lease.owner)))


def release(store: Store, lease: Lease) -> int:
    """Give back all its owner has in hand, with no attempt counted; how many deliveries that was."""
    return store.transact(lambda cursor: cursor.execute(_RELEASE, (lease.owner,)).rowcount)


def _columns(revisions: Sequence[tuple[str, int]]) -> tuple[list[str], list[int]]:
    return [key for key, _ in revisions], [revision for _, revision in revisions]
