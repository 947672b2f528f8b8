"""The child process that reads a message lost workers held: which event ends it is known by place and name,
and nobody else is blamed."""

from __future__ import annotations

import pytest
import redis

from tests.support.events import event
from worker.client.publisher import Publisher
from worker.events.message import BULK
from worker.service.suspects import Culprit, examine

KILL = {"text": "feltsense-early-fault:kill"}


@pytest.fixture
def entry(valkey: str) -> bytes:
    """As a publisher puts it on the list: two of five events kill, one is no event."""
    broker = redis.Redis.from_url(valkey)
    broker.flushall()
    events = [event("a"), event("b", **KILL), event("c"), event("d", "u-2", **KILL), {"id": "e", "mood": 1}]
    with Publisher.connect(valkey) as publisher:
        publisher.publish_many(events, lane=BULK)
    (found,) = broker.lrange(BULK, 0, -1)
    return found


def test_every_culprit_is_named_and_nothing_else(entry: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FELTSENSE_FAULTS", "1")
    assert examine(entry) == {
        1: Culprit(place=1, id="b", user_id="u-1"),
        3: Culprit(place=3, id="d", user_id="u-2"),
    }


def test_where_nothing_harms_nobody_is_a_culprit(entry: bytes) -> None:
    assert examine(entry) == {}
    assert examine(b"no message at all") == {}
