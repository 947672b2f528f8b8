"""Whether every slot runs once: `python -m benchmarks.schedule [--days 28] [--day-s 17]`, or `make
schedule-proof`.

Real Postgres, real Valkey, a real worker and two real beats on a clock that lets a day pass in some seconds.
Each night one beat is killed (SIGKILL) around the time at which most slots fall due, and started again.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from benchmarks.command import run
from benchmarks.schedule import JOURNAL
from trainer.service import schedule
from trainer.settings import TrainerSettings
from worker.embedded.postgres import Postgres
from worker.embedded.process import Process
from worker.embedded.valkey import Valkey
from worker.errors import ServiceMissing
from worker.service import upkeep
from worker.service.timetable import Clock, Entry
from worker.settings import Settings
from worker.store.engine import Store

START = datetime(2026, 1, 5, 12, tzinfo=UTC)  # a Monday
APP = "benchmarks.schedule.app:app"
NIGHT = timedelta(hours=15)
"""From noon to the early morning's slots."""
AROUND_MIN = 100.0
AFTER = timedelta(hours=6)
HOURLY = "0 * * * *"
"""Reconciliation each minute is 714 a day-second: the proof takes it each hour."""


class Program:
    """One of the processes, with a log of its own for every start."""

    def __init__(self, name: str, arguments: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self._arguments = [sys.executable, "-m", "celery", "--app", APP, *arguments]
        self._folder = folder
        self._environment = environment
        self._starts = 0
        self.process = self.start()

    def start(self) -> Process:
        self._starts += 1
        self.process = Process(
            self.name, self._arguments, log=self._folder / f"{self.name}-{self._starts}.log",
            orphaned=signal.SIGKILL, environment=self._environment,
        )  # fmt: skip
        self.process.start()
        return self.process

    @property
    def ready(self) -> bool:
        if self.process.ended is not None:
            raise ServiceMissing(f"{self.name} ended:\n{self.process.tail()}")
        assert self.process.log is not None
        told = self.process.log.read_text("utf-8", "replace")
        return "beat_started" in told or "trainer_ready" in told


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schedule", description=__doc__)
    parser.add_argument("--days", type=int, default=28)
    parser.add_argument("--day-s", type=float, default=17.0, help="real seconds of a day")
    parser.add_argument(
        "--lead-s", type=float, default=25.0, help="for the start, before the first slot counts"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the moments at which beats are killed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder)) as (broker, database):
        return prove(Path(folder), broker, database, options)


@contextmanager
def servers(folder: Path) -> Iterator[tuple[str, str]]:
    """A broker and a migrated database for this run."""
    postgres = Postgres(folder / "postgres", log=folder / "postgres.log")
    valkey = Valkey(folder / "valkey", log=folder / "valkey.log")
    with ExitStack() as stack:
        stack.callback(postgres.remove)
        database = postgres.start()
        stack.callback(valkey.remove)
        broker = valkey.start()
        with Store.open(database, pool_size=1) as store:
            store.migrate()
        yield broker, database


def prove(folder: Path, broker: str, database: str, options: argparse.Namespace) -> int:
    """Let the days pass, and count; 1 when a slot was missed or run twice."""
    with psycopg.connect(database) as connection:
        connection.execute(JOURNAL)
    clock = Clock(start=START, real=time.time() + options.lead_s, rate=86_400 / options.day_s)
    environment = {
        "FELTSENSE_RECONCILE_SCHEDULE": HOURLY, **os.environ, "FELTSENSE_BROKER_URL": broker,
        "FELTSENSE_DATABASE_URL": database, "FELTSENSE_TRAINER_BROKER_URL": broker,
        "FELTSENSE_CLOCK": str(clock),
    }  # fmt: skip
    logs = folder / "logs"
    logs.mkdir()
    quiet = ["--loglevel", "info"]
    programs = [
        Program("worker", ["worker", "--without-gossip", "--without-mingle", *quiet], logs, environment),
        *(Program(f"beat-{name}", ["beat", *quiet], logs, environment) for name in "ab"),
    ]
    try:
        _wait(programs, clock, START)
        kills = _nights(programs[1:], clock, options)
        until = START + timedelta(days=options.days)
        _pass(clock, until + AFTER)
    finally:
        for program in programs:
            program.process.kill()
    print(f"{options.days} days in {options.days * options.day_s:.0f} s; beats killed: {kills}")
    return _count(database, environment, until) or int(kills < options.days)


def _wait(programs: list[Program], clock: Clock, until: datetime) -> None:
    while not all(program.ready for program in programs):
        if clock.now() > until:
            raise ServiceMissing("the processes were not ready in time: raise --lead-s or --day-s")
        time.sleep(0.05)


def _nights(beats: list[Program], clock: Clock, options: argparse.Namespace) -> int:
    """Each night kill one beat and start it again; how often that was done."""
    random = np.random.default_rng(options.seed)
    for day in range(options.days):
        shift = timedelta(minutes=random.uniform(-AROUND_MIN, AROUND_MIN))
        _pass(clock, START + timedelta(days=day) + NIGHT + shift)
        victim, other = (beats, beats[::-1])[day % 2]
        _wait([victim, other], clock, START + timedelta(days=day + 1))
        victim.process.kill()
        victim.start()
    return options.days


def _pass(clock: Clock, until: datetime) -> None:
    while clock.now() < until:
        time.sleep(0.01)


def _count(database: str, environment: Mapping[str, str], until: datetime) -> int:
    settings = Settings(reconcile_schedule=environment["FELTSENSE_RECONCILE_SCHEDULE"])
    query = "SELECT name, slot FROM ran"
    with psycopg.connect(database) as connection:
        ran = Counter((name, slot.astimezone(UTC)) for name, slot in connection.execute(query).fetchall())
    entries = (*upkeep.entries(settings), *schedule.entries(TrainerSettings()))
    print(f"{'task':<24}{'cron':<16}{'slots':>7}{'once':>7}{'missed':>8}{'twice':>7}")
    wrong = 0
    for entry in entries:
        row = _row(entry, ran, until)
        if row["slots"]:
            wrong += row["missed"] + row["twice"]
            print(f"{entry.task:<24}{entry.cron:<16}{row['slots']:>7}{row['once']:>7}{row['missed']:>8}"
                  f"{row['twice']:>7}")  # fmt: skip
    return int(wrong > 0)


def _row(entry: Entry, ran: Counter[tuple[str, datetime]], until: datetime) -> dict[str, Any]:
    times = [ran[entry.task, slot] for slot in entry.between(START, until)]
    return {
        "slots": len(times),
        "once": sum(count == 1 for count in times),
        "missed": sum(count == 0 for count in times),
        "twice": sum(count > 1 for count in times),
    }


if __name__ == "__main__":
    run(lambda: sys.exit(main()))
