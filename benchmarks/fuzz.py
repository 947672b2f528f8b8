"""Wrong messages and files by the hundred thousand: `python -m benchmarks.fuzz --cases 200000 --seed 1`.

Seeded changes of right input go to everything that reads what others wrote. None may crash or hang a process,
and whatever is refused is refused by a name of the product's own. Prints a table by target and every case
that broke this, and ends with 1 when there is one; `--target NAME --case N` runs a case again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.fuzzing import files, targets, watch
from benchmarks.fuzzing.targets import READ, Target
from benchmarks.fuzzing.watch import Report
from worker.report.progress import bars

TARGETS: dict[str, Target] = {
    "event": Target(share=0.257, open=targets.event),
    "sealed": Target(share=0.08, open=targets.sealed),
    "line": Target(share=0.15, open=targets.line),
    "labelled": Target(share=0.15, open=targets.labelled),
    "message": Target(share=0.15, open=targets.message),
    "wire": Target(share=0.07, open=targets.wire),
    "waiting": Target(share=0.05, open=targets.waiting),
    "parked": Target(share=0.055, open=targets.parked),
    "manifest": Target(share=0.015, open=files.manifest),
    "bundle": Target(share=0.005, open=files.bundle),
    "ir": Target(share=0.003, open=files.ir),
    "exports": Target(share=0.01, open=files.exports),
    "cli": Target(share=0.005, open=files.cli),
}
TINY = "import sys, pathlib; from tests.support import bundles; bundles.write(pathlib.Path(sys.argv[1]))"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=200_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this one; may repeat")
    parser.add_argument("--case", type=int, help="only this case of the target, in this process")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    chosen = options.target or list(TARGETS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if not {"manifest", "bundle", "ir", "exports"}.isdisjoint(chosen):
            # In a process of its own: nothing of OpenVINO may be in the one that is forked.
            subprocess.run([sys.executable, "-c", TINY, str(folder / "tiny")], check=True)
        if options.case is not None:
            case = TARGETS[chosen[0]].open(_made(folder / chosen[0]))
            print(case(watch.random_of(options.seed, chosen[0], options.case)))
            return
        counts = shares(options.cases, chosen)
        total = sum(counts.values())
        begun = time.monotonic()
        with bars() as shown:
            reports = watch.run(
                TARGETS, counts, seed=options.seed, folder=folder, processes=options.processes,
                told=lambda done: shown.tell("cases", done, total),
            )  # fmt: skip
    print(table(reports))
    print(f"{total} cases in {time.monotonic() - begun:.0f} s, seed {options.seed}")
    failures = [failure for report in reports.values() for failure in report.failures]
    alike: dict[tuple[str, str, str], list[int]] = {}
    for one in failures:
        alike.setdefault((one.target, one.kind, " ".join(one.what.split())), []).append(one.case)
    for (name, kind, what), cases in alike.items():
        print(f"{kind} ({len(cases)} times): {what}")
        print(f"  again: --target {name} --case {cases[0]} --seed {options.seed}")
    print(f"{len(failures)} crashed, hung or ended without a name")
    sys.exit(1 if failures else 0)


def shares(cases: int, chosen: list[str]) -> dict[str, int]:
    """How many cases each target gets: at least five, together at least `cases`."""
    whole = sum(TARGETS[name].share for name in chosen)
    return {name: max(5, -int(-cases * TARGETS[name].share // whole)) for name in chosen}


def table(reports: dict[str, Report]) -> str:
    head = ("target", "cases", "read", "refused", "names", "crash", "hang", "unnamed", "cases/s")
    lines = [head]
    for name, report in reports.items():
        kinds = [failure.kind for failure in report.failures]
        read = report.outcomes[READ] + report.outcomes["exit 0"]
        lines.append(
            (
                name, str(report.done), str(read), str(report.outcomes.total() - read),
                str(len(report.outcomes.keys() - {READ, "exit 0"})),
                *(str(kinds.count(kind)) for kind in ("crash", "hang", "unnamed")),
                f"{report.done / max(report.seconds, 1e-9):.0f}",
            )
        )  # fmt: skip
    return "\n".join(f"{line[0]:<10}" + "".join(f"{cell:>9}" for cell in line[1:]) for line in lines)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    main()
