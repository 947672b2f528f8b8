"""What a worker asks every minute, or for every reflection, reads the rows it is about and no others."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from benchmarks.filling import TABLES, People, fill
from tests.support.appraisals import START, VERSION, admit, enrich, reflection
from tests.support.database import Server
from worker.store import leases, unfinished
from worker.store.engine import Store
from worker.store.perceptions import _FINISH, _STANDING
from worker.store.timelines import STRETCHES

ROWS = 20_000
LONG = 5_000
UNTIL = datetime(2026, 10, 1, tzinfo=UTC)
PEOPLE = (
    People(name="other", count=ROWS // 100, each=100, until=UNTIL),
    People(name="long", count=1, each=LONG, until=UNTIL),
)


@pytest.fixture(scope="module")
def full_url(postgres: Server, template: str) -> Iterator[str]:
    """A database whose tables COPY has filled with rows shaped as real ones, one delivery of them open."""
    seed, name = postgres.create(template), postgres.create(template)
    given = [reflection(f"r{n}", f"u-{n % 7}", at_min=n, text="some words " * 12) for n in range(50)]
    with Store.open(postgres.url(seed), pool_size=1) as store:
        admit(store, given)
        enrich(store, given)
    fill(postgres.url(seed), postgres.url(name), PEOPLE, lambda _: None)
    with Store.open(postgres.url(name), pool_size=1) as store:
        admit(store, [reflection("waiting")])
    postgres.drop(seed)
    yield postgres.url(name)
    postgres.drop(name)


def blocks(url: str, query: str, given: object) -> int:
    """Pages that a statement of the store touches on the store's own connections."""

    def work(cursor):
        cursor.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + query, given)
        (plan,) = cursor.fetchone()
        cursor.connection.rollback()
        return plan[0]["Plan"]

    with Store.open(url, pool_size=1) as store:
        plan = store.transact(work)
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def test_filled_tables_hold_as_many_rows_each_and_the_times_asked_for(full_url):
    with psycopg.connect(full_url) as connection:
        for table in TABLES:
            rows = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
            assert rows in ((ROWS + LONG,), (ROWS + LONG + 1,)), table
        last = connection.execute(
            "SELECT max(created_at), count(*), count(DISTINCT created_at) FROM traces"
            " WHERE user_id = 'long-0'"
        ).fetchone()
    assert last == (UNTIL, LONG, LONG)


@pytest.mark.parametrize(
    ("what", "query", "given", "most"),
    [
        (
            "a reflection after a long history",
            STRETCHES,
            {"users": ["long-0"], "times": [UNTIL + timedelta(minutes=1)], "version": VERSION},
            300,
        ),
        (
            "a reflection in the middle of a long history",
            STRETCHES,
            {"users": ["long-0"], "times": [UNTIL - timedelta(hours=LONG / 2)], "version": VERSION},
            600,
        ),
        ("whether a revision still stands", _STANDING, (["waiting"], [1], VERSION, False, VERSION), 30),
        ("the end of a delivery", _FINISH, (["waiting"], [1], VERSION), 60),
        (
            "unfinished deliveries",
            unfinished._TAKE,
            {"lease": 1, "grace": -60, "limit": 256, "owner": "o", "version": VERSION},
            60,
        ),
        ("the heartbeat", leases._EXTEND, (15.0, "o"), 60),
        ("giving back", leases._RELEASE, ("o",), 60),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 50 else "",
)
def test_a_statement_touches_few_pages_of_full_tables(full_url, what, query, given, most):
    with psycopg.connect(full_url) as connection:
        row = connection.execute(
            "SELECT sum(relpages) FROM pg_class WHERE relname = ANY(%s)", (list(TABLES),)
        ).fetchone()
    assert row is not None
    assert row[0] > 5 * most  # a scan would show
    assert blocks(full_url, query, given) <= most, what


def test_new_reflections_of_a_long_history_are_placed_by_the_last_ones_only(full_url):
    with Store.open(full_url, pool_size=1) as store:
        new = [reflection(f"new{n}", "long-0", at_min=n) for n in range(3)]
        assert START > UNTIL
        admit(store, new)
        settled = enrich(store, new)
    assert (len(settled.written), settled.repaired) == (3, ())
