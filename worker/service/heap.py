"""The worker's memory: an allocator told to keep few heaps, a collector told what will never be garbage.

glibc gives up to eight heaps a core to a process's threads, and each keeps the largest batch it ever held:
with some thirty threads that is over a hundred megabytes of nothing.
"""

from __future__ import annotations

import ctypes
import gc

M_ARENA_MAX = -8
"""mallopt(3); the number is part of glibc's ABI."""
HEAPS = 2


def limit() -> bool:
    """Bound the heaps of this process; before its threads start. False where the C library is another."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_ARENA_MAX, HEAPS))


def keep() -> None:
    """What is alive now stays: the collector shall not walk models and modules again and again, holding up
    every thread."""
    gc.freeze()


def trim() -> None:
    """Give what was freed back to the system, as far as the C library can."""
    gc.unfreeze()  # a bundle that was replaced is among what was to stay
    gc.collect()
    keep()
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)
