"""A real worker in a process of its own, on real Valkey and real Postgres, with the tiny bundle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from tests.support import bundles
from tests.support.database import Server
from worker.embedded.valkey import Valkey

ROOT = Path(__file__).resolve().parents[2]
READY_S = 90.0
APP = "worker.service.celery_app:app"


class Worker:
    """The Celery worker process of one test. `log` is all it wrote."""

    def __init__(self, environment: dict[str, str], log: Path, app: str, *flags: str) -> None:
        self.log_path = log
        self.environment = environment
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "celery", "--app", app, "worker",
                    "--without-gossip", "--without-mingle", *flags,
                ],
                cwd=ROOT, env=environment, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    @property
    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")

    def wait_ready(self) -> None:
        eventually(
            lambda: "worker_ready" in self.log or self.process.poll() is not None, READY_S, lambda: self.log
        )
        assert self.process.poll() is None, self.log

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait(30)


class Instance:
    """Where everything of one test is: broker, database, bundle, and the workers it started."""

    def __init__(self, broker_url: str, database_url: str, bundle: Path, folder: Path) -> None:
        self.broker_url = broker_url
        self.database_url = database_url
        self.bundle = bundle
        self.workers: list[Worker] = []
        self._folder = folder

    def start(self, *flags: str, ready: bool = True, app: str = APP, **settings: str) -> Worker:
        """A worker; `settings` are environment variables without their prefix."""
        environment = {
            **os.environ,
            "FELTSENSE_BROKER_URL": self.broker_url,
            "FELTSENSE_DATABASE_URL": self.database_url,
            "FELTSENSE_BUNDLE": str(self.bundle),
            "FELTSENSE_METRICS_PORT": "0",
            "FELTSENSE_RUN_DIR": str(self._folder / "run"),
            **{f"FELTSENSE_{name.upper()}": value for name, value in settings.items()},
        }
        worker = Worker(environment, self._folder / f"worker-{len(self.workers)}.log", app, *flags)
        self.workers.append(worker)
        if ready:
            worker.wait_ready()
        return worker

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What plain SQL sees."""
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query, values).fetchall()

    def count(self, table: str) -> int:
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])

    def eventually(self, holds: Callable[[], object], within_s: float = 30.0) -> None:
        """Waits until `holds()` is true; a failure shows what there is and the end of the workers' logs."""
        eventually(holds, within_s, self._state)

    def _state(self) -> str:
        letters = self.rows(
            "SELECT message_id, position, reason, detail FROM dead_letters ORDER BY id DESC LIMIT 5"
        )
        logs = "\n".join(worker.log[-4000:] for worker in self.workers)
        return (
            f"rows: {self.count('perceptions')}; idle: {self.idle()}; newest dead letters: {letters}\n{logs}"
        )

    def wait_for(self, perceptions: int, dead_letters: int = 0, within_s: float = 40.0) -> None:
        """Until that many rows are there, and the broker holds nothing back."""
        self.eventually(
            lambda: (self.count("perceptions"), self.count("dead_letters")) == (perceptions, dead_letters),
            within_s,
        )
        self.eventually(self.idle, within_s)

    def idle(self) -> bool:
        """Nothing queued and nothing unacknowledged."""
        client = redis.Redis.from_url(self.broker_url)
        return not (client.llen("reflections") + client.llen("reflections.bulk") + client.hlen("unacked"))


def eventually(holds: Callable[[], object], within_s: float, said: Callable[[], str]) -> None:
    """Waits until `holds()` is true; fails with what `said` says after `within_s` seconds."""
    expires = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > expires:
            pytest.fail(said())
        time.sleep(0.02)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One broker for the whole session; its URL."""
    folder = tmp_path_factory.mktemp("valkey")
    server = Valkey(folder, log=folder / "log")
    yield server.start()
    server.stop()


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small whole bundle with random weights."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    bundles.write(folder)
    return folder


@pytest.fixture
def instance(valkey: str, database_url: str, bundle: Path, tmp_path: Path) -> Iterator[Instance]:
    """An empty broker and an empty database; workers started on it end with the test."""
    redis.Redis.from_url(valkey).flushall()
    made = Instance(valkey, database_url, bundle, tmp_path)
    yield made
    for worker in made.workers:
        worker.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def shared(
    postgres: Server, template: str, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Instance]:
    """One broker, database and running worker for all tests of a module; each test uses ids of its own."""
    folder = tmp_path_factory.mktemp("shared")
    server = Valkey(folder / "valkey", log=folder / "valkey.log")
    name = postgres.create(template)
    made = Instance(server.start(), postgres.url(name), bundle, folder)
    made.start("--task-events")
    yield made
    for worker in made.workers:
        worker.stop(signal.SIGKILL)
    server.stop()
    postgres.drop(name)
