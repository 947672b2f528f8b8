"""Load for the stages, as the worker's task threads bring it: all at once, or arriving by chance.

The broker is left out: no setting that is tuned here changes what it does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import cycle, islice
from typing import Any

import numpy as np

from worker.errors import FeltsenseError
from worker.events import message
from worker.events.reflection import Reflection
from worker.service.stages import Stages

SEED = 20261122
Event = dict[str, Any]


class LoadFailed(FeltsenseError):
    """A reflection of the load found no row: what was measured is not the work."""

    exit_code = 1


class Sample:
    """The reflections whose work is measured; any number of them, short and long in the file's proportion."""

    def __init__(self, rows: Sequence[tuple[Event, Reflection]]) -> None:
        self._ranked = sorted(rows, key=lambda row: len(row[1].text))
        self._taken = 0

    def reflections(self, number: int) -> list[Reflection]:
        """Always the same for the same number: evenly from short to long, in an order without trend."""
        return [reflection for _, reflection in self._rows(number)]

    def messages(self, number: int, size: int) -> list[list[Event]]:
        """The same `number` as events in messages of `size`, with people and ids that never came before."""
        self._taken += 1
        events = [
            {**event, "id": f"{self._taken}-{at}", "user_id": f"{self._taken}-{event['user_id']}"[:128]}
            for at, (event, _) in enumerate(self._rows(number))
        ]
        return [events[at : at + size] for at in range(0, number, size)]

    def _rows(self, number: int) -> list[tuple[Event, Reflection]]:
        spread = np.linspace(0, len(self._ranked) - 1, min(number, len(self._ranked))).round().astype(int)
        order = np.random.default_rng(SEED).permutation(spread)
        return [self._ranked[at] for at in islice(cycle(order), number)]


def burst(stages: Stages, messages: Sequence[list[Event]], *, lane: str, hands: int) -> float:
    """Seconds until the last row of messages that all wait at the start; `hands` are worked on at once.

    Raises `LoadFailed`.
    """
    with _hands(hands) as pool:
        started = time.perf_counter()
        ended = max(pool.map(_task(stages, lane), messages))
    return ended - started


def trickle(
    stages: Stages, messages: Sequence[list[Event]], *, lane: str, hands: int, rate: float
) -> list[float]:
    """Seconds from arrival to committed rows of each message, `rate` a second in a Poisson stream.

    The wait for a free hand counts, and so does that behind a late one: arrivals wait for nobody. Raises
    `LoadFailed`.
    """
    gaps = np.random.default_rng(SEED).exponential(1 / rate, len(messages))
    task = _task(stages, lane)
    with _hands(hands) as pool:
        arrivals = (time.perf_counter() + np.cumsum(gaps)).tolist()
        ends: list[Future[float]] = []
        for arrival, one in zip(arrivals, messages, strict=True):
            time.sleep(max(0.0, arrival - time.perf_counter()))
            ends.append(pool.submit(task, one))
        return [end.result() - arrival for arrival, end in zip(arrivals, ends, strict=True)]


@contextmanager
def _hands(number: int) -> Iterator[ThreadPoolExecutor]:
    """So many threads; when the load is interrupted, what none of them has begun is dropped."""
    pool = ThreadPoolExecutor(number)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _task(stages: Stages, lane: str) -> Callable[[list[Event]], float]:
    """What a worker does with a message; when it was done."""

    def task(events: list[Event]) -> float:
        now = datetime.now(UTC)
        entries = [message.read(event, at, seal=None, now=now) for at, event in enumerate(events)]
        tally = stages.enrich(entries, message_id=events[0]["id"], lane=lane)
        if tally != {"written": len(events)}:
            raise LoadFailed(f"of {len(events)} reflections of the load came {tally}")
        return time.perf_counter()

    return task
