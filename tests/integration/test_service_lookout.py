"""With every hand full, live messages wait in the broker; their events are screened and stored there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis

from tests.support.events import event
from tests.support.service import Instance
from worker.client.publisher import Publisher
from worker.events.message import BULK, LIVE
from worker.pipeline import Pipeline
from worker.service.lookout import Lookout
from worker.service.serving import Serving
from worker.settings import Settings
from worker.store.engine import Store

CPU = Settings(device_plan=("CPU",), temporal_device_plan=("CPU",))
GRAVE = "I want to kill myself tonight, I have the pills here."


@pytest.mark.timeout(240)
def test_what_waits_is_screened_where_it_lies_and_ends_as_one_row_or_one_letter_each(
    instance: Instance, bundle: Path
) -> None:
    broker = redis.Redis.from_url(instance.broker_url)
    with Publisher.connect(instance.broker_url) as publisher:
        publisher.publish(event("first", text=GRAVE))
        publisher.publish(event("wrong", mood="a field the contract does not know"))
        publisher.publish_many([event(f"many-{n}", hour=n) for n in range(3)], lane=LIVE)
        publisher.publish_many([event("later", hour=9)], lane=BULK)
    broker.lpush(LIVE, b"no message at all", json.dumps({"body": "half"}))

    with (
        Store.open(instance.database_url) as store,
        Pipeline.open(bundle, CPU) as pipeline,
    ):
        lookout = Lookout(store, Serving(pipeline), instance.broker_url, seal=None)
        assert lookout.screen() == 5
        assert lookout.screen() == 0

        with Publisher.connect(instance.broker_url) as publisher:
            publisher.publish(event("next", hour=10))
        assert lookout.screen() == 1

    stored = instance.rows("SELECT id, screen_level, screen_score FROM reflections ORDER BY id")
    assert [key for key, *_ in stored] == ["first", "many-0", "many-1", "many-2", "next"]
    assert stored[0][2] > max(score for _, _, score in stored[1:])
    assert instance.rows("SELECT DISTINCT state, owner, attempts FROM deliveries") == [("accepted", None, 0)]
    assert instance.count("dead_letters") == 0
    assert broker.llen(LIVE) == 6  # nothing was taken

    instance.start()
    instance.wait_for(perceptions=6, dead_letters=3)
    assert instance.rows("SELECT DISTINCT state, attempts FROM deliveries") == [("done", 0)]


@pytest.mark.timeout(240)
def test_a_worker_with_full_hands_keeps_a_lookout(instance: Instance) -> None:
    # a bulk message holds the only slot, and its event hangs in the read stage
    instance.start(concurrency="1", faults="1", stall_s="3600")
    with Publisher.connect(instance.broker_url) as publisher:
        publisher.publish(event("stuck", text="feltsense-fault:hang"), lane=BULK)
        instance.eventually(lambda: instance.count("reflections") == 1)
        for n in range(5):
            publisher.publish(event(f"waits-{n}", "u-2", hour=n))

    instance.eventually(lambda: instance.count("reflections") == 6)
    assert instance.count("perceptions") == 0
    assert redis.Redis.from_url(instance.broker_url).llen(LIVE) == 5
