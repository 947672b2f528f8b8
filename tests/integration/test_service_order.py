"""The queue writes what an in-order run would have written, whatever came late, split, or at the same time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.events import event
from tests.support.service import Instance, bundle, instance, shared, valkey  # noqa: F401  fixtures
from worker.client.publisher import Publisher
from worker.events.perception import Perception
from worker.events.reflection import parse
from worker.pipeline import Pipeline
from worker.settings import Settings

NOW = datetime(2026, 11, 22, tzinfo=UTC)
WORDS = (
    "I felt so calm then really angry at work yaar bahut khush hoon never sad today sorry maybe 🙂 !".split()
)


@pytest.fixture(scope="module")
def pipeline(bundle: Path) -> Iterator[Pipeline]:  # noqa: F811
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
    return {
        "valence": p.valence, "arousal": p.arousal, "congruence": p.congruence, "comparator": p.comparator,
        "expected_valence": p.expected_valence, "expected_arousal": p.expected_arousal, "willingness": a.willingness,
        **{f"invoked.{core}": value for core, value in a.invoked.cores.items()},
        **{f"expressed.{core}": value for core, value in a.expressed.cores.items()},
        **{f"risk.{flag}": value for flag, value in a.risk.flags.items()},
        **{f"{name}.{end}": limit for name, ends in perception.intervals.items() for end, limit in zip("lh", ends, strict=True)},
    }  # fmt: skip


def written(instance: Instance, name: str) -> dict[str, tuple[dict[str, float], list[str], list[str]]]:  # noqa: F811
    query = """
        SELECT reflection_id, valence, arousal, congruence, comparator, expected_valence, expected_arousal, willingness,
               emotions, risk, intervals, invoked, expressed
        FROM perceptions WHERE reflection_id LIKE %s
    """
    found = {}
    names = (
        "valence",
        "arousal",
        "congruence",
        "comparator",
        "expected_valence",
        "expected_arousal",
        "willingness",
    )
    for key, *values, emotions, risk, intervals, invoked, expressed in instance.rows(query, f"{name}-%"):
        row = dict(zip(names, values, strict=True))
        row |= {
            f"{kind}.{core}": value
            for kind in ("invoked", "expressed")
            for core, value in emotions[kind]["cores"].items()
        }
        row |= {f"risk.{flag}": value for flag, value in risk["flags"].items()}
        row |= {
            f"{kind}.{end}": limit
            for kind, ends in intervals.items()
            for end, limit in zip("lh", ends, strict=True)
        }
        found[key] = (row, invoked, expressed)
    return found


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_queue_equals_the_pipeline_in_any_order_and_message_size(
    shared: Instance,  # noqa: F811
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
    shared: Instance,  # noqa: F811
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
