"""An erasure searches the queue: the person's events leave it, and everything else stays where it was."""

from __future__ import annotations

import base64
import json

import pytest
import redis

from tests.support.events import event
from worker.client.publisher import Publisher
from worker.client.recall import Recalled, recall
from worker.errors import ServiceMissing
from worker.events.envelope import Seal
from worker.events.message import BULK, LIVE

KEY, OTHER = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))


@pytest.fixture
def broker(valkey: str) -> redis.Redis:
    client = redis.Redis.from_url(valkey)
    client.flushall()
    return client


def users(broker: redis.Redis, lane: str, seal: Seal | None = None) -> list[list[str]]:
    """Whose events wait in a lane, message by message, oldest first."""
    bodies = [json.loads(base64.b64decode(json.loads(one)["body"])) for one in broker.lrange(lane, 0, -1)]
    events = [body[0][0] for body in reversed(bodies)]
    return [[(seal.open(one) if seal else one)["user_id"] for one in message] for message in events]


def test_the_persons_events_leave_both_lanes_and_the_others_keep_their_places(valkey, broker):
    with Publisher.connect(valkey) as publisher:
        publisher.publish(event("a", "me"))
        publisher.publish(event("b", "you"))
        publisher.publish_many(
            [event(f"m-{n}", "me" if n % 3 == 0 else f"u-{n}") for n in range(300)], chunk=2, lane=BULK
        )
        publisher.erase(["me"])
    broker.lpush(BULK, b"no message", json.dumps({"headers": {"task": "feltsense.enrich"}}))

    assert recall(valkey, ["me"], dry_run=True) == Recalled(events=101, closed=0)
    assert broker.llen(LIVE) + broker.llen(BULK) == 3 + 150 + 2
    assert recall(valkey, ["me"]) == Recalled(events=101, closed=0)

    assert broker.llen(LIVE) == 2  # the other person's, and the request to erase
    assert broker.lpop(BULK) is not None
    assert broker.lpop(BULK) == b"no message"
    assert users(broker, BULK) == [
        [f"u-{n}" for n in (place, place + 1) if n % 3] for place in range(0, 300, 2)
    ]
    assert recall(valkey, ["me"]) == Recalled(events=0, closed=0)


def test_sealed_events_are_found_with_their_key_and_counted_without(valkey, broker):
    with Publisher.connect(valkey, KEY) as publisher:
        publisher.publish_many([event("a", "me"), event("b", "you")], chunk=2)
    assert recall(valkey, ["me"], seal=Seal.of(OTHER)) == Recalled(events=0, closed=1)
    assert recall(valkey, ["me"], seal=Seal.of(KEY)) == Recalled(events=1, closed=0)
    assert users(broker, BULK, Seal.of(KEY)) == [["you"]]


def test_an_absent_broker_is_named():
    with pytest.raises(ServiceMissing, match="does not answer"):
        recall("redis://127.0.0.1:1/0", ["me"])
