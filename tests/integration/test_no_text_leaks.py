"""A canary goes through everything that can go wrong, and is looked for wherever people look at a worker."""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.events import EventReceiver
from kombu import Connection

from tests.support.events import event
from tests.support.service import Instance, bundle, instance, valkey  # noqa: F401  fixtures

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


@pytest.mark.timeout(240)
def test_text_shows_nowhere_but_in_its_columns(instance: Instance) -> None:  # noqa: F811
    worker = instance.start("--task-events", log_level="debug")
    text = f"I told nobody about my {CANARY} and it hurts"
    app = Celery(broker=instance.broker_url, set_as_current=False)
    seen_by_commands: list[Any] = []

    with watching(instance.broker_url) as seen:
        # A bare client, whose headers hold the arguments as text.
        app.send_task("feltsense.enrich", args=[[event("1", text=text)]], queue="reflections")
        app.send_task(
            "feltsense.enrich",
            args=[[event("2", text=f"{text}\0"), event("3", **{CANARY: 1})]],
            queue="reflections",
        )
        app.send_task("feltsense.enrich", args=[[event("4", text=f"{CANARY}\ud800")]], queue="reflections")
        app.send_task("feltsense.enrich", args=[event("5", text=text)], queue="reflections", shadow=CANARY)
        app.send_task(
            f"feltsense.{CANARY}", args=[[event("6", text=text)]], queue="reflections", task_id=f"a {CANARY}"
        )
        app.send_task(
            "feltsense.enrich",
            args=[[event("1", text=f"other {text}")]],
            queue="reflections",
            link=app.signature(CANARY),
        )
        app.send_task(
            "feltsense.enrich", kwargs={"events": text}, queue="reflections", eta=CANARY if False else None
        )
        with Connection(instance.broker_url) as connection, connection.Producer() as producer:
            for content_type, body in (
                ("application/json", f'[["{CANARY}'),
                ("text/plain", CANARY),
                ("application/x-msgpack", f"\udcc1{CANARY}".encode("utf-8", "surrogateescape")),
            ):
                producer.publish(
                    body, routing_key="reflections", exchange="reflections", content_type=content_type,
                    content_encoding="utf-8", serializer=None,
                    headers={"task": "feltsense.enrich", "id": f"raw-{len(content_type)}", "eta": CANARY, "argsrepr": CANARY, "expires": CANARY, "timelimit": CANARY, "stamped_headers": [CANARY], "stamps": {CANARY: CANARY}},
                )  # fmt: skip
        app.send_task(
            "feltsense.enrich",
            args=[[event(f"many-{n}", f"u{n % 5}", text=text, day=n % 20 + 1) for n in range(200)]],
            queue="reflections.bulk",
        )
        for command in ("active", "reserved", "scheduled", "stats", "conf", "registered"):
            seen_by_commands.append(getattr(app.control.inspect(timeout=1), command)())
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
