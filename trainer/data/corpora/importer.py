"""`feltsense import`: a corpus folder becomes one labelled JSONL file, whole or not at all; rows it cannot
use are named.

A labelled line is the event of the product page plus `labels` and `source`; without those two any line can be
published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from trainer.data.corpora import emobank, empathic, goemotions, isarcasm, offmychest, research, semeval2026
from trainer.data.corpora.corpus import Corpus, Draft
from trainer.errors import RowRefused, TrainerError, WrongCorpus
from worker.errors import Rejected
from worker.events import lines, reflection

CORPORA: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        semeval2026.CORPUS,
        emobank.CORPUS,
        goemotions.CORPUS,
        offmychest.CORPUS,
        empathic.CORPUS,
        isarcasm.CORPUS,
        *research.CORPORA,
    )
}

FOLDERS = {
    "semeval2026": "semeval2026_task2",
    "emobank": "emobank",
    "goemotions": "goemotions",
    "offmychest": "claff_offmychest",
    "empathic": "empathic_reactions",
    "isarcasm": "isarcasmeval",
    "isear": "isear",
    "vreg": "semeval2018_task1",
    "sentimix": "sentimix_hinglish",
    "masac": "masac_erc_hinglish",
    "sdcnl": "sdcnl",
    "cssrs": "cssrs_reddit500",
    "dreaddit": "dreaddit",
}
"""A corpus' sub-folder, where a whole folder of raw corpora is given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A row that was left out: its file, its number there (header 1) and the reason, without its text."""

    file: str
    number: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file} row {self.number}: {self.reason}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What an import did: events written, people among them, rows read, and the rows left out."""

    rows: int
    events: int
    people: int
    refusals: tuple[Refusal, ...]


def event(corpus: str, draft: Draft) -> dict[str, Any]:
    """The labelled line of a draft: ids with the corpus' name before them, consent given, `labels` and
    `source` last."""
    line: dict[str, Any] = {
        "schema": reflection.SCHEMA,
        "id": f"{corpus}-{draft.id}",
        "user_id": f"{corpus}-{draft.user_id or draft.id}",
        "text": draft.text,
        "created_at": draft.created_at.isoformat(),
        "consent": {"training": True},
        "revision": 1,
    }
    if draft.self_report:
        line["self_report"] = dict(draft.self_report)
    return {**line, "labels": dict(draft.labels), "source": corpus}


def import_corpus(
    name: str, folder: Path, out: Path, *, now: datetime, progress: Callable[[int, int], None] | None = None
) -> Summary:
    """Write the labelled lines of corpus `name` in `folder` to `out`, which appears only when it is whole.

    `progress` is called with (rows done, rows in all). Raises `WrongCorpus` for an unknown name, folder or
    table; rows that break the event's contract (blank, too long, ...) or their column's range are left out
    and returned in the summary.
    """
    corpus = CORPORA.get(name)
    if corpus is None:
        raise WrongCorpus(f"no importer for {name!r}; there are {', '.join(CORPORA)}")
    rows = corpus.rows(folder)
    lookup = corpus.prepare(folder) if corpus.prepare is not None else None
    seen: set[str] = set()
    people: set[str] = set()
    refusals: list[Refusal] = []

    def read() -> Iterator[bytes]:
        for done, row in enumerate(rows, 1):
            try:
                if None in row.cells:
                    raise RowRefused("more cells than columns")
                for draft in corpus.convert(row, lookup):
                    line = event(name, draft)
                    bare = {key: value for key, value in line.items() if key not in ("labels", "source")}
                    reflection.parse(bare, now=now)
                    if line["id"] in seen:
                        raise RowRefused(f"id {line['id']!r} came before")
                    seen.add(line["id"])
                    people.add(line["user_id"])
                    yield orjson.dumps(line) + b"\n"
            except (RowRefused, Rejected) as error:
                refusals.append(Refusal(file=row.file, number=row.number, reason=str(error)))
            if progress is not None:
                progress(done, len(rows))

    write_whole(out, read())
    return Summary(rows=len(rows), events=len(seen), people=len(people), refusals=tuple(refusals))


def write_whole(out: Path, rows: Iterator[bytes], *, mode: int = 0o666) -> None:
    """`worker.events.lines.write_whole`; `TrainerError` when it cannot be written."""
    try:
        lines.write_whole(out, rows, mode=mode)
    except OSError as error:
        raise TrainerError(f"cannot write {out}: {error.strerror}") from error
