"""Tiny made-up folders in the format of every corpus, and where the real ones lie if somebody has them."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from trainer.data.corpora.importer import FOLDERS

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
"""Beside the clone: the corpora are never part of it."""

Rows = Sequence[Mapping[str, object]]

EMOBANK = {"V": 3, "A": 3, "D": 3}
KINDS = dict.fromkeys(
    ("sarcasm", "irony", "satire", "understatement", "overstatement", "rhetorical_question"), ""
)


def _semeval(
    user: int, text: int, when: str, valence: object, arousal: object, **more: object
) -> dict[str, object]:
    return {
        "user_id": user,
        "text_id": text,
        "text": f"Made-up check-in number {text}, quiet and a little tired.",
        "timestamp": when,
        "collection_phase": 1,
        "is_words": "False",
        "valence": valence,
        "arousal": arousal,
        **more,
    }


TABLES: dict[str, dict[str, Rows]] = {
    "semeval2026": {
        "train_subtask1.csv": [
            _semeval(3, 251, "2021-06-08 12:26:16", -2.0, 0.0),
            _semeval(3, 252, "2021-06-09 13:41:40", 1.0, 2.0, is_words="True"),
            _semeval(4, 300, "2021-06-09 13:41:40", 0.0, 1.0),
        ],
        "train_subtask2a.csv": [
            {"text_id": 251, "state_change_valence": 3.0, "state_change_arousal": 2.0},
            {"text_id": 252, "state_change_valence": "", "state_change_arousal": ""},
        ],
        "train_subtask2b.csv": [
            {"text_id": 251, "disposition_change_valence": -1.0, "disposition_change_arousal": 0.5},
        ],
    },
    "emobank": {
        "emobank.csv": [
            {"id": "doc_1_20", "split": "train", "V": 1.0, "A": 5.0, "D": 3.0, "text": 'She said "later".'},
            {"id": "doc_21_40", "split": "dev", "V": 3.5, "A": 3.0, "D": 3.2, "text": "The shop was open."},
            {"id": "doc_41_60", "split": "test", "V": 2.0, "A": 3.0, "D": 3.0, "text": "Never read this."},
        ],
        "reader.csv": [{"id": "doc_1_20", "V": 2.0, "A": 4.0, "D": 3.0}],
        "writer.csv": [{"id": "doc_1_20", "V": 1.0, "A": 5.0, "D": 3.0}],
    },
    "goemotions": {
        "train.tsv": [
            {"text": 'So "good", thank you!', "label": "2,0", "id": "eaaaaa1"},
            {"text": "It is a chair.", "label": "4", "id": "eaaaaa2"},
        ],
        "dev.tsv": [{"text": "Why would he?", "label": "3", "id": "eaaaaa3"}],
    },
    "offmychest": {
        "labeled_training_set.csv": [
            {
                "sentenceid": "36.0",
                "author_id": "u1",
                "created_utc": 1532518450,
                "subreddit": "offmychest",
                "full_text": "I have never told anyone that I cry at night.",
                "Emotional_disclosure": 1,
                "Information_disclosure": 0,
            }
        ]
    },
    "empathic": {
        "messages.csv": [
            {
                "message_id": "R_a_1",
                "response_id": "R_a",
                "article_id": 67,
                "empathy": "4.000",
                "distress": "7.000",
                "essay": "It made me sad to read about them.",
            },
            {
                "message_id": "R_a_2",
                "response_id": "R_a",
                "article_id": 68,
                "empathy": "1.000",
                "distress": "1.000",
                "essay": "I felt nothing about this one.",
            },
        ]
    },
    "isarcasm": {
        "train.En.csv": [
            {
                "": 0,
                "tweet": "Great, another Monday.",
                "sarcastic": 1,
                "rephrase": "I dislike Mondays.",
                **KINDS,
                "sarcasm": 1,
                "irony": 0,
            },
            {"": 1, "tweet": "Lovely light this evening.", "sarcastic": 0, "rephrase": "", **KINDS},
        ]
    },
    "isear": {
        "isear_clean.csv": [
            {"emotion": "guilt", "text": "When I forgot her birthday."},
            {"emotion": "joy", "text": "When the letter came."},
        ]
    },
    "vreg": {
        "Valence-reg-En-train.txt": [
            {
                "ID": "2017-En-1",
                "Tweet": 'a "quoted word at the start',
                "Affect Dimension": "valence",
                "Intensity Score": "0.600",
            }
        ],
        "Valence-reg-En-dev.txt": [
            {
                "ID": "2018-En-2",
                "Tweet": "so tired",
                "Affect Dimension": "valence",
                "Intensity Score": "0.141",
            }
        ],
    },
    "sentimix": {
        "train.csv": [
            {"uid": 1, "text": "bahut accha din tha", "lang_tags": "Hin Hin Hin Hin", "sentiment": "positive"}
        ],
        "dev.csv": [{"uid": 2, "text": "kal milte hain", "lang_tags": "Hin Hin Hin", "sentiment": "neutral"}],
    },
    "masac": {
        "train.csv": [
            {
                "dialogue": 0,
                "episode_file": "e",
                "turn": 0,
                "speaker": "pillu aunty ",
                "utterance": "kya kar rahe ho",
                "emotion": "contempt",
            },
            {
                "dialogue": 0,
                "episode_file": "e",
                "turn": 1,
                "speaker": "",
                "utterance": "kuch nahi",
                "emotion": "neutral",
            },
        ]
    },
    "sdcnl": {
        "training-set.csv": [
            {"author_id": "u9", "text": "Nothing is left to hope for.", "is_suicide": 1},
            {"author_id": "u8", "text": "long " * 2100, "is_suicide": 0},
        ]
    },
    "cssrs": {
        "post_level_annotations_half.csv": [
            {
                "user": "user-1",
                "post_index": 0,
                "post": "I thought about it again.",
                "label_norm": "ideation",
            },
            {"user": "user-1", "post_index": 1, "post": "You can call a friend.", "label_norm": "supportive"},
        ]
    },
    "dreaddit": {
        "dreaddit-train.csv": [
            {
                "id": 33181,
                "subreddit": "survivorsofabuse",
                "post_id": "8601tu",
                "text": "I still jump when a door slams.",
                "label": 1,
                "confidence": 0.8,
                "social_timestamp": 1521614353,
            }
        ]
    },
}
LABEL_NAMES = ["joy", "anger", "gratitude", "confusion", "neutral"]


def write(folder: Path, corpus: str, tables: Mapping[str, Rows] | None = None) -> Path:
    """The made-up `corpus` (or `tables` in its place) in `folder`; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, rows in (tables or TABLES[corpus]).items():
        tabbed = file.endswith((".tsv", ".txt"))
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with (folder / file).open("w", encoding="utf-8", newline="") as out:
            if file.endswith(".txt"):  # this corpus does not quote
                out.writelines(
                    "\t".join(map(str, line)) + "\n" for line in (columns, *(r.values() for r in rows))
                )
            else:
                writer = csv.DictWriter(out, columns, delimiter="\t" if tabbed else ",")
                writer.writeheader()
                writer.writerows(rows)
    if corpus == "goemotions":
        (folder / "taxonomy.json").write_text(json.dumps({"labels": LABEL_NAMES}))
    return folder


def real(corpus: str) -> Path:
    """The real folder of `corpus`, or a skip that says what is missing."""
    folder = DATA / FOLDERS[corpus]
    if not folder.is_dir():
        pytest.skip(f"the corpora are not beside this clone ({FOLDERS[corpus]})")
    if not any(folder.iterdir()):
        reason = f"the folder of {corpus} is empty"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return folder
