"""Beside the read stage: events that a lost worker had in hand are tried apart, until the culprit stands
alone.

Who was in hand when a worker crashed or hung is suspect: first in groups of `GROUP`, and those of a group
that lost a worker again one by one. While a trial runs nothing else is between reading and rows, so that
whoever is in hand is to blame. Two more workers lost are enough to single one out, where halving would lose
one for each half.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from worker.service.batcher import Closed
from worker.service.journey import Journey

GROUP = 64

Enter = Callable[[Sequence[Journey]], None]


class Trials:
    """Lets batches into the read stage by `enter`, and groups of suspects by `begin`, one when all else has
    left. Any thread may call; neither callable may wait."""

    def __init__(self, enter: Enter, begin: Enter) -> None:
        self._enter = enter
        self._begin = begin
        self._inside = 0
        self._trying = False
        self._groups: deque[Sequence[Journey]] = deque()
        self._held: list[Sequence[Journey]] = []
        self._hurried = False
        self._lock = threading.Lock()

    def take(self, batch: Sequence[Journey]) -> None:
        """Let in what no attempt was lost of, at once unless a trial runs or waits, and the others apart."""
        sound = [one for one in batch if not one.attempts]
        for size, suspects in (
            (GROUP, [one for one in batch if one.attempts == 1]),
            (1, [one for one in batch if one.attempts > 1]),
        ):
            groups = [suspects[start : start + size] for start in range(0, len(suspects), size)]
            with self._lock:
                self._groups.extend(groups)
        if sound:
            with self._lock:
                self._held.append(sound)
        self._turn()

    def hurry(self) -> None:
        """From now on begin no trial: suspects go back to the queue."""
        self._hurried = True
        self._turn()

    def _turn(self) -> None:
        group: Sequence[Journey] = ()
        batches: Sequence[Sequence[Journey]] = ()
        with self._lock:
            returned = [one for waiting in self._groups for one in waiting] if self._hurried else []
            if self._hurried:
                self._groups.clear()
            if self._groups:
                if not self._inside:
                    group = self._groups.popleft()
                    self._trying = True
            elif not self._trying:
                batches, self._held = self._held, []
            for one in (*group, *(one for batch in batches for one in batch)):
                one.over = self._left
                self._inside += 1
        for one in returned:
            one.lost(Closed("the worker is closing"))
        if group:
            self._begin(group)
        for batch in batches:
            self._enter(batch)

    def _left(self) -> None:
        with self._lock:
            self._inside -= 1
            last = not self._inside
            if last:
                self._trying = False
        if last:
            self._turn()
