"""A file through the pipeline: persons whole, a failing event harms only itself, one file or none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import orjson
import pytest

from tests.support.appraisals import START, VERSION, appraisal, place
from worker import enrich as enriching
from worker.errors import DeviceFailed, UsageError
from worker.events.perception import Perception
from worker.events.reflection import Reflection
from worker.events.timeline import Timeline


class Fragile:
    """Stands in for a pipeline that fails on some reflections, which the real one does on none we know."""

    def __init__(self, *, failing: Sequence[str] = (), error: Exception | None = None) -> None:
        self.failing = failing
        self.error = error or RuntimeError("SECRET")
        self.groups: list[list[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def perceive(self, reflections: Sequence[Reflection]) -> list[Perception]:
        self.groups.append([one.user_id for one in reflections])
        if any(one.id in self.failing for one in reflections):
            raise self.error
        traces = [appraisal(one) for one in reflections]
        empty = [
            (one.trace, Timeline.cut([], one.trace.created_at, one.trace.history.size)) for one in traces
        ]
        pairs = zip(traces, place(empty), strict=True)
        return [Perception(appraisal=a, placement=p, model_version=VERSION) for a, p in pairs]


def line(key: str, user_id: str = "u-1", hours: float = 0.0) -> bytes:
    created_at = (START + timedelta(hours=hours)).isoformat()
    return orjson.dumps({"id": key, "user_id": user_id, "text": f"entry {key}", "created_at": created_at})


def run(
    tmp_path: Path, lines: Sequence[bytes], pipeline: Any
) -> tuple[enriching.Enriched, list[str], list[str]]:
    said: list[str] = []
    out = tmp_path / "out.jsonl"
    told: list[tuple[int, int]] = []
    done = enriching.enrich(
        lines,
        pipeline=lambda: pipeline,
        out=out,
        say=said.append,
        perceived=lambda n, total: told.append((n, total)),
    )
    assert [n for n, _ in told] == sorted(n for n, _ in told)
    return done, said, [orjson.loads(row)["id"] for row in out.read_bytes().splitlines()]


def test_rows_come_by_time_then_id_whatever_the_order_of_the_lines(tmp_path: Path) -> None:
    lines = [line("c", hours=2), line("b", "u-2", hours=1), line("a", hours=1)]
    done, said, ids = run(tmp_path, lines, Fragile())
    assert ids == ["a", "b", "c"]
    assert (done.written, done.stale, done.refused, said) == (3, 0, 0, [])


def test_a_person_is_never_cut_in_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enriching, "GROUP", 5)
    pipeline = Fragile()
    lines = [line(f"{person}-{n}", f"u-{person}", hours=n) for n in range(3) for person in range(4)]
    run(tmp_path, [*lines, *(line(f"big-{n}", "big", hours=n) for n in range(8))], pipeline)
    seen = [user for group in pipeline.groups for user in set(group)]
    assert len(seen) == len(set(seen)) == 5


def test_one_event_on_which_the_pipeline_fails_harms_only_itself(tmp_path: Path) -> None:
    done, said, ids = run(tmp_path, [line(key) for key in "abcd"], Fragile(failing=["b"]))
    assert ids == ["a", "c", "d"]
    assert said == ["id b: enrichment_failed: RuntimeError"]
    assert (done.written, done.refused) == (3, 1)


def test_a_device_that_fails_ends_it_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(DeviceFailed):
        run(tmp_path, [line("a")], Fragile(failing=["a"], error=DeviceFailed("no device")))
    assert list(tmp_path.iterdir()) == []


def test_without_a_good_line_no_pipeline_is_opened(tmp_path: Path) -> None:
    done, said, ids = run(tmp_path, [b"{"], None)
    assert (done.written, done.refused, ids) == (0, 1, [])
    assert said == ["line 1: bad_json: the line is not valid JSON"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*out\.jsonl: No such file"):
        run(tmp_path / "nowhere", [line("a")], Fragile())
