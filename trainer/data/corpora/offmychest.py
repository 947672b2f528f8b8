"""CLAff-OffMyChest: Reddit sentences marked for emotional and informational disclosure, the stand-in for
willingness.

What is measured is disclosure, not readiness to disclose; reports say so. `willingness` is the mean of the
two marks.
"""

from __future__ import annotations

from collections.abc import Iterable

from trainer.data.corpora.corpus import Corpus, Draft, Row, Table

MARKS = ("Emotional_disclosure", "Information_disclosure")


def _convert(row: Row, _: None) -> Iterable[Draft]:
    emotional, informational = (row.flag(mark) for mark in MARKS)
    yield Draft(
        id=row["sentenceid"],
        user_id=row["author_id"],
        text=row["full_text"],
        created_at=row.epoch("created_utc"),
        labels={
            "emotional_disclosure": emotional,
            "informational_disclosure": informational,
            "willingness": (emotional + informational) / 2,
            "subreddit": row["subreddit"],
        },
    )


CORPUS = Corpus(
    name="offmychest",
    tables=(
        Table(
            file="labeled_training_set.csv",
            columns=("sentenceid", "author_id", "created_utc", "subreddit", "full_text", *MARKS),
        ),
    ),
    convert=_convert,
)
