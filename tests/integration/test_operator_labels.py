"""An operator's own labels on a real Postgres: with consent only, as it reads now, and loadable at once."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import orjson
import psycopg
import pytest
from typer.testing import CliRunner

from tests.support.appraisals import admit, reflection
from trainer.cli import commands
from trainer.data import labelled
from trainer.data.licences import may_ship
from trainer.data.operator import export
from trainer.errors import TrainerError
from worker.errors import ServiceMissing
from worker.events.reflection import SelfReport
from worker.store import removal
from worker.store.engine import Store

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def consented(key, user_id="u-1", *, report=None, consent=True, **more):
    given = reflection(key, user_id, **more)
    return dataclasses.replace(given, self_report=report, consent_training=consent)


def label(url, reflection_id, source, *, user_id="u-1", at=None, **values):
    names = ["reflection_id", "source", "user_id", *values, "labelled_at"]
    query = f"INSERT INTO labels ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))})"
    with psycopg.connect(url) as connection:
        connection.execute(
            query.encode(), (reflection_id, source, user_id, *values.values(), at or datetime.now(UTC))
        )


def exported(store, tmp_path):
    out = tmp_path / "mine.jsonl"
    done = export(store, out, now=NOW)
    return done, {row.reflection.id: row for row in labelled.load([out], now=NOW)}


FEELS = SelfReport(valence=0.25, arousal=0.75, emotion=("Sad", "Lonely"))


def test_a_consented_self_report_is_label_and_history_and_keeps_the_event(store, tmp_path):
    admit(store, [consented("a", report=FEELS, at_min=3)])
    done, rows = exported(store, tmp_path)
    assert (done.events, done.labelled, done.people, done.textless, done.stale) == (1, 1, 1, 0, 0)
    row = rows["a"]
    assert row.labels == {"valence": 0.25, "arousal": 0.75, "invoked": [["Sad", "Lonely"]]}
    assert row.source == "operator"
    assert row.reflection.self_report == FEELS
    assert (row.reflection.text, row.reflection.utc_offset_min) == ("entry a as of revision 1", 330)
    assert row.reflection.created_at == consented("a", at_min=3).created_at
    assert row.reflection.consent_training
    assert (tmp_path / "mine.jsonl").stat().st_mode & 0o077 == 0
    assert not may_ship(["operator"])


def test_without_consent_no_row_leaves_whatever_its_labels(store, database_url, tmp_path):
    admit(store, [consented("yes", report=FEELS), consented("no", report=FEELS, consent=False)])
    label(database_url, "no", "reviewer", valence=0.9)
    _, rows = exported(store, tmp_path)
    assert set(rows) == {"yes"}


def test_the_deleted_and_the_erased_are_gone(store, database_url, tmp_path):
    admit(store, [consented(key, user, report=FEELS) for key, user in (("a", "u"), ("b", "u"), ("c", "w"))])
    label(database_url, "b", "reviewer", willingness=0.5)
    label(database_url, "c", "reviewer", user_id="w", willingness=0.5)
    removal.delete(store, ["b"], {})
    removal.erase(store, ["w"])
    _, rows = exported(store, tmp_path)
    assert set(rows) == {"a"}


def test_an_edit_counts_as_it_reads_now_and_takes_back_its_consent(store, tmp_path):
    admit(store, [consented("a", report=FEELS), consented("b", report=FEELS)])
    now = SelfReport(valence=1.0)
    edits = [consented("a", report=now, revision=2), consented("b", report=now, revision=2, consent=False)]
    admit(store, edits, message_id="m-2")
    _, rows = exported(store, tmp_path)
    assert set(rows) == {"a"}
    assert rows["a"].labels == {"valence": 1.0}
    assert (rows["a"].reflection.text, rows["a"].reflection.revision) == ("entry a as of revision 2", 2)


def test_a_label_of_an_earlier_revision_is_left_out_and_counted(store, database_url, tmp_path):
    admit(store, [consented("a", report=FEELS), consented("b", report=FEELS)])
    label(database_url, "a", "reviewer", willingness=0.1)
    label(database_url, "b", "annotator", willingness=0.2, at=datetime(2020, 1, 1, tzinfo=UTC))
    admit(store, [consented("a", report=FEELS, revision=2)], message_id="m-2")
    done, rows = exported(store, tmp_path)
    assert done.stale == 1
    assert "willingness" not in rows["a"].labels
    assert rows["b"].labels["willingness"] == 0.2  # labelled long ago, never edited
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "UPDATE labels SET labelled_at = %s WHERE reflection_id = 'a'",
            (datetime.now(UTC) + timedelta(1),),
        )
    assert exported(store, tmp_path)[1]["a"].labels["willingness"] == 0.1


def test_the_person_knows_what_they_feel_and_a_reader_what_is_seen(store, database_url, tmp_path):
    admit(store, [consented("a", report=SelfReport(valence=0.25)), consented("b"), consented("c")])
    for source, value, path in (
        ("annotator", 0.9, ["Happy"]),
        ("reviewer", 0.5, ["Angry", "Critical"]),
        ("self_report", 0.0, ["Fearful"]),
    ):
        label(database_url, "a", source, valence=value, arousal=value, invoked=path, expressed=path)
        if source != "self_report":
            label(database_url, "b", source, valence=value, invoked=[], expressed=path)
    label(database_url, "c", "annotator", expressed=[], willingness=1.0)
    _, rows = exported(store, tmp_path)
    assert rows["a"].labels == {
        "valence": 0.0,
        "arousal": 0.0,
        "invoked": [["Fearful"]],
        "expressed": [["Angry", "Critical"]],
    }
    assert rows["b"].labels == {"valence": 0.5, "expressed": [["Angry", "Critical"]]}
    assert rows["c"].labels == {"willingness": 1.0, "expressed": []}  # a reader saw no emotion


def test_rows_without_a_label_come_as_history_of_people_who_have_one(store, tmp_path):
    admit(store, [consented("a", report=FEELS), consented("b", at_min=9), consented("c", "silent")])
    done, rows = exported(store, tmp_path)
    assert set(rows) == {"a", "b"}
    assert rows["b"].labels == {}
    assert (done.events, done.labelled, done.people) == (2, 1, 1)


def test_dropped_texts_are_counted_and_named_when_nothing_else_is_there(database_url, tmp_path):
    with Store.open(database_url, keep_text=False) as forgetful:
        admit(forgetful, [consented("a", report=FEELS)])
    with Store.open(database_url) as store:
        with pytest.raises(TrainerError, match=r"none of the 1 reflections .*FELTSENSE_STORE_TEXT=drop"):
            exported(store, tmp_path)
        assert list(tmp_path.iterdir()) == []
        admit(store, [consented("b", report=FEELS)])
        done, rows = exported(store, tmp_path)
    assert (set(rows), done.textless) == ({"b"}, 1)


def test_nothing_to_take_is_told(store, tmp_path):
    admit(store, [consented("a", report=FEELS, consent=False), consented("b")])
    with pytest.raises(TrainerError, match=r"both its writer's consent .* and a label"):
        exported(store, tmp_path)


def test_a_row_that_no_longer_fits_the_contract_is_named_and_the_others_go(store, database_url, tmp_path):
    admit(store, [consented("a", report=FEELS), consented("b", report=FEELS)])
    label(database_url, "b", "reviewer", expressed=["Gloomy"])
    done, rows = exported(store, tmp_path)
    assert set(rows) == {"a"}
    assert done.refused == ("reflection b: labels.expressed is no list of taxonomy paths",)


def test_the_command_writes_the_file_and_says_what_it_did(store, database_url, tmp_path):
    admit(store, [consented("a", report=FEELS), consented("b")])
    out = tmp_path / "mine.jsonl"
    ran = CliRunner().invoke(commands, ["labels", "--out", str(out), "--database-url", database_url])
    assert ran.exit_code == 0, ran.output
    assert "2 events of 1 people, 1 with a label" in ran.output
    assert [orjson.loads(line)["id"] for line in out.read_bytes().splitlines()] == ["a", "b"]


def test_a_database_that_is_not_there_is_a_missing_service(tmp_path):
    with Store.open("postgresql://nobody@127.0.0.1:9/none") as store, pytest.raises(ServiceMissing):
        export(store, tmp_path / "mine.jsonl")
