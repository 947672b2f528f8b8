"""How things stand in the broker, for the exporter and `feltsense status`: how much waits, for how long, and
who takes it. Entries are neither read nor moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import Any

import redis

from worker.errors import ServiceMissing
from worker.events.message import BULK, LIVE

PATIENCE_S = 2.0
LANES = (LIVE, BULK)
STEPS = ("", *(f"\x06\x16{step}" for step in (3, 6, 9)))
"""Under kombu a message with a priority waits in a list of its own."""
TAKEN = "feltsense.taken:"
"""`transport` counts here how many entries were ever taken from a list."""
CONSUMERS = "feltsense.consumer:*"
WORKER = "worker"
"""What the key of a consumer holds that takes from our lanes; that of an onlooker (Flower) is empty."""
SCANS = 20
MARKS = 1000
"""Looks remembered for a list; of more, every other is forgotten."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Queues:
    """One look at the broker. `waiting`: messages by lane; `lists`: length and count of taken entries by
    list; `held`: messages in workers' hands, the oldest for `held_s` seconds; `pulses`: the seconds since
    each consumer's last sign of life."""

    waiting: Mapping[str, int]
    lists: Mapping[str, tuple[int, int]]
    held: int
    held_s: float
    pulses: tuple[float, ...]
    memory: int
    memory_limit: int


def look(broker_url: str, *, lease_s: float) -> Queues:
    """Raises `ServiceMissing` when the broker does not answer."""
    lists = [lane + step for lane in LANES for step in STEPS]
    with _reaching(broker_url) as client:
        asked = client.pipeline(transaction=False)
        for one in lists:
            asked.llen(one)
        asked.mget([TAKEN + one for one in lists])
        asked.hlen("unacked")
        asked.zrange("unacked_index", 0, 0, withscores=True)
        asked.time()
        asked.info("memory")
        *lengths, taken, held, oldest, (seconds, micros), memory = asked.execute()
        pulses = _pulses(client, ceil(4 / 3 * lease_s))
    return Queues(
        waiting={
            lane: sum(lengths[at : at + len(STEPS)])
            for lane, at in zip(LANES, range(0, len(lists), len(STEPS)), strict=True)
        },
        lists={
            one: (length, int(count or 0)) for one, length, count in zip(lists, lengths, taken, strict=True)
        },
        held=held,
        held_s=max(0.0, seconds + micros / 1e6 - oldest[0][1]) if oldest else 0.0,
        pulses=pulses,
        memory=memory["used_memory"],
        memory_limit=memory["maxmemory"],
    )


class Ages:
    """How long the oldest entry of each lane has waited at least, from one look to the next.

    Entries bear no time of arrival. But all that is in a list at one look has been taken once as many more
    were taken as it was long; so long the oldest is as old as that look. It is exact to the pause between
    looks, and begins with the first.
    """

    def __init__(self) -> None:
        self._marks: dict[str, list[tuple[float, int]]] = {}
        self._taken: dict[str, int] = {}

    def of(self, found: Queues, now: float | None = None) -> dict[str, float]:
        """Seconds by lane; 0 where nothing waits."""
        now = monotonic() if now is None else now
        ages = dict.fromkeys(LANES, 0.0)
        for one, (length, taken) in found.lists.items():
            anew = not length or taken < self._taken.get(one, 0) - length  # a broker that lost its counts
            self._taken[one] = taken
            marks = [] if anew else [mark for mark in self._marks.get(one, []) if taken < mark[1]]
            if length:
                marks.append((now, taken + length))
                lane = BULK if one.startswith(BULK) else LIVE
                ages[lane] = max(ages[lane], now - marks[0][0])
            self._marks[one] = marks if len(marks) < MARKS else marks[::2]
        return ages


@contextmanager
def _reaching(broker_url: str) -> Iterator[Any]:
    client = redis.Redis.from_url(broker_url, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S)
    try:
        yield client
    except (redis.RedisError, OSError) as error:
        place = broker_url.rpartition("@")[2].rpartition("//")[2]
        raise ServiceMissing(f"broker {place} does not answer ({type(error).__name__})") from None
    finally:
        client.close()


def _pulses(client: Any, ttl_s: int) -> tuple[float, ...]:
    cursor, names = 0, set()
    for _ in range(SCANS):
        cursor, some = client.scan(cursor, match=CONSUMERS, count=1000)
        names |= set(some)
        if not cursor:
            break
    kinds = client.mget(sorted(names)) if names else []
    left = [
        client.pttl(name) for name, kind in zip(sorted(names), kinds, strict=True) if kind == WORKER.encode()
    ]
    return tuple(max(0.0, ttl_s - ms / 1000) for ms in left if ms > 0)
