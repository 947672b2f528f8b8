"""A canary goes through everything that can go wrong, and is looked for wherever people look at a worker."""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery
from celery.events import EventReceiver
from kombu import Connection

from tests.support.events import event
from tests.support.service import Instance

CANARY = "zanzibarcanary"


@contextmanager
def watching(broker_url: str) -> Iterator[list[dict[str, Any]]]:
    """All task events a Flower would see meanwhile."""
    seen: list[dict[str, Any]] = []
    app = Celery(broker=broker_url, set_as_current=False)
    with app.connection() as connection:
        receiver = EventReceiver(connection, handlers={"*": seen.append}, app=app)
        thread = threading.Thread(target=receiver.capture, kwargs={"timeout": None}, daemon=True)
        thread.start()
        time.sleep(0.3)
        yield seen
        receiver.should_stop = True
        thread.join(10)


def publish_raw(broker_url: str, content_type: str, body: bytes) -> None:
    """A body as it is, and the canary in every header that Celery reads."""
    headers = dict.fromkeys(("eta", "expires", "timelimit", "argsrepr", "kwargsrepr", "origin"), CANARY)
    stamps = {"stamped_headers": [CANARY], "stamps": {CANARY: CANARY}}
    with Connection(broker_url) as connection, connection.Producer() as producer:
        producer.publish(
            body, routing_key="reflections", exchange="reflections", content_type=content_type,
            content_encoding="binary", serializer=None,
            headers={"task": "feltsense.enrich", "id": f"raw-{content_type}", **headers, **stamps},
        )  # fmt: skip


@pytest.mark.timeout(240)
def test_text_shows_nowhere_but_in_its_columns(instance: Instance) -> None:
    worker = instance.start("--task-events", log_level="debug")
    text = f"I told nobody about my {CANARY} and it hurts"
    many = [event(f"many-{n}", f"u{n % 5}", text=text, day=n % 20 + 1) for n in range(200)]
    app = Celery(broker=instance.broker_url, set_as_current=False)
    seen_by_commands: list[Any] = []

    def call(*args: Any, task: str = "feltsense.enrich", queue: str = "reflections", **options: Any) -> None:
        # As a bare client does it: the headers hold the arguments as text.
        app.send_task(task, args=args, queue=queue, **options)

    with watching(instance.broker_url) as seen:
        call([event("1", text=text)])
        call([event("2", text=f"{text}\0"), event("3", **{CANARY: 1})])
        call([event("4", text=f"{CANARY}\ud800")])
        call(event("5", text=text), shadow=CANARY)
        call([event("6", text=text)], task=f"feltsense.{CANARY}", task_id=f"a {CANARY}")
        call([event("1", text=f"other {text}")], link=app.signature(CANARY))
        call(kwargs={"events": text})
        publish_raw(instance.broker_url, "application/json", f'[["{CANARY}'.encode())
        publish_raw(instance.broker_url, "text/plain", CANARY.encode())
        publish_raw(instance.broker_url, "application/x-msgpack", b"\xc1" + CANARY.encode())
        call(many, queue="reflections.bulk")
        for command in ("active", "reserved", "scheduled", "stats", "conf", "registered"):
            answer = getattr(app.control.inspect(timeout=1), command)()
            seen_by_commands.append(answer)
        instance.wait_for(201, 10)
        eventful = {entry["type"] for entry in seen}

    assert {"task-received", "task-succeeded"} <= eventful
    assert CANARY not in repr(seen)
    assert CANARY not in repr(seen_by_commands)
    port = re.search(r'"metrics_port": (\d+)', worker.log)
    assert port
    with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/metrics") as answer:
        metrics = answer.read().decode()
    assert 'feltsense_events_total{outcome="written"} 201.0' in metrics
    assert CANARY not in metrics
    worker.stop()
    assert CANARY not in worker.log
    columns = instance.rows(
        "SELECT message_id, reason, field, detail, reflection_id, user_id FROM dead_letters"
    )
    assert len(columns) == 10
    assert CANARY not in repr([row for row in columns if row[1] != "unknown_field"])
    assert CANARY not in repr(instance.rows("SELECT * FROM perceptions"))
    assert CANARY not in repr(instance.rows("SELECT * FROM deliveries"))
