"""A whole life under live load: `make soak`, or `python -m benchmarks.soak [--seconds 600] [--rate 100]`.

On a real instance (worker, Valkey, Postgres; the bare client's publishing at a fixed rate never stops) the
instance's own labels arrive, a rebuild learns from them and is tried beside, it is promoted and taken over
between two batches, a worse one is refused, the events change and the drift check says so, and somebody rolls
back. Then every published event is accounted for by SQL. Writes bench/soak.json; the exit code is 3 when an
event was lost or a step did not come about. Latency is from just before the sending until the row's
transaction wrote it; the phases of it are told apart, for on a small machine the rebuild computes beside.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console

from benchmarks import command
from benchmarks.challengers import PLAN, bent, overconfident
from benchmarks.chaos.account import queued
from benchmarks.soak.account import OPEN, account, percentiles
from benchmarks.soak.load import Load
from trainer import rebuild
from trainer.data import labelled, synthetic
from trainer.settings import TrainerSettings
from worker.bundle.manifest import NAME
from worker.embedded.process import bound_to_parent
from worker.embedded.supervisor import Endpoints, running
from worker.errors import REJECTED, ServiceMissing
from worker.settings import Settings
from worker.store import models
from worker.store.engine import Store

OUT = Path("bench/soak.json")
FIRST, MORE, RESERVED = 12, 80, 30
"""Synthetic people of the first bundle, of the file the rebuild learns from beside the instance's own labels,
and of those that both are judged on."""
DRIFTED = 1_500
"""Events after the change, at least, before the check looks at them."""
GOAL_MS = 250.0
STEP_S = 1800.0
"""Longest a step may take: rebuild and comparisons give way to the load and to all else."""


class Soak:
    """One run; `phases` are (name, began, ended) in Unix time."""

    def __init__(self, folder: Path, settings: Settings, endpoints: Endpoints, load: Load) -> None:
        self._folder = folder
        self._endpoints = endpoints
        self._load = load
        self.store = Store.open(endpoints.database_url, pool_size=1)
        self.phases: list[tuple[str, float, float]] = []
        self.told: dict[str, Any] = {}
        self._environment = {
            **os.environ,
            "FELTSENSE_DATABASE_URL": endpoints.database_url,
            "FELTSENSE_BROKER_URL": endpoints.broker_url,
            "FELTSENSE_RUN_DIR": str(folder / "run"),
            "FELTSENSE_CACHE_DIR": str(settings.cache_dir),
            "FELTSENSE_TRAINER_CACHE_DIR": str(settings.cache_dir),
            "FELTSENSE_DEVICE_PLAN": "CPU",
            "FELTSENSE_TEMPORAL_DEVICE_PLAN": "CPU",
            "FELTSENSE_INFERENCE_THREADS": "1",
            "FELTSENSE_TRAINER_INFERENCE_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.time()
        print(f"{name} ...", file=sys.stderr, flush=True)
        yield
        self.phases.append((name, began, time.time()))

    def wait(self, seconds: float) -> None:
        self.until(lambda: False, seconds)

    def until(self, holds: Callable[[], object], within_s: float = STEP_S) -> bool:
        """Whether `holds` came true in time; the instance and the load are watched meanwhile."""
        expires = time.monotonic() + within_s
        while not holds():
            if time.monotonic() > expires:
                return False
            self._endpoints.check()
            self._load.check()
            time.sleep(0.2)
        return True

    def run(self, *arguments: str) -> tuple[int, str]:
        """A program beside the load; its exit code and output."""
        log = self._folder / "logs" / "beside.log"
        with log.open("ab") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env=self._environment, stdout=subprocess.PIPE, stderr=errors, text=True,
                # A session of its own, as a service or a job has one.
                start_new_session=True, preexec_fn=bound_to_parent(signal.SIGKILL),
            )  # fmt: skip
            try:
                if not self.until(lambda: process.poll() is not None):
                    raise ServiceMissing(f"{arguments[0]} took longer than {STEP_S:.0f} s; see {log}")
                assert process.stdout is not None
                return process.returncode, process.stdout.read()
            finally:
                process.kill()
                process.wait()

    def drain(self, within_s: float = STEP_S) -> None:
        """Until nothing is queued and nothing in hand."""
        with psycopg.connect(self._endpoints.database_url, autocommit=True) as connection:
            expires = time.monotonic() + within_s
            while time.monotonic() < expires:
                self._endpoints.check()
                held = connection.execute(OPEN).fetchone()
                if queued(self._endpoints.broker_url) == 0 and held == (0,):
                    return
                time.sleep(0.2)

    def rows_of(self, version: str) -> int:
        with psycopg.connect(self._endpoints.database_url) as connection:
            found = connection.execute(
                "SELECT count(*) FROM perceptions WHERE model_version = %s", (version,)
            ).fetchone()
        return int(found[0]) if found else 0

    def events(self, kind: str, version: str | None = None) -> int:
        return sum(one.kind == kind and version in (None, one.version) for one in models.history(self.store))

    def swapped(self, version: str, before: int) -> bool:
        """The worker took `version`, once more than `before`."""
        return self.until(lambda: self.events("swapped", version) > before, 120)


def life(soak: Soak, load: Load, files: Path, call: argparse.Namespace) -> None:
    """The steps, in their order."""
    share = call.seconds / 12
    with soak.phase("alone"):
        soak.wait(2 * share)
    with soak.phase("rebuild"):
        code, out = soak.run(
            "benchmarks.soak.rebuild", str(files / "more.jsonl"), str(files / "reserved.jsonl"),
            str(files / "rebuilt"),
        )  # fmt: skip
        if code:
            raise ServiceMissing(f"the rebuild ended with {code}; see {files / 'logs' / 'beside.log'}")
        soak.told["rebuild"] = json.loads(out.splitlines()[-1])  # before it, the log
    version = soak.told["rebuild"]["version"]
    with soak.phase("tried beside"):
        soak.until(lambda: soak.rows_of(version) >= call.tried, 3 * share)
        soak.told["tried_rows"] = soak.rows_of(version)
    with soak.phase("promote"):
        code, out = soak.run("worker.cli", "promote", version, "--data", str(files / "reserved.jsonl"),
                             "--report", str(files / "promoted.json"))  # fmt: skip
        soak.told["promote"] = {"exit": code, "said": out.splitlines()[:3]}
    with soak.phase("hot swap"):
        soak.told["promoted_is_served"] = code == 0 and soak.swapped(version, 0)
        soak.wait(share)
    with soak.phase("a worse one"):
        worse = bent(files / "rebuilt", files / "worse", overconfident)
        code, out = soak.run("worker.cli", "promote", str(worse), "--data", str(files / "reserved.jsonl"),
                             "--report", str(files / "refused.json"))  # fmt: skip
        soak.told["worse"] = {"exit": code, "said": out.splitlines()[:3]}
    with soak.phase("drift"):
        serving = models.serving(soak.store)
        assert serving is not None, "the worker's start made one serve"
        assert serving.since is not None, "it serves"
        changed = time.time()
        load.drifted = True
        soak.wait(max(2 * share, DRIFTED / call.rate))
        code, out = soak.run(
            "benchmarks.soak.drifting", serving.version, str(serving.since.timestamp()), str(changed)
        )
        soak.told["drift"] = json.loads(out.splitlines()[-1]) if code == 0 else {"exit": code}
        load.drifted = False
    with soak.phase("rollback"):
        serves = models.previous(soak.store)
        before = soak.events("swapped", serves.version) if serves is not None else 0
        code, out = soak.run("worker.cli", "rollback", "--reason", "the soak asks for it")
        soak.told["rollback"] = {"exit": code, "said": out.splitlines()[:1]}
        soak.told["rolled_back_is_served"] = (
            code == 0 and serves is not None and soak.swapped(serves.version, before)
        )
        soak.wait(share)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="about how long; the rebuild adds to it")
    parser.add_argument("--rate", type=float, default=100.0, help="reflections a second")
    parser.add_argument("--tried", type=int, default=250, help="rows of the challenger before it is promoted")
    parser.add_argument("--seed", type=int, default=1)
    call = parser.parse_args()
    folder = Path("bench/soak").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "logs").mkdir(parents=True)
    settings = Settings(
        run_dir=folder / "run", broker_url=None, database_url=None, event_key=None, bundle=folder / "first",
        metrics_port=0, device_plan=("CPU",), temporal_device_plan=("CPU",), shadow_traffic=0.3,
        cache_dir=Path(".cache").absolute(),
    )  # fmt: skip
    _prepare(folder, call.seed, settings)
    load = Load(call.rate, 10_000 * call.seed, folder / "logs" / "publisher.log", seconds=call.seconds)
    gc.freeze()  # the load's events; the collector need not walk them beside the instance
    print("starting the instance ...", file=sys.stderr, flush=True)
    with running(settings, flower=False, temporary=True) as endpoints:
        soak = Soak(folder, settings, endpoints, load)
        load.start(endpoints.broker_url)
        failed = None
        try:
            life(soak, load, folder, call)
        except ServiceMissing as error:
            failed = str(error)
        load.stop()
        soak.drain()
        result = _result(soak, account(endpoints.database_url, load.sent), call, failed)
        soak.store.close()
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1))
    _print(result)
    if result["lost"] or not result["balanced"] or result["missing"]:
        sys.exit(REJECTED)


def _prepare(folder: Path, seed: int, settings: Settings) -> None:
    """The labelled files, and the bundle that serves first: of few people and badly calibrated, so that a
    rebuild is better for certain and not for most draws of the data."""
    for name, count, own in (("first", FIRST, 11), ("more", MORE, 12), ("reserved", RESERVED, 13)):
        synthetic.write(folder / f"{name}.jsonl", people=count, seed=100 * seed + own)
    # Of the same data, so it need not be made again.
    first = settings.cache_dir / f"soak-first-{seed}-{FIRST}"
    if not (first / NAME).is_file():
        print("training the first bundle ...", file=sys.stderr, flush=True)
        rebuild.fit(
            labelled.load([folder / "first.jsonl"]), PLAN, first, Console(quiet=True),
            TrainerSettings(cache_dir=settings.cache_dir),
        )  # fmt: skip
    bent(first, folder / "first", overconfident)


def _result(
    soak: Soak, found: dict[str, Any], call: argparse.Namespace, failed: str | None
) -> dict[str, Any]:
    latency = found.pop("latency")
    phases = {
        name: percentiles([ms for sent, ms in latency if began <= sent < ended])
        | {"began": round(began, 3), "seconds": round(ended - began, 1)}
        for name, began, ended in soak.phases
    }
    drift = soak.told.get("drift", {})
    told = {
        **found,
        "p99_ms": percentiles([ms for _, ms in latency])["p99_ms"],
        "swaps": soak.events("swapped"),
        "refused": soak.events("refused"),
        "promoted": soak.events("promoted") - 1,  # the first one was, by the worker's start
        "rolled_back": soak.events("rolled_back"),
        "drift_alarms": drift.get("alarms", 0),
    }
    asked = {
        "a promotion": told["promoted"] >= 1 and soak.told.get("promoted_is_served"),
        "a refusal": told["refused"] >= 1 and soak.told.get("worse", {}).get("exit") == REJECTED,
        "a rollback": told["rolled_back"] >= 1 and soak.told.get("rolled_back_is_served"),
        "a drift alarm": told["drift_alarms"] >= 1,
    }
    return {
        **told,
        "missing": [name for name, there in asked.items() if not there],
        "failed": failed,
        "p99_goal_ms": GOAL_MS,
        "rate_per_s": call.rate,
        "load_average": os.getloadavg()[1],
        "cores": len(os.sched_getaffinity(0)),
        "phases": phases,
        "steps": soak.told,
    }


def _print(result: dict[str, Any]) -> None:
    names = ("published", "lost", "p99_ms", "swaps", "refused", "promoted", "rolled_back", "drift_alarms")
    print("  ".join(f"{name} {result[name]}" for name in names))
    for name, one in result["phases"].items():
        print(
            f"{name:<14} {one['seconds']:>7.1f} s  {one['events']:>6} events  p50 {one['p50_ms']} ms"
            f"  p99 {one['p99_ms']} ms  max {one['max_ms']} ms"
        )
    worst = [name for name, one in result["phases"].items() if one["p99_ms"] and one["p99_ms"] > GOAL_MS]
    print(f"p99 above {GOAL_MS:.0f} ms in: {', '.join(worst) or 'no phase'}")
    print(f"load average of the machine: {result['load_average']:.1f} on {result['cores']} cores")
    for name in result["missing"]:
        print(f"did not come about: {name}")
    if result["failed"]:
        print(result["failed"])
    print(f"{OUT} written")


if __name__ == "__main__":
    command.run(main, stopped="Stopped; nothing was written.")
