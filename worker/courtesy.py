"""Work that nobody waits for gives way to what somebody waits for, on a machine that both share.

The class SCHED_IDLE alone is not enough: a kernel with autogroups (most desktops and servers have them)
shares the processors out by session first and looks at class and nice value only within one, so a trainer of
nice 19 takes as much from a worker as one of nice 0. Where control groups share them out (containers,
systemd) their weights decide, and are the operator's to set: docs/scheduling.md.
"""

from __future__ import annotations

import os
from pathlib import Path

from worker.observability.logging import failure, logger

AUTOGROUP = Path("/proc/self/autogroup")
LAST = "19"


def give_way() -> None:
    """From now on whatever else wants a processor or a disk has it before this process: all its threads, and
    its session where it leads one (another's is not its own to slow down)."""
    try:
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
        if os.getsid(0) == os.getpid() and AUTOGROUP.exists():
            AUTOGROUP.write_text(LAST)
    except OSError as error:  # a container that forbids it: then it works as before
        logger.warning("gives_no_way", **failure(error))
