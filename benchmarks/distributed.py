"""How much faster two trainers are than one: `python -m benchmarks.distributed [--people 200] [--rounds 3]`.

Real Postgres, real Valkey, trainer processes of one thread each on this machine. The folds of synthetic
people, of like size, are computed with one trainer and with two, in turns; start, imports and the inputs' way
are not in the time. On a machine that does something else at the time the ratio of the clock's times says
little. So it also tells how much of a processor each trainer had, and the time without what the thread that
fits stood in the kernel's queue for a core (schedstat). What it waited for others that had no core, the
broker or another thread of its own, is still in that.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import numpy as np
from celery import Celery

from benchmarks.command import run
from benchmarks.schedule.__main__ import servers
from trainer import parts
from trainer import plan as plans
from trainer.data import labelled, synthetic
from trainer.features import build, targets
from trainer.plan import Plan
from trainer.service.application import beside
from trainer.service.crew import QueueCrew
from trainer.settings import TrainerSettings
from trainer.splits import split
from worker.embedded.process import Process
from worker.errors import ServiceMissing
from worker.events.taxonomy import taxonomy
from worker.service import transport
from worker.service.readiness import workers

FOLDS = 6
READY_S = 90.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distributed", description=__doc__)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder)) as (broker, database):
        place = Path(folder)
        settings = TrainerSettings(artefacts=str(place / "artefacts"))
        inputs = _inputs(options.people, place, settings)
        transport.install()
        address = beside(broker)
        app = Celery("measured", broker=address, backend=address, set_as_current=False)
        crew = QueueCrew(app, settings, lambda: None)
        seconds: dict[int, list[float]] = {1: [], 2: []}
        free: dict[int, list[float]] = {1: [], 2: []}
        for number in range(options.rounds):
            for count in (1, 2) if number % 2 == 0 else (2, 1):
                with _trainers(count, broker, database, settings, place, app) as processes:
                    crew.compute("fold", inputs, range(2), lambda _: None)  # imports, and inputs read
                    before = [_threads(process.pid) for process in processes]
                    started = time.monotonic()
                    crew.compute("fold", inputs, range(FOLDS), lambda _: None)
                    passed = time.monotonic() - started
                    spent = [_spent(one.pid, was) for one, was in zip(processes, before, strict=True)]
                    seconds[count].append(passed)
                    free[count].append(passed - min(waited for _, waited in spent))
                    had = " and ".join(f"{cpu:.1f}" for cpu, _ in spent)
                    print(
                        f"{count} trainers: {FOLDS} folds in {passed:.1f} s, {had} s of a processor;"
                        f" {free[count][-1]:.1f} s without waiting for a core",
                        flush=True,
                    )
    for what, found in (("by the clock", seconds), ("without waiting for a core", free)):
        one, two = median(found[1]), median(found[2])
        print(f"median of {options.rounds} {what}: {one:.1f} s and {two:.1f} s: {one / two:.2f} times")


def _inputs(people: int, folder: Path, settings: TrainerSettings) -> parts.Inputs:
    path = folder / "people.jsonl"
    synthetic.write(path, people=people, seed=11)
    rows = labelled.load([path])
    plan, tree = plans.read("quick"), taxonomy()
    plan = Plan.model_validate({**plan.model_dump(), "folds": FOLDS})
    made = split.make(rows, plan, tree, count=FOLDS, seed=plan.seed)
    inside = [row for row, yes in zip(rows, made.inside, strict=True) if yes]
    goals = targets.extract(inside, plan, tree, made.learned[made.inside])
    features, _ = build.build(
        [row.reflection for row in inside],
        tree,
        bits=plan.ngram_bits,
        settings=settings,
        advance=lambda _: None,
    )
    print(f"{len(inside)} rows of {people} synthetic people, plan quick")
    fold = np.asarray(made.fold[made.inside])
    return parts.plain(
        plan, features=features, targets=goals, fold=fold, sources=["synthetic"] * len(fold), activations=None
    )


def _threads(pid: int) -> dict[str, tuple[float, float]]:
    """Seconds that each thread of a process has run, and has waited for a core."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        ran, waited, _ = (task / "schedstat").read_text().split()
        found[task.name] = int(ran) / 1e9, int(waited) / 1e9
    return found


def _spent(pid: int, before: dict[str, tuple[float, float]]) -> tuple[float, float]:
    """Seconds of a processor that the process has had since, and those for which its busiest thread waited:
    never more than the clock's, for a thread cannot wait twice at once."""
    since = [
        (ran - before.get(name, (0.0, 0.0))[0], waited - before.get(name, (0.0, 0.0))[1])
        for name, (ran, waited) in _threads(pid).items()
    ]
    return sum(ran for ran, _ in since), max(since)[1]


@contextmanager
def _trainers(
    count: int, broker: str, database: str, settings: TrainerSettings, folder: Path, app: Celery
) -> Iterator[list[Process]]:
    environment = {
        **os.environ, "FELTSENSE_BROKER_URL": broker, "FELTSENSE_DATABASE_URL": database,
        "FELTSENSE_TRAINER_ARTEFACTS": settings.artefacts, "OMP_NUM_THREADS": "1",
        "FELTSENSE_TRAINER_GIVES_WAY": "false",
    }  # fmt: skip
    argv = [
        sys.executable,
        "-m",
        "celery",
        "--app",
        "trainer.service.celery_app",
        "worker",
        "--without-mingle",
    ]
    processes = []
    with ExitStack() as stack:
        for number in range(count):
            process = Process(
                f"trainer-{number}", [*argv, "--hostname", f"t{number}@%h"], log=folder / f"t{number}.log",
                environment=environment,
            )  # fmt: skip
            process.start()
            stack.callback(process.kill)
            processes.append(process)
        expires = time.monotonic() + READY_S
        while len(workers(str(app.conf.broker_url), 1.0)) < count:
            if time.monotonic() > expires:
                raise ServiceMissing(f"{count} trainers were not ready after {READY_S:g} s")
        yield processes


if __name__ == "__main__":
    run(main)
