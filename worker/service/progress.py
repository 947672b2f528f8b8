"""Whether the worker gets on: a batch that its stage does not finish in time hangs, and so does the worker;
one whose consumer is gone only looks alive.

Only computing counts. Waiting for a lost database or broker is what a worker should do.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

CONSUMER_PATIENCE_S = 60.0
"""Longer than Celery's longest pause before it tries a lost broker again."""
PING_S = 2.0


class Progress:
    """What the stages compute at this moment, and since when."""

    def __init__(self, stall_s: float) -> None:
        self._stall_s = stall_s
        self._since: dict[int, float] = {}
        self._numbers = itertools.count()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Marks the block as work that must end soon; any thread."""
        number = next(self._numbers)
        self._since[number] = time.monotonic()
        try:
            yield
        finally:
            del self._since[number]

    def stalled(self) -> bool:
        """Whether anything has been computing for longer than `stall_s` seconds."""
        oldest = time.monotonic() - self._stall_s
        return any(since < oldest for since in list(self._since.values()))


class Consumption:
    """Whether the consumer comes by. After a lost connection it may be gone while its process lives."""

    def __init__(self, broker_url: str, *, patience_s: float = CONSUMER_PATIENCE_S) -> None:
        self._broker_url = broker_url
        self._patience_s = patience_s
        self.sign()

    def sign(self) -> None:
        """The consumer was here."""
        self._signed = time.monotonic()

    __call__ = sign

    def __json__(self) -> str:
        """What `inspect stats` (Flower's worker page) shows of it among the transport's options."""
        return type(self).__name__

    def ended(self) -> bool:
        """Whether the consumer has not come by for `patience_s` seconds of a broker that answers."""
        if time.monotonic() - self._signed < self._patience_s:
            return False
        client = redis.Redis.from_url(self._broker_url, socket_timeout=PING_S, socket_connect_timeout=PING_S)
        try:
            client.ping()
        except redis.RedisError:
            self.sign()  # it waits for the broker, and gets its time anew when that is back
            return False
        finally:
            client.close()
        return True
