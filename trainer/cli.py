"""The trainer's commands; the entry point `feltsense.commands` plugs them into `feltsense`.

This module is imported by every `feltsense --help`, so it imports nothing heavy before a command runs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

REJECTED = 3

commands = typer.Typer(rich_markup_mode=None)


@commands.command("import")
def import_(
    corpus: Annotated[
        str, typer.Argument(metavar="CORPUS", help="Which corpus; a wrong name lists them all.")
    ],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Its folder, as its authors publish it.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Labelled JSONL; replaced whole or not at all.")],
) -> None:
    """Turn a public corpus into labelled events.

    CORPUS is one of semeval2026, emobank, goemotions, offmychest, empathic, isarcasm, isear, vreg, sentimix,
    masac, sdcnl, cssrs, dreaddit. The result is the event of the queue with `labels` and `source` beside it;
    a row that breaks the event's contract is named and left out.

    \b
    Example: feltsense import emobank corpora/emobank --out emobank.jsonl
    """
    from trainer.data.corpora.importer import import_corpus
    from trainer.data.licences import LICENCES
    from worker.report.progress import bars

    with bars() as shown:
        summary = import_corpus(
            corpus,
            path,
            out,
            now=datetime.now(UTC),
            progress=lambda done, total: shown.tell(corpus, done, total),
        )
    for refusal in summary.refusals:
        typer.echo(str(refusal), err=True)
    licence = LICENCES[corpus]
    terms = "may train what ships" if licence.may_ship else "may not train what ships"
    rejected = f", {len(summary.refusals)} rejected" if summary.refusals else ""
    typer.echo(
        f"{summary.events} events of {summary.people} people from {summary.rows} rows{rejected}; "
        f"licence {licence.licence}, {terms}",
        err=True,
    )
    raise typer.Exit(REJECTED if summary.refusals else 0)
