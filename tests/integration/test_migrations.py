"""The schema goes up and down with rows in it, and says the same as the tables of `worker.store`."""

import subprocess
import sys

import orjson
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
from worker.events.variables import FLAGS
from worker.store import journal, roles
from worker.store.engine import MIGRATIONS, Store

VIEWS = ("consented_perceptions", "current_perceptions", "daily_mood", "risk_queue", "awaiting_review")


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
        connection.execute("INSERT INTO reviewers (name, password) VALUES ('ann', 'x')")
        connection.execute("INSERT INTO review_cases (reflection_id, revision) VALUES ('r0', 1)")
        connection.execute(
            "INSERT INTO review_claims (case_id, reviewer, kind, until)"
            " SELECT id, 'ann', 'review', now() FROM review_cases"
        )
        connection.execute("INSERT INTO review_log (actor, action, detail) VALUES ('ann', 'opened', '{}')")
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


def test_the_queues_scores_follow_the_flags_that_make_the_level_up_and_down(store, database_url):
    given = [reflection("r", at_min=1)]
    admit(store, given)
    enrich(store, given)
    flags = dict.fromkeys(FLAGS, 0.1) | {"profanity": 0.99, "abuse": 0.6, "self_harm": 0.4}
    risk = orjson.dumps({"level": "high", "flags": flags, "thresholds": dict.fromkeys(FLAGS, 0.5)}).decode()
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE perceptions SET risk_level = 'high', risk = %s", (risk,))
        connection.execute("UPDATE reflections SET screen_level = 'medium', screen = %s", (risk,))

    def scores():
        with psycopg.connect(database_url) as connection:
            query = (
                "SELECT risk_score, screen_score FROM perceptions JOIN reflections r ON r.id = reflection_id"
            )
            return connection.execute(query).fetchone()

    # with roles in force, whose policies ask the views
    roles.apply(store)
    store.downgrade("0020")
    assert scores() == (0.99, 0.99)
    store.migrate()
    roles.apply(store)
    assert scores() == (0.6, 0.6)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT kind FROM reviews").fetchall() == []
        assert connection.execute("SELECT reflection_id FROM awaiting_review").fetchall() == [("r",)]


def test_a_single_readers_word_from_before_is_kept_and_settles_nothing(store, database_url):
    given = [reflection("r", at_min=1)]
    admit(store, given)
    store.downgrade("0020")
    with psycopg.connect(database_url) as connection:
        for decision in ("read", "called"):
            connection.execute(
                "INSERT INTO reviews (reflection_id, revision, reviewer, decision) VALUES ('r', 1, 'x', %s)",
                (decision,),
            )
    store.migrate()
    with psycopg.connect(database_url) as connection:
        kept = connection.execute("SELECT kind, decision FROM reviews ORDER BY id").fetchall()
        assert kept == [("single", "read"), ("single", "called")]
        assert connection.execute("SELECT count(*) FROM review_cases").fetchone() == (0,)
