"""Over the worker: started again when it ends or hangs, so that one bad event stops nothing for long.

The worker says once a second through a pipe whether it gets on. One that does not, or falls silent, is
killed: a thread that hangs cannot be ended from inside, and a stopped process says nothing.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from worker.embedded.process import Process
from worker.errors import ServiceMissing
from worker.service.heartbeat import HUNG

READY_S = 300.0
SILENCE_S = 10.0
"""Without a byte for this long a worker that has sent one is taken for hung."""
RESTARTS, WITHIN_S = 30, 600.0
"""A crash loop shall be noticed: after so many restarts in that time the supervisor gives up, and whatever
runs it decides. Three attempts of each of a few poisonous events stay far below."""
PAUSE_S = 5.0
"""Before the next start of a worker that did not come up for want of a service."""


class Watch:
    """One worker, made by `make` for the descriptor it writes to; use it from the main thread.

    `pulse` is a file touched whenever the worker says that it gets on: its age is what a container's health
    check looks at.
    """

    def __init__(
        self, make: Callable[[int], Process], say: Callable[[str], None], *, pulse: Path | None = None
    ) -> None:
        self._pulse = pulse
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        self._say = say
        self._restarts: deque[float] = deque()
        self._heard: float | None = None
        self._started = self._checked = time.monotonic()
        self._resume_at: float | None = None
        self.process = make(self._writing)

    def start(self) -> None:
        self._said()  # the last words of the one before
        self.process.start()
        self._heard, self._resume_at = None, None
        self._started = self._checked = time.monotonic()

    def stop(self, deadline_s: float) -> None:
        """Ask the worker to end, and kill it after `deadline_s`; harmless twice."""
        self.process.stop(deadline_s)
        for descriptor in (self._reading, self._writing):
            os.close(descriptor)

    def check(self) -> None:
        """To be called several times a second: start the worker again if it has ended, end it if it hangs.

        Raises `ServiceMissing`, with the end of its log, when that happens too often or cannot help.
        """
        now = time.monotonic()
        listened = now - self._checked < SILENCE_S / 2  # else it was us who were stopped
        self._checked = now
        said = self._said()
        if said or (self._heard is not None and not listened):
            self._heard = now
        if said and not said.endswith(HUNG) and self._pulse is not None:
            self._pulse.touch()
        if self._resume_at is not None:
            if now >= self._resume_at:
                self.start()
        elif self.process.ended is not None:
            self._again(f"ended (status {self.process.ended})", now)
        elif said.endswith(HUNG) or (self._heard is not None and now - self._heard > SILENCE_S):
            self.process.kill()
            self._again("hung and was killed", now)
        elif self._heard is None and now - self._started > READY_S:
            self.process.kill()
            raise ServiceMissing(f"the worker is not ready after {READY_S:g} s; see {self.process.log}")

    def _again(self, what: str, now: float) -> None:
        self._restarts.append(now)
        while now - self._restarts[0] > WITHIN_S:
            self._restarts.popleft()
        came_up = self._heard is not None
        refused = not came_up and self.process.ended not in (ServiceMissing.exit_code, *_SIGNALS)
        if refused or len(self._restarts) > RESTARTS:
            raise ServiceMissing(
                f"{self.process.name} {what}, for the {len(self._restarts)}. time in {WITHIN_S:g} s; "
                f"the end of {self.process.log}:\n{self.process.tail()}"
            )
        self._say(f"The worker {what}; starting it again.")
        self._heard = None
        self._resume_at = now if came_up else now + PAUSE_S

    def _said(self) -> bytes:
        said = b""
        while True:
            try:
                said += os.read(self._reading, 65536)
            except BlockingIOError:
                return said


class Kept:
    """A process whose end ends nothing else (a trainer may run out of memory): it is started again after a
    pause, as often as it takes. Use it from the main thread."""

    def __init__(self, process: Process, say: Callable[[str], None]) -> None:
        self.process = process
        self._say = say
        self._resume_at: float | None = None

    def check(self) -> None:
        """To be called several times a second."""
        now = time.monotonic()
        if self._resume_at is not None:
            if now >= self._resume_at:
                self.process.start()
                self._resume_at = None
        elif self.process.ended is not None:
            self._say(f"The {self.process.name} ended (status {self.process.ended}); starting it again.")
            self._resume_at = now + PAUSE_S


_SIGNALS = range(-64, 0)
"""Exit statuses of processes that a signal ended."""
