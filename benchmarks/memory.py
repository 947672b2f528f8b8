"""How much memory a worker takes, and whether that grows: 50,000 reflections through one worker process.

`python -m benchmarks.memory [--data FILE|FOLDER...] [--count 50000]` sends them on the bulk lane with a few
on the live lane between, reads the process's resident memory all the while (RSS, and PSS, in which a page
shared by n processes counts a n-th), fits its growth over the second half, and says what holds it.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from benchmarks import command
from benchmarks.alone import alone, parser
from benchmarks.context import Context, Event
from benchmarks.load import repeated
from benchmarks.servers import serving
from benchmarks.workers import await_count, await_event, worker
from worker.client.publisher import Publisher
from worker.events.message import BULK, LIVE
from worker.store.engine import Store

COUNT, QUICK = 50_000, 2_000
LIMIT_MB = 700.0
FLAT_MB = 5.0
"""Growth a 10,000 reflections below which memory counts as flat."""
STEPS = 20
BLOCK = 1000
SAMPLE_S = 0.5
MB = 1e6

Floats = NDArray[np.float64]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--count", type=int, default=COUNT, help="reflections in all")
    call = options.parse_args()
    report = alone(lambda context: memory(context, call.count), call, rounds=1)
    low, high = report["growth_mb_per_10k_interval"]
    print(
        f"RSS {report['rss_mb']} MB at the end, {report['peak_mb']} at most (limit {LIMIT_MB:g});"
        f" {report['growth_mb_per_10k']} [{low}, {high}] MB more a 10,000 reflections:"
        f" {'flat' if report['flat'] else 'NOT FLAT'}"
    )
    for name, held in report["held_mb"].items():
        print(f"  {held:>7.1f}  {name}")


def memory(context: Context, count: int = COUNT) -> dict[str, Any]:
    """Resident memory in MB (10^6 bytes) over `count` reflections (fewer when quick)."""
    count = QUICK if context.quick else count
    folder = context.folder / "memory"
    with serving(folder) as running:
        database, broker = running.database("memory"), running.broker(0)
        with Store.open(database, pool_size=1) as store:
            store.migrate()
        settings = context.settings.model_copy(
            update={"run_dir": folder, "database_url": database, "broker_url": broker}
        )
        log = folder / "worker.log"
        with worker(settings, log) as process:
            await_event(log, "worker_ready", process)
            ready = resident(process.pid)
            samples: list[tuple[float, float, float]] = []
            over = threading.Event()
            watcher = threading.Thread(target=_watch, args=(process.pid, database, samples, over))
            watcher.start()
            try:
                _feed(context, broker, database, count, process)
            finally:
                over.set()
                watcher.join()
            end, held = resident(process.pid), holdings(process.pid)
    done, rss = np.array([(at, used) for at, used, _ in samples]).T
    slope, interval = growth(done, rss, count)
    return {
        "reflections": count,
        "rss_mb": round(end["rss"], 1),
        "pss_mb": round(end["pss"], 1),
        "ready_mb": round(ready["rss"], 1),
        "peak_mb": round(float(rss.max()), 1),
        "limit_mb": LIMIT_MB,
        "growth_mb_per_10k": slope,
        "growth_mb_per_10k_interval": interval,
        "flat": bool(slope < FLAT_MB),
        "held_mb": held,
        "curve": [[int(at), round(used, 1)] for at, used, _ in samples[:: max(1, len(samples) // 50)]],
    }


def growth(done: Floats, rss: Floats, count: int) -> tuple[float, tuple[float, float]]:
    """MB more a 10,000 reflections in the second half, with the 95 % interval of 1,000 residual bootstraps
    over `STEPS` steps of equally many reflections: samples close in time say the same thing twice."""
    edges = np.linspace(count / 2, count, STEPS + 1)
    places = [np.flatnonzero((done >= low) & (done <= high)) for low, high in pairwise(edges)]
    at = np.array([done[rows].mean() for rows in places if rows.size]) / 10_000
    level = np.array([np.median(rss[rows]) for rows in places if rows.size])
    if len(at) < 3:
        return float("nan"), (float("nan"), float("nan"))
    slope, start = np.polyfit(at, level, 1)
    fitted = slope * at + start
    random = np.random.default_rng(0)
    slopes = [np.polyfit(at, fitted + random.choice(level - fitted, len(at)), 1)[0] for _ in range(1000)]
    low, high = np.percentile(slopes, [2.5, 97.5])
    return round(float(slope), 2), (round(float(low), 2), round(float(high), 2))


def resident(pid: int) -> dict[str, float]:
    """RSS and PSS of one process in MB."""
    told = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = {name: re.search(rf"^{name}:\s+(\d+) kB", told, re.MULTILINE) for name in ("Rss", "Pss")}
    return {name.lower(): int(match[1]) * 1024 / MB for name, match in found.items() if match}


def holdings(pid: int) -> dict[str, float]:
    """What the resident memory of one process holds, in MB: heaps and the largest mapped files."""
    kinds: Counter[str] = Counter()
    name = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            parts = line.split(maxsplit=5)
            name = parts[5] if len(parts) > 5 else "arenas, thread stacks and large arrays"
        elif line.startswith("Rss:"):
            kinds[_kind(name)] += int(line.split()[1]) * 1024
    largest = dict(kinds.most_common(12))
    rest = kinds.total() - sum(largest.values())
    return {kind: round(held / MB, 1) for kind, held in {**largest, "the rest": rest}.items()}


def _kind(name: str) -> str:
    if name == "[heap]":
        return "main heap"
    return Path(name).name if name.startswith("/") else name


def _watch(pid: int, database: str, samples: list[tuple[float, float, float]], over: threading.Event) -> None:
    """Adds (reflections done, RSS MB, PSS MB) every `SAMPLE_S` seconds."""
    query = b"SELECT count(*) FROM deliveries WHERE state = 'done'"
    with psycopg.connect(database, autocommit=True) as connection:
        while not over.wait(SAMPLE_S):
            row = connection.execute(query).fetchone()
            now = resident(pid)
            samples.append((float(row[0]) if row else 0.0, now["rss"], now["pss"]))


def _feed(context: Context, broker: str, database: str, count: int, process: Any) -> None:
    """Publish `count` events, one in fifty alone on the live lane, and wait for their rows."""
    events = iter(repeated(context.events, count))
    query = "SELECT count(*) FROM deliveries WHERE state <> 'accepted'"
    sent, said = 0, time.monotonic()
    with Publisher.connect(broker) as publisher:
        while block := list(islice(events, BLOCK)):
            publisher.publish_many(_bulk(block), lane=BULK)
            for event in block[::50]:
                publisher.publish(event, lane=LIVE)
            sent += len(block)
            # Never far ahead: what waits in the queue is Valkey's memory, but its backlog would hide a stall.
            await_count(database, query, {}, sent - 2 * BLOCK, process, poll_s=0.1)
            if time.monotonic() - said > 10:
                said = time.monotonic()
                context.say(f"{sent} of {count} sent, RSS {resident(process.pid)['rss']:.0f} MB")
        await_count(database, query, {}, sent, process, poll_s=0.1)


def _bulk(block: Sequence[Event]) -> list[Event]:
    return [event for place, event in enumerate(block) if place % 50]


if __name__ == "__main__":
    command.run(main)
