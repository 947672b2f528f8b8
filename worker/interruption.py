"""Signals that end the work in an orderly way, and cannot be lost on the way.

Python raises what a signal's handler raises wherever the main thread happens to be. Inside a weak
reference's callback or a finalizer (importing a module runs such callbacks) it is printed and forgotten;
inside the import of an extension module it becomes an ImportError. So the signal is also remembered, and long
work asks.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Never

INTERRUPTED = 130
"""Exit code of a program that a signal ended in order."""

_received: signal.Signals | None = None


class Stopped(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP, told like a Ctrl-C so that the same blocks clean up."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn the three signals into `Stopped` inside the block; only the main thread may enter it.

    An ignored SIGHUP (nohup) stays ignored. SIGINT interrupts even where a script's `&` had it ignored: it is
    the documented way to stop. An error raised out of the block after a signal is told as `Stopped`.
    """
    global _received
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    if before[signal.SIGINT] is not _stop:  # not inside another such block
        _received = None
    for number, handler in before.items():
        if number == signal.SIGINT or handler is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        yield
    except Exception as error:
        if _received is not None:
            raise Stopped(_received.name) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def insist() -> None:
    """Raise `Stopped` again if a signal came and the work went on all the same. To be called by every loop
    inside `stoppable` that can take long, and not while cleaning up."""
    if _received is not None:
        raise Stopped(_received.name)


def _stop(number: int, _frame: FrameType | None) -> Never:
    global _received
    _received = signal.Signals(number)
    raise Stopped(_received.name)
