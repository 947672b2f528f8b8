"""A worker whose device fails while it works: every row is there, with the values of an undisturbed run and
the name of what computed it, and the device comes back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.events import event
from tests.support.service import Instance
from worker.client.publisher import Publisher
from worker.events.reflection import parse
from worker.pipeline import Pipeline
from worker.settings import Settings

QUERY = "SELECT reflection_id, valence, willingness, provenance FROM perceptions"


def test_a_device_that_fails_at_work_costs_no_row_and_changes_no_value(
    instance: Instance, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    monkeypatch.setenv("FLAKY_SWITCH", str(broken))
    instance.start(
        device_backends="FLAKY=tests.support.flaky_device:Flaky",
        device_plan="FLAKY:f32,CPU:f32",
        temporal_device_plan="CPU",
        device_rest_s="0.1",
        shadow_share="0",
    )
    events: list[dict[str, Any]] = []

    def publish(count: int) -> str:
        """Publishes so many more; the device of the last one's row."""
        with Publisher.connect(instance.broker_url) as publisher:
            fresh = [event(f"e-{len(events) + n}", f"u-{n}", day=len(events) % 20 + 1) for n in range(count)]
            publisher.publish_many(fresh, chunk=2)
        events.extend(fresh)
        instance.wait_for(len(events))
        found = "SELECT provenance->'devices'->'encoder'->>'device' FROM perceptions WHERE reflection_id = %s"
        return str(instance.rows(found, events[-1]["id"])[0][0])

    assert publish(4) == "FLAKY"
    broken.touch()
    assert publish(6) == "CPU"
    broken.unlink()
    instance.eventually(lambda: publish(1) == "FLAKY")

    rows = {id_: (valence, willing, facts) for id_, valence, willing, facts in instance.rows(QUERY)}
    undisturbed = Settings(device_plan=("CPU:f32",), temporal_device_plan=("CPU",))
    with Pipeline.open(bundle, undisturbed) as pipeline:
        now = datetime.now(UTC)
        for one in pipeline.perceive([parse(each, now=now) for each in events]):
            valence, willing, _ = rows[one.appraisal.reflection.id]
            assert valence == pytest.approx(one.placement.valence, abs=1e-6)
            assert willing == pytest.approx(one.appraisal.willingness, abs=1e-6)


def test_when_every_device_fails_events_are_screened_and_get_their_rows_afterwards(
    instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    monkeypatch.setenv("FLAKY_SWITCH", str(broken))
    broken.touch()
    worker = instance.start(
        device_backends="FLAKY=tests.support.flaky_device:Flaky",
        device_plan="FLAKY:f32",
        temporal_device_plan="CPU",
        device_rest_s="0.1",
        shadow_share="0",
    )
    assert "worker_without_models" in worker.log

    def screened(id_: str) -> bool:
        with Publisher.connect(instance.broker_url) as publisher:
            publisher.publish(event(id_, text="I want to kill myself tonight"))
        instance.eventually(
            lambda: instance.rows("SELECT source FROM risk_queue WHERE reflection_id = %s", id_)
        )
        return instance.rows("SELECT count(*) FROM perceptions WHERE reflection_id = %s", id_) == [(0,)]

    assert screened("r-start")
    broken.unlink()
    instance.wait_for(1)
    broken.touch()
    assert screened("r-work")
    broken.unlink()
    instance.wait_for(2)
