"""How fast training is, step by step, how each step grows with the rows, and what a whole rebuild takes:
`python -m benchmarks.training FILE... [--plans quick full] [--out bench/training.json]`.

FILES are labelled JSONL, or a folder of raw corpora, as `python -m trainer.rebuild` takes them; only those
that may ship, where a plan is to. A growth's exponent is log(t16 / t1) / log(n16 / n1): 1 is linear, below 1
a fixed cost spread over more rows. Whole rebuilds run in processes of their own, by default with no embedding
known.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import command
from benchmarks.machine import machine
from benchmarks.steps import Bench, Growth, Line
from trainer import plan as plans
from trainer import rebuild
from trainer.data import labelled
from trainer.splits import selection
from worker.errors import FeltsenseError
from worker.observability import logging

WALL_S = {"quick": 180.0, "full": 3600.0}
PEAK_GIB = 8.0
_STEP = re.compile(r"(?P<name>\S.*?) +(?P<seconds>[0-9]+\.[0-9]) s\s*")
_GROWTH = "{:<50}{:>24}{:>27}{:>10}{:>10}"


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", type=Path, help="labelled JSONL files, or a folder of raw corpora")
    parser.add_argument("--recipe", default="full", help="the plan whose settings the steps are fitted by")
    parser.add_argument("--rows", type=int, default=32_000, help="rows of the largest sample")
    parser.add_argument("--tuned-rows", type=int, default=4000, help="rows of the largest sample for base Tr")
    parser.add_argument("--plans", nargs="*", default=[], help="plans to rebuild a whole bundle by")
    parser.add_argument("--plans-only", action="store_true", help="leave the steps out")
    parser.add_argument("--cache", type=Path, help="folder of embeddings that the rebuilds may know")
    parser.add_argument("--out", type=Path, default=Path("bench/training.json"))
    call = parser.parse_args()
    logging.configure("warning")
    report: dict[str, Any] = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "recipe": call.recipe,
    }
    print(json.dumps(report["machine"]))
    report.update({"lines": [], "growth": [], "steps of plans": {}})

    def write() -> None:
        """After every result: hours may lie before the next."""
        call.out.parent.mkdir(parents=True, exist_ok=True)
        call.out.write_text(json.dumps(report, indent=1) + "\n")

    def add(line: Line) -> None:
        report["lines"].append({**asdict(line), "verdict": line.verdict})
        write()
        limit = "" if line.limit is None else f"under {line.limit:g} {line.unit}"
        told = f"{line.measured:.2f} {line.unit}"
        worked = "" if line.cpu_s is None else f"CPU {line.cpu_s:.2f} s"
        print(f"{line.name:<66}{told:>13}{worked:>15}{limit:>16}  {line.verdict}", flush=True)

    with tempfile.TemporaryDirectory(prefix="feltsense-bench-") as scratch:
        if not call.plans_only:
            recipe, console = plans.read(call.recipe), Console(stderr=True)
            files = [
                file
                for path in call.data
                for file in rebuild.labelled_files(path, Path(scratch), recipe, console)
            ]
            rows = selection.select(labelled.load(files), recipe)
            bench = Bench(recipe, Path(scratch) / "cache")
            for part in (bench.features(), bench.bases(), bench.gates(rows)):
                for line in part:
                    add(line)
            growth = bench.growth(rows, call.rows, call.tuned_rows)
            report["growth"] = [
                {**asdict(one), "a_row": one.a_row, "exponent": one.exponent} for one in growth
            ]
            write()
            show(growth)
        for name in call.plans:
            cache = call.cache or Path(scratch) / f"{name}-cache"
            found, steps = whole(name, call.data, Path(scratch) / name, cache)
            for line in found:
                add(line)
            report["steps of plans"][name] = steps
            write()
    print(f"written to {call.out}")


def whole(plan: str, data: Sequence[Path], out: Path, cache: Path) -> tuple[list[Line], dict[str, float]]:
    """Time and peak memory of a rebuild from the command line, and the seconds its steps say they took.

    Raises `FeltsenseError` where it fails.
    """
    command = [sys.executable, "-m", "trainer.rebuild", *map(str, data), "--plan", plan, "--out", str(out)]
    steps: dict[str, float] = {}
    environment = {**os.environ, "FELTSENSE_TRAINER_CACHE_DIR": str(cache)}
    started = time.perf_counter()
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for said in process.stderr:
            print(f"  {said.rstrip()}", file=sys.stderr, flush=True)
            if told := _STEP.fullmatch(said):
                steps[told["name"]] = float(told["seconds"])
        # The child's own account: that of all children would hold the peak of the plan before.
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise FeltsenseError(f"plan {plan} ended with exit code {process.returncode}")
    worked, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
    return [
        Line(name=f"plan {plan}", measured=seconds, unit="s", limit=WALL_S.get(plan), cpu_s=worked),
        Line(name=f"plan {plan}, peak memory", measured=peak, unit="GiB", limit=PEAK_GIB),
    ], steps


def show(growth: Sequence[Growth]) -> None:
    """The table of growth; `a row`: what a row costs among the most, in units of that among the fewest."""
    print()
    print(_GROWTH.format("step", "rows", "seconds", "a row", "exponent"))
    for one in growth:
        rows = " ".join(f"{count:>7}" for count in one.rows)
        seconds = " ".join(f"{taken:>8.2f}" for taken in one.seconds)
        print(_GROWTH.format(one.step, rows, seconds, f"{one.a_row:.2f}", f"{one.exponent:.2f}"), flush=True)
    print()


if __name__ == "__main__":
    command.run(main)
