"""What reaches the worker, good or broken: each entry ends as a row or as a dead letter that says why."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Connection

from tests.support.events import event
from tests.support.service import Instance
from worker.client.publisher import Publisher
from worker.events.message import DELETE, ENRICH, ERASE

Put = Callable[[Instance, str], None]


def called(*args: Any, task: str = ENRICH, **options: Any) -> Put:
    """Sends a call as any Celery client would."""

    def put(instance: Instance, id_: str) -> None:
        with Celery(broker=instance.broker_url, set_as_current=False) as app:
            app.send_task(task, args=args, queue="reflections", task_id=id_, **options)

    return put


def raw(body: bytes | str, content_type: str, encoding: str = "utf-8", **headers: Any) -> Put:
    """Sends a body with headers as they are, past every check of Celery."""

    def put(instance: Instance, id_: str) -> None:
        with Connection(instance.broker_url) as connection, connection.Producer() as producer:
            producer.publish(
                body, routing_key="reflections", exchange="reflections", content_type=content_type,
                content_encoding=encoding, headers={"task": ENRICH, "id": id_, **headers}, serializer=None,
            )  # fmt: skip

    return put


BROKEN = {
    "an event without its list": (called(event("x")), "not_a_list"),
    "no argument": (called(), "not_a_list"),
    "two arguments": (called([event("x")], [event("y")]), "not_a_list"),
    "a text": (called("I felt fine"), "not_a_list"),
    "keyword arguments": (called(kwargs={"events": [event("x")]}), "not_a_list"),
    "an empty list": (called([]), "empty_message"),
    "257 events": (called([event(f"x-{n}") for n in range(257)]), "message_too_large"),
    "another task": (called([event("x")], task="feltsense.enrch"), "unknown_task"),
    "broken JSON": (raw("[[{", "application/json"), "bad_json"),
    "deep JSON": (raw("[" * 100_000, "application/json"), "bad_json"),
    "broken MessagePack": (raw(b"\xdc\xff", "application/x-msgpack", "binary"), "bad_json"),
    "broken UTF-8": (raw(b'[[[{"id": "\xff"}]], {}, {}]', "application/json"), "bad_json"),
    "a pickle": (raw(b"cos\nsystem\n.", "application/x-python-serialize", "binary"), "bad_json"),
    "a number": (raw("5", "application/json"), "not_a_list"),
    "null": (raw("null", "application/json"), "not_a_list"),
    "a list of two": (raw("[[], {}]", "application/json"), "not_a_list"),
    "args that are no list": (raw('["abc", {}, {}]', "application/json"), "not_a_list"),
    "a task that is no text": (raw("[[[]], {}, {}]", "application/json", task=["x"]), "unknown_task"),
    "no headers": (raw("[[[]], {}, {}]", "application/json", task=None), "unknown_task"),
    "ids that are none": (called(["a b"], task=DELETE), "bad_id"),
    "people that are none": (called([5], task=ERASE), "bad_id"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_message_is_parked_and_the_next_one_enriched(shared: Instance, name: str) -> None:
    put, reason = BROKEN[name]
    id_ = f"broken-{name.replace(' ', '-')}"

    put(shared, id_)
    with Publisher.connect(shared.broker_url) as publisher:
        publisher.publish(event(f"after-{id_}"))

    query = "SELECT reason, position, payload IS NOT NULL FROM dead_letters WHERE message_id LIKE %s"
    shared.eventually(lambda: shared.rows(query, f"{id_}/%") == [(reason, -1, True)])
    shared.eventually(
        lambda: shared.rows("SELECT 1 FROM perceptions WHERE reflection_id = %s", f"after-{id_}") == [(1,)]
    )
    shared.eventually(shared.idle)


def test_something_that_is_no_message_at_all_does_not_stop_the_worker(shared: Instance) -> None:
    client = redis.Redis.from_url(shared.broker_url)
    for garbage in (b"garbage", b"5", b"{}", b"[]", b'{"body": 5}', b"\xff\xfe"):
        client.lpush("reflections", garbage)
    with Publisher.connect(shared.broker_url) as publisher:
        publisher.publish(event("after-garbage"))

    shared.eventually(
        lambda: shared.rows("SELECT 1 FROM perceptions WHERE reflection_id = 'after-garbage'") == [(1,)]
    )


def test_a_message_of_protocol_1_is_taken(shared: Instance) -> None:
    with Connection(shared.broker_url) as connection, connection.Producer() as producer:
        body = {"task": ENRICH, "id": "old", "args": [[event("protocol-1")]], "kwargs": {}}
        producer.publish(body, routing_key="reflections", exchange="reflections", serializer="json")

    shared.eventually(
        lambda: shared.rows("SELECT 1 FROM perceptions WHERE reflection_id = 'protocol-1'") == [(1,)]
    )


def test_a_broken_event_harms_only_itself(shared: Instance) -> None:
    broken: list[Any] = [
        {"user_id": "u", "text": "t"},
        event("mixed-unknown", mood=3),
        event("mixed-empty", text=""),
        event("mixed-blank", text=" \n\t"),
        event("mixed-long", text="x" * 10_001),
        event("mixed-nul", text="a\0b"),
        event("mixed-surrogate", text="a\ud800b"),
        event("mixed-naive", created_at="2026-11-01T00:00:00"),
        event("mixed-future", created_at="2126-11-01T00:00:00Z"),
        event("mixed-schema", schema=9),
        {**event("mixed\0id"), "user_id": "u"},
        None,
        [],
        7,
        "text",
        {"a": {"b": [1] * 100}},
    ]
    good = [
        event("mixed-emoji", text="🙃"),
        event("mixed-rtl", text="אני עייף היום"),
        event("mixed-hi", text="आज मैं खुश हूँ"),
        event("mixed-plain", lang="ta"),
    ]
    reasons = [
        "missing_field", "unknown_field", "empty_text", "blank_text", "text_too_long", "nul_in_text",
        "lone_surrogate", "naive_time", "future_time", "unknown_schema", "bad_id",
        "bad_type", "bad_type", "bad_type", "bad_type", "unknown_field",
    ]  # fmt: skip

    entries = [
        entry
        for pair in zip(broken, good + [event(f"mixed-{n}") for n in range(12)], strict=True)
        for entry in pair
    ]
    called(entries)(shared, "mixed")

    shared.eventually(
        lambda: shared.rows("SELECT count(*) FROM perceptions WHERE reflection_id LIKE 'mixed-%%'") == [(16,)]
    )
    letters = shared.rows(
        "SELECT position, reason FROM dead_letters WHERE message_id LIKE 'mixed/%%' ORDER BY 1"
    )
    assert letters == [(2 * n, reason) for n, reason in enumerate(reasons)]
    supported = "SELECT language_supported, invoked FROM perceptions WHERE reflection_id = 'mixed-rtl'"
    assert shared.rows(supported) == [(False, [])]


def test_the_same_event_twice_is_one_row_and_a_changed_one_a_dead_letter(shared: Instance) -> None:
    def rows() -> list[tuple[Any, ...]]:
        return shared.rows(
            "SELECT reflection_id, revision FROM perceptions WHERE user_id LIKE 'twin%%' ORDER BY 1"
        )

    def letters() -> list[tuple[Any, ...]]:
        return shared.rows(
            "SELECT reflection_id, reason FROM dead_letters WHERE user_id LIKE 'twin%%' ORDER BY 1"
        )

    one, other = event("twin-1", "twin"), event("twin-2", "twin")
    with Publisher.connect(shared.broker_url) as publisher:
        publisher.publish_many([one, one, other, one], chunk=4)
        publisher.publish_many([one, other, one, other], chunk=1)
        shared.eventually(lambda: rows() == [("twin-1", 1), ("twin-2", 1)])
        publisher.publish({**one, "text": "changed"})
        publisher.publish({**other, "user_id": "twin-thief", "revision": 2})
        # Before the next: beside a newer revision the changed one would only be out of date.
        shared.eventually(lambda: len(letters()) == 2)
        publisher.publish_many(
            [{**one, "text": "edited", "revision": 2}, {**one, "text": "edited again", "revision": 3}]
        )
        shared.eventually(lambda: rows() == [("twin-1", 3), ("twin-2", 1)])
        publisher.publish({**one, "text": "late", "revision": 2})
        shared.eventually(shared.idle)

    assert rows() == [("twin-1", 3), ("twin-2", 1)]
    assert shared.rows("SELECT text FROM reflections WHERE id = 'twin-1'") == [("edited again",)]
    assert letters() == [("twin-1", "conflicting_content"), ("twin-2", "user_changed")]
    assert shared.rows(
        "SELECT count(*) FROM deliveries WHERE reflection_id LIKE 'twin-%%' AND state <> 'done'"
    ) == [(0,)]


def test_deleting_and_erasing_remove_what_they_name(shared: Instance) -> None:
    def left() -> list[tuple[Any, ...]]:
        return shared.rows(
            "SELECT reflection_id FROM perceptions WHERE user_id IN ('gone', 'stays') ORDER BY 1"
        )

    with Publisher.connect(shared.broker_url) as publisher:
        publisher.publish_many(
            [event(f"gone-{n}", "gone", day=n) for n in (1, 2, 3)] + [event("stays-1", "stays")]
        )
        shared.eventually(lambda: len(left()) == 4)
        publisher.delete(["gone-1", "never-there"])
        shared.eventually(lambda: left() == [("gone-2",), ("gone-3",), ("stays-1",)])
        assert shared.rows("SELECT text FROM reflections WHERE id = 'gone-1'") == [(None,)]
        publisher.erase(["gone"])
        shared.eventually(lambda: left() == [("stays-1",)])
    assert shared.rows("SELECT count(*) FROM reflections WHERE user_id = 'gone'") == [(0,)]


def test_with_a_key_sealed_events_are_taken_and_others_refused(instance: Instance) -> None:
    key, other = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
    instance.start(event_key=key)

    with Publisher.connect(instance.broker_url, key) as publisher:
        publisher.publish_many([event("sealed-1"), event("sealed-2")])
        queued = redis.Redis.from_url(instance.broker_url).lrange("reflections.bulk", 0, -1)
        assert not any(b"calm" in base64.b64decode(json.loads(item)["body"]) for item in queued)
    with Publisher.connect(instance.broker_url, other) as publisher:
        publisher.publish(event("wrong-key"))
    with Publisher.connect(instance.broker_url) as publisher:
        publisher.publish(event("open"))

    instance.wait_for(2, 2)
    letters = instance.rows("SELECT reason, reflection_id FROM dead_letters ORDER BY reason")
    assert letters == [("unreadable_seal", None), ("unsealed", "open")]
