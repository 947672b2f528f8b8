"""The training benchmark's own arithmetic: samples of one mix, growth, verdicts, and a rebuild that fails."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks import steps, training
from benchmarks.sampled import sample
from benchmarks.steps import Growth, Line
from trainer.data.labelled import Labelled
from worker.errors import FeltsenseError
from worker.events.reflection import parse

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def rows_of(source, people, each):
    for person in range(people):
        for number in range(each):
            event = {
                "id": f"{source}-{person}-{number}",
                "user_id": f"person-{person}",
                "text": "tired but fine",
                "created_at": "2026-11-01T08:00:00Z",
            }
            yield Labelled(reflection=parse(event, now=NOW), labels={}, source=source)


def test_samples_are_whole_people_of_every_source_and_lie_within_one_another():
    rows = [*rows_of("few", 40, 4), *rows_of("many", 640, 1)]

    samples = [sample(rows, len(rows) // part, seed=3) for part in (1, 4, 16)]

    assert samples[0] == rows
    for inner, outer in ((samples[2], samples[1]), (samples[1], rows)):
        assert {row.reflection.id for row in inner} <= {row.reflection.id for row in outer}
    for part, chosen in zip((1, 4, 16), samples, strict=True):
        by_source = {
            name: [row.reflection.user_id for row in chosen if row.source == name] for name in ("few", "many")
        }
        assert len(by_source["many"]) == 640 // part
        assert 160 // part <= len(by_source["few"]) < 160 // part + 4
        assert all(by_source["few"].count(person) == 4 for person in by_source["few"])


@pytest.mark.parametrize(
    ("seconds", "exponent", "a_row"),
    [((0.5, 2.0, 8.0), 1.0, 1.0), ((0.5, 8.0, 128.0), 2.0, 16.0), ((1.0, 1.0, 1.0), 0.0, 1 / 16)],
)
def test_growth_is_told_by_its_exponent_and_by_what_a_row_costs(seconds, exponent, a_row):
    grown = Growth(step="any", rows=(100, 400, 1600), seconds=seconds, cpu_s=seconds)

    assert grown.exponent == pytest.approx(exponent)
    assert grown.a_row == pytest.approx(a_row)


@pytest.mark.parametrize(
    ("measured", "limit", "verdict"), [(5.9, 6.0, "ok"), (6.0, 6.0, "MISSED"), (99.0, None, "")]
)
def test_a_line_is_ok_below_its_limit_only(measured, limit, verdict):
    assert Line(name="any", measured=measured, unit="s", limit=limit).verdict == verdict


def test_a_short_call_is_timed_three_times_and_a_long_one_once(monkeypatch):
    calls, prepared = [], []

    _, last = steps.timed(lambda: calls.append(1) or len(calls), lambda: prepared.append(1))
    assert (last, len(prepared)) == (steps.ROUNDS, steps.ROUNDS)

    monkeypatch.setattr(steps, "SHORT_S", 0.0)
    assert steps.timed(lambda: 1)[1] == 1
    assert steps.timed(lambda: calls.append(1) or len(calls))[1] == steps.ROUNDS + 1


def test_a_rebuild_that_fails_is_no_measurement(tmp_path: Path):
    with pytest.raises(FeltsenseError, match="plan quick ended with exit code 2"):
        training.whole("quick", [tmp_path / "absent.jsonl"], tmp_path / "out", tmp_path / "cache")
