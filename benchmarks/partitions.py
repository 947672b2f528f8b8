"""What hash partitions cost a reflection: docs/partitions.sql on one of two equal databases.

`python -m benchmarks.partitions [--rows 200000] [--parts 16] [--out FILE]`: both are filled by COPY, then
the same reflections go through the two transactions of the worker (accept, settle) in batches of 64, by
turns. It tells the milliseconds of Postgres' CPU a reflection, their ratio with its 95 % bootstrap interval,
and the bytes a reflection takes.
"""

from __future__ import annotations

import itertools
import os
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from benchmarks import command
from benchmarks.alone import alone, parser
from benchmarks.context import Context
from benchmarks.filling import TABLES, People, fill
from benchmarks.machine import cpu_s
from benchmarks.servers import serving
from worker.events.perception import Appraisal
from worker.events.reflection import parse
from worker.pipeline import Pipeline
from worker.store.deliveries import Arrival, accept
from worker.store.engine import Store
from worker.store.perceptions import settle

SCRIPT = Path(__file__).parents[1] / "docs" / "partitions.sql"
EACH = 100
BATCH = 64
BLOCK = 512


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rows", type=int, default=200_000, help="rows of each table before")
    options.add_argument("--parts", type=int, default=16, help="partitions of each table")
    options.add_argument("--blocks", type=int, default=12, help="pairs of blocks of 512 reflections")
    call = options.parse_args()
    report = alone(lambda context: partitions(context, call.rows, call.parts, call.blocks), call, rounds=1)
    for name, value in report.items():
        print(f"{name}: {value}")


def partitions(context: Context, rows: int, parts: int, blocks: int) -> dict[str, Any]:
    """CPU a reflection on whole tables and on `parts` partitions, and the bytes a reflection takes."""
    context.folder.mkdir(parents=True, exist_ok=True)
    with serving(context.folder) as servers, ExitStack() as stack:
        pipeline = stack.enter_context(Pipeline.open(context.settings.bundle, context.settings))
        seen = _appraised(pipeline, context.events[:256])
        stores, urls = {}, {}
        for name in ("seed", "whole", "parted"):
            urls[name] = servers.database(name)
            stores[name] = stack.enter_context(Store.open(urls[name]))
            stores[name].migrate()
        _write(stores["seed"], pipeline, seen)
        with psycopg.connect(urls["parted"]) as connection:
            connection.execute(f"SET LOCAL feltsense.partitions = {parts}".encode())
            connection.execute(SCRIPT.read_bytes())
        people = [
            People(name="p", count=rows // EACH, each=EACH, until=datetime.now(UTC) - timedelta(days=1))
        ]
        for name in ("whole", "parted"):
            fill(urls["seed"], urls[name], people, context.say)
        postgres = servers.processes["postgres"].pid
        spent: dict[str, list[float]] = {"whole": [], "parted": []}
        numbers = itertools.count()
        for turn in range(-1, blocks):  # the first pair fills caches and prepared plans
            for name in ("whole", "parted") if turn % 2 else ("parted", "whole"):
                block = _block(seen, rows // EACH, turn, numbers)
                before = cpu_s(postgres)
                for first in range(0, BLOCK, BATCH):
                    _write(stores[name], pipeline, block[first : first + BATCH])
                if turn >= 0:
                    spent[name].append(1000 * (cpu_s(postgres) - before) / BLOCK)
        ratios = np.array(spent["parted"]) / np.array(spent["whole"])
        draws = np.random.default_rng(1).choice(ratios, (2000, len(ratios)))
        low, high = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
        with psycopg.connect(urls["whole"]) as connection:
            query = "SELECT pg_total_relation_size(%s::regclass)::bigint"
            sizes = {
                table: round(connection.execute(query, (table,)).fetchall()[0][0] / rows) for table in TABLES
            }
    return {
        "rows": rows,
        "parts": parts,
        "postgres_ms_whole": round(statistics.median(spent["whole"]), 3),
        "postgres_ms_parted": round(statistics.median(spent["parted"]), 3),
        "ratio": [round(float(value), 3) for value in (np.median(ratios), low, high)],
        "bytes_a_reflection": {**sizes, "all": sum(sizes.values())},
    }


def _appraised(pipeline: Pipeline, events: Sequence[Any]) -> list[Appraisal]:
    now = datetime.now(UTC)
    fields = ("id", "user_id", "text", "created_at", "lang")
    read = [parse({name: event[name] for name in fields if name in event}, now=now) for event in events]
    readings = pipeline.read(read)
    return pipeline.appraise(readings, pipeline.encode(readings).result())


def _block(
    seen: Sequence[Appraisal], people: int, turn: int, numbers: itertools.count[int]
) -> list[Appraisal]:
    """New reflections, each of another of the people with a history, with the numbers of `seen`."""
    now = datetime.now(UTC)
    made = []
    for place in range(BLOCK):
        one, key = seen[place % len(seen)], os.urandom(16).hex()
        user, at = f"p-{(next(numbers) * 37) % people}", now + timedelta(seconds=place + BLOCK * (turn + 1))
        reflection = replace(
            one.reflection, id=key, user_id=user, created_at=at, digest=bytes.fromhex(key * 2)
        )
        trace = replace(one.trace, id=key, user_id=user, created_at=at)
        made.append(replace(one, reflection=reflection, trace=trace))
    return made


def _write(store: Store, pipeline: Pipeline, batch: Sequence[Appraisal]) -> None:
    arrivals = [
        Arrival(
            reflection=one.reflection,
            screen=one.risk,
            message_id=one.reflection.id,
            position=0,
            payload=b"{}",
        )
        for one in batch
    ]
    accept(store, arrivals, [], model_version=pipeline.model_version, lane="bulk")
    timings = [{"encode": 0.002, "appraise": 0.001}] * len(batch)
    settle(store, batch, pipeline.place, model_version=pipeline.model_version, timings=timings)


if __name__ == "__main__":
    command.run(main)
