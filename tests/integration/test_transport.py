"""Between list and worker no entry is lost: taking and recording are one step, and what dies gives back."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from kombu import Connection, Exchange, Queue

from worker.service.transport import Channel

LIVE, BULK = "reflections", "reflections.bulk"


@contextmanager
def consumer(url: str, *, room: int, **options: Any) -> Iterator[tuple[Channel, list[str]]]:
    """A consumer of both lists with room for so many entries, and the bodies it was handed."""
    bodies: list[str] = []
    address = redis.connection.parse_url(url)
    with Connection(
        transport="worker.service.transport:Transport",
        hostname=address["host"], port=address["port"], password=address["password"],
        transport_options={"queue_order_strategy": "priority", **options},
    ) as connection:  # fmt: skip
        channel = connection.channel()
        channel.basic_qos(0, room)
        queues = [Queue(name, Exchange(name), routing_key=name) for name in (LIVE, BULK)]
        with connection.Consumer(
            queues,
            channel=channel,
            on_message=lambda message: bodies.append(bytes(message.body).decode(errors="replace")),
        ):
            yield channel, bodies


@pytest.fixture
def broker(valkey: str) -> redis.Redis:
    client = redis.Redis.from_url(valkey)
    client.flushall()
    return client


def put(url: str, *bodies: str, queue: str = BULK, priority: int = 0) -> None:
    with Connection(url) as connection, connection.Producer() as producer:
        for body in bodies:
            producer.publish(body, routing_key=queue, content_type="text/plain", priority=priority)


def take(channel: Channel) -> None:
    try:
        while True:
            channel.connection.drain_events(channel.connection, timeout=0.3)
    except TimeoutError:
        return


def waiting(broker: redis.Redis, queue: str = BULK) -> int:
    return int(broker.llen(queue))


def test_a_consumer_takes_what_it_has_room_for_live_first_and_in_order(
    valkey: str, broker: redis.Redis
) -> None:
    put(valkey, "b1", "b2", "b3")
    put(valkey, "l2", queue=LIVE, priority=6)
    put(valkey, "l1", queue=LIVE)

    with consumer(valkey, room=4) as (channel, bodies):
        take(channel)
        assert bodies == ["l1", "l2", "b1", "b2"]
        assert (waiting(broker), broker.hlen("unacked"), broker.zcard("unacked_index")) == (1, 4, 4)

        for tag in list(channel.qos._delivered)[:3]:
            channel.basic_ack(tag)
        take(channel)
        assert bodies[4:] == ["b3"]
        assert (waiting(broker), broker.hlen("unacked")) == (0, 2)

    assert broker.hlen("unacked") == 0
    returned = [json.loads(entry)["body"] for entry in broker.lrange(BULK, 0, -1)]
    assert [base64.b64decode(body) for body in returned] == [b"b3", b"b2"]


def test_an_idle_consumer_is_woken_by_what_arrives(valkey: str, broker: redis.Redis) -> None:
    with consumer(valkey, room=10) as (channel, bodies):
        take(channel)
        put(valkey, "late")
        put(valkey, "later", queue=LIVE)
        take(channel)
        assert sorted(bodies) == ["late", "later"]


def test_what_a_dead_consumer_holds_goes_back_byte_for_byte_and_what_a_living_one_holds_never(
    valkey: str, broker: redis.Redis
) -> None:
    put(valkey, "b1", "b2")
    broker.rpush(BULK, b"\xff not a message")
    entries = broker.lrange(BULK, 0, -1)
    with consumer(valkey, room=10, visibility_timeout=0) as (dead, bodies), consumer(
        valkey, room=10, visibility_timeout=0
    ) as (living, _):  # fmt: skip
        take(dead)
        assert len(bodies) == 3
        living.qos.restore_visible()
        assert (waiting(broker), broker.hlen("unacked")) == (0, 3)

        broker.delete(dead.alive_key)
        living.qos.restore_visible()
        assert broker.lrange(BULK, 0, -1) == entries
        assert broker.hlen("unacked") + broker.zcard("unacked_index") == 0


def test_what_a_worker_of_another_kind_holds_comes_back_after_the_visibility_timeout(
    valkey: str, broker: redis.Redis
) -> None:
    put(valkey, "b1")
    with Connection(valkey, transport_options={"visibility_timeout": 3600}) as connection:
        channel = connection.channel()
        assert channel.basic_get(BULK) is not None
        with consumer(valkey, room=10, visibility_timeout=3600) as (living, _):
            living.qos.restore_visible()
            assert waiting(broker) == 0
        with consumer(valkey, room=10, visibility_timeout=0) as (living, _):
            living.qos.restore_visible()
            assert waiting(broker) == 1


def test_a_full_broker_can_still_be_emptied(valkey: str, broker: redis.Redis) -> None:
    with consumer(valkey, room=20) as (channel, bodies):
        take(channel)
        put(valkey, *("b" * 1000 for _ in range(20)))
        try:
            broker.config_set("maxmemory", 1)
            take(channel)
            channel.qos.restore_visible()
            assert len(bodies) == 20
            for tag in list(channel.qos._delivered):
                channel.basic_ack(tag)
            assert broker.hlen("unacked") == 0
        finally:
            broker.config_set("maxmemory", 0)


def test_a_queue_with_a_limit_leaves_room_for_the_others(valkey: str, broker: redis.Redis) -> None:
    put(valkey, *(f"b{n}" for n in range(6)))
    with consumer(valkey, room=4, most_held={BULK: 2}) as (channel, bodies):
        take(channel)
        assert bodies == ["b0", "b1"]
        put(valkey, "l1", "l2", queue=LIVE)
        take(channel)
        assert bodies[2:] == ["l1", "l2"]
        channel.basic_ack(next(iter(channel.qos._delivered)))
        take(channel)
        assert bodies[4:] == ["b2"]


def test_a_channel_that_outlives_its_lost_connection_closes_and_what_it_held_comes_back(
    valkey: str, broker: redis.Redis
) -> None:
    put(valkey, "held")

    with consumer(valkey, room=1, consumer_ttl=1) as (channel, bodies):
        take(channel)
        assert bodies == ["held"]
        channel.connection.client = None  # as kombu leaves a connection that it could not close
        channel.close()

    with consumer(valkey, room=1, consumer_ttl=1) as (channel, bodies):
        expires = time.monotonic() + 10
        while not bodies and time.monotonic() < expires:
            channel.qos.restore_visible()
            take(channel)
    assert bodies == ["held"]


def test_an_entry_that_two_consumers_died_with_is_handed_over_unread(
    valkey: str, broker: redis.Redis
) -> None:
    put(valkey, "trusted", "dangerous")
    (entry,) = broker.lrange(BULK, 0, 0)

    for lost in range(3):
        with consumer(valkey, room=10, consumer_ttl=1) as (channel, bodies):
            expires = time.monotonic() + 30
            while len(bodies) < 2 and time.monotonic() < expires:
                channel.qos.restore_visible()
                take(channel)
            unread = [bool(one.delivery_info["suspect"]) for one in channel.qos._delivered.values() if one]
            assert unread == [lost == 2] * 2
            if lost < 2:
                assert bodies == ["trusted", "dangerous"]
                channel.qos._delivered.clear()  # as of one that is gone
            else:
                assert bodies[1] == entry.decode()
