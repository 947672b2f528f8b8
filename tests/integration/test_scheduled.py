"""Beats, workers and slots as processes: what is due runs, and goes on when a process is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import redis
from celery import Celery
from celery.result import AsyncResult

from tests.support.appraisals import admit, reflection
from tests.support.service import ROOT, Instance, eventually
from tests.support.slot_app import TASK
from trainer.service.application import beside
from worker.service.timetable import Entry
from worker.service.upkeep import QUEUE, RECONCILE, RETENTION
from worker.store.engine import Store


class Processes:
    """Celery processes of one test, on its broker and database."""

    def __init__(self, instance: Instance, folder: Path) -> None:
        self.instance = instance
        self.gate = folder / "gate"
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, app: str, *arguments: str, ready: str, **settings: str) -> subprocess.Popen[bytes]:
        log = self.folder / f"{len(self.started)}-{arguments[0]}.log"
        environment = {
            **os.environ,
            "FELTSENSE_BROKER_URL": self.instance.broker_url,
            "FELTSENSE_DATABASE_URL": self.instance.database_url,
            "GATE": str(self.gate),
            **settings,
        }
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "--app", app, *arguments],
                cwd=ROOT, env=environment, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self.started.append(process)
        eventually(lambda: ready in log.read_text("utf-8", "replace"), 90, lambda: log.read_text())
        return process

    def trainer(self) -> subprocess.Popen[bytes]:
        return self.start("tests.support.slot_app", "worker", "--without-mingle", ready="trainer_ready")

    def beat(self, **settings: str) -> subprocess.Popen[bytes]:
        return self.start("tests.support.slot_app", "beat", ready="beat_started", **settings)

    def slots(self) -> list[tuple[object, ...]]:
        query = "SELECT name, state, attempts, progress->>'step' FROM slots WHERE state <> 'skipped'"
        return self.instance.rows(query)


@pytest.fixture
def processes(instance: Instance, tmp_path: Path) -> Iterator[Processes]:
    made = Processes(instance, tmp_path)
    yield made
    for process in made.started:
        process.kill()
        process.wait()


def silence(instance: Instance) -> None:
    with psycopg.connect(instance.database_url) as connection:
        connection.execute("UPDATE slots SET heartbeat = heartbeat - interval '1 hour'")


def begun_earlier(instance: Instance) -> None:
    """The schedule is known, and its latest slot has passed while nobody was up."""
    with psycopg.connect(instance.database_url) as connection:
        connection.execute(
            "INSERT INTO slots (name, slot, state) VALUES (%s, %s, 'done')",
            (TASK, datetime(2026, 1, 4, 3, tzinfo=UTC)),
        )


@pytest.mark.timeout(240)
def test_a_missed_slot_is_caught_up_once_and_goes_on_when_its_worker_is_killed(processes: Processes) -> None:
    begun_earlier(processes.instance)
    first = processes.trainer()
    beats = [processes.beat(), processes.beat()]
    running = [(TASK, "done", 1, None), (TASK, "running", 1, None)]
    processes.instance.eventually(lambda: sorted(processes.slots(), key=str) == running)
    first.kill()
    first.wait()
    for beat in beats:
        beat.kill()

    silence(processes.instance)  # as after 45 s
    processes.trainer()
    processes.beat()
    processes.instance.eventually(lambda: (TASK, "running", 2, None) in processes.slots())
    processes.gate.touch()
    done = [(TASK, "done", 1, None), (TASK, "done", 2, None)]
    processes.instance.eventually(lambda: sorted(processes.slots(), key=str) == done)


@pytest.mark.timeout(240)
def test_a_stopped_trainer_gives_its_slot_back_at_once_and_tells_its_progress(processes: Processes) -> None:
    begun_earlier(processes.instance)
    first = processes.trainer()
    client = _client(processes.instance)
    message = client.send_task(TASK, args=[_latest()], queue="trainer")
    twice = client.send_task(TASK, args=[_latest()], queue="trainer")
    shown = AsyncResult(message.id, app=client)
    processes.instance.eventually(lambda: shown.state == "PROGRESS" and shown.info["step"] == "waiting")
    assert twice.get(timeout=30) == {"state": "not ours"}

    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0
    assert shown.state == "FAILURE"
    processes.trainer()
    client.send_task(TASK, args=[_latest()], queue="trainer")
    # an interruption is no attempt
    processes.instance.eventually(lambda: (TASK, "running", 1, "waiting") in processes.slots())
    processes.gate.touch()
    processes.instance.eventually(lambda: (TASK, "done", 1, "waiting") in processes.slots())


@pytest.mark.timeout(240)
def test_the_worker_s_beat_has_lost_deliveries_resumed_and_the_old_forgotten(
    processes: Processes, store: Store
) -> None:
    instance = processes.instance
    with Store.open(instance.database_url) as own:
        admit(own, [reflection("lost"), reflection("old", "u-2")])
    with psycopg.connect(instance.database_url) as connection:
        connection.execute("UPDATE deliveries SET accepted_at = now() - interval '1 h', lease_until = NULL")
        connection.execute("UPDATE reflections SET received_at = now() - interval '9 days' WHERE id = 'old'")
        connection.execute("UPDATE deliveries SET state = 'done' WHERE reflection_id = 'old'")
    instance.start(retention_days="7", retention_schedule="* * * * *")
    start = datetime.now(UTC).isoformat()
    processes.start(
        "worker.service.celery_app", "beat", ready="beat_started",
        FELTSENSE_CLOCK=f"{start},{time.time()},60", FELTSENSE_RETENTION_SCHEDULE="* * * * *",
        FELTSENSE_BUNDLE=str(instance.bundle),
    )  # fmt: skip
    instance.eventually(lambda: instance.rows("SELECT reflection_id FROM perceptions") == [("lost",)])
    instance.eventually(lambda: instance.rows("SELECT id FROM reflections") == [("lost",)])
    states = "SELECT DISTINCT name FROM slots WHERE state = 'done'"
    assert {name for (name,) in instance.rows(states)} == {RECONCILE, RETENTION}
    # and none of it was parked as a task that nobody knows
    assert instance.count("dead_letters") == 0
    assert redis.Redis.from_url(instance.broker_url).llen(QUEUE) < 5


def _client(instance: Instance) -> Celery:
    broker = beside(instance.broker_url)
    return Celery("client", broker=broker, backend=broker, set_as_current=False)


def _latest() -> str:
    last = Entry(task=TASK, cron="0 3 * * sun", queue="trainer").last(datetime.now(UTC))
    assert last is not None
    return last.isoformat()
