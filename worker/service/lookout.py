"""Ahead of the stages: live messages that must wait in the broker have their events screened and stored there
already.

A message is held until its events have their rows, so a worker with full hands takes no more, and the risk
screen, which costs a hundredth of a row, would wait with the rest. Here such messages are read where they
lie, and their events accepted without a lease: what the message brings later is known then, and goes on as
anything delivered twice.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4

import redis
from kombu.message import Message

from worker.errors import Rejected
from worker.events import message
from worker.events.envelope import Seal
from worker.events.message import ENRICH, LIVE
from worker.pipeline import Pipeline
from worker.service.background import Periodic
from worker.service.intake import rewrite
from worker.service.transport import readable
from worker.store import deliveries
from worker.store.deliveries import Arrival
from worker.store.engine import Store

INTERVAL_S = 0.1
CHUNK = 64
"""Messages read at once, newest first."""
EVENTS = 128
"""Events screened in one transaction, and the messages that complete them."""
SEEN, SEEN_S, SEEN_MOST = "feltsense.lookout.seen", 3600, 50_000
"""What was looked at, by digest; recorded before the look, so that an entry which ends its worker ends one.
Beyond so many it begins anew, which costs looks and harms nothing."""
WATCH, WATCH_MS = "feltsense.lookout.watch", 5000
"""One worker at a time is on the lookout; another takes over when it has been silent."""

_WATCH = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""


class Lookout(Periodic):
    """Looks at the live lane ten times a second, and reads what has waited there for one look already."""

    def __init__(self, store: Store, pipeline: Pipeline, broker_url: str, *, seal: Seal | None) -> None:
        super().__init__("lookout", every_s=INTERVAL_S, first_s=INTERVAL_S)
        self._store = store
        self._pipeline = pipeline
        self._seal = seal
        self._broker = redis.Redis.from_url(broker_url, socket_timeout=5, socket_connect_timeout=5)
        self._name = uuid4().hex
        self._waited = False

    def _work(self) -> None:
        waited, self._waited = self._waited, bool(self._broker.llen(LIVE))
        if waited and self._waited and self._broker.eval(_WATCH, 1, WATCH, self._name, WATCH_MS):
            self.screen()

    def screen(self) -> int:
        """Accepts the events of waiting live messages that nobody has looked at; how many. From the newest to
        the first message that was looked at before: what is behind it was, too.

        Raises `ServiceMissing`, `StoreRefused`, or what the broker's client raises.
        """
        fresh: list[tuple[bytes, bytes]] = []
        start = 0
        while not self._closing.is_set():
            entries = [bytes(one) for one in self._broker.lrange(LIVE, start, start + CHUNK - 1)]  # type: ignore[arg-type]  # no decoding asked for
            marks = [sha256(entry).digest()[:12] for entry in entries]
            known = self._broker.smismember(SEEN, marks) if marks else []
            fresh += [(mark, one) for mark, one, seen in zip(marks, entries, known, strict=True) if not seen]
            start += CHUNK
            if len(entries) < CHUNK or any(known):
                break
        found = 0
        while fresh and not self._closing.is_set():
            arrivals: list[Arrival] = []
            marks = []
            while fresh and len(arrivals) < EVENTS:  # oldest first: that one has waited longest
                mark, entry = fresh.pop()
                self._mark(mark)
                arrivals += self._arrivals(entry)
            found += len(arrivals)
            self._accept(arrivals)
        return found

    def _mark(self, mark: bytes) -> None:
        if self._broker.sadd(SEEN, mark) and self._broker.scard(SEEN) > SEEN_MOST:
            self._broker.delete(SEEN)
        self._broker.expire(SEEN, SEEN_S)

    def _arrivals(self, entry: bytes) -> list[Arrival]:
        """The good events of one entry of the list. The others are parked when their message is taken."""
        taken = _message(entry)
        rewrite(taken)
        if taken.headers["task"] != ENRICH or taken.headers["refusal"]:
            return []
        call: Any = taken.payload
        try:
            entries = message.unpack(call["args"], call["kwargs"])
        except Rejected:
            return []
        now = datetime.now(UTC)
        opened = [message.read(raw, place, seal=self._seal, now=now) for place, raw in enumerate(entries)]
        good = [one for one in opened if one.reflection is not None]
        reflections = [one.reflection for one in good if one.reflection is not None]
        return [
            Arrival(
                reflection=reflection,
                screen=look.risk,
                message_id=f"{taken.headers['id']}/{taken.headers['digest']}",
                position=one.position,
                payload=one.payload,
            )
            for one, reflection, look in zip(good, reflections, self._pipeline.look(reflections), strict=True)
        ]

    def _accept(self, arrivals: Sequence[Arrival]) -> None:
        if arrivals:
            version = self._pipeline.model_version
            deliveries.accept(self._store, arrivals, (), model_version=version, lane=LIVE)


def _message(entry: bytes) -> Message:
    """An entry of a list as Celery's consumer would be given it."""
    told = json.loads(readable(entry))
    body = told["body"]
    if told["properties"].get("body_encoding") == "base64":
        body = b64decode(body)
    return Message(  # type: ignore[no-untyped-call]
        body=body, headers=told["headers"], properties=told["properties"],
        content_type=told.get("content-type"), content_encoding=told.get("content-encoding"),
        accept={"application/json", "application/x-msgpack"},
    )  # fmt: skip
