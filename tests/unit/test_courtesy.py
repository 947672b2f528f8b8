"""Work that nobody waits for gives way: its class, its session, and a command stays one to its caller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worker.courtesy import AUTOGROUP
from worker.embedded.process import alive

WORK = """
import os, sys, threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start() if sys.argv[1] == "give_way" else None
from worker import courtesy
getattr(courtesy, sys.argv[1])()
print(os.getpid(), flush=True)
try:
    time.sleep(float(sys.argv[2]))
except KeyboardInterrupt:
    sys.exit(130)
sys.exit(3)
"""


def started(what: str, seconds: float, *, own_session: bool) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, what, str(seconds)],
        stdout=subprocess.PIPE, text=True, start_new_session=own_session,
    )  # fmt: skip
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def gives_way(pid: int) -> bool:
    threads = [int(one.name) for one in Path(f"/proc/{pid}/task").iterdir()]
    session = not AUTOGROUP.exists() or "nice 19" in Path(f"/proc/{pid}/autogroup").read_text()
    return session and all(os.sched_getscheduler(one) == os.SCHED_IDLE for one in threads)


def test_a_service_gives_way_with_all_its_threads_and_its_session() -> None:
    process, pid = started("give_way", 60, own_session=True)
    try:
        assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 2
        assert gives_way(pid)
    finally:
        process.kill()
        process.wait()


def test_a_command_goes_on_in_a_session_of_its_own_and_leaves_its_callers_alone() -> None:
    ours = AUTOGROUP.read_text() if AUTOGROUP.exists() else ""
    process, pid = started("apart", 60, own_session=False)
    try:
        assert pid != process.pid
        assert os.getsid(pid) == pid
        assert gives_way(pid)
        assert os.sched_getscheduler(process.pid) == os.SCHED_OTHER
        assert not AUTOGROUP.exists() or AUTOGROUP.read_text() == ours
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()


def test_a_command_ends_as_its_work_does() -> None:
    process, _ = started("apart", 0, own_session=False)
    assert process.wait(30) == 3
    process, pid = started("apart", 60, own_session=False)
    os.kill(pid, signal.SIGKILL)
    assert process.wait(30) == 128 + signal.SIGKILL


@pytest.mark.timeout(60)
def test_a_killed_command_leaves_no_work_behind() -> None:
    process, pid = started("apart", 60, own_session=False)
    process.kill()
    process.wait()
    while alive(pid):
        time.sleep(0.02)
