"""Processes and their descendants, looked up in /proc: whom a fault strikes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from worker.embedded.process import alive

WORKER = "worker.service.celery_app:app"


def descendants(pid: int) -> list[int]:
    """The living children of `pid`, their children, and so on."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # ended meanwhile
                continue
            if after_name[0] not in "ZX":
                parents.setdefault(int(after_name[1]), []).append(int(entry.name))
    found, left = [], [pid]
    while left:
        children = parents.get(left.pop(), [])
        found += children
        left += children
    return found


def workers(supervisor: int) -> list[int]:
    """The worker processes below `supervisor`, whoever started them."""
    return [pid for pid in descendants(supervisor) if _is_worker(pid)]


def send(pids: list[int], number: signal.Signals) -> None:
    """Sends the signal to those that still run."""
    for pid in pids:
        if alive(pid):
            try:
                os.kill(pid, number)
            except ProcessLookupError:  # it ended in between
                continue


def _is_worker(pid: int) -> bool:
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:  # ended meanwhile
        return False
    return WORKER in argv and "worker" in argv
