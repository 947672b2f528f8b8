"""Bulk beside live: a live message passes whatever bulk waits, and the picture of it is a real run's."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.events import event
from worker.events.message import BULK, LIVE, Entry, read
from worker.observability import spans
from worker.observability.spans import Span
from worker.pipeline import Pipeline
from worker.report.work import plot_work
from worker.service.stages import Stages
from worker.service.trace import trace
from worker.settings import Settings
from worker.store.engine import Store

STAGES = ("arrive", "read", "appraise", "settle")
CPU = Settings(device_plan=("CPU",), temporal_device_plan=("CPU",))


def entries(name: str, count: int) -> list[Entry]:
    now = datetime.now(UTC)
    return [read(event(f"{name}-{n}", text=f"fine {n}"), n, seal=None, now=now) for n in range(count)]


@pytest.mark.timeout(240)
def test_a_live_message_behind_2000_bulk_reflections_waits_for_one_batch_a_stage_at_most(
    store: Store, bundle: Path
) -> None:
    with (
        Pipeline.open(bundle, CPU) as pipeline,
        Stages(pipeline, store, max_batch_size=64, max_wait_ms=1) as stages,
        spans.recording() as recorded,
        ThreadPoolExecutor(16) as pool,
    ):
        under_way = [
            pool.submit(stages.enrich, entries(f"b{n}", 125), message_id=f"b{n}", lane=BULK)
            for n in range(16)
        ]
        while not any(span.stage == "read" for span in recorded):
            time.sleep(0.002)
        assert stages.enrich(entries("live", 1), message_id="live", lane=LIVE) == {"written": 1}
        behind = sum(not future.done() for future in under_way)
        assert all(future.result() == {"written": 125} for future in under_way)

    assert behind >= 8
    live = {span.stage: span for span in recorded if span.live}
    for before, stage in pairwise(STAGES):
        waited = (live[before].end_s, live[stage].start_s)
        whole = [s for s in recorded if not s.live and s.stage == stage and inside(s, waited)]
        assert len(whole) <= 1, (stage, whole)


def inside(span: Span, window: tuple[float, float]) -> bool:
    return window[0] <= span.start_s and span.end_s <= window[1]


@pytest.mark.timeout(240)
def test_a_trace_is_of_a_real_run_whose_stages_overlap(bundle: Path, tmp_path: Path) -> None:
    lines = [
        b'{"id": "%d", "user_id": "u", "text": "fine %d", "created_at": "2026-10-01T08:00:00+00:00"}' % (n, n)
        for n in range(20)
    ]
    worked = trace(CPU.model_copy(update={"bundle": bundle}), lines, seconds=1.0)

    assert {span.live for span in worked} == {True, False}
    assert {span.stage.partition(" ")[0] for span in worked} >= {*STAGES, "place", "encoder"}
    assert all(0 <= span.start_s < span.end_s <= 1.0 for span in worked)
    # At some moment the encoder computes one batch while another stage is at another.
    calls = [span for span in worked if span.stage.startswith("encoder")]
    others = [span for span in worked if span.stage in ("arrive", "read", "appraise", "settle")]
    assert any(a.start_s < b.end_s and b.start_s < a.end_s for a in calls for b in others)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stage-")]

    plot_work(worked, tmp_path / "work.png", seconds=1.0)
    assert (tmp_path / "work.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_is_recorded_unless_somebody_looks() -> None:
    with spans.recording() as recorded:
        spans.record("read", spans.now(), size=3, live=True)
    spans.record("read", spans.now(), size=4, live=True)
    assert [span.size for span in recorded] == [3]
