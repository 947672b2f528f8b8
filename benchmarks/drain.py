"""`make drain`: a million events through one worker, accounted for, and the memory each part took meanwhile.

`python -m benchmarks.drain --events 1000000`: the real worker, Valkey, Postgres and publisher with its
backpressure. Only the encoder's device is simulated: it costs what this machine's encoder was measured to
cost at the start, but no CPU, as an accelerator would. Ctrl-C stops it; the same command goes on. Exit codes:
0 all accounts balance; 1 an event was lost, doubled or left in part; 2 the call is wrong; 4 a service is
missing; 130 stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import redis
from rich.console import Console

from benchmarks import command, load, simulated
from benchmarks.chaos import account
from benchmarks.chaos.family import descendants
from benchmarks.chaos.ledger import Ledger
from benchmarks.crowd import Crowd
from benchmarks.machine import cpu_s, machine
from benchmarks.memory import resident
from benchmarks.workers import await_event, worker
from worker.client.publisher import Publisher
from worker.embedded.postgres import Postgres
from worker.embedded.process import Process
from worker.embedded.valkey import Valkey
from worker.errors import ServiceMissing
from worker.events.message import BULK
from worker.report.progress import bars
from worker.settings import Settings
from worker.store.engine import Store

EVENTS = 1_000_000
BLOCK = 64 * 16
"""Events between two notes of how far the publisher is."""
SAMPLE_S = 5.0
SAY_S = 60.0
PATIENCE_S = 600.0
"""Without any progress: a shared machine may leave a worker little for a while."""
ACCOUNTED = 20_000
"""Events accounted for by one query."""
WRONG = 1

DONE = "SELECT coalesce(sum(n_tup_ins), 0) FROM pg_stat_user_tables WHERE relname = ANY(%b)"
"""What Postgres counted itself: asking the tables every few seconds would be a load of its own."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What runs."""

    postgres: Postgres
    valkey: Valkey
    worker: Process

    @property
    def processes(self) -> dict[str, Process]:
        assert self.postgres.process is not None
        assert self.valkey.process is not None
        return {"worker": self.worker, "postgres": self.postgres.process, "valkey": self.valkey.process}

    def cpu_s(self) -> dict[str, float]:
        return {name: cpu_s(process.pid) for name, process in self.processes.items()}

    def memory_mb(self) -> dict[str, float]:
        """Resident memory now. Postgres: the sum over its processes, shared pages counted once."""
        own = {name: resident(self.processes[name].pid)["rss"] for name in ("worker", "valkey")}
        root = self.processes["postgres"].pid
        shares = 0.0
        for pid in (root, *descendants(root)):
            try:
                shares += resident(pid)["pss"]
            except OSError:  # a connection that ended meanwhile
                continue
        return {name: round(mb, 1) for name, mb in (own | {"postgres": shares}).items()}


class Publishing(threading.Thread):
    """Sends the crowd's events from number `start` on; `sent` is how many the broker has. A daemon, so that
    Ctrl-C does not wait for the rest."""

    def __init__(self, broker_url: str, crowd: Crowd, start: int) -> None:
        super().__init__(name="publishing", daemon=True)
        self._broker_url = broker_url
        self._crowd = crowd
        self.sent = start
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            with Publisher.connect(self._broker_url) as publisher:
                while self.sent < len(self._crowd):
                    block = self._crowd.events(self.sent, self.sent + BLOCK)
                    self.sent += publisher.publish_many(block, lane=BULK, patience_s=PATIENCE_S)
        except Exception as error:  # noqa: BLE001  raised again by `check`, in the thread that waits
            self._error = error

    def check(self) -> None:
        """Raise what ended the sending early."""
        if self._error is not None:
            raise self._error


def main() -> None:
    """Run, print, write the JSON; exits 1 where the account does not balance."""
    call = _call()
    folder = (call.folder or call.out.parent / "drain" / f"{call.events}-{call.seed}").absolute()
    texts = load.events(call.data)
    crowd = Crowd(texts, call.events, seed=call.seed)
    plan = {"events": call.events, "seed": call.seed, "data": list(map(str, call.data)), "version": 1}
    ledger = Ledger(folder, plan)
    with bars() as shown:
        if ledger.read():
            shown.say(f"going on after {ledger.rounds[-1]['sent'] if ledger.rounds else 0} events ({folder})")
        else:
            shutil.rmtree(folder, ignore_errors=True)
            ledger.begin()
        settings = _settings(folder)
        costs = folder / "costs.npz"
        if not costs.exists():
            shown.say("measuring the encoder")
            told = simulated.calibrate(settings, [str(text["text"]) for text in texts[:512]], costs)
            shown.say(f"ms a call, by texts x tokens: {told}")
        os.environ[simulated.COSTS] = str(costs)
        before = machine()
        with _running(folder, settings) as parts:
            _drain(parts, crowd, ledger, shown)
            shown.say("accounting for every event by SQL")
            found = _account(parts.postgres.url, crowd, lambda done: shown.tell("account", done, len(crowd)))
            size_mb = _database_mb(parts.postgres.url)
    report = {**_report(found, ledger.rounds, crowd), "database_mb": size_mb, "machine": before, "plan": plan}
    call.out.parent.mkdir(parents=True, exist_ok=True)
    call.out.write_text(json.dumps(report, indent=2) + "\n")
    _show(report, Console())
    if not report["passed"]:
        print(f"written to {call.out}; database and logs are kept in {folder}", file=sys.stderr)
        sys.exit(WRONG)
    Postgres(folder / "postgres", log=folder / "postgres.log").remove()
    shutil.rmtree(folder)
    print(f"written to {call.out}")


def _call() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drain", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--data", type=Path, nargs="+", default=[load.SAMPLE], help="whose texts: JSONL or folders of corpora"
    )
    parser.add_argument("--folder", type=Path, help="of the databases and of what was done so far")
    parser.add_argument("--out", type=Path, default=Path("bench/drain.json"))
    call = parser.parse_args()
    if call.events < 1 or call.seed < 0:
        parser.error("--events is 1 or more, --seed 0 or more")
    return call


def _settings(folder: Path) -> Settings:
    """Never the operator's own services, and the encoder on the simulated device alone."""
    own: dict[str, Any] = {"broker_url": None, "database_url": None, "event_key": None, "metrics_port": 0}
    settings = Settings(run_dir=folder, device_plan=(simulated.DEVICE,), shadow_share=0.0, **own)
    return settings.model_copy(update={"cache_dir": settings.cache_dir.absolute()})


@contextmanager
def _running(folder: Path, settings: Settings) -> Iterator[Parts]:
    """Both servers on their data of before, and a worker; all stopped in order, their data kept."""
    postgres = Postgres(folder / "postgres", log=folder / "postgres.log")
    valkey = Valkey(folder / "valkey", log=folder / "valkey.log", memory_mb=settings.broker_memory_mb)
    log = folder / "worker.log"
    log.unlink(missing_ok=True)  # the last session's
    try:
        own = {"database_url": postgres.start(), "broker_url": valkey.start()}
        with Store.open(own["database_url"], pool_size=1) as store:
            store.migrate()
        # As a mapping in the environment reads; the settings' own field would spell a dictionary.
        os.environ["FELTSENSE_DEVICE_BACKENDS"] = simulated.BACKEND
        with worker(settings.model_copy(update=own), log) as process:
            await_event(log, "worker_ready", process)
            yield Parts(postgres=postgres, valkey=valkey, worker=process)
    finally:
        valkey.stop()
        postgres.stop()


def _drain(parts: Parts, crowd: Crowd, ledger: Ledger, shown: Any) -> None:
    """Publish what is missing and return when the broker holds nothing more; a line in the ledger every
    `SAMPLE_S` seconds."""
    session = int(ledger.rounds[-1]["session"]) + 1 if ledger.rounds else 0
    publishing = Publishing(parts.valkey.url, crowd, int(ledger.rounds[-1]["sent"]) if ledger.rounds else 0)
    began, cpu = time.monotonic(), parts.cpu_s()
    said, moved, last = began, began, (-1, -1)
    with (
        redis.Redis.from_url(parts.valkey.url) as broker,
        psycopg.connect(parts.postgres.url, autocommit=True) as database,
    ):
        publishing.start()
        while True:
            finished = publishing.sent >= len(crowd) and not account.queued(parts.valkey.url)
            row = database.execute(DONE, (["perceptions", "dead_letters"],)).fetchone()
            spent = parts.cpu_s()
            sample = {
                "session": session,
                "s": round(time.monotonic() - began, 1),
                "sent": publishing.sent,
                "done": int(row[0]) if row else 0,
                "waiting": int(broker.llen(BULK)),
                "rss_mb": parts.memory_mb(),
                "broker_peak_mb": round(broker.info("memory")["used_memory_peak"] / 1e6, 1),
                "cpu_s": {name: round(spent[name] - cpu[name], 1) for name in spent},
            }
            ledger.add(sample)
            shown.tell("events", sample["done"], len(crowd))
            if finished:
                return
            now = time.monotonic()
            if now - said > SAY_S:
                said = now
                shown.say(
                    f"{sample['s']:.0f} s: {sample['done']} of {len(crowd)} done,"
                    f" {sample['waiting']} messages wait; RSS in MB {sample['rss_mb']}"
                )
            if (sample["sent"], sample["done"]) != last:
                moved, last = now, (sample["sent"], sample["done"])
            publishing.check()
            if parts.worker.ended is not None or now - moved > PATIENCE_S:
                raise ServiceMissing(f"the worker stopped at {sample['done']}:\n{parts.worker.tail()}")
            time.sleep(SAMPLE_S)


def _account(database_url: str, crowd: Crowd, told: Any) -> Counter[str]:
    """What became of every event, summed over queries of `ACCOUNTED` each."""
    total: Counter[str] = Counter()
    for start in range(0, len(crowd), ACCOUNTED):
        numbers = range(start, min(start + ACCOUNTED, len(crowd)))
        ids = [crowd.id(number) for number in numbers]
        guilty = {crowd.id(number) for number in numbers if crowd.broken[number]}
        part = account.settle(account.found(database_url, ids), guilty=guilty)
        total += Counter(
            accepted=part.accepted, rows=part.rows, dead_letters=part.dead_letters, lost=len(part.lost),
            doubled=len(part.doubled), partial=len(part.partial), parked_without_cause=len(part.innocent),
            not_parked=len(part.spared),
        )  # fmt: skip
        told(numbers.stop)
    return total


def _report(found: Mapping[str, int], samples: list[dict[str, Any]], crowd: Crowd) -> dict[str, Any]:
    sessions = {sample["session"]: sample for sample in samples}.values()
    seconds = sum(one["s"] for one in sessions)
    cpu = {name: sum(one["cpu_s"][name] for one in sessions) for name in ("worker", "postgres", "valkey")}
    tenth = next(one for one in samples if one["done"] >= len(crowd) / 10)
    names = ("accepted", "rows", "dead_letters", "lost", "doubled", "partial", "parked_without_cause",
             "not_parked")  # fmt: skip
    counts = {name: found[name] for name in names}
    wrong = any(counts[name] for name in names[3:])
    return {
        **counts,
        "passed": not wrong and counts["accepted"] == counts["rows"] + counts["dead_letters"],
        "people": crowd.people,
        "longest_history": crowd.longest(),
        "seconds": round(seconds, 1),
        "per_s": round(len(crowd) / seconds, 1),
        "cpu_ms_an_event": {name: round(1000 * used / len(crowd), 3) for name, used in cpu.items()},
        "rss_mb_at_10_percent": tenth["rss_mb"],
        "rss_mb_at_100_percent": samples[-1]["rss_mb"],
        "rss_mb_most": {name: max(one["rss_mb"][name] for one in samples) for name in cpu},
        "broker_peak_mb": max(one["broker_peak_mb"] for one in samples),
        "most_waiting": max(one["waiting"] for one in samples),
        "sessions": len(sessions),
        "curve": samples[:: max(1, len(samples) // 200)],
    }


def _database_mb(url: str) -> float:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    return round(int(row[0]) / 1e6) if row else 0.0


def _show(report: Mapping[str, Any], console: Console) -> None:
    verdict = "" if report["passed"] else "FAILED: "
    console.print(
        f"{verdict}accepted {report['accepted']} = rows {report['rows']} + dead letters"
        f" {report['dead_letters']} | lost {report['lost']}, doubled {report['doubled']}, partial"
        f" {report['partial']}\n"
        f"{report['per_s']}/s over {report['seconds']:.0f} s; CPU ms an event {report['cpu_ms_an_event']}\n"
        f"RSS in MB at 10 % {report['rss_mb_at_10_percent']}, at 100 % {report['rss_mb_at_100_percent']};"
        f" broker's memory {report['broker_peak_mb']} MB at most",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


if __name__ == "__main__":
    command.run(main, stopped="Stopped; the same command goes on where this one was.")
