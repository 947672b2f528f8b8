"""Events that harm the worker on purpose, where the read stage meets them: how a test proves that one bad
event harms only itself. Off unless `FELTSENSE_FAULTS` says otherwise."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Mapping

from worker.events.reflection import Reflection

MARKER = "feltsense-fault:"
"""In a text, followed by a name of `FAULTS`."""
EARLY = b"feltsense-early-fault:"
"""The same, for whoever is about to read the event: before it is accepted."""


class Fault(Exception):
    """What an event with the marker `raise` causes."""


def _raise() -> None:
    raise Fault


def _hang() -> None:
    threading.Event().wait()


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


FAULTS: Mapping[str, Callable[[], None]] = {"raise": _raise, "hang": _hang, "kill": _kill}


def strike(reflections: Iterable[Reflection]) -> None:
    """Do what the first marked text asks for: raise `Fault`, never return, or end the process."""
    for reflection in reflections:
        _, marked, name = reflection.text.partition(MARKER)
        if marked:
            for fault, act in FAULTS.items():
                if name.startswith(fault):
                    act()


def strike_early(payload: bytes) -> None:
    """Do what an event marked with `EARLY` asks for, given as it came."""
    _, marked, name = payload.partition(EARLY)
    if marked:
        for fault, act in FAULTS.items():
            if name.startswith(fault.encode()):
                act()
