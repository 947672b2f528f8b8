"""The publisher: what it puts on the queue, when it waits, and what it says when there is no broker."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

import pytest
import redis

from tests.support.events import event
from worker.client.publisher import Publisher
from worker.errors import FeltsenseError, ServiceMissing, UsageError
from worker.events.message import BULK, LIVE


@pytest.fixture
def broker(valkey: str) -> redis.Redis:
    client = redis.Redis.from_url(valkey)
    client.flushall()
    return client


def test_bulk_events_go_in_messages_of_the_size_asked_for(valkey: str, broker: redis.Redis) -> None:
    with Publisher.connect(valkey) as publisher:
        assert publisher.publish_many((event(str(n)) for n in range(130)), chunk=50) == 130
        publisher.publish(event("live"))
        assert (publisher.backlog(BULK), publisher.backlog(LIVE)) == (3, 1)

    headers = [json.loads(item)["headers"] for item in broker.lrange(BULK, 0, -1)]
    assert sorted(header["argsrepr"] for header in headers) == [
        "([30 entries],)",
        "([50 entries],)",
        "([50 entries],)",
    ]
    assert not any("calm" in str(header) for header in headers)


def test_a_full_lane_is_waited_for_and_in_the_end_reported(valkey: str, broker: redis.Redis) -> None:
    with Publisher.connect(valkey) as publisher:
        publisher.publish_many([event(str(n)) for n in range(6)], chunk=1)
        threading.Timer(0.3, lambda: broker.lpop(BULK, 5)).start()
        started = time.monotonic()
        assert publisher.publish_many([event("7")], backlog_limit=3, patience_s=5) == 1
        assert time.monotonic() - started > 0.25
        with pytest.raises(ServiceMissing, match=r"2 messages wait in reflections\.bulk"):
            publisher.publish_many([event("8")], backlog_limit=1, patience_s=0.2)


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("redis://:secret@127.0.0.1:1/0", ServiceMissing, r"127\.0\.0\.1:1"),
        ("redis+socket:///nowhere/valkey.sock", ServiceMissing, "/nowhere/valkey.sock"),
        ("bogus://:secret@x", UsageError, "broker URL"),
    ],
)
def test_a_missing_broker_is_named_without_its_password(
    url: str, error: type[FeltsenseError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught, Publisher.connect(url):
        pass
    assert "secret" not in str(caught.value)


def test_a_broker_that_goes_away_is_named(valkey: str, broker: redis.Redis) -> None:
    with Publisher.connect(valkey) as publisher:
        publisher.publish(event("1"))
        broker.config_set("maxmemory", 1)
        try:
            with pytest.raises(ServiceMissing, match=r"127\.0\.0\.1"):
                publisher.publish(event("2"))
        finally:
            broker.config_set("maxmemory", 0)
        publisher.publish(event("3"))
    assert broker.llen(LIVE) == 2


def test_the_client_loads_neither_store_nor_pipeline() -> None:
    check = (
        "import sys, worker.client.publisher;"
        "heavy = ('worker.store', 'worker.pipeline', 'openvino', 'psycopg');"
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    assert subprocess.check_output([sys.executable, "-c", check], text=True).strip() == "[]"
