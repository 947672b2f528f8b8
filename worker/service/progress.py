"""Whether the stages get on: a batch that its stage does not finish in time hangs, and so does the worker.

Only computing counts. Waiting for a lost database or broker is what a worker should do.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Progress:
    """What the stages compute at this moment, and since when."""

    def __init__(self, stall_s: float) -> None:
        self._stall_s = stall_s
        self._since: dict[int, float] = {}
        self._numbers = itertools.count()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Marks the block as work that must end soon; any thread."""
        number = next(self._numbers)
        self._since[number] = time.monotonic()
        try:
            yield
        finally:
            del self._since[number]

    def stalled(self) -> bool:
        """Whether anything has been computing for longer than `stall_s` seconds."""
        oldest = time.monotonic() - self._stall_s
        return any(since < oldest for since in list(self._since.values()))
