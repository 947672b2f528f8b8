"""One worker process at a time, as `feltsense up` starts it, and the wait for what it was sent."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from worker.embedded.process import Process
from worker.embedded.supervisor import APP, QUEUES, environment
from worker.errors import ServiceMissing
from worker.settings import Settings

STOP_S = 30.0
STALL_S = 120.0


@contextmanager
def worker(settings: Settings, log: Path) -> Iterator[Process]:
    """A worker while the block runs; it may not be ready yet."""
    argv = [sys.executable, "-m", "celery", "--app", APP, "worker", "--pool", "threads"]
    argv += ["--concurrency", str(settings.concurrency), "--queues", QUEUES]
    argv += ["--without-gossip", "--without-mingle", "--loglevel", settings.log_level]
    process = Process("worker", argv, log=log, orphaned=signal.SIGKILL, environment=environment(settings))
    process.start()
    try:
        yield process
    finally:
        process.stop(STOP_S)


def await_count(
    database_url: str, query: str, given: Mapping[str, Any], count: int, process: Process, *, poll_s: float
) -> float:
    """The moment (`time.perf_counter`) at which `query` counted `count`, looked at every `poll_s` seconds.

    Raises `ServiceMissing` when the worker ends, or when nothing changes for `STALL_S`.
    """
    expires, last = time.monotonic() + STALL_S, -1
    with psycopg.connect(database_url, autocommit=True) as connection:
        while True:
            row = connection.execute(query.encode(), given).fetchone()
            done = int(row[0]) if row else 0
            if done >= count:
                return time.perf_counter()
            if done != last:
                expires, last = time.monotonic() + STALL_S, done
            if process.ended is not None or time.monotonic() > expires:
                raise ServiceMissing(f"the worker stopped at {done} of {count}:\n{process.tail()}")
            time.sleep(poll_s)


def await_event(log: Path, name: str, process: Process, patience_s: float = STALL_S) -> None:
    """Return when the worker's log tells of `name`. Raises `ServiceMissing` when it does not come."""
    expires = time.monotonic() + patience_s
    while f'"{name}"' not in log.read_text("utf-8", "replace"):
        if process.ended is not None or time.monotonic() > expires:
            raise ServiceMissing(f"the worker never said {name}:\n{process.tail()}")
        time.sleep(0.02)
