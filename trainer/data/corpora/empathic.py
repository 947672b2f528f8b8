"""Empathic Reactions: essays about news, with the writer's own empathy and distress; five essays by each
writer.

Scores 1-7 become 0-1. The file tells no times, so one writer's essays are no history of each other.
"""

from __future__ import annotations

from collections.abc import Iterable

from trainer.data.corpora.corpus import Corpus, Draft, Row, Table


def _convert(row: Row, _: None) -> Iterable[Draft]:
    yield Draft(
        id=row["message_id"],
        user_id=row["response_id"],
        text=row["essay"],
        labels={
            "distress": row.scaled("distress", 1.0, 7.0),
            "empathy": row.scaled("empathy", 1.0, 7.0),
            "article": row["article_id"],
        },
    )


CORPUS = Corpus(
    name="empathic",
    tables=(
        Table(
            file="messages.csv",
            columns=("message_id", "response_id", "article_id", "empathy", "distress", "essay"),
        ),
    ),
    convert=_convert,
)
