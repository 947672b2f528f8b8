"""iSarcasmEval: tweets called sarcastic or not by their own authors, who also said the sarcastic ones
plainly.

A sarcastic tweet becomes two rows of one person and one cluster: the tweet and its sincere rephrase.
"""

from __future__ import annotations

from collections.abc import Iterable

from trainer.data.corpora.corpus import Corpus, Draft, Row, Table

KINDS = ("sarcasm", "irony", "satire", "understatement", "overstatement", "rhetorical_question")


def _convert(row: Row, _: None) -> Iterable[Draft]:
    own, sarcastic = row[""], row.flag("sarcastic")
    shared = {"cluster": f"isarcasm-{own}"}
    kinds = [kind for kind in KINDS if sarcastic and row[kind].strip() and row.flag(kind)]
    yield Draft(
        id=own,
        text=row["tweet"],
        labels={"risk": {"sarcasm": sarcastic}, "kinds": kinds, "rephrase": False, **shared},
    )
    if sarcastic and row["rephrase"].strip():
        yield Draft(
            id=f"rephrase-{own}",
            user_id=own,
            text=row["rephrase"],
            labels={"risk": {"sarcasm": 0}, "kinds": [], "rephrase": True, **shared},
        )


CORPUS = Corpus(
    name="isarcasm",
    tables=(Table(file="train.En.csv", columns=("", "tweet", "sarcastic", "rephrase", *KINDS)),),
    convert=_convert,
)
