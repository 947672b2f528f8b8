"""The corpora that may be measured here and may not train what ships: each a few columns, so one table of
importers.

Their licences (or the lack of one) stand in `trainer.data.licences`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from trainer.data.corpora.corpus import Corpus, Draft, Row, Table, paths

EMOTIONS = ("joy", "fear", "anger", "sadness", "disgust", "shame", "guilt")
POLARITY = {"negative": 0.0, "neutral": 0.5, "positive": 1.0}
CONVERSATION = ("neutral", "joy", "anger", "sadness", "contempt", "fear", "surprise", "disgust")
SEVERITY = ("supportive", "uninformative", "indicator", "ideation", "behavior", "attempt")
AT_RISK = ("ideation", "behavior", "attempt")
ABUSE_FORUMS = ("domesticviolence", "survivorsofabuse")


def _isear(row: Row, _: None) -> Iterable[Draft]:
    """Situations people told, with the emotion they themselves felt; the row's number is its id."""
    emotion = row.one_of("emotion", EMOTIONS)
    yield Draft(
        id=str(row.number - 1),
        text=row["text"],
        labels={"isear": emotion, "invoked": paths("isear", [emotion])},
    )


def _vreg(row: Row, _: None) -> Iterable[Draft]:
    """Tweets with a best-worst scaled valence, 0-1 as published."""
    split = "dev" if "-dev." in row.file else "train"
    labels = {"valence": row.scaled("Intensity Score", 0.0, 1.0), "split": split}
    yield Draft(id=row["ID"], text=row["Tweet"], labels=labels)


def _sentimix(row: Row, _: None) -> Iterable[Draft]:
    """Romanised Hindi-English tweets; `polarity` is the class as 0, .5, 1, coarser than a valence."""
    sentiment = row.one_of("sentiment", POLARITY)
    labels = {
        "sentiment": sentiment,
        "polarity": POLARITY[sentiment],
        "language": "hi-Latn",
        "split": row.file.removesuffix(".csv"),
    }
    yield Draft(id=row["uid"], text=row["text"], labels=labels)


def _masac(row: Row, _: None) -> Iterable[Draft]:
    """Hinglish sitcom dialogue; a speaker within a dialogue is a person, a dialogue one cluster."""
    emotion = row.one_of("emotion", CONVERSATION)
    speaker = re.sub(r"\s+", "_", row["speaker"].strip()) or "unknown"
    yield Draft(
        id=f"{row['dialogue']}-{row['turn']}",
        user_id=f"{row['dialogue']}-{speaker}",
        text=row["utterance"],
        labels={
            "masac": emotion,
            "expressed": paths("masac", [emotion]),
            "language": "hi-Latn",
            "cluster": f"masac-{row['dialogue']}",
        },
    )


def _sdcnl(row: Row, _: None) -> Iterable[Draft]:
    """Posts of r/SuicideWatch (1) and r/depression (0): the subreddit is the label, so noisy. The row's
    number is its id."""
    yield Draft(
        id=str(row.number - 1),
        user_id=row["author_id"],
        text=row["text"],
        labels={"risk": {"suicidal_ideation": row.flag("is_suicide")}},
    )


def _cssrs(row: Row, _: None) -> Iterable[Draft]:
    """Posts graded by experts after the C-SSRS; at risk are ideation, behaviour and attempt. Order is known,
    time is not."""
    severity = row.one_of("label_norm", SEVERITY)
    yield Draft(
        id=f"{row['user']}-{row['post_index']}",
        user_id=row["user"],
        text=row["post"],
        labels={"cssrs": severity, "risk": {"suicidal_ideation": int(severity in AT_RISK)}},
    )


def _dreaddit(row: Row, _: None) -> Iterable[Draft]:
    """Parts of Reddit posts marked for stress; `abuse` says only that the forum is one of survivors, so it is
    weak."""
    yield Draft(
        id=row["id"],
        user_id=row["post_id"],
        text=row["text"],
        created_at=row.epoch("social_timestamp"),
        labels={
            "stress": row.flag("label"),
            "agreement": row.scaled("confidence", 0.0, 1.0),
            "subreddit": row["subreddit"],
            "risk": {"abuse": int(row["subreddit"] in ABUSE_FORUMS)},
        },
    )


def _table(file: str, *columns: str) -> Table:
    return Table(file=file, columns=columns)


def _tweets(file: str) -> Table:
    columns = ("ID", "Tweet", "Intensity Score")
    return Table(file=file, columns=columns, delimiter="\t", quoted=False)


CORPORA = (
    Corpus(name="isear", tables=(_table("isear_clean.csv", "emotion", "text"),), convert=_isear),
    Corpus(
        name="vreg",
        tables=(_tweets("Valence-reg-En-train.txt"), _tweets("Valence-reg-En-dev.txt")),
        convert=_vreg,
    ),
    Corpus(
        name="sentimix",
        tables=tuple(_table(f"{split}.csv", "uid", "text", "sentiment") for split in ("train", "dev")),
        convert=_sentimix,
    ),
    Corpus(
        name="masac",
        tables=(_table("train.csv", "dialogue", "turn", "speaker", "utterance", "emotion"),),
        convert=_masac,
    ),
    Corpus(
        name="sdcnl",
        tables=(_table("training-set.csv", "author_id", "text", "is_suicide"),),
        convert=_sdcnl,
    ),
    Corpus(
        name="cssrs",
        tables=(_table("post_level_annotations_half.csv", "user", "post_index", "post", "label_norm"),),
        convert=_cssrs,
    ),
    Corpus(
        name="dreaddit",
        tables=(
            _table(
                "dreaddit-train.csv",
                *("id", "subreddit", "post_id", "text", "label", "confidence", "social_timestamp"),
            ),
        ),
        convert=_dreaddit,
    ),
)
