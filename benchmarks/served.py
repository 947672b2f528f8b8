"""A contestant that takes events from a queue and leaves rows: published here, and looked for here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

import psycopg
from psycopg import sql

from benchmarks.context import Event
from benchmarks.load import tagged
from benchmarks.machine import cpu_s
from benchmarks.rounds import Run
from benchmarks.sender import Address, Sending
from worker.embedded.process import Process
from worker.errors import FeltsenseError

STALL_S = 90.0
LOOK_LEAST_S, LOOK_MOST_S = 0.01, 0.5


class Stalled(FeltsenseError):
    """A contestant has ended, or has written no row for too long."""

    exit_code = 4


class Rows:
    """The committed rows of one database's `perceptions`, or another table, by the column that holds the
    event's id."""

    def __init__(self, database_url: str, column: str, table: str = "perceptions") -> None:
        self.database_url = database_url
        name, of = sql.Identifier(column), sql.Identifier(table)
        self.present = sql.SQL("SELECT {} FROM {} WHERE {} = ANY(%b)").format(name, of, name)

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection whose look-ups go by the index, whatever the planner believes of a young table."""
        return psycopg.connect(
            self.database_url,
            autocommit=True,
            prepare_threshold=0,
            options="-c enable_seqscan=off -c jit=off",
        )


class Served:
    """A running consumer that is sent `chunk` events a message."""

    def __init__(
        self,
        name: str,
        address: Address,
        rows: Rows,
        processes: Mapping[str, Process],
        chunk: int = 1,
    ) -> None:
        self.name = name
        self.address = address
        self.rows = rows
        self._processes = processes
        self._chunk = chunk

    def run(self, events: Sequence[Event], tag: str) -> Run:
        """From the first publishing to the last committed row; each event must have exactly one.

        Raises `Stalled` when they do not come.
        """
        load = tagged(events, f"{self.address.queue}-{tag}")
        sending = Sending(self.address, load, self._chunk)
        with closing(self.rows.connect()) as connection:
            before = self._cpu_s()
            started = time.perf_counter()
            sending.start()
            seconds = self._wait(connection, [event["id"] for event in load], sending.check)
            after = self._cpu_s()
            sending.join()
            found = connection.execute(self.rows.present, ([event["id"] for event in load],)).fetchall()
        if len(found) != len(load):
            raise Stalled(f"{self.name}: {len(load)} events gave {len(found)} rows")
        return Run(
            events=len(load),
            seconds=seconds - started,
            cpu_s={name: after[name] - spent for name, spent in before.items()},
        )

    def _wait(
        self, connection: psycopg.Connection[tuple[Any, ...]], ids: list[str], check: Callable[[], None]
    ) -> float:
        """When the last of `ids` was seen (perf_counter). Looks rarely while much is left, often at the
        end."""
        started = progress = time.perf_counter()
        missing = set(ids)
        pause_s = 0.1
        while True:
            time.sleep(pause_s)
            check()
            found = {key for (key,) in connection.execute(self.rows.present, (list(missing),))}
            now = time.perf_counter()
            if found:
                missing -= found
                progress = now
            if not missing:
                return now
            self.check()
            if now - progress > STALL_S:
                raise Stalled(
                    f"{self.name}: no row for {STALL_S:g} s, {len(missing)} missing; {self._logs()}"
                )
            done = max(1, len(ids) - len(missing))
            pause_s = min(LOOK_MOST_S, max(LOOK_LEAST_S, 0.5 * len(missing) * (now - started) / done))

    def check(self) -> None:
        """Raise `Stalled` with the end of its log when a process has ended."""
        for process in self._processes.values():
            if process.ended is not None:
                raise Stalled(f"{self.name}: {process.name} ended; {process.log}:\n{process.tail()}")

    def _logs(self) -> str:
        return "\n".join(f"{process.log}:\n{process.tail()}" for process in self._processes.values())

    def _cpu_s(self) -> dict[str, float]:
        used = {name: cpu_s(process.pid) for name, process in self._processes.items()}
        return used | {"publisher": time.process_time()}
