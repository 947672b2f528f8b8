"""Labelled files load whole or are refused with every bad row named."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from trainer.data.labelled import load
from trainer.errors import LabelledRefused, TrainerError

NOW = datetime(2026, 11, 22, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "id": "a-1",
    "user_id": "a",
    "text": "Quiet day.",
    "created_at": "2026-01-01T08:00:00Z",
    "labels": {
        "valence": 0.5,
        "expressed": [["Sad"], ["Angry", "Critical"]],
        "risk": {"sarcasm": 1},
        "cluster": "c",
    },
    "source": "synthetic",
}


def file(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(r if isinstance(r, bytes) else orjson.dumps(r) for r in rows) + b"\n")
    return path


def test_a_row_is_its_reflection_with_labels_source_and_cluster(tmp_path: Path) -> None:
    (row,) = load([file(tmp_path, GOOD, b"")], now=NOW)
    assert row.reflection.id == "a-1"
    assert row.reflection.created_at == datetime(2026, 1, 1, 8, tzinfo=UTC)
    assert row.labels["valence"] == 0.5
    assert (row.source, row.cluster) == ("synthetic", "c")


def test_a_cluster_may_stand_beside_the_labels(tmp_path: Path) -> None:
    (row,) = load([file(tmp_path, {**GOOD, "cluster": "beside"})], now=NOW)
    assert row.cluster == "beside"


def test_one_path_may_stand_for_itself(tmp_path: Path) -> None:
    (row,) = load(
        [file(tmp_path, {**GOOD, "labels": {"invoked": ["Sad", "Lonely"], "expressed": []}})], now=NOW
    )
    assert row.labels == {"invoked": [["Sad", "Lonely"]], "expressed": []}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": None}, "labels: an object is required"),
        ({"source": ""}, "source: a name is required"),
        ({"labels": {"valence": 1.5}}, "labels.valence is no number 0-1"),
        ({"labels": {"valence": True}}, "labels.valence is no number 0-1"),
        ({"labels": {"expressed": ["Lonely"]}}, "labels.expressed is no list of taxonomy paths"),
        ({"labels": {"invoked": [["Gloomy"]]}}, "labels.invoked is no list of taxonomy paths"),
        ({"labels": {"risk": {"boredom": 1}}}, "labels.risk is no object of known flags with numbers 0-1"),
        ({"labels": {"cluster": 3}}, "cluster is no string"),
        ({"cluster": ["c"]}, "cluster is no string"),
        ({"cluster": ""}, "cluster is no string"),
        ({"labels": {"split": 1}}, "labels.split is no string"),
        ({"labels": {"split": ""}}, "labels.split is no string"),
        ({"labels": [0.5]}, "labels: an object is required"),
        ({"source": "my SECRET diary"}, "source: a name is required"),
        ({"source": 7}, "source: a name is required"),
        ({"labels": {"arousal": -0.01}}, "labels.arousal is no number 0-1"),
        ({"labels": {"arousal": "0.5"}}, "labels.arousal is no number 0-1"),
        ({"labels": {"willingness": None}}, "labels.willingness is no number 0-1"),
        ({"labels": {"congruence": [0.5]}}, "labels.congruence is no number 0-1"),
        ({"labels": {"writer_valence": 3}}, "labels.writer_valence is no number 0-1"),
        ({"labels": {"emotional_disclosure": 0.5}}, "labels.emotional_disclosure is neither 0 nor 1"),
        ({"labels": {"state_change_valence": 2}}, "labels.state_change_valence is no number -1..1"),
        ({"labels": {"expressed": "Sad"}}, "labels.expressed is no list of taxonomy paths"),
        ({"labels": {"expressed": [[]]}}, "labels.expressed is no list of taxonomy paths"),
        ({"labels": {"expressed": [["Sad", 1]]}}, "labels.expressed is no list of taxonomy paths"),
        ({"labels": {"invoked": [["Sad", "Playful"]]}}, "labels.invoked is no list of taxonomy paths"),
        ({"labels": {"risk": {"abuse": 2}}}, "labels.risk is no object of known flags"),
        ({"labels": {"risk": ["abuse"]}}, "labels.risk is no object of known flags"),
        ({"labels": {"goemotions": ["joy", "glee"]}}, "labels.goemotions holds a word that mapping"),
        ({"labels": {"isear": "surprise"}}, "labels.isear holds a word that mapping isear does not know"),
        ({"labels": {"masac": 3}}, "labels.masac holds a word that mapping masac does not know"),
        ({"labels": {"is_words": "True"}}, "labels.is_words is neither true nor false"),
        ({"labels": {"cssrs": 2}}, "labels.cssrs is no string"),
        ({"source": "operator"}, "consent.training is not given"),
        ({"revision": 0}, "bad_revision"),
        ({"id": "a b"}, "bad_id"),
        ({"user_id": 5}, "bad_type: user_id"),
        ({"self_report": {"valence": 2}}, "bad_self_report"),
        ({"text": "x" * 10_001}, "text_too_long"),
        ({"text": " "}, "blank_text"),
        ({"created_at": "2026-01-01T08:00:00"}, "naive_time"),
        ({"mood": "SECRET"}, "unknown_field: unknown: mood"),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_reason(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(LabelledRefused) as raised:
        load([file(tmp_path, GOOD, {**GOOD, "id": "a-2", **change})], now=NOW)
    assert raised.value.exit_code == 3
    (problem,) = raised.value.problems
    assert problem.startswith(f"{tmp_path / 'rows.jsonl'} line 2: {reason}")
    assert "SECRET" not in str(raised.value)


def test_broken_json_and_repeated_ids_are_named_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(LabelledRefused) as raised:
        load([file(tmp_path, GOOD, b'{"id": "SECRET', GOOD, b"[1]")], now=NOW)
    reasons = [problem.partition(" line ")[2] for problem in raised.value.problems]
    assert reasons == ["2: no JSON object", "3: id 'a-1' came before", "4: no JSON object"]
    assert raised.value.__cause__ is None


def test_many_bad_rows_are_counted_and_the_first_twenty_shown(tmp_path: Path) -> None:
    with pytest.raises(LabelledRefused) as raised:
        load([file(tmp_path, *[b"{}"] * 30)], now=NOW)
    assert "30 labelled rows refused" in str(raised.value)
    assert "... and 10 more" in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=r"cannot read .*none\.jsonl: No such file"):
        load([tmp_path / "none.jsonl"], now=NOW)
