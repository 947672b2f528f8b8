"""Signals, in an interpreter of their own: one raised inside a weak reference's callback has ended a process
that held the libraries of many other tests (SIGSEGV in Python 3.11.7), and its tests with it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_signals_end_the_work_in_order() -> None:
    cases = ROOT / "tests" / "support" / "interruption.py"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-o", "addopts=", cases],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout
