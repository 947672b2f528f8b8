"""Whatever ends or goes away while events are under way, each has its row once, and the worker says what is
wrong."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.events import event
from tests.support.service import Instance
from worker.client.publisher import Publisher
from worker.events.message import LIVE, read
from worker.events.reflection import Reflection
from worker.pipeline import Look, Pipeline, Readings
from worker.service import reconcile
from worker.service.serving import Served
from worker.service.stages import Stages
from worker.settings import Settings
from worker.store import deliveries, unfinished
from worker.store.deliveries import Arrival
from worker.store.engine import Store
from worker.store.leases import Lease
from worker.store.unfinished import Unfinished

COUNT = 300


def load(instance: Instance) -> None:
    with Publisher.connect(instance.broker_url) as publisher:
        publisher.publish_many(
            [event(f"e-{n}", f"u-{n % 7}", day=n % 20 + 1) for n in range(COUNT)], chunk=10
        )


def some_rows(instance: Instance) -> bool:
    return 0 < instance.count("perceptions") < COUNT


def exactly_once(instance: Instance) -> None:
    instance.wait_for(COUNT, within_s=60)
    assert instance.rows("SELECT count(DISTINCT reflection_id) FROM perceptions") == [(COUNT,)]
    assert instance.rows("SELECT DISTINCT state FROM deliveries") == [("done",)]


@pytest.mark.timeout(240)
def test_a_killed_worker_loses_nothing_and_publishing_again_changes_nothing(
    instance: Instance,
) -> None:
    first = instance.start(lease_s="2")
    load(instance)
    instance.eventually(lambda: some_rows(instance))
    first.stop(signal.SIGKILL)
    assert not instance.idle()

    instance.start(lease_s="2")

    exactly_once(instance)
    load(instance)
    exactly_once(instance)


@pytest.mark.timeout(240)
def test_a_stopped_worker_finishes_what_it_has_and_gives_back_the_rest(instance: Instance) -> None:
    first = instance.start()
    load(instance)
    instance.eventually(lambda: some_rows(instance))
    first.stop(signal.SIGTERM)
    assert first.process.returncode == 0
    assert "worker_closed" in first.log
    assert instance.rows("SELECT count(*) FROM deliveries WHERE state = 'accepted'") == [(0,)]

    instance.start()

    exactly_once(instance)


@pytest.mark.timeout(240)
def test_a_lost_database_is_waited_for(instance: Instance) -> None:
    instance.start()
    load(instance)
    for _ in range(8):
        instance.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        time.sleep(0.1)

    exactly_once(instance)


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"database_url": "postgresql://x@127.0.0.1:1/none"}, 4, "127.0.0.1:1"),
        ({"database_url": "mysql://x"}, 2, "Postgres URL"),
        ({"event_key": "c2hvcnQ="}, 2, "32 bytes"),
    ],
)
def test_a_worker_that_cannot_work_ends_and_says_why(
    instance: Instance,
    settings: dict[str, str],
    code: int,
    words: str,
) -> None:
    worker = instance.start(ready=False, **settings)

    assert worker.process.wait(60) == code, worker.log
    assert words in worker.log
    assert "Traceback" not in worker.log


class Fragile(Pipeline):
    """The real pipeline with a weakness: a text with this word breaks the step of that name."""

    def read(self, reflections: Sequence[Reflection], looks: Sequence[Look] | None = None) -> Readings:
        self._break("read-culprit", reflections)
        return super().read(reflections, looks)

    def appraise(self, readings, encoded):
        self._break("appraise-culprit", readings.reflections)
        return super().appraise(readings, encoded)

    def look(self, reflections):
        self._break("screen-culprit", reflections)
        return super().look(reflections)

    @staticmethod
    def _break(word: str, reflections: Sequence[Reflection]) -> None:
        for reflection in reflections:
            if word in reflection.text:
                raise RuntimeError(reflection.text)


@pytest.mark.timeout(120)
def test_one_event_that_breaks_a_stage_is_parked_alone(store: Store, bundle: Path) -> None:
    culprits = {3: "screen", 11: "read", 17: "appraise"}
    entries = [
        read(
            event(f"e-{n}", text=f"canary {culprits.get(n, 'good')}-culprit"),
            n,
            seal=None,
            now=datetime.now(UTC),
        )
        for n in range(20)
    ]
    with (
        Fragile.open(bundle, Settings(device_plan=("CPU",))) as pipeline,
        Stages(pipeline, store, max_batch_size=64, max_wait_ms=1) as stages,
    ):
        tally = stages.enrich(entries, message_id="m", lane=LIVE)

    assert tally == {"written": 17, "failed": 3}
    query = "SELECT position, reason, detail FROM dead_letters ORDER BY position"
    assert store.transact(lambda cursor: cursor.execute(query).fetchall()) == [
        (3, "enrichment_failed", "arrive: RuntimeError"),
        (11, "enrichment_failed", "read: RuntimeError"),
        (17, "enrichment_failed", "appraise: RuntimeError"),
    ]
    states = "SELECT state, count(*) FROM deliveries GROUP BY state ORDER BY state"
    assert store.transact(lambda cursor: cursor.execute(states).fetchall()) == [("dead", 2), ("done", 17)]


@pytest.mark.timeout(120)
def test_what_the_broker_lost_is_enriched_from_the_stored_row(store: Store, bundle: Path) -> None:
    lost = [read(event(f"lost-{n}", day=n + 1), n, seal=None, now=datetime.now(UTC)) for n in range(5)]
    with (
        Pipeline.open(bundle, Settings(device_plan=("CPU",))) as pipeline,
        Stages(pipeline, store, max_batch_size=64, max_wait_ms=1) as stages,
    ):
        reflections = [entry.reflection for entry in lost if entry.reflection]
        arrivals = [
            Arrival(reflection=reflection, screen=look.risk, message_id="m", position=place, payload=b"")
            for place, (reflection, look) in enumerate(
                zip(reflections, pipeline.look(reflections), strict=True)
            )
        ]
        deliveries.accept(store, arrivals, (), model_version=pipeline.model_version, lane=LIVE)

        assert reconcile.sweep(stages, store) == 0
        lost_by = unfinished.take(
            store, Lease(owner="another"), model_version=pipeline.model_version, grace_s=0, limit=256
        )
        assert [(one.reflection, one.attempts) for one in lost_by] == [(one, 0) for one in reflections]
        assert reconcile.sweep(stages, store, grace_s=0) == 0  # leased a moment ago
        store.transact(
            lambda cursor: cursor.execute("UPDATE deliveries SET lease_until = now() - interval '1 s'")
        )
        assert reconcile.sweep(stages, store, grace_s=0) == 5
        assert reconcile.sweep(stages, store, grace_s=0) == 0
    assert store.transact(lambda cursor: cursor.execute("SELECT count(*) FROM perceptions").fetchall()) == [
        (5,)
    ]


CULPRITS = {2: "read", 5: "appraise"}


def accepted_and_lost(store: Store, pipeline: Pipeline) -> None:
    """Eight events whose message never came back, `CULPRITS` among them."""
    entries = [
        read(
            event(f"lost-{n}", f"u-{n % 3}", text=f"canary {CULPRITS.get(n, 'good')}-culprit"),
            n,
            seal=None,
            now=datetime.now(UTC),
        )
        for n in range(8)
    ]
    reflections = [entry.reflection for entry in entries if entry.reflection]
    arrivals = [
        Arrival(reflection=reflection, screen=look.risk, message_id="m", position=place, payload=b"")
        for place, (reflection, look) in enumerate(zip(reflections, pipeline.look(reflections), strict=True))
    ]
    deliveries.accept(store, arrivals, (), model_version=pipeline.model_version, lane=LIVE)


def selected(store: Store, query: str) -> list[tuple[object, ...]]:
    return store.transact(lambda cursor: cursor.execute(query).fetchall())


@pytest.mark.timeout(120)
def test_a_lost_event_that_breaks_a_stage_is_parked_and_the_rest_of_the_sweep_written(
    store: Store, bundle: Path
) -> None:
    with (
        Fragile.open(bundle, Settings(device_plan=("CPU",))) as pipeline,
        Stages(pipeline, store, max_batch_size=64, max_wait_ms=1) as stages,
    ):
        accepted_and_lost(store, pipeline)
        assert reconcile.sweep(stages, store, grace_s=0) == 8

    assert selected(
        store,
        "SELECT reflection_id, revision, user_id, reason, detail FROM dead_letters ORDER BY reflection_id",
    ) == [
        ("lost-2", 1, "u-2", "enrichment_failed", "read: RuntimeError"),
        ("lost-5", 1, "u-2", "enrichment_failed", "appraise: RuntimeError"),
    ]
    states = "SELECT state, count(*) FROM deliveries GROUP BY state ORDER BY state"
    assert selected(store, states) == [("dead", 2), ("done", 6)]
    assert selected(store, "SELECT count(*) FROM perceptions") == [(6,)]


class Stumbling(Stages):
    """The real stages, whose first `resume` ends in a bug."""

    stumbled = False

    def resume(self, found: Sequence[Unfinished], served: Served) -> int:
        if not self.stumbled:
            self.stumbled = True
            raise RuntimeError(found[0].reflection.text)
        return super().resume(found, served)


@pytest.mark.timeout(120)
def test_what_a_failed_sweep_had_taken_is_free_for_the_next(store: Store, bundle: Path) -> None:
    with (
        Pipeline.open(bundle, Settings(device_plan=("CPU",))) as pipeline,
        Stumbling(pipeline, store, max_batch_size=64, max_wait_ms=1) as stages,
    ):
        accepted_and_lost(store, pipeline)
        with pytest.raises(RuntimeError):
            reconcile.sweep(stages, store, grace_s=0)
        assert reconcile.sweep(stages, store, grace_s=0) == 8
    assert selected(store, "SELECT count(*) FROM perceptions") == [(8,)]
