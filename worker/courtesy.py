"""Work that nobody waits for gives way to what somebody waits for, on a machine that both share.

The class SCHED_IDLE alone is not enough: a kernel with autogroups (most desktops and servers have them)
shares the processors out by session first and looks at class and nice value only within one, so a trainer of
nice 19 takes as much from a worker as one of nice 0. Where control groups share them out (containers,
systemd) their weights decide, and are the operator's to set: docs/scheduling.md.

Every `feltsense --help` imports this, so it imports nothing heavy.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType

AUTOGROUP = Path("/proc/self/autogroup")
LAST = "19"
PROGRAM = "feltsense"
"""The context's object of a command that is a process of its own, and no call of a program's."""


def give_way() -> None:
    """From now on whatever else wants a processor or a disk has it before this process: all its threads, and
    its session where it leads one (another's is not its own to slow down)."""
    try:
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
        if os.getsid(0) == os.getpid() and AUTOGROUP.exists():
            AUTOGROUP.write_text(LAST)
    except OSError as error:  # a container that forbids it: then it works as before
        from worker.observability.logging import failure, logger

        logger.warning("gives_no_way", **failure(error))


def apart() -> None:
    """Goes on in a child that leads a session and gives way; this process hands it the signals that end it,
    and ends as it does. Only before threads are started."""
    if os.getsid(0) != os.getpid():
        from worker.embedded.process import bound_to_parent

        bind = bound_to_parent(signal.SIGKILL)
        child = os.fork()
        if child:
            _stand_for(child)
        os.setsid()
        bind()
    give_way()


def _stand_for(child: int) -> None:
    def hand_on(number: int, _frame: FrameType | None) -> None:
        os.kill(child, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, hand_on)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(code if code >= 0 else 128 - code)  # as a shell tells of a signal
