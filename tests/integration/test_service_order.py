"""The queue writes what an in-order run would have written, whatever came late, split, or at the same
time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.events import event
from tests.support.service import Instance
from worker.client.publisher import Publisher
from worker.events.perception import Perception
from worker.events.reflection import parse
from worker.pipeline import Pipeline
from worker.settings import Settings

NOW = datetime(2026, 11, 22, tzinfo=UTC)
WORDS = (
    "I", "felt", "so", "calm", "really", "angry", "yaar", "bahut", "khush", "never", "sad", "🙂", "!",
)  # fmt: skip
NAMES = (
    "valence", "arousal", "congruence", "comparator", "expected_valence", "expected_arousal", "willingness",
)  # fmt: skip


@pytest.fixture(scope="module")
def pipeline(bundle: Path) -> Iterator[Pipeline]:
    with Pipeline.open(bundle, Settings(device_plan=("CPU",), temporal_device_plan=("CPU",))) as opened:
        yield opened


def diary(name: str, people: int, each: int, seed: int) -> list[dict[str, Any]]:
    """Entries of several people, a few of each person at the same instant, some with self-reports."""
    chance = random.Random(seed)
    start = datetime(2026, 9, 1, tzinfo=UTC)
    events = []
    for person in range(people):
        for n in range(each):
            at = start + timedelta(hours=9 * (n - n % 7 // 6))
            report = (
                {"valence": chance.random(), "arousal": chance.random()} if chance.random() < 0.4 else None
            )
            text = " ".join(chance.choices(WORDS, k=chance.randint(1, 60)))
            events.append(
                event(
                    f"{name}-{person}-{n}",
                    f"{name}-{person}",
                    text=text,
                    created_at=at.isoformat(),
                    self_report=report,
                )
            )
    return events


def numbers(perception: Perception) -> dict[str, float]:
    p, a = perception.placement, perception.appraisal
    row = {
        **{name: getattr(p, name) for name in NAMES if name != "willingness"},
        "willingness": a.willingness,
    }
    emotions = {kind: {"cores": getattr(a, kind).cores} for kind in ("invoked", "expressed")}
    return row | flat(emotions, a.risk.to_json(), perception.intervals)


def flat(
    emotions: dict[str, Any], risk: dict[str, Any], intervals: dict[str, list[float]]
) -> dict[str, float]:
    return {
        **{f"{kind}.{core}": p for kind, told in emotions.items() for core, p in told["cores"].items()},
        **{f"risk.{flag}": score for flag, score in risk["flags"].items()},
        **{f"{name}.low": low for name, (low, _) in intervals.items()},
        **{f"{name}.high": high for name, (_, high) in intervals.items()},
    }


def written(instance: Instance, name: str) -> dict[str, tuple[dict[str, float], list[str], list[str]]]:
    """Numbers and the two paths of each row whose id begins with `name`."""
    query = f"""
        SELECT reflection_id, {", ".join(NAMES)}, emotions, risk, intervals, invoked, expressed
        FROM perceptions WHERE reflection_id LIKE %s
    """
    return {
        key: (dict(zip(NAMES, values, strict=True)) | flat(emotions, risk, intervals), invoked, expressed)
        for key, *values, emotions, risk, intervals, invoked, expressed in instance.rows(query, f"{name}-%")
    }


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_queue_equals_the_pipeline_in_any_order_and_message_size(
    shared: Instance,
    pipeline: Pipeline,
    seed: int,
) -> None:
    name = f"order{seed}"
    events = diary(name, people=5, each=80, seed=seed)
    expected = pipeline.perceive([parse(one, now=NOW) for one in events])

    chance = random.Random(seed)
    shuffled = events + chance.sample(events, 20)
    chance.shuffle(shuffled)
    with Publisher.connect(shared.broker_url) as publisher:
        while shuffled:
            size = chance.choice([1, 1, 2, 7, 30, 90])
            batch, shuffled = shuffled[:size], shuffled[size:]
            if size == 1:
                publisher.publish(batch[0])
            else:
                publisher.publish_many(batch, chunk=size)
    shared.eventually(lambda: len(written(shared, name)) == len(events), 90)
    shared.eventually(shared.idle)

    rows = written(shared, name)
    assert rows.keys() == {perception.appraisal.reflection.id for perception in expected}
    for perception in expected:
        row, invoked, expressed = rows[perception.appraisal.reflection.id]
        assert row == pytest.approx(numbers(perception), abs=1e-5)
        assert invoked == list(perception.appraisal.invoked.path)
        assert expressed == list(perception.appraisal.expressed.path)


@pytest.mark.timeout(240)
def test_two_entries_of_one_person_in_flight_at_once_see_each_other_in_order(
    shared: Instance,
    pipeline: Pipeline,
) -> None:
    events = [
        event(f"pair-{n}-{part}", f"pair-{n}", hour=7 + part, self_report={"valence": n / 20})
        for n in range(20)
        for part in (0, 1)
    ]
    expected = {
        p.appraisal.reflection.id: p for p in pipeline.perceive([parse(one, now=NOW) for one in events])
    }

    with Publisher.connect(shared.broker_url) as publisher:
        for later, earlier in zip(events[1::2], events[::2], strict=True):
            publisher.publish(later)
            publisher.publish(earlier)
    shared.eventually(lambda: len(written(shared, "pair")) == len(events))

    for key, (row, _, _) in written(shared, "pair").items():
        assert row == pytest.approx(numbers(expected[key]), abs=1e-5)
