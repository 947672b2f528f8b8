"""A worker that ends, hangs or falls silent is started again, and not for ever."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.embedded import watch
from worker.embedded.process import Process
from worker.embedded.watch import Watch
from worker.errors import ServiceMissing
from worker.service.heartbeat import HUNG

BEGIN = "import os, sys, time; say = lambda word: os.write(int(sys.argv[1]), word); "


def watched(tmp_path: Path, program: str) -> tuple[Watch, list[str]]:
    def make(pulse: int) -> Process:
        argv = [sys.executable, "-S", "-c", BEGIN + program, str(pulse)]
        return Process("worker", argv, log=tmp_path / "log", keep_open=(pulse,))

    said: list[str] = []
    return Watch(make, said.append), said


def check_until(over: Watch, holds: Callable[[], bool], within_s: float = 20.0) -> None:
    expires = time.monotonic() + within_s
    while not holds():
        over.check()
        assert time.monotonic() < expires
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("say(b'.'); sys.exit(1)", "ended (status 1)"),
        ("say(b'.'); os.kill(os.getpid(), 9)", "ended (status -9)"),
        ("say(b'.'); time.sleep(.3); say(b'!'); time.sleep(60)", "hung and was killed"),
        ("say(b'.'); time.sleep(60)", "hung and was killed"),
    ],
)
def test_a_worker_that_had_begun_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, words: str
) -> None:
    monkeypatch.setattr(watch, "SILENCE_S", 1.0)
    over, said = watched(tmp_path, program)
    over.start()
    first = over.process.pid
    try:
        check_until(over, lambda: over.process.pid != first)
        assert said == [f"The worker {words}; starting it again."]
    finally:
        over.stop(0)


def test_the_pulse_is_a_file_as_old_as_the_workers_last_good_word(tmp_path: Path) -> None:
    over, _ = watched(tmp_path, "say(b'.'); sys.stdin.read(); time.sleep(60)")
    pulse = over._pulse = tmp_path / "pulse"
    over.start()
    try:
        assert not pulse.exists()
        check_until(over, pulse.exists)
        os.utime(pulse, (1, 1))
        os.write(over._writing, HUNG)
        over.check()
        assert pulse.stat().st_mtime == 1
    finally:
        over.stop(0)


def test_a_crash_loop_ends_with_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "RESTARTS", 3)
    over, said = watched(tmp_path, "say(b'.'); sys.exit('the reason')")
    over.start()
    with pytest.raises(ServiceMissing, match=r"for the 4\. time in 600 s; [^\0]*the reason"):
        check_until(over, lambda: False)
    over.stop(0)
    assert len(said) == 3


@pytest.mark.parametrize(("status", "again"), [(2, False), (1, False), (4, True)])
def test_a_worker_that_does_not_come_up_is_tried_again_only_for_want_of_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, again: bool
) -> None:
    monkeypatch.setattr(watch, "PAUSE_S", 0.1)
    over, said = watched(tmp_path, f"sys.exit({status})")
    over.start()
    try:
        if again:
            check_until(over, lambda: len(said) == 2)
        else:
            with pytest.raises(ServiceMissing, match=f"status {status}"):
                check_until(over, lambda: False)
    finally:
        over.stop(0)
