"""A running worker takes the version that serves: between batches, once for every event, and only if it can
be opened."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support import bundles
from tests.support.events import event
from tests.support.program import feltsense
from tests.support.service import Instance, Worker
from worker.bundle import manifest
from worker.client.publisher import Publisher
from worker.events.message import LIVE, read
from worker.events.reflection import Reflection
from worker.pipeline import Look, Pipeline, Readings
from worker.service import bundles as folders
from worker.service.stages import Stages
from worker.settings import Settings
from worker.store import models
from worker.store.engine import Store

NAMES = (
    *("valence", "arousal", "congruence", "comparator", "expected_valence", "expected_arousal"),
    "willingness",
)


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second bundle, with other weights."""
    folder = tmp_path_factory.mktemp("bundles") / "other"
    bundles.write(folder, seed=2)
    return folder


@pytest.fixture
def store(instance: Instance) -> Iterator[Store]:
    with Store.open(instance.database_url) as opened:
        yield opened


def publish(instance: Instance, name: str, count: int, *, people: int = 7, chunk: int = 1) -> None:
    with Publisher.connect(instance.broker_url) as publisher:
        events = [event(f"{name}-{n}", f"u-{n % people}", day=n % 20 + 1) for n in range(count)]
        if chunk > 1:
            publisher.publish_many(events, chunk=chunk)
        else:
            for one in events:
                publisher.publish(one)


def resident_mb(worker: Worker) -> float:
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def register(store: Store, folder: Path) -> str:
    return folders.register(store, folder, manifest.read(folder))


def happened(store: Store, kind: str) -> list[models.Event]:
    return [one for one in models.history(store) if one.kind == kind]


def pinned(instance: Instance) -> list[tuple[str, int]]:
    """Deliveries that are done and have the row of their pin, by version."""
    return instance.rows(
        "SELECT d.model_version, count(*)"
        " FROM deliveries d JOIN perceptions p USING (reflection_id, model_version)"
        " WHERE d.state = 'done' GROUP BY 1 ORDER BY 1"
    )


def at_rest(instance: Instance, count: int) -> None:
    """Every event is done, and has exactly the row of the version it was pinned to."""
    instance.eventually(lambda: sum(n for _, n in pinned(instance)) == count, 60)
    instance.eventually(instance.idle)
    assert instance.rows("SELECT DISTINCT state FROM deliveries") == [("done",)]
    assert instance.count("dead_letters") == 0


@pytest.mark.timeout(240)
def test_promotions_under_load_lose_nothing_and_no_event_sees_two_versions(
    instance: Instance, store: Store, other: Path
) -> None:
    worker = instance.start()
    first = models.active(store)
    second = register(store, other)
    assert first is not None
    before = resident_mb(worker)

    for turn, version in enumerate((second, first, second)):
        publish(instance, f"bulk{turn}", 100, chunk=10)
        models.activate(store, version)
        publish(instance, f"live{turn}", 20)
        instance.eventually(lambda turn=turn: len(happened(store, "swapped")) == turn + 1, 60)
    publish(instance, "last", 20)

    at_rest(instance, 380)
    assert {version for version, _ in pinned(instance)} == {first, second}
    assert instance.rows(
        "SELECT DISTINCT model_version FROM perceptions WHERE reflection_id LIKE 'last-%%'"
    ) == [(second,)]
    swapped = happened(store, "swapped")
    assert [one.version for one in swapped] == [second, first, second]
    assert all(one.detail["switch_ms"] < 1000 for one in swapped)
    instance.eventually(lambda: worker.log.count("bundle_closed") == 3)
    instance.eventually(lambda: resident_mb(worker) < before + 60)


@pytest.mark.timeout(240)
def test_two_workers_swap_each_at_its_time_and_one_killed_right_after_leaves_one_row_an_event(
    instance: Instance, store: Store, other: Path
) -> None:
    workers = [instance.start(lease_s="2"), instance.start(lease_s="2")]
    publish(instance, "e", 300, chunk=10)
    instance.eventually(lambda: instance.count("perceptions"))
    models.activate(store, register(store, other))
    instance.eventually(lambda: any("bundle_swapped" in one.log for one in workers), 60)
    first, second = sorted(workers, key=lambda one: "bundle_swapped" not in one.log)
    publish(instance, "f", 100, chunk=10)
    first.stop(signal.SIGKILL)
    instance.eventually(lambda: "bundle_swapped" in second.log, 60)

    at_rest(instance, 400)
    swapped = happened(store, "swapped")
    assert len(swapped) == len({one.detail["worker"] for one in swapped}) == 2


@pytest.mark.timeout(240)
def test_a_bundle_that_cannot_be_opened_leaves_the_old_one_serving_until_it_is_repaired(
    instance: Instance, store: Store, other: Path, tmp_path: Path
) -> None:
    worker = instance.start()
    before = models.active(store)
    broken = tmp_path / "broken"
    shutil.copytree(other, broken)
    version = register(store, broken)
    whole = (broken / "ngrams.npz").read_bytes()
    (broken / "ngrams.npz").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))

    models.activate(store, version)
    instance.eventually(lambda: happened(store, "swap_failed"))
    publish(instance, "e", 10)
    at_rest(instance, 10)

    assert pinned(instance) == [(before, 10)]
    assert "bundle_unavailable" in worker.log
    assert "ngrams.npz" in happened(store, "swap_failed")[0].detail["reason"]

    (broken / "ngrams.npz").write_bytes(whole)
    instance.eventually(lambda: happened(store, "swapped"), 60)
    assert len(happened(store, "swap_failed")) == 1, "told once, however often it was tried"


@pytest.mark.timeout(240)
def test_a_restarted_worker_serves_what_the_database_says(
    instance: Instance, store: Store, other: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(other, moved)
    first = instance.start()
    own = models.active(store)
    version = register(store, moved)
    first.stop()
    models.activate(store, version)

    second = instance.start()
    publish(instance, "e", 5)
    at_rest(instance, 5)
    assert pinned(instance) == [(version, 5)]
    second.stop()

    shutil.rmtree(moved)
    third = instance.start()
    publish(instance, "f", 5)
    at_rest(instance, 10)
    assert dict(pinned(instance)) == {version: 5, own: 5}
    assert "bundle_unavailable" in third.log
    assert models.active(store) == version
    assert happened(store, "swap_failed")


@pytest.mark.timeout(240)
@pytest.mark.alone
def test_while_no_bundle_can_be_opened_events_are_screened_and_wait(
    instance: Instance, store: Store, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(instance.bundle, damaged)
    whole = (damaged / "manifest.json").read_bytes()
    (damaged / "manifest.json").unlink()
    worker = instance.start(bundle=str(damaged))
    assert "worker_without_models" in worker.log

    started = time.monotonic()
    with Publisher.connect(instance.broker_url) as publisher:
        publisher.publish(event("risk", text="I want to kill myself tonight"))
        publisher.publish(event("calm", text="a calm day"))
    instance.eventually(lambda: instance.count("reflections") == 2)
    took = time.monotonic() - started
    assert instance.rows("SELECT reflection_id, source FROM risk_queue") == [("risk", "screen")]
    assert instance.count("perceptions") == 0
    assert instance.rows("SELECT DISTINCT state, model_version, begun FROM deliveries") == [
        ("accepted", "none", False)
    ]
    assert not instance.idle(), "nothing is acknowledged before its row"
    assert took < 10  # a loaded machine; else some hundredths

    (damaged / "manifest.json").write_bytes(whole)
    at_rest(instance, 2)
    assert "worker_has_models" in worker.log


@pytest.mark.timeout(240)
def test_without_models_what_a_worker_cannot_hold_is_screened_where_it_waits(
    instance: Instance, store: Store, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(instance.bundle, damaged)
    whole = (damaged / "manifest.json").read_bytes()
    (damaged / "manifest.json").unlink()
    instance.start(bundle=str(damaged), concurrency="1")
    publish(instance, "e", 6)
    instance.eventually(lambda: instance.count("reflections") == 6)
    assert instance.count("perceptions") == 0

    (damaged / "manifest.json").write_bytes(whole)
    at_rest(instance, 6)
    assert instance.rows("SELECT DISTINCT state, attempts FROM deliveries") == [("done", 0)]


@pytest.mark.timeout(240)
def test_a_worker_that_ends_without_models_gives_back_what_it_held(
    instance: Instance, store: Store, tmp_path: Path
) -> None:
    worker = instance.start(bundle=str(tmp_path / "nowhere"))
    publish(instance, "e", 5)
    instance.eventually(lambda: instance.count("reflections") == 5)
    worker.stop()
    assert worker.process.returncode == 0, worker.log
    assert instance.rows("SELECT DISTINCT owner, attempts FROM deliveries") == [(None, 0)]

    instance.start()
    at_rest(instance, 5)


def values(instance: Instance, version: str) -> dict[str, dict[str, float]]:
    query = f"SELECT reflection_id, {', '.join(NAMES)} FROM perceptions WHERE model_version = %s"
    return {key: dict(zip(NAMES, told, strict=True)) for key, *told in instance.rows(query, version)}


def expected(bundle: Path, events: list[dict[str, Any]]) -> dict[str, Any]:
    """What an in-order run of that bundle alone writes."""
    settings = Settings(device_plan=("CPU",), temporal_device_plan=("CPU",))
    with Pipeline.open(bundle, settings) as pipeline:
        return {
            one.appraisal.reflection.id: pytest.approx(
                {
                    name: one.appraisal.willingness if name == "willingness" else getattr(one.placement, name)
                    for name in NAMES
                },
                abs=1e-5,
            )
            for one in pipeline.perceive(events)
        }


@pytest.mark.timeout(240)
def test_after_a_swap_all_rows_are_those_of_an_in_order_run_of_the_new_version(
    instance: Instance, store: Store, other: Path
) -> None:
    chance = random.Random(1)
    events = [
        event(f"e-{person}-{n}", f"u-{person}", day=n % 27 + 1, hour=n % 20, text=f"day {n}, so {word}")
        for person, count in enumerate((90, 12, 3))
        for n, word in enumerate(chance.choices(["sad", "khush", "calm", "very angry", "proud"], k=count))
    ]
    chance.shuffle(events)
    instance.start()
    with Publisher.connect(instance.broker_url) as publisher:
        publisher.publish_many(events[:80], chunk=10)
        at_rest(instance, 80)
        version = register(store, other)
        models.activate(store, version)
        for one in events[80:]:
            publisher.publish(one)
    instance.eventually(lambda: len(values(instance, version)) == len(events), 90)
    instance.eventually(lambda: happened(store, "reenriched"), 60)
    instance.eventually(lambda: instance.count("repairs") == 0)

    assert values(instance, version) == expected(other, events)
    current = instance.rows("SELECT DISTINCT model_version FROM current_perceptions")
    assert current == [(version,)]


@pytest.mark.timeout(240)
def test_who_wrote_last_finds_their_history_done_again_and_the_rest_waits_for_a_wish(
    instance: Instance, store: Store, other: Path
) -> None:
    instance.start(reenrich="0")
    events = [event(f"e-{n}", "u-1", day=n + 1) for n in range(15)]
    with Publisher.connect(instance.broker_url) as publisher:
        publisher.publish_many(events[:14], chunk=14)
        at_rest(instance, 14)
        version = register(store, other)
        models.activate(store, version)
        instance.eventually(lambda: happened(store, "swapped"))
        publisher.publish(events[14])
    at_rest(instance, 15)
    assert sorted(values(instance, version)) == sorted(f"e-{n}" for n in range(4, 15))
    assert values(instance, version)["e-14"] == expected(other, events[4:])["e-14"]

    environment = {"FELTSENSE_DATABASE_URL": instance.database_url}
    done = feltsense("reenrich", "--user", "u-1", **environment)
    assert done.returncode == 0, done.stderr
    assert b"4 reflections have no row" in done.stderr
    assert values(instance, version) == expected(other, events)
    assert feltsense("reenrich", "--since", "2026-11-01", **environment).returncode == 0
    refused = feltsense("reenrich", "nonesuch", **environment)
    assert (refused.returncode, b"promote it first" in refused.stderr) == (2, True)


@pytest.mark.timeout(240)
def test_a_challenger_scores_a_share_beside_the_version_that_serves(
    instance: Instance, store: Store, other: Path
) -> None:
    worker = instance.start(shadow_traffic="1", reenrich="0")
    first = models.active(store)
    publish(instance, "before", 20, chunk=10)
    at_rest(instance, 20)
    version = register(store, other)
    models.shadow(store, version)
    publish(instance, "after", 20)
    instance.eventually(lambda: len(values(instance, version)) == 40, 60)
    assert instance.rows("SELECT DISTINCT model_version FROM current_perceptions") == [(first,)]
    assert dict(pinned(instance)) == {first: 40}

    models.activate(store, version)
    instance.eventually(lambda: happened(store, "swapped"))
    assert worker.log.count("bundle_opened") == 1, "what was tried takes over as it is"
    publish(instance, "last", 5)
    at_rest(instance, 45)
    assert dict(pinned(instance)) == {first: 40, version: 5}


@pytest.mark.timeout(240)
def test_the_last_ten_of_a_person_are_done_again_with_their_first_event_and_a_broken_one_harms_nobody(
    store: Store, bundle: Path, other: Path
) -> None:
    settings = Settings(device_plan=("CPU",))
    events = [event(f"e-{n}", "u-1", day=n + 1) for n in range(15)]
    entries = [read(one, n, seal=None, now=datetime.now(UTC)) for n, one in enumerate(events)]

    def rows(version: str) -> list[str]:
        query = "SELECT reflection_id FROM perceptions WHERE model_version = %s ORDER BY created_at"
        return [key for (key,) in store.transact(lambda c: c.execute(query, (version,)).fetchall())]

    with (
        Pipeline.open(bundle, settings) as before,
        Pipeline.open(other, settings, beside=before) as after,
        Stages(before, store, max_batch_size=64, max_wait_ms=1) as stages,
    ):
        assert stages.enrich(entries[:13], message_id="m1", lane=LIVE) == {"written": 13}
        stages.serving.switch(after)
        assert stages.enrich(entries[13:14], message_id="m2", lane=LIVE) == {"written": 1}
        assert rows(after.model_version) == [f"e-{n}" for n in range(3, 14)]
        query = "SELECT valence, congruence FROM perceptions WHERE reflection_id = 'e-13'"
        (alone,) = [one.placement for one in after.perceive(events[3:14])][-1:]
        assert store.transact(lambda c: c.execute(query).fetchall()) == [
            (pytest.approx(alone.valence), pytest.approx(alone.congruence))
        ]

        stages.serving.switch(Fragile.over(before, "Entry e-7:"))
        store.transact(lambda c: c.execute("DELETE FROM traces WHERE reflection_id IN ('e-7', 'e-8')"))
        store.transact(lambda c: c.execute("DELETE FROM perceptions WHERE reflection_id IN ('e-7', 'e-8')"))
        assert stages.enrich(entries[14:], message_id="m3", lane=LIVE) == {"written": 1}
    assert not store.transact(lambda c: c.execute("SELECT * FROM dead_letters").fetchall())


class Fragile:
    """A real pipeline that breaks on a text that holds these words."""

    def __init__(self, pipeline: Pipeline, words: str) -> None:
        self._pipeline = pipeline
        self._words = words

    @classmethod
    def over(cls, pipeline: Pipeline, words: str) -> Pipeline:
        return cast(Pipeline, cls(pipeline, words))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    def read(self, reflections: Sequence[Reflection], looks: Sequence[Look] | None = None) -> Readings:
        if any(self._words in one.text for one in reflections):
            raise RuntimeError
        return self._pipeline.read(reflections, looks)
