"""docs/partitions.sql: the same statements on partitioned tables leave the same rows."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.appraisals import VERSION, admit, enrich, place, reflection
from tests.support.service import ROOT
from worker.store import models, removal, repairs, roles, unfinished
from worker.store.engine import Store
from worker.store.leases import Lease

SCRIPT = (ROOT / "docs" / "partitions.sql").read_bytes()
GROWING = ("reflections", "traces", "perceptions", "deliveries")
TIMES = {
    "received_at",
    "enriched_at",
    "accepted_at",
    "finished_at",
    "repaired_at",
    "deleted_at",
    "lease_until",
}


def partition(url: str, parts: int = 4) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(f"SET LOCAL feltsense.partitions = {parts}".encode())
        connection.execute(SCRIPT)


@pytest.fixture
def both(store: Store, other_store: Store, database_url: str, other_url: str) -> tuple[str, str]:
    """Two databases with the same rows, the second one's tables cut into partitions since."""
    for one in (store, other_store):
        models.register(one, VERSION, digest="d", manifest={})
        models.activate(one, VERSION)
        early = [reflection(f"e{n}", f"u-{n % 3}", at_min=60 * n) for n in range(20)]
        admit(one, early)
        enrich(one, early)
    partition(other_url)
    return database_url, other_url


@pytest.fixture
def other_url(other_store: Store) -> str:
    row = other_store.transact(lambda cursor: cursor.execute("SELECT current_database()::text").fetchone())
    assert row is not None
    return f"{other_store._engine.url.set(drivername='postgresql', database=row[0]).render_as_string(False)}"


def rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    """All that the growing tables and the views hold, but for the moments of writing."""
    held = {}
    with psycopg.connect(url) as connection:
        for table in (*GROWING, "current_perceptions", "daily_mood", "risk_queue"):
            cursor = connection.execute(f"SELECT * FROM {table}".encode())
            names = [column.name for column in cursor.description or ()]
            keep = [n for n, name in enumerate(names) if name not in TIMES]
            held[table] = sorted(tuple(row[n] for n in keep) for row in map(_plain, cursor.fetchall()))
    return held


def _plain(row: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(repr(value) for value in row)


def story(store: Store) -> None:
    """New ones, an edit, a redelivery, a late one, a worker lost, a deletion, an erasure, a safety net."""
    new = [reflection(f"n{n}", f"u-{n % 4}", at_min=2000 + n) for n in range(40)]
    admit(store, new)
    enrich(store, new)
    edited = reflection("n1", "u-1", at_min=2001, revision=2)
    admit(store, [edited, new[5]], message_id="m-2")
    enrich(store, [edited, new[5]])
    late = reflection("late", "u-2", at_min=90)
    admit(store, [late], message_id="m-3")
    enrich(store, [late])
    admit(store, [reflection("lost", "u-1", at_min=3000)], message_id="m-4")
    found = unfinished.take(store, Lease(owner="w"), model_version=VERSION, grace_s=-1, limit=9)
    assert [one.reflection.id for one in found] == ["lost"]
    enrich(store, [one.reflection for one in found])
    removal.delete(store, ["n2"], {VERSION: place})
    assert removal.erase(store, ["u-3"]).reflections > 0
    repairs.catch_up(store, place, model_version=VERSION)


def test_rows_are_kept_and_every_statement_does_the_same(both, store, other_store):
    plain, parted = both
    assert rows(parted) == rows(plain)
    for one in (store, other_store):
        roles.apply(one)
        story(one)
    assert rows(parted) == rows(plain)
    with psycopg.connect(parted) as connection:
        spread = connection.execute("SELECT tableoid::regclass::text, count(*) FROM perceptions GROUP BY 1")
        assert len(spread.fetchall()) == 4


def test_names_rules_and_links_are_as_they_were(both):
    plain, parted = both
    query = """
        SELECT conrelid::regclass::text, conname, contype::text, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conparentid = 0
          AND NOT (SELECT relispartition FROM pg_class WHERE oid = conrelid)
        UNION ALL
        SELECT tablename, indexname, 'i', replace(indexdef, ' ON ONLY ', ' ON ') FROM pg_indexes
        WHERE schemaname = 'public' AND tablename !~ '_p[0-9]+$'
        ORDER BY 1, 2, 3, 4
    """
    with psycopg.connect(plain) as first, psycopg.connect(parted) as second:
        assert second.execute(query).fetchall() == first.execute(query).fetchall()


def test_again_it_changes_nothing(both):
    _, parted = both
    before = rows(parted)
    partition(parted, parts=8)
    assert rows(parted) == before
