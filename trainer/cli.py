"""The trainer's commands; the entry point `feltsense.commands` plugs them into `feltsense`.

This module is imported by every `feltsense --help`, so it imports nothing heavy before a command runs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from trainer.errors import TrainerError

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


@commands.command("synth")
def synth(
    out: Annotated[Path, typer.Option(metavar="FILE", help="Labelled JSONL.")],
    people: Annotated[int, typer.Option(min=1, help="How many synthetic people.")] = 800,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal files.")] = 7,
) -> None:
    """Write the synthetic edge cases.

    They stand in for what no public corpus that may ship has; figures on them are called synthetic.

    \b
    Example: feltsense synth --out synthetic.jsonl --people 200
    """
    from trainer.data.synthetic import write

    try:
        count = write(out, people, seed)
    except OSError as error:
        raise TrainerError(f"cannot write {out}: {error.strerror}") from error
    typer.echo(f"{count} events of {people} synthetic people", err=True)


@commands.command("train")
def train(
    data: Annotated[list[Path], typer.Option(metavar="FILE", help="Labelled JSONL; several may follow.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The bundle's folder.")],
    plan: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="A plan of trainer/plans, or a TOML file.")
    ] = "starter",
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", hidden=True)] = None,
) -> None:
    """Fit a bundle on labelled files.

    \b
    Example: feltsense train --data emobank.jsonl semeval2026.jsonl --plan starter --out bundles/mine
    """
    from rich.console import Console

    from trainer.rebuild import rebuild

    rebuild([*data, *(more or ())], plan, out, Console(stderr=True))
