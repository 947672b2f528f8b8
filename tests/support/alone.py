"""Tests run side by side, but for those marked `alone`: they measure time, or start more than the machine has
cores for, and wait until nothing else runs."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
GATE, ROOM = HERE.parent, HERE
"""Locked as folders, so nothing has to be made or cleared away. Who waits for an empty room holds the gate,
or the others, who only share the room, would never leave it empty."""


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """With others in the room, or `alone` in it."""
    gate, room = (os.open(folder, os.O_RDONLY) for folder in (GATE, ROOM))
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield
    finally:
        for held in (room, gate):
            fcntl.flock(held, fcntl.LOCK_UN)  # closing alone would leave it to a fork
            os.close(held)
