"""Ahead of the stages: live messages that must wait in the broker have their events screened and stored there
already.

A message is held until its events have their rows, so a worker with full hands takes no more, and the risk
screen, which costs a hundredth of a row, would wait with the rest. Here such messages are read where they
lie, and their events accepted without a lease: what the message brings later is known then, and goes on as
anything delivered twice.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha1
from uuid import uuid4

import redis

from worker.errors import ServiceMissing
from worker.events import message
from worker.events.envelope import Seal
from worker.events.message import LIVE, Entry
from worker.service.background import Periodic
from worker.service.intake import events_in
from worker.service.serving import Served, Serving, looks
from worker.store import deliveries
from worker.store.deliveries import Arrival
from worker.store.engine import Store
from worker.store.stored import UNPINNED

INTERVAL_S = 0.1
PAUSE_S = 5.0
"""After a failure: broker or database is away, or full."""
MOST, LONGEST, EVENTS = 64, 1 << 20, 256
"""Messages read at once, bytes of one beyond which it waits for its turn, and events of a transaction."""
SEEN, SEEN_S, SEEN_MOST = "feltsense.lookout.seen", 3600, 50_000
"""What was looked at, by digest; recorded before the look, so that an entry which ends its worker ends one.
Beyond so many it begins anew, which costs looks and harms nothing."""
WATCH, WATCH_MS = "feltsense.lookout.watch", 5000
"""One worker at a time is on the lookout; another takes over when it has been silent."""

_UNSEEN = """
local held = redis.call('GET', KEYS[3])
if held and held ~= ARGV[1] then return {} end
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
local unseen, start, known = {}, 0, false
repeat
  local entries = redis.call('LRANGE', KEYS[1], start, start + 63)
  for _, entry in ipairs(entries) do
    known = redis.call('SISMEMBER', KEYS[2], redis.sha1hex(entry)) == 1
    if known then break end
    unseen[#unseen + 1] = entry
  end
  start = start + 64
until known or #entries < 64
local oldest = {}
for i = #unseen, math.max(1, #unseen - ARGV[3] + 1), -1 do
  if #unseen[i] <= tonumber(ARGV[6]) then oldest[#oldest + 1] = unseen[i] end
  redis.call('SADD', KEYS[2], redis.sha1hex(unseen[i]))
end
if redis.call('SCARD', KEYS[2]) > tonumber(ARGV[5]) then redis.call('DEL', KEYS[2]) end
redis.call('EXPIRE', KEYS[2], ARGV[4])
return oldest
"""
"""From the newest to the first that was looked at before: what is behind that one was, too. The oldest of
them, marked in the same step: one round trip, for each is a wait in a busy process."""


class Lookout(Periodic):
    """Looks at the live lane ten times a second, and reads what has waited there for one look already."""

    def __init__(self, store: Store, serving: Serving, broker_url: str, *, seal: Seal | None) -> None:
        super().__init__("lookout", every_s=INTERVAL_S, first_s=INTERVAL_S)
        self._store = store
        self._serving = serving
        self._seal = seal
        self._broker = redis.Redis.from_url(broker_url, socket_timeout=5, socket_connect_timeout=5)
        self._name = uuid4().hex
        self._unseen = self._broker.register_script(_UNSEEN)
        self._waited = False

    def _work(self) -> None:
        try:
            waited, self._waited = self._waited, bool(self._broker.llen(LIVE))
            while waited and self._waited and not self._closing.is_set() and self.screen():
                pass
        except Exception:
            self._pause_s = PAUSE_S
            raise

    def screen(self) -> int:
        """Accepts the events of up to `MOST` waiting live messages that nobody has looked at; how many of
        them could be read.

        Raises `ServiceMissing`, `StoreRefused`, or what the broker's client raises.
        """
        given = (self._name, WATCH_MS, MOST, SEEN_S, SEEN_MOST, LONGEST)
        entries: list[bytes] = self._unseen(keys=(LIVE, SEEN, WATCH), args=given)
        with self._serving.held() as served:
            version = served.version if served is not None else UNPINNED
            arrivals = [arrival for entry in entries for arrival in self._arrivals(entry, served)]
        try:
            for start in range(0, len(arrivals), EVENTS):
                part = arrivals[start : start + EVENTS]
                deliveries.accept(self._store, part, (), model_version=version, lane=LIVE)
        except ServiceMissing:
            self._broker.srem(SEEN, *(sha1(entry).hexdigest() for entry in entries))  # noqa: S324
            raise
        return len(entries)

    def _arrivals(self, entry: bytes, served: Served | None) -> list[Arrival]:
        """The good events of one entry of the list. The others are parked when their message is taken."""
        message_id, entries = opened(entry, seal=self._seal)
        good = [(one, one.reflection) for one in entries if one.reflection is not None]
        seen_first = looks(served, [reflection for _, reflection in good])
        return [
            Arrival(
                reflection=reflection,
                screen=seen.risk,
                message_id=message_id,
                position=one.position,
                payload=one.payload,
            )
            for (one, reflection), seen in zip(good, seen_first, strict=True)
        ]


def opened(entry: bytes, *, seal: Seal | None) -> tuple[str, list[Entry]]:
    """An entry of a list as its task will see it: the message's id, and its events; none of what is no
    message of events."""
    id_, events = events_in(entry)
    now = datetime.now(UTC)
    return id_, [message.read(raw, place, seal=seal, now=now) for place, raw in enumerate(events)]
