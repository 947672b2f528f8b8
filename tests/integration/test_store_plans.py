"""The indexes are used: EXPLAIN of every query that must not grow with the tables, on tables of some size."""

import re
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from tests.support.appraisals import START, VERSION
from tests.support.database import Server
from worker.store import stored
from worker.store.deliveries import STORED
from worker.store.engine import Store
from worker.store.timelines import STRETCHES

PERSONS, EACH = 40, 500

FILL = f"""
INSERT INTO reflections (id, user_id, revision, created_at, utc_offset_min, local_day, text, digest,
    consent_training,
                         screen_level, screen_score, screen)
SELECT 'r' || n, 'u-' || n % {PERSONS}, 1, '{START}'::timestamptz + n * interval '1 hour', 0, '2026-11-01',
    repeat('x', 120),
       '', false, CASE n % 500 WHEN 0 THEN 'high' WHEN 250 THEN 'medium' ELSE 'none' END, 0.5, '{{}}'
FROM generate_series(1, {PERSONS * EACH}) n;
INSERT INTO deliveries (reflection_id, revision, model_version, state, attempts, lane)
SELECT id, 1, '{VERSION}', 'done', 1, 'live' FROM reflections;
INSERT INTO traces (reflection_id, model_version, user_id, created_at, static, history)
SELECT id, '{VERSION}', user_id, created_at, decode(repeat('00', 144), 'hex'), decode(repeat('00', 152),
    'hex')
FROM reflections;
INSERT INTO perceptions (reflection_id, model_version, user_id, revision, created_at, valence, arousal,
    invoked, expressed,
    willingness, congruence, comparator, expected_valence, expected_arousal, intervals, emotions, language,
    language_supported, risk_level, risk_score, risk, provenance, timings)
SELECT id, '{VERSION}', user_id, 1, created_at, 0.5, 0.5, '{{}}', '{{}}', 0.5, 0.5, 0, 0.5, 0.5, '{{}}',
    '{{}}', 'en', true,
       screen_level, 0.5, '{{}}', '{{}}', '{{}}'
FROM reflections WHERE id NOT LIKE '%7500' AND id NOT LIKE '%6250';
ANALYZE;
"""


@pytest.fixture(scope="module")
def full_url(postgres: Server, template: str) -> Iterator[str]:
    """A database of PERSONS * EACH rows in the hot tables, analysed."""
    name = postgres.create(template)
    with psycopg.connect(postgres.url(name), autocommit=True) as connection:
        connection.execute(FILL.encode())
    yield postgres.url(name)
    postgres.drop(name)


def shown(rows: list[tuple[str]]) -> str:
    return "\n".join(row for (row,) in rows)


def scanned(plan: str) -> set[str]:
    """Tables a plan reads from end to end."""
    return {line.split(" on ")[1].split()[0] for line in plan.splitlines() if "Seq Scan on" in line}


def as_reader(url: str, query: str) -> str:
    """The plan another program gets, with the server's own settings."""
    with psycopg.connect(url) as connection:
        return shown(connection.execute(("EXPLAIN (ANALYZE) " + query).encode()).fetchall())


def as_store(url: str, query: str, given: object) -> str:
    """The plan the store's own statement gets on the store's own connections."""

    def work(cursor):
        return shown(cursor.execute("EXPLAIN (ANALYZE) " + query, given).fetchall())

    with Store.open(url) as store:
        return store.transact(work)


def test_history_of_a_batch_reads_the_spans_it_needs_through_the_timeline_index(full_url):
    given = {
        "users": [f"u-{n}" for n in range(32)],
        "times": [START + timedelta(hours=PERSONS * EACH // 2)] * 32,
        "version": VERSION,
    }
    plan = as_store(full_url, STRETCHES, given)
    assert scanned(plan) == set()
    reads = [line for line in plan.splitlines() if "traces_timeline_idx" in line]
    assert len(reads) == 3
    # 64 traces on either side and one between them: no more, however long the person's history
    assert all(float(re.search(r"actual .*rows=([\d.]+)", line)[1]) <= 129 for line in reads)


def test_redelivery_is_looked_up_by_key(full_url):
    plan = as_store(full_url, STORED, ([f"r{n}" for n in range(1, 65)], [1] * 64))
    assert scanned(plan) == set()
    assert "reflections_pkey" in plan
    assert "deliveries_pkey" in plan


def test_current_perceptions_of_one_user_come_through_an_index(full_url):
    plan = as_reader(full_url, "SELECT * FROM current_perceptions WHERE user_id = 'u-5'")
    assert "perceptions" not in scanned(plan)
    assert "perceptions_user_id_created_at_idx" in plan


def test_the_current_perception_of_one_reflection_comes_through_the_key(full_url):
    plan = as_reader(full_url, "SELECT * FROM current_perceptions WHERE reflection_id = 'r77'")
    assert "perceptions" not in scanned(plan)
    assert "perceptions_pkey" in plan


def test_the_risk_queue_reads_only_risky_rows(full_url):
    plan = as_reader(full_url, "SELECT * FROM risk_queue LIMIT 20")
    assert scanned(plan) <= {"reviews", "model_versions"}
    assert "perceptions_risk_idx" in plan
    assert "reflections_screen_idx" in plan


def test_the_risk_queue_holds_the_risky_and_the_screened_without_a_perception(full_url):
    with psycopg.connect(full_url) as connection:
        rows = connection.execute(
            "SELECT source || ' ' || level, count(*) FROM risk_queue GROUP BY source, level"
        ).fetchall()
    # Every 500th is high and every 500th medium; r7500, r17500, r6250 and r16250 have no perception.
    assert dict(rows) == {
        "perception high": 38,
        "perception medium": 38,
        "screen high": 2,
        "screen medium": 2,
    }


def test_what_a_new_version_lacks_is_found_through_indexes(full_url):
    since = START - timedelta(days=1)
    given = {
        "version": "v-new", "since": None, "users": None, "after": "u-3", "limit": 32, "user": "u-5",
        "last": 10, "until": START + timedelta(days=4000), "share": 1.0,
    }  # fmt: skip
    batch = {"users": ["u-1", "u-2"], "times": [START + timedelta(days=900)] * 2}
    for query, names, index in (
        (stored._EARLIER, given | batch, "reflections_user_id_created_at_idx"),
        (stored._PEOPLE, given, "reflections_user_id_created_at_idx"),
        (stored._OF_PERSON, given, "reflections_user_id_created_at_idx"),
        (stored._UNTIL, given | {"after": since}, "reflections_received_at_idx"),
        (stored._RECEIVED, given | {"after": since}, "reflections_received_at_idx"),
    ):
        plan = as_store(full_url, query, names)
        assert not scanned(plan) & {"reflections", "perceptions", "deliveries"}, plan
        assert index in plan
    assert "reflections_received_at_idx" in as_store(full_url, stored._LATELY, (2000,))
