"""The schema goes up and down with rows in it, and says the same as the tables of `worker.store`."""

import subprocess
import sys

import psycopg
import pytest
from alembic.config import Config
from pytest_alembic.tests import (  # noqa: F401 - collected here
    test_model_definitions_match_ddl,
    test_single_head_revision,
    test_up_down_consistency,
    test_upgrade,
)
from sqlalchemy import create_engine, make_url

from tests.support.appraisals import admit, enrich, reflection
from worker.store import journal
from worker.store.engine import MIGRATIONS, Store

VIEWS = ("consented_perceptions", "current_perceptions", "daily_mood", "risk_queue")


@pytest.fixture
def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


@pytest.fixture
def alembic_engine(empty_database_url):
    engine = create_engine(make_url(empty_database_url).set(drivername="postgresql+psycopg"))
    yield engine
    engine.dispose()


def relations(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'i', 'S')"
        ).fetchall()
    return {name for (name,) in rows}


def fill(store: Store, url: str) -> None:
    """At least one row in every table."""
    far = reflection("far", at_min=200 * 1440)  # its repair is put off
    admit(store, [far])
    enrich(store, [far])
    given = [reflection(f"r{n}", at_min=n) for n in range(3)]
    admit(store, [*given, reflection("r0", text="other")])
    enrich(store, given)
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO model_versions (version, digest, manifest) VALUES ('v1', 'd', '{}')")
        connection.execute("INSERT INTO model_events (version, kind) VALUES ('v1', 'registered')")
        connection.execute(
            "INSERT INTO training_runs (slot, plan, state, model_version) VALUES ('s', '{}', 'done', 'v1')"
        )
        connection.execute(
            "INSERT INTO labels (reflection_id, source, user_id) VALUES ('r0', 'reviewer', 'u-1')"
        )
        connection.execute(
            "INSERT INTO reviews (reflection_id, revision, reviewer, decision) VALUES ('r0', 1, 'x', 'read')"
        )
        connection.execute(
            "INSERT INTO repairs (user_id, model_version, changed_at, cause) VALUES ('u', 'v', now(), 'r0')"
        )
        connection.execute(
            "INSERT INTO drift_checks (slot, measure, slice, kind, model_version, effect, floor, chance,"
            " alarm, reference_rows, current_rows, reference_people, current_people)"
            " VALUES ('s', 'valence', 'all', 'outputs', 'v1', 0, 0, 1, false, 1, 1, 1, 1)"
        )
        connection.execute("INSERT INTO slots (name, slot, state) VALUES ('n', now(), 'done')")
        connection.execute("INSERT INTO reenrichments (version, users) VALUES ('v1', '{u-1}')")
        empty = [
            name
            for (name,) in connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            ).fetchall()
            if connection.execute(f'SELECT count(*) FROM "{name}"'.encode()).fetchone() == (0,)
        ]
    assert empty == []


def test_the_views_go_down_and_up_again_and_the_rows_stay(store, database_url):
    fill(store, database_url)
    before, whole = journal.entries(store), relations(database_url)
    store.downgrade("0002")
    there = relations(database_url)
    store.downgrade("0001")
    assert relations(database_url) == there - set(VIEWS)
    store.migrate()
    assert relations(database_url) == whole
    assert journal.entries(store) == before


def test_everything_goes_down_with_rows_in_it_and_comes_up_again(store, database_url):
    fill(store, database_url)
    there = relations(database_url)
    store.downgrade("base")
    assert relations(database_url) == {"alembic_version", "alembic_version_pkc"}
    store.migrate()
    assert relations(database_url) == there
    fill(store, database_url)


def test_many_processes_may_migrate_at_once(empty_database_url):
    program = "import sys; from worker.store.engine import Store; Store.open(sys.argv[1]).migrate()"
    command = [sys.executable, "-c", program, empty_database_url]
    starters = [subprocess.Popen(command, cwd=MIGRATIONS.parent) for _ in range(4)]
    assert [starter.wait(60) for starter in starters] == [0, 0, 0, 0]
    assert set(VIEWS) < relations(empty_database_url)
