"""The numbers of broker and database, with and without anything that could answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
import redis
from prometheus_client import CollectorRegistry, generate_latest

from tests.support.events import event
from tests.support.program import feltsense
from tests.support.service import Instance
from worker.client.publisher import Publisher
from worker.events.message import BULK, LIVE
from worker.service import exporter
from worker.service.exporter import Exporter
from worker.service.queues import Ages, Queues, look
from worker.settings import Settings

GONE = "redis://:secret@127.0.0.1:1/0", "postgresql://feltsense:secret@127.0.0.1:1/feltsense"


def found(live: tuple[int, int], bulk: tuple[int, int] = (0, 0)) -> Queues:
    """A look: length and taken of each lane's list."""
    return Queues(
        waiting={LIVE: live[0], BULK: bulk[0]}, lists={LIVE: live, BULK: bulk}, held=0, held_s=0, pulses=(),
        memory=0, memory_limit=0,
    )  # fmt: skip


@pytest.fixture
def served(instance: Instance, tmp_path, monkeypatch) -> Iterator[Exporter]:
    monkeypatch.setattr(exporter, "FRESH_S", 0.0)
    monkeypatch.setattr(exporter, "HEAVY_FRESH_S", 0.0)
    made = Exporter(
        Settings(
            run_dir=tmp_path, broker_url=instance.broker_url, database_url=instance.database_url,
            retention_days=30,
        )
    )  # fmt: skip
    yield made
    made.close()


def scrape(of: Exporter) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(of)
    lines = generate_latest(registry).decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


def test_the_oldest_is_as_old_as_the_first_look_that_saw_it() -> None:
    ages = Ages()
    assert ages.of(found((3, 0)), now=100)[LIVE] == 0
    assert ages.of(found((5, 0)), now=110)[LIVE] == 10  # two more came, none was taken
    assert ages.of(found((4, 2)), now=120)[LIVE] == 20  # one of the first three is still there
    assert ages.of(found((4, 3)), now=130)[LIVE] == 20  # now the oldest came between 100 and 110
    assert ages.of(found((3, 6)), now=140)[LIVE] == 10
    assert ages.of(found((0, 9)), now=150)[LIVE] == 0
    assert ages.of(found((1, 9)), now=160)[LIVE] == 0


def test_the_ages_of_lanes_are_apart_and_survive_a_broker_that_lost_its_counts() -> None:
    ages = Ages()
    ages.of(found((1, 50), (1, 50)), now=0)
    assert ages.of(found((1, 51), (1, 50)), now=10) == {LIVE: 0, BULK: 10}
    assert ages.of(found((1, 0), (1, 50)), now=20) == {LIVE: 0, BULK: 20}


def test_a_thousand_looks_at_a_standing_queue_keep_its_age() -> None:
    ages = Ages()
    for now in range(5000):
        age = ages.of(found((now + 1, 0)), now=now)[LIVE]
    assert age == 4999


def test_what_waits_is_seen_without_a_worker_and_ages_until_one_takes_it(
    instance: Instance, served: Exporter
) -> None:
    with Publisher.connect(instance.broker_url) as publisher:
        publisher.publish(event("1"))
        publisher.publish(event("2"), lane=BULK)
        publisher.publish(event("3"), lane=BULK)
    first = scrape(served)
    assert first['feltsense_queue_messages{lane="reflections"}'] == 1
    assert first['feltsense_queue_messages{lane="reflections.bulk"}'] == 2
    assert first["feltsense_workers"] == 0
    assert first['feltsense_up{source="broker"}'] == first['feltsense_up{source="database"}'] == 1
    time.sleep(0.2)
    assert scrape(served)['feltsense_queue_oldest_seconds{lane="reflections"}'] >= 0.2

    instance.start()
    instance.wait_for(3)
    after = scrape(served)
    assert after['feltsense_queue_messages{lane="reflections"}'] == 0
    assert after['feltsense_queue_oldest_seconds{lane="reflections"}'] == 0
    assert after["feltsense_workers"] == 1
    assert after["feltsense_worker_silence_seconds"] < 16
    taken = look(instance.broker_url, lease_s=12).lists
    assert (taken[LIVE], taken[BULK]) == ((0, 1), (0, 2))
    version = instance.rows("SELECT version FROM model_versions WHERE active")[0][0]
    assert after[f'feltsense_active_model{{version="{version}"}}'] == 1


def test_what_the_database_holds_is_counted(instance: Instance, served: Exporter) -> None:
    with psycopg.connect(instance.database_url) as connection:
        connection.execute(
            "INSERT INTO reflections (id, user_id, revision, created_at, utc_offset_min, local_day, digest,"
            " consent_training, screen_level, screen_score, screen, received_at)"
            " SELECT 'r' || n, 'u', 1, now(), 0, now(), '', false, 'high', .9, '{}',"
            " now() - make_interval(days => 40 * (n % 2)) FROM generate_series(1, 4) n"
        )
        connection.execute(
            "INSERT INTO deliveries (reflection_id, revision, model_version, state, attempts, lane,"
            " accepted_at, lease_until) VALUES ('r2', 1, 'm', 'accepted', 0, 'reflections',"
            " now() - interval '1 minute', now() - interval '1 second')"
        )
        connection.execute(
            "INSERT INTO dead_letters (message_id, position, reason, detail, attempts, retried_at)"
            " VALUES ('a', 0, 'bad_time', '', 0, NULL), ('b', 0, 'bad_time', '', 0, now()),"
            " ('c', 0, 'unsealed', '', 0, NULL)"
        )
        connection.execute(
            "INSERT INTO repairs (user_id, model_version, changed_at, cause) VALUES ('u', 'm', now(), 'r1')"
        )
        connection.execute(
            "INSERT INTO training_runs (slot, plan, state, finished_at) VALUES ('w', '{}', 'done',"
            " '2026-11-20T00:00:00Z')"
        )
        connection.execute(
            "INSERT INTO review_cases (reflection_id, revision, settled_at, decision, flags)"
            " VALUES ('r1', 1, now(), 'watch', '{}')"
        )
    told = scrape(served)
    assert told['feltsense_unfinished_events{lane="reflections"}'] == 1
    assert 60 <= told['feltsense_unfinished_oldest_seconds{lane="reflections"}'] < 120
    assert told["feltsense_unowned_events"] == 1
    assert told['feltsense_dead_letters_waiting{reason="bad_time"}'] == 1
    assert told['feltsense_dead_letters_waiting{reason="unsealed"}'] == 1
    assert told['feltsense_risk_waiting{level="high"}'] == 3
    assert told['feltsense_risk_oldest_seconds{level="high"}'] > 39 * 86400
    assert told["feltsense_repairs_waiting"] == 1
    assert told['feltsense_retention_overdue{kind="reflections"}'] == 2
    finished = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
    assert told['feltsense_rebuild_timestamp_seconds{state="done"}'] == finished
    assert told["feltsense_database_bytes"] > 1_000_000


def test_a_scrape_says_what_is_away_and_does_not_fail(tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.setattr(exporter, "FRESH_S", 0.0)
    made = Exporter(Settings(run_dir=tmp_path, broker_url=GONE[0], database_url=GONE[1]))
    told = scrape(made)
    assert told['feltsense_up{source="broker"}'] == told['feltsense_up{source="database"}'] == 0
    assert told['feltsense_up{source="disk"}'] == 1
    assert told['feltsense_exporter_errors_total{source="broker"}'] == 1
    assert told['feltsense_exporter_errors_total{source="database"}'] == 6
    assert not [name for name in told if name.startswith("feltsense_queue")]
    assert "secret" not in "".join(capfd.readouterr())
    made.close()


@pytest.mark.alone
def test_a_question_that_takes_too_long_is_given_up_and_the_others_are_answered(
    instance: Instance, served: Exporter
) -> None:
    with psycopg.connect(instance.database_url) as connection:
        connection.execute("LOCK TABLE dead_letters IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        told = scrape(served)
        assert time.monotonic() - began < 8
    assert told['feltsense_up{source="database"}'] == 1
    assert told['feltsense_exporter_errors_total{source="database"}'] >= 1
    assert told["feltsense_unowned_events"] == 0
    assert not [name for name in told if name.startswith("feltsense_dead_letters_waiting")]


def test_status_of_what_is_down_names_it_and_exits_4(tmp_path) -> None:
    where = {"FELTSENSE_BROKER_URL": GONE[0], "FELTSENSE_DATABASE_URL": GONE[1]}
    ended = feltsense("status", cwd=tmp_path, **where)
    said = ended.stdout.decode() + ended.stderr.decode()
    assert ended.returncode == 4
    assert said.count("down") == 2
    assert "127.0.0.1:1" in said
    assert "secret" not in said


def test_a_broker_full_of_other_peoples_keys_is_still_looked_at(instance: Instance) -> None:
    client = redis.Redis.from_url(instance.broker_url)
    client.mset({f"other:{n}": "" for n in range(5000)})
    client.set("feltsense.consumer:a", "worker", ex=10)
    client.set("feltsense.consumer:flower", "", ex=10)
    assert len(look(instance.broker_url, lease_s=12).pulses) == 1
