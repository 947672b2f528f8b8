"""The queue under an erasure: what a person wrote and no worker has taken yet leaves the broker's lists.

Nothing depends on it: what is missed here (in a worker's hands, under a seal of another key, in a form that
cannot be taken apart) is refused when it comes, for it was written before the erasure.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import redis

from worker.errors import ServiceMissing
from worker.events.envelope import Seal
from worker.events.message import BULK, ENRICH, LIVE
from worker.store import mentions

CHUNK = 64
MOST = 100_000
"""Messages of a lane that are looked at."""
TIMEOUT_S = 10.0

_REPLACE = """
local at = redis.call('LPOS', KEYS[1], ARGV[1])
if not at then return 0 end
if ARGV[2] == '' then return redis.call('LREM', KEYS[1], 1, ARGV[1]) end
redis.call('LSET', KEYS[1], at, ARGV[2])
return 1
"""
"""By value, in one step: a worker may take the message meanwhile, and then it is left alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recalled:
    """How many events left the queue, and how many messages hold some that no key at hand opens."""

    events: int
    closed: int


def recall(
    broker_url: str, user_ids: Collection[str], *, seal: Seal | None = None, dry_run: bool = False
) -> Recalled:
    """Takes these persons' events out of the messages that wait in both lanes; `dry_run` only counts.

    From the newest on: what is published meanwhile moves the others towards where they are still looked for.
    Raises `ServiceMissing` when the broker does not answer.
    """
    events = closed = 0
    client = redis.Redis.from_url(broker_url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
    replace = client.register_script(_REPLACE)
    try:
        for lane in (LIVE, BULK):
            for start in range(0, min(client.llen(lane) + CHUNK, MOST), CHUNK):
                for entry in client.lrange(lane, start, start + CHUNK - 1):
                    rest, found, shut = without(bytes(entry), user_ids, seal=seal)  # type: ignore[arg-type]  # no decoding asked for
                    closed += shut
                    if found and (dry_run or replace(keys=(lane,), args=(entry, rest or b""))):
                        events += found
    except redis.RedisError as error:
        raise ServiceMissing(f"the broker does not answer ({type(error).__name__})") from None
    finally:
        client.close()
    return Recalled(events=events, closed=closed)


def without(entry: bytes, user_ids: Collection[str], *, seal: Seal | None) -> tuple[bytes | None, int, bool]:
    """An entry of a list less the persons' events (None: nothing is left of it), how many these were, and
    whether it holds what does not open. What is no JSON message of events stays as it is."""
    try:
        message: dict[str, Any] = json.loads(entry)
        if message["headers"]["task"] != ENRICH or message.get("content-type") != "application/json":
            return entry, 0, False
        coded = message["properties"].get("body_encoding") == "base64"
        body = b64decode(message["body"]) if coded else message["body"].encode()
    except (ValueError, KeyError, TypeError, AttributeError):
        return entry, 0, False
    found = mentions.clear(body, user_ids, seal=seal)
    if found.payload is None or not found.events:
        return entry, 0, found.closed
    args, *_ = json.loads(found.payload)
    if not any(args):
        return None, found.events, found.closed
    message["body"] = b64encode(found.payload).decode() if coded else found.payload.decode()
    return json.dumps(message).encode(), found.events, found.closed
