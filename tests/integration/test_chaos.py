"""The chaos harness on real parts: its account in a real database, and two faults from end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import psycopg
import pytest

from benchmarks.chaos import account
from benchmarks.chaos.account import Found
from tests.support.service import ROOT

SEED = 233
KINDS = ["database-kill", "broker-stop"]
"""With this seed: 0.3 s and 1 s long."""


def test_the_database_is_asked_about_every_part_of_a_row(database_url):
    with psycopg.connect(database_url) as connection:
        for id_, state, trace, observed in (
            ("whole", "done", True, 0.25),
            ("no-trace", "done", False, 0.25),
            ("unfinished", "accepted", True, 0.25),
            ("wrong-value", "done", True, 0.5),
        ):
            _write(connection, id_, state, trace=trace, comparator=observed)
        _reflection(connection, "no-row", "done")
        connection.execute(
            "INSERT INTO dead_letters (message_id, position, reflection_id, reason, detail, attempts)"
            " VALUES ('m', 0, 'parked', 'bad_json', '', 1), ('m', 1, 'whole', 'bad_json', '', 1)"
        )

    asked = ["whole", "no-trace", "unfinished", "wrong-value", "no-row", "parked", "nowhere"]
    found = {one.id: one for one in account.found(database_url, asked)}

    assert found["whole"] == Found(id="whole", rows=1, dead_letters=1)
    assert {id_ for id_, one in found.items() if one.partial} == {"no-trace", "unfinished", "wrong-value"}
    assert {id_ for id_, one in found.items() if one.lost} == {"no-row", "nowhere"}
    assert found["parked"] == Found(id="parked", rows=0, dead_letters=1)
    with psycopg.connect(database_url) as connection:
        resting = account.resting(connection, asked)
    assert resting == {"whole", "no-trace", "unfinished", "wrong-value", "parked"}


def _reflection(connection, id_, state):
    connection.execute(
        "INSERT INTO reflections (id, user_id, revision, created_at, utc_offset_min, local_day, digest,"
        " consent_training, screen_level, screen_score, screen)"
        " VALUES (%s, 'u', 1, now(), 0, current_date, '', false, 'none', 0, '{}')",
        (id_,),
    )
    connection.execute(
        "INSERT INTO deliveries (reflection_id, revision, model_version, state, attempts, lane)"
        " VALUES (%s, 1, 'v', %s, 1, 'live')",
        (id_, state),
    )


def _write(connection, id_, state, *, trace, comparator):
    _reflection(connection, id_, state)
    connection.execute(
        "INSERT INTO perceptions (reflection_id, model_version, user_id, revision, created_at, valence,"
        " arousal, invoked, expressed, willingness, congruence, comparator, expected_valence,"
        " expected_arousal, intervals, emotions, language, language_supported, risk_level, risk_score, risk,"
        " provenance, timings)"
        " VALUES (%(id)s, 'v', 'u', 1, now(), .75, .5, '{}', '{}', .5, .5, %(comparator)s, .5, .5,"
        " %(some)s, %(some)s, 'en', true, 'none', 0, '{}', %(some)s, %(some)s)",
        {"id": id_, "comparator": comparator, "some": '{"a": 1}'},
    )
    if trace:
        connection.execute(
            "INSERT INTO traces (reflection_id, model_version, user_id, created_at, static, history)"
            " VALUES (%s, 'v', 'u', now(), '', '')",
            (id_,),
        )


@pytest.mark.slow
def test_two_faults_from_end_to_end(bundle, tmp_path):
    out = tmp_path / "chaos.json"
    argv = [sys.executable, "-m", "benchmarks.chaos", "--seed", str(SEED), "--faults", "2", "--events", "60"]
    argv += ["--hosts", "1", "--bundle", str(bundle), "--out", str(out), "--kinds", *KINDS]
    environment = {**os.environ, "FELTSENSE_CACHE_DIR": str(ROOT / ".cache"), "PYTHONPATH": str(ROOT)}

    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)

    assert done.returncode == 0, done.stderr
    told = json.loads(out.read_text())
    assert (told["lost"], told["doubled"], told["partial"], told["faults"]) == (0, 0, 0, 2)
    assert told["accepted"] == told["rows"] + told["dead_letters"] == 60
    assert [one["fault"]["kind"] for one in told["rounds"]] == KINDS
    assert all(seconds >= 0 for seconds in told["recovery_s"])
    assert list((tmp_path / "chaos").iterdir()) == []
