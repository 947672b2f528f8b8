"""What became of every accepted event, by plain SQL: a row, a dead letter, neither, or too much."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import psycopg
import redis

from worker.events.message import BULK, LIVE

AT_REST = """
SELECT a.id FROM unnest(%b::text[]) AS a (id)
WHERE EXISTS (SELECT FROM perceptions p WHERE p.reflection_id = a.id)
   OR EXISTS (SELECT FROM dead_letters d WHERE d.reflection_id = a.id)
"""

FOUND = """
SELECT a.id,
    (SELECT count(*) FROM perceptions p WHERE p.reflection_id = a.id),
    (SELECT count(*) FROM dead_letters d WHERE d.reflection_id = a.id),
    EXISTS (
        SELECT FROM perceptions p
        LEFT JOIN reflections r ON r.id = p.reflection_id
        LEFT JOIN traces t ON t.reflection_id = p.reflection_id AND t.model_version = p.model_version
        LEFT JOIN deliveries d ON d.reflection_id = p.reflection_id AND d.revision = p.revision
        WHERE p.reflection_id = a.id AND (
            r.id IS NULL OR t.reflection_id IS NULL OR d.state IS DISTINCT FROM 'done'
            OR d.model_version <> p.model_version OR r.revision <> p.revision OR r.user_id <> p.user_id
            OR p.timings = '{}' OR p.provenance = '{}' OR p.intervals = '{}' OR p.emotions = '{}'
            OR abs(p.comparator - (p.valence - p.expected_valence)) > 1e-9)),
    EXISTS (
        SELECT FROM deliveries d WHERE d.reflection_id = a.id
        AND (d.state = 'accepted' OR d.state = 'done' AND NOT EXISTS
            (SELECT FROM perceptions p WHERE p.reflection_id = a.id)))
FROM unnest(%b::text[]) AS a (id)
"""
"""Per id: rows, dead letters, whether a row lacks a part (its reflection, its trace, its finished delivery, a
value), and whether a delivery is not as its event is."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the database holds of one accepted event."""

    id: str
    rows: int
    dead_letters: int
    lacks_part: bool = False
    delivery_differs: bool = False

    @property
    def lost(self) -> bool:
        return self.rows + self.dead_letters == 0

    @property
    def doubled(self) -> bool:
        """More than one row, more than one dead letter, or a row and a dead letter."""
        return self.rows + self.dead_letters > 1

    @property
    def partial(self) -> bool:
        return not self.lost and (self.lacks_part or self.delivery_differs)


@dataclass(frozen=True, kw_only=True)
class Account:
    """The accepted events and their ends; ids where something is wrong."""

    accepted: int
    rows: int
    dead_letters: int
    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    partial: tuple[str, ...]
    parked: tuple[str, ...]
    """Events with a dead letter and no row."""
    innocent: tuple[str, ...]
    """Events that nothing was wrong with, parked all the same."""
    spared: tuple[str, ...]
    """Events that had to end as dead letters and got a row."""
    queued: int
    """Messages that still lie in the broker."""
    differing: tuple[str, ...] = ()
    """Rows that differ from those of an in-order run without faults."""

    @property
    def balanced(self) -> bool:
        """Accepted = rows + dead letters, none lost, none twice, no row without its parts."""
        wrong = self.lost or self.doubled or self.partial
        return not wrong and self.accepted == self.rows + self.dead_letters


def settle(found: Iterable[Found], *, guilty: Collection[str], queued: int = 0) -> Account:
    """The account of what was found; `guilty` are the ids that must end as dead letters."""
    known = sorted(found, key=lambda one: one.id)

    def ids(these: Iterable[Found]) -> tuple[str, ...]:
        return tuple(one.id for one in these)

    return Account(
        accepted=len(known),
        rows=sum(one.rows for one in known),
        dead_letters=sum(one.dead_letters for one in known),
        lost=ids(one for one in known if one.lost),
        doubled=ids(one for one in known if one.doubled),
        partial=ids(one for one in known if one.partial),
        parked=ids(one for one in known if one.dead_letters and not one.rows),
        innocent=ids(one for one in known if one.dead_letters and one.id not in guilty),
        spared=ids(one for one in known if one.rows and one.id in guilty),
        queued=queued,
    )


def found(database_url: str, accepted: Collection[str]) -> list[Found]:
    """What the database holds of these events."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        rows = connection.execute(FOUND, (sorted(accepted),)).fetchall()
    return [
        Found(id=key, rows=rows_, dead_letters=letters, lacks_part=lacks, delivery_differs=differs)
        for key, rows_, letters, lacks, differs in rows
    ]


def queued(broker_url: str) -> int:
    """Messages in both queues, and taken ones that nobody acknowledged."""
    with redis.Redis.from_url(broker_url) as broker:
        waiting = [broker.llen(LIVE), broker.llen(BULK), broker.hlen("unacked")]
    return sum(map(int, waiting))


def resting(connection: psycopg.Connection[tuple[Any, ...]], ids: Collection[str]) -> set[str]:
    """Those of `ids` that have their row or their dead letter."""
    return {key for (key,) in connection.execute(AT_REST, (sorted(ids),))}
