"""The folder of a running instance: one supervisor at a time, and the file that says what listens where."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from worker.embedded.process import alive
from worker.errors import ServiceMissing

STATE = "feltsense.json"
ENDING_DEADLINE_S = 15.0


@contextmanager
def claimed(run_dir: Path) -> Iterator[int]:
    """Hold `run_dir` for this process; yields the descriptor of its lock, for the children to keep open.

    The lock (flock(2)) is free only when every process that holds the descriptor has ended, so nothing starts
    on the data of a killed supervisor while one of its children is still writing. Raises `ServiceMissing`
    naming the process that holds it.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ServiceMissing(
            f"the folder {run_dir} cannot be used: {error.strerror}; set FELTSENSE_RUN_DIR"
        ) from error
    try:
        _lock(lock, run_dir)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        (run_dir / STATE).unlink(missing_ok=True)  # a killed supervisor's tells of nothing any more
        yield lock
    finally:
        os.close(lock)


def held(run_dir: Path) -> bool:
    """Whether a process of an instance works on `run_dir` at this moment."""
    try:
        lock = os.open(run_dir / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # no instance was ever here, or it is another user's
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(lock)


@contextmanager
def told(run_dir: Path, addresses: Mapping[str, str | None]) -> Iterator[None]:
    """Keep `addresses` in the state file while the block runs, for its owner only: they hold passwords."""
    path = run_dir / STATE
    partial = run_dir / f"{STATE}.partial"
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    partial.write_text(json.dumps(dict(addresses), indent=2) + "\n")
    partial.rename(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _lock(lock: int, run_dir: Path) -> None:
    expires = time.monotonic() + ENDING_DEADLINE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode()
            if holder.isdigit() and alive(int(holder)):
                raise ServiceMissing(
                    f"Feltsense already runs on {run_dir} (pid {holder}): stop it, or set FELTSENSE_RUN_DIR"
                ) from None
            if time.monotonic() > expires:
                raise ServiceMissing(
                    f"processes of a killed Feltsense (pid {holder}) still run on {run_dir}: end them first"
                ) from None
            time.sleep(0.1)
        else:
            return
