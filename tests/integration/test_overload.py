"""More than can be worked off: every part keeps its bound and says so, and all goes on when there is room
again, without a restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
import pytest
import redis

from tests.support.events import event
from tests.support.service import Instance
from worker.client.publisher import Publisher
from worker.embedded.valkey import MESSAGE_MB, Valkey
from worker.errors import QueueFull
from worker.events.message import BULK, LIVE

MB = 1 << 20
CONCURRENCY = 4
LONG = f"ha{'a' * 9000}"  # long on the wire, one token for the encoder


@contextmanager
def stalled(instance: Instance) -> Iterator[None]:
    """The database takes nothing in while the block runs, as when somebody else's lock is in the way."""
    with psycopg.connect(instance.database_url) as connection:
        connection.execute("LOCK TABLE reflections IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def little_memory(client: redis.Redis, spare: int) -> Iterator[None]:
    """The broker may take `spare` bytes more than it has."""
    client.config_set("maxmemory", client.info("memory")["used_memory"] + spare)
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / MB


@pytest.mark.timeout(240)
def test_a_broker_full_to_the_brim_refuses_by_name_and_everything_accepted_has_its_row(
    instance: Instance,
) -> None:
    worker = instance.start(concurrency=str(CONCURRENCY))
    client = redis.Redis.from_url(instance.broker_url)
    numbers = count()
    accepted = []

    def fill(publisher: Publisher) -> None:
        while True:
            number = next(numbers)
            publisher.publish(event(f"o-{number}", f"u-{number % 50}", text=f"{number} {LONG}"), lane=BULK)
            accepted.append(number)

    with (
        Publisher.connect(instance.broker_url, queue_limit=10**6) as publisher,
        little_memory(client, 2 * MB),
    ):
        with stalled(instance):
            before = resident_mb(worker.process.pid)
            with pytest.raises(QueueFull, match=r"127\.0\.0\.1.+no memory left for another message"):
                fill(publisher)
            time.sleep(1)
            with pytest.raises(QueueFull):
                fill(publisher)
            # However much waits, the worker holds what its threads work on and as much again.
            assert client.hlen("unacked") <= 2 * CONCURRENCY
            assert client.llen(BULK) > 40
            assert resident_mb(worker.process.pid) - before < 50
        # The broker is full, and stays the size it is: the worker alone makes room.
        instance.eventually(instance.idle, 60)
        assert worker.process.poll() is None
        publisher.publish(event("o-after", "u-after"))
        accepted.append(-1)
    instance.wait_for(len(accepted))
    assert instance.rows("SELECT count(DISTINCT reflection_id) FROM perceptions") == [(len(accepted),)]


def test_a_live_lane_at_its_limit_refuses_at_once_and_takes_again_when_there_is_room(
    valkey: str,
) -> None:
    client = redis.Redis.from_url(valkey)
    client.flushall()
    with Publisher.connect(valkey, queue_limit=20) as publisher, Publisher.connect(valkey) as other:
        for n in range(12):
            other.publish(event(f"l-{n}"))
        for n in range(8):
            publisher.publish(event(f"m-{n}"))
        with pytest.raises(
            QueueFull, match="20 messages wait in reflections, and its limit is 20"
        ) as refused:
            publisher.publish(event("too-much"))
        assert (client.llen(LIVE), refused.value.exit_code, refused.value.retryable) == (20, 4, True)
        publisher.publish(event("bulk"), lane=BULK)  # the lanes are counted apart
        client.rpop(LIVE)
        publisher.publish(event("fits"))
        with pytest.raises(QueueFull):
            publisher.publish(event("does-not"))
        assert client.llen(LIVE) == 20


def test_a_publisher_waits_for_slow_workers_and_never_has_more_than_its_backlog_waiting(valkey: str) -> None:
    client = redis.Redis.from_url(valkey)
    client.flushall()
    most, done = [0], threading.Event()

    def work() -> None:
        while not done.is_set():
            most[0] = max(most[0], client.llen(BULK))
            client.rpop(BULK, 1)
            time.sleep(0.02)

    worker = threading.Thread(target=work)
    worker.start()
    with Publisher.connect(valkey) as publisher:
        assert publisher.publish_many((event(f"b-{n}") for n in range(60)), chunk=2, backlog_limit=8) == 60
    done.set()
    worker.join()
    assert 8 <= most[0] <= 9


def test_the_embedded_broker_has_limits_and_keeps_no_command_in_its_logs(tmp_path: Path) -> None:
    server = Valkey(tmp_path / "valkey", log=tmp_path / "log", memory_mb=32)
    client = redis.Redis.from_url(server.start())
    try:
        assert client.config_get("max*memory*")["maxmemory"] == str(32 * MB)
        client.config_set("maxmemory", 0)
        with pytest.raises((redis.ConnectionError, redis.ResponseError)):
            client.lpush(LIVE, bytes(MESSAGE_MB * MB + 1))
        client.lpush(LIVE, bytes(2 * MB))
        for kind in ("slow", "large-request", "large-reply"):
            assert client.execute_command("COMMANDLOG", "LEN", kind) == 0
    finally:
        server.stop()


@pytest.mark.timeout(240)
def test_a_worker_that_starts_on_a_full_broker_drains_it(instance: Instance) -> None:
    client = redis.Redis.from_url(instance.broker_url)
    with Publisher.connect(instance.broker_url) as publisher:
        publisher.publish_many((event(f"f-{n}", f"u-{n % 50}") for n in range(200)), chunk=1)
    with little_memory(client, -MB):
        instance.start()
        instance.wait_for(200)
