"""Many people who write for a year: who writes which event when, the same for the same seed.

Histories are as journalling apps see them: half of the people wrote fewer than fifteen times, a few write
several times a day. All write at the same time, one event in a hundred comes days too late, and one in a
thousand breaks the contract.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from benchmarks.context import Event

MEDIAN, SIGMA, MOST = 15, 1.2, 3000
"""Reflections a person: log-normal."""
LATE, LATE_DAYS = 0.01, 20
BROKEN = 0.001
SPAN = timedelta(days=365)
BEGAN = datetime(2025, 6, 1, tzinfo=UTC)
COPIED = ("text", "lang", "device")


class Crowd:
    """`count` events, by number from 0 on; `broken` are those that a worker must refuse."""

    def __init__(self, texts: Sequence[Event], count: int, *, seed: int) -> None:
        random = np.random.default_rng([seed, count])
        lengths = np.clip(random.lognormal(np.log(MEDIAN), SIGMA, count), 1, MOST).astype(np.int64)
        self.people = int(np.searchsorted(np.cumsum(lengths), count)) + 1
        self._writers = np.repeat(np.arange(self.people), lengths[: self.people])[:count]
        random.shuffle(self._writers)
        self._texts = random.integers(len(texts), size=count)
        self._late = random.random(count) < LATE
        self._lag_days = random.exponential(LATE_DAYS, count)
        self.broken = random.random(count) < BROKEN
        self._known = [{name: text[name] for name in COPIED if name in text} for text in texts]
        self._count = count

    def __len__(self) -> int:
        return self._count

    def longest(self) -> int:
        """Reflections of whoever wrote most."""
        return int(np.bincount(self._writers).max())

    def id(self, number: int) -> str:
        return f"drain-{number:09d}"

    def events(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """The events from `start` up to `stop`, as they are published."""
        for number in range(start, min(stop, self._count)):
            at = BEGAN + SPAN * (number / self._count)
            if self._late[number]:
                at -= timedelta(days=float(self._lag_days[number]))
            event = {
                "id": self.id(number),
                "user_id": f"person-{self._writers[number]}",
                "created_at": at.isoformat(timespec="milliseconds"),
                **self._known[self._texts[number]],
            }
            yield event | {"text": " "} if self.broken[number] else event
