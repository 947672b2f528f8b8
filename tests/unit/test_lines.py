"""A file's lines: bad ones named with number and reason, revisions as the queue would leave them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from worker.events.lines import Revisions, read

NOW = datetime(2026, 11, 22, tzinfo=UTC)
EVENT = {"id": "a", "user_id": "u", "text": "Quiet day.", "created_at": "2026-01-01T08:00:00Z"}


def line(**change: Any) -> bytes:
    return orjson.dumps({**EVENT, **change})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{SECRET", "bad_json"),
        (b'{"id": "a", "text": NaN}', "bad_json"),
        (b"\xff\xfe", "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (b"[1, 2]", "bad_type"),
        (b"null", "bad_type"),
        (
            b'{"id": "a", "user_id": "u", "text": "\\ud800", "created_at": "2026-01-01T08:00:00Z"}',
            "lone_surrogate",
        ),
        (b'{"id": "a"}', "missing_field"),
        (line(mood="SECRET"), "unknown_field"),
        (line(text="x" * 10_001), "text_too_long"),
        (line(created_at="2026-01-01T08:00:00"), "naive_time"),
    ],
)
def test_a_bad_line_is_named_and_its_neighbours_are_read(content: bytes, reason: str) -> None:
    before, bad, after = read([line(), content, line(id="b")], now=NOW)
    assert (before.number, after.number) == (1, 3)
    assert before.reflection is not None
    assert after.reflection is not None
    assert bad.problem.startswith(f"line 2: {reason}: ")
    assert "SECRET" not in bad.problem
    assert bad.event is None


def test_blank_lines_count_and_are_nothing() -> None:
    assert [one.number for one in read([b"\n", line(), b"  \n", line(id="b")], now=NOW)] == [2, 4]


def test_labels_never_reach_the_event() -> None:
    (one,) = read([line(labels={"valence": 1.0}, source="emobank", cluster="c")], now=NOW)
    assert one.event == EVENT


def test_of_an_id_the_highest_revision_stays_and_contradictions_are_refused() -> None:
    lines = [
        line(),
        line(),  # the same again
        line(text="Edited.", revision=3),
        line(text="Late.", revision=2),
        line(text="Other.", revision=3),
        line(user_id="v", revision=4),
        line(id="b"),
    ]
    revisions = Revisions()
    for one in read(lines, now=NOW):
        assert one.reflection is not None
        revisions.take(one, one.reflection)
    assert [(r.id, r.revision, r.text) for r in revisions.latest] == [
        ("a", 3, "Edited."),
        ("b", 1, "Quiet day."),
    ]
    assert revisions.stale == 3
    assert [refused.problem.split(": ")[:2] for refused in revisions.refused] == [
        ["line 5", "conflicting_content"],
        ["line 6", "user_changed"],
    ]
