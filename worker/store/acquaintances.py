"""Whom this process has met lately: a person who writes often need not be looked up before every text.

What is remembered may be out of date (keys wrapped anew, an erasure), so the statement that stores a text
checks it against the person's row. Data keys stay wrapped here.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from worker.store.vault import Locker

LIMIT = 20_000
"""Persons remembered; some 10 MB."""


class Acquaintances:
    """The lockers of the last `limit` persons by digest. Safe to share between threads."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._known: OrderedDict[bytes, Locker] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, person: bytes) -> Locker | None:
        with self._lock:
            locker = self._known.get(person)
            if locker is not None:
                self._known.move_to_end(person)
            return locker

    def remember(self, locker: Locker) -> None:
        with self._lock:
            self._known[locker.person] = locker
            self._known.move_to_end(locker.person)
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
