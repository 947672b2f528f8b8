"""An event that raises, hangs or kills harms only itself: it is parked, and all others get their rows."""

from __future__ import annotations

import pytest

from tests.support.events import event
from tests.support.service import Instance
from worker.client.publisher import Publisher

COUNT = 120


def publish(instance: Instance, poison: dict[int, str]) -> None:
    with Publisher.connect(instance.broker_url) as publisher:
        publisher.publish_many(
            [
                event(
                    f"e-{n}",
                    f"u-{n % 7}",
                    **({"text": f"feltsense-fault:{poison[n]}"} if n in poison else {}),
                )
                for n in range(COUNT)
            ],
            chunk=40,
        )


@pytest.mark.timeout(240)
def test_an_event_that_kills_is_alone_in_the_end(instance: Instance) -> None:
    publish(instance, {7: "kill", 50: "raise"})
    lives = 0
    while instance.count("perceptions") + instance.count("dead_letters") < COUNT:
        worker = instance.start(ready=False, faults="1", lease_s="2")
        instance.eventually(
            lambda worker=worker: (
                worker.process.poll() is not None
                or instance.count("perceptions") + instance.count("dead_letters") == COUNT
            ),
            60,
        )
        lives += 1
    instance.wait_for(COUNT - 2, 2)
    assert instance.rows("SELECT reflection_id, reason, attempts FROM dead_letters ORDER BY 1") == [
        ("e-50", "enrichment_failed", 3),
        ("e-7", "enrichment_crashed", 3),
    ]
    assert lives == 4
