"""Everything that reads what others wrote, against 2,000 seeded wrong inputs; `make fuzz` takes 200,000."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from random import Random

import pytest

from benchmarks import fuzz
from benchmarks.fuzzing import watch
from benchmarks.fuzzing.targets import READ, Target

QUICK = ("event", "sealed", "line", "labelled", "message", "wire", "waiting", "parked")


def test_two_thousand_wrong_inputs_are_read_or_refused_by_name() -> None:
    chosen = [part for name in QUICK for part in ("--target", name)]
    command = [sys.executable, "-m", "benchmarks.fuzz", "--cases", "2000", "--seed", "7", *chosen]
    done = subprocess.run(
        command, cwd=Path(fuzz.__file__).parents[1], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 crashed, hung or ended without a name" in done.stdout
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line[:1].islower()}
    for name in QUICK:
        cases, read, refused, names, *_ = map(int, lines[name][:4])
        assert cases == read + refused
        assert min(read, refused, names) > 0, name


def troubled(folder: Path):
    def case(random: Random) -> str:
        match random.randrange(40):
            case 0:
                raise ValueError("nobody named this")
            case 1:
                os.kill(os.getpid(), signal.SIGKILL)
            case 2:
                threading.Event().wait()
        return READ

    return case


def test_a_crash_a_hang_and_an_unnamed_error_are_each_one_case(tmp_path: Path) -> None:
    """In an interpreter of its own: cases run in forks, and this one may hold models and their threads."""
    code = f"from tests.unit import test_fuzz; test_fuzz.meet_trouble({str(tmp_path)!r})"
    root = Path(fuzz.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], cwd=root, timeout=100, check=True)


def meet_trouble(folder: str) -> None:
    watch.HANG_S = 0.3
    expected = [watch.random_of(2, "bad", case).randrange(40) for case in range(60)]
    reports = watch.run(
        {"bad": Target(share=1.0, open=troubled)}, {"bad": 60},
        seed=2, folder=Path(folder), processes=1, told=lambda done: None,
    )  # fmt: skip
    report = reports["bad"]
    found = {failure.case: failure.kind for failure in report.failures}
    kinds = {0: "unnamed", 1: "crash", 2: "hang"}
    assert found == {case: kinds[what] for case, what in enumerate(expected) if what in kinds}
    assert set(found.values()) == set(kinds.values())
    assert report.done == 60
    assert report.outcomes == {READ: 60 - len(found)}
    assert "nobody named this" in next(one.what for one in report.failures if one.kind == "unnamed")


def test_the_targets_share_the_cases() -> None:
    assert sum(target.share for target in fuzz.TARGETS.values()) == pytest.approx(1.0)
    counts = fuzz.shares(2000, list(fuzz.TARGETS))
    assert sum(counts.values()) >= 2000
    assert min(counts.values()) >= 5
