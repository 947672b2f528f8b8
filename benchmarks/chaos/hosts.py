"""A host: one `feltsense up` on the instance's broker and database, and what restarts it when it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
import urllib.request
from pathlib import Path

from benchmarks.chaos import family
from worker.embedded import rundir
from worker.embedded.process import Process
from worker.embedded.supervisor import environment
from worker.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
RESTART_S = 1.0
"""As `RestartSec=1` of systemd: whatever ends `feltsense up` starts it again."""
STALL_S = 10.0
"""A hang costs three of these; the default is longer."""
STOP_S = 45.0
LOOK_S = 2.0
_EVENTS = re.compile(r"^feltsense_events_total\{[^}]*\} ([0-9.e+]+)$", re.MULTILINE)


class Host:
    """`feltsense up` with its own run folder. `starts` counts how often it was started."""

    def __init__(self, number: int, settings: Settings, folder: Path) -> None:
        self.name = f"host{number}"
        self._run_dir = folder / self.name
        chosen = settings.model_copy(
            update={
                "run_dir": self._run_dir,
                "flower": False,
                "metrics_port": 0,
                "flower_port": 0,
                "stall_s": STALL_S,
            }
        )
        self._environment = {
            **environment(chosen),
            "FELTSENSE_FAULTS": "1",  # poison events do what their text says
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        self._log = folder / f"{self.name}.log"
        self._ended_at: float | None = None
        self.process: Process | None = None
        self.starts = 0

    def start(self) -> None:
        """From the main thread."""
        self.process = Process(
            "feltsense up",
            [sys.executable, "-m", "worker.cli", "up"],
            log=self._log,
            orphaned=signal.SIGKILL,  # and its children with it
            environment=self._environment,
            folder=self._log.parent,  # where no .env of the operator's lies
        )
        self.process.start()
        self.starts += 1
        self._ended_at = None

    def tend(self) -> None:
        """Starts it again if it has ended, after `RESTART_S`."""
        assert self.process is not None, "started"
        if self.process.ended is None:
            return
        now = time.monotonic()
        if self._ended_at is None:
            self._ended_at = now
        elif now - self._ended_at > RESTART_S:
            self.start()

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop(STOP_S)

    def kill(self) -> None:
        """SIGKILL to the supervisor; the kernel ends what it started."""
        if self.process is not None:
            self.process.kill()

    @property
    def supervisor(self) -> int:
        return 0 if self.process is None or self.process.ended is not None else self.process.pid

    @property
    def workers(self) -> list[int]:
        return family.workers(self.supervisor) if self.supervisor else []

    def taken(self) -> float | None:
        """Events its worker has ended since its start; None while it serves no metrics."""
        try:
            told = json.loads((self._run_dir / rundir.STATE).read_text())
            with urllib.request.urlopen(told["metrics_url"], timeout=LOOK_S) as answer:  # noqa: S310  loopback
                served = answer.read().decode()
        except (OSError, ValueError):  # not there yet, or just gone
            return None
        return sum(float(value) for value in _EVENTS.findall(served))
