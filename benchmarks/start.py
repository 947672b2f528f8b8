"""How soon a worker serves: from the start of its process to the row of an event that was already waiting.

`python -m benchmarks.start [--rounds 3] [--out FILE]` starts workers one after another on a database and a
broker of its own: with an empty cache folder (cold: the encoder's graph is exported and compiled) and with
the one a worker left (warm). Between start and row it names the steps the worker's own log tells of.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import command
from benchmarks.alone import alone, parser
from benchmarks.context import Context, Event
from benchmarks.load import tagged
from benchmarks.machine import cpu_s
from benchmarks.servers import serving
from benchmarks.workers import await_count, await_event, worker
from worker.client.publisher import Publisher
from worker.settings import Settings
from worker.store.engine import Store

ROUNDS = 3
LIMITS_S = {"warm": 5.0, "cold": 15.0}
STEPS = {
    "worker_starting": "interpreter and Celery",
    "worker_imported": "imports",
    "device_chosen encoder": "database, bundle, encoder compiled",
    "device_chosen temporal": "temporal net compiled",
    "worker_opened": "anchors encoded, first shapes warm",
    "worker_ready": "consumer connected",
    "row": "first row",
    "worker_warm": "all shapes warm (behind)",
}
"""Events of the log in the order they come, and what the time before each went into."""


def main() -> None:
    call = parser(__doc__).parse_args()
    report = alone(start, call, rounds=ROUNDS)
    for kind, limit in LIMITS_S.items():
        found = report[kind]
        print(f"{kind}: first row after {found['first_row_s']} s (limit {limit:g}), CPU {found['cpu_s']} s")
        for name, seconds in found["steps_s"].items():
            print(f"  {seconds:>7.2f}  {name}")


def start(context: Context) -> dict[str, Any]:
    """Median seconds from a worker's start to its first row, cold and warm in turns, with the steps between:
    each step's seconds are those since the one before it. `cpu_s` is the worker's work until that row, which
    a busy machine does not stretch."""
    rounds = 1 if context.quick else context.rounds
    took: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    folder = context.folder / "start"
    with serving(folder) as running:
        database, broker = running.database("start"), running.broker(0)
        with Store.open(database, pool_size=1) as store:
            store.migrate()
        for number in range(rounds):
            chosen = context.settings.model_copy(
                update={
                    "run_dir": folder,
                    "database_url": database,
                    "broker_url": broker,
                    "cache_dir": folder / f"cache-{number}",
                }
            )
            for kind, marks in took.items():
                marks.append(_once(chosen, f"{kind}-{number}", context.events[number]))
                context.say(f"{kind} start {number + 1} of {rounds}: {marks[-1]['row']:.2f} s")
    return {kind: _told(marks) for kind, marks in took.items()} | {"rounds": rounds, "limits_s": LIMITS_S}


def _once(settings: Settings, tag: str, event: Event) -> dict[str, float]:
    """Seconds from the start of one worker to each step, and its CPU seconds until the first row."""
    (waiting,) = tagged([event], tag)
    assert settings.broker_url is not None
    assert settings.database_url is not None
    with Publisher.connect(settings.broker_url) as publisher:
        publisher.publish(waiting)
    log = settings.run_dir / f"{tag}.log"
    began = time.time()
    with worker(settings, log) as process:
        query = "SELECT count(*) FROM perceptions WHERE reflection_id = %(id)s"
        await_count(settings.database_url, query, {"id": waiting["id"]}, 1, process, poll_s=0.005)
        row, cpu = time.time() - began, cpu_s(process.pid)
        await_event(log, "worker_warm", process)
    return {**_marks(log, began), "row": row, "cpu_s": cpu}


def _marks(log: Path, began: float) -> dict[str, float]:
    """Seconds from `began` (Unix time) to the first event of each name in a worker's log."""
    found: dict[str, float] = {}
    for line in log.read_text("utf-8", "replace").splitlines():
        if not line.startswith("{"):
            continue
        event = json.loads(line)
        name = f"{event.get('event')} {event.get('component', '')}".strip()
        if name in STEPS:
            at = datetime.fromisoformat(event["timestamp"]).timestamp() - began
            found.setdefault(name, at)
    return found


def _told(marks: Sequence[dict[str, float]]) -> dict[str, Any]:
    middle = {
        name: median(mark[name] for mark in marks if name in mark)
        for name in STEPS
        if any(name in mark for mark in marks)
    }
    steps, before = {}, 0.0
    for name, at in sorted(middle.items(), key=lambda item: item[1]):
        steps[STEPS[name]] = round(at - before, 3)
        before = at
    rows = [mark["row"] for mark in marks]
    return {
        "first_row_s": round(median(rows), 2),
        "range_s": [round(min(rows), 2), round(max(rows), 2)],
        "cpu_s": round(median(mark["cpu_s"] for mark in marks), 2),
        "steps_s": steps,
    }


if __name__ == "__main__":
    command.run(main)
