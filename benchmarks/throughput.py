"""How fast the whole instance is: embedded Postgres and Valkey, one worker, the publisher, all on this
machine.

`python -m benchmarks.throughput [--data FILE|FOLDER...] [--count 20000] [--out bench/results.json]` takes
events (JSONL), or a folder of raw public corpora, whose `CORPORA` it imports and mixes. First a bulk load:
publish, wait until every event has its row or its dead letter, and check that the sum is exact. Then ten
events a second on the live lane, each timed from publishing to seeing its row.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import cycle, islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.corpora.importer import FOLDERS, import_corpus
from worker.client.publisher import Publisher
from worker.embedded.supervisor import Endpoints, running
from worker.errors import FeltsenseError
from worker.events.reflection import FIELDS
from worker.settings import Settings
from worker.store.engine import Store

SAMPLE = Path(__file__).parent.parent / "samples" / "reflections.jsonl"
CORPORA = ("semeval2026", "emobank", "goemotions", "offmychest")
LIVE_RATE = 10
LIVE_SECONDS = 30.0
POLL_S = 0.003
STALL_S = 120.0
GIVE_UP_S = 20.0
"""How long after the last live event its row is waited for; one that was parked never comes."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        default=[SAMPLE],
        help="event lines (JSONL) or folders of corpora, repeated to fill the count",
    )
    parser.add_argument("--count", type=int, default=20_000, help="events of the bulk load")
    parser.add_argument("--live-seconds", type=float, default=LIVE_SECONDS, help="length of the live phase")
    parser.add_argument("--chunk", type=int, default=64, help="events a message in the bulk load")
    parser.add_argument("--bundle", type=Path, help="another bundle than the starter")
    parser.add_argument("--out", type=Path, default=Path("bench/results.json"))
    call = parser.parse_args()
    lines = list(events(call.data, call.count + int(call.live_seconds * LIVE_RATE)))
    with tempfile.TemporaryDirectory(prefix="feltsense-bench-") as folder:
        chosen = {"bundle": call.bundle} if call.bundle else {}
        # Never the operator's own services, and in the open: what is measured is this instance alone.
        own: dict[str, Any] = {"broker_url": None, "database_url": None, "event_key": None, "metrics_port": 0}
        settings = Settings(run_dir=Path(folder) / "run", **own, **chosen)
        started = time.perf_counter()
        with (
            running(settings, flower=False, temporary=True) as endpoints,
            Store.open(endpoints.database_url) as store,
        ):
            report: dict[str, Any] = {
                "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "cores": os.cpu_count(),
                "start_s": round(time.perf_counter() - started, 2),
            }
            report["bulk"] = bulk(endpoints, store, lines[: call.count], call.chunk)
            report["live"] = live(endpoints, store, lines[call.count :])
        # Children are counted when they have ended: worker, Postgres, Valkey and beat, start and warming
        # included.
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        report["cpu_s_of_services"] = round(used.ru_utime + used.ru_stime, 1)
    call.out.parent.mkdir(parents=True, exist_ok=True)
    call.out.write_text(json.dumps(report, indent=2) + "\n")
    show(report)
    print(f"written to {call.out}")
    if not report["bulk"]["sum_exact"]:
        sys.exit(1)


def events(files: list[Path], count: int) -> Iterator[dict[str, Any]]:
    """`count` events of the files in turn, again from the start with new ids when they are too few."""
    with tempfile.TemporaryDirectory() as scratch:
        sources = [part for file in files for part in _imported(file, Path(scratch))]
        loads = [[line for line in part.read_text().splitlines() if line.strip()] for part in sources]
    with_labels = [event for turn in zip_longest(*loads) for line in turn if line for event in _parsed(line)]
    plain = [{name: value for name, value in event.items() if name in FIELDS} for event in with_labels]
    for number, event in enumerate(islice(cycle(plain), count)):
        yield {**event, "id": f"{number}-{event['id']}"[:128]}


def _imported(path: Path, scratch: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    for name in CORPORA:
        import_corpus(name, path / FOLDERS[name], scratch / f"{name}.jsonl", now=datetime.now(UTC))
    return [scratch / f"{name}.jsonl" for name in CORPORA]


def _parsed(line: str) -> list[dict[str, Any]]:
    """The event of a line; none of a line that could never be sent."""
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        return []
    return [event] if isinstance(event, dict) and "id" in event else []


def bulk(endpoints: Endpoints, store: Store, load: list[dict[str, Any]], chunk: int) -> dict[str, Any]:
    cpu, started = processor(endpoints), time.perf_counter()
    sender = threading.Thread(target=_publish, args=(endpoints, load, chunk))
    sender.start()
    done, since = finished(store), time.perf_counter()
    while done < len(load):
        time.sleep(0.2)
        endpoints.check()
        now = finished(store)
        if now > done:
            done, since = now, time.perf_counter()
        elif time.perf_counter() - since > STALL_S:
            break
    seconds = time.perf_counter() - started
    sender.join()
    rows, letters = counted(store)
    used = {name: after - cpu[name] for name, after in processor(endpoints).items()}
    return {
        "published": len(load),
        "rows": rows,
        "dead_letters": dict(letters),
        "sum_exact": rows + letters.total() == len(load),
        "seconds": round(seconds, 2),
        "reflections_per_s": round(len(load) / seconds, 1),
        "cpu_ms_a_reflection": {name: round(1000 * s / len(load), 3) for name, s in sorted(used.items())},
    }


def _publish(endpoints: Endpoints, load: list[dict[str, Any]], chunk: int) -> None:
    with Publisher.connect(endpoints.broker_url) as publisher:
        publisher.publish_many(load, chunk=chunk)


def live(endpoints: Endpoints, store: Store, load: list[dict[str, Any]]) -> dict[str, Any]:
    waiting: dict[str, float] = {}
    taken: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not (over.is_set() and (not waiting or time.perf_counter() > ends)):
            keys = list(waiting)
            if keys:
                found = present(store, keys)
                now = time.perf_counter()
                taken.extend(now - waiting.pop(key) for (key,) in found)
            time.sleep(POLL_S)

    ends = time.perf_counter() + len(load) / LIVE_RATE + GIVE_UP_S
    watcher = threading.Thread(target=watch)
    watcher.start()
    with Publisher.connect(endpoints.broker_url) as publisher:
        started = time.perf_counter()
        for number, event in enumerate(load):
            time.sleep(max(0.0, started + number / LIVE_RATE - time.perf_counter()))
            waiting[event["id"]] = time.perf_counter()
            publisher.publish(event)
    over.set()
    watcher.join()
    p50, p95, p99 = np.percentile(np.array(taken) * 1000, [50, 95, 99]) if taken else (np.nan,) * 3
    return {
        "rate_per_s": LIVE_RATE,
        "published": len(load),
        "rows": len(taken),
        "p50_ms": round(float(p50), 1),
        "p95_ms": round(float(p95), 1),
        "p99_ms": round(float(p99), 1),
        "max_ms": round(1000 * max(taken, default=float("nan")), 1),
    }


def present(store: Store, keys: list[str]) -> list[tuple[Any, ...]]:
    query = "SELECT reflection_id FROM perceptions WHERE reflection_id = ANY(%s)"
    return store.transact(lambda cursor: cursor.execute(query, (keys,)).fetchall())


def finished(store: Store) -> int:
    """Events that have come to their end: cheap enough to ask while the load runs."""
    query = (
        "SELECT (SELECT count(*) FROM deliveries WHERE state = 'done') + (SELECT count(*) FROM dead_letters)"
    )
    return int(store.transact(lambda cursor: cursor.execute(query).fetchall())[0][0])


def counted(store: Store) -> tuple[int, Counter[str]]:
    rows = store.transact(lambda cursor: cursor.execute("SELECT count(*) FROM perceptions").fetchall())[0][0]
    query = "SELECT reason, count(*) FROM dead_letters GROUP BY reason"
    return int(rows), Counter(dict(store.transact(lambda cursor: cursor.execute(query).fetchall())))


def processor(endpoints: Endpoints) -> dict[str, float]:
    """CPU seconds so far of each process of the instance, its children included, and of this one."""
    ticks = os.sysconf("SC_CLK_TCK")
    parents: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # ended while we looked
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
            # Own time, and that of children that have ended.
            used[int(entry.name)] = sum(map(int, fields[11:15])) / ticks

    def tree(pid: int) -> float:
        return used.get(pid, 0.0) + sum(tree(child) for child in parents.get(pid, []))

    own = time.process_time()
    return {process.name: tree(process.pid) for process in endpoints.processes} | {"publisher": own}


def show(report: dict[str, Any]) -> None:
    load, rate = report["bulk"], report["live"]
    print(
        f"published {load['published']}, rows {load['rows']}, dead letters {load['dead_letters'] or 0}",
        end=", ",
    )
    print("sum exact" if load["sum_exact"] else "SUM NOT EXACT")
    print(f"{load['reflections_per_s']} reflections/s over {load['seconds']} s on {report['cores']} cores")
    print(f"CPU ms a reflection: {load['cpu_ms_a_reflection']}")
    print(
        f"publish to row at {rate['rate_per_s']}/s: p50 {rate['p50_ms']} ms, p95 {rate['p95_ms']} ms, "
        f"p99 {rate['p99_ms']} ms ({rate['rows']} of {rate['published']})"
    )


if __name__ == "__main__":
    try:
        main()
    except FeltsenseError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
