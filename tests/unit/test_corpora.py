"""Every importer on made-up files of its corpus' format, and on the real folders where they are."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.corpora import TABLES, real, write
from trainer.data.corpora.corpus import UNDATED
from trainer.data.corpora.importer import CORPORA, Summary, import_corpus
from trainer.data.labelled import Labelled, load
from trainer.data.licences import LICENCES, may_ship
from trainer.errors import TrainerError, WrongCorpus
from worker.events.reflection import parse

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def imported(folder: Path, corpus: str) -> tuple[Summary, list[dict[str, Any]]]:
    out = folder.parent / f"{corpus}.jsonl"
    summary = import_corpus(corpus, folder, out, now=NOW)
    return summary, [orjson.loads(line) for line in out.read_bytes().splitlines()]


def made_up(tmp_path: Path, corpus: str) -> dict[str, dict[str, Any]]:
    _, lines = imported(write(tmp_path / corpus, corpus), corpus)
    return {line["id"]: line for line in lines}


def test_there_is_an_importer_terms_and_a_made_up_folder_for_each_of_the_thirteen() -> None:
    assert len(CORPORA) == 13
    assert set(CORPORA) == set(TABLES)
    assert set(CORPORA) < set(LICENCES)


@pytest.mark.parametrize("corpus", sorted(TABLES))
def test_every_line_is_an_event_with_labels_and_source_that_consents_to_training(
    tmp_path: Path, corpus: str
) -> None:
    for line in made_up(tmp_path, corpus).values():
        assert line.pop("source") == corpus
        assert line.pop("labels")
        reflection = parse(line, now=NOW)
        assert reflection.consent_training
        assert reflection.id.startswith(f"{corpus}-")
        assert reflection.user_id.startswith(f"{corpus}-")


def test_a_semeval_check_in_is_label_and_history_and_keeps_its_ids(tmp_path: Path) -> None:
    rows = made_up(tmp_path, "semeval2026")
    first = rows["semeval2026-251"]
    assert first["user_id"] == "semeval2026-3"
    assert first["created_at"] == "2021-06-08T12:26:16+00:00"
    assert first["self_report"] == {"valence": 0.0, "arousal": 0.0}
    assert first["labels"] == {
        "valence": 0.0,
        "arousal": 0.0,
        "is_words": False,
        "state_change_valence": pytest.approx(0.75),
        "state_change_arousal": pytest.approx(1.0),
        "disposition_change_valence": pytest.approx(-0.25),
        "disposition_change_arousal": pytest.approx(0.25),
    }
    assert rows["semeval2026-252"]["labels"] == {"valence": 0.75, "arousal": 1.0, "is_words": True}


def test_semeval_comes_without_the_change_files_too(tmp_path: Path) -> None:
    table = {"train_subtask1.csv": TABLES["semeval2026"]["train_subtask1.csv"]}
    _, lines = imported(write(tmp_path / "s", "semeval2026", table), "semeval2026")
    assert set(lines[0]["labels"]) == {"valence", "arousal", "is_words"}


def test_emobank_keeps_perspectives_and_its_split_and_leaves_the_test_part_alone(tmp_path: Path) -> None:
    rows = made_up(tmp_path, "emobank")
    assert set(rows) == {"emobank-doc_1_20", "emobank-doc_21_40"}
    labels = rows["emobank-doc_1_20"]["labels"]
    assert (labels["valence"], labels["arousal"], labels["dominance"], labels["split"]) == (
        0,
        1,
        0.5,
        "train",
    )
    assert (labels["reader_valence"], labels["writer_valence"]) == (0.25, 0.0)
    assert rows["emobank-doc_1_20"]["text"] == 'She said "later".'
    assert rows["emobank-doc_21_40"]["labels"]["split"] == "dev"


def test_goemotions_keeps_all_emotions_by_name_and_as_paths(tmp_path: Path) -> None:
    rows = made_up(tmp_path, "goemotions")
    several = rows["goemotions-eaaaaa1"]
    assert several["text"] == 'So "good", thank you!'
    assert several["labels"]["goemotions"] == ["gratitude", "joy"]
    assert len(several["labels"]["expressed"]) == 2
    assert all(path[0] for path in several["labels"]["expressed"])
    assert rows["goemotions-eaaaaa2"]["labels"]["expressed"] == []  # neutral: abstain
    assert rows["goemotions-eaaaaa3"]["labels"] == {
        "goemotions": ["confusion"],
        "expressed": [],
        "split": "dev",
    }


def test_offmychest_has_times_authors_and_the_mean_of_both_disclosures(tmp_path: Path) -> None:
    row = made_up(tmp_path, "offmychest")["offmychest-36.0"]
    assert (row["user_id"], row["created_at"]) == ("offmychest-u1", "2018-07-25T11:34:10+00:00")
    assert row["labels"]["emotional_disclosure"] == 1
    assert row["labels"]["informational_disclosure"] == 0
    assert row["labels"]["willingness"] == 0.5


def test_essays_of_one_writer_without_times_are_no_history_of_each_other(tmp_path: Path) -> None:
    rows = made_up(tmp_path, "empathic")
    first, second = rows["empathic-R_a_1"], rows["empathic-R_a_2"]
    assert first["user_id"] == second["user_id"] == "empathic-R_a"
    assert first["created_at"] == second["created_at"] == UNDATED.isoformat()
    assert (first["labels"]["distress"], first["labels"]["empathy"]) == (1.0, 0.5)


def test_a_sarcastic_tweet_and_its_plain_rephrase_are_one_person_and_one_cluster(tmp_path: Path) -> None:
    rows = made_up(tmp_path, "isarcasm")
    tweet, plain = rows["isarcasm-0"], rows["isarcasm-rephrase-0"]
    assert tweet["user_id"] == plain["user_id"]
    assert tweet["labels"]["cluster"] == plain["labels"]["cluster"]
    assert (tweet["labels"]["risk"], plain["labels"]["risk"]) == ({"sarcasm": 1}, {"sarcasm": 0})
    assert tweet["labels"]["kinds"] == ["sarcasm"]
    assert "isarcasm-rephrase-1" not in rows


@pytest.mark.parametrize(
    ("corpus", "id_", "labels"),
    [
        ("isear", "isear-1", {"isear": "guilt", "invoked": [["Sad", "Guilty"]]}),
        ("vreg", "vreg-2018-En-2", {"valence": 0.141, "split": "dev"}),
        ("sentimix", "sentimix-1", {"sentiment": "positive", "polarity": 1.0, "language": "hi-Latn"}),
        (
            "masac",
            "masac-0-0",
            {"masac": "contempt", "expressed": [["Angry", "Critical"]], "cluster": "masac-0"},
        ),
        ("masac", "masac-0-1", {"masac": "neutral", "expressed": []}),
        ("sdcnl", "sdcnl-1", {"risk": {"suicidal_ideation": 1}}),
        ("cssrs", "cssrs-user-1-0", {"cssrs": "ideation", "risk": {"suicidal_ideation": 1}}),
        ("cssrs", "cssrs-user-1-1", {"cssrs": "supportive", "risk": {"suicidal_ideation": 0}}),
        ("dreaddit", "dreaddit-33181", {"stress": 1, "agreement": 0.8, "risk": {"abuse": 1}}),
    ],
)
def test_the_research_corpora_keep_their_labels(
    tmp_path: Path, corpus: str, id_: str, labels: dict[str, Any]
) -> None:
    assert made_up(tmp_path, corpus)[id_]["labels"].items() >= labels.items()


def test_speakers_become_visible_ids(tmp_path: Path) -> None:
    rows = made_up(tmp_path, "masac")
    assert [row["user_id"] for row in rows.values()] == ["masac-0-pillu_aunty", "masac-0-unknown"]


def test_a_post_that_is_too_long_is_named_and_the_others_stay(tmp_path: Path) -> None:
    summary, lines = imported(write(tmp_path / "sdcnl", "sdcnl"), "sdcnl")
    assert [line["id"] for line in lines] == ["sdcnl-1"]
    assert [str(refusal) for refusal in summary.refusals] == [
        "training-set.csv row 3: text_too_long: text has 10500 characters"
    ]
    assert (summary.rows, summary.events, summary.people) == (2, 1, 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"V": "7"}, "column 'V': 7 is outside 1..5"),
        ({"A": "high"}, "column 'A' is no number"),
        ({"A": "nan"}, "column 'A': nan is outside 1..5"),
        ({"split": "holdout"}, "column 'split' is none of train, dev"),
        ({"text": "   "}, "blank_text: `text` has no visible character."),
        ({"text": ""}, "empty_text: `text` has no character."),
        ({"id": "doc 1"}, "bad_id: `id` is not 1-128 visible characters."),
        ({"id": "doc_21_40"}, "id 'emobank-doc_21_40' came before"),
    ],
)
def test_a_bad_row_is_named_with_its_reason_and_not_its_text(
    tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    good = {"id": "doc_21_40", "split": "dev", "V": 3, "A": 3, "D": 3, "text": "The shop was open."}
    bad = {**good, "id": "doc_1_20", "text": "SECRET", **change}
    folder = write(tmp_path / "emobank", "emobank", {"emobank.csv": [good, bad]})
    summary, lines = imported(folder, "emobank")
    assert [line["id"] for line in lines] == ["emobank-doc_21_40"]
    assert [str(refusal) for refusal in summary.refusals] == [f"emobank.csv row 3: {reason}"]


def test_a_row_with_more_cells_than_columns_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "isear", "isear")
    with (folder / "isear_clean.csv").open("a") as file:
        file.write("joy,one,two\n")
    summary, _ = imported(folder, "isear")
    assert [refusal.reason for refusal in summary.refusals] == ["more cells than columns"]


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("nope", None, "no importer for 'nope'; there are semeval2026, emobank"),
        ("emobank", "absent", "is no folder; corpus emobank expects a folder with emobank.csv"),
        ("emobank", "empty", "has no emobank.csv; corpus emobank expects"),
        ("emobank", "columns", "lacks the columns 'id', 'split', 'V', 'A', 'D'"),
        ("emobank", "binary", "cannot be read as corpus emobank expects"),
        ("emobank", "header", "holds no rows"),
        ("goemotions", "names", "taxonomy.json has labels that are not GoEmotions': glee"),
    ],
)
def test_a_wrong_corpus_says_what_was_expected_and_writes_nothing(
    tmp_path: Path, name: str, spoil: str | None, message: str
) -> None:
    folder = tmp_path / "corpus"
    if spoil != "absent":
        folder.mkdir()
    if spoil == "columns":
        (folder / "emobank.csv").write_text("a,text\n1,hello\n")
    if spoil == "binary":
        (folder / "emobank.csv").write_bytes(b"\xff\xfe\x00\x01")
    if spoil == "header":
        (folder / "emobank.csv").write_text("id,split,V,A,D,text\n")
    if spoil == "names":
        write(folder, "goemotions")
        (folder / "taxonomy.json").write_text('{"labels": ["joy", "glee"]}')
    out = tmp_path / "out.jsonl"
    out.write_text("what was there\n")
    with pytest.raises(WrongCorpus) as raised:
        import_corpus(name, folder, out, now=NOW)
    assert message in str(raised.value)
    assert out.read_text() == "what was there\n"
    assert {path.name for path in tmp_path.iterdir()} <= {"corpus", "out.jsonl"}


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "isear", "isear")
    with pytest.raises(TrainerError, match=r"cannot write .*nowhere/out\.jsonl: No such file"):
        import_corpus("isear", folder, tmp_path / "nowhere" / "out.jsonl", now=NOW)


def test_progress_ends_at_the_number_of_rows(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    folder = write(tmp_path / "cssrs", "cssrs")
    import_corpus(
        "cssrs",
        folder,
        tmp_path / "o.jsonl",
        now=NOW,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 2), (2, 2)]


def test_what_may_ship_follows_the_table_of_terms() -> None:
    assert may_ship(
        ["semeval2026", "emobank", "goemotions", "offmychest", "empathic", "isarcasm", "synthetic"]
    )
    assert not may_ship(["emobank", "isear"])
    assert not may_ship(["something new"])
    assert "research only" in LICENCES["semeval2026"].note


REAL = {  # rows, events, rejected
    "semeval2026": (2764, 2764, 0),
    "emobank": (9062, 9062, 0),
    "goemotions": (48836, 48836, 0),
    "offmychest": (12860, 12860, 0),
    "empathic": (1860, 1860, 0),
    "isarcasm": (3468, 4334, 1),
    "isear": (7516, 7516, 0),
    "vreg": (1630, 1630, 0),
    "sentimix": (16999, 16999, 0),
    "masac": (8506, 8506, 0),
    "sdcnl": (1516, 1507, 9),
    "cssrs": (1494, 1493, 1),
    "dreaddit": (2838, 2838, 0),
}


@pytest.mark.parametrize("corpus", sorted(REAL))
def test_the_real_corpus_comes_in_whole_and_loads(tmp_path: Path, corpus: str) -> None:
    folder = real(corpus)
    out = tmp_path / "real.jsonl"
    summary = import_corpus(corpus, folder, out, now=NOW)
    assert (summary.rows, summary.events, len(summary.refusals)) == REAL[corpus]
    rows = load([out], now=NOW)
    assert len(rows) == summary.events
    assert all(isinstance(row, Labelled) and row.source == corpus for row in rows)
    assert len({row.reflection.user_id for row in rows}) == summary.people


def test_the_real_semeval_has_its_people_and_its_history(tmp_path: Path) -> None:
    rows = made_real(tmp_path, "semeval2026")
    assert len({row.reflection.user_id for row in rows}) == 137
    assert all(row.reflection.self_report is not None for row in rows)
    assert sum(row.labels["is_words"] for row in rows) == 1433
    assert sum("state_change_valence" not in row.labels for row in rows) == 137  # everybody's last


def made_real(tmp_path: Path, corpus: str) -> list[Labelled]:
    out = tmp_path / "real.jsonl"
    import_corpus(corpus, real(corpus), out, now=NOW)
    return load([out], now=NOW)
