"""Whether a reflection's cost grows with the tables or with its person's history.

`python -m benchmarks.growth [--data FILE|FOLDER...] [--rows 2000000] [--folder DISK]`: the same texts go in
blocks, by turns, to a worker on empty tables and to one whose tables COPY has filled; then to people with no,
a hundred, ten thousand and a hundred thousand reflections behind them, together, one at a time, and late. A
block's cost is the CPU of worker and Postgres and the time on the clock, from publishing to the last message
acknowledged; a ratio is the median over pairs of blocks, with its 95 % bootstrap interval.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
import redis

from benchmarks import command
from benchmarks.alone import alone, parser
from benchmarks.context import Context, Event
from benchmarks.filling import People, fill
from benchmarks.machine import cpu_s
from benchmarks.servers import Servers, serving
from benchmarks.workers import await_event, worker
from worker.client.publisher import Publisher
from worker.embedded.process import Process
from worker.errors import ServiceMissing, UsageError
from worker.events.message import BULK, LIVE
from worker.events.timeline import TIMELINE_LIMIT
from worker.store.engine import Store

ROWS = 2_000_000
EACH = 100
"""Reflections of each of the people who fill the tables."""
HISTORIES = (0, 100, 10_000, 100_000)
BYTES_A_ROW = 9_000
SEED = 300
NOW = datetime.now(UTC).replace(microsecond=0)
UNTIL = NOW - timedelta(days=30)
"""The last reflection of whoever has a history."""
WITHIN = 1.10
STALL_S = 180.0
COSTS = ("cpu_ms", "worker_ms", "postgres_ms", "wall_ms")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured."""

    rows: int
    histories: Sequence[int]
    blocks: int
    block: int
    alone: int


FULL = Size(rows=ROWS, histories=HISTORIES, blocks=15, block=512, alone=40)
QUICK = Size(rows=20_000, histories=(0, 100, 2_000), blocks=3, block=128, alone=4)


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A worker on a database and a broker of its own."""

    database_url: str
    broker_url: str
    process: Process
    postgres: Process

    def cost(self, events: Sequence[Event], *, together: bool = True) -> dict[str, float]:
        """Milliseconds a reflection, by `COSTS`: the events in messages of 64 on the bulk lane, or one after
        the other on the live one. Raises `ServiceMissing` when not every one gets its row."""
        queue = redis.Redis.from_url(self.broker_url)
        with (
            Publisher.connect(self.broker_url) as publisher,
            psycopg.connect(self.database_url, autocommit=True) as rows,
        ):
            self._finished(queue, rows, [])
            spent = cpu_s(self.process.pid), cpu_s(self.postgres.pid)
            started = time.perf_counter()
            if together:
                publisher.publish_many(events, lane=BULK)
                self._finished(queue, rows, [event["id"] for event in events])
            else:
                for event in events:
                    publisher.publish(event, lane=LIVE)
                    self._finished(queue, rows, [event["id"]])
            wall = time.perf_counter() - started
            ours = cpu_s(self.process.pid) - spent[0]
            theirs = cpu_s(self.postgres.pid) - spent[1]
        seconds = (ours + theirs, ours, theirs, wall)
        return {name: 1000 * s / len(events) for name, s in zip(COSTS, seconds, strict=True)}

    def _finished(
        self, queue: redis.Redis, rows: psycopg.Connection[tuple[Any, ...]], ids: Sequence[str]
    ) -> None:
        """Return when every message is acknowledged and each id has its row.

        The broker is asked first and often, Postgres only then: its work is what is measured. A message just
        popped is for a moment in none of the broker's keys.
        """
        query = "SELECT count(*) FROM perceptions WHERE reflection_id = ANY(%s)"
        expires = time.monotonic() + STALL_S
        while True:
            if not (queue.llen(LIVE) or queue.llen(BULK) or queue.hlen("unacked")):
                found = rows.execute(query, (list(ids),)).fetchone()
                if found == (len(ids),):
                    return
            if self.process.ended is not None or time.monotonic() > expires:
                raise ServiceMissing(f"the worker takes no more messages:\n{self.process.tail()}")
            time.sleep(0.002)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rows", type=int, help=f"rows of the full tables; {ROWS}")
    call = options.parse_args()
    report = alone(lambda context: growth(context, call.rows), call, rounds=1)
    for name, part in report.items():
        if isinstance(part, dict) and "levels" in part:
            show(name, part)


def growth(context: Context, rows: int | None = None) -> dict[str, Any]:
    """Cost a reflection by size of the tables and by length of the history, with `flat` for each."""
    size = QUICK if context.quick else FULL
    rows = rows or size.rows
    folder = context.folder / "growth"
    folder.mkdir(parents=True, exist_ok=True)
    needed = (rows + sum(size.histories)) * BYTES_A_ROW + 2**31
    if shutil.disk_usage(folder).free < needed:
        raise UsageError(f"{folder} has less than {needed / 2**30:.0f} GiB free: name another with --folder")
    with serving(folder) as running, ExitStack() as stack:
        small = stack.enter_context(_instance(context, running, "small", 0))
        empty = _Source(context.events, "seed")
        small.cost(empty.spread(SEED, NOW - timedelta(days=2)))
        started = time.perf_counter()
        full = _database(running, "large")
        people = [People(name="other", count=rows // EACH, each=EACH, until=UNTIL)]
        people += [
            People(name=f"past-{past}", count=1, each=past, until=UNTIL) for past in size.histories if past
        ]
        context.say(f"filling tables with {rows} rows")
        fill(small.database_url, full, people, context.say)
        filled_s = time.perf_counter() - started
        with psycopg.connect(small.database_url, autocommit=True) as connection:
            connection.execute("TRUNCATE reflections, dead_letters CASCADE")
            connection.execute("VACUUM ANALYZE")
        large = stack.enter_context(_instance(context, running, "large", 1, full))
        texts = _Source(context.events, "block")
        for instance in (small, large):  # caches and prepared plans, on both
            for _ in range(2):
                instance.cost(texts.spread(size.block, NOW - timedelta(days=1)))
        before = {name: _vacuums(url.database_url) for name, url in (("0", small), (str(rows), large))}
        report = {
            "rows": rows,
            "fill_s": round(filled_s, 1),
            "full_mb": _megabytes(full),
            "table": _tables(context, size, {"0": small, str(rows): large}, texts),
            **_histories(context, size, large, texts),
        }
        report["autovacuums"] = {
            name: _vacuums(one.database_url) - before[name]
            for name, one in (("0", small), (str(rows), large))
        }
    report["flat"] = all(
        part["flat"] for part in report.values() if isinstance(part, dict) and "flat" in part
    )
    return report


class _Source:
    """Texts, in blocks; the same block can be had for many people, with ids of its own each time."""

    def __init__(self, events: Sequence[Event], tag: str) -> None:
        self._texts = cycle(events)
        self._random = np.random.default_rng(list(tag.encode()))

    def texts(self, count: int) -> list[Event]:
        """The next texts."""
        return list(islice(self._texts, count))

    def given(self, texts: Sequence[Event], users: Sequence[str], times: Sequence[datetime]) -> list[Event]:
        """The texts as events of `users` at `times`, with new random ids."""
        return [
            {
                **{name: value for name, value in text.items() if name not in ("revision", "timezone")},
                "id": str(UUID(bytes=self._random.bytes(16))),
                "user_id": user,
                "created_at": at.isoformat(),
            }
            for text, user, at in zip(texts, users, times, strict=True)
        ]

    def spread(self, count: int, since: datetime, texts: Sequence[Event] | None = None) -> list[Event]:
        """New people with ten reflections each, a minute apart."""
        tag = self._random.bytes(4).hex()
        return self.given(
            texts or self.texts(count),
            [f"new-{tag}-{n // 10}" for n in range(count)],
            [since + timedelta(minutes=n % 10) for n in range(count)],
        )


def _tables(context: Context, size: Size, instances: dict[str, Instance], source: _Source) -> dict[str, Any]:
    costs: dict[str, list[dict[str, float]]] = {name: [] for name in instances}
    for number in range(size.blocks):
        texts = source.texts(size.block)
        for name in _turn(list(instances), number):
            costs[name].append(
                instances[name].cost(source.spread(size.block, NOW - timedelta(days=1), texts))
            )
        _tell(context, f"tables, block {number + 1} of {size.blocks}", costs)
    return compared(costs)


def _histories(context: Context, size: Size, instance: Instance, source: _Source) -> dict[str, Any]:
    """By kind of arrival: appended together, appended one at a time, and late, somewhere in the past."""
    kinds: dict[str, dict[str, list[dict[str, float]]]] = {"together": {}, "alone": {}, "late": {}}
    clocks = dict.fromkeys(size.histories, UNTIL)
    # The first is a warm-up, and not counted.
    for number in range(-1, size.blocks):
        for kind, costs in kinds.items():
            count = size.block if kind == "together" else size.alone
            texts = source.texts(count)
            for past in _turn(list(size.histories), number):
                if kind == "late" and past <= 4 * TIMELINE_LIMIT:
                    continue  # fewer later rows to place again than where there are many
                users = [f"past-{past}-0"] * count
                if past == 0:
                    users = [f"first-{kind}-{number}-{n if kind == 'alone' else 0}" for n in range(count)]
                if kind == "late":
                    random = np.random.default_rng([number + 1, past])
                    times = [UNTIL - timedelta(hours=float(h)) for h in random.uniform(100, past - 1, count)]
                else:
                    times = [clocks[past] + timedelta(minutes=n + 1) for n in range(count)]
                    clocks[past] = times[-1]
                found = instance.cost(source.given(texts, users, times), together=kind != "alone")
                if number >= 0:
                    costs.setdefault(str(past), []).append(found)
        if number >= 0:
            _tell(context, f"histories, block {number + 1} of {size.blocks}", kinds["together"])
    return {f"history_{kind}": compared(costs) for kind, costs in kinds.items() if len(costs) > 1}


def compared(costs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians of each level, and the ratios of all to the first one with their intervals; flat: no ratio of
    the whole CPU cost above `WITHIN`."""
    first, *others = costs
    return {
        "levels": {
            name: {cost: round(float(np.median([block[cost] for block in blocks])), 3) for cost in COSTS}
            for name, blocks in costs.items()
        },
        "ratios": {
            name: {
                cost: _ratio([b[cost] for b in costs[name]], [b[cost] for b in costs[first]])
                for cost in COSTS
            }
            for name in others
        },
        "blocks": len(costs[first]),
        "flat": all(
            _ratio([b["cpu_ms"] for b in costs[name]], [b["cpu_ms"] for b in costs[first]])["median"]
            <= WITHIN
            for name in others
        ),
    }


def _ratio(these: Sequence[float], those: Sequence[float]) -> dict[str, float]:
    """Median over pairs of blocks, and its 95 % interval by 2,000 bootstraps over the pairs."""
    pairs = np.array(these) / np.maximum(np.array(those), 1e-9)
    drawn = np.random.default_rng(0).choice(pairs, (2000, len(pairs)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return {
        "median": round(float(np.median(pairs)), 3),
        "low": round(float(low), 3),
        "high": round(float(high), 3),
    }


def show(name: str, part: dict[str, Any]) -> None:
    """One comparison as a table."""
    print(f"{name}: {'flat' if part['flat'] else 'NOT FLAT'} over {part['blocks']} blocks")
    for level, costs in part["levels"].items():
        ratio = part["ratios"].get(level)
        told = "  ".join(f"{cost} {value:8.3f}" for cost, value in costs.items())
        if ratio is not None:
            of = ratio["cpu_ms"]
            told += f"   CPU x {of['median']} [{of['low']}, {of['high']}]"
        print(f"  {level:>8}  {told}")


@contextmanager
def _instance(
    context: Context, running: Servers, name: str, number: int, url: str | None = None
) -> Iterator[Instance]:
    database = url or _database(running, name)
    folder = context.folder / "growth"
    settings = context.settings.model_copy(
        update={"run_dir": folder, "database_url": database, "broker_url": running.broker(number)}
    )
    log = folder / f"worker-{name}.log"
    with worker(settings, log) as process:
        await_event(log, "worker_ready", process)
        await_event(log, "worker_warm", process)
        yield Instance(
            database_url=database,
            broker_url=running.broker(number),
            process=process,
            postgres=running.processes["postgres"],
        )


def _database(running: Servers, name: str) -> str:
    url = running.database(name)
    with Store.open(url, pool_size=1) as store:
        store.migrate()
    return url


def _turn(names: list[Any], number: int) -> list[Any]:
    """Nobody is always first."""
    start = number % len(names)
    return [*names[start:], *names[:start]]


def _tell(context: Context, what: str, costs: dict[str, list[dict[str, float]]]) -> None:
    told = ", ".join(f"{name}: {blocks[-1]['cpu_ms']:.2f}" for name, blocks in costs.items())
    context.say(f"{what}: CPU ms a reflection {told}")


def _vacuums(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT sum(autovacuum_count)::int FROM pg_stat_user_tables").fetchone()
    return int(row[0]) if row and row[0] else 0


def _megabytes(url: str) -> float:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    return round(int(row[0]) / 1e6) if row else 0.0


if __name__ == "__main__":
    command.run(main)
